//! `SegmentTable`: the segments that exist, what of each counts, and their open files.
//!
//! A location in the index is valid only within the length of its segment that counts: everything beyond it was never
//! committed, or was cut off by a crash. That check, and the marks for "used" and "verified", are all that a held read
//! touches, so they take no lock that a writer holds for long. Marks are kept in memory and forgotten with the process: a
//! new daemon verifies again what it reads first, and evicts by age until it knows what is used.
//!
//! Segments are opened when they are read and closed when too many are open; a reader that is just reading keeps its own
//! hold of the file, also of one that was given up in between.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use musicfs_pure::content::ChunkHash;
use musicfs_pure::eviction::{self, SegmentClass};
use parking_lot::{Mutex, RwLock};

use super::rows::Location;

/// Segment files that are open for reading at once.
const MAX_OPEN_FILES: usize = 256;

/// Verified chunks that are remembered, about 32 MiB; beyond that all are forgotten and verified again.
const MAX_VERIFIED: usize = 1 << 20;

/// What one mark for "used" stands for: the smallest chunk. Smaller pieces share a mark, and a shared mark keeps a chunk
/// that could have gone.
const USED_GRANULE_BYTES: u32 = 16 << 10;

/// Words of marks per segment: enough for the longest.
const USED_WORDS: usize = (128 << 20) / USED_GRANULE_BYTES as usize / 64;

/// The unit in which a file takes disk.
const BLOCK_BYTES: u64 = 4096;

/// What a segment and its log may take beside their blocks, for the file system's own lists of them.
const SLACK_BYTES: u64 = 2 * BLOCK_BYTES;

/// A segment.
pub(super) struct Segment {
    pub(super) id: u64,
    pub(super) class: SegmentClass,
    file: RwLock<Option<Arc<File>>>,
    valid_bytes: AtomicU64,
    log_bytes: AtomicU64,
    is_sealed: AtomicBool,
    used: Box<[AtomicU64]>,
    /// By offset, the first bytes of the hash that was found there.
    verified: RwLock<HashMap<u32, u64>>,
    bad: RwLock<HashSet<u32>>,
    damage: AtomicU32,
}

impl Segment {
    pub(super) fn new(id: u64, class: SegmentClass) -> Self {
        Self {
            id,
            class,
            file: RwLock::default(),
            valid_bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            is_sealed: AtomicBool::new(false),
            used: (0..USED_WORDS).map(|_| AtomicU64::new(0)).collect(),
            verified: RwLock::default(),
            bad: RwLock::default(),
            damage: AtomicU32::new(0),
        }
    }

    /// Makes what was written so far count.
    pub(super) fn publish(&self, valid_bytes: u64, log_bytes: u64) {
        self.valid_bytes.store(valid_bytes, Ordering::Release);
        self.log_bytes.store(log_bytes, Ordering::Release);
    }

    pub(super) fn set_sealed(&self) {
        self.is_sealed.store(true, Ordering::Release);
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Acquire)
    }

    pub(super) fn valid_bytes(&self) -> u64 {
        self.valid_bytes.load(Ordering::Acquire)
    }

    /// What the segment and its log take on disk, at most.
    pub(super) fn disk_bytes(&self) -> u64 {
        let blocks = |bytes: u64| bytes.next_multiple_of(BLOCK_BYTES);
        blocks(self.valid_bytes()) + blocks(self.log_bytes.load(Ordering::Acquire)) + SLACK_BYTES
    }

    /// The segment as eviction sees it.
    pub(super) fn summary(&self) -> eviction::Segment {
        eviction::Segment { id: self.id, class: self.class, bytes: self.disk_bytes() }
    }

    /// Whether the bytes at a location count and are not known to be bad.
    pub(super) fn holds(&self, location: &Location) -> bool {
        location.end() <= self.valid_bytes() && !self.bad.read().contains(&location.offset)
    }

    fn used_mark(&self, offset: u32) -> (&AtomicU64, u64) {
        let granule = (offset / USED_GRANULE_BYTES) as usize;
        (&self.used[granule / 64 % USED_WORDS], 1 << (granule % 64))
    }

    pub(super) fn mark_used(&self, offset: u32) {
        let (word, mark) = self.used_mark(offset);
        if word.load(Ordering::Relaxed) & mark == 0 {
            word.fetch_or(mark, Ordering::Relaxed);
        }
    }

    pub(super) fn is_used(&self, offset: u32) -> bool {
        let (word, mark) = self.used_mark(offset);
        word.load(Ordering::Relaxed) & mark != 0
    }

    pub(super) fn is_verified(&self, offset: u32, hash: &ChunkHash) -> bool {
        self.verified.read().get(&offset) == Some(&short(hash))
    }

    /// How often damage was found here: what was resolved before the last time is resolved anew.
    pub(super) fn damage(&self) -> u32 {
        self.damage.load(Ordering::Acquire)
    }

    /// A chunk's bytes are not what they should be: nothing is read from there any more.
    pub(super) fn mark_bad(&self, offset: u32) {
        self.verified.write().remove(&offset);
        self.bad.write().insert(offset);
        self.damage.fetch_add(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({}, {:?}, {} B)", self.id, self.class, self.valid_bytes())
    }
}

fn short(hash: &ChunkHash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(first)
}

/// All segments.
#[derive(Debug)]
pub(super) struct SegmentTable {
    folder: PathBuf,
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    opened: Mutex<VecDeque<u64>>,
    num_verified: AtomicUsize,
}

impl SegmentTable {
    /// An empty table of the segments in a folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, segments: RwLock::default(), opened: Mutex::default(), num_verified: AtomicUsize::new(0) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn bytes_path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:016x}.seg"))
    }

    pub(super) fn log_path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:016x}.log"))
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Segment>> {
        self.segments.read().get(&id).cloned()
    }

    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.segments.write().insert(segment.id, segment);
    }

    pub(super) fn remove(&self, id: u64) {
        self.segments.write().remove(&id);
    }

    /// Every segment, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().cloned().collect()
    }

    /// The open file of a segment.
    pub(super) fn file(&self, segment: &Segment) -> io::Result<Arc<File>> {
        if let Some(file) = segment.file.read().as_ref() {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.bytes_path(segment.id))?);
        *segment.file.write() = Some(Arc::clone(&file));
        let mut opened = self.opened.lock();
        opened.push_back(segment.id);
        while opened.len() > MAX_OPEN_FILES {
            if let Some(oldest) = opened.pop_front().and_then(|id| self.get(id)) {
                *oldest.file.write() = None;
            }
        }
        Ok(file)
    }

    /// A chunk was read and is what it should be.
    pub(super) fn mark_verified(&self, segment: &Segment, offset: u32, hash: &ChunkHash) {
        if segment.verified.write().insert(offset, short(hash)).is_none()
            && self.num_verified.fetch_add(1, Ordering::Relaxed) >= MAX_VERIFIED
        {
            self.num_verified.store(0, Ordering::Relaxed);
            for segment in self.segments.read().values() {
                *segment.verified.write() = HashMap::new();
            }
        }
    }

    /// The numbers of the segments that have a file.
    pub(super) fn on_disk(&self) -> io::Result<Vec<u64>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".seg").or(name.strip_suffix(".log")));
            ids.extend(stem.filter(|stem| stem.len() == 16).and_then(|stem| u64::from_str_radix(stem, 16).ok()));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Removes a segment's files; those that are not there are no error.
    pub(super) fn unlink(&self, id: u64) -> io::Result<()> {
        for path in [self.bytes_path(id), self.log_path(id)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
