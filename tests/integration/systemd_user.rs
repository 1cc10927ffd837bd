//! The user unit as shipped, under a real `systemd --user`: started, reloaded, frozen, killed and stopped by it.
//!
//! The manager is an ordinary user's and lives in the sandbox: its own home, its own runtime folder, a mount namespace of
//! the test's thread with a cgroup tree in which it has one group, removed in the end with all that runs in it. A drop-in
//! adds what a test needs and a user does not: failpoints, and a watchdog that does not take a minute.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::mount::{MountFlags, mount};

use crate::support::command::{Finished, run};
use crate::support::daemon::mounted;
use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::slot::Slot;
use crate::support::user::private_mounts;
use crate::support::{eventually, missing_tools, ordinary_sandbox, require_root, skip};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

const CGROUPS: &str = "/sys/fs/cgroup";

/// Where Debian and most others have it; it is in no PATH.
const MANAGERS: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// Seconds of the watchdog instead of the unit's 60; and where the failpoints are.
const DROP_IN: &str = "[Service]\nWatchdogSec=2\nEnvironment=MUSICFS_FAILPOINTS=";

/// A user manager of the sandbox's user. Dropping it ends all that it has started.
struct Manager<'a> {
    home: &'a Sandbox,
    process: Child,
    cgroup: PathBuf,
}

impl<'a> Manager<'a> {
    /// Starts one; the error says what the machine does not allow.
    fn start(home: &'a Sandbox, program: &str) -> io::Result<Self> {
        private_mounts()?;
        mount("none", CGROUPS, "cgroup2", MountFlags::empty(), None)?;
        // A manager runs only where systemd is said to run.
        if Path::new("/run/systemd").is_dir() {
            mount("none", "/run/systemd", "tmpfs", MountFlags::empty(), None)?;
        } else {
            mount("none", "/run", "tmpfs", MountFlags::empty(), None)?;
        }
        fs::create_dir_all("/run/systemd/system")?;
        let cgroup = Path::new(CGROUPS).join(format!("musicfs-test-{}", std::process::id()));
        fs::create_dir(&cgroup)?;
        for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            home.user.own(&cgroup.join(name));
        }
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        let manager = home.program(Path::new(program));
        let mut command = Command::new("sh");
        command.args(["-c", enter]).arg(&cgroup).arg(manager.get_program()).args(manager.get_args()).arg("--user");
        command.env_clear().envs(manager.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let log = fs::File::create(home.path("manager.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn()?;
        eventually("the manager listens", || home.path("run/systemd/private").exists());
        Ok(Self { home, process, cgroup })
    }

    /// `systemctl --user` with these arguments.
    fn systemctl(&self, args: &[&str]) -> Finished {
        run(self.home.program(Path::new("systemctl")).arg("--user").args(args))
    }

    /// A property of the unit.
    fn show(&self, property: &str) -> String {
        self.systemctl(&["show", "--value", "-p", property, "musicfs"]).ok().out().trim().to_owned()
    }

    /// Waits until the unit runs after so many restarts, with the library in its place.
    fn runs_again(&self, num_restarts: u32) {
        let num_restarts = num_restarts.to_string();
        eventually("the unit is started again", || {
            self.show("NRestarts") == num_restarts && self.show("ActiveState") == "active"
        });
        self.assert_serves(SHOWN);
    }

    /// The mount is the unit's user's, so that user looks at it.
    fn assert_serves(&self, path: &str) {
        let shown = self.home.shown(path);
        run(self.home.program(Path::new("cmp")).arg(shown).arg(self.home.origin().join("one.flac"))).ok();
        assert_eq!(self.show("StatusText"), "1 tracks of 1 files");
    }
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = fs::read_to_string(self.home.path("manager.log")).unwrap_or_default();
            eprintln!("--- the manager's log\n{journal}");
        }
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.process.wait();
        remove_cgroup(&self.cgroup);
    }
}

/// Removes a cgroup with those below it, each once its last process is gone.
fn remove_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    eventually("a cgroup is empty", || fs::remove_dir(cgroup).is_ok() || !cgroup.exists());
}

