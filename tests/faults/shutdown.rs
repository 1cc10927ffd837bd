//! The end of the process, whatever is in its way: a wedged origin, a busy mount, a hang, a start or scan under way.
//!
//! Each time the process ends by itself and the mount is gone; whoever waits for it gets an error and no hang. Hangs are
//! made by pausing a failpoint, and what a test waits for is an event (a line of the log, an exit), never a time.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::support::actors::actors;
use crate::support::daemon::{Daemon, mounted};
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, names_in, set, walk};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

/// Said when the first signal has been taken note of.
const HEARD: &str = "a signal asks for the end";

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track { audio_len: 600_000, ..Track::new("Artist", "Album", 1, "One") }.flac());
    home
}

/// Starts a daemon that follows these failpoints.
fn start<'a>(home: &'a Sandbox, failpoints: &Failpoints) -> Daemon<'a> {
    home.start_with(failpoints.arm(&mut home.mount_command()))
}

/// Starts one and waits for nothing.
fn spawn<'a>(home: &'a Sandbox, failpoints: &Failpoints) -> Daemon<'a> {
    Daemon::spawn(home, failpoints.arm(&mut home.mount_command()))
}

#[track_caller]
fn assert_gone(home: &Sandbox, daemon: &Daemon<'_>) {
    daemon.ended_in_order();
    assert!(names_in(&home.mnt()).is_empty(), "the mountpoint is an empty folder again");
}

/// The library is whole at the next start.
#[track_caller]
fn assert_starts_again(home: &Sandbox) {
    let daemon = home.start();
    assert!(home.shown(SHOWN).exists());
    daemon.stop();
}

/// Requests that an actor has begun and not ended.
#[track_caller]
fn num_waiting(daemon: &Daemon<'_>, name: &str) -> u64 {
    actors(daemon).get(name).map_or(0, |numbers| numbers.waiting)
}

/// Reads in a thread; the answer is what the read brought.
fn read_elsewhere(file: File, len: usize, offset: u64) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    })
}

/// A process that stands in a folder.
struct Squatter(Child);

impl Squatter {
    fn in_folder(folder: &Path) -> Self {
        let mut command = Command::new("cat");
        Self(command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn second_signal_ends_a_daemon_that_hangs_at_once_and_takes_the_mount_away() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    let daemon = start(&home, &failpoints);
    failpoints.set("stop::before_unmount", "pause");
    daemon.signal(Signal::TERM);
    home.logged("stopping");
    assert!(mounted(&home.mnt()), "it hangs before it unmounts");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_exit().code(), Some(130));
    assert!(!mounted(&home.mnt()));
    assert_starts_again(&home);
}

#[test]
fn end_that_hangs_is_ended_by_the_limit_and_takes_the_mount_away() {
    for how in ["signal", "stop"] {
        let home = home();
        let failpoints = Failpoints::new(&home);
        failpoints.preset("ending::limit_ms", "return(300)");
        let daemon = start(&home, &failpoints);
        failpoints.set("stop::before_unmount", "pause");
        if how == "signal" {
            daemon.signal(Signal::INT);
        } else {
            daemon.cli(&["stop"]).ok();
        }
        assert_gone(&home, &daemon);
        home.logged("does not end in order");
        assert_starts_again(&home);
    }
}

#[test]
fn signal_before_the_mount_ends_the_start_without_a_mount() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    failpoints.preset("start::before_mount", "pause");
    let daemon = spawn(&home, &failpoints);
    eventually("the socket answers before there is a mount", || home.cli(&["status"]).status.success());
    daemon.signal(Signal::TERM);
    home.logged(HEARD);
    // The daemon may end before it could say that it has applied this.
    failpoints.preset("start::before_mount", "off");
    assert_gone(&home, &daemon);
    assert!(!home.socket().exists(), "the socket is removed");
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("mounted at"), "{log}");
    assert_starts_again(&home);
}

#[test]
fn signal_ends_a_start_that_hangs_before_the_mount() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    failpoints.preset("start::before_mount", "pause");
    failpoints.preset("ending::limit_ms", "return(300)");
    let daemon = spawn(&home, &failpoints);
    eventually("the socket answers", || home.cli(&["status"]).status.success());
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    assert!(home.socket().exists(), "nobody was left to remove it");
    assert_starts_again(&home);
}

#[test]
fn signal_while_the_state_is_opened_ends_the_start() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    failpoints.preset("storage::locked", "pause");
    failpoints.preset("ending::limit_ms", "return(300)");
    let daemon = spawn(&home, &failpoints);
    eventually("the state folder is locked", || home.path("data/state/lock").exists());
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    assert_starts_again(&home);
}

