//! The detector between an origin and a catalog that are maps in memory.
//!
//! The origin answers listings, stats and reads from its map, and can be told to fail; the catalog applies what it is
//! sent and answers what it knows. So each test states what is at the origin and asserts what the catalog has afterwards,
//! which ids were kept, and how many bytes were asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::prelude::*;
use bytes::Bytes;
use musicfs_protocol::change::{Change, PathsSettled, TagOutcome};
use musicfs_protocol::fetch::{ListStep, MountedFolder, NodeKind};
use musicfs_protocol::library::{
    CatalogError, EntryAttr, EntryInfo, HeadHash, Known, LibrarySummary, Lookalike, OriginSummary, Source, VisitEntry,
};
use musicfs_protocol::*;
use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::version::{Granularity, Timestamp, Version};
use parking_lot::Mutex;

use super::*;

mod events;

pub(super) fn path(text: &str) -> OriginPath {
    OriginPath::parse(text.as_bytes()).expect(text)
}

pub(super) fn nas() -> OriginId {
    OriginId::parse("nas").expect("valid")
}

pub(super) const ROOT: RootIdentity = RootIdentity { dev: 1, fs_type: 2, ino: 3 };

/// The inode of a file whose origin has no lasting ones.
const NO_INODE: u64 = u64::MAX;

/// A file at the origin or in the catalog.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    size: u64,
    ino: u64,
    mode: u32,
}

impl Entry {
    fn stat(&self) -> Stat {
        Stat {
            kind: NodeKind::File,
            version: Version {
                size: self.size,
                mtime: Timestamp::new(7, 0),
                granularity: Granularity::Nanos,
                ino: (self.ino != NO_INODE).then_some(self.ino),
                etag: None,
            },
            ctime: None,
            mode: self.mode,
            real_path: None,
        }
    }
}

fn folder_stat() -> Stat {
    Stat { kind: NodeKind::Folder, mode: 0o755, ..Entry { size: 0, ino: 0, mode: 0 }.stat() }
}

/// The origin: a flat map, folders are implied.
#[derive(Default)]
pub(super) struct OriginState {
    pub(super) files: BTreeMap<OriginPath, Entry>,
    pub(super) offline: bool,
    pub(super) failing_folder: Option<OriginPath>,
    pub(super) root: Option<RootIdentity>,
    pub(super) mounts: Vec<MountedFolder>,
    pub(super) num_reads: u64,
    /// What a file is full of, where it is not `x`.
    pub(super) fills: HashMap<OriginPath, u8>,
}

pub(super) type SharedOrigin = Arc<Mutex<OriginState>>;

struct FakeFetcher(SharedOrigin);

impl Actor for FakeFetcher {
    type Context = Context<Self>;
}

fn offline() -> FetchError {
    FetchError::Offline { reason: "gone".into() }
}

impl OriginState {
    fn children(&self, folder: &OriginPath) -> BTreeMap<OriginPath, Stat> {
        let mut children = BTreeMap::new();
        for (file, entry) in &self.files {
            let mut at = file.clone();
            let mut stat = entry.stat();
            while let Some(parent) = at.parent() {
                if parent == *folder {
                    children.insert(at, stat);
                    break;
                }
                (at, stat) = (parent, folder_stat());
            }
        }
        children
    }

    fn list(&self, folder: &OriginPath) -> Vec<ListStep> {
        if self.failing_folder.as_ref() == Some(folder) {
            return vec![ListStep::FolderFailed {
                path: folder.clone(),
                error: FetchError::Io { reason: "EIO".into() },
            }];
        }
        let children = self.children(folder);
        let folders: Vec<_> =
            children.iter().filter(|(_, stat)| stat.kind == NodeKind::Folder).map(|(path, _)| path.clone()).collect();
        let mut steps: Vec<_> = children.into_iter().map(|(path, stat)| ListStep::Entry { path, stat }).collect();
        steps.push(ListStep::FolderComplete { path: folder.clone() });
        for folder in folders {
            steps.extend(self.list(&folder));
        }
        steps
    }
}

