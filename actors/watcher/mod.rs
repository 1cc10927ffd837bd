//! The watcher: turns what happens in the folders of local origins into touched paths.
//!
//! Per origin there is a keeper thread with an inotify instance of its own (`keeper`, `watches`), because adding a
//! hundred thousand watches takes seconds and a dead mount blocks for ever; the actor itself only owns the clock and
//! answers. notify's thread translates events and pushes them (`inotify`). Where events do not tell everything (a network
//! or user-space filesystem, no more watches granted) the origin is compared at every poll interval. `AwaitBarrier` is
//! exact: a file made in a private folder comes out of the same queue behind everything that was queued before it
//! (`barrier`). An actor that is started again watches everything anew. It never reads or writes a file of an origin.

mod barrier;
mod folders;
mod inotify;
mod keeper;
mod limits;
mod mounts;
mod orders;
mod poll;
mod watches;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::future::join_all;
use musicfs_protocol::change::{RescanInbox, TouchedInbox};
use musicfs_protocol::{ActorStats, AwaitBarrier, Heartbeat, Metrics, SetPollIntervals, WatchTable, Work};

use barrier::BARRIER_LIMIT;
use inotify::Sink;
pub use keeper::WatchedOrigin;
use keeper::{Keeper, KeeperHandle};

/// How often a root is looked at, for what gives no event (a mount, an unmount, a rename above it) and for one that is not
/// there: one stat and a look at the table of mounts, and soon enough that a disk that is plugged in again is there before its user looks.
const ROOT_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest interval of a timer; a configured 0 would spin.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// What is watched.
#[derive(Clone, Debug)]
pub struct WatcherConfig {
    /// Local origins.
    pub origins: Vec<WatchedOrigin>,
    /// A folder of the daemon's own, on a local filesystem and in no origin; must exist.
    pub barrier_dir: PathBuf,
}

/// The actor.
pub struct Watcher {
    config: WatcherConfig,
    touched: TouchedInbox,
    rescans: RescanInbox,
    work: Work,
    stats: Arc<ActorStats>,
    metrics: Metrics,
    watches: Arc<WatchTable>,
    keepers: Vec<KeeperHandle>,
    /// The timers of each origin's polls and root checks.
    timers: Vec<[SpawnHandle; 2]>,
}

impl Watcher {
    /// A watcher that begins to watch when it is started. When an origin's watches are in place it pushes a rescan.
    pub fn new(
        config: WatcherConfig,
        touched: TouchedInbox,
        rescans: RescanInbox,
        work: Work,
        stats: Arc<ActorStats>,
        metrics: Metrics,
        watches: Arc<WatchTable>,
    ) -> Self {
        Self { config, touched, rescans, work, stats, metrics, watches, keepers: Vec::new(), timers: Vec::new() }
    }

    fn sink(&self, origin: &WatchedOrigin) -> Sink {
        Sink {
            origin: origin.origin.clone(),
            touched: self.touched.clone(),
            rescans: self.rescans.clone(),
            work: self.work.clone(),
            metrics: self.metrics.clone(),
            watches: Arc::clone(&self.watches),
        }
    }

    fn spawn_keeper(&self, origin: &WatchedOrigin) -> KeeperHandle {
        Keeper::spawn(origin.clone(), self.config.barrier_dir.clone(), self.sink(origin))
    }

    fn start_timers(&self, index: usize, ctx: &mut Context<Self>) -> [SpawnHandle; 2] {
        let poll_interval = self.config.origins[index].poll_interval.max(MIN_INTERVAL);
        let check_interval = poll_interval.min(ROOT_CHECK_INTERVAL);
        [
            ctx.run_interval(poll_interval, move |watcher, _| watcher.poll(index)),
            ctx.run_interval(check_interval, move |watcher, _| watcher.check_root(index)),
        ]
    }

    fn check_root(&mut self, index: usize) {
        fail::fail_point!("watcher::tick");
        if self.keepers[index].has_ended() {
            let origin = &self.config.origins[index];
            tracing::error!(origin = %origin.origin, "the thread of an origin's watches ended and is started again");
            self.stats.fail(format!("{}: the thread of its watches ended", origin.origin));
            self.keepers[index] = self.spawn_keeper(origin);
        }
        self.keepers[index].orders.check_root();
    }

    fn poll(&self, index: usize) {
        if self.keepers[index].mode().polls() {
            self.sink(&self.config.origins[index]).rescan();
        }
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.keepers = self.config.origins.iter().map(|origin| self.spawn_keeper(origin)).collect();
        self.timers = (0..self.config.origins.len()).map(|index| self.start_timers(index, ctx)).collect();
    }
}

impl Handler<SetPollIntervals> for Watcher {
    type Result = ();

    fn handle(&mut self, SetPollIntervals(intervals): SetPollIntervals, ctx: &mut Self::Context) {
        for (origin, interval) in intervals {
            let Some(index) = self.config.origins.iter().position(|watched| watched.origin == origin) else { continue };
            if std::mem::replace(&mut self.config.origins[index].poll_interval, interval) != interval {
                let timers = self.start_timers(index, ctx);
                for old in std::mem::replace(&mut self.timers[index], timers) {
                    ctx.cancel_future(old);
                }
            }
        }
    }
}

impl Handler<AwaitBarrier> for Watcher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: AwaitBarrier, _: &mut Self::Context) -> Self::Result {
        fail::fail_point!("watcher::handle");
        let account = self.stats.begin();
        let asked_at = Instant::now();
        let running = self.keepers.iter().filter(|keeper| !keeper.has_ended());
        let passed = join_all(running.map(|keeper| keeper.orders.await_barrier()).collect::<Vec<_>>());
        let stats = Arc::clone(&self.stats);
        Box::pin(async move {
            if tokio::time::timeout(BARRIER_LIMIT, passed).await.is_err() {
                tracing::warn!(limit = ?BARRIER_LIMIT, "an origin's events are behind; answering without them");
                stats.fail("an origin's events are behind");
            }
            account.finish(Duration::ZERO, asked_at.elapsed());
        })
    }
}

impl Handler<Heartbeat> for Watcher {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}
