//! Verbs that wait: `wait` for the library, `stop` for the end of the daemon.
//!
//! `wait` begins before there is a daemon: a script starts one and waits in its next line. A daemon that was there and
//! went away is a failure at once, whatever the time allowed. `stop` is done when the process has ended and its mount has
//! gone, so that the next line of a script may start another.

use std::time::{Duration, Instant};

use musicfs_protocol::wire::{Empty, WaitFor, WaitReply, WaitRequest, method};
use musicfs_pure::escape::unescape;

use super::Context;
use super::client::{CALL_LIMIT, Client};
use super::exit::CliError;
use super::process::{Process, is_fuse_mounted};

/// How often is looked whether a socket has appeared or a process has ended: neither has an event that works in every
/// folder and for every process.
const TICK: Duration = Duration::from_millis(20);

/// What an answer may take beyond the time that the daemon was given.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// How long a daemon may take to end: it drains for some seconds and then goes in any case.
const STOP_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn wait(ctx: &mut Context<'_>, goal: WaitFor, timeout: Option<Duration>) -> Result<(), CliError> {
    // A time too long for the clock is for ever.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut client = connect_until(ctx, deadline)?;
    let remaining = remaining(deadline);
    let request = WaitRequest { goal, timeout_ms: remaining.map(|left| left.as_millis() as u64) };
    let limit = remaining.map(|left| left.saturating_add(ANSWER_GRACE));
    let reply = client.call::<method::Wait>(&request, limit)?;
    if ctx.json {
        ctx.print(&reply, |_| String::new())?;
    }
    match reply {
        WaitReply { reached: true, .. } => Ok(()),
        WaitReply { waiting_for, .. } => Err(CliError::TimedOut { waiting_for: waiting_for.join("; ") }),
    }
}

fn remaining(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// Connects as soon as there is a daemon.
fn connect_until(ctx: &Context<'_>, deadline: Option<Instant>) -> Result<Client, CliError> {
    let socket = ctx.socket()?;
    loop {
        // One that is just starting answers the handshake when it is ready for it.
        let limit = remaining(deadline).map(|left| left.max(TICK));
        match Client::connect(&socket, limit) {
            Err(CliError::NoDaemon { .. } | CliError::ConnectionLost)
                if remaining(deadline) == Some(Duration::ZERO) =>
            {
                let waiting_for = format!("no daemon has appeared at {}", socket.display());
                return Err(CliError::TimedOut { waiting_for });
            }
            // One that was killed this moment may still have accepted; the next one is what is waited for.
            Err(CliError::NoDaemon { .. } | CliError::ConnectionLost) => std::thread::park_timeout(TICK),
            result => return result,
        }
    }
}

pub(super) fn stop(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let mut client = ctx.connect()?;
    let status = client.call::<method::Status>(&Empty {}, Some(CALL_LIMIT))?;
    let process = Process::running(status.pid);
    match client.call::<method::Stop>(&Empty {}, Some(CALL_LIMIT)) {
        // It may end before the answer is out.
        Ok(_) | Err(CliError::ConnectionLost) => {}
        Err(error) => return Err(error),
    }
    let deadline = Instant::now() + STOP_LIMIT;
    while process.is_some_and(|process| process.is_running()) {
        if Instant::now() >= deadline {
            let waiting_for = format!("process {} has not ended; `kill -9` ends it", status.pid);
            return Err(CliError::TimedOut { waiting_for });
        }
        std::thread::park_timeout(TICK);
    }
    if is_fuse_mounted(&unescape(status.mountpoint.as_bytes())) {
        return Err(CliError::MountLeft { mountpoint: status.mountpoint });
    }
    ctx.print_stopped()
}

impl Context<'_> {
    fn print_stopped(&mut self) -> Result<(), CliError> {
        if self.json {
            return self.print(&Empty {}, |_| String::new());
        }
        self.say("the daemon has ended")
    }
}
