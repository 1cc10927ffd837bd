//! The command line against a played daemon: what is asked, what is printed, which code it ends with.
//!
//! The played daemon is a thread behind a real socket that answers one connection from a function. Output goes into
//! memory, so a test sees what a person would see, and a closed pipe is a writer that says so.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use clap::Parser;
use serde_json::{Value, json};

use super::*;

/// What the played daemon answers to a method, given its parameters.
type Play = fn(&str, &Value) -> Result<Value, (i32, &'static str)>;

/// A daemon that answers one connection from a script.
struct Daemon {
    folder: tempfile::TempDir,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn playing(play: Play) -> Self {
        Self::telling(play, &[])
    }

    /// One that tells these notices after every answer; an empty one ends it.
    fn telling(play: Play, notices: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("s")).expect("binds");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut writer = stream.try_clone().expect("clones");
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let call: Value = serde_json::from_str(&line).expect("a call");
                let method = call["method"].as_str().expect("a method");
                let outcome = if method == "hello" {
                    Ok(json!({"server": "musicfs", "version": "0.1.0", "protocol": 1}))
                } else {
                    seen.lock().expect("whole").push((method.to_owned(), call["params"].clone()));
                    play(method, &call["params"])
                };
                let answer = match outcome {
                    Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                    Err((0, _)) => return, // the daemon ends
                    Err((code, message)) => {
                        json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}})
                    }
                };
                writeln!(writer, "{answer}").expect("sends");
                if method == "hello" {
                    continue;
                }
                for notice in notices {
                    if notice.is_empty() || writeln!(writer, "{notice}").is_err() {
                        return;
                    }
                }
            }
        });
        Self { folder, calls, thread: Some(thread) }
    }

    /// Runs a command line against it: the outcome and what was printed.
    fn run(&self, line: &[&str]) -> (Result<(), CliError>, String) {
        run_at(self.folder.path().join("s"), line, &[])
    }

    fn calls(mut self) -> Vec<(String, Value)> {
        self.thread.take().expect("runs").join().expect("a clean end");
        let calls = self.calls.lock().expect("whole");
        calls.clone()
    }
}

fn run_at(socket: PathBuf, line: &[&str], variables: &[(&str, &str)]) -> (Result<(), CliError>, String) {
    let surroundings = Surroundings {
        variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect::<BTreeMap<_, _>>(),
        working_folder: Some(PathBuf::from("/work/here")),
        uid: 1000,
        gid: 1000,
        system_file: PathBuf::from("/nonexistent/config.toml"),
        runtime_folders: PathBuf::from("/nonexistent"),
    };
    let mut words = vec!["musicfs".into(), "--socket".into(), socket.into_os_string()];
    words.extend(line.iter().map(std::ffi::OsString::from));
    let cli = Cli::try_parse_from(words).expect("parses");
    let mut out = Vec::new();
    let outcome = run(&cli, surroundings, &mut out);
    (outcome, String::from_utf8(out).expect("text"))
}

fn exit(outcome: &Result<(), CliError>) -> Exit {
    outcome.as_ref().err().map_or(Exit::Done, CliError::exit)
}

fn status() -> Value {
    json!({
        "version": "0.1.0", "pid": u32::MAX, "uptime_ms": 61_000, "mountpoint": "/nonexistent/mount", "ready": true,
        "num_files": 2, "num_tracks": 1, "num_pending": 0,
        "origins": [{
            "name": "nas", "location": "/mnt/nas", "priority": 10, "health": "down", "since_unix_ms": 0,
            "last_error": "gone\u{1b}[2J", "scan": "failed", "scan_problem": "no root", "watch": "polling",
            "watch_problem": "no more watches", "num_listed": 0,
            "num_tags_read": 0, "num_links_left_out": 1, "num_names_left_out": 0, "num_files": 2
        }],
        "parked": [{ "name": "watcher", "last_error": null }]
    })
}

