//! What two piece tables have in common: the question of delta sync.
//!
//! Chunks are cut by content, so bytes that moved are found wherever they are now. One pass over each table and one hash
//! map: linear, and exact, because equal hashes of equal length are equal bytes. Where a chunk occurs more than once, the
//! place that goes on from the last match is taken, so that what was copied as one comes out as one run.

use std::collections::HashMap;

use crate::content::{ChunkHash, Piece};

use super::PieceTable;

/// A run of bytes that both tables know to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Where it is in the old content.
    pub old_offset: u64,
    /// Where it is in the new one.
    pub new_offset: u64,
    /// How long it is.
    pub len: u64,
}

/// The runs of `new` whose chunks `old` has too, in the order of `new`. What no run covers must come from elsewhere.
pub fn matches(old: &PieceTable, new: &PieceTable) -> Vec<Match> {
    let mut places: HashMap<(ChunkHash, u32), Vec<u64>> = HashMap::new();
    for piece in old.pieces() {
        places.entry((piece.hash, piece.len)).or_default().push(piece.offset);
    }
    let mut runs: Vec<Match> = Vec::new();
    for piece in new.pieces() {
        let Some(offsets) = places.get(&(piece.hash, piece.len)) else { continue };
        let next = runs.last().filter(|run| run.new_offset + run.len == piece.offset);
        let next = next.map(|run| run.old_offset + run.len);
        // offsets are in order, because the pieces of a table are
        let goes_on = next.filter(|next| offsets.binary_search(next).is_ok());
        match (goes_on, runs.last_mut()) {
            (Some(_), Some(run)) => run.len += u64::from(piece.len),
            _ => runs.push(begin(&piece, offsets)),
        }
    }
    runs
}

/// A new run: at the same offset if the chunk is there too, else at its first place.
fn begin(piece: &Piece, offsets: &[u64]) -> Match {
    let same = offsets.binary_search(&piece.offset).is_ok();
    let old_offset = if same { piece.offset } else { offsets.first().copied().unwrap_or_default() };
    Match { old_offset, new_offset: piece.offset, len: u64::from(piece.len) }
}
