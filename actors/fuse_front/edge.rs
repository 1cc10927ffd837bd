//! The edge: what all FUSE threads share. It outlives the actor, so a restart of the actor never takes the mount away.
//!
//! Every request is answered from get-only handles on the thread it came in on; what cannot be is put into
//! [`Waiting`](super::waiting) and finished elsewhere. The operations are split by noun: `dirs`, `files`, `xattrs`, and here
//! what belongs to no entry. Nothing here waits, writes, or asks an origin for metadata.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use fuser::ReplyStatfs;
use musicfs_protocol::library::Source;
use musicfs_protocol::pool::Pool;
use musicfs_protocol::{
    ActorStats, Board, EventLog, Happening, Metrics, PermitPool, ReadCatalog, ReadDirect, ReadyGate,
};
use musicfs_pure::ids::OriginId;

use super::art::{ArtBudget, ArtDecoder};
use super::attrs::Ownership;
use super::call::{Accounts, Call, Op, Reply, guarded};
use super::disk_usage::DiskUsage;
use super::errno::Failure;
use super::handles::Handles;
use super::listings::Listings;
use super::waiting::{Lane, Waiting};

/// An origin whose files are read where they are.
pub struct DirectOrigin {
    /// Opens its files.
    pub reader: Arc<dyn ReadDirect>,
    /// Runs what would wait for its disk. A pool of its own keeps a dying disk from delaying other origins.
    pub pool: Arc<dyn Pool>,
    /// Bounds the bytes that are asked of it at once, together with those that others ask for.
    pub permits: PermitPool,
}

/// What the edge needs.
pub struct EdgeConfig {
    /// What the library shows.
    pub catalog: Arc<dyn ReadCatalog>,
    /// The local origins.
    pub direct: HashMap<OriginId, DirectOrigin>,
    /// Closed until the root may be looked at.
    pub gate: Arc<ReadyGate>,
    /// Where the last error of a path is put.
    pub board: Arc<Board>,
    /// The numbers of `fuse_front`.
    pub stats: Arc<ActorStats>,
    /// The daemon's metrics.
    pub metrics: Metrics,
    /// Where opened files are published while somebody follows them.
    pub events: EventLog,
    /// Takes embedded pictures out of what is stored.
    pub decode_art: ArtDecoder,
    /// Owner, group and umask of what is shown.
    pub ownership: Ownership,
    /// The folder whose file system `df` of the mount shows: the cache's.
    pub statfs_path: PathBuf,
    /// Runs the question how full that is, which a dead disk never answers.
    pub statfs_pool: Arc<dyn Pool>,
}

/// A local origin and its queue for the disk.
pub(super) struct OriginLane {
    pub reader: Arc<dyn ReadDirect>,
    pub lane: Arc<Lane>,
}

/// What FUSE threads, pool threads and the actor share.
pub struct Edge {
    pub(super) catalog: Arc<dyn ReadCatalog>,
    pub(super) direct: HashMap<OriginId, OriginLane>,
    pub(super) handles: Handles,
    pub(super) listings: Listings,
    pub(super) ownership: Ownership,
    pub(super) decode_art: ArtDecoder,
    pub(super) art_budget: ArtBudget,
    pub(super) accounts: Arc<Accounts>,
    waiting: Arc<Waiting>,
    gate: Arc<ReadyGate>,
    board: Arc<Board>,
    events: EventLog,
    disk_usage: Arc<DiskUsage>,
    allows_mmap_of_direct_io: AtomicBool,
}

impl Edge {
    /// An edge; the mount is made with [`mount`](super::mount::mount).
    pub fn new(config: EdgeConfig) -> Arc<Self> {
        let waiting = Arc::<Waiting>::default();
        let with_lane = |(id, origin): (OriginId, DirectOrigin)| {
            (id, OriginLane { reader: origin.reader, lane: Lane::new(origin.pool, origin.permits, &waiting) })
        };
        // asking how full a disk is moves no bytes
        let disk_lane = Lane::new(config.statfs_pool, PermitPool::new(0), &waiting);
        Arc::new(Self {
            catalog: config.catalog,
            direct: config.direct.into_iter().map(with_lane).collect(),
            handles: Handles::default(),
            listings: Listings::default(),
            ownership: config.ownership,
            decode_art: config.decode_art,
            art_budget: ArtBudget::default(),
            accounts: Arc::new(Accounts::new(&config.metrics, config.stats)),
            waiting,
            gate: config.gate,
            board: config.board,
            events: config.events,
            disk_usage: DiskUsage::new(config.statfs_path, disk_lane),
            allows_mmap_of_direct_io: AtomicBool::new(false),
        })
    }

    /// Answers what has waited too long, and tries again what a full pool refused.
    pub(super) fn tick(&self, now: Instant) {
        self.waiting.expire(now);
        for origin in self.direct.values() {
            origin.lane.tick();
        }
        self.disk_usage.tick();
    }

    /// Answers everything that waits with an error; nothing waits from now on. What needs no waiting is still answered.
    pub fn refuse_waiting(&self) {
        self.waiting.close();
    }

    /// Requests that wait now.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Files that are open now.
    pub fn num_open_files(&self) -> usize {
        self.handles.len()
    }

    /// The kernel can map files that bypass its page cache, or not.
    pub(super) fn set_allows_mmap_of_direct_io(&self, allows: bool) {
        self.allows_mmap_of_direct_io.store(allows, Ordering::Relaxed);
    }

    /// Whether local files are opened past the page cache.
    pub(super) fn opens_direct(&self) -> bool {
        self.allows_mmap_of_direct_io.load(Ordering::Relaxed)
    }

    /// Runs a handler of a request at the root once the library may be looked at.
    pub(super) fn when_ready<R: Reply>(
        self: &Arc<Self>,
        call: Call<R>,
        handler: impl FnOnce(&Arc<Self>, Call<R>) + Send + 'static,
    ) {
        let Some(kept) = self.waiting.keep(call, Instant::now()) else { return };
        let edge = Arc::clone(self);
        self.gate.when_open(Box::new(move || {
            let Some(call) = kept.take() else { return };
            if edge.gate.is_open() {
                guarded(&edge.accounts, call.op(), || handler(&edge, call));
            } else {
                // the gate keeps no more: an empty root must not be shown instead
                call.refuse(&Failure::TooManyWaiting);
            }
        }));
    }

    /// Whether a request at the root must wait.
    pub(super) fn is_ready(&self) -> bool {
        self.gate.is_open()
    }

    /// Makes an origin's trouble known to `musicfs why`.
    pub(super) fn report(&self, source: &Source, failure: &Failure) {
        if failure.concerns_origin() {
            self.board.record_error(format!("{}:{}", source.origin, source.path), failure.to_string());
        }
    }

    /// Says that a file was opened, when that interests anybody.
    pub(super) fn publish_open(&self, source: &Source) {
        if self.events.wants_opens() {
            let (origin, path) = (source.origin.clone(), source.path.clone());
            self.events.publish(Happening::FileOpened { origin, path });
        }
    }

    /// How full the cache's file system is.
    pub(super) fn statfs(&self, call: Call<ReplyStatfs>) {
        fail::fail_point!("fuse_front::statfs");
        self.disk_usage.answer(call);
    }

    /// A new call, counted under `op`.
    pub(super) fn call<R: Reply>(&self, op: Op, reply: R) -> Call<R> {
        Call::new(&self.accounts, op, reply)
    }
}
