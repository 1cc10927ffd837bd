//! Tests of piece tables: each rule by example, and random histories against a byte map.
//!
//! The oracle is the obvious thing: for every unit of the content, which piece covers it. A unit is 64 KiB, so that whole
//! histories cross the borders of the 4 MiB slices and stay small; the table itself knows nothing of units. After each step
//! the table is compared with the oracle whole, and again after it went to disk and back, whole and in parts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const UNIT: u64 = 64 << 10;

/// Units of the content: two and a half slices, and a last piece that is not a whole unit.
const UNITS: u64 = 160;
const SIZE: u64 = UNITS * UNIT - 100;

impl PieceTable {
    /// Panics unless the pieces are ordered, disjoint and within the content.
    fn self_check(&self) {
        let mut end = 0;
        for piece in self.pieces() {
            assert!(piece.offset >= end && (1..=MAX_PIECE_BYTES).contains(&piece.len), "{piece:?}");
            end = piece.end();
        }
        assert!(end <= self.size);
    }
}

fn hash(number: u8) -> ChunkHash {
    ChunkHash([number; 32])
}

fn piece(unit: u64, units: u64, number: u8) -> Piece {
    let end = ((unit + units) * UNIT).min(SIZE);
    Piece { offset: unit * UNIT, len: (end - unit * UNIT) as u32, hash: hash(number) }
}

fn table(pieces: &[Piece]) -> PieceTable {
    let mut table = PieceTable::new(SIZE);
    table.splice(pieces).expect("fits");
    table
}

/// Every row that the table would store.
fn stored(table: &PieceTable) -> BTreeMap<u64, Vec<u8>> {
    slices_of(0..SIZE).filter_map(|number| Some((number, table.encode_slice(number)?))).collect()
}

/// A table over a range, loaded from stored rows.
fn loaded(rows: &BTreeMap<u64, Vec<u8>>, range: Range<u64>) -> PieceTable {
    let mut table = PieceTable::covering(SIZE, range.clone());
    for number in slices_of(range) {
        if let Some(row) = rows.get(&number) {
            table.load(&SliceView::parse(number, row).expect("well-formed")).expect("fits");
        }
    }
    table
}

#[test]
fn walk_gives_pieces_whole_and_holes_clipped() {
    let (a, b) = (piece(1, 2, 1), piece(3, 1, 2));
    let table = table(&[a, b]);
    let spans = table.walk(UNIT / 2..5 * UNIT);
    assert_eq!(spans, [Span::Hole(UNIT / 2..UNIT), Span::Known(a), Span::Known(b), Span::Hole(4 * UNIT..5 * UNIT)]);
    assert_eq!(table.walk(2 * UNIT..2 * UNIT + 1), [Span::Known(a)]);
    assert_eq!(table.walk(SIZE..SIZE + 5), []);
    assert_eq!(table.walk(7..7), []);
}

#[test]
fn piece_whose_chunk_is_gone_is_refetched_whole() {
    let (a, b, c) = (piece(0, 2, 1), piece(2, 1, 2), piece(4, 1, 3));
    let table = table(&[a, b, c]);
    let missing = table.missing(UNIT..4 * UNIT + 1, |piece| piece.hash != hash(1));
    assert_eq!(missing, [0..2 * UNIT, 3 * UNIT..4 * UNIT]);
    assert_eq!(table.missing(UNIT..4 * UNIT, |_| false), vec![0..4 * UNIT]);
    assert_eq!(table.missing(0..3 * UNIT, |_| true), Vec::<Range<u64>>::new());
}

#[test]
fn splice_that_cuts_a_piece_tells_what_is_forgotten() {
    let old = piece(0, 4, 1);
    let mut table = table(&[old]);
    let spliced = table.splice(&[piece(1, 1, 2), piece(2, 1, 3)]).expect("fits");
    assert_eq!(spliced.replaced, [old]);
    assert_eq!(spliced.forgotten, [0..UNIT, 3 * UNIT..4 * UNIT]);
    assert_eq!(spliced.slices, BTreeSet::from([0]));
}

