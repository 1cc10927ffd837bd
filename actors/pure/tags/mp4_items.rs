//! The items of an MP4 tag list (`ilst`): text, numbers, flags, freeform names, covers.
//!
//! An item holds `data` boxes: four bytes of type, four of locale, the value. Several `data` boxes are several values.
//! Decoded here and not by lofty, which wants the list in one piece, covers included, and drops a text with one invalid
//! sequence. Covers are located by the first bytes of their `data`.

use super::found::{Found, MAX_VALUE_BYTES, Rank};
use super::id3_genre::genre_name;
use super::mp4::{BoxHeader, box_at};
use super::source::{HOP_BYTES, Hop, Source, Stop};
use super::text::Encoding;

/// What is read of a value: the longest text that is kept, in UTF-16.
const MAX_DATA_BYTES: u64 = 2 * MAX_VALUE_BYTES as u64;

/// Type and locale in front of a value.
const DATA_HEADER_BYTES: u64 = 8;

const TYPE_UTF16: u32 = 2;
const TYPE_SIGNED: u32 = 21;
const TYPE_UNSIGNED: u32 = 22;

/// Reads every item of the list.
pub(super) fn walk(source: &Source, list: &BoxHeader, found: &mut Found) -> Result<(), Stop> {
    found.begin_layer(Rank::Main);
    let mut at = list.body;
    while let Some(item) = box_at(source, at, list.end, HOP_BYTES)? {
        match &item.kind {
            b"covr" => locate_covers(source, &item, found)?,
            b"free" | b"skip" => {}
            b"----" => push_freeform(source, &item, found)?,
            _ => push_values(source, &item, item.body, &item_key(item.kind), found)?,
        }
        at = item.end;
    }
    if list.is_cut_off { Err(Stop::Truncated) } else { Ok(()) }
}

/// The key of an item; the first byte of Apple's own is `©` in Mac Roman and Latin-1 alike.
fn item_key(kind: [u8; 4]) -> String {
    kind.iter().map(|&byte| char::from(byte)).collect()
}

/// Keeps the values of the `data` boxes from `at` on.
fn push_values(source: &Source, item: &BoxHeader, mut at: u64, key: &str, found: &mut Found) -> Result<(), Stop> {
    while let Some(data) = box_at(source, at, item.end, HOP_BYTES)? {
        let len = data.end - data.body;
        if &data.kind == b"data" && len > DATA_HEADER_BYTES {
            let bytes = source.read(data.body, len.min(MAX_DATA_BYTES), Hop::within(item.end))?;
            if let Some(value) = value_text(item.kind, bytes) {
                found.push(Rank::Main, key, &value);
            }
        }
        at = data.end;
    }
    Ok(())
}

/// The text of a value behind its type and locale.
fn value_text(kind: [u8; 4], bytes: &[u8]) -> Option<String> {
    let (header, value) = bytes.split_first_chunk::<8>()?;
    let data_type = u32::from_be_bytes([0, header[1], header[2], header[3]]);
    match (&kind, data_type) {
        (b"trkn" | b"disk", _) => number_of_total(value),
        (b"gnre", _) => genre_name(usize::try_from(big_endian(value)?).ok()?.checked_sub(1)?).map(str::to_owned),
        (_, TYPE_UTF16) => Some(Encoding::Utf16Be.decode(value)),
        (_, TYPE_SIGNED | TYPE_UNSIGNED) => big_endian(value).map(|number| number.to_string()),
        (b"cpil" | b"pgap" | b"pcst" | b"tmpo", _) => big_endian(value).map(|number| number.to_string()),
        _ => Some(Encoding::Utf8.decode(value).trim_end_matches('\0').to_owned()),
    }
}

/// `N/M` of two bytes each behind two that are unused; a total of 0 is none.
fn number_of_total(value: &[u8]) -> Option<String> {
    let word = |at: usize| value.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_be_bytes(*bytes));
    let number = word(2)?;
    match word(4) {
        None | Some(0) => Some(number.to_string()),
        Some(total) => Some(format!("{number}/{total}")),
    }
}

/// A number of up to eight bytes. Negative ones make no sense in the tags that are read.
fn big_endian(value: &[u8]) -> Option<u64> {
    let is_number = (1..=8).contains(&value.len());
    is_number.then(|| value.iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte)))
}

/// An item whose key is a text: `mean` says whose it is and `name` what; the name alone is the key.
fn push_freeform(source: &Source, item: &BoxHeader, found: &mut Found) -> Result<(), Stop> {
    let mut at = item.body;
    while let Some(part) = box_at(source, at, item.end, HOP_BYTES)? {
        let len = part.end - part.body;
        if &part.kind == b"name" && (5..=256 + 4).contains(&len) {
            // four bytes of version and flags come first
            let name = source.read(part.body, len, Hop::within(item.end))?;
            let key = Encoding::Utf8.decode(&name[4..]);
            return push_values(source, item, part.end, &key, found);
        }
        at = part.end;
    }
    Ok(())
}

/// Locates the pictures. They have no kinds; the first one is the cover.
fn locate_covers(source: &Source, item: &BoxHeader, found: &mut Found) -> Result<(), Stop> {
    let mut at = item.body;
    // of a cover whose beginning is not known, only that is read
    while let Some(data) = box_at(source, at, item.end, 64)? {
        let len = (data.end - data.body).saturating_sub(DATA_HEADER_BYTES);
        if &data.kind == b"data" && len > 0 && !data.is_cut_off {
            let picture = data.body + DATA_HEADER_BYTES;
            let first_bytes = source.read(picture, len.min(8), Hop { bytes: 64, end: item.end })?;
            found.offer_raw_art(true, (picture, len), first_bytes, b"");
        }
        if found.has_front_art() {
            break;
        }
        at = data.end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: [u8; 4], data_type: u8, value: &[u8]) -> Option<String> {
        value_text(kind, &[&[0, 0, 0, data_type, 0, 0, 0, 0], value].concat())
    }

    #[test]
    fn values_become_text_by_item_and_type() {
        assert_eq!(text(*b"\xa9nam", 1, b"t\xff"), Some("t\u{fffd}".into()));
        assert_eq!(text(*b"\xa9nam", 2, b"\0t"), Some("t".into()));
        assert_eq!(text(*b"trkn", 0, &[0, 0, 0, 3, 0, 12, 0, 0]), Some("3/12".into()));
        assert_eq!(text(*b"disk", 0, &[0, 0, 0, 1, 0, 0]), Some("1".into()));
        assert_eq!(text(*b"trkn", 0, &[0, 0]), None);
        assert_eq!(text(*b"gnre", 0, &[0, 18]), Some("Rock".into()));
        assert_eq!(text(*b"gnre", 0, &[0, 0]), None);
        assert_eq!(text(*b"cpil", 21, &[1]), Some("1".into()));
        assert_eq!(text(*b"tmpo", 21, &[0, 120]), Some("120".into()));
        assert_eq!(text(*b"xxxx", 21, &[0; 9]), None);
        assert_eq!(value_text(*b"trkn", b"short"), None);
    }
}
