//! Verbs about the daemon and its origins: run it, and show what it says about itself.
//!
//! `mount` is the daemon: it loads the configuration, sets up the log and hands over to [`crate::run`] in this very
//! process. The others are one call each, printed as a table or as the reply is. Texts in a reply were written by
//! strangers in part, so all of them pass the table's filter on their way to a terminal.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use musicfs_protocol::wire::{ActorRow, Empty, OriginRow, ParkedRow, StatusReply, method};

use super::Context;
use super::client::CALL_LIMIT;
use super::exit::CliError;
use super::output::{dated, fields, moment, printable, seconds, table};
use crate::logging::{self, LogSurroundings};
use crate::{ExitReason, ReloadSource, config};

/// Runs the daemon in this process until it is stopped.
pub(super) fn mount(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let loaded = config::load(&ctx.flags, &ctx.surroundings);
    let config = loaded.config?;
    let log = Arc::new(logging::init(
        &config.log,
        LogSurroundings {
            directives: ctx.surroundings.variable("MUSICFS_LOG").and_then(|text| text.to_str()),
            journal_stream: ctx.surroundings.variable("JOURNAL_STREAM"),
        },
    )?);
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let (announce, mountpoint) = (config.announce, config.mountpoint.clone());
    let on_ready = move || {
        if announce {
            announce_mounted(&mountpoint);
        }
    };
    let (flags, surroundings) = (ctx.flags.clone(), ctx.surroundings.clone());
    let outcome = crate::run(config, ReloadSource { flags, surroundings, log: Some(Arc::clone(&log)) }, on_ready);
    log.flush();
    match outcome {
        Ok(ExitReason::Frozen) => Err(CliError::Frozen),
        Ok(ExitReason::Unsupervised) => Err(CliError::Unsupervised),
        Ok(ExitReason::Signal | ExitReason::Requested | ExitReason::Unmounted) => Ok(()),
        Err(error) => Err(CliError::Daemon { reason: error.to_string() }),
    }
}

/// The one line that the daemon prints, for scripts that started it.
fn announce_mounted(mountpoint: &Path) {
    let shown = musicfs_pure::escape::escape(mountpoint.as_os_str().as_encoded_bytes());
    let mut out = io::stdout();
    if let Err(error) = writeln!(out, "mounted at {shown}").and_then(|()| out.flush()) {
        // Whoever started the daemon has closed its output: the library is there all the same.
        tracing::debug!(%error, "nobody reads that the library is mounted");
    }
}

pub(super) fn status(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let reply = ctx.connect()?.call::<method::Status>(&Empty {}, Some(CALL_LIMIT))?;
    ctx.print(&reply, status_text)
}

fn status_text(status: &StatusReply) -> String {
    let ready = if status.ready { "yes" } else { "no, the first listings are not in" };
    let pending = match status.num_pending {
        0 => "nothing".to_owned(),
        count => format!("{count} changes on their way"),
    };
    let head = fields(&[
        ("mountpoint", status.mountpoint.clone()),
        ("daemon", format!("version {}, process {}, up {}", status.version, status.pid, seconds(status.uptime_ms))),
        ("ready", ready.to_owned()),
        ("library", format!("{} tracks, {} files", status.num_tracks, status.num_files)),
        ("pending", pending),
    ]);
    format!("{head}\n{}{}", origins_text(&status.origins), parked_text(&status.parked))
}

/// What is left stopped and what can be done about it.
fn parked_text(parked: &[ParkedRow]) -> String {
    let line = |actor: &ParkedRow| {
        let last = actor.last_error.as_ref().map(|error| format!(" (last: {})", dated(error))).unwrap_or_default();
        format!(
            "{}: failed too often and is left stopped{last}; look into the log, then restart the daemon: `musicfs stop` \
             and `musicfs mount`, or `systemctl --user restart musicfs`\n",
            actor.name
        )
    };
    parked.iter().map(line).collect()
}

fn origins_text(origins: &[OriginRow]) -> String {
    let mut rows =
        vec![["ORIGIN", "PRIORITY", "HEALTH", "SCAN", "CHANGES BY", "FILES", "LOCATION"].map(str::to_owned).to_vec()];
    rows.extend(origins.iter().map(|origin| {
        vec![
            origin.name.clone(),
            origin.priority.to_string(),
            origin.health.clone(),
            scan_text(origin),
            origin.watch.clone(),
            origin.num_files.to_string(),
            origin.location.clone(),
        ]
    }));
    let problems: String = origins.iter().map(problems_text).collect();
    table(&rows) + &problems
}

fn scan_text(origin: &OriginRow) -> String {
    if origin.scan == "running" {
        format!("running, {} listed, {} read", origin.num_listed, origin.num_tags_read)
    } else {
        origin.scan.clone()
    }
}

fn problems_text(origin: &OriginRow) -> String {
    let since = origin.since_unix_ms.map(|at| format!(" since {}", moment(at))).unwrap_or_default();
    let health = origin.last_error.as_ref().filter(|_| origin.health == "down");
    let health = health.map(|error| format!("{}: down{since}: {}\n", origin.name, printable(error)));
    let scan = origin.scan_problem.as_ref();
    let scan = scan.map(|problem| format!("{}: scan {}: {}\n", origin.name, origin.scan, printable(problem)));
    let left_out = (origin.num_links_left_out > 0 || origin.num_names_left_out > 0).then(|| {
        format!(
            "{}: not shown: {} links that lead out of the origin, {} names that cannot be file names\n",
            origin.name, origin.num_links_left_out, origin.num_names_left_out
        )
    });
    let watch = origin.watch_problem.as_ref().filter(|_| origin.watch != "absent");
    let watch = watch.map(|problem| format!("{}: not watched: {}\n", origin.name, printable(problem)));
    [health, scan, watch, left_out].into_iter().flatten().collect()
}

pub(super) fn origin_list(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let reply = ctx.connect()?.call::<method::OriginList>(&Empty {}, Some(CALL_LIMIT))?;
    ctx.print(&reply, |reply| origins_text(&reply.origins))
}

pub(super) fn actors(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let reply = ctx.connect()?.call::<method::Actors>(&Empty {}, Some(CALL_LIMIT))?;
    ctx.print(&reply, |reply| actors_text(&reply.actors))
}

fn actors_text(actors: &[ActorRow]) -> String {
    let heading = ["ACTOR", "STATE", "HANDLED", "FAILED", "WAITING", "RESTARTS", "QUEUED", "HANDLING", "LAST ERROR"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(actors.iter().map(|actor| {
        let state = match (actor.parked, actor.running) {
            (true, _) => "parked",
            (false, true) => "running",
            (false, false) => "down",
        };
        vec![
            actor.name.clone(),
            state.to_owned(),
            actor.num_handled.to_string(),
            actor.num_failed.to_string(),
            actor.num_waiting.to_string(),
            actor.num_restarts.to_string(),
            format!("{} ms", actor.queued_ms),
            format!("{} ms", actor.handling_ms),
            actor.last_error.as_ref().map(dated).unwrap_or_default(),
        ]
    }));
    table(&rows)
}

pub(super) fn metrics(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let reply = ctx.connect()?.call::<method::Metrics>(&Empty {}, Some(CALL_LIMIT))?;
    ctx.print(&reply, |reply| reply.openmetrics.clone())
}