#[test]
fn status_is_a_table_for_people_and_one_document_for_scripts() {
    let daemon = Daemon::playing(|_, _| Ok(status()));
    let (outcome, text) = daemon.run(&["status"]);
    assert_eq!(exit(&outcome), Exit::Done);
    assert_eq!(
        text,
        "mountpoint  /nonexistent/mount\n\
         daemon      version 0.1.0, process 4294967295, up 1m 1s\n\
         ready       yes\n\
         library     1 tracks, 2 files\n\
         pending     nothing\n\
         \n\
         ORIGIN  PRIORITY  HEALTH  SCAN    CHANGES BY  FILES  LOCATION\n\
         nas     10        down    failed  polling     2      /mnt/nas\n\
         nas: down since 1970-01-01T00:00:00Z: gone\u{fffd}[2J\n\
         nas: scan failed: no root\n\
         nas: not watched: no more watches\n\
         nas: not shown: 1 links that lead out of the origin, 0 names that cannot be file names\n\
         watcher: failed too often and is left stopped; look into the log, then restart the daemon: `musicfs stop` \
         and `musicfs mount`, or `systemctl --user restart musicfs`\n"
    );
    assert_eq!(daemon.calls(), [("daemon.status".to_owned(), json!({}))]);
    let daemon = Daemon::playing(|_, _| Ok(status()));
    let (_, text) = daemon.run(&["status", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).expect("one document"), status());
}

#[test]
fn verb_without_a_daemon_ends_with_three() {
    for line in [&["status"][..], &["stop"], &["tree"], &["why", "x"], &["origin", "rescan", "nas"], &["metrics"]] {
        let (outcome, text) = run_at("/nonexistent/s".into(), line, &[]);
        assert_eq!((exit(&outcome), text.as_str()), (Exit::NoDaemon, ""), "{line:?}");
        assert!(outcome.expect_err("none").to_string().contains("start one with `musicfs mount`"));
    }
}

#[test]
fn wait_for_a_daemon_that_never_appears_ends_with_four() {
    let (outcome, _) = run_at("/nonexistent/s".into(), &["wait", "--for", "idle", "--timeout", "0.05"], &[]);
    assert_eq!(exit(&outcome), Exit::TimedOut);
    assert!(outcome.expect_err("none").to_string().contains("no daemon has appeared at /nonexistent/s"));
}

#[test]
fn wait_ends_with_four_when_the_daemon_says_that_the_time_is_up() {
    let daemon = Daemon::playing(|_, _| Ok(json!({"reached": false, "waiting_for": ["origin nas: the scan"]})));
    let (outcome, text) = daemon.run(&["wait", "--for", "scanned", "--timeout", "60", "--json"]);
    assert_eq!(exit(&outcome), Exit::TimedOut);
    assert!(outcome.expect_err("time is up").to_string().contains("origin nas: the scan"));
    assert_eq!(serde_json::from_str::<Value>(&text).expect("one document")["reached"], false);
    let (method, params) = daemon.calls().remove(0);
    assert_eq!((method.as_str(), &params["for"]), ("daemon.wait", &json!("scanned")));
    assert!(params["timeout_ms"].as_u64().is_some_and(|ms| ms <= 60_000));
}

#[test]
fn wait_without_a_limit_asks_without_one_and_says_nothing() {
    let daemon = Daemon::playing(|_, _| Ok(json!({"reached": true, "waiting_for": []})));
    let (outcome, text) = daemon.run(&["wait", "--for", "idle"]);
    assert_eq!((exit(&outcome), text.as_str()), (Exit::Done, ""));
    assert_eq!(daemon.calls(), [("daemon.wait".to_owned(), json!({"for": "idle"}))]);
}

#[test]
fn daemon_that_ends_while_it_is_waited_for_is_a_failure() {
    let daemon = Daemon::playing(|_, _| Err((0, "")));
    let (outcome, _) = daemon.run(&["wait", "--for", "idle"]);
    assert!(matches!(outcome, Err(CliError::ConnectionLost)));
    assert_eq!(exit(&outcome), Exit::Failed);
}

#[test]
fn stop_succeeds_when_the_daemon_ends_before_its_answer() {
    let daemon = Daemon::playing(|method, _| if method == "daemon.status" { Ok(status()) } else { Err((0, "")) });
    let (outcome, text) = daemon.run(&["stop"]);
    assert_eq!((exit(&outcome), text.as_str()), (Exit::Done, "the daemon has ended\n"));
    assert_eq!(daemon.calls().len(), 2);
}

#[test]
fn argument_with_a_percent_sign_is_a_name_first_and_an_escape_second() {
    fn play(_: &str, params: &Value) -> Result<Value, (i32, &'static str)> {
        if params["path"] == "a%20b" {
            let tags = json!({"format": "flac", "fields": [], "raw": []});
            Ok(json!({"path": "a b", "malformed": false, "tags": tags}))
        } else {
            Err((-32004, "no such entry"))
        }
    }
    let daemon = Daemon::playing(play);
    let (outcome, text) = daemon.run(&["tags", "a%20b"]);
    assert_eq!((exit(&outcome), text.as_str()), (Exit::Done, "path    a b\nformat  flac\n\nas in the file:\n"));
    let paths: Vec<_> = daemon.calls().into_iter().map(|(_, params)| params["path"].clone()).collect();
    assert_eq!(paths, [json!("a%2520b"), json!("a%20b")]);
}

