//! The supervisor against actors that panic, freeze or give up on command.
//!
//! Nothing is timed: each test waits until the factory has been called as often as it must be, or the board says so. A
//! freeze is a thread that really waits, until the test lets it go.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use actix::prelude::*;
use musicfs_protocol::board::ActorSnapshot;
use musicfs_protocol::{
    Board, Deadline, EventFilter, EventLog, Happening, Heartbeat, Incarnation, Port, PortError, StopDaemon, Work,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{ActorSpec, Group, Limits, StartActors, StopActors, StopReason, Supervisor};

/// What a test has the actor do.
enum Deed {
    Panic,
    PanicInTimer,
    GiveUp,
    /// Says so and waits on the actor's thread until the other end is dropped.
    Freeze(oneshot::Sender<()>, std_mpsc::Receiver<()>),
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Do(Option<Deed>);

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

impl Handler<Do> for Victim {
    type Result = u32;

    fn handle(&mut self, Do(deed): Do, ctx: &mut Self::Context) -> u32 {
        match deed {
            Some(Deed::Panic) => panic!("wanted"),
            Some(Deed::PanicInTimer) => drop(ctx.run_later(Duration::ZERO, |_, _| panic!("wanted"))),
            Some(Deed::GiveUp) => ctx.stop(),
            Some(Deed::Freeze(began, until)) => {
                let _ = began.send(());
                let _ = until.recv();
            }
            None => {}
        }
        self.incarnation
    }
}

/// An actor under supervision, with a port to it and a channel that tells each start.
struct Subject {
    name: &'static str,
    port: Port<Do>,
    starts: mpsc::UnboundedReceiver<u32>,
}

/// A factory whose first `num_bad` incarnations are never finished: making them panics.
fn subject_after(num_bad: u32, name: &'static str, group: Group) -> (ActorSpec, Subject) {
    let (sender, starts) = mpsc::unbounded_channel();
    let port = Port::unbound();
    let count = AtomicU32::new(0);
    let make = move || {
        let incarnation = count.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = sender.send(incarnation);
        assert!(incarnation > num_bad, "wanted");
        Victim { incarnation }
    };
    let subject = Subject { name, port: port.clone(), starts };
    let bind = move |actor: &Incarnation<Victim>| port.bind(actor);
    (ActorSpec::new(name, group, make, bind), subject)
}

fn subject(name: &'static str, group: Group) -> (ActorSpec, Subject) {
    subject_after(0, name, group)
}

/// The limit that freezes are noticed by: a busy machine lets a thread wait a tenth of it.
const FREEZE: Duration = Duration::from_millis(800);

struct Bench {
    supervisor: Addr<Supervisor>,
    board: Arc<Board>,
    events: EventLog,
    work: Work,
    num_rescans: Arc<AtomicU32>,
    stopped: watch::Receiver<Option<StopReason>>,
}

fn supervise(specs: Vec<ActorSpec>) -> Bench {
    let (board, work, num_rescans) = (Arc::new(Board::default()), Work::default(), Arc::<AtomicU32>::default());
    let (stop, stopped) = watch::channel(None);
    let counted = Arc::clone(&num_rescans);
    let rescan = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let limits = Limits { freeze: FREEZE, frozen_threads: 2 };
    let events = EventLog::default();
    let supervisor = Supervisor::new(Arc::clone(&board), events.clone(), work.clone(), rescan, limits, stop).start();
    supervisor.do_send(StartActors(specs));
    Bench { supervisor, board, events, work, num_rescans, stopped }
}

impl Bench {
    fn numbers(&self, subject: &Subject) -> ActorSnapshot {
        self.board.actor(subject.name).snapshot()
    }

    /// Failures that the board tells of, and restarts.
    fn counts(&self, subject: &Subject) -> (u64, u64) {
        let numbers = self.numbers(subject);
        (numbers.failed, numbers.restarts)
    }

    async fn until(&self, what: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_mins(1);
        while !what() {
            assert!(Instant::now() < patience, "never happened");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Subject {
    async fn start(&mut self, number: u32) {
        assert_eq!(self.starts.recv().await, Some(number), "{}", self.name);
    }

    async fn make(&self, deed: Deed) -> Result<u32, PortError> {
        self.port.send(Do(Some(deed))).await
    }

    async fn which(&self) -> Result<u32, PortError> {
        let deadline = Deadline::after(Instant::now(), Duration::from_mins(1));
        self.port.request(deadline, || Do(None)).await
    }

    /// Blocks the actor's thread; ends when what is returned is dropped.
    async fn freeze(&self) -> std_mpsc::Sender<()> {
        let (release, until) = std_mpsc::channel();
        let (began, frozen) = oneshot::channel();
        let port = self.port.clone();
        actix::spawn(async move { port.send(Do(Some(Deed::Freeze(began, until)))).await });
        frozen.await.expect("alive until now");
        release
    }
}

#[actix::test]
async fn panicked_actor_comes_back_behind_the_same_port() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec]);
    subject.start(1).await;
    assert_eq!(subject.make(Deed::Panic).await, Err(PortError::Lost));
    subject.start(2).await;
    assert_eq!(subject.which().await, Ok(2));
    assert_eq!(bench.counts(&subject), (1, 1));
    assert_eq!(bench.num_rescans.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn panic_in_a_timer_is_noticed() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec]);
    subject.start(1).await;
    let _ = subject.make(Deed::PanicInTimer).await;
    subject.start(2).await;
    assert_eq!(bench.counts(&subject), (1, 1));
}

#[actix::test]
async fn actor_that_gives_up_is_started_again_and_has_said_why_itself() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec]);
    subject.start(1).await;
    bench.board.actor("victim").fail("no more");
    let _ = subject.make(Deed::GiveUp).await;
    subject.start(2).await;
    let numbers = bench.numbers(&subject);
    assert_eq!((numbers.failed, numbers.restarts), (1, 1));
    assert_eq!(numbers.last_error.map(|error| error.text).as_deref(), Some("no more"));
}

