//! The grid: where short runs are cut, and where fetches begin and end.
//!
//! A run of less than 1 MiB gives so few cuts that are the content's own that cutting by content buys nothing; it is kept as
//! plain pieces that end at multiples of 128 KiB, the size of a kernel read. Ranges read for tags are on 64 KiB, because
//! most of them need no more. As every fetch is on the same grid, two readers that want one block want the same range.

use std::ops::Range;

use crate::content::{ChunkHash, Piece};

use super::TakePiece;

/// The grid of readers' fetches: what the kernel asks for at most.
pub const GRID_BYTES: u64 = 128 << 10;

/// The grid of fetches for tags.
pub const TAG_GRID_BYTES: u64 = 64 << 10;

/// Runs from here on are cut by content.
pub const MIN_STREAM_BYTES: u64 = 1 << 20;

/// The range made whole on a grid, within the content.
pub fn align_to_grid(range: Range<u64>, grid: u64, size: u64) -> Range<u64> {
    if range.is_empty() || range.start >= size {
        return size..size;
    }
    let start = range.start - range.start % grid;
    let end = range.end.checked_next_multiple_of(grid).unwrap_or(u64::MAX);
    start..end.min(size)
}

/// Cuts a run that begins at `offset` at the lines of a grid.
pub fn cut_on_grid(offset: u64, mut bytes: &[u8], grid: u64, take: &mut TakePiece<'_>) {
    let mut at = offset;
    while !bytes.is_empty() {
        let to_line = (grid - at % grid) as usize;
        let (piece, rest) = bytes.split_at(to_line.min(bytes.len()));
        take(Piece { offset: at, len: piece.len() as u32, hash: ChunkHash::of(piece) }, piece);
        at += piece.len() as u64;
        bytes = rest;
    }
}
