//! `daemon.wait`: answers when something has come true.
//!
//! *Scanned* reads the scan table: an origin counts when its scan has come to an end, good or bad, or when it cannot be
//! reached. *Idle* is exact and not a guess over queues: a barrier through the watcher first (every event that the system
//! had queued has been turned into work), then the count of work must be zero. Work found after a barrier means that
//! more may have come meanwhile, so the pair is repeated until a barrier finds none.
//!
//! The tables have no events of their own; they are looked at every 20 ms, which is below what a script notices.

use std::time::Duration;

use musicfs_protocol::health::Health;
use musicfs_protocol::wire::{WaitFor, WaitReply, WaitRequest};
use musicfs_protocol::{AwaitBarrier, ScanState};
use tokio::time::{interval, timeout};

use super::{ControlServices, ServedOrigin};

/// How often the tables are looked at.
const TICK: Duration = Duration::from_millis(20);

/// The longest wait; anything above is as good as for ever, and a timer has an end.
const MAX_WAIT: Duration = Duration::from_hours(24 * 365);

/// Waits, and says what was missing when the time is up.
pub(super) async fn wait(services: &ControlServices, request: WaitRequest) -> WaitReply {
    let limit = request.timeout_ms.map_or(MAX_WAIT, Duration::from_millis).min(MAX_WAIT);
    let reached = timeout(limit, until(services, request.goal)).await.is_ok();
    let waiting_for = if reached { Vec::new() } else { obstacles(services, request.goal) };
    WaitReply { reached, waiting_for }
}

async fn until(services: &ControlServices, goal: WaitFor) {
    until_true(|| is_scanned(services)).await;
    if goal == WaitFor::Scanned {
        return;
    }
    loop {
        barrier(services).await;
        if services.work.pending() == 0 && is_scanned(services) {
            return;
        }
        until_true(|| services.work.pending() == 0 && is_scanned(services)).await;
    }
}

async fn until_true(condition: impl Fn() -> bool) {
    let mut tick = interval(TICK);
    while !condition() {
        tick.tick().await;
    }
}

/// Passes one barrier; a watcher that is being started again is asked again.
async fn barrier(services: &ControlServices) {
    let mut tick = interval(TICK);
    loop {
        tick.tick().await;
        if services.barrier.send(AwaitBarrier).await.is_ok() {
            return;
        }
    }
}

/// A rescan that has been asked for and not begun shows the result of the scan before it, so the inbox counts too.
fn is_scanned(services: &ControlServices) -> bool {
    services.rescans.is_empty()
        && services.served.origins().iter().all(|origin| missing_scan(services, origin).is_none())
}

/// What an origin's scan still lacks.
fn missing_scan(services: &ControlServices, origin: &ServedOrigin) -> Option<String> {
    let scan = services.scans.get(&origin.id);
    let is_down = services.health.get(&origin.id).is_some_and(|health| health.health == Health::Down);
    match scan.state {
        _ if is_down => None,
        ScanState::Pending => Some(format!("origin {}: the scan has not begun", origin.id)),
        ScanState::Running => Some(format!(
            "origin {}: the scan is under way, {} files listed, tags of {} read",
            origin.id, scan.num_listed, scan.num_tags_read
        )),
        ScanState::Done | ScanState::Failed { .. } | ScanState::Quarantined { .. } => None,
    }
}

fn obstacles(services: &ControlServices, goal: WaitFor) -> Vec<String> {
    let mut missing: Vec<_> =
        services.served.origins().iter().filter_map(|origin| missing_scan(services, origin)).collect();
    if !services.rescans.is_empty() {
        missing.push("a rescan has been asked for and has not begun".to_owned());
    }
    let num_pending = services.work.pending();
    if goal == WaitFor::Idle && num_pending > 0 {
        missing.push(format!("{num_pending} changes are on their way to the kernel"));
    }
    if missing.is_empty() {
        missing.push("the watcher has not confirmed that all events are in".to_owned());
    }
    missing
}
