//! Recovery: what is true of the segments when the store is opened or its writer replaced.
//!
//! An index entry counts only within the length of its segment, so opening reads a row per segment and no byte of any: a
//! segment that has a row and no file was given up, and one that has a file and no row too. Only a segment that was being
//! written is looked at: its log says up to where it was, what the log says is entered in the index once more, the rest is
//! cut off, and it is sealed; nothing is ever appended to it again. Losing cached bytes is allowed; whether what is left
//! is right, its hash says at the first read.
//!
//! Without an index (it was removed or damaged) the same is done for every segment, the oldest first. A record that says
//! "what was known of this content is wrong" counts over all logs: what is older is not entered again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::{ContentKey, Piece};
use musicfs_pure::piece_table::{PieceTable, SliceView, Span, slices_of};

use super::batch::Batch;
use super::log::{Entry, Log, NOBODY};
use super::rows::{
    self, ContentRow, GENERATION, INDEXED, Location, NEXT_SEGMENT, PINNED_BYTES, Sealed, SegmentRow, decode,
    decode_u64, failed, slice_key,
};
use super::segments::Segment;
use super::shared::{StoreShared, io_error};
use crate::storage::CacheFamily;

/// By content, the sequence number up to which what was known of it is wrong.
type Forgotten = HashMap<ContentKey, u64>;

/// Where a sequence number's generation begins: a writer has a trillion numbers.
pub(super) const GENERATION_SHIFT: u32 = 40;

/// Brings table of segments and disk into agreement.
pub(super) fn open(shared: &StoreShared) -> Result<(), StoreError> {
    let on_disk = shared.segments.on_disk().map_err(io_error)?;
    if number(shared, INDEXED)?.is_none() {
        return rebuild(shared, &on_disk);
    }
    let mut batch = Batch::default();
    let rows = segment_rows(shared)?;
    for (id, row) in &rows {
        if on_disk.binary_search(id).is_err() {
            batch.delete(CacheFamily::Segments, &id.to_be_bytes());
            continue;
        }
        let segment = Segment::new(*id, row.class.into());
        if let Some(sealed) = row.sealed {
            segment.publish(sealed.bytes, sealed.log_bytes);
            segment.set_sealed();
        }
        shared.segments.insert(Arc::new(segment));
    }
    for id in on_disk.into_iter().filter(|id| !rows.contains_key(id)) {
        shared.segments.unlink(id).map_err(io_error)?;
    }
    shared.storage.commit(batch.rows(), false).map_err(failed)
}

/// A counter in the meta table.
pub(super) fn number(shared: &StoreShared, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let family = CacheFamily::Meta;
    shared.storage.read(family, key, |row| decode_u64(family, row)).map_err(failed)?.transpose()
}

fn segment_rows(shared: &StoreShared) -> Result<BTreeMap<u64, SegmentRow>, StoreError> {
    let family = CacheFamily::Segments;
    let mut rows = BTreeMap::new();
    let mut result = Ok(());
    let visit = &mut |key: &[u8], row: &[u8]| {
        match decode_u64(family, key).and_then(|id| Ok((id, decode(family, row)?))) {
            Ok((id, row)) => {
                rows.insert(id, row);
            }
            Err(error) => result = Err(error),
        }
        result.is_ok()
    };
    shared.storage.scan(family, &[], &[], visit).map_err(failed)?;
    result.map(|()| rows)
}

/// The log of a segment, as far as it and the segment can be relied on; nothing when there is none of it.
pub(super) fn read_log(shared: &StoreShared, id: u64) -> Result<Option<Log>, StoreError> {
    let missing_is_empty = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(io_error(error)),
    };
    let bytes = std::fs::read(shared.segments.log_path(id)).or_else(missing_is_empty)?;
    let segment_bytes = std::fs::metadata(shared.segments.bytes_path(id)).map_or(0, |metadata| metadata.len());
    Ok(Log::parse(id, &bytes, segment_bytes))
}

fn note_forgotten(log: &Log, forgotten: &mut Forgotten) {
    for record in log.records.iter().filter(|record| record.entry == Entry::Forgotten) {
        let latest = forgotten.entry(record.content).or_default();
        *latest = record.sequence.max(*latest);
    }
}

