//! Reloading the configuration under a running daemon, by command and by signal.
//!
//! What can change does so while readers go on; what cannot is named; a file that is wrong changes nothing. A signal that
//! comes with a closed terminal is the exception: it ends the daemon.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::service::{PATIENCE, hear};
use crate::support::daemon::Daemon;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::slot::Slot;
use crate::support::tree::{files, ino, names_in, set};
use crate::support::{eventually, require};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn write_config(home: &Sandbox, more: &str) {
    home.configure(&format!(
        "mountpoint = \"{}\"\n{more}\n[origin.a]\nlocation = \"{}\"\npriority = 7\n",
        home.mnt().display(),
        home.origin().display()
    ));
}

/// A sandbox with two tracks whose daemon gets everything from its file.
fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track { audio_len: 300_000, ..Track::new("Artist", "Album", 1, "One") }.flac());
    home.put("two.flac", &Track::new("Artist", "Album", 2, "Two").flac());
    write_config(&home, "");
    home
}

fn start(home: &Sandbox) -> Daemon<'_> {
    home.start_with(&mut home.command(&["mount"]))
}

#[track_caller]
fn reload(daemon: &Daemon<'_>) -> Value {
    let out = daemon.cli(&["config", "reload", "--json"]).ok().out();
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}\n{out}"))
}

/// Key, old, new and outcome of every row of a reply.
fn rows(reply: &Value) -> Vec<(String, Value, Value, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row["key"]), row["old"].clone(), row["new"].clone(), text(&row["outcome"]));
    reply["keys"].as_array().unwrap().iter().map(row).collect()
}

fn row(key: &str, old: Value, new: Value, outcome: &str) -> (String, Value, Value, String) {
    (key.to_owned(), old, new, outcome.to_owned())
}

#[test]
fn template_moves_the_tree_under_readers_and_keeps_the_numbers() {
    let home = home();
    let daemon = start(&home);
    let before = ino(&home.shown(SHOWN));
    let content = std::fs::read(home.origin().join("one.flac")).unwrap();
    let open = File::open(home.shown(SHOWN)).unwrap();
    let (stop, num_reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (file, want) = (open.try_clone().unwrap(), content.clone());
        let (stop, num_reads) = (Arc::clone(&stop), Arc::clone(&num_reads));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut bytes = vec![0; want.len()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                assert!(bytes == want, "a reader got other bytes");
                num_reads.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let wait_for_reads = |wanted: u64| {
        let from = num_reads.load(Ordering::Relaxed);
        while num_reads.load(Ordering::Relaxed) < from + wanted {
            assert!(!reader.is_finished(), "the reader failed");
            std::thread::yield_now();
        }
    };
    wait_for_reads(3);
    let template = "${title}/${album}.${ext}";
    write_config(&home, &format!("template = \"{template}\"\n"));
    let reply = reload(&daemon);
    assert_eq!(rows(&reply)[0].0, "template");
    assert_eq!((&rows(&reply)[0].2, rows(&reply)[0].3.as_str()), (&json!(template), "applied"));
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["One/Album.flac", "Two/Album.flac"]));
    assert_eq!(ino(&home.shown("One/Album.flac")), before);
    assert!(!home.shown("Artist").exists(), "the old folders are gone");
    wait_for_reads(3);
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    assert_eq!(std::fs::read(home.shown("One/Album.flac")).unwrap(), content);
    // what is added from now on stands where the new template puts it, and a restart moves nothing
    home.put("three.flac", &Track::new("Artist", "Album", 3, "Three").flac());
    daemon.idle();
    let want = set(["One/Album.flac", "Two/Album.flac", "Three/Album.flac"]);
    assert_eq!(files(&home.mnt()), want);
    daemon.stop();
    let daemon = start(&home);
    assert_eq!((files(&home.mnt()), ino(&home.shown("One/Album.flac"))), (want, before));
    daemon.stop();
}

