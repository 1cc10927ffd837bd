//! `Writer`: applies deltas to the catalog, one batch after another. The only writer there is.
//!
//! A change first alters what is known of its file (`files`, `raw`), then where the file wants to be (`places`), and marks
//! what may look different because of it. Before a batch is committed the marks are settled (`spreads`, `spelling`,
//! `groups`, `covers`, `folders`): sidecars are brought to their albums, folders spelled, names given out, covers made,
//! empty folders removed. So every batch is consistent in itself, and what the library looks like depends on the files
//! alone, not on the order in which they came.
//!
//! Without actix, threads or a clock: `now` is an argument. After an error the batch is forgotten; what was committed
//! before it stays, and the delta may be repeated.

use std::collections::VecDeque;
use std::sync::Arc;

use musicfs_protocol::Happening;
use musicfs_protocol::change::{Change, DeltaApplied};
use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{Ino, OriginId, OriginPath};
use musicfs_pure::version::Timestamp;

use super::codec::damaged;
use super::departures::Departure;
use super::files::SeenFile;
use super::id_blocks::Ids;
use super::keys;
use super::overlay::Overlay;
use super::pending::{Pending, TouchedName};
use super::raw::Removal;
use super::rows::{CountsRow, OriginRow, Role};
use super::shared::{CatalogShared, KnownOrigin};
use super::tables::Rows;
use crate::storage::Family;

/// Staged rows after which a batch is settled and committed: about half a megabyte, some 20 ms of work. Sidecars that wait
/// to be spread count as rows. One change may stage more, when a source folder's many sidecars come or go with it.
const MAX_STAGED_ROWS: usize = 2000;

/// Entries of a removed folder that are taken out before the size of the batch is looked at again.
const REMOVED_AT_ONCE: usize = 128;

/// Changes that are being made, batch by batch. Others may be made in between; they see whole batches.
#[derive(Debug)]
pub struct DeltaInProgress {
    origin: KnownOrigin,
    changes: VecDeque<Change>,
    /// A removed folder that is not empty yet; it goes before the changes that are left.
    removal: Option<Removal>,
    applied: DeltaApplied,
    /// A later start relies on it: the end of a listing, and what is withheld.
    must_be_durable: bool,
}

impl DeltaInProgress {
    /// What has been done so far.
    pub fn applied(&self) -> DeltaApplied {
        self.applied
    }

    fn remove(&mut self, folder: Ino) {
        self.removal = Some(Removal::new(self.origin.number, self.origin.root, folder, Departure::Removed));
    }
}

/// The state between batches and in the making of one.
pub struct Writer {
    pub(super) shared: Arc<CatalogShared>,
    pub(super) rows: Overlay,
    pub(super) ids: Ids,
    pub(super) pending: Pending,
    pub(super) now: Timestamp,
    /// Which writer this is; only the youngest may commit.
    number: u64,
    /// The raw folder that the last change was in: a listing goes through a folder file by file.
    pub(super) last_folder: Option<(u32, OriginPath, Ino)>,
    /// Where the search for old tombstones goes on; nothing when it has been through.
    pub(super) tombstone_cursor: Option<Vec<u8>>,
    /// The purge of a retired origin's raw view, as far as it has come.
    pub(super) purge: Option<(u32, Removal)>,
}

impl Writer {
    /// A writer over the open catalog. It knows nothing that is not on disk, so one that replaces another goes on where
    /// the last batch ended.
    pub fn new(shared: Arc<CatalogShared>) -> Self {
        let rows = Overlay::new(Arc::clone(&shared.storage));
        let number = {
            let mut youngest = shared.youngest_writer.lock();
            *youngest += 1;
            *youngest
        };
        Self {
            shared,
            rows,
            ids: Ids::new(),
            pending: Pending::default(),
            now: Timestamp::default(),
            number,
            last_folder: None,
            tombstone_cursor: Some(Vec::new()),
            purge: None,
        }
    }

