//! `Chunker`: cuts an ordered stream of bytes into pieces where its content says, and hashes each.
//!
//! FastCDC as of 2020 with normalisation level 1, 16 KiB / 64 KiB / 256 KiB (real average about 80): an edit moves the cuts
//! near it and no others, so what two files share is found whatever stands before it. The cuts come from a library and are
//! frozen by tests: caches in the field, and the agreement between origins, depend on every one of them. Changing
//! anything about a cut needs a new [`CHUNKER_VERSION`].
//!
//! A stream is cut by *one* chunker: independent ranges cut alone agree with the whole in one cut of ten only. A stream
//! that ends in the middle leaves a *ragged* piece, cut where the bytes ended. [`Chunker::resume`] takes that piece's bytes
//! back in front of what follows, and from there the cuts are those of the undivided stream. A run that is too short to
//! be worth cutting lies on a fixed grid (`grid`) until the file is complete and cut anew; a complete file's cuts from its
//! first byte are its manifest (`manifest`).
//!
//! A cut is looked for only when 256 KiB are there or the stream has ended, so nothing is scanned twice. Bytes are
//! borrowed from what is fed where a piece lies wholly in it; at most 256 KiB are kept besides.

mod grid;
mod manifest;
#[cfg(test)]
mod tests;

use fastcdc::v2020;

use crate::content::{ChunkHash, MAX_PIECE_BYTES, Piece};

pub use grid::{GRID_BYTES, MIN_STREAM_BYTES, TAG_GRID_BYTES, align_to_grid, cut_on_grid};
pub use manifest::ManifestBuilder;

/// Part of every [`ManifestId`](crate::content::ManifestId): manifests of different chunkers are never taken for one.
pub const CHUNKER_VERSION: u8 = 1;

/// The shortest piece, apart from the end of a stream: shorter ones cost more in rows than they save in bytes.
pub const MIN_CHUNK_BYTES: u32 = 16 << 10;

/// What the cuts are normalised around: half of a kernel read, so that a read meets a few pieces and not dozens.
pub const AVG_CHUNK_BYTES: u32 = 64 << 10;

/// The longest piece.
pub const MAX_CHUNK_BYTES: u32 = MAX_PIECE_BYTES;

/// Takes each piece with its bytes.
pub type TakePiece<'a> = dyn FnMut(Piece, &[u8]) + 'a;

/// Cuts one ordered stream.
#[derive(Debug)]
pub struct Chunker {
    /// Where the next piece begins.
    offset: u64,
    /// What was fed and is not in a piece yet.
    kept: Vec<u8>,
    masks: (u64, u64),
}

impl Chunker {
    /// A chunker for a stream whose first byte is at `offset` of its content.
    pub fn new(offset: u64) -> Self {
        let masks = v2020::select_masks(AVG_CHUNK_BYTES as usize, v2020::Normalization::Level1);
        Self { offset, kept: Vec::new(), masks }
    }

    /// A chunker that goes on where a stream before ended: `ragged` are the bytes of the piece that it left last. They come
    /// out again, in a piece of their own or together with what follows.
    pub fn resume(offset: u64, ragged: &[u8]) -> Self {
        let mut chunker = Self::new(offset);
        chunker.kept.extend_from_slice(ragged);
        chunker
    }

    /// The place in the content up to which the stream was fed.
    pub fn fed_to(&self) -> u64 {
        self.offset.saturating_add(self.kept.len() as u64)
    }

    /// Takes the next bytes of the stream and gives the pieces that are certain by now.
    pub fn feed(&mut self, mut bytes: &[u8], take: &mut TakePiece<'_>) {
        while self.kept.len() + bytes.len() >= MAX_CHUNK_BYTES as usize {
            if self.kept.is_empty() {
                let (piece, rest) = bytes.split_at(self.cut(bytes));
                self.give(piece, take);
                bytes = rest;
            } else {
                bytes = self.fill(bytes);
                self.give_kept(take);
            }
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Ends the stream. The last piece is cut where the bytes end; at the end of a content it is no different from any
    /// other, elsewhere it is ragged.
    pub fn finish(mut self, take: &mut TakePiece<'_>) {
        while !self.kept.is_empty() {
            self.give_kept(take);
        }
    }

    /// Moves bytes to the kept ones until a cut among those is certain.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let wanted = (MAX_CHUNK_BYTES as usize).saturating_sub(self.kept.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(wanted);
        self.kept.extend_from_slice(taken);
        rest
    }

    fn give_kept(&mut self, take: &mut TakePiece<'_>) {
        let kept = std::mem::take(&mut self.kept);
        let len = self.cut(&kept);
        self.give(&kept[..len], take);
        self.kept = kept;
        self.kept.drain(..len);
    }

    fn cut(&self, window: &[u8]) -> usize {
        let (strict, relaxed) = self.masks;
        let [min, avg, max] = [MIN_CHUNK_BYTES, AVG_CHUNK_BYTES, MAX_CHUNK_BYTES].map(|bytes| bytes as usize);
        // The masks for the second byte of each pair are the same ones, shifted: that is how the library is called by itself.
        v2020::cut(window, min, avg, max, strict, relaxed, strict << 1, relaxed << 1).1
    }

    fn give(&mut self, bytes: &[u8], take: &mut TakePiece<'_>) {
        let piece = Piece { offset: self.offset, len: bytes.len() as u32, hash: ChunkHash::of(bytes) };
        self.offset = piece.end();
        take(piece, bytes);
    }
}
