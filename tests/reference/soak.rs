//! The model again, while actors panic and twenty readers compare bytes.
//!
//! One actor after another, chosen at random, panics once at one of its failpoints in the middle of operations. Each time
//! it must come back, and no other; what the mount shows must be what the model says; and whoever reads files that do not
//! change must notice nothing at all. `MUSICFS_PANICS` sets the number of panics. They are spread over the actors so that
//! none fails so often within a minute that it would be left stopped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ops::World;
use crate::run::{compare, forget_marks, step};
use crate::support::actors::restarts;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::random::Random;
use crate::support::readers::Readers;
use crate::support::sandbox::Sandbox;
use crate::support::tree::walk;

const NUM_READERS: usize = 20;

/// Panics of one actor before it is left in peace, below the number that parks it, and for how long: a minute without a
/// failure makes its policy forget.
const MAX_BURST: u32 = 3;
const PEACE: Duration = Duration::from_secs(61);

/// Actors and where they panic.
const POINTS: [(&str, &str); 14] = [
    ("catalog", "catalog::handle"),
    ("catalog", "catalog::tick"),
    ("catalog", "catalog::after_commit"),
    ("invalidator", "invalidator::handle"),
    ("invalidator", "invalidator::notify"),
    ("fuse_front", "fuse_front::tick"),
    ("fetcher/a", "fetcher/a::handle"),
    ("health_monitor", "health_monitor::handle"),
    ("delta_detector", "delta_detector::handle"),
    ("delta_detector", "delta_detector::job"),
    ("debouncer", "debouncer::handle"),
    ("debouncer", "debouncer::tick"),
    ("watcher", "watcher::handle"),
    ("control_server", "control_server::accept"),
];

fn num_panics() -> u64 {
    std::env::var("MUSICFS_PANICS").ok().and_then(|text| text.parse().ok()).unwrap_or(18)
}

/// How often an actor has panicked lately.
#[derive(Default)]
struct Burst(Option<(Instant, u32)>);

impl Burst {
    fn may_panic(&self) -> bool {
        self.0.is_none_or(|(last, count)| count < MAX_BURST || last.elapsed() >= PEACE)
    }

    fn note(&mut self) {
        let before = self.0.filter(|(last, _)| last.elapsed() < PEACE).map_or(0, |(_, count)| count);
        self.0 = Some((Instant::now(), before + 1));
    }
}

/// Lets operations settle and compares.
fn settle(daemon: &Daemon<'_>, world: &mut World<'_>) {
    step(world);
    daemon.idle();
    compare(world);
    forget_marks(&mut world.origin);
}

/// Goes on with operations until the point has been passed, which the actor's restart shows.
fn panic_once(daemon: &Daemon<'_>, world: &mut World<'_>, actor: &str, before: &BTreeMap<String, u64>) {
    if actor == "control_server" {
        // whoever is connecting loses its connection, so it must not be `wait`
        return eventually("a connection is lost", || daemon.cli(&["status"]).code() == 1);
    }
    eventually(&format!("{actor} panics"), || {
        settle(daemon, world);
        restarts(daemon) != *before
    });
}

#[test]
fn mount_agrees_with_the_model_while_actors_panic() {
    let random = Random::new(Random::seed("panics"));
    let home = Sandbox::new();
    let points = Failpoints::new(&home);
    points.preset("health_monitor::interval_ms", "return(200)");
    let mut world = World::new(&home, random);
    let steady = world.add_steady(8);
    let daemon = home.start_with(points.arm(&mut home.mount_command()));
    daemon.idle();
    let readers = Readers::start(&steady, NUM_READERS);
    let mut expected = BTreeMap::new();
    let mut bursts: BTreeMap<&str, Burst> = BTreeMap::new();
    while expected.values().sum::<u64>() < num_panics() {
        let (actor, point) = *world.random.pick(&POINTS);
        let burst = bursts.entry(actor).or_default();
        if !burst.may_panic() {
            settle(&daemon, &mut world);
            continue;
        }
        println!("{point}");
        points.set(point, "1*panic");
        panic_once(&daemon, &mut world, actor, &expected);
        burst.note();
        *expected.entry(actor.to_owned()).or_default() += 1;
        eventually(&format!("{actor} is started again"), || restarts(&daemon).get(actor) == expected.get(actor));
        assert_eq!(restarts(&daemon), expected, "as many restarts as panics, and of no other actor");
        settle(&daemon, &mut world);
    }
    println!("{} files read right beside {} panics", readers.finish(), num_panics());
    let before = walk(&home.mnt());
    daemon.stop();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before, "after a restart");
    compare(&mut world);
    daemon.stop();
}
