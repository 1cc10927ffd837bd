//! `self_check`: whether all tables say the same.
//!
//! Two tables hold what is known (`files`, `entries`); all others are ways to find it. So every row that should exist is
//! derived from those two the slow and obvious way and compared with what is there, and every entry with the file behind
//! it. For tests and after faults: it reads the whole catalog into memory, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::naming::{fold_case, sanitize_component, split_extension};
use musicfs_pure::tags::is_cover_sidecar;

use super::codec::{damaged, decode, encode};
use super::keys::{self, AlbumRole, WantClass};
use super::places::is_sidecar;
use super::rows::{CountsRow, CrowdRow, EntryRow, FileRow, Role, Shown, SpreadRow, TagState, TemplateRow};
use super::shared::{CatalogShared, NOWHERE, origin_rows};
use super::spreads::Crowding;
use super::tables::Rows;
use crate::storage::{Family, Storage};

/// Rows that a table should have; without a value, any will do.
type Expected = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Tables that can be derived.
const DERIVED: [Family; 9] = [
    Family::Names,
    Family::Children,
    Family::Tags,
    Family::Wants,
    Family::Albums,
    Family::Sources,
    Family::Identities,
    Family::Tombstones,
    Family::Links,
];

impl CatalogShared {
    /// Everything in which the tables disagree; nothing when all is well. Must not run beside a writer.
    pub fn self_check(&self) -> Result<Vec<String>, CatalogError> {
        self_check(&self.storage, self.layout().case_insensitive, self.crowding)
    }
}

/// The same for a state folder that nobody has open: no origin is settled and no template compared, as opening the catalog
/// would. `case_insensitive` and `crowding` are what its last daemon was configured with.
pub fn self_check(storage: &Storage, case_insensitive: bool, crowding: Crowding) -> Result<Vec<String>, CatalogError> {
    let mut check = Check {
        storage,
        merging: merging(storage, case_insensitive)?,
        roots: origin_rows(storage)?.into_iter().map(|(number, row)| (number, Ino(row.root))).collect(),
        files: all(storage, Family::Files)?,
        entries: all(storage, Family::Entries)?,
        expected: BTreeMap::new(),
        problems: Vec::new(),
    };
    check.derive_from_entries()?;
    check.derive_from_files()?;
    check.derive_sidecars(crowding)?;
    check.derive_merging()?;
    check.compare_tables()?;
    check.compare_counts()?;
    Ok(check.problems)
}

fn merging(storage: &Storage, case_insensitive: bool) -> Result<Merging, CatalogError> {
    let template: Option<TemplateRow> = storage.row(Family::Meta, keys::TEMPLATE)?;
    let is_under_way = template.is_some_and(|template| template.replace_from.is_some());
    Ok(match (is_under_way, case_insensitive) {
        (true, _) => Merging::UnderWay,
        (false, true) => Merging::On,
        (false, false) => Merging::Off,
    })
}

/// Whether folders that differ in case only are one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merging {
    On,
    Off,
    /// Some are and some are not: tracks are being placed anew.
    UnderWay,
}

/// All rows of a table whose keys are numbers.
fn all<T: serde::de::DeserializeOwned>(storage: &Storage, family: Family) -> Result<BTreeMap<u64, T>, CatalogError> {
    let mut rows = Vec::new();
    Rows::scan(storage, family, b"", b"", &mut |key, row| {
        let number = keys::last_number(key).ok_or_else(|| damaged(family));
        rows.push(number.and_then(|number| Ok((number, decode(family, row)?))));
        true
    })?;
    rows.into_iter().collect()
}

struct Check<'a> {
    storage: &'a Storage,
    merging: Merging,
    roots: BTreeMap<u32, Ino>,
    files: BTreeMap<u64, FileRow>,
    entries: BTreeMap<u64, EntryRow>,
    expected: BTreeMap<Family, Expected>,
    problems: Vec<String>,
}

