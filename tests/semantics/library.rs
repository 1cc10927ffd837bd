//! Promises about the library: where a track stands, what stands beside it, and the raw view.
//!
//! Each test quotes the README and builds the smallest library in which the sentence could be wrong.

use std::fs;

use crate::promised;
use crate::support::music::{Track, jpeg};
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, names_in, set};

#[test]
fn track_stands_where_the_template_puts_it() {
    promised(
        "A track stands at the path that the template makes of its tags; without an artist or album it stands under `Unknown Artist` or `Unknown Album`.",
    );
    let home = Sandbox::new();
    let double =
        Track { disc: "2".to_owned(), disctotal: "2".to_owned(), ..Track::new("Artist", "Double", 3, "Three") };
    home.put("1.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home.put("2.flac", &double.flac());
    home.put("3.flac", &Track { title: "Lonely".to_owned(), ..Track::default() }.flac());
    let compiled = Track { albumartist: "Various Artists".to_owned(), ..Track::new("Someone", "Mix", 4, "Four") };
    home.put("4.flac", &compiled.flac());
    let daemon = home.start();
    let want = set([
        "Artist/Album (2020)/01 - One.flac",
        "Artist/Double (2020)/2-03 - Three.flac",
        "Unknown Artist/Unknown Album/Lonely.flac",
        "Various Artists/Mix (2020)/04 - Four.flac",
    ]);
    assert_eq!(files(&home.mnt()), want);
    daemon.stop();
}

#[test]
fn later_track_of_one_name_is_numbered_and_moves_up() {
    promised(
        "Two tracks that want the same name are both shown, the later one with ` (2)` before its extension, and it moves up when the first one leaves.",
    );
    let home = Sandbox::new();
    home.put("first.flac", &Track::new("A", "B", 1, "T").flac());
    let daemon = home.start();
    let second = Track::new("A", "B", 1, "T").salted(2).flac();
    home.put("second.flac", &second);
    daemon.idle();
    assert_eq!(fs::read(home.shown("A/B (2020)/01 - T (2).flac")).unwrap(), second);
    fs::remove_file(home.origin().join("first.flac")).unwrap();
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["A/B (2020)/01 - T.flac"]));
    assert_eq!(fs::read(home.shown("A/B (2020)/01 - T.flac")).unwrap(), second);
    daemon.stop();
}

#[test]
fn malformed_music_keeps_its_own_name() {
    promised(
        "A file that is named like music and cannot be read as such stands under `Unknown Artist/Unknown Album` by its own name.",
    );
    let home = Sandbox::new();
    home.put("x/broken.mp3", b"not music at all");
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), set(["Unknown Artist/Unknown Album/broken.mp3"]));
    daemon.stop();
}

#[test]
fn sidecars_stand_with_the_albums_of_their_folder() {
    promised(
        "Covers, cue sheets, lyrics, logs and booklets are shown with every album that has a track in their folder.",
    );
    let home = Sandbox::new();
    home.put("x/1.flac", &Track::new("A", "One", 1, "T").flac());
    home.put("x/2.flac", &Track::new("A", "Two", 2, "T").flac());
    for name in ["cover.jpg", "x.cue", "x.lrc", "x.log", "x.pdf"] {
        home.put(&format!("x/{name}"), b"sidecar");
    }
    let daemon = home.start();
    for (album, track) in [("One", "01 - T.flac"), ("Two", "02 - T.flac")] {
        let names = names_in(&home.shown(&format!("A/{album} (2020)")));
        assert_eq!(names, [track, "cover.jpg", "x.cue", "x.log", "x.lrc", "x.pdf"]);
    }
    daemon.stop();
}

#[test]
fn sidecars_of_a_crowded_folder_stand_with_their_namesakes() {
    promised(
        "A folder with more than 8 albums in which that would come to more than 4,096 entries is crowded: a sidecar there is shown with the tracks that share its name up to the extension, others in `.origins` only.",
    );
    let home = Sandbox::new();
    for number in 1..=9 {
        home.put(&format!("x/{number}.flac"), &Track::new("A", &format!("Album {number}"), number, "T").flac());
    }
    for number in 1..=4096 / 9 {
        home.put(&format!("x/{number}.lrc"), b"lyrics");
    }
    let daemon = home.start();
    assert_eq!(names_in(&home.shown("A/Album 3 (2020)")).len(), 1 + 455, "all beside each");
    home.put("x/cover.jpg", b"cover");
    daemon.idle();
    assert_eq!(names_in(&home.shown("A/Album 3 (2020)")), ["03 - T.flac", "3.lrc"]);
    assert!(home.shown(".origins/a/x/cover.jpg").is_file());
    daemon.stop();
}

#[test]
fn embedded_picture_is_the_cover_where_there_is_no_other() {
    promised(
        "An album without a cover file shows the picture that is embedded in its tracks as `cover.jpg` or `cover.png`, byte for byte.",
    );
    let home = Sandbox::new();
    home.put("1.flac", &Track::new("A", "B", 1, "T").with_art(jpeg(5, 7000), "image/jpeg").flac());
    let daemon = home.start();
    assert_eq!(fs::read(home.shown("A/B (2020)/cover.jpg")).unwrap(), jpeg(5, 7000));
    daemon.stop();
}

#[test]
fn folders_are_merged_over_case_and_files_are_not() {
    promised(
        "With `case_insensitive`, folders that differ in upper and lower case only are one, spelled as the file that was found first has it; files stay as many as they are.",
    );
    let home = Sandbox::new();
    home.configure("case_insensitive = true\n");
    home.put("1.flac", &Track::new("Air", "Moon", 1, "T").flac());
    let daemon = home.start();
    home.put("2.flac", &Track::new("AIR", "moon", 1, "t").flac());
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["Air/Moon (2020)/01 - T.flac", "Air/Moon (2020)/01 - t.flac"]));
    daemon.stop();
}

#[test]
fn track_without_a_field_that_is_insisted_on_is_left_out() {
    promised(
        "With `skip_on_missing`, a track is left out while its tags lack a field that stands outside brackets in the template.",
    );
    let home = Sandbox::new();
    home.configure("skip_on_missing = true\n");
    let undated = Track { date: String::new(), ..Track::new("A", "B", 1, "T") };
    home.put("1.flac", &undated.flac());
    home.put("2.flac", &Track::new("A", "", 2, "T").flac());
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), set(["A/B/01 - T.flac"]), "the year stands in brackets");
    home.replace("2.flac", &Track::new("A", "B", 2, "T").flac());
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["A/B/01 - T.flac", "A/B (2020)/02 - T.flac"]));
    daemon.stop();
}

#[test]
fn raw_view_is_entered_by_name_and_not_listed() {
    promised(
        "`.origins/NAME` shows an origin as it is, with every file; it can be entered by name and is not listed unless `raw_view` says so.",
    );
    let home = Sandbox::new();
    home.put("x/1.flac", &Track::new("A", "B", 1, "T").flac());
    home.put("x/anything.bin", b"any bytes");
    let daemon = home.start();
    assert_eq!(names_in(&home.mnt()), ["A"]);
    assert_eq!(files(&home.shown(".origins/a")), set(["x/1.flac", "x/anything.bin"]));
    daemon.stop();
    home.configure("raw_view = \"listed\"\n");
    let daemon = home.start();
    assert_eq!(names_in(&home.mnt()), [".origins", "A"]);
    daemon.stop();
}
