//! Vorbis comments, as FLAC, Ogg Vorbis and Opus carry them.
//!
//! The layout (<https://xiph.org/vorbis/doc/v-comment.html>) is a vendor string and a count of `KEY=value` texts, each
//! behind a 32-bit little-endian length. They are decoded here rather than by lofty because the walk and the decoding
//! are one thing: a long value is read as far as it is kept and then jumped over, so that lyrics or a picture in base64
//! do not cost their length.

use super::found::{Found, MAX_VALUE_BYTES, Rank};
use super::scan::MalformedReason;
use super::source::Stop;

/// What is read of a comment: the longest key and value that are kept.
const MAX_COMMENT_BYTES: u64 = MAX_VALUE_BYTES as u64 + 256;

/// What is read first of a longer comment, to see whether it is a picture: the block's header and the picture's first
/// bytes are within 512 characters unless its description is long.
const PEEK_BYTES: u64 = 512;

/// The key of a picture in base64, with its separator.
const PICTURE_KEY: &[u8] = b"METADATA_BLOCK_PICTURE=";

/// Where a comment's picture is within its packet.
pub(super) struct PictureText<'a> {
    /// Offset of the base64 text in the packet.
    pub(super) offset: u64,
    /// Its length.
    pub(super) len: u64,
    /// Its beginning.
    pub(super) prefix: &'a [u8],
    /// Whether no comment follows.
    pub(super) is_last: bool,
}

/// The bytes of a comment packet, wherever they are.
pub(super) trait Packet {
    /// Bytes at an offset in the packet; beyond its end is [`Stop::Malformed`].
    fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, Stop>;

    /// A picture was met. What cannot be shown is left out without an error.
    fn picture(&mut self, text: &PictureText<'_>, found: &mut Found) -> Result<(), Stop>;
}

/// Reads all comments from `offset` on. A count or a length beyond the packet ends the list; it is no error, since what
/// came before it is right.
pub(super) fn walk(packet: &mut impl Packet, offset: u64, found: &mut Found) -> Result<(), Stop> {
    found.begin_layer(Rank::Main);
    match walk_comments(packet, offset, found) {
        Err(Stop::Malformed(_)) => Ok(()),
        other => other,
    }
}

fn walk_comments(packet: &mut impl Packet, offset: u64, found: &mut Found) -> Result<(), Stop> {
    let vendor_len = read_u32(packet, offset)?;
    let mut at = offset + 4 + u64::from(vendor_len);
    let num_comments = read_u32(packet, at)?;
    at += 4;
    for index in 0..num_comments {
        let len = u64::from(read_u32(packet, at)?);
        at += 4;
        let peek = packet.read(at, len.min(if len > MAX_COMMENT_BYTES { PEEK_BYTES } else { len }))?;
        if let Some(prefix) = strip_prefix_ignoring_case(&peek, PICTURE_KEY) {
            let text = PictureText {
                offset: at + PICTURE_KEY.len() as u64,
                len: len - PICTURE_KEY.len() as u64,
                prefix,
                is_last: index + 1 == num_comments,
            };
            packet.picture(&text, found)?;
        } else if (peek.len() as u64) < len {
            push_comment(&packet.read(at, MAX_COMMENT_BYTES)?, found);
        } else {
            push_comment(&peek, found);
        }
        at += len;
    }
    Ok(())
}

fn read_u32(packet: &mut impl Packet, offset: u64) -> Result<u32, Stop> {
    let bytes = packet.read(offset, 4)?;
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| Stop::Malformed(MalformedReason::BadStructure))?;
    Ok(u32::from_le_bytes(bytes))
}

fn strip_prefix_ignoring_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Keeps one `KEY=value`. Pictures in the old `COVERART` form are no text.
fn push_comment(comment: &[u8], found: &mut Found) {
    let Some(separator) = comment.iter().position(|&byte| byte == b'=') else { return };
    let (key, value) = (&comment[..separator], &comment[separator + 1..]);
    let is_key = key.iter().all(|byte| (0x20..0x7e).contains(byte));
    if let (true, Ok(key)) = (is_key, std::str::from_utf8(key))
        && !key.eq_ignore_ascii_case("COVERART")
    {
        found.push(Rank::Main, key, &String::from_utf8_lossy(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::vorbis_comments;
    use super::*;

    /// A packet that is all there.
    struct Whole(Vec<u8>, u64);

    impl Packet for Whole {
        fn read(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, Stop> {
            self.1 += len;
            let bytes = self.0.get(offset as usize..(offset + len) as usize);
            bytes.map(<[u8]>::to_vec).ok_or(Stop::Malformed(MalformedReason::BadStructure))
        }

        fn picture(&mut self, text: &PictureText<'_>, found: &mut Found) -> Result<(), Stop> {
            found.push(Rank::Main, "PICTURE", &format!("{} {} {}", text.offset, text.len, text.is_last));
            Ok(())
        }
    }

    fn entries(bytes: Vec<u8>) -> Vec<(String, String)> {
        let mut found = Found::new(1 << 20);
        walk(&mut Whole(bytes, 0), 0, &mut found).expect("readable");
        found.entries().cloned().collect()
    }

    #[test]
    fn comments_keep_their_order_and_repetition() {
        let entries = entries(vorbis_comments(&[("artist", "a"), ("Artist", "b"), ("odd key", "c=d")]));
        let expected = [("ARTIST", "a"), ("ARTIST", "b"), ("ODD KEY", "c=d")];
        assert_eq!(entries, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn count_larger_than_the_packet_ends_the_list() {
        let mut bytes = vorbis_comments(&[("TITLE", "t")]);
        let count_at = 4 + u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        bytes[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(entries(bytes), [("TITLE".to_owned(), "t".to_owned())]);
    }

    #[test]
    fn vendor_beyond_the_packet_gives_nothing() {
        assert!(entries(vec![0xff; 16]).is_empty());
    }

    #[test]
    fn comment_without_separator_or_with_a_strange_key_is_left_out() {
        let entries = entries(vorbis_comments(&[("TITLE", "t"), ("K\u{e9}Y", "x")]));
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn long_value_is_cut_and_jumped_over() {
        let bytes = vorbis_comments(&[("LYRICS", &"x".repeat(1 << 20)), ("TITLE", "t")]);
        let mut packet = Whole(bytes, 0);
        let mut found = Found::new(1 << 20);
        walk(&mut packet, 0, &mut found).expect("readable");
        assert_eq!(found.values(&["TITLE"]), ["t"]);
        assert_eq!(found.values(&["LYRICS"])[0].len(), MAX_VALUE_BYTES);
        assert!(packet.1 < 6000, "{} bytes read", packet.1);
    }

    #[test]
    fn picture_is_reported_by_its_place() {
        let bytes = vorbis_comments(&[("metadata_block_picture", "QUJD"), ("TITLE", "t")]);
        let entries = entries(bytes);
        assert_eq!(entries[0].0, "PICTURE");
        assert!(entries[0].1.ends_with(" 4 false"));
    }
}
