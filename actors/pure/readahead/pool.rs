//! `ReadaheadPool`: the handles that share one budget of bytes in flight.
//!
//! What is planned ahead counts from the plan until it has settled (arrived, failed, or turned out to be held). When a
//! handle wants more than is free, it gets what is free, and the handles that were read least recently begin anew with a
//! small window until enough would be free: a player that was paused gives way to the one that plays. A reader's own bytes
//! do not count: they are bounded by their permits, and a budget must never hold up a reader.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use super::{FIRST_WINDOW_BYTES, Plan, Readahead};

/// A handle that gives way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrink<K> {
    /// Which.
    pub handle: K,
    /// Fetches of this range that have not begun may be dropped; [`ReadaheadPool::cancelled`] says so.
    pub unneeded: Range<u64>,
}

/// What to do about a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan<K> {
    /// For the handle that was read.
    pub plan: Plan,
    /// Handles that give way to it, least recently read first.
    pub shrunk: Vec<Shrink<K>>,
    /// The handle's new trigger.
    pub trigger_offset: Option<u64>,
}

#[derive(Clone, Debug)]
struct Handle {
    readahead: Readahead,
    in_flight: u64,
    last_read: u64,
}

/// Handles and their common budget.
#[derive(Clone, Debug)]
pub struct ReadaheadPool<K> {
    budget: u64,
    handles: HashMap<K, Handle>,
    reads: u64,
}

impl<K: Copy + Eq + Hash + Ord> ReadaheadPool<K> {
    /// No handles, and room for `budget` bytes in flight.
    pub fn new(budget: u64) -> Self {
        Self { budget, handles: HashMap::new(), reads: 0 }
    }

    /// Adds a handle to a content of this size.
    pub fn open(&mut self, handle: K, size: u64) {
        self.handles.insert(handle, Handle { readahead: Readahead::new(size), in_flight: 0, last_read: 0 });
    }

    /// Forgets a handle. What it has in flight does not count any more: nobody waits for it, so it is to be dropped.
    pub fn close(&mut self, handle: &K) {
        self.handles.remove(handle);
    }

    /// Bytes planned ahead and not settled.
    pub fn in_flight(&self) -> u64 {
        self.handles.values().map(|handle| handle.in_flight).sum()
    }

    /// A handle was read. Nothing for an unknown one.
    pub fn read(&mut self, handle: K, range: Range<u64>) -> Option<PoolPlan<K>> {
        let free = self.budget.saturating_sub(self.in_flight());
        let wanted = self.handles.get(&handle)?.readahead.wanted(range.clone());
        let shrunk = self.make_room(handle, wanted.saturating_sub(free));
        self.reads += 1;
        let entry = self.handles.get_mut(&handle)?;
        entry.last_read = self.reads;
        let plan = entry.readahead.read(range, free);
        entry.in_flight += plan.ahead.iter().map(|range| range.end - range.start).sum::<u64>();
        Some(PoolPlan { plan, shrunk, trigger_offset: entry.readahead.trigger_offset() })
    }

    /// So many bytes of a handle's plans arrived, failed, or were held already.
    pub fn settled(&mut self, handle: &K, bytes: u64) {
        if let Some(entry) = self.handles.get_mut(handle) {
            entry.in_flight = entry.in_flight.saturating_sub(bytes);
        }
    }

    /// A handle's plans from `offset` on, so many bytes of them unsettled, will not be fetched.
    pub fn cancelled(&mut self, handle: &K, offset: u64, bytes: u64) {
        self.settled(handle, bytes);
        if let Some(entry) = self.handles.get_mut(handle) {
            entry.readahead.cancelled(offset);
        }
    }

    /// Shrinks handles, least recently read first, until so many bytes would come free.
    fn make_room(&mut self, reader: K, mut shortage: u64) -> Vec<Shrink<K>> {
        if shortage == 0 {
            return Vec::new();
        }
        let is_large = |handle: &Handle| handle.in_flight > 0 && handle.readahead.window() > FIRST_WINDOW_BYTES;
        let others = self.handles.iter_mut().filter(|(key, handle)| **key != reader && is_large(handle));
        let mut others: Vec<(&K, &mut Handle)> = others.collect();
        others.sort_unstable_by_key(|(key, handle)| (handle.last_read, **key));
        let mut shrunk = Vec::new();
        for (&key, handle) in others {
            if shortage == 0 {
                break;
            }
            let ahead = handle.readahead.ahead();
            let unneeded = ahead.end.min(ahead.start.saturating_add(FIRST_WINDOW_BYTES))..ahead.end;
            handle.readahead.shrink();
            shortage = shortage.saturating_sub(handle.in_flight);
            shrunk.push(Shrink { handle: key, unneeded });
        }
        shrunk
    }
}
