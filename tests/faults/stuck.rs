//! A disk that does not answer holds up nobody but those who read from it.
//!
//! The threads of an origin's pool stop at a failpoint, as they do in a dead mount, and 64 readers wait for them. What is
//! asserted is what others get meanwhile, and that what waits stays at its bounds: requests, bytes and threads. Those who
//! wait get their bytes when the disk answers in time, and an error when it does not.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::statvfs;

use crate::support::actors::actors;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;

const NUM_READERS: usize = 64;

/// What each of them reads: the kernel's usual request.
const READ: usize = 128 << 10;

/// The byte budget of an origin, as the daemon has it.
const PERMIT_BYTES: u64 = 4 << 20;

/// Threads of an origin's pool.
const POOL_THREADS: usize = 16;

/// A library of two origins whose reads all go to their pools.
struct World<'a> {
    home: &'a Sandbox,
    points: Failpoints,
    /// The bytes of the long track of origin `a`.
    long: Arc<Vec<u8>>,
}

impl<'a> World<'a> {
    fn new(home: &'a Sandbox) -> Self {
        let points = Failpoints::new(home);
        points.preset("fuse_front::read_now", "return"); // nothing is in memory
        let mut long = Track::new("Long", "Album", 1, "T").flac();
        long.extend(Random::new(7).bytes(NUM_READERS * READ));
        home.put("long.flac", &long);
        fs::create_dir(home.path("b")).unwrap();
        fs::write(home.path("b/other.flac"), Track::new("Other", "Album", 1, "T").flac()).unwrap();
        Self { home, points, long: Arc::new(long) }
    }

    fn start(&self) -> Daemon<'a> {
        let mut command = self.home.mount_command();
        command.arg("--origin").arg(format!("b={}", self.home.path("b").display()));
        self.home.start_with(self.points.arm(&mut command))
    }

    fn long_path(&self) -> PathBuf {
        self.home.shown("Long/Album (2020)/01 - T.flac")
    }

    /// Starts readers of the long track, each of another part of it.
    fn read_beside(&self, file: &Arc<File>) -> Vec<JoinHandle<io::Result<()>>> {
        let reader = |number: usize| {
            let (file, long) = (Arc::clone(file), Arc::clone(&self.long));
            std::thread::spawn(move || {
                let (mut buffer, offset) = (vec![0; READ], number * READ);
                file.read_exact_at(&mut buffer, offset as u64)?;
                assert_eq!(buffer, long[offset..offset + READ], "the bytes of part {number}");
                Ok(())
            })
        };
        (0..NUM_READERS).map(reader).collect()
    }

    /// What everyone else must get while the readers of `a` are stuck.
    fn assert_others_go_on(&self, daemon: &Daemon<'_>) {
        let other = self.home.shown("Other/Album (2020)/01 - T.flac");
        assert_eq!(fs::read(&other).unwrap(), fs::read(self.home.path("b/other.flac")).unwrap());
        for folder in ["Long/Album (2020)", "Other/Album (2020)", ".origins/a"] {
            let names: Vec<_> = fs::read_dir(self.home.shown(folder)).unwrap().map(|entry| entry.unwrap()).collect();
            assert_eq!(names.len(), 1, "{folder}");
            names[0].metadata().unwrap();
        }
        assert!(daemon.cli(&["status"]).ok().out().contains("tracks"));
    }
}

/// Threads of the daemon that belong to an origin's pool.
fn pool_threads(daemon: &Daemon<'_>, origin: &str) -> usize {
    let tasks = format!("/proc/{}/task", daemon.pid().as_raw_nonzero());
    let names =
        fs::read_dir(tasks).unwrap().filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with(&format!("origin-{origin}-"))).count()
}

fn wait_until_stuck(daemon: &Daemon<'_>) {
    eventually("all of them wait", || actors(daemon)["fuse_front"].waiting == NUM_READERS as u64);
}

