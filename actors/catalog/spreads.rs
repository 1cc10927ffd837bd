//! Which albums show a sidecar: all that have a track out of its source folder, unless that folder is crowded.
//!
//! A folder of one or a few albums belongs to them, with all that is in it. A flat folder of thousands of albums with
//! thousands of lyrics is another thing: to show each with each would cost their product, and beside every album stand
//! ten thousand files that have nothing to do with it. Such a folder is *crowded* ([`Crowding`]). There a sidecar goes
//! with the tracks whose name it has (`Song.lrc` with `Song.flac`), and one that is named like none is in the raw view only.
//!
//! A row for each source folder counts its albums and sidecars, and a row for each sidecar says which albums it is spread
//! over, so what must change is the difference of two lists. Changes only mark; spreading is the first step of settling,
//! when every file's row is what it will be. What a change costs is bounded: an uncrowded folder has few pairs, and in a
//! crowded one only files of one name are looked at.

use std::collections::BTreeSet;

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::naming::{sanitize_component, split_extension};
use musicfs_pure::tags::{FileClass, classify, is_cover_sidecar};

use super::codec::{damaged, decode, decode_u64};
use super::keys::{self, AlbumRole, WantClass};
use super::rows::{CrowdRow, SpreadRow};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

/// When a source folder is crowded: with more albums than one is likely to keep together, and more entries than are worth
/// having.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowding {
    /// So many albums may share all sidecars of a folder, however many these are.
    pub max_albums: u64,
    /// Beyond that, so many entries of sidecars may come of one folder.
    pub max_shown: u64,
}

impl Default for Crowding {
    /// A box set in one folder has a handful of albums. 4,096 entries are some 20 ms of work when a folder becomes crowded
    /// or ceases to be, which happens in one batch.
    fn default() -> Self {
        Self { max_albums: 8, max_shown: 4096 }
    }
}

impl Crowding {
    /// Whether a folder with so many albums and sidecars is crowded.
    pub(super) fn is_crowded(self, row: CrowdRow) -> bool {
        row.albums > self.max_albums && row.albums.saturating_mul(row.sidecars) > self.max_shown
    }
}

impl Writer {
    /// A folder has an album or a sidecar more or less. Called before the rows that are counted change.
    pub(super) fn count_in_crowd(&mut self, raw: Ino, albums: i64, sidecars: i64) -> Result<(), CatalogError> {
        let before = self.crowd(raw)?;
        self.write_spreads(raw)?;
        let after = CrowdRow {
            albums: before.albums.saturating_add_signed(albums),
            sidecars: before.sidecars.saturating_add_signed(sidecars),
        };
        if after == CrowdRow::default() {
            self.rows.delete(Family::Sources, &keys::crowd(raw));
        } else {
            self.rows.put(Family::Sources, &keys::crowd(raw), &after)?;
        }
        let crowding = self.shared.crowding;
        let (was_crowded, is_crowded) = (crowding.is_crowded(before), crowding.is_crowded(after));
        if was_crowded != is_crowded || (albums != 0 && !is_crowded) {
            self.pending.mark_sources(raw, after.sidecars);
        }
        Ok(())
    }

    /// The albums and sidecars of a source folder. They are counted where that was never done.
    fn crowd(&self, raw: Ino) -> Result<CrowdRow, CatalogError> {
        if let Some(row) = self.rows.row(Family::Sources, &keys::crowd(raw))? {
            return Ok(row);
        }
        let (albums, sidecars) = (self.albums_of(raw)?.len() as u64, self.sidecars_in(raw)?.len() as u64);
        Ok(CrowdRow { albums, sidecars })
    }

