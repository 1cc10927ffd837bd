//! `WatchTable`: how each origin's changes are noticed.
//!
//! The watcher's keepers are the only writers; `status` and `origin list` read, so that an origin which is only polled is
//! not taken for one whose changes show at once. Reading takes a lock for the length of a copy.

use std::collections::BTreeMap;

use musicfs_pure::ids::OriginId;
use parking_lot::RwLock;

/// How an origin's changes are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// Not known yet.
    #[default]
    Starting,
    /// Not at all: there is no folder at the root.
    Absent,
    /// By events.
    Watched,
    /// By events, and by comparing because something can change without one.
    WatchedAndPolled,
    /// By comparing at every poll interval.
    Polled,
}

impl WatchMode {
    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Absent => "absent",
            Self::Watched => "events",
            Self::WatchedAndPolled => "events+polling",
            Self::Polled => "polling",
        }
    }

    /// Whether the origin is compared at every poll interval.
    pub const fn polls(self) -> bool {
        matches!(self, Self::WatchedAndPolled | Self::Polled)
    }
}

/// How an origin is watched, and why not better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginWatch {
    /// How its changes are noticed.
    pub mode: WatchMode,
    /// Why it is not watched, and what to do.
    pub problem: Option<String>,
}

/// Every origin's watch.
#[derive(Debug, Default)]
pub struct WatchTable(RwLock<BTreeMap<OriginId, OriginWatch>>);

impl WatchTable {
    /// One origin's watch.
    pub fn get(&self, origin: &OriginId) -> OriginWatch {
        self.0.read().get(origin).cloned().unwrap_or_default()
    }

    /// Publishes an origin's watch; answers the mode before.
    pub fn publish(&self, origin: &OriginId, watch: OriginWatch) -> WatchMode {
        self.0.write().insert(origin.clone(), watch).unwrap_or_default().mode
    }
}
