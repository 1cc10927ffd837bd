//! Verbs that wait: `wait` for the library, `stop` for the end of the daemon.
//!
//! `wait` begins before there is a daemon: a script starts one and waits in its next line. A daemon that was there and
//! went away is a failure at once, whatever the time allowed. Whoever waits is shown how far the scans are ([`Progress`]).
//! `stop` is done when the process has ended and its mount has gone, so that the next line of a script may start another.

use std::time::{Duration, Instant};

use musicfs_protocol::wire::{Empty, OriginRow, RescanRequest, WaitFor, WaitReply, WaitRequest, method};
use musicfs_pure::escape::unescape;

use super::Context;
use super::client::{CALL_LIMIT, Client};
use super::exit::CliError;
use super::output::json_line;
use super::process::{Process, is_fuse_mounted};
use super::progress::{Progress, TICK as TICK_OF_PROGRESS};

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
    let progress = Progress::new(ctx, &[]);
    let reply = wait_shown(ctx, &mut client, &request, limit, progress)?;
    if ctx.json {
        json_line(ctx.out, &reply)?;
    }
    match reply {
        WaitReply { reached: true, .. } => Ok(()),
        WaitReply { waiting_for, .. } => Err(CliError::TimedOut { waiting_for: waiting_for.join("; ") }),
    }
}

/// Makes the call that waits, and shows the progress of scans until its answer is there.
fn wait_shown(
    ctx: &mut Context<'_>,
    client: &mut Client,
    request: &WaitRequest,
    limit: Option<Duration>,
    mut progress: Progress,
) -> Result<WaitReply, CliError> {
    if !progress.is_shown() {
        return client.call::<method::Wait>(request, limit);
    }
    let socket = ctx.socket()?;
    let out = &mut *ctx.out;
    let reply = client
        .call_watched::<method::Wait>(request, limit, TICK_OF_PROGRESS, || Ok(progress.tick(&socket, &mut *out)?));
    progress.clear();
    reply
}

/// Asks for a rescan, and waits for everything that it brings when it is to.
pub(super) fn rescan(ctx: &mut Context<'_>, name: &str, accept_removals: bool, wait: bool) -> Result<(), CliError> {
    let mut client = ctx.connect()?;
    let before = if wait { origins(&mut client)? } else { Vec::new() };
    let request = RescanRequest { name: name.to_owned(), accept_removals };
    let reply = client.call::<method::OriginRescan>(&request, Some(CALL_LIMIT))?;
    if !wait {
        return if ctx.json {
            ctx.print(&reply, |_| String::new())
        } else {
            ctx.say("the rescan has been asked for; `--wait` waits for its end")
        };
    }
    // Idle and not scanned: the rescan is a piece of work from the moment it was asked for.
    let request = WaitRequest { goal: WaitFor::Idle, timeout_ms: None };
    let progress = Progress::new(ctx, &before);
    wait_shown(ctx, &mut client, &request, None, progress)?;
    let Some(origin) = origins(&mut client)?.into_iter().find(|origin| origin.name == name) else {
        return Err(CliError::Unscanned { origin: name.to_owned(), reason: "the origin has been removed".to_owned() });
    };
    if origin.scan != "done" || origin.health == "down" {
        let reason = origin.scan_problem.or(origin.last_error).unwrap_or(origin.scan);
        return Err(CliError::Unscanned { origin: name.to_owned(), reason });
    }
    if ctx.json {
        return Ok(json_line(ctx.out, &origin)?);
    }
    ctx.say(&format!("{}: {} files, tags of {} read", origin.name, origin.num_files, origin.num_tags_read))
}

fn origins(client: &mut Client) -> Result<Vec<OriginRow>, CliError> {
    Ok(client.call::<method::OriginList>(&Empty {}, Some(CALL_LIMIT))?.origins)
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
