//! What the metrics say that no actor counts: copies of published tables, and what the system says of this process.
//!
//! Read when somebody asks, so that a scrape costs and nothing else does. Nothing here waits for an actor.

use musicfs_protocol::CatalogError;
use musicfs_protocol::health::Health;
use musicfs_protocol::metrics::{Facts, OriginFacts, ProcessFacts};
use procfs::process::Process;

use super::{ControlServices, ServedOrigin};

pub(super) fn facts(services: &ControlServices) -> Result<Facts, CatalogError> {
    let library = services.catalog.library_summary()?;
    let served = services.served.origins();
    let origins = served.iter().map(|origin| origin_facts(services, origin));
    Ok(Facts {
        version: services.version,
        uptime: services.started.elapsed(),
        actors: services.board.snapshot(),
        origins: origins.collect::<Result<_, _>>()?,
        files: library.files,
        tracks: library.tracks,
        pending: services.work.pending() as u64,
        events: services.events.snapshot(),
        process: process_facts(),
    })
}

fn origin_facts(services: &ControlServices, origin: &ServedOrigin) -> Result<OriginFacts, CatalogError> {
    Ok(OriginFacts {
        origin: origin.id.clone(),
        is_up: services.health.get(&origin.id).is_some_and(|health| health.health == Health::Up),
        files: services.catalog.origin_summary(&origin.id)?.files,
        scan: services.scans.get(&origin.id),
    })
}

/// Nothing where `/proc` is not what it should be: the other metrics are shown all the same.
fn process_facts() -> Option<ProcessFacts> {
    let process = Process::myself().ok()?;
    let resident_bytes = process.statm().ok()?.resident * procfs::page_size();
    let open_descriptors = process.fd_count().ok()? as u64;
    Some(ProcessFacts { resident_bytes, open_descriptors })
}
