//! `Fetcher`: the actor in front of one origin; all that is asked of it goes through here.
//!
//! It does nothing itself: it holds the bounds of the message table (semaphores; ranges carry permits), refuses what is
//! past its deadline, counts, and hands the rest to the [`Origin`] behind it. Handlers answer with futures, so many
//! requests are in flight on the one thread and a slow origin delays neither heartbeats nor other messages. Because every
//! fetcher has an actor of its own, one that fails leaves the other origins untouched. It keeps no state that a restart
//! could lose, and never retries: whether and where to try again is the asker's decision.

mod local;
mod origin;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Context, Handler, ResponseFuture};
use futures_util::FutureExt;
use musicfs_protocol::fetch::{
    FetchError, ListOrigin, ListPage, Probe, RangeBytes, ReadRange, RetryClass, RootIdentity, Stat, StatPath,
};
use musicfs_protocol::metrics::{FetchLabels, OpLabels};
use musicfs_protocol::{ActorStats, Deadline, Handling, Heartbeat, Metrics};
use musicfs_pure::ids::OriginId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

pub use self::local::{LocalDirect, LocalOrigin, MAX_RANGE_BYTES};
pub use self::origin::{Origin, OriginFuture, PageRequest, RangeRequest};

/// How much of each kind an origin is asked at once. Ranges are bounded in bytes by their permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetcherConfig {
    /// Pages of listings.
    pub max_listings: usize,
    /// Stats of single paths.
    pub max_stats: usize,
    /// Probes.
    pub max_probes: usize,
}

impl Default for FetcherConfig {
    /// The numbers of the message table: one scan at a time, 8 stats to hide the latency of a share, and one probe,
    /// because a second one says nothing that the first does not.
    fn default() -> Self {
        Self { max_listings: 1, max_stats: 8, max_probes: 1 }
    }
}

/// The actor in front of one origin.
pub struct Fetcher {
    id: OriginId,
    shared: Arc<Shared>,
    listings: Arc<Semaphore>,
    stats: Arc<Semaphore>,
    probes: Arc<Semaphore>,
}

/// What requests in flight use; they may outlive the actor.
struct Shared {
    origin: Arc<dyn Origin>,
    stats: Arc<ActorStats>,
    metrics: Metrics,
}

impl Fetcher {
    /// A fetcher for the origin called `id`.
    pub fn new(
        config: FetcherConfig,
        id: OriginId,
        origin: Arc<dyn Origin>,
        stats: Arc<ActorStats>,
        metrics: Metrics,
    ) -> Self {
        let bound = |count| Arc::new(Semaphore::new(count));
        Self {
            id,
            shared: Arc::new(Shared { origin, stats, metrics }),
            listings: bound(config.max_listings),
            stats: bound(config.max_stats),
            probes: bound(config.max_probes),
        }
    }

    /// `fetcher/NAME::handle`.
    fn fail_point(&self) {
        fail::fail_point!(&format!("fetcher/{}::handle", self.id));
    }

    /// Answers one request that moves no bytes: waits for its turn, asks the origin, counts.
    fn serve<T, F>(
        &self,
        op: &'static str,
        turns: &Arc<Semaphore>,
        deadline: Deadline,
        ask: F,
    ) -> ResponseFuture<Result<T, FetchError>>
    where
        T: 'static,
        F: FnOnce(&dyn Origin) -> OriginFuture<T> + 'static,
    {
        self.fail_point();
        let (shared, turns) = (Arc::clone(&self.shared), Arc::clone(turns));
        let clock = Clock::start(&shared.stats);
        Box::pin(async move {
            let turn = take_turn(turns, deadline).await;
            let started = Instant::now();
            let answer = match turn {
                Ok(_turn) => caught(async { ask(&*shared.origin).await }).await,
                Err(error) => Err(error),
            };
            clock.finish(&shared.stats, started, answer.as_ref().err());
            let answered = answer.as_ref().err().is_none_or(is_answer);
            shared.metrics.origin_calls.get_or_create(&OpLabels::new(op, answered)).inc();
            answer
        })
    }
}