#[actix::test]
async fn panicking_factory_is_tried_again() {
    let (spec, mut subject) = subject_after(2, "victim", Group::Alone);
    let bench = supervise(vec![spec]);
    for number in 1..=3 {
        subject.start(number).await;
    }
    assert_eq!(subject.which().await, Ok(3));
    assert_eq!(bench.counts(&subject), (2, 2));
}

#[actix::test]
async fn change_group_restarts_together_and_others_stay() {
    let (first, mut one) = subject("one", Group::Change);
    let (second, mut two) = subject("two", Group::Change);
    let (third, mut alone) = subject("alone", Group::Alone);
    let bench = supervise(vec![first, second, third]);
    for subject in [&mut one, &mut two, &mut alone] {
        subject.start(1).await;
    }
    let _ = one.make(Deed::Panic).await;
    one.start(2).await;
    two.start(2).await;
    assert_eq!((two.which().await, alone.which().await), (Ok(2), Ok(1)));
    assert_eq!((bench.counts(&one), bench.counts(&two)), ((1, 1), (0, 0)), "only the one that failed has failed");
    assert_eq!(bench.num_rescans.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn two_failures_of_a_group_are_two_restarts() {
    let (first, mut one) = subject("one", Group::Change);
    let (second, mut two) = subject("two", Group::Change);
    let bench = supervise(vec![first, second]);
    one.start(1).await;
    two.start(1).await;
    let (first, second) = (one.make(Deed::Panic), two.make(Deed::Panic));
    let _ = futures_util::future::join(first, second).await;
    bench.until(|| bench.counts(&one) == (1, 1) && bench.counts(&two) == (1, 1)).await;
    assert_eq!((one.which().await, two.which().await), (Ok(2), Ok(2)), "both by the first of the two restarts");
}

#[actix::test]
async fn lost_changes_keep_the_daemon_from_being_idle_until_they_are_asked_for_again() {
    let (spec, mut subject) = subject("victim", Group::Change);
    let bench = supervise(vec![spec]);
    subject.start(1).await;
    let _ = subject.make(Deed::Panic).await;
    bench.until(|| bench.numbers(&subject).failed == 1).await;
    while bench.numbers(&subject).restarts == 0 {
        assert_eq!(bench.work.pending(), 1);
        tokio::task::yield_now().await;
    }
    bench.until(|| bench.work.pending() == 0).await;
    assert_eq!(bench.num_rescans.load(Ordering::SeqCst), 1);
}

/// Fails six times, which is once too often.
async fn park(bench: &Bench, subject: &mut Subject) {
    for incarnation in 1..=6 {
        subject.start(incarnation).await;
        bench.until(|| subject.port.is_bound()).await;
        let _ = subject.make(Deed::Panic).await;
    }
    bench.until(|| bench.numbers(subject).parked).await;
}

#[actix::test]
async fn burst_of_failures_parks_the_actor_and_nobody_waits_for_it() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec]);
    park(&bench, &mut subject).await;
    assert_eq!(subject.which().await, Err(PortError::Down));
    let numbers = bench.numbers(&subject);
    assert_eq!((numbers.failed, numbers.restarts, numbers.running), (6, 5, false));
    let told = bench.events.recall(EventFilter::default()).next().await.events;
    let restart = |restarts| Happening::ActorRestarted { actor: "victim".into(), restarts };
    let told: Vec<_> = told.iter().map(|event| event.what.clone()).collect();
    assert_eq!(told[..5], [1, 2, 3, 4, 5].map(restart));
    assert!(matches!(&told[5..], [Happening::ActorParked { actor, .. }] if **actor == *"victim"), "{told:?}");
    assert_eq!(bench.work.pending(), 0);
}

