//! Promises about origins that are away, first looks and a killed daemon.
//!
//! The faults are those of real life: a folder that is renamed away, files that are deleted, a process that is killed.

use std::fs;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::promised;
use crate::support::daemon::{Daemon, mounted};
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::require_root;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{names_in, walk};
use crate::support::user::private_mounts;

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
fn held_back_removals_stay_held_back() {
    promised(
        "Files whose removal was held back so stay, over restarts and whatever else comes or goes, until they are seen again or removals are accepted.",
    );
    let home = home(30);
    home.start().stop();
    fs::rename(home.origin().join("music"), home.path("stage/music")).unwrap();
    home.start().stop();
    for number in 1..=100 {
        home.put(&format!("new/{number}.flac"), &Track::new("New", "Album", number, "T").flac());
    }
    let daemon = home.start();
    fs::remove_file(home.origin().join("new/100.flac")).unwrap();
    daemon.idle();
    assert_eq!(names_in(&home.shown("New/Album (2020)")).len(), 99);
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 30);
    fs::rename(home.path("stage/music"), home.origin().join("music")).unwrap();
    daemon.idle();
    fs::remove_file(home.origin().join("music/1.flac")).unwrap();
    daemon.idle();
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 29);
    daemon.stop();
}

#[test]
fn unmounted_filesystem_keeps_its_files() {
    promised(
        "When a filesystem that is mounted below an origin's folder is unmounted, the files that were on it stay.",
    );
    require_root!("mount filesystems");
    private_mounts().unwrap();
    let home = home(3);
    let disk = home.origin().join("disk");
    fs::create_dir(&disk).unwrap();
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), None).unwrap();
    fs::write(disk.join("4.flac"), Track::new("Artist", "Album", 4, "T").flac()).unwrap();
    let daemon = home.start();
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 4);
    unmount(&disk, UnmountFlags::DETACH).unwrap();
    daemon.idle();
    assert_eq!(names_in(&home.shown(ALBUM)).len(), 4);
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
