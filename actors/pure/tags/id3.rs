//! ID3v2 tags: their header, their frames' headers, and the way from frame to frame.
//!
//! Versions 2.2, 2.3 and 2.4 (<https://id3.org>). A frame is read only if it is text, and then only as far as it is
//! kept; pictures are located by their first bytes and jumped over. *Unsynchronisation* puts a zero byte behind every
//! `FF` that could look like MPEG audio. In 2.4 it is inside a frame, whose length counts the stored bytes. Before, it is
//! over the whole tag and lengths count the bytes without it: then nobody can say where a long frame ends without
//! reading it, so behind one the next frame is searched for by its shape.

use super::detect::MAX_STACKED_TAGS;
use super::found::{Found, Rank, picture_kind};
use super::scan::MalformedReason;
use super::source::{Hop, Source, Stop};
use super::{ArtEncoding, ArtLocation, id3_frames, normalise};

/// Length of a tag's header, and of its footer.
const HEADER_BYTES: u64 = 10;

/// What is read of a text frame: the longest value that is kept, in UTF-16, with its description.
const MAX_TEXT_FRAME_BYTES: u64 = 12 << 10;

/// What is read of a picture frame to find where the picture begins: type, MIME type, description.
const PICTURE_PEEK_BYTES: u64 = 512;

/// The longest unsynchronised frame that is read through to find its end.
const MAX_READ_THROUGH_BYTES: u64 = 32 << 10;

/// How far behind the earliest end of a longer one the next frame is searched. A JPEG of 4 MiB has about 20 KiB of
/// inserted zeros.
const RESYNC_BYTES: u64 = 48 << 10;

/// A tag's place and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TagHeader {
    version: u8,
    flags: u8,
    /// First byte behind the header.
    start: u64,
    /// End of the frames, inside the file.
    end: u64,
    /// First byte behind the tag.
    pub(super) next: u64,
}

impl TagHeader {
    const UNSYNCHRONISED: u8 = 0x80;
    const EXTENDED: u8 = 0x40;
    const FOOTER: u8 = 0x10;

    /// Reads the header that begins at `at`; `None` if none does.
    fn parse(bytes: [u8; 10], at: u64, limit: u64) -> Option<Self> {
        let [b'I', b'D', b'3', version @ 2..=4, _, flags, size @ ..] = bytes else { return None };
        let start = at.checked_add(HEADER_BYTES)?;
        let body_end = start.checked_add(synchsafe(size))?;
        let footer = if version == 4 && flags & Self::FOOTER != 0 { HEADER_BYTES } else { 0 };
        Some(Self { version, flags, start, end: body_end.min(limit), next: body_end.checked_add(footer)? })
    }

    /// Whether the whole tag is unsynchronised, the lengths of its frames aside.
    fn is_unsynchronised_whole(&self) -> bool {
        self.version < 4 && self.flags & Self::UNSYNCHRONISED != 0
    }

    /// 2.2 reserved this flag for a compression that was never defined.
    fn is_unreadable(&self) -> bool {
        self.version == 2 && self.flags & Self::EXTENDED != 0
    }
}

/// A length of 7 bits per byte. Bits that must be clear are ignored, as other readers do.
pub(super) fn synchsafe(bytes: [u8; 4]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| (sum << 7) | u64::from(byte & 0x7f))
}

/// The tag that begins at `at`, if one does.
pub(super) fn header_at(source: &Source, at: u64, limit: u64) -> Result<Option<TagHeader>, Stop> {
    if at.checked_add(HEADER_BYTES).is_none_or(|end| end > limit) {
        return Ok(None);
    }
    // no hop: behind a tag is usually audio
    let hop = Hop { bytes: HEADER_BYTES, end: limit };
    Ok(TagHeader::parse(source.array(at, hop)?, at, limit))
}

