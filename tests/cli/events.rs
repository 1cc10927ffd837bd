//! `musicfs events` against a running daemon: what happened, in words and as lines of JSON.
//!
//! A follower is known to follow once it has printed what it found remembered, so nothing here waits for a time.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

/// The events that are remembered, of these types.
#[track_caller]
fn remembered(daemon: &Daemon<'_>, types: &[&str]) -> Vec<Value> {
    let types = types.iter().flat_map(|name| ["--type", name]);
    let args: Vec<&str> = ["events", "--json"].into_iter().chain(types).collect();
    let out = daemon.cli(&args).ok().out();
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// `musicfs events --follow` in a child, line by line.
struct Followed {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Followed {
    fn new(home: &Sandbox, args: &[&str]) -> Self {
        let mut command = home.command(&[&["events", "--follow", "--json"], args].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next event of this type; an end of the stream fails the test.
    fn next(&mut self, name: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the stream ended before {name}");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["type"] == name {
                return event;
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn life_of_a_file_is_told_with_its_path() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("A", "B", 1, "One").flac());
    let daemon = home.start();
    home.put("b \u{1f4bf}%.flac", &Track::new("A", "B", 2, "Two").flac());
    daemon.idle();
    home.put("one.flac", &Track::new("A", "B", 1, "Uno").flac());
    daemon.idle();
    std::fs::rename(home.origin().join("one.flac"), home.origin().join("uno.flac")).unwrap();
    daemon.idle();
    std::fs::remove_file(home.origin().join("uno.flac")).unwrap();
    daemon.idle();
    let events = remembered(&daemon, &["file"]);
    let told: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), event["path"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("file.added", "one.flac"),
            ("file.added", "b \u{1f4bf}%25.flac"),
            ("file.changed", "one.flac"),
            ("file.moved", "uno.flac"),
            ("file.removed", "uno.flac"),
        ]
    );
    assert_eq!(events[3]["from"], "one.flac");
    assert!(events.iter().all(|event| event["origin"] == "a"));
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    let words = daemon.cli(&["events", "--type", "file.moved"]).ok().out();
    assert!(words.contains("file.moved") && words.contains("uno.flac") && words.contains("one.flac"), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
    daemon.stop();
}

#[test]
fn daemon_and_its_syncs_are_told_with_counts() {
    let home = Sandbox::new();
    for number in 0..3 {
        home.put(&format!("{number}.flac"), &Track::new("A", "B", number, "T").flac());
    }
    let daemon = home.start();
    let syncs = remembered(&daemon, &["sync"]);
    assert_eq!(types(&syncs)[..2], ["sync.started", "sync.finished"]);
    let first = &syncs[1];
    assert_eq!((&first["origin"], &first["scope"]), (&Value::from("a"), &Value::from("origin")));
    assert_eq!((&first["num_added"], &first["num_removed"], &first["error"]), (&3.into(), &0.into(), &Value::Null));
    // a library is scanned a moment before it is said to be ready
    eventually("the daemon says that it is ready", || {
        types(&remembered(&daemon, &["origin", "daemon"])) == ["origin.up", "daemon.ready"]
    });
    daemon.stop();
}

#[test]
fn origin_that_is_away_and_comes_back_empty_is_told() {
    let home = Sandbox::new();
    for number in 0..30 {
        home.put(&format!("{number}.flac"), &Track::new("A", "B", number, "T").flac());
    }
    home.start().stop();
    std::fs::rename(home.origin(), home.path("away")).unwrap();
    let daemon = home.start();
    let mut followed = Followed::new(&home, &["--type", "origin"]);
    let down = followed.next("origin.down");
    assert_eq!(down["origin"], "a");
    assert!(down["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{down}");
    daemon.step();
    std::fs::create_dir(home.origin()).unwrap();
    home.user.own(&home.origin());
    followed.next("origin.up");
    let quarantined = followed.next("origin.quarantined");
    assert!(quarantined["reason"].as_str().unwrap().contains("--accept-removals"), "{quarantined}");
    daemon.stop();
}

#[test]
fn follower_hears_of_opened_files_and_of_the_end() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("A", "B", 1, "One").flac());
    let daemon = home.start();
    let open = || drop(std::fs::File::open(home.shown("A/B (2020)/01 - One.flac")).unwrap());
    open();
    assert_eq!(remembered(&daemon, &["file.opened"]), [] as [Value; 0], "nobody listened");
    let mut followed = Followed::new(&home, &[]);
    followed.next("daemon.ready");
    open();
    assert_eq!(followed.next("file.opened")["path"], "one.flac");
    daemon.cli(&["stop"]).ok();
    assert_eq!(followed.next("daemon.stopping")["reason"], "requested");
    assert!(followed.child.wait().unwrap().success(), "an end that was announced is no failure");
    daemon.ended_in_order();
}

#[test]
fn actor_that_fails_is_told_with_the_scan_that_makes_up_for_it() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("A", "B", 1, "One").flac());
    let failpoints = Failpoints::new(&home);
    let daemon = home.start_with(failpoints.arm(&mut home.mount_command()));
    let mut followed = Followed::new(&home, &["--type", "actor", "--type", "sync", "--type", "daemon"]);
    followed.next("daemon.ready");
    failpoints.set("delta_detector::job", "1*panic");
    daemon.cli(&["origin", "rescan", "a"]).ok();
    let restarted = followed.next("actor.restarted");
    assert_eq!((&restarted["actor"], &restarted["num_restarts"]), (&"delta_detector".into(), &1.into()));
    assert_eq!(followed.next("sync.finished")["error"], Value::Null);
    daemon.idle();
    daemon.stop();
}

#[test]
fn type_that_no_event_has_is_refused_with_those_that_there_are() {
    let home = Sandbox::new();
    let daemon = home.start();
    let refused = daemon.cli(&["events", "--type", "fiel"]).refused();
    assert_eq!(refused.code(), 2);
    assert!(refused.err().contains("`fiel`") && refused.err().contains("file.added"), "{}", refused.err());
    daemon.stop();
}