#[test]
fn readers_stuck_on_one_disk_delay_nobody_else() {
    let home = Sandbox::new();
    let world = World::new(&home);
    let daemon = world.start();
    daemon.idle();
    let file = Arc::new(File::open(world.long_path()).unwrap());
    world.points.set("pool::origin-a", "pause");
    let readers = world.read_beside(&file);
    wait_until_stuck(&daemon);
    world.assert_others_go_on(&daemon);
    wait_until_stuck(&daemon);
    let held = sum(&daemon.metrics(), "musicfs_fetcher_permit_bytes", &[("origin", "a")]);
    assert!((PERMIT_BYTES - READ as u64..=PERMIT_BYTES).contains(&held), "{held}: used up and never exceeded");
    assert_eq!(pool_threads(&daemon, "a"), POOL_THREADS);
    // a disk that answers in time has kept nobody from his bytes
    world.points.clear("pool::origin-a");
    for reader in readers {
        reader.join().expect("right bytes").expect("no error");
    }
    let metrics = daemon.metrics();
    assert_eq!(sum(&metrics, "musicfs_fetcher_permit_bytes", &[]), 0);
    assert_waited(&metrics);
    drop(file);
    daemon.stop();
}

/// The waiting of the readers that had no permit is counted, in their lane and at their origin.
fn assert_waited(metrics: &str) {
    let series = "musicfs_fetcher_permit_wait_seconds_total";
    let line = |origin: &str| {
        let labels = format!("{series}{{origin=\"{origin}\",lane=\"demand\"}} ");
        let value = metrics.split(&labels).nth(1).and_then(|rest| rest.lines().next());
        value.unwrap_or_else(|| panic!("{labels} in {metrics}")).parse::<f64>().unwrap()
    };
    assert!(line("a") > 0.0, "{metrics}");
    assert!(line("b") == 0.0, "{metrics}");
}

#[test]
fn readers_of_a_disk_that_never_answers_get_an_error() {
    let home = Sandbox::new();
    let world = World::new(&home);
    world.points.preset("fuse_front::wait_limit_ms", "return(700)");
    let daemon = world.start();
    daemon.idle();
    let file = Arc::new(File::open(world.long_path()).unwrap());
    world.points.set("pool::origin-a", "pause");
    for reader in world.read_beside(&file) {
        let error = reader.join().expect("no bytes at all").expect_err("the disk has not answered");
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
    }
    world.assert_others_go_on(&daemon);
    assert_eq!(pool_threads(&daemon, "a"), POOL_THREADS);
    world.points.clear("pool::origin-a");
    for reader in world.read_beside(&file) {
        reader.join().expect("right bytes").expect("the disk is back");
    }
    eventually("everything is given back", || {
        sum(&daemon.metrics(), "musicfs_fetcher_permit_bytes", &[("origin", "a")]) == 0
    });
    drop(file);
    daemon.stop();
}

#[test]
fn cache_disk_that_hangs_holds_up_one_df_and_nothing_else() {
    let home = Sandbox::new();
    let world = World::new(&home);
    world.points.preset("fuse_front::wait_limit_ms", "return(2000)");
    let daemon = world.start();
    let known = statvfs(home.mnt()).unwrap();
    world.points.set("fuse_front::disk_usage", "1*pause");
    let mountpoint = home.mnt();
    let stuck = std::thread::spawn(move || statvfs(mountpoint).map(drop));
    eventually("it waits", || actors(&daemon)["fuse_front"].waiting == 1);
    for _ in 0..8 {
        assert_eq!(statvfs(home.mnt()).unwrap().f_blocks, known.f_blocks, "the last known answer");
    }
    world.assert_others_go_on(&daemon);
    let error = stuck.join().expect("no panic").expect_err("the disk has not answered");
    assert_eq!(error, rustix::io::Errno::IO);
    world.points.clear("fuse_front::disk_usage");
    eventually("it is asked again", || statvfs(home.mnt()).is_ok_and(|now| now.f_blocks == known.f_blocks));
    daemon.stop();
}
