//! `Scrubber`: compares held chunks with their hashes, slowly, before a reader would notice.
//!
//! It goes round the sealed segments, oldest first, some bytes at a time, and reads the disk: what the page cache has of a
//! chunk is dropped before it is read, and again afterwards, so that scrubbing neither believes memory nor fills it. It
//! writes nothing and repairs nothing: a chunk that is not what it should be becomes a hole and is reported, the writer
//! drops its row, and the next read fetches its range again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use musicfs_protocol::store::StoreError;
use musicfs_pure::content::ChunkHash;
use rustix::fs::Advice;

use super::log::{Entry, Record};
use super::recovery::read_log;
use super::rows::Location;
use super::segments::Segment;
use super::shared::{DamagedChunk, StoreShared, io_error};

/// What a step of scrubbing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Chunks that were read and compared.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are damaged.
    pub damaged: u64,
    /// Every segment has been looked at since the round began; the next step begins another.
    pub round_ended: bool,
}

/// A round over the store, as far as it has come.
#[derive(Debug)]
pub struct Scrubber {
    shared: Arc<StoreShared>,
    /// The segment under way and what is left of its log, last record first.
    current: Option<(Arc<Segment>, Vec<Record>)>,
    /// Segments up to this one have been looked at in this round.
    done_to: u64,
    buffer: Vec<u8>,
}

impl Scrubber {
    /// A scrubber at the beginning of a round.
    pub fn new(shared: Arc<StoreShared>) -> Self {
        Self { shared, current: None, done_to: 0, buffer: Vec::new() }
    }

    /// Compares chunks until about `max_bytes` were read or the round has ended. Waits for the disk.
    pub fn step(&mut self, max_bytes: u64) -> Result<Scrubbed, StoreError> {
        let mut scrubbed = Scrubbed::default();
        while scrubbed.bytes < max_bytes {
            if self.current.is_none() && !self.next_segment()? {
                self.done_to = 0;
                scrubbed.round_ended = true;
                break;
            }
            let Some((segment, records)) = &mut self.current else { break };
            let Some(record) = records.pop() else {
                self.done_to = segment.id;
                self.current = None;
                continue;
            };
            let segment = Arc::clone(segment);
            self.compare(&segment, &record, &mut scrubbed)?;
        }
        Ok(scrubbed)
    }

    fn next_segment(&mut self) -> Result<bool, StoreError> {
        let segments = self.shared.segments.all();
        let next = segments.into_iter().find(|segment| segment.is_sealed() && segment.id > self.done_to);
        let Some(segment) = next else { return Ok(false) };
        let mut records = read_log(&self.shared, segment.id)?.map_or_else(Vec::new, |log| log.records);
        records.reverse();
        self.current = Some((segment, records));
        Ok(true)
    }

    fn compare(&mut self, segment: &Segment, record: &Record, scrubbed: &mut Scrubbed) -> Result<(), StoreError> {
        let Entry::Chunk { offset, piece } = record.entry else { return Ok(()) };
        let location = Location { segment: segment.id, offset, len: piece.len };
        // Only what the index still finds here can be read by anyone.
        if !segment.holds(&location) || self.shared.chunk_row(&piece.hash)? != Some(location) {
            return Ok(());
        }
        self.buffer.resize(piece.len as usize, 0);
        let file = match File::open(self.shared.segments.bytes_path(segment.id)) {
            // given up in the meantime
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(io_error)?,
        };
        drop_cached(&file, &location);
        let read = file.read_exact_at(&mut self.buffer, offset.into());
        drop_cached(&file, &location);
        scrubbed.chunks += 1;
        scrubbed.bytes += u64::from(piece.len);
        self.shared.counters.verified_chunks.fetch_add(1, Ordering::Relaxed);
        if read.is_err() || ChunkHash::of(&self.buffer) != piece.hash {
            scrubbed.damaged += 1;
            let damaged = DamagedChunk { hash: piece.hash, piece: record.piece_of(), location };
            self.shared.report_damage(segment, damaged);
        }
        Ok(())
    }
}

/// Drops what the page cache has of a chunk. Pages of a sealed segment are clean, so the kernel may; where it does not, the
/// chunk is compared from memory, which is no worse than a reader's view.
fn drop_cached(file: &File, location: &Location) {
    let len = std::num::NonZeroU64::new(location.len.into());
    if let Err(error) = rustix::fs::fadvise(file, location.offset.into(), len, Advice::DontNeed) {
        tracing::debug!(%error, segment = location.segment, "the page cache keeps a chunk that is scrubbed");
    }
}
