//! Really encoded files of every format stand where their tags say, with the bytes of the origin.
//!
//! ffmpeg makes the files and decodes them again through the mount: equal bytes and equal decoded audio, which are two
//! different ways of reading.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::command::tool;
use crate::support::encode::{six_format_names, six_formats};
use crate::support::require;
use crate::support::sandbox::Sandbox;
use crate::support::tree::files;

/// Copies the encoded files into the origin; returns their names there and in the library.
fn fill(home: &Sandbox) -> Vec<(String, String)> {
    let source = six_formats();
    let names = six_format_names();
    for (name, _) in &names {
        home.put(name, &fs::read(source.join(name)).unwrap());
    }
    names
}

fn decoded_md5(file: &Path) -> String {
    let args = ["-hide_banner", "-loglevel", "error", "-nostdin", "-i"].map(Path::new);
    let rest = ["-map", "0:a", "-f", "md5", "-"].map(Path::new);
    tool("ffmpeg", args.into_iter().chain([file]).chain(rest)).ok().out()
}

#[test]
fn file_of_every_format_stands_where_its_tags_say() {
    require!("ffmpeg");
    let home = Sandbox::new();
    let names = fill(&home);
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), names.into_iter().map(|(_, shown)| shown).collect());
    daemon.stop();
}

#[test]
fn file_of_every_format_has_the_bytes_and_attributes_of_its_origin() {
    require!("ffmpeg", "cmp");
    let home = Sandbox::new();
    let names = fill(&home);
    let daemon = home.start();
    for (name, shown) in &names {
        let (plain, shown) = (home.origin().join(name), home.shown(shown));
        tool("cmp", [&plain, &shown]).ok();
        let (want, got) = (fs::metadata(&plain).unwrap(), fs::metadata(&shown).unwrap());
        assert_eq!(
            (got.size(), got.mtime(), got.mtime_nsec()),
            (want.size(), want.mtime(), want.mtime_nsec()),
            "{name}"
        );
        assert_eq!(got.mode() & 0o7777, want.mode() & 0o555, "{name}");
        assert_eq!((got.nlink(), got.blocks()), (1, want.size().div_ceil(512)), "{name}");
        daemon.step();
    }
    daemon.stop();
}

#[test]
fn audio_decoded_through_the_mount_is_the_audio_of_the_origin() {
    require!("ffmpeg");
    let home = Sandbox::new();
    let names = fill(&home);
    let daemon = home.start();
    for (name, shown) in &names {
        assert_eq!(decoded_md5(&home.shown(shown)), decoded_md5(&home.origin().join(name)), "{name}");
        daemon.step();
    }
    daemon.stop();
}

#[test]
fn type_is_decided_by_content_and_extension_is_kept() {
    let home = Sandbox::new();
    let track = crate::support::music::Track::new("A", "B", 1, "Named mp3");
    home.put("really-flac.mp3", &track.flac());
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), crate::support::tree::set(["A/B (2020)/01 - Named mp3.mp3"]));
    daemon.stop();
}
