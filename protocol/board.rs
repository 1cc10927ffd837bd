//! The board: what every actor publishes about itself, and the last error per file and origin.
//!
//! Actors write atomics; `musicfs actors`, `status`, `why` and the metrics read them. Nobody waits for an actor to learn
//! how it is, which is what makes the answer useful when that actor hangs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// An actor's name: its module, and the origin for the ones that exist per origin (`fetcher/nas`).
pub type ActorName = Arc<str>;

/// The most paths whose last error is remembered; the oldest is forgotten first.
const MAX_REMEMBERED_ERRORS: usize = 1024;

/// The bits of the count of waiting messages.
const WAITING_BITS: u32 = 32;

/// An error and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatedError {
    /// The error's text.
    pub text: String,
    /// When.
    pub at: SystemTime,
}

/// What one actor publishes. Counts are since the start of the daemon, across restarts.
#[derive(Debug, Default)]
pub struct ActorStats {
    handled: AtomicU64,
    failed: AtomicU64,
    /// Messages accepted and not finished, below the number of times that they were written off.
    waiting: AtomicU64,
    queued_micros: AtomicU64,
    handling_micros: AtomicU64,
    restarts: AtomicU64,
    parked: AtomicBool,
    running: AtomicBool,
    last_error: Mutex<Option<DatedError>>,
}

/// A copy of an actor's numbers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActorSnapshot {
    /// Messages handled.
    pub handled: u64,
    /// Messages whose handling failed.
    pub failed: u64,
    /// Messages accepted and not finished.
    pub waiting: u64,
    /// Time that handled messages spent waiting, in all.
    pub queued: Duration,
    /// Time spent handling, in all.
    pub handling: Duration,
    /// Restarts after a failure.
    pub restarts: u64,
    /// Failed too often and is left stopped.
    pub parked: bool,
    /// Runs now.
    pub running: bool,
    /// The last error.
    pub last_error: Option<DatedError>,
}

impl ActorStats {
    /// A message was accepted. It waits until what is returned is finished, or dropped because it was lost.
    pub fn begin(self: &Arc<Self>) -> Handling {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        Handling { stats: Arc::clone(self), era: before >> WAITING_BITS }
    }

    /// The messages that are accepted now are lost with a thread that will not give them back.
    pub fn write_off_waiting(&self) {
        let next = |waiting: u64| Some(((waiting >> WAITING_BITS) + 1) << WAITING_BITS);
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Something failed.
    pub fn fail(&self, text: impl Into<String>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(DatedError { text: text.into(), at: SystemTime::now() });
    }

    /// The actor runs, or does not.
    pub fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }

    /// The actor failed and was started again.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// The actor failed too often and is left stopped, or is tried again.
    pub fn set_parked(&self, parked: bool) {
        self.parked.store(parked, Ordering::Relaxed);
    }

    /// The numbers now.
    pub fn snapshot(&self) -> ActorSnapshot {
        ActorSnapshot {
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed) & u64::from(u32::MAX),
            queued: Duration::from_micros(self.queued_micros.load(Ordering::Relaxed)),
            handling: Duration::from_micros(self.handling_micros.load(Ordering::Relaxed)),
            restarts: self.restarts.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// A message that an actor has accepted. Dropping it without [`finish`](Self::finish) says that it was lost.
#[derive(Debug)]
#[must_use = "the message counts as lost when this is dropped"]
pub struct Handling {
    stats: Arc<ActorStats>,
    era: u64,
}

impl Handling {
    /// The message has been handled.
    pub fn finish(self, queued: Duration, handling: Duration) {
        let stats = &self.stats;
        stats.handled.fetch_add(1, Ordering::Relaxed);
        stats.queued_micros.fetch_add(queued.as_micros() as u64, Ordering::Relaxed);
        stats.handling_micros.fetch_add(handling.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let give_back = |waiting: u64| (waiting >> WAITING_BITS == self.era).then(|| waiting - 1);
        // an error says that it was written off
        let _ = self.stats.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give_back);
    }
}

/// All actors' numbers, and the last errors by path.
#[derive(Debug, Default)]
pub struct Board {
    actors: Mutex<BTreeMap<ActorName, Arc<ActorStats>>>,
    errors: Mutex<ErrorLog>,
}

#[derive(Debug, Default)]
struct ErrorLog {
    by_key: BTreeMap<String, DatedError>,
    order: VecDeque<String>,
}

impl Board {
    /// The numbers of the actor of this name, made at the first call.
    pub fn actor(&self, name: &str) -> Arc<ActorStats> {
        Arc::clone(self.actors.lock().entry(name.into()).or_default())
    }

    /// All actors by name.
    pub fn snapshot(&self) -> Vec<(ActorName, ActorSnapshot)> {
        self.actors.lock().iter().map(|(name, stats)| (Arc::clone(name), stats.snapshot())).collect()
    }

    /// Remembers the last error of an origin's path (`origin:escaped/path`).
    pub fn record_error(&self, key: String, text: impl Into<String>) {
        let mut errors = self.errors.lock();
        let dated = DatedError { text: text.into(), at: SystemTime::now() };
        if errors.by_key.insert(key.clone(), dated).is_none() {
            errors.order.push_back(key);
        }
        while errors.order.len() > MAX_REMEMBERED_ERRORS {
            if let Some(oldest) = errors.order.pop_front() {
                errors.by_key.remove(&oldest);
            }
        }
    }

    /// The last error under a key.
    pub fn last_error(&self, key: &str) -> Option<DatedError> {
        self.errors.lock().by_key.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(stats: &ActorStats) -> (u64, u64) {
        let now = stats.snapshot();
        (now.waiting, now.handled)
    }

    #[test]
    fn message_that_is_lost_waits_no_more_and_is_not_handled() {
        let stats = Arc::new(ActorStats::default());
        let (first, second) = (stats.begin(), stats.begin());
        assert_eq!(counts(&stats), (2, 0));
        drop(first);
        second.finish(Duration::ZERO, Duration::ZERO);
        assert_eq!(counts(&stats), (0, 1));
    }

    #[test]
    fn message_of_a_thread_that_was_given_up_is_not_counted_back() {
        let stats = Arc::new(ActorStats::default());
        let frozen = stats.begin();
        stats.write_off_waiting();
        let fresh = stats.begin();
        drop(frozen);
        assert_eq!(counts(&stats), (1, 0));
        drop(fresh);
        assert_eq!(counts(&stats), (0, 0));
    }
}
