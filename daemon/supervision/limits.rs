//! What the supervisor bears: how long an actor may keep silent, and how many threads may hang.
//!
//! The figures are the product's and no setting: whoever changes them trades a daemon that hangs for one that restarts for
//! no reason. Tests cannot wait for half a minute, so a failpoint shortens the limit where failpoints exist.

use std::time::Duration;

/// How long an actor may owe a heartbeat before its thread counts as frozen: longer than its longest handler (a catalog
/// batch, tenths of a second) by two orders of magnitude, and than any pause of a busy machine.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);

/// Heartbeats within the limit: a freeze is noticed at most a sixth of the limit late, for one message every 5 s.
const HEARTBEATS_IN_LIMIT: u32 = 6;

/// Threads that may hang at once: each holds memory and locks that nobody else gets.
const MAX_FROZEN_THREADS: usize = 3;

/// How long and how much is borne.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Silence that is a freeze.
    pub freeze: Duration,
    /// With so many frozen threads at once the daemon ends.
    pub frozen_threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { freeze: freeze_limit(), frozen_threads: MAX_FROZEN_THREADS }
    }
}

impl Limits {
    /// How often every actor is asked for a heartbeat.
    pub fn heartbeat_interval(&self) -> Duration {
        self.freeze / HEARTBEATS_IN_LIMIT
    }
}

fn freeze_limit() -> Duration {
    fail::fail_point!("supervisor::freeze_limit_ms", |limit| {
        limit.and_then(|limit| limit.parse().ok()).map_or(FREEZE_LIMIT, Duration::from_millis)
    });
    FREEZE_LIMIT
}
