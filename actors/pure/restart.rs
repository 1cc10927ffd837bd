//! When a failed actor is started again, and when it is left alone.
//!
//! ```text
//!             failed: wait 100 ms, 200 ms, … 30 s          the sixth failure in a minute
//!  running ──────────────────────────────────► waiting ─────────────────────────────────► parked
//!     ▲                                           │
//!     └──────────── started again ◄───────────────┘   a minute without failure: the delay begins at 100 ms again
//! ```
//!
//! Parking ends a loop that would burn a core and fill a log; `musicfs status` says so. A tireless policy never parks: its
//! delays keep the loop slow, and whoever it is for cannot be done without. Time comes in as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The delay after the first failure: long enough that a crash loop is visible, too short for a listener to notice.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest delay: a broken origin is tried twice a minute.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Failures further apart than this are not a burst.
const QUIET: Duration = Duration::from_mins(1);

/// As many failures within [`QUIET`] are borne; one more parks the actor.
const MAX_FAILURES_IN_QUIET: usize = 5;

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Start again after this delay.
    RestartAfter(Duration),
    /// Leave it stopped and say so.
    Park,
}

/// The failures of one actor.
#[derive(Clone, Debug, Default)]
pub struct RestartPolicy {
    recent: VecDeque<Instant>,
    delay: Option<Duration>,
    is_tireless: bool,
}

impl RestartPolicy {
    /// A policy that never parks.
    pub fn tireless() -> Self {
        Self { is_tireless: true, ..Self::default() }
    }

    /// Notes a failure at `now` and answers what is done about it.
    pub fn failed(&mut self, now: Instant) -> Remedy {
        if self.recent.back().is_some_and(|&last| now.saturating_duration_since(last) >= QUIET) {
            self.delay = None;
        }
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|&first| now.saturating_duration_since(first) >= QUIET) {
            self.recent.pop_front();
        }
        if self.recent.len() > MAX_FAILURES_IN_QUIET && !self.is_tireless {
            return Remedy::Park;
        }
        let delay = self.delay.map_or(FIRST_DELAY, |delay| (delay * 2).min(MAX_DELAY));
        self.delay = Some(delay);
        Remedy::RestartAfter(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_a_burst_parks() {
        let mut policy = RestartPolicy::default();
        let start = Instant::now();
        let remedies: Vec<_> = (0..6).map(|second| policy.failed(start + Duration::from_secs(second))).collect();
        let waits = [100, 200, 400, 800, 1600].map(|ms| Remedy::RestartAfter(Duration::from_millis(ms)));
        assert_eq!(remedies[..5], waits);
        assert_eq!(remedies[5], Remedy::Park);
    }

    #[test]
    fn tireless_policy_waits_longer_and_longer_and_never_parks() {
        let mut policy = RestartPolicy::tireless();
        let now = Instant::now();
        let last = (0..100).map(|_| policy.failed(now)).last();
        assert_eq!(last, Some(Remedy::RestartAfter(MAX_DELAY)));
    }

    #[test]
    fn quiet_minute_resets_the_delay() {
        let mut policy = RestartPolicy::default();
        let start = Instant::now();
        policy.failed(start);
        policy.failed(start + Duration::from_secs(1));
        let later = policy.failed(start + Duration::from_secs(61));
        assert_eq!(later, Remedy::RestartAfter(FIRST_DELAY));
    }

    #[test]
    fn slow_failures_never_park_and_never_wait_longer_than_the_maximum() {
        let mut policy = RestartPolicy::default();
        let start = Instant::now();
        for count in 0..100 {
            let Remedy::RestartAfter(delay) = policy.failed(start + Duration::from_secs(20 * count)) else {
                panic!("parked");
            };
            assert!(delay <= MAX_DELAY);
        }
    }
}
