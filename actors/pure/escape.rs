//! One reversible percent-escape for names, in every output and argument.
//!
//! Names are bytes and JSON, logs and terminals are text. A byte that is not part of valid, printable UTF-8 becomes
//! `%XX`, and so does `%` itself, so that `unescape(escape(x)) == x` for every byte string and a terminal never receives
//! a control sequence that an origin chose.

use std::borrow::Cow;

/// Whether a character may stand for itself in the output.
fn is_plain(character: char) -> bool {
    character != '%' && !character.is_control() && !is_invisible(character)
}

/// Line separators and direction overrides: printable to Unicode, deceptive on a terminal.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text form of a name; it never contains a control character.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.chars().all(is_plain)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                out.push(character);
            } else {
                let mut buffer = [0; 4];
                push_hex(&mut out, character.encode_utf8(&mut buffer).as_bytes());
            }
        }
        push_hex(&mut out, chunk.invalid());
    }
    Cow::Owned(out)
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        out.push('%');
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// The bytes that an escaped text stands for. A `%` without two hex digits stands for itself, so that a name typed by
/// hand need not be escaped.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        if let (b'%', Some(high), Some(low)) = (byte, hex(tail.first()), hex(tail.get(1))) {
            out.push((high * 16 + low) as u8);
            rest = &tail[2..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        assert_eq!(escape("Björk – Jóga.flac".as_bytes()), "Björk – Jóga.flac");
    }

    #[test]
    fn control_and_invalid_bytes_are_escaped() {
        assert_eq!(escape(b"a\n\xff%b"), "a%0A%FF%25b");
        assert_eq!(escape("\u{202e}".as_bytes()), "%E2%80%AE");
    }

    proptest! {
        #[test]
        fn escape_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(unescape(text.as_bytes()), bytes);
        }
    }
}
