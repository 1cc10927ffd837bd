//! Holding and reading: what was held is read, what was not is a hole, and how much work a read is.
//!
//! Work is counted in reads of segments, verified chunks and appended bytes. Blocking reads are used, because whether a
//! page is in memory is the kernel's to say; the read that may not wait has a test of its own.

use super::*;

use musicfs_pure::chunking::{GRID_BYTES, cut_on_grid};

/// Reads a range and says how many reads of segments it took.
fn reads_of(fixture: &Fixture, content: &Content, range: Range<u64>, run: &mut HeldRun) -> (Vec<u8>, u64) {
    let before = fixture.count(|counters| &counters.segment_reads);
    let mut buffer = vec![0; (range.end - range.start) as usize];
    let held = fixture.reader.read_blocking(content.key(), range.start, &mut buffer, run).unwrap();
    assert_eq!(held, Held::Bytes(buffer.len()));
    (buffer, fixture.count(|counters| &counters.segment_reads) - before)
}

#[test]
fn held_content_is_read_at_any_offset_and_length() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 10 * MIB + 77);
    assert_eq!(fixture.held(&content, &bytes), 10 * MIB + 77);
    assert_eq!(fixture.missing(&content), []);
    let mut run = HeldRun::default();
    for (at, len) in [(0, 1), (10 * MIB + 76, 1), (4 * MIB - 1, 2), (5 * MIB + 3, 3 * MIB), (123, 128 << 10), (0, 0)] {
        let mut buffer = vec![0; len as usize];
        let held = fixture.reader.read_blocking(content.key(), at, &mut buffer, &mut run).unwrap();
        assert_eq!(held, if len == 0 { Held::Hole } else { Held::Bytes(len as usize) });
        assert!(buffer == bytes[at as usize..(at + len) as usize]);
    }
    // at and beyond the end there is nothing
    let mut buffer = [0; 10];
    assert_eq!(fixture.reader.read_blocking(content.key(), 10 * MIB + 70, &mut buffer, &mut run), Ok(Held::Bytes(7)));
    assert_eq!(fixture.reader.read_blocking(content.key(), 10 * MIB + 77, &mut buffer, &mut run), Ok(Held::Hole));
    assert_eq!(fixture.reader.read_blocking(content.key(), u64::MAX, &mut buffer, &mut run), Ok(Held::Hole));
}

#[test]
fn offsets_beyond_4_gib_are_held() {
    let mut fixture = Fixture::new();
    let (mut content, bytes) = content(1, MIB);
    content.version.size = 100 << 30;
    let place = (50 << 30) + 12_345;
    assert_eq!(fixture.keep(&content, place, &bytes), Kept::Held);
    let (read, _) = reads_of(&fixture, &content, place..place + MIB, &mut HeldRun::default());
    assert!(read == bytes);
    let missing = fixture.reader.missing(content.key(), 100 << 30, place - 1..place + MIB + 1).unwrap();
    assert_eq!(missing, [place - 1..place, place + MIB..place + MIB + 1]);
}

#[test]
fn read_stops_at_the_first_hole() {
    let mut fixture = Fixture::new();
    let (content, bytes) = content(1, 2 * MIB);
    let middle = 1_000_000;
    assert_eq!(fixture.keep(&content, 0, &bytes[..middle]), Kept::Held);
    assert_eq!(fixture.missing(&content), vec![middle as u64..2 * MIB]);
    let mut buffer = vec![0; 200_000];
    let mut run = HeldRun::default();
    let held = fixture.reader.read_blocking(content.key(), 900_000, &mut buffer, &mut run).unwrap();
    assert_eq!(held, Held::Bytes(100_000));
    assert!(buffer[..100_000] == bytes[900_000..middle]);
    assert_eq!(fixture.held(&content, &bytes), middle as u64);
}

#[test]
fn neighbouring_pieces_are_one_read() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 3 * MIB);
    let mut run = HeldRun::default();
    let (_, first) = reads_of(&fixture, &content, 0..128 << 10, &mut run);
    assert_eq!(first, 1);
    assert_eq!(fixture.held(&content, &bytes), 3 * MIB, "verified");
    let pieces = cut(0, &bytes).iter().filter(|(piece, _)| piece.offset < 1 << 20).count();
    assert!(pieces > 8);
    let (read, reads) = reads_of(&fixture, &content, 0..(512 << 10), &mut HeldRun::default());
    assert!(read == bytes[..512 << 10]);
    assert_eq!(reads, 1);
}

#[test]
fn chunk_is_verified_at_its_first_read_only() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 2 * MIB);
    let verified = |fixture: &Fixture| fixture.count(|counters| &counters.verified_chunks);
    assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
    assert_eq!(verified(&fixture), cut(0, &bytes).len() as u64);
    fixture.held(&content, &bytes);
    assert_eq!(verified(&fixture), cut(0, &bytes).len() as u64);
    // a new daemon verifies again
    let fixture = fixture.reopen(|_| {});
    fixture.held(&content, &bytes);
    assert_eq!(verified(&fixture), cut(0, &bytes).len() as u64);
}

#[test]
fn chunk_is_verified_at_every_read_where_that_is_asked_for() {
    let mut fixture = Fixture::with(StoreConfig { verify: Verify::Always, ..config(BOUND) });
    let (content, bytes) = fixture.keep_all(1, 2 * MIB);
    for round in 1..4 {
        assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
        assert!(fixture.count(|counters| &counters.verified_chunks) >= round * cut(0, &bytes).len() as u64);
    }
}

