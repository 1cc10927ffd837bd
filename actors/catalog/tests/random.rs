//! Random histories of one origin, compared with the oracle after every delta.
//!
//! Few paths, titles and albums, chosen to get in each other's way, so that short histories collide. Besides the tree are
//! compared: inode numbers of what stayed, kernel nodes against contents, announced names against changed ones, all tables
//! against each other, and the catalog with itself after a repeated delta and after it was closed and opened. Closed and
//! opened it may also be with `case_insensitive` changed, and the next delta may come before the tracks are placed anew.

use std::collections::{BTreeMap, BTreeSet};

use musicfs_protocol::change::{Change, DeltaApplied, TagOutcome};
use musicfs_protocol::library::{Known, Revision};
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::tags::{FileClass, classify};
use musicfs_pure::version::Version;
use proptest::prelude::*;

use super::oracle::{Expected, ModelFile, ModelTags, library, split};
use super::{Fixture, TEMPLATE, TouchedName, Tree, config, file_stat, origin, path, read, removed, tags, with_art};
use crate::catalog::{CatalogConfig, Crowding, RawView};

/// Paths that get in each other's way: files in folders, files where others have folders, sidecars and covers.
const PATHS: [&str; 13] = [
    "1.mp3",
    "2.mp3",
    "a/1.mp3",
    "a/2.mp3",
    "a/3.mp3",
    "a/c/1.mp3",
    "a",
    "a/cover.jpg",
    "folder.png",
    "a/x.lrc",
    "a/1.lrc",
    "a/c/x.lrc",
    "a/n.txt",
];
/// Titles that get in each other's way: a numbered one, an album's names, a cover's name.
const TITLES: [&str; 5] = ["T", "T (2)", "X", "x", "cover.jpg"];
const ALBUMS: [&str; 4] = ["", "X", "x", "T"];
const ARTISTS: [&str; 4] = ["Ä", "ä", "B", "b"];

/// One thing that happens at the origin.
#[derive(Clone, Debug)]
enum Op {
    /// A file is written.
    Write { path: usize, tags: WrittenTags },
    /// Only its permissions change.
    Chmod { path: usize, mode: u32 },
    /// It, or a folder, goes.
    Remove { path: usize },
    /// It is renamed, and the event said so.
    Rename { from: usize, to: usize },
    /// The last file to have been removed is put back as it was.
    Return,
}

#[derive(Clone, Debug)]
enum WrittenTags {
    Read { artist: usize, album: usize, title: usize, has_art: bool },
    Malformed,
    Unread,
}

fn written_tags() -> impl Strategy<Value = WrittenTags> {
    prop_oneof![
        8 => (0..ARTISTS.len(), 0..ALBUMS.len(), 0..TITLES.len(), any::<bool>())
            .prop_map(|(artist, album, title, has_art)| WrittenTags::Read { artist, album, title, has_art }),
        1 => Just(WrittenTags::Malformed),
        1 => Just(WrittenTags::Unread),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let a_path = || 0..PATHS.len();
    prop_oneof![
        6 => (a_path(), written_tags()).prop_map(|(path, tags)| Op::Write { path, tags }),
        1 => (a_path(), 0_u32..0o1000).prop_map(|(path, mode)| Op::Chmod { path, mode }),
        3 => a_path().prop_map(|path| Op::Remove { path }),
        2 => (a_path(), a_path()).prop_map(|(from, to)| Op::Rename { from, to }),
        2 => Just(Op::Return),
    ]
}

/// What happens between two deltas.
#[derive(Clone, Copy, Debug)]
enum Pause {
    Nothing,
    /// The catalog is closed and opened.
    Reopening,
    /// `case_insensitive` is changed, between two runs or while it runs; with the tracks placed anew at once, or after the
    /// next delta.
    Toggling {
        is_settled: bool,
        is_live: bool,
    },
}

fn pause() -> impl Strategy<Value = Pause> {
    prop_oneof![
        16 => Just(Pause::Nothing),
        1 => Just(Pause::Reopening),
        2 => any::<(bool, bool)>().prop_map(|(is_settled, is_live)| Pause::Toggling { is_settled, is_live }),
    ]
}

/// The origin as the model has it.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, ModelFile>,
    versions: BTreeMap<String, (u64, u32)>,
    last_removed: Option<(String, ModelFile, u64, u32)>,
    last_version: u64,
    /// Inode numbers that files have had in the library.
    inos: BTreeMap<FileId, Ino>,
    /// Kernel nodes that have been shown, with their content.
    nodes: BTreeMap<(Ino, Revision), (FileId, Version)>,
}

