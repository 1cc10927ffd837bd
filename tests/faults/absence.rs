//! Absence: a root that vanished, a disk that is mounted no more, a folder that cannot be read remove nothing.
//!
//! An unmounted disk lists successfully and empty, and a media server that scans then wipes its library. So removals are
//! believed only when they are few, or when a person says so.

use std::fs;

use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, listed, walk};

fn library(num_tracks: u32) -> Sandbox {
    let home = Sandbox::new();
    for number in 0..num_tracks {
        let track = Track::new(&format!("Artist {}", number % 5), "Album", number, "T");
        home.put(&format!("music/{}/{number}.flac", number % 7), &track.flac());
    }
    home
}

fn rescan(daemon: &Daemon<'_>, accept: bool) {
    let args: &[&str] = &["origin", "rescan", "a", "--accept-removals"];
    // A rescan that comes to no good end may say so by its exit code; what counts is what the tree shows afterwards.
    daemon.cli(if accept { args } else { &args[..3] });
    daemon.idle();
}

fn state(daemon: &Daemon<'_>) -> String {
    let out = daemon.cli(&["origin", "list", "--json"]).ok().out();
    serde_json::from_str::<serde_json::Value>(&out).unwrap().to_string()
}

#[test]
fn vanished_root_keeps_its_tree_and_comes_back() {
    let home = library(50);
    let daemon = home.start();
    let before = walk(&home.mnt());
    fs::rename(home.origin(), home.path("away")).unwrap();
    rescan(&daemon, false);
    assert_eq!(walk_names(&home), before.len());
    for path in before.keys() {
        assert!(fs::symlink_metadata(home.mnt().join(path)).is_ok(), "{} is gone", path.display());
    }
    fs::rename(home.path("away"), home.origin()).unwrap();
    rescan(&daemon, false);
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn root_that_is_missing_at_the_start_shows_the_last_known_tree() {
    let home = library(30);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.stop();
    fs::rename(home.origin(), home.path("away")).unwrap();
    let daemon = home.start();
    for (path, node) in &before {
        let meta = fs::symlink_metadata(home.mnt().join(path)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&meta), node.ino, "{}", path.display());
    }
    let file = before.iter().find(|(_, node)| !node.is_dir).unwrap().0;
    assert!(fs::read(home.mnt().join(file)).is_err(), "bytes that nobody has are an error, not a hang");
    fs::rename(home.path("away"), home.origin()).unwrap();
    rescan(&daemon, false);
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn root_emptied_while_no_daemon_ran_is_quarantined_until_accepted() {
    let home = library(50);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.stop();
    fs::rename(home.origin().join("music"), home.path("stage/music")).unwrap();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(before.len(), walk_names(&home), "nothing was removed");
    assert!(state(&daemon).contains("quarantine"), "{}", state(&daemon));
    let text = daemon.cli(&["origin", "list"]).ok().out() + &daemon.cli(&["status"]).ok().out();
    assert!(text.contains("--accept-removals"), "the next step is named: {text}");
    rescan(&daemon, true);
    assert!(files(&home.mnt()).is_empty());
    daemon.stop();
}

#[test]
fn root_emptied_under_a_running_daemon_is_quarantined_and_heals_when_all_comes_back() {
    let home = library(50);
    let daemon = home.start();
    let before = walk(&home.mnt());
    fs::rename(home.origin().join("music"), home.path("stage/music")).unwrap();
    daemon.idle();
    assert_eq!(before.len(), walk_names(&home), "nothing was removed");
    fs::rename(home.path("stage/music"), home.origin().join("music")).unwrap();
    rescan(&daemon, false);
    assert_eq!(walk(&home.mnt()), before);
    assert!(!state(&daemon).contains("quarantine"), "{}", state(&daemon));
    daemon.stop();
}

#[test]
fn quarantine_outlives_restarts_and_any_number_of_new_files() {
    let home = library(50);
    home.start().stop();
    fs::rename(home.origin().join("music"), home.path("stage/music")).unwrap();
    home.start().stop();
    for number in 100..200 {
        home.put(&format!("new/{number}.flac"), &Track::new("New", "Album", number, "T").flac());
    }
    let daemon = home.start();
    rescan(&daemon, false);
    assert_eq!(listed(&home.mnt()).len(), 150, "a third is missing, and none of it was removed");
    assert!(state(&daemon).contains("quarantined"), "{}", state(&daemon));
    fs::rename(home.path("stage/music"), home.origin().join("music")).unwrap();
    daemon.idle();
    assert!(!state(&daemon).contains("quarantined"), "it ends when the files are back: {}", state(&daemon));
    fs::remove_dir_all(home.origin().join("music/1")).unwrap();
    daemon.idle();
    let num_kept = (0..50).filter(|number| number % 7 != 1).count() + 100;
    assert_eq!(files(&home.mnt()).len(), num_kept, "and removals are believed again");
    daemon.stop();
}

#[test]
fn another_folder_in_the_roots_place_removes_nothing() {
    let home = library(10);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.stop();
    fs::rename(home.origin(), home.path("away")).unwrap();
    fs::create_dir(home.origin()).unwrap();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(before.len(), walk_names(&home), "few files, but the root is another one");
    fs::remove_dir(home.origin()).unwrap();
    fs::rename(home.path("away"), home.origin()).unwrap();
    rescan(&daemon, false);
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn few_removals_are_believed() {
    let home = library(50);
    let daemon = home.start();
    for number in 0..20 {
        fs::remove_file(home.origin().join(format!("music/{}/{number}.flac", number % 7))).unwrap();
    }
    daemon.idle();
    assert_eq!(files(&home.mnt()).len(), 30);
    daemon.stop();
}

#[test]
fn vanished_root_is_reported_and_its_return_too() {
    let home = library(3);
    let daemon = home.start();
    fs::rename(home.origin(), home.path("away")).unwrap();
    rescan(&daemon, false);
    eventually("the origin is reported as failed or down", || {
        let state = state(&daemon);
        state.contains("\"down\"") || state.contains("\"failed\"")
    });
    fs::rename(home.path("away"), home.origin()).unwrap();
    rescan(&daemon, false);
    eventually("the origin is reported as well again", || {
        let state = state(&daemon);
        !state.contains("\"down\"") && !state.contains("\"failed\"")
    });
    daemon.stop();
}

/// Entries that can be seen without reading a byte, which an absent origin could not give.
fn walk_names(home: &Sandbox) -> usize {
    fn count(folder: &std::path::Path) -> usize {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 }).sum()
    }
    count(&home.mnt())
}
