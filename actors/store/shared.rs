//! `StoreShared`: the open store, as its one writer and its readers share it.
//!
//! Outlives the writer: one that replaces another after a panic finds everything here or on disk. The one place through
//! which the index changes is [`StoreShared::commit`], which refuses every writer but the youngest; so a thread that froze
//! and woke again can write bytes that nothing refers to, and nothing else.

use std::fs::DirBuilder;
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use musicfs_protocol::store::{ReadStore, StoreError};
use musicfs_pure::content::{ChunkHash, ContentKey, Piece};
use musicfs_pure::eviction::Limits;
use musicfs_pure::piece_table::{PieceTable, SliceView, slices_of};
use parking_lot::Mutex;

use super::batch::Batch;
use super::reader::StoreReader;
use super::recovery;
use super::rows::{Location, damaged, failed, slice_key};
use super::segments::{Segment, SegmentTable};
use crate::storage::{CacheFamily, CacheStorage};

/// The folder of the segments in the cache folder.
const SEGMENTS: &str = "segments";

/// Damaged chunks that wait for the writer to drop their rows. More are found again when they are read again.
const MAX_DAMAGED: usize = 1024;

/// When a chunk's bytes are compared with its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// At its first read in a daemon's life.
    First,
    /// At every read.
    Always,
}

/// What the store may take, and how it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Every byte under the cache folder, as `du` counts them.
    pub bound: u64,
    /// What is to be left free on the file system.
    pub reserve: u64,
    /// When chunks are verified.
    pub verify: Verify,
}

impl StoreConfig {
    pub(super) fn limits(&self) -> Limits {
        Limits { bound: self.bound, reserve: self.reserve }
    }
}

/// A chunk whose bytes were not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedChunk {
    /// What they should have hashed to.
    pub hash: ChunkHash,
    /// A content that has it, and where: the range to fetch again.
    pub piece: Option<(ContentKey, Range<u64>)>,
    pub(super) location: Location,
}

/// What the store has done since it was opened.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Chunks whose bytes were compared with their hash.
    pub verified_chunks: AtomicU64,
    /// Chunks that were found damaged.
    pub damaged_chunks: AtomicU64,
    /// Reads of segments, for readers.
    pub segment_reads: AtomicU64,
    /// Bytes appended to segments.
    pub appended_bytes: AtomicU64,
    /// Bytes that were there already when they came again.
    pub deduplicated_bytes: AtomicU64,
    /// Segments given up.
    pub evicted_segments: AtomicU64,
}

/// The open store.
#[derive(Debug)]
pub struct StoreShared {
    pub(super) storage: CacheStorage,
    pub(super) config: StoreConfig,
    pub(super) segments: SegmentTable,
    pub(super) counters: StoreCounters,
    youngest_writer: Mutex<u64>,
    damaged: Mutex<Vec<DamagedChunk>>,
}

pub(super) fn io_error(error: io::Error) -> StoreError {
    StoreError::Io { reason: error.to_string() }
}

impl StoreShared {
    /// Opens the store: no segment is read, unless the index is new and has to be made from their logs.
    pub fn open(storage: CacheStorage, config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        let folder = storage.folder().join(SEGMENTS);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io_error)?;
        let shared = Arc::new(Self {
            storage,
            config,
            segments: SegmentTable::new(folder),
            counters: StoreCounters::default(),
            youngest_writer: Mutex::new(0),
            damaged: Mutex::default(),
        });
        recovery::open(&shared)?;
        Ok(shared)
    }

    /// A get-only handle.
    pub fn reader(self: &Arc<Self>) -> Arc<dyn ReadStore> {
        Arc::new(StoreReader::new(Arc::clone(self)))
    }

    /// What was counted since the store was opened.
    pub fn counters(&self) -> &StoreCounters {
        &self.counters
    }

    /// Makes `generation` the one that may commit.
    pub(super) fn take_over(&self, generation: u64) {
        *self.youngest_writer.lock() = generation;
    }

    /// Whether `generation` may still commit.
    pub(super) fn check_writer(&self, generation: u64) -> Result<(), StoreError> {
        if *self.youngest_writer.lock() == generation { Ok(()) } else { Err(StoreError::Revoked) }
    }

    /// Writes a batch for a writer, all or nothing.
    pub(super) fn commit(&self, generation: u64, batch: &Batch, sync: bool) -> Result<(), StoreError> {
        let youngest = self.youngest_writer.lock();
        if *youngest != generation {
            return Err(StoreError::Revoked);
        }
        self.storage.commit(batch.rows(), sync).map_err(failed)
    }

    /// The row of a chunk, whether or not it is valid.
    pub(super) fn chunk_row(&self, hash: &ChunkHash) -> Result<Option<Location>, StoreError> {
        self.storage.read(CacheFamily::Chunks, &hash.0, Location::decode).map_err(failed)?.transpose()
    }

    /// Where a piece's bytes are, if they are held.
    pub(super) fn locate(&self, piece: &Piece) -> Result<Option<(Arc<Segment>, Location)>, StoreError> {
        let Some(location) = self.chunk_row(&piece.hash)?.filter(|location| location.len == piece.len) else {
            return Ok(None);
        };
        let segment = self.segments.get(location.segment);
        Ok(segment.filter(|segment| segment.holds(&location)).map(|segment| (segment, location)))
    }

    /// What is known of a range of a content.
    pub(super) fn table(&self, content: ContentKey, size: u64, range: Range<u64>) -> Result<PieceTable, StoreError> {
        let mut table = PieceTable::covering(size, range.clone());
        for number in slices_of(range.start..range.end.min(size)) {
            let load = |row: &[u8]| SliceView::parse(number, row).and_then(|slice| table.load(&slice));
            let loaded = self.storage.read(CacheFamily::Slices, &slice_key(content, number), load).map_err(failed)?;
            loaded.transpose().map_err(|_| damaged(CacheFamily::Slices))?;
        }
        Ok(table)
    }

    /// Notes a damaged chunk: it is a hole from now on, and the writer will drop its row.
    pub(super) fn report_damage(&self, segment: &Segment, damaged: DamagedChunk) {
        segment.mark_bad(damaged.location.offset);
        self.counters.damaged_chunks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::warn!(segment = segment.id, offset = damaged.location.offset, hash = %damaged.hash, "held chunk is damaged");
        let mut waiting = self.damaged.lock();
        if waiting.len() < MAX_DAMAGED {
            waiting.push(damaged);
        }
    }

    /// Takes what was noted.
    pub(super) fn take_damaged(&self) -> Vec<DamagedChunk> {
        std::mem::take(&mut *self.damaged.lock())
    }
}