impl Handler<ListOrigin> for FakeFetcher {
    type Result = Result<ListPage, FetchError>;

    fn handle(&mut self, request: ListOrigin, _: &mut Self::Context) -> Self::Result {
        let state = self.0.lock();
        if state.offline {
            return Err(offline());
        }
        let root = state.root.unwrap_or(ROOT);
        let mounts: Vec<_> =
            state.mounts.iter().filter(|mount| mount.path.is_within(&request.folder)).cloned().collect();
        let steps = state.list(&request.folder);
        Ok(ListPage { steps, next: None, links_left_out: 0, names_left_out: 0, root, mounts })
    }
}

impl Handler<StatPath> for FakeFetcher {
    type Result = Result<Stat, FetchError>;

    fn handle(&mut self, request: StatPath, _: &mut Self::Context) -> Self::Result {
        let state = self.0.lock();
        if state.offline {
            return Err(offline());
        }
        if let Some(entry) = state.files.get(&request.path) {
            return Ok(entry.stat());
        }
        let is_folder = request.path.is_root() || state.files.keys().any(|file| file.is_within(&request.path));
        if is_folder { Ok(folder_stat()) } else { Err(FetchError::NotFound) }
    }
}

impl Handler<Probe> for FakeFetcher {
    type Result = Result<RootIdentity, FetchError>;

    fn handle(&mut self, _: Probe, _: &mut Self::Context) -> Self::Result {
        let state = self.0.lock();
        if state.offline { Err(offline()) } else { Ok(state.root.unwrap_or(ROOT)) }
    }
}

impl Handler<ReadRange> for FakeFetcher {
    type Result = Result<RangeBytes, FetchError>;

    fn handle(&mut self, request: ReadRange, _: &mut Self::Context) -> Self::Result {
        let mut state = self.0.lock();
        state.num_reads += 1;
        let fill = state.fills.get(&request.path).copied().unwrap_or(b'x');
        let bytes = Bytes::from(vec![fill; request.len as usize]);
        Ok(RangeBytes { offset: request.offset, bytes, permit: request.permit })
    }
}

/// The catalog: what was applied, and every change in order.
#[derive(Default)]
pub(super) struct CatalogState {
    pub(super) files: BTreeMap<OriginPath, (FileId, Entry)>,
    pub(super) tombstones: BTreeMap<OriginPath, (FileId, Entry)>,
    pub(super) next: u64,
    pub(super) summary: OriginSummary,
    pub(super) heads: BTreeMap<FileId, HeadHash>,
}

#[derive(Default)]
pub(super) struct FakeCatalog(pub(super) Mutex<CatalogState>);

struct FakeWriter(Arc<FakeCatalog>);

impl Actor for FakeWriter {
    type Context = Context<Self>;
}

impl CatalogState {
    fn upsert(&mut self, path: OriginPath, stat: &Stat, keeps: Option<FileId>) {
        let known = self.files.get(&path).map(|(file, _)| *file);
        let file = keeps.or(known).unwrap_or_else(|| {
            self.next += 1;
            FileId(self.next)
        });
        self.files.retain(|_, (other, _)| *other != file);
        let entry = Entry { size: stat.version.size, ino: stat.version.ino.unwrap_or(NO_INODE), mode: stat.mode };
        self.files.insert(path, (file, entry));
    }

    fn remove(&mut self, path: &OriginPath) -> u64 {
        let (gone, stay) = std::mem::take(&mut self.files).into_iter().partition(|(file, _)| file.is_within(path));
        self.files = stay;
        let gone: BTreeMap<_, _> = gone;
        let num_gone = gone.len() as u64;
        self.tombstones.extend(gone);
        num_gone
    }
}

impl Handler<ApplyDelta> for FakeWriter {
    type Result = Result<DeltaApplied, CatalogError>;

