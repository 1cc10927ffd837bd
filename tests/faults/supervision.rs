//! Actors that panic or freeze in a running daemon: each comes back, nothing else is disturbed, and the numbers say so.
//!
//! Every actor fails at its failpoints, on a message, on a later one and in its timer, while readers verify bytes and
//! files come into the origin. A freeze is a thread that really waits, and comes back later to find that it was replaced.
//! After each failure the library must be complete and every other actor's count the same as before.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::actors::{actors, restarts};
use crate::support::command::{Finished, run};
use crate::support::daemon::{Daemon, mounted};
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::readers::Readers;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, inodes, walk};

/// The silence that is a freeze in these tests: a busy machine lets a thread wait a fraction of it.
const FREEZE_LIMIT_MS: u64 = 1500;

/// Readers beside every failure.
const NUM_READERS: usize = 4;

/// A library in which actors fail.
struct World<'a> {
    home: &'a Sandbox,
    points: Failpoints,
    expected: RefCell<BTreeSet<String>>,
    restarts: RefCell<BTreeMap<String, u64>>,
    serial: Cell<u32>,
}

impl<'a> World<'a> {
    fn new(home: &'a Sandbox) -> Self {
        let points = Failpoints::new(home);
        points.preset("supervisor::freeze_limit_ms", &format!("return({FREEZE_LIMIT_MS})"));
        points.preset("health_monitor::interval_ms", "return(200)");
        let world =
            Self { home, points, expected: RefCell::default(), restarts: RefCell::default(), serial: Cell::new(0) };
        for _ in 0..10 {
            world.put();
        }
        // the watcher looks at the root at each poll interval
        let root = home.origin();
        home.configure(&format!("[origin.a]\nlocation = \"{}\"\npoll_interval = \"1s\"\n", root.display()));
        world
    }

    fn start(&self) -> Daemon<'a> {
        let mut command = self.home.command(&["mount"]);
        self.home.start_with(self.points.arm(command.arg(self.home.mnt())))
    }

    /// Puts one more track into the origin.
    fn put(&self) {
        let number = self.serial.get() + 1;
        self.serial.set(number);
        let track = Track::new("Artist", "Album", number, "T").salted(u64::from(number));
        self.home.put(&format!("music/{number}.flac"), &track.flac());
        self.expected.borrow_mut().insert(format!("Artist/Album (2020)/{number:02} - T.flac"));
    }

    /// Tracks as they must be read, for readers that must not be disturbed.
    fn steady(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let shown = |number| self.home.shown(&format!("Artist/Album (2020)/{number:02} - T.flac"));
        let track = |number: u32| Track::new("Artist", "Album", number, "T").salted(u64::from(number)).flac();
        (1..=10).map(|number| (shown(number), track(number))).collect()
    }

    /// Has an actor fail at a point, and asserts that it and no other comes back, and that the library is complete.
    fn fail(&self, daemon: &Daemon<'_>, actor: &str, point: &str, actions: &str) {
        println!("{point}: {actions}");
        self.points.set(point, actions);
        let before = self.restarts.borrow().get(actor).copied();
        eventually(&format!("{actor} fails"), || {
            self.put();
            daemon.idle();
            restarts(daemon).get(actor).copied() != before
        });
        self.comes_back(daemon, actor);
        daemon.idle();
        assert_eq!(files(&self.home.mnt()), *self.expected.borrow(), "after {point}");
    }

    /// Waits until an actor has been started once more, and asserts that no other has.
    fn comes_back(&self, daemon: &Daemon<'_>, actor: &str) {
        let mut expected = self.restarts.borrow_mut();
        *expected.entry(actor.to_owned()).or_default() += 1;
        eventually(&format!("{actor} is started again"), || restarts(daemon).get(actor) == expected.get(actor));
        assert_eq!(restarts(daemon), *expected);
    }
}

