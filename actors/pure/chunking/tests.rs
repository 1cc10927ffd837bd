//! Tests of chunking: frozen cuts, the library's own iterator as an oracle, streams fed in any way, and resuming.
//!
//! The bytes come from BLAKE3's output stream over a seed, which is specified and the same everywhere, so a golden value
//! that changes means that cuts have moved: caches in the field would then be cut twice.

use std::collections::HashSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::content::ManifestId;

/// Bytes from a seed. Zeros in the middle are where no cut is found and the longest piece is made.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    if seed.is_multiple_of(2) {
        let zeros = len / 4..len / 2;
        bytes[zeros].fill(0);
    }
    bytes
}

/// The pieces of a stream that begins at `offset` and comes in parts of the given lengths, over and over.
fn cut(offset: u64, bytes: &[u8], parts: &[usize]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = offset;
    let start = offset;
    let mut take = |piece: Piece, data: &[u8]| {
        assert_eq!(piece.offset, at);
        let place = (piece.offset - start) as usize;
        assert_eq!(data, &bytes[place..place + data.len()]);
        assert_eq!((piece.len as usize, piece.hash), (data.len(), ChunkHash::of(data)));
        at = piece.end();
        pieces.push(piece);
    };
    let mut chunker = Chunker::new(offset);
    let mut rest = bytes;
    for part in parts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*part).min(rest.len()));
        chunker.feed(now, &mut take);
        rest = later;
    }
    assert_eq!(chunker.fed_to(), offset + bytes.len() as u64);
    chunker.finish(&mut take);
    assert_eq!(at, offset + bytes.len() as u64);
    pieces
}

fn lens(pieces: &[Piece]) -> Vec<u32> {
    pieces.iter().map(|piece| piece.len).collect()
}

fn manifest(size: u64, pieces: &[Piece]) -> Option<ManifestId> {
    let mut builder = ManifestBuilder::new(size);
    for piece in pieces {
        builder.add(piece);
    }
    builder.finish()
}

#[test]
fn cuts_and_manifest_are_frozen() {
    let bytes = bytes(1, 1 << 20);
    let pieces = cut(0, &bytes, &[1 << 20]);
    let expected = [
        65_856, 36_180, 68_588, 58_570, 66_883, 80_636, 63_701, 108_783, 41_880, 62_876, 68_887, 89_704, 90_182,
        32_733, 68_679, 25_527, 18_911,
    ];
    assert_eq!(lens(&pieces), expected);
    assert_eq!(
        manifest(1 << 20, &pieces).expect("whole").to_string(),
        "63d0582b95bf5a6c79b0482c1843b2898557f03b41a5bdd9e1e4545897e653a9"
    );
    let empty = manifest(0, &[]).expect("whole");
    assert_eq!(empty.to_string(), "b4992a0e82329dd4f4219481c390efe4a87f5f9179b64e8f1ac74aef832529f1");
}

#[test]
fn cuts_are_the_librarys() {
    for seed in 0..4 {
        let bytes = bytes(seed, 3 << 20);
        let [min, avg, max] = [MIN_CHUNK_BYTES, AVG_CHUNK_BYTES, MAX_CHUNK_BYTES].map(|bytes| bytes as usize);
        let expected: Vec<u32> = v2020::FastCDC::new(&bytes, min, avg, max).map(|chunk| chunk.length as u32).collect();
        assert_eq!(lens(&cut(0, &bytes, &[3 << 20])), expected);
    }
}

#[test]
fn real_average_is_about_80_kib() {
    let pieces = cut(0, &bytes(3, 32 << 20), &[1 << 20]);
    let average = (32 << 20) / pieces.len();
    assert!((70 << 10..90 << 10).contains(&average), "{average}");
    let (last, others) = pieces.split_last().expect("pieces");
    assert!(last.len <= MAX_CHUNK_BYTES);
    assert!(others.iter().all(|piece| (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&piece.len)));
}

