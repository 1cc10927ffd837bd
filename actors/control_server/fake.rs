//! A library in memory for tests, and services around it whose ports lead nowhere until a test binds them.
//!
//! Lookups walk the whole map: slow and obvious. One name (`damaged`) fails as a damaged row does.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use musicfs_protocol::change::RescanInbox;
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{
    EntryInfo, Known, LibrarySummary, Lookalike, OriginSummary, Revision, Source, VisitEntry,
};
use musicfs_protocol::{
    Board, CatalogError, EntryAttr, EventLog, HealthTable, Inbox, Metrics, Port, ReadCatalog, ReadyGate, ScanTable,
    Work,
};
use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::tags::{Format, TrackTags};
use musicfs_pure::version::{Granularity, Timestamp, Version};
use parking_lot::RwLock;

use super::{ControlServices, Served, ServedOrigin};

struct Node {
    name: Vec<u8>,
    parent: Ino,
    attr: EntryAttr,
}

/// A tree of entries; every file comes from origin `nas` under its own path.
#[derive(Default)]
pub(super) struct FakeCatalog(RwLock<BTreeMap<Ino, Node>>);

impl FakeCatalog {
    pub(super) fn new() -> Self {
        let catalog = Self::default();
        catalog.insert(Ino::ROOT, Ino::ROOT, b"", NodeKind::Folder);
        catalog
    }

    /// Adds a file and the folders on the way to it.
    pub(super) fn add_file(&self, path: &[u8]) {
        let mut folder = Ino::ROOT;
        let names: Vec<_> = path.split(|&byte| byte == b'/').collect();
        for (depth, name) in names.iter().enumerate() {
            let kind = if depth + 1 == names.len() { NodeKind::File } else { NodeKind::Folder };
            let existing = self.child(folder, name).map(|attr| attr.ino);
            folder = existing.unwrap_or_else(|| self.insert_next(folder, name, kind));
        }
    }

    pub(super) fn remove(&self, path: &[u8]) {
        let ino =
            path.split(|&byte| byte == b'/').fold(Ino::ROOT, |at, name| self.child(at, name).expect("is there").ino);
        self.0.write().remove(&ino);
    }

    fn insert_next(&self, parent: Ino, name: &[u8], kind: NodeKind) -> Ino {
        let last = self.0.read().keys().next_back().copied().unwrap_or(Ino::FIRST_FREE);
        let ino = Ino(last.max(Ino::FIRST_FREE).0 + 1);
        self.insert(ino, parent, name, kind);
        ino
    }

    fn insert(&self, ino: Ino, parent: Ino, name: &[u8], kind: NodeKind) {
        let mtime = Timestamp::new(1_600_000_000, 5);
        let attr = EntryAttr { ino, kind, size: 7, mtime, mode: 0o444, revision: Revision(0) };
        self.0.write().insert(ino, Node { name: name.to_vec(), parent, attr });
    }

    fn child(&self, folder: Ino, name: &[u8]) -> Option<EntryAttr> {
        let nodes = self.0.read();
        let found = nodes.values().find(|node| node.parent == folder && node.name == name && node.attr.ino != folder);
        found.map(|node| node.attr.clone())
    }

    fn path(&self, mut ino: Ino) -> Vec<u8> {
        let nodes = self.0.read();
        let mut names = Vec::new();
        while let Some(node) = nodes.get(&ino).filter(|_| ino != Ino::ROOT) {
            names.insert(0, node.name.clone());
            ino = node.parent;
        }
        names.join(&b'/')
    }
}

impl ReadCatalog for FakeCatalog {
    fn lookup(&self, folder: Ino, name: &[u8]) -> Result<Option<EntryAttr>, CatalogError> {
        if name == b"damaged" {
            return Err(CatalogError::Damaged { table: "entries" });
        }
        Ok(self.child(folder, name))
    }

    fn attr(&self, ino: Ino) -> Result<Option<EntryAttr>, CatalogError> {
        Ok(self.0.read().get(&ino).map(|node| node.attr.clone()))
    }

