//! `Writer`: the only one who appends to segments and changes the index.
//!
//! What comes is a run of pieces with their bytes, cut by one chunker. A chunk that is held already is marked as used and
//! written down without its bytes; the others go to the open segment of their class: bytes, log, then one batch over the
//! index. A run may go to two segments and is committed segment by segment; each part is whole by itself.
//!
//! A writer begins by revoking the one before it and sealing what that one left open, so it knows nothing that is not on
//! disk. Room is made before anything is written (`evictor`). A store that cannot take a run says so and why, which is no
//! error: the bytes are already with whoever asked for them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::{ChunkHash, Content, ContentKey, ManifestId, Piece};
use musicfs_pure::eviction::{SegmentClass, segment_bytes};
use musicfs_pure::piece_table::PieceTable;

use super::batch::Batch;
use super::log::{Entry, Record};
use super::open_segment::OpenSegment;
use super::recovery::{self, GENERATION_SHIFT, content_row, forget_rows, number};
use super::rows::{ContentRow, GENERATION, Location, NEXT_SEGMENT, Sealed, SegmentRow};
use super::shared::{DamagedChunk, StoreShared, io_error};
use crate::storage::CacheFamily;

/// A piece and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct NewPiece<'a> {
    /// Where the bytes are in the content, and what they hash to.
    pub piece: Piece,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Why a run is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncached {
    /// Nothing that may go would make enough room within the bound.
    BoundReached,
    /// The disk is full.
    DiskFull,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is held.
    Held,
    /// It is not.
    Uncached(Uncached),
    /// A piece that was known hashes differently now: the content was edited without a sign. All that was known of it is
    /// forgotten.
    Contradicted,
}

/// The writer.
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<StoreShared>,
    pub(super) generation: u64,
    next_sequence: u64,
    /// Said once per episode: every run that comes while the disk is full would say it again.
    is_disk_full: bool,
    pub(super) open: HashMap<SegmentClass, OpenSegment>,
}

/// What is being put together for the open segment and not committed yet.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    pieces: Vec<Piece>,
    /// Chunks of this group by hash: a chunk that occurs twice in a run is appended once.
    appended: HashMap<ChunkHash, Location>,
    len: u64,
}

impl Writer {
    /// Takes over from the writer before, whatever became of it.
    pub fn new(shared: Arc<StoreShared>) -> Result<Self, StoreError> {
        let generation = number(&shared, GENERATION)?.unwrap_or(0) + 1;
        shared.take_over(generation);
        let mut batch = Batch::default();
        batch.put_number(GENERATION, generation);
        shared.commit(generation, &batch, true)?;
        recovery::seal_open(&shared, generation)?;
        Ok(Self {
            shared,
            generation,
            next_sequence: generation << GENERATION_SHIFT,
            is_disk_full: false,
            open: HashMap::new(),
        })
    }

