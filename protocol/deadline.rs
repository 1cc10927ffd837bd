//! `Deadline`: when a request stops being worth answering.
//!
//! It is an instant of the monotonic clock, set once where the request enters the daemon and passed on unchanged, so that
//! retries and queues share one budget instead of adding up their own.

use std::time::{Duration, Instant};

/// An instant after which nobody waits for the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `limit` from `now`.
    pub fn after(now: Instant, limit: Duration) -> Self {
        Self(now + limit)
    }

    /// What is left at `now`; zero when it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether it has passed at `now`.
    pub fn has_passed(self, now: Instant) -> bool {
        now >= self.0
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }
}