/// The id of a file that the catalog has not been asked about.
const UNKNOWN: FileId = FileId(0);

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl Model {
    /// Takes out a path and what is below it.
    fn take_out(&mut self, path: &str) {
        let gone: Vec<String> = self.files.keys().filter(|at| *at == path || is_below(at, path)).cloned().collect();
        for at in gone {
            if let (Some(file), Some((number, mode))) = (self.files.remove(&at), self.versions.remove(&at)) {
                self.last_removed = Some((at, file, number, mode));
            }
        }
    }

    /// Takes out what cannot be there beside a file at this path.
    fn make_room(&mut self, path: &str) {
        for (index, _) in path.match_indices('/') {
            let above = &path[..index];
            if self.files.contains_key(above) {
                self.take_out(above);
            }
        }
        let below: Vec<String> = self.files.keys().filter(|at| is_below(at, path)).cloned().collect();
        for at in below {
            self.take_out(&at);
        }
    }

    fn change(&self, at: &str, keeps: Option<FileId>, tags: TagOutcome) -> Change {
        let (number, mode) = self.versions[at];
        let mut stat = file_stat(number);
        stat.mode = mode;
        Change::File { path: path(at), stat, keeps, tags }
    }

    /// `id` is 0 until the catalog has given one.
    fn insert(&mut self, at: &str, id: FileId, tags: ModelTags, number: u64, mode: u32) {
        self.files.insert(at.to_owned(), ModelFile { id, tags });
        self.versions.insert(at.to_owned(), (number, mode));
    }

    /// The change that an operation is, if it makes sense now.
    fn run(&mut self, op: &Op) -> Option<Change> {
        match op {
            Op::Write { path, tags } => Some(self.write(PATHS[*path], tags)),
            Op::Chmod { path, mode } => {
                let at = PATHS[*path];
                self.versions.get_mut(at)?.1 = *mode;
                Some(self.change(at, None, TagOutcome::Keep))
            }
            Op::Remove { path } => {
                self.take_out(PATHS[*path]);
                Some(removed(PATHS[*path]))
            }
            Op::Rename { from, to } => self.rename(PATHS[*from], PATHS[*to]),
            Op::Return => {
                let (at, file, number, mode) = self.last_removed.clone()?;
                let is_free = !self.files.contains_key(&at);
                let outcome = match &file.tags {
                    ModelTags::Read(tags) => TagOutcome::Read(tags.clone()),
                    ModelTags::Malformed => TagOutcome::Malformed,
                    ModelTags::NotAudio => TagOutcome::NotAudio,
                    ModelTags::Unread => TagOutcome::Unread,
                };
                is_free.then(|| {
                    self.make_room(&at);
                    self.insert(&at, UNKNOWN, file.tags, number, mode);
                    self.change(&at, None, outcome)
                })
            }
        }
    }

    fn write(&mut self, at: &str, written: &WrittenTags) -> Change {
        let name = split(at).1;
        let outcome = match written {
            _ if classify(name.as_bytes()) != FileClass::Audio => TagOutcome::NotAudio,
            WrittenTags::Malformed => TagOutcome::Malformed,
            WrittenTags::Unread => TagOutcome::Unread,
            WrittenTags::Read { artist, album, title, has_art } => {
                let tags = tags(ARTISTS[*artist], ALBUMS[*album], TITLES[*title]);
                read(if *has_art { with_art(tags, 50 + self.last_version) } else { tags })
            }
        };
        self.make_room(at);
        self.last_version += 1;
        let before = self.files.get(at);
        let id = before.map_or(UNKNOWN, |file| file.id);
        let tags = ModelTags::after(&outcome, name, before.map(|file| (&file.tags, name)));
        self.insert(at, id, tags, self.last_version, 0o644);
        self.change(at, None, outcome)
    }

    fn rename(&mut self, from: &str, to: &str) -> Option<Change> {
        // the sender knows no id of a file that this very delta makes
        let is_known = self.files.get(from).is_some_and(|file| file.id != UNKNOWN);
        if from == to || !is_known || is_below(from, to) || is_below(to, from) {
            return None;
        }
        self.make_room(to);
        let file = self.files.remove(from)?;
        let (number, mode) = self.versions.remove(from)?;
        if self.files.contains_key(to) {
            self.take_out(to);
        }
        let before = Some((&file.tags, split(from).1));
        let tags = ModelTags::after(&TagOutcome::Keep, split(to).1, before);
        self.insert(to, file.id, tags, number, mode);
        Some(self.change(to, Some(file.id), TagOutcome::Keep))
    }

    /// Learns the ids that the catalog gave.
    fn learn(&mut self, fixture: &Fixture) {
        for (at, file) in &mut self.files {
            match fixture.reader.known(&origin("o"), &path(at)).unwrap() {
                Some(Known::File { file: id, version, .. }) => {
                    assert_eq!(version, file_stat(self.versions[at].0).version, "{at}");
                    file.id = id;
                }
                known => panic!("{at} is {known:?}"),
            }
        }
    }

    fn compare(&mut self, fixture: &Fixture, tree: &Tree) {
        let shown: BTreeMap<String, Expected> = tree
            .iter()
            .map(|(path, node)| match &node.source {
                Some(source) => (path.clone(), Expected::File { id: source.file, is_art: source.art.is_some() }),
                None => (path.clone(), Expected::Folder),
            })
            .collect();
        let CatalogConfig { layout, crowding, .. } = &fixture.config;
        assert_eq!(shown, library(&self.files, &layout.template, layout.case_insensitive, *crowding));
        let raw: BTreeSet<String> =
            fixture.raw("o").into_iter().filter(|(_, node)| node.source.is_some()).map(|(path, _)| path).collect();
        assert_eq!(raw, self.files.keys().cloned().collect());
        for node in tree.values() {
            self.compare_numbers(node);
        }
    }

    /// A track keeps its inode number whatever happens to it, and a kernel node never shows two contents.
    fn compare_numbers(&mut self, node: &super::Node) {
        let Some(source) = &node.source else { return };
        let content = (source.file, source.version.clone());
        let first = self.nodes.entry((node.attr.ino, node.attr.revision)).or_insert_with(|| content.clone());
        assert_eq!(*first, content, "one node shows two contents");
        let is_track = self
            .files
            .values()
            .any(|file| file.id == source.file && matches!(file.tags, ModelTags::Read(_) | ModelTags::Malformed));
        if is_track && source.art.is_none() {
            assert_eq!(*self.inos.entry(source.file).or_insert(node.attr.ino), node.attr.ino, "{}", source.file);
        }
    }
}

