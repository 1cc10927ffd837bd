//! What is known of an origin's files: ids, versions, tags, and what a file looks like when it comes back.
//!
//! A file keeps its id through every change at its path, and through a move that the delta names. One that is removed
//! keeps its row for 30 days under a tombstone: if its path shows the very same version again within that time, it is the
//! same file, with the inode numbers that players remember. Nothing is written that does not differ from what is there,
//! so that a delta which is repeated changes nothing.

use musicfs_protocol::Happening;
use musicfs_protocol::change::{DeltaApplied, TagOutcome};
use musicfs_protocol::fetch::Stat;
use musicfs_protocol::library::{CatalogError, HeadHash};
use musicfs_pure::ids::{FileId, Ino, OriginPath};
use musicfs_pure::tags::{FileClass, TrackTags, classify};
use musicfs_pure::version::{Granularity, Timestamp, Version};

use super::departures::Departure;
use super::keys;
use super::places::Arrangement;
use super::rows::{DiskRevision, FileRow, Role, Shown, TagState, TombstoneRow};
use super::shared::KnownOrigin;
use super::tables::Rows;
use super::tag_rows::{DiskArt, TagsRow};
use super::writer::Writer;
use crate::storage::Family;

/// A file as its origin shows it now.
pub(super) struct SeenFile<'a> {
    pub(super) path: &'a OriginPath,
    pub(super) stat: &'a Stat,
    pub(super) keeps: Option<FileId>,
    pub(super) tags: TagOutcome,
}

/// A file as it was before a change.
struct Before {
    row: FileRow,
    path: Vec<u8>,
}

impl Before {
    fn is_live(&self) -> bool {
        self.row.gone.is_none()
    }
}

impl Writer {
    /// A file exists at its origin, is new or has a new version. `folder` is the raw folder of its path, `occupant` the
    /// file that is known there.
    pub(super) fn put_file(
        &mut self,
        origin: &KnownOrigin,
        seen: SeenFile<'_>,
        folder: Ino,
        occupant: Option<FileId>,
        applied: &mut DeltaApplied,
    ) -> Result<(), CatalogError> {
        let SeenFile { path, stat, keeps, tags } = seen;
        let name = path.file_name().unwrap_or_default();
        let known = self.choose_file(origin, path, &stat.version, keeps, occupant)?;
        if let Some(other) = occupant.filter(|other| known != Some(*other)) {
            self.depart(origin.number, origin.root, other, Departure::Removed)?;
            applied.removed += 1;
        }
        let before = known.map(|file| self.before(origin, file)).transpose()?;
        let (file, mut row) = match (known, &before) {
            (Some(file), Some(before)) => (file, before.row.clone()),
            _ => self.new_file(origin)?,
        };
        let has_new_version = self.take_stat(&mut row, folder, name, stat, before.is_some());
        let has_new_tags = self.take_tags(file, &mut row, before.as_ref().map(|before| &before.row), tags)?;
        let is_moved = before.as_ref().is_some_and(|before| before.path != path.as_bytes());
        let was_live = before.as_ref().is_some_and(Before::is_live);
        if was_live && before.as_ref().is_some_and(|before| before.row == row) && !has_new_tags {
            return Ok(());
        }
        let is_changed = was_live && !is_moved && (has_new_version || has_new_tags);
        applied.added += u64::from(!was_live && !is_moved);
        applied.moved += u64::from(is_moved);
        applied.modified += u64::from(is_changed);
        self.note_put(origin, path, before.as_ref(), is_changed);
        self.reindex(origin, file, path, before.as_ref(), &row)?;
        let live = before.filter(Before::is_live).map(|before| before.row);
        let is_placed_anew = live.is_none() || is_moved || has_new_tags;
        let arrangement = Arrangement { origin, file, path: path.as_bytes(), is_placed_anew };
        self.arrange(&arrangement, live.as_ref(), &mut row)?;
        self.rows.put(Family::Files, &keys::number(file.0), &row)
    }

