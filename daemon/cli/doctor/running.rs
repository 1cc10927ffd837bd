//! The running daemon: whether it answers, whether it is this version, and what it says of its actors and origins.
//!
//! Calls have a short limit: what the daemon answers here it answers from tables, so one that does not is frozen.

use std::path::Path;
use std::time::Duration;

use musicfs_actors::control_server::connect_now;
use musicfs_protocol::wire::{ActorRow, Empty, OriginRow, RpcError, method};
use serde_json::Value;

use super::super::client::Client;
use super::super::exit::CliError;
use super::Finding;
use super::mounts::restart;
use super::world::{World, quoted};

/// How long the daemon may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A daemon that answers.
pub(super) struct Running {
    pub(super) pid: u32,
    /// What it runs with, as `config show --json` has it.
    pub(super) document: Value,
}

pub(super) fn examine(world: &World, socket: Option<&Path>) -> (Option<Running>, Vec<Finding>) {
    let Some(socket) = socket else { return (None, Vec::new()) };
    match ask(world, socket) {
        Ok((running, findings)) => (Some(running), findings),
        Err(CliError::NoDaemon { .. }) => {
            let what = format!("no daemon answers at {}", quoted(socket.as_os_str()));
            let mend = format!("{} mount  # as a service: systemctl --user start musicfs", world.musicfs);
            (None, vec![Finding::note("daemon", what, "the library is not mounted", mend)])
        }
        Err(CliError::OtherProtocol { version, .. }) => (None, vec![other_version(world, &version)]),
        Err(CliError::ConnectionLost) => {
            let what = format!("the daemon at {} closed the connection", quoted(socket.as_os_str()));
            let mend = format!("{} doctor", world.musicfs);
            (None, vec![Finding::note("daemon", what, "it is ending, or its control server was started again", mend)])
        }
        Err(CliError::Refused(error)) => (None, vec![refusing(world, &error)]),
        Err(error) => (None, vec![frozen(socket, &error)]),
    }
}

fn ask(world: &World, socket: &Path) -> Result<(Running, Vec<Finding>), CliError> {
    let limit = Some(ANSWER_LIMIT);
    let mut client = Client::connect(socket, limit)?;
    let status = client.call::<method::Status>(&Empty {}, limit)?;
    let actors = client.call::<method::Actors>(&Empty {}, limit)?.actors;
    let document = client.call::<method::Config>(&Empty {}, limit)?.config;
    let mut findings = Vec::new();
    if status.version != env!("CARGO_PKG_VERSION") {
        findings.push(other_version(world, &status.version));
    }
    findings.extend(actors.iter().filter(|actor| actor.parked).map(|actor| parked(world, actor)));
    findings.extend(status.origins.iter().filter_map(|row| origin(world, row)));
    Ok((Running { pid: status.pid, document }, findings))
}

fn other_version(world: &World, version: &str) -> Finding {
    let what = format!("the daemon has version {version} and this program {}", env!("CARGO_PKG_VERSION"));
    Finding::problem(
        "daemon",
        what,
        "the daemon goes on with the old program until it is started again",
        restart(world),
    )
}

/// It lives and serves: nothing to kill.
fn refusing(world: &World, error: &RpcError) -> Finding {
    let what = format!("the daemon answers with an error: {error}");
    Finding::problem("daemon", what, "it cannot say how it is; its log says more", restart(world))
}

fn frozen(socket: &Path, error: &CliError) -> Finding {
    let shown = quoted(socket.as_os_str());
    let what = format!("whatever listens at {shown} gives no answer: {error}");
    // The kernel knows who listens, whether they answer or not.
    let peer = connect_now(socket).ok().and_then(|stream| rustix::net::sockopt::socket_peercred(&stream).ok());
    let mend = match peer {
        Some(peer) => format!("kill -9 {}", peer.pid.as_raw_nonzero()),
        None => format!("fuser -k -KILL {shown}"),
    };
    Finding::problem("daemon", what, "the daemon hangs, or is none; reads may hang with it", mend)
}

fn parked(world: &World, actor: &ActorRow) -> Finding {
    let reason = actor.last_error.as_ref().map(|error| format!(": {}", error.text)).unwrap_or_default();
    let what = format!("the actor {} failed too often and is left stopped{reason}", actor.name);
    Finding::problem(
        "actors",
        what,
        "its part of the work is not done until the daemon is started again",
        restart(world),
    )
}

fn origin(world: &World, row: &OriginRow) -> Option<Finding> {
    let rescan = format!("{} origin rescan {}", world.musicfs, row.name);
    let problem = row.scan_problem.clone().unwrap_or_default();
    match (row.scan.as_str(), row.health.as_str()) {
        ("quarantined", _) => {
            let why =
                "a lost disk looks the same, so nothing is removed until you say that the files are meant to be gone";
            let what = format!("origin {} is quarantined: {problem}", row.name);
            Some(Finding::problem("quarantine", what, why, format!("{rescan} --accept-removals")))
        }
        (_, "down") => {
            let reason = row.last_error.clone().unwrap_or_default();
            let what = format!("the daemon cannot reach origin {}: {reason}", row.name);
            let why = "its files cannot be read; the library goes on showing them";
            Some(Finding::problem("origin", what, why, rescan))
        }
        ("failed", _) => {
            let what = format!("the scan of origin {} failed: {problem}", row.name);
            Some(Finding::problem("origin", what, "the library may lack its newest files", rescan))
        }
        _ => None,
    }
}
