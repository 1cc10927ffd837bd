//! The library's folders: made when something is placed in them, removed with the last thing that was shown in them.
//!
//! A folder has its name natively and goes before files, so whatever stands there under that name gives way and is named
//! anew. Making and removing one frees or takes a name in the folder above, which is marked like any other wish.

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::Ino;

use super::codec::damaged;
use super::keys;
use super::rows::{Role, Shown};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

impl Writer {
    /// The library folder at the end of these names, made with those above it where they are missing.
    pub(super) fn library_folder(&mut self, names: &[Vec<u8>]) -> Result<Ino, CatalogError> {
        let mut folder = Ino::ROOT;
        for name in names {
            folder = match self.merged_folder(folder, name)? {
                Some(ino) => ino,
                None => self.folder_named(folder, name)?,
            };
        }
        Ok(folder)
    }

    /// The folder of exactly this name, made where it is missing.
    fn folder_named(&mut self, parent: Ino, name: &[u8]) -> Result<Ino, CatalogError> {
        let ino = match self.rows.named_entry(parent, name)? {
            Some((ino, Role::Folder)) => ino,
            Some((ino, role)) => {
                self.give_way(parent, ino, &role)?;
                self.make_library_folder(parent, name)?
            }
            None => self.make_library_folder(parent, name)?,
        };
        self.remember_folded(parent, name, ino);
        Ok(ino)
    }

    fn make_library_folder(&mut self, parent: Ino, name: &[u8]) -> Result<Ino, CatalogError> {
        let ino = self.ids.ino(&self.shared.storage)?;
        self.show(ino, parent, name, &Role::Folder, Shown::folder(self.now))?;
        self.pending.mark_name(parent, name);
        // what it was made for may be moved on by a later change of the same batch, before it was ever put in
        self.pending.maybe_empty.insert(ino);
        Ok(ino)
    }

    /// Takes out what has the name that a folder is about to get; its group is settled again.
    pub(super) fn give_way(&mut self, folder: Ino, ino: Ino, role: &Role) -> Result<(), CatalogError> {
        if matches!(role, Role::Art { .. }) {
            return self.remove_made_cover(folder);
        }
        let file = role.file().ok_or_else(|| damaged(Family::Entries))?;
        self.unlink(ino)?;
        if let Some(place) = self.existing_file(file)?.place {
            self.pending.mark_name(Ino(place.folder), &place.wanted);
        }
        Ok(())
    }

    /// Removes a library folder in which nothing is shown.
    pub(super) fn remove_if_empty(&mut self, folder: Ino) -> Result<(), CatalogError> {
        let is_fixed = folder < Ino::FIRST_FREE;
        let is_library_folder = self.rows.entry(folder)?.is_some_and(|entry| entry.role == Role::Folder);
        if is_fixed || !is_library_folder || self.rows.any_under(Family::Children, &keys::number(folder.0))? {
            return Ok(());
        }
        if let Some((parent, name)) = self.unlink(folder)? {
            self.forget_folded(parent, &name, folder)?;
            self.pending.mark_name(parent, &name);
        }
        Ok(())
    }
}