/// The names whose entries differ between two trees.
fn differences(before: &Tree, after: &Tree) -> BTreeSet<TouchedName> {
    let by_name = |tree: &Tree| -> BTreeMap<TouchedName, (Ino, Revision, u64, u16)> {
        let key = |path: &String| {
            let (folder, name) = split(path);
            let folder = if folder.is_empty() { Ino::ROOT } else { tree[folder].attr.ino };
            (folder, name.as_bytes().into())
        };
        let looks = |node: &super::Node| (node.attr.ino, node.attr.revision, node.attr.size, node.attr.mode);
        tree.iter().map(|(path, node)| (key(path), looks(node))).collect()
    };
    let (before, after) = (by_name(before), by_name(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.into_iter().filter(|key| before.get(key) != after.get(key)).collect()
}

/// Runs a history of deltas, with the pauses between them.
fn run_history(history: Vec<(Vec<Op>, Pause)>, case_insensitive: bool, crowding: Crowding) {
    let names = [("o", "1"), ("p", "1")];
    let mut config = config(TEMPLATE, RawView::Hidden, &names);
    (config.layout.case_insensitive, config.crowding) = (case_insensitive, crowding);
    let mut fixture = Fixture::with(config);
    let mut model = Model::default();
    let mut tree = Tree::new();
    for (ops, pause) in history {
        let changes: Vec<Change> = ops.iter().filter_map(|op| model.run(op)).collect();
        fixture.apply(changes.clone());
        fixture.maintain();
        let touched: BTreeSet<_> = fixture.touched().into_iter().collect();
        model.learn(&fixture);
        let after = fixture.library();
        model.compare(&fixture, &after);
        fixture.check();
        let silent: Vec<_> = differences(&tree, &after).difference(&touched).cloned().collect();
        assert!(silent.is_empty(), "changed and not announced: {silent:?}");
        tree = after;
        if changes.len() == 1 {
            assert_eq!(fixture.apply(changes), DeltaApplied::default());
            assert_eq!(fixture.touched(), []);
            assert_eq!(fixture.library(), tree);
        }
        let mut config = fixture.config.clone();
        match pause {
            Pause::Nothing => continue,
            Pause::Reopening => {}
            Pause::Toggling { .. } => config.layout.case_insensitive ^= true,
        }
        let inos = |tree: &Tree| -> Vec<_> { tree.iter().map(|(path, node)| (path.clone(), node.attr.ino)).collect() };
        if matches!(pause, Pause::Toggling { is_live: true, .. }) {
            fixture.set_layout(config.layout);
        } else {
            fixture = fixture.reopen(config);
            model.nodes.clear();
        }
        assert_eq!(inos(&fixture.library()), inos(&tree));
        fixture.check();
        if matches!(pause, Pause::Toggling { is_settled: true, .. }) {
            fixture.maintain();
            fixture.touched();
            model.compare(&fixture, &fixture.library());
            fixture.check();
        }
        tree = fixture.library();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn library_after_any_history_equals_one_built_at_once(
        history in proptest::collection::vec((proptest::collection::vec(op(), 1..4), pause()), 1..40),
        case_insensitive in any::<bool>(),
    ) {
        run_history(history, case_insensitive, Crowding::default());
    }

    /// Folders become crowded with a second album and a second sidecar, and cease to be.
    #[test]
    fn library_with_crowded_folders_after_any_history_equals_one_built_at_once(
        history in proptest::collection::vec((proptest::collection::vec(op(), 1..4), pause()), 1..40),
        case_insensitive in any::<bool>(),
    ) {
        run_history(history, case_insensitive, Crowding { max_albums: 1, max_shown: 2 });
    }
}
