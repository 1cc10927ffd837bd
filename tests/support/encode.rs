//! Really encoded music, made by ffmpeg once and kept.
//!
//! nextest gives every test a process of its own, so the files live in the target folder under the name of their recipe;
//! they are made in a temporary folder and renamed, under a lock, so that a half-made set is never seen. Origins get
//! copies: nothing changes the kept ones.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::command::run;
use super::music::{flac_picture, id3v2};
use super::random::Random;

/// Change it with the recipes.
const RECIPE: &str = "music-1";

/// File extension, encoder and further options; each becomes a file of two seconds.
const FORMATS: [(&str, &str, &[&str]); 7] = [
    ("flac", "flac", &[]),
    ("mp3", "libmp3lame", &["-id3v2_version", "3"]),
    ("ogg", "libvorbis", &[]),
    ("opus", "libopus", &[]),
    ("m4a", "aac", &["-movflags", "+faststart"]),
    ("alac.m4a", "alac", &[]),
    ("wav", "pcm_s16le", &[]),
];

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    command
}

fn tags(index: usize, title: &str) -> Vec<String> {
    let tags = [
        format!("title={title}"),
        "artist=Artist".to_owned(),
        "album=Album".to_owned(),
        "date=2020-05-01".to_owned(),
        format!("track={}/7", index + 1),
    ];
    tags.into_iter().flat_map(|tag| ["-metadata".to_owned(), tag]).collect()
}

/// The folder of a set of files; `make` fills it when it is not there yet.
fn kept(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let elsewhere = std::env::var_os("MUSICFS_TEST_CACHE").map(PathBuf::from);
    let base = elsewhere.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let done = base.join(format!("{RECIPE}-{name}"));
    std::fs::create_dir_all(&base).expect("target folder");
    let lock = File::create(base.join(format!("{RECIPE}-{name}.lock"))).expect("lock file");
    flock(&lock, FlockOperation::LockExclusive).expect("lock");
    if !done.exists() {
        let half = base.join(format!("{RECIPE}-{name}.half"));
        let _ = std::fs::remove_dir_all(&half);
        std::fs::create_dir_all(&half).expect("folder");
        make(&half);
        std::fs::rename(&half, &done).expect("rename");
    }
    done
}

/// Bytes of a JPEG that really decodes.
pub(crate) fn picture() -> PathBuf {
    kept("picture", |folder| {
        let raw = folder.join("noise");
        std::fs::write(&raw, Random::new(7).bytes(960 * 740 * 3)).expect("noise");
        let mut command = ffmpeg();
        command.args(["-f", "rawvideo", "-pix_fmt", "yuvj444p", "-s", "960x740", "-i"]).arg(&raw);
        run(command.args(["-frames:v", "1", "-q:v", "2"]).arg(folder.join("art.jpg"))).ok();
    })
    .join("art.jpg")
}

/// A folder with one file per format, `1.flac` to `7.wav`, each tagged with its number and encoder.
pub(crate) fn six_formats() -> PathBuf {
    kept("formats", |folder| {
        for (index, (ext, codec, options)) in FORMATS.iter().enumerate() {
            let mut command = ffmpeg();
            command.args(["-f", "lavfi", "-i", &format!("sine=frequency={}:duration=2", 300 + 50 * index)]);
            command.args(tags(index, &format!("Title {codec}"))).args(["-c:a", codec]).args(*options);
            run(command.arg(folder.join(format!("{}.{ext}", index + 1)))).ok();
        }
    })
}

/// What the files of [`six_formats`] are called in the library, in their order.
pub(crate) fn six_format_names() -> Vec<(String, String)> {
    let name = |(index, (ext, codec, _)): (usize, &(&str, &str, &[&str]))| {
        let shown_ext = ext.rsplit('.').next().unwrap_or(ext);
        let shown = format!("Artist/Album (2020)/{:02} - Title {codec}.{shown_ext}", index + 1);
        (format!("{}.{ext}", index + 1), shown)
    };
    FORMATS.iter().enumerate().map(name).collect()
}