/// Puts a file where the unit's user looks for it.
fn install(home: &Sandbox, path: &str, bytes: &[u8]) {
    let file = home.path("home").join(path);
    for folder in file.ancestors().skip(1).take_while(|folder| *folder != home.path("home")) {
        fs::create_dir_all(folder).unwrap();
        home.user.own(folder);
    }
    fs::write(&file, bytes).unwrap();
    home.user.own(&file);
}

/// Writes the user's configuration: `more`, and where the library is.
fn configure(home: &Sandbox, more: &str) {
    let (mnt, origin) = (home.mnt(), home.origin());
    let places = format!("mountpoint = '{}'\n[origin.main]\nlocation = '{}'\n", mnt.display(), origin.display());
    install(home, ".config/musicfs/config.toml", format!("{more}{places}").as_bytes());
}

/// What the README has a user do, and one track.
fn install_all(home: &Sandbox) {
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let binary = home.bare(&[]);
    let binary = PathBuf::from(binary.get_args().last().unwrap_or(binary.get_program()));
    install(home, ".local/bin/musicfs", b"");
    let target = home.path("home/.local/bin/musicfs");
    fs::copy(binary, &target).unwrap();
    fs::set_permissions(target, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let unit = include_bytes!("../../systemd/musicfs.service");
    install(home, ".config/systemd/user/musicfs.service", unit);
    configure(home, "");
}

#[test]
fn unit_as_shipped_starts_reloads_is_watched_is_started_again_and_stops() {
    require_root!("give a user manager a cgroup of its own");
    let program = MANAGERS.into_iter().find(|path| Path::new(path).is_file());
    let Some(program) = program.filter(|_| missing_tools(&["systemctl", "setpriv"]).is_none()) else {
        return skip(module_path!(), "systemd is not installed; `make deps-test` installs it");
    };
    let home = ordinary_sandbox!();
    let _slot = Slot::take();
    install_all(&home);
    let manager = match Manager::start(&home, program) {
        Ok(manager) => manager,
        Err(error) => return skip(module_path!(), &format!("no user manager can be started here: {error}")),
    };

    manager.systemctl(&["enable", "--now", "musicfs"]).ok();
    manager.assert_serves(SHOWN);
    assert_eq!(manager.show("WatchdogUSec"), "1min");

    configure(&home, "template = '${title}.${ext}'\n");
    manager.systemctl(&["reload", "musicfs"]).ok();
    run(&mut home.bare(&["wait", "--for", "idle"])).ok();
    manager.assert_serves("One.flac");
    configure(&home, "tempalte = ''\n");
    manager.systemctl(&["reload", "musicfs"]).refused();
    assert_eq!(manager.show("ActiveState"), "active", "mistakes in a configuration end nobody");
    manager.assert_serves("One.flac");
    configure(&home, "");
    manager.systemctl(&["stop", "musicfs"]).ok();
    assert_eq!(manager.show("Result"), "success");
    assert!(!mounted(&home.mnt()), "the unit takes its mount away");

    let failpoints = Failpoints::new(&home);
    let drop_in = format!("{DROP_IN}{}\n", home.path("failpoints").display());
    install(&home, ".config/systemd/user/musicfs.service.d/test.conf", drop_in.as_bytes());
    manager.systemctl(&["daemon-reload"]).ok();
    manager.systemctl(&["start", "musicfs"]).ok();
    // The process lives and its mount hangs.
    failpoints.set("fuse_front::statfs", "pause");
    eventually("the watchdog ends the daemon", || manager.show("Result") == "watchdog");
    failpoints.preset("fuse_front::statfs", "off");
    manager.runs_again(1);

    manager.systemctl(&["kill", "--kill-who=main", "--signal=STOP", "musicfs"]).ok();
    manager.runs_again(2);
    manager.systemctl(&["kill", "--kill-who=main", "--signal=KILL", "musicfs"]).ok();
    manager.runs_again(3);

    manager.systemctl(&["stop", "musicfs"]).ok();
    assert_eq!(manager.show("ActiveState"), "inactive");
    assert!(!mounted(&home.mnt()));
}