#[actix::test]
async fn parked_actor_stays_parked_when_its_group_is_started_again() {
    let (first, mut one) = subject("one", Group::Change);
    let (second, mut two) = subject("two", Group::Change);
    let bench = supervise(vec![first, second]);
    park(&bench, &mut one).await;
    bench.until(|| two.port.is_bound()).await;
    let _ = two.make(Deed::Panic).await;
    bench.until(|| bench.counts(&two) == (1, 1)).await;
    assert!(two.which().await.is_ok());
    assert!(one.starts.try_recv().is_err(), "not started a seventh time");
    while two.starts.try_recv().is_ok() {}
    assert!(bench.numbers(&one).parked);
}

#[actix::test]
async fn indispensable_actor_is_never_parked() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec.indispensable()]);
    for incarnation in 1..=7 {
        subject.start(incarnation).await;
        if incarnation < 7 {
            bench.until(|| subject.port.is_bound()).await;
            let _ = subject.make(Deed::Panic).await;
        }
    }
    assert_eq!(subject.which().await, Ok(7));
    assert!(!bench.numbers(&subject).parked);
}

#[actix::test]
async fn frozen_actor_is_replaced_and_what_it_held_is_written_off() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let given_up = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&given_up);
    let spec = spec.when_abandoned(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let bench = supervise(vec![spec]);
    subject.start(1).await;
    let stats = bench.board.actor("victim");
    let (_token, _accepted) = (bench.work.begin(), stats.begin());
    let release = subject.freeze().await;
    assert_eq!(subject.which().await, Ok(2), "asked behind the frozen one, answered by the next");
    let numbers = bench.numbers(&subject);
    assert_eq!((numbers.failed, numbers.restarts, numbers.waiting), (1, 1, 0));
    assert_eq!((bench.work.pending(), given_up.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(bench.num_rescans.load(Ordering::SeqCst), 1, "for whatever it held");
    drop(release);
    assert_eq!(*bench.stopped.borrow(), None);
}

#[actix::test]
async fn threads_that_come_back_are_no_longer_frozen() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec]);
    for incarnation in 1..=3 {
        subject.start(incarnation).await;
        let release = subject.freeze().await;
        assert_eq!(subject.which().await, Ok(incarnation + 1));
        drop(release); // it ends at once; the next freeze is noticed many times later
    }
    assert_eq!(*bench.stopped.borrow(), None, "three froze, but never two at once");
}

#[actix::test]
async fn too_many_frozen_threads_end_the_daemon() {
    let (first, mut one) = subject("one", Group::Alone);
    let (second, mut two) = subject("two", Group::Alone);
    let mut bench = supervise(vec![first, second]);
    one.start(1).await;
    two.start(1).await;
    let _held = (one.freeze().await, two.freeze().await);
    bench.stopped.wait_for(Option::is_some).await.expect("the supervisor lives");
    assert_eq!(*bench.stopped.borrow(), Some(StopReason::Frozen));
}

#[actix::test]
async fn stopped_actors_are_not_started_again() {
    let (spec, mut subject) = subject("victim", Group::Alone);
    let bench = supervise(vec![spec]);
    subject.start(1).await;
    bench.supervisor.send(StopDaemon).await.expect("alive");
    assert_eq!(*bench.stopped.borrow(), Some(StopReason::Requested));
    bench.supervisor.send(StopActors).await.expect("alive");
    bench.until(|| !subject.port.is_bound()).await;
    assert_eq!(bench.counts(&subject), (0, 0));
    assert!(subject.starts.try_recv().is_err());
}
