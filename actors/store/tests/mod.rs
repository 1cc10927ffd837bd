//! Tests of the store without its actor, and the tools they share.
//!
//! `Fixture` is an open store in a folder of its own, with a writer and a reader over it; contents are made from seeds, so
//! that every byte that a read answers can be compared with what it should be. The one thing that must hold in every test,
//! whatever was cut off, damaged or given up: a read answers the right bytes or a hole.

mod allocations;
mod crashes;
mod damage;
mod eviction;
mod random;
mod reading;
mod row_bytes;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fail::FailScenario;
use musicfs_protocol::store::{Held, HeldRun, ReadStore};
use musicfs_pure::chunking::Chunker;
use musicfs_pure::content::{Content, Piece};
use musicfs_pure::eviction::SegmentClass;
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::{Granularity, Timestamp, Version};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Kept, NewPiece, StoreConfig, StoreShared, Verify, Writer};
use crate::storage::{CacheConfig, CacheStorage};

const MIB: u64 = 1 << 20;

/// The smallest bound: segments of 4 MiB.
const BOUND: u64 = 64 * MIB;

/// Failpoints are one for the whole process: who sets any is alone with its stores.
static FAILPOINTS: RwLock<()> = RwLock::new(());

/// Bytes from a seed.
fn bytes(seed: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A content by number, with its bytes.
fn content(number: u64, len: u64) -> (Content, Vec<u8>) {
    let mtime = Timestamp::new(number as i64, 0);
    let version = Version { size: len, mtime, granularity: Granularity::Nanos, ino: None, etag: None };
    let path = OriginPath::parse(format!("song {number}").as_bytes()).unwrap();
    (Content { origin: [1; 16], path, version }, bytes(number, len))
}

/// The pieces of a run that begins at `offset`.
fn cut(offset: u64, bytes: &[u8]) -> Vec<(Piece, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut take = |piece: Piece, bytes: &[u8]| pieces.push((piece, bytes.to_vec()));
    let mut chunker = Chunker::new(offset);
    chunker.feed(bytes, &mut take);
    chunker.finish(&mut take);
    pieces
}

fn config(bound: u64) -> StoreConfig {
    StoreConfig { bound, reserve: 0, verify: Verify::First }
}

fn open(folder: &Path, config: StoreConfig) -> Arc<StoreShared> {
    let storage = CacheStorage::open(&CacheConfig { cache_dir: folder.to_owned(), bound: config.bound }).unwrap();
    StoreShared::open(storage, config).unwrap()
}

/// Keeps the failpoints off, or for one test alone.
enum Guard {
    Off { _guard: RwLockReadGuard<'static, ()> },
    Mine { _scenario: FailScenario<'static>, _guard: RwLockWriteGuard<'static, ()> },
}

/// An open store.
struct Fixture {
    shared: Arc<StoreShared>,
    writer: Writer,
    reader: Arc<dyn ReadStore>,
    config: StoreConfig,
    folder: tempfile::TempDir,
    guard: Guard,
}

impl Fixture {
    fn new() -> Self {
        Self::with(config(BOUND))
    }

    fn with(config: StoreConfig) -> Self {
        Self::begin(config, Guard::Off { _guard: FAILPOINTS.read() })
    }

    /// A store for a test that sets failpoints.
    fn failing() -> Self {
        let guard = FAILPOINTS.write();
        Self::begin(config(BOUND), Guard::Mine { _scenario: FailScenario::setup(), _guard: guard })
    }

    fn begin(config: StoreConfig, guard: Guard) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, config, guard)
    }

    fn over(folder: tempfile::TempDir, config: StoreConfig, guard: Guard) -> Self {
        let shared = open(folder.path(), config);
        let writer = Writer::new(Arc::clone(&shared)).unwrap();
        let reader = shared.reader();
        Self { shared, writer, reader, config, folder, guard }
    }

    /// Another daemon over the same folder, or over what `change` makes of it while none runs.
    fn reopen(self, change: impl FnOnce(&Path)) -> Self {
        let Self { shared, writer, reader, config, folder, guard } = self;
        drop((shared, writer, reader));
        change(folder.path());
        Self::over(folder, config, guard)
    }

    fn keep_as(&mut self, class: SegmentClass, content: &Content, offset: u64, bytes: &[u8]) -> Kept {
        let pieces = cut(offset, bytes);
        let run: Vec<NewPiece<'_>> = pieces.iter().map(|(piece, bytes)| NewPiece { piece: *piece, bytes }).collect();
        self.writer.keep(content, class, &run).unwrap()
    }

    fn keep(&mut self, content: &Content, offset: u64, bytes: &[u8]) -> Kept {
        self.keep_as(SegmentClass::Music, content, offset, bytes)
    }

    /// Holds a whole content.
    fn keep_all(&mut self, number: u64, len: u64) -> (Content, Vec<u8>) {
        let (content, bytes) = content(number, len);
        assert_eq!(self.keep(&content, 0, &bytes), Kept::Held);
        (content, bytes)
    }

    /// How many bytes of a content are held; panics when one is not the right one.
    fn held(&self, content: &Content, bytes: &[u8]) -> u64 {
        held(self.reader.as_ref(), content, bytes)
    }

    fn missing(&self, content: &Content) -> Vec<Range<u64>> {
        let size = content.version.size;
        self.reader.missing(content.key(), size, 0..size).unwrap()
    }

    fn segment_files(&self) -> Vec<PathBuf> {
        segment_files(self.folder.path(), "seg")
    }

    fn count(&self, counter: impl Fn(&super::StoreCounters) -> &std::sync::atomic::AtomicU64) -> u64 {
        counter(self.shared.counters()).load(Ordering::Relaxed)
    }
}

fn held(reader: &dyn ReadStore, content: &Content, bytes: &[u8]) -> u64 {
    let (mut at, mut count) = (0, 0);
    let mut buffer = vec![0; 128 << 10];
    let mut run = HeldRun::default();
    while at < bytes.len() {
        let len = buffer.len().min(bytes.len() - at);
        match reader.read_blocking(content.key(), at as u64, &mut buffer[..len], &mut run).unwrap() {
            Held::Bytes(read) => {
                assert!(buffer[..read] == bytes[at..at + read], "wrong bytes at {at} of {content:?}");
                count += read;
                at += read;
            }
            Held::Hole => {
                let size = content.version.size;
                let holes = reader.missing(content.key(), size, at as u64..size).unwrap();
                // a chunk may have gone between the two questions, so the hole may begin later
                let hole = holes.iter().find(|hole| hole.end > at as u64).expect("a hole");
                at = if hole.start <= at as u64 { hole.end as usize } else { at + 1 };
            }
            Held::WouldBlock => panic!("a blocking read does not"),
        }
    }
    count as u64
}

/// Segment or log files of a cache folder, oldest first.
fn segment_files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == extension)).collect();
    paths.sort();
    paths
}

/// What `du` says of a folder.
fn du(folder: &Path) -> u64 {
    super::usage::disk_bytes(folder, Path::new("")).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else if let Err(error) = std::fs::copy(entry.path(), target) {
            // RocksDB removes files of its own while they are copied
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}