#[test]
fn cuts_after_an_insertion_are_the_same_again() {
    let payload = bytes(5, 4 << 20);
    let moved = [&bytes(7, 5000), &payload[..]].concat();
    let old: HashSet<ChunkHash> = cut(0, &payload, &[1 << 20]).iter().map(|piece| piece.hash).collect();
    let new = cut(0, &moved, &[1 << 20]);
    let shared = new.iter().filter(|piece| old.contains(&piece.hash)).count();
    assert!(shared + 4 > new.len(), "{shared} of {}", new.len());
}

#[test]
fn manifest_needs_every_byte_from_the_first() {
    let bytes = bytes(1, 500_000);
    let pieces = cut(0, &bytes, &[4096]);
    let id = manifest(500_000, &pieces).expect("whole");
    assert_eq!(manifest(500_001, &pieces), None);
    assert_eq!(manifest(500_000, &pieces[1..]), None);
    assert_eq!(manifest(500_000, &pieces[..pieces.len() - 1]), None);
    let mut other = pieces.clone();
    other[0].hash = ChunkHash([0; 32]);
    assert_ne!(manifest(500_000, &other), Some(id));
}

#[test]
fn range_is_made_whole_on_its_grid_within_the_content() {
    let kib = |range: Range<u64>| range.start << 10..range.end << 10;
    let aligned = |range| align_to_grid(range, GRID_BYTES, 1000 << 10);
    assert_eq!(aligned(kib(5..6)), kib(0..128));
    assert_eq!(aligned(kib(128..256)), kib(128..256));
    assert_eq!(aligned(kib(127..257)), kib(0..384));
    assert_eq!(aligned(kib(990..2000)), kib(896..1000));
    assert_eq!(aligned(kib(1000..1001)), kib(1000..1000));
    assert_eq!(aligned(5..5), kib(1000..1000));
    assert_eq!(align_to_grid(u64::MAX - 1..u64::MAX, GRID_BYTES, u64::MAX), u64::MAX - (GRID_BYTES - 1)..u64::MAX);
}

#[test]
fn short_run_is_cut_at_the_lines_of_the_grid() {
    let bytes = bytes(9, 200_000);
    let mut pieces = Vec::new();
    cut_on_grid(100_000, &bytes, TAG_GRID_BYTES, &mut |piece, data| {
        assert_eq!(piece.hash, ChunkHash::of(data));
        pieces.push((piece.offset, piece.len));
    });
    assert_eq!(pieces, [(100_000, 31_072), (131_072, 65_536), (196_608, 65_536), (262_144, 37_856)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn cuts_do_not_depend_on_how_the_stream_comes(
        seed in 0..6_u8, len in 0..2_000_000_usize, parts in prop::collection::vec(1..600_000_usize, 1..5),
        offset in 0..1_u64 << 40,
    ) {
        let bytes = bytes(seed, len);
        prop_assert_eq!(cut(offset, &bytes, &parts), cut(offset, &bytes, &[len.max(1)]));
    }

    #[test]
    fn stream_resumed_at_its_ragged_piece_is_the_whole_stream(
        seed in 0..6_u8, len in 1..2_000_000_usize, stops in prop::collection::vec(0..2_000_000_usize, 0..5),
    ) {
        let bytes = bytes(seed, len);
        let mut stops: Vec<usize> = stops.into_iter().filter(|&stop| stop < len).chain([len]).collect();
        stops.sort_unstable();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 0;
        for stop in stops {
            let ragged = pieces.pop();
            let start = ragged.map_or(0, |piece| piece.offset as usize);
            let mut chunker = Chunker::resume(start as u64, &bytes[start..at]);
            chunker.feed(&bytes[at..stop], &mut |piece, _| pieces.push(piece));
            chunker.finish(&mut |piece, _| pieces.push(piece));
            at = stop;
        }
        prop_assert_eq!(pieces, cut(0, &bytes, &[len]));
    }
}
