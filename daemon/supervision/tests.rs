//! The supervisor against an actor that fails on command.
//!
//! Nothing is timed: each test waits until the factory has been called as often as it must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix::prelude::*;
use musicfs_protocol::{Board, Heartbeat, Port, PortError};
use tokio::sync::{mpsc, watch};

use super::{ActorSpec, Group, StartActors, StopActors, StopReason, Supervisor};
use musicfs_protocol::StopDaemon;

#[derive(Message)]
#[rtype(result = "u32")]
struct Which;

#[derive(Message)]
#[rtype(result = "()")]
struct Fail;

#[derive(Message)]
#[rtype(result = "()")]
struct FailInTimer;

struct Victim {
    incarnation: u32,
}

impl Actor for Victim {
    type Context = Context<Self>;
}

impl Handler<Heartbeat> for Victim {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

impl Handler<Which> for Victim {
    type Result = u32;

    fn handle(&mut self, _: Which, _: &mut Self::Context) -> u32 {
        self.incarnation
    }
}

impl Handler<Fail> for Victim {
    type Result = ();

    fn handle(&mut self, _: Fail, _: &mut Self::Context) {
        panic!("wanted");
    }
}

impl Handler<FailInTimer> for Victim {
    type Result = ();

    fn handle(&mut self, _: FailInTimer, ctx: &mut Self::Context) {
        ctx.run_later(std::time::Duration::ZERO, |_, _| panic!("wanted"));
    }
}

/// An actor under supervision, with a port to it and a channel that tells each start.
struct Subject {
    which: Port<Which>,
    fail: Port<Fail>,
    fail_in_timer: Port<FailInTimer>,
    starts: mpsc::UnboundedReceiver<u32>,
}

fn subject(name: &'static str, group: Group) -> (ActorSpec, Subject) {
    let (sender, starts) = mpsc::unbounded_channel();
    let (which, fail, fail_in_timer) = (Port::unbound(), Port::unbound(), Port::unbound());
    let count = AtomicU32::new(0);
    let make = move || {
        let incarnation = count.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = sender.send(incarnation);
        Victim { incarnation }
    };
    let subject = Subject { which: which.clone(), fail: fail.clone(), fail_in_timer: fail_in_timer.clone(), starts };
    let bind = move |addr: &Addr<Victim>| {
        which.bind(addr);
        fail.bind(addr);
        fail_in_timer.bind(addr);
    };
    (ActorSpec::new(name, group, make, bind), subject)
}

fn supervise(specs: Vec<ActorSpec>) -> (Addr<Supervisor>, Arc<Board>, watch::Receiver<Option<StopReason>>) {
    let board = Arc::new(Board::default());
    let (stop, stopped) = watch::channel(None);
    let supervisor = Supervisor::new(Arc::clone(&board), stop).start();
    supervisor.do_send(StartActors(specs));
    (supervisor, board, stopped)
}

#[actix::test]
async fn panicked_actor_comes_back_behind_the_same_port() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let (_supervisor, board, _) = supervise(vec![spec]);
    assert_eq!(subject.starts.recv().await, Some(1));
    assert_eq!(subject.fail.send(Fail).await, Err(PortError::Down));
    assert_eq!(subject.starts.recv().await, Some(2));
    assert_eq!(subject.which.send(Which).await, Ok(2));
    assert_eq!(board.actor("victim").snapshot().restarts, 1);
}

#[actix::test]
async fn panic_in_a_timer_is_noticed() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let (_supervisor, _, _) = supervise(vec![spec]);
    assert_eq!(subject.starts.recv().await, Some(1));
    let _ = subject.fail_in_timer.send(FailInTimer).await;
    assert_eq!(subject.starts.recv().await, Some(2));
}

#[actix::test]
async fn change_group_restarts_together_and_others_stay() {
    let (first, mut one) = subject("one", Group::Change);
    let (second, mut two) = subject("two", Group::Change);
    let (third, mut alone) = subject("alone", Group::Alone);
    let rescans = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&rescans);
    let first = first.after_restart_do(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let (_supervisor, _, _) = supervise(vec![first, second, third]);
    for subject in [&mut one, &mut two, &mut alone] {
        assert_eq!(subject.starts.recv().await, Some(1));
    }
    let _ = one.fail.send(Fail).await;
    assert_eq!(one.starts.recv().await, Some(2));
    assert_eq!(two.starts.recv().await, Some(2));
    assert_eq!(alone.which.send(Which).await, Ok(1));
    assert_eq!(two.which.send(Which).await, Ok(2));
    assert_eq!(rescans.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn burst_of_failures_parks_the_actor() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let (_supervisor, board, _) = supervise(vec![spec]);
    for incarnation in 1..=6 {
        assert_eq!(subject.starts.recv().await, Some(incarnation));
        let _ = subject.fail.send(Fail).await;
    }
    while !board.actor("victim").snapshot().parked {
        tokio::task::yield_now().await;
    }
    assert!(!subject.which.is_bound());
}

#[actix::test]
async fn stopped_actors_are_not_started_again() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let (supervisor, board, stopped) = supervise(vec![spec]);
    assert_eq!(subject.starts.recv().await, Some(1));
    supervisor.send(StopDaemon).await.expect("alive");
    assert_eq!(*stopped.borrow(), Some(StopReason::Requested));
    supervisor.send(StopActors).await.expect("alive");
    while subject.which.is_bound() {
        tokio::task::yield_now().await;
    }
    assert_eq!(board.actor("victim").snapshot().restarts, 0);
    assert!(subject.starts.try_recv().is_err());
}
