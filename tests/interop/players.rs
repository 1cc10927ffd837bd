//! MPD: a player with a database, which scans again and again and must not add what it has.
//!
//! The real mpd runs on the mount with a configuration of its own, no network and no sound. What it adds and removes is
//! read from its log; how much it knows, from its answer.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::library::{NUM_TRACKS, library};
use crate::support::command::{Finished, kill_group, run};
use crate::support::sandbox::Sandbox;
use crate::support::{eventually, require};

/// An mpd on the mount. Dropping it kills it.
struct Mpd {
    child: Child,
    folder: PathBuf,
}

impl Mpd {
    fn start(home: &Sandbox) -> Self {
        let folder = home.path("mpd");
        let _ = fs::create_dir(&folder);
        let path = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "music_directory \"{}\"\ndb_file \"{}\"\nlog_file \"{}\"\nbind_to_address \"{}\"\nauto_update \"no\"\n\
             follow_outside_symlinks \"no\"\naudio_output {{\n type \"null\"\n name \"none\"\n}}\n",
            home.mnt().display(),
            path("db"),
            path("log"),
            path("socket"),
        );
        fs::write(folder.join("conf"), config).unwrap();
        let mut command = Command::new("mpd");
        command.arg("--no-daemon").arg(folder.join("conf")).current_dir(&folder).env("HOME", &folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mpd = Self { child: command.spawn().unwrap(), folder };
        eventually("mpd answers", || mpd.mpc(&["version"]).status.success());
        mpd
    }

    fn mpc(&self, args: &[&str]) -> Finished {
        run(Command::new("mpc").arg(format!("--host={}", self.folder.join("socket").display())).args(args))
    }

    fn update(&self) {
        self.mpc(&["update", "--wait"]).ok();
    }

    /// Songs in the database.
    fn songs(&self) -> Vec<String> {
        let out = self.mpc(&["listall"]).ok().out();
        let mut songs: Vec<String> = out.lines().map(str::to_owned).collect();
        songs.sort();
        songs
    }

    /// How often a word stands in the log as what an update did.
    fn logged(&self, word: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("update: {word} "))).count()
    }
}

impl Drop for Mpd {
    fn drop(&mut self) {
        kill_group(rustix::process::Pid::from_child(&self.child));
        let _ = self.child.wait();
    }
}

#[test]
fn mpd_that_updates_twice_adds_nothing_the_second_time() {
    require!("mpd", "mpc", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let mpd = Mpd::start(&home);
    mpd.update();
    let songs = mpd.songs();
    assert_eq!(songs.len(), NUM_TRACKS, "{songs:?}");
    assert_eq!(mpd.logged("added"), NUM_TRACKS, "the log says what was added");
    daemon.step();
    mpd.update();
    assert_eq!((mpd.logged("added"), mpd.logged("removed"), mpd.logged("updated")), (NUM_TRACKS, 0, 0));
    assert_eq!(mpd.songs(), songs);
    drop(mpd);
    daemon.stop();
}

#[test]
fn mpd_adds_nothing_after_the_daemon_was_restarted() {
    require!("mpd", "mpc", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let mpd = Mpd::start(&home);
    mpd.update();
    let songs = mpd.songs();
    drop(mpd);
    daemon.stop();
    let daemon = home.start();
    let mpd = Mpd::start(&home);
    mpd.update();
    assert_eq!((mpd.logged("added"), mpd.logged("removed")), (NUM_TRACKS, 0));
    assert_eq!(mpd.songs(), songs);
    drop(mpd);
    daemon.stop();
}

#[test]
fn mpd_sees_a_new_file_and_a_retag_at_its_next_update() {
    require!("mpd", "mpc", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let mpd = Mpd::start(&home);
    mpd.update();
    let track = crate::support::music::Track::new("Maker 1", "Made", 9, "Late");
    home.put("made/9.mp3", &crate::support::music::Track { audio_len: 20_000, ..track }.mp3());
    daemon.idle();
    mpd.update();
    let songs = mpd.songs();
    assert_eq!(songs.len(), NUM_TRACKS + 1);
    assert!(songs.contains(&"Maker 1/Made (2020)/09 - Late.mp3".to_owned()), "{songs:?}");
    drop(mpd);
    daemon.stop();
}
