//! Inode numbers: what players and media servers recognise a file by.
//!
//! The same file keeps its number across restarts, retags, edits, moves, and a short absence; a rescan that finds nothing
//! new changes nothing. What would give a file a new number makes every player add it again.

use std::fs;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, ino, inodes, set, walk};

fn library(home: &Sandbox) {
    for number in 1..=12 {
        let artist = format!("Artist {}", number % 3);
        let track = Track::new(&artist, "Album", number, &format!("Title {number}"));
        home.put(&format!("{}/{number}.flac", number % 4), &track.flac());
    }
    home.put("1/cover.jpg", b"a picture");
}

#[test]
fn tree_with_inodes_mtimes_and_bytes_is_the_same_after_a_restart() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.stop();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn rescan_of_an_unchanged_origin_changes_nothing() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn inodes_are_unique_over_files_and_folders() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let numbers = inodes(&walk(&home.mnt()));
    let mut distinct: Vec<u64> = numbers.values().copied().collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), numbers.len());
    daemon.stop();
}

#[test]
fn file_that_returns_unchanged_gets_its_inode_back() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let before = walk(&home.mnt());
    fs::rename(home.origin().join("1/1.flac"), home.path("stage/1.flac")).unwrap();
    daemon.idle();
    assert_eq!(files(&home.mnt()).len(), before.values().filter(|node| !node.is_dir).count() - 1);
    fs::rename(home.path("stage/1.flac"), home.origin().join("1/1.flac")).unwrap();
    daemon.idle();
    let shown = "Artist 1/Album (2020)/01 - Title 1.flac";
    assert_eq!(ino(&home.shown(shown)), before[std::path::Path::new(shown)].ino);
    daemon.stop();
}

#[test]
fn file_that_returns_unchanged_after_a_restart_gets_its_inode_back() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let shown = home.shown("Artist 1/Album (2020)/01 - Title 1.flac");
    let before = ino(&shown);
    fs::rename(home.origin().join("1/1.flac"), home.path("stage/1.flac")).unwrap();
    daemon.idle();
    assert!(!shown.exists());
    daemon.stop();
    fs::rename(home.path("stage/1.flac"), home.origin().join("1/1.flac")).unwrap();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(ino(&shown), before);
    daemon.stop();
}

#[test]
fn edit_in_place_keeps_the_inode() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let shown = home.shown("Artist 1/Album (2020)/01 - Title 1.flac");
    let before = ino(&shown);
    let edited = Track::new("Artist 1", "Album", 1, "Title 1").salted(5).flac();
    home.put("1/1.flac", &edited);
    daemon.idle();
    assert_eq!((ino(&shown), fs::read(&shown).unwrap()), (before, edited));
    daemon.stop();
}

#[test]
fn another_template_moves_files_and_keeps_their_inodes() {
    let home = Sandbox::new();
    home.put("x.flac", &Track::new("Artist", "Album", 1, "Title").flac());
    let daemon = home.start();
    let before = ino(&home.shown("Artist/Album (2020)/01 - Title.flac"));
    daemon.stop();
    let daemon = home.start_with(home.mount_command().args(["--template", "${year}/${title}.${ext}"]));
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["2020/Title.flac"]));
    assert_eq!(ino(&home.shown("2020/Title.flac")), before);
    daemon.stop();
}
