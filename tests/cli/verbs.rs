//! The verbs that ask or tell a running daemon something.
//!
//! `--json` is one document, whatever the verb; words are for people and are only checked for what they must name.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, ino};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home.put("two.mp3", &Track::new("Other", "Thing", 2, "Two").mp3());
    home
}

/// The one document that a verb prints.
#[track_caller]
fn json(daemon: &Daemon<'_>, args: &[&str]) -> Value {
    let out = daemon.cli(&[args, &["--json"]].concat()).ok().out();
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}\n{out}"))
}

#[test]
fn every_reading_verb_prints_one_json_document() {
    let home = home();
    home.configure(&format!("mountpoint = \"{}\"\n[origin.a]\nlocation = \"/elsewhere\"\n", home.mnt().display()));
    let daemon = home.start();
    let verbs: [&[&str]; 14] = [
        &["status"],
        &["why", SHOWN],
        &["why", "Artist"],
        &["wait", "--for", "scanned"],
        &["wait", "--for", "idle", "--timeout", "60"],
        &["origin", "list"],
        &["origin", "rescan", "a"],
        &["actors"],
        &["metrics"],
        &["tree"],
        &["tree", "Artist"],
        &["tags", SHOWN],
        &["config", "show"],
        &["config", "path"],
    ];
    for verb in verbs {
        json(&daemon, verb);
    }
    json(&daemon, &["stop"]);
    daemon.ended_in_order();
}

#[test]
fn global_flags_are_accepted_before_and_after_the_verb() {
    let home = home();
    let daemon = home.start();
    let socket = home.socket();
    let socket = socket.to_str().unwrap();
    for args in [["--socket", socket, "--json", "status"], ["status", "--json", "--socket", socket]] {
        let out = crate::support::command::run(&mut home.bare(&args)).ok().out();
        serde_json::from_str::<Value>(&out).unwrap();
    }
    daemon.cli(&["-v", "status"]).ok();
    daemon.cli(&["status", "-q"]).ok();
    daemon.stop();
}

#[test]
fn status_counts_files_and_names_the_origin_and_the_mountpoint() {
    let home = home();
    let daemon = home.start();
    let status = json(&daemon, &["status"]);
    assert_eq!(status["num_files"], 2);
    assert_eq!(status["num_tracks"], 2);
    assert_eq!(status["mountpoint"], home.mnt().to_str().unwrap());
    assert_eq!(status["pid"], daemon.pid().as_raw_nonzero().get());
    assert_eq!(status["origins"][0]["name"], "a");
    let words = daemon.cli(&["status"]).ok().out();
    assert!(words.contains(home.mnt().to_str().unwrap()), "{words}");
    daemon.stop();
}

#[test]
fn tree_lists_what_the_mount_shows_with_its_inodes() {
    let home = home();
    let daemon = home.start();
    let words = daemon.cli(&["tree"]).ok().out();
    for name in ["Artist", "Album (2020)", "01 - One.flac", "02 - Two.mp3"] {
        assert!(words.contains(name), "{name} in {words}");
    }
    let text = json(&daemon, &["tree"]).to_string();
    for path in files(&home.mnt()) {
        assert!(text.contains(&path), "{path} in {text}");
        assert!(text.contains(&ino(&home.shown(&path)).to_string()));
    }
    let below = home.mnt().join("Other");
    let part = json(&daemon, &["tree", below.to_str().unwrap()]).to_string();
    assert!(part.contains("02 - Two.mp3") && !part.contains("01 - One.flac"), "{part}");
    daemon.stop();
}

