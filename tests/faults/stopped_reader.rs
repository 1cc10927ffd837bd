//! Readers that stop in the middle: with half a file read, or with a folder's listing open.
//!
//! A process that is stopped (SIGSTOP, a debugger, a player on pause) keeps what it has open for as long as it likes.
//! That must cost nobody else anything: others read, list and walk, changes arrive, the daemon stops when it is told to.
//! And the stopped one goes on where it was. A child that writes into a pipe which nobody reads stands still at a place
//! that is known; then it is stopped as well.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::command::kill_group;
use crate::support::eventually;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::files;

const NUM_ALBUMS: u32 = 40;
const NUM_TRACKS: u32 = 25;

/// Far more than a pipe holds, and more than one request of the kernel reads.
const LARGE_LEN: usize = 8 << 20;

/// A pipe holds 64 KiB, and a writer waits when its next write does not fit as a whole.
const FULL_PIPE_BYTES: u64 = 60 << 10;

/// A child that stands still because nobody takes what it says.
struct Stuck {
    child: Child,
    pid: Pid,
    what: &'static str,
}

impl Stuck {
    fn start(what: &'static str, command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let child = child.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let stuck = Self { child, pid, what };
        eventually("the reader has filled its pipe", || stuck.num_unread() >= FULL_PIPE_BYTES);
        stuck
    }

    /// Bytes in the pipe.
    fn num_unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self.child.stdout.as_ref().unwrap()).unwrap()
    }

    fn state(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("State:")).unwrap().trim().to_owned()
    }

    fn stop(&self) {
        kill_process_group(self.pid, Signal::STOP).unwrap();
        eventually("the reader is stopped", || self.state().starts_with('T'));
    }

    /// Lets it go on; what it says to its end.
    fn go_on(mut self) -> Vec<u8> {
        assert!(self.state().starts_with('T'), "{} was stopped all the time", self.what);
        kill_process_group(self.pid, Signal::CONT).unwrap();
        let mut said = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
        said
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        kill_group(self.pid);
        let _ = self.child.wait();
    }
}

fn track(album: u32, number: u32) -> Track {
    // long titles fill a pipe with few names
    let title = format!("{} {number}", "Title".repeat(20));
    Track::new("Artist", &format!("Album {album}"), number, &title).salted(u64::from(album * 100 + number))
}

fn library(home: &Sandbox) -> Vec<u8> {
    for album in 0..NUM_ALBUMS {
        for number in 1..=NUM_TRACKS {
            home.put(&format!("{album}/{number}.flac"), &track(album, number).flac());
        }
    }
    let large = Track { audio_len: LARGE_LEN, ..Track::new("Large", "Album", 1, "Large") }.flac();
    home.put("large.flac", &large);
    large
}

const LARGE: &str = "Large/Album (2020)/01 - Large.flac";

#[test]
fn stopped_readers_and_walkers_harm_nobody_and_go_on_where_they_were() {
    let home = Sandbox::new();
    let large = library(&home);
    let daemon = home.start();
    let reader = Stuck::start("a reader", Command::new("cat").arg(home.shown(LARGE)));
    let walker = Stuck::start("a walker", Command::new("find").arg(home.mnt()).args(["-type", "f"]));
    reader.stop();
    walker.stop();
    let num_files = (NUM_ALBUMS * NUM_TRACKS + 1) as usize;
    assert_eq!(files(&home.mnt()).len(), num_files, "everybody else walks, reading every byte");
    assert!(fs::read(home.shown(LARGE)).unwrap() == large, "and reads the very same file");
    // the file that one has half read is replaced, and albums that the other may stand in come and go
    home.replace("large.flac", &Track { audio_len: 1000, ..Track::new("Large", "Album", 1, "Large") }.flac());
    for album in 0..NUM_ALBUMS / 2 {
        fs::remove_dir_all(home.origin().join(album.to_string())).unwrap();
        home.put(&format!("late {album}/1.flac"), &Track::new("Late", &format!("{album}"), 1, "T").flac());
    }
    daemon.idle();
    let num_files = (NUM_ALBUMS / 2 * (NUM_TRACKS + 1) + 1) as usize;
    assert_eq!(files(&home.mnt()).len(), num_files, "changes arrive");
    assert!(reader.go_on() == large, "the file that it had opened, to the end");
    let walked = String::from_utf8(walker.go_on()).unwrap();
    for album in NUM_ALBUMS / 2..NUM_ALBUMS {
        for number in 1..=NUM_TRACKS {
            let name = format!("/Artist/Album {album} (2020)/{number:02} - {}", track(album, number).title);
            let times = walked.lines().filter(|line| line.ends_with(&format!("{name}.flac"))).count();
            assert_eq!(times, 1, "{name}");
        }
    }
    daemon.stop();
}

#[test]
fn daemon_stops_in_order_while_readers_are_stopped() {
    let home = Sandbox::new();
    library(&home);
    let daemon = home.start();
    let reader = Stuck::start("a reader", Command::new("cat").arg(home.shown(LARGE)));
    let walker = Stuck::start("a walker", Command::new("find").arg(home.mnt()).args(["-type", "f"]));
    reader.stop();
    walker.stop();
    daemon.stop();
    drop((reader, walker));
    let daemon = home.start();
    assert_eq!(files(&home.mnt()).len(), (NUM_ALBUMS * NUM_TRACKS + 1) as usize);
    daemon.stop();
}
