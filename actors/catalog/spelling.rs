//! Folders that differ in upper and lower case only, made one: what `case_insensitive` asks for.
//!
//! A folder is then found by its *folded* name and shown in the spelling of the lowest file id that is somewhere below it.
//! So its name depends on the files alone, not on the order in which they came, and it stays while files are added,
//! because theirs are higher. Each track has a row with its spelling in every folder above it; a folder that is spelled
//! anew keeps its inode number. Files are not merged: two in one folder whose names differ in case stay two.
//!
//! When the setting changes, tracks are placed anew one after another (`maintenance`), and until that is done folders of
//! both kinds stand beside each other. One from before may hold the spelling that another should have: that one waits
//! until the former is empty and gone. Where folders are not merged, there are no rows of either role.

use std::collections::BTreeMap;

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::naming::fold_case;
use musicfs_pure::template::MAX_FOLDERS;

use super::codec::damaged;
use super::keys::{self, AlbumRole};
use super::rows::{Place, Role};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

impl Writer {
    /// The folder that is this one but for its case; nothing where folders are not merged.
    pub(super) fn merged_folder(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>, CatalogError> {
        if !self.shared.layout().case_insensitive {
            return Ok(None);
        }
        Ok(self.rows.number(Family::Albums, &keys::folded(parent, &fold_case(name)))?.map(Ino))
    }

    /// From now on the folder is found whatever the case of the name.
    pub(super) fn remember_folded(&mut self, parent: Ino, name: &[u8], folder: Ino) {
        if self.shared.layout().case_insensitive {
            self.rows.put_number(Family::Albums, &keys::folded(parent, &fold_case(name)), folder.0);
        }
    }

    /// A folder is no longer found by its folded name. If another is, it may have the spelling now that this one had.
    pub(super) fn forget_folded(&mut self, parent: Ino, name: &[u8], folder: Ino) -> Result<(), CatalogError> {
        let key = keys::folded(parent, &fold_case(name));
        match self.rows.number(Family::Albums, &key)?.map(Ino) {
            Some(found) if found == folder => self.rows.delete(Family::Albums, &key),
            Some(other) => {
                self.pending.spellings.insert(other);
            }
            None => {}
        }
        Ok(())
    }

    /// Moves a track's spelling of the folders above it along with its place. `to` is the place and the folders as the
    /// template writes them, from the root down.
    pub(super) fn move_spelling(
        &mut self,
        file: FileId,
        from: Option<&Place>,
        to: Option<(&Place, &[Vec<u8>])>,
    ) -> Result<(), CatalogError> {
        let mut spellings: BTreeMap<Ino, Option<&[u8]>> = BTreeMap::new();
        if let Some(place) = from
            && self.has_spelling(Ino(place.folder), file)?
        {
            spellings.extend(self.folders_above(place)?.into_iter().map(|folder| (folder, None)));
        }
        if let Some((place, folders)) = to
            && self.shared.layout().case_insensitive
        {
            let names = folders.iter().rev().map(|name| Some(name.as_slice()));
            spellings.extend(self.folders_above(place)?.into_iter().zip(names));
        }
        for (folder, spelling) in spellings {
            self.spell(folder, file, spelling)?;
        }
        Ok(())
    }

    /// Whether a track has its spelling in the folder that it is in; then it has one in every folder above, too.
    fn has_spelling(&self, folder: Ino, file: FileId) -> Result<bool, CatalogError> {
        let key = keys::album(folder, AlbumRole::Spelling, file);
        Ok(self.rows.read(Family::Albums, &key, |_| ())?.is_some())
    }

    /// The folders from a place up to the root, which is left out.
    fn folders_above(&self, place: &Place) -> Result<Vec<Ino>, CatalogError> {
        let mut folders = Vec::new();
        let mut at = Ino(place.folder);
        while at != Ino::ROOT {
            folders.push(at);
            let entry = self.rows.entry(at)?.filter(|_| folders.len() <= MAX_FOLDERS);
            at = entry.ok_or_else(|| damaged(Family::Entries))?.parent();
        }
        Ok(folders)
    }

    fn spell(&mut self, folder: Ino, file: FileId, spelling: Option<&[u8]>) -> Result<(), CatalogError> {
        let key = keys::album(folder, AlbumRole::Spelling, file);
        if self.rows.read(Family::Albums, &key, <[u8]>::to_vec)?.as_deref() == spelling {
            return Ok(());
        }
        match spelling {
            Some(spelling) => self.rows.put_bytes(Family::Albums, &key, spelling.to_vec()),
            None => self.rows.delete(Family::Albums, &key),
        }
        if !self.shared.layout().case_insensitive
            && let Some((parent, name)) = self.linked_at(folder)?
        {
            self.forget_folded(parent, &name, folder)?;
        }
        self.pending.spellings.insert(folder);
        Ok(())
    }

    /// Shows a folder in the spelling of the lowest file id below it.
    pub(super) fn settle_spelling(&mut self, folder: Ino) -> Result<(), CatalogError> {
        let Some((parent, name)) = self.linked_at(folder)? else { return Ok(()) };
        let Some(spelling) = self.rows.spelling_of(folder)?.filter(|_| self.shared.layout().case_insensitive) else {
            return Ok(());
        };
        if name == spelling {
            return Ok(());
        }
        match self.rows.named_entry(parent, &spelling)? {
            // from before folders were merged; once it has gone, this is asked again
            Some((_, Role::Folder)) => return Ok(()),
            Some((ino, role)) => self.give_way(parent, ino, &role)?,
            None => {}
        }
        let shown = self.rows.shown(parent, folder)?.ok_or_else(|| damaged(Family::Children))?;
        self.show(folder, parent, &spelling, &Role::Folder, shown)?;
        self.pending.mark_name(parent, &name);
        self.pending.mark_name(parent, &spelling);
        Ok(())
    }
}