/// Reads the tag at `at` and any stacked behind it, gives where they end. Looking for a
/// stacked one costs no request of its own while the main fields are there.
pub(super) fn walk(source: &Source, at: u64, limit: u64, found: &mut Found) -> Result<u64, Stop> {
    let mut next = at;
    for index in 0..MAX_STACKED_TAGS {
        if index > 0 && source.known(next, HEADER_BYTES).is_none() && normalise::has_main_fields(found) {
            break;
        }
        let Some(tag) = header_at(source, next, limit)? else { break };
        found.begin_layer(Rank::Main);
        if !tag.is_unreadable() {
            walk_frames(source, &tag, found)?;
        }
        next = tag.next;
    }
    Ok(next)
}

/// A place in a tag's frames.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    source: &'a Source,
    at: u64,
    end: u64,
    is_unsynchronised: bool,
}

impl Cursor<'_> {
    /// What a read in this tag may bring along: the tag's rest, and the header of a tag stacked behind it.
    fn hop(&self) -> Hop {
        Hop::within(self.end.saturating_add(HEADER_BYTES))
    }

    /// The next `len` bytes as they are without unsynchronisation, and goes behind them.
    fn take(&mut self, len: u64) -> Result<Vec<u8>, Stop> {
        let mut stored_len = len;
        loop {
            if self.at.checked_add(stored_len).is_none_or(|end| end > self.end) {
                return Err(Stop::Malformed(MalformedReason::BadStructure));
            }
            let stored = self.source.read(self.at, stored_len, self.hop())?;
            if !self.is_unsynchronised {
                self.at += stored_len;
                return Ok(stored.to_vec());
            }
            let bytes = resynchronise(stored);
            let missing = len.saturating_sub(bytes.len() as u64);
            if missing == 0 {
                self.at += stored_len + u64::from(self.is_inserted_zero(stored, self.at + stored_len)?);
                return Ok(bytes);
            }
            stored_len += missing;
        }
    }

    /// Whether the byte behind `stored` is a zero inserted for its last byte.
    fn is_inserted_zero(&self, stored: &[u8], at: u64) -> Result<bool, Stop> {
        if stored.last() != Some(&0xff) || at >= self.end {
            return Ok(false);
        }
        Ok(self.source.array::<1>(at, self.hop())? == [0])
    }

    /// Goes behind `len` bytes without reading them where that is possible.
    fn skip(&mut self, len: u64) -> Result<(), Stop> {
        if !self.is_unsynchronised {
            self.at = self.at.saturating_add(len).min(self.end);
        } else if len <= MAX_READ_THROUGH_BYTES {
            self.take(len)?;
        } else {
            self.resync(len)?;
        }
        Ok(())
    }

    /// Goes to the next frame behind `len` unsynchronised bytes, or to the end when there is none near.
    fn resync(&mut self, len: u64) -> Result<(), Stop> {
        let earliest = self.at.saturating_add(len).min(self.end);
        let window_len = RESYNC_BYTES.min(self.end - earliest);
        let window = self.source.read(earliest, window_len, Hop { bytes: window_len, end: self.end })?;
        let next = window.windows(HEADER_BYTES as usize + 1).position(id3_frames::looks_like_text_frame);
        self.at = next.map_or(self.end, |index| earliest + index as u64);
        Ok(())
    }
}

/// Takes inserted zeros out.
pub(super) fn resynchronise(stored: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(stored.len());
    let mut after_ff = false;
    for &byte in stored {
        if !(after_ff && byte == 0) {
            bytes.push(byte);
        }
        after_ff = byte == 0xff;
    }
    bytes
}

/// One frame's header.
struct FrameHeader {
    /// Three or four characters.
    id: Vec<u8>,
    size: u64,
    /// Bytes between the header and the content, for grouping and lengths.
    extra: u64,
    /// Compressed or encrypted: not read.
    is_opaque: bool,
    /// Unsynchronised by itself (2.4).
    is_unsynchronised: bool,
    /// Length of the content without unsynchronisation, where the frame says it (2.4).
    content_len: Option<u64>,
}

