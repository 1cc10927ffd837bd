//! The scan against whole files of every format: what it finds, what it costs, and what it survives.
//!
//! Costs are exact goldens (requests, bytes), with 1.4 MB of art in the worst place. The robustness tests cut a small
//! file of each format at every byte, change every byte of it, and feed arbitrary bytes behind each format's marker; the
//! driver in `fixtures` asserts the limits on the way.

use proptest::prelude::*;

use super::fixtures::*;
use super::*;

pub(super) fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

/// The picture that a scan located, made of the file's bytes.
pub(super) fn located_art(file: &[u8], tags: &TrackTags) -> Option<Vec<u8>> {
    let art = tags.art.as_ref()?;
    let stored = &file[art.offset as usize..(art.offset + art.stored_len) as usize];
    art::decode(art, stored)
}

#[track_caller]
pub(super) fn assert_usual(outcome: &Outcome, format: Format) {
    let tags = outcome.tags();
    assert_eq!(tags.format, Some(format));
    assert_eq!(tags.title, ["Song"]);
    assert_eq!(tags.artist, ["Band"]);
    assert_eq!(tags.album, ["Record"]);
    assert_eq!(tags.track.as_deref(), Some("3"));
    assert_eq!(tags.year.as_deref(), Some("2004"));
}

/// A file with large art: tags, picture and cost are as promised.
#[track_caller]
pub(super) fn assert_large_art(name: &str, file: &[u8], format: Format, picture: &[u8], cost: (u32, u64)) {
    let outcome = scan_bytes(name.as_bytes(), file);
    assert_usual(&outcome, format);
    assert!(located_art(file, outcome.tags()).as_deref() == Some(picture), "{:?}", outcome.tags().art);
    assert_eq!(outcome.cost(), cost);
    let far = scan_with_head(name.as_bytes(), file, file.len() as u64, 64 << 10);
    assert_usual(&far, format);
    assert_eq!(far.tags().art, outcome.tags().art);
    assert!(far.num_requests <= 3, "{} requests from S3", far.num_requests);
}

#[test]
fn flac_with_large_art_costs_its_head() {
    let picture = jpeg(LARGE_ART_BYTES);
    let file = flac(&COMMENTS, &[(3, &picture)], 8192);
    assert_large_art("a.flac", &file, Format::Flac, &picture, (1, 16_384));
}

#[test]
fn flac_with_comments_behind_large_art_costs_one_hop() {
    let picture = jpeg(LARGE_ART_BYTES);
    let file = [
        b"fLaC".to_vec(),
        flac_block(0, &[0; 34]),
        flac_block(6, &picture_block(3, "image/jpeg", &picture)),
        flac_block(4, &vorbis_comments(&COMMENTS)),
        flac_block(0x81, &vec![0; 100_000]),
    ]
    .concat();
    assert_large_art("a.flac", &file, Format::Flac, &picture, (2, 32_768));
}

#[test]
fn flac_front_cover_is_found_behind_another_picture() {
    let (back, front) = (jpeg(LARGE_ART_BYTES), png(5000));
    let file = flac(&COMMENTS, &[(4, &back), (3, &front)], 0);
    assert_large_art("a.flac", &file, Format::Flac, &front, (2, 16_384 + 512));
}

#[test]
fn flac_behind_an_id3_tag_is_flac() {
    let picture = jpeg(LARGE_ART_BYTES);
    let id3 = id3(4, 0, &[frame(4, b"TIT2", b"\x03Other"), frame(4, b"APIC", &apic(&picture))].concat());
    let file = [id3, flac(&COMMENTS, &[], 100_000)].concat();
    let outcome = scan_bytes(b"a.flac", &file);
    assert_usual(&outcome, Format::Flac);
    assert_eq!(outcome.cost(), (2, 32_768));
}

#[test]
fn flac_without_comments_takes_the_id3_tag_in_front() {
    let body = [b"fLaC".to_vec(), flac_block(0x80, &[0; 34]), vec![0; 100]].concat();
    let outcome = scan_bytes(b"a.mp3", &[id3(4, 0, &id3_frames()), body].concat());
    assert_usual(&outcome, Format::Flac);
}

#[test]
fn mp3_with_large_art_costs_its_head() {
    let picture = jpeg(LARGE_ART_BYTES);
    let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture))].concat();
    let file = [id3(4, 0, &frames), mpeg_audio(100)].concat();
    assert_large_art("a.mp3", &file, Format::Mp3, &picture, (1, 16_384));
}

