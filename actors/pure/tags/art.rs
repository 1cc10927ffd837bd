//! From the stored bytes of an embedded picture to the picture.
//!
//! A location says where a picture is without anybody having read it; here its bytes have come. They are hostile as any:
//! what is not what was located gives nothing, and nothing is allocated beyond the stored bytes' own length. What comes
//! out has exactly the length that was promised, because that is the size of a file that is shown already.

use super::flac::picture_header;
use super::found::picture_kind;
use super::id3::resynchronise;
use super::ogg_packet::{MAX_PAGE_HEADER_BYTES, PageHeader};
use super::{ArtEncoding, ArtLocation};

/// The picture as embedded, of the bytes `[offset, offset + stored_len)`; `None` if it is not what was located.
pub fn decode(location: &ArtLocation, stored: &[u8]) -> Option<Vec<u8>> {
    let len = usize::try_from(location.len).ok()?;
    let mut picture = match location.encoding {
        ArtEncoding::Raw => stored.get(..len)?.to_vec(),
        ArtEncoding::Unsynchronised => resynchronise(stored),
        ArtEncoding::OggPages { payload_offset } => page_payload(stored, payload_offset as usize, len)?,
        ArtEncoding::OggComment { text_offset, text_len, picture_offset } => {
            let text = page_payload(stored, text_offset as usize, text_len as usize)?;
            decode_block(&text, picture_offset as usize, len)?
        }
    };
    picture.truncate(len);
    let is_located = picture.len() == len && picture_kind(&picture, b"") == Some(location.kind);
    is_located.then_some(picture)
}

/// `len` bytes from `skip` bytes into the payload of the pages of the stream that the first one belongs to.
fn page_payload(stored: &[u8], skip: usize, len: usize) -> Option<Vec<u8>> {
    let end = skip.checked_add(len).filter(|&end| end <= stored.len())?;
    let mut payload = Vec::with_capacity(end);
    let mut rest = stored;
    let mut serial = None;
    while payload.len() < end {
        let header = PageHeader::parse(&rest[..rest.len().min(MAX_PAGE_HEADER_BYTES)])?;
        let body = rest.get(header.header_len..)?;
        let body_len = header.payload_len.min(body.len());
        if *serial.get_or_insert(header.serial) == header.serial {
            payload.extend_from_slice(&body[..body_len]);
        }
        rest = &body[body_len..];
    }
    payload.get(skip..end).map(<[u8]>::to_vec)
}

/// The picture in a base64 picture block, checked against the block's own header.
fn decode_block(text: &[u8], picture_offset: usize, len: usize) -> Option<Vec<u8>> {
    let block = decode_base64(text)?;
    let header = picture_header(&block).ok()?;
    let agrees = header.offset == picture_offset as u64 && header.len == len as u64;
    agrees.then(|| block.get(picture_offset..picture_offset + len).map(<[u8]>::to_vec))?
}

/// Decodes base64 with or without padding at its end.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let num_padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    data_encoding::BASE64_NOPAD.decode(&text[..text.len() - num_padding]).ok()
}

#[cfg(test)]
mod tests {
    use super::super::ArtKind;
    use super::*;

    fn located(len: u64, encoding: ArtEncoding) -> ArtLocation {
        ArtLocation { kind: ArtKind::Jpeg, len, offset: 0, stored_len: 0, encoding }
    }

    #[test]
    fn raw_picture_has_exactly_its_length() {
        let location = located(4, ArtEncoding::Raw);
        assert_eq!(decode(&location, b"\xff\xd8\xff\xe0 more"), Some(b"\xff\xd8\xff\xe0".to_vec()));
        assert_eq!(decode(&location, b"\xff\xd8\xff"), None);
        assert_eq!(decode(&location, b"\x89PNG"), None);
    }

    #[test]
    fn unsynchronised_picture_loses_its_inserted_zeros() {
        let location = located(6, ArtEncoding::Unsynchronised);
        let stored = b"\xff\xd8\xff\0\xe0\xff\0\0 behind";
        assert_eq!(decode(&location, stored), Some(b"\xff\xd8\xff\xe0\xff\0".to_vec()));
        assert_eq!(decode(&location, &stored[..5]), None);
    }

    #[test]
    fn pages_that_are_none_give_nothing() {
        let encoding = ArtEncoding::OggComment { text_offset: 0, text_len: 8, picture_offset: 0 };
        assert_eq!(decode(&located(4, encoding), b"not an ogg page at all, really"), None);
        let encoding = ArtEncoding::OggComment { text_offset: u32::MAX, text_len: u32::MAX, picture_offset: u32::MAX };
        assert_eq!(decode(&located(u64::MAX, encoding), b"OggS"), None);
    }
}
