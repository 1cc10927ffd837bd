//! Bytes to text, never failing.
//!
//! Taggers lie about encodings, so what is declared is the first guess only: bytes declared as Latin-1 that are valid
//! UTF-8 beyond ASCII are UTF-8 (by chance that is next to impossible), UTF-16 without its mark is judged by where its
//! zero bytes are. What remains invalid becomes U+FFFD: a wrong character in a name beats a missing album.

/// Encodings that tags declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// ISO 8859-1, or what a tagger took for it.
    Latin1,
    /// UTF-16 with a byte order mark.
    Utf16,
    /// UTF-16, big end first, without a mark.
    Utf16Be,
    /// UTF-8.
    Utf8,
}

impl Encoding {
    /// The encoding that the first byte of an ID3v2 text frame names; unknown ones are read as Latin-1.
    pub(super) const fn of_id3(byte: u8) -> Self {
        match byte {
            1 => Self::Utf16,
            2 => Self::Utf16Be,
            3 => Self::Utf8,
            _ => Self::Latin1,
        }
    }

    /// Bytes per code unit.
    pub(super) const fn unit_bytes(self) -> usize {
        match self {
            Self::Utf16 | Self::Utf16Be => 2,
            Self::Latin1 | Self::Utf8 => 1,
        }
    }

    /// The text of bytes in this encoding.
    pub(super) fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Latin1 => latin1_or_utf8(bytes),
            Self::Utf16 | Self::Utf16Be => utf16(bytes, self == Self::Utf16Be),
            Self::Utf8 => String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned(),
        }
    }

    /// The bytes before the first terminator and those after it; without one, everything is before it.
    pub(super) fn split_at_nul(self, bytes: &[u8]) -> (&[u8], &[u8]) {
        let unit = self.unit_bytes();
        let nul = bytes.chunks_exact(unit).position(|unit| unit.iter().all(|&byte| byte == 0));
        match nul {
            Some(index) => (&bytes[..index * unit], &bytes[(index + 1) * unit..]),
            None => (bytes, &[]),
        }
    }

    /// Every text of a list that is separated, or ended, by terminators.
    pub(super) fn decode_list(self, mut bytes: &[u8]) -> Vec<String> {
        let mut texts = Vec::new();
        while !bytes.is_empty() {
            let (text, rest) = self.split_at_nul(bytes);
            texts.push(self.decode(text));
            bytes = rest;
        }
        texts
    }
}

/// UTF-8 if it is that beyond ASCII, else one character per byte.
pub(super) fn latin1_or_utf8(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn utf16(bytes: &[u8], declared_be: bool) -> String {
    let (bytes, is_be) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, false),
        [0xfe, 0xff, rest @ ..] => (rest, true),
        _ => (bytes, declared_be || looks_big_endian(bytes)),
    };
    let unit = if is_be { u16::from_be_bytes } else { u16::from_le_bytes };
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Whether zero bytes come first in their pairs more often than last, as in western text with the big end first.
fn looks_big_endian(bytes: &[u8]) -> bool {
    let zeros = |at: usize| bytes.chunks_exact(2).filter(|pair| pair[at] == 0).count();
    zeros(0) > zeros(1)
}

/// Text of a fixed field: up to the first NUL, without trailing blanks.
pub(super) fn fixed_field(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    latin1_or_utf8(&bytes[..end]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_whatever_is_declared() {
        for (encoding, bytes, text) in [
            (Encoding::Latin1, &b"Bj\xf6rk"[..], "Björk"),
            (Encoding::Latin1, "Björk".as_bytes(), "Björk"),
            (Encoding::Utf8, b"a\xffb", "a\u{fffd}b"),
            (Encoding::Utf8, b"\xef\xbb\xbfa", "a"),
            (Encoding::Utf16, b"\xff\xfea\0\xf6\0", "aö"),
            (Encoding::Utf16, b"\xfe\xff\0a\0\xf6", "aö"),
            (Encoding::Utf16, b"a\0b\0", "ab"),
            (Encoding::Utf16, b"\0a\0b", "ab"),
            (Encoding::Utf16Be, b"\0a\0b", "ab"),
            (Encoding::Utf16Be, b"\0a\0", "a"),
            (Encoding::Utf16Be, b"\xd8\0\0a", "\u{fffd}a"),
        ] {
            assert_eq!(encoding.decode(bytes), text, "{encoding:?} {bytes:x?}");
        }
    }

    #[test]
    fn list_has_its_texts_without_an_empty_end() {
        assert_eq!(Encoding::Utf8.decode_list(b"a\0b\0"), ["a", "b"]);
        assert_eq!(Encoding::Utf16.decode_list(b"\xff\xfea\0\0\0\xff\xfeb\0"), ["a", "b"]);
        assert_eq!(Encoding::Utf8.decode_list(b"a\0\0b"), ["a", "", "b"]);
        assert!(Encoding::Utf8.decode_list(b"").is_empty());
    }
}