#[test]
fn every_live_key_changes_at_once_and_is_shown_as_running() {
    let home = home();
    let daemon = start(&home);
    assert!(home.shown(".origins/a/one.flac").exists());
    home.configure(&format!(
        "mountpoint = \"{}\"\nraw_view = \"off\"\nready = \"mounted\"\n[defaults]\nalbum = \"None\"\n[log]\n\
         level = \"debug\"\n[origin.a]\nlocation = \"{}\"\npriority = 3\npoll_interval = \"5s\"\n",
        home.mnt().display(),
        home.origin().display()
    ));
    let applied = |key: &str, old: Value, new: Value| row(key, old, new, "applied");
    let want = vec![
        applied("defaults.album", Value::Null, json!("None")),
        applied("log.level", json!("info"), json!("debug")),
        applied("origin.a.poll_interval", json!("1m"), json!("5s")),
        applied("origin.a.priority", json!(7), json!(3)),
        applied("raw_view", json!("hidden"), json!("off")),
        applied("ready", json!("listed"), json!("mounted")),
    ];
    assert_eq!(rows(&reload(&daemon)), want);
    daemon.idle();
    assert!(!home.shown(".origins").exists(), "the name that the kernel knew is gone");
    let list: Value = serde_json::from_str(&daemon.cli(&["origin", "list", "--json"]).ok().out()).unwrap();
    assert_eq!(list["origins"][0]["priority"], 3);
    let text = daemon.cli(&["config", "show", "--running", "--json"]).ok().out();
    let running: Value = serde_json::from_str(&text).unwrap();
    for (key, _, new, _) in &want {
        assert_eq!(&running["values"][key]["value"], new, "{key}");
    }
    daemon.cli(&["status"]).ok();
    let log = std::fs::read_to_string(home.log()).unwrap();
    let (before, after) = log.split_once("configuration reloaded").expect("the reload is logged");
    assert!(!before.contains("DEBUG") && after.contains("DEBUG"), "{log}");
    assert_eq!(daemon.cli(&["config", "reload"]).ok().out(), "nothing has changed\n");
    write_config(&home, "raw_view = \"listed\"");
    daemon.cli(&["config", "reload"]).ok();
    daemon.idle();
    assert!(names_in(&home.mnt()).contains(&".origins".to_owned()), "{:?}", names_in(&home.mnt()));
    daemon.stop();
}

#[test]
fn key_that_cannot_change_is_named_and_keeps_its_old_value() {
    let home = home();
    let daemon = start(&home);
    let (other, more) = (home.path("stage"), home.path("home"));
    home.configure(&format!(
        "mountpoint = \"{}\"\numask = \"077\"\nraw_view = \"listed\"\n[log]\nformat = \"json\"\n[origin.b]\n\
         location = \"{}\"\n",
        home.path("elsewhere").display(),
        other.display()
    ));
    let words = daemon.cli(&["config", "reload"]).ok().out();
    for (key, outcome) in [
        ("mountpoint ", "restart to apply"),
        ("umask ", "restart to apply"),
        ("log.format ", "restart to apply"),
        ("origin.a.location ", "restart to apply"),
        ("origin.b.location ", "restart to apply"),
        ("raw_view ", "applied"),
    ] {
        let line = words.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {words}"));
        assert!(line.ends_with(outcome), "{line}");
    }
    assert!(words.contains("musicfs stop"), "the way to apply them is named: {words}");
    assert_eq!(std::fs::metadata(home.shown(SHOWN)).unwrap().mode() & 0o777, 0o444);
    assert!(home.shown(".origins/a/one.flac").exists() && !home.shown(".origins/b").exists());
    // told again as long as it is so, what was applied is not
    let again = rows(&reload(&daemon));
    assert!(again.iter().all(|row| row.3 == "restart_needed") && again.len() >= 5, "{again:?}");
    assert!(more.exists());
    daemon.stop();
}

#[test]
fn file_that_is_wrong_changes_nothing_and_says_every_mistake() {
    let home = home();
    let daemon = start(&home);
    write_config(&home, "raw_view = \"off\"\ntemplat = \"x\"\numask = \"9\"\n");
    let finished = daemon.cli(&["config", "reload"]);
    assert_eq!(finished.code(), 2);
    for words in ["config.toml", "`templat`", "`template`", "`umask`", "octal", "nothing has changed"] {
        assert!(finished.err().contains(words), "{words} in {}", finished.err());
    }
    assert!(home.shown(".origins/a/one.flac").exists(), "the right key of a wrong file does not count either");
    home.configure("mountpoint = \n");
    assert_eq!(daemon.cli(&["config", "reload"]).code(), 2);
    std::fs::remove_file(home.path("config.toml")).unwrap();
    let mut command = home.bare(&["config", "reload", "--socket", home.socket().to_str().unwrap()]);
    let finished = crate::support::command::run(&mut command);
    assert!(finished.code() == 2 && finished.err().contains("config.toml"), "{}", finished.err());
    assert_eq!(files(&home.mnt()).len(), 2);
    write_config(&home, "raw_view = \"off\"");
    assert_eq!(rows(&reload(&daemon)), [row("raw_view", json!("hidden"), json!("off"), "applied")]);
    daemon.stop();
}