#[test]
fn mp3_with_text_behind_large_art_costs_one_hop() {
    let picture = jpeg(LARGE_ART_BYTES);
    let frames = [frame(4, b"APIC", &apic(&picture)), id3_frames(), vec![0; 2000]].concat();
    let file = [id3(4, 0, &frames), mpeg_audio(100)].concat();
    let behind = id3_frames().len() as u64 + 2000 + 10;
    assert_large_art("a.mp3", &file, Format::Mp3, &picture, (2, 16_384 + behind));
}

#[test]
fn mp3_with_an_unsynchronised_tag_finds_art_and_what_is_behind_it() {
    let picture = jpeg(LARGE_ART_BYTES);
    let text = |id: &[u8], text: &str| frame(3, id, format!("\x00{text}").as_bytes());
    let frames = [
        text(b"TIT2", "Song"),
        text(b"TPE1", "Band"),
        frame(3, b"APIC", &apic(&picture)),
        frame(3, b"TALB", b"\x01\xff\xfeR\0e\0c\0o\0r\0d\0"),
        text(b"TRCK", "3"),
        text(b"TYER", "2004"),
    ]
    .concat();
    let file = [id3(3, 0x80, &unsynchronise(&frames)), mpeg_audio(400)].concat();
    let outcome = scan_bytes(b"a.mp3", &file);
    assert_usual(&outcome, Format::Mp3);
    assert!(located_art(&file, outcome.tags()).as_deref() == Some(&picture[..]));
    assert!(outcome.num_requests <= 3 && outcome.num_bytes <= 128 << 10, "{:?}", outcome.cost());
}

#[test]
fn mp3_with_an_unsynchronised_picture_frame_of_known_length_finds_it() {
    let picture = jpeg(50_000);
    // the description's byte order mark is unsynchronised too
    let content = [b"\x01image/jpeg\0\x03\xff\xfea\0\0\0".as_slice(), &picture].concat();
    let len = content.len();
    let body =
        [&[0, (len >> 14) as u8, (len >> 7) as u8 & 0x7f, len as u8 & 0x7f], &unsynchronise(&content)[..]].concat();
    let mut apic = frame(4, b"APIC", &body);
    apic[9] = 0x03; // unsynchronised, with its length in front
    let file = [id3(4, 0, &[id3_frames(), apic].concat()), mpeg_audio(9)].concat();
    let outcome = scan_bytes(b"a.mp3", &file);
    assert_usual(&outcome, Format::Mp3);
    assert!(located_art(&file, outcome.tags()) == Some(picture));
}

#[test]
fn mp3_tags_of_every_version_are_read() {
    let v2 = [("TT2", "Song"), ("TP1", "Band"), ("TAL", "Record"), ("TRK", "3/9"), ("TYE", "2004")];
    let v3 = [("TIT2", "Song"), ("TPE1", "Band"), ("TALB", "Record"), ("TRCK", "3/9"), ("TYER", "2004")];
    for (version, texts) in [(2, v2), (3, v3), (4, v3)] {
        let frames: Vec<u8> = texts
            .iter()
            .flat_map(|(id, text)| frame(version, id.as_bytes(), format!("\x00{text}").as_bytes()))
            .collect();
        let picture = jpeg(300);
        let picture_frame = match version {
            2 => frame(2, b"PIC", &[b"\x00JPG\x03\0".as_slice(), &picture].concat()),
            _ => frame(version, b"APIC", &apic(&picture)),
        };
        let file = [id3(version, 0, &[frames, picture_frame].concat()), mpeg_audio(3)].concat();
        let outcome = scan_bytes(b"a.mp3", &file);
        assert_usual(&outcome, Format::Mp3);
        assert!(outcome.tags().raw.iter().any(|(key, _)| key == texts[0].0), "raw keys are those of the file");
        assert_eq!(located_art(&file, outcome.tags()), Some(picture));
    }
}

#[test]
fn mp3_frames_longer_than_a_byte_can_say_are_read_as_itunes_wrote_them() {
    let long = format!("\x03{}", "x".repeat(200));
    let mut itunes = frame(3, b"TIT3", long.as_bytes());
    itunes.extend(id3_frames());
    let outcome = scan_bytes(b"a.mp3", &[id3(4, 0, &itunes), mpeg_audio(3)].concat());
    assert_usual(&outcome, Format::Mp3);
}

