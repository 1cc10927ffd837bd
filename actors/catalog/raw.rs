//! The raw view: every folder and file of an origin as it is there.
//!
//! Folders above a file that nobody has told of yet are made; whatever stands at a path in the way of something of
//! another kind is removed first. Removing a folder takes everything below it, part by part, so that a deleted library of
//! a million files costs no more memory than an album and blocks nobody for longer.

use musicfs_protocol::change::DeltaApplied;
use musicfs_protocol::fetch::Stat;
use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino, OriginPath};

use super::codec::damaged;
use super::departures::Departure;
use super::keys;
use super::rows::{EntryRow, FileRow, Role, Shown};
use super::shared::KnownOrigin;
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

/// The removal of a folder with everything below it, as far as it has come.
#[derive(Debug)]
pub(super) struct Removal {
    origin: u32,
    root: Ino,
    top: Ino,
    keeps_top: bool,
    departure: Departure,
    /// Folders on the way down, each with its last child that has been dealt with.
    stack: Vec<(Ino, Ino)>,
}

impl Removal {
    /// Of everything below the folder `top` of an origin whose raw view begins at `root`.
    pub(super) fn new(origin: u32, root: Ino, top: Ino, departure: Departure) -> Self {
        Self { origin, root, top, keeps_top: top == root, departure, stack: vec![(top, Ino(0))] }
    }

    pub(super) fn is_done(&self) -> bool {
        self.stack.is_empty()
    }
}

impl Writer {
    /// A folder exists at its origin, and has this mtime there.
    pub(super) fn put_raw_folder(
        &mut self,
        origin: &KnownOrigin,
        path: &OriginPath,
        stat: &Stat,
        applied: &mut DeltaApplied,
    ) -> Result<(), CatalogError> {
        let folder = self.raw_folder(origin, path, applied)?;
        self.set_folder_mtime(folder, Shown::folder(stat.version.mtime))?;
        self.set_real_path(origin, folder, path, stat.real_path.as_ref())
    }

    /// Notes where a linked folder really is.
    fn set_real_path(
        &mut self,
        origin: &KnownOrigin,
        folder: Ino,
        path: &OriginPath,
        real_path: Option<&OriginPath>,
    ) -> Result<(), CatalogError> {
        let entry = self.rows.entry(folder)?.ok_or_else(|| damaged(Family::Entries))?;
        let real_path = real_path.map(|path| path.as_bytes().to_vec());
        let role = Role::RawFolder { real_path: real_path.clone() };
        if entry.role == role {
            return Ok(());
        }
        if let Role::RawFolder { real_path: Some(before) } = &entry.role {
            self.rows.delete(Family::Links, &keys::link(origin.number, before, path.as_bytes()));
        }
        if let Some(real_path) = &real_path {
            self.rows.put_bytes(Family::Links, &keys::link(origin.number, real_path, path.as_bytes()), Vec::new());
        }
        self.rows.put(Family::Entries, &keys::number(folder.0), &EntryRow { parent: entry.parent, role })
    }

    /// The raw folder of a path, made with the folders above it where they are missing.
    pub(super) fn raw_folder(
        &mut self,
        origin: &KnownOrigin,
        path: &OriginPath,
        applied: &mut DeltaApplied,
    ) -> Result<Ino, CatalogError> {
        if let Some((number, last, ino)) = &self.last_folder
            && *number == origin.number
            && last == path
        {
            return Ok(*ino);
        }
        let mut folder = origin.root;
        for name in path.components() {
            folder = match self.rows.named_entry(folder, name)? {
                Some((ino, Role::RawFolder { .. })) => ino,
                Some((_, role)) => {
                    let file = role.file().ok_or_else(|| damaged(Family::Entries))?;
                    self.depart(origin.number, origin.root, file, Departure::Removed)?;
                    applied.removed += 1;
                    self.make_raw_folder(folder, name)?
                }
                None => self.make_raw_folder(folder, name)?,
            };
        }
        self.last_folder = Some((origin.number, path.clone(), folder));
        Ok(folder)
    }