/// Seals every segment that is not, for a writer that has just taken over.
pub(super) fn seal_open(shared: &StoreShared, generation: u64) -> Result<(), StoreError> {
    let open: Vec<Arc<Segment>> = shared.segments.all().into_iter().filter(|segment| !segment.is_sealed()).collect();
    let mut forgotten = Forgotten::new();
    let mut logs = Vec::new();
    for segment in open {
        let log = read_log(shared, segment.id)?;
        if let Some(log) = &log {
            note_forgotten(log, &mut forgotten);
        }
        logs.push((segment, log));
    }
    for content in forgotten.keys() {
        let mut batch = Batch::default();
        forget_rows(shared, *content, &mut batch)?;
        shared.commit(generation, &batch, false)?;
    }
    for (segment, log) in logs {
        let Some(log) = log.filter(|log| !log.records.is_empty()) else {
            abandon(shared, generation, segment.id)?;
            continue;
        };
        let mut batch = Batch::default();
        replay(shared, segment.id, &log, &forgotten, Splice::Unknown, &mut batch)?;
        shared.commit(generation, &batch, false)?;
        seal_file(shared, &segment, &log)?;
        let mut batch = Batch::default();
        batch.put_segment(segment.id, &sealed_row(&log, generation))?;
        shared.commit(generation, &batch, true)?;
        segment.set_sealed();
    }
    Ok(())
}

fn sealed_row(log: &Log, generation: u64) -> SegmentRow {
    let sealed = Sealed { bytes: log.end(), log_bytes: log.valid_bytes() };
    SegmentRow { class: log.class.into(), generation, sealed: Some(sealed) }
}

/// Cuts off what does not count, and makes the rest durable.
fn seal_file(shared: &StoreShared, segment: &Segment, log: &Log) -> Result<(), StoreError> {
    let cut = |path: std::path::PathBuf, len: u64| -> io::Result<File> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        Ok(file)
    };
    let bytes = cut(shared.segments.bytes_path(segment.id), log.end()).map_err(io_error)?;
    let records = cut(shared.segments.log_path(segment.id), log.valid_bytes()).map_err(io_error)?;
    bytes.sync_data().and_then(|()| records.sync_data()).map_err(io_error)?;
    segment.publish(log.end(), log.valid_bytes());
    Ok(())
}

/// A segment in which nothing counts.
fn abandon(shared: &StoreShared, generation: u64, id: u64) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.delete(CacheFamily::Segments, &id.to_be_bytes());
    shared.commit(generation, &batch, false)?;
    shared.segments.remove(id);
    shared.segments.unlink(id).map_err(io_error)
}

/// Makes the index from the logs. Interrupted, it is begun again.
fn rebuild(shared: &StoreShared, on_disk: &[u64]) -> Result<(), StoreError> {
    let mut forgotten = Forgotten::new();
    let mut last_sequence = 0;
    for &id in on_disk {
        if let Some(log) = read_log(shared, id)? {
            note_forgotten(&log, &mut forgotten);
            last_sequence = log.records.iter().map(|record| record.sequence).fold(last_sequence, u64::max);
        }
    }
    for &id in on_disk {
        let Some(log) = read_log(shared, id)?.filter(|log| !log.records.is_empty()) else {
            shared.segments.unlink(id).map_err(io_error)?;
            continue;
        };
        let segment = Arc::new(Segment::new(id, log.class));
        let mut batch = Batch::default();
        replay(shared, id, &log, &forgotten, Splice::All, &mut batch)?;
        seal_file(shared, &segment, &log)?;
        batch.put_segment(id, &sealed_row(&log, 0))?;
        shared.storage.commit(batch.rows(), false).map_err(failed)?;
        segment.set_sealed();
        shared.segments.insert(segment);
    }
    if !on_disk.is_empty() {
        tracing::warn!(segments = on_disk.len(), "the cache's index was made anew from the logs of its segments");
    }
    let mut batch = Batch::default();
    batch.put_number(NEXT_SEGMENT, on_disk.last().map_or(1, |last| last + 1));
    batch.put_number(GENERATION, last_sequence >> GENERATION_SHIFT);
    batch.put_number(INDEXED, 1);
    shared.storage.commit(batch.rows(), true).map_err(failed)
}

