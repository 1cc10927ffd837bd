//! What is in an ID3v2 frame: texts, comments, links, pictures.
//!
//! Decoded here and not by lofty: its reader gives up a whole tag for one frame that it cannot decode, renames 2.2 and
//! 2.3 frames, so that `${tag:TYER}` would find nothing, merges frames of equal id, and inflates compressed frames
//! without a bound. A test pins the first of these.

use super::found::{Found, Rank};
use super::text::Encoding;

/// Frames that follow a long unsynchronised frame, as the walk recognises them.
const COMMON_TEXT_FRAMES: [&[u8; 4]; 30] = [
    b"TALB", b"TBPM", b"TCOM", b"TCON", b"TCOP", b"TDAT", b"TDRC", b"TENC", b"TEXT", b"TIT1", b"TIT2", b"TIT3",
    b"TKEY", b"TLEN", b"TOAL", b"TOPE", b"TORY", b"TPE1", b"TPE2", b"TPE3", b"TPE4", b"TPOS", b"TPUB", b"TRCK",
    b"TSRC", b"TSSE", b"TYER", b"TXXX", b"TCMP", b"COMM",
];

/// An id as the frame has it: three or four capitals and digits. iTunes wrote 2.2's three with a NUL in 2.3.
pub(super) fn frame_id(bytes: &[u8]) -> Option<Vec<u8>> {
    let id = match bytes {
        [id @ .., 0 | b' '] if id.len() == 3 => id,
        id => id,
    };
    let is_id = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    (id.len() >= 3 && id.iter().all(is_id)).then(|| id.to_vec())
}

/// Whether bytes are the header of a common frame and a valid encoding behind it.
pub(super) fn looks_like_text_frame(bytes: &[u8]) -> bool {
    let [a, b, c, d, 0, 0, _, _, _, 0, encoding, ..] = *bytes else { return false };
    COMMON_TEXT_FRAMES.contains(&&[a, b, c, d]) && encoding <= 3
}

/// Whether a frame's content is of interest.
pub(super) fn is_read(id: &[u8]) -> bool {
    matches!(id, [b'T' | b'W', ..] | b"COMM" | b"COM" | b"USLT" | b"ULT" | b"GRP1" | b"MVNM" | b"MVIN" | b"IPLS")
        || is_picture(id)
}

/// Whether a frame holds a picture.
pub(super) fn is_picture(id: &[u8]) -> bool {
    matches!(id, b"APIC" | b"PIC")
}

/// Keeps the texts of a frame under its id; user-defined ones under their description.
pub(super) fn push_text(id: &[u8], content: &[u8], found: &mut Found) {
    let key = String::from_utf8_lossy(id);
    let Some((&encoding, text)) = content.split_first() else { return };
    let encoding = Encoding::of_id3(encoding);
    match id {
        b"TXXX" | b"TXX" => {
            let (description, values) = encoding.split_at_nul(text);
            let description = encoding.decode(description);
            push_all(&description, encoding.decode_list(values), found);
        }
        b"WXXX" | b"WXX" => {
            let (description, link) = encoding.split_at_nul(text);
            let description = encoding.decode(description);
            push_all(&description, Encoding::Latin1.decode_list(link), found);
        }
        // links have no encoding
        [b'W', ..] => push_all(&key, Encoding::Latin1.decode_list(content), found),
        b"COMM" | b"COM" | b"USLT" | b"ULT" => push_described(&key, encoding, text.get(3..).unwrap_or_default(), found),
        _ => push_all(&key, encoding.decode_list(text), found),
    }
}

/// A comment or lyrics, behind the three letters of a language. Players keep numbers of their own under descriptions,
/// so only what has none stands under the plain id.
fn push_described(key: &str, encoding: Encoding, text: &[u8], found: &mut Found) {
    let (description, value) = encoding.split_at_nul(text);
    let description = encoding.decode(description);
    let key = if description.is_empty() { key.to_owned() } else { format!("{key}:{description}") };
    push_all(&key, encoding.decode_list(value), found);
}

fn push_all(key: &str, values: Vec<String>, found: &mut Found) {
    for value in values {
        found.push(Rank::Main, key, &value);
    }
}