    /// Has it published what a file that was put means, if it is news.
    fn note_put(&mut self, origin: &KnownOrigin, path: &OriginPath, before: Option<&Before>, is_changed: bool) {
        let (origin, path) = (origin.id.clone(), path.clone());
        let moved_from = before.filter(|before| before.path != path.as_bytes());
        let from = moved_from.and_then(|before| OriginPath::parse(&before.path).ok());
        let happening = match from {
            Some(from) => Happening::FileMoved { origin, path, from },
            None if before.is_none_or(|before| !before.is_live()) => Happening::FileAdded { origin, path },
            None if is_changed => Happening::FileChanged { origin, path },
            None => return,
        };
        self.pending.happenings.push(happening);
    }

    /// The known file that is at this path now: the one that the delta names, the one that is there, or the one whose
    /// tombstone shows the same version.
    fn choose_file(
        &mut self,
        origin: &KnownOrigin,
        path: &OriginPath,
        version: &Version,
        keeps: Option<FileId>,
        occupant: Option<FileId>,
    ) -> Result<Option<FileId>, CatalogError> {
        if let Some(file) = keeps
            && self.rows.file(file)?.is_some_and(|row| row.origin == origin.number)
        {
            return Ok(keeps);
        }
        if occupant.is_some() {
            return Ok(occupant);
        }
        let key = keys::tombstone(origin.number, path.as_bytes());
        let Some(tombstone) = self.rows.row::<TombstoneRow>(Family::Tombstones, &key)? else { return Ok(None) };
        if tombstone.is_expired(self.now) {
            self.forget_tombstone(&key, tombstone)?;
            return Ok(None);
        }
        let file = FileId(tombstone.file);
        let is_same = Version::from(self.existing_file(file)?.version) == *version;
        Ok(is_same.then_some(file))
    }

    fn before(&self, origin: &KnownOrigin, file: FileId) -> Result<Before, CatalogError> {
        let row = self.existing_file(file)?;
        let path = self.path_of_file(origin.root, &row)?;
        Ok(Before { row, path })
    }

    fn new_file(&mut self, origin: &KnownOrigin) -> Result<(FileId, FileRow), CatalogError> {
        let file = self.ids.file(&self.shared.storage)?;
        let raw_ino = self.ids.ino(&self.shared.storage)?;
        Ok((file, FileRow::new(origin.number, raw_ino)))
    }

    /// Takes over where a file is and what its origin says of it; says whether its content is another.
    fn take_stat(&self, row: &mut FileRow, folder: Ino, name: &[u8], stat: &Stat, is_known: bool) -> bool {
        let version = (&stat.version).into();
        let is_new = row.version != version;
        if is_new && is_known {
            row.revision = row.revision.next(self.shared.generation);
        }
        row.version = version;
        row.folder = folder.0;
        row.name = name.to_vec();
        row.ctime = stat.ctime.map(Into::into);
        row.mode = stat.mode;
        row.real_path = stat.real_path.as_ref().map(|path| path.as_bytes().to_vec());
        row.gone = None;
        is_new
    }

    /// Takes over what was read of a file's tags; says whether that is something new.
    fn take_tags(
        &mut self,
        file: FileId,
        row: &mut FileRow,
        old: Option<&FileRow>,
        outcome: TagOutcome,
    ) -> Result<bool, CatalogError> {
        match outcome {
            TagOutcome::Keep => {
                let state = kept_state(row, old);
                Ok(state != row.tags && self.set_tags(file, row, state, None)?)
            }
            TagOutcome::Unread => {
                row.tags_known = false;
                Ok(false)
            }
            TagOutcome::NotAudio => self.set_tags(file, row, TagState::NotAudio, None),
            TagOutcome::Malformed => self.set_tags(file, row, TagState::Malformed, None),
            TagOutcome::Read(tags) => self.set_tags(file, row, TagState::Read, Some(&tags)),
        }
    }