/// Which pieces of a log are spliced in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Splice {
    /// Those of which nothing is known: the index has all but the latest of what the log says, and a piece that was
    /// replaced since must not come back in the place of its successor.
    Unknown,
    /// All: there is no index.
    All,
}

/// Enters what a log says in the index.
fn replay(
    shared: &StoreShared,
    id: u64,
    log: &Log,
    forgotten: &Forgotten,
    splice: Splice,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let mut known: BTreeMap<ContentKey, Vec<Piece>> = BTreeMap::new();
    for record in &log.records {
        let piece = match record.entry {
            Entry::Chunk { offset, piece } => {
                if shared.locate(&piece)?.is_none() {
                    batch.put_chunk(&piece.hash, &Location { segment: id, offset, len: piece.len });
                }
                piece
            }
            Entry::Known { piece } => piece,
            Entry::Forgotten => continue,
        };
        let is_forgotten = forgotten.get(&record.content).is_some_and(|&latest| record.sequence <= latest);
        if record.content != NOBODY && !is_forgotten {
            known.entry(record.content).or_default().push(piece);
        }
    }
    known.into_iter().try_for_each(|(content, pieces)| replay_table(shared, content, &pieces, splice, batch))
}

/// Splices pieces into a content's table one after the other, as they once were. The size is not known here; a table that
/// does not fit its content is thrown away when that content is next written.
fn replay_table(
    shared: &StoreShared,
    content: ContentKey,
    pieces: &[Piece],
    splice: Splice,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let mut table = load_slices(shared, content, pieces)?;
    let mut changed = BTreeSet::new();
    for piece in pieces {
        let is_wanted = splice == Splice::All || table.walk(piece.range()) == [Span::Hole(piece.range())];
        if is_wanted && let Ok(spliced) = table.splice(std::slice::from_ref(piece)) {
            changed.extend(spliced.slices);
        }
    }
    for number in changed {
        batch.put_slice(content, number, &table);
    }
    Ok(())
}

/// What is known around pieces of a content whose size is not known here. It answers about those pieces only.
pub(super) fn load_slices(
    shared: &StoreShared,
    content: ContentKey,
    pieces: &[Piece],
) -> Result<PieceTable, StoreError> {
    let mut table = PieceTable::new(u64::MAX);
    let slices: BTreeSet<u64> = pieces.iter().flat_map(|piece| slices_of(piece.range())).collect();
    for number in slices {
        let load = |row: &[u8]| SliceView::parse(number, row).and_then(|slice| table.load(&slice));
        let loaded = shared.storage.read(CacheFamily::Slices, &slice_key(content, number), load).map_err(failed)?;
        if loaded.is_some_and(|loaded| loaded.is_err()) {
            tracing::warn!(?content, number, "a damaged slice of a piece table is dropped");
        }
    }
    Ok(table)
}

/// Takes everything that is known of a content out of the index.
pub(super) fn forget_rows(shared: &StoreShared, content: ContentKey, batch: &mut Batch) -> Result<(), StoreError> {
    let visit = &mut |key: &[u8], row: &[u8]| {
        batch.delete(CacheFamily::Slices, key);
        let number = key.get(16..).and_then(|number| number.try_into().ok()).map_or(0, u64::from_be_bytes);
        if let Ok(slice) = SliceView::parse(number, row) {
            for piece in slice.pieces() {
                batch.delete_pin(&piece, content);
            }
        }
        true
    };
    shared.storage.scan(CacheFamily::Slices, &content.0, &content.0, visit).map_err(failed)?;
    if let Some(row) = content_row(shared, content)? {
        if row.is_pinned {
            let size = row.content().map_or(0, |content| content.version.size);
            batch.put_number(PINNED_BYTES, number(shared, PINNED_BYTES)?.unwrap_or(0).saturating_sub(size));
        }
        batch.delete(CacheFamily::Contents, &content.0);
    }
    Ok(())
}

/// What is stored of a content; nothing for a row that does not decode, which is then written anew.
pub(super) fn content_row(shared: &StoreShared, content: ContentKey) -> Result<Option<ContentRow>, StoreError> {
    let family = CacheFamily::Contents;
    let row = shared.storage.read(family, &content.0, |row| rows::decode(family, row)).map_err(failed)?;
    Ok(row.and_then(Result::ok))
}
