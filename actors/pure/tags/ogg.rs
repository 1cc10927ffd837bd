//! Ogg: Vorbis, Opus and FLAC streams.
//!
//! The first page of each stream says what it carries; the first stream that is audio is the file's. Its second packet
//! has the comments and begins on a page of its own in all three mappings. A picture is a comment in base64, or in FLAC
//! also a packet of its own, so it lies across pages: it is located by whole pages, and `art::decode` puts it together. Of
//! chained streams the first counts, as players show it.

use super::flac::{
    BLOCK_PICTURE, BLOCK_VORBIS_COMMENT, LAST_BLOCK, MAX_REQUESTS_FOR_ART, picture_head, picture_header,
};
use super::found::{Found, picture_kind};
use super::ogg_packet::{PageHeader, PagedPacket, page_at};
use super::scan::MalformedReason;
use super::source::{Hop, Source, Stop};
use super::vorbis_comment::{self, Packet, PictureText};
use super::{ArtEncoding, ArtLocation, Format, art};

/// Pages that are looked at to find an audio stream and its second page: more than any multiplex begins with.
const MAX_LEADING_PAGES: usize = 32;

/// Length of the header of a FLAC metadata block.
const BLOCK_HEADER_BYTES: u64 = 4;

/// How an audio stream is recognised, and what its comment packet begins with.
struct Mapping {
    format: Format,
    identification: &'static [u8],
    comment_prefix: &'static [u8],
    /// Length of what precedes the comments.
    comments_at: u64,
}

const MAPPINGS: [Mapping; 3] = [
    Mapping { format: Format::OggVorbis, identification: b"\x01vorbis", comment_prefix: b"\x03vorbis", comments_at: 7 },
    Mapping { format: Format::Opus, identification: b"OpusHead", comment_prefix: b"OpusTags", comments_at: 8 },
    // a FLAC metadata block header; its type is in the low seven bits of the first byte
    Mapping { format: Format::OggFlac, identification: b"\x7fFLAC", comment_prefix: b"", comments_at: 4 },
];

/// Reads the comments of the first audio stream.
pub(super) fn walk(source: &Source, found: &mut Found) -> Result<(), Stop> {
    let (mapping, at, header) = find_comment_page(source)?;
    found.format = Some(mapping.format);
    let mut packet = Comments { packet: PagedPacket::new(source, at, header) };
    let prefix = packet.packet.read(0, mapping.comments_at)?;
    let is_comment = match mapping.format {
        Format::OggFlac => prefix[0] & !LAST_BLOCK == BLOCK_VORBIS_COMMENT,
        _ => prefix.starts_with(mapping.comment_prefix),
    };
    if !is_comment {
        return Err(Stop::Malformed(MalformedReason::BadStructure));
    }
    vorbis_comment::walk(&mut packet, mapping.comments_at, found)?;
    if mapping.format != Format::OggFlac {
        return Ok(());
    }
    match walk_blocks(packet.packet, &prefix, found) {
        Err(Stop::Need(ranges)) if source.num_requests < MAX_REQUESTS_FOR_ART => Err(Stop::Need(ranges)),
        // the comments are right, whatever became of the pictures
        _ => Ok(()),
    }
}

/// Locates the pictures in the packets behind the comments, which are FLAC's metadata blocks (RFC 9639, section 10.1).
/// Encoders begin each on a page of its own; one that does not ends the search.
fn walk_blocks(mut packet: PagedPacket<'_>, comments: &[u8], found: &mut Found) -> Result<(), Stop> {
    let mut header = comments.to_vec();
    while let &[kind, ref len @ ..] = header.as_slice() {
        let len = len.iter().fold(0, |len, &byte| (len << 8) | u64::from(byte));
        if kind & !LAST_BLOCK == BLOCK_PICTURE {
            locate_block(&mut packet, len, found)?;
        }
        if kind & LAST_BLOCK != 0 || found.has_front_art() {
            break;
        }
        let Some(next) = packet.next_packet(BLOCK_HEADER_BYTES + len - 1)? else { return Ok(()) };
        packet = next;
        header = packet.read(0, BLOCK_HEADER_BYTES)?;
    }
    Ok(())
}

/// Locates the picture of a block of `len` bytes behind its header.
fn locate_block(packet: &mut PagedPacket<'_>, len: u64, found: &mut Found) -> Result<(), Stop> {
    let Some(block) = picture_head(len, |num_bytes| packet.read(BLOCK_HEADER_BYTES, num_bytes))? else { return Ok(()) };
    let Ok(header) = picture_header(&block) else { return Ok(()) };
    let Some(kind) = picture_kind(header.first_bytes, header.mime) else { return Ok(()) };
    if header.len == 0 || header.offset + header.len > len {
        return Ok(());
    }
    let start = BLOCK_HEADER_BYTES + header.offset;
    packet.seek(start, false)?;
    let (offset, page_start) = packet.page();
    packet.seek(start + header.len - 1, false)?;
    let stored_len = packet.page_end() - offset;
    if let Ok(payload_offset) = u32::try_from(start - page_start) {
        let encoding = ArtEncoding::OggPages { payload_offset };
        found.offer_art(header.is_front, ArtLocation { kind, len: header.len, offset, stored_len, encoding });
    }
    Ok(())
}

