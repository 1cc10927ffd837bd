//! The bound: never exceeded, whatever flows through; what is pinned or used stays; a full disk is no failure.
//!
//! The folder is measured as `du` does it, after every write and all the time beside the writer. Everything here uses the
//! smallest bound, where the database and the headroom take the largest part of it.

use super::*;
use crate::store::Uncached;

#[test]
fn ten_times_the_bound_flows_through_and_the_bound_is_never_exceeded() {
    let mut fixture = Fixture::new();
    let mut most = 0;
    let mut last = None;
    for number in 0..220 {
        last = Some(fixture.keep_all(number, 3 * MIB));
        most = most.max(du(fixture.folder.path()));
        assert!(most <= BOUND, "{most} after {number}");
    }
    let (content, bytes) = last.unwrap();
    assert_eq!(fixture.held(&content, &bytes), 3 * MIB, "what came last is held");
    assert!(most > BOUND * 2 / 3, "the room is used: {most}");
    assert!(fixture.count(|counters| &counters.evicted_segments) > 100);
}

#[test]
fn small_pieces_flow_through_within_the_bound_too() {
    let mut fixture = Fixture::new();
    let (mut content, _) = content(1, 0);
    content.version.size = 1 << 40;
    for block in 0..60_u64 {
        let bytes = bytes(block, 2 * MIB);
        let pieces: Vec<Piece> = (0..512)
            .map(|number| Piece {
                offset: block * 2 * MIB + number * 4096,
                len: 4096,
                hash: musicfs_pure::content::ChunkHash::of(&bytes[number as usize * 4096..][..4096]),
            })
            .collect();
        let run: Vec<NewPiece<'_>> = pieces
            .iter()
            .map(|piece| NewPiece { piece: *piece, bytes: &bytes[(piece.offset - block * 2 * MIB) as usize..][..4096] })
            .collect();
        assert_eq!(fixture.writer.keep(&content, SegmentClass::Music, &run).unwrap(), Kept::Held);
        assert!(du(fixture.folder.path()) <= BOUND, "block {block}");
    }
}

#[test]
fn what_is_used_outlives_what_is_not() {
    let mut fixture = Fixture::new();
    let used = fixture.keep_all(0, MIB);
    let unused = fixture.keep_all(1, MIB);
    for number in 2..40 {
        fixture.keep_all(number, 3 * MIB);
        assert_eq!(fixture.held(&used.0, &used.1), MIB);
    }
    assert_eq!(fixture.held(&unused.0, &unused.1), 0);
}

#[test]
fn dedup_hit_counts_as_use() {
    let mut fixture = Fixture::new();
    let (one, bytes) = fixture.keep_all(0, MIB);
    for number in 1..40 {
        fixture.keep_all(number * 2, 3 * MIB);
        let (other, _) = content(number * 2 + 1, MIB);
        assert_eq!(fixture.keep(&other, 0, &bytes), Kept::Held);
        assert_eq!(fixture.held(&other, &bytes), MIB);
    }
    assert_eq!(fixture.held(&one, &bytes), MIB);
}

#[test]
fn remembered_run_of_an_evicted_segment_is_resolved_anew() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(0, MIB);
    let mut run = HeldRun::default();
    let mut buffer = vec![0; 1000];
    let mut read = |fixture: &Fixture| {
        let held = fixture.reader.read_blocking(content.key(), 5, &mut buffer, &mut run).unwrap();
        if let Held::Bytes(count) = held {
            assert!(count == 1000 && buffer == bytes[5..1005]);
        }
        held
    };
    assert_eq!(read(&fixture), Held::Bytes(1000));
    for number in 1..60 {
        fixture.keep_all(number, 3 * MIB);
    }
    // it was used once: it moved once, and went with the next round
    assert_eq!(read(&fixture), Held::Hole);
}

#[test]
fn pinned_content_is_never_evicted() {
    let mut fixture = Fixture::new();
    let pinned = fixture.keep_all(0, 6 * MIB);
    assert_eq!(fixture.writer.pin(&pinned.0), Ok(true));
    // what comes to a pinned content later is pinned with it
    let (later, bytes) = content(1, 6 * MIB);
    assert_eq!(fixture.writer.pin(&later), Ok(true));
    assert_eq!(fixture.keep(&later, 0, &bytes), Kept::Held);
    for number in 2..60 {
        fixture.keep_all(number, 3 * MIB);
        if number == 30 {
            fixture = fixture.reopen(|_| {});
        }
    }
    assert_eq!(fixture.held(&pinned.0, &pinned.1), 6 * MIB);
    assert_eq!(fixture.held(&later, &bytes), 6 * MIB);
    fixture.writer.unpin(&pinned.0).unwrap();
    // reading it above used it, so it outlives one round
    for number in 60..120 {
        fixture.keep_all(number, 3 * MIB);
    }
    assert_eq!(fixture.held(&pinned.0, &pinned.1), 0);
    assert_eq!(fixture.held(&later, &bytes), 6 * MIB);
}

#[test]
fn segment_whose_files_vanished_does_not_hold_up_the_others() {
    let mut fixture = Fixture::new();
    let pinned = fixture.keep_all(0, MIB);
    assert_eq!(fixture.writer.pin(&pinned.0), Ok(true));
    fixture.keep_all(1, 6 * MIB);
    for path in segment_files(fixture.folder.path(), "seg").iter().take(1) {
        std::fs::remove_file(path).unwrap();
    }
    for number in 2..40 {
        fixture.keep_all(number, 3 * MIB);
    }
    assert_eq!(fixture.held(&pinned.0, &pinned.1), 0);
    assert_eq!(fixture.keep(&pinned.0, 0, &pinned.1), Kept::Held);
    assert_eq!(fixture.held(&pinned.0, &pinned.1), MIB);
}