    fn handle(&mut self, delta: ApplyDelta, _: &mut Self::Context) -> Self::Result {
        let mut state = self.0.0.lock();
        let mut applied = DeltaApplied::default();
        for change in delta.changes {
            match change {
                Change::Folder { .. } => {}
                Change::File { path, stat, keeps, tags } => {
                    assert!(tags != TagOutcome::Keep || keeps.is_some(), "new files have no tags to keep");
                    applied.added += u64::from(keeps.is_none() && !state.files.contains_key(&path));
                    state.upsert(path, &stat, keeps);
                }
                Change::Removed { path } => applied.removed += state.remove(&path),
                Change::ListingComplete { root, mounts } => {
                    state.summary.listed_root = Some(root);
                    state.summary.listed_mounts = Some(mounts);
                }
                Change::Withheld { paths } => state.summary.withheld = paths,
                Change::Head { path, head } => {
                    let file = state.files[&path].0;
                    state.heads.insert(file, head);
                }
            }
        }
        Ok(applied)
    }
}

impl ReadCatalog for FakeCatalog {
    fn lookup(&self, _: Ino, _: &[u8]) -> Result<Option<EntryAttr>, CatalogError> {
        Ok(None)
    }

    fn attr(&self, _: Ino) -> Result<Option<EntryAttr>, CatalogError> {
        Ok(None)
    }

    fn parent(&self, _: Ino) -> Result<Option<Ino>, CatalogError> {
        Ok(None)
    }

    fn read_dir(&self, _: Ino, _: Ino, _: &mut VisitEntry<'_>) -> Result<(), CatalogError> {
        Ok(())
    }

    fn source(&self, _: Ino) -> Result<Option<Source>, CatalogError> {
        Ok(None)
    }

    fn describe(&self, _: Ino) -> Result<Option<EntryInfo>, CatalogError> {
        Ok(None)
    }

    fn known(&self, _: &OriginId, path: &OriginPath) -> Result<Option<Known>, CatalogError> {
        let state = self.0.lock();
        if let Some((file, entry)) = state.files.get(path) {
            let Stat { version, ctime, mode, .. } = entry.stat();
            return Ok(Some(Known::File { file: *file, version, ctime, mode, tags_known: true }));
        }
        Ok(state.files.keys().any(|file| file.is_within(path)).then_some(Known::Folder))
    }

    fn known_children(
        &self,
        _: &OriginId,
        folder: &OriginPath,
        visit: &mut dyn FnMut(&[u8], NodeKind) -> bool,
    ) -> Result<(), CatalogError> {
        let files = self.0.lock().files.iter().map(|(path, (_, entry))| (path.clone(), entry.clone())).collect();
        let origin = OriginState { files, ..OriginState::default() };
        for (child, stat) in origin.children(folder) {
            if !visit(child.file_name().expect("below the root"), stat.kind) {
                break;
            }
        }
        Ok(())
    }

    fn lookalikes(&self, _: &OriginId, version: &Version) -> Result<Vec<Lookalike>, CatalogError> {
        let state = self.0.lock();
        let find = |files: &BTreeMap<OriginPath, (FileId, Entry)>, live: bool| {
            let same = files.iter().filter(|(_, (_, entry))| entry.stat().version == *version);
            same.map(|(path, (file, _))| Lookalike {
                file: *file,
                path: path.clone(),
                live,
                head: state.heads.get(file).copied(),
            })
            .collect::<Vec<_>>()
        };
        Ok([find(&state.files, true), find(&state.tombstones, false)].concat())
    }

    fn links_to(&self, _: &OriginId, _: &OriginPath) -> Result<Vec<OriginPath>, CatalogError> {
        Ok(Vec::new())
    }

    fn origin_summary(&self, _: &OriginId) -> Result<OriginSummary, CatalogError> {
        let state = self.0.lock();
        Ok(OriginSummary { files: state.files.len() as u64, ..state.summary.clone() })
    }

    fn library_summary(&self) -> Result<LibrarySummary, CatalogError> {
        Ok(LibrarySummary::default())
    }
}