    pub(super) fn sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    /// Holds a run of pieces of a content: ordered and disjoint, as they come out of a chunker.
    pub fn keep(&mut self, content: &Content, class: SegmentClass, run: &[NewPiece<'_>]) -> Result<Kept, StoreError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Kept::Held) };
        self.shared.check_writer(self.generation)?;
        if let Some(new) = run.iter().find(|new| new.piece.len as usize != new.bytes.len()) {
            return Err(StoreError::Io {
                reason: format!("a piece of {} bytes came with {}", new.piece.len, new.bytes.len()),
            });
        }
        let key = content.key();
        let table = self.table(content, first.piece.offset..last.piece.end())?;
        if run.iter().any(|new| table.contradicts(&new.piece)) {
            self.forget(key)?;
            return Ok(Kept::Contradicted);
        }
        let incoming: u64 = run.iter().map(|new| u64::from(new.piece.len)).sum();
        if !self.make_room(class, incoming)? {
            return Ok(Kept::Uncached(Uncached::BoundReached));
        }
        match self.append_run(content, class, run, table) {
            Ok(()) => {
                self.is_disk_full = false;
                Ok(Kept::Held)
            }
            Err(AppendError::Store(error)) => Err(error),
            Err(AppendError::DiskFull) => {
                if !std::mem::replace(&mut self.is_disk_full, true) {
                    tracing::warn!("the disk of the cache is full; reading goes on without caching");
                }
                Ok(Kept::Uncached(Uncached::DiskFull))
            }
        }
    }

    /// What is known of a range of a content. What is stored under its key and is not this content's, or does not fit its
    /// size, is damage and forgotten.
    fn table(&mut self, content: &Content, range: std::ops::Range<u64>) -> Result<PieceTable, StoreError> {
        let (key, size) = (content.key(), content.version.size);
        let is_other = content_row(&self.shared, key)?.is_some_and(|row| row.content().as_ref() != Some(content));
        let loaded =
            if is_other { None } else { self.shared.table(key, size, range.clone()).map(Some).or_else(skip_damage)? };
        if let Some(table) = loaded {
            return Ok(table);
        }
        tracing::warn!(?key, "a damaged piece table is forgotten");
        self.forget(key)?;
        self.shared.table(key, size, range)
    }

    fn append_run(
        &mut self,
        content: &Content,
        class: SegmentClass,
        run: &[NewPiece<'_>],
        mut table: PieceTable,
    ) -> Result<(), AppendError> {
        let mut rest = run;
        while !rest.is_empty() {
            let needed = rest.first().map_or(0, |new| u64::from(new.piece.len));
            let mut open = self.open_for(class, needed)?;
            let written = self.append_group(&mut open, content.key(), rest);
            let committed = written.and_then(|group| {
                rest = &rest[group.pieces.len()..];
                self.commit_group(&mut open, content, &mut table, group)
            });
            self.open.insert(class, open);
            committed?;
        }
        Ok(())
    }

    /// Takes the open segment of a class out, a new one when the next chunk does not fit; to be put back.
    pub(super) fn open_for(&mut self, class: SegmentClass, needed: u64) -> Result<OpenSegment, AppendError> {
        match self.open.remove(&class) {
            Some(open) if open.room() >= needed => return Ok(open),
            Some(open) => self.seal_segment(open)?,
            None => {}
        }
        self.begin_segment(class)
    }

    fn begin_segment(&mut self, class: SegmentClass) -> Result<OpenSegment, AppendError> {
        let id = number(&self.shared, NEXT_SEGMENT)?.unwrap_or(1);
        let mut batch = Batch::default();
        batch.put_number(NEXT_SEGMENT, id + 1);
        batch.put_segment(id, &SegmentRow { class: class.into(), generation: self.generation, sealed: None })?;
        // Durable before it is used: a number that is given twice would make old entries point into a new segment.
        self.shared.commit(self.generation, &batch, true)?;
        fail::fail_point!("store::segment_numbered");
        let capacity = segment_bytes(self.shared.config.bound);
        let open = OpenSegment::begin(&self.shared.segments, id, class, capacity)?;
        self.shared.segments.insert(Arc::clone(&open.segment));
        fail::fail_point!("store::segment_begun");
        Ok(open)
    }

    /// Writes the bytes of as many pieces as fit.
    fn append_group(
        &mut self,
        open: &mut OpenSegment,
        content: ContentKey,
        rest: &[NewPiece<'_>],
    ) -> Result<Group, AppendError> {
        fail::fail_point!("store::before_bytes");
        let mut group = Group { len: open.len(), ..Group::default() };
        for new in rest {
            let piece = new.piece;
            let entry = if self.is_held(open.segment.class, &piece)? || group.appended.contains_key(&piece.hash) {
                self.shared.counters.deduplicated_bytes.fetch_add(u64::from(piece.len), Ordering::Relaxed);
                Entry::Known { piece }
            } else if group.len - open.len() + u64::from(piece.len) <= open.room() {
                let location = Location { segment: open.segment.id, offset: group.len as u32, len: piece.len };
                open.write_bytes(new.bytes, group.len)?;
                group.len = location.end();
                group.appended.insert(piece.hash, location);
                self.shared.counters.appended_bytes.fetch_add(u64::from(piece.len), Ordering::Relaxed);
                Entry::Chunk { offset: location.offset, piece }
            } else {
                break;
            };
            group.records.push(Record { content, sequence: self.sequence(), entry });
            group.pieces.push(piece);
        }
        fail::fail_point!("store::after_bytes");
        Ok(group)
    }

    /// Whether a chunk is held; if so it is used from now on, before anyone relies on it. What was read for tags and is now
    /// read as music is not held as such: it would go first.
    fn is_held(&self, class: SegmentClass, piece: &Piece) -> Result<bool, StoreError> {
        match self.shared.locate(piece)? {
            Some((segment, _)) if segment.class < class => Ok(false),
            Some((segment, location)) => {
                segment.mark_used(location.offset);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Writes the log and the index of a group whose bytes are there.
    fn commit_group(
        &mut self,
        open: &mut OpenSegment,
        content: &Content,
        table: &mut PieceTable,
        group: Group,
    ) -> Result<(), AppendError> {
        self.write_records(open, &group.records, group.len)?;
        let key = content.key();
        let mut batch = Batch::default();
        for (hash, location) in &group.appended {
            batch.put_chunk(hash, location);
        }
        let spliced = table.splice(&group.pieces).map_err(|error| StoreError::Io { reason: error.to_string() })?;
        for number in spliced.slices {
            batch.put_slice(key, number, table);
        }
        let mut row = content_row(&self.shared, key)?;
        if row.as_ref().is_some_and(|row| row.is_pinned) {
            for piece in &group.pieces {
                batch.put_pin(piece, key);
            }
        }
        // Other cuts than before: whether they are the content's own is to be found out again.
        let is_changed = row.as_ref().is_none_or(|row| row.manifest().is_some() && !spliced.replaced.is_empty());
        let row = row.get_or_insert_with(|| ContentRow::new(content));
        if is_changed {
            row.set_manifest(None);
            batch.put_content(key, row)?;
        }
        self.shared.commit(self.generation, &batch, false)?;
        fail::fail_point!("store::after_index");
        Ok(())
    }

    /// Appends records and makes what they say count.
    pub(super) fn write_records(
        &self,
        open: &mut OpenSegment,
        records: &[Record],
        len: u64,
    ) -> Result<(), AppendError> {
        self.shared.check_writer(self.generation)?;
        let mut log = Vec::with_capacity(records.len() * super::log::RECORD_BYTES);
        for record in records {
            record.encode(open.segment.id, &mut log);
        }
        open.write_log(&log)?;
        open.accept(len, log.len() as u64);
        fail::fail_point!("store::after_log");
        Ok(())
    }

    /// Seals a segment: on disk first, then said to be.
    pub(super) fn seal_segment(&mut self, open: OpenSegment) -> Result<(), StoreError> {
        fail::fail_point!("store::before_seal");
        open.sync().map_err(io_error)?;
        fail::fail_point!("store::after_seal_sync");
        let sealed = Sealed { bytes: open.len(), log_bytes: open.log_len() };
        let class = open.segment.class.into();
        let mut batch = Batch::default();
        batch.put_segment(open.segment.id, &SegmentRow { class, generation: self.generation, sealed: Some(sealed) })?;
        self.shared.commit(self.generation, &batch, true)?;
        open.segment.set_sealed();
        fail::fail_point!("store::after_seal");
        Ok(())
    }

    /// Seals what is open: an orderly stop leaves everything that was delivered on the disk.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        for class in [SegmentClass::Ends, SegmentClass::Music] {
            if let Some(open) = self.open.remove(&class) {
                self.seal_segment(open)?;
            }
        }
        Ok(())
    }

    /// Forgets what is known of a content, also over a crash: the log says so before the index does.
    pub fn forget(&mut self, content: ContentKey) -> Result<(), StoreError> {
        let record = Record { content, sequence: self.sequence(), entry: Entry::Forgotten };
        let mut open = self.open_for(SegmentClass::Music, 0).map_err(AppendError::into_store)?;
        let len = open.len();
        let written = self.write_records(&mut open, &[record], len);
        self.open.insert(SegmentClass::Music, open);
        written.map_err(AppendError::into_store)?;
        let mut batch = Batch::default();
        forget_rows(&self.shared, content, &mut batch)?;
        self.shared.commit(self.generation, &batch, false)
    }

    /// Notes the id of a content that was cut from its first byte to its last.
    pub fn set_manifest(&mut self, content: &Content, manifest: ManifestId) -> Result<(), StoreError> {
        let key = content.key();
        let mut row = content_row(&self.shared, key)?.unwrap_or_else(|| ContentRow::new(content));
        row.set_manifest(Some(manifest));
        let mut batch = Batch::default();
        batch.put_content(key, &row)?;
        self.shared.commit(self.generation, &batch, false)
    }

    /// Drops the rows of chunks that were found damaged, and says which they were.
    pub fn drop_damaged(&mut self) -> Result<Vec<DamagedChunk>, StoreError> {
        let found = self.shared.take_damaged();
        let mut batch = Batch::default();
        for chunk in &found {
            // It may have been stored again elsewhere since.
            if self.shared.chunk_row(&chunk.hash)? == Some(chunk.location) {
                batch.delete(CacheFamily::Chunks, &chunk.hash.0);
            }
        }
        if !batch.is_empty() {
            self.shared.commit(self.generation, &batch, false)?;
        }
        Ok(found)
    }
}

fn skip_damage(error: StoreError) -> Result<Option<PieceTable>, StoreError> {
    match error {
        StoreError::Damaged { .. } => Ok(None),
        error => Err(error),
    }
}

/// Why something was not appended.
pub(super) enum AppendError {
    DiskFull,
    Store(StoreError),
}

impl AppendError {
    pub(super) fn into_store(self) -> StoreError {
        match self {
            Self::DiskFull => io_error(io::Error::from(io::ErrorKind::StorageFull)),
            Self::Store(error) => error,
        }
    }
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Store(io_error(error)),
        }
    }
}