#[test]
fn pins_that_leave_no_room_are_refused() {
    let mut fixture = Fixture::new();
    let (large, _) = content(1, 30 * MIB);
    let (more, _) = content(2, 30 * MIB);
    assert_eq!(fixture.writer.pin(&large), Ok(true));
    assert_eq!(fixture.writer.pin(&large), Ok(true), "it is already");
    assert_eq!(fixture.writer.pin(&more), Ok(false));
    fixture.writer.unpin(&large).unwrap();
    assert_eq!(fixture.writer.pin(&more), Ok(true));
    // the sum outlives the process
    let mut fixture = fixture.reopen(|_| {});
    assert_eq!(fixture.writer.pin(&large), Ok(false));
    fixture.writer.forget(more.key()).unwrap();
    assert_eq!(fixture.writer.pin(&large), Ok(true));
}

#[test]
fn scan_of_many_files_evicts_no_music() {
    let mut fixture = Fixture::new();
    let music: Vec<_> = (0..8).map(|number| fixture.keep_all(number, 4 * MIB)).collect();
    let mut last = None;
    for number in 100..400 {
        let (content, bytes) = content(number, 10 * MIB / 100);
        assert_eq!(fixture.keep_as(SegmentClass::Ends, &content, 0, &bytes), Kept::Held);
        last = Some((content, bytes));
    }
    for (content, bytes) in &music {
        assert_eq!(fixture.held(content, bytes), 4 * MIB);
    }
    let (content, bytes) = last.unwrap();
    assert_eq!(fixture.held(&content, &bytes), bytes.len() as u64);
    let ends = fixture.shared.usage().unwrap().ends;
    assert!(ends > 0 && ends <= BOUND / 10, "{ends}");
}

#[test]
fn head_that_was_read_for_tags_is_held_as_music_once_it_is_played() {
    let mut fixture = Fixture::new();
    let (played, bytes) = content(1, 4 * MIB);
    let (scanned, _) = content(2, 4 * MIB);
    for content in [&played, &scanned] {
        assert_eq!(fixture.keep_as(SegmentClass::Ends, content, 0, &bytes[..400_000]), Kept::Held);
    }
    assert_eq!(fixture.keep(&played, 0, &bytes), Kept::Held);
    assert_eq!(fixture.held(&played, &bytes), 4 * MIB);
    // once more it is found where it is
    let appended = fixture.count(|counters| &counters.appended_bytes);
    assert_eq!(fixture.keep(&played, 0, &bytes), Kept::Held);
    assert_eq!(fixture.keep_as(SegmentClass::Ends, &scanned, 0, &bytes[..200_000]), Kept::Held);
    assert!(fixture.count(|counters| &counters.appended_bytes) - appended < 256 << 10);
    for number in 100..300 {
        let (other, bytes) = content(number, 10 * MIB / 100);
        assert_eq!(fixture.keep_as(SegmentClass::Ends, &other, 0, &bytes), Kept::Held);
    }
    assert_eq!(fixture.held(&played, &bytes), 4 * MIB);
}

#[test]
fn store_without_room_says_so_and_holds_what_it_holds() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 4 * MIB);
    let mut fixture = {
        // the rest of the disk is reserved
        fixture.config.reserve = u64::MAX / 2;
        fixture.reopen(|_| {})
    };
    let (other, more) = super::content(2, MIB);
    assert_eq!(fixture.keep(&other, 0, &more), Kept::Uncached(Uncached::BoundReached));
    assert_eq!(fixture.held(&other, &more), 0);
    let _ = (content, bytes);
}

#[test]
fn full_disk_is_no_failure_and_ends_with_the_fullness() {
    for point in ["store::write_bytes", "store::write_log"] {
        let mut fixture = Fixture::failing();
        let before = fixture.keep_all(1, 2 * MIB);
        let (content, bytes) = content(2, 2 * MIB);
        // in the middle of the run
        fail::cfg(point, if point.ends_with("log") { "return" } else { "5*off->return" }).unwrap();
        assert_eq!(fixture.keep(&content, 0, &bytes), Kept::Uncached(Uncached::DiskFull), "{point}");
        assert_eq!(fixture.held(&content, &bytes), 0);
        assert_eq!(fixture.held(&before.0, &before.1), 2 * MIB);
        fail::remove(point);
        assert_eq!(fixture.keep(&content, 0, &bytes), Kept::Held);
        assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
        let fixture = fixture.reopen(|_| {});
        assert_eq!(fixture.held(&content, &bytes), 2 * MIB);
        assert_eq!(fixture.held(&before.0, &before.1), 2 * MIB);
    }
}

#[test]
fn readers_and_the_evictor_do_not_disturb_each_other() {
    let mut fixture = Fixture::new();
    let contents: Vec<_> = (0..12).map(|number| fixture.keep_all(number, 3 * MIB)).collect();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (reader, contents, ended) = (Arc::clone(&fixture.reader), &contents, &ended);
            scope.spawn(move || {
                let mut round = thread;
                while !ended.load(Ordering::Relaxed) {
                    // 50 open handles between them would do the same: a handle is a value
                    let (content, bytes) = &contents[round % contents.len()];
                    held(reader.as_ref(), content, bytes);
                    round += 1;
                }
            });
        }
        let (folder, ended_too) = (fixture.folder.path().to_owned(), &ended);
        scope.spawn(move || {
            // also in the middle of a write, of an eviction and of a merge of the database
            while !ended_too.load(Ordering::Relaxed) {
                assert!(du(&folder) <= BOUND);
            }
        });
        for number in 100..180 {
            fixture.keep_all(number, 3 * MIB);
        }
        ended.store(true, Ordering::Relaxed);
    });
}