#[test]
fn paths_are_taken_from_the_mount_from_the_library_and_from_the_working_folder() {
    let home = home();
    let daemon = home.start();
    let absolute = home.shown(SHOWN);
    let slashed = format!("/{SHOWN}");
    for path in [SHOWN, &slashed, absolute.to_str().unwrap()] {
        assert_eq!(json(&daemon, &["tags", path])["path"], SHOWN, "{path}");
    }
    let mut command = home.command(&["tags", "01 - One.flac", "--json"]);
    command.current_dir(home.shown("Artist/Album (2020)"));
    let out = crate::support::command::run(&mut command).ok().out();
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["path"], SHOWN);
    daemon.stop();
}

#[test]
fn tags_say_what_the_file_says() {
    let home = home();
    let daemon = home.start();
    let words = daemon.cli(&["tags", SHOWN]).ok().out();
    for value in ["One", "Artist", "Album", "2020"] {
        assert!(words.contains(value), "{value} in {words}");
    }
    let text = json(&daemon, &["tags", SHOWN]).to_string();
    assert!(text.contains("TRACKNUMBER"), "raw keys too: {text}");
    daemon.stop();
}

#[test]
fn tags_of_what_has_none_are_an_error_with_its_code() {
    let home = home();
    home.put("broken.flac", b"no audio at all");
    let daemon = home.start();
    for (path, words) in [
        ("Artist", "is no track"),
        ("/", "is no track"),
        (".origins/a", "is no track"),
        ("Unknown Artist/Unknown Album/broken.flac", "not readable"),
    ] {
        let finished = daemon.cli(&["tags", path]);
        assert_eq!((finished.code(), finished.out().as_str()), (1, ""), "{path}");
        assert!(finished.err().contains(words) && finished.err().contains("musicfs why"), "{path}: {}", finished.err());
    }
    daemon.stop();
}

#[test]
fn actors_are_the_boxes_of_the_picture_and_all_run() {
    let home = home();
    let daemon = home.start();
    let rows = json(&daemon, &["actors"]);
    let rows = rows["actors"].as_array().unwrap();
    for name in ["catalog", "control_server", "debouncer", "delta_detector", "fetcher", "health_monitor", "watcher"] {
        let row = rows.iter().find(|row| row["name"].as_str().unwrap().starts_with(name));
        let row = row.unwrap_or_else(|| panic!("{name} in {rows:?}"));
        assert_eq!((&row["running"], &row["parked"]), (&Value::Bool(true), &Value::Bool(false)), "{name}");
        assert_eq!(row["num_restarts"], 0, "{name}");
    }
    let words = daemon.cli(&["actors"]).ok().out();
    assert!(words.contains("delta_detector"), "{words}");
    daemon.stop();
}

#[test]
fn output_never_carries_control_characters_of_names() {
    let home = Sandbox::new();
    home.put("\u{1b}[31mred\u{7}.txt", b"x");
    home.put("nl\nname.flac", &Track { audio_len: 100, ..Track::default() }.flac());
    let daemon = home.start();
    for args in [&["tree", ".origins/a"][..], &["tree"], &["status"]] {
        let out = daemon.cli(args).ok().out();
        assert!(!out.contains(['\u{1b}', '\u{7}']), "{out:?}");
    }
    let out = daemon.cli(&["tree", ".origins/a"]).ok().out();
    assert!(out.contains("%1B[31mred%07.txt") && out.contains("nl%0Aname.flac"), "{out}");
    daemon.cli(&["why", ".origins/a/nl%0Aname.flac"]).ok();
    daemon.stop();
}

#[test]
fn closed_pipe_is_no_error() {
    let home = Sandbox::new();
    for number in 0..2000 {
        let title = format!("A title long enough to fill the pipe, number {number}");
        home.put(&format!("{number}.flac"), &Track { audio_len: 0, ..Track::new("A", "B", number, &title) }.flac());
    }
    let daemon = home.start();
    for args in [&["tree"][..], &["tree", "--json"], &["metrics"]] {
        let mut command = home.command(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let died_of_the_pipe = output.status.signal() == Some(13);
        assert!(output.status.success() || died_of_the_pipe, "{args:?}: {}", output.status);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    daemon.stop();
}
