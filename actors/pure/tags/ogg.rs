//! Ogg: Vorbis, Opus and FLAC streams.
//!
//! The first page of each stream says what it carries; the first stream that is audio is the file's. Its second packet
//! has the comments and begins on a page of its own in all three mappings. A picture is a comment in base64, so it lies
//! across pages: it is located by whole pages, and `art::decode` puts it together. Of chained streams the first counts,
//! as players show it.

use super::flac::picture_header;
use super::found::{Found, picture_kind};
use super::ogg_packet::{PageHeader, PagedPacket, page_at};
use super::scan::MalformedReason;
use super::source::{Hop, Source, Stop};
use super::vorbis_comment::{self, Packet, PictureText};
use super::{ArtEncoding, ArtLocation, Format, art};

/// Pages that are looked at to find an audio stream and its second page: more than any multiplex begins with.
const MAX_LEADING_PAGES: usize = 32;

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
        Format::OggFlac => prefix[0] & 0x7f == 4,
        _ => prefix.starts_with(mapping.comment_prefix),
    };
    if !is_comment {
        return Err(Stop::Malformed(MalformedReason::BadStructure));
    }
    vorbis_comment::walk(&mut packet, mapping.comments_at, found)
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
