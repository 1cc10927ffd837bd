//! Mutations that know how binary formats are made: lengths at their extremes, pieces moved, copied and mixed.
//!
//! Noise is refused at the first marker, so an input stays close to one that led somewhere: mostly one change, taken from a
//! table by chance. Words of a format and parts of other inputs bring structures in that no single change would make.

use crate::support::random::Random;

/// The longest input: beyond the first read of a scan, so that what is behind it is asked for.
const MAX_INPUT_BYTES: usize = 24 << 10;

/// One of the pool, changed in a few ways. The pool must not be empty.
pub(super) fn mutated(random: &mut Random, pool: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = random.pick(pool).clone();
    // mostly one change, so that what was found stays found; sometimes many
    let num_changes = if random.one_in(3) { 1 + random.below(8) } else { 1 };
    for _ in 0..num_changes {
        change(random, &mut bytes, pool, words);
    }
    bytes.truncate(MAX_INPUT_BYTES);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&[u8]]) {
    let len = bytes.len();
    let at = random.below(len + 1);
    match random.below(12) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *random.pick(&[0, 1, 0x20, 0x2f, 0x7f, 0x80, 0xfe, 0xff]);
            }
        }
        3 | 4 => overwrite(bytes, at, &number(random, len, at)),
        5 => {
            bytes.drain(stretch(random, bytes.len()));
        }
        6 => {
            let copied = bytes[stretch(random, bytes.len())].to_vec();
            insert(bytes, at, &copied);
        }
        7 | 8 => {
            let word: &[u8] = words[random.below(words.len())];
            if random.one_in(2) { insert(bytes, at, word) } else { overwrite(bytes, at, word) }
        }
        9 => {
            let other = random.pick(pool);
            let resume = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[resume..]);
        }
        10 => {
            let other = random.pick(pool);
            let copied = other[stretch(random, other.len())].to_vec();
            insert(bytes, at, &copied);
        }
        _ => {
            let len = 1 + random.below(300);
            let filler = if random.one_in(2) { random.bytes(len) } else { vec![random.below(256) as u8; len] };
            insert(bytes, at, &filler);
        }
    }
}

/// A part of `len` bytes; short ones more often.
fn stretch(random: &mut Random, len: usize) -> std::ops::Range<usize> {
    let start = random.below(len + 1);
    let most = if random.one_in(2) { 16 } else { len };
    start..len.min(start + random.below(most + 1))
}

/// A number as formats write lengths: of one to eight bytes, either end first, at an extreme or near what is there.
fn number(random: &mut Random, len: usize, at: usize) -> Vec<u8> {
    let rest = len.saturating_sub(at) as u64;
    let near =
        [rest, rest + 1, rest.saturating_sub(1), rest.saturating_sub(4), rest.saturating_sub(8), len as u64, at as u64];
    let extremes =
        [0, 1, 7, 8, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX, u64::MAX >> 1, 0x7f7f_7f7f];
    let value = if random.one_in(2) { *random.pick(&near) } else { *random.pick(&extremes) };
    let width = *random.pick(&[1, 2, 3, 4, 4, 4, 8]);
    if random.one_in(2) { value.to_be_bytes()[8 - width..].to_vec() } else { value.to_le_bytes()[..width].to_vec() }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let len = with.len().min(bytes.len().saturating_sub(at));
    bytes[at..at + len].copy_from_slice(&with[..len]);
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}
