//! Open listings, and which of them have come to their end.
//!
//! A listing is over for the kernel when a request brings nothing, so every walk of a small folder asks twice, and the
//! second question costs the catalog as much as the first. Here a handle whose last answer reached the end remembers the
//! cursor behind it: the question that then comes is answered from memory. What is added behind the end meanwhile is not
//! listed any more, as POSIX allows; a listing that is rewound, or goes back, is read again. Only handles that are at their
//! end are held, until they are closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Locks that handles are spread over; a few times the number of FUSE threads.
const NUM_SHARDS: usize = 16;

/// The open listings.
#[derive(Default)]
pub(super) struct Listings {
    last: AtomicU64,
    /// Handle → the cursor behind the last entry.
    ended: [Mutex<HashMap<u64, u64>>; NUM_SHARDS],
}

impl Listings {
    /// The number of a listing that has just been opened.
    pub(super) fn open(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Nothing comes behind this cursor.
    pub(super) fn end(&self, handle: u64, cursor: u64) {
        self.shard(handle).lock().insert(handle, cursor);
    }

    /// Whether a listing has shown everything up to this cursor, and nothing came behind it.
    pub(super) fn has_ended(&self, handle: u64, cursor: u64) -> bool {
        self.shard(handle).lock().get(&handle) == Some(&cursor)
    }

    /// The listing is closed.
    pub(super) fn close(&self, handle: u64) {
        self.shard(handle).lock().remove(&handle);
    }

    fn shard(&self, handle: u64) -> &Mutex<HashMap<u64, u64>> {
        &self.ended[handle as usize % NUM_SHARDS]
    }
}
