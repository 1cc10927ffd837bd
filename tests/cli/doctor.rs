//! `musicfs doctor` through the program: each thing broken for real, found, and mended by the command that is printed.
//!
//! Only what a test may break is broken: a folder of the sandbox, a daemon of its own, PATH, a limit of a child, or the
//! machine as a mount namespace of the test's own shows it. The rest is tested on made-up worlds beside the code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use filetime::FileTime;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::{Finished, run};
use crate::support::daemon::Daemon;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::files;
use crate::support::{ordinary_sandbox, require, require_root};

/// Gives a sandbox a configuration that is right, with `more` before its origin.
fn configure(home: &Sandbox, more: &str) {
    home.configure(&format!(
        "mountpoint = \"{}\"\n{more}\n[origin.a]\nlocation = \"{}\"\n",
        home.mnt().display(),
        home.origin().display()
    ));
}

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    configure(&home, "");
    home
}

/// The findings of a check, each as what it is, why it matters and the command that mends it.
#[derive(Debug)]
struct Findings(Vec<Value>, i32);

impl Findings {
    #[track_caller]
    fn of(finished: &Finished) -> Self {
        let report: Value = serde_json::from_str(&finished.out())
            .unwrap_or_else(|error| panic!("{error}\n{}\n{}", finished.out(), finished.err()));
        Self(report["findings"].as_array().unwrap().clone(), finished.code())
    }

    fn problems(&self) -> Vec<&Value> {
        self.0.iter().filter(|finding| finding["level"] == "problem").collect()
    }

