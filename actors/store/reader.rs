//! `StoreReader`: held bytes for FUSE threads.
//!
//! The usual read lies in the run that the handle remembers: one lookup of the segment, one `preadv2` straight into the
//! caller's buffer, nothing allocated. Otherwise the run is resolved anew: the slice of the piece table is looked into where
//! it lies, each piece's chunk is looked up, and as long as one lies behind the other in one segment they are one run, so
//! that one read serves many pieces.
//!
//! A chunk is compared with its hash at its first read in a daemon's life. That takes the whole chunk: the run is then read
//! as far as needed into a buffer that is kept for the next time. A chunk that is not what it should be is reported and is
//! a hole; so is everything about which the index and the segments disagree. With [`Verify::Always`] nothing is remembered.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use musicfs_protocol::store::{Held, HeldRun, ReadStore, StoreError};
use musicfs_pure::content::{ChunkHash, ContentKey, MAX_PIECE_BYTES, Piece};
use musicfs_pure::piece_table::{SliceView, slice_of, slices_of};
use parking_lot::Mutex;
use rustix::io::{Errno, ReadWriteFlags};

use super::rows::{Location, failed, slice_key};
use super::segments::Segment;
use super::shared::{DamagedChunk, StoreShared, Verify, io_error};
use crate::storage::CacheFamily;

/// Pieces that are resolved at once: a kernel read of 128 KiB meets nine of the shortest at most, and what lies behind
/// them saves the next read its lookups.
const MAX_RUN_PIECES: usize = 16;

/// Buffers that are kept: as many threads as serve reads at once.
const MAX_BUFFERS: usize = 16;

/// The handle.
#[derive(Debug)]
pub(super) struct StoreReader {
    shared: Arc<StoreShared>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A read that has to wait for the disk and may not.
const WOULD_BLOCK: Errno = Errno::AGAIN;

/// Neighbouring pieces of a content that lie behind each other in a segment.
struct Run {
    segment: Arc<Segment>,
    pieces: [(Piece, u32); MAX_RUN_PIECES],
    len: usize,
}

impl Run {
    fn pieces(&self) -> &[(Piece, u32)] {
        &self.pieces[..self.len]
    }

    /// Whether a piece at this location goes on where the run ends.
    fn goes_on(&self, piece: &Piece, location: &Location) -> bool {
        let Some((last, offset)) = self.pieces().last() else { return true };
        self.len < MAX_RUN_PIECES
            && location.segment == self.segment.id
            && location.offset == offset + last.len
            && piece.offset == last.end()
    }

    fn push(&mut self, piece: Piece, offset: u32) {
        self.pieces[self.len] = (piece, offset);
        self.len += 1;
    }

    fn start(&self) -> (u64, u64) {
        self.pieces().first().map_or((0, 0), |(piece, offset)| (piece.offset, u64::from(*offset)))
    }

    fn end(&self) -> u64 {
        self.pieces().last().map_or(0, |(piece, _)| piece.end())
    }
}

impl StoreReader {
    pub(super) fn new(shared: Arc<StoreShared>) -> Self {
        Self { shared, buffers: Mutex::default() }
    }

