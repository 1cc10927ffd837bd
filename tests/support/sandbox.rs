//! A temp folder in which a daemon lives: origin, mountpoint, data, home, socket and configuration.
//!
//! Everything that the daemon could find of the user's own (HOME, XDG folders, `MUSICFS_` variables) points into the
//! sandbox or is removed. Files are put into the origin with mtimes of their own, odd nanoseconds included, so that a
//! lost digit shows.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use filetime::FileTime;
use tempfile::TempDir;

use super::command::{Finished, run};
use super::daemon::Daemon;
use super::user::User;

/// Where one daemon lives, and who it is.
#[derive(Debug)]
pub(crate) struct Sandbox {
    dir: TempDir,
    pub(crate) user: User,
    binary: PathBuf,
    /// Seconds of the next file's mtime.
    next_mtime: Cell<i64>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        super::daemon::clear(&self.mnt());
    }
}

/// The daemon's binary, where the ordinary user can run it: the target folder may lie in a home that is closed. Where the
/// tests themselves run as such a user, `MUSICFS_TEST_BINARY` names a copy.
fn binary_for(user: User, dir: &Path) -> PathBuf {
    let copy = std::env::var_os("MUSICFS_TEST_BINARY").map(PathBuf::from);
    let built = copy.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_musicfs")));
    if user == User::Me {
        return built;
    }
    let copy = dir.join("musicfs");
    std::fs::copy(&built, &copy).expect("copy of the binary");
    copy
}

impl Sandbox {
    /// A sandbox for whoever runs the tests.
    pub(crate) fn new() -> Self {
        Self::of(User::Me)
    }

    /// A sandbox whose daemon and commands run as an ordinary user.
    pub(crate) fn ordinary() -> Self {
        Self::of(User::Ordinary)
    }

    fn of(user: User) -> Self {
        // canonical, because the kernel's table of mounts names mountpoints so
        let temp = std::env::temp_dir().canonicalize().expect("temp folder");
        let dir = tempfile::Builder::new().prefix("musicfs-").tempdir_in(temp).expect("temp folder");
        user.own(dir.path());
        for name in ["origin", "mnt", "run", "home", "stage"] {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).expect("folder");
            user.own(&folder);
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.path().join("run"), private).expect("run folder");
        let binary = binary_for(user, dir.path());
        Self { dir, user, binary, next_mtime: Cell::new(1_600_000_000) }
    }

    /// A path in the sandbox.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder that the origin `a` serves.
    pub(crate) fn origin(&self) -> PathBuf {
        self.path("origin")
    }

    /// The mountpoint.
    pub(crate) fn mnt(&self) -> PathBuf {
        self.path("mnt")
    }

    /// A path in the library, as the shell sees it.
    pub(crate) fn shown(&self, path: &str) -> PathBuf {
        self.mnt().join(path)
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    /// The daemon's standard output and error, of all its runs.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// Waits until the daemon's log says this.
    #[track_caller]
    pub(crate) fn logged(&self, words: &str) {
        super::eventually(&format!("the log says `{words}`"), || {
            std::fs::read(self.log()).is_ok_and(|log| String::from_utf8_lossy(&log).contains(words))
        });
    }

    /// Lets other users pass through the sandbox.
    pub(crate) fn open_to_all(&self) {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.dir.path(), open).expect("permissions");
    }

    /// An mtime that no other file has.
    pub(crate) fn fresh_mtime(&self) -> FileTime {
        let secs = self.next_mtime.get();
        self.next_mtime.set(secs + 1);
        FileTime::from_unix_time(secs, 123_456_701 + (secs % 1000) as u32)
    }

    /// Writes a file below the origin, in place when it exists, and gives it an mtime.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let file = self.origin().join(path);
        let folder = file.parent().expect("a folder");
        std::fs::create_dir_all(folder).expect("folder in the origin");
        std::fs::write(&file, bytes).expect("file in the origin");
        filetime::set_file_mtime(&file, self.fresh_mtime()).expect("mtime");
        self.user.own(&file);
        file
    }

    /// Replaces a file of the origin by a rename from outside it, as an editor or a downloader does.
    pub(crate) fn replace(&self, path: &str, bytes: &[u8]) {
        let staged = self.path("stage/next");
        std::fs::write(&staged, bytes).expect("staged file");
        filetime::set_file_mtime(&staged, self.fresh_mtime()).expect("mtime");
        self.user.own(&staged);
        std::fs::rename(staged, self.origin().join(path)).expect("rename");
    }

    /// Writes the configuration file that every command here is given.
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.path("config.toml"), text).expect("config");
    }

    /// A program run as the sandbox's user, with nothing of the caller's own environment that the daemon reads.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = self.user.command(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MUSICFS_") || text.starts_with("XDG_") || text == "NOTIFY_SOCKET" || text == "RUST_LOG"
            {
                command.env_remove(&name);
            }
        }
        let home = self.path("home");
        command.env("HOME", &home).env("XDG_RUNTIME_DIR", self.path("run")).current_dir(home);
        command
    }

    /// `musicfs` with arguments and no more: for what must be said about folders and sockets by the test itself.
    pub(crate) fn bare(&self, args: &[&str]) -> Command {
        let mut command = self.program(&self.binary);
        command.args(args);
        command
    }

    /// `musicfs` with arguments, and the global flags of this sandbox behind them.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.arg("--socket").arg(self.socket()).arg("--data-dir").arg(self.path("data"));
        let config = self.path("config.toml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Runs `musicfs` with these arguments to its end.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Finished {
        run(&mut self.command(args))
    }

    /// The command of a daemon that serves the origin `a`, and whatever the configuration says.
    pub(crate) fn mount_command(&self) -> Command {
        let mut command = self.command(&["mount"]);
        let mut origin = std::ffi::OsString::from("a=");
        origin.push(self.origin());
        command.arg(self.mnt()).arg("--origin").arg(origin);
        command
    }

    /// Starts a daemon and waits until the library is complete.
    #[track_caller]
    pub(crate) fn start(&self) -> Daemon<'_> {
        self.start_with(&mut self.mount_command())
    }

    /// Starts a daemon by this command and waits until the library is complete.
    #[track_caller]
    pub(crate) fn start_with(&self, command: &mut Command) -> Daemon<'_> {
        let daemon = Daemon::spawn(self, command);
        daemon.scanned();
        daemon
    }
}
