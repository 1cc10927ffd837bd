//! APE tags: what `WavPack`, Monkey's Audio and Musepack have, and what some taggers put behind an MP3.
//!
//! A 32-byte footer names the tag's length; items are a value's length, flags, a key and the value
//! (<https://wiki.hydrogenaud.io/index.php?title=APEv2_specification>). Long and binary values are jumped over.
//! Version 1 is the same without a declared encoding. Behind a picture the walk goes on only while it stays cheap.

use super::found::{Found, MAX_VALUE_BYTES, Rank};
use super::normalise;
use super::source::{Hop, Source, Stop};
use super::text::Encoding;

const FOOTER_BYTES: u64 = 32;

/// The longest key that the specification allows, with its terminator.
const MAX_KEY_BYTES: u64 = 256;

/// The most items that are looked at: each is at least 11 bytes, so that this is a tag of ordinary size.
const MAX_ITEMS: u32 = 1024;

/// Requests after which more than the main fields is not looked for: what requirement V8 allows for a normal file.
const MAX_REQUESTS_FOR_MORE: u32 = 3;

/// The version whose text is UTF-8.
const VERSION_2: u32 = 2000;

/// Length and flags of an item, in front of its key.
const ITEM_HEADER_BYTES: u64 = 8;

/// The items of one tag.
struct Items<'a> {
    source: &'a Source,
    end: u64,
    encoding: Encoding,
    rank: Rank,
}

/// Reads the tag that ends at `end`, if one does, into a layer of this rank.
pub(super) fn walk(source: &Source, end: u64, rank: Rank, found: &mut Found) -> Result<(), Stop> {
    let Some(footer) = end.checked_sub(FOOTER_BYTES).and_then(|at| source.known(at, FOOTER_BYTES)) else {
        return Ok(());
    };
    if !footer.starts_with(b"APETAGEX") {
        return Ok(());
    }
    let word = |at: usize| footer[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (version, size, num_items) = (word(8), u64::from(word(12)), word(16));
    let Some(mut at) = end.checked_sub(size) else { return Ok(()) };
    let encoding = if version < VERSION_2 { Encoding::Latin1 } else { Encoding::Utf8 };
    let items = Items { source, end: end - FOOTER_BYTES, encoding, rank };
    found.begin_layer(rank);
    for _ in 0..num_items.min(MAX_ITEMS) {
        match items.read(at, found)? {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(())
}

impl Items<'_> {
    /// Reads one item and gives where the next begins; `None` at the end, at what is no item, and where going on would
    /// cost more than it can bring.
    fn read(&self, at: u64, found: &mut Found) -> Result<Option<u64>, Stop> {
        let room = self.end.saturating_sub(at);
        // a header, a key of two letters and its terminator
        if room < ITEM_HEADER_BYTES + 3 {
            return Ok(None);
        }
        let head_len = room.min(ITEM_HEADER_BYTES + MAX_KEY_BYTES);
        if self.source.known(at, head_len).is_none() && self.is_enough(found) {
            return Ok(None);
        }
        let head = self.source.read(at, head_len, Hop::within(self.end))?;
        let word = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let (value_len, flags) = (u64::from(word(0)), word(4));
        let Some(key_len) = head[8..].iter().position(|&byte| byte == 0) else { return Ok(None) };
        let key = String::from_utf8_lossy(&head[8..8 + key_len]).into_owned();
        let value_at = at + ITEM_HEADER_BYTES + key_len as u64 + 1;
        let next = value_at.saturating_add(value_len);
        if next > self.end {
            return Ok(None);
        }
        match (flags >> 1) & 3 {
            0 => self.push_text(&key, (value_at, value_len), found)?,
            1 if key.to_ascii_lowercase().starts_with("cover art") => {
                locate_picture(self.source, &key, (value_at, value_len), found)?;
            }
            _ => {}
        }
        Ok(Some(next))
    }

    /// Whether a further request is not worth what may still come.
    fn is_enough(&self, found: &Found) -> bool {
        self.source.num_requests >= MAX_REQUESTS_FOR_MORE && normalise::has_main_fields(found)
    }

    /// The values of a text item, which are apart by a NUL.
    fn push_text(&self, key: &str, (at, len): (u64, u64), found: &mut Found) -> Result<(), Stop> {
        let value = self.source.read(at, len.min(MAX_VALUE_BYTES as u64), Hop::within(self.end))?;
        for text in self.encoding.decode_list(value) {
            found.push(self.rank, key, &text);
        }
        Ok(())
    }
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