    /// Asserts that this is the only problem and that the exit code says so, and gives the command that mends it.
    #[track_caller]
    fn only(&self, check: &str, what: &str) -> String {
        let problems = self.problems();
        let [problem] = problems.as_slice() else { panic!("one problem expected: {self:#?}") };
        assert_eq!((problem["check"].as_str(), self.1), (Some(check), 1), "{problem:#?}");
        assert!(problem["what"].as_str().unwrap().contains(what), "`{what}` in {problem:#?}");
        assert!(!problem["why"].as_str().unwrap().is_empty());
        problem["mend"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn none(&self) {
        assert_eq!((self.problems().len(), self.1), (0, 0), "{self:#?}");
    }
}

#[track_caller]
fn doctor(home: &Sandbox) -> Findings {
    Findings::of(&home.cli(&["doctor", "--json"]))
}

/// Runs a command that doctor printed as a person would who copies it.
#[track_caller]
fn mend(home: &Sandbox, command: &str) {
    let mut shell = home.program(Path::new("sh"));
    let musicfs = home.bare(&[]).get_program().to_owned();
    let folder = Path::new(&musicfs).parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    run(shell.args(["-c", command]).env("PATH", path)).ok();
}

/// A sandbox's command under a shell script, in a mount namespace of its own; the script ends with `exec "$@"`.
fn in_a_namespace(home: &Sandbox, script: &str) -> Command {
    let inner = home.command(&["doctor", "--json"]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(home.path("home"));
    command
}

#[test]
fn healthy_system_needs_no_mending_with_and_without_a_daemon() {
    let home = home();
    let finished = home.cli(&["doctor"]).ok();
    assert!(finished.out().contains("note: daemon: no daemon answers"), "{}", finished.out());
    assert!(finished.out().contains("mount") && finished.out().contains("nothing needs mending"), "{}", finished.out());
    let daemon = home.start_with(&mut home.command(&["mount"]));
    let finished = daemon.cli(&["doctor"]).ok();
    assert_eq!(finished.out(), "nothing needs mending\n");
    assert_eq!(daemon.cli(&["doctor", "-q"]).ok().out(), "");
    daemon.stop();
}

#[test]
fn daemon_that_was_started_by_flags_is_examined_as_it_runs() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let problems = doctor(&home).problems().len();
    assert_eq!(problems, 2, "neither an origin nor a mountpoint is configured");
    let daemon = home.start();
    doctor(&home).none();
    fs::rename(home.origin(), home.path("gone")).unwrap();
    assert!(doctor(&home).problems().iter().any(|found| found["check"] == "origin"));
    fs::rename(home.path("gone"), home.origin()).unwrap();
    daemon.stop();
}

#[test]
fn report_in_words_says_what_why_and_how_to_mend_it() {
    let home = home();
    fs::remove_dir_all(home.origin()).unwrap();
    let finished = home.cli(&["doctor"]);
    assert_eq!(finished.code(), 1);
    for words in ["problem: origin: ", "\n  why:  ", "\n  mend: mkdir -p "] {
        assert!(finished.out().contains(words), "{words:?} in {}", finished.out());
    }
    assert!(finished.err().contains("1 problem needs mending"), "{}", finished.err());
}

#[test]
fn mistakes_of_the_configuration_name_the_file_to_edit() {
    let home = home();
    configure(&home, "raw_veiw = \"off\"");
    let editor = doctor(&home).only("configuration", "`raw_veiw`");
    assert!(editor.contains("EDITOR") && editor.contains("config.toml"), "{editor}");
    mend(&home, &format!("EDITOR='sed -i s/raw_veiw/raw_view/'; {editor}"));
    doctor(&home).none();
}

#[test]
fn user_without_a_runtime_folder_is_told_to_linger() {
    let home = home();
    let file = home.path("config.toml");
    let mut command = home.bare(&["doctor", "--json", "--config", file.to_str().unwrap()]);
    command.env_remove("XDG_RUNTIME_DIR");
    if Path::new(&format!("/run/user/{}", rustix::process::geteuid())).exists() {
        return crate::support::skip(module_path!(), "this user has a folder in /run/user");
    }
    let enable = Findings::of(&run(&mut command)).only("runtime_folder", "no runtime folder");
    assert!(enable.contains("loginctl enable-linger"), "{enable}");
}

#[test]
fn helper_that_is_not_in_path_is_to_be_installed() {
    let home = ordinary_sandbox!();
    configure(&home, "");
    doctor(&home).none();
    let empty = home.path("stage");
    let mut command = home.command(&["doctor", "--json"]);
    // setpriv, which changes the user, is found by its own path
    if command.get_program() == "setpriv" {
        std::os::unix::fs::symlink("/usr/bin/setpriv", empty.join("setpriv")).unwrap();
    }
    let install = Findings::of(&run(command.env("PATH", &empty))).only("fusermount", "not installed");
    assert_eq!(install, "sudo apt-get install -y fuse3");
}

#[test]
fn mount_of_a_killed_daemon_is_found_and_taken_away() {
    require!("fusermount3");
    let home = home();
    home.start_with(&mut home.command(&["mount"])).kill9();
    let finished = doctor(&home);
    let unmount = finished.only("mount", "a dead mount of a musicfs daemon");
    mend(&home, &unmount);
    doctor(&home).none();
}

#[test]
fn daemon_that_hangs_is_found_and_killed_and_doctor_does_not_hang_with_it() {
    let home = home();
    let daemon = home.start_with(&mut home.command(&["mount"]));
    assert_eq!(files(&home.mnt()).len(), 1);
    daemon.signal(Signal::STOP);
    let findings = doctor(&home);
    let problems = findings.problems();
    let by =
        |check: &str| problems.iter().find(|found| found["check"] == check).unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(by("mount")["what"].as_str().unwrap().contains("does not answer"), "{findings:#?}");
    let kill = by("daemon")["mend"].as_str().unwrap().to_owned();
    assert_eq!(kill, format!("kill -9 {}", daemon.pid().as_raw_nonzero()));
    mend(&home, &kill);
    assert!(!daemon.wait_exit().success());
}

#[test]
fn mountpoint_that_is_in_use_or_leads_into_an_origin() {
    let home = home();
    fs::write(home.mnt().join("precious"), "x").unwrap();
    mend(&home, &doctor(&home).only("mountpoint", "is not empty"));
    doctor(&home).none();
    assert!(home.path("mnt.old/precious").exists());
    fs::remove_dir(home.mnt()).unwrap();
    std::os::unix::fs::symlink(home.origin(), home.mnt()).unwrap();
    let findings = doctor(&home);
    let nested = |found: &&&Value| found["what"].as_str().unwrap().contains("lies at origin a");
    assert!(findings.problems().iter().any(|found| nested(&found)), "{findings:#?}");
}

#[test]
fn origin_that_is_away_is_named() {
    let home = home();
    fs::rename(home.origin(), home.path("elsewhere")).unwrap();
    let make = doctor(&home).only("origin", "No such file or directory");
    mend(&home, make.split(" #").next().unwrap());
    doctor(&home).none();
}

#[test]
fn files_that_cannot_be_read_are_counted() {
    let home = ordinary_sandbox!();
    configure(&home, "");
    for name in ["one.flac", "two.flac", "three.flac"] {
        let file = home.put(name, b"x");
        fs::set_permissions(file, fs::Permissions::from_mode(if name == "three.flac" { 0o644 } else { 0 })).unwrap();
    }
    let open = doctor(&home).only("origin", "2 files or folders of origin a cannot be read");
    mend(&home, &open.replace("sudo ", ""));
    doctor(&home).none();
}

#[test]
fn files_from_the_future_are_counted_and_brought_to_the_present() {
    let home = home();
    let file = home.put("later.flac", b"x");
    let later = SystemTime::now() + Duration::from_hours(100);
    filetime::set_file_mtime(&file, FileTime::from_system_time(later)).unwrap();
    let touch = doctor(&home).only("clock", "1 files of origin a were changed in the future");
    mend(&home, &touch);
    doctor(&home).none();
    assert!(
        fs::metadata(home.origin().join("one.flac")).unwrap().modified().unwrap()
            < SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    );
}

#[test]
fn clock_that_was_set_back_is_told_by_the_state_folder() {
    let home = home();
    let state = home.path("data/state");
    fs::create_dir_all(&state).unwrap();
    for folder in ["data", "data/state"] {
        fs::set_permissions(home.path(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::write(state.join("lock"), "").unwrap();
    let later = SystemTime::now() + Duration::from_hours(100);
    filetime::set_file_mtime(state.join("lock"), FileTime::from_system_time(later)).unwrap();
    let set = doctor(&home).only("clock", "the clock of this machine is behind");
    assert!(set.contains("timedatectl set-ntp true"), "{set}");
}

#[test]
fn folders_with_wrong_permissions_are_mended() {
    let home = home();
    let daemon = home.start_with(&mut home.command(&["mount"]));
    daemon.stop();
    doctor(&home).none();
    for (folder, mode) in [("data/state", 0o777), ("data/cache", 0o500), ("run", 0o770)] {
        fs::set_permissions(home.path(folder), fs::Permissions::from_mode(mode)).unwrap();
        mend(&home, &doctor(&home).only("folders", folder));
        doctor(&home).none();
    }
}

#[test]
fn quarantined_origin_is_confirmed_by_the_printed_command() {
    let home = home();
    for number in 0..40 {
        home.put(&format!("more/{number}.flac"), &Track::new("Artist", "Album", number, "More").flac());
    }
    let daemon: Daemon<'_> = home.start_with(&mut home.command(&["mount"]));
    assert_eq!(files(&home.mnt()).len(), 41);
    fs::rename(home.origin().join("more"), home.path("stage/more")).unwrap();
    daemon.idle();
    let accept = doctor(&home).only("quarantine", "origin a is quarantined");
    assert!(accept.ends_with("origin rescan a --accept-removals"), "{accept}");
    mend(&home, &accept);
    daemon.idle();
    doctor(&home).none();
    assert_eq!(files(&home.mnt()).len(), 1);
    daemon.stop();
}

#[test]
fn disk_without_room_is_told() {
    require_root!("make a mount namespace");
    require!("unshare", "mount");
    let home = home();
    fs::create_dir_all(home.path("data")).unwrap();
    let script = format!("mount -t tmpfs -o size=1m,mode=700 none '{}' && exec \"$@\"", home.path("data").display());
    let findings = Findings::of(&run(&mut in_a_namespace(&home, &script)));
    let problems = findings.problems();
    assert_eq!(problems.len(), 2, "state and cache: {findings:#?}");
    for problem in problems {
        assert_eq!(problem["check"], "disk");
        assert!(
            problem["what"].as_str().unwrap().contains("is full")
                && problem["mend"].as_str().unwrap().contains("du -xh")
        );
    }
}

#[test]
fn too_few_watches_are_told_with_the_sysctl() {
    require_root!("make a mount namespace");
    require!("unshare", "mount");
    let home = home();
    for number in 0..10 {
        fs::create_dir(home.origin().join(number.to_string())).unwrap();
    }
    fs::write(home.path("limit"), "10\n").unwrap();
    let bind = |name: &str| {
        format!("mount --bind '{}' /proc/sys/fs/inotify/{name} && exec \"$@\"", home.path("limit").display())
    };
    let findings = Findings::of(&run(&mut in_a_namespace(&home, &bind("max_user_watches"))));
    let raise = findings.only("inotify", "11 folders are to be watched and the system grants 10");
    assert!(raise.starts_with("echo fs.inotify.max_user_watches=524288 | "), "{raise}");
    let findings = Findings::of(&run(&mut in_a_namespace(&home, &bind("max_user_instances"))));
    assert!(findings.only("inotify", "10 inotify instances").contains("max_user_instances="));
}

#[test]
fn too_few_descriptors_are_told_with_the_limit_to_raise() {
    let home = home();
    let inner = home.command(&["doctor", "--json"]);
    let mut command = home.program(Path::new("sh"));
    command.args(["-c", "ulimit -n 512 && exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    let raise = Findings::of(&run(&mut command)).only("descriptors", "may open 512 files");
    assert!(raise.contains("nofile 65536") && raise.contains("/etc/security/limits.d/musicfs.conf"), "{raise}");
}

#[test]
fn device_that_is_missing_is_told() {
    require_root!("make a mount namespace");
    require!("unshare", "mount");
    let home = home();
    let findings = Findings::of(&run(&mut in_a_namespace(&home, "mount -t tmpfs none /dev && exec \"$@\"")));
    assert!(findings.only("fuse_device", "does not exist").ends_with("modprobe fuse"));
}
