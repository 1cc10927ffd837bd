//! The part of a file that is known so far, and how a walker asks for more.
//!
//! Ranges that arrived are kept as disjoint pieces, neighbours joined, so that a known stretch is one slice. A walker
//! calls [`Source::read`]; bytes that are not known yet become [`Stop::Need`], which names the range, extended by a
//! [`Hop`] so that what probably follows comes in the same request. Pictures and audio are never in memory: a walker
//! adds their length to its position. Nothing here may allocate by a length that the file claims: only bytes that
//! arrived are held, and of those at most [`MAX_KNOWN_BYTES`].

use std::cell::Cell;
use std::collections::BTreeMap;

use super::scan::{ByteRange, MalformedReason};

/// What is held at most: the scan asks for 1 MiB at most, and a caller may round its reads up to its own grid.
const MAX_KNOWN_BYTES: usize = 4 << 20;

/// How much is read where a header is expected: a page of tags with room for lyrics, an eighth of the 128 KiB that a
/// scan may cost.
pub(super) const HOP_BYTES: u64 = 16 << 10;

/// Reads that one walk makes at most. A file with every tag there is takes some hundred; without a bound a crafted one
/// could hold a walker to 262,144 empty comments or chunks, once more for each of the twelve requests.
const MAX_READS: u32 = 1 << 15;

/// Why a walker cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// These bytes are not known yet.
    Need(Vec<ByteRange>),
    /// The file ends before what its structures claim.
    Truncated,
    /// The bytes are not what the format allows.
    Malformed(MalformedReason),
}

/// How far a read that has to be made may reach beyond what is needed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// Length of the read.
    pub(super) bytes: u64,
    /// Offset beyond which nothing of interest lies.
    pub(super) end: u64,
}

impl Hop {
    /// The usual hop inside a structure that ends at `end`.
    pub(super) const fn within(end: u64) -> Self {
        Self { bytes: HOP_BYTES, end }
    }
}

/// The known pieces of a file of `size` bytes.
#[derive(Debug)]
pub(super) struct Source {
    size: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
    num_known_bytes: usize,
    /// Requests made so far; a walker gives up what is merely nice to have when there have been enough.
    pub(super) num_requests: u32,
    /// Reads of the present walk.
    num_reads: Cell<u32>,
}

impl Source {
    /// A file of which nothing is known.
    pub(super) fn new(size: u64) -> Self {
        Self { size, pieces: BTreeMap::new(), num_known_bytes: 0, num_requests: 0, num_reads: Cell::new(0) }
    }

    /// The file's length.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Begins a walk anew.
    pub(super) fn begin_walk(&self) {
        self.num_reads.set(0);
    }

