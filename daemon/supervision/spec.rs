//! How one actor is made, again and again: its factory, where its address goes, and how its end is noticed.
//!
//! The guard sits in a future that the actor's context owns. Whatever ends the context (a panic in the factory, a handler
//! or a timer, an orderly stop, the end of its thread) drops the future and with it the guard, which reports. The actor
//! itself knows nothing of this, so no actor can forget it.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use musicfs_protocol::{ActorName, Heartbeat, Incarnation, Standing};
use tokio::sync::watch;

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
    /// By a panic; otherwise it gave up by itself.
    pub(super) panicked: bool,
}

struct EndGuard {
    index: usize,
    incarnation: u64,
    supervisor: Recipient<ActorEnded>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let Self { index, incarnation, .. } = *self;
        self.supervisor.do_send(ActorEnded { index, incarnation, panicked: std::thread::panicking() });
    }
}

/// What an incarnation is started with.
pub(super) struct Start {
    pub(super) index: usize,
    pub(super) incarnation: u64,
    pub(super) supervisor: Recipient<ActorEnded>,
    pub(super) standing: watch::Receiver<Standing>,
}

type StartFn = dyn Fn(Start) -> std::io::Result<Running> + Send;

/// One actor: its name, its group and how it is made.
pub struct ActorSpec {
    pub(super) name: ActorName,
    pub(super) group: Group,
    /// What it has accepted is not its own: it goes on when the actor freezes.
    pub(super) requests_outlive_it: bool,
    /// Takes back what the frozen thread holds.
    pub(super) when_abandoned: Box<dyn Fn() + Send>,
    /// Never left stopped.
    pub(super) is_indispensable: bool,
    start: Box<StartFn>,
}

impl ActorSpec {
    /// An actor that `make` makes on its own thread, and whose address `bind` puts behind the ports.
    pub fn new<A>(
        name: impl Into<ActorName>,
        group: Group,
        make: impl Fn() -> A + Send + Sync + 'static,
        bind: impl Fn(&Incarnation<A>) + Send + 'static,
    ) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Heartbeat>,
    {
        let make = Arc::new(make);
        let start = move |start: Start| {
            let Start { index, incarnation, supervisor, standing } = start;
            let arbiter = Arbiter::try_new()?;
            let guard = EndGuard { index, incarnation, supervisor };
            let make = Arc::clone(&make);
            let addr = A::start_in_arbiter(&arbiter.handle(), move |ctx| {
                ctx.spawn(hold(guard).into_actor_of::<A>());
                make()
            });
            let running = Running { arbiter, heartbeat: addr.clone().recipient(), asked_at: None };
            bind(&Incarnation::new(addr, standing));
            Ok(running)
        };
        Self {
            name: name.into(),
            group,
            requests_outlive_it: false,
            when_abandoned: Box::new(|| ()),
            is_indispensable: false,
            start: Box::new(start),
        }
    }

    /// Does this when the actor's thread is given up, for what the thread will never give back.
    #[must_use]
    pub fn when_abandoned(mut self, action: impl Fn() + Send + 'static) -> Self {
        self.when_abandoned = Box::new(action);
        self
    }

    /// Its requests are answered by others while it is away.
    #[must_use]
    pub fn requests_outlive_it(mut self) -> Self {
        self.requests_outlive_it = true;
        self
    }

    /// It is tried again for ever: without it nobody could even be told what is wrong.
    #[must_use]
    pub fn indispensable(mut self) -> Self {
        self.is_indispensable = true;
        self
    }

    /// Starts an incarnation; an error says why there is none.
    pub(super) fn start(&self, start: Start) -> Result<Running, String> {
        // the supervisor lives through whatever is wrong with an actor
        match catch_unwind(AssertUnwindSafe(|| (self.start)(start))) {
            Ok(started) => started.map_err(|error| format!("the system refused a thread: {error}")),
            Err(_) => Err("starting it panicked; the log has the place".to_owned()),
        }
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

/// An incarnation that runs. Dropping it ends the actor's thread once that comes to a pause, and does not wait for it.
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
}

impl Drop for Running {
    fn drop(&mut self) {
        self.arbiter.stop();
    }
}
