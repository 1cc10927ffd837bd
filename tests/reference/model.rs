//! What the library must show for a given origin.
//!
//! Files are known by a serial number that is in their bytes, so a file in the mount can be recognised wherever it
//! stands. Where several files want one name, the model says which names are taken and by which set of files; who of them
//! comes first depends on the order of discovery and is left open.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::music::Track;

/// What a file of the origin is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Audio with these tags.
    Audio(Box<Track>),
    /// Named like audio, and not.
    Garbage(Vec<u8>),
    /// Shown beside the music.
    Sidecar(Vec<u8>),
    /// Shown in the raw view only.
    Other(Vec<u8>),
}

/// One file of the origin.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) content: Content,
    pub(crate) mtime: (i64, i64),
    pub(crate) mode: u32,
    /// Its inode number in the library, once seen and as long as nothing happened that may change it.
    pub(crate) ino: Option<u64>,
    /// What happened since the last settling.
    pub(crate) moved: bool,
    pub(crate) changed: bool,
}

impl File {
    /// The bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.content {
            Content::Audio(track) => track.flac(),
            Content::Garbage(bytes) | Content::Sidecar(bytes) | Content::Other(bytes) => bytes.clone(),
        }
    }
}

/// The origin, by relative path.
pub(crate) type Origin = BTreeMap<String, File>;

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

/// A value as part of a name.
fn clean(value: &str) -> String {
    value.replace('/', "_")
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn stem_and_ext(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}

/// Where the default template puts a track.
fn track_path(path: &str, track: &Track) -> String {
    let (stem, ext) = stem_and_ext(name_of(path));
    let artist = clean(or(or(&track.albumartist, &track.artist), "Unknown Artist"));
    let album = clean(or(&track.album, "Unknown Album"));
    let year = if track.date.is_empty() { String::new() } else { format!(" ({})", &track.date[..4]) };
    let single_disc = track.disctotal == "1" || (track.disctotal.is_empty() && track.disc == "1");
    let disc = if track.disc.is_empty() || single_disc { String::new() } else { format!("{}-", track.disc) };
    let position = if track.number.is_empty() { String::new() } else { format!("{:0>2} - ", track.number) };
    let title = clean(or(&track.title, stem));
    format!("{artist}/{album}{year}/{disc}{position}{title}.{ext}")
}

/// Where a file is wanted; nothing for a sidecar, which follows the tracks, and for what is not shown.
fn wanted_path(path: &str, file: &File) -> Option<String> {
    match &file.content {
        Content::Audio(track) => Some(track_path(path, track)),
        Content::Garbage(_) => Some(format!("Unknown Artist/Unknown Album/{}", name_of(path))),
        Content::Sidecar(_) | Content::Other(_) => None,
    }
}

/// The name of the `n`-th of several files that want `path`, counted from 1.
fn numbered(path: &str, n: usize) -> String {
    if n == 1 {
        return path.to_owned();
    }
    let (stem, ext) = stem_and_ext(path);
    format!("{stem} ({n}).{ext}")
}

/// Names in the library, and for each the origin's files of which one must stand there, each in one place of its group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Groups of tracks: the names that they take, and their paths in the origin.
    pub(crate) groups: Vec<(Vec<String>, BTreeSet<String>)>,
    /// Sidecars: a name, and the files of which one is shown there.
    pub(crate) sidecars: BTreeMap<String, BTreeSet<String>>,
}

/// What the library must show.
pub(crate) fn expected(origin: &Origin) -> Expected {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut albums: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, file) in origin {
        if let Some(shown) = wanted_path(path, file) {
            albums.insert((folder_of(path).to_owned(), folder_of(&shown).to_owned()));
            wanted.entry(shown).or_default().insert(path.clone());
        }
    }
    let mut sidecars: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, _) in origin.iter().filter(|(_, file)| matches!(file.content, Content::Sidecar(_))) {
        for (_, album) in albums.iter().filter(|(source, _)| source == folder_of(path)) {
            sidecars.entry(format!("{album}/{}", name_of(path))).or_default().insert(path.clone());
        }
    }
    let group =
        |(shown, files): (String, BTreeSet<String>)| ((1..=files.len()).map(|n| numbered(&shown, n)).collect(), files);
    Expected { groups: wanted.into_iter().map(group).collect(), sidecars }
}

impl Expected {
    /// Every name that the library shows.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.groups.iter().flat_map(|(names, _)| names.clone()).chain(self.sidecars.keys().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(track: Track) -> File {
        File {
            content: Content::Audio(Box::new(track)),
            mtime: (0, 0),
            mode: 0o644,
            ino: None,
            moved: false,
            changed: false,
        }
    }

    #[test]
    fn model_names_tracks_as_the_default_template_does() {
        let track = Track::new("AC/DC", "Album", 1, "Title");
        assert_eq!(track_path("x/y.flac", &track), "AC_DC/Album (2020)/01 - Title.flac");
        let second = Track { disc: "2".to_owned(), disctotal: "2".to_owned(), ..track };
        assert_eq!(track_path("y.flac", &second), "AC_DC/Album (2020)/2-01 - Title.flac");
        assert_eq!(track_path("z/own name.flac", &Track::default()), "Unknown Artist/Unknown Album/own name.flac");
    }

    #[test]
    fn model_numbers_files_that_want_one_name() {
        let track = Track::new("A", "B", 1, "T");
        let origin = Origin::from([("1.flac".to_owned(), audio(track.clone())), ("2.flac".to_owned(), audio(track))]);
        let names = expected(&origin).names();
        assert_eq!(names, crate::support::tree::set(["A/B (2020)/01 - T.flac", "A/B (2020)/01 - T (2).flac"]));
    }
}
