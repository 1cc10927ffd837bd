//! What the library should look like, computed from the files alone: slow, obvious, and in one go.
//!
//! It shares with the catalog only the template, the classes of files and the form of a numbered name. It knows no
//! history: that the catalog agrees with it after any history is the point.

use std::collections::{BTreeMap, BTreeSet};

use musicfs_protocol::change::TagOutcome;
use musicfs_pure::ids::FileId;
use musicfs_pure::naming::{fold_case, numbered, split_extension};
use musicfs_pure::tags::{FileClass, TrackTags, classify, is_cover_sidecar};
use musicfs_pure::template::{Template, TemplateOptions, TrackContext};

use crate::catalog::Crowding;

/// What is known of a file's tags.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ModelTags {
    Unread,
    NotAudio,
    Malformed,
    Read(Box<TrackTags>),
}

/// A file of the origin.
#[derive(Clone, Debug)]
pub(super) struct ModelFile {
    pub(super) id: FileId,
    pub(super) tags: ModelTags,
}

/// What stands at a path of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Folder,
    /// A file, and whether it is its embedded art.
    File {
        id: FileId,
        is_art: bool,
    },
}

impl ModelTags {
    /// What is known after an outcome for a file of this name; `before` is what was known under the name before.
    pub(super) fn after(outcome: &TagOutcome, name: &str, before: Option<(&Self, &str)>) -> Self {
        match outcome {
            TagOutcome::NotAudio => Self::NotAudio,
            TagOutcome::Malformed => Self::Malformed,
            TagOutcome::Read(tags) => Self::Read(tags.clone()),
            TagOutcome::Unread => before.map_or(Self::Unread, |(tags, _)| tags.clone()),
            TagOutcome::Keep => match (before, classify(name.as_bytes())) {
                (Some((tags, old)), class) if classify(old.as_bytes()) == class => tags.clone(),
                (_, FileClass::Audio) => Self::Unread,
                _ => Self::NotAudio,
            },
        }
    }

    fn is_track(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Malformed)
    }

    fn read(&self) -> Option<&TrackTags> {
        match self {
            Self::Read(tags) => Some(tags),
            _ => None,
        }
    }
}

/// One folder of the library before names are given.
#[derive(Default)]
struct Album {
    /// Tracks by the name that they want.
    tracks: BTreeMap<String, BTreeSet<FileId>>,
    /// The folders at the origin that the tracks come from, with the tracks' stems.
    sources: BTreeMap<String, BTreeSet<String>>,
    /// Files with embedded art.
    art: BTreeSet<FileId>,
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the tests use UTF-8")
}

pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn stem(name: &str) -> &str {
    std::str::from_utf8(split_extension(name.as_bytes()).0).expect("cut between characters")
}

fn is_sidecar(path: &str, file: &ModelFile) -> bool {
    !file.tags.is_track() && classify(split(path).1.as_bytes()) == FileClass::Sidecar
}

/// The folders at the origin that are too full for every sidecar to go with every album.
fn crowded(
    albums: &BTreeMap<String, Album>,
    files: &BTreeMap<String, ModelFile>,
    crowding: Crowding,
) -> BTreeSet<String> {
    let sources: BTreeSet<&String> = albums.values().flat_map(|album| album.sources.keys()).collect();
    let is_crowded = |source: &&&String| {
        let num_albums = albums.values().filter(|album| album.sources.contains_key(**source)).count() as u64;
        let of_source = files.iter().filter(|(path, file)| split(path).0 == **source && is_sidecar(path, file));
        num_albums > crowding.max_albums && num_albums * of_source.count() as u64 > crowding.max_shown
    };
    sources.iter().filter(is_crowded).map(|source| (*source).clone()).collect()
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The folders that a path of folders is in, and itself.
fn and_above(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |folder| Some(split(folder).0)).take_while(|folder| !folder.is_empty())
}

/// The folders as the lowest file id below each writes them: of every track's folders, what is shown for them.
struct Spellings(BTreeMap<String, (FileId, String)>);

impl Spellings {
    fn key(folder: &str) -> String {
        text(fold_case(folder.as_bytes()))
    }

    fn add(&mut self, folder: &str, id: FileId) {
        for folder in and_above(folder) {
            let spelling = (id, split(folder).1.to_owned());
            let first = self.0.entry(Self::key(folder)).or_insert_with(|| spelling.clone());
            *first = spelling.min(first.clone());
        }
    }

