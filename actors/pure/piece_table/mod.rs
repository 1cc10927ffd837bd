//! `PieceTable`: what is known of a content's bytes, as ordered, disjoint pieces; what no piece covers is unknown.
//!
//! The one idea the rest hangs on: a read walks it, a fetch splices pieces in, delta sync compares two. It holds knowledge
//! and no bytes: a piece whose chunk is not in the store is a hole to refill, and its hash says what must come back.
//!
//! On disk a table lies in slices of 4 MiB of file, each with the pieces that *begin* in it, so that a splice rewrites a row
//! of some 2 KiB and a file of 100 GB is never loaded whole. In memory a table therefore *covers* a range: it knows every
//! piece that overlaps it, and refuses to answer about anything else. [`slices_of`] says which slices that takes; as no
//! piece is longer than 256 KiB, it is at most one more than the range touches.
//!
//! A splice replaces every piece that it touches. Where an old piece sticks out of what is spliced in, the rest of it is
//! forgotten, because a part of a chunk has no hash; the answer says what was. Must never hold two pieces that overlap or
//! one that reaches beyond the size: a read would then mix bytes.

mod compare;
mod slice;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::content::{ChunkHash, MAX_PIECE_BYTES, Piece};

pub use compare::{Match, matches};
pub use slice::{InvalidSlice, SLICE_BYTES, SliceView, slice_of, slices_of};

/// What a walk over a range comes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// A piece that overlaps the range, whole.
    Known(Piece),
    /// Unknown bytes, clipped to the range.
    Hole(Range<u64>),
}

/// What a splice changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spliced {
    /// Pieces that are not in the table any more, in order.
    pub replaced: Vec<Piece>,
    /// What was known before and is not now, in order.
    pub forgotten: Vec<Range<u64>>,
    /// The slices to be stored again.
    pub slices: BTreeSet<u64>,
}

/// Why pieces do not go into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// A piece is empty, longer than a piece can be, or reaches beyond the content.
    #[error("a piece at {offset} is empty, too long or beyond the end of its content")]
    InvalidPiece {
        /// Where the piece begins.
        offset: u64,
    },
    /// Two of the pieces are out of order or overlap.
    #[error("the piece at {offset} begins before the one before it ends")]
    Unordered {
        /// Where the second of them begins.
        offset: u64,
    },
    /// The table does not cover the piece.
    #[error("the piece at {offset} is outside of what is loaded of its table")]
    NotCovered {
        /// Where the piece begins.
        offset: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    len: u32,
    hash: ChunkHash,
}

impl Known {
    fn at(self, offset: u64) -> Piece {
        Piece { offset, len: self.len, hash: self.hash }
    }
}

/// What is known of a content's bytes within the range that the table covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceTable {
    size: u64,
    covered: Range<u64>,
    pieces: BTreeMap<u64, Known>,
}

impl PieceTable {
    /// A table of a whole content of which nothing is known.
    pub fn new(size: u64) -> Self {
        Self::covering(size, 0..size)
    }

    /// An empty table that covers a range; [`load`](Self::load) every slice of [`slices_of`] that range into it.
    pub fn covering(size: u64, range: Range<u64>) -> Self {
        let end = range.end.min(size);
        Self { size, covered: range.start.min(end)..end, pieces: BTreeMap::new() }
    }

    /// The size of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes about which the table knows everything that is known.
    pub fn covered(&self) -> Range<u64> {
        self.covered.clone()
    }

    /// Adds the pieces of a stored slice. A slice that contradicts the size or what is loaded is refused and adds nothing.
    pub fn load(&mut self, slice: &SliceView<'_>) -> Result<(), InvalidSlice> {
        let pieces: Vec<Piece> = slice.pieces().collect();
        let fits = |piece: &Piece| piece.end() <= self.size && self.overlapping(piece.range()).next().is_none();
        if let Some(piece) = pieces.iter().find(|piece| !fits(piece)) {
            return Err(InvalidSlice::OutOfPlace { offset: piece.offset });
        }
        self.pieces.extend(pieces.iter().map(|piece| (piece.offset, Known { len: piece.len, hash: piece.hash })));
        Ok(())
    }

    /// The pieces that begin in a slice, as the row that is stored; nothing when there is none.
    pub fn encode_slice(&self, number: u64) -> Option<Vec<u8>> {
        let start = number.saturating_mul(SLICE_BYTES);
        let pieces = self.pieces.range(start..start.saturating_add(SLICE_BYTES));
        slice::encode(number, pieces.map(|(&offset, known)| known.at(offset)))
    }