/// Actors, the points at which they fail, and how: at once, or at a later message.
const PANICS: [(&str, &str, &str); 17] = [
    ("catalog", "catalog::handle", "1*panic"),
    ("catalog", "catalog::handle", "1*off->1*panic"),
    ("catalog", "catalog::tick", "1*panic"),
    ("catalog", "catalog::after_commit", "1*panic"),
    ("invalidator", "invalidator::handle", "1*panic"),
    ("invalidator", "invalidator::notify", "1*panic"),
    ("fuse_front", "fuse_front::tick", "1*panic"),
    ("fetcher/a", "fetcher/a::handle", "1*panic"),
    ("fetcher/a", "fetcher/a::handle", "2*off->1*panic"),
    ("health_monitor", "health_monitor::handle", "1*panic"),
    ("health_monitor", "health_monitor::tick", "2*off->1*panic"),
    ("delta_detector", "delta_detector::handle", "1*panic"),
    ("delta_detector", "delta_detector::job", "1*panic"),
    ("debouncer", "debouncer::handle", "1*panic"),
    ("debouncer", "debouncer::tick", "1*panic"),
    ("watcher", "watcher::tick", "1*panic"),
    ("control_server", "control_server::accept", "1*off->1*panic"),
];

#[test]
fn actor_that_panics_comes_back_and_nothing_else_is_disturbed() {
    let home = Sandbox::new();
    let world = World::new(&home);
    let daemon = world.start();
    let readers = Readers::start(&world.steady(), NUM_READERS);
    for (actor, point, actions) in PANICS {
        if actor == "control_server" {
            world.points.set(point, actions);
            lose_connections(&daemon);
            world.comes_back(&daemon, actor);
        } else {
            world.fail(&daemon, actor, point, actions);
        }
    }
    assert_barrier_survives_the_watcher(&world, &daemon);
    for (name, numbers) in actors(&daemon) {
        let (failed, waiting) = (numbers.failed, numbers.waiting);
        let is_asked = ["control_server", "fuse_front", "health_monitor"].contains(&&*name);
        assert_eq!(failed, numbers.restarts, "{name}: {}", numbers.last_error);
        assert!(waiting == 0 || is_asked, "{name}: {waiting} are waiting, and the daemon is idle");
    }
    assert_panic_in_a_call_costs_that_call(&world, &daemon);
    assert_parking_is_said(&world, &daemon);
    assert!(readers.finish() > 0);
    let before = walk(&home.mnt());
    daemon.stop();
    let daemon = world.start();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before, "after a restart");
    daemon.stop();
}

/// Connects until the server has lost a connection to its panic.
fn lose_connections(daemon: &Daemon<'_>) {
    eventually("a connection is lost", || {
        let finished = daemon.cli(&["status"]);
        assert!([0, 1].contains(&finished.code()), "{}", finished.err());
        finished.code() == 1
    });
}

/// A connection is a task of its own: its panic is counted, whoever was connected hears of it, and nobody else does.
fn assert_panic_in_a_call_costs_that_call(world: &World<'_>, daemon: &Daemon<'_>) {
    let before = actors(daemon)["control_server"].clone();
    world.points.set("control_server::handle", "1*panic");
    assert_eq!(daemon.cli(&["status"]).code(), 1);
    let after = actors(daemon)["control_server"].clone();
    assert_eq!((after.failed, after.restarts), (before.failed + 1, before.restarts));
}

/// Whoever waits for a barrier when the watcher panics is answered by the next watcher.
fn assert_barrier_survives_the_watcher(world: &World<'_>, daemon: &Daemon<'_>) {
    world.points.set("watcher::handle", "1*panic");
    world.put();
    daemon.idle();
    world.comes_back(daemon, "watcher");
    daemon.idle();
    assert_eq!(files(&world.home.mnt()), *world.expected.borrow());
}

/// An actor that fails again and again is left stopped; `status` says so and what to do, and all else goes on.
fn assert_parking_is_said(world: &World<'_>, daemon: &Daemon<'_>) {
    world.points.set("health_monitor::tick", "panic");
    eventually("it is parked", || actors(daemon)["health_monitor"].parked);
    let numbers = actors(daemon)["health_monitor"].clone();
    assert_eq!((numbers.running, numbers.failed), (false, 6), "five are borne within a minute");
    let status = daemon.cli(&["status"]).ok().out();
    assert!(status.contains("health_monitor"), "{status}");
    assert!(status.contains("restart the daemon"), "it says what to do: {status}");
    world.put();
    daemon.idle();
    assert_eq!(files(&world.home.mnt()), *world.expected.borrow());
}

