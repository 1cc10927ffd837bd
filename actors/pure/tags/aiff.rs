//! AIFF and AIFF-C: chunks behind their lengths, big end first.
//!
//! The audio is jumped over; an `ID3 ` chunk and the four text chunks of the format are read on either side of it. The
//! text chunks have no album, so most files have the ID3 tag too, and it is preferred. A chunk that claims more than the
//! file has goes to the end. Written from "Audio Interchange File Format: AIFF", version 1.3.

use super::Format;
use super::found::{Found, MAX_VALUE_BYTES, Rank};
use super::source::{Hop, Source, Stop};
use super::text::fixed_field;
use super::{id3, normalise};

const CHUNK_HEADER_BYTES: u64 = 8;

/// Length of `FORM`, its length and the type of the file.
const FORM_HEADER_BYTES: u64 = 12;

/// Reads the tags of all chunks.
pub(super) fn walk(source: &Source, found: &mut Found) -> Result<(), Stop> {
    found.format = Some(Format::Aiff);
    found.begin_layer(Rank::Poor);
    let size = source.size();
    let mut at = FORM_HEADER_BYTES;
    while size.saturating_sub(at) >= CHUNK_HEADER_BYTES {
        // all three are there only if the ID3 tag is known, and nothing better can come
        if source.known(at, CHUNK_HEADER_BYTES).is_none() && normalise::has_main_fields(found) {
            break;
        }
        let [kind @ .., a, b, c, d] = source.array::<8>(at, Hop::within(size))?;
        let body = at + CHUNK_HEADER_BYTES;
        let len = u64::from(u32::from_be_bytes([a, b, c, d])).min(size - body);
        match &kind {
            b"NAME" | b"AUTH" | b"ANNO" | b"(c) " => read_text(source, kind, (body, len), found)?,
            b"ID3 " | b"id3 " => {
                id3::walk(source, body, body + len, found)?;
            }
            _ => {}
        }
        at = body + len + (len & 1);
    }
    Ok(())
}

