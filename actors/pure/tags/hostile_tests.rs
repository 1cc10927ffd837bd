//! Files that lie: lengths that claim too much, tags in tags, streams in streams, counts without what is counted.
//!
//! Work is asserted, never time: requests, bytes and held bytes by the driver in `fixtures`, reads of a walk here. What is
//! known of a file is at most 1 MiB, so a walk over it ends in any case; these files are built so that it would take as
//! many steps as can be.

use super::fixtures::*;
use super::tests::{assert_large_art, assert_usual, small_files, survives};
use super::*;

/// Reads that a walk may need: the bound that the source holds it to.
const MAX_READS: u32 = 1 << 15;

/// A file of more than a scan reads, made of one piece again and again.
fn repeated(front: &[u8], piece: &[u8]) -> Vec<u8> {
    [front, &piece.repeat((2 << 20) / piece.len())].concat()
}

/// Scans a file of which nothing is expected but that it is over in bounded work.
#[track_caller]
fn assert_bounded(name: &str, file: &[u8]) {
    for (size, head_bytes) in [(0, HEAD_BYTES), (0, 128 << 10), (1 << 45, HEAD_BYTES)] {
        let outcome = scan_with_head(name.as_bytes(), file, file.len() as u64 + size, head_bytes);
        assert!(outcome.num_reads <= MAX_READS, "{name}: {} reads", outcome.num_reads);
    }
}

#[test]
fn file_with_any_four_or_eight_bytes_at_an_extreme_is_survived() {
    for (name, mut file) in small_files() {
        let size = file.len() as u64;
        let words = [0, 1, 0x7f7f_7f7f, 0x7fff_ffff, 0x8000_0000, u64::from(u32::MAX), size, size + 1];
        for at in 0..file.len().saturating_sub(8) {
            let old: [u8; 8] = file[at..at + 8].try_into().expect("8 bytes");
            for word in words {
                for bytes in [(word as u32).to_be_bytes(), (word as u32).to_le_bytes()] {
                    file[at..at + 4].copy_from_slice(&bytes);
                    survives(name, &file, size);
                }
                file[at..at + 8].copy_from_slice(&(u64::MAX - word).to_be_bytes());
                survives(name, &file, size);
                file[at..at + 8].copy_from_slice(&old);
            }
        }
    }
}

