//! A daemon to be measured: the built program over one origin, in folders of its own.
//!
//! Its home, socket and data are below the benchmark's folder, so nothing of the user's is read. Times begin at the start
//! of the process; what is asked of it is asked as a user would, by the program itself. Dropping it ends it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

/// How long anything may take: a first scan of a million files on a slow machine.
const LIMIT_SECS: &str = "3600";

/// How often it is looked whether the mount is there.
const POLL: Duration = Duration::from_micros(200);

/// Where a daemon lives.
pub(crate) struct Home {
    binary: PathBuf,
    folder: PathBuf,
    origin: PathBuf,
}

impl Home {
    /// A home below `folder` for a daemon that serves `origin` as `a`.
    pub(crate) fn new(binary: &Path, folder: &Path, origin: &Path) -> io::Result<Self> {
        for name in ["mnt", "run", "home"] {
            fs::create_dir_all(folder.join(name))?;
        }
        Ok(Self { binary: binary.to_owned(), folder: folder.to_owned(), origin: origin.to_owned() })
    }

    /// The mountpoint.
    pub(crate) fn mnt(&self) -> PathBuf {
        self.folder.join("mnt")
    }

    /// Whether a daemon has scanned here before.
    pub(crate) fn is_scanned(&self) -> bool {
        self.folder.join("scanned").exists()
    }

    /// Forgets what a daemon before has learned.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let _ = fs::remove_file(self.folder.join("scanned"));
        match fs::remove_dir_all(self.folder.join("data")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Bytes on disk that the daemon keeps.
    pub(crate) fn state_bytes(&self) -> io::Result<u64> {
        let folder = self.folder.join("data/state/catalog");
        fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .env("HOME", self.folder.join("home"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(args).arg("--socket").arg(self.folder.join("run/control.sock"));
        command.arg("--data-dir").arg(self.folder.join("data"));
        command.current_dir(&self.folder);
        command
    }

    /// Starts a daemon and waits for nothing.
    pub(crate) fn start(&self) -> io::Result<Daemon<'_>> {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        let mut origin = std::ffi::OsString::from("a=");
        origin.push(&self.origin);
        let mut command = self.command(&["mount"]);
        command.arg(self.mnt()).arg("--origin").arg(origin);
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Daemon { home: self, child, began, is_stopped: false })
    }
}

/// A daemon that runs.
pub(crate) struct Daemon<'a> {
    home: &'a Home,
    child: Child,
    began: Instant,
    is_stopped: bool,
}

impl Daemon<'_> {
    /// The time from the start of the process to the first listing of the root, and its entries.
    pub(crate) fn first_listing(&mut self) -> io::Result<(Duration, u64)> {
        let mnt = self.home.mnt();
        while !is_mounted(&mnt)? {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the daemon ended with {status}; see its log")));
            }
            std::thread::park_timeout(POLL);
        }
        let num_entries = super::measure::list(&mnt)?;
        Ok((self.began.elapsed(), num_entries))
    }

    /// The time from the start of the process until the library is complete (`scanned`), or, from now, until every change
    /// has arrived (`idle`).
    pub(crate) fn wait(&self, what: &str) -> io::Result<Duration> {
        let since = if what == "scanned" { self.began } else { Instant::now() };
        self.ask(&["wait", "--for", what, "--timeout", LIMIT_SECS])?;
        if what == "scanned" {
            fs::write(self.home.folder.join("scanned"), b"")?;
        }
        Ok(since.elapsed())
    }

    /// What `musicfs` answers.
    pub(crate) fn ask(&self, args: &[&str]) -> io::Result<String> {
        let Output { status, stdout, stderr } = self.home.command(args).output()?;
        if !status.success() {
            return Err(io::Error::other(format!("{args:?}: {}", String::from_utf8_lossy(&stderr))));
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> io::Result<f64> {
        let text = self.ask(&["metrics"])?;
        let lines =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// A line of `/proc/PID/status`, in MiB.
    pub(crate) fn memory_mib(&self, line: &str) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other(format!("no {line} in the process's status")))
    }

    /// Processor time used so far.
    pub(crate) fn processor_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        // user and system time are the 14th and 15th field; three stand before the bracket, and Linux counts in 10 ms
        Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.ask(&["stop"])?;
        self.child.wait()?;
        self.is_stopped = true;
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if !self.is_stopped {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = unmount(self.home.mnt(), UnmountFlags::DETACH);
        }
    }
}

/// Whether something is mounted here, by the kernel's own table: the mountpoint is not touched.
pub(crate) fn is_mounted(mountpoint: &Path) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let wanted = mountpoint.to_string_lossy();
    Ok(table.lines().any(|line| line.split(' ').nth(4) == Some(wanted.as_ref())))
}
