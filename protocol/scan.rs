//! `ScanTable`: how far each origin's scan has come.
//!
//! `delta_detector` is the only writer; `status`, `wait --for scanned`, progress displays and the ready gate read.

use std::collections::BTreeMap;

use musicfs_pure::ids::OriginId;
use parking_lot::RwLock;

/// How an origin's scan stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScanState {
    /// Not begun since the start of the daemon.
    #[default]
    Pending,
    /// Under way.
    Running,
    /// Listed to the end, tags read and handed to the catalog.
    Done,
    /// The listing failed; what was known stays.
    Failed {
        /// Why.
        reason: String,
    },
    /// The listing would remove so much that it is not believed; what was known stays.
    Quarantined {
        /// Why, and what to do.
        reason: String,
    },
}

impl ScanState {
    /// The word in outputs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Quarantined { .. } => "quarantined",
        }
    }

    /// Whether the first scan has come to an end, good or bad.
    pub const fn is_settled(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// A scan's state and figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanProgress {
    /// How it stands.
    pub state: ScanState,
    /// Files seen by the present or last listing.
    pub num_listed: u64,
    /// Files whose tags that scan read.
    pub num_tags_read: u64,
    /// Links that lead out of the root and are not shown.
    pub num_links_left_out: u64,
    /// Names that cannot be file names and are not shown.
    pub num_names_left_out: u64,
    /// Scans brought to an end since the start.
    pub num_finished: u64,
}

/// Every origin's scan.
#[derive(Debug, Default)]
pub struct ScanTable(RwLock<BTreeMap<OriginId, ScanProgress>>);

impl ScanTable {
    /// One origin's scan.
    pub fn get(&self, origin: &OriginId) -> ScanProgress {
        self.0.read().get(origin).cloned().unwrap_or_default()
    }

    /// Every origin that has been scanned, or is being.
    pub fn origins(&self) -> Vec<OriginId> {
        self.0.read().keys().cloned().collect()
    }

    /// Changes one origin's scan.
    pub fn update(&self, origin: &OriginId, change: impl FnOnce(&mut ScanProgress)) {
        change(self.0.write().entry(origin.clone()).or_default());
    }

    /// Whether the scans of all these origins have come to an end.
    pub fn all_settled<'a>(&self, mut origins: impl Iterator<Item = &'a OriginId>) -> bool {
        let table = self.0.read();
        origins.all(|origin| table.get(origin).is_some_and(|progress| progress.state.is_settled()))
    }
}
