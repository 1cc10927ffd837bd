//! Random histories of a store, compared with a model after every step.
//!
//! The model is the bytes of every content and a piece table in memory that every run was spliced into. Nothing is evicted
//! and nothing damaged here, so what is held must be right, at least what the table knows (a new writer may find a piece in
//! a log that a later one had replaced in part), and at most what was given since the content was last forgotten. After the
//! index was lost and made anew it must be right and not be more.

use std::collections::BTreeSet;

use musicfs_pure::piece_table::{PieceTable, Span};
use proptest::prelude::*;

use super::*;

const CONTENTS: u64 = 4;
const LEN: u64 = MIB;
const BLOCK: u64 = 64 << 10;

#[derive(Clone, Debug)]
enum Op {
    /// Blocks of a content, cut as one stream.
    Keep {
        content: u64,
        first: u64,
        blocks: u64,
        ends: bool,
    },
    Forget(u64),
    Pin(u64),
    Unpin(u64),
    Seal,
    /// The process dies and another begins.
    Restart,
    /// The writer alone is replaced.
    Replace,
    /// The index is lost.
    LoseIndex,
}

fn op() -> impl Strategy<Value = Op> {
    let blocks = LEN / BLOCK;
    let keep = (0..CONTENTS, 0..blocks, 1..blocks, any::<bool>()).prop_map(move |(content, first, count, ends)| {
        Op::Keep { content, first, blocks: count.min(blocks - first), ends }
    });
    prop_oneof![
        8 => keep,
        1 => (0..CONTENTS).prop_map(Op::Forget),
        1 => (0..CONTENTS).prop_map(Op::Pin),
        1 => (0..CONTENTS).prop_map(Op::Unpin),
        1 => Just(Op::Seal),
        1 => Just(Op::Restart),
        1 => Just(Op::Replace),
        1 => Just(Op::LoseIndex),
    ]
}

/// Contents 0 and 1 have the same bytes, so that chunks are shared.
fn model(number: u64) -> Model {
    let (content, _) = content(number, LEN);
    Model { content, bytes: bytes(number.max(1), LEN), table: PieceTable::new(LEN), given: BTreeSet::new() }
}

/// What should be known of a content: the pieces of every run, spliced by the pure code that has an oracle of its own.
struct Model {
    content: Content,
    bytes: Vec<u8>,
    table: PieceTable,
    /// Blocks that were ever handed to the store since it was last told to forget the content.
    given: BTreeSet<u64>,
}

impl Model {
    fn check(&self, fixture: &Fixture, has_index: bool) {
        let count = fixture.held(&self.content, &self.bytes);
        let missing = fixture.missing(&self.content);
        assert_eq!(missing.iter().map(|range| range.end - range.start).sum::<u64>(), LEN - count);
        let is_known = |missing: &Range<u64>| self.table.walk(missing.clone()) != [Span::Hole(missing.clone())];
        assert!(!has_index || !missing.iter().any(is_known), "{missing:?}");
        for block in 0..LEN / BLOCK {
            let mut run = HeldRun::default();
            let held = fixture.reader.read_blocking(self.content.key(), block * BLOCK, &mut [0], &mut run).unwrap();
            let is_missing = missing.iter().any(|range| range.contains(&(block * BLOCK)));
            assert_eq!(held, if is_missing { Held::Hole } else { Held::Bytes(1) });
            assert!(is_missing || self.given.contains(&block));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn random_history_holds_what_it_was_given(ops in prop::collection::vec(op(), 1..25)) {
        let mut fixture = Fixture::new();
        let mut models: Vec<Model> = (0..CONTENTS).map(model).collect();
        let mut has_index = true;
        for op in ops {
            match op {
                Op::Keep { content, first, blocks, ends } => {
                    let Model { content, bytes, table, given } = &mut models[content as usize];
                    let run = &bytes[(first * BLOCK) as usize..((first + blocks) * BLOCK) as usize];
                    let class = if ends { SegmentClass::Ends } else { SegmentClass::Music };
                    prop_assert_eq!(fixture.keep_as(class, content, first * BLOCK, run), Kept::Held);
                    let pieces: Vec<Piece> = cut(first * BLOCK, run).into_iter().map(|(piece, _)| piece).collect();
                    table.splice(&pieces).unwrap();
                    given.extend(first..first + blocks);
                }
                Op::Forget(number) => {
                    let model = &mut models[number as usize];
                    fixture.writer.forget(model.content.key()).unwrap();
                    model.table = PieceTable::new(LEN);
                    model.given.clear();
                }
                Op::Pin(number) => prop_assert!(fixture.writer.pin(&models[number as usize].content).unwrap()),
                Op::Unpin(number) => fixture.writer.unpin(&models[number as usize].content).unwrap(),
                Op::Seal => fixture.writer.seal().unwrap(),
                Op::Restart => fixture = fixture.reopen(|_| {}),
                Op::Replace => fixture.writer = Writer::new(Arc::clone(&fixture.shared)).unwrap(),
                Op::LoseIndex => {
                    // segments are entered one after the other, so of pieces that overlap others may remain
                    has_index = false;
                    fixture = fixture.reopen(|folder| std::fs::remove_dir_all(folder.join("index")).unwrap());
                }
            }
            for model in &models {
                model.check(&fixture, has_index);
            }
        }
    }
}
