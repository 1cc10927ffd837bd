//! What the configuration changes about the tree: folders merged over case, tracks left out.
//!
//! Both settings are changed between two runs over one state folder, because that is how they are met in life: the library
//! is placed anew, and what stays keeps its inode numbers.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::music::{Track, jpeg};
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, names_in, set};

const MERGED: &str = "case_insensitive = true\n";

/// Two spellings of one album, the first of them known first.
fn two_spellings() -> Sandbox {
    let home = Sandbox::new();
    home.put("x/1.flac", &Track::new("Sigur RÓS", "Ágætis", 1, "T").flac());
    home.start().stop();
    home.put("y/2.flac", &Track::new("SIGUR Rós", "ÁGÆTIS", 2, "T").flac());
    home.put("y/3.flac", &Track::new("sigur rós", "ágætis", 2, "t").flac());
    home
}

#[test]
fn folders_that_differ_in_case_are_one_with_every_track_in_it() {
    let home = two_spellings();
    home.put("y/cover.jpg", b"cover");
    home.configure(MERGED);
    let daemon = home.start();
    let album = "Sigur RÓS/Ágætis (2020)";
    assert_eq!(names_in(&home.mnt()), ["Sigur RÓS"]);
    assert_eq!(names_in(&home.shown(album)), ["01 - T.flac", "02 - T.flac", "02 - t.flac", "cover.jpg"]);
    assert!(!home.shown("sigur rós").exists(), "a merged folder has one name");
    daemon.stop();
}

#[test]
fn merged_folder_is_spelled_anew_when_its_first_track_goes_and_keeps_its_inode_number() {
    let home = two_spellings();
    fs::remove_file(home.origin().join("y/3.flac")).unwrap();
    home.configure(MERGED);
    let daemon = home.start();
    let (artist, album) = (home.shown("Sigur RÓS"), home.shown("Sigur RÓS/Ágætis (2020)"));
    let numbers = [&artist, &album].map(|folder| fs::metadata(folder).unwrap().ino());
    assert!(!home.shown("SIGUR Rós").exists());
    home.replace("x/1.flac", &Track::new("Other", "Else", 1, "T").flac());
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["Other/Else (2020)/01 - T.flac", "SIGUR Rós/ÁGÆTIS (2020)/02 - T.flac"]));
    assert!(!artist.exists() && !album.exists(), "the old spelling is gone from the kernel too");
    let anew = ["SIGUR Rós", "SIGUR Rós/ÁGÆTIS (2020)"].map(|folder| fs::metadata(home.shown(folder)).unwrap().ino());
    assert_eq!(anew, numbers);
    daemon.stop();
}

#[test]
fn changed_case_insensitive_places_the_library_anew_and_tracks_keep_their_inode_numbers() {
    let home = two_spellings();
    let exact = set([
        "SIGUR Rós/ÁGÆTIS (2020)/02 - T.flac",
        "Sigur RÓS/Ágætis (2020)/01 - T.flac",
        "sigur rós/ágætis (2020)/02 - t.flac",
    ]);
    let daemon = home.start();
    daemon.idle();
    assert_eq!(files(&home.mnt()), exact);
    let number = fs::metadata(home.shown("sigur rós/ágætis (2020)/02 - t.flac")).unwrap().ino();
    daemon.stop();
    home.configure(MERGED);
    let daemon = home.start();
    daemon.idle();
    assert_eq!(names_in(&home.mnt()), ["Sigur RÓS"]);
    assert_eq!(fs::metadata(home.shown("Sigur RÓS/Ágætis (2020)/02 - t.flac")).unwrap().ino(), number);
    daemon.stop();
    home.configure("");
    let daemon = home.start();
    daemon.idle();
    assert_eq!(files(&home.mnt()), exact);
    daemon.stop();
}

/// A template that insists on an album.
const SKIPPING: &str = "skip_on_missing = true\ntemplate = \"${artist}/${album}/${title|filename}.${ext}\"\n";

#[test]
fn track_that_is_left_out_appears_once_its_tags_have_the_field() {
    let home = Sandbox::new();
    home.configure(SKIPPING);
    let single = Track::new("A", "", 1, "Single");
    home.put("x/1.flac", &Track::new("A", "B", 1, "T").flac());
    home.put("y/2.flac", &single.flac());
    home.put("y/broken.mp3", b"no music");
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), set(["A/B/T.flac"]));
    assert_eq!(files(&home.shown(".origins/a")), set(["x/1.flac", "y/2.flac", "y/broken.mp3"]), "nothing is lost");
    home.replace("y/2.flac", &Track { album: "C".to_owned(), ..single.clone() }.flac());
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["A/B/T.flac", "A/C/Single.flac"]));
    let number = fs::metadata(home.shown("A/C/Single.flac")).unwrap().ino();
    home.replace("y/2.flac", &single.flac());
    daemon.idle();
    assert_eq!(files(&home.mnt()), set(["A/B/T.flac"]));
    assert!(!home.shown("A/C").exists());
    home.replace("y/2.flac", &Track { album: "C".to_owned(), ..single }.flac());
    daemon.idle();
    assert_eq!(fs::metadata(home.shown("A/C/Single.flac")).unwrap().ino(), number);
    daemon.stop();
}

#[test]
fn sidecars_and_covers_of_a_track_that_is_left_out_are_left_out_with_it() {
    let home = Sandbox::new();
    home.configure(SKIPPING);
    let bare = Track::new("A", "", 1, "T").with_art(jpeg(1, 5000), "image/jpeg");
    let whole = Track { album: "C".to_owned(), ..bare.clone() };
    home.put("x/1.flac", &bare.flac());
    home.put("x/booklet.pdf", b"booklet");
    let daemon = home.start();
    assert_eq!(names_in(&home.mnt()), Vec::<String>::new());
    home.replace("x/1.flac", &whole.flac());
    daemon.idle();
    assert_eq!(names_in(&home.shown("A/C")), ["T.flac", "booklet.pdf", "cover.jpg"]);
    assert_eq!(fs::read(home.shown("A/C/cover.jpg")).unwrap(), jpeg(1, 5000));
    home.replace("x/1.flac", &bare.flac());
    daemon.idle();
    assert_eq!(names_in(&home.mnt()), Vec::<String>::new());
    daemon.stop();
    // without the setting the track has its place, and so has what stands beside it
    home.configure("template = \"${artist}/${album}/${title|filename}.${ext}\"\n");
    let daemon = home.start();
    daemon.idle();
    assert_eq!(names_in(&home.shown("A/Unknown Album")), ["T.flac", "booklet.pdf", "cover.jpg"]);
    daemon.stop();
}
