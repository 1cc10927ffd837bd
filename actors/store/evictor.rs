//! Making room: the pure plan (`pure::eviction`) executed on segments.
//!
//! Of a segment that goes, what is pinned or was used is read, verified and appended again, with its record; then the index
//! forgets what still points into it (an entry that meanwhile points elsewhere is left alone), then the files go. After a
//! crash in between, a chunk is twice or the file is there without its row; never is an entry without its bytes. A reader
//! that is just reading keeps its file; one that comes later finds a hole.
//!
//! Knowledge outlives bytes, and is bounded too: when the database takes more than its share, the pieces that the evicted
//! log names are forgotten with it, as far as they are held nowhere else and their content is not pinned.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::{ChunkHash, ContentKey, Piece};
use musicfs_pure::eviction::{ChunkUse, Cycle, SegmentClass, Shortage, Usage, Verdict, judge};
use musicfs_pure::piece_table::Span;

use super::batch::Batch;
use super::log::{Entry, Log, NOBODY, Record};
use super::open_segment::OpenSegment;
use super::recovery::{content_row, load_slices, read_log};
use super::rows::{Location, failed, slice_key};
use super::segments::Segment;
use super::shared::{DamagedChunk, StoreShared, io_error};
use super::usage;
use super::writer::{AppendError, Writer};
use crate::storage::{CacheFamily, cache_database_growth};

/// The part of the bound that the database may take before knowledge of evicted bytes goes with them: rows of a full store
/// of average chunks take 0.13 %, so what is known is some twenty times what is held.
const DATABASE_SHARE_DIVISOR: u64 = 16;

/// A chunk of a segment that the index still finds there.
struct LiveChunk {
    record: Record,
    offset: u32,
    piece: Piece,
}

impl StoreShared {
    /// What is on disk now.
    pub(super) fn usage(&self) -> Result<Usage, StoreError> {
        let folder = self.storage.folder();
        let measured = usage::disk_bytes(folder, self.segments.folder()).map_err(io_error)?;
        let segments = self.segments.all();
        let sum = |class: Option<SegmentClass>| {
            let chosen = segments.iter().filter(|segment| class.is_none_or(|class| segment.class == class));
            chosen.map(|segment| segment.disk_bytes()).sum()
        };
        Ok(Usage {
            segments: sum(None),
            ends: sum(Some(SegmentClass::Ends)),
            // while tables are merged, the old and the new ones are there
            database: measured * 2 + cache_database_growth(self.config.bound),
            free_disk: usage::free_disk(folder).map_err(io_error)?,
        })
    }

    /// The chunks that the index finds in a segment.
    fn live_chunks(&self, segment: &Segment, log: &Log) -> Result<Vec<LiveChunk>, StoreError> {
        let mut live = Vec::new();
        for record in &log.records {
            let Entry::Chunk { offset, piece } = record.entry else { continue };
            let here = Location { segment: segment.id, offset, len: piece.len };
            if self.chunk_row(&piece.hash)? == Some(here) {
                live.push(LiveChunk { record: *record, offset, piece });
            }
        }
        Ok(live)
    }
}

impl Writer {
    /// Makes room for bytes of a class; says whether there is.
    pub(super) fn make_room(&mut self, class: SegmentClass, incoming: u64) -> Result<bool, StoreError> {
        let shortage = self.shortage(class, incoming)?;
        if shortage.is_none() || self.run_cycle(shortage)? {
            return Ok(true);
        }
        // The last resort is what was written last: it is sealed and judged as well.
        let open: Vec<SegmentClass> = self.open.keys().copied().collect();
        for class in open {
            if let Some(open) = self.open.remove(&class) {
                self.seal_segment(open)?;
            }
        }
        let shortage = self.shortage(class, incoming)?;
        Ok(shortage.is_none() || self.run_cycle(shortage)?)
    }

    fn shortage(&self, class: SegmentClass, incoming: u64) -> Result<Shortage, StoreError> {
        Ok(self.shared.config.limits().shortage(&self.shared.usage()?, class, incoming))
    }