#[test]
fn mp3_compressed_encrypted_and_oversized_frames_are_passed_over() {
    let mut compressed = frame(4, b"TPE2", &[0; 40]);
    compressed[9] = 0x09;
    let mut encrypted = frame(4, b"TPE3", &[1; 40]);
    encrypted[9] = 0x04;
    let oversized = [b"TPE4".as_slice(), &[0x7f; 4], &[0, 0], &[3; 10]].concat();
    let frames = [compressed, encrypted, id3_frames(), oversized].concat();
    let outcome = scan_bytes(b"a.mp3", &[id3(4, 0, &frames), mpeg_audio(50)].concat());
    assert_usual(&outcome, Format::Mp3);
    assert_eq!(outcome.tags().raw.len(), 5);
}

#[test]
fn mp3_extended_header_is_passed_over() {
    let v4 = [b"\0\0\0\x06\x01\0".as_slice(), &id3_frames()].concat();
    assert_usual(&scan_bytes(b"a.mp3", &[id3(4, 0x40, &v4), mpeg_audio(3)].concat()), Format::Mp3);
    let v3 = [b"\0\0\0\x06\0\0\0\0\0\0".as_slice(), &frame(3, b"TIT2", b"\x00Song")].concat();
    let outcome = scan_bytes(b"a.mp3", &[id3(3, 0x40, &v3), mpeg_audio(3)].concat());
    assert_eq!(outcome.tags().title, ["Song"]);
}

#[test]
fn mp3_stacked_tags_are_read_together() {
    let first = id3(4, 0, &frame(4, b"TIT2", b"\x03Song"));
    let second = id3(3, 0, &[frame(3, b"TIT2", b"\x00Old"), frame(3, b"TPE1", b"\x00Band")].concat());
    let outcome = scan_bytes(b"a.mp3", &[first, second, mpeg_audio(3)].concat());
    assert_eq!(outcome.tags().title, ["Song"]);
    assert_eq!(outcome.tags().artist, ["Band"]);
}

#[test]
fn mp3_several_values_are_kept_apart() {
    let frames = [frame(4, b"TPE1", b"\x03a\0b\0"), frame(4, b"TCON", b"\x0317\0Jazz")].concat();
    let outcome = scan_bytes(b"a.mp3", &[id3(4, 0, &frames), mpeg_audio(3)].concat());
    assert_eq!(outcome.tags().artist, ["a", "b"]);
    assert_eq!(outcome.tags().genre, ["Rock", "Jazz"]);
}

#[test]
fn mp3_tags_at_the_end_are_read_when_the_front_has_none() {
    let file = [mpeg_audio(100), id3v1("Song", 3, 17)].concat();
    let outcome = scan_bytes(b"a.mp3", &file);
    assert_eq!(outcome.tags().title, ["Song"]);
    assert_eq!(outcome.tags().artist, ["Band"]);
    assert_eq!(outcome.tags().genre, ["Rock"]);
    assert_eq!((outcome.tags().track.as_deref(), outcome.tags().year.as_deref()), (Some("3"), Some("1999")));
    assert_eq!(outcome.cost(), (2, 16_384 + 4096));
}

#[test]
fn mp3_ape_tag_is_preferred_to_id3v1_and_yields_to_id3v2() {
    let picture = jpeg(60_000);
    let cover = [b"cover.jpg\0".as_slice(), &picture].concat();
    let items: [(u32, &str, &[u8]); 5] = [
        (0, "Title", b"Ape"),
        (0, "Artist", b"x\0y"),
        (2, "Cover Art (Front)", &cover),
        (0, "Album", b"Record"),
        (0, "Year", b"2004"),
    ];
    let front = id3(4, 0, &frame(4, b"TIT2", b"\x03Song"));
    let file = [front, mpeg_audio(100), ape(&items), id3v1("Old", 3, 255)].concat();
    let outcome = scan_bytes(b"a.mp3", &file);
    let tags = outcome.tags();
    assert_eq!((tags.title.as_slice(), tags.album.as_slice()), (&strings(&["Song"])[..], &strings(&["Record"])[..]));
    assert_eq!(tags.artist, ["x", "y"]);
    assert_eq!(tags.year.as_deref(), Some("2004"));
    assert_eq!(located_art(&file, tags), Some(picture));
    assert!(outcome.num_requests <= 4);
}

#[test]
fn mp3_ape_fields_behind_a_picture_are_preferred_to_id3v1() {
    let (cover, lyrics) = (ape_cover(&jpeg(60_000)), vec![b'x'; 6000]);
    let mut items = ape_items(&[(0, "Lyrics", &lyrics)]);
    items.insert(0, (2, "Cover Art (Front)", &cover));
    let mut id3v1 = id3v1("Cut", 9, 255);
    id3v1[63..66].copy_from_slice(b"Cut");
    let outcome = scan_bytes(b"a.mp3", &[mpeg_audio(100), ape(&items), id3v1].concat());
    assert_usual(&outcome, Format::Mp3);
    assert_eq!(outcome.num_requests, 4);
}