#[test]
fn argument_that_is_not_utf8_is_sent_escaped_with_the_working_folder() {
    let daemon = Daemon::playing(|_, _| Err((-32004, "no such entry")));
    let argument = std::ffi::OsStr::from_bytes(b"x\xff%41");
    let mut words: Vec<&std::ffi::OsStr> = ["musicfs", "why", "--socket"].map(std::ffi::OsStr::new).to_vec();
    let socket = daemon.folder.path().join("s");
    words.extend([socket.as_os_str(), argument]);
    let cli = Cli::try_parse_from(words).expect("parses");
    let mut surroundings = Surroundings::of_process();
    surroundings.variables = [("PWD".into(), "/link/here".into())].into();
    surroundings.working_folder = Some("/work/here".into());
    let outcome = run(&cli, surroundings, &mut Vec::new());
    assert_eq!(exit(&outcome), Exit::NotFound);
    let params: Vec<_> = daemon.calls().into_iter().map(|(_, params)| params).collect();
    assert_eq!(
        params,
        [json!({"path": "x%FF%2541", "cwd": "/work/here"}), json!({"path": "x%FF%2541", "cwd": "/link/here"}),]
    );
}

/// Two pages, whatever is asked.
#[expect(clippy::unnecessary_wraps, reason = "it is a Play")]
fn two_pages(_: &str, params: &Value) -> Result<Value, (i32, &'static str)> {
    let entry = |path: &str, kind: &str| json!({"path": path, "kind": kind, "size": 7, "ino": 16});
    if params["after"].is_null() {
        Ok(json!({"entries": [entry("A", "folder"), entry("A/b%0A", "file")], "next": "A/b%0A"}))
    } else {
        Ok(json!({"entries": [entry("A/c", "file")], "next": null}))
    }
}

#[test]
fn tree_follows_the_cursor_to_the_end() {
    let daemon = Daemon::playing(two_pages);
    let (outcome, text) = daemon.run(&["tree"]);
    assert_eq!((exit(&outcome), text.as_str()), (Exit::Done, "A/\n  b%0A\n  c\n"));
    assert_eq!(daemon.calls()[1].1, json!({"path": "/", "cwd": "/work/here", "after": "A/b%0A"}));
    let daemon = Daemon::playing(two_pages);
    let (_, text) = daemon.run(&["tree", "--json"]);
    let document: Value = serde_json::from_str(&text).expect("one document");
    assert_eq!(document["entries"].as_array().map(Vec::len), Some(3));
}

/// A daemon that tells of two events, of one that it lost, and of the end of the past.
fn playing_events() -> Daemon {
    const NOTICES: &[&str] = &[
        r#"{"jsonrpc":"2.0","method":"events.event","params":{"seq":1,"unix_ms":0,"type":"daemon.ready"}}"#,
        r#"{"jsonrpc":"2.0","method":"events.lagged","params":{"missed":3}}"#,
        r#"{"jsonrpc":"2.0","method":"events.event","params":{"seq":5,"unix_ms":0,"type":"disk.new","a":1}}"#,
        r#"{"jsonrpc":"2.0","method":"events.caught_up","params":{}}"#,
    ];
    Daemon::telling(|_, _| Ok(json!({})), NOTICES)
}

#[test]
fn events_end_with_the_past_and_are_lines_for_scripts() {
    let daemon = playing_events();
    let (outcome, text) = daemon.run(&["events", "--type", "daemon"]);
    assert_eq!(exit(&outcome), Exit::Done);
    assert_eq!(
        text,
        "1970-01-01T00:00:00Z  daemon.ready\n\
         -                     events.lagged       missed=3\n\
         1970-01-01T00:00:00Z  disk.new            a=1\n"
    );
    assert_eq!(daemon.calls(), [("events.subscribe".to_owned(), json!({"types": ["daemon"], "recall": true}))]);
    let (outcome, text) = playing_events().run(&["events", "--json"]);
    assert_eq!(exit(&outcome), Exit::Done);
    assert_eq!(
        text,
        "{\"seq\":1,\"unix_ms\":0,\"type\":\"daemon.ready\"}\n\
         {\"missed\":3,\"type\":\"events.lagged\"}\n\
         {\"seq\":5,\"unix_ms\":0,\"type\":\"disk.new\",\"a\":1}\n"
    );
}

