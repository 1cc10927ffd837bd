//! Putting entries into folders and taking them out: the three rows of an entry change together or not at all.
//!
//! An entry is *linked* when it has its row in `entries` (where it is), in `names` (by name) and in `children` (in the
//! listing). Every change of them is noted for the kernel, and every change of a folder's membership for its mtime.

use musicfs_protocol::change::FOLDER_ITSELF;
use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::Ino;

use super::codec::damaged;
use super::keys;
use super::rows::{ChildRow, EntryRow, Role, Shown};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

impl Writer {
    /// Links an entry under a name that is free, or changes what it shows there. An entry that is linked elsewhere is
    /// taken out there first.
    pub(super) fn show(
        &mut self,
        ino: Ino,
        folder: Ino,
        name: &[u8],
        role: &Role,
        shown: Shown,
    ) -> Result<(), CatalogError> {
        let entry = self.rows.entry(ino)?;
        if let Some(entry) = &entry
            && (entry.parent() != folder || self.rows.name_of(folder, ino)?.as_deref() != Some(name))
        {
            self.unlink(ino)?;
        } else if let Some(entry) = entry {
            return self.refresh(ino, name, &entry, role, shown);
        }
        if self.rows.ino_of(folder, name)?.is_some() {
            // Naming gives every name once, so somebody's rows are not what was written.
            return Err(damaged(Family::Names));
        }
        self.rows.put_number(Family::Names, &keys::name(folder, name), ino.0);
        self.put_entry(ino, folder, role)?;
        self.put_child(folder, ino, name, shown)?;
        self.note_membership(folder, name);
        Ok(())
    }

    /// The entry stays where it is; only what differs is written and announced.
    fn refresh(
        &mut self,
        ino: Ino,
        name: &[u8],
        entry: &EntryRow,
        role: &Role,
        shown: Shown,
    ) -> Result<(), CatalogError> {
        let folder = entry.parent();
        if entry.role != *role {
            self.put_entry(ino, folder, role)?;
        }
        if self.rows.shown(folder, ino)? != Some(shown) {
            self.put_child(folder, ino, name, shown)?;
            self.note_attributes(ino, folder, name, &shown);
        }
        Ok(())
    }

    /// A file's name leads to a fresh node; a folder stays where it is, because whoever stands in it must not lose it.
    fn note_attributes(&mut self, ino: Ino, folder: Ino, name: &[u8], shown: &Shown) {
        let key = if shown.is_folder { (ino, FOLDER_ITSELF.into()) } else { (folder, name.into()) };
        self.pending.touched.insert(key);
    }

    fn put_entry(&mut self, ino: Ino, folder: Ino, role: &Role) -> Result<(), CatalogError> {
        let entry = EntryRow { parent: folder.0, role: role.clone() };
        self.rows.put(Family::Entries, &keys::number(ino.0), &entry)
    }

    fn put_child(&mut self, folder: Ino, ino: Ino, name: &[u8], shown: Shown) -> Result<(), CatalogError> {
        self.rows.put(Family::Children, &keys::child(folder, ino), &ChildRow { shown, name })
    }

    fn note_membership(&mut self, folder: Ino, name: &[u8]) {
        self.pending.touched.insert((folder, name.into()));
        self.pending.changed_folders.insert(folder);
    }

    /// Takes an entry out of its folder and gives back where it was; nothing when it is in none.
    pub(super) fn unlink(&mut self, ino: Ino) -> Result<Option<(Ino, Vec<u8>)>, CatalogError> {
        let Some(entry) = self.rows.entry(ino)? else { return Ok(None) };
        let folder = entry.parent();
        let name = self.rows.name_of(folder, ino)?.ok_or_else(|| damaged(Family::Children))?;
        self.rows.delete(Family::Entries, &keys::number(ino.0));
        self.rows.delete(Family::Names, &keys::name(folder, &name));
        self.rows.delete(Family::Children, &keys::child(folder, ino));
        self.note_membership(folder, &name);
        self.pending.maybe_empty.insert(folder);
        Ok(Some((folder, name)))
    }

    /// Where an entry is linked.
    pub(super) fn linked_at(&self, ino: Ino) -> Result<Option<(Ino, Vec<u8>)>, CatalogError> {
        let Some(entry) = self.rows.entry(ino)? else { return Ok(None) };
        let name = self.rows.name_of(entry.parent(), ino)?.ok_or_else(|| damaged(Family::Children))?;
        Ok(Some((entry.parent(), name)))
    }

    /// Gives the folders whose membership changed the time of it, apart from those of an origin, which says theirs.
    pub(super) fn stamp_folders(&mut self) -> Result<(), CatalogError> {
        for folder in std::mem::take(&mut self.pending.changed_folders) {
            let entry = self.rows.entry(folder)?;
            let is_told =
                |entry: &EntryRow| matches!(entry.role, Role::RawFolder { .. }) && entry.parent() != Ino::ORIGINS;
            if !entry.as_ref().is_some_and(is_told) {
                self.set_folder_mtime(folder, Shown::folder(self.now))?;
            }
        }
        Ok(())
    }

    /// Changes what a folder shows; a folder that is gone has nothing to change.
    pub(super) fn set_folder_mtime(&mut self, folder: Ino, shown: Shown) -> Result<(), CatalogError> {
        let Some(entry) = self.rows.entry(folder)? else { return Ok(()) };
        let parent = entry.parent();
        if self.rows.shown(parent, folder)? == Some(shown) {
            return Ok(());
        }
        let name = self.rows.name_of(parent, folder)?.ok_or_else(|| damaged(Family::Children))?;
        self.put_child(parent, folder, &name, shown)?;
        self.note_attributes(folder, parent, &name, &shown);
        Ok(())
    }
}
