//! Pins: contents whose held bytes are not evicted.
//!
//! A pin is a row per (chunk, content), so that eviction can ask for a chunk whether anyone pins it and nothing has to be
//! counted: two pinned files that share a chunk are two rows. The sizes of pinned contents are summed, because a pin
//! promises that the whole file may be held; beyond 80 % of the room a pin is refused.

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::{ChunkHash, Content, Piece};
use musicfs_pure::piece_table::SLICE_BYTES;

use super::batch::Batch;
use super::recovery::{content_row, number};
use super::rows::{ContentRow, PINNED_BYTES, failed};
use super::shared::StoreShared;
use super::writer::Writer;
use crate::storage::CacheFamily;

impl StoreShared {
    /// Whether a pinned content has a chunk.
    pub(super) fn is_pinned(&self, hash: &ChunkHash) -> Result<bool, StoreError> {
        let mut found = false;
        let visit = &mut |_: &[u8], _: &[u8]| {
            found = true;
            false
        };
        self.storage.scan(CacheFamily::Pins, &hash.0, &hash.0, visit).map_err(failed)?;
        Ok(found)
    }
}

impl Writer {
    /// Pins a content: what is held of it, now and later, is not evicted. Says whether it may be: pins leave a fifth of the
    /// room to everything else, and a content counts by its size.
    pub fn pin(&mut self, content: &Content) -> Result<bool, StoreError> {
        let (key, size) = (content.key(), content.version.size);
        let mut row = content_row(&self.shared, key)?.unwrap_or_else(|| ContentRow::new(content));
        if !row.is_pinned {
            let pinned = number(&self.shared, PINNED_BYTES)?.unwrap_or(0).saturating_add(size);
            if !self.shared.config.limits().allows_pins(pinned, self.shared.usage()?.database) {
                return Ok(false);
            }
            row.is_pinned = true;
            let mut batch = Batch::default();
            batch.put_number(PINNED_BYTES, pinned);
            batch.put_content(key, &row)?;
            self.shared.commit(self.generation, &batch, true)?;
        }
        // After a crash here the content is pinned and some of its chunks are not; pinning it again completes that.
        self.for_each_slice(content, |batch, piece| batch.put_pin(piece, key))?;
        Ok(true)
    }

    /// Lets a pinned content be evicted again.
    pub fn unpin(&mut self, content: &Content) -> Result<(), StoreError> {
        let key = content.key();
        let Some(mut row) = content_row(&self.shared, key)?.filter(|row| row.is_pinned) else { return Ok(()) };
        self.for_each_slice(content, |batch, piece| batch.delete_pin(piece, key))?;
        row.is_pinned = false;
        let pinned = number(&self.shared, PINNED_BYTES)?.unwrap_or(0);
        let mut batch = Batch::default();
        batch.put_number(PINNED_BYTES, pinned.saturating_sub(content.version.size));
        batch.put_content(key, &row)?;
        self.shared.commit(self.generation, &batch, true)
    }

    /// Commits a row per piece of a content, a slice at a time: a pinned file may have a million.
    fn for_each_slice(&self, content: &Content, row: impl Fn(&mut Batch, &Piece)) -> Result<(), StoreError> {
        let size = content.version.size;
        for number in 0..size.div_ceil(SLICE_BYTES) {
            let range = number * SLICE_BYTES..((number + 1) * SLICE_BYTES).min(size);
            let table = self.shared.table(content.key(), size, range)?;
            let mut batch = Batch::default();
            for piece in table.pieces() {
                row(&mut batch, &piece);
            }
            if !batch.is_empty() {
                self.shared.commit(self.generation, &batch, false)?;
            }
        }
        Ok(())
    }
}
