//! Which format a file is, by its first bytes; its extension only breaks ties.
//!
//! The one real tie is a leading ID3v2 tag: it belongs in front of MPEG audio and is found in front of FLAC too. When
//! what follows the tag is known, that decides; when it lies behind a large picture, the extension does where it can,
//! because looking would cost every such MP3 a round trip.

use super::classify::split_extension;
use super::found::Found;
use super::scan::MalformedReason;
use super::source::{Hop, Source, Stop};
use super::{Format, aiff, ape_tagged, flac, id3, mp3, mp4, ogg, wav};

/// Stacked ID3v2 tags that are stepped over: taggers that do not know each other leave two.
pub(super) const MAX_STACKED_TAGS: usize = 4;

/// What the extension suggests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// `.flac`
    Flac,
    /// `.mp3`
    Mp3,
    /// `.m4a`, `.m4b`
    Mp4,
    /// `.wv`, `.ape`, `.mpc`
    ApeTagged(Format),
    /// Anything else.
    Unknown,
}

impl Hint {
    /// The hint that a name gives.
    pub(super) fn of_name(name: &[u8]) -> Self {
        match split_extension(name).1.to_ascii_lowercase().as_slice() {
            b"flac" => Self::Flac,
            b"mp3" => Self::Mp3,
            b"m4a" | b"m4b" | b"mp4" => Self::Mp4,
            b"wv" => Self::ApeTagged(Format::WavPack),
            b"ape" => Self::ApeTagged(Format::MonkeysAudio),
            b"mpc" => Self::ApeTagged(Format::Musepack),
            _ => Self::Unknown,
        }
    }
}

/// Runs the walker that the content asks for.
pub(super) fn walk_by_content(source: &Source, hint: Hint, found: &mut Found) -> Result<(), Stop> {
    let head_len = source.size().min(12);
    let head = source.read(0, head_len, Hop::within(u64::MAX))?;
    if let Some(format) = ape_tagged::format_of(head) {
        return ape_tagged::walk(source, format, 0, found);
    }
    match head {
        [b'f', b'L', b'a', b'C', ..] => flac::walk(source, 0, found),
        [b'I', b'D', b'3', ..] => behind_id3(source, hint, found),
        [b'O', b'g', b'g', b'S', ..] => ogg::walk(source, found),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E']
        | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E']
        | [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E'] => wav::walk(source, found),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C'] => aiff::walk(source, found),
        _ if mp4::is_recognised(head, hint == Hint::Mp4) => mp4::walk(source, found),
        _ if mp3::is_recognised(source, hint == Hint::Mp3)? => mp3::walk(source, found),
        _ => Err(Stop::Malformed(MalformedReason::UnknownContent)),
    }
}

/// A file that begins with an ID3v2 tag.
fn behind_id3(source: &Source, hint: Hint, found: &mut Found) -> Result<(), Stop> {
    let mut at = 0;
    for _ in 0..MAX_STACKED_TAGS {
        let Some(tag) = id3::header_at(source, at, source.size())? else { break };
        at = tag.next;
        let next = match source.known(at, 4) {
            Some(next) => next,
            None if at >= source.size() => break,
            None => match hint {
                Hint::Mp3 => break,
                Hint::ApeTagged(format) => return ape_tagged::walk(source, format, at, found),
                _ => source.read(at, 4, Hop::within(u64::MAX))?,
            },
        };
        match next {
            b"fLaC" => return flac::walk(source, at, found),
            [b'I', b'D', b'3', _] => {}
            next => match ape_tagged::format_of(next) {
                Some(format) => return ape_tagged::walk(source, format, at, found),
                None => break,
            },
        }
    }
    mp3::walk(source, found)
}