/// Actors and the points at which they freeze. The catalog freezes with a batch ready to be committed.
const FREEZES: [(&str, &str); 9] = [
    ("catalog", "catalog::settled"),
    ("catalog", "catalog::handle"),
    ("invalidator", "invalidator::handle"),
    ("fuse_front", "fuse_front::tick"),
    ("fetcher/a", "fetcher/a::handle"),
    ("health_monitor", "health_monitor::tick"),
    ("delta_detector", "delta_detector::job"),
    ("debouncer", "debouncer::tick"),
    ("watcher", "watcher::tick"),
];

#[test]
fn actor_that_freezes_is_replaced_and_cannot_do_harm_when_it_wakes() {
    let home = Sandbox::new();
    let world = World::new(&home);
    let daemon = world.start();
    let readers = Readers::start(&world.steady(), NUM_READERS);
    for (actor, point) in FREEZES {
        world.fail(&daemon, actor, point, "1*pause");
        world.points.clear(point); // the thread comes back, and must change nothing
        if point == "catalog::settled" {
            eventually("the writer that woke is refused", || {
                actors(&daemon)["catalog"].last_error.contains("another writer has taken over")
            });
        }
    }
    assert_frozen_server_is_replaced(&world, &daemon);
    assert_stopped_process_is_not_frozen(&world, &daemon);
    daemon.idle();
    assert_eq!(files(&home.mnt()), *world.expected.borrow());
    assert!(readers.finish() > 0);
    let before = inodes(&walk(&home.mnt()));
    daemon.stop();
    let daemon = world.start();
    daemon.idle();
    assert_eq!(inodes(&walk(&home.mnt())), before, "after a restart");
    daemon.stop();
}

/// Runs `musicfs status` beside the test.
fn status_beside(home: &Sandbox) -> JoinHandle<Finished> {
    let mut command: Command = home.command(&["status"]);
    std::thread::spawn(move || run(&mut command))
}

/// The call that the frozen server has ends with the server; every later one is answered.
fn assert_frozen_server_is_replaced(world: &World<'_>, daemon: &Daemon<'_>) {
    world.points.set("control_server::handle", "1*pause");
    let asked = status_beside(world.home);
    // whoever asks before it is replaced waits with it
    let noticed = "actor=control_server why=\"the actor's thread does not answer\"";
    eventually("the freeze is noticed", || std::fs::read_to_string(world.home.log()).unwrap().contains(noticed));
    daemon.step();
    world.comes_back(daemon, "control_server");
    world.points.clear("control_server::handle");
    let finished = asked.join().expect("no panic");
    assert!([0, 1].contains(&finished.code()), "answered, or told that it was not: {}", finished.err());
}

/// Everyone owes a heartbeat after a stop of the whole process, and nobody is to blame for it.
fn assert_stopped_process_is_not_frozen(world: &World<'_>, daemon: &Daemon<'_>) {
    daemon.signal(Signal::STOP);
    // the length of the fault: it must be beyond the limit
    std::thread::park_timeout(Duration::from_millis(2 * FREEZE_LIMIT_MS));
    daemon.signal(Signal::CONT);
    // noticing this freeze takes as many heartbeats as noticing another would have
    world.fail(daemon, "debouncer", "debouncer::handle", "1*pause");
    world.points.clear("debouncer::handle");
}

#[test]
fn daemon_with_three_frozen_threads_ends_so_that_it_is_started_again() {
    let home = Sandbox::new();
    let world = World::new(&home);
    let daemon = world.start();
    for point in ["fuse_front::tick", "health_monitor::tick", "watcher::tick"] {
        world.points.set(point, "1*pause");
    }
    let status = daemon.wait_exit();
    assert_eq!(status.code(), Some(1), "a failure, by which a service manager starts it again");
    assert!(!mounted(&home.mnt()), "no dead mount is left behind");
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("too many actor threads are frozen"), "{log}");
    assert!(log.contains("actors of the daemon froze, so it ended"), "{log}");
    drop(daemon);
    let daemon = home.start_with(home.command(&["mount"]).arg(home.mnt()));
    assert_eq!(files(&home.mnt()), *world.expected.borrow());
    daemon.stop();
}
