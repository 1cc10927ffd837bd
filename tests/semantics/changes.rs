//! Promises about changes in an origin.
//!
//! Each test makes one change on the disk, waits until the daemon says that it is idle, and looks through the kernel.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;

use crate::promised;
use crate::support::daemon::Daemon;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, ino, set};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home
}

#[test]
fn change_is_visible_once_idle() {
    promised(
        "After `musicfs wait --for idle` every change that was made in a local origin before is visible in the mount.",
    );
    let home = home();
    let daemon = home.start();
    for number in 2..12 {
        home.put(&format!("{number}.flac"), &Track::new("Artist", "Album", number, "More").flac());
        daemon.idle();
        assert!(home.shown(&format!("Artist/Album (2020)/{number:02} - More.flac")).exists(), "{number}");
    }
    daemon.stop();
}

#[test]
fn folder_mtime_moves_with_its_names_only() {
    promised("A folder's modification time changes when a name in it comes or goes, and not otherwise.");
    let home = home();
    let daemon = home.start();
    let mtime =
        || fs::metadata(home.shown("Artist/Album (2020)")).map(|meta| (meta.mtime(), meta.mtime_nsec())).unwrap();
    let before = mtime();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").salted(2).flac());
    daemon.idle();
    assert_eq!(mtime(), before);
    home.put("two.flac", &Track::new("Artist", "Album", 2, "Two").flac());
    daemon.idle();
    let with_two = mtime();
    assert!(with_two > before);
    fs::remove_file(home.origin().join("two.flac")).unwrap();
    daemon.idle();
    assert!(mtime() > with_two);
    daemon.stop();
}

#[test]
fn file_that_comes_back_keeps_its_inode() {
    promised("A file that is deleted and comes back unchanged within 30 days keeps its inode number.");
    let home = home();
    let daemon = home.start();
    let before = ino(&home.shown(SHOWN));
    fs::rename(home.origin().join("one.flac"), home.path("stage/one.flac")).unwrap();
    daemon.idle();
    assert!(!home.shown(SHOWN).exists());
    fs::rename(home.path("stage/one.flac"), home.origin().join("one.flac")).unwrap();
    daemon.idle();
    assert_eq!(ino(&home.shown(SHOWN)), before);
    daemon.stop();
}

#[test]
fn change_while_nobody_looked_is_found_at_the_next_start() {
    promised("Changes made while no daemon ran are found at the next start.");
    let home = home();
    home.start().stop();
    home.put("one.flac", &Track::new("Artist", "Other", 1, "One").flac());
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), set(["Artist/Other (2020)/01 - One.flac"]));
    daemon.stop();
}

#[test]
fn interrupted_scan_goes_on_where_it_was() {
    promised(
        "A first scan that is interrupted goes on where it was: the tags of at most 256 files are read a second time.",
    );
    let home = Sandbox::new();
    for number in 0..600 {
        home.put(&format!("{number}.flac"), &Track::new("Artist", "Album", number, "T").flac());
    }
    let points = Failpoints::new(&home);
    points.preset("delta_detector::batch_applied", "1*off->return");
    let daemon = Daemon::spawn(&home, points.arm(&mut home.mount_command()));
    assert_eq!(daemon.wait_exit().signal(), Some(6), "it dies when two batches are done");
    drop(daemon);
    let daemon = home.start();
    assert_eq!(sum(&daemon.metrics(), "musicfs_fetcher_requests_total", &[("purpose", "tags")]), 600 - 2 * 256);
    assert_eq!(files(&home.mnt()).len(), 600);
    daemon.stop();
}

/// The README's first limit: the place stays, the bytes are right.
#[test]
fn edit_that_keeps_size_and_mtime_shows_its_bytes() {
    let home = home();
    let daemon = home.start();
    let plain = home.origin().join("one.flac");
    let mtime = filetime::FileTime::from_last_modification_time(&fs::metadata(&plain).unwrap());
    let edited = Track::new("Artist", "Album", 1, "One").salted(3).flac();
    fs::write(&plain, &edited).unwrap();
    filetime::set_file_mtime(&plain, mtime).unwrap();
    daemon.idle();
    assert_eq!(fs::read(home.shown(SHOWN)).unwrap(), edited);
    daemon.stop();
}
