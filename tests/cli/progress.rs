//! What whoever waits for a scan is shown: bars on a terminal, lines with `--json`, otherwise nothing.
//!
//! A failpoint holds the scan in its middle until the test has seen what it wants to see, so nothing here is a matter of
//! speed: the scan cannot end before, and does end after.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::require;
use crate::support::sandbox::Sandbox;

const HELD: &str = "delta_detector::page_listed";

fn home() -> Sandbox {
    let home = Sandbox::new();
    for number in 0..5 {
        home.put(&format!("album/{number}.flac"), &Track::new("A", "B", number, "T").flac());
    }
    home
}

fn spawn(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Ends the child in order and gives what it wrote to stderr.
#[track_caller]
fn finish(mut child: Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

fn next_json(out: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn rescan_that_is_waited_for_says_how_far_it_is_in_lines() {
    let home = home();
    let failpoints = Failpoints::new(&home);
    let daemon = home.start_with(failpoints.arm(&mut home.mount_command()));
    failpoints.set(HELD, "pause");
    let (child, mut out) = spawn(&mut home.command(&["origin", "rescan", "a", "--wait", "--json"]));
    let mut progress = next_json(&mut out);
    while progress["num_listed"] != 5 {
        progress = next_json(&mut out);
    }
    assert_eq!((&progress["type"], &progress["origin"]), (&"progress".into(), &"a".into()));
    assert_eq!((&progress["scan"], &progress["num_expected"]), (&"running".into(), &5.into()), "folders do not count");
    failpoints.clear(HELD);
    let mut last = Value::Null;
    for line in out.lines() {
        last = serde_json::from_str(&line.unwrap()).unwrap();
    }
    assert_eq!((&last["name"], &last["scan"], &last["num_files"]), (&"a".into(), &"done".into(), &5.into()));
    assert_eq!(finish(child), "");
    daemon.stop();
}

/// What a terminal gets to see of a command, up to a word, and then to the end.
#[track_caller]
fn on_a_terminal(home: &Sandbox, args: &[&str], until: &str, then: impl FnOnce()) -> String {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let command = home.command(args);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(quoted).collect::<Vec<_>>().join(" ");
    let mut terminal = home.program("script".as_ref());
    terminal.env("TERM", "xterm").args(["-qec", &line, "/dev/null"]);
    let (child, mut out) = spawn(&mut terminal);
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(until.as_bytes()) {
        out.read_exact(&mut byte).unwrap_or_else(|_| panic!("no {until}: {}", String::from_utf8_lossy(&seen)));
        seen.extend_from_slice(&byte);
    }
    then();
    out.read_to_end(&mut seen).unwrap();
    finish(child);
    String::from_utf8(seen).unwrap()
}

#[test]
fn terminal_shows_a_bar_for_a_known_origin_and_a_spinner_for_a_new_one() {
    require!("script");
    let home = home();
    let failpoints = Failpoints::new(&home);
    failpoints.preset(HELD, "pause");
    let daemon = Daemon::spawn(&home, failpoints.arm(&mut home.mount_command()));
    let first = on_a_terminal(&home, &["wait", "--for", "scanned"], "5 files listed", || failpoints.clear(HELD));
    assert!(!first.contains('█'), "a first scan has no total: {first}");
    daemon.idle();
    failpoints.set(HELD, "pause");
    let rescan = ["origin", "rescan", "a", "--wait"];
    let again = on_a_terminal(&home, &rescan, "5 of 5 files", || failpoints.clear(HELD));
    assert!(again.contains('█'), "{again}");
    assert!(again.ends_with("a: 5 files, tags of 0 read\r\n"), "the bar is gone and the outcome stays: {again:?}");
    daemon.step();
    failpoints.set(HELD, "pause");
    let quiet = spawn(&mut home.command(&["origin", "rescan", "a", "--wait", "-q"]));
    failpoints.clear(HELD);
    let (child, mut out) = quiet;
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), finish(child).as_str()), ("", ""));
    daemon.stop();
}

#[test]
fn waited_for_scan_that_fails_is_a_failure_with_its_reason() {
    let home = home();
    let daemon = home.start();
    std::fs::rename(home.origin(), home.path("away")).unwrap();
    let refused = daemon.cli(&["origin", "rescan", "a", "--wait"]).refused();
    assert_eq!((refused.code(), refused.out().as_str()), (1, ""));
    assert!(refused.err().starts_with("musicfs: origin a could not be compared: "), "{}", refused.err());
    assert_eq!(daemon.cli(&["origin", "rescan", "b", "--wait"]).code(), 5);
    daemon.stop();
}
