//! What `stat`, `statfs` and the extended attributes say.
//!
//! `user.musicfs.*` says where a file comes from; `musicfs why` says the same. Everything else is what a read-only
//! filesystem says.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::ino;

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("sub/one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home
}

#[test]
fn extended_attributes_name_origin_path_and_version() {
    let home = home();
    let daemon = home.start();
    let file = home.shown(SHOWN);
    let mut names: Vec<String> = xattr::list(&file).unwrap().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    for name in ["user.musicfs.origin", "user.musicfs.path", "user.musicfs.version"] {
        assert!(names.iter().any(|listed| listed == name), "{name} in {names:?}");
    }
    assert!(names.iter().all(|name| name.starts_with("user.musicfs.")), "{names:?}");
    for name in &names {
        assert!(xattr::get(&file, name).unwrap().is_some(), "{name} is listed and has no value");
    }
    assert_eq!(xattr::get(&file, "user.musicfs.origin").unwrap().unwrap(), b"a");
    assert_eq!(xattr::get(&file, "user.musicfs.path").unwrap().unwrap(), b"sub/one.flac");
    daemon.stop();
}

#[test]
fn attribute_that_is_not_ours_is_absent() {
    let home = home();
    let daemon = home.start();
    for name in ["user.other", "user.musicfs.nothing", "security.capability", "system.posix_acl_access"] {
        let value = xattr::get(home.shown(SHOWN), name);
        assert!(matches!(&value, Ok(None)) || value.is_err_and(|e| e.raw_os_error() == Some(95)), "{name}");
    }
    assert_eq!(xattr::get(home.shown(SHOWN), "user.other").unwrap(), None);
    daemon.stop();
}

#[test]
fn version_attribute_changes_with_the_file() {
    let home = home();
    let daemon = home.start();
    let version = || xattr::get(home.shown(SHOWN), "user.musicfs.version").unwrap().unwrap();
    let before = version();
    home.replace("sub/one.flac", &Track::new("Artist", "Album", 1, "One").salted(4).flac());
    daemon.idle();
    assert_ne!(version(), before);
    daemon.stop();
}

#[test]
fn why_says_where_a_file_comes_from() {
    let home = home();
    let daemon = home.start();
    let absolute = home.shown(SHOWN);
    for path in [SHOWN, absolute.to_str().unwrap()] {
        let text = daemon.cli(&["why", path]).ok().out();
        assert!(text.contains("sub/one.flac"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&daemon.cli(&["why", path, "--json"]).ok().out()).unwrap();
        assert_eq!(json["source"]["origin"], "a");
        assert_eq!(json["source"]["path"], "sub/one.flac");
        assert_eq!(json["ino"], ino(&absolute));
    }
    daemon.cli(&["why", "No/Such/File"]).refused();
    daemon.stop();
}

#[test]
fn statfs_answers_and_says_that_the_mount_is_read_only() {
    let home = home();
    let daemon = home.start();
    let answer = rustix::fs::statvfs(home.mnt()).unwrap();
    assert!(answer.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    assert!(answer.f_blocks > 0 && answer.f_bsize >= 512 && answer.f_namemax == 255);
    daemon.stop();
}

#[test]
fn modes_are_those_of_the_origin_without_write() {
    let home = home();
    for (name, mode) in [("a", 0o600), ("b", 0o644), ("c", 0o777), ("d", 0o440)] {
        let file = home.put(&format!("{name}.flac"), &Track::new("Artist", "Modes", 1, name).flac());
        fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
    }
    let daemon = home.start();
    let mode = |path: &str| fs::metadata(home.shown(path)).unwrap().mode() & 0o7777;
    for (name, want) in [("a", 0o400), ("b", 0o444), ("c", 0o555), ("d", 0o440)] {
        assert_eq!(mode(&format!("Artist/Modes (2020)/01 - {name}.flac")), want, "{name}");
    }
    assert_eq!(mode("Artist"), 0o555);
    fs::set_permissions(home.origin().join("b.flac"), PermissionsExt::from_mode(0o400)).unwrap();
    daemon.idle();
    assert_eq!(mode("Artist/Modes (2020)/01 - b.flac"), 0o400, "chmod at the origin shows");
    daemon.stop();
}

#[test]
fn folders_have_one_link_and_the_root_is_inode_one() {
    let home = home();
    let daemon = home.start();
    for path in ["", "Artist", "Artist/Album (2020)"] {
        assert_eq!(fs::metadata(home.shown(path)).unwrap().nlink(), 1, "{path}");
    }
    assert_eq!(ino(&home.mnt()), 1);
    let owner = fs::metadata(home.shown(SHOWN)).unwrap().uid();
    assert_eq!(owner, rustix::process::geteuid().as_raw());
    daemon.stop();
}

#[test]
fn file_that_is_no_folder_and_folder_that_is_no_file_say_so() {
    let home = home();
    let daemon = home.start();
    let errno = |error: std::io::Error| error.raw_os_error().unwrap();
    let inside_file = home.shown(SHOWN).join("x");
    assert_eq!(errno(fs::metadata(inside_file).unwrap_err()), Errno::NOTDIR.raw_os_error());
    assert_eq!(errno(fs::read(home.shown("Artist")).unwrap_err()), Errno::ISDIR.raw_os_error());
    assert_eq!(errno(fs::metadata(Path::new(&home.shown("Nobody"))).unwrap_err()), Errno::NOENT.raw_os_error());
    daemon.stop();
}
