//! The log beside each segment: what lies in it, and what is known by it.
//!
//! ```text
//! header  "musicfs segment\n" │ version u8 = 1 │ class u8 │ 6 × 0 │ segment u64                    │ check [u8; 8]    40 B
//! record  kind u8 │ 3 × 0 │ length u32 │ segment offset u64 │ sequence u64 │ file offset u64
//!         │ content key [u8; 16] │ chunk hash [u8; 32]                                            │ check [u8; 8]    88 B
//! ```
//!
//! Little-endian. A check is BLAKE3 over the segment's number and what stands before it, cut to 8 bytes: a record that was
//! half written, or belongs to another segment, ends the log. With its log a segment describes itself: the index and the
//! piece tables can be rebuilt. A chunk that was there already leaves a record without bytes, because the table needs it
//! all the same; a content whose bytes turned out to be another version's leaves one that says so, and what has a smaller
//! sequence number is not known any more.

use std::ops::Range;

use musicfs_pure::content::{ChunkHash, ContentKey, MAX_PIECE_BYTES, Piece};
use musicfs_pure::eviction::SegmentClass;

const MAGIC: &[u8; 16] = b"musicfs segment\n";
const VERSION: u8 = 1;

/// In the place of a content: a chunk that was appended again after its content was forgotten.
pub(super) const NOBODY: ContentKey = ContentKey([0; 16]);

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 40;

/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = 88;

const CHECK_BYTES: usize = 8;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A chunk lies at this offset of the segment and is a piece of the content.
    Chunk { offset: u32, piece: Piece },
    /// A chunk that lies in some segment is a piece of the content.
    Known { piece: Piece },
    /// What was known of the content before is wrong.
    Forgotten,
}

/// A record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) content: ContentKey,
    /// Grows over all segments and writers.
    pub(super) sequence: u64,
    pub(super) entry: Entry,
}

/// A cursor over little-endian fields of a fixed-width record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        let (now, rest) = self.0.split_at(N.min(self.0.len()));
        field[..now.len()].copy_from_slice(now);
        self.0 = rest;
        field
    }

    fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

fn check(segment: u64, bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(bytes);
    let mut check = [0; CHECK_BYTES];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Appends the check of what was put into `out` from `from` on.
fn seal(segment: u64, out: &mut Vec<u8>, from: usize) {
    let check = check(segment, &out[from..]);
    out.extend_from_slice(&check);
}

/// The body of a checked block.
fn body(segment: u64, block: &[u8]) -> Option<&[u8]> {
    let (body, stored) = block.split_at(block.len() - CHECK_BYTES);
    (check(segment, body) == stored).then_some(body)
}

/// The header of a segment's log.
pub(super) fn header(segment: u64, class: SegmentClass) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(MAGIC);
    let class = match class {
        SegmentClass::Ends => 0,
        SegmentClass::Music => 1,
    };
    out.extend_from_slice(&[VERSION, class, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&segment.to_le_bytes());
    seal(segment, &mut out, 0);
    out
}

/// The class in a log's header; nothing when it is not the header of this segment.
fn parse_header(segment: u64, log: &[u8]) -> Option<SegmentClass> {
    let body = body(segment, log.get(..HEADER_BYTES)?)?;
    match (body.starts_with(MAGIC), body[16], body[17]) {
        (true, VERSION, 0) => Some(SegmentClass::Ends),
        (true, VERSION, 1) => Some(SegmentClass::Music),
        _ => None,
    }
}

impl Record {
    /// Appends the record to a buffer.
    pub(super) fn encode(&self, segment: u64, out: &mut Vec<u8>) {
        let from = out.len();
        let nothing = Piece { offset: 0, len: 0, hash: ChunkHash([0; 32]) };
        let (kind, offset, piece) = match self.entry {
            Entry::Chunk { offset, piece } => (1, offset, piece),
            Entry::Known { piece } => (2, 0, piece),
            Entry::Forgotten => (3, 0, nothing),
        };
        out.extend_from_slice(&[kind, 0, 0, 0]);
        out.extend_from_slice(&piece.len.to_le_bytes());
        out.extend_from_slice(&u64::from(offset).to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&piece.offset.to_le_bytes());
        out.extend_from_slice(&self.content.0);
        out.extend_from_slice(&piece.hash.0);
        seal(segment, out, from);
    }

    /// The content that the record speaks of, and where its chunk is in it.
    pub(super) fn piece_of(&self) -> Option<(ContentKey, Range<u64>)> {
        match self.entry {
            Entry::Chunk { piece, .. } | Entry::Known { piece } if self.content != NOBODY => {
                Some((self.content, piece.range()))
            }
            _ => None,
        }
    }

    fn decode(segment: u64, block: &[u8]) -> Option<Self> {
        let mut fields = Fields(body(segment, block)?);
        let [kind, ..] = fields.take::<4>();
        let len = u32::from_le_bytes(fields.take());
        let (offset, sequence, place) = (u32::try_from(fields.word()).ok()?, fields.word(), fields.word());
        let content = ContentKey(fields.take());
        let piece = Piece { offset: place, len, hash: ChunkHash(fields.take()) };
        let is_piece = (1..=MAX_PIECE_BYTES).contains(&len) && place.checked_add(u64::from(len)).is_some();
        let entry = match kind {
            1 if is_piece => Entry::Chunk { offset, piece },
            2 if is_piece => Entry::Known { piece },
            3 => Entry::Forgotten,
            _ => return None,
        };
        Some(Self { content, sequence, entry })
    }
}

/// What of a log can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) class: SegmentClass,
    pub(super) records: Vec<Record>,
}

