//! Tests of the catalog without its actor, and the tools they share.
//!
//! `Fixture` is an open catalog with a writer and a reader over it; `oracle` says what the library should look like, the
//! slow way; `random` compares the two after every step of random histories. The other files are named cases.

mod actor;
mod crowds;
mod lifecycle;
mod naming;
mod oracle;
mod random;
mod reading;
mod row_bytes;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use musicfs_protocol::change::{Change, DeltaApplied, TagOutcome};
use musicfs_protocol::fetch::{NodeKind, Stat};
use musicfs_protocol::library::{EntryAttr, Known, ReadCatalog, Source};
use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::tags::{ArtEncoding, ArtKind, ArtLocation, TrackTags};
use musicfs_pure::template::{Template, TemplateOptions};
use musicfs_pure::version::{Granularity, Timestamp, Version};

use super::{CatalogConfig, CatalogOrigin, CatalogShared, Crowding, Layout, RawView, TouchedName, Writer};
use crate::storage::{Storage, StorageConfig};

/// A template without an extension, so that tracks, folders, sidecars and covers can want one name.
const TEMPLATE: &str = "${artist}/[${album}/]${title}";

fn origin(name: &str) -> OriginId {
    OriginId::parse(name).unwrap()
}

fn path(text: &str) -> OriginPath {
    OriginPath::parse(text.as_bytes()).unwrap()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::new(secs, 5)
}

/// A file's attributes; two of the same number are the same version.
fn file_stat(number: u64) -> Stat {
    let version = Version {
        size: 1000 + number,
        mtime: Timestamp::new(number as i64, 7),
        granularity: Granularity::Nanos,
        ino: Some(number),
        etag: None,
    };
    Stat { kind: NodeKind::File, version, ctime: Some(at(number as i64)), mode: 0o644, real_path: None }
}

fn folder_stat(number: u64) -> Stat {
    let mut stat = file_stat(number);
    stat.version.size = 0;
    Stat { kind: NodeKind::Folder, ..stat }
}

fn tags(artist: &str, album: &str, title: &str) -> TrackTags {
    let values = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    TrackTags { artist: values(artist), album: values(album), title: values(title), ..TrackTags::default() }
}

fn art(len: u64) -> ArtLocation {
    ArtLocation { kind: ArtKind::Jpeg, len, offset: 100, stored_len: len, encoding: ArtEncoding::Raw }
}

fn with_art(tags: TrackTags, len: u64) -> TrackTags {
    TrackTags { art: Some(art(len)), ..tags }
}

fn read(tags: TrackTags) -> TagOutcome {
    TagOutcome::Read(Box::new(tags))
}

fn put(at: &str, number: u64, tags: TagOutcome) -> Change {
    Change::File { path: path(at), stat: file_stat(number), keeps: None, tags }
}

fn track(at: &str, number: u64, artist: &str, album: &str, title: &str) -> Change {
    put(at, number, read(tags(artist, album, title)))
}

fn other(at: &str, number: u64) -> Change {
    put(at, number, TagOutcome::NotAudio)
}

fn moved(to: &str, number: u64, file: FileId) -> Change {
    Change::File { path: path(to), stat: file_stat(number), keeps: Some(file), tags: TagOutcome::Keep }
}

fn removed(at: &str) -> Change {
    Change::Removed { path: path(at) }
}

/// What the library shows at a path.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    attr: EntryAttr,
    source: Option<Source>,
}

/// Every path of a tree with what is there.
type Tree = BTreeMap<String, Node>;

/// An open catalog in a folder of its own.
struct Fixture {
    folder: tempfile::TempDir,
    config: CatalogConfig,
    shared: Arc<CatalogShared>,
    writer: Writer,
    reader: Arc<dyn ReadCatalog>,
    now: i64,
}

fn layout(template: &str, raw_view: RawView) -> Layout {
    let template = Template::parse(template.as_bytes()).unwrap();
    Layout { template, options: TemplateOptions::default(), case_insensitive: false, raw_view }
}

fn config(template: &str, raw_view: RawView, origins: &[(&str, &str)]) -> CatalogConfig {
    let known = |(name, fingerprint): &(&str, &str)| CatalogOrigin {
        origin: origin(name),
        fingerprint: (*fingerprint).to_owned(),
    };
    let origins = origins.iter().map(known).collect();
    CatalogConfig { origins, layout: layout(template, raw_view), crowding: Crowding::default() }
}

