//! The catalog: the only writer of what is known of origins and of what the library shows.
//!
//! Everyone else reads through [`ReadCatalog`](musicfs_protocol::ReadCatalog) handles; what changes comes as
//! [`ApplyDelta`] with the tags already in it, so that this actor waits for nothing but its own database. Its work is a
//! queue of deltas and, when that is empty, maintenance (purging origins that are no longer configured, placing tracks by
//! a template that changed between two runs or by [`SetLayout`], forgetting old tombstones), done batch by batch with the mailbox in between: a folder of a million
//! files may be removed without the actor looking frozen. [`TreeChanged`] goes out after the batch is committed, never
//! before, and carries the work token on.
//!
//! `shared` is what outlives the actor, `writer` the decisions without actix, `reader` the get-only handle. Must never ask
//! an origin, nor hold state that is not on disk: one that replaces it after a panic starts from the last batch.

mod codec;
mod covers;
mod departures;
mod entries;
mod files;
mod folders;
mod groups;
mod guards;
mod id_blocks;
mod keys;
mod maintenance;
mod overlay;
mod pending;
mod places;
mod raw;
mod reader;
mod rows;
mod self_check;
mod shared;
mod spelling;
mod spreads;
mod tables;
mod tag_rows;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use musicfs_protocol::change::{ApplyDelta, DeltaApplied, Heartbeat, TreeChanged, TreeInbox};
use musicfs_protocol::library::CatalogError;
pub use musicfs_protocol::library::{Layout, RawView};
use musicfs_protocol::metrics::OpLabels;
use musicfs_protocol::{ActorStats, Deadline, EventLog, Handling, Metrics, SetLayout, Work, WorkToken};
use tokio::sync::oneshot;

pub use pending::TouchedName;
pub use self_check::self_check;
pub use shared::{CatalogConfig, CatalogOrigin, CatalogShared};
pub use spreads::Crowding;
pub use writer::{DeltaInProgress, Writer};

/// How often tombstones that have become too old are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_hours(24);

/// A delta that waits or is under way, and who waits for it.
struct Job {
    delta: DeltaInProgress,
    work: WorkToken,
    deadline: Deadline,
    received: Instant,
    handling: Duration,
    account: Handling,
    reply: oneshot::Sender<Result<DeltaApplied, CatalogError>>,
}

/// catalog → itself: look for old tombstones again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ExpiryTick;

/// The actor.
pub struct Catalog {
    writer: Writer,
    tree: TreeInbox,
    stats: Arc<ActorStats>,
    metrics: Metrics,
    work: Work,
    events: EventLog,
    jobs: VecDeque<Job>,
    /// Held while there may be maintenance to do: the library is not what the configuration says before it is done.
    maintenance: Option<WorkToken>,
    is_stepping: bool,
}

impl Catalog {
    /// A writer over the open catalog, announcing changes to `tree` and publishing what happened to files.
    pub fn new(
        shared: Arc<CatalogShared>,
        tree: TreeInbox,
        stats: Arc<ActorStats>,
        metrics: Metrics,
        work: Work,
        events: EventLog,
    ) -> Self {
        let maintenance = Some(work.begin());
        let writer = Writer::new(shared);
        Self { writer, tree, stats, metrics, work, events, jobs: VecDeque::new(), maintenance, is_stepping: false }
    }