impl Log {
    /// Reads a log up to its last verifying record, and no further than to the first chunk that is not within the
    /// `segment_bytes` that the segment has. Nothing when the header is not this segment's.
    pub(super) fn parse(segment: u64, bytes: &[u8], segment_bytes: u64) -> Option<Self> {
        let class = parse_header(segment, bytes)?;
        let blocks = bytes[HEADER_BYTES..].chunks_exact(RECORD_BYTES);
        let is_there = |record: &Record| match record.entry {
            Entry::Chunk { offset, piece } => u64::from(offset) + u64::from(piece.len) <= segment_bytes,
            Entry::Known { .. } | Entry::Forgotten => true,
        };
        let records = blocks.map_while(|block| Record::decode(segment, block).filter(is_there)).collect();
        Some(Self { class, records })
    }

    /// The end of the last chunk.
    pub(super) fn end(&self) -> u64 {
        let ends = self.records.iter().map(|record| match record.entry {
            Entry::Chunk { offset, piece } => u64::from(offset) + u64::from(piece.len),
            Entry::Known { .. } | Entry::Forgotten => 0,
        });
        ends.max().unwrap_or(0)
    }

    /// The sequence number of the first record.
    pub(super) fn first_sequence(&self) -> Option<u64> {
        self.records.first().map(|record| record.sequence)
    }

    /// The bytes of the log that were relied on.
    pub(super) fn valid_bytes(&self) -> u64 {
        (HEADER_BYTES + self.records.len() * RECORD_BYTES) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, len: u32, number: u8) -> Piece {
        Piece { offset, len, hash: ChunkHash([number; 32]) }
    }

    fn records() -> [Record; 3] {
        let content = ContentKey([7; 16]);
        [
            Record { content, sequence: 1, entry: Entry::Chunk { offset: 0, piece: piece(5, 300, 1) } },
            Record { content, sequence: 2, entry: Entry::Known { piece: piece(1 << 40, 1, 2) } },
            Record { content, sequence: 3, entry: Entry::Forgotten },
        ]
    }

    fn log() -> Vec<u8> {
        let mut log = header(9, SegmentClass::Music);
        for record in records() {
            record.encode(9, &mut log);
        }
        log
    }

    #[test]
    fn log_is_stable() {
        let log = log();
        assert_eq!(log.len(), HEADER_BYTES + 3 * RECORD_BYTES);
        let mut record = vec![1, 0, 0, 0, 0x2c, 1, 0, 0];
        record.extend([0; 8]);
        record.extend([1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        record.extend([7; 16]);
        record.extend([1; 32]);
        assert_eq!(log[HEADER_BYTES..HEADER_BYTES + RECORD_BYTES - CHECK_BYTES], record);
        assert_eq!(log[..18], *b"musicfs segment\n\x01\x01");
        let check = |at: usize| u64::from_be_bytes(log[at..at + CHECK_BYTES].try_into().unwrap());
        assert_eq!(check(HEADER_BYTES - CHECK_BYTES), 0xe434_7123_376d_81e7);
        assert_eq!(check(HEADER_BYTES + RECORD_BYTES - CHECK_BYTES), 0x2c52_4c64_4208_95fa);
    }

    #[test]
    fn log_is_read_up_to_its_last_verifying_record() {
        let log = log();
        let parsed = Log::parse(9, &log, 300).unwrap();
        assert_eq!((parsed.class, &parsed.records[..]), (SegmentClass::Music, &records()[..]));
        assert_eq!((parsed.end(), parsed.valid_bytes()), (300, log.len() as u64));
        for cut in HEADER_BYTES..log.len() {
            let whole = (cut - HEADER_BYTES) / RECORD_BYTES;
            assert_eq!(Log::parse(9, &log[..cut], 300).unwrap().records, records()[..whole]);
        }
        for flipped in 0..log.len() {
            let mut damaged = log.clone();
            damaged[flipped] ^= 0x10;
            let whole = flipped.checked_sub(HEADER_BYTES).map(|at| at / RECORD_BYTES);
            assert_eq!(Log::parse(9, &damaged, 300).map(|log| log.records.len()), whole, "{flipped}");
        }
    }

    #[test]
    fn chunk_beyond_the_bytes_that_are_there_ends_the_log() {
        assert_eq!(Log::parse(9, &log(), 299).unwrap().records, []);
    }

    #[test]
    fn log_of_another_segment_is_none() {
        assert_eq!(Log::parse(8, &log(), 300), None);
        assert_eq!(Log::parse(9, &log()[..39], 300), None);
    }
}