#[test]
fn empty_structures_without_end_are_given_up() {
    let empty_comment = 0_u32.to_le_bytes();
    let comments = [&0_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat();
    let in_flac = [b"fLaC\x84\xff\xff\xff".as_slice(), &comments].concat();
    let in_moov = |items: &[u8]| [ftyp(), moov(items, 0)].concat();
    let empty_box = mp4_box(b"\xa9xyz", b"");
    for (name, file) in [
        ("empty comments", repeated(&in_flac, &empty_comment)),
        ("empty blocks", repeated(b"fLaC", &flac_block(1, b""))),
        ("frames of one byte", repeated(b"ID3\x04\0\0\x7f\x7f\x7f\x7f", &frame(4, b"TPE1", b"\x03"))),
        ("empty boxes", repeated(b"", &mp4_box(b"ftyp", b""))),
        ("empty boxes in moov", in_moov(&empty_box.repeat((2 << 20) / 8))),
        ("empty values", in_moov(&mp4_box(b"\xa9xyz", &mp4_box(b"data", b"").repeat((2 << 20) / 8)))),
        ("empty freeform parts", in_moov(&mp4_box(b"----", &mp4_box(b"mean", b"").repeat((2 << 20) / 8)))),
        ("empty user data", [ftyp(), mp4_box(b"moov", &mp4_box(b"udta", b"").repeat((2 << 20) / 8))].concat()),
        ("empty RIFF chunks", wav(0, &chunk(b"junk", b"").repeat((2 << 20) / 8))),
        ("empty lists", wav(0, &chunk(b"LIST", b"INFO").repeat((2 << 20) / 12))),
        (
            "empty texts in a list",
            wav(0, &chunk(b"LIST", &[b"INFO".as_slice(), &b"IART\0\0\0\0".repeat(200_000)].concat())),
        ),
        ("empty id3 chunks", wav(0, &chunk(b"id3 ", &id3(4, 0, b"")).repeat((2 << 20) / 18))),
        ("empty AIFF chunks", aiff(b"AIFF", &aiff_chunk(b"NAME", b"").repeat((2 << 20) / 8), 0, b"")),
        ("empty pages", repeated(b"", &ogg_page(2, 1, 0, &[], b""))),
        ("empty pages of one stream", repeated(&opus(&COMMENTS, 255)[..200], &ogg_page(1, 7, 2, &[], b""))),
    ] {
        assert_bounded(name, &file);
        for name in ["a.flac", "a.mp3", "a.m4a", "a.wav", "a.ogg"] {
            assert_bounded(name, &file);
        }
    }
}

/// Where the main fields are known, chunks behind them must not each ask for them again.
#[test]
fn walk_that_is_cut_short_keeps_what_it_found() {
    let tags = aiff_chunk(b"ID3 ", &id3(4, 0, &id3_frames()));
    let file = aiff(b"AIFF", &[tags, aiff_chunk(b"junk", b"").repeat(200_000)].concat(), 0, b"");
    let outcome = scan_with_head(b"a.aiff", &file, file.len() as u64, 128 << 10);
    assert_usual(&outcome, Format::Aiff);
    let comments = [("TITLE", "Song"), ("ARTIST", "Band"), ("ALBUM", "Record"), ("TRACKNUMBER", "3"), ("DATE", "2004")];
    let mut block = vorbis_comments(&comments);
    let count_at = 4 + b"fixture".len();
    block[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    block.resize(900_000, 0);
    let file = [b"fLaC".as_slice(), &flac_block(0x84, &block)].concat();
    let outcome = scan_bytes(b"a.flac", &file);
    assert_usual(&outcome, Format::Flac);
    assert!(outcome.num_reads <= MAX_READS);
}

#[test]
fn stacked_id3_tags_are_stepped_over_in_bounded_number() {
    let small = id3(4, 0, &frame(4, b"TXXX", b"\x03k\0v"));
    for (name, file) in [
        ("a.mp3", [small.repeat(3), id3(4, 0, &id3_frames()), mpeg_audio(3)].concat()),
        ("a.flac", [small.repeat(3), flac(&COMMENTS, &[], 0)].concat()),
        ("a.wv", [small.repeat(4), wavpack(100), ape(&ape_items(&[]))].concat()),
        ("noext", [small.repeat(2), flac(&COMMENTS, &[], 0)].concat()),
    ] {
        let outcome = scan_bytes(name.as_bytes(), &file);
        assert_eq!(
            (&outcome.tags().title[..], &outcome.tags().artist[..]),
            (&["Song".to_owned()][..], &["Band".to_owned()][..]),
            "{name}"
        );
    }
    // each a request of its own, far apart
    let large = id3(4, 0, &frame(4, b"PRIV", &vec![0; 200_000]));
    for name in ["a.mp3", "a.flac", "a.ape", "a"] {
        assert_bounded(name, &large.repeat(40));
        assert_bounded(name, &id3(4, 0, b"").repeat(100_000));
    }
}

#[test]
fn tags_inside_tags_are_content_and_no_tags() {
    let inner = id3(4, 0, &frame(4, b"TIT2", b"\x03Inner"));
    let nested = frame(4, b"PRIV", &[inner.clone(), flac(&[("TITLE", "Inner")], &[], 0)].concat());
    let tag = id3(4, 0, &[nested.clone(), id3_frames()].concat());
    for (name, file, format) in [
        ("a.mp3", [tag.clone(), mpeg_audio(3)].concat(), Format::Mp3),
        ("a.wav", wav(30, &chunk(b"id3 ", &tag)), Format::Wav),
        ("a.aiff", aiff(b"AIFF", b"", 30, &aiff_chunk(b"ID3 ", &tag)), Format::Aiff),
        ("a.flac", [id3(4, 0, &nested), flac(&COMMENTS, &[], 0)].concat(), Format::Flac),
        (
            "a.flac",
            [b"fLaC".to_vec(), flac_block(2, &inner), flac(&COMMENTS, &[], 0)[4..].to_vec()].concat(),
            Format::Flac,
        ),
    ] {
        assert_usual(&scan_bytes(name.as_bytes(), &file), format);
    }
}

#[test]
fn id3_chunk_that_claims_4_gib_reads_no_further_than_its_chunk() {
    let mut tag = id3(4, 0, &id3_frames());
    tag[6..10].copy_from_slice(&[0x7f; 4]);
    let behind = chunk(b"LIST", &[b"INFO".as_slice(), &chunk(b"IGNR", b"Rock\0")].concat());
    let outcome = scan_bytes(b"a.wav", &wav(30, &[chunk(b"id3 ", &tag), behind].concat()));
    assert_usual(&outcome, Format::Wav);
    assert_eq!(outcome.tags().genre, ["Rock"]);
    assert_eq!(outcome.num_requests, 1);
}

#[test]
fn ogg_of_many_streams_is_read_in_bounded_work() {
    let head = b"OpusHead\x01\x02\0\0\0\0\0\0\0\0\0";
    let packet = [b"OpusTags".as_slice(), &vorbis_comments(&COMMENTS)].concat();
    let first = ogg_page(2, 7, 0, &[head.len() as u8], head);
    let others =
        |num: u32| -> Vec<u8> { (100..100 + num).flat_map(|serial| ogg_page(2, serial, 0, &[4], b"else")).collect() };
    // every other page belongs to somebody else
    let ours = ogg_pages(&packet, 7, 1, 255);
    let file = [others(20), first.clone(), others(5), ours.clone()].concat();
    assert_usual(&scan_bytes(b"a.opus", &file), Format::Opus);
    assert_bounded("a.opus", &[others(40), first.clone(), ours].concat());
    let far: Vec<u8> = (0..60).flat_map(|_| ogg_page(0, 9, 0, &[255; 255], &vec![0; 65_025])).collect();
    assert_bounded("a.opus", &[first, far].concat());
}

#[test]
fn ogg_page_that_claims_more_than_there_is_gives_what_there_is() {
    let mut file = opus(&COMMENTS, 255);
    let second = 27 + 1 + 19;
    file[second + 26] = 255;
    assert_bounded("a.opus", &file);
    let chained =
        [opus(&COMMENTS, 510), opus(&[("TITLE", "Second")], 510), vorbis(&[("TITLE", "Third")], 510)].concat();
    assert_usual(&scan_bytes(b"a.opus", &chained), Format::Opus);
}

#[test]
fn box_of_size_0_or_1_in_every_place_is_survived() {
    let item = mp4_item(b"\xa9nam", 1, b"Song");
    let file = [ftyp(), moov(&item, 0)].concat();
    for at in 0..file.len() - 16 {
        for len in [0_u32, 1, 7, 8, u32::MAX] {
            let mut file = file.clone();
            file[at..at + 4].copy_from_slice(&len.to_be_bytes());
            for long in [0, 15, 16, u64::MAX, u64::MAX - at as u64, 1 << 63] {
                file[at + 8..at + 16].copy_from_slice(&long.to_be_bytes());
                assert_bounded("a.m4a", &file);
            }
        }
    }
    // a list that says "to the end of my parent" has all of its items
    let mut file = [ftyp(), moov(&mp4_items(None), 0)].concat();
    let list = file.windows(4).position(|kind| kind == b"ilst").expect("a list") - 4;
    file[list..list + 4].copy_from_slice(&[0; 4]);
    assert_usual(&scan_bytes(b"a.m4a", &file), Format::Mp4);
}

#[test]
fn wav_of_64_bits_whose_lengths_lie_is_survived() {
    for (riff, data_len) in [(u64::MAX, u64::MAX), (0, 0), (1, u64::MAX - 7), (u64::MAX, 1 << 40), (5, 39_999)] {
        let ds64 = [riff.to_le_bytes(), data_len.to_le_bytes(), [0xff; 8]].concat();
        let mut chunks = [chunk(b"ds64", &ds64), chunk(b"data", &vec![1; 40_000])].concat();
        let len_at = 8 + ds64.len() + 4;
        chunks[len_at..len_at + 4].copy_from_slice(&[0xff; 4]);
        let tail = chunk(b"id3 ", &id3(4, 0, &id3_frames()));
        let file = [b"RF64\xff\xff\xff\xffWAVE".as_slice(), &chunks, &tail].concat();
        assert_bounded("a.wav", &file);
        // a second one that says otherwise, and one that is cut off
        assert_bounded("a.wav", &[&file, &chunk(b"ds64", &ds64)[..], b"ds64\xff\xff\xff\xff"].concat());
    }
}

#[test]
fn count_of_comments_larger_than_their_packet_gives_those_that_are_there() {
    let claimed = |mut packet: Vec<u8>, prefix: usize| {
        let count_at = prefix + 4 + b"fixture".len();
        packet[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        packet
    };
    let comments = vorbis_comments(&COMMENTS);
    let head = b"OpusHead\x01\x02\0\0\0\0\0\0\0\0\0";
    let packet = claimed([b"OpusTags".as_slice(), &comments].concat(), 8);
    assert_usual(&scan_bytes(b"a.opus", &ogg(head, &packet, 255)), Format::Opus);
    let block = flac_block(0x84, &claimed(comments, 0));
    assert_usual(&scan_bytes(b"a.flac", &[b"fLaC".as_slice(), &block].concat()), Format::Flac);
}

#[test]
fn picture_of_16_mib_costs_no_more_in_any_container() {
    let picture = jpeg((16 << 20) - 100);
    let head = 16_384;
    let flac = flac(&COMMENTS, &[(3, &picture)], 100);
    assert_large_art("a.flac", &flac, Format::Flac, &picture, (1, head));
    let text = picture_comment(&picture);
    let mut comments = COMMENTS.to_vec();
    comments.push(("METADATA_BLOCK_PICTURE", &text));
    assert_large_art("a.opus", &opus(&comments, 65_025), Format::Opus, &picture, (2, head + 282));
    let blocks = ogg_flac_blocks(&COMMENTS, &[(3, &picture)], 65_025);
    assert_large_art("a.oga", &blocks, Format::OggFlac, &picture, (2, head + 282));
    let file = [ftyp(), moov(&mp4_items(Some(&picture)), 3000), mp4_box(b"mdat", &[0; 100])].concat();
    assert_large_art("a.m4a", &file, Format::Mp4, &picture, (2, head + 32));
    let frames = [id3_frames(), frame(4, b"APIC", &apic(&picture))].concat();
    let file = wav(100, &chunk(b"id3 ", &id3(4, 0, &frames)));
    assert_large_art("a.wav", &file, Format::Wav, &picture, (1, head));
    let cover = ape_cover(&picture);
    let file = [wavpack(100), ape(&ape_items(&[(2, "Cover Art (Front)", &cover)]))].concat();
    assert_large_art("a.wv", &file, Format::WavPack, &picture, (2, 2 * head));
}

#[test]
fn picture_that_would_have_to_be_made_of_too_much_is_not_shown() {
    // one byte of picture on each page
    let picture = jpeg(60_000);
    let block = flac_block(0x86, &picture_block(3, "image/jpeg", &picture));
    let mut file = ogg_flac_blocks(&COMMENTS, &[], 65_025);
    let comments_end = file.len();
    file.extend(
        block
            .iter()
            .enumerate()
            .flat_map(|(index, &byte)| ogg_page(u8::from(index > 0), 7, 2 + index as u32, &[255], &[byte; 255])),
    );
    assert_bounded("a.oga", &file);
    assert!(file.len() > comments_end + (16 << 20), "much is stored for little");
    // an unsynchronised frame of 40 MB that says that it holds ten bytes
    let content = [&[0, 0, 0, 40][..], &apic(&jpeg(40_000_000))].concat();
    let mut frame = frame(4, b"APIC", &content);
    frame[9] = 0x03;
    let outcome = scan_bytes(b"a.mp3", &[id3(4, 0, &[id3_frames(), frame].concat()), mpeg_audio(2)].concat());
    assert_usual(&outcome, Format::Mp3);
    assert_eq!(outcome.tags().art, None);
}