/// A detector with its surroundings.
pub(super) struct Bench {
    pub(super) origin: SharedOrigin,
    pub(super) catalog: Arc<FakeCatalog>,
    pub(super) settled: SettledInbox,
    pub(super) rescans: RescanInbox,
    pub(super) scans: Arc<ScanTable>,
    pub(super) events: EventLog,
    pub(super) settling: Arc<AtomicBool>,
    pub(super) work: Work,
}

impl Bench {
    pub(super) fn new() -> Self {
        let origin = SharedOrigin::default();
        let catalog = Arc::new(FakeCatalog::default());
        let scans = Arc::new(ScanTable::default());
        let settling = Arc::new(AtomicBool::new(false));
        let fetcher = FakeFetcher(Arc::clone(&origin)).start();
        let writer = FakeWriter(Arc::clone(&catalog)).start();
        let ports = OriginPorts {
            list: Port::to(fetcher.clone().recipient()),
            stat: Port::to(fetcher.clone().recipient()),
            probe: Port::to(fetcher.clone().recipient()),
            read: Port::to(fetcher.recipient()),
            permits: PermitPool::new(1 << 20),
            tag_head_bytes: 4096,
        };
        let settled = Inbox::new(1 << 20, |_, _| {}, |all| all);
        let rescans = Inbox::new(16, |_, _| {}, |all| all);
        let events = EventLog::default();
        let config = DeltaDetectorConfig {
            origins: BTreeMap::from([(nas(), ports)]),
            catalog: Arc::clone(&catalog) as Arc<dyn ReadCatalog>,
            apply: Port::to(writer.recipient()),
            settled: settled.clone(),
            rescans: rescans.clone(),
            scans: Arc::clone(&scans),
            events: events.clone(),
            is_settling: {
                let settling = Arc::clone(&settling);
                Arc::new(move || settling.load(Ordering::SeqCst))
            },
        };
        let detector = DeltaDetector::new(config, Arc::default()).start();
        settled.ready_port().bind(&detector);
        rescans.ready_port().bind(&detector);
        Self { origin, catalog, settled, rescans, scans, events, settling, work: Work::default() }
    }

    pub(super) fn put(&self, name: &str, size: u64, ino: u64) {
        self.origin.lock().files.insert(path(name), Entry { size, ino, mode: 0o644 });
    }

    pub(super) fn take(&self, name: &str) -> Entry {
        self.origin.lock().files.remove(&path(name)).expect(name)
    }

    /// Waits until nothing is on its way.
    pub(super) async fn idle(&self) {
        while self.work.pending() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn rescan(&self, accept_removals: bool) {
        self.rescans.push(nas(), RescanOrigin { accept_removals, work: self.work.begin() });
        self.idle().await;
    }

    pub(super) fn push(&self, names: &[&str]) {
        // One push after another on one thread: the detector drains them together.
        for name in names {
            let settled = PathsSettled { renamed_from: None, recursive: false, work: self.work.begin() };
            self.settled.push((nas(), path(name)), settled);
        }
    }

    pub(super) async fn touch(&self, names: &[&str]) {
        self.push(names);
        self.idle().await;
    }

    pub(super) fn ids(&self) -> HashMap<String, u64> {
        self.catalog.0.lock().files.iter().map(|(path, (file, _))| (path.to_string(), file.0)).collect()
    }

    pub(super) fn assert_same(&self) {
        let catalog: BTreeMap<_, _> =
            self.catalog.0.lock().files.iter().map(|(path, (_, entry))| (path.clone(), entry.clone())).collect();
        assert_eq!(catalog, self.origin.lock().files);
    }

    pub(super) fn state(&self) -> ScanState {
        self.scans.get(&nas()).state
    }
}

#[actix::test]
async fn first_scan_brings_everything() {
    let bench = Bench::new();
    for number in 0..50 {
        bench.put(&format!("a/b{number}/c.txt"), number, number + 1);
    }
    bench.rescan(false).await;
    bench.assert_same();
    assert_eq!(bench.state(), ScanState::Done);
    assert_eq!(bench.origin.lock().num_reads, 0, "what is not audio is never opened");
}

#[actix::test]
async fn scan_of_an_unchanged_origin_reads_no_tags_again() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, 1);
    bench.rescan(false).await;
    let reads = bench.origin.lock().num_reads;
    assert!(reads > 0);
    bench.rescan(false).await;
    assert_eq!(bench.origin.lock().num_reads, reads);
}