    fn read(
        &self,
        content: ContentKey,
        offset: u64,
        buffer: &mut [u8],
        run: &mut HeldRun,
        waits: bool,
    ) -> Result<Held, StoreError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(at) = offset.checked_add(filled as u64) else { break };
            match self.read_part(content, at, &mut buffer[filled..], run, waits)? {
                Held::Bytes(count) => filled += count,
                Held::Hole => break,
                Held::WouldBlock => return Ok(Held::WouldBlock),
            }
        }
        Ok(if filled == 0 { Held::Hole } else { Held::Bytes(filled) })
    }

    /// Reads what one run has of the buffer.
    fn read_part(
        &self,
        content: ContentKey,
        at: u64,
        buffer: &mut [u8],
        run: &mut HeldRun,
        waits: bool,
    ) -> Result<Held, StoreError> {
        if let Some(segment) = self.remembered(content, at, run) {
            let within = at - run.start;
            let len = (run.len - within).min(buffer.len() as u64) as usize;
            return match self.read_segment(&segment, run.offset + within, &mut buffer[..len], waits) {
                // shorter than its sealed length: whatever cut it, the bytes are not there
                Ok(0) => self.lost(&segment, content, at),
                Ok(count) => Ok(Held::Bytes(count)),
                Err(errno) if errno == WOULD_BLOCK => Ok(Held::WouldBlock),
                Err(errno) => Err(io_error(errno.into())),
            };
        }
        let wanted = at.saturating_add(buffer.len() as u64);
        let Some(found) = self.resolve(content, at, wanted)? else { return Ok(Held::Hole) };
        self.verified_read(content, at, buffer, &found, run, waits)
    }

    /// The segment of a remembered run that still counts.
    fn remembered(&self, content: ContentKey, at: u64, run: &HeldRun) -> Option<Arc<Segment>> {
        if !run.covers(content, at) {
            return None;
        }
        let segment = self.shared.segments.get(run.segment)?;
        (segment.damage() == run.damage).then_some(segment)
    }

    /// The run of held pieces around `at`; one piece more than `wanted` needs is not looked for unless it is verified.
    fn resolve(&self, content: ContentKey, at: u64, wanted: u64) -> Result<Option<Run>, StoreError> {
        let mut run: Option<Run> = None;
        let mut next = at;
        // The piece that covers `at` may begin in the slice before; what `next` comes to must not be beyond the last one.
        let Some(after) = at.checked_add(1) else { return Ok(None) };
        for number in slices_of(at..after).start..=slice_of(wanted) {
            let extend = |row: &[u8]| self.extend(&mut run, number, row, &mut next, wanted);
            let key = slice_key(content, number);
            let goes_on = self.shared.storage.read(CacheFamily::Slices, &key, extend).map_err(failed)?.transpose()?;
            if goes_on == Some(false) {
                break;
            }
        }
        Ok(run)
    }

    /// Adds pieces of a slice to a run; says whether the next slice may go on with it.
    fn extend(
        &self,
        run: &mut Option<Run>,
        number: u64,
        row: &[u8],
        next: &mut u64,
        wanted: u64,
    ) -> Result<bool, StoreError> {
        // a damaged slice is a hole: its table is forgotten when it is next written
        let Ok(slice) = SliceView::parse(number, row) else { return Ok(false) };
        for piece in slice.pieces_from(*next) {
            let Some((segment, location)) = self.located(&piece, *next)? else { return Ok(false) };
            let run = run.get_or_insert_with(|| Run::at(Arc::clone(&segment)));
            let is_ahead = piece.offset >= wanted;
            let skip_ahead = is_ahead && !self.is_verified(&segment, location.offset, &piece.hash);
            if !run.goes_on(&piece, &location) || skip_ahead {
                return Ok(false);
            }
            segment.mark_used(location.offset);
            run.push(piece, location.offset);
            *next = piece.end();
        }
        Ok(true)
    }

    /// Where a piece's bytes are, if it covers `next` and they are held.
    fn located(&self, piece: &Piece, next: u64) -> Result<Option<(Arc<Segment>, Location)>, StoreError> {
        if piece.offset > next {
            return Ok(None);
        }
        self.shared.locate(piece)
    }

    fn is_verified(&self, segment: &Segment, offset: u32, hash: &ChunkHash) -> bool {
        self.shared.config.verify == Verify::First && segment.is_verified(offset, hash)
    }

    /// Reads from a run that was just resolved: what was never read before is verified first.
    fn verified_read(
        &self,
        content: ContentKey,
        at: u64,
        buffer: &mut [u8],
        found: &Run,
        run: &mut HeldRun,
        waits: bool,
    ) -> Result<Held, StoreError> {
        let damage = found.segment.damage();
        let is_new = |(piece, offset): &(Piece, u32)| !self.is_verified(&found.segment, *offset, &piece.hash);
        let (start, segment_offset) = found.start();
        let remember = |end: u64| HeldRun {
            content: Some(content),
            start,
            len: end - start,
            segment: found.segment.id,
            offset: segment_offset,
            damage,
        };
        if !found.pieces().iter().any(is_new) {
            *run = remember(found.end());
            return self.read_part(content, at, buffer, run, waits);
        }
        let mut scratch = self.take_buffer((found.end() - start) as usize);
        let result = self.verify_run(content, found, &mut scratch, waits);
        if let Ok(Some(end)) = result
            && end > at
        {
            let len = ((end - at) as usize).min(buffer.len());
            let from = (at - start) as usize;
            buffer[..len].copy_from_slice(&scratch[from..from + len]);
            self.give_buffer(scratch);
            if self.shared.config.verify == Verify::First {
                *run = remember(end);
            }
            return Ok(Held::Bytes(len));
        }
        self.give_buffer(scratch);
        result.map(|read| if read.is_some() { Held::Hole } else { Held::WouldBlock })
    }

    /// Reads a whole run and compares its chunks; answers up to where they are what they should be, or nothing when the disk
    /// would have to be waited for.
    fn verify_run(
        &self,
        content: ContentKey,
        found: &Run,
        scratch: &mut [u8],
        waits: bool,
    ) -> Result<Option<u64>, StoreError> {
        let (start, offset) = found.start();
        let count =
            match self.read_segment(&found.segment, offset, &mut scratch[..(found.end() - start) as usize], waits) {
                Err(errno) if errno == WOULD_BLOCK => return Ok(None),
                read => read.map_err(|errno| io_error(errno.into()))?,
            };
        for (piece, offset) in found.pieces() {
            if self.is_verified(&found.segment, *offset, &piece.hash) {
                continue;
            }
            let from = (piece.offset - start) as usize;
            let to = from + piece.len as usize;
            self.shared.counters.verified_chunks.fetch_add(1, Ordering::Relaxed);
            if to > count || ChunkHash::of(&scratch[from..to]) != piece.hash {
                let location = Location { segment: found.segment.id, offset: *offset, len: piece.len };
                let damaged = DamagedChunk { hash: piece.hash, piece: Some((content, piece.range())), location };
                self.shared.report_damage(&found.segment, damaged);
                return Ok(Some(piece.offset));
            }
            if self.shared.config.verify == Verify::First {
                self.shared.segments.mark_verified(&found.segment, *offset, &piece.hash);
            }
        }
        Ok(Some(found.end()))
    }

    /// A verified run is shorter on disk than it was: the chunk at `at` is damaged.
    fn lost(&self, segment: &Segment, content: ContentKey, at: u64) -> Result<Held, StoreError> {
        if let Some(found) = self.resolve(content, at, at.saturating_add(1))?
            && let Some((piece, offset)) = found.pieces().first()
        {
            let location = Location { segment: segment.id, offset: *offset, len: piece.len };
            let damaged = DamagedChunk { hash: piece.hash, piece: Some((content, piece.range())), location };
            self.shared.report_damage(segment, damaged);
        }
        Ok(Held::Hole)
    }

    /// Fills the buffer from a segment; short only at its end.
    fn read_segment(&self, segment: &Segment, offset: u64, buffer: &mut [u8], waits: bool) -> Result<usize, Errno> {
        let file = match self.shared.segments.file(segment) {
            Ok(file) => file,
            // given up a moment ago: there are no bytes
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        self.shared.counters.segment_reads.fetch_add(1, Ordering::Relaxed);
        let flags = if waits { ReadWriteFlags::empty() } else { ReadWriteFlags::NOWAIT };
        match fill(&file, offset, buffer, flags) {
            // NOSYS and INVAL: a kernel or filesystem that does not know the flag
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if !waits => Err(WOULD_BLOCK),
            read => read,
        }
    }

    fn take_buffer(&self, len: usize) -> Vec<u8> {
        let mut buffer = self.buffers.lock().pop().unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len.max(2 * MAX_PIECE_BYTES as usize), 0);
        }
        buffer
    }

    fn give_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock();
        if buffers.len() < MAX_BUFFERS {
            buffers.push(buffer);
        }
    }
}

