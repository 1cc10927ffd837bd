//! Stopping: by signal, by command, by `fusermount3 -u`, with files open. The mount is gone each time.
//!
//! "Gone" is what the kernel's table of mounts says; the mountpoint is an empty folder again, never one that answers
//! "Transport endpoint is not connected".

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::process::Signal;

use crate::support::command::tool;
use crate::support::daemon::Daemon;
use crate::support::music::Track;
use crate::support::require;
use crate::support::sandbox::Sandbox;
use crate::support::tree::names_in;

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track { audio_len: 300_000, ..Track::new("Artist", "Album", 1, "One") }.flac());
    home
}

#[track_caller]
fn assert_gone(home: &Sandbox, daemon: &Daemon<'_>) {
    daemon.ended_in_order();
    assert!(names_in(&home.mnt()).is_empty(), "the mountpoint is an empty folder again");
    assert!(!home.socket().exists(), "the socket is removed");
}

#[test]
fn signal_ends_the_daemon_and_takes_the_mount_away() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = home();
        let daemon = home.start();
        daemon.signal(signal);
        assert_gone(&home, &daemon);
    }
}

#[test]
fn stop_ends_the_daemon_and_takes_the_mount_away() {
    let home = home();
    let daemon = home.start();
    daemon.cli(&["stop"]).ok();
    assert_gone(&home, &daemon);
    home.cli(&["status"]).refused();
}

#[test]
fn unmounting_from_outside_ends_the_daemon() {
    require!("fusermount3");
    let home = home();
    let daemon = home.start();
    tool("fusermount3", ["-u".as_ref(), home.mnt().as_os_str()]).ok();
    assert_gone(&home, &daemon);
}

#[test]
fn open_file_does_not_keep_the_daemon_or_the_mount() {
    for how in ["signal", "stop"] {
        let home = home();
        let daemon = home.start();
        let open = File::open(home.shown(SHOWN)).unwrap();
        open.read_exact_at(&mut [0; 100], 0).unwrap();
        if how == "signal" {
            daemon.signal(Signal::TERM);
        } else {
            daemon.cli(&["stop"]).ok();
        }
        assert_gone(&home, &daemon);
        drop(open);
    }
}

#[test]
fn signal_during_the_first_scan_ends_the_daemon() {
    let home = Sandbox::new();
    for number in 0..2000 {
        home.put(&format!("{number}.flac"), &Track { audio_len: 0, ..Track::new("A", "B", number, "T") }.flac());
    }
    let daemon = Daemon::spawn(&home, &mut home.mount_command());
    crate::support::eventually("the socket answers", || home.cli(&["status"]).status.success());
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    let daemon = home.start();
    assert_eq!(names_in(&home.shown("A/B (2020)")).len(), 2000);
    daemon.stop();
}

#[test]
fn daemon_starts_again_right_after_a_stop() {
    let home = home();
    for _ in 0..5 {
        let daemon = home.start();
        assert!(home.shown(SHOWN).exists());
        daemon.stop();
    }
}
