//! Tests of readahead: each rule by example, and random readers against a byte map of what was fetched.
//!
//! The oracle plays the router: for every 4 KiB of the content, whether it was fetched. A read fetches what is missing of
//! its own blocks; plans are fetched at once. Then the promises are counted: no byte twice, none beyond the end, and a
//! sequential reader moves what it reads and little more.

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Readahead {
    /// Panics unless the marks stand in order and on the grid.
    fn self_check(&self) {
        assert!(self.read_to <= self.size && self.planned_to <= self.size);
        assert!(self.planned_to == self.size || self.planned_to.is_multiple_of(GRID_BYTES) || !self.has_read);
        assert!((FIRST_WINDOW_BYTES..=MAX_WINDOW_BYTES).contains(&self.window));
        assert!(self.planned_to >= self.read_to);
        assert_eq!(self.trigger.is_none(), self.planned_to == self.size || !self.has_read);
    }
}

/// Reads of `step` bytes one after the other, with everything allowed.
fn read_on(readahead: &mut Readahead, from: u64, to: u64, step: u64) -> Vec<Range<u64>> {
    let mut ahead = Vec::new();
    let mut at = from;
    while at < to {
        ahead.extend(readahead.read(at..(at + step).min(to), u64::MAX).ahead);
        readahead.self_check();
        at += step;
    }
    ahead
}

#[test]
fn one_byte_of_a_huge_file_plans_nothing_ahead() {
    let mut readahead = Readahead::new(100 << 30);
    assert_eq!(readahead.read(50 << 30..(50 << 30) + 1, u64::MAX), Plan::default());
    assert_eq!(readahead.trigger_offset(), Some((50 << 30) + 64 * KIB));
}

#[test]
fn window_doubles_while_reads_are_sequential() {
    let mut readahead = Readahead::new(1 << 30);
    let mut windows = vec![];
    for block in 0..400 {
        readahead.read(block * GRID_BYTES..(block + 1) * GRID_BYTES, u64::MAX);
        windows.push(readahead.window());
    }
    windows.dedup();
    assert_eq!(windows, [128, 256, 512, 1024, 2048, 4096, 8192, 16384].map(|kib| kib * KIB));
}

#[test]
fn full_window_is_several_ranges() {
    let mut readahead = Readahead::new(1 << 30);
    let ahead = read_on(&mut readahead, 0, 64 * MIB, GRID_BYTES);
    assert!(ahead.iter().all(|range| range.end - range.start <= MAX_RANGE_BYTES));
    assert!(ahead.iter().rev().take(2).all(|range| range.end - range.start == MAX_RANGE_BYTES));
    // in order and without a gap
    assert!(ahead.windows(2).all(|pair| pair[0].end == pair[1].start));
}

#[test]
fn held_reads_need_no_call_before_the_trigger() {
    let mut readahead = Readahead::new(1 << 30);
    read_on(&mut readahead, 0, 10 * MIB, GRID_BYTES);
    let trigger = readahead.trigger_offset().expect("not at the end");
    let mut quiet = readahead.clone();
    let before = trigger - GRID_BYTES;
    assert_eq!(quiet.read(before - GRID_BYTES..before, u64::MAX).ahead, []);
    // the reader that was silent up to the trigger goes on as the one that was not
    assert!(!readahead.read(before..trigger, u64::MAX).ahead.is_empty());
}

#[test]
fn reads_out_of_order_are_one_stream() {
    let mut readahead = Readahead::new(1 << 30);
    for blocks in [[1, 0, 3, 2], [5, 4, 7, 6], [11, 10, 9, 8]] {
        for block in blocks {
            let plan = readahead.read(block * GRID_BYTES..(block + 1) * GRID_BYTES, u64::MAX);
            assert_eq!(plan.abandoned, 0..0);
            readahead.self_check();
        }
    }
    assert!(readahead.window() >= MIB);
}

#[test]
fn forward_skip_keeps_the_window_and_what_flies() {
    let mut readahead = Readahead::new(1 << 30);
    read_on(&mut readahead, 0, 20 * MIB, GRID_BYTES);
    let (window, planned) = (readahead.window(), readahead.ahead().end);
    let plan = readahead.read(planned - MIB..planned - MIB + GRID_BYTES, u64::MAX);
    assert_eq!(plan.abandoned, 0..0);
    assert_eq!(readahead.window(), window);
    assert_eq!(plan.ahead.first().map(|range| range.start), Some(planned));
}

