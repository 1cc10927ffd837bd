//! Child processes with a time limit: `fusermount3`, and the probe of a mount that may be dead.
//!
//! Whatever may hang in a mount is done by a child, because a thread of ours that hangs there keeps the process from ending
//! for ever. A child that does not end in time is killed and left to a thread that does nothing but reap it: a process that
//! hangs in the kernel cannot be waited for.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of what a child says is kept; the rest is read and thrown away.
const MAX_TEXT_BYTES: usize = 4096;

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exited {
        /// With status 0.
        success: bool,
        /// What it wrote to its output and its error output.
        text: String,
    },
    /// It was killed because it took too long.
    TimedOut,
}

/// A child that was started.
pub struct Running {
    child: Child,
    output: UnixStream,
    until: Instant,
}

/// Starts a command whose messages are wanted in English. It inherits no descriptor but the one given as its input.
pub fn start(mut command: Command, input: Stdio, limit: Duration) -> io::Result<Running> {
    let (output, theirs) = UnixStream::pair()?;
    let error_output = theirs.try_clone()?;
    command.stdin(input).stdout(OwnedFd::from(theirs)).stderr(OwnedFd::from(error_output));
    command.env("LC_ALL", "C").current_dir("/");
    let child = command.spawn()?;
    // `command` goes now, and with it our copies of the child's descriptors: the end of its output is its end
    Ok(Running { child, output, until: Instant::now() + limit })
}

/// Runs a command to its end, or to the limit.
pub fn run(command: Command, limit: Duration) -> io::Result<Ending> {
    start(command, Stdio::null(), limit)?.finish()
}

impl Running {
    /// Waits for the end, or for the limit.
    pub fn finish(mut self) -> io::Result<Ending> {
        let mut text = Vec::new();
        let mut chunk = [0; 1024];
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.abandon();
                return Ok(Ending::TimedOut);
            }
            self.output.set_read_timeout(Some(left))?;
            match self.output.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => {
                    let room = MAX_TEXT_BYTES.saturating_sub(text.len()).min(len);
                    text.extend_from_slice(&chunk[..room]);
                }
                Err(error) if is_retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let success = self.child.wait()?.success();
        Ok(Ending::Exited { success, text: String::from_utf8_lossy(&text).trim().to_owned() })
    }

    fn abandon(mut self) {
        // it may have ended just now, which is as good
        let _ = self.child.kill();
        let reap = move || {
            let _ = self.child.wait();
        };
        if let Err(error) = std::thread::Builder::new().name("reaper".to_owned()).spawn(reap) {
            tracing::warn!(%error, "no thread to reap a child that hangs");
        }
    }
}

/// Whether a read ended only because of a signal or its time limit.
fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn child_that_ends_is_heard() {
        let ending = run(shell("echo out; echo err >&2; exit 3"), Duration::from_mins(1)).expect("started");
        assert_eq!(ending, Ending::Exited { success: false, text: "out\nerr".to_owned() });
    }

    #[test]
    fn child_that_hangs_is_killed() {
        let ending = run(shell("echo on; exec sleep 3600"), Duration::from_millis(50)).expect("started");
        assert_eq!(ending, Ending::TimedOut);
    }

    #[test]
    fn child_that_never_stops_talking_fills_no_memory() {
        let ending = run(shell("head -c 1000000 /dev/zero | tr '\\0' x"), Duration::from_mins(1)).expect("started");
        assert_eq!(ending, Ending::Exited { success: true, text: "x".repeat(MAX_TEXT_BYTES) });
    }
}