    /// Every piece, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.pieces.iter().map(|(&offset, known)| known.at(offset))
    }

    /// The pieces that overlap a range, in order.
    fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + use<'_> {
        let from = range.start.saturating_sub(u64::from(MAX_PIECE_BYTES) - 1);
        // A range that holds no byte overlaps nothing.
        let to = if range.is_empty() { from } else { range.end };
        let begun = self.pieces.range(from..to).map(|(&offset, known)| known.at(offset));
        begun.skip_while(move |piece| piece.end() <= range.start)
    }

    /// Walks a covered range from its start to its end: pieces and holes in order. What is not covered, or lies beyond
    /// the end of the content, is left out.
    pub fn walk(&self, range: Range<u64>) -> Vec<Span> {
        let end = range.end.min(self.covered.end);
        let mut at = range.start.max(self.covered.start);
        let mut spans = Vec::new();
        for piece in self.overlapping(at..end.max(at)) {
            if piece.offset > at {
                spans.push(Span::Hole(at..piece.offset));
            }
            at = piece.end();
            spans.push(Span::Known(piece));
        }
        if at < end {
            spans.push(Span::Hole(at..end));
        }
        spans
    }

    /// What must be fetched before a covered range can be read: its holes, and the whole of each piece in it whose chunk
    /// is not held, because only a whole chunk can be compared with its hash. Neighbours are one range.
    pub fn missing(&self, range: Range<u64>, mut is_held: impl FnMut(&Piece) -> bool) -> Vec<Range<u64>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        for span in self.walk(range) {
            let wanted = match span {
                Span::Known(piece) if is_held(&piece) => continue,
                Span::Known(piece) => piece.range(),
                Span::Hole(hole) => hole,
            };
            match missing.last_mut() {
                Some(last) if last.end == wanted.start => last.end = wanted.end,
                _ => missing.push(wanted),
            }
        }
        missing
    }

    /// Whether every covered byte is known.
    pub fn is_gapless(&self) -> bool {
        self.walk(self.covered()).iter().all(|span| matches!(span, Span::Known(_)))
    }

    /// Whether a refetched piece proves that the content was edited without a sign: the same bytes hash differently.
    pub fn contradicts(&self, piece: &Piece) -> bool {
        let known = self.pieces.get(&piece.offset);
        known.is_some_and(|known| known.len == piece.len && known.hash != piece.hash)
    }

    /// The piece that ends where a stream would go on: it was cut short when the stream before ended, and is cut again
    /// together with what follows.
    pub fn ragged_before(&self, offset: u64) -> Option<Piece> {
        let (&start, known) = self.pieces.range(..offset).next_back()?;
        Some(known.at(start)).filter(|piece| piece.end() == offset)
    }

    /// Puts pieces in, in the place of every piece that they overlap. They are ordered and disjoint; they need not be
    /// neighbours. After an error the table is as it was.
    pub fn splice(&mut self, pieces: &[Piece]) -> Result<Spliced, SpliceError> {
        self.check(pieces)?;
        let mut spliced = Spliced::default();
        for piece in pieces {
            let replaced: Vec<Piece> = self.overlapping(piece.range()).collect();
            for old in replaced {
                self.pieces.remove(&old.offset);
                spliced.slices.insert(slice_of(old.offset));
                spliced.replaced.push(old);
            }
            // A later piece of this splice may cover what an earlier one leaves of an old piece, so nothing that was put in
            // is ever replaced by the next: they are disjoint.
            self.pieces.insert(piece.offset, Known { len: piece.len, hash: piece.hash });
            spliced.slices.insert(slice_of(piece.offset));
        }
        let leftovers = spliced.replaced.iter().flat_map(|old| self.holes(old.range()));
        spliced.forgotten = leftovers.collect();
        Ok(spliced)
    }

    fn holes(&self, range: Range<u64>) -> Vec<Range<u64>> {
        // An old piece may reach beyond what is covered; what becomes of that part must be told as well.
        let mut at = range.start;
        let mut holes = Vec::new();
        for piece in self.overlapping(range.clone()) {
            holes.extend((at < piece.offset).then_some(at..piece.offset));
            at = piece.end();
        }
        holes.extend((at < range.end).then_some(at..range.end));
        holes
    }

    fn check(&self, pieces: &[Piece]) -> Result<(), SpliceError> {
        let mut end_before = 0;
        for piece in pieces {
            let offset = piece.offset;
            let end = offset.checked_add(u64::from(piece.len)).filter(|&end| end <= self.size);
            let Some(end) = end.filter(|_| (1..=MAX_PIECE_BYTES).contains(&piece.len)) else {
                return Err(SpliceError::InvalidPiece { offset });
            };
            if offset < end_before {
                return Err(SpliceError::Unordered { offset });
            }
            if offset < self.covered.start || end > self.covered.end {
                return Err(SpliceError::NotCovered { offset });
            }
            end_before = end;
        }
        Ok(())
    }

    /// Takes out the pieces that overlap a range, and answers what a splice would.
    pub fn forget(&mut self, range: Range<u64>) -> Spliced {
        let replaced: Vec<Piece> = self.overlapping(range).collect();
        let slices = replaced.iter().map(|piece| slice_of(piece.offset)).collect();
        for piece in &replaced {
            self.pieces.remove(&piece.offset);
        }
        Spliced { forgotten: replaced.iter().map(Piece::range).collect(), replaced, slices }
    }

    /// The pieces that lie wholly within a range, moved by as many bytes as what stood before them grew or shrank: what is
    /// known of a payload after an edit of the tags before it. Nothing when one would begin before the start.
    pub fn shifted(&self, range: Range<u64>, by: i64) -> Option<Vec<Piece>> {
        let inside = self.pieces.range(range.start..range.end.max(range.start));
        let inside = inside.map(|(&offset, known)| known.at(offset)).filter(|piece| piece.end() <= range.end);
        let moved = |piece: Piece| {
            let offset = piece.offset.checked_add_signed(by)?;
            offset.checked_add(u64::from(piece.len))?;
            Some(Piece { offset, ..piece })
        };
        inside.map(moved).collect()
    }
}