/// The first audio stream's mapping, and the first page behind its identification.
fn find_comment_page(source: &Source) -> Result<(&'static Mapping, u64, PageHeader), Stop> {
    let mut at = 0;
    let mut stream: Option<(&'static Mapping, u32)> = None;
    for _ in 0..MAX_LEADING_PAGES {
        let hop = Hop::within(u64::MAX);
        let header = page_at(source, at, hop)?.ok_or(Stop::Malformed(MalformedReason::BadStructure))?;
        match stream {
            Some((mapping, serial)) if header.serial == serial => return Ok((mapping, at, header)),
            None if header.is_first => {
                let len = header.first_packet_len.min(8) as u64;
                let start = source.read(at + header.header_len as u64, len, hop)?;
                let mapping = MAPPINGS.iter().find(|mapping| start.starts_with(mapping.identification));
                stream = mapping.map(|mapping| (mapping, header.serial));
            }
            None => break,
            Some(_) => {}
        }
        at += header.len();
    }
    Err(Stop::Malformed(MalformedReason::UnknownContent))
}

/// A comment packet across pages.
struct Comments<'a> {
    packet: PagedPacket<'a>,
}

impl Packet for Comments<'_> {
    fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, Stop> {
        self.packet.read(offset, len)
    }

    fn picture(&mut self, text: &PictureText<'_>, found: &mut Found) -> Result<(), Stop> {
        if found.has_front_art() || text.len == 0 {
            return Ok(());
        }
        self.packet.seek(text.offset, true)?;
        let (first_page, page_start) = self.packet.page();
        self.packet.seek(text.offset + text.len - 1, !text.is_last)?;
        let stored_len = self.packet.page_end() - first_page;
        let place = (first_page, stored_len, text.offset - page_start);
        if let Some((is_front, location)) = locate(text, place) {
            found.offer_art(is_front, location);
        }
        Ok(())
    }
}

/// The location of a picture whose text begins `text_offset` bytes into the payload of the stored pages.
fn locate(text: &PictureText<'_>, (offset, stored_len, text_offset): (u64, u64, u64)) -> Option<(bool, ArtLocation)> {
    let whole_groups = text.prefix.len() / 4 * 4;
    let prefix = if text.prefix.len() as u64 == text.len { text.prefix } else { &text.prefix[..whole_groups] };
    let block = art::decode_base64(prefix)?;
    let header = picture_header(&block).ok()?;
    let kind = picture_kind(header.first_bytes, header.mime)?;
    if header.offset.checked_add(header.len)? > text.len / 4 * 3 + 3 {
        return None;
    }
    let encoding = ArtEncoding::OggComment {
        text_offset: u32::try_from(text_offset).ok()?,
        text_len: u32::try_from(text.len).ok()?,
        picture_offset: u32::try_from(header.offset).ok()?,
    };
    Some((header.is_front, ArtLocation { kind, len: header.len, offset, stored_len, encoding }))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::tests::{assert_large_art, assert_usual};
    use super::*;

    #[test]
    fn ogg_flac_with_large_art_in_a_packet_of_its_own_costs_one_page_header() {
        let picture = jpeg(LARGE_ART_BYTES);
        for page_payload in [65_025, 4080] {
            let file = ogg_flac_blocks(&COMMENTS, &[(3, &picture)], page_payload);
            assert_large_art("a.oga", &file, Format::OggFlac, &picture, (2, 16_384 + 282));
        }
    }

    #[test]
    fn ogg_flac_front_cover_is_found_behind_another_picture() {
        let (back, front) = (jpeg(3000), png(LARGE_ART_BYTES));
        let file = ogg_flac_blocks(&COMMENTS, &[(4, &back), (3, &front)], 65_025);
        assert_large_art("a.oga", &file, Format::OggFlac, &front, (2, 16_384 + 282));
    }

    #[test]
    fn ogg_flac_block_on_the_page_of_another_ends_the_search() {
        let picture = jpeg(300);
        let comments = flac_block(4, &vorbis_comments(&COMMENTS));
        let block = flac_block(0x86, &picture_block(3, "image/jpeg", &picture));
        let first = ogg_flac(&[], 510)[..27 + 1 + 51].to_vec();
        let segments = [comments.len() as u8, 255, (block.len() - 255) as u8];
        let file = [first, ogg_page(0, 7, 1, &segments, &[comments, block].concat())].concat();
        let outcome = scan_bytes(b"a.oga", &file);
        assert_usual(&outcome, Format::OggFlac);
        assert_eq!(outcome.tags().art, None);
    }
}
