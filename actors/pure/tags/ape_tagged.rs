//! `WavPack`, Monkey's Audio and Musepack: audio whose own tag is an `APEv2` tag at the end.
//!
//! The three have nothing else in common, and nothing else of them is needed: what precedes the tag is audio. The end is
//! read once, and long enough that the text of an ordinary tag is in it whole; the beginning of a longer tag, one with a
//! picture, is one more request. An ID3v2 tag in front and an ID3v1 tag behind fill in what the `APEv2` tag lacks: taggers
//! made for MP3 put them there.

use super::Format;
use super::found::{Found, Rank};
use super::source::{Source, Stop};
use super::tail::Tail;
use super::{ape, id3, normalise};

/// What is read at the end: the text of an ordinary tag that has its pictures in front, so that the end is all of it
/// that is read beside the tag's beginning.
const TAIL_BYTES: u64 = 16 << 10;

/// The format whose stream begins with these bytes.
pub(super) fn format_of(marker: &[u8]) -> Option<Format> {
    Some(match marker {
        [b'w', b'v', b'p', b'k', ..] => Format::WavPack,
        // the second since floating point samples are stored
        [b'M', b'A', b'C', b' ' | b'F', ..] => Format::MonkeysAudio,
        // the stream version is in the low half of the byte: 7, and what precedes it has no marker
        [b'M', b'P', b'+', version, ..] if version & 0x0f == 7 => Format::Musepack,
        [b'M', b'P', b'C', b'K', ..] => Format::Musepack,
        _ => return None,
    })
}

