//! A scan that is killed goes on where it was, and work that has been done once is not done again.
//!
//! The daemon dies at a failpoint, as by kill -9, when so many batches of a first scan have been applied. What the next run
//! reads is counted at its fetcher, to the request.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use crate::support::daemon::Daemon;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, inodes, walk};

/// Files whose tags are read before they are handed to the catalog: the daemon's own number.
const BATCH: u64 = 256;

const TAG_READS: &str = "musicfs_fetcher_requests_total";

fn tag_reads(daemon: &Daemon<'_>) -> u64 {
    sum(&daemon.metrics(), TAG_READS, &[("purpose", "tags")])
}

fn library(num_tracks: u32) -> Sandbox {
    let home = Sandbox::new();
    for number in 0..num_tracks {
        let track = Track::new(&format!("Artist {}", number % 7), "Album", number, "T");
        home.put(&format!("{number:05}.flac"), &track.flac());
    }
    home
}

#[test]
fn first_scan_that_is_killed_reads_no_tags_twice_that_were_handed_over() {
    let num_tracks = 1_500;
    let home = library(num_tracks);
    let points = Failpoints::new(&home);
    let mut read_before = 0;
    for num_batches in [1, 3] {
        points.preset("delta_detector::batch_applied", &format!("{}*off->return", num_batches - 1));
        let daemon = Daemon::spawn(&home, points.arm(&mut home.mount_command()));
        assert_eq!(daemon.wait_exit().signal(), Some(6), "it dies in its scan");
        drop(daemon);
        // known files are looked at in the batches too, and not read
        read_before = u64::max(read_before, num_batches * BATCH);
    }
    points.preset("delta_detector::batch_applied", "off");
    let daemon = home.start_with(points.arm(&mut home.mount_command()));
    assert_eq!(tag_reads(&daemon), u64::from(num_tracks) - read_before, "one read for each file that is left");
    assert_eq!(files(&home.mnt()).len(), num_tracks as usize);
    let before = inodes(&walk(&home.mnt()));
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
    assert_eq!(tag_reads(&daemon), u64::from(num_tracks) - read_before);
    assert_eq!(inodes(&walk(&home.mnt())), before);
    daemon.stop();
}

#[test]
fn renamed_folder_of_ten_thousand_files_keeps_their_numbers_and_reads_nothing() {
    const NUM_FILES: u64 = 10_000;
    let home = Sandbox::new();
    for number in 0..NUM_FILES as u32 {
        let track = Track { audio_len: 1, ..Track::new(&format!("Artist {}", number % 50), "Album", number, "T") };
        home.put(&format!("old/{}/{number}.flac", number % 100), &track.flac());
    }
    let daemon = home.start();
    daemon.idle();
    let before = inodes(&walk(&home.mnt()));
    let raw_before = inodes(&walk(&home.shown(".origins/a/old")));
    let text = daemon.metrics();
    let moved = |text: &str| sum(text, "musicfs_catalog_changes_total", &[("op", "moved")]);
    let calls = |text: &str, op| sum(text, "musicfs_fetcher_calls_total", &[("op", op)]);
    fs::rename(home.origin().join("old"), home.origin().join("new")).unwrap();
    daemon.idle();
    let after = daemon.metrics();
    assert_eq!(tag_reads(&daemon), sum(&text, TAG_READS, &[("purpose", "tags")]), "no tags are read");
    assert_eq!(moved(&after) - moved(&text), NUM_FILES);
    for op in ["added", "modified", "removed"] {
        let changes = |text: &str| sum(text, "musicfs_catalog_changes_total", &[("op", op)]);
        assert_eq!(changes(&after), changes(&text), "{op}");
    }
    // one look at each old path, and the names of the events
    let stats = calls(&after, "stat") - calls(&text, "stat");
    assert!(stats <= NUM_FILES + 20, "{stats} stats");
    let pages = calls(&after, "list") - calls(&text, "list");
    assert!(pages <= 2 * NUM_FILES / 1_000, "{pages} pages, twice the folder at most: the event and the new watches");
    assert_eq!(inodes(&walk(&home.mnt())), before);
    let raw_after = inodes(&walk(&home.shown(".origins/a/new")));
    let files_of = |tree: &std::collections::BTreeMap<std::path::PathBuf, u64>| {
        tree.iter().filter(|(path, _)| path.extension().is_some()).map(|(path, ino)| (path.clone(), *ino)).collect()
    };
    let (raw_before, raw_after): (Vec<_>, Vec<_>) = (files_of(&raw_before), files_of(&raw_after));
    assert_eq!(raw_after, raw_before);
    daemon.stop();
}
