//! APEv2 tags, which some taggers put behind an MP3.
//!
//! A 32-byte footer names the tag's length; items are a value's length, flags, a key and the value
//! (<https://wiki.hydrogenaud.io/index.php?title=APEv2_specification>). Long and binary values are jumped over.

use super::found::{Found, MAX_VALUE_BYTES, Rank};
use super::source::{Hop, Source, Stop};
use super::text::Encoding;

const FOOTER_BYTES: u64 = 32;

/// The longest key that the specification allows, with its terminator.
const MAX_KEY_BYTES: u64 = 256;

/// The most items that are looked at: each is at least 11 bytes, so that this is a tag of ordinary size.
const MAX_ITEMS: u32 = 1024;

/// Reads the tag that ends at `end`, if one does.
pub(super) fn walk(source: &Source, end: u64, found: &mut Found) -> Result<(), Stop> {
    let Some(footer) = end.checked_sub(FOOTER_BYTES).and_then(|at| source.known(at, FOOTER_BYTES)) else {
        return Ok(());
    };
    if !footer.starts_with(b"APETAGEX") {
        return Ok(());
    }
    let word = |at: usize| footer[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (size, num_items) = (u64::from(word(12)), word(16));
    let Some(start) = end.checked_sub(size) else { return Ok(()) };
    found.begin_layer(Rank::Appended);
    let mut at = start;
    let items_end = end - FOOTER_BYTES;
    for _ in 0..num_items.min(MAX_ITEMS) {
        match read_item(source, at, items_end, found)? {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(())
}

/// Reads one item and gives where the next begins; `None` at the end or at what is no item.
fn read_item(source: &Source, at: u64, end: u64, found: &mut Found) -> Result<Option<u64>, Stop> {
    let room = end.saturating_sub(at);
    if room < 11 {
        return Ok(None);
    }
    let head = source.read(at, room.min(8 + MAX_KEY_BYTES), Hop::within(end))?;
    let word = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (value_len, flags) = (u64::from(word(0)), word(4));
    let Some(key_len) = head[8..].iter().position(|&byte| byte == 0) else { return Ok(None) };
    let key = String::from_utf8_lossy(&head[8..8 + key_len]).into_owned();
    let value_at = at + 9 + key_len as u64;
    let next = value_at.saturating_add(value_len);
    if next > end {
        return Ok(None);
    }
    match (flags >> 1) & 3 {
        0 => {
            let value = source.read(value_at, value_len.min(MAX_VALUE_BYTES as u64), Hop::within(end))?;
            for text in Encoding::Utf8.decode_list(value) {
                found.push(Rank::Appended, &key, &text);
            }
        }
        1 if key.to_ascii_lowercase().starts_with("cover art") => {
            locate_picture(source, &key, (value_at, value_len), found)?;
        }
        _ => {}
    }
    Ok(Some(next))
}

/// A picture behind its file name.
fn locate_picture(source: &Source, key: &str, (at, len): (u64, u64), found: &mut Found) -> Result<(), Stop> {
    let peek = source.read(at, len.min(MAX_KEY_BYTES), Hop { bytes: MAX_KEY_BYTES, end: at + len })?;
    if let Some(name_len) = peek.iter().position(|&byte| byte == 0) {
        let skipped = name_len as u64 + 1;
        let is_front = key.to_ascii_lowercase().contains("front");
        found.offer_raw_art(is_front, (at + skipped, len - skipped), &peek[name_len + 1..], b"");
    }
    Ok(())
}
