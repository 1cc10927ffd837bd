//! Promises about the filesystem: bytes, attributes, inode numbers, links, names.
//!
//! Each test quotes the README, does what the sentence is about, and asks the kernel whether it is so.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::promised;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, ino, names_in, set};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn track() -> Track {
    Track::new("Artist", "Album", 1, "One")
}

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &track().flac());
    home
}

#[test]
fn bytes_size_and_mtime_are_those_of_the_origin() {
    promised(
        "Files have exactly the bytes, the size and the modification time, to the nanosecond, of the file in the origin.",
    );
    let home = home();
    let daemon = home.start();
    let (want, got) = (fs::metadata(home.origin().join("one.flac")).unwrap(), fs::metadata(home.shown(SHOWN)).unwrap());
    assert_ne!(want.mtime_nsec() % 1000, 0, "the fixture has nanoseconds that could be lost");
    assert_eq!((got.len(), got.mtime(), got.mtime_nsec()), (want.len(), want.mtime(), want.mtime_nsec()));
    assert_eq!(fs::read(home.shown(SHOWN)).unwrap(), track().flac());
    daemon.stop();
}

#[test]
fn writing_is_refused() {
    promised("Everything that would write is answered with \"Read-only file system\", for every user.");
    let home = home();
    let daemon = home.start();
    let answers = [
        fs::write(home.shown("new"), b"x"),
        fs::write(home.shown(SHOWN), b"x"),
        fs::remove_file(home.shown(SHOWN)),
        fs::create_dir(home.shown("Artist/new")),
        fs::rename(home.shown(SHOWN), home.shown("x")),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    daemon.stop();
}

#[test]
fn inode_number_stays_with_its_entry() {
    promised(
        "An inode number belongs to one entry for good: it stays the same across restarts, retags, edits and renames, and is never given to another.",
    );
    let home = home();
    let daemon = home.start();
    let number = ino(&home.shown(SHOWN));
    home.put("one.flac", &track().salted(2).flac());
    daemon.idle();
    assert_eq!(ino(&home.shown(SHOWN)), number, "after an edit");
    let retagged = Track::new("Artist", "Other", 1, "One");
    home.put("one.flac", &retagged.flac());
    daemon.idle();
    let moved = home.shown("Artist/Other (2020)/01 - One.flac");
    assert_eq!(ino(&moved), number, "after a retag");
    fs::rename(home.origin().join("one.flac"), home.origin().join("renamed.flac")).unwrap();
    daemon.idle();
    assert_eq!(ino(&moved), number, "after a rename");
    daemon.stop();
    let daemon = home.start();
    assert_eq!(ino(&moved), number, "after a restart");
    fs::remove_file(home.origin().join("renamed.flac")).unwrap();
    daemon.idle();
    home.put("two.flac", &Track::new("Artist", "Other", 1, "One").salted(8).flac());
    daemon.idle();
    assert_ne!(ino(&moved), number, "another file in its place");
    daemon.stop();
}

#[test]
fn permissions_are_those_of_the_origin_without_write() {
    promised("A file's permissions are those of its origin without write; folders are 0555.");
    let home = home();
    fs::set_permissions(home.origin().join("one.flac"), PermissionsExt::from_mode(0o640)).unwrap();
    let daemon = home.start();
    let mode = |path: &str| fs::metadata(home.shown(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode(SHOWN), mode("Artist"), mode("")), (0o440, 0o555, 0o555));
    daemon.stop();
}

#[test]
fn open_file_behaves_as_the_plain_file() {
    promised(
        "A file of a local origin is read directly, so an open file behaves as the plain file does: after a replacement by rename it keeps the old bytes, and an edit in place shows at once.",
    );
    let home = home();
    let daemon = home.start();
    let mut open = File::open(home.shown(SHOWN)).unwrap();
    home.replace("one.flac", &track().salted(7).flac());
    daemon.idle();
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, track().flac());
    let open = File::open(home.shown(SHOWN)).unwrap();
    home.put("one.flac", &track().salted(8).flac());
    let mut bytes = vec![0; track().flac().len()];
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut bytes, 0).unwrap();
    assert_eq!(bytes, track().salted(8).flac());
    daemon.stop();
}

#[test]
fn links_inside_are_followed_and_others_are_not_shown() {
    promised(
        "Symbolic links inside an origin's root are followed and shown as files and folders; links that lead out of it are not shown.",
    );
    let home = home();
    symlink("one.flac", home.origin().join("inside.flac")).unwrap();
    symlink("/etc/passwd", home.origin().join("outside.flac")).unwrap();
    let daemon = home.start();
    assert_eq!(files(&home.shown(".origins/a")), set(["inside.flac", "one.flac"]));
    assert!(fs::symlink_metadata(home.shown(".origins/a/inside.flac")).unwrap().is_file());
    daemon.stop();
}

#[test]
fn what_is_no_file_is_not_shown() {
    promised("Named pipes, sockets and devices in an origin are not shown.");
    let home = home();
    crate::support::command::tool("mkfifo", [home.origin().join("pipe.flac")]).ok();
    let _socket = std::os::unix::net::UnixListener::bind(home.origin().join("socket.flac")).unwrap();
    let daemon = home.start();
    assert_eq!(names_in(&home.shown(".origins/a")), ["one.flac"]);
    daemon.stop();
}

#[test]
fn names_are_bytes() {
    promised("Names are bytes: a name that is not valid UTF-8 is shown as it is.");
    let home = home();
    let name = OsStr::from_bytes(b"\xe9t\xe9.txt");
    fs::write(home.origin().join(name), b"x").unwrap();
    let daemon = home.start();
    let names: Vec<_> =
        fs::read_dir(home.shown(".origins/a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|shown| shown == name), "{names:?}");
    daemon.stop();
}
