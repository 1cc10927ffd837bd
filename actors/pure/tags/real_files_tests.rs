//! The scan against files that encoders make, so that the fixtures' idea of a format is not the only one.
//!
//! ffmpeg encodes a few seconds into each format with tags and 1.4 MB of art; the scan must find both, within
//! requirement V8's limits, and agree with lofty, which reads the whole file. Where ffmpeg or another tool is missing
//! or lacks an encoder, the test says so and what it left out.

use std::path::Path;
use std::process::Command;

use lofty::config::ParseOptions;
use lofty::file::TaggedFileExt;
use lofty::picture::Picture;
use lofty::probe::Probe;
use lofty::tag::Accessor;

use super::fixtures::{
    LARGE_ART_BYTES, Outcome, ape, ape_cover, ape_items, jpeg, monkeys_audio, musepack_7, musepack_8, picture_block,
    scan_bytes, wavpack,
};
use super::{ArtKind, Format, TrackTags, art};

/// What every file is made with.
const TAGS: [(&str, &str); 7] = [
    ("title", "Jóga"),
    ("artist", "Björk"),
    ("album", "Homogenic"),
    ("album_artist", "Björk G."),
    ("track", "2/10"),
    ("date", "1997"),
    ("genre", "Electronic"),
];

struct Case {
    name: &'static str,
    format: Format,
    /// Arguments for the encoder and the container.
    arguments: &'static [&'static str],
    /// How the art gets in.
    art: Art,
    max_bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Art {
    /// As a video stream of attached pictures.
    Stream,
    /// As a comment, because ffmpeg writes no pictures into Ogg.
    Comment,
    None,
}

const NORMAL: u64 = 128 << 10;
const AT_THE_END: u64 = 384 << 10;

fn cases() -> Vec<Case> {
    let case = |name, format, arguments, art, max_bytes| Case { name, format, arguments, art, max_bytes };
    vec![
        case("a.flac", Format::Flac, &["-c:a", "flac"], Art::Stream, NORMAL),
        case("v3.mp3", Format::Mp3, &["-c:a", "libmp3lame", "-id3v2_version", "3"], Art::Stream, NORMAL),
        case(
            "v4.mp3",
            Format::Mp3,
            &["-c:a", "libmp3lame", "-id3v2_version", "4", "-write_id3v1", "1"],
            Art::Stream,
            NORMAL,
        ),
        case("aac.m4a", Format::Mp4, &["-c:a", "aac"], Art::Stream, AT_THE_END),
        case("fast.m4a", Format::Mp4, &["-c:a", "aac", "-movflags", "+faststart"], Art::Stream, NORMAL),
        case("alac.m4a", Format::Mp4, &["-c:a", "alac"], Art::Stream, AT_THE_END),
        case("book.m4b", Format::Mp4, &["-c:a", "aac", "-f", "ipod"], Art::Stream, AT_THE_END),
        case("a.ogg", Format::OggVorbis, &["-c:a", "libvorbis"], Art::Comment, NORMAL),
        case("a.opus", Format::Opus, &["-c:a", "libopus"], Art::Comment, NORMAL),
        case("a.oga", Format::OggFlac, &["-c:a", "flac"], Art::Comment, NORMAL),
        case("a.wav", Format::Wav, &["-c:a", "pcm_s16le"], Art::None, NORMAL),
        case("a.aiff", Format::Aiff, &["-c:a", "pcm_s16be", "-write_id3v2", "1"], Art::Stream, NORMAL),
        case("a.aifc", Format::Aiff, &["-c:a", "pcm_s16le", "-write_id3v2", "1"], Art::Stream, NORMAL),
        case("a.wv", Format::WavPack, &["-c:a", "wavpack"], Art::None, NORMAL),
    ]
}

/// A PNG of about 1.4 MB: noise, which does not compress.
fn write_png(path: &Path) -> Vec<u8> {
    let noise = "nullsrc=s=1000x1000,format=gbrp,geq=r='random(1)*255':g='random(2)*255':b='random(3)*255'";
    let status = ffmpeg().args(["-f", "lavfi", "-i", noise, "-frames:v", "1"]).arg(path).status();
    assert!(status.expect("ffmpeg runs").success());
    let png = std::fs::read(path).expect("written");
    assert!(png.len() >= LARGE_ART_BYTES, "{} bytes", png.len());
    png
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]);
    command
}