#[test]
fn splice_over_a_slice_border_touches_the_slice_that_a_replaced_piece_began_in() {
    let border = SLICE_BYTES / UNIT;
    let mut table = table(&[piece(border - 1, 3, 1)]);
    let spliced = table.splice(&[piece(border, 1, 2)]).expect("fits");
    assert_eq!(spliced.slices, BTreeSet::from([0, 1]));
    assert_eq!(table.encode_slice(0), None);
}

#[test]
fn wrong_pieces_are_refused_and_change_nothing() {
    let mut table = table(&[piece(0, 1, 1)]);
    let before = table.clone();
    let long = Piece { offset: 0, len: MAX_PIECE_BYTES + 1, hash: hash(2) };
    for (pieces, error) in [
        (vec![piece(1, 1, 2), piece(1, 1, 3)], SpliceError::Unordered { offset: UNIT }),
        (vec![piece(2, 1, 2), piece(0, 1, 3)], SpliceError::Unordered { offset: 0 }),
        (vec![Piece { len: 0, ..long }], SpliceError::InvalidPiece { offset: 0 }),
        (vec![long], SpliceError::InvalidPiece { offset: 0 }),
        (vec![Piece { offset: SIZE, len: 1, ..long }], SpliceError::InvalidPiece { offset: SIZE }),
        (vec![Piece { offset: u64::MAX, len: 1, ..long }], SpliceError::InvalidPiece { offset: u64::MAX }),
    ] {
        assert_eq!(table.splice(&pieces), Err(error));
        assert_eq!(table, before);
    }
    let mut part = PieceTable::covering(SIZE, UNIT..2 * UNIT);
    assert_eq!(part.splice(&[piece(1, 2, 1)]), Err(SpliceError::NotCovered { offset: UNIT }));
}

#[test]
fn same_place_with_another_hash_is_a_contradiction() {
    let table = table(&[piece(1, 2, 1)]);
    assert!(table.contradicts(&piece(1, 2, 9)));
    assert!(!table.contradicts(&piece(1, 2, 1)));
    assert!(!table.contradicts(&piece(1, 1, 9)), "another length says nothing");
    assert!(!table.contradicts(&piece(2, 2, 9)));
}

#[test]
fn stream_goes_on_at_the_piece_that_ends_there() {
    let (a, b) = (piece(0, 1, 1), piece(1, 2, 2));
    let table = table(&[a, b]);
    assert_eq!(table.ragged_before(3 * UNIT), Some(b));
    assert_eq!(table.ragged_before(UNIT), Some(a));
    for offset in [0, 1, 3 * UNIT + 1, SIZE] {
        assert_eq!(table.ragged_before(offset), None, "{offset}");
    }
}

#[test]
fn payload_moves_with_the_tags_before_it() {
    let table = table(&[piece(0, 2, 1), piece(2, 2, 2), piece(4, 1, 3), piece(6, 1, 4)]);
    let moved = table.shifted(UNIT..6 * UNIT, -100).expect("not before the start");
    let at = |piece: Piece| Piece { offset: piece.offset - 100, ..piece };
    assert_eq!(moved, [at(piece(2, 2, 2)), at(piece(4, 1, 3))]);
    assert_eq!(table.shifted(0..SIZE, -1), None);
    assert_eq!(table.shifted(0..SIZE, i64::MAX).map(|pieces| pieces.len()), Some(4));
}

#[test]
fn forgetting_takes_out_whole_pieces() {
    let (a, b) = (piece(0, 2, 1), piece(2, 2, 2));
    let mut table = table(&[a, b]);
    let forgotten = table.forget(2 * UNIT - 1..2 * UNIT);
    assert_eq!(forgotten.replaced, [a]);
    assert_eq!(forgotten.forgotten, [a.range()]);
    assert_eq!(table.pieces().collect::<Vec<_>>(), [b]);
}

