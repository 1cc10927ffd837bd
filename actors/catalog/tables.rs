//! `Rows`: typed reading of the tables, the same for the committed catalog and for a batch in the making.
//!
//! The reader looks at [`Storage`], the writer at its [`Overlay`](super::overlay::Overlay); what a row means is said here
//! once. `read` decodes a row where it lies, so that a lookup on a FUSE thread allocates nothing. A row that is missing is
//! `None`: between two reads the writer may have committed, and only the caller knows whether that is an error.

use std::sync::Arc;

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::tags::TrackTags;
use serde::de::DeserializeOwned;

use super::codec::{damaged, decode, decode_u64};
use super::keys::{self, AlbumRole};
use super::rows::{ChildRow, EntryRow, FileRow, Role, Shown};
use super::tag_rows::{DiskArt, TagsRow};
use crate::storage::{Family, Storage, VisitRow};

/// The most folders that a walk towards the root passes: an origin's path has at most 2,048 components, and a walk that
/// is longer goes round in a circle of damaged rows.
const MAX_DEPTH: usize = 4096;

/// Reading rows.
pub(super) trait Rows {
    /// What `decode` makes of a row's bytes.
    fn read<T>(&self, family: Family, key: &[u8], decode: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, CatalogError>;

    /// Visits the rows whose keys begin with `prefix`, in order, from the first that is not below `from`.
    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), CatalogError>;

    /// A row that owns what it holds.
    fn row<T: DeserializeOwned>(&self, family: Family, key: &[u8]) -> Result<Option<T>, CatalogError> {
        self.read(family, key, |bytes| decode(family, bytes))?.transpose()
    }

    /// A row that is one number.
    fn number(&self, family: Family, key: &[u8]) -> Result<Option<u64>, CatalogError> {
        self.read(family, key, |bytes| decode_u64(family, bytes))?.transpose()
    }

    /// Where an entry is and what it stands for.
    fn entry(&self, ino: Ino) -> Result<Option<EntryRow>, CatalogError> {
        self.row(Family::Entries, &keys::number(ino.0))
    }

    /// The entry of this name in a folder.
    fn ino_of(&self, folder: Ino, name: &[u8]) -> Result<Option<Ino>, CatalogError> {
        Ok(self.number(Family::Names, &keys::name(folder, name))?.map(Ino))
    }

    /// What an entry of a folder shows.
    fn shown(&self, folder: Ino, ino: Ino) -> Result<Option<Shown>, CatalogError> {
        let key = keys::child(folder, ino);
        let row = self.read(Family::Children, &key, |bytes| {
            decode::<ChildRow<'_>>(Family::Children, bytes).map(|row| row.shown)
        })?;
        row.transpose()
    }

    /// An entry's name in its folder.
    fn name_of(&self, folder: Ino, ino: Ino) -> Result<Option<Vec<u8>>, CatalogError> {
        let key = keys::child(folder, ino);
        let row = self.read(Family::Children, &key, |bytes| {
            decode::<ChildRow<'_>>(Family::Children, bytes).map(|row| row.name.to_vec())
        })?;
        row.transpose()
    }

    /// The entry of this name in a folder, with what it stands for.
    fn named_entry(&self, folder: Ino, name: &[u8]) -> Result<Option<(Ino, Role)>, CatalogError> {
        let Some(ino) = self.ino_of(folder, name)? else { return Ok(None) };
        Ok(self.entry(ino)?.map(|entry| (ino, entry.role)))
    }

    /// A file, live or tombstoned.
    fn file(&self, file: FileId) -> Result<Option<FileRow>, CatalogError> {
        self.row(Family::Files, &keys::number(file.0))
    }

    /// A file's tags, where they were read.
    fn tags(&self, file: FileId, art: Option<DiskArt>) -> Result<Option<TrackTags>, CatalogError> {
        let row: Option<TagsRow> = self.row(Family::Tags, &keys::number(file.0))?;
        row.map(|row| row.into_tags(art)).transpose()
    }

    /// The way from `top` down to `folder`, as a path; nothing when `folder` is not below it any more.
    fn path_below(&self, top: Ino, folder: Ino) -> Result<Option<Vec<u8>>, CatalogError> {
        let mut names = Vec::new();
        let mut at = folder;
        while at != top {
            let Some(entry) = self.entry(at)? else { return Ok(None) };
            let Some(name) = self.name_of(entry.parent(), at)? else { return Ok(None) };
            names.push(name);
            at = entry.parent();
            if names.len() > MAX_DEPTH {
                return Err(damaged(Family::Entries));
            }
        }
        names.reverse();
        Ok(Some(names.join(&b'/')))
    }

    /// The path of a file at its origin, whose raw view begins at `root`.
    fn file_path(&self, root: Ino, row: &FileRow) -> Result<Option<Vec<u8>>, CatalogError> {
        if let Some(gone) = &row.gone {
            return Ok(Some(gone.path.clone()));
        }
        let folder = self.path_below(root, Ino(row.folder))?;
        Ok(folder.map(|folder| join(folder, &row.name)))
    }

    /// The keys under a prefix, at most `limit` of them.
    fn keys_under(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, CatalogError> {
        let mut keys = Vec::new();
        self.scan(family, prefix, from, &mut |key, _| {
            keys.push(key.to_vec());
            keys.len() < limit
        })?;
        Ok(keys)
    }

    /// How the lowest file id below a folder writes its name; nothing where folders are not merged.
    fn spelling_of(&self, folder: Ino) -> Result<Option<Vec<u8>>, CatalogError> {
        let spellings = keys::album_role(folder, AlbumRole::Spelling);
        let mut first = None;
        self.scan(Family::Albums, &spellings, &spellings, &mut |_, spelling| {
            first = Some(spelling.to_vec());
            false
        })?;
        Ok(first)
    }

    /// Whether any key begins with the prefix.
    fn any_under(&self, family: Family, prefix: &[u8]) -> Result<bool, CatalogError> {
        let mut any = false;
        self.scan(family, prefix, prefix, &mut |_, _| {
            any = true;
            false
        })?;
        Ok(any)
    }
}

/// A path and one name more.
pub(super) fn join(mut folder: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !folder.is_empty() {
        folder.push(b'/');
    }
    folder.extend_from_slice(name);
    folder
}

impl Rows for Storage {
    fn read<T>(&self, family: Family, key: &[u8], decode: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, CatalogError> {
        Ok(Self::read(self, family, key, decode)?)
    }

    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), CatalogError> {
        Ok(Self::scan(self, family, prefix, from, visit)?)
    }
}

impl<R: Rows> Rows for Arc<R> {
    fn read<T>(&self, family: Family, key: &[u8], decode: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, CatalogError> {
        Rows::read(&**self, family, key, decode)
    }

    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), CatalogError> {
        Rows::scan(&**self, family, prefix, from, visit)
    }
}