    fn parent(&self, ino: Ino) -> Result<Option<Ino>, CatalogError> {
        Ok(self.0.read().get(&ino).map(|node| node.parent))
    }

    fn read_dir(&self, folder: Ino, after: Ino, visit: &mut VisitEntry<'_>) -> Result<(), CatalogError> {
        for node in self.0.read().values().filter(|node| node.parent == folder && node.attr.ino > after) {
            if node.attr.ino != Ino::ROOT && !visit(&node.attr, &node.name) {
                break;
            }
        }
        Ok(())
    }

    fn source(&self, ino: Ino) -> Result<Option<Source>, CatalogError> {
        Ok(self.describe(ino)?.and_then(|info| info.source))
    }

    fn describe(&self, ino: Ino) -> Result<Option<EntryInfo>, CatalogError> {
        let Some(attr) = self.attr(ino)? else { return Ok(None) };
        let library_path = self.path(ino);
        let is_file = attr.kind == NodeKind::File;
        let source = is_file.then(|| Source {
            file: FileId(3),
            origin: nas(),
            path: OriginPath::parse(&library_path).expect("a path"),
            version: Version { size: 7, mtime: attr.mtime, granularity: Granularity::Nanos, ino: Some(9), etag: None },
            art: None,
        });
        let tags = is_file.then(|| TrackTags {
            format: Some(Format::Flac),
            title: vec!["One\u{1b}[31m".to_owned()],
            ..TrackTags::default()
        });
        Ok(Some(EntryInfo { attr, library_path, source, tags, malformed: false }))
    }

    fn known(&self, _: &OriginId, _: &OriginPath) -> Result<Option<Known>, CatalogError> {
        Ok(None)
    }

    fn known_children(
        &self,
        _: &OriginId,
        _: &OriginPath,
        _: &mut dyn FnMut(&[u8], NodeKind) -> bool,
    ) -> Result<(), CatalogError> {
        Ok(())
    }

    fn lookalikes(&self, _: &OriginId, _: &Version) -> Result<Vec<Lookalike>, CatalogError> {
        Ok(Vec::new())
    }

    fn links_to(&self, _: &OriginId, _: &OriginPath) -> Result<Vec<OriginPath>, CatalogError> {
        Ok(Vec::new())
    }

    fn origin_summary(&self, _: &OriginId) -> Result<OriginSummary, CatalogError> {
        Ok(OriginSummary { files: 2, ..OriginSummary::default() })
    }

    fn library_summary(&self) -> Result<LibrarySummary, CatalogError> {
        Ok(LibrarySummary { files: 2, tracks: 1 })
    }
}

/// The one origin.
pub(super) fn nas() -> OriginId {
    OriginId::parse("nas").expect("valid")
}

/// Services over a catalog.
pub(super) fn services(catalog: Arc<FakeCatalog>) -> ControlServices {
    let rescans: RescanInbox = Inbox::new(8, |old, new| old.accept_removals |= new.accept_removals, keep);
    ControlServices {
        catalog,
        board: Arc::new(Board::default()),
        events: EventLog::default(),
        metrics: Metrics::default(),
        health: Arc::new(HealthTable::default()),
        scans: Arc::new(ScanTable::default()),
        watches: Arc::default(),
        rescans,
        barrier: Port::unbound(),
        work: Work::default(),
        ready: Arc::new(ReadyGate::default()),
        stop: Port::unbound(),
        reload: Port::unbound(),
        served: Arc::new(Served::new(
            vec![ServedOrigin { id: nas(), location: "/mnt/nas".to_owned(), priority: 10 }],
            serde_json::json!({}),
        )),
        mountpoint: PathBuf::from("/home/u/Music"),
        started: Instant::now(),
        version: "0.1.0",
    }
}

fn keep<V>(full: HashMap<OriginId, V>) -> HashMap<OriginId, V> {
    full
}