#[test]
fn seek_begins_anew_and_says_what_is_not_needed() {
    let mut readahead = Readahead::new(1 << 30);
    read_on(&mut readahead, 0, 20 * MIB, GRID_BYTES);
    let ahead = readahead.ahead();
    for target in [900 * MIB, 0] {
        let mut jumped = readahead.clone();
        let plan = jumped.read(target..target + 1, u64::MAX);
        assert_eq!((plan.ahead, plan.abandoned), (vec![], ahead.clone()));
        assert_eq!(jumped.window(), FIRST_WINDOW_BYTES);
    }
}

#[test]
fn reader_that_gets_nothing_asks_again_with_its_next_read() {
    let mut readahead = Readahead::new(1 << 30);
    readahead.read(0..GRID_BYTES, 0);
    assert_eq!(readahead.read(GRID_BYTES..2 * GRID_BYTES, 100), Plan::default());
    assert!(readahead.trigger_offset().is_some_and(|trigger| trigger <= 2 * GRID_BYTES));
    let plan = readahead.read(2 * GRID_BYTES..3 * GRID_BYTES, GRID_BYTES + 100);
    assert_eq!((plan.ahead.len(), plan.ahead.first()), (1, Some(&(3 * GRID_BYTES..4 * GRID_BYTES))));
}

#[test]
fn reader_that_gets_a_part_keeps_its_window() {
    let mut readahead = Readahead::new(1 << 30);
    for block in 0..40 {
        readahead.read(block * GRID_BYTES..(block + 1) * GRID_BYTES, GRID_BYTES);
        assert_eq!(readahead.window(), FIRST_WINDOW_BYTES);
    }
}

#[test]
fn end_of_the_content_is_planned_once() {
    let size = 5 * MIB + 77;
    let mut readahead = Readahead::new(size);
    let ahead = read_on(&mut readahead, 0, size, 100 * KIB);
    assert_eq!(ahead.last().map(|range| range.end), Some(size));
    assert_eq!(readahead.trigger_offset(), None);
    assert_eq!(readahead.read(size..size + 5, u64::MAX), Plan::default());
    assert_eq!(Readahead::new(0).read(0..5, u64::MAX), Plan::default());
}

#[test]
fn least_recently_read_handles_give_way() {
    let mut pool = ReadaheadPool::new(20 * MIB);
    for handle in 0..3 {
        pool.open(handle, 1 << 30);
    }
    let mut at = [0; 3];
    let mut read = |pool: &mut ReadaheadPool<usize>, handle: usize| {
        at[handle] += GRID_BYTES;
        pool.read(handle, at[handle] - GRID_BYTES..at[handle]).expect("open")
    };
    for handle in [0, 1] {
        for _ in 0..30 {
            assert_eq!(read(&mut pool, handle).shrunk, []);
        }
    }
    let mut shrunk = Vec::new();
    while shrunk.is_empty() {
        shrunk = read(&mut pool, 2).shrunk;
        assert!(pool.in_flight() <= 20 * MIB);
    }
    assert_eq!(shrunk[0].handle, 0, "read before the other one");
    let (before, unneeded) = (pool.in_flight(), shrunk[0].unneeded.clone());
    pool.cancelled(&0, unneeded.start, unneeded.end - unneeded.start);
    assert_eq!(pool.in_flight(), before - (unneeded.end - unneeded.start));
    // what was cancelled is planned again when it is its turn, and not before
    let mut again = Vec::new();
    pool.settled(&2, u64::MAX);
    for _ in 0..60 {
        again.extend(read(&mut pool, 0).plan.ahead);
    }
    assert_eq!(again.first().map(|range| range.start), Some(unneeded.start));
    pool.close(&0);
    assert!(pool.read(0, 0..1).is_none());
}

/// What was fetched, in units of 4 KiB, by whoever fetched it.
struct Fetched {
    size: u64,
    units: Vec<bool>,
    bytes: u64,
}

const UNIT: u64 = 4 * KIB;

impl Fetched {
    fn new(size: u64) -> Self {
        Self { size, units: vec![false; size.div_ceil(UNIT) as usize], bytes: 0 }
    }