#[test]
fn moved_and_repeated_chunks_are_matched_as_runs() {
    let old = table(&[piece(0, 1, 1), piece(1, 1, 2), piece(2, 1, 1), piece(3, 1, 3)]);
    let new = table(&[piece(0, 1, 9), piece(1, 1, 1), piece(2, 1, 3), piece(4, 1, 2), piece(5, 1, 1), piece(6, 1, 3)]);
    let run =
        |old: u64, new: u64, units: u64| Match { old_offset: old * UNIT, new_offset: new * UNIT, len: units * UNIT };
    // the chunk 1 alone is at its first place, where 3 does not follow; 2, 1, 3 goes on as one
    assert_eq!(matches(&old, &new), [run(0, 1, 1), run(3, 2, 1), run(1, 4, 3)]);
    assert_eq!(matches(&old, &old), [run(0, 0, 4)]);
}

/// Tables in the field are rows like this one: another value here makes them unreadable.
#[test]
fn stored_slice_is_stable() {
    let table = table(&[piece(65, 2, 0xaa), piece(67, 1, 0xbb)]);
    let row = table.encode_slice(1).expect("has pieces");
    let mut expected = vec![1, 1, 0, 0, 0, 0, 0, 0, 0];
    expected.extend([0, 0, 1, 0, 0, 0, 2, 0]);
    expected.extend([0xaa; 32]);
    expected.extend([0, 0, 3, 0, 0, 0, 1, 0]);
    expected.extend([0xbb; 32]);
    assert_eq!(row, expected);
    assert_eq!(table.encode_slice(0), None);
}

#[test]
fn damaged_slice_is_refused() {
    let row = table(&[piece(65, 2, 1), piece(67, 1, 2)]).encode_slice(1).expect("has pieces");
    let parse = |row: &[u8]| SliceView::parse(1, row).map(|view| view.pieces().count());
    assert_eq!(parse(&row), Ok(2));
    let changed = |at: usize, value: u8| {
        let mut row = row.clone();
        row[at] = value;
        row
    };
    for bytes in
        [&row[..row.len() - 1], &row[..9], &[], &[row.clone(), vec![0]].concat(), &changed(0, 2), &changed(1, 2)]
    {
        assert_eq!(parse(bytes), Err(InvalidSlice::Malformed));
    }
    // too long, empty, the first over the second, outside of the slice
    for bytes in [changed(15, 5), changed(15, 0), changed(51, 2), changed(52, 1)] {
        assert!(matches!(parse(&bytes), Err(InvalidSlice::OutOfPlace { .. })), "{bytes:?}");
    }
    assert!(SliceView::parse(u64::MAX, &row).is_err());
    // beyond the content, or over a piece of the slice before
    let view = SliceView::parse(1, &row).expect("well-formed");
    assert!(PieceTable::new(66 * UNIT).load(&view).is_err());
    assert!(table(&[piece(62, 4, 3)]).load(&view).is_err());
}

/// Which piece covers each unit.
#[derive(Clone)]
struct Oracle(Vec<Option<Piece>>);

impl Oracle {
    fn remove(&mut self, piece: &Piece) {
        self.0.iter_mut().filter(|unit| unit.as_ref() == Some(piece)).for_each(|unit| *unit = None);
    }

    fn splice(&mut self, piece: Piece) {
        let units = (piece.offset / UNIT) as usize..piece.end().div_ceil(UNIT) as usize;
        for unit in units.clone() {
            if let Some(old) = self.0[unit] {
                self.remove(&old);
            }
        }
        self.0[units].fill(Some(piece));
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = self.0.iter().flatten().copied().collect();
        pieces.dedup();
        pieces
    }