    fn make_raw_folder(&mut self, parent: Ino, name: &[u8]) -> Result<Ino, CatalogError> {
        let ino = self.ids.ino(&self.shared.storage)?;
        self.show(ino, parent, name, &Role::RawFolder { real_path: None }, Shown::folder(self.now))?;
        Ok(ino)
    }

    /// What is in the raw view at a path.
    pub(super) fn raw_entry(
        &self,
        origin: &KnownOrigin,
        path: &OriginPath,
    ) -> Result<Option<(Ino, Role)>, CatalogError> {
        let mut at = (origin.root, Role::RawFolder { real_path: None });
        for name in path.components() {
            match self.rows.named_entry(at.0, name)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Removes a part of what is to be removed, some `max_entries`, and says how many files were among it.
    pub(super) fn remove_some(&mut self, removal: &mut Removal, max_entries: usize) -> Result<u64, CatalogError> {
        let Removal { origin, root, top, keeps_top, departure, .. } = *removal;
        let (mut num_files, mut num_entries) = (0, 0);
        while num_entries < max_entries
            && let Some((folder, after)) = removal.stack.pop()
        {
            let page = self.children_page(folder, after, max_entries - num_entries)?;
            if page.is_empty() && !(folder == top && keeps_top) {
                self.remove_raw_folder(origin, root, folder)?;
            }
            num_entries += page.len().max(1);
            let mut next = page.last().map(|last| (folder, *last));
            for child in page {
                if let Some(file) = self.file_of_raw(child)? {
                    self.depart(origin, root, file, departure)?;
                    num_files += 1;
                } else {
                    removal.stack.push((folder, child));
                    next = Some((child, Ino(0)));
                    break;
                }
            }
            removal.stack.extend(next);
        }
        Ok(num_files)
    }

    fn children_page(&self, folder: Ino, after: Ino, limit: usize) -> Result<Vec<Ino>, CatalogError> {
        let from = keys::child(folder, Ino(after.0.saturating_add(1)));
        let keys = self.rows.keys_under(Family::Children, &keys::number(folder.0), &from, limit)?;
        keys.iter().map(|key| keys::last_number(key).map(Ino).ok_or_else(|| damaged(Family::Children))).collect()
    }

    /// The file behind an entry of the raw view; nothing for a folder.
    fn file_of_raw(&self, ino: Ino) -> Result<Option<FileId>, CatalogError> {
        let entry = self.rows.entry(ino)?.ok_or_else(|| damaged(Family::Entries))?;
        Ok(entry.role.file())
    }

    /// Takes out a raw folder that is empty.
    fn remove_raw_folder(&mut self, origin: u32, root: Ino, folder: Ino) -> Result<(), CatalogError> {
        self.last_folder = None;
        let entry = self.rows.entry(folder)?.ok_or_else(|| damaged(Family::Entries))?;
        if let Role::RawFolder { real_path: Some(real_path) } = &entry.role {
            let path = self.rows.path_below(root, folder)?.ok_or_else(|| damaged(Family::Entries))?;
            self.rows.delete(Family::Links, &keys::link(origin, real_path, &path));
        }
        self.unlink(folder)?;
        Ok(())
    }

    /// The file ids that end the keys under a prefix, from the first that is not below `from`.
    pub(super) fn files_under(&self, family: Family, prefix: &[u8], from: &[u8]) -> Result<Vec<FileId>, CatalogError> {
        let mut files = Vec::new();
        self.rows.scan(family, prefix, from, &mut |key, _| {
            files.push(keys::last_number(key).map(FileId).ok_or_else(|| damaged(family)));
            true
        })?;
        files.into_iter().collect()
    }

    /// A file whose row must be there.
    pub(super) fn existing_file(&self, file: FileId) -> Result<FileRow, CatalogError> {
        self.rows.file(file)?.ok_or_else(|| damaged(Family::Files))
    }
}
