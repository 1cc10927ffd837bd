//! How one actor is made, again and again: its factory, where its address goes, and how its end is noticed.
//!
//! The guard sits in a future that the actor's context owns. Whatever ends the context (a panic in a handler or timer, an
//! orderly stop, the end of its thread) drops the future and with it the guard, which reports. The actor itself knows
//! nothing of this, so no actor can forget it.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use musicfs_protocol::{ActorName, Heartbeat};

/// What is restarted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Only the actor itself.
    Alone,
    /// watcher, debouncer and `delta_detector`: events that one of them held are lost with it, so all begin anew and a
    /// rescan finds what they had missed.
    Change,
}

/// guard → supervisor: the context of this incarnation is gone. At most one per incarnation.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ActorEnded {
    pub(super) index: usize,
    pub(super) incarnation: u64,
}

struct EndGuard {
    ended: ActorEnded,
    supervisor: Recipient<ActorEnded>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.supervisor.do_send(self.ended);
    }
}

type StartFn = dyn Fn(ActorEnded, Recipient<ActorEnded>) -> Running + Send;

/// One actor: its name, its group and how it is made.
pub struct ActorSpec {
    pub(super) name: ActorName,
    pub(super) group: Group,
    start: Box<StartFn>,
    after_restart: Box<dyn Fn() + Send>,
}

impl ActorSpec {
    /// An actor that `make` makes on its own thread, and whose address `bind` puts behind the ports.
    pub fn new<A>(
        name: impl Into<ActorName>,
        group: Group,
        make: impl Fn() -> A + Send + Sync + 'static,
        bind: impl Fn(&Addr<A>) + Send + 'static,
    ) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Heartbeat>,
    {
        let make = Arc::new(make);
        let start = move |ended, supervisor| {
            let arbiter = Arbiter::new();
            let guard = EndGuard { ended, supervisor };
            let make = Arc::clone(&make);
            let addr = A::start_in_arbiter(&arbiter.handle(), move |ctx| {
                ctx.spawn(hold(guard).into_actor_of::<A>());
                make()
            });
            bind(&addr);
            Running { arbiter, heartbeat: addr.recipient(), asked_at: None }
        };
        Self { name: name.into(), group, start: Box::new(start), after_restart: Box::new(|| ()) }
    }

    /// Does this after every restart of the actor.
    #[must_use]
    pub fn after_restart_do(mut self, action: impl Fn() + Send + 'static) -> Self {
        self.after_restart = Box::new(action);
        self
    }

    pub(super) fn start(&self, ended: ActorEnded, supervisor: Recipient<ActorEnded>) -> Running {
        (self.start)(ended, supervisor)
    }

    pub(super) fn after_restart(&self) {
        (self.after_restart)();
    }
}

/// Keeps the guard until its context drops it.
async fn hold(guard: EndGuard) {
    pending::<()>().await;
    drop(guard);
}

/// Names the actor of a future that needs nothing of it.
trait IntoActorOf: Future<Output = ()> + Sized + 'static {
    fn into_actor_of<A: Actor>(self) -> impl ActorFuture<A, Output = ()> + 'static {
        actix::fut::wrap_future::<_, A>(self)
    }
}

impl<F: Future<Output = ()> + 'static> IntoActorOf for F {}

/// An incarnation that runs.
pub(super) struct Running {
    arbiter: Arbiter,
    heartbeat: Recipient<Heartbeat>,
    pub(super) asked_at: Option<Instant>,
}

impl Running {
    /// Whether the actor answers; it may take as long as it likes.
    pub(super) fn heartbeat(&self) -> BoxFuture<'static, bool> {
        self.heartbeat.send(Heartbeat).map(|answer| answer.is_ok()).boxed()
    }

    /// Ends the actor's thread once it comes to a pause. Does not wait for it.
    pub(super) fn stop(self) {
        self.arbiter.stop();
    }
}
