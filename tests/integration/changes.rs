//! The mount follows the folder: added, retagged, renamed, replaced and deleted files, and bursts of them.
//!
//! A name that was looked up before it existed must appear (negative entries), and one that was seen must go. Both are
//! asked for before each change, so that the kernel has something to forget.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, ino, set, walk};

fn track(number: u32, title: &str) -> Track {
    Track::new("Artist", "Album", number, title)
}

const FIRST: &str = "Artist/Album (2020)/01 - One.flac";

fn one_track() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &track(1, "One").flac());
    home
}

fn assert_shown<const N: usize>(home: &Sandbox, daemon: &Daemon<'_>, paths: [&str; N]) {
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(paths));
    for path in paths {
        assert!(home.shown(path).is_file(), "{path} is listed and cannot be looked up");
    }
}

#[test]
fn added_file_appears_though_its_name_was_looked_up_before() {
    let home = one_track();
    let daemon = home.start();
    let second = "Artist/Album (2020)/02 - Two.flac";
    assert!(!home.shown(second).exists());
    home.put("deep/er/two.flac", &track(2, "Two").flac());
    assert_shown(&home, &daemon, [FIRST, second]);
    daemon.stop();
}

#[test]
fn retagged_file_moves_and_its_old_name_goes() {
    let home = one_track();
    let daemon = home.start();
    let new = "Artist/Other (2020)/01 - One.flac";
    assert!(home.shown(FIRST).exists() && !home.shown(new).exists());
    let mut retagged = track(1, "One");
    retagged.album = "Other".to_owned();
    home.put("one.flac", &retagged.flac());
    assert_shown(&home, &daemon, [new]);
    assert!(!home.shown(FIRST).exists());
    assert_eq!(fs::read(home.shown(new)).unwrap(), retagged.flac());
    daemon.stop();
}

#[test]
fn renamed_file_keeps_its_place_inode_and_bytes() {
    let home = one_track();
    let daemon = home.start();
    let before = walk(&home.mnt());
    fs::create_dir(home.origin().join("sub")).unwrap();
    fs::rename(home.origin().join("one.flac"), home.origin().join("sub/renamed.flac")).unwrap();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn renamed_folder_keeps_the_inodes_of_everything_in_it() {
    let home = Sandbox::new();
    for number in 1..=30 {
        home.put(&format!("a/b{}/{number}.flac", number % 3), &track(number, "T").flac());
    }
    let daemon = home.start();
    let before = walk(&home.mnt());
    fs::rename(home.origin().join("a"), home.origin().join("c")).unwrap();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn replaced_file_keeps_its_inode_and_shows_the_new_bytes() {
    let home = one_track();
    let daemon = home.start();
    let before = ino(&home.shown(FIRST));
    let new = track(1, "One").salted(9).flac();
    home.replace("one.flac", &new);
    assert_shown(&home, &daemon, [FIRST]);
    assert_eq!(ino(&home.shown(FIRST)), before);
    assert_eq!(fs::read(home.shown(FIRST)).unwrap(), new);
    daemon.stop();
}

#[test]
fn file_written_slowly_ends_as_what_was_written() {
    use std::io::Write;
    let home = one_track();
    let daemon = home.start();
    let bytes = Track { audio_len: 400_000, ..track(2, "Two") }.flac();
    let mut file = fs::File::create(home.origin().join("two.flac")).unwrap();
    for part in bytes.chunks(10_000) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
    }
    drop(file);
    assert_shown(&home, &daemon, [FIRST, "Artist/Album (2020)/02 - Two.flac"]);
    assert_eq!(fs::read(home.shown("Artist/Album (2020)/02 - Two.flac")).unwrap(), bytes);
    daemon.stop();
}

#[test]
fn deleted_file_leaves_and_so_do_its_empty_folders() {
    let home = one_track();
    home.put("two.flac", &Track::new("Other", "Album", 1, "Two").flac());
    let daemon = home.start();
    assert!(home.shown("Other/Album (2020)").is_dir());
    fs::remove_file(home.origin().join("two.flac")).unwrap();
    assert_shown(&home, &daemon, [FIRST]);
    assert!(!home.shown("Other").exists());
    daemon.stop();
}

#[test]
fn changes_made_while_no_daemon_ran_are_found_at_the_next_start() {
    let home = one_track();
    home.put("two.flac", &track(2, "Two").flac());
    let daemon = home.start();
    let kept = ino(&home.shown(FIRST));
    daemon.stop();
    fs::rename(home.origin().join("one.flac"), home.origin().join("moved.flac")).unwrap();
    fs::remove_file(home.origin().join("two.flac")).unwrap();
    home.put("three.flac", &track(3, "Three").flac());
    let daemon = home.start();
    assert_shown(&home, &daemon, [FIRST, "Artist/Album (2020)/03 - Three.flac"]);
    assert_eq!(ino(&home.shown(FIRST)), kept);
    daemon.stop();
}

#[test]
fn burst_of_files_in_new_folders_arrives_whole() {
    let home = one_track();
    let daemon = home.start();
    for number in 2..=300 {
        home.put(&format!("burst/{}/{}/{number}.flac", number % 7, number % 5), &track(number, "T").flac());
    }
    daemon.idle();
    assert_eq!(files(&home.mnt()).len(), 300);
    daemon.stop();
}

#[test]
fn folder_mtime_moves_with_its_membership_only_and_survives_a_restart() {
    let home = one_track();
    let mtime = || fs::metadata(home.shown("Artist/Album (2020)")).unwrap().modified().unwrap();
    let daemon = home.start();
    let first = mtime();
    home.replace("one.flac", &track(1, "One").salted(3).flac());
    daemon.idle();
    assert_eq!(mtime(), first, "a file with other bytes is no change of membership");
    home.put("two.flac", &track(2, "Two").flac());
    daemon.idle();
    let second = mtime();
    assert!(second > first, "a new file is one");
    daemon.stop();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(mtime(), second);
    daemon.stop();
}

#[test]
fn origin_given_twice_by_name_is_the_one_on_the_command_line() {
    let home = one_track();
    let other = home.path("other");
    fs::create_dir(&other).unwrap();
    home.configure(&format!("[origin.a]\nlocation = \"{}\"\n", other.display()));
    let daemon = home.start();
    assert_shown(&home, &daemon, [FIRST]);
    daemon.stop();
}

#[test]
fn shell_that_stands_in_a_folder_keeps_it_when_the_folder_changes() {
    let home = one_track();
    let daemon = home.start();
    let album = home.shown("Artist/Album (2020)");
    let mut shell = Command::new("sh")
        .args(["-c", "read line; pwd -P"])
        .current_dir(&album)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    home.put("two.flac", &track(2, "Two").flac());
    daemon.idle();
    shell.stdin.take().unwrap().write_all(b"\n").unwrap();
    let said = shell.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap().trim_end(), album.to_str().unwrap());
    daemon.stop();
}