#[test]
fn mp3_tag_at_the_end_with_a_footer_is_read() {
    let mut tag = id3(4, 0x10, &id3_frames());
    let footer = [b"3DI".as_slice(), &tag[3..10]].concat();
    tag.extend(footer);
    assert_usual(&scan_bytes(b"a.mp3", &[mpeg_audio(100), tag].concat()), Format::Mp3);
}

#[test]
fn ogg_with_large_art_in_the_middle_finds_what_is_behind_it() {
    let picture = jpeg(LARGE_ART_BYTES);
    let text = picture_comment(&picture);
    let mut comments = COMMENTS.to_vec();
    comments.insert(2, ("METADATA_BLOCK_PICTURE", &text));
    // the longest page, and the pages of 4 KiB that mutagen writes
    for page_payload in [65_025, 4080] {
        let cost = (3, 16_384 + 282 + 16_384);
        let behind = ogg_pages(&vec![5; 60_000], 7, 2000, 510);
        let file = [vorbis(&comments, page_payload), behind.clone()].concat();
        assert_large_art("a.ogg", &file, Format::OggVorbis, &picture, cost);
        let file = [opus(&comments, page_payload), behind.clone()].concat();
        assert_large_art("a.opus", &file, Format::Opus, &picture, cost);
        let file = [ogg_flac(&comments, page_payload), behind].concat();
        assert_large_art("a.oga", &file, Format::OggFlac, &picture, cost);
    }
}

#[test]
fn ogg_with_large_art_at_the_end_costs_one_page_header() {
    let picture = jpeg(LARGE_ART_BYTES);
    let text = picture_comment(&picture);
    let mut comments = COMMENTS.to_vec();
    comments.push(("METADATA_BLOCK_PICTURE", &text));
    assert_large_art("a.opus", &opus(&comments, 65_025), Format::Opus, &picture, (2, 16_384 + 282));
}

#[test]
fn ogg_with_one_page_of_another_length_is_predicted_from_the_next() {
    let picture = jpeg(LARGE_ART_BYTES);
    let text = picture_comment(&picture);
    let mut comments = COMMENTS.to_vec();
    comments.insert(0, ("METADATA_BLOCK_PICTURE", &text));
    let packet = [b"OpusTags".as_slice(), &vorbis_comments(&comments)].concat();
    let head = b"OpusHead\x01\x02\0\0\0\0\0\0\0\0\0";
    let mut pages = ogg_pages(&packet[2550..], 7, 2, 65_025);
    pages[5] = 1;
    let file = [
        ogg_page(2, 7, 0, &[head.len() as u8], head),
        ogg_page(0, 7, 1, &[255; 10], &packet[..2550]),
        pages,
        ogg_pages(&[5; 3000], 7, 999, 510),
    ]
    .concat();
    let outcome = scan_bytes(b"a.opus", &file);
    assert_usual(&outcome, Format::Opus);
    assert_eq!(located_art(&file, outcome.tags()), Some(picture));
    assert!(outcome.num_requests <= 6, "{:?}", outcome.cost());
}

#[test]
fn ogg_with_pages_of_all_lengths_gives_what_is_known_within_the_limits() {
    let text = picture_comment(&jpeg(LARGE_ART_BYTES));
    let comments = [("TITLE", "Song"), ("METADATA_BLOCK_PICTURE", text.as_str()), ("ARTIST", "never reached")];
    let packet = [b"OpusTags".as_slice(), &vorbis_comments(&comments)].concat();
    let head = b"OpusHead\x01\x02\0\0\0\0\0\0\0\0\0";
    let mut file = ogg_page(2, 7, 0, &[head.len() as u8], head);
    let (mut at, mut sequence) = (0, 1);
    while at < packet.len() {
        let num_segments = 1 + (sequence as usize * 37) % 254;
        let body = &packet[at..packet.len().min(at + num_segments * 255)];
        let mut segments = vec![255; body.len() / 255];
        if body.len() % 255 > 0 || segments.is_empty() {
            segments.push((body.len() % 255) as u8);
        }
        file.extend(ogg_page(u8::from(at > 0), 7, sequence, &segments, body));
        at += body.len();
        sequence += 1;
    }
    let outcome = scan_bytes(b"a.opus", &file);
    assert_eq!(outcome.tags().title, ["Song"]);
    assert!(outcome.tags().artist.is_empty());
}