impl Check<'_> {
    fn derive(&mut self, family: Family, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.expected.entry(family).or_default().insert(key.into(), value);
    }

    fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    fn derive_from_entries(&mut self) -> Result<(), CatalogError> {
        let parents: BTreeSet<u64> = self.entries.values().map(|entry| entry.parent).collect();
        for (ino, entry) in self.entries.clone() {
            let (ino, parent) = (Ino(ino), entry.parent());
            self.derive(Family::Children, keys::child(parent, ino), None);
            let Some(name) = self.storage.name_of(parent, ino)? else { continue };
            if parent != NOWHERE {
                self.derive(Family::Names, keys::name(parent, &name), Some(keys::number(ino.0).to_vec()));
                let is_root = self.roots.values().any(|root| *root == parent);
                let holder = self.entries.get(&parent.0).map(|holder| &holder.role);
                let is_folder = matches!(holder, Some(Role::Folder | Role::RawFolder { .. }));
                self.require(is_folder || is_root, || format!("entry {ino} is in {parent}, which is no folder"));
            }
            let shown = self.storage.shown(parent, ino)?;
            self.check_entry(ino, parent, &name, &entry.role, shown)?;
            let is_empty_folder = entry.role == Role::Folder && !parents.contains(&ino.0) && parent != NOWHERE;
            self.require(!is_empty_folder, || format!("library folder {ino} is empty"));
        }
        Ok(())
    }

    /// Whether an entry agrees with the file behind it.
    fn check_entry(
        &mut self,
        ino: Ino,
        parent: Ino,
        name: &[u8],
        role: &Role,
        shown: Option<Shown>,
    ) -> Result<(), CatalogError> {
        if let Role::RawFolder { real_path: Some(real_path) } = role {
            let root = self.root_above(ino);
            if let Some((number, root)) = root {
                let path = self.storage.path_below(root, ino)?.unwrap_or_default();
                self.derive(Family::Links, keys::link(number, real_path, &path), None);
            }
        }
        let Some(file) = role.file() else { return Ok(()) };
        let Some(row) = self.files.get(&file.0).cloned() else {
            self.problems.push(format!("entry {ino} stands for file {file}, which is not known"));
            return Ok(());
        };
        let (is_right, shows) = match role {
            Role::RawFile { .. } => {
                (row.raw_ino == ino.0 && row.folder == parent.0 && row.name == name, Shown::file(&row))
            }
            Role::Track { .. } => {
                let is_placed = row.place.as_ref().is_some_and(|place| place.folder == parent.0);
                (row.track_ino == ino.0 && is_placed, Shown::file(&row))
            }
            Role::Art { art, made_from, .. } => {
                self.derive(
                    Family::Albums,
                    keys::album(parent, AlbumRole::Made, FileId(0)),
                    Some(keys::number(ino.0).to_vec()),
                );
                let revision = shown.map_or(row.revision, |shown| shown.revision);
                let is_current = row.art == Some(*art) && *made_from == row.revision;
                (is_current, Shown { size: art.len, revision, ..Shown::file(&row) })
            }
            _ => (is_sidecar(&row), Shown::file(&row)),
        };
        let agrees = is_right && row.gone.is_none() && shown == Some(shows);
        self.require(agrees, || format!("entry {ino} ({role:?}) does not agree with {row:?}"));
        Ok(())
    }

    fn root_above(&self, ino: Ino) -> Option<(u32, Ino)> {
        let mut at = ino;
        loop {
            if let Some((number, root)) = self.roots.iter().find(|(_, root)| **root == at) {
                return Some((*number, *root));
            }
            at = self.entries.get(&at.0)?.parent();
        }
    }

    fn derive_from_files(&mut self) -> Result<(), CatalogError> {
        let mut sources: BTreeMap<[u8; 16], u64> = BTreeMap::new();
        for (id, row) in self.files.clone() {
            let file = FileId(id);
            self.derive(Family::Identities, keys::identity(row.origin, &row.version.clone().into(), file), None);
            if row.tags == TagState::Read {
                self.derive(Family::Tags, keys::number(id), None);
            }
            if let Some(gone) = &row.gone {
                self.derive(Family::Tombstones, keys::tombstone(row.origin, &gone.path), None);
                self.require(row.place.is_none(), || format!("file {file} is gone and placed"));
                continue;
            }
            let has_raw = self.entries.contains_key(&row.raw_ino);
            self.require(has_raw, || format!("file {file} has no entry in its raw view"));
            if let (Some(real_path), Some(root)) = (&row.real_path, self.roots.get(&row.origin)) {
                let path = self.storage.file_path(*root, &row)?.unwrap_or_default();
                self.derive(Family::Links, keys::link(row.origin, real_path, &path), None);
            }
            let Some(place) = &row.place else { continue };
            let has_track = self.entries.contains_key(&row.track_ino);
            self.require(has_track, || format!("file {file} is placed and has no entry"));
            let key = keys::want(Ino(place.folder), &place.wanted, WantClass::Track, file);
            self.derive(Family::Wants, key, Some(keys::number(row.track_ino).to_vec()));
            *sources.entry(keys::source(Ino(row.folder), Ino(place.folder))).or_default() += 1;
            if row.art.is_some() {
                self.derive(Family::Albums, keys::album(Ino(place.folder), AlbumRole::Art, file), None);
            }
        }
        for (key, num_tracks) in sources {
            self.derive(Family::Sources, key, Some(keys::number(num_tracks).to_vec()));
        }
        Ok(())
    }

    /// Each sidecar is wanted in each library folder of its source folder, or where that is crowded, of its namesakes.
    fn derive_sidecars(&mut self, crowding: Crowding) -> Result<(), CatalogError> {
        let mut folders: BTreeMap<u64, Vec<(FileId, FileRow)>> = BTreeMap::new();
        for (id, row) in self.files.iter().filter(|(_, row)| row.gone.is_none()) {
            folders.entry(row.folder).or_default().push((FileId(*id), row.clone()));
        }
        for (raw, files) in folders {
            let albums_of = |wanted: &dyn Fn(&FileRow) -> bool| -> BTreeSet<u64> {
                let placed = files.iter().filter(|(_, row)| wanted(row));
                placed.filter_map(|(_, row)| row.place.as_ref()).map(|place| place.folder).collect()
            };
            let all = albums_of(&|_| true);
            let sidecars: Vec<_> = files.iter().filter(|(_, row)| is_sidecar(row)).collect();
            let crowd = CrowdRow { albums: all.len() as u64, sidecars: sidecars.len() as u64 };
            if crowd != CrowdRow::default() {
                self.derive(Family::Sources, keys::crowd(Ino(raw)), Some(encode(&crowd)?));
            }
            for (file, row) in sidecars {
                let stem = split_extension(&row.name).0;
                let of_namesakes = || albums_of(&|other| split_extension(&other.name).0 == stem);
                let albums = if crowding.is_crowded(crowd) { of_namesakes() } else { all.clone() };
                self.derive_wishes(*file, &row.name, &albums);
                let spread = SpreadRow { albums: albums.into_iter().collect() };
                self.derive(Family::Sources, keys::sidecar(Ino(raw), *file), Some(encode(&spread)?));
            }
        }
        Ok(())
    }

    fn derive_wishes(&mut self, file: FileId, name: &[u8], albums: &BTreeSet<u64>) {
        let wanted = sanitize_component(name);
        for library in albums.iter().map(|library| Ino(*library)) {
            self.derive(Family::Wants, keys::want(library, &wanted, WantClass::Sidecar, file), None);
            if is_cover_sidecar(name) {
                let key = keys::album(library, AlbumRole::Cover, file);
                self.derive(Family::Albums, key, Some(wanted.clone()));
            }
        }
    }

    /// Each track spells every folder above it, and each folder is shown as its first track spells it.
    fn derive_merging(&mut self) -> Result<(), CatalogError> {
        if self.merging != Merging::On {
            return Ok(());
        }
        for (id, row) in self.files.clone() {
            let mut at = row.place.map_or(Ino::ROOT, |place| Ino(place.folder));
            while at != Ino::ROOT {
                self.derive(Family::Albums, keys::album(at, AlbumRole::Spelling, FileId(id)), None);
                at = self.entries.get(&at.0).map_or(Ino::ROOT, EntryRow::parent);
            }
        }
        for (ino, entry) in self.entries.clone() {
            let (ino, parent) = (Ino(ino), entry.parent());
            if entry.role != Role::Folder || parent == NOWHERE {
                continue;
            }
            let name = self.storage.name_of(parent, ino)?.unwrap_or_default();
            let is_right = self.storage.spelling_of(ino)?.as_ref() == Some(&name);
            self.require(is_right, || format!("library folder {ino} is spelled {}", name.escape_ascii()));
            let value = Some(keys::number(ino.0).to_vec());
            self.derive(Family::Albums, keys::folded(parent, &fold_case(&name)), value);
        }
        Ok(())
    }

    fn compare_tables(&mut self) -> Result<(), CatalogError> {
        for family in DERIVED {
            let mut expected = self.expected.remove(&family).unwrap_or_default();
            let mut problems = Vec::new();
            Rows::scan(self.storage, family, b"", b"", &mut |key, value| {
                let is_in_flux =
                    self.merging == Merging::UnderWay && family == Family::Albums && keys::is_of_merging(key);
                match expected.remove(key) {
                    None if is_in_flux => {}
                    None => problems.push(format!("{}: {} is too much", family.name(), key.escape_ascii())),
                    Some(Some(wanted)) if wanted != value => {
                        problems.push(format!("{}: {} has another value", family.name(), key.escape_ascii()));
                    }
                    Some(_) => {}
                }
                true
            })?;
            problems.extend(expected.keys().map(|key| format!("{}: {} is missing", family.name(), key.escape_ascii())));
            self.problems.append(&mut problems);
        }
        Ok(())
    }

    fn compare_counts(&mut self) -> Result<(), CatalogError> {
        let live = |row: &&FileRow| row.gone.is_none();
        let num_files = self.files.values().filter(live).count() as u64;
        let num_tracks = self.files.values().filter(|row| row.place.is_some()).count() as u64;
        let counts: CountsRow = self.storage.row(Family::Meta, keys::COUNTS)?.unwrap_or_default();
        self.require(counts == CountsRow { num_files, num_tracks }, || format!("{counts:?} is wrong"));
        for (number, row) in origin_rows(self.storage)? {
            let of_origin = self.files.values().filter(live).filter(|file| file.origin == number).count() as u64;
            self.require(row.num_files == of_origin, || format!("{row:?} has {of_origin} files"));
        }
        let next_ino = self.storage.number(Family::Meta, keys::NEXT_INO)?.unwrap_or(Ino::FIRST_FREE.0);
        let highest = self.entries.last_key_value().map_or(0, |(ino, _)| *ino);
        self.require(highest < next_ino, || format!("entry {highest} is not reserved"));
        let next_file = self.storage.number(Family::Meta, keys::NEXT_FILE)?.unwrap_or(1);
        let highest = self.files.last_key_value().map_or(0, |(file, _)| *file);
        self.require(highest < next_file, || format!("file {highest} is not reserved"));
        Ok(())
    }
}