/// Has ffmpeg make a file; false if it cannot.
fn encode(case: &Case, path: &Path, png_path: &Path, png: &[u8]) -> bool {
    let mut metadata = vec![";FFMETADATA1".to_owned()];
    metadata.extend(TAGS.iter().map(|(key, value)| format!("{key}={value}")));
    if case.art == Art::Comment {
        let text = data_encoding::BASE64.encode(&picture_block(3, "image/png", png));
        metadata.push(format!("METADATA_BLOCK_PICTURE={}", text.replace('=', "\\=")));
    }
    metadata.push(String::new());
    let metadata_path = path.with_extension("meta");
    std::fs::write(&metadata_path, metadata.join("\n")).expect("written");
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", "sine=duration=5"]).arg("-i").arg(&metadata_path);
    if case.art == Art::Stream {
        command.arg("-i").arg(png_path).args([
            "-map",
            "0",
            "-map",
            "2",
            "-c:v",
            "copy",
            "-disposition:v",
            "attached_pic",
        ]);
    }
    command.args(["-map_metadata", "1"]).args(case.arguments).arg(path);
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn files_made_by_ffmpeg_are_read_within_the_limits() {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        println!("skipped: ffmpeg is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let png_path = folder.path().join("cover.png");
    let png = write_png(&png_path);
    for case in cases() {
        let path = folder.path().join(case.name);
        if !encode(&case, &path, &png_path, &png) {
            println!("skipped {}: this ffmpeg cannot make it", case.name);
            continue;
        }
        let file = std::fs::read(&path).expect("written");
        check(&case, &file, &scan_bytes(case.name.as_bytes(), &file), &png);
    }
}

/// Runs a tool that must be there for its test; false, with a message, if it is not.
fn run(tool: &str, configure: impl FnOnce(&mut Command) -> &mut Command) -> bool {
    match configure(&mut Command::new(tool)).status() {
        Ok(status) => {
            assert!(status.success(), "{tool}: {status}");
            true
        }
        Err(error) => {
            println!("skipped: {tool}: {error}");
            false
        }
    }
}

#[test]
fn files_tagged_by_the_tools_of_their_formats_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let sine = ["-f", "lavfi", "-i", "sine=duration=2"];
    if !run("ffmpeg", |ffmpeg| ffmpeg.args(["-v", "error", "-nostdin"]).args(sine).args([path("a.wav"), path("a.mp3")]))
    {
        return;
    }
    let png = write_png(&path("cover.png"));
    let tags = ["-T", "TITLE=Jóga", "-T", "ARTIST=Björk", "-T", "TRACKNUMBER=2", "-T", "DATE=1997"];
    // in Ogg the picture is a packet of its own
    let picture = format!("--picture={}", path("cover.png").display());
    for (name, arguments) in [("a.flac", &["--padding=70000"][..]), ("a.oga", &["--ogg", &picture])] {
        if run("flac", |flac| flac.arg("-s").args(arguments).args(tags).arg("-o").arg(path(name)).arg(path("a.wav"))) {
            assert_tagged(name, &path(name));
            if name == "a.oga" {
                assert_has_cover(name, &path(name), &png);
            }
        }
    }
    let picture = format!("--import-picture-from={}", path("cover.png").display());
    if run("metaflac", |metaflac| metaflac.arg(picture).arg(path("a.flac"))) {
        assert_has_cover("a.flac", &path("a.flac"), &png);
    }
    let tags = ["-t", "Jóga", "-a", "Björk", "-T", "2/10", "-y", "1997", "-g", "52"];
    if run("id3v2", |id3v2| id3v2.args(tags).arg(path("a.mp3"))) {
        assert_tagged("a.mp3", &path("a.mp3"));
    }
}

/// ffmpeg's text chunks, which stand in front of the audio and have no album.
#[test]
fn aiff_texts_made_by_ffmpeg_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.aif");
    let tags = ["-metadata", "title=Jóga", "-metadata", "author=Björk", "-metadata", "comment=live"];
    let sine = ["-v", "error", "-nostdin", "-f", "lavfi", "-i", "sine=duration=2"];
    if !run("ffmpeg", |ffmpeg| ffmpeg.args(sine).args(tags).arg(&path)) {
        return;
    }
    let file = std::fs::read(&path).expect("written");
    let outcome = scan_bytes(b"a.aif", &file);
    let tags = outcome.tags();
    assert_eq!((tags.format, tags.art.as_ref()), (Some(Format::Aiff), None));
    assert_eq!((&tags.title[..], &tags.artist[..]), (&["Jóga".to_owned()][..], &["Björk".to_owned()][..]));
    assert_eq!(tags.comment, ["live"]);
    assert_agrees_with_lofty("a.aif", &file, tags);
}

