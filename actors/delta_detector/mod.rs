//! The delta detector: compares what an origin shows with what the catalog knows, and tells the catalog the difference.
//!
//! Two inboxes feed it: settled paths (something happened there) and rescans (compare everything). Work is done per
//! origin, one job at a time, origins beside each other: collect from the fetcher, decide with `pure::delta`, read the
//! tags of what is new, send one `ApplyDelta` per batch, so that the catalog never waits for an origin. Additions are
//! made before removals, which is how a renamed file keeps its id. A listing that fails or is incomplete removes nothing,
//! and what a job could not finish comes back as a rescan. It never writes to an origin and never believes an absence
//! that `pure::delta` does not.

mod context;
mod examine;
mod jobs;
mod removals;
mod scan;
mod sync;
mod tag_reader;

#[cfg(test)]
mod absence_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use musicfs_protocol::change::{RescanInbox, SettledInbox};
use musicfs_protocol::{
    ActorStats, ApplyDelta, EventLog, Heartbeat, InboxReady, ListOrigin, PermitPool, Port, Probe, ReadCatalog,
    ReadRange, RescanOrigin, ScanTable, StatPath,
};
use musicfs_pure::ids::OriginId;

use context::OriginContext;
use jobs::{Queues, run_jobs};

/// After a job that failed for a reason that may pass, its origin is compared as a whole again after this time: short
/// enough to heal before anyone looks. It doubles up to the second figure, so that a disk that keeps failing is left
/// in peace.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How one origin is reached.
#[derive(Clone)]
pub struct OriginPorts {
    /// Listings.
    pub list: Port<ListOrigin>,
    /// Single stats.
    pub stat: Port<StatPath>,
    /// Whether the root is still the one that was listed.
    pub probe: Port<Probe>,
    /// Byte ranges, for tags.
    pub read: Port<ReadRange>,
    /// The origin's byte budget.
    pub permits: PermitPool,
    /// First bytes asked of a file whose tags are wanted: 16 KiB where a request is cheap, 64 KiB where it is billed.
    pub tag_head_bytes: u64,
}

/// What the detector works between.
pub struct DeltaDetectorConfig {
    /// Every configured origin.
    pub origins: BTreeMap<OriginId, OriginPorts>,
    /// What is known.
    pub catalog: Arc<dyn ReadCatalog>,
    /// Where differences go.
    pub apply: Port<ApplyDelta>,
    /// Paths to look at.
    pub settled: SettledInbox,
    /// Origins to compare as a whole.
    pub rescans: RescanInbox,
    /// Where progress is published.
    pub scans: Arc<ScanTable>,
    /// Where the beginnings and ends of comparisons are published.
    pub events: EventLog,
    /// Whether changes have been seen that have not settled: what is gone at one path may be about to show at another.
    pub is_settling: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The actor.
pub struct DeltaDetector {
    config: Rc<DeltaDetectorConfig>,
    stats: Arc<ActorStats>,
    queues: Queues,
    busy: HashSet<OriginId>,
    retries: HashMap<OriginId, u32>,
}

impl DeltaDetector {
    /// A detector that begins with what waits in its inboxes.
    pub fn new(config: DeltaDetectorConfig, stats: Arc<ActorStats>) -> Self {
        Self { config: Rc::new(config), stats, queues: Rc::default(), busy: HashSet::new(), retries: HashMap::new() }
    }

    /// Takes what is in the inboxes and starts a task for every origin that has something to do and none yet.
    fn drain(&mut self, ctx: &mut Context<Self>) {
        {
            let mut queues = self.queues.borrow_mut();
            for ((origin, path), settled) in self.config.settled.drain() {
                queues.entry(origin).or_default().settled.insert(path, settled);
            }
            for (origin, rescan) in self.config.rescans.drain() {
                queues.entry(origin).or_default().add_rescan(rescan);
            }
        }
        let waiting: Vec<OriginId> = self.queues.borrow().keys().cloned().collect();
        for origin in waiting {
            self.start(origin, ctx);
        }
    }

    /// The task lives in the actor's context: if it panics the actor dies with it and is started again with a rescan.
    fn start(&mut self, origin: OriginId, ctx: &mut Context<Self>) {
        let Some(ports) = self.config.origins.get(&origin) else {
            self.queues.borrow_mut().remove(&origin);
            return;
        };
        if !self.busy.insert(origin.clone()) {
            return;
        }
        let context = OriginContext::new(origin.clone(), ports.clone(), Rc::clone(&self.config));
        let queues = Rc::clone(&self.queues);
        let stats = Arc::clone(&self.stats);
        let work = async move { run_jobs(context, queues, stats).await };
        ctx.spawn(work.into_actor(self).map(move |retry, actor, ctx| {
            actor.busy.remove(&origin);
            match retry {
                Some(rescan) => actor.retry_later(origin, rescan, ctx),
                None => drop(actor.retries.remove(&origin)),
            }
            actor.drain(ctx);
        }));
    }

    /// The origin is compared as a whole after a moment; the work token in the rescan keeps the daemon from being idle.
    fn retry_later(&mut self, origin: OriginId, rescan: RescanOrigin, ctx: &mut Context<Self>) {
        let retries = self.retries.entry(origin.clone()).or_default();
        let delay = (RETRY_AFTER.0 * 2_u32.saturating_pow(*retries)).min(RETRY_AFTER.1);
        *retries = (*retries + 1).min(16);
        let rescans = self.config.rescans.clone();
        ctx.run_later(delay, move |_, _| {
            fail::fail_point!("delta_detector::tick");
            rescans.push(origin, rescan);
        });
    }
}

impl Actor for DeltaDetector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.drain(ctx);
    }
}

impl Handler<InboxReady> for DeltaDetector {
    type Result = ();

    fn handle(&mut self, _: InboxReady, ctx: &mut Self::Context) {
        fail::fail_point!("delta_detector::handle");
        self.drain(ctx);
    }
}

impl Handler<Heartbeat> for DeltaDetector {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}