#[actix::test]
async fn touched_file_with_the_attributes_that_are_known_is_read_again() {
    let bench = Bench::new();
    for name in ["a.mp3", "b.mp3"] {
        bench.put(name, 4096, name.len() as u64 + u64::from(name.as_bytes()[0]));
    }
    bench.rescan(false).await;
    let reads = bench.origin.lock().num_reads;
    bench.touch(&["a.mp3"]).await;
    assert_eq!(bench.origin.lock().num_reads, reads + reads / 2, "that one only");
}

#[actix::test]
async fn renamed_file_keeps_its_id_and_is_not_read() {
    let bench = Bench::new();
    bench.put("a/x.mp3", 4096, 1);
    bench.put("a/y.mp3", 4096, 2);
    bench.rescan(false).await;
    let (before, reads) = (bench.ids(), bench.origin.lock().num_reads);
    let entry = bench.take("a/x.mp3");
    bench.origin.lock().files.insert(path("b/z.mp3"), entry);
    bench.touch(&["a/x.mp3", "b/z.mp3"]).await;
    bench.assert_same();
    assert_eq!(bench.ids()["b/z.mp3"], before["a/x.mp3"]);
    assert_eq!(bench.origin.lock().num_reads, reads);
}

#[actix::test]
async fn renamed_file_whose_names_settle_one_after_the_other_keeps_its_id() {
    let bench = Bench::new();
    bench.put("x.mp3", 4096, 1);
    bench.put("y.mp3", 4096, 2);
    bench.rescan(false).await;
    let before = bench.ids();
    let entry = bench.take("x.mp3");
    bench.origin.lock().files.insert(path("sub/z.mp3"), entry);
    bench.settling.store(true, Ordering::SeqCst);
    bench.push(&["x.mp3"]);
    while !bench.settled.is_empty() || bench.work.pending() == 0 {
        tokio::task::yield_now().await;
    }
    bench.push(&["sub"]);
    bench.settling.store(false, Ordering::SeqCst);
    bench.idle().await;
    bench.assert_same();
    assert_eq!(bench.ids()["sub/z.mp3"], before["x.mp3"]);
    assert!(bench.catalog.0.lock().tombstones.is_empty(), "it was never removed");
}

#[actix::test]
async fn file_that_came_back_while_it_was_carried_stays() {
    let bench = Bench::new();
    bench.put("x.mp3", 4096, 1);
    bench.rescan(false).await;
    let entry = bench.take("x.mp3");
    bench.settling.store(true, Ordering::SeqCst);
    bench.push(&["x.mp3"]);
    while !bench.settled.is_empty() {
        tokio::task::yield_now().await;
    }
    bench.origin.lock().files.insert(path("x.mp3"), entry);
    bench.settling.store(false, Ordering::SeqCst);
    bench.idle().await;
    bench.assert_same();
    assert!(bench.catalog.0.lock().tombstones.is_empty());
}

#[actix::test]
async fn hard_link_is_a_file_of_its_own() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, 1);
    bench.rescan(false).await;
    bench.put("b.mp3", 4096, 1);
    bench.touch(&["b.mp3"]).await;
    bench.assert_same();
    assert_ne!(bench.ids()["a.mp3"], bench.ids()["b.mp3"]);
}

#[actix::test]
async fn hard_links_that_replace_one_file_are_all_there() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, 1);
    bench.rescan(false).await;
    let before = bench.ids()["a.mp3"];
    bench.take("a.mp3");
    bench.put("b.mp3", 4096, 1);
    bench.put("c.mp3", 4096, 1);
    bench.rescan(false).await;
    bench.assert_same();
    assert_eq!(bench.ids().values().filter(|&&id| id == before).count(), 1, "one of them is what a became");
}

