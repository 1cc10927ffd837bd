//! Files that go, with a tombstone or for good, and tombstones that have become too old.
//!
//! A removed file leaves the tree at once. Its row, its tags and what it looks like stay for 30 days under (origin, path),
//! so that a disk that was away, or an editor that deletes and writes anew, costs no player its playlists. One path has
//! one tombstone: a later file that goes from there replaces it, and then nothing of the earlier one is kept.

use musicfs_protocol::Happening;
use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino, OriginPath};
use musicfs_pure::version::Timestamp;

use super::codec::damaged;
use super::keys;
use super::rows::{FileRow, Gone, TombstoneRow};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

/// How long a removed file's row is kept: long enough for a disk that was away for a holiday.
const TOMBSTONE_SECS: i64 = 30 * 24 * 60 * 60;

/// Whether a file that goes may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It leaves a tombstone.
    Removed,
    /// Nothing of it is kept.
    Forgotten,
}

impl TombstoneRow {
    /// Whether the file has been gone for too long to be the same when it returns.
    pub(super) fn is_expired(self, now: Timestamp) -> bool {
        now.secs.saturating_sub(self.at_secs) > TOMBSTONE_SECS
    }
}

impl Writer {
    /// The path of a file whose rows must be there.
    pub(super) fn path_of_file(&self, root: Ino, row: &FileRow) -> Result<Vec<u8>, CatalogError> {
        self.rows.file_path(root, row)?.ok_or_else(|| damaged(Family::Entries))
    }

    /// Takes a live file out of its origin's raw view and out of the library.
    pub(super) fn depart(
        &mut self,
        origin: u32,
        root: Ino,
        file: FileId,
        departure: Departure,
    ) -> Result<(), CatalogError> {
        let mut row = self.existing_file(file)?;
        let path = self.path_of_file(root, &row)?;
        self.unlink(Ino(row.raw_ino))?;
        self.withdraw(file, &mut row)?;
        self.delete_link(origin, &row, &path);
        self.pending.count_file(origin, -1);
        match departure {
            Departure::Forgotten => {
                self.forget(file, &row);
                Ok(())
            }
            Departure::Removed => {
                self.note_removed(origin, &path);
                self.bury(origin, file, row, path)
            }
        }
    }

    fn note_removed(&mut self, origin: u32, path: &[u8]) {
        // What a retired origin had is nobody's business any more.
        if let (Some(origin), Ok(path)) = (self.shared.origin_of(origin), OriginPath::parse(path)) {
            self.pending.happenings.push(Happening::FileRemoved { origin: origin.id.clone(), path });
        }
    }

    fn bury(&mut self, origin: u32, file: FileId, mut row: FileRow, path: Vec<u8>) -> Result<(), CatalogError> {
        let key = keys::tombstone(origin, &path);
        if let Some(earlier) = self.rows.row::<TombstoneRow>(Family::Tombstones, &key)? {
            self.forget_tombstone(&key, earlier)?;
        }
        let at_secs = self.now.secs;
        self.rows.put(Family::Tombstones, &key, &TombstoneRow { file: file.0, at_secs })?;
        row.gone = Some(Gone { at_secs, path });
        self.rows.put(Family::Files, &keys::number(file.0), &row)
    }

    /// Keeps nothing of a file that has left the tree.
    fn forget(&mut self, file: FileId, row: &FileRow) {
        self.rows.delete(Family::Files, &keys::number(file.0));
        self.rows.delete(Family::Tags, &keys::number(file.0));
        let version = row.version.clone().into();
        self.rows.delete(Family::Identities, &keys::identity(row.origin, &version, file));
    }

    /// Removes a tombstone and everything that it kept.
    pub(super) fn forget_tombstone(&mut self, key: &[u8], tombstone: TombstoneRow) -> Result<(), CatalogError> {
        let file = FileId(tombstone.file);
        let row = self.existing_file(file)?;
        self.forget(file, &row);
        self.rows.delete(Family::Tombstones, key);
        Ok(())
    }
}
