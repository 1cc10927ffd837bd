//! MP4: boxes behind their lengths, down to the list of tags.
//!
//! `moov/udta/meta/ilst` is reached by headers alone (ISO 14496-12, 4.2): audio and sample tables are jumped over
//! however large they are. Where the audio comes first, the end of its box says where the rest begins, and one larger
//! read there usually brings all of it.

use super::Format;
use super::found::Found;
use super::mp4_items;
use super::scan::MalformedReason;
use super::source::{HOP_BYTES, Hop, Source, Stop};

/// What is read behind the audio: the sample tables of twenty minutes of AAC, and the tags behind them. The file's end
/// usually comes sooner.
const BEHIND_AUDIO_BYTES: u64 = 256 << 10;

/// Boxes that a file may begin with besides `ftyp`; believed only with the extension, since any four letters match.
const OLD_FIRST_BOXES: [&[u8; 4]; 5] = [b"moov", b"mdat", b"free", b"skip", b"wide"];

/// A box: its type, where its content begins and where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoxHeader {
    /// Four characters.
    pub(super) kind: [u8; 4],
    /// First byte of the content.
    pub(super) body: u64,
    /// First byte behind it, inside its parent.
    pub(super) end: u64,
    /// Whether it claims to be longer than its parent.
    pub(super) is_cut_off: bool,
}

/// Whether the first bytes are those of an MP4 file.
pub(super) fn is_recognised(head: &[u8], is_hinted: bool) -> bool {
    let Some(kind) = head.get(4..8) else { return false };
    kind == b"ftyp" || (is_hinted && OLD_FIRST_BOXES.iter().any(|first| kind == first.as_slice()))
}

/// The box at `at` inside a parent that ends at `limit`; `None` where there is no room for one.
pub(super) fn box_at(source: &Source, at: u64, limit: u64, hop_bytes: u64) -> Result<Option<BoxHeader>, Stop> {
    let room = limit.saturating_sub(at);
    if room < 8 {
        return Ok(None);
    }
    let hop = Hop { bytes: hop_bytes, end: limit };
    let [a, b, c, d, kind @ ..] = source.array::<8>(at, hop)?;
    let (len, header_len) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (room, 8), // to the end of the parent
        1 if room >= 16 => (u64::from_be_bytes(source.array(at + 8, hop)?), 16),
        len => (u64::from(len), 8),
    };
    if len < header_len {
        return Err(Stop::Malformed(MalformedReason::BadStructure));
    }
    Ok(Some(BoxHeader { kind, body: at + header_len, end: at + len.min(room), is_cut_off: len > room }))
}

/// The first child of this kind.
fn find(source: &Source, kind: [u8; 4], mut at: u64, limit: u64) -> Result<Option<BoxHeader>, Stop> {
    while let Some(child) = box_at(source, at, limit, HOP_BYTES)? {
        if child.kind == kind {
            return Ok(Some(child));
        }
        at = child.end;
    }
    Ok(None)
}

/// Reads the tags.
pub(super) fn walk(source: &Source, found: &mut Found) -> Result<(), Stop> {
    found.format = Some(Format::Mp4);
    let moov = find_moov(source)?;
    let mut at = moov.body;
    while let Some(udta) = find(source, *b"udta", at, moov.end)? {
        if let Some(meta) = find(source, *b"meta", udta.body, udta.end)? {
            let children = meta_children(source, &meta)?;
            if let Some(list) = find(source, *b"ilst", children, meta.end)? {
                mp4_items::walk(source, &list, found)?;
            }
        }
        if !found.has_no_text() {
            return Ok(());
        }
        at = udta.end;
    }
    if moov.is_cut_off { Err(Stop::Truncated) } else { Ok(()) }
}

/// The `moov` box, wherever it is.
fn find_moov(source: &Source) -> Result<BoxHeader, Stop> {
    let mut at = 0;
    let mut hop_bytes = HOP_BYTES;
    while let Some(top) = box_at(source, at, source.size(), hop_bytes)? {
        match &top.kind {
            b"moov" => return Ok(top),
            b"mdat" => hop_bytes = BEHIND_AUDIO_BYTES,
            _ => {}
        }
        if top.is_cut_off {
            return Err(Stop::Truncated);
        }
        at = top.end;
    }
    Err(Stop::Malformed(MalformedReason::BadStructure))
}

/// Where the children of `meta` begin: it has four bytes of version and flags in MP4 and none in QuickTime.
fn meta_children(source: &Source, meta: &BoxHeader) -> Result<u64, Stop> {
    if meta.end - meta.body < 8 {
        return Ok(meta.end);
    }
    let bytes: [u8; 8] = source.array(meta.body, Hop::within(meta.end))?;
    let is_plain = matches!(&bytes[4..], b"hdlr" | b"ilst" | b"mhdr" | b"keys" | b"free");
    Ok(if is_plain { meta.body } else { meta.body + 4 })
}
