//! `Batch`: rows of the index that are written together.
//!
//! Owns its rows, because they are made one by one while bytes are appended and written once those and their log are
//! there. A row that is put twice counts as it was put last.

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::{ChunkHash, ContentKey, Piece};
use musicfs_pure::piece_table::PieceTable;

use super::rows::{ContentRow, Location, SegmentRow, encode, pin_key, slice_key};
use crate::storage::{CacheFamily, CacheRow};

/// Rows to be written.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<(CacheFamily, Vec<u8>, Option<Vec<u8>>)>);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = CacheRow<'_>> {
        self.0.iter().map(|(family, key, value)| (*family, &key[..], value.as_deref()))
    }

    fn put(&mut self, family: CacheFamily, key: &[u8], value: Vec<u8>) {
        self.0.push((family, key.to_vec(), Some(value)));
    }

    pub(super) fn delete(&mut self, family: CacheFamily, key: &[u8]) {
        self.0.push((family, key.to_vec(), None));
    }

    pub(super) fn put_number(&mut self, key: &[u8], number: u64) {
        self.put(CacheFamily::Meta, key, number.to_be_bytes().to_vec());
    }

    pub(super) fn put_chunk(&mut self, hash: &ChunkHash, location: &Location) {
        self.put(CacheFamily::Chunks, &hash.0, location.encode().to_vec());
    }

    pub(super) fn put_segment(&mut self, id: u64, row: &SegmentRow) -> Result<(), StoreError> {
        self.put(CacheFamily::Segments, &id.to_be_bytes(), encode(row)?);
        Ok(())
    }

    pub(super) fn put_content(&mut self, key: ContentKey, row: &ContentRow) -> Result<(), StoreError> {
        self.put(CacheFamily::Contents, &key.0, encode(row)?);
        Ok(())
    }

    /// A slice as the table has it now.
    pub(super) fn put_slice(&mut self, content: ContentKey, number: u64, table: &PieceTable) {
        self.0.push((CacheFamily::Slices, slice_key(content, number).to_vec(), table.encode_slice(number)));
    }

    pub(super) fn put_pin(&mut self, piece: &Piece, content: ContentKey) {
        self.put(CacheFamily::Pins, &pin_key(&piece.hash, content), Vec::new());
    }

    pub(super) fn delete_pin(&mut self, piece: &Piece, content: ContentKey) {
        self.delete(CacheFamily::Pins, &pin_key(&piece.hash, content));
    }
}