#[test]
fn followed_events_end_well_only_with_a_daemon_that_said_so() {
    const STOPPING: &[&str] = &[
        r#"{"jsonrpc":"2.0","method":"events.caught_up","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"events.event","params":{"seq":1,"unix_ms":0,"type":"daemon.stopping"}}"#,
        "",
    ];
    let daemon = Daemon::telling(|_, _| Ok(json!({})), STOPPING);
    assert_eq!(exit(&daemon.run(&["events", "--follow"]).0), Exit::Done);
    let daemon = Daemon::telling(|_, _| Ok(json!({})), &[""]);
    assert!(matches!(daemon.run(&["events", "--follow"]).0, Err(CliError::ConnectionLost)));
}

#[test]
fn unknown_origin_ends_with_five_and_a_failing_daemon_with_one() {
    let daemon = Daemon::playing(|_, _| Err((-32004, "there is no origin of this name")));
    assert_eq!(exit(&daemon.run(&["origin", "rescan", "x"]).0), Exit::NotFound);
    let daemon = Daemon::playing(|_, _| Err((-32603, "the database failed")));
    assert_eq!(exit(&daemon.run(&["status"]).0), Exit::Failed);
}

#[test]
fn peer_that_is_no_daemon_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).expect("binds");
    let thread = std::thread::spawn(move || {
        for answer in [
            "SSH-2.0-x\n",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"server\":\"musicfs\",\"version\":\"9\",\"protocol\":9}}\n",
        ] {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.write_all(answer.as_bytes()).expect("sends");
            // Until the client has gone: closing with its call unread would reset the connection.
            let _ = BufReader::new(stream).lines().count();
        }
    });
    let (outcome, _) = run_at(path.clone(), &["status"], &[]);
    assert!(matches!(outcome, Err(CliError::NoAnswer { .. })), "{outcome:?}");
    let (outcome, _) = run_at(path, &["status"], &[]);
    assert!(matches!(outcome, Err(CliError::OtherProtocol { protocol: 9, .. })), "{outcome:?}");
    thread.join().expect("ends");
}

#[test]
fn configuration_verbs_need_no_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "mountpoint = \"/m\"\n[origin.a]\nlocation = \"/a\"\n").expect("writes");
    let file = file.to_str().expect("text");
    let run = |line: &[&str]| {
        let words: Vec<&str> = ["--config", file].iter().chain(line).copied().collect();
        run_at("/nonexistent/s".into(), &words, &[("HOME", "/home/u")])
    };
    let (outcome, text) = run(&["config", "check"]);
    assert_eq!((exit(&outcome), text.as_str()), (Exit::Done, "nothing is wrong with the configuration\n"));
    let (_, text) = run(&["config", "path"]);
    assert_eq!(text, format!("{file}\n"));
    let (_, text) = run(&["config", "show"]);
    assert!(text.contains(&format!("mountpoint = \"/m\"  # {file}\n")), "{text}");
    assert!(text.contains("umask = \"000\"  # default\n"), "{text}");
    std::fs::write(file, "mountpiont = \"/m\"\n").expect("writes");
    let (outcome, text) = run(&["config", "check", "--json"]);
    assert_eq!(exit(&outcome), Exit::Usage);
    let report: Value = serde_json::from_str(&text).expect("one document");
    assert_eq!(report["problems"][0]["key"], "mountpiont");
    assert_eq!(report["problems"][0]["source"], file);
}

#[test]
fn mount_without_a_usable_configuration_ends_with_two() {
    let (outcome, _) = run_at("/nonexistent/s".into(), &["mount", "/m"], &[("HOME", "/home/u")]);
    assert_eq!(exit(&outcome), Exit::Usage);
    assert!(outcome.expect_err("no origin").to_string().contains("no origin is configured"));
}

/// A reader that has had enough.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn closed_pipe_is_told_apart_for_every_way_of_printing() {
    for line in [&["status"][..], &["status", "--json"], &["tree"], &["tree", "--json"]] {
        let daemon = Daemon::playing(|method, params| match method {
            "daemon.status" => Ok(status()),
            _ => two_pages(method, params),
        });
        let socket = daemon.folder.path().join("s");
        let words = [&["musicfs", "--socket", socket.to_str().expect("text")][..], line].concat();
        let cli = Cli::try_parse_from(words).expect("parses");
        let error = run(&cli, Surroundings::of_process(), &mut ClosedPipe).expect_err("a closed pipe");
        assert!(error.is_closed_pipe(), "{line:?}: {error}");
    }
}