    /// Writes down where the sidecars of a folder are, where that was never done: from here on it may be something else.
    fn write_spreads(&mut self, raw: Ino) -> Result<(), CatalogError> {
        if self.rows.row::<CrowdRow>(Family::Sources, &keys::crowd(raw))?.is_some() {
            return Ok(());
        }
        for file in self.sidecars_in(raw)? {
            let albums = self.spread_of(raw, file)?.unwrap_or_default();
            let row = SpreadRow { albums: albums.into_iter().map(|library| library.0).collect() };
            self.rows.put(Family::Sources, &keys::sidecar(raw, file), &row)?;
        }
        Ok(())
    }

    /// A track comes under this name, or goes: in a crowded folder, sidecars go with it.
    pub(super) fn mark_namesakes(&mut self, raw: Ino, name: &[u8]) -> Result<(), CatalogError> {
        if !self.shared.crowding.is_crowded(self.crowd(raw)?) {
            return Ok(());
        }
        for (ino, name) in self.namesakes(raw, name)? {
            if classify(&name) == FileClass::Sidecar
                && let Some(file) = self.rows.entry(ino)?.and_then(|entry| entry.role.file())
            {
                self.pending.sidecars.insert((raw, file));
            }
        }
        Ok(())
    }

    /// The entries of a raw folder whose names differ from this one in the extension only.
    fn namesakes(&self, raw: Ino, name: &[u8]) -> Result<Vec<(Ino, Vec<u8>)>, CatalogError> {
        let (stem, _) = split_extension(name);
        let prefix = keys::name(raw, &[stem, b"."].concat());
        let mut found = Vec::new();
        self.rows.scan(Family::Names, &prefix, &prefix, &mut |key, value| {
            let name = &key[keys::name(raw, b"").len()..];
            if split_extension(name).0 == stem {
                found.push(decode_u64(Family::Names, value).map(|ino| (Ino(ino), name.to_vec())));
            }
            true
        })?;
        found.into_iter().collect()
    }

    /// A sidecar is in a source folder from now on.
    pub(super) fn add_sidecar(&mut self, raw: Ino, file: FileId) -> Result<(), CatalogError> {
        self.count_in_crowd(raw, 0, 1)?;
        self.rows.put(Family::Sources, &keys::sidecar(raw, file), &SpreadRow::default())?;
        self.pending.sidecars.insert((raw, file));
        Ok(())
    }

    /// A sidecar leaves its source folder, where it had this name.
    pub(super) fn remove_sidecar(&mut self, raw: Ino, file: FileId, name: &[u8]) -> Result<(), CatalogError> {
        for library in self.spread_of(raw, file)?.unwrap_or_default() {
            self.unwant_sidecar(library, file, name)?;
        }
        self.count_in_crowd(raw, 0, -1)?;
        self.rows.delete(Family::Sources, &keys::sidecar(raw, file));
        Ok(())
    }

    /// The albums that a sidecar is spread over; nothing when it is no sidecar of this folder.
    pub(super) fn spread_of(&self, raw: Ino, file: FileId) -> Result<Option<BTreeSet<Ino>>, CatalogError> {
        let row = self.rows.read(Family::Sources, &keys::sidecar(raw, file), |bytes| match bytes {
            // before there were crowded folders every sidecar was in every album of its folder, and no list was kept
            [] => Ok(None),
            bytes => decode::<SpreadRow>(Family::Sources, bytes).map(Some),
        })?;
        match row.transpose()? {
            None => Ok(None),
            Some(None) => Ok(Some(self.albums_of(raw)?)),
            Some(Some(row)) => Ok(Some(row.albums.into_iter().map(Ino).collect())),
        }
    }

    /// Spreads what is marked.
    pub(super) fn settle_spreads(&mut self) -> Result<(), CatalogError> {
        for raw in std::mem::take(&mut self.pending.sources) {
            for file in self.sidecars_in(raw)? {
                self.pending.sidecars.insert((raw, file));
            }
        }
        let mut all: Option<(Ino, Option<BTreeSet<Ino>>)> = None;
        for (raw, file) in std::mem::take(&mut self.pending.sidecars) {
            if all.as_ref().is_none_or(|(of, _)| *of != raw) {
                let is_crowded = self.shared.crowding.is_crowded(self.crowd(raw)?);
                all = Some((raw, if is_crowded { None } else { Some(self.albums_of(raw)?) }));
            }
            let albums = all.as_ref().and_then(|(_, albums)| albums.as_ref());
            self.spread(raw, file, albums)?;
        }
        self.pending.num_to_spread = 0;
        Ok(())
    }

