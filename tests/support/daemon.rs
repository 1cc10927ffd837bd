//! A running daemon, and the promise that its mount goes away again.
//!
//! The process leads a group of its own, so that dropping the guard ends whatever it started. A thread reaps it: "it has
//! ended" is an event here, never a guess. A second thread is the watchdog: it is told of every step of the test, and when
//! none has come for [`PATIENCE`] it kills the daemon, which makes the kernel answer whatever hangs on the mount with an
//! error: the hang becomes a failed test. On a failure the end of the daemon's log is printed.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::command::{Finished, kill_group, run};
use super::sandbox::Sandbox;
use super::slot::Slot;

/// How long a test may go without a step before it is taken for hung; above the longest wait that a step may contain.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long the daemon may take to end once it was told to. It gives itself some five seconds.
const EXIT_LIMIT: Duration = Duration::from_mins(1);

/// Lines of the log that are printed on a failure.
const LOG_TAIL_LINES: usize = 60;

/// How the process ended, once it has.
#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Exit {
    fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let status = self.status.lock().expect("no panic under the lock");
        *self.changed.wait_timeout_while(status, limit, |status| status.is_none()).expect("no panic under the lock").0
    }
}

/// Waits for the process on a thread of its own, and gives its slot back when it has ended.
fn reap(mut child: Child, slot: Slot) -> Arc<Exit> {
    let exit = Arc::new(Exit::default());
    let told = Arc::clone(&exit);
    std::thread::spawn(move || {
        let status = child.wait().expect("the daemon is our child");
        drop(slot);
        *told.status.lock().expect("no panic under the lock") = Some(status);
        told.changed.notify_all();
    });
    exit
}

/// Kills the group when no step comes for too long; ends when the sender is dropped.
fn watch(pid: Pid) -> Sender<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            match receiver.recv_timeout(PATIENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("no progress for {PATIENCE:?}: the daemon is killed so that what hangs on it fails");
                    return kill_group(pid);
                }
            }
        }
    });
    sender
}

/// A daemon of a sandbox. Dropping it kills it and takes the mount away.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    sandbox: &'a Sandbox,
    pid: Pid,
    exit: Arc<Exit>,
    watchdog: Sender<()>,
    leaves_mount: bool,
}

impl<'a> Daemon<'a> {
    /// Starts a daemon by this command and does not wait for anything.
    #[track_caller]
    pub(crate) fn spawn(sandbox: &'a Sandbox, command: &mut Command) -> Self {
        let slot = Slot::take();
        let log = OpenOptions::new().create(true).append(true).open(sandbox.log()).expect("log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log).process_group(0);
        let child = command.spawn().expect("start the daemon");
        let pid = Pid::from_child(&child);
        Self { sandbox, pid, exit: reap(child, slot), watchdog: watch(pid), leaves_mount: false }
    }

    /// Tells the watchdog that the test goes on.
    pub(crate) fn step(&self) {
        let _ = self.watchdog.send(());
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Runs `musicfs` against this daemon.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Finished {
        self.step();
        let finished = self.sandbox.cli(args);
        self.step();
        finished
    }

    /// Waits until the library is complete.
    #[track_caller]
    pub(crate) fn scanned(&self) {
        self.wait_for("scanned");
    }

    /// Waits until every change that was made before has arrived in the kernel.
    #[track_caller]
    pub(crate) fn idle(&self) {
        self.wait_for("idle");
    }

    /// Waits until every change that was made before has arrived, or the daemon has ended; says whether it still runs.
    #[track_caller]
    pub(crate) fn idle_or_ended(&self) -> bool {
        let answer = self.wait_or_end("idle");
        // A daemon that ends while it is asked cuts the question off.
        let runs = answer.is_some_and(|finished| finished.status.success() || self.exit.wait(EXIT_LIMIT).is_none());
        runs && self.exit.wait(Duration::ZERO).is_none()
    }

    #[track_caller]
    fn wait_for(&self, what: &str) {
        match self.wait_or_end(what) {
            Some(finished) => drop(finished.ok()),
            None => panic!("the daemon ended instead of becoming {what}: {:?}", self.exit.wait(Duration::ZERO)),
        }
    }

    /// How `musicfs wait` ended, or nothing when the daemon ended first.
    #[track_caller]
    fn wait_or_end(&self, what: &str) -> Option<Finished> {
        self.step();
        let mut command = self.sandbox.command(&["wait", "--for", what, "--timeout", "60"]);
        // A daemon that has ended will never be ready: do not sit out the time.
        let (sender, receiver) = mpsc::channel();
        let finished = sender.clone();
        std::thread::spawn(move || finished.send(Some(run(&mut command))));
        let exit = Arc::clone(&self.exit);
        std::thread::spawn(move || exit.wait(Duration::from_mins(1)).map(|_| sender.send(None)));
        let answer = receiver.recv().expect("one of the two");
        self.step();
        answer
    }

    /// The metrics as text.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        self.cli(&["metrics"]).ok().out()
    }

    /// Sends a signal to the daemon alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("signal");
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait_exit(&self) -> ExitStatus {
        self.step();
        let status = self.exit.wait(EXIT_LIMIT);
        status.unwrap_or_else(|| panic!("the daemon is still there {EXIT_LIMIT:?} after it was told to end"))
    }

    /// `musicfs stop`: asserts an orderly end, with the mount gone.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.cli(&["stop"]).ok();
        self.ended_in_order();
    }

    /// Waits for the end and asserts that it was an orderly one.
    #[track_caller]
    pub(crate) fn ended_in_order(&self) {
        let status = self.wait_exit();
        assert!(status.success(), "the daemon ended with {status}");
        assert!(!mounted(&self.sandbox.mnt()), "the mount is still there");
    }

    /// kill -9. The mount stays behind, dead, as it does for a user; the sandbox clears it in the end.
    #[track_caller]
    pub(crate) fn kill9(mut self) {
        self.leaves_mount = true;
        self.signal(Signal::KILL);
        assert_eq!(self.wait_exit().signal(), Some(9), "the daemon ended before it was killed");
    }

    /// Waits until the daemon has died at a failpoint that aborts it. The mount stays behind as after kill -9.
    #[track_caller]
    pub(crate) fn aborted(mut self) {
        self.leaves_mount = true;
        assert_eq!(self.wait_exit().signal(), Some(6), "the daemon did not die where it was to");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        kill_group(self.pid);
        self.exit.wait(EXIT_LIMIT);
        if !self.leaves_mount {
            clear(&self.sandbox.mnt());
        }
        if std::thread::panicking() {
            print_log(&self.sandbox.log());
        }
    }
}

fn print_log(log: &Path) {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- the end of the daemon's log");
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_TAIL_LINES)) {
        eprintln!("{line}");
    }
}

/// Takes a mount away, alive or dead, and whatever is stacked on it.
pub(crate) fn clear(mountpoint: &Path) {
    while mounted(mountpoint) {
        let gone = unmount(mountpoint, UnmountFlags::DETACH).is_ok()
            || Command::new("fusermount3").arg("-uz").arg(mountpoint).status().is_ok_and(|status| status.success());
        if !gone {
            eprintln!("cannot unmount {}", mountpoint.display());
            return;
        }
    }
}

/// Whether something is mounted here, by the kernel's own table: the mountpoint itself is not touched.
pub(crate) fn mounted(mountpoint: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let wanted = mountpoint.to_string_lossy();
    table.lines().any(|line| line.split(' ').nth(4) == Some(wanted.as_ref()))
}
