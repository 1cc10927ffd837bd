//! Tests of eviction: each rule by example, and random stores against a list of chunks.
//!
//! The oracle is the store as a plain list: after a round it is looked through for what must have stayed, what must have
//! gone, and whether a round that came out short had anything left to give.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn segment(id: u64, class: SegmentClass, bytes: u64) -> Segment {
    Segment { id, class, bytes }
}

fn chunk(len: u64, pinned: bool, used: bool) -> ChunkUse {
    ChunkUse { len, pinned, used }
}

fn limits(bound: u64) -> Limits {
    Limits { bound, reserve: 100 }
}

fn all_free() -> Usage {
    Usage { free_disk: u64::MAX, ..Usage::default() }
}

#[test]
fn segments_are_a_64th_of_the_bound_within_limits() {
    for (bound, bytes) in [(64, 4), (256, 4), (1024, 16), (10_240, 128), (1 << 20, 128)] {
        assert_eq!(segment_bytes(bound * MIB), bytes * MIB, "{bound} MiB");
    }
}

#[test]
fn shortage_counts_database_headroom_and_free_disk() {
    let limits = limits(64 * MIB);
    let short = |usage: Usage, incoming| limits.shortage(&usage, SegmentClass::Music, incoming).total;
    let usage = Usage { segments: 50 * MIB, database: 8 * MIB, ..all_free() };
    assert_eq!(short(usage, 2 * MIB), 0);
    assert_eq!(short(usage, 2 * MIB + 1), 1);
    assert_eq!(short(Usage { database: 9 * MIB, ..usage }, 2 * MIB), MIB);
    assert_eq!(short(Usage { free_disk: 2 * MIB, ..usage }, 2 * MIB), 100);
    assert_eq!(short(Usage { database: 100 * MIB, ..usage }, 0), 50 * MIB, "no room at all");
}

#[test]
fn heads_and_tails_have_a_tenth_of_the_bound() {
    let usage = Usage { segments: 6 * MIB, ends: 6 * MIB, ..all_free() };
    let short = |class| limits(64 * MIB).shortage(&usage, class, MIB);
    assert_eq!(short(SegmentClass::Ends), Shortage { total: 0, ends: 7 * MIB - 64 * MIB / 10 });
    assert_eq!(short(SegmentClass::Music), Shortage::default());
}

#[test]
fn pins_leave_a_fifth_of_the_room() {
    let limits = limits(64 * MIB);
    assert!(limits.allows_pins(40 * MIB, 10 * MIB));
    assert!(!limits.allows_pins(40 * MIB + 1, 10 * MIB));
    assert!(!limits.allows_pins(1, 100 * MIB));
}

#[test]
fn pinned_and_used_chunks_are_kept() {
    let segment = segment(1, SegmentClass::Music, 100);
    let chunks = [chunk(10, false, false), chunk(20, true, false), chunk(30, false, true), chunk(40, false, false)];
    assert_eq!(judge(&segment, &chunks), Verdict::Evict { keep: vec![1, 2] });
}

#[test]
fn used_chunks_keep_half_at_most() {
    let segment = segment(1, SegmentClass::Music, 100);
    let chunks: Vec<ChunkUse> = (0..10).map(|number| chunk(10, number < 2, true)).collect();
    assert_eq!(judge(&segment, &chunks), Verdict::Evict { keep: vec![0, 1, 2, 3, 4, 5] });
}

#[test]
fn segment_that_would_free_next_to_nothing_is_left() {
    let segment = segment(1, SegmentClass::Music, 160);
    assert_eq!(judge(&segment, &[chunk(151, true, false), chunk(9, false, false)]), Verdict::Leave);
    assert_eq!(judge(&segment, &[chunk(150, true, false), chunk(10, false, false)]), Verdict::Evict { keep: vec![0] });
    assert_eq!(judge(&segment, &[]), Verdict::Evict { keep: vec![] });
}

#[test]
fn heads_and_tails_go_before_older_music() {
    let sealed =
        [segment(1, SegmentClass::Music, 10), segment(3, SegmentClass::Ends, 10), segment(2, SegmentClass::Ends, 10)];
    let mut cycle = Cycle::new(&sealed, Shortage { total: 30, ends: 0 });
    let mut order = Vec::new();
    while let Some(segment) = cycle.next_candidate() {
        order.push(segment.id);
        cycle.freed(&segment, 10);
    }
    assert_eq!(order, [2, 3, 1]);
    assert!(cycle.shortage().is_none());
}