    /// Brings one sidecar to these albums, or where there are none given, to those of its namesakes.
    fn spread(&mut self, raw: Ino, file: FileId, albums: Option<&BTreeSet<Ino>>) -> Result<(), CatalogError> {
        let Some(before) = self.spread_of(raw, file)? else { return Ok(()) };
        let name = self.existing_file(file)?.name;
        let after = albums.map_or_else(|| self.albums_of_namesakes(raw, &name), |albums| Ok(albums.clone()))?;
        for library in before.difference(&after) {
            self.unwant_sidecar(*library, file, &name)?;
        }
        for library in after.difference(&before) {
            self.want_sidecar(*library, file, &name);
        }
        if before != after {
            let row = SpreadRow { albums: after.into_iter().map(|library| library.0).collect() };
            self.rows.put(Family::Sources, &keys::sidecar(raw, file), &row)?;
        }
        Ok(())
    }

    fn albums_of_namesakes(&self, raw: Ino, name: &[u8]) -> Result<BTreeSet<Ino>, CatalogError> {
        let mut albums = BTreeSet::new();
        for (ino, _) in self.namesakes(raw, name)? {
            let file = self.rows.entry(ino)?.and_then(|entry| entry.role.file());
            let row = file.map(|file| self.existing_file(file)).transpose()?;
            albums.extend(row.and_then(|row| row.place).map(|place| Ino(place.folder)));
        }
        Ok(albums)
    }

    /// The library folders that have a track out of this source folder.
    fn albums_of(&self, raw: Ino) -> Result<BTreeSet<Ino>, CatalogError> {
        let mut albums = Vec::new();
        self.rows.scan(Family::Sources, &keys::number(raw.0), &keys::source(raw, Ino::ROOT), &mut |key, _| {
            albums.push(keys::number_at(key, 8).map(Ino).ok_or_else(|| damaged(Family::Sources)));
            true
        })?;
        albums.into_iter().collect()
    }

    /// The files that are sidecars in a raw folder.
    fn sidecars_in(&self, raw: Ino) -> Result<Vec<FileId>, CatalogError> {
        self.files_under(Family::Sources, &keys::sidecars(raw), &keys::sidecar(raw, FileId(1)))
    }

    fn want_sidecar(&mut self, library: Ino, file: FileId, name: &[u8]) {
        let wanted = sanitize_component(name);
        self.rows.put_number(Family::Wants, &keys::want(library, &wanted, WantClass::Sidecar, file), 0);
        self.pending.mark_name(library, &wanted);
        if is_cover_sidecar(name) {
            self.rows.put_bytes(Family::Albums, &keys::album(library, AlbumRole::Cover, file), wanted);
            self.pending.covers.insert(library);
        }
    }

    fn unwant_sidecar(&mut self, library: Ino, file: FileId, name: &[u8]) -> Result<(), CatalogError> {
        let wanted = sanitize_component(name);
        let key = keys::want(library, &wanted, WantClass::Sidecar, file);
        if let Some(ino) = self.rows.number(Family::Wants, &key)?
            && ino != 0
        {
            self.unlink(Ino(ino))?;
        }
        self.rows.delete(Family::Wants, &key);
        self.pending.mark_name(library, &wanted);
        if is_cover_sidecar(name) {
            self.rows.delete(Family::Albums, &keys::album(library, AlbumRole::Cover, file));
            self.pending.covers.insert(library);
        }
        Ok(())
    }
}
