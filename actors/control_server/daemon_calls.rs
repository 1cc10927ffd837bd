//! Answers about the daemon and its origins: copies of what actors publish.
//!
//! Every answer is put together from atomics and tables without asking anyone, so it comes at once whatever hangs. Only
//! `stop` and `reload` wait for the supervisor; the answer to `stop` comes before the daemon ends.

use std::os::unix::ffi::OsStrExt;

use musicfs_protocol::board::ActorSnapshot;
use musicfs_protocol::change::RescanOrigin;
use musicfs_protocol::health::Health;
use musicfs_protocol::reload::{ReloadRefused, ReloadedKey};
use musicfs_protocol::wire::{
    ActorRow, ActorsReply, ConfigReply, Empty, HelloReply, HelloRequest, MetricsReply, OriginListReply, OriginRow,
    PROTOCOL, ParkedRow, ReloadOutcome, ReloadReply, ReloadRow, RescanRequest, RpcError, StatusReply, StopReply, code,
    unix_ms,
};
use musicfs_protocol::{CatalogError, ConfigReloaded, ReloadConfig, ScanState, StopDaemon};
use musicfs_pure::escape::escape;

use super::{ControlServices, ServedOrigin, facts};

/// A failed look into the catalog, for the peer.
pub(super) fn catalog_failed(error: CatalogError) -> RpcError {
    RpcError::new(code::INTERNAL_ERROR, error.to_string())
}

pub(super) fn hello(services: &ControlServices, hello: &HelloRequest) -> HelloReply {
    tracing::debug!(client = %escape(hello.client.as_bytes()), version = %escape(hello.version.as_bytes()), "hello");
    HelloReply { server: "musicfs".to_owned(), version: services.version.to_owned(), protocol: PROTOCOL }
}

pub(super) fn status(services: &ControlServices) -> Result<StatusReply, RpcError> {
    let library = services.catalog.library_summary().map_err(catalog_failed)?;
    Ok(StatusReply {
        version: services.version.to_owned(),
        pid: std::process::id(),
        uptime_ms: services.started.elapsed().as_millis() as u64,
        mountpoint: escape(services.mountpoint.as_os_str().as_bytes()).into_owned(),
        ready: services.ready.is_open(),
        origins: origin_rows(services)?,
        num_files: library.files,
        num_tracks: library.tracks,
        num_pending: services.work.pending() as u64,
        parked: parked(services),
    })
}

fn parked(services: &ControlServices) -> Vec<ParkedRow> {
    let rows = services.board.snapshot().into_iter().filter(|(_, actor)| actor.parked);
    rows.map(|(name, actor)| ParkedRow { name: name.to_string(), last_error: actor.last_error.map(Into::into) })
        .collect()
}

pub(super) fn origin_list(services: &ControlServices) -> Result<OriginListReply, RpcError> {
    Ok(OriginListReply { origins: origin_rows(services)? })
}

fn origin_rows(services: &ControlServices) -> Result<Vec<OriginRow>, RpcError> {
    services.served.origins().iter().map(|origin| origin_row(services, origin)).collect()
}

fn origin_row(services: &ControlServices, origin: &ServedOrigin) -> Result<OriginRow, RpcError> {
    let health = services.health.get(&origin.id);
    let scan = services.scans.get(&origin.id);
    let watch = services.watches.get(&origin.id);
    let scan_problem = match &scan.state {
        ScanState::Failed { reason } | ScanState::Quarantined { reason } => Some(reason.clone()),
        ScanState::Pending | ScanState::Running | ScanState::Done => None,
    };
    Ok(OriginRow {
        name: origin.id.to_string(),
        location: origin.location.clone(),
        priority: origin.priority,
        health: health.as_ref().map_or(Health::Unknown, |health| health.health).as_str().to_owned(),
        since_unix_ms: health.as_ref().map(|health| unix_ms(health.since)),
        last_error: health.and_then(|health| health.last_error),
        scan: scan.state.as_str().to_owned(),
        scan_problem,
        watch: watch.mode.as_str().to_owned(),
        watch_problem: watch.problem,
        num_listed: scan.num_listed,
        num_tags_read: scan.num_tags_read,
        num_links_left_out: scan.num_links_left_out,
        num_names_left_out: scan.num_names_left_out,
        num_files: services.catalog.origin_summary(&origin.id).map_err(catalog_failed)?.files,
    })
}

pub(super) fn rescan(services: &ControlServices, request: &RescanRequest) -> Result<Empty, RpcError> {
    let origins = services.served.origins();
    let Some(origin) = origins.iter().find(|origin| origin.id.as_str() == request.name) else {
        let text = "there is no origin of this name; `musicfs origin list` shows them";
        return Err(RpcError::new(code::NOT_FOUND, text));
    };
    let wanted = RescanOrigin { accept_removals: request.accept_removals, work: services.work.begin() };
    services.rescans.push(origin.id.clone(), wanted);
    tracing::info!(origin = %origin.id, accept_removals = request.accept_removals, "rescan asked for");
    Ok(Empty {})
}

pub(super) fn actors(services: &ControlServices) -> ActorsReply {
    let rows = services.board.snapshot().into_iter().map(|(name, actor)| actor_row(name.to_string(), actor));
    ActorsReply { actors: rows.collect() }
}

fn actor_row(name: String, actor: ActorSnapshot) -> ActorRow {
    ActorRow {
        name,
        running: actor.running,
        parked: actor.parked,
        num_handled: actor.handled,
        num_failed: actor.failed,
        num_waiting: actor.waiting,
        num_restarts: actor.restarts,
        queued_ms: actor.queued.as_millis() as u64,
        handling_ms: actor.handling.as_millis() as u64,
        last_error: actor.last_error.map(Into::into),
    }
}

pub(super) fn metrics(services: &ControlServices) -> Result<MetricsReply, RpcError> {
    Ok(MetricsReply { openmetrics: services.metrics.render(&facts::facts(services).map_err(catalog_failed)?) })
}

pub(super) fn config(services: &ControlServices) -> ConfigReply {
    ConfigReply { config: services.served.document().as_ref().clone() }
}

pub(super) async fn reload(services: &ControlServices) -> Result<ReloadReply, RpcError> {
    let reloaded = services.reload.send(ReloadConfig).await;
    let reloaded = reloaded.map_err(|error| RpcError::new(code::UNAVAILABLE, error.to_string()))?;
    let ConfigReloaded { keys, warnings } = reloaded.map_err(|refused| {
        let code = match &refused {
            ReloadRefused::Invalid { .. } => code::INVALID_CONFIG,
            ReloadRefused::NotApplied { .. } => code::UNAVAILABLE,
        };
        RpcError::new(code, refused.to_string())
    })?;
    let keys = keys.into_iter().map(|ReloadedKey { key, old, new, is_applied }| {
        let outcome = if is_applied { ReloadOutcome::Applied } else { ReloadOutcome::RestartNeeded };
        ReloadRow { key, old, new, outcome }
    });
    Ok(ReloadReply { keys: keys.collect(), warnings })
}

pub(super) async fn stop(services: &ControlServices) -> Result<StopReply, RpcError> {
    tracing::info!("stop asked for");
    services.stop.send(StopDaemon).await.map_err(|error| RpcError::new(code::UNAVAILABLE, error.to_string()))?;
    Ok(StopReply { pid: std::process::id() })
}
