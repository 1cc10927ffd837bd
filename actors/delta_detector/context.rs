//! What one job has at hand: an origin's ports, the catalog, and the calls on them with their limits.
//!
//! Every call on an origin gets a deadline here (30 s, the cap of background work), so that no job can hang on a dead
//! origin, and every failure is told apart: may it pass by itself, or does it need the origin, or a person?

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use musicfs_protocol::change::{Change, DeltaApplied, MAX_CHANGES};
use musicfs_protocol::fetch::ListCursor;
use musicfs_protocol::scan::ScanProgress;
use musicfs_protocol::{
    ApplyDelta, CatalogError, Deadline, FetchError, Happening, ListOrigin, ListPage, PortError, Probe, ReadCatalog,
    RescanOrigin, RootIdentity, Stat, StatPath, WorkToken,
};
use musicfs_pure::ids::{OriginId, OriginPath};

use super::{DeltaDetectorConfig, OriginPorts};

/// The limit of one background call.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Why a job did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScanError {
    /// The origin did not give what was asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The catalog did not take the changes, or could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// An actor on the way is down.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A part of the origin could not be listed; what is known of it stays.
    #[error("{num_folders} folders could not be listed, the first is `{first}`: {error}")]
    Incomplete { num_folders: u64, first: OriginPath, error: FetchError },
    /// The root was replaced while it was being listed.
    #[error("the origin's root changed while it was being listed")]
    RootChanged,
    /// The listing lacks so much that it is not believed.
    #[error("{reason}")]
    Quarantined { reason: String },
}

impl ScanError {
    /// Whether trying again soon can help by itself.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Port(_) | Self::RootChanged => true,
            Self::Fetch(error) => matches!(error, FetchError::Busy | FetchError::Timeout | FetchError::Io { .. }),
            // A folder that fails for good, like one on a bad sector, must not keep everyone busy.
            Self::Incomplete { error, .. } => matches!(error, FetchError::Busy | FetchError::Timeout),
            Self::Catalog(error) => *error == CatalogError::TooLate,
            Self::Quarantined { .. } => false,
        }
    }
}

/// The device number is left out: it changes when a disk is attached again.
pub(super) fn is_other_root(before: RootIdentity, now: RootIdentity) -> bool {
    (before.fs_type, before.ino) != (now.fs_type, now.ino)
}

/// One origin, with everything a job needs.
pub(super) struct OriginContext {
    pub(super) origin: OriginId,
    pub(super) ports: OriginPorts,
    config: Rc<DeltaDetectorConfig>,
    /// What the present job has changed so far.
    changes: Cell<DeltaApplied>,
}

impl OriginContext {
    pub(super) fn new(origin: OriginId, ports: OriginPorts, config: Rc<DeltaDetectorConfig>) -> Self {
        Self { origin, ports, config, changes: Cell::default() }
    }

    pub(super) fn catalog(&self) -> &dyn ReadCatalog {
        self.config.catalog.as_ref()
    }

    /// Whether changes have been seen that have not settled.
    pub(super) fn is_settling(&self) -> bool {
        (self.config.is_settling)()
    }

    /// Has the whole origin compared when it has links: what a link shows can come and go with a path that is far away
    /// from it, and only following them all again tells.
    pub(super) fn rescan_if_linked(&self, work: &WorkToken) -> Result<(), ScanError> {
        let left_out = self.config.scans.get(&self.origin).num_links_left_out;
        if left_out > 0 || self.catalog().origin_summary(&self.origin)?.has_links {
            self.rescan(work);
        }
        Ok(())
    }

    /// Has the whole origin compared when something is seen again whose absence was not believed: a listing decides what
    /// is still missing.
    pub(super) fn rescan_if_withheld(&self, seen: &[OriginPath], work: &WorkToken) -> Result<(), ScanError> {
        let withheld = self.catalog().origin_summary(&self.origin)?.withheld;
        if withheld.iter().any(|folder| seen.iter().any(|path| path.is_within(folder))) {
            self.rescan(work);
        }
        Ok(())
    }

    pub(super) fn rescan(&self, work: &WorkToken) {
        let rescan = RescanOrigin { accept_removals: false, work: work.clone() };
        self.config.rescans.push(self.origin.clone(), rescan);
    }

    /// Says what has happened.
    pub(super) fn publish(&self, what: Happening) {
        self.config.events.publish(what);
    }

    /// What was changed since this was asked last.
    pub(super) fn take_changes(&self) -> DeltaApplied {
        self.changes.take()
    }

    /// Publishes a change of this origin's progress.
    pub(super) fn progress(&self, change: impl FnOnce(&mut ScanProgress)) {
        self.config.scans.update(&self.origin, change);
    }

    pub(super) fn deadline() -> Deadline {
        Deadline::after(Instant::now(), CALL_LIMIT)
    }

    /// The attributes of a path.
    pub(super) async fn stat(&self, path: &OriginPath) -> Result<Stat, ScanError> {
        let deadline = Self::deadline();
        let make = || StatPath { origin: self.origin.clone(), path: path.clone(), deadline };
        Ok(self.ports.stat.request(deadline, make).await??)
    }

    /// Whether the origin's root is another folder than the one that was last listed as a whole: an unmounted disk leaves
    /// an empty folder in which everything is definitely not found.
    pub(super) async fn root_changed(&self) -> Result<bool, ScanError> {
        let Some(listed) = self.catalog().origin_summary(&self.origin)?.listed_root else { return Ok(false) };
        let deadline = Self::deadline();
        let now = self.ports.probe.request(deadline, || Probe { deadline }).await??;
        Ok(is_other_root(listed, now))
    }

    /// The next page of a recursive listing.
    pub(super) async fn list(&self, folder: &OriginPath, cursor: Option<ListCursor>) -> Result<ListPage, ScanError> {
        self.list_page(folder, true, cursor).await
    }

    /// What is in one folder.
    pub(super) async fn list_folder(&self, folder: &OriginPath) -> Result<ListPage, ScanError> {
        self.list_page(folder, false, None).await
    }

    async fn list_page(
        &self,
        folder: &OriginPath,
        recursive: bool,
        cursor: Option<ListCursor>,
    ) -> Result<ListPage, ScanError> {
        let deadline = Self::deadline();
        let make = || ListOrigin {
            origin: self.origin.clone(),
            folder: folder.clone(),
            recursive,
            cursor: cursor.clone(),
            deadline,
        };
        Ok(self.ports.list.request(deadline, make).await??)
    }

    /// Hands changes to the catalog in batches that it can take at once.
    pub(super) async fn apply(&self, changes: Vec<Change>, work: &WorkToken) -> Result<DeltaApplied, ScanError> {
        let mut total = DeltaApplied::default();
        for batch in changes.chunks(MAX_CHANGES) {
            let deadline = Self::deadline();
            let make =
                || ApplyDelta { origin: self.origin.clone(), changes: batch.to_vec(), work: work.clone(), deadline };
            let applied = self.config.apply.request(deadline, make).await??;
            total += applied;
            self.changes.set(self.changes.get() + applied);
        }
        Ok(total)
    }
}