fn open_storage(folder: &Path) -> Arc<Storage> {
    Arc::new(Storage::open(&StorageConfig { state_dir: folder.to_owned() }).unwrap())
}

impl Fixture {
    fn new() -> Self {
        Self::with(config(TEMPLATE, RawView::Hidden, &[("o", "1"), ("p", "1")]))
    }

    fn with(config: CatalogConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shared = CatalogShared::open(open_storage(folder.path()), config.clone()).unwrap();
        let (writer, reader) = (Writer::new(Arc::clone(&shared)), shared.reader());
        let mut fixture = Self { folder, config, shared, writer, reader, now: 1_000_000 };
        fixture.maintain();
        fixture
    }

    /// Closes the catalog and opens it again, perhaps with another configuration.
    fn reopen(self, config: CatalogConfig) -> Self {
        let Self { folder, shared, writer, reader, now, .. } = self;
        drop((shared, writer, reader));
        let shared = CatalogShared::open(open_storage(folder.path()), config.clone()).unwrap();
        let (writer, reader) = (Writer::new(Arc::clone(&shared)), shared.reader());
        Self { folder, config, shared, writer, reader, now }
    }

    fn reopened(self) -> Self {
        let config = self.config.clone();
        self.reopen(config)
    }

    /// Shows the library otherwise from now on; maintenance moves the tracks.
    fn set_layout(&mut self, layout: Layout) {
        self.config.layout = layout.clone();
        self.writer.set_layout(layout, at(self.now)).unwrap();
    }

    /// Everything that maintenance finds to do.
    fn maintain(&mut self) {
        while self.writer.maintain(at(self.now)).unwrap() {}
    }

    fn apply(&mut self, changes: Vec<Change>) -> DeltaApplied {
        self.apply_to("o", changes)
    }

    fn apply_to(&mut self, name: &str, changes: Vec<Change>) -> DeltaApplied {
        self.now += 1;
        self.writer.apply(&origin(name), changes, at(self.now)).unwrap()
    }

    fn touched(&mut self) -> Vec<TouchedName> {
        self.writer.take_touched()
    }

    fn check(&self) {
        assert_eq!(self.shared.self_check().unwrap(), Vec::<String>::new());
    }

    fn children(&self, folder: Ino) -> Vec<(EntryAttr, String)> {
        let mut found = Vec::new();
        self.reader
            .read_dir(folder, Ino(0), &mut |attr, name| {
                found.push((attr.clone(), String::from_utf8_lossy(name).into_owned()));
                true
            })
            .unwrap();
        found
    }

    fn walk(&self, folder: Ino, prefix: &str, tree: &mut Tree) {
        for (attr, name) in self.children(folder) {
            assert_eq!(self.reader.lookup(folder, name.as_bytes()).unwrap().as_ref(), Some(&attr), "{name}");
            assert_eq!(self.reader.attr(attr.ino).unwrap().as_ref(), Some(&attr), "{name}");
            assert_eq!(self.reader.parent(attr.ino).unwrap(), Some(folder), "{name}");
            let path = format!("{prefix}{name}");
            if attr.kind == NodeKind::Folder {
                self.walk(attr.ino, &format!("{path}/"), tree);
            }
            let source = self.reader.source(attr.ino).unwrap();
            tree.insert(path, Node { attr, source });
        }
    }

    /// The library.
    fn library(&self) -> Tree {
        let mut tree = Tree::new();
        self.walk(Ino::ROOT, "", &mut tree);
        tree
    }

    /// An origin's raw view.
    fn raw(&self, name: &str) -> Tree {
        let root = self.reader.lookup(Ino::ORIGINS, name.as_bytes()).unwrap().expect("configured");
        let mut tree = Tree::new();
        self.walk(root.ino, "", &mut tree);
        tree
    }

    /// The library's files, without its folders.
    fn paths(&self) -> Vec<String> {
        self.library().into_iter().filter(|(_, node)| node.source.is_some()).map(|(path, _)| path).collect()
    }

    fn file_at(&self, at: &str) -> FileId {
        match self.reader.known(&origin("o"), &path(at)).unwrap() {
            Some(Known::File { file, .. }) => file,
            known => panic!("{at} is {known:?}"),
        }
    }

    fn ino_at(&self, at: &str) -> Ino {
        self.library().get(at).unwrap_or_else(|| panic!("{at} is not in the library")).attr.ino
    }
}