#[test]
fn ogg_with_a_video_stream_in_front_takes_the_audio() {
    let audio = opus(&COMMENTS, 510);
    let first_len = 27 + 1 + b"OpusHead".len() + 11;
    let video = ogg_page(2, 5, 0, &[7], b"\x80theora");
    let file = [&video, &audio[..first_len], &ogg_page(0, 5, 1, &[3], b"abc"), &audio[first_len..]].concat();
    assert_usual(&scan_bytes(b"a.ogg", &file), Format::Opus);
}

#[test]
fn ogg_of_chained_streams_takes_the_first() {
    let other = vorbis(&[("TITLE", "Second")], 510);
    assert_usual(&scan_bytes(b"a.ogg", &[vorbis(&COMMENTS, 510), other].concat()), Format::OggVorbis);
}

#[test]
fn ogg_without_audio_is_malformed() {
    let file = ogg_page(2, 5, 0, &[7], b"\x80theora");
    let outcome = scan_bytes(b"a.ogg", &[file, ogg_page(0, 5, 1, &[1], b"x")].concat());
    assert_eq!(outcome.result, TagScanResult::Malformed(MalformedReason::UnknownContent));
}

#[test]
fn m4a_with_tags_in_front_and_large_art_costs_one_hop() {
    let picture = jpeg(LARGE_ART_BYTES);
    let moov = moov(&mp4_items(Some(&picture)), 3000);
    let file = [ftyp(), moov, mp4_box(b"mdat", &vec![0; 500_000])].concat();
    assert_large_art("a.m4a", &file, Format::Mp4, &picture, (2, 16_384 + 32));
}

#[test]
fn m4a_with_long_sample_tables_and_large_art_costs_two_hops() {
    let picture = png(LARGE_ART_BYTES);
    let moov = moov(&mp4_items(Some(&picture)), 900_000);
    let file = [ftyp(), moov, mp4_box(b"mdat", &vec![0; 500_000])].concat();
    assert_large_art("a.m4b", &file, Format::Mp4, &picture, (3, 16_384 + 16_384 + 32));
}

#[test]
fn m4a_with_tags_at_the_end_and_large_art_stays_within_its_limit() {
    let picture = jpeg(LARGE_ART_BYTES);
    let moov = moov(&mp4_items(Some(&picture)), 150_000);
    let file = [ftyp(), mp4_box(b"mdat", &vec![0; 500_000]), moov].concat();
    assert_large_art("a.m4a", &file, Format::Mp4, &picture, (3, 16_384 + (256 << 10) + 32));
}

#[test]
fn m4a_with_tags_at_the_end_and_no_art_costs_the_end() {
    let moov = moov(&mp4_items(None), 30_000);
    let file = [ftyp(), mp4_box(b"mdat", &vec![0; 500_000]), moov.clone()].concat();
    let outcome = scan_bytes(b"a.m4a", &file);
    assert_usual(&outcome, Format::Mp4);
    assert_eq!(outcome.cost(), (2, 16_384 + moov.len() as u64));
}

#[test]
fn m4a_with_a_64_bit_size_is_walked() {
    let body = vec![0; 40_000];
    let mdat = [&1_u32.to_be_bytes(), b"mdat".as_slice(), &(body.len() as u64 + 16).to_be_bytes(), &body].concat();
    assert_usual(&scan_bytes(b"a.m4a", &[ftyp(), mdat, moov(&mp4_items(None), 10)].concat()), Format::Mp4);
}

#[test]
fn m4a_box_of_size_0_reaches_to_the_end() {
    let mut moov = moov(&mp4_items(None), 10);
    moov[..4].copy_from_slice(&[0; 4]);
    assert_usual(&scan_bytes(b"a.m4a", &[ftyp(), moov].concat()), Format::Mp4);
}

#[test]
fn m4a_box_that_claims_an_absurd_size_is_survived() {
    for len in [u64::MAX, u64::MAX - 7, 1 << 63, 3, 0] {
        let mdat = [&1_u32.to_be_bytes(), b"mdat".as_slice(), &len.to_be_bytes(), &[0; 400]].concat();
        let outcome = scan_bytes(b"a.m4a", &[ftyp(), mdat].concat());
        assert!(matches!(outcome.result, TagScanResult::Malformed(_)));
    }
}