#[test]
fn identical_chunks_are_stored_once() {
    let mut fixture = Fixture::new();
    let (one, bytes) = fixture.keep_all(1, 3 * MIB);
    let appended = fixture.count(|counters| &counters.appended_bytes);
    assert_eq!(appended, 3 * MIB);
    let (mut other, _) = content(2, 3 * MIB);
    other.version.size += 1000;
    // the same bytes at another place of another file, and twice within one run
    assert_eq!(fixture.keep(&other, 500, &bytes), Kept::Held);
    assert_eq!(fixture.count(|counters| &counters.appended_bytes), appended);
    assert_eq!(fixture.count(|counters| &counters.deduplicated_bytes), 3 * MIB);
    let (read, _) = reads_of(&fixture, &other, 500..500 + 3 * MIB, &mut HeldRun::default());
    assert!(read == bytes);
    let (zeros, _) = content(3, 2 * MIB);
    assert_eq!(fixture.keep(&zeros, 0, &vec![0; 2 << 20]), Kept::Held);
    assert_eq!(fixture.count(|counters| &counters.appended_bytes), appended + (256 << 10));
    assert_eq!(fixture.held(&zeros, &vec![0; 2 << 20]), 2 * MIB);
    assert_eq!(fixture.held(&one, &bytes), 3 * MIB);
}

#[test]
fn short_runs_on_the_grid_are_held_as_they_come() {
    let mut fixture = Fixture::new();
    let (content, bytes) = content(1, MIB);
    for block in [3, 0, 7, 1] {
        let start = block * GRID_BYTES as usize;
        let mut pieces = Vec::new();
        cut_on_grid(start as u64, &bytes[start..start + GRID_BYTES as usize], GRID_BYTES, &mut |piece, bytes| {
            pieces.push((piece, bytes.to_vec()));
        });
        let run: Vec<NewPiece<'_>> = pieces.iter().map(|(piece, bytes)| NewPiece { piece: *piece, bytes }).collect();
        assert_eq!(fixture.writer.keep(&content, SegmentClass::Ends, &run).unwrap(), Kept::Held);
    }
    assert_eq!(fixture.held(&content, &bytes), 4 * GRID_BYTES);
    let block = |number: u64| number * GRID_BYTES;
    assert_eq!(fixture.missing(&content), [block(2)..block(3), block(4)..block(7)]);
}

#[test]
fn content_that_is_known_differently_is_forgotten() {
    let mut fixture = Fixture::new();
    let (content, old) = fixture.keep_all(1, MIB);
    let (other, other_bytes) = fixture.keep_all(2, MIB);
    let first = cut(0, &old)[0].0;
    let mut edited = old[..first.len as usize].to_vec();
    edited[7] ^= 1;
    let piece = Piece { hash: musicfs_pure::content::ChunkHash::of(&edited), ..first };
    let run = [NewPiece { piece, bytes: &edited }];
    assert_eq!(fixture.writer.keep(&content, SegmentClass::Music, &run).unwrap(), Kept::Contradicted);
    assert_eq!(fixture.held(&content, &old), 0);
    assert_eq!(fixture.missing(&content), vec![0..MIB]);
    assert_eq!(fixture.held(&other, &other_bytes), MIB);
    // and it is never known again by what was written before
    for change in [|_: &Path| {}, |folder: &Path| std::fs::remove_dir_all(folder.join("index")).unwrap()] {
        fixture = fixture.reopen(change);
        assert_eq!(fixture.missing(&content), vec![0..MIB]);
        assert_eq!(fixture.held(&other, &other_bytes), MIB);
    }
}

#[test]
fn piece_and_bytes_of_different_lengths_are_refused() {
    let mut fixture = Fixture::new();
    let (content, bytes) = content(1, MIB);
    let piece = cut(0, &bytes)[0].0;
    let run = [NewPiece { piece, bytes: &bytes[..10] }];
    fixture.writer.keep(&content, SegmentClass::Music, &run).unwrap_err();
    assert_eq!(fixture.held(&content, &bytes), 0);
}

#[test]
fn read_that_may_not_wait_answers_from_memory_or_says_so() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, MIB);
    let mut run = HeldRun::default();
    let mut buffer = vec![0; 128 << 10];
    // just written, so in memory, unless the file system cannot say
    match fixture.reader.read_now(content.key(), 0, &mut buffer, &mut run).unwrap() {
        Held::Bytes(count) => assert!(count == buffer.len() && buffer == bytes[..count]),
        held => assert_eq!(held, Held::WouldBlock),
    }
}

#[test]
fn manifest_is_kept_until_other_pieces_come() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, MIB);
    let manifest = || super::super::recovery::content_row(&fixture.shared, content.key()).unwrap().unwrap().manifest();
    assert_eq!(manifest(), None);
    let id = musicfs_pure::content::ManifestId([5; 32]);
    fixture.writer.set_manifest(&content, id).unwrap();
    assert_eq!(manifest(), Some(id));
    let mut fixture = fixture;
    assert_eq!(fixture.keep(&content, 0, &bytes[..300_000]), Kept::Held);
    let row = super::super::recovery::content_row(&fixture.shared, content.key()).unwrap().unwrap();
    assert_eq!(row.manifest(), None);
}
