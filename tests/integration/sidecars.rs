//! Covers, cue sheets, lyrics and booklets beside the music, and covers made from embedded art.
//!
//! A sidecar is shown with every album that has a track in its source folder. A picture inside a file is shown only where
//! no cover lies beside it, with exactly the bytes that are embedded.

use std::fs;

use crate::support::encode::{picture, with_art};
use crate::support::music::{Track, jpeg, png};
use crate::support::require;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, set};

fn track(album: &str, number: u32) -> Track {
    Track::new("Artist", album, number, "T")
}

#[test]
fn sidecars_are_shown_with_every_album_of_their_folder_and_nothing_else_is() {
    let home = Sandbox::new();
    home.put("both/1.flac", &track("One", 1).flac());
    home.put("both/2.flac", &track("Two", 2).flac());
    let sidecars = ["cover.jpg", "folder.png", "album.cue", "song.lrc", "rip.log", "booklet.pdf"];
    for name in sidecars {
        home.put(&format!("both/{name}"), format!("bytes of {name}").as_bytes());
    }
    for name in ["list.m3u", "notes.txt", "Thumbs.db"] {
        home.put(&format!("both/{name}"), b"stays out");
    }
    home.put("elsewhere/cover.jpg", b"no track beside it");
    let daemon = home.start();
    for (album, number) in [("One", 1), ("Two", 2)] {
        let folder = home.shown(&format!("Artist/{album} (2020)"));
        let mut want: std::collections::BTreeSet<String> = sidecars.into_iter().map(str::to_owned).collect();
        want.insert(format!("{number:02} - T.flac"));
        assert_eq!(files(&folder), want);
        assert_eq!(fs::read(folder.join("cover.jpg")).unwrap(), b"bytes of cover.jpg");
    }
    daemon.stop();
}

#[test]
fn sidecar_follows_its_album_and_leaves_with_it() {
    let home = Sandbox::new();
    home.put("x/1.flac", &track("One", 1).flac());
    let daemon = home.start();
    home.put("x/cover.jpg", b"late");
    daemon.idle();
    assert_eq!(fs::read(home.shown("Artist/One (2020)/cover.jpg")).unwrap(), b"late");
    home.put("x/1.flac", &track("Two", 1).flac());
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["Artist/Two (2020)/01 - T.flac", "Artist/Two (2020)/cover.jpg"]));
    fs::remove_file(home.origin().join("x/cover.jpg")).unwrap();
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["Artist/Two (2020)/01 - T.flac"]));
    daemon.stop();
}

#[test]
fn embedded_art_is_shown_as_a_cover_of_its_real_type() {
    let home = Sandbox::new();
    let (first, second) = (jpeg(1, 40_000), png(2, 30_000));
    home.put("j/1.flac", &track("Jpeg", 1).with_art(first.clone(), "image/png").flac());
    home.put("p/1.mp3", &track("Png", 1).with_art(second.clone(), "image/jpeg").mp3());
    let daemon = home.start();
    assert_eq!(fs::read(home.shown("Artist/Jpeg (2020)/cover.jpg")).unwrap(), first);
    assert_eq!(fs::read(home.shown("Artist/Png (2020)/cover.png")).unwrap(), second);
    assert_eq!(files(&home.mnt()).len(), 4);
    daemon.stop();
}

#[test]
fn cover_beside_the_music_comes_before_the_embedded_one() {
    let home = Sandbox::new();
    home.put("x/1.flac", &track("One", 1).with_art(jpeg(1, 9000), "image/jpeg").flac());
    home.put("x/cover.jpg", b"beside");
    let daemon = home.start();
    let cover = home.shown("Artist/One (2020)/cover.jpg");
    assert_eq!(fs::read(&cover).unwrap(), b"beside");
    fs::remove_file(home.origin().join("x/cover.jpg")).unwrap();
    daemon.idle();
    assert_eq!(fs::read(&cover).unwrap(), jpeg(1, 9000));
    daemon.stop();
}

#[test]
fn changed_embedded_art_shows_as_the_new_picture() {
    let home = Sandbox::new();
    home.put("1.flac", &track("One", 1).with_art(jpeg(1, 9000), "image/jpeg").flac());
    let daemon = home.start();
    let cover = home.shown("Artist/One (2020)/cover.jpg");
    assert_eq!(fs::read(&cover).unwrap(), jpeg(1, 9000));
    home.replace("1.flac", &track("One", 1).with_art(jpeg(2, 12_000), "image/jpeg").flac());
    daemon.idle();
    assert_eq!(fs::read(&cover).unwrap(), jpeg(2, 12_000));
    daemon.stop();
}

#[test]
fn large_art_of_every_format_is_shown_byte_for_byte() {
    require!("ffmpeg");
    let want = fs::read(picture()).unwrap();
    for entry in fs::read_dir(with_art()).unwrap() {
        let file = entry.unwrap().path();
        let home = Sandbox::new();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        home.put(&name, &fs::read(&file).unwrap());
        let daemon = home.start();
        let cover = home.shown("Artist/Album (2020)/cover.jpg");
        let got = fs::read(&cover).unwrap_or_else(|error| panic!("{name}: {error}, {:?}", files(&home.mnt())));
        assert!(got == want, "{name}: {} bytes for {}", got.len(), want.len());
        assert_eq!(fs::metadata(&cover).unwrap().len(), want.len() as u64, "{name}");
        daemon.stop();
    }
}
