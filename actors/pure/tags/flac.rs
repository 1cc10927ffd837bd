//! Native FLAC: metadata blocks behind 4-byte headers (RFC 9639, section 8).
//!
//! The comments are read; everything else, pictures first of all, is jumped over by its length. When the comments are
//! known, the walk goes on only to find a front cover, and only while it stays cheap. An ID3v2 tag in front is stepped
//! over, and read only when the file has no comments of its own.

use super::found::Found;
use super::scan::MalformedReason;
use super::source::{HOP_BYTES, Hop, Source, Stop};
use super::vorbis_comment::{self, Packet, PictureText};
use super::{Format, id3};

pub(super) const BLOCK_VORBIS_COMMENT: u8 = 4;
pub(super) const BLOCK_PICTURE: u8 = 6;
const BLOCK_INVALID: u8 = 127;

/// The flag of the last block, in the byte that holds the type.
pub(super) const LAST_BLOCK: u8 = 0x80;

/// Requests after which a better picture is not looked for: what requirement V8 allows for a normal file.
pub(super) const MAX_REQUESTS_FOR_ART: u32 = 3;

/// What is read of a picture whose beginning is not known: its header, nothing of its body worth mentioning.
const PICTURE_HOP_BYTES: u64 = 512;

/// Longest description and MIME type of a picture that are stepped over to reach it; longer ones are made up.
const MAX_PICTURE_TEXT_BYTES: u32 = 8 << 10;

/// Walks the blocks behind the marker at `offset`.
pub(super) fn walk(source: &Source, offset: u64, found: &mut Found) -> Result<(), Stop> {
    found.format = Some(Format::Flac);
    let walked = walk_blocks(source, offset.saturating_add(4), found);
    if offset > 0 && found.has_no_text() && !matches!(walked, Err(Stop::Need(_))) {
        id3::walk(source, 0, source.size(), found)?;
    }
    walked
}

fn walk_blocks(source: &Source, mut at: u64, found: &mut Found) -> Result<(), Stop> {
    let mut has_comments = false;
    loop {
        // with the comments known, only a picture's header is of interest
        let hop = Hop { bytes: if has_comments { PICTURE_HOP_BYTES } else { HOP_BYTES }, end: u64::MAX };
        let is_enough = has_comments && (found.has_front_art() || source.num_requests >= MAX_REQUESTS_FOR_ART);
        if is_enough && source.known(at, 4).is_none() {
            return Ok(());
        }
        let [kind, len @ ..] = source.array::<4>(at, hop)?;
        let len = u64::from(u32::from_be_bytes([0, len[0], len[1], len[2]]));
        let body = at + 4;
        match kind & !LAST_BLOCK {
            BLOCK_VORBIS_COMMENT if !has_comments => {
                has_comments = true;
                vorbis_comment::walk(&mut Block { source, start: body, len }, 0, found)?;
            }
            BLOCK_PICTURE if !found.has_front_art() => locate_picture(source, body, len, found)?,
            BLOCK_INVALID => return Err(Stop::Malformed(MalformedReason::BadStructure)),
            _ => {}
        }
        if kind & LAST_BLOCK != 0 {
            return Ok(());
        }
        at = body + len;
    }
}

/// A comment block: bytes that lie together.
struct Block<'a> {
    source: &'a Source,
    start: u64,
    len: u64,
}

impl Packet for Block<'_> {
    fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, Stop> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Stop::Malformed(MalformedReason::BadStructure));
        }
        let hop = Hop::within(self.start + self.len);
        Ok(self.source.read(self.start + offset, len, hop)?.to_vec())
    }

    /// FLAC has picture blocks; a picture in its comments is a mistake of some converter and nobody shows it.
    fn picture(&mut self, _text: &PictureText<'_>, _found: &mut Found) -> Result<(), Stop> {
        Ok(())
    }
}

/// The header of a picture block, which Ogg carries too (RFC 9639, section 8.8).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PictureHeader<'a> {
    /// Whether the picture is the front cover.
    pub(super) is_front: bool,
    /// Its declared type.
    pub(super) mime: &'a [u8],
    /// Where in the block it begins.
    pub(super) offset: u64,
    /// Its length.
    pub(super) len: u64,
    /// As much of it as there is.
    pub(super) first_bytes: &'a [u8],
}

/// Reads a picture block's header, or says how many bytes of the block are needed for it.
pub(super) fn picture_header(block: &[u8]) -> Result<PictureHeader<'_>, Option<u64>> {
    let word = |at: usize| {
        let bytes: Option<&[u8; 4]> = block.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Some(at as u64 + 4))
    };
    let text_len =
        |at: usize| word(at).and_then(|len| if len > MAX_PICTURE_TEXT_BYTES { Err(None) } else { Ok(len as usize) });
    let mime_len = text_len(4)?;
    let description_len = text_len(8 + mime_len)?;
    // width, height, depth and number of colours, 4 bytes each, are not needed
    let len_at = 8 + mime_len + 4 + description_len + 16;
    let len = u64::from(word(len_at)?);
    let offset = len_at + 4;
    Ok(PictureHeader {
        is_front: word(0)? == 3,
        mime: &block[8..8 + mime_len],
        offset: offset as u64,
        len,
        first_bytes: block.get(offset..).unwrap_or_default(),
    })
}

/// Reads as much of a picture block of `len` bytes as its header and the picture's first bytes take; nothing where there
/// is no header.
pub(super) fn picture_head<B: AsRef<[u8]>>(
    len: u64,
    mut read: impl FnMut(u64) -> Result<B, Stop>,
) -> Result<Option<B>, Stop> {
    // 64 bytes hold the header of a picture without description, and its first bytes
    let mut num_bytes = len.min(64);
    loop {
        let block = read(num_bytes)?;
        match picture_header(block.as_ref()) {
            Ok(header) if header.first_bytes.len() >= 4 || num_bytes == len => return Ok(Some(block)),
            Ok(header) => num_bytes = len.min(header.offset + 8),
            Err(Some(more)) if more <= len => num_bytes = more,
            Err(_) => return Ok(None),
        }
    }
}

fn locate_picture(source: &Source, body: u64, len: u64, found: &mut Found) -> Result<(), Stop> {
    let hop = Hop { bytes: PICTURE_HOP_BYTES, end: body + len };
    if let Some(block) = picture_head(len, |num_bytes| source.read(body, num_bytes, hop))?
        && let Ok(header) = picture_header(block)
        && header.offset + header.len <= len
    {
        found.offer_raw_art(header.is_front, (body + header.offset, header.len), header.first_bytes, header.mime);
    }
    Ok(())
}
