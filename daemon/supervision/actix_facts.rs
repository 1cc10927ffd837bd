//! What actix does, pinned by trying it: the reasons why the supervisor and the inboxes exist.
//!
//! If one of these fails after an update, the design may become simpler; until then, nothing may rely on the opposite.
//! They are tests of a library and of nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::Semaphore;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

#[derive(Message)]
#[rtype(result = "()")]
struct Count;

/// Counts messages; holds each until a permit is there.
struct Subject {
    started: Arc<AtomicU32>,
    counted: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
}

impl Actor for Subject {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
        self.started.fetch_add(1, Ordering::SeqCst);
    }
}

impl actix::Supervised for Subject {}

impl Handler<Panic> for Subject {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("wanted");
    }
}

impl Handler<Count> for Subject {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> Self::Result {
        let (counted, gate) = (Arc::clone(&self.counted), Arc::clone(&self.gate));
        Box::pin(async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            counted.fetch_add(1, Ordering::SeqCst);
        })
    }
}

fn subject() -> Subject {
    Subject { started: Arc::default(), counted: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
}

#[actix::test]
async fn actix_supervisor_after_a_panic_does_not_restart() {
    let subject = subject();
    let started = Arc::clone(&subject.started);
    let arbiter = Arbiter::new();
    let addr = actix::Supervisor::start_in_arbiter(&arbiter.handle(), move |_| subject);
    assert!(addr.send(Panic).await.is_err());
    assert!(addr.send(Count).await.is_err(), "the address is dead");
    assert_eq!(started.load(Ordering::SeqCst), 1, "started once and never again");
    assert!(arbiter.spawn_fn(|| ()), "its thread lives on");
}

#[actix::test]
async fn actix_send_to_a_full_mailbox_is_accepted() {
    let subject = subject();
    let (counted, gate) = (Arc::clone(&subject.counted), Arc::clone(&subject.gate));
    let addr = subject.start();
    let sends: Vec<_> = (0..1_000).map(|_| addr.send(Count)).collect();
    gate.add_permits(1_000);
    for send in sends {
        send.await.expect("a mailbox of one took a thousand requests");
    }
    assert_eq!(counted.load(Ordering::SeqCst), 1_000);
}

#[actix::test]
async fn actix_try_send_to_a_full_mailbox_is_refused() {
    let addr = subject().start();
    // Let the actor start, so that its capacity is set.
    tokio::task::yield_now().await;
    let refused = (0..100).filter(|_| addr.try_send(Count).is_err()).count();
    assert!(refused > 0);
}

/// Records the order of things.
struct Order(Vec<&'static str>);

impl Actor for Order {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(Duration::ZERO, |actor, _| actor.0.push("timer"));
    }
}

#[derive(Message)]
#[rtype(result = "Vec<&'static str>")]
struct Note;

impl Handler<Note> for Order {
    type Result = MessageResult<Note>;

    fn handle(&mut self, _: Note, _: &mut Self::Context) -> Self::Result {
        self.0.push("message");
        MessageResult(self.0.clone())
    }
}

#[actix::test]
async fn actix_timer_under_load_comes_after_the_messages_that_wait() {
    let addr = Order(Vec::new()).start();
    let mut orders = futures_util::future::join_all((0..50).map(|_| addr.send(Note))).await;
    let last = orders.pop().expect("fifty").expect("alive");
    assert!(last.iter().take(10).all(|what| *what == "message"), "{last:?}");
}
