//! `HealthTable`: how each origin is, as its probes say.
//!
//! `health_monitor` is the only writer; the router, `status` and the delta detector read. Reading takes a lock for the
//! length of a copy and never waits for a probe.

use std::collections::BTreeMap;
use std::time::SystemTime;

use musicfs_pure::ids::OriginId;
use parking_lot::RwLock;

/// How an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// The last probe succeeded.
    Up,
    /// The last probe failed.
    Down,
}

impl Health {
    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is known of an origin's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginHealth {
    /// How it is.
    pub health: Health,
    /// Since when.
    pub since: SystemTime,
    /// Failed probes in a row.
    pub num_failures: u32,
    /// Why the last probe failed, when it did.
    pub last_error: Option<String>,
}

/// Every origin's health.
#[derive(Debug, Default)]
pub struct HealthTable(RwLock<BTreeMap<OriginId, OriginHealth>>);

impl HealthTable {
    /// One origin's health; nothing before its first probe has ended.
    pub fn get(&self, origin: &OriginId) -> Option<OriginHealth> {
        self.0.read().get(origin).cloned()
    }

    /// Publishes an origin's health.
    pub fn publish(&self, origin: OriginId, health: OriginHealth) {
        self.0.write().insert(origin, health);
    }
}
