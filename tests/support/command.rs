//! Child processes with a time limit, so that a hang is a failed test and not a hung run.
//!
//! Every child is the leader of a process group of its own and the whole group is killed when the limit passes; a
//! process that waits for a FUSE answer dies of SIGKILL. The limit is never what a test asserts: it is far above
//! anything that a healthy run needs.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a child may run. The longest honest one is a player's scan, some seconds on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// A child that has ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    what: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Finished {
    fn new(what: String, output: Output) -> Self {
        Self { what, status: output.status, stdout: output.stdout, stderr: output.stderr }
    }

    /// Standard output as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit code; a child that a signal ended has none, which fails the test.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{}: {}\n{}", self.what, self.status, self.err()))
    }

    /// This, after asserting that the child succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status.success(), "{}: {}\n{}\n{}", self.what, self.status, self.out(), self.err());
        self
    }

    /// This, after asserting that the child failed in order: with a code, not by a signal.
    #[track_caller]
    pub(crate) fn refused(self) -> Self {
        assert_ne!(self.code(), 0, "{} should have failed\n{}\n{}", self.what, self.out(), self.err());
        self
    }
}

/// Kills a process group; one that is gone already is no error.
pub(crate) fn kill_group(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL);
}

/// Runs a child to its end, without standard input.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Finished {
    let what = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(LIMIT) else {
        kill_group(pid);
        panic!("{what} did not end within {LIMIT:?}");
    };
    Finished::new(what, output.unwrap_or_else(|error| panic!("cannot wait: {error}")))
}

/// Runs a program with arguments to its end.
#[track_caller]
pub(crate) fn tool<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Finished {
    run(Command::new(program).args(args))
}
