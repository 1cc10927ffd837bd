//! Times that are not what one expects: mtimes in the future and before 1970, rewrites that no clock tells apart.
//!
//! Nothing may be decided by comparing a file's time with the clock: times are compared with each other, and only for
//! being equal.

use std::fs;
use std::path::Path;

use filetime::FileTime;

use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{listed, set, walk};

fn one(album: &str) -> Vec<u8> {
    Track::new("Artist", album, 1, "One").flac()
}

const FIRST: &str = "Artist/First (2020)/01 - One.flac";
const OTHER: &str = "Artist/Other (2020)/01 - One.flac";

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &one("First"));
    home
}

fn mtime(path: &Path) -> FileTime {
    FileTime::from_last_modification_time(&fs::metadata(path).unwrap())
}

/// Other bytes of the same length, with the times that a program can set put back.
fn rewrite_unseen(path: &Path, bytes: &[u8]) {
    let before = mtime(path);
    assert_eq!(fs::metadata(path).unwrap().len(), bytes.len() as u64);
    fs::write(path, bytes).unwrap();
    filetime::set_file_mtime(path, before).unwrap();
}

#[test]
fn files_of_any_age_are_shown_with_their_times_and_read_once() {
    let home = Sandbox::new();
    let day = 24 * 60 * 60;
    let ages = [0, -1, -day * 365 * 30, 1, 4_102_444_800, 15_000_000_000, i64::from(i32::MAX) + 1];
    for (number, secs) in ages.into_iter().enumerate() {
        let path = home.put(&format!("{number}.flac"), &Track::new("A", "B", number as u32 + 1, "T").flac());
        filetime::set_file_mtime(&path, FileTime::from_unix_time(secs, 999_999_999)).unwrap();
    }
    let times = |root: &Path| walk(root).into_iter().map(|(path, node)| (path, node.mtime)).collect::<Vec<_>>();
    let daemon = home.start();
    let (raw, origin) = (home.shown(".origins/a"), home.origin());
    assert_eq!(times(&raw), times(&origin));
    let reads = || sum(&daemon.metrics(), "musicfs_fetcher_requests_total", &[("purpose", "tags")]);
    let before = reads();
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
    assert_eq!(reads(), before, "a time in the future does not make a file suspect");
    let path = origin.join("0.flac");
    filetime::set_file_mtime(&path, FileTime::from_unix_time(-5, 1)).unwrap();
    daemon.idle();
    assert_eq!(times(&raw), times(&origin));
    daemon.stop();
}

#[test]
fn rewrite_that_keeps_size_and_mtime_is_noticed() {
    let home = home();
    let path = home.origin().join("one.flac");
    let daemon = home.start();
    rewrite_unseen(&path, &one("Other"));
    daemon.idle();
    assert_eq!(listed(&home.mnt()), set([OTHER]));
    daemon.stop();
    rewrite_unseen(&path, &one("First"));
    let daemon = home.start();
    daemon.idle();
    assert_eq!(listed(&home.mnt()), set([FIRST]), "also while no daemon ran");
    daemon.stop();
}

#[test]
fn replacement_that_keeps_size_and_mtime_is_noticed() {
    let home = home();
    let path = home.origin().join("one.flac");
    let replace = |album: &str| {
        let staged = home.path("stage/next");
        fs::write(&staged, one(album)).unwrap();
        filetime::set_file_mtime(&staged, mtime(&path)).unwrap();
        fs::rename(&staged, &path).unwrap();
    };
    let daemon = home.start();
    replace("Other");
    daemon.idle();
    assert_eq!(listed(&home.mnt()), set([OTHER]));
    daemon.stop();
    replace("First");
    let daemon = home.start();
    daemon.idle();
    assert_eq!(listed(&home.mnt()), set([FIRST]));
    daemon.stop();
}

#[test]
fn rewrites_as_fast_as_the_clock_ticks_end_as_the_last_one() {
    let home = home();
    let path = home.origin().join("one.flac");
    let daemon = home.start();
    for round in 0..40 {
        for album in ["Other", "First", "Third", if round % 2 == 0 { "Other" } else { "First" }] {
            rewrite_unseen(&path, &one(album));
        }
        daemon.idle();
        assert_eq!(listed(&home.mnt()), set([if round % 2 == 0 { OTHER } else { FIRST }]), "round {round}");
    }
    daemon.stop();
}

#[test]
fn file_rewritten_while_its_tags_are_read_ends_as_what_was_written() {
    let home = home();
    let points = Failpoints::new(&home);
    let daemon = home.start_with(points.arm(&mut home.mount_command()));
    daemon.idle();
    let reads = || sum(&daemon.metrics(), "musicfs_fetcher_requests_total", &[("purpose", "tags")]);
    for rewrite in [rewrite_unseen, |path: &Path, bytes: &[u8]| fs::write(path, bytes).unwrap()] {
        let before = reads();
        points.set("delta_detector::tags_fetched", "pause");
        let path = home.put("two.flac", &Track::new("Artist", "Right", 2, "Two").flac());
        eventually("the tags are being read", || reads() > before);
        rewrite(&path, &Track::new("Artist", "Wrong", 2, "Two").flac());
        points.clear("delta_detector::tags_fetched");
        daemon.idle();
        assert_eq!(listed(&home.mnt()), set([FIRST, "Artist/Wrong (2020)/02 - Two.flac"]));
        fs::remove_file(path).unwrap();
        daemon.idle();
    }
    daemon.stop();
}