    fn set_tags(
        &mut self,
        file: FileId,
        row: &mut FileRow,
        state: TagState,
        tags: Option<&TrackTags>,
    ) -> Result<bool, CatalogError> {
        row.tags_known = state != TagState::Unread;
        if row.tags == state && (tags.is_none() || self.rows.tags(file, row.art)?.as_ref() == tags) {
            return Ok(false);
        }
        if row.tags != TagState::Unread {
            // Tags that differ prove that the content does, even where size and mtime were put back.
            row.revision = row.revision.next(self.shared.generation);
        }
        row.tags = state;
        row.art = tags.and_then(|tags| tags.art.as_ref()).map(DiskArt::from);
        match tags {
            Some(tags) => self.rows.put(Family::Tags, &keys::number(file.0), &TagsRow::from(tags))?,
            None => self.rows.delete(Family::Tags, &keys::number(file.0)),
        }
        Ok(true)
    }

    /// Brings everything that finds the file up to date: its raw entry, its looks, its links, its tombstone.
    fn reindex(
        &mut self,
        origin: &KnownOrigin,
        file: FileId,
        path: &OriginPath,
        before: Option<&Before>,
        row: &FileRow,
    ) -> Result<(), CatalogError> {
        let number = origin.number;
        let looks = |row: &FileRow| keys::identity(number, &row.version.clone().into(), file);
        let looked = before.map(|before| looks(&before.row));
        if looked.as_ref() != Some(&looks(row)) {
            if let Some(looked) = &looked {
                self.rows.delete(Family::Identities, looked);
            }
            self.rows.put_bytes(Family::Identities, &looks(row), Vec::new());
        }
        if let Some(before) = before {
            self.delete_link(number, &before.row, &before.path);
            if !before.is_live() {
                self.rows.delete(Family::Tombstones, &keys::tombstone(number, &before.path));
            }
        }
        if !before.is_some_and(Before::is_live) {
            self.pending.count_file(number, 1);
        }
        if let Some(real_path) = &row.real_path {
            self.rows.put_bytes(Family::Links, &keys::link(number, real_path, path.as_bytes()), Vec::new());
        }
        let role = Role::RawFile { file: file.0 };
        self.show(Ino(row.raw_ino), Ino(row.folder), &row.name, &role, Shown::file(row))
    }

    /// Remembers what the first bytes of a known file hash to, beside what it looks like. Another version of the file looks
    /// otherwise, so the hash goes with the version that it belongs to.
    pub(super) fn put_head(
        &mut self,
        origin: &KnownOrigin,
        path: &OriginPath,
        head: HeadHash,
    ) -> Result<(), CatalogError> {
        let file = self.raw_entry(origin, path)?.and_then(|(_, role)| role.file());
        if let Some(file) = file {
            let version = self.existing_file(file)?.version.into();
            self.rows.put_bytes(Family::Identities, &keys::identity(origin.number, &version, file), head.to_vec());
        }
        Ok(())
    }

    /// A file that is a link no longer is one, at this path.
    pub(super) fn delete_link(&mut self, origin: u32, row: &FileRow, path: &[u8]) {
        if let Some(real_path) = &row.real_path {
            self.rows.delete(Family::Links, &keys::link(origin, real_path, path));
        }
    }
}

/// What is known of a file whose content was not read again. Its name may have changed, and with it whether it is audio:
/// what the new name says is what a first scan would have found.
fn kept_state(row: &FileRow, old: Option<&FileRow>) -> TagState {
    let class = classify(&row.name);
    match old {
        Some(old) if classify(&old.name) == class => row.tags,
        _ if class == FileClass::Audio => TagState::Unread,
        _ => TagState::NotAudio,
    }
}

impl FileRow {
    /// A file of which nothing is known but its numbers.
    fn new(origin: u32, raw_ino: Ino) -> Self {
        let version =
            Version { size: 0, mtime: Timestamp::default(), granularity: Granularity::Nanos, ino: None, etag: None };
        Self {
            origin,
            folder: 0,
            name: Vec::new(),
            version: (&version).into(),
            ctime: None,
            mode: 0,
            real_path: None,
            tags: TagState::Unread,
            tags_known: false,
            art: None,
            raw_ino: raw_ino.0,
            track_ino: 0,
            place: None,
            revision: DiskRevision::default(),
            gone: None,
        }
    }
}