/// Reads the tags of a stream that begins at `start`, behind any ID3v2 tags.
pub(super) fn walk(source: &Source, format: Format, start: u64, found: &mut Found) -> Result<(), Stop> {
    found.format = Some(format);
    let tail = Tail::read(source, TAIL_BYTES)?;
    let walked = ape::walk(source, tail.end, Rank::Main, found);
    let is_complete = normalise::has_main_fields(found);
    // known already, so it counts even where the other tag costs too much
    tail.push_id3v1(found);
    walked?;
    if start > 0 && !is_complete {
        id3::walk(source, 0, start, found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::scan::MAX_REQUESTS;
    use super::super::tests::{assert_large_art, assert_usual, located_art, strings};
    use super::*;

    /// A stream of each format: name, format, the stream.
    fn streams(num_bytes: usize) -> [(&'static str, Format, Vec<u8>); 4] {
        [
            ("a.wv", Format::WavPack, wavpack(num_bytes)),
            ("a.ape", Format::MonkeysAudio, monkeys_audio(num_bytes)),
            ("7.mpc", Format::Musepack, musepack_7(num_bytes)),
            ("8.mpc", Format::Musepack, musepack_8(num_bytes)),
        ]
    }

    const COVER: &str = "Cover Art (Front)";

    #[test]
    fn ape_tagged_without_art_costs_head_and_tail() {
        for (name, format, stream) in streams(500_000) {
            let outcome = scan_bytes(name.as_bytes(), &[stream, ape(&ape_items(&[]))].concat());
            assert_usual(&outcome, format);
            assert_eq!(outcome.tags().tracktotal.as_deref(), Some("12"));
            assert_eq!(outcome.cost(), (2, 32_768), "{name}");
        }
    }

    #[test]
    fn ape_tagged_with_large_art_costs_its_tags_beginning_too() {
        let picture = jpeg(LARGE_ART_BYTES);
        let cover = ape_cover(&picture);
        for (name, format, stream) in streams(500_000) {
            // text on either side of the picture, all of it behind, all of it in front
            let around = ape(&ape_items(&[(2, COVER, &cover)]));
            let mut items = ape_items(&[]);
            items.insert(0, (2, COVER, &cover));
            let behind = ape(&items);
            items.rotate_left(1);
            for tag in [around, behind, ape(&items)] {
                let file = [stream.clone(), tag, id3v1("Old", 9, 17)].concat();
                assert_large_art(name, &file, format, &picture, (3, 3 * 16_384));
            }
        }
    }

    #[test]
    fn ape_tagged_with_two_large_pictures_costs_no_more() {
        let (front, back) = (png(LARGE_ART_BYTES), ape_cover(&jpeg(LARGE_ART_BYTES)));
        let cover = ape_cover(&front);
        let mut items = ape_items(&[]);
        items.extend([(2, COVER, &cover[..]), (2, "Cover Art (Back)", &back), (0, "Comment", b"not reached")]);
        for (name, format, stream) in streams(100_000) {
            let file = [stream, ape(&items)].concat();
            assert_large_art(name, &file, format, &front, (3, 3 * 16_384));
        }
    }

    #[test]
    fn ape_tag_is_preferred_to_id3_on_either_side() {
        let id3v2 = id3(4, 0, &[frame(4, b"TIT2", b"\x03Front"), frame(4, b"TALB", b"\x03Record")].concat());
        for (name, format, stream) in streams(50_000) {
            let tag = ape(&[(0, "Title", b"Song"), (0, "Year", b"2004"), (0, "Track", b"3")]);
            let file = [id3v2.clone(), stream, tag, id3v1("Old", 9, 17)].concat();
            let outcome = scan_bytes(name.as_bytes(), &file);
            assert_usual(&outcome, format);
            assert_eq!(outcome.tags().genre, ["Rock"], "what only ID3v1 has");
            assert_eq!(outcome.cost(), (2, 32_768));
        }
    }

    #[test]
    fn id3v1_tag_serves_where_there_is_no_other() {
        for (name, format, stream) in streams(50_000) {
            let outcome = scan_bytes(name.as_bytes(), &[stream, id3v1("Song", 3, 17)].concat());
            let tags = outcome.tags();
            assert_eq!(
                (tags.format, &tags.title, &tags.artist),
                (Some(format), &strings(&["Song"]), &strings(&["Band"]))
            );
            assert_eq!(tags.year.as_deref(), Some("1999"));
        }
    }

    #[test]
    fn id3v2_tag_with_large_art_in_front_is_stepped_over_by_name_and_read_if_needed() {
        let picture = jpeg(LARGE_ART_BYTES);
        let front = id3(4, 0, &[id3_frames(), frame(4, b"APIC", &apic(&picture))].concat());
        let cover = ape_cover(&png(LARGE_ART_BYTES));
        for (name, format, stream) in streams(500_000) {
            let file = [front.clone(), stream.clone()].concat();
            assert_large_art(name, &file, format, &picture, (2, 32_768));
            let file = [file, ape(&ape_items(&[(2, COVER, &cover)]))].concat();
            assert_large_art(name, &file, format, &cover[10..], (3, 3 * 16_384));
            // without a name that helps, the stream's beginning is looked at
            let outcome = scan_bytes(b"noext", &file);
            assert_usual(&outcome, format);
            assert_eq!(outcome.cost(), (4, 4 * 16_384));
        }
    }

    #[test]
    fn text_of_version_1_has_no_declared_encoding() {
        let mut tag = ape(&[(0, "Title", b"J\xf3ga"), (0, "Artist", "Björk".as_bytes())]);
        let version_at = tag.len() - 24;
        tag[version_at..version_at + 4].copy_from_slice(&1000_u32.to_le_bytes());
        let outcome = scan_bytes(b"a.mpc", &[musepack_7(100), tag].concat());
        assert_eq!((&outcome.tags().title, &outcome.tags().artist), (&strings(&["Jóga"]), &strings(&["Björk"])));
    }

    #[test]
    fn ape_tag_that_claims_4_gib_is_survived() {
        let words = [(20, "size of the tag"), (16, "number of items")];
        for (from_end, what) in words {
            for claim in [u32::MAX, u32::MAX - 31, 1 << 31] {
                let mut file = [wavpack(40_000), ape(&ape_items(&[]))].concat();
                let at = file.len() - from_end;
                file[at..at + 4].copy_from_slice(&claim.to_le_bytes());
                let outcome = scan_bytes(b"a.wv", &file);
                assert_eq!(outcome.tags().format, Some(Format::WavPack), "{what}");
                assert!(outcome.num_bytes <= 32_768, "{what}");
            }
        }
    }

    #[test]
    fn ape_item_that_claims_more_than_its_tag_ends_it() {
        for claim in [u32::MAX, 1 << 31, 500] {
            let mut tag = ape(&ape_items(&[(2, COVER, b"a\0\xff\xd8\xff\xe0")]));
            let cover_at = 2 * 9 + b"TitleSongArtistBand".len();
            tag[cover_at..cover_at + 4].copy_from_slice(&claim.to_le_bytes());
            let outcome = scan_bytes(b"a.ape", &[monkeys_audio(40_000), tag].concat());
            assert_eq!((&outcome.tags().title, &outcome.tags().album), (&strings(&["Song"]), &Vec::new()));
            assert_eq!(outcome.tags().art, None);
        }
    }

    #[test]
    fn items_that_each_jump_far_end_the_scan_within_its_limits() {
        let junk = vec![0; 100_000];
        let file = [musepack_8(10), ape(&[(2, "junk", &junk[..]); 30]), id3v1("Song", 3, 17)].concat();
        let outcome = scan_bytes(b"a.mpc", &file);
        assert_eq!(outcome.num_requests, MAX_REQUESTS);
        assert_eq!(outcome.tags().title, ["Song"]);
    }

    #[test]
    fn picture_without_a_name_in_front_is_none() {
        let picture = jpeg(400).into_iter().map(|byte| byte.max(1)).collect::<Vec<u8>>();
        let file = [wavpack(10), ape(&ape_items(&[(2, COVER, &picture)]))].concat();
        let outcome = scan_bytes(b"a.wv", &file);
        assert_usual(&outcome, Format::WavPack);
        assert_eq!(located_art(&file, outcome.tags()), None);
    }
}