#[test]
fn flag_that_a_daemon_was_started_with_stays_decided() {
    let home = home();
    let mut command = home.command(&["mount", "--template", "${title}.${ext}"]);
    let daemon = home.start_with(&mut command);
    write_config(&home, "template = \"${album}.${ext}\"\n");
    assert_eq!(rows(&reload(&daemon)), []);
    assert_eq!(files(&home.mnt()), set(["One.flac", "Two.flac"]));
    daemon.stop();
}

#[test]
fn hangup_reloads_and_the_service_manager_hears_of_it() {
    let home = home();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = home.command(&["mount"]);
    let daemon = home.start_with(command.env("NOTIFY_SOCKET", home.path("notify")));
    hear(&manager, "READY=1");
    write_config(&home, "raw_view = \"off\"");
    daemon.signal(Signal::HUP);
    let reloading = hear(&manager, "RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    hear(&manager, "READY=1");
    daemon.idle();
    assert!(!home.shown(".origins").exists());
    // a wrong file is no reason to end, nor to look as if the reload went on for ever
    write_config(&home, "nonsense = 1");
    daemon.signal(Signal::HUP);
    hear(&manager, "RELOADING=1");
    hear(&manager, "READY=1");
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("not reloaded") && log.contains("nonsense"), "{log}");
    assert_eq!(files(&home.mnt()).len(), 2);
    daemon.stop();
}

/// Runs a command on a terminal of its own, which is closed when standard input ends. Whoever runs the tests may ignore
/// hangups, as under `nohup`; the command must not inherit that.
const ON_A_TERMINAL: &str = r"
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
sys.stdin.buffer.read()
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// Starts the daemon on a terminal, through `wrapper`, and hands over what closes it.
fn on_a_terminal(home: &Sandbox, wrapper: &[&str]) -> (std::process::Child, std::process::ChildStdin) {
    let mount = home.command(&["mount"]);
    let mut command = Command::new("python3");
    command.args(["-c", ON_A_TERMINAL]).args(wrapper).arg(mount.get_program()).args(mount.get_args());
    for (name, value) in mount.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(home.path("home")).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    home.cli(&["wait", "--for", "scanned", "--timeout", "60"]).ok();
    (child, stdin)
}

fn pid_of(home: &Sandbox) -> rustix::process::Pid {
    let status: Value = serde_json::from_str(&home.cli(&["status", "--json"]).ok().out()).unwrap();
    rustix::process::Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

#[test]
fn closing_its_terminal_ends_the_daemon_and_a_hangup_by_hand_does_not() {
    require!("python3");
    let home = home();
    let _slot = Slot::take();
    let (mut child, terminal) = on_a_terminal(&home, &[]);
    write_config(&home, "raw_view = \"off\"");
    rustix::process::kill_process(pid_of(&home), Signal::HUP).unwrap();
    home.cli(&["wait", "--for", "idle", "--timeout", "60"]).ok();
    let reloaded = || {
        let text = home.cli(&["config", "show", "--running", "--json"]).ok().out();
        serde_json::from_str::<Value>(&text).unwrap()["values"]["raw_view"]["value"] == "off"
    };
    eventually("the reload that was asked for by hand", reloaded);
    drop(terminal);
    assert!(child.wait().unwrap().success(), "it ended in order");
    assert!(!crate::support::daemon::mounted(&home.mnt()));
}

#[test]
fn daemon_under_nohup_outlives_its_terminal() {
    require!("python3", "nohup");
    let home = home();
    let _slot = Slot::take();
    let (mut child, terminal) = on_a_terminal(&home, &["nohup"]);
    drop(terminal);
    // nohup sends the log there
    let log = || std::fs::read_to_string(home.path("home/nohup.out")).unwrap_or_default();
    eventually("the hangup of the terminal", || log().contains("configuration reloaded"));
    assert_eq!(files(&home.mnt()).len(), 2);
    home.cli(&["stop"]).ok();
    assert!(child.wait().unwrap().success());
    assert!(!Path::new(&home.socket()).exists());
}
