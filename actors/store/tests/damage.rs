//! Bits flip, files get shorter or vanish: what is damaged is a hole, is reported, and its range is fetched again.
//!
//! Damage is done to the files under an open store, behind its back. What is not damaged is read as before, and a chunk
//! that was stored again in the meantime is not taken away with the damaged one.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::*;
use crate::store::Scrubber;

/// Flips a bit of every segment at a place.
fn flip(folder: &Path, at: u64) {
    for path in segment_files(folder, "seg") {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }
}

/// The piece of a content at a place.
fn piece_at(bytes: &[u8], at: u64) -> Range<u64> {
    cut(0, bytes).iter().map(|(piece, _)| piece.range()).find(|range| range.contains(&at)).unwrap()
}

#[test]
fn damaged_chunk_is_a_hole_that_is_filled_again() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 2 * MIB);
    flip(fixture.folder.path(), 700_000);
    let damaged = piece_at(&bytes, 700_000);
    let len = damaged.end - damaged.start;
    assert_eq!(fixture.held(&content, &bytes), 2 * MIB - len);
    assert_eq!(fixture.missing(&content), vec![damaged.clone()]);
    assert_eq!(fixture.count(|counters| &counters.damaged_chunks), 1);
    let dropped = fixture.writer.drop_damaged().unwrap();
    assert_eq!(
        dropped.iter().map(|chunk| chunk.piece.clone()).collect::<Vec<_>>(),
        [Some((content.key(), damaged.clone()))]
    );
    assert_eq!(fixture.writer.drop_damaged().unwrap(), []);
    // the refetched range hashes as before: it is appended anew, and nothing is contradicted
    let range = damaged.start as usize..damaged.end as usize;
    assert_eq!(fixture.keep(&content, damaged.start, &bytes[range]), Kept::Held);
    assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
    let fixture = fixture.reopen(|_| {});
    assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
}

#[test]
fn chunk_that_was_refilled_before_the_row_was_dropped_is_kept() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, MIB);
    flip(fixture.folder.path(), 10);
    let damaged = piece_at(&bytes, 10);
    fixture.held(&content, &bytes);
    assert_eq!(fixture.keep(&content, 0, &bytes[..damaged.end as usize]), Kept::Held);
    assert_eq!(fixture.writer.drop_damaged().unwrap().len(), 1);
    assert_eq!(fixture.held(&content, &bytes), MIB);
}

#[test]
fn reader_of_a_remembered_run_sees_damage_that_is_found_later() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, MIB);
    fixture.writer.seal().unwrap();
    let mut run = HeldRun::default();
    let mut buffer = vec![0; 1000];
    let mut read = |fixture: &Fixture| fixture.reader.read_blocking(content.key(), 0, &mut buffer, &mut run).unwrap();
    assert_eq!(read(&fixture), Held::Bytes(1000));
    flip(fixture.folder.path(), 10);
    let scrubbed = Scrubber::new(Arc::clone(&fixture.shared)).step(u64::MAX).unwrap();
    assert_eq!((scrubbed.damaged, scrubbed.round_ended), (1, true));
    assert_eq!(scrubbed.chunks, cut(0, &bytes).len() as u64);
    assert_eq!(read(&fixture), Held::Hole);
}

#[test]
fn segment_that_is_shorter_than_it_was_is_holes() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 2 * MIB);
    assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
    let mut run = HeldRun::default();
    let mut buffer = vec![0; 1000];
    let mut read =
        |fixture: &Fixture, at| fixture.reader.read_blocking(content.key(), at, &mut buffer, &mut run).unwrap();
    assert_eq!(read(&fixture, MIB + 500_000), Held::Bytes(1000));
    let segment = fixture.segment_files().pop().unwrap();
    OpenOptions::new().write(true).open(segment).unwrap().set_len(MIB).unwrap();
    assert_eq!(read(&fixture, MIB + 500_000), Held::Hole, "also in a run that was verified");
    assert_eq!(fixture.held(&content, &bytes), MIB);
    // the chunk at the cut is damaged as soon as the whole of it is wanted
    let fixture = fixture.reopen(|_| {});
    assert!(fixture.held(&content, &bytes) < MIB);
}

#[test]
fn removed_segment_files_are_holes() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 2 * MIB);
    let mut fixture = fixture.reopen(|folder| {
        for path in segment_files(folder, "seg").iter().chain(&segment_files(folder, "log")) {
            std::fs::remove_file(path).unwrap();
        }
    });
    assert_eq!(fixture.held(&content, &bytes), 0);
    assert_eq!(fixture.keep(&content, 0, &bytes), Kept::Held);
    assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
}

#[test]
fn scrubber_goes_round_in_steps() {
    let mut fixture = Fixture::new();
    let contents: Vec<_> = (0..4).map(|number| fixture.keep_all(number, 3 * MIB)).collect();
    fixture.writer.seal().unwrap();
    let chunks: usize = contents.iter().map(|(_, bytes)| cut(0, bytes).len()).sum();
    let mut scrubber = Scrubber::new(Arc::clone(&fixture.shared));
    for _ in 0..2 {
        let (mut seen, mut steps) = (0, 0);
        loop {
            let scrubbed = scrubber.step(MIB).unwrap();
            assert!(scrubbed.bytes < MIB + (256 << 10));
            assert_eq!(scrubbed.damaged, 0);
            seen += scrubbed.chunks;
            steps += 1;
            if scrubbed.round_ended {
                break;
            }
        }
        assert_eq!(seen, chunks as u64);
        assert!(steps >= 12);
    }
}

#[test]
fn scrubber_drops_what_the_page_cache_has_before_and_after_it_reads() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 3 * MIB);
    fixture.writer.seal().unwrap();
    let is_in_memory = |fixture: &Fixture| {
        let mut run = HeldRun::default();
        let held = fixture.reader.read_now(content.key(), 0, &mut [0; 100], &mut run).unwrap();
        held == Held::Bytes(100)
    };
    assert_eq!(fixture.held(&content, &bytes), 3 * MIB);
    let can_be_dropped = rustix::fs::statfs(fixture.folder.path()).unwrap().f_type != 0x0102_1994;
    if !can_be_dropped || !is_in_memory(&fixture) {
        eprintln!("skipped: the temporary folder is in memory, or its file system cannot say what is");
        return;
    }
    let scrubbed = Scrubber::new(Arc::clone(&fixture.shared)).step(u64::MAX).unwrap();
    assert_eq!((scrubbed.bytes, scrubbed.damaged), (3 * MIB, 0));
    assert!(!is_in_memory(&fixture), "what was scrubbed does not fill the memory");
    assert_eq!(fixture.held(&content, &bytes), 3 * MIB);
}
