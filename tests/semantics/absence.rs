//! Promises about origins that are away, first looks and a killed daemon.
//!
//! The faults are those of real life: a folder that is renamed away, files that are deleted, a process that is killed.

use std::fs;

use rustix::process::Signal;

use crate::promised;
use crate::support::daemon::{Daemon, mounted};
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{names_in, walk};

fn home(num_tracks: u32) -> Sandbox {
    let home = Sandbox::new();
    for number in 1..=num_tracks {
        home.put(&format!("music/{number}.flac"), &Track::new("Artist", "Album", number, "T").flac());
    }
    home
}

const ALBUM: &str = "Artist/Album (2020)";

#[test]
fn vanished_origin_keeps_its_tree() {
    promised("An origin whose folder has vanished keeps its tree; reading its files is an error until it is back.");
    let home = home(5);
    let daemon = home.start();
    let before = walk(&home.mnt());
    fs::rename(home.origin(), home.path("away")).unwrap();
    daemon.cli(&["origin", "rescan", "a"]);
    daemon.idle();
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 5);
    assert!(fs::read(home.shown(ALBUM).join("01 - T.flac")).is_err());
    fs::rename(home.path("away"), home.origin()).unwrap();
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn large_removal_needs_a_word() {
    promised(
        "A listing that would remove more than half of an origin and more than 20 of its files removes nothing until `musicfs origin rescan NAME --accept-removals`.",
    );
    let home = home(40);
    let daemon = home.start();
    daemon.stop();
    for number in 1..=30 {
        fs::remove_file(home.origin().join(format!("music/{number}.flac"))).unwrap();
    }
    let daemon = home.start();
    daemon.idle();
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 40);
    daemon.cli(&["origin", "rescan", "a", "--accept-removals"]).ok();
    daemon.idle();
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 10);
    daemon.stop();
}

#[test]
fn first_look_is_not_at_an_empty_folder() {
    promised(
        "The first look at a new library waits for its first listing, so that a scanner never sees an empty folder.",
    );
    let home = home(200);
    let daemon = Daemon::spawn(&home, &mut home.mount_command());
    eventually("the mount appears", || mounted(&home.mnt()));
    assert_eq!(names_in(&home.mnt()), ["Artist"]);
    daemon.scanned();
    daemon.stop();
}

#[test]
fn killed_daemon_starts_again() {
    promised("A daemon that was killed starts again on the same mountpoint with the same tree and inode numbers.");
    let home = home(20);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.kill9();
    let daemon = home.start();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn end_takes_the_mount_away_and_a_second_signal_hurries() {
    promised(
        "A daemon that is told to end takes its mount away, whoever is in it and whatever hangs; a second signal ends it at once.",
    );
    let home = home(2);
    let failpoints = Failpoints::new(&home);
    let daemon = home.start_with(failpoints.arm(&mut home.mount_command()));
    let open = std::fs::File::open(home.shown(ALBUM)).unwrap();
    failpoints.set("stop::before_unmount", "pause");
    daemon.signal(Signal::TERM);
    home.logged("stopping");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().code(), Some(130));
    assert!(!mounted(&home.mnt()));
    drop(open);
}