/// A picture frame's header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture<'a> {
    /// Whether it is the front cover.
    pub(super) is_front: bool,
    /// Its declared type.
    pub(super) mime: &'a [u8],
    /// Where in the frame it begins.
    pub(super) offset: usize,
    /// As much of it as there is.
    pub(super) first_bytes: &'a [u8],
}

/// The picture in the beginning of a frame's content; `None` if it does not begin there.
pub(super) fn picture<'a>(id: &[u8], content: &'a [u8]) -> Option<Picture<'a>> {
    let (&encoding, rest) = content.split_first()?;
    let encoding = Encoding::of_id3(encoding);
    let (mime, rest) = match id {
        b"PIC" => rest.split_at_checked(3)?,
        _ => split_at_present_nul(Encoding::Latin1, rest)?,
    };
    let (&kind, rest) = rest.split_first()?;
    let (_, first_bytes) = split_at_present_nul(encoding, rest)?;
    let offset = content.len() - first_bytes.len();
    Some(Picture { is_front: kind == 3, mime, offset, first_bytes })
}

/// As [`Encoding::split_at_nul`], but `None` without a terminator.
fn split_at_present_nul(encoding: Encoding, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, after) = encoding.split_at_nul(bytes);
    (before.len() + encoding.unit_bytes() <= bytes.len()).then_some((before, after))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn entries(id: &[u8], content: &[u8]) -> Vec<(String, String)> {
        let mut found = Found::new(100);
        found.begin_layer(Rank::Main);
        push_text(id, content, &mut found);
        found.entries().cloned().collect()
    }

    #[test]
    fn frames_are_keyed_by_id_or_description() {
        for (id, content, key, value) in [
            (&b"TPE1"[..], &b"\x03a\0"[..], "TPE1", "a"),
            (b"TXXX", b"\x03CatalogNumber\0X 1", "CATALOGNUMBER", "X 1"),
            (b"TXXX", b"\x01\xff\xfeK\0\0\0\xff\xfeV\0", "K", "V"),
            (b"COMM", b"\x00eng\0nice", "COMM", "nice"),
            (b"COMM", b"\x00engiTunNORM\0 0001", "COMM:ITUNNORM", " 0001"),
            (b"WOAR", b"http://a", "WOAR", "http://a"),
            (b"WXXX", b"\x00shop\0http://b", "SHOP", "http://b"),
        ] {
            assert_eq!(entries(id, content), [(key.to_owned(), value.to_owned())]);
        }
        assert!(entries(b"TPE1", b"").is_empty());
        assert!(entries(b"COMM", b"\x00e").is_empty());
    }

    #[test]
    fn picture_begins_behind_its_description() {
        let picture = picture(b"APIC", b"\x01image/png\0\x03\xff\xfea\0\0\0\x89PNG").expect("found");
        assert!(picture.is_front);
        assert_eq!((picture.mime, picture.first_bytes), (&b"image/png"[..], &b"\x89PNG"[..]));
        assert_eq!(super::picture(b"APIC", b"\x00image/png\0\x03no end"), None);
        assert_eq!(super::picture(b"PIC", b"\x00JPG\x03\0\xff\xd8").map(|picture| picture.offset), Some(6));
    }

    /// Why lofty does not read these frames.
    #[test]
    fn lofty_loses_a_tag_for_one_frame() {
        use lofty::config::ParseOptions;
        use lofty::file::AudioFile;
        use lofty::tag::Accessor;
        let frames = [fixtures::frame(4, b"TIT2", b"\x03good"), fixtures::frame(4, b"TPE1", b"\x01\xff\xfe\0\xd8")];
        let file = [fixtures::id3(4, 0, &frames.concat()), vec![0; 64]].concat();
        let options = ParseOptions::new().read_properties(false);
        let read = lofty::mpeg::MpegFile::read_from(&mut std::io::Cursor::new(file), options);
        let title = read.ok().and_then(|file| file.id3v2()?.title().map(std::borrow::Cow::into_owned));
        assert_eq!(title, None);
    }
}