#[test]
fn m4a_freeform_multiple_and_numeric_items_are_read() {
    let items = [
        mp4_box(b"\xa9ART", &[mp4_data(1, b"a"), mp4_data(1, b"b")].concat()),
        mp4_freeform("CatalogNumber", "X 1"),
        mp4_item(b"gnre", 0, &[0, 18]),
        mp4_item(b"cpil", 21, &[1]),
        mp4_item(b"disk", 0, &[0, 0, 0, 1, 0, 2]),
    ]
    .concat();
    let outcome = scan_bytes(b"a.m4a", &[ftyp(), moov(&items, 10)].concat());
    let tags = outcome.tags();
    assert_eq!(tags.artist, ["a", "b"]);
    assert_eq!(tags.genre, ["Rock"]);
    assert_eq!(tags.albumartist, ["Various Artists"]);
    assert_eq!((tags.disc.as_deref(), tags.disctotal.as_deref()), (Some("1"), Some("2")));
    assert!(tags.raw.contains(&("CATALOGNUMBER".to_owned(), "X 1".to_owned())));
}

#[test]
fn wav_with_tags_behind_the_audio_costs_one_hop() {
    let info = list_info(&[(b"INAM", b"Cut"), (b"IART", b"Band"), (b"ICRD", b"2004"), (b"IPRD", b"Record")]);
    let file = wav(500_001, &[info.clone(), chunk(b"id3 ", &id3(4, 0, &id3_frames()))].concat());
    let outcome = scan_bytes(b"a.wav", &file);
    assert_usual(&outcome, Format::Wav);
    assert_eq!(outcome.tags().tracktotal.as_deref(), Some("12"));
    let id3_len = id3(4, 0, &id3_frames()).len() as u64;
    assert_eq!(outcome.cost(), (2, 16_384 + info.len() as u64 + 8 + id3_len + id3_len % 2));
}

#[test]
fn wav_with_large_art_costs_two_hops() {
    let picture = jpeg(LARGE_ART_BYTES);
    let frames = [frame(4, b"APIC", &apic(&picture)), id3_frames()].concat();
    let file = wav(500_000, &chunk(b"id3 ", &id3(4, 0, &frames)));
    let behind = id3_frames().len() as u64;
    assert_large_art("a.wav", &file, Format::Wav, &picture, (3, 16_384 + 16_384 + behind));
}

#[test]
fn wav_fields_come_from_either_tag() {
    let info = list_info(&[(b"INAM", b"Poor"), (b"IGNR", b"Rock"), (b"IPRT", b"3/12"), (b"ICMT", b"Bj\xf6rk")]);
    let outcome =
        scan_bytes(b"a.wav", &wav(100, &[info, chunk(b"ID3 ", &id3(4, 0, &frame(4, b"TIT2", b"\x03Song")))].concat()));
    let tags = outcome.tags();
    assert_eq!((tags.title.as_slice(), tags.genre.as_slice()), (&strings(&["Song"])[..], &strings(&["Rock"])[..]));
    assert_eq!((tags.track.as_deref(), tags.tracktotal.as_deref()), (Some("3"), Some("12")));
    assert_eq!(tags.comment, ["Björk"]);
}

#[test]
fn wav_of_64_bits_finds_what_is_behind_the_audio() {
    let data = vec![1; 40_000];
    let ds64 = [0_u64.to_le_bytes(), (data.len() as u64).to_le_bytes(), [0; 8]].concat();
    let mut chunks = [chunk(b"ds64", &ds64), chunk(b"data", &data)].concat();
    let at = 8 + ds64.len() + 4;
    chunks[at..at + 4].copy_from_slice(&[0xff; 4]);
    let tail = chunk(b"id3 ", &id3(4, 0, &id3_frames()));
    for marker in [b"RF64", b"BW64"] {
        let file = [marker.as_slice(), &[0xff; 4], b"WAVE", &chunks, &tail].concat();
        assert_usual(&scan_bytes(b"a.wav", &file), Format::Wav);
    }
}

#[test]
fn wav_of_unknown_length_is_audio_to_its_end() {
    let mut file = wav(40_000, b"");
    file[4..8].copy_from_slice(&[0xff; 4]);
    file[12 + 24 + 4..12 + 24 + 8].copy_from_slice(&[0xff; 4]);
    let outcome = scan_bytes(b"a.wav", &file);
    assert_eq!(outcome.tags(), &TrackTags { format: Some(Format::Wav), ..TrackTags::default() });
    assert_eq!(outcome.cost(), (1, 16_384));
}