/// Waits for one of the places of a kind of request, no longer than the deadline.
async fn take_turn(turns: Arc<Semaphore>, deadline: Deadline) -> Result<OwnedSemaphorePermit, FetchError> {
    match timeout_at(deadline.instant().into(), turns.acquire_owned()).await {
        Ok(Ok(turn)) if !deadline.has_passed(Instant::now()) => Ok(turn),
        _ => Err(FetchError::Timeout),
    }
}

/// Runs a request to its end. Its future belongs to no actor's context, so a panic in it would be seen by nobody: it
/// becomes an error of this request, and all others go on.
async fn caught<T>(answer: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
    let panicked = |_| Err(FetchError::Io { reason: "the request panicked; the log has the place".to_owned() });
    AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(panicked)
}

/// Whether an error is the origin's answer to the question, like a file that does not exist, and no failure of its.
fn is_answer(error: &FetchError) -> bool {
    error.retry_class() == RetryClass::Never
}

/// When a request was accepted, for the actor's numbers.
struct Clock {
    accepted: Instant,
    account: Handling,
}

impl Clock {
    fn start(stats: &Arc<ActorStats>) -> Self {
        Self { accepted: Instant::now(), account: stats.begin() }
    }

    fn finish(self, stats: &ActorStats, started: Instant, error: Option<&FetchError>) {
        if let Some(error) = error.filter(|error| !is_answer(error)) {
            stats.fail(error.to_string());
        }
        self.account.finish(started.duration_since(self.accepted), started.elapsed());
    }
}

impl Actor for Fetcher {
    type Context = Context<Self>;
}

impl Handler<ListOrigin> for Fetcher {
    type Result = ResponseFuture<Result<ListPage, FetchError>>;

    fn handle(&mut self, message: ListOrigin, _: &mut Self::Context) -> Self::Result {
        let ListOrigin { origin: _, folder, recursive, cursor, deadline } = message;
        let request = PageRequest { folder, recursive, cursor };
        self.serve("list", &self.listings, deadline, move |origin| origin.list_page(request, deadline))
    }
}

impl Handler<StatPath> for Fetcher {
    type Result = ResponseFuture<Result<Stat, FetchError>>;

    fn handle(&mut self, message: StatPath, _: &mut Self::Context) -> Self::Result {
        let StatPath { origin: _, path, deadline } = message;
        self.serve("stat", &self.stats, deadline, move |origin| origin.stat(path, deadline))
    }
}

impl Handler<Probe> for Fetcher {
    type Result = ResponseFuture<Result<RootIdentity, FetchError>>;

    fn handle(&mut self, Probe { deadline }: Probe, _: &mut Self::Context) -> Self::Result {
        self.serve("probe", &self.probes, deadline, move |origin| origin.probe(deadline))
    }
}

impl Handler<ReadRange> for Fetcher {
    type Result = ResponseFuture<Result<RangeBytes, FetchError>>;

    fn handle(&mut self, message: ReadRange, _: &mut Self::Context) -> Self::Result {
        let ReadRange { origin: _, path, version, offset, len, purpose, deadline, permit } = message;
        self.fail_point();
        let labels = FetchLabels::new(&self.id, purpose);
        let shared = Arc::clone(&self.shared);
        let clock = Clock::start(&shared.stats);
        Box::pin(async move {
            let started = Instant::now();
            let answer = if deadline.has_passed(started) {
                Err(FetchError::Timeout)
            } else {
                shared.metrics.fetch_requests.get_or_create(&labels).inc();
                let range = RangeRequest { path, version, offset, len };
                caught(async { shared.origin.read_range(range, deadline).await }).await
            };
            clock.finish(&shared.stats, started, answer.as_ref().err());
            let bytes = answer?;
            shared.metrics.fetched_bytes.get_or_create(&labels).inc_by(bytes.len() as u64);
            Ok(RangeBytes { offset, bytes, permit })
        })
    }
}

impl Handler<Heartbeat> for Fetcher {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

#[cfg(test)]
#[path = "fetcher_tests.rs"]
mod tests;