impl Run {
    fn at(segment: Arc<Segment>) -> Self {
        let nothing = Piece { offset: 0, len: 0, hash: ChunkHash([0; 32]) };
        Self { segment, pieces: [(nothing, 0); MAX_RUN_PIECES], len: 0 }
    }
}

fn fill(file: &File, offset: u64, buffer: &mut [u8], flags: ReadWriteFlags) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut buffer[done..])], at, flags) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

impl ReadStore for StoreReader {
    fn read_now(
        &self,
        content: ContentKey,
        offset: u64,
        buffer: &mut [u8],
        run: &mut HeldRun,
    ) -> Result<Held, StoreError> {
        self.read(content, offset, buffer, run, false)
    }

    fn read_blocking(
        &self,
        content: ContentKey,
        offset: u64,
        buffer: &mut [u8],
        run: &mut HeldRun,
    ) -> Result<Held, StoreError> {
        self.read(content, offset, buffer, run, true)
    }

    fn missing(&self, content: ContentKey, size: u64, range: Range<u64>) -> Result<Vec<Range<u64>>, StoreError> {
        let table = match self.shared.table(content, size, range.clone()) {
            // a damaged table knows nothing
            Err(StoreError::Damaged { .. }) => musicfs_pure::piece_table::PieceTable::covering(size, range.clone()),
            table => table?,
        };
        let mut result = Ok(());
        let missing = table.missing(range, |piece| match self.shared.locate(piece) {
            Ok(located) => located.is_some(),
            Err(error) => {
                result = Err(error);
                false
            }
        });
        result.map(|()| missing)
    }
}
