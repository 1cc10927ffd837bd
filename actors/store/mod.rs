//! The content store: chunks in append-only segments, an index over them, and what is known of each content.
//!
//! ```text
//!              keep(run)                                     read_now(content, offset)
//!   Writer ───────────────► segment (bytes) ─► log ─► index ◄─────────────────────── StoreReader
//!     │   make room             NNNN.seg     NNNN.log  RocksDB        one pread per run
//!     └── evictor: the oldest segment goes, what is pinned or used is appended again
//! ```
//!
//! One [`Writer`] changes it; [`StoreReader`](musicfs_protocol::store::ReadStore) handles and the [`Scrubber`] read it.
//! [`StoreShared`] is what outlives a writer. Bytes are written before the log that describes them and the log before the
//! index that finds them, and an index entry counts only within the length of its segment that is known to be written, so
//! whatever a crash cuts off, what is left is right; a power cut may cost cached bytes, which are fetched again. That a
//! byte is the right one, its chunk's BLAKE3 says, at its first read and again when it is scrubbed. Everything under the
//! cache folder stays within the bound, as `du` sees it.
//!
//! No clock, no threads and no actix in here: it is called by whoever owns the writer. Must never serve a byte that was not
//! verified, write to an index that another writer has taken over, or refuse a read because it cannot store.

mod batch;
mod evictor;
mod log;
mod open_segment;
mod pins;
mod reader;
mod recovery;
mod rows;
mod scrubber;
mod segments;
mod shared;
#[cfg(test)]
mod tests;
mod usage;
mod writer;

pub use scrubber::{Scrubbed, Scrubber};
pub use shared::{DamagedChunk, StoreConfig, StoreCounters, StoreShared, Verify};
pub use writer::{Kept, NewPiece, Uncached, Writer};