#[test]
fn content_decides_against_the_extension() {
    for (name, file, format) in [
        ("a.mp3", flac(&COMMENTS, &[], 0), Format::Flac),
        ("a.flac", vorbis(&COMMENTS, 510), Format::OggVorbis),
        ("a.wav", [ftyp(), moov(&mp4_items(None), 0)].concat(), Format::Mp4),
        ("a.ogg", [id3(4, 0, &id3_frames()), mpeg_audio(3)].concat(), Format::Mp3),
        ("a.mp3", [wavpack(10), ape(&ape_items(&[]))].concat(), Format::WavPack),
        ("a.wav", aiff(b"AIFF", b"", 10, &aiff_chunk(b"ID3 ", &id3(4, 0, &id3_frames()))), Format::Aiff),
        ("noext", wav(10, &chunk(b"id3 ", &id3(4, 0, &id3_frames()))), Format::Wav),
    ] {
        assert_usual(&scan_bytes(name.as_bytes(), &file), format);
    }
}

#[test]
fn mp3_behind_junk_needs_its_extension() {
    let file = [vec![0; 1000], mpeg_audio(30), id3v1("Song", 3, 17)].concat();
    assert_eq!(scan_bytes(b"a.mp3", &file).tags().title, ["Song"]);
    let unknown = TagScanResult::Malformed(MalformedReason::UnknownContent);
    assert_eq!(scan_bytes(b"a.flac", &file).result, unknown);
}

#[test]
fn content_of_no_known_format_is_malformed() {
    for file in [
        &b"x"[..],
        b"<!DOCTYPE html><html></html>",
        &[0; 5000],
        &[0xff; 5000],
        b"RIFF\0\0\0\0AVI LIST",
        b"ID",
        b"FORM\0\0\0\x08ILBMBMHD",
        b"MP+\x04",
        b"wvp",
        b"MPCX",
    ] {
        for name in ["a.mp3", "a.flac", "a.m4a"] {
            let outcome = scan_bytes(name.as_bytes(), file);
            assert_eq!(outcome.result, TagScanResult::Malformed(MalformedReason::UnknownContent));
        }
    }
}

#[test]
fn picture_of_16_mib_costs_no_more() {
    let picture = jpeg(16 << 20);
    let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture))].concat();
    let file = [id3(4, 0, &frames), mpeg_audio(3)].concat();
    assert_large_art("a.mp3", &file, Format::Mp3, &picture, (1, 16_384));
}

#[test]
fn tag_that_claims_more_than_the_file_gives_what_is_there() {
    let mut file = [id3(4, 0, &id3_frames()), mpeg_audio(50)].concat();
    file[6..10].copy_from_slice(&[0x7f; 4]);
    assert_eq!(scan_bytes(b"a.mp3", &file).tags().title, ["Song"]);
    let mut file = flac(&COMMENTS, &[], 10);
    file[42 + 1..42 + 4].copy_from_slice(&[0xff; 3]);
    assert_eq!(scan_bytes(b"a.flac", &file).tags().title, ["Song"]);
}

#[test]
fn endless_blocks_end_the_scan_within_its_limits() {
    // every block jumps 100 KB, so that every header costs a request
    let block = flac_block(2, &vec![0; 100_000]);
    let file = [b"fLaC".to_vec(), block.repeat(30)].concat();
    let outcome = scan_bytes(b"a.flac", &file);
    assert_eq!(outcome.result, TagScanResult::Malformed(MalformedReason::TooCostly));
    assert_eq!(outcome.num_requests, MAX_REQUESTS);
}