#[actix::test]
async fn file_replaced_by_one_that_was_known_keeps_its_id_when_it_is_renamed_later() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, 1);
    bench.put("new.mp3", 8192, 2);
    bench.rescan(false).await;
    let before = bench.ids()["a.mp3"];
    let entry = bench.take("new.mp3");
    bench.origin.lock().files.insert(path("a.mp3"), entry);
    bench.touch(&["a.mp3", "new.mp3"]).await;
    assert_eq!(bench.ids(), HashMap::from([("a.mp3".to_owned(), before)]));
    let entry = bench.take("a.mp3");
    bench.origin.lock().files.insert(path("renamed.mp3"), entry);
    bench.touch(&["a.mp3", "renamed.mp3"]).await;
    assert_eq!(bench.ids(), HashMap::from([("renamed.mp3".to_owned(), before)]));
}

#[test]
fn word_of_a_person_survives_a_later_rescan() {
    let work = Work::default();
    let mut queue = jobs::Queue::default();
    queue.add_rescan(RescanOrigin { accept_removals: true, work: work.begin() });
    queue.add_rescan(RescanOrigin { accept_removals: false, work: work.begin() });
    assert!(queue.rescan.expect("waiting").accept_removals);
    assert_eq!(work.pending(), 0);
}

#[actix::test]
async fn replaced_file_keeps_its_id() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, 1);
    bench.rescan(false).await;
    let before = bench.ids();
    bench.put("a.mp3", 8192, 9);
    bench.touch(&["a.mp3"]).await;
    bench.assert_same();
    assert_eq!(bench.ids(), before);
}

#[actix::test]
async fn new_folder_is_listed_although_only_its_name_was_seen() {
    let bench = Bench::new();
    bench.rescan(false).await;
    bench.put("new/deep/x.txt", 1, 1);
    bench.touch(&["new"]).await;
    bench.assert_same();
}

/// Renames a file of an origin without inode numbers, which may then be full of something else.
async fn rename_without_inode(bench: &Bench, from: &str, to: &str, fill: u8) {
    let entry = bench.take(from);
    bench.origin.lock().files.insert(path(to), entry);
    bench.origin.lock().fills.insert(path(to), fill);
    bench.touch(&[from, to]).await;
    bench.assert_same();
}

#[actix::test]
async fn renamed_file_without_an_inode_keeps_its_id_when_it_begins_the_same() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, NO_INODE);
    bench.rescan(false).await;
    let before = bench.ids()["a.mp3"];
    rename_without_inode(&bench, "a.mp3", "b.mp3", b'x').await;
    assert_eq!(bench.ids()["b.mp3"], before);
    rename_without_inode(&bench, "b.mp3", "c.mp3", b'y').await;
    assert_ne!(bench.ids()["c.mp3"], before, "the same size and time, and another file");
}

#[actix::test]
async fn renamed_file_without_an_inode_is_new_when_it_may_be_one_of_two() {
    let bench = Bench::new();
    for name in ["a.mp3", "b.mp3"] {
        bench.put(name, 4096, NO_INODE);
    }
    bench.rescan(false).await;
    let before = bench.ids();
    bench.take("a.mp3");
    let entry = bench.take("b.mp3");
    bench.origin.lock().files.insert(path("c.mp3"), entry);
    bench.touch(&["a.mp3", "b.mp3", "c.mp3"]).await;
    bench.assert_same();
    assert!(!before.values().any(|id| *id == bench.ids()["c.mp3"]));
}

#[actix::test]
async fn copy_of_a_file_without_an_inode_is_a_file_of_its_own() {
    let bench = Bench::new();
    bench.put("a.mp3", 4096, NO_INODE);
    bench.rescan(false).await;
    bench.put("copy.mp3", 4096, NO_INODE);
    bench.touch(&["copy.mp3"]).await;
    assert_ne!(bench.ids()["a.mp3"], bench.ids()["copy.mp3"]);
}
