//! Keys and rows of the store's index as they lie on disk.
//!
//! | table | key | row |
//! |---|---|---|
//! | chunks | chunk hash | [`Location`], 17 bytes |
//! | slices | content key, slice number u64 | a slice of the piece table (`pure::piece_table`) |
//! | contents | content key | [`ContentRow`] |
//! | segments | number u64 | [`SegmentRow`] |
//! | pins | chunk hash, content key | empty |
//! | meta | name | u64 |
//!
//! Numbers in keys are big-endian, so that rows lie in their order. A chunk's row is of fixed width because a held read
//! looks it up for every piece; the others are a version byte and postcard. Core types are not stored: each row type
//! exists for the disk alone, and byte-exact tests say when it changed.

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::{ChunkHash, Content, ContentKey, ManifestId};
use musicfs_pure::eviction::SegmentClass;
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::{Granularity, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::storage::{CacheFamily, StorageError};

/// The version of every row's present shape.
const ROW_VERSION: u8 = 1;

/// The next number that no segment ever had.
pub(super) const NEXT_SEGMENT: &[u8] = b"next_segment";

/// How often a writer has begun; the upper half of every sequence number.
pub(super) const GENERATION: &[u8] = b"generation";

/// There when the index describes the segments; without it, it is made from their logs.
pub(super) const INDEXED: &[u8] = b"indexed";

/// The sizes of all pinned contents together.
pub(super) const PINNED_BYTES: &[u8] = b"pinned_bytes";

/// The error for a row of this table that makes no sense.
pub(super) fn damaged(family: CacheFamily) -> StoreError {
    StoreError::Damaged { table: family.name() }
}

/// What the database said.
pub(super) fn failed(error: StorageError) -> StoreError {
    StoreError::Database { reason: error.to_string() }
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u64,
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Location {
    /// The place after the last byte.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }

    pub(super) fn encode(&self) -> [u8; 17] {
        let mut row = [ROW_VERSION; 17];
        row[1..9].copy_from_slice(&self.segment.to_le_bytes());
        row[9..13].copy_from_slice(&self.offset.to_le_bytes());
        row[13..].copy_from_slice(&self.len.to_le_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, StoreError> {
        let row: &[u8; 17] = row.try_into().map_err(|_| damaged(CacheFamily::Chunks))?;
        if row[0] != ROW_VERSION {
            return Err(damaged(CacheFamily::Chunks));
        }
        let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        let segment = u64::from(word(1)) | u64::from(word(5)) << 32;
        Ok(Self { segment, offset: word(9), len: word(13) })
    }
}

/// The key of a slice.
pub(super) fn slice_key(content: ContentKey, number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&content.0);
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The key of a pin.
pub(super) fn pin_key(hash: &ChunkHash, content: ContentKey) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&hash.0);
    key[32..].copy_from_slice(&content.0);
    key
}

/// A big-endian number that is a whole value or a whole key.
pub(super) fn decode_u64(family: CacheFamily, bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged(family))
}

/// A row as it is stored.
pub(super) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![ROW_VERSION]).map_err(|error| StoreError::Database { reason: error.to_string() })
}

/// A stored row.
pub(super) fn decode<'a, T: Deserialize<'a>>(family: CacheFamily, bytes: &'a [u8]) -> Result<T, StoreError> {
    let Some((&ROW_VERSION, row)) = bytes.split_first() else { return Err(damaged(family)) };
    match postcard::take_from_bytes(row) {
        Ok((row, [])) => Ok(row),
        _ => Err(damaged(family)),
    }
}

/// A segment's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DiskClass {
    Ends,
    Music,
}

impl From<SegmentClass> for DiskClass {
    fn from(class: SegmentClass) -> Self {
        match class {
            SegmentClass::Ends => Self::Ends,
            SegmentClass::Music => Self::Music,
        }
    }
}

impl From<DiskClass> for SegmentClass {
    fn from(class: DiskClass) -> Self {
        match class {
            DiskClass::Ends => Self::Ends,
            DiskClass::Music => Self::Music,
        }
    }
}

/// A segment that exists. Without `sealed` it is, or was when the process died, being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentRow {
    pub(super) class: DiskClass,
    /// The writer that began it.
    pub(super) generation: u64,
    /// What of it counts, once nothing is appended any more.
    pub(super) sealed: Option<Sealed>,
}

/// The lengths of a sealed segment and of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) bytes: u64,
    pub(super) log_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum DiskGranularity {
    Nanos,
    Seconds,
}

/// What a content is: what its key was made of, so that a table is never taken for another content's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContentRow {
    origin: [u8; 16],
    path: Vec<u8>,
    size: u64,
    mtime: (i64, u32),
    granularity: DiskGranularity,
    ino: Option<u64>,
    etag: Option<Box<str>>,
    /// The id of the whole content, once it was cut from its first byte to its last.
    manifest: Option<[u8; 32]>,
    pub(super) is_pinned: bool,
}

impl ContentRow {
    pub(super) fn new(content: &Content) -> Self {
        let Version { size, mtime, granularity, ino, etag } = content.version.clone();
        let granularity = match granularity {
            Granularity::Nanos => DiskGranularity::Nanos,
            Granularity::Seconds => DiskGranularity::Seconds,
        };
        Self {
            origin: content.origin,
            path: content.path.as_bytes().to_vec(),
            size,
            mtime: (mtime.secs, mtime.nanos),
            granularity,
            ino,
            etag,
            manifest: None,
            is_pinned: false,
        }
    }

    /// The content; nothing when the path is none, which is damage.
    pub(super) fn content(&self) -> Option<Content> {
        let granularity = match self.granularity {
            DiskGranularity::Nanos => Granularity::Nanos,
            DiskGranularity::Seconds => Granularity::Seconds,
        };
        let mtime = Timestamp::new(self.mtime.0, self.mtime.1);
        let version = Version { size: self.size, mtime, granularity, ino: self.ino, etag: self.etag.clone() };
        Some(Content { origin: self.origin, path: OriginPath::parse(&self.path).ok()?, version })
    }

    pub(super) fn manifest(&self) -> Option<ManifestId> {
        self.manifest.map(ManifestId)
    }

    pub(super) fn set_manifest(&mut self, manifest: Option<ManifestId>) {
        self.manifest = manifest.map(|id| id.0);
    }
}
