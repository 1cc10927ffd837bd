//! Eviction: which bytes leave the store so that it stays within its bound.
//!
//! Bytes lie in append-only segments, so room is made by giving up the oldest segment whole: what is pinned, or was used
//! since it was written, is appended again at the end, the rest goes with the file. That is a clock over segments: a chunk
//! that is used once per round stays. Used chunks keep at most half of what a segment has besides pins, so that every round
//! frees something however busy the readers are; a segment that would free next to nothing is left where it is instead of
//! being copied round and round.
//!
//! Heads and tails that were read for tags have segments of their own, at most a tenth of the bound, and go first: a scan
//! of a million files never evicts music. Pins are refused beyond 80 % of the room. A cycle that frees too little says so,
//! and what was to be stored goes uncached: the bound is held before a write, never after it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// The smallest and largest segment: small enough to be sealed and evicted often with the smallest bound, large enough that
/// a terabyte is 8,192 files.
const MIN_SEGMENT_BYTES: u64 = 4 << 20;
const MAX_SEGMENT_BYTES: u64 = 128 << 20;

/// Segments that a bound is divided into: one of them is the headroom, 1.6 %.
const SEGMENTS_PER_BOUND: u64 = 64;

/// A segment that frees less than this part of itself is not worth the copying.
const LEAST_GAIN_DIVISOR: u64 = 16;

/// How long the segments of a store with this bound are.
pub fn segment_bytes(bound: u64) -> u64 {
    (bound / SEGMENTS_PER_BOUND).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
}

/// What the chunks of a segment were read for; the lesser goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentClass {
    /// Heads and tails of files, read for their tags.
    Ends,
    /// Everything else.
    Music,
}

/// A segment as eviction sees it. Numbers grow with time, so a smaller one is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub id: u64,
    /// What its chunks were read for.
    pub class: SegmentClass,
    /// What it takes on disk, with its log.
    pub bytes: u64,
}

/// Bytes on disk, as `du` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All segments with their logs.
    pub segments: u64,
    /// Those of heads and tails.
    pub ends: u64,
    /// The database and everything else in the cache folder, with what it may grow by before it is measured again.
    pub database: u64,
    /// What the file system has left.
    pub free_disk: u64,
}

/// What the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Every byte under the cache folder.
    pub bound: u64,
    /// What is to be left free on the file system.
    pub reserve: u64,
}

/// How much must go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Of any class.
    pub total: u64,
    /// Of heads and tails.
    pub ends: u64,
}

impl Shortage {
    /// Whether nothing must go.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Limits {
    /// What segments may take beside the database. One segment is headroom: while an old one is given up, what is kept of
    /// it is on disk twice.
    pub fn room(&self, database: u64) -> u64 {
        self.bound.saturating_sub(database).saturating_sub(segment_bytes(self.bound))
    }

    /// What must go before `incoming` bytes of a class are written.
    pub fn shortage(&self, usage: &Usage, class: SegmentClass, incoming: u64) -> Shortage {
        let over_bound = (usage.segments + incoming).saturating_sub(self.room(usage.database));
        let over_disk = (self.reserve + incoming).saturating_sub(usage.free_disk);
        let over_ends = match class {
            SegmentClass::Ends => (usage.ends + incoming).saturating_sub(self.bound / 10),
            SegmentClass::Music => 0,
        };
        Shortage { total: over_bound.max(over_disk), ends: over_ends }
    }

    /// Whether so many pinned bytes leave enough to work with: a fifth of the room. Less, and every read of something else
    /// would go round in the rest.
    pub fn allows_pins(&self, pinned: u64, database: u64) -> bool {
        pinned <= self.room(database) / 5 * 4
    }
}

/// A chunk of a segment that may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkUse {
    /// Its length.
    pub len: u64,
    /// A pinned content needs it.
    pub pinned: bool,
    /// It was read or found again since it was written here.
    pub used: bool,
}

/// What becomes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes, after the chunks of these positions have been appended again.
    Evict {
        /// Positions in the list that was judged, in order.
        keep: Vec<usize>,
    },
    /// It would free too little and stays.
    Leave,
}

/// Judges a segment by its chunks that are still referred to; what it holds besides is free already.
pub fn judge(segment: &Segment, chunks: &[ChunkUse]) -> Verdict {
    let pinned: u64 = chunks.iter().filter(|chunk| chunk.pinned).map(|chunk| chunk.len).sum();
    let mut left_for_used = segment.bytes.saturating_sub(pinned) / 2;
    let mut kept = 0;
    let mut keep = Vec::new();
    for (position, chunk) in chunks.iter().enumerate() {
        let stays_used = !chunk.pinned && chunk.used && chunk.len <= left_for_used;
        if stays_used {
            left_for_used -= chunk.len;
        }
        if chunk.pinned || stays_used {
            kept += chunk.len;
            keep.push(position);
        }
    }
    if segment.bytes.saturating_sub(kept) < segment.bytes / LEAST_GAIN_DIVISOR {
        return Verdict::Leave;
    }
    Verdict::Evict { keep }
}

/// One round of making room.
#[derive(Clone, Debug)]
pub struct Cycle {
    candidates: VecDeque<Segment>,
    shortage: Shortage,
}

impl Cycle {
    /// A round over sealed segments: heads and tails first, then music, each from the oldest on. What is appended again
    /// during the round is not looked at again in it.
    pub fn new(sealed: &[Segment], shortage: Shortage) -> Self {
        let mut candidates = sealed.to_vec();
        candidates.sort_unstable_by_key(|segment| (segment.class, segment.id));
        Self { candidates: candidates.into(), shortage }
    }

    /// The next segment to judge; nothing when enough has been freed or none is left.
    pub fn next_candidate(&mut self) -> Option<Segment> {
        if self.shortage.is_none() {
            return None;
        }
        let segment = self.candidates.pop_front()?;
        // Music makes no room for heads and tails.
        let helps = segment.class == SegmentClass::Ends || self.shortage.total > 0;
        helps.then_some(segment)
    }

    /// A candidate was given up, and so many bytes less are on disk.
    pub fn freed(&mut self, segment: &Segment, bytes: u64) {
        self.shortage.total = self.shortage.total.saturating_sub(bytes);
        if segment.class == SegmentClass::Ends {
            self.shortage.ends = self.shortage.ends.saturating_sub(bytes);
        }
    }

    /// What is still short.
    pub fn shortage(&self) -> Shortage {
        self.shortage
    }
}