    /// The units of a range that nothing covers.
    fn unknown(&self, range: Range<u64>) -> Vec<u64> {
        range.filter(|&unit| self.0[unit as usize].is_none()).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Splice(Vec<Piece>),
    Forget(u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    // clustered around the border of two slices, where mistakes would be
    let place = prop_oneof![0..UNITS, 56..72_u64, 120..136_u64];
    let run = (place.clone(), prop::collection::vec((0..2_u64, 1..5_u64, 0..4_u8), 1..6)).prop_map(|(start, parts)| {
        let mut at = start;
        let mut pieces = Vec::new();
        for (gap, units, number) in parts {
            at += gap;
            if at + units <= UNITS {
                pieces.push(piece(at, units, number));
            }
            at += units;
        }
        Op::Splice(pieces)
    });
    prop_oneof![4 => run, 1 => (place, 0..6_u64).prop_map(|(unit, units)| Op::Forget(unit, units))]
}

fn units_of(ranges: &[Range<u64>]) -> Vec<u64> {
    ranges.iter().flat_map(|range| range.start / UNIT..range.end.div_ceil(UNIT)).collect()
}

proptest! {
    #[test]
    fn random_history_is_the_byte_map(ops in prop::collection::vec(op(), 1..40), from in 0..UNITS, units in 1..20_u64) {
        let mut table = PieceTable::new(SIZE);
        let mut rows = BTreeMap::new();
        let mut oracle = Oracle(vec![None; UNITS as usize]);
        for op in ops {
            let before = oracle.clone();
            let spliced = match op {
                Op::Splice(pieces) => {
                    for &piece in &pieces {
                        oracle.splice(piece);
                    }
                    table.splice(&pieces).expect("valid pieces")
                }
                Op::Forget(unit, units) => {
                    for unit in unit..(unit + units).min(UNITS) {
                        if let Some(old) = oracle.0[unit as usize] {
                            oracle.remove(&old);
                        }
                    }
                    table.forget(unit * UNIT..(unit + units) * UNIT)
                }
            };
            table.self_check();
            prop_assert_eq!(table.pieces().collect::<Vec<_>>(), oracle.pieces());
            // what was forgotten is what the map lost
            let lost = (0..UNITS).filter(|&unit| before.0[unit as usize].is_some() && oracle.0[unit as usize].is_none());
            prop_assert_eq!(units_of(&spliced.forgotten), lost.collect::<Vec<_>>());
            // storing the slices that were named stores the table
            for number in spliced.slices {
                rows.remove(&number);
                rows.extend(table.encode_slice(number).map(|row| (number, row)));
            }
            prop_assert_eq!(&rows, &stored(&table));
            prop_assert_eq!(&loaded(&rows, 0..SIZE), &table);
            // a part of it answers as the whole does
            let range = from * UNIT..((from + units) * UNIT).min(SIZE);
            let part = loaded(&rows, range.clone());
            prop_assert_eq!(part.walk(range.clone()), table.walk(range.clone()));
            let unknown = oracle.unknown(from..(from + units).min(UNITS));
            prop_assert_eq!(part.is_gapless(), unknown.is_empty());
            prop_assert_eq!(units_of(&table.missing(range, |_| true)), unknown);
        }
    }

    #[test]
    fn splice_into_a_part_stores_what_a_splice_into_the_whole_does(
        ops in prop::collection::vec(op(), 1..20), from in 0..UNITS, parts in prop::collection::vec(1..5_u64, 1..6),
    ) {
        let mut table = PieceTable::new(SIZE);
        for op in ops {
            if let Op::Splice(pieces) = op {
                table.splice(&pieces).expect("valid pieces");
            }
        }
        let mut rows = stored(&table);
        let mut at = from;
        let mut run = Vec::new();
        for units in parts.into_iter().filter(|units| from + units <= UNITS) {
            if at + units <= UNITS {
                run.push(piece(at, units, 9));
                at += units;
            }
        }
        let mut part = loaded(&rows, from * UNIT..(at * UNIT).min(SIZE));
        let spliced = part.splice(&run).expect("covered");
        prop_assert_eq!(&spliced, &table.splice(&run).expect("valid"));
        for number in spliced.slices {
            rows.remove(&number);
            rows.extend(part.encode_slice(number).map(|row| (number, row)));
        }
        prop_assert_eq!(rows, stored(&table));
    }

    #[test]
    fn piece_is_found_in_a_row_where_it_lies(ops in prop::collection::vec(op(), 1..20), offset in 0..SIZE) {
        let mut table = PieceTable::new(SIZE);
        for op in ops {
            if let Op::Splice(pieces) = op {
                table.splice(&pieces).expect("valid pieces");
            }
        }
        for (number, row) in stored(&table) {
            let view = SliceView::parse(number, &row).expect("well-formed");
            let found: Vec<Piece> = view.pieces_from(offset).collect();
            let expected: Vec<Piece> = view.pieces().filter(|piece| piece.end() > offset).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
