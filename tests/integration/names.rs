//! Names: hostile ones, equal ones, ones that are not text, and things in an origin that are not music files.
//!
//! What an origin contains is input from outside. Every case here once hung or crashed some program of this kind, or made
//! it show something outside its root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, set, walk};

fn track(number: u32, title: &str) -> Track {
    Track::new("Artist", "Album", number, title)
}

#[test]
fn files_that_want_one_name_are_numbered_and_move_up_when_one_leaves() {
    let home = Sandbox::new();
    home.put("a.flac", &track(1, "Same").salted(1).flac());
    let daemon = home.start();
    for (name, salt) in [("b.flac", 2), ("c.flac", 3)] {
        home.put(name, &track(1, "Same").salted(salt).flac());
        daemon.idle();
    }
    let shown = |suffix: &str| home.shown(&format!("Artist/Album (2020)/01 - Same{suffix}.flac"));
    let bytes = |salt| track(1, "Same").salted(salt).flac();
    assert_eq!(files(&home.mnt()).len(), 3);
    for (suffix, salt) in [("", 1), (" (2)", 2), (" (3)", 3)] {
        assert!(fs::read(shown(suffix)).unwrap() == bytes(salt), "{suffix}");
    }
    fs::remove_file(home.origin().join("a.flac")).unwrap();
    daemon.idle();
    assert_eq!(files(&home.mnt()).len(), 2);
    for (suffix, salt) in [("", 2), (" (2)", 3)] {
        assert!(fs::read(shown(suffix)).unwrap() == bytes(salt), "{suffix} after the first has left");
    }
    daemon.stop();
}

#[test]
fn malformed_audio_is_shown_under_unknown_artist_and_unknown_album() {
    let home = Sandbox::new();
    home.put("noise.flac", &[7; 5000]);
    home.put("empty.mp3", b"");
    home.put("short.m4a", b"\0\0\0\x20ftyp");
    home.put("liar.wav", b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff");
    home.put("liar.ogg", b"OggS\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\xff");
    let daemon = home.start();
    let below = |name| format!("Unknown Artist/Unknown Album/{name}");
    let names = ["noise.flac", "empty.mp3", "short.m4a", "liar.wav", "liar.ogg"];
    assert_eq!(files(&home.mnt()), names.into_iter().map(below).collect());
    for name in names {
        assert_eq!(fs::read(home.shown(&below(name))).unwrap(), fs::read(home.origin().join(name)).unwrap());
    }
    daemon.stop();
}

#[test]
fn file_without_tags_is_shown_by_its_own_name() {
    let home = Sandbox::new();
    home.put("Some Recording.FLAC", &Track { audio_len: 500, ..Track::default() }.flac());
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), set(["Unknown Artist/Unknown Album/Some Recording.flac"]));
    daemon.stop();
}

#[test]
fn tags_cannot_leave_their_folder() {
    let home = Sandbox::new();
    home.put("1.flac", &Track::new("..", "../..", 1, "../../etc/passwd").flac());
    home.put("2.flac", &Track::new("AC/DC", "Back/Slash\n\u{1}", 2, "/").flac());
    let daemon = home.start();
    let shown = files(&home.mnt());
    assert_eq!(shown.len(), 2);
    for path in &shown {
        assert_eq!(path.split('/').count(), 3, "{path}");
        assert!(path.split('/').all(|name| name != ".." && name != "."), "{path}");
        assert!(!path.contains(char::is_control), "{path}");
    }
    assert!(shown.iter().any(|path| path.starts_with("AC_DC/Back_Slash__ (2020)/02 - _")), "{shown:?}");
    daemon.stop();
}

#[test]
fn long_title_is_cut_to_a_file_name_with_its_extension() {
    let home = Sandbox::new();
    home.put("1.flac", &track(1, &"ü".repeat(400)).flac());
    let daemon = home.start();
    let shown = files(&home.mnt());
    let name = shown.first().unwrap().rsplit('/').next().unwrap();
    assert!((250..=255).contains(&name.len()) && name.ends_with("ü.flac"), "{} bytes: {name}", name.len());
    daemon.stop();
}

#[test]
fn names_that_are_not_text_are_kept_byte_for_byte() {
    let home = Sandbox::new();
    let name = OsStr::from_bytes(b"caf\xe9 \xff\xfe.flac");
    let folder = home.origin().join(OsStr::from_bytes(b"d\xffr"));
    fs::create_dir(&folder).unwrap();
    let bytes = Track { audio_len: 500, ..Track::default() }.flac();
    fs::write(folder.join(name), &bytes).unwrap();
    let daemon = home.start();
    let by_title = home.shown("Unknown Artist/Unknown Album").join(name);
    assert_eq!(fs::read(by_title).unwrap(), bytes);
    let raw = home.shown(".origins/a").join(OsStr::from_bytes(b"d\xffr")).join(name);
    assert_eq!(fs::read(raw).unwrap(), bytes);
    let tree = daemon.cli(&["tree", "--json"]).ok().out();
    assert!(tree.contains("caf%E9 %FF%FE.flac"), "{tree}");
    let path = "Unknown Artist/Unknown Album/caf%E9 %FF%FE.flac";
    assert!(daemon.cli(&["why", path]).ok().out().contains("caf%E9"));
    daemon.stop();
}

