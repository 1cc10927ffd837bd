//! `ManifestBuilder`: the id of a whole content, from the cuts of its only stream.
//!
//! A manifest is a piece table without gaps whose cuts are the chunker's from the first byte. Its id is BLAKE3 over the
//! chunker's version and parameters, the size and the list of (length, hash), so that equal bytes have equal ids across
//! files and origins. The list is hashed as it comes and not kept: a file of 100 GB has a million pieces.

use crate::content::{ManifestId, Piece};

use super::{AVG_CHUNK_BYTES, CHUNKER_VERSION, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};

/// Takes the pieces of one [`Chunker`](super::Chunker) that began at 0, in order.
#[derive(Debug)]
pub struct ManifestBuilder {
    size: u64,
    end: u64,
    is_whole: bool,
    hasher: blake3::Hasher,
}

impl ManifestBuilder {
    /// A builder for a content of this size.
    pub fn new(size: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"musicfs manifest\0");
        hasher.update(&[CHUNKER_VERSION]);
        for parameter in [MIN_CHUNK_BYTES, AVG_CHUNK_BYTES, MAX_CHUNK_BYTES] {
            hasher.update(&parameter.to_le_bytes());
        }
        hasher.update(&size.to_le_bytes());
        Self { size, end: 0, is_whole: true, hasher }
    }

    /// The next piece.
    pub fn add(&mut self, piece: &Piece) {
        self.is_whole &= piece.offset == self.end;
        self.end = piece.end();
        self.hasher.update(&piece.len.to_le_bytes());
        self.hasher.update(&piece.hash.0);
    }

    /// The id; nothing when the pieces had gaps or do not end with the content.
    pub fn finish(self) -> Option<ManifestId> {
        (self.is_whole && self.end == self.size).then(|| ManifestId(self.hasher.finalize().into()))
    }
}