    fn run_cycle(&mut self, shortage: Shortage) -> Result<bool, StoreError> {
        let sealed = self.shared.segments.all().into_iter().filter(|segment| segment.is_sealed());
        let sealed: Vec<_> = sealed.map(|segment| segment.summary()).collect();
        let mut cycle = Cycle::new(&sealed, shortage);
        while let Some(candidate) = cycle.next_candidate() {
            let Some(segment) = self.shared.segments.get(candidate.id) else { continue };
            let log = read_log(&self.shared, segment.id)?;
            let live = log.as_ref().map_or(Ok(Vec::new()), |log| self.shared.live_chunks(&segment, log))?;
            let mut uses = Vec::with_capacity(live.len());
            for chunk in &live {
                let pinned = self.shared.is_pinned(&chunk.piece.hash)?;
                uses.push(ChunkUse { len: chunk.piece.len.into(), pinned, used: segment.is_used(chunk.offset) });
            }
            if let Verdict::Evict { keep } = judge(&candidate, &uses) {
                let before: u64 = self.shared.segments.all().iter().map(|segment| segment.disk_bytes()).sum();
                let forgotten =
                    log.iter().flat_map(|log| &log.records).filter(|record| record.entry == Entry::Forgotten);
                let forgotten: Vec<Record> = forgotten.copied().collect();
                match self.append_again(&segment, keep.iter().map(|&at| &live[at]), forgotten) {
                    Ok(()) => {}
                    Err(AppendError::DiskFull) => return Ok(false),
                    Err(AppendError::Store(error)) => return Err(error),
                }
                self.give_up(&segment, log.as_ref(), &live)?;
                let after: u64 = self.shared.segments.all().iter().map(|segment| segment.disk_bytes()).sum();
                cycle.freed(&candidate, before.saturating_sub(after));
            }
        }
        Ok(cycle.shortage().is_none())
    }