/// No encoder here makes Monkey's Audio or Musepack, and none puts art into `WavPack`: lofty judges the fixtures.
#[test]
fn built_files_with_ape_tags_agree_with_lofty() {
    let picture = jpeg(LARGE_ART_BYTES);
    let cover = ape_cover(&picture);
    let tag = ape(&ape_items(&[(2, "Cover Art (Front)", &cover)]));
    let theirs = Picture::from_ape_bytes("Cover Art (Front)", &cover).expect("lofty reads it");
    for (name, stream) in [
        ("a.wv", wavpack(9000)),
        ("a.ape", monkeys_audio(9000)),
        ("7.mpc", musepack_7(9000)),
        ("8.mpc", musepack_8(9000)),
    ] {
        let file = [stream, tag.clone()].concat();
        let outcome = scan_bytes(name.as_bytes(), &file);
        assert_agrees_with_lofty(name, &file, outcome.tags());
        let art = outcome.tags().art.as_ref().expect("a cover");
        let ours = art::decode(art, &file[art.offset as usize..(art.offset + art.stored_len) as usize]);
        assert!(ours.as_deref() == Some(theirs.data()), "{name}");
    }
}

fn assert_has_cover(name: &str, path: &Path, png: &[u8]) {
    let file = std::fs::read(path).expect("written");
    let outcome = scan_bytes(name.as_bytes(), &file);
    let art = outcome.tags().art.clone().expect("a cover");
    let stored = &file[art.offset as usize..(art.offset + art.stored_len) as usize];
    assert!(art::decode(&art, stored).as_deref() == Some(png), "{name}");
    assert!(outcome.num_requests <= 3 && outcome.num_bytes <= NORMAL, "{name}: {:?}", outcome.cost());
}

fn assert_tagged(name: &str, path: &Path) {
    let file = std::fs::read(path).expect("written");
    let outcome = scan_bytes(name.as_bytes(), &file);
    let tags = outcome.tags();
    assert_eq!((&tags.title[..], &tags.artist[..]), (&["Jóga".to_owned()][..], &["Björk".to_owned()][..]), "{name}");
    assert_eq!((tags.track.as_deref(), tags.year.as_deref()), (Some("2"), Some("1997")), "{name}");
    if name == "a.mp3" {
        assert_eq!(tags.genre, ["Electronic"]);
    }
}

/// lofty, reading the whole file, is the oracle.
fn assert_agrees_with_lofty(name: &str, file: &[u8], tags: &TrackTags) {
    // a fixture has no audio to look at
    let probe = Probe::new(std::io::Cursor::new(file)).options(ParseOptions::new().read_properties(false));
    let read = probe.guess_file_type().expect("readable").read().expect("lofty reads it");
    let tag = read.primary_tag().or(read.first_tag()).expect("a tag");
    let texts = [tag.title(), tag.artist(), tag.album(), tag.genre()];
    let ours = [&tags.title, &tags.artist, &tags.album, &tags.genre];
    for (theirs, ours) in texts.iter().zip(ours) {
        assert_eq!(theirs.as_deref(), ours.first().map(String::as_str), "{name}");
    }
}

fn check(case: &Case, file: &[u8], outcome: &Outcome, png: &[u8]) {
    let tags = outcome.tags();
    println!("{}: {} bytes, {:?}", case.name, file.len(), outcome.cost());
    assert_eq!(tags.format, Some(case.format), "{}", case.name);
    assert_eq!((&tags.title[..], &tags.artist[..]), (&["Jóga".to_owned()][..], &["Björk".to_owned()][..]));
    assert_eq!(tags.album, ["Homogenic"], "{}", case.name);
    assert_eq!((tags.track.as_deref(), tags.year.as_deref()), (Some("2"), Some("1997")), "{}", case.name);
    assert_eq!(tags.genre, ["Electronic"], "{}", case.name);
    if case.format != Format::Wav {
        // RIFF has no field for it
        assert_eq!(tags.albumartist, ["Björk G."], "{}", case.name);
        assert_eq!(tags.tracktotal.as_deref(), Some("10"), "{}", case.name);
    }
    if case.art != Art::None {
        let art = tags.art.as_ref().expect("a cover");
        assert_eq!((art.kind, art.len), (ArtKind::Png, png.len() as u64), "{}", case.name);
        let stored = &file[art.offset as usize..(art.offset + art.stored_len) as usize];
        assert!(art::decode(art, stored).as_deref() == Some(png), "{}", case.name);
        assert!(file.len() > LARGE_ART_BYTES, "{} has its art", case.name);
    }
    if case.format != Format::OggFlac {
        // lofty knows no FLAC in Ogg
        assert_agrees_with_lofty(case.name, file, tags);
    }
    assert!(outcome.num_requests <= 3, "{}: {} requests", case.name, outcome.num_requests);
    assert!(outcome.num_bytes <= case.max_bytes, "{}: {} bytes", case.name, outcome.num_bytes);
}