#[test]
fn fifo_socket_and_device_in_the_origin_hang_nothing_and_are_not_shown() {
    let home = Sandbox::new();
    home.put("one.flac", &track(1, "One").flac());
    crate::support::command::tool("mkfifo", [home.origin().join("pipe.flac")]).ok();
    let _socket = std::os::unix::net::UnixListener::bind(home.origin().join("socket.mp3")).unwrap();
    symlink("/dev/zero", home.origin().join("zero.flac")).unwrap();
    let daemon = home.start();
    crate::support::command::tool("mkfifo", [home.origin().join("later.flac")]).ok();
    home.put("two.flac", &track(2, "Two").flac());
    daemon.idle();
    let want = set(["Artist/Album (2020)/01 - One.flac", "Artist/Album (2020)/02 - Two.flac"]);
    assert_eq!(files(&home.mnt()), want);
    assert_eq!(files(&home.shown(".origins/a")), set(["one.flac", "two.flac"]));
    daemon.stop();
}

#[test]
fn links_inside_the_root_are_followed_and_links_out_of_it_are_not_listed() {
    let home = Sandbox::new();
    home.put("real/one.flac", &track(1, "One").flac());
    fs::write(home.path("outside.flac"), track(9, "Outside").flac()).unwrap();
    fs::create_dir(home.path("outside")).unwrap();
    fs::write(home.path("outside/two.flac"), track(8, "Outside").flac()).unwrap();
    let origin = home.origin();
    symlink("real/one.flac", origin.join("link.flac")).unwrap();
    symlink("real", origin.join("folder")).unwrap();
    symlink("..", origin.join("real/loop")).unwrap();
    symlink(home.path("outside.flac"), origin.join("absolute.flac")).unwrap();
    symlink("../outside.flac", origin.join("relative.flac")).unwrap();
    symlink(home.path("outside"), origin.join("away")).unwrap();
    symlink("nowhere.flac", origin.join("dangling.flac")).unwrap();
    symlink("self.flac", origin.join("self.flac")).unwrap();
    let daemon = home.start();
    let raw = files(&home.shown(".origins/a"));
    for name in ["real/one.flac", "link.flac", "folder/one.flac"] {
        assert!(raw.contains(name), "{name} in {raw:?}");
        assert!(fs::symlink_metadata(home.shown(".origins/a").join(name)).unwrap().is_file());
    }
    for name in &raw {
        assert!(name.ends_with("one.flac") || name.ends_with("link.flac"), "{name} should not be listed");
    }
    for path in walk(&home.mnt()).keys() {
        assert!(!path.to_string_lossy().contains("Outside"), "{}", path.display());
    }
    daemon.stop();
}

#[test]
fn name_shown_is_found_by_its_exact_bytes_only() {
    let home = Sandbox::new();
    home.put("one.flac", &track(1, "One").flac());
    let daemon = home.start();
    let album = home.shown("Artist/Album (2020)");
    for name in ["01 - one.flac", "01 - One.flac ", "01 - One", "./nothing", ".hidden"] {
        assert!(!album.join(name).exists(), "{name}");
    }
    let long = "x".repeat(256);
    let error = fs::metadata(album.join(&long)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
    assert!(Path::new(&album).join("01 - One.flac").exists());
    daemon.stop();
}

#[test]
fn folder_of_many_files_is_walked_whole_while_it_changes() {
    let home = Sandbox::new();
    for number in 0..3000 {
        home.put(&format!("{number}.flac"), &Track { audio_len: 0, ..track(1, &format!("{number:05}")) }.flac());
    }
    let daemon = home.start();
    let album = home.shown("Artist/Album (2020)");
    let mut listing = fs::read_dir(&album).unwrap();
    let mut seen: Vec<_> = listing.by_ref().take(1000).map(|entry| entry.unwrap().file_name()).collect();
    for number in 0..200 {
        home.put(&format!("new{number}.flac"), &Track { audio_len: 0, ..track(1, &format!("a{number:05}")) }.flac());
    }
    daemon.idle();
    seen.extend(listing.map(|entry| entry.unwrap().file_name()));
    let old = |name: &&std::ffi::OsString| !name.to_string_lossy().contains("- a");
    let mut stayed: Vec<_> = seen.iter().filter(old).collect();
    assert_eq!(stayed.len(), 3000, "every file that was there throughout is seen");
    stayed.sort();
    stayed.dedup();
    assert_eq!(stayed.len(), 3000, "and seen once");
    daemon.stop();
}
