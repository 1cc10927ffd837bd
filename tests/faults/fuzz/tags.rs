//! The bodies of the formats: a scan of a file of any bytes, its limits, and what is made of its result.
//!
//! The scan is driven as the daemon drives it and held to its word: no byte asked for twice, none beyond the file, 12
//! requests and 1 MiB at most. Each file is scanned as it is, and as one that was listed longer than it is. What it found
//! must make a path, and the picture that it located must have the length that would be shown.

use std::hash::{DefaultHasher, Hash, Hasher};

use musicfs_pure::tags::{ByteRange, MAX_REQUESTS, MAX_SCAN_BYTES, TagScan, TagScanResult, TagStep, TrackTags, art};
use musicfs_pure::template::{Template, TemplateOptions, TrackContext};

use super::bodies::assert_path;

/// Markers and ids of all formats, so that one can turn into another.
#[rustfmt::skip] // many short words
pub(super) const WORDS: &[&[u8]] = &[
    b"fLaC", b"OggS\0\x02", b"OggS\0\x01", b"OggS\0\0", b"\x01vorbis", b"\x03vorbis", b"OpusHead", b"OpusTags",
    b"\x7fFLAC", b"ID3\x02\0\0", b"ID3\x03\0\x80", b"ID3\x04\0\x10", b"ID3\x04\0\x80", b"3DI\x04\0\0", b"TIT2", b"TPE1",
    b"TALB", b"TXXX", b"APIC", b"COMM", b"PIC", b"TT2", b"image/jpeg\0", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n",
    b"\xff\xfe", b"RIFF", b"RF64", b"WAVE", b"ds64", b"data", b"LIST", b"INFO", b"IART", b"id3 ", b"FORM", b"AIFF",
    b"AIFC", b"SSND", b"NAME", b"ftyp", b"moov", b"udta", b"meta", b"ilst", b"covr", b"----", b"mean", b"name", b"mdat",
    b"\xa9nam", b"trkn", b"\0\0\0\x01", b"APETAGEX", b"Cover Art (Front)\0", b"Title\0", b"TAG", b"wvpk", b"MAC ",
    b"MP+\x07", b"MPCK", b"METADATA_BLOCK_PICTURE=", b"TITLE=", b"\xff\xfb\x90\x64",
];

pub(super) fn flac(file: &[u8]) -> u64 {
    scanned(b"a.flac", file)
}

pub(super) fn mp3(file: &[u8]) -> u64 {
    scanned(b"a.mp3", file)
}

pub(super) fn ogg(file: &[u8]) -> u64 {
    scanned(b"a.ogg", file)
}

pub(super) fn mp4(file: &[u8]) -> u64 {
    scanned(b"a.m4a", file)
}

pub(super) fn wav(file: &[u8]) -> u64 {
    scanned(b"a.wav", file)
}

pub(super) fn aiff(file: &[u8]) -> u64 {
    scanned(b"a.aiff", file)
}

pub(super) fn wavpack(file: &[u8]) -> u64 {
    scanned(b"a.wv", file)
}

pub(super) fn monkeys_audio(file: &[u8]) -> u64 {
    scanned(b"a.ape", file)
}

pub(super) fn musepack(file: &[u8]) -> u64 {
    scanned(b"a.mpc", file)
}

/// Scans the file as it is, with the smallest first read, and as one of 1 TiB more.
fn scanned(name: &[u8], file: &[u8]) -> u64 {
    let size = file.len() as u64;
    let mut hasher = DefaultHasher::new();
    for (size, head_bytes) in [(size, 16 << 10), (size, 4 << 10), (size + (1 << 40), 16 << 10)] {
        scan(name, file, size, head_bytes).hash(&mut hasher);
    }
    hasher.finish()
}

fn scan(name: &[u8], file: &[u8], size: u64, head_bytes: u64) -> u64 {
    let mut scan = TagScan::new(name, size, head_bytes);
    let mut asked: Vec<ByteRange> = Vec::new();
    loop {
        let ranges = match scan.step() {
            TagStep::Need(ranges) => ranges,
            TagStep::Done(result) => return judged(name, file, size, &asked, &result),
        };
        assert!(!ranges.is_empty(), "a request for nothing");
        for range in ranges {
            let end = range.offset.checked_add(range.len).expect("no file is so long");
            assert!(range.len > 0 && end <= size, "beyond the file: {range:?} of {size}");
            let is_new = |old: &ByteRange| range.offset >= old.offset + old.len || old.offset >= end;
            assert!(asked.iter().all(is_new), "asked twice: {range:?} after {asked:?}");
            asked.push(range);
            scan.feed(range.offset, part(file, range.offset, end));
        }
        let num_bytes: u64 = asked.iter().map(|range| range.len).sum();
        assert!(num_bytes <= MAX_SCAN_BYTES && asked.len() <= MAX_REQUESTS as usize, "{asked:?}");
    }
}

/// The bytes of a range that are there.
fn part(file: &[u8], start: u64, end: u64) -> &[u8] {
    let inside = |at: u64| usize::try_from(at).map_or(file.len(), |at| at.min(file.len()));
    &file[inside(start)..inside(end)]
}

fn judged(name: &[u8], file: &[u8], size: u64, asked: &[ByteRange], result: &TagScanResult) -> u64 {
    let mut hasher = DefaultHasher::new();
    asked.len().hash(&mut hasher);
    match result {
        TagScanResult::Malformed(reason) => reason.to_string().hash(&mut hasher),
        TagScanResult::Tags(tags) => {
            judge_tags(name, file, size, tags);
            let art = tags.art.as_ref().map(|art| (art.kind, std::mem::discriminant(&art.encoding)));
            let fields = [&tags.title, &tags.artist, &tags.albumartist, &tags.album, &tags.genre, &tags.comment];
            let present = fields.map(|values| values.len().min(3));
            let numbers = [&tags.track, &tags.tracktotal, &tags.disc, &tags.year].map(Option::is_some);
            (tags.format, art, present, numbers, tags.raw.len().min(40)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn judge_tags(name: &[u8], file: &[u8], size: u64, tags: &TrackTags) {
    let num_text_bytes: usize = tags.raw.iter().map(|(key, value)| key.len() + value.len()).sum();
    // keys are written in capitals, which may take more bytes
    assert!(num_text_bytes <= 3 * (64 << 10) && tags.raw.len() <= 512, "{num_text_bytes} bytes of text");
    if let Some(art) = &tags.art {
        let end = art.offset.checked_add(art.stored_len).expect("no file is so long");
        assert!(end <= size && art.len > 0, "{art:?} in a file of {size} bytes");
        let picture = art::decode(art, part(file, art.offset, end));
        assert!(picture.is_none_or(|picture| picture.len() as u64 == art.len), "{art:?}");
    }
    let track = TrackContext { tags: Some(tags), filename: name, path: name, origin: "a" };
    let rendered = Template::default().render(&track, &TemplateOptions::default());
    assert_path(&rendered.expect("nothing is left out"));
}