fn walk_frames(source: &Source, tag: &TagHeader, found: &mut Found) -> Result<(), Stop> {
    let is_unsynchronised = tag.is_unsynchronised_whole();
    let mut cursor = Cursor { source, at: tag.start, end: tag.end, is_unsynchronised };
    match walk_all(&mut cursor, tag, found) {
        // a frame that goes beyond its tag: the ones before it are right; beyond the file, the tag is cut off
        Err(Stop::Malformed(_)) if tag.next <= source.size() => Ok(()),
        Err(Stop::Malformed(_)) => Err(Stop::Truncated),
        other => other,
    }
}

fn walk_all(cursor: &mut Cursor<'_>, tag: &TagHeader, found: &mut Found) -> Result<(), Stop> {
    skip_extended_header(cursor, tag)?;
    while let Some(frame) = next_frame(cursor, tag)? {
        let start = *cursor;
        read_frame(cursor, &frame, found)?;
        let num_read = cursor.at - start.at;
        if cursor.is_unsynchronised {
            *cursor = start;
            cursor.skip(frame.size)?;
        } else {
            cursor.skip(frame.size.saturating_sub(num_read))?;
        }
    }
    Ok(())
}

fn skip_extended_header(cursor: &mut Cursor<'_>, tag: &TagHeader) -> Result<(), Stop> {
    if tag.version < 3 || tag.flags & TagHeader::EXTENDED == 0 {
        return Ok(());
    }
    let bytes: [u8; 4] = cursor.take(4)?.try_into().unwrap_or_default();
    // 2.3 does not count the length's own four bytes, 2.4 does
    let rest = if tag.version == 3 { u64::from(u32::from_be_bytes(bytes)) } else { synchsafe(bytes).saturating_sub(4) };
    cursor.skip(rest)
}

/// The next frame's header, or `None` at padding, at the end, and at what is no frame.
fn next_frame(cursor: &mut Cursor<'_>, tag: &TagHeader) -> Result<Option<FrameHeader>, Stop> {
    let id_len: u64 = if tag.version == 2 { 3 } else { 4 };
    let header_len = if tag.version == 2 { 6 } else { HEADER_BYTES };
    if cursor.at.saturating_add(header_len) >= cursor.end {
        return Ok(None);
    }
    let header = cursor.take(header_len)?;
    let (id, rest) = header.split_at(id_len as usize);
    let Some(id) = id3_frames::frame_id(id) else { return Ok(None) };
    let (size, flags) = match *rest {
        [a, b, c] => (u64::from(u32::from_be_bytes([0, a, b, c])), 0),
        [a, b, c, d, high, low] => {
            let size = frame_size(cursor, tag.version, [a, b, c, d]);
            (size, u16::from_be_bytes([high, low]))
        }
        _ => return Ok(None),
    };
    let mut frame = FrameHeader {
        id,
        size,
        extra: 0,
        is_opaque: false,
        is_unsynchronised: tag.version == 4 && tag.flags & TagHeader::UNSYNCHRONISED != 0,
        content_len: None,
    };
    match tag.version {
        3 => apply_v3_flags(&mut frame, flags),
        4 => apply_v4_flags(cursor, &mut frame, flags)?,
        _ => {}
    }
    Ok(Some(frame))
}

fn apply_v3_flags(frame: &mut FrameHeader, flags: u16) {
    frame.is_opaque = flags & 0x00c0 != 0;
    frame.extra = u64::from(flags & 0x0020 != 0);
}

fn apply_v4_flags(cursor: &Cursor<'_>, frame: &mut FrameHeader, flags: u16) -> Result<(), Stop> {
    frame.is_opaque = flags & 0x000c != 0;
    frame.is_unsynchronised |= flags & 0x0002 != 0;
    frame.extra = u64::from(flags & 0x0040 != 0);
    if flags & 0x0001 != 0 && frame.size >= frame.extra + 4 {
        let mut ahead = *cursor;
        ahead.skip(frame.extra)?;
        let bytes: [u8; 4] = ahead.take(4)?.try_into().unwrap_or_default();
        frame.content_len = Some(synchsafe(bytes));
        frame.extra += 4;
    }
    Ok(())
}

