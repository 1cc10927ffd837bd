//! A slice of a piece table as it is stored: the pieces that begin in 4 MiB of file, each 40 bytes.
//!
//! ```text
//! version u8 = 1 │ slice number u64 │ { offset in the slice u32 │ length u32 │ BLAKE3 [u8; 32] } …      little-endian
//! ```
//!
//! Fixed width and no general codec, because a read looks into the row where it lies: a piece is found by bisection, with
//! nothing decoded and nothing allocated. Hashes do not compress, so a varint would save 4 bytes of 40. The number is in
//! the row besides its key, so that a row under the wrong key is seen. A row that is not exactly this is refused whole.

use std::ops::Range;

use crate::content::{ChunkHash, MAX_PIECE_BYTES, Piece};

/// Bytes of file per slice: a splice into it costs 13 µs, against 122 with 64 MiB, and a row of 50 pieces is 2 KiB.
pub const SLICE_BYTES: u64 = 4 << 20;

/// The version of the present shape.
const VERSION: u8 = 1;

const HEADER_BYTES: usize = 9;
const PIECE_BYTES: usize = 40;

/// Why a stored slice is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSlice {
    /// Not of this version, not of this number, or not a whole number of pieces.
    #[error("a slice of a piece table does not decode")]
    Malformed,
    /// A piece is empty, too long, outside of its slice, overlaps another or reaches beyond the content.
    #[error("a slice of a piece table has a wrong piece at {offset}")]
    OutOfPlace {
        /// Where the piece begins.
        offset: u64,
    },
}

/// The slice that a piece at this offset is stored in.
pub fn slice_of(offset: u64) -> u64 {
    offset / SLICE_BYTES
}

/// The slices that hold every piece that overlaps a range.
pub fn slices_of(range: Range<u64>) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    let first = range.start.saturating_sub(u64::from(MAX_PIECE_BYTES) - 1);
    slice_of(first)..slice_of(range.end - 1) + 1
}

/// The row of a slice; nothing when no piece begins in it.
pub(super) fn encode(number: u64, pieces: impl Iterator<Item = Piece>) -> Option<Vec<u8>> {
    let mut row = vec![VERSION];
    row.extend_from_slice(&number.to_le_bytes());
    for piece in pieces {
        row.extend_from_slice(&((piece.offset % SLICE_BYTES) as u32).to_le_bytes());
        row.extend_from_slice(&piece.len.to_le_bytes());
        row.extend_from_slice(&piece.hash.0);
    }
    (row.len() > HEADER_BYTES).then_some(row)
}

/// A stored slice, looked at where it lies.
#[derive(Clone, Copy, Debug)]
pub struct SliceView<'a> {
    start: u64,
    pieces: &'a [[u8; PIECE_BYTES]],
}

impl<'a> SliceView<'a> {
    /// Checks a row of slice `number`.
    pub fn parse(number: u64, row: &'a [u8]) -> Result<Self, InvalidSlice> {
        let (header, body) = row.split_at_checked(HEADER_BYTES).ok_or(InvalidSlice::Malformed)?;
        let (pieces, rest) = body.as_chunks::<PIECE_BYTES>();
        let start = number.checked_mul(SLICE_BYTES).ok_or(InvalidSlice::Malformed)?;
        if header[0] != VERSION || header[1..] != number.to_le_bytes() || pieces.is_empty() || !rest.is_empty() {
            return Err(InvalidSlice::Malformed);
        }
        let view = Self { start, pieces };
        let mut end = start;
        for piece in view.pieces() {
            let in_slice = piece.offset >= end && piece.offset - start < SLICE_BYTES;
            if !in_slice
                || !(1..=MAX_PIECE_BYTES).contains(&piece.len)
                || piece.offset > u64::MAX - u64::from(piece.len)
            {
                return Err(InvalidSlice::OutOfPlace { offset: piece.offset });
            }
            end = piece.end();
        }
        Ok(view)
    }

    fn piece(&self, bytes: &[u8; PIECE_BYTES]) -> Piece {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[8..]);
        Piece { offset: self.start.saturating_add(u64::from(word(0))), len: word(4), hash: ChunkHash(hash) }
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + use<'a> {
        let view = *self;
        view.pieces.iter().map(move |bytes| view.piece(bytes))
    }

    /// The pieces in order, from the first that ends after `offset`.
    pub fn pieces_from(&self, offset: u64) -> impl Iterator<Item = Piece> + use<'a> {
        let first = self.pieces.partition_point(|bytes| self.piece(bytes).end() <= offset);
        let view = Self { start: self.start, pieces: &self.pieces[first..] };
        view.pieces()
    }
}