    /// Does the next batch once the mailbox has been looked at. A message to itself would not do: actix goes on with
    /// those without giving anyone else on the thread a turn.
    fn step_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.is_stepping {
            self.is_stepping = true;
            let turn = tokio::task::yield_now().into_actor(self);
            ctx.spawn(turn.map(|(), catalog, ctx| catalog.step(ctx)));
        }
    }

    fn step(&mut self, ctx: &mut Context<Self>) {
        fail::fail_point!("catalog::tick");
        self.is_stepping = false;
        if let Some(job) = self.jobs.pop_front() {
            if let Some(job) = self.advance(job) {
                self.jobs.push_front(job);
            }
        } else if let Some(work) = self.maintenance.take()
            && self.maintain(&work)
        {
            self.maintenance = Some(work);
        }
        if !self.jobs.is_empty() || self.maintenance.is_some() {
            self.step_soon(ctx);
        }
    }

    /// Announces what has been committed.
    fn announce(&mut self, work: &WorkToken) {
        fail::fail_point!("catalog::before_announce", |_| std::process::abort());
        for name in self.writer.take_touched() {
            self.tree.push(name, TreeChanged { work: work.clone() });
        }
        let happenings = self.writer.take_happenings();
        if !happenings.is_empty() {
            self.events.publish_all(happenings);
        }
    }

    /// One batch of a delta; gives it back while it is not done. One that nobody waits for any more is given up: whoever
    /// sent it will compare again.
    fn advance(&mut self, mut job: Job) -> Option<Job> {
        let started = Instant::now();
        let result = if job.deadline.has_passed(started) {
            Err(CatalogError::TooLate)
        } else {
            self.writer.advance(&mut job.delta, shared::wall_clock())
        };
        self.announce(&job.work);
        job.handling += started.elapsed();
        let result = match result {
            Ok(false) => return Some(job),
            Ok(true) => Ok(job.delta.applied()),
            Err(error) => Err(error),
        };
        self.count(&result);
        let waited = job.received.elapsed().saturating_sub(job.handling);
        job.account.finish(waited, job.handling);
        // Whoever asked may have passed its deadline; what was applied stays applied.
        let _ = job.reply.send(result);
        None
    }

    fn count(&self, result: &Result<DeltaApplied, CatalogError>) {
        match result {
            Ok(applied) => {
                let DeltaApplied { added, modified, moved, removed } = *applied;
                for (op, num) in [("added", added), ("modified", modified), ("moved", moved), ("removed", removed)] {
                    self.metrics.catalog_changes.get_or_create(&OpLabels::new(op, true)).inc_by(num);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a delta could not be applied");
                self.metrics.catalog_changes.get_or_create(&OpLabels::new("delta", false)).inc();
                self.stats.fail(error.to_string());
            }
        }
    }

    /// One step of maintenance; after an error it rests until the next start or the next day.
    fn maintain(&mut self, work: &WorkToken) -> bool {
        let result = self.writer.maintain(shared::wall_clock());
        self.announce(work);
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "maintenance of the catalog failed");
            self.stats.fail(error.to_string());
            false
        })
    }
}

impl Actor for Catalog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EXPIRY_INTERVAL, |_, ctx| ctx.notify(ExpiryTick));
        // what the one before committed and did not get to announce
        self.announce(&self.work.begin());
        self.step_soon(ctx);
    }
}

impl Handler<ApplyDelta> for Catalog {
    type Result = ResponseFuture<Result<DeltaApplied, CatalogError>>;

    fn handle(&mut self, message: ApplyDelta, ctx: &mut Self::Context) -> Self::Result {
        fail::fail_point!("catalog::handle");
        let account = self.stats.begin();
        let ApplyDelta { origin, changes, work, deadline } = message;
        let delta = match self.writer.begin(&origin, changes) {
            Ok(delta) => delta,
            Err(error) => {
                account.finish(Duration::ZERO, Duration::ZERO);
                self.stats.fail(error.to_string());
                return Box::pin(std::future::ready(Err(error)));
            }
        };
        let (reply, done) = oneshot::channel();
        let (received, handling) = (Instant::now(), Duration::ZERO);
        self.jobs.push_back(Job { delta, work, deadline, received, handling, account, reply });
        self.step_soon(ctx);
        Box::pin(async move {
            match done.await {
                Ok(result) => result,
                // the actor is gone, and this future goes with its thread: the asker hears that it was lost
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl Handler<SetLayout> for Catalog {
    type Result = Result<(), CatalogError>;

    fn handle(&mut self, SetLayout { layout, work, deadline }: SetLayout, ctx: &mut Self::Context) -> Self::Result {
        fail::fail_point!("catalog::handle");
        let account = self.stats.begin();
        let started = Instant::now();
        let result = if deadline.has_passed(started) {
            Err(CatalogError::TooLate)
        } else {
            self.writer.set_layout(layout, shared::wall_clock())
        };
        self.announce(&work);
        account.finish(Duration::ZERO, started.elapsed());
        if let Err(error) = &result {
            self.stats.fail(error.to_string());
        }
        self.maintenance.get_or_insert(work);
        self.step_soon(ctx);
        result
    }
}

impl Handler<ExpiryTick> for Catalog {
    type Result = ();

    fn handle(&mut self, _: ExpiryTick, ctx: &mut Self::Context) {
        self.writer.restart_expiry();
        self.maintenance.get_or_insert_with(|| self.work.begin());
        self.step_soon(ctx);
    }
}

impl Handler<Heartbeat> for Catalog {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalog({:?}, {} deltas waiting)", self.writer, self.jobs.len())
    }
}