    /// The bytes of a range that were not fetched before.
    fn fetch(&mut self, range: Range<u64>) -> u64 {
        assert!(range.end <= self.size, "{range:?} is beyond {}", self.size);
        let mut new = 0;
        for unit in range.start / UNIT..range.end.div_ceil(UNIT) {
            if !std::mem::replace(&mut self.units[unit as usize], true) {
                new += UNIT.min(self.size - unit * UNIT);
            }
        }
        self.bytes += new;
        new
    }

    fn read(&mut self, range: Range<u64>) {
        self.fetch(align_to_grid(range, GRID_BYTES, self.size));
    }
}

proptest! {
    #[test]
    fn sequential_reader_moves_what_it_reads_and_no_byte_twice(
        size in 1..40 * MIB, steps in prop::collection::vec(1..GRID_BYTES, 1..4),
        allowed in prop::collection::vec(prop_oneof![Just(u64::MAX), 0..2 * MIB], 1..4), stop in 0..40 * MIB,
    ) {
        let mut readahead = Readahead::new(size);
        let mut fetched = Fetched::new(size);
        let mut at = 0;
        for (step, allowed) in steps.iter().cycle().zip(allowed.iter().cycle()) {
            if at >= size.min(stop) {
                break;
            }
            let range = at..(at + step).min(size);
            fetched.read(range.clone());
            let plan = readahead.read(range.clone(), *allowed);
            readahead.self_check();
            prop_assert_eq!(plan.abandoned, 0..0);
            let planned: u64 = plan.ahead.iter().map(|range| range.end - range.start).sum();
            prop_assert!(planned <= *allowed);
            for range in plan.ahead {
                let len = range.end - range.start;
                prop_assert_eq!(fetched.fetch(range), len, "fetched before");
            }
            at = range.end;
            // a reader that stops here has cost at most what it has read once more, twice over
            prop_assert!(fetched.bytes <= 3 * at + 4 * GRID_BYTES, "{} for {at}", fetched.bytes);
            prop_assert!(fetched.bytes - at.min(fetched.bytes) <= MAX_WINDOW_BYTES + GRID_BYTES);
        }
        if at >= size {
            prop_assert_eq!(fetched.bytes, size, "1.0 of the whole");
        }
    }

    #[test]
    fn any_reader_stays_within_the_content_and_the_allowance(
        size in 1..20 * MIB, reads in prop::collection::vec((0..25 * MIB, 0..2 * GRID_BYTES, 0..3_u8), 1..60),
    ) {
        let mut readahead = Readahead::new(size);
        let mut at = 0;
        for (place, len, kind) in reads {
            // jump, go on, or skip a little
            let start = match kind { 0 => place, 1 => at, _ => at + place % (2 * MIB) };
            at = start.saturating_add(len);
            let before = readahead.clone();
            let plan = readahead.read(start..at, 3 * MIB);
            if len > 0 && start < size {
                readahead.self_check();
            } else {
                prop_assert_eq!(&readahead, &before);
            }
            let mut end = 0;
            for range in &plan.ahead {
                prop_assert!(range.start >= end && range.start < range.end && range.end <= size);
                prop_assert!(range.start >= before.planned_to || !plan.abandoned.is_empty());
                end = range.end;
            }
            prop_assert!(plan.ahead.iter().map(|range| range.end - range.start).sum::<u64>() <= 3 * MIB);
        }
    }

    #[test]
    fn pool_never_has_more_in_flight_than_its_budget(
        budget in 0..8 * MIB, reads in prop::collection::vec((0..4_u8, 0..6_u8), 1..200),
    ) {
        let mut pool = ReadaheadPool::new(budget);
        let mut at = [0; 4];
        let mut in_flight = [0; 4];
        for handle in 0..4 {
            pool.open(handle, 64 * MIB);
        }
        for (handle, what) in reads {
            let index = usize::from(handle);
            if what == 0 {
                pool.settled(&handle, in_flight[index]);
                in_flight[index] = 0;
            } else {
                let plan = pool.read(handle, at[index]..at[index] + GRID_BYTES).expect("open");
                at[index] += GRID_BYTES;
                in_flight[index] += plan.plan.ahead.iter().map(|range| range.end - range.start).sum::<u64>();
                prop_assert!(plan.shrunk.iter().all(|shrink| shrink.handle != handle));
            }
            prop_assert_eq!(pool.in_flight(), in_flight.iter().sum::<u64>());
            prop_assert!(pool.in_flight() <= budget);
        }
    }
}
