//! kill -9 at any moment, and start again: the catalog is whole, the inode numbers are the same, the mount is taken over.
//!
//! The moments are chosen at random and printed. "While something happens" is made true by a child that reads the mount
//! in a loop, and by a first scan that is long enough to be hit in its middle.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::daemon::{Daemon, clear, mounted};
use crate::support::eventually;
use crate::support::music::Track;
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{Tree, files, inodes, try_walk, walk};

/// The share of each of the four tests here, in percent; with 5 for each of the seven of `kill_points` it makes a hundred or so.
const SHARE: usize = 16;

fn num_kills() -> usize {
    crate::more_kills(SHARE)
}

fn library(home: &Sandbox, num_tracks: u32) {
    for number in 0..num_tracks {
        let track = Track::new(&format!("Artist {}", number % 9), "Album", number, &format!("Title {number}"));
        home.put(&format!("{}/{number}.flac", number % 13), &track.flac());
    }
}

/// A child that reads everything below a folder again and again, whatever errors it meets.
struct Reader(Child);

impl Reader {
    fn start(home: &Sandbox) -> Self {
        let script = "while :; do cat \"$0\"/*/*/* >/dev/null 2>&1; ls -lR \"$0\" >/dev/null 2>&1; done";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(home.mnt()).stdin(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        crate::support::command::kill_group(rustix::process::Pid::from_child(&self.0));
        let _ = self.0.wait();
    }
}

/// Lets the daemon live for a random while. The length of it is the fault's place, not something that is waited for.
fn live_a_while(daemon: &Daemon<'_>, random: &mut Random, up_to_ms: usize) {
    daemon.step();
    std::thread::park_timeout(Duration::from_millis(random.below(up_to_ms) as u64));
}

#[track_caller]
fn assert_mount_answers(home: &Sandbox) {
    // Opening a folder asks the daemon; its attributes the kernel might know by itself.
    fs::read_dir(home.mnt()).unwrap_or_else(|error| panic!("the mountpoint answers: {error}"));
    assert!(mounted(&home.mnt()));
}

#[test]
fn killed_daemon_starts_again_with_the_same_tree_and_inodes() {
    let mut random = Random::new(Random::seed("kill"));
    let home = Sandbox::new();
    library(&home, 150);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.kill9();
    for _ in 0..num_kills() {
        let error = fs::read_dir(home.mnt()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(107), "a dead mount is what the next start has to clear");
        let daemon = home.start();
        assert_mount_answers(&home);
        assert_eq!(walk(&home.mnt()), before);
        live_a_while(&daemon, &mut random, 300);
        daemon.kill9();
    }
    let daemon = home.start();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn daemon_killed_while_a_child_reads_starts_again_with_the_same_tree_and_inodes() {
    let mut random = Random::new(Random::seed("kill while reading"));
    let home = Sandbox::new();
    library(&home, 100);
    let daemon = home.start();
    let before = walk(&home.mnt());
    let reader = Reader::start(&home);
    live_a_while(&daemon, &mut random, 500);
    daemon.kill9();
    for _ in 0..num_kills() {
        let daemon = home.start();
        assert_mount_answers(&home);
        live_a_while(&daemon, &mut random, 500);
        assert_eq!(walk(&home.mnt()), before);
        daemon.kill9();
    }
    drop(reader);
    let daemon = home.start();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn daemon_killed_in_its_first_scan_goes_on_and_keeps_the_inodes_that_were_seen() {
    let mut random = Random::new(Random::seed("kill in the first scan"));
    let home = Sandbox::new();
    library(&home, 1500);
    let mut seen = Tree::new();
    for _ in 0..num_kills() {
        let daemon = Daemon::spawn(&home, &mut home.mount_command());
        eventually("the mount appears", || mounted(&home.mnt()));
        live_a_while(&daemon, &mut random, 400);
        // A walk in the middle of a scan may meet a name that has just gone; then this round shows nothing.
        if let Ok(now) = try_walk(&home.mnt()) {
            for (path, node) in &seen {
                assert_eq!(now.get(path).map(|node| node.ino), Some(node.ino), "{}", path.display());
            }
            seen = now;
        }
        daemon.kill9();
        // With the dead mount still there, the next round could not tell when its own appears.
        clear(&home.mnt());
    }
    let daemon = home.start();
    assert_eq!(files(&home.mnt()).len(), 1500);
    let end = inodes(&walk(&home.mnt()));
    for (path, node) in &seen {
        assert_eq!(end.get(path), Some(&node.ino), "{}", path.display());
    }
    daemon.stop();
}

#[test]
fn daemon_killed_amid_changes_shows_all_of_them_after_the_next_start() {
    let mut random = Random::new(Random::seed("kill amid changes"));
    let home = Sandbox::new();
    library(&home, 60);
    for round in 0..num_kills() as u32 {
        let daemon = home.start();
        for number in 0..40 {
            let track = Track::new("Late", &format!("Round {round}"), number, "T");
            home.put(&format!("late{round}/{number}.flac"), &track.flac());
            if number % 10 == 0 {
                live_a_while(&daemon, &mut random, 120);
            }
        }
        live_a_while(&daemon, &mut random, 600);
        daemon.kill9();
        let daemon = home.start();
        daemon.idle();
        assert_eq!(files(&home.mnt()).len(), 60 + 40 * (round as usize + 1));
        daemon.stop();
    }
}

#[test]
fn dead_mount_of_somebody_else_is_not_needed_for_a_start_elsewhere() {
    let home = Sandbox::new();
    library(&home, 3);
    let other = Sandbox::new();
    library(&other, 3);
    other.start().kill9();
    let daemon = home.start();
    assert_eq!(files(&home.mnt()).len(), 3);
    assert!(fs::read_dir(other.mnt()).is_err(), "another daemon's dead mount is not ours to clear");
    clear(&other.mnt());
    daemon.stop();
}