    fn shown(&self, folder: &str) -> String {
        let names = and_above(folder).map(|folder| self.0[&Self::key(folder)].1.as_str());
        names.fold(
            String::new(),
            |below, name| if below.is_empty() { name.to_owned() } else { format!("{name}/{below}") },
        )
    }
}

/// The library of these files; `is_merged` makes one of folders that differ in case only.
pub(super) fn library(
    files: &BTreeMap<String, ModelFile>,
    template: &Template,
    is_merged: bool,
    crowding: Crowding,
) -> BTreeMap<String, Expected> {
    let rendered = |path: &str, file: &ModelFile| {
        let filename = split(path).1.as_bytes();
        let track = TrackContext { tags: file.tags.read(), filename, path: path.as_bytes(), origin: "o" };
        let rendered = template.render(&track, &TemplateOptions::default()).filter(|_| file.tags.is_track())?;
        Some((text(rendered.folders.join(&b'/')), text(rendered.name)))
    };
    let mut spellings = Spellings(BTreeMap::new());
    for (path, file) in files {
        if let Some((folder, _)) = rendered(path, file) {
            spellings.add(&folder, file.id);
        }
    }
    let mut albums: BTreeMap<String, Album> = BTreeMap::new();
    for (path, file) in files {
        let Some((folder, name)) = rendered(path, file) else { continue };
        let folder = if is_merged { spellings.shown(&folder) } else { folder };
        let album = albums.entry(folder).or_default();
        album.tracks.entry(name).or_default().insert(file.id);
        let (source, filename) = split(path);
        album.sources.entry(source.to_owned()).or_default().insert(stem(filename).to_owned());
        if file.tags.read().is_some_and(|tags| tags.art.is_some()) {
            album.art.insert(file.id);
        }
    }
    let mut folders = BTreeSet::new();
    for folder in albums.keys() {
        folders.extend(and_above(folder).map(str::to_owned));
    }
    let mut shown: BTreeMap<String, Expected> = folders.iter().map(|path| (path.clone(), Expected::Folder)).collect();
    let crowded = crowded(&albums, files, crowding);
    for (folder, album) in &albums {
        let sidecars = sidecars_of(album, files, &crowded);
        name_album(folder, album, &folders, &sidecars, &mut shown);
    }
    shown
}

/// The sidecars that want to be with an album, by name.
fn sidecars_of(
    album: &Album,
    files: &BTreeMap<String, ModelFile>,
    crowded: &BTreeSet<String>,
) -> BTreeMap<String, BTreeSet<FileId>> {
    let mut sidecars: BTreeMap<String, BTreeSet<FileId>> = BTreeMap::new();
    for (path, file) in files {
        let (source, name) = split(path);
        let goes_along = |stems: &BTreeSet<String>| !crowded.contains(source) || stems.contains(stem(name));
        if is_sidecar(path, file) && album.sources.get(source).is_some_and(goes_along) {
            sidecars.entry(name.to_owned()).or_default().insert(file.id);
        }
    }
    sidecars
}

fn name_album(
    folder: &str,
    album: &Album,
    folders: &BTreeSet<String>,
    sidecars: &BTreeMap<String, BTreeSet<FileId>>,
    shown: &mut BTreeMap<String, Expected>,
) {
    let is_folder = |name: &str| folders.contains(&below(folder, name));
    let is_wanted = |name: &str| is_folder(name) || album.tracks.contains_key(name) || sidecars.contains_key(name);
    for (wanted, members) in &album.tracks {
        let mut number = 0;
        for id in members {
            let name = loop {
                number += 1;
                let name = if number == 1 { wanted.clone() } else { text(numbered(wanted.as_bytes(), number)) };
                let is_taken = if number == 1 { is_folder(&name) } else { is_wanted(&name) };
                if !is_taken {
                    break name;
                }
            };
            shown.insert(below(folder, &name), Expected::File { id: *id, is_art: false });
        }
    }
    let mut has_cover = false;
    for (name, members) in sidecars {
        if let Some(id) = members.first()
            && !is_folder(name)
            && !album.tracks.contains_key(name)
        {
            shown.insert(below(folder, name), Expected::File { id: *id, is_art: false });
            has_cover |= is_cover_sidecar(name.as_bytes());
        }
    }
    let cover = below(folder, "cover.jpg");
    if let Some(id) = album.art.first()
        && !has_cover
        && !shown.contains_key(&cover)
    {
        shown.insert(cover, Expected::File { id: *id, is_art: true });
    }
}