/// Keeps a text under its chunk's name, without the blank that fills it up.
fn read_text(source: &Source, kind: [u8; 4], (at, len): (u64, u64), found: &mut Found) -> Result<(), Stop> {
    let text = source.read(at, len.min(MAX_VALUE_BYTES as u64), Hop::within(source.size()))?;
    if let Ok(key) = std::str::from_utf8(&kind) {
        found.push(Rank::Poor, key.trim_end(), &fixed_field(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::TrackTags;
    use super::super::fixtures::*;
    use super::super::tests::{assert_large_art, assert_usual, located_art, strings};
    use super::*;

    fn id3_chunk(frames: &[u8]) -> Vec<u8> {
        aiff_chunk(b"ID3 ", &id3(4, 0, frames))
    }

    #[test]
    fn aiff_with_large_art_behind_the_audio_costs_two_hops() {
        let picture = jpeg(LARGE_ART_BYTES);
        let frames = [frame(4, b"APIC", &apic(&picture)), id3_frames()].concat();
        let file = aiff(b"AIFF", b"", 500_001, &id3_chunk(&frames));
        let behind = id3_frames().len() as u64;
        assert_large_art("a.aiff", &file, Format::Aiff, &picture, (3, 16_384 + 16_384 + behind));
    }

    #[test]
    fn aiff_with_text_before_large_art_behind_the_audio_costs_one_hop() {
        let picture = png(LARGE_ART_BYTES);
        let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture))].concat();
        let file = aiff(b"AIFC", b"", 500_000, &id3_chunk(&frames));
        assert_large_art("a.aifc", &file, Format::Aiff, &picture, (2, 16_384 + 16_384));
    }

    #[test]
    fn aiff_with_all_in_front_of_the_audio_costs_its_head() {
        let picture = jpeg(LARGE_ART_BYTES);
        let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture))].concat();
        let file = aiff(b"AIFF", &id3_chunk(&frames), 500_000, b"");
        assert_large_art("a.aif", &file, Format::Aiff, &picture, (1, 16_384));
    }

    #[test]
    fn aiff_fields_come_from_either_tag_and_id3_is_preferred() {
        let texts = [
            aiff_chunk(b"NAME", b"Poor"),
            aiff_chunk(b"AUTH", b"Bj\xf6rk\0"),
            aiff_chunk(b"(c) ", b"1997 OLI"),
            aiff_chunk(b"ANNO", b"one"),
            aiff_chunk(b"ANNO", b"two"),
        ]
        .concat();
        for kind in [b"ID3 ", b"id3 "] {
            let id3 = aiff_chunk(kind, &id3(3, 0, &frame(3, b"TIT2", b"\x00Song")));
            let outcome = scan_bytes(b"a.aiff", &aiff(b"AIFF", &texts, 40_000, &id3));
            let tags = outcome.tags();
            assert_eq!((&tags.title, &tags.artist), (&strings(&["Song"]), &strings(&["Björk"])));
            assert_eq!(tags.comment, ["one", "two"]);
            assert!(tags.raw.contains(&("(C)".to_owned(), "1997 OLI".to_owned())));
            assert_eq!(outcome.cost(), (2, 16_384 + id3.len() as u64));
        }
    }

    #[test]
    fn aiff_with_text_chunks_only_has_title_and_artist() {
        let behind = [aiff_chunk(b"NAME", b"Song"), aiff_chunk(b"AUTH", b"Band")].concat();
        let outcome = scan_bytes(b"a.aif", &aiff(b"AIFF", b"", 101, &behind));
        assert_eq!((&outcome.tags().title, &outcome.tags().artist), (&strings(&["Song"]), &strings(&["Band"])));
        assert_eq!(outcome.tags().art, None);
    }

    #[test]
    fn aiff_chunk_that_claims_4_gib_is_the_last_one() {
        let texts = aiff_chunk(b"NAME", b"Song");
        let audio_at = 12 + 26 + texts.len();
        for claim in [u32::MAX, u32::MAX - 1, 1 << 31] {
            let mut file = aiff(b"AIFF", &texts, 40_000, &aiff_chunk(b"AUTH", b"Band"));
            file[4..8].copy_from_slice(&claim.to_be_bytes());
            file[audio_at + 4..audio_at + 8].copy_from_slice(&claim.to_be_bytes());
            let outcome = scan_bytes(b"a.aiff", &file);
            let title = strings(&["Song"]);
            let raw = vec![("NAME".to_owned(), "Song".to_owned())];
            assert_eq!(outcome.tags(), &TrackTags { format: Some(Format::Aiff), title, raw, ..TrackTags::default() });
            assert_eq!(outcome.cost(), (1, 16_384));
            // a text of that length is read no further than it is kept
            let mut file = aiff(b"AIFF", b"", 10, &aiff_chunk(b"NAME", &vec![b'x'; 400_000]));
            let len_at = 12 + 26 + 18 + 4;
            file[len_at..len_at + 4].copy_from_slice(&claim.to_be_bytes());
            let outcome = scan_bytes(b"a.aiff", &file);
            assert_eq!(outcome.tags().title[0].len(), MAX_VALUE_BYTES);
            assert_eq!(outcome.cost(), (1, 16_384));
        }
    }

    #[test]
    fn aiff_art_in_an_id3_chunk_that_claims_too_much_is_inside_the_file() {
        let picture = jpeg(300);
        let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture))].concat();
        let mut file = aiff(b"AIFF", b"", 10, &id3_chunk(&frames));
        let len_at = 12 + 26 + 18 + 4;
        file[len_at..len_at + 4].copy_from_slice(&[0xff; 4]);
        let outcome = scan_bytes(b"a.aiff", &file);
        assert_usual(&outcome, Format::Aiff);
        assert_eq!(located_art(&file, outcome.tags()), Some(picture));
    }
}
