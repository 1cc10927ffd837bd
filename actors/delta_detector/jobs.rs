//! One origin's jobs, one after the other.
//!
//! A rescan covers every settled path that waits with it. What events show to be gone is not removed at once: a file that
//! was renamed is seen to be gone here and to be new there, and the two may settle one after the other. So gone paths are
//! carried along while other changes are settling, [`CARRY_LIMIT`] at most, and then looked at again: whatever was moved
//! has kept its id by then, and whatever came back stays.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use musicfs_protocol::change::PathsSettled;
use musicfs_protocol::event::SyncScope;
use musicfs_protocol::{ActorStats, Happening, RescanOrigin, ScanState, WorkToken};
use musicfs_pure::ids::{OriginId, OriginPath};

use super::context::{OriginContext, ScanError};
use super::{scan, sync};

/// How long gone paths are carried: what the debouncer may hold back a path that is touched again and again.
const CARRY_LIMIT: Duration = Duration::from_secs(2);

/// How often it is looked whether the other changes have settled.
const CARRY_POLL: Duration = Duration::from_millis(20);

/// What waits to be done for each origin.
pub(super) type Queues = Rc<RefCell<HashMap<OriginId, Queue>>>;

/// What waits to be done for one origin.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) settled: HashMap<OriginPath, PathsSettled>,
    pub(super) rescan: Option<RescanOrigin>,
}

/// One job for one origin.
enum Job {
    Scan(RescanOrigin),
    /// Settled paths, and the token of one of them.
    Sync(HashMap<OriginPath, PathsSettled>, WorkToken),
}

impl Job {
    fn scope(&self) -> SyncScope {
        match self {
            Self::Scan(_) => SyncScope::Origin,
            Self::Sync(..) => SyncScope::Paths,
        }
    }

    /// What makes up for this job when it failed.
    fn into_rescan(self) -> RescanOrigin {
        match self {
            Self::Scan(rescan) => rescan,
            Self::Sync(_, work) => RescanOrigin { accept_removals: false, work },
        }
    }
}

impl Queue {
    /// A person's word that removals are wanted is not lost to a rescan that comes after it.
    pub(super) fn add_rescan(&mut self, rescan: RescanOrigin) {
        match &mut self.rescan {
            Some(waiting) => waiting.accept_removals |= rescan.accept_removals,
            None => self.rescan = Some(rescan),
        }
    }

    /// The next job, and the tokens of what it covers.
    fn next(&mut self) -> Option<(Job, Vec<PathsSettled>)> {
        if let Some(rescan) = self.rescan.take() {
            let covered = self.settled.drain().map(|(_, settled)| settled).collect();
            return Some((Job::Scan(rescan), covered));
        }
        let work = self.settled.values().next()?.work.clone();
        Some((Job::Sync(std::mem::take(&mut self.settled), work), Vec::new()))
    }
}

/// Paths that events showed to be gone, and are not removed yet.
struct Carried {
    paths: BTreeSet<OriginPath>,
    work: WorkToken,
    since: Instant,
}

/// What one origin's task works with.
struct Worker {
    context: OriginContext,
    queues: Queues,
    stats: Arc<ActorStats>,
    carried: Option<Carried>,
}

/// Does an origin's jobs until none is left. Answers with a rescan when one failed for a reason that may pass:
/// an origin that is away comes back by the health monitor's rescan, and a quarantine ends by a person's word.
pub(super) async fn run_jobs(context: OriginContext, queues: Queues, stats: Arc<ActorStats>) -> Option<RescanOrigin> {
    let mut worker = Worker { context, queues, stats, carried: None };
    loop {
        let next = worker.queues.borrow_mut().get_mut(&worker.context.origin).and_then(Queue::next);
        let outcome = match next {
            Some((job, covered)) => {
                let outcome = worker.run(&job).await;
                drop(covered);
                outcome.map_err(|error| (error, job.into_rescan()))
            }
            None if worker.is_carrying_on().await => Ok(()),
            None => worker.remove_carried().await,
        };
        if let Err((error, rescan)) = outcome {
            worker.publish(&error);
            if error.may_pass() {
                return Some(rescan);
            }
        }
        if worker.is_done() {
            return None;
        }
    }
}

impl Worker {
    /// Does one job. What a synchronisation found to be gone is carried along; a scan judges for itself.
    async fn run(&mut self, job: &Job) -> Result<(), ScanError> {
        let account = self.stats.begin();
        fail::fail_point!("delta_detector::job");
        let started = Instant::now();
        self.announce_start(job.scope());
        let outcome = match job {
            Job::Scan(rescan) => {
                self.carried = None;
                scan::scan_origin(&self.context, rescan).await
            }
            Job::Sync(settled, work) => {
                sync::sync_paths(&self.context, settled, work).await.map(|gone| self.carry(gone, work))
            }
        };
        self.announce_end(job.scope(), &outcome);
        account.finish(Duration::ZERO, started.elapsed());
        outcome
    }

    fn announce_start(&self, scope: SyncScope) {
        self.context.take_changes();
        self.context.publish(Happening::SyncStarted { origin: self.context.origin.clone(), scope });
    }

    fn announce_end(&self, scope: SyncScope, outcome: &Result<(), ScanError>) {
        let origin = self.context.origin.clone();
        if let Err(ScanError::Quarantined { reason }) = outcome {
            self.context.publish(Happening::OriginQuarantined { origin: origin.clone(), reason: reason.clone() });
        }
        let (changes, error) = (self.context.take_changes(), outcome.as_ref().err().map(ToString::to_string));
        self.context.publish(Happening::SyncFinished { origin, scope, changes, error });
    }

    fn carry(&mut self, gone: Vec<OriginPath>, work: &WorkToken) {
        if !gone.is_empty() {
            let fresh = || Carried { paths: BTreeSet::new(), work: work.clone(), since: Instant::now() };
            self.carried.get_or_insert_with(fresh).paths.extend(gone);
        }
    }

    /// Whether gone paths must wait for other changes; waits a little when they must.
    async fn is_carrying_on(&self) -> bool {
        let Some(carried) = &self.carried else { return false };
        if carried.since.elapsed() >= CARRY_LIMIT || !self.context.is_settling() {
            return false;
        }
        actix::clock::sleep(CARRY_POLL).await;
        true
    }

    async fn remove_carried(&mut self) -> Result<(), (ScanError, RescanOrigin)> {
        let Some(Carried { paths, work, .. }) = self.carried.take() else { return Ok(()) };
        self.announce_start(SyncScope::Paths);
        let outcome = sync::remove_gone(&self.context, paths, &work).await;
        self.announce_end(SyncScope::Paths, &outcome);
        outcome.map_err(|error| (error, RescanOrigin { accept_removals: false, work }))
    }

    /// Ends the origin's queue when there is nothing left to do for it.
    fn is_done(&self) -> bool {
        let mut queues = self.queues.borrow_mut();
        let waits =
            queues.get(&self.context.origin).is_some_and(|queue| queue.rescan.is_some() || !queue.settled.is_empty());
        if waits || self.carried.is_some() {
            return false;
        }
        queues.remove(&self.context.origin);
        true
    }

    /// Says how a job ended that did not come to its end.
    fn publish(&self, error: &ScanError) {
        let origin = &self.context.origin;
        self.stats.fail(format!("{origin}: {error}"));
        tracing::warn!(%origin, %error, "comparing the origin with the catalog failed");
        let state = match error {
            ScanError::Quarantined { reason } => ScanState::Quarantined { reason: reason.clone() },
            _ => ScanState::Failed { reason: error.to_string() },
        };
        self.context.progress(|progress| progress.state = state);
    }
}
