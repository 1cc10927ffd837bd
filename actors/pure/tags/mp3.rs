//! MPEG audio: ID3v2 in front, APEv2 and ID3v1 behind.
//!
//! The end of the file is read only when the front lacks title, artist or album: most files say everything in front,
//! and the request would double what they cost. One read of 4 KiB there settles all three kinds of tags.

use super::Format;
use super::found::{Found, Rank};
use super::source::{Hop, Source, Stop};
use super::tail::Tail;
use super::{ape, id3, normalise};

/// What is read at the end: an ID3v1 tag, and an APEv2 tag of ordinary size whole.
const TAIL_BYTES: u64 = 4 << 10;

/// How far an `.mp3` may have junk in front of its first frame; the head that is read anyway is not exceeded.
const MAX_JUNK_BYTES: u64 = 4 << 10;

/// Whether the file is MPEG audio without a tag in front: two frames in a row, or a last resort for `.mp3`: one.
pub(super) fn is_recognised(source: &Source, is_hinted: bool) -> Result<bool, Stop> {
    let head_len = source.size().min(MAX_JUNK_BYTES);
    let head = source.read(0, head_len, Hop::within(u64::MAX))?;
    if frame_len(head).is_some() && (is_hinted || is_frame_chain(head)) {
        return Ok(true);
    }
    Ok(is_hinted && (0..head.len()).any(|at| is_frame_chain(&head[at..])))
}

/// Whether a frame is at the start and another directly behind it.
fn is_frame_chain(bytes: &[u8]) -> bool {
    let next = frame_len(bytes).and_then(|len| bytes.get(len..));
    next.is_some_and(|next| frame_len(next).is_some())
}

/// The length of the MPEG frame at the start, if one is there (ISO 11172-3, 2.4.1.3). The free format has no length.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let [0xff, b, c, _, ..] = *bytes else { return None };
    let (version, layer) = ((b >> 3) & 3, (b >> 1) & 3);
    let (bitrate_index, rate_index) = (usize::from(c >> 4), usize::from((c >> 2) & 3));
    if b & 0xe0 != 0xe0 || version == 1 || layer == 0 || !(1..15).contains(&bitrate_index) || rate_index == 3 {
        return None;
    }
    let is_mpeg1 = version == 3;
    let kbit = match (is_mpeg1, layer) {
        (true, 3) => [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        (true, 2) => [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        (true, _) => [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        (false, 3) => [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        (false, _) => [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    }[bitrate_index - 1];
    let rate = [44_100, 48_000, 32_000][rate_index] >> [2, 0, 1, 0][usize::from(version)];
    let padding = usize::from((c >> 1) & 1);
    Some(match layer {
        3 => (12 * kbit * 1000 / rate + padding) * 4,
        1 if !is_mpeg1 => 72 * kbit * 1000 / rate + padding,
        _ => 144 * kbit * 1000 / rate + padding,
    })
}

/// Reads the tags in front, and those behind if they are needed.
pub(super) fn walk(source: &Source, found: &mut Found) -> Result<(), Stop> {
    found.format = Some(Format::Mp3);
    match id3::walk(source, 0, source.size(), found) {
        Ok(_) | Err(Stop::Malformed(_)) if !normalise::has_main_fields(found) => walk_tail(source, found),
        other => other.map(|_| ()),
    }
}

fn walk_tail(source: &Source, found: &mut Found) -> Result<(), Stop> {
    let tail = Tail::read(source, TAIL_BYTES)?;
    let appended = tail.walk_appended_id3(source, found);
    let walked = appended.and_then(|()| ape::walk(source, tail.end, Rank::Appended, found));
    // last, so that its cut fields end no search for whole ones, but whatever became of the others
    tail.push_id3v1(found);
    walked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_lengths_are_those_of_the_standard() {
        assert_eq!(frame_len(&[0xff, 0xfb, 0x90, 0x64]), Some(417));
        assert_eq!(frame_len(&[0xff, 0xfb, 0x92, 0x64]), Some(418));
        assert_eq!(frame_len(&[0xff, 0xf3, 0x40, 0xc4]), Some(104));
        assert_eq!(frame_len(&[0xff, 0xf1, 0x50, 0x80]), None, "AAC in ADTS is no MPEG layer");
        assert_eq!(frame_len(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(frame_len(&[0xff]), None);
    }
}
