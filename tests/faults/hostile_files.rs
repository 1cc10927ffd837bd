//! Music that is none, or lies about itself: it is listed by its name, said so once, and harms nobody else.
//!
//! The files are built here byte by byte. Whatever a length claims, a scan costs 12 requests and 1 MiB at most, counted
//! by the daemon per origin; large files are sparse, so that they cost no disk either.

use std::collections::BTreeSet;
use std::fs;

use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::{Track, id3v2};
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, names_in};

/// What the walkers hold themselves to.
const MAX_SCAN_BYTES: u64 = 1 << 20;
const MAX_REQUESTS: u64 = 12;

/// The line in the log for a file without tags that can be read.
const COMPLAINT: &str = "no tags can be read from this file";

/// A box or chunk whose length is given, not true.
fn claimed(kind: &[u8], len: u32, body: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes(), kind, body].concat()
}

/// Files from which no tags can be read.
fn malformed() -> Vec<(String, Vec<u8>)> {
    let sound = Track::new("Artist", "Album", 1, "Title").flac();
    let mut files: Vec<(String, Vec<u8>)> = [
        ("empty.flac", vec![]),
        ("noise.mp3", Random::new(7).bytes(40_000)),
        ("zeros.flac", vec![0; 300_000]),
        ("ones.m4a", vec![0xff; 70_000]),
        ("page.opus", b"<!DOCTYPE html><html><body>404</body></html>".to_vec()),
        ("text.wav", b"RIFF\xff\xff\xff\xffAVI LIST".to_vec()),
        ("only-magic.flac", b"fLaC".to_vec()),
        ("only-magic.ogg", b"OggS\0\x02".to_vec()),
        ("invalid-block.flac", b"fLaC\xff\xff\xff\xff".to_vec()),
        ("no-audio.ogg", [b"OggS\0\x02".as_slice(), &[0; 20], &[1, 7], b"\x80theora"].concat()),
        ("box-of-3.m4a", [claimed(b"ftyp", 16, b"M4A \0\0\0\0"), claimed(b"moov", 3, b"")].concat()),
        ("no-moov.m4a", [claimed(b"ftyp", 16, b"M4A \0\0\0\0"), claimed(b"mdat", 0, &[0; 5000])].concat()),
        ("cut-moov.m4a", [claimed(b"ftyp", 16, b"M4A \0\0\0\0"), claimed(b"moov", 0xffff_fff0, b"")].concat()),
        ("other.aiff", b"FORM\xff\xff\xff\xffILBMBMHD".to_vec()),
        ("old.mpc", b"MP+\x04 and nothing that is known".to_vec()),
        ("a (2).flac", vec![1; 10]),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into();
    // every way in which a download can have ended before the comments
    files.extend((5..60).step_by(3).map(|len| (format!("cut-at-{len}.flac"), sound[..len].to_vec())));
    files
}

/// Files that make a scan as costly as they can, larger than what is in them.
fn costly() -> Vec<(&'static str, Vec<u8>, u64)> {
    let block = [&[2, 1, 0x86, 0xa0][..], &vec![0; 100_000]].concat();
    let tag = [b"ID3\x04\0\0\0\x06\x1a\x20".as_slice(), &vec![0; 100_000]].concat();
    let comments = [&0_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &vec![0; 2 << 20]].concat();
    let page = [b"OggS\0\0".as_slice(), &[9; 20], &[255], &[255; 255], &vec![0; 65_025]].concat();
    let riff = [b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".as_slice(), &[0xff; 28], b"data\xff\xff\xff\xff"].concat();
    vec![
        ("blocks.flac", [b"fLaC".to_vec(), block.repeat(40)].concat(), 8 << 30),
        ("tags.mp3", tag.repeat(40), 8 << 30),
        ("comments.flac", [b"fLaC\x84\xff\xff\xff".to_vec(), comments].concat(), 1 << 30),
        ("pages.ogg", [b"OggS\0\x02".as_slice(), &[0; 20], &[1, 8], b"OpusHead", &page.repeat(60)].concat(), 5 << 30),
        ("boxes.m4a", [claimed(b"ftyp", 8, b"").repeat(200_000), claimed(b"mdat", 1, &[0x7f; 8])].concat(), 6 << 30),
        ("long.wav", riff, 9 << 30),
        ("chunks.aiff", [b"FORM\xff\xff\xff\xffAIFF".to_vec(), b"NAME\0\0\0\0".repeat(300_000)].concat(), 5 << 30),
        ("footer.ape", [b"MAC ".to_vec(), vec![0; 100], b"APETAGEX".to_vec(), vec![0xff; 24]].concat(), 0),
    ]
}

#[test]
fn malformed_files_are_listed_by_name_and_said_so_once_each() {
    let home = Sandbox::new();
    let malformed = malformed();
    for (name, bytes) in &malformed {
        home.put(&format!("bad/{name}"), bytes);
    }
    home.put("bad/sound.flac", &Track::new("Artist", "Album", 1, "Title").flac());
    home.put("good/other.mp3", &Track::new("Artist", "Album", 2, "Other").mp3());
    let shown: BTreeSet<String> =
        malformed.iter().map(|(name, _)| format!("Unknown Artist/Unknown Album/{name}")).collect();
    let sound = ["Artist/Album (2020)/01 - Title.flac", "Artist/Album (2020)/02 - Other.mp3"].map(str::to_owned);
    let want: BTreeSet<String> = shown.into_iter().chain(sound).collect();
    for _ in 0..2 {
        let daemon = home.start();
        daemon.idle();
        assert_eq!(files(&home.mnt()), want);
        daemon.stop();
    }
    let log = fs::read_to_string(home.log()).unwrap();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains(COMPLAINT)).collect();
    assert_eq!(complaints.len(), malformed.len(), "{complaints:#?}");
    for (name, _) in &malformed {
        let of_file = complaints.iter().filter(|line| line.contains(&format!("bad/{name}")));
        assert_eq!(of_file.count(), 1, "{name}: {complaints:#?}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn file_that_makes_its_scan_costly_costs_what_is_allowed() {
    let home = Sandbox::new();
    home.put("sound.flac", &Track::new("Artist", "Album", 1, "Title").flac());
    let mut command = home.mount_command();
    let costly = costly();
    let mut origins = Vec::new();
    for (name, bytes, size) in &costly {
        let origin = name.replace('.', "-");
        let folder = home.path(&origin);
        fs::create_dir(&folder).unwrap();
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap();
        if *size > 0 {
            fs::File::options().write(true).open(&file).unwrap().set_len(*size).unwrap();
        }
        command.arg("--origin").arg(format!("{origin}={}", folder.display()));
        origins.push(origin);
    }
    let daemon = home.start_with(&mut command);
    let text = daemon.metrics();
    for origin in &origins {
        let labels = [("origin", origin.as_str()), ("purpose", "tags")];
        let bytes = sum(&text, "musicfs_fetcher_fetched_bytes_total", &labels);
        let requests = sum(&text, "musicfs_fetcher_requests_total", &labels);
        assert!((1..=MAX_SCAN_BYTES).contains(&bytes), "{origin}: {bytes} bytes in {requests} requests");
        assert!((1..=MAX_REQUESTS).contains(&requests), "{origin}: {requests} requests for {bytes} bytes");
    }
    let unknown: BTreeSet<&str> = costly.iter().map(|(name, ..)| *name).collect();
    let shown = names_in(&home.shown("Unknown Artist/Unknown Album"));
    assert_eq!(shown.iter().map(String::as_str).collect::<BTreeSet<_>>(), unknown);
    assert_eq!(names_in(&home.shown("Artist/Album (2020)")), ["01 - Title.flac"]);
    daemon.stop();
}

#[test]
fn file_on_which_the_reader_panics_is_listed_by_name_and_the_scan_goes_on() {
    let home = Sandbox::new();
    for number in 1..=9 {
        home.put(&format!("{number}.flac"), &Track::new("Artist", "Album", number, "Title").flac());
    }
    let points = Failpoints::new(&home);
    points.preset("tag_reader::step", "4*off->1*panic");
    let daemon = home.start_with(points.arm(&mut home.mount_command()));
    daemon.idle();
    assert_eq!(names_in(&home.shown("Artist/Album (2020)")).len(), 8);
    assert_eq!(names_in(&home.shown("Unknown Artist/Unknown Album")).len(), 1);
    daemon.stop();
    let log = fs::read_to_string(home.log()).unwrap();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains(COMPLAINT)).collect();
    assert!(complaints.len() == 1 && complaints[0].contains("defect of musicfs"), "{complaints:?}");
}

#[test]
fn file_that_is_cut_and_made_whole_again_moves_to_its_place_and_back() {
    let home = Sandbox::new();
    let comments = [("TITLE", "Title"), ("ARTIST", "Artist"), ("ALBUM", "Album")];
    let whole = [id3v2(&comments, None), Track::default().mp3()].concat();
    home.put("a.mp3", &whole);
    let daemon = home.start();
    let place = "Artist/Album/Title.mp3";
    assert_eq!(files(&home.mnt()), [place.to_owned()].into());
    home.put("a.mp3", &whole[..15]);
    daemon.idle();
    assert_eq!(files(&home.mnt()), ["Unknown Artist/Unknown Album/a.mp3".to_owned()].into());
    assert!(!home.shown(place).exists());
    home.put("a.mp3", &whole);
    daemon.idle();
    assert_eq!(files(&home.mnt()), [place.to_owned()].into());
    assert_eq!(fs::read(home.shown(place)).unwrap(), whole);
    daemon.stop();
}