/// A small file of each format, every kind of structure in it.
pub(super) fn small_files() -> Vec<(&'static str, Vec<u8>)> {
    let picture = jpeg(200);
    let text = picture_comment(&picture);
    let mut comments = COMMENTS.to_vec();
    comments.insert(1, ("METADATA_BLOCK_PICTURE", &text));
    let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture)), frame(4, b"TXXX", b"\x03k\0v")].concat();
    let unsynchronised = [frame(3, b"TIT2", b"\x01\xff\xfeS\0"), frame(3, b"APIC", &apic(&picture))].concat();
    let items: [(u32, &str, &[u8]); 2] = [(0, "Title", b"Song"), (2, "Cover Art (Front)", b"a\0\xff\xd8\xff\xe0")];
    let tail = [ape(&items), id3v1("Song", 3, 17)].concat();
    let mp4_items = [mp4_items(Some(&picture)), mp4_freeform("k", "v")].concat();
    let info = list_info(&[(b"INAM", b"Song")]);
    let cover = ape_cover(&picture);
    let ape_tail = [ape(&ape_items(&[(2, "Cover Art (Front)", &cover)])), id3v1("Song", 3, 17)].concat();
    let aiff_texts = [aiff_chunk(b"NAME", b"Song"), aiff_chunk(b"ANNO", b"odd")].concat();
    vec![
        ("a.flac", flac(&COMMENTS, &[(3, &picture)], 20)),
        ("a.flac", [id3(4, 0, &id3_frames()), flac(&COMMENTS, &[], 0)].concat()),
        ("a.mp3", [id3(4, 0, &frames), mpeg_audio(2)].concat()),
        ("a.mp3", [id3(3, 0x80, &unsynchronise(&unsynchronised)), mpeg_audio(1)].concat()),
        ("a.mp3", [mpeg_audio(2), tail].concat()),
        ("a.ogg", vorbis(&comments, 255)),
        ("a.opus", opus(&comments, 510)),
        ("a.oga", ogg_flac(&comments, 255)),
        ("a.oga", ogg_flac_blocks(&COMMENTS, &[(4, b"\xff\xd8\xff\xe0"), (3, &picture)], 255)),
        ("a.m4a", [ftyp(), mp4_box(b"mdat", &[0; 30]), moov(&mp4_items, 20)].concat()),
        ("a.wav", wav(20, &[info, chunk(b"id3 ", &id3(4, 0, &frames))].concat())),
        ("a.aiff", aiff(b"AIFF", &aiff_texts, 21, &aiff_chunk(b"ID3 ", &id3(4, 0, &frames)))),
        ("a.wv", [wavpack(20), ape_tail.clone()].concat()),
        ("a.ape", [id3(4, 0, &id3_frames()), monkeys_audio(20), ape(&[(0, "Title", b"Song")])].concat()),
        ("a.mpc", [musepack_7(20), ape_tail.clone()].concat()),
        ("a.mpc", [musepack_8(20), ape_tail].concat()),
    ]
}

/// Whatever a scan of a changed file says, the art that it locates is inside and can be asked for without harm.
pub(super) fn survives(name: &str, file: &[u8], size: u64) {
    let outcome = scan_with_head(name.as_bytes(), file, size, HEAD_BYTES);
    if let TagScanResult::Tags(tags) = outcome.result
        && let Some(art) = tags.art
    {
        assert!(art.offset + art.stored_len <= size);
        let stored = file.get(art.offset as usize..(art.offset + art.stored_len).min(file.len() as u64) as usize);
        let picture = art::decode(&art, stored.unwrap_or_default());
        assert!(picture.is_none_or(|picture| picture.len() as u64 == art.len));
    }
}

#[test]
fn file_cut_at_every_byte_is_survived() {
    for (name, file) in small_files() {
        assert!(matches!(scan_bytes(name.as_bytes(), &file).result, TagScanResult::Tags(_)), "{name} is sound");
        for len in 0..file.len() {
            survives(name, &file[..len], len as u64);
            // listed with its full size, and cut since
            survives(name, &file[..len], file.len() as u64);
        }
    }
}

#[test]
fn file_with_any_byte_changed_is_survived() {
    for (name, mut file) in small_files() {
        for at in 0..file.len() {
            for value in [0, 0x7f, 0xff] {
                let old = std::mem::replace(&mut file[at], value);
                survives(name, &file, file.len() as u64);
                file[at] = old;
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_behind_any_marker_are_survived(
        marker in proptest::sample::select(vec![
            &b"fLaC"[..], b"ID3\x02\0\0", b"ID3\x03\0\x80", b"ID3\x04\0\0", b"OggS\0\x02", b"RIFF\0\0\0\0WAVE",
            b"RF64\xff\xff\xff\xffWAVE", b"\0\0\0\x10ftypM4A \0\0\0\0", b"\xff\xfb\x90\x64", b"",
            b"FORM\xff\xff\xff\xffAIFF", b"FORM\0\0\0\0AIFC", b"wvpk", b"MAC ", b"MP+\x07", b"MPCK",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        name in proptest::sample::select(vec!["a.flac", "a.mp3", "a.m4a", "a.ape", "a"]),
        excess in 0_u64..1 << 40,
    ) {
        let file = [marker, &bytes].concat();
        survives(name, &file, file.len() as u64);
        survives(name, &file, file.len() as u64 + excess);
    }

    /// Pieces of sound files behind each other reach deeper than noise does.
    #[test]
    fn spliced_files_are_survived(
        (from, to) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        (cut, resume) in (0.0_f64..1.0, 0.0_f64..1.0),
    ) {
        let files = small_files();
        let (name, first) = from.get(&files);
        let (_, second) = to.get(&files);
        let cut = (cut * first.len() as f64) as usize;
        let resume = (resume * second.len() as f64) as usize;
        let file = [&first[..cut], &second[resume..]].concat();
        survives(name, &file, file.len() as u64);
    }
}