#[test]
fn wedged_origin_holds_neither_the_daemon_nor_its_reader() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    let daemon = start(&home, &failpoints);
    failpoints.set("fetcher::read_now", "return");
    failpoints.set("fetcher::read_blocking", "pause");
    let reader = read_elsewhere(File::open(home.shown(SHOWN)).unwrap(), 4096, 0);
    eventually("the read waits for the disk", || num_waiting(&daemon, "fuse_front") > 0);
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    assert!(reader.join().unwrap().is_err(), "an error, and no hang");
    assert_starts_again(&home);
}

#[test]
fn origin_that_wedges_in_the_first_scan_does_not_hold_the_daemon() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    failpoints.preset("fetcher::pool_job", "pause");
    let daemon = spawn(&home, &failpoints);
    eventually("the mount appears", || mounted(&home.mnt()));
    let mnt = home.mnt();
    let first_look = std::thread::spawn(move || fs::read_dir(mnt).map(Iterator::count));
    eventually("the first look waits", || num_waiting(&daemon, "fuse_front") > 0);
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    let seen = first_look.join().unwrap();
    assert!(seen.is_err(), "an empty library would be believed: {seen:?}");
    assert_starts_again(&home);
}

#[test]
fn signal_during_a_reload_ends_the_daemon() {
    for stuck in ["reload::load", "catalog::before_commit"] {
        let home = home();
        home.configure("raw_view = \"hidden\"\n");
        let failpoints = Failpoints::new(&home);
        let daemon = start(&home, &failpoints);
        failpoints.set(stuck, "pause");
        home.configure("template = '${title}.${ext}'\n");
        daemon.signal(Signal::HUP);
        home.logged("the configuration is read again");
        if stuck != "reload::load" {
            eventually("the catalog hangs", || num_waiting(&daemon, "catalog") > 0);
        }
        daemon.signal(Signal::TERM);
        assert_gone(&home, &daemon);
        // Whichever template counts now, the track is there.
        let daemon = home.start();
        assert_eq!(files(&home.mnt()), set(["One.flac"]));
        daemon.stop();
    }
}

#[test]
fn reader_in_the_middle_of_a_file_gets_the_rest_after_the_signal() {
    let home = home();
    let bytes = fs::read(home.origin().join("one.flac")).unwrap();
    let daemon = home.start();
    let file = File::open(home.shown(SHOWN)).unwrap();
    let mut half = vec![0; bytes.len() / 2];
    file.read_exact_at(&mut half, 0).unwrap();
    daemon.signal(Signal::TERM);
    eventually("the mount goes", || !mounted(&home.mnt()));
    let mut rest = vec![0; bytes.len() - half.len()];
    file.read_exact_at(&mut rest, half.len() as u64).unwrap();
    drop(file);
    assert_eq!([half, rest].concat(), bytes);
    assert_gone(&home, &daemon);
}

#[test]
fn mount_with_a_squatter_open_files_and_a_map_goes_all_the_same() {
    let home = home();
    let daemon = home.start();
    let squatter = Squatter::in_folder(&home.shown("Artist/Album (2020)"));
    let open: Vec<File> = (0..50).map(|_| File::open(home.shown(SHOWN)).unwrap()).collect();
    let folder = File::open(home.mnt()).unwrap();
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    assert!(open[0].read_at(&mut [0; 4096], 300_000).is_err(), "nobody is left to read for it");
    // The squatter is in the way of nobody, and the next daemon mounts at the same place.
    assert_starts_again(&home);
    drop((squatter, open, folder));
}

#[test]
fn notification_that_hangs_in_the_kernel_does_not_hold_the_end() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    let daemon = start(&home, &failpoints);
    walk(&home.mnt());
    failpoints.set("invalidator::before_call", "pause");
    home.put("two.flac", &Track::new("Artist", "Album", 2, "Two").flac());
    eventually("a notification hangs", || {
        let text = daemon.metrics();
        crate::support::metrics::sum(&text, "musicfs_invalidator_entries_total", &[]) > 0
    });
    daemon.signal(Signal::TERM);
    assert_gone(&home, &daemon);
    assert_starts_again(&home);
}

#[test]
fn what_a_killed_daemon_left_half_written_is_in_nobodys_way() {
    let home = home();
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.kill9();
    assert!(home.socket().exists() && mounted(&home.mnt()), "the socket and the dead mount are left");
    let state = home.path("data/state");
    // The tail of the write-ahead log is what was being written; the rest is what a killed process leaves about.
    let logs = fs::read_dir(state.join("catalog")).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max().expect("a write-ahead log");
    File::options().append(true).open(log).unwrap().write_all(&[0x5a; 100]).unwrap();
    for rest in ["barrier/0-left", "catalog/000999.dbtmp", "lock"] {
        File::options().append(true).create(true).open(state.join(rest)).unwrap().write_all(b"half").unwrap();
    }
    fs::write(home.path("data/cache/half.tmp"), b"half").unwrap();
    for path in [state.join("barrier/0-left"), state.join("catalog/000999.dbtmp"), home.path("data/cache/half.tmp")] {
        home.user.own(&path);
    }
    let daemon = home.start();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}