    /// Reads of the present walk.
    #[cfg(test)]
    pub(super) fn num_reads(&self) -> u32 {
        self.num_reads.get()
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn num_known_bytes(&self) -> usize {
        self.num_known_bytes
    }

    /// Takes note that the file ends at `size`, because a read there came back short.
    pub(super) fn truncate(&mut self, size: u64) {
        self.size = self.size.min(size);
    }

    /// Adds bytes that arrived; what is known already stays.
    pub(super) fn insert(&mut self, offset: u64, bytes: &[u8]) {
        let len = self.size.saturating_sub(offset).min(bytes.len() as u64);
        for gap in self.unknown(ByteRange { offset, len }) {
            if self.num_known_bytes.saturating_add(gap.len as usize) > MAX_KNOWN_BYTES {
                return;
            }
            let start = (gap.offset - offset) as usize;
            self.pieces.insert(gap.offset, bytes[start..start + gap.len as usize].to_vec());
            self.num_known_bytes += gap.len as usize;
            self.join(gap.offset);
        }
    }

    /// Joins the piece at `offset` with its neighbours.
    fn join(&mut self, offset: u64) {
        let Some(mut middle) = self.pieces.remove(&offset) else { return };
        if let Some(after) = self.pieces.remove(&(offset + middle.len() as u64)) {
            middle.extend_from_slice(&after);
        }
        match self.pieces.range_mut(..offset).next_back() {
            Some((&start, before)) if start + before.len() as u64 == offset => before.extend_from_slice(&middle),
            _ => {
                self.pieces.insert(offset, middle);
            }
        }
    }

    /// The known bytes from `offset` on, as far as they are in one piece.
    fn piece_from(&self, offset: u64) -> Option<&[u8]> {
        let (&start, piece) = self.pieces.range(..=offset).next_back()?;
        piece.get((offset - start) as usize..).filter(|rest| !rest.is_empty())
    }

    /// Which parts of a range are not known, in order.
    pub(super) fn unknown(&self, range: ByteRange) -> Vec<ByteRange> {
        let end = range.offset.saturating_add(range.len).min(self.size);
        let mut at = range.offset;
        let mut gaps = Vec::new();
        while at < end {
            if let Some(known) = self.piece_from(at) {
                at = at.saturating_add(known.len() as u64);
                continue;
            }
            let next = self.pieces.range(at..).next().map_or(end, |(&start, _)| start.min(end));
            gaps.push(ByteRange { offset: at, len: next - at });
            at = next;
        }
        gaps
    }

    /// A range if all of it is known.
    pub(super) fn known(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let piece = self.piece_from(offset)?;
        piece.get(..usize::try_from(len).ok()?)
    }

    /// A range, or the request that brings it.
    pub(super) fn read(&self, offset: u64, len: u64, hop: Hop) -> Result<&[u8], Stop> {
        if len == 0 {
            return Ok(&[]);
        }
        if self.num_reads.get() >= MAX_READS {
            return Err(Stop::Malformed(MalformedReason::TooCostly));
        }
        self.num_reads.set(self.num_reads.get() + 1);
        let end = offset.checked_add(len).filter(|&end| end <= self.size).ok_or(Stop::Truncated)?;
        if let Some(bytes) = self.known(offset, len) {
            return Ok(bytes);
        }
        let far = offset.saturating_add(hop.bytes).min(hop.end).min(self.size).max(end);
        Err(Stop::Need(vec![ByteRange { offset, len: far - offset }]))
    }

    /// As [`Source::read`], for a header of known length.
    pub(super) fn array<const N: usize>(&self, offset: u64, hop: Hop) -> Result<[u8; N], Stop> {
        let bytes = self.read(offset, N as u64, hop)?;
        bytes.try_into().map_err(|_| Stop::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against an oracle of one optional byte per offset.
        #[test]
        fn source_agrees_with_a_map_of_bytes(
            inserts in proptest::collection::vec((0_u64..40, 0_usize..12), 0..12),
            (offset, len) in (0_u64..40, 1_u64..12),
        ) {
            let file: Vec<u8> = (0..32).collect();
            let mut source = Source::new(32);
            let mut oracle = [None; 32];
            for (start, len) in inserts {
                let bytes: Vec<u8> = (start..start + len as u64).map(|at| at as u8).collect();
                source.insert(start, &bytes);
                for at in start..(start + len as u64).min(32) {
                    oracle[at as usize] = Some(file[at as usize]);
                }
            }
            let wanted: Option<Vec<u8>> = (offset..offset + len).map(|at| *oracle.get(at as usize)?).collect();
            prop_assert_eq!(source.known(offset, len).map(<[u8]>::to_vec), wanted);
            let unknown: Vec<u64> = source
                .unknown(ByteRange { offset, len })
                .iter()
                .flat_map(|gap| gap.offset..gap.offset + gap.len)
                .collect();
            let holes: Vec<u64> =
                (offset..(offset + len).min(32)).filter(|&at| oracle[at as usize].is_none()).collect();
            prop_assert_eq!(unknown, holes);
            let known_starts: Vec<(u64, usize)> = source.pieces.iter().map(|(&at, piece)| (at, piece.len())).collect();
            prop_assert!(known_starts.windows(2).all(|pair| pair[0].0 + (pair[0].1 as u64) < pair[1].0));
        }
    }

    #[test]
    fn source_read_beyond_the_end_is_truncated() {
        let source = Source::new(10);
        assert_eq!(source.read(8, 3, Hop::within(u64::MAX)), Err(Stop::Truncated));
        assert_eq!(source.read(u64::MAX, 3, Hop::within(u64::MAX)), Err(Stop::Truncated));
    }

    #[test]
    fn source_that_is_read_without_end_refuses_until_the_next_walk() {
        let mut source = Source::new(10);
        source.insert(0, &[1; 10]);
        let is_read = |source: &Source| source.read(3, 2, Hop::within(10)).is_ok();
        let reads = |source: &Source| (0..2 * MAX_READS).filter(|_| is_read(source)).count();
        assert_eq!(reads(&source), MAX_READS as usize);
        assert_eq!(source.read(3, 2, Hop::within(10)), Err(Stop::Malformed(MalformedReason::TooCostly)));
        source.begin_walk();
        assert_eq!(reads(&source), MAX_READS as usize);
    }

    #[test]
    fn source_read_reaches_to_the_hop_and_not_beyond_the_file() {
        let source = Source::new(10);
        let need = Stop::Need(vec![ByteRange { offset: 2, len: 8 }]);
        assert_eq!(source.read(2, 3, Hop::within(u64::MAX)), Err(need));
    }
}