    /// Makes changes to an origin's files, all of them at once.
    pub fn apply(
        &mut self,
        origin: &OriginId,
        changes: Vec<Change>,
        now: Timestamp,
    ) -> Result<DeltaApplied, CatalogError> {
        let mut delta = self.begin(origin, changes)?;
        while !self.advance(&mut delta, now)? {}
        Ok(delta.applied)
    }

    /// Takes up changes to an origin's files. Repeating them changes nothing.
    pub fn begin(&mut self, origin: &OriginId, changes: Vec<Change>) -> Result<DeltaInProgress, CatalogError> {
        let origin = self.shared.origin(origin)?.clone();
        Ok(DeltaInProgress {
            origin,
            changes: changes.into(),
            removal: None,
            applied: DeltaApplied::default(),
            must_be_durable: false,
        })
    }

    /// Makes and commits a batch of the changes; says whether all have been made. After an error the delta is to be
    /// given up: the batches before it stay made.
    pub fn advance(&mut self, delta: &mut DeltaInProgress, now: Timestamp) -> Result<bool, CatalogError> {
        self.transact(now, |writer| {
            while writer.rows.len() + writer.pending.num_to_spread < MAX_STAGED_ROWS {
                if let Some(removal) = &mut delta.removal {
                    delta.applied.removed += writer.remove_some(removal, REMOVED_AT_ONCE)?;
                    delta.removal.take_if(|removal| removal.is_done());
                } else if let Some(change) = delta.changes.pop_front() {
                    writer.make(delta, change)?;
                } else {
                    fail::fail_point!("catalog::before_last_commit", |_| std::process::abort());
                    writer.commit(delta.must_be_durable)?;
                    fail::fail_point!("catalog::after_last_commit", |_| std::process::abort());
                    return Ok(true);
                }
            }
            writer.commit(false)?;
            Ok(false)
        })
    }

    /// The names whose entries changed in what was committed since the last call, by this writer or one before it. None
    /// when another has taken over: what it is about to commit is not to be announced yet.
    pub fn take_touched(&mut self) -> Vec<TouchedName> {
        let youngest = self.shared.youngest_writer.lock();
        if *youngest == self.number { std::mem::take(&mut *self.shared.unannounced.lock()) } else { Vec::new() }
    }