#[test]
fn music_makes_no_room_for_heads_and_tails() {
    let sealed = [segment(1, SegmentClass::Music, 10), segment(2, SegmentClass::Ends, 10)];
    let mut cycle = Cycle::new(&sealed, Shortage { total: 0, ends: 15 });
    let ends = cycle.next_candidate().expect("its own class");
    cycle.freed(&ends, 10);
    assert_eq!(cycle.next_candidate(), None);
    assert_eq!(cycle.shortage(), Shortage { total: 0, ends: 5 });
}

fn chunks() -> impl Strategy<Value = Vec<ChunkUse>> {
    let one = (1..100_u64, prop::bool::weighted(0.4), any::<bool>());
    prop::collection::vec(one.prop_map(|(len, pinned, used)| chunk(len, pinned, used)), 0..12)
}

proptest! {
    #[test]
    fn round_keeps_pins_and_frees_what_there_is(
        store in prop::collection::vec((any::<bool>(), chunks(), 0..50_u64), 0..8), total in 0..2000_u64, ends in 0..300_u64,
    ) {
        let mut list: BTreeMap<u64, (Segment, Vec<ChunkUse>)> = BTreeMap::new();
        for (id, (is_music, chunks, dead)) in store.into_iter().enumerate() {
            let class = if is_music { SegmentClass::Music } else { SegmentClass::Ends };
            let bytes = dead + chunks.iter().map(|chunk| chunk.len).sum::<u64>();
            list.insert(id as u64, (segment(id as u64, class, bytes), chunks));
        }
        let sealed: Vec<Segment> = list.values().map(|(segment, _)| *segment).collect();
        let bytes = |list: &BTreeMap<u64, (Segment, Vec<ChunkUse>)>| list.values().map(|(segment, _)| segment.bytes).sum::<u64>();
        let pinned = |list: &BTreeMap<u64, (Segment, Vec<ChunkUse>)>| {
            list.values().flat_map(|(_, chunks)| chunks).filter(|chunk| chunk.pinned).map(|chunk| chunk.len).sum::<u64>()
        };
        let (before, pinned_before) = (bytes(&list), pinned(&list));
        let shortage = Shortage { total, ends };
        let mut cycle = Cycle::new(&sealed, shortage);
        let mut next_id = 100;
        let mut touched_music = false;
        while let Some(candidate) = cycle.next_candidate() {
            touched_music |= candidate.class == SegmentClass::Music;
            let (_, chunks) = list[&candidate.id].clone();
            if let Verdict::Evict { keep } = judge(&candidate, &chunks) {
                list.remove(&candidate.id);
                let kept: Vec<ChunkUse> = keep.iter().map(|&at| ChunkUse { used: false, ..chunks[at] }).collect();
                let kept_bytes = kept.iter().map(|chunk| chunk.len).sum();
                list.insert(next_id, (segment(next_id, candidate.class, kept_bytes), kept));
                next_id += 1;
                cycle.freed(&candidate, candidate.bytes - kept_bytes);
            }
        }
        prop_assert_eq!(pinned(&list), pinned_before, "pins stay");
        let freed = before - bytes(&list);
        prop_assert!(cycle.shortage().total == total.saturating_sub(freed));
        if cycle.shortage().total > 0 {
            // everything was looked at, and what was not given up would free next to nothing
            for (segment, chunks) in list.range(..100).map(|(_, entry)| entry) {
                let pinned: u64 = chunks.iter().filter(|chunk| chunk.pinned).map(|chunk| chunk.len).sum();
                prop_assert!((segment.bytes - pinned).div_ceil(2) < segment.bytes / LEAST_GAIN_DIVISOR + 100);
                prop_assert_eq!(judge(segment, chunks), Verdict::Leave);
            }
        }
        if touched_music {
            // no segment of heads and tails was passed over
            let passed = list.range(..100).filter(|(_, (segment, _))| segment.class == SegmentClass::Ends);
            for (segment, chunks) in passed.map(|(_, entry)| entry) {
                prop_assert_eq!(judge(segment, chunks), Verdict::Leave);
            }
        }
        // with pins within their limit a round never frees nothing
        if total > 0 && before > 0 && pinned_before <= before / 5 * 4 {
            prop_assert!(freed > 0);
        }
    }
}