    /// Appends what is kept of a segment to the open one of its class, and what it says about contents whose knowledge was
    /// wrong, as long as an older record may say otherwise.
    fn append_again<'a>(
        &mut self,
        segment: &Segment,
        kept: impl Iterator<Item = &'a LiveChunk>,
        mut forgotten: Vec<Record>,
    ) -> Result<(), AppendError> {
        if !forgotten.is_empty() {
            let oldest = self.oldest_sequence_beside(segment.id)?;
            forgotten.retain(|record| oldest.is_some_and(|oldest| oldest < record.sequence));
        }
        if !forgotten.is_empty() {
            let mut open = self.open_for(segment.class, 0)?;
            let len = open.len();
            let written = self.write_records(&mut open, &forgotten, len);
            self.open.insert(segment.class, open);
            written?;
        }
        let file = self.shared.segments.file(segment);
        let mut bytes = Vec::new();
        for chunk in kept {
            bytes.resize(chunk.piece.len as usize, 0);
            // A segment that cannot be read any more has nothing to keep; it must not hold up the others.
            let read = file.as_ref().is_ok_and(|file| file.read_exact_at(&mut bytes, chunk.offset.into()).is_ok());
            if !read || ChunkHash::of(&bytes) != chunk.piece.hash {
                self.shared.report_damage(segment, chunk.damaged(segment.id));
                continue;
            }
            let mut open = self.open_for(segment.class, chunk.piece.len.into())?;
            let moved = self.move_chunk(&mut open, chunk, &bytes);
            self.open.insert(segment.class, open);
            moved?;
        }
        fail::fail_point!("store::evict_appended");
        Ok(())
    }

    /// The smallest number that a log other than this one begins with.
    fn oldest_sequence_beside(&self, id: u64) -> Result<Option<u64>, StoreError> {
        let mut oldest = None;
        for segment in self.shared.segments.all().iter().filter(|segment| segment.id != id) {
            let first = read_log(&self.shared, segment.id)?.and_then(|log| log.first_sequence());
            oldest = oldest.into_iter().chain(first).min();
        }
        Ok(oldest)
    }

    fn move_chunk(&mut self, open: &mut OpenSegment, chunk: &LiveChunk, bytes: &[u8]) -> Result<(), AppendError> {
        let at = open.len();
        let location = Location { segment: open.segment.id, offset: at as u32, len: chunk.piece.len };
        open.write_bytes(bytes, at)?;
        let entry = Entry::Chunk { offset: location.offset, piece: chunk.piece };
        // It says again what is known now, and not what was known when it was written first.
        let table = load_slices(&self.shared, chunk.record.content, std::slice::from_ref(&chunk.piece))?;
        let is_known = table.walk(chunk.piece.range()) == [Span::Known(chunk.piece)];
        let content = if is_known { chunk.record.content } else { NOBODY };
        let record = Record { content, sequence: self.sequence(), entry };
        self.write_records(open, &[record], location.end())?;
        let mut batch = Batch::default();
        batch.put_chunk(&chunk.piece.hash, &location);
        Ok(self.shared.commit(self.generation, &batch, false)?)
    }

    /// Has the index forget a segment, then removes it.
    fn give_up(&mut self, segment: &Arc<Segment>, log: Option<&Log>, live: &[LiveChunk]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for chunk in live {
            // compare and delete: what was appended again points elsewhere by now
            let here = Location { segment: segment.id, offset: chunk.offset, len: chunk.piece.len };
            if self.shared.chunk_row(&chunk.piece.hash)? == Some(here) {
                batch.delete(CacheFamily::Chunks, &chunk.piece.hash.0);
            }
        }
        if let Some(log) = log {
            self.forget_knowledge(segment.id, log, &mut batch)?;
        }
        batch.delete(CacheFamily::Segments, &segment.id.to_be_bytes());
        self.shared.commit(self.generation, &batch, false)?;
        fail::fail_point!("store::evict_forgotten");
        self.shared.segments.remove(segment.id);
        self.shared.segments.unlink(segment.id).map_err(io_error)?;
        self.shared.counters.evicted_segments.fetch_add(1, Ordering::Relaxed);
        fail::fail_point!("store::evicted");
        Ok(())
    }

    /// Lets the knowledge that a log names go with its bytes when the database has grown beyond its share: pieces that are
    /// held nowhere else, apart from those of pinned contents.
    fn forget_knowledge(&self, segment: u64, log: &Log, batch: &mut Batch) -> Result<(), StoreError> {
        let bound = self.shared.config.bound;
        // twice the growth: what is counted for merging is counted for the database's log as well
        let share = bound / DATABASE_SHARE_DIVISOR + 2 * cache_database_growth(bound);
        if self.shared.usage()?.database <= share {
            return Ok(());
        }
        let mut named: BTreeMap<ContentKey, Vec<Piece>> = BTreeMap::new();
        for record in &log.records {
            if let Entry::Chunk { piece, .. } | Entry::Known { piece } = record.entry {
                named.entry(record.content).or_default().push(piece);
            }
        }
        for (content, pieces) in named {
            if content_row(&self.shared, content)?.is_none_or(|row| !row.is_pinned) {
                self.forget_pieces(segment, content, &pieces, batch)?;
            }
        }
        Ok(())
    }

    fn forget_pieces(
        &self,
        segment: u64,
        content: ContentKey,
        pieces: &[Piece],
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let mut table = load_slices(&self.shared, content, pieces)?;
        let mut changed = BTreeSet::new();
        for piece in pieces {
            let is_gone = match self.shared.locate(piece)? {
                Some((found, _)) => found.id == segment,
                None => true,
            };
            if is_gone && table.walk(piece.range()) == [Span::Known(*piece)] {
                changed.extend(table.forget(piece.range()).slices);
            }
        }
        let emptied = |number: &u64| table.encode_slice(*number).is_none();
        let emptied: BTreeSet<[u8; 24]> =
            changed.iter().filter(|number| emptied(number)).map(|&number| slice_key(content, number)).collect();
        for number in changed {
            batch.put_slice(content, number, &table);
        }
        let mut is_last = true;
        let visit = &mut |key: &[u8], _: &[u8]| {
            is_last = emptied.iter().any(|slice| slice == key);
            is_last
        };
        self.shared.storage.scan(CacheFamily::Slices, &content.0, &content.0, visit).map_err(failed)?;
        if is_last {
            batch.delete(CacheFamily::Contents, &content.0);
        }
        Ok(())
    }
}

impl LiveChunk {
    fn damaged(&self, segment: u64) -> DamagedChunk {
        DamagedChunk {
            hash: self.piece.hash,
            piece: self.record.piece_of(),
            location: Location { segment, offset: self.offset, len: self.piece.len },
        }
    }
}