/// How a format gets a picture of 1.4 MB.
enum Embedding {
    Stream(&'static [&'static str]),
    Comment,
    Chunk,
}

/// A folder with one file per format, each with 1.4 MB of art, named by what must be read: `last.m4a` has its moov at the
/// end.
pub(crate) fn with_art() -> PathBuf {
    let picture = picture();
    kept("art", |folder| {
        let set = [
            ("art.flac", "flac", Embedding::Stream(&[])),
            ("art.mp3", "libmp3lame", Embedding::Stream(&["-id3v2_version", "3"])),
            ("first.m4a", "aac", Embedding::Stream(&["-movflags", "+faststart"])),
            ("last.m4a", "alac", Embedding::Stream(&[])),
            ("art.ogg", "libvorbis", Embedding::Comment),
            ("art.opus", "libopus", Embedding::Comment),
            ("art.wav", "pcm_s16le", Embedding::Chunk),
        ];
        for (index, (name, codec, embedding)) in set.iter().enumerate() {
            encode_with_art(&folder.join(name), index, codec, embedding, &picture);
        }
    })
}

fn encode_with_art(file: &Path, index: usize, codec: &str, embedding: &Embedding, picture: &Path) {
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", "sine=duration=2"]);
    match embedding {
        Embedding::Stream(options) => {
            command.arg("-i").arg(picture).args(["-map", "0:a", "-map", "1:v", "-c:v", "copy"]);
            command.args(["-disposition:v", "attached_pic"]).args(tags(index, &name)).args(*options);
        }
        Embedding::Comment => {
            let text = file.with_extension("meta");
            std::fs::write(&text, ffmetadata(index, &name, picture)).expect("metadata");
            command.args(["-f", "ffmetadata", "-i"]).arg(&text).args(["-map", "0:a", "-map_metadata", "1"]);
        }
        Embedding::Chunk => {
            command.args(tags(index, &name));
        }
    }
    run(command.args(["-c:a", codec]).arg(file)).ok();
    match embedding {
        Embedding::Comment => std::fs::remove_file(file.with_extension("meta")).expect("remove"),
        Embedding::Chunk => append_id3_chunk(file, index, &name, picture),
        Embedding::Stream(_) => {}
    }
}

/// Metadata in the form that ffmpeg reads, with a picture as Ogg has it: base64 in a comment.
fn ffmetadata(index: usize, title: &str, picture: &Path) -> String {
    let block = flac_picture(&std::fs::read(picture).expect("picture"), "image/jpeg");
    let text = base64(&block).replace('=', "\\=");
    format!(
        ";FFMETADATA1\ntitle={title}\nartist=Artist\nalbum=Album\ndate=2020\ntrack={}/7\nMETADATA_BLOCK_PICTURE={text}\n",
        index + 1
    )
}

/// Adds a chunk with an `ID3v2` tag and the picture to a WAV.
fn append_id3_chunk(file: &Path, index: usize, title: &str, picture: &Path) {
    let art = (std::fs::read(picture).expect("picture"), "image/jpeg");
    let track = (index + 1).to_string();
    let comments =
        [("TITLE", title), ("ARTIST", "Artist"), ("ALBUM", "Album"), ("DATE", "2020"), ("TRACKNUMBER", &track)];
    let tag = id3v2(&comments, Some(&art));
    let mut bytes = std::fs::read(file).expect("wav");
    bytes.extend_from_slice(b"id3 ");
    bytes.extend_from_slice(&(tag.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&tag);
    if tag.len() % 2 == 1 {
        bytes.push(0);
    }
    let riff_len = (bytes.len() - 8) as u32;
    bytes[4..8].copy_from_slice(&riff_len.to_le_bytes());
    std::fs::write(file, bytes).expect("wav");
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