/// A frame's size. 2.4 counts 7 bits per byte, but iTunes wrote 8 for years: what leads to another frame is right.
fn frame_size(cursor: &Cursor<'_>, version: u8, bytes: [u8; 4]) -> u64 {
    let plain = u64::from(u32::from_be_bytes(bytes));
    let safe = synchsafe(bytes);
    if version == 3 || safe == plain {
        return plain;
    }
    let leads_on = |size: u64| {
        let at = cursor.at.saturating_add(size);
        let id = cursor.source.known(at, 4);
        at == cursor.end || id.is_some_and(|id| id[0] == 0 || id3_frames::frame_id(id).is_some())
    };
    let is_plain = bytes.iter().any(|&byte| byte > 0x7f) || (!leads_on(safe) && leads_on(plain));
    if is_plain { plain } else { safe }
}

fn read_frame(cursor: &mut Cursor<'_>, frame: &FrameHeader, found: &mut Found) -> Result<(), Stop> {
    let len = frame.size.saturating_sub(frame.extra);
    if frame.is_opaque || len == 0 || !id3_frames::is_read(&frame.id) {
        return Ok(());
    }
    cursor.skip(frame.extra)?;
    if id3_frames::is_picture(&frame.id) {
        return locate_picture(cursor, frame, len, found);
    }
    let stored = cursor.take(len.min(MAX_TEXT_FRAME_BYTES))?;
    let content = if frame.is_unsynchronised { resynchronise(&stored) } else { stored };
    id3_frames::push_text(&frame.id, &content, found);
    Ok(())
}

fn locate_picture(cursor: &mut Cursor<'_>, frame: &FrameHeader, len: u64, found: &mut Found) -> Result<(), Stop> {
    let mut start = *cursor;
    let frame_end = cursor.at.saturating_add(len);
    let stored = cursor.take(len.min(PICTURE_PEEK_BYTES))?;
    let peek = if frame.is_unsynchronised { resynchronise(&stored) } else { stored };
    let Some(picture) = id3_frames::picture(&frame.id, &peek) else { return Ok(()) };
    let header_len = picture.offset as u64;
    start.is_unsynchronised |= frame.is_unsynchronised;
    start.take(header_len)?;
    // a whole tag's unsynchronisation makes the stored picture longer than this says, never shorter
    if frame_end > start.end || start.at >= frame_end {
        return Ok(());
    }
    if !start.is_unsynchronised {
        let place = (start.at, len - header_len);
        found.offer_raw_art(picture.is_front, place, picture.first_bytes, picture.mime);
        return Ok(());
    }
    let (stored_len, shown_len) = if cursor.is_unsynchronised {
        // every byte may have a zero behind it, but in a picture one in a hundred has: an eighth is plenty
        let shown_len = len - header_len;
        ((shown_len + shown_len / 8 + 64).min(start.end - start.at), Some(shown_len))
    } else {
        let stored_len = frame_end - start.at;
        let declared_len = frame.content_len.and_then(|content_len| content_len.checked_sub(header_len));
        (stored_len, declared_len.or_else(|| known_shown_len(&start, stored_len)))
    };
    if let Some(shown_len) = shown_len {
        offer_unsynchronised(found, &picture, (start.at, stored_len, shown_len));
    }
    Ok(())
}

/// The length of an unsynchronised picture that is known already; nothing else says it.
fn known_shown_len(start: &Cursor<'_>, stored_len: u64) -> Option<u64> {
    Some(resynchronise(start.source.known(start.at, stored_len)?).len() as u64)
}

fn offer_unsynchronised(
    found: &mut Found,
    picture: &id3_frames::Picture<'_>,
    (offset, stored_len, len): (u64, u64, u64),
) {
    if let Some(kind) = picture_kind(picture.first_bytes, picture.mime) {
        let encoding = ArtEncoding::Unsynchronised;
        found.offer_art(picture.is_front, ArtLocation { kind, len, offset, stored_len, encoding });
    }
}