    /// What happened to files in what was committed since the last call, by this writer or one before it.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut *self.shared.unpublished.lock())
    }

    /// Runs changes from a clean state and leaves one behind.
    pub(super) fn transact<T>(
        &mut self,
        now: Timestamp,
        changes: impl FnOnce(&mut Self) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        self.now = now;
        let result = changes(self);
        self.rows.discard();
        self.pending = Pending::default();
        self.last_folder = None;
        result
    }

    fn make(&mut self, delta: &mut DeltaInProgress, change: Change) -> Result<(), CatalogError> {
        let DeltaInProgress { origin, applied, .. } = delta;
        match change {
            Change::Folder { path, stat } => self.put_raw_folder(origin, &path, &stat, applied),
            Change::File { path, stat, keeps, tags } => {
                // The root of an origin is a folder, whatever an origin says.
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
                let folder = self.raw_folder(origin, &parent, applied)?;
                let occupant = self.rows.named_entry(folder, name)?;
                if let Some((ino, Role::RawFolder { .. })) = occupant {
                    delta.remove(ino);
                    delta.changes.push_front(Change::File { path, stat, keeps, tags });
                    return Ok(());
                }
                let occupant = occupant.and_then(|(_, role)| role.file());
                self.put_file(origin, SeenFile { path: &path, stat: &stat, keeps, tags }, folder, occupant, applied)
            }
            Change::Removed { path } => {
                match self.raw_entry(origin, &path)? {
                    Some((ino, Role::RawFolder { .. })) => delta.remove(ino),
                    Some((_, role)) => self.remove_file(delta, &role)?,
                    None => {}
                }
                Ok(())
            }
            Change::Head { path, head } => self.put_head(origin, &path, head),
            Change::ListingComplete { root, mounts } => {
                let mut row = self.origin_row(origin.number)?;
                row.listed = Some(root.into());
                self.rows.put(Family::Meta, &keys::origin_key(origin.number), &row)?;
                self.guard_mounts(origin.number, &mounts)?;
                delta.must_be_durable = true;
                Ok(())
            }
            Change::Withheld { paths } => {
                self.withhold(origin.number, &paths)?;
                delta.must_be_durable = true;
                Ok(())
            }
        }
    }

    fn remove_file(&mut self, delta: &mut DeltaInProgress, role: &Role) -> Result<(), CatalogError> {
        let file = role.file().ok_or_else(|| damaged(Family::Entries))?;
        self.depart(delta.origin.number, delta.origin.root, file, Departure::Removed)?;
        delta.applied.removed += 1;
        Ok(())
    }

    pub(super) fn origin_row(&self, number: u32) -> Result<OriginRow, CatalogError> {
        self.rows.row(Family::Meta, &keys::origin_key(number))?.ok_or_else(|| damaged(Family::Meta))
    }

    /// Settles what is marked and commits it.
    pub(super) fn commit(&mut self, sync: bool) -> Result<(), CatalogError> {
        self.settle()?;
        self.stamp_folders()?;
        self.write_counts()?;
        fail::fail_point!("catalog::settled");
        {
            // A writer whose thread froze and woke again finds a younger one here, and must not write what it had staged.
            let youngest = self.shared.youngest_writer.lock();
            if *youngest != self.number {
                return Err(CatalogError::Database { reason: "another writer has taken over".to_owned() });
            }
            self.shared.unannounced.lock().extend(std::mem::take(&mut self.pending.touched));
            fail::fail_point!("catalog::before_commit", |_| std::process::abort());
            self.rows.commit(sync)?;
            fail::fail_point!("catalog::after_commit", |_| std::process::abort());
            self.shared.unpublished.lock().append(&mut self.pending.happenings);
        }
        self.pending.dirty_files.clear();
        Ok(())
    }

    /// Spreads sidecars, then looks at marks until none is left: an emptied folder frees a name in the folder above it, and
    /// so on upwards.
    fn settle(&mut self) -> Result<(), CatalogError> {
        self.settle_spreads()?;
        loop {
            let spellings = std::mem::take(&mut self.pending.spellings);
            spellings.into_iter().try_for_each(|folder| self.settle_spelling(folder))?;
            let groups = std::mem::take(&mut self.pending.groups);
            let had_groups = !groups.is_empty();
            self.settle_groups(&groups)?;
            let covers = std::mem::take(&mut self.pending.covers);
            let folders = std::mem::take(&mut self.pending.maybe_empty);
            if !had_groups && covers.is_empty() && folders.is_empty() {
                return Ok(());
            }
            covers.into_iter().try_for_each(|folder| self.settle_cover(folder))?;
            folders.into_iter().try_for_each(|folder| self.remove_if_empty(folder))?;
        }
    }

    fn write_counts(&mut self) -> Result<(), CatalogError> {
        let files_delta = std::mem::take(&mut self.pending.files_delta);
        let tracks_delta = std::mem::take(&mut self.pending.tracks_delta);
        let all_files: i64 = files_delta.values().sum();
        for (origin, delta) in files_delta {
            if delta != 0 {
                let mut row = self.origin_row(origin)?;
                row.num_files = row.num_files.saturating_add_signed(delta);
                self.rows.put(Family::Meta, &keys::origin_key(origin), &row)?;
            }
        }
        if all_files != 0 || tracks_delta != 0 {
            let mut counts: CountsRow = self.rows.row(Family::Meta, keys::COUNTS)?.unwrap_or_default();
            counts.num_files = counts.num_files.saturating_add_signed(all_files);
            counts.num_tracks = counts.num_tracks.saturating_add_signed(tracks_delta);
            self.rows.put(Family::Meta, keys::COUNTS, &counts)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer(generation {})", self.shared.generation)
    }
}
