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
    /// A message was accepted.
    pub fn begin(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A message that was accepted before has been handled.
    pub fn finish(&self, queued: Duration, handling: Duration) {
        // A restart sets the count to 0 while a message of the dead actor may still end on a pool.
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| waiting.checked_sub(1));
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.queued_micros.fetch_add(queued.as_micros() as u64, Ordering::Relaxed);
        self.handling_micros.fetch_add(handling.as_micros() as u64, Ordering::Relaxed);
    }

    /// Something failed.
    pub fn fail(&self, text: impl Into<String>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock() = Some(DatedError { text: text.into(), at: SystemTime::now() });
    }

    /// The actor runs, or does not.
    pub fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
        if running {
            // what the one before had accepted died with it
            self.waiting.store(0, Ordering::Relaxed);
        }
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
            waiting: self.waiting.load(Ordering::Relaxed),
            queued: Duration::from_micros(self.queued_micros.load(Ordering::Relaxed)),
            handling: Duration::from_micros(self.handling_micros.load(Ordering::Relaxed)),
            restarts: self.restarts.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            last_error: self.last_error.lock().clone(),
        }
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
