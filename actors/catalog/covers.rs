//! Covers made from embedded art, for albums that have none beside their tracks.
//!
//! A library folder shows one made cover while it has a track with embedded art, no cover sidecar is shown in it, and
//! nothing else has the cover's name. It comes from the track with the lowest file id, and its inode number stays as long
//! as that file provides it; when the file's content or the picture's place in it changes, its revision does.

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};

use super::codec::damaged;
use super::keys::{self, AlbumRole, WantClass};
use super::rows::{DiskRevision, FileRow, Role, Shown};
use super::tables::Rows;
use super::tag_rows::DiskArt;
use super::writer::Writer;
use crate::storage::Family;

/// The key of a folder's made cover in `albums` has no file.
const NO_FILE: FileId = FileId(0);

impl Writer {
    /// Makes, changes or removes the made cover of a folder.
    pub(super) fn settle_cover(&mut self, folder: Ino) -> Result<(), CatalogError> {
        let made = self.made_cover(folder)?;
        let Some((file, art)) = self.cover_to_make(folder, made)? else { return self.remove_made_cover(folder) };
        let row = self.existing_file(file)?;
        let kept = match made {
            Some(ino) => self.kept_cover(folder, ino, file, art, &row)?,
            None => None,
        };
        let (ino, revision) = if let Some(kept) = kept {
            kept
        } else {
            self.remove_made_cover(folder)?;
            (self.ids.ino(&self.shared.storage)?, DiskRevision::default())
        };
        let role = Role::Art { file: file.0, art, made_from: row.revision };
        let shown = Shown { size: art.len, revision, ..Shown::file(&row) };
        self.rows.put_number(Family::Albums, &keys::album(folder, AlbumRole::Made, NO_FILE), ino.0);
        self.show(ino, folder, art.file_name(), &role, shown)
    }

    fn made_cover(&self, folder: Ino) -> Result<Option<Ino>, CatalogError> {
        Ok(self.rows.number(Family::Albums, &keys::album(folder, AlbumRole::Made, NO_FILE))?.map(Ino))
    }

    /// The track and picture that a cover is to be made of; nothing when none is wanted.
    fn cover_to_make(&self, folder: Ino, made: Option<Ino>) -> Result<Option<(FileId, DiskArt)>, CatalogError> {
        let candidates = keys::album_role(folder, AlbumRole::Art);
        let first = self.rows.keys_under(Family::Albums, &candidates, &candidates, 1)?;
        let Some(key) = first.first() else { return Ok(None) };
        let file = keys::last_number(key).map(FileId).ok_or_else(|| damaged(Family::Albums))?;
        let art = self.existing_file(file)?.art.ok_or_else(|| damaged(Family::Albums))?;
        let holder = self.rows.ino_of(folder, art.file_name())?;
        let is_free = holder.is_none() || holder == made;
        let is_wanted = is_free && !self.shows_cover_sidecar(folder)?;
        Ok(is_wanted.then_some((file, art)))
    }

    fn shows_cover_sidecar(&self, folder: Ino) -> Result<bool, CatalogError> {
        let covers = keys::album_role(folder, AlbumRole::Cover);
        let mut wishes = Vec::new();
        self.rows.scan(Family::Albums, &covers, &covers, &mut |key, wanted| {
            wishes.extend(keys::last_number(key).map(|file| (FileId(file), wanted.to_vec())));
            true
        })?;
        for (file, wanted) in wishes {
            let key = keys::want(folder, &wanted, WantClass::Sidecar, file);
            if self.rows.number(Family::Wants, &key)?.is_some_and(|ino| ino != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The made cover that stays, with its revision: one that comes from the same file.
    fn kept_cover(
        &self,
        folder: Ino,
        ino: Ino,
        file: FileId,
        art: DiskArt,
        row: &FileRow,
    ) -> Result<Option<(Ino, DiskRevision)>, CatalogError> {
        let entry = self.rows.entry(ino)?.ok_or_else(|| damaged(Family::Entries))?;
        let shown = self.rows.shown(folder, ino)?.ok_or_else(|| damaged(Family::Children))?;
        let Role::Art { file: from, art: before, made_from } = entry.role else {
            return Err(damaged(Family::Entries));
        };
        let is_same = before == art && made_from == row.revision;
        let revision = if is_same { shown.revision } else { shown.revision.next(self.shared.generation) };
        Ok((from == file.0).then_some((ino, revision)))
    }

    /// Removes the made cover of a folder, if it has one; whether it is to come back is decided again.
    pub(super) fn remove_made_cover(&mut self, folder: Ino) -> Result<(), CatalogError> {
        if let Some(ino) = self.made_cover(folder)? {
            self.unlink(ino)?;
            self.rows.delete(Family::Albums, &keys::album(folder, AlbumRole::Made, NO_FILE));
        }
        Ok(())
    }
}
