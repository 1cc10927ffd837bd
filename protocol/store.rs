//! The get-only handle to the content store: which bytes of a content are held, and those bytes.
//!
//! FUSE threads answer held reads from this without a mailbox. A read remembers where it was in a small value that the
//! caller keeps ([`HeldRun`]), never an open file: the store may give up a segment under an open handle, and the next read
//! finds that out by itself. What is not held is a hole, and no error: whoever asked has another way to the bytes.

use std::ops::Range;

use musicfs_pure::content::ContentKey;

/// Why the store could not answer or keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("the cache's index failed: {reason}")]
    Database {
        /// In the words of the database.
        reason: String,
    },
    /// A row does not decode.
    #[error("the cache has a damaged row in `{table}`; stop the daemon and remove the cache folder to begin it anew")]
    Damaged {
        /// The table.
        table: &'static str,
    },
    /// A segment or its log cannot be read or written.
    #[error("the cache folder failed: {reason}; check its disk")]
    Io {
        /// In the words of the system.
        reason: String,
    },
    /// A younger writer has taken over.
    #[error("another writer of the cache has taken over")]
    Revoked,
}

/// What a held read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// So many bytes are in the buffer, from its beginning; what follows them, if not all were asked for, is a hole.
    Bytes(usize),
    /// The first byte is not held.
    Hole,
    /// The disk would have to be waited for: ask again from a pool, with [`ReadStore::read_blocking`].
    WouldBlock,
}

/// Where a reader was last: verified bytes that lie in one piece in one segment. Begins as the default and is only ever
/// handed back to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldRun {
    /// The content.
    pub content: Option<ContentKey>,
    /// First byte's place in the content.
    pub start: u64,
    /// How many bytes.
    pub len: u64,
    /// The segment's number.
    pub segment: u64,
    /// First byte's place in the segment.
    pub offset: u64,
    /// How often damage had been found in the segment when the run was verified.
    pub damage: u32,
}

impl HeldRun {
    /// Whether the byte at an offset of a content is in the run.
    pub fn covers(&self, content: ContentKey, offset: u64) -> bool {
        self.content == Some(content) && offset.checked_sub(self.start).is_some_and(|within| within < self.len)
    }
}

/// Reading the store.
pub trait ReadStore: Send + Sync + 'static {
    /// Fills a buffer with held bytes from `offset` on, up to the first hole, without waiting for the disk. Allocates
    /// nothing once its chunks have been verified.
    fn read_now(
        &self,
        content: ContentKey,
        offset: u64,
        buffer: &mut [u8],
        run: &mut HeldRun,
    ) -> Result<Held, StoreError>;

    /// The same, waiting for the disk.
    fn read_blocking(
        &self,
        content: ContentKey,
        offset: u64,
        buffer: &mut [u8],
        run: &mut HeldRun,
    ) -> Result<Held, StoreError>;

    /// The parts of a range that must be fetched before it can be read. A piece that is known and not held is named whole,
    /// because only a whole chunk can be compared with its hash.
    fn missing(&self, content: ContentKey, size: u64, range: Range<u64>) -> Result<Vec<Range<u64>>, StoreError>;
}
