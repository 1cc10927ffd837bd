//! Folders: lookups, walks, and walks while the folder changes.
//!
//! A real mount over a catalog in memory, so that exactly what changes is known.
//! Nothing is timed; a walk is complete or it is not.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use musicfs_pure::ids::Ino;

use super::{Library, Wishes, kind, run, shell, wait_until};

/// A folder of `count` files that are all one file of the origin.
fn fill(library: &Library, count: u32) -> Vec<Ino> {
    std::fs::write(library.origin_path("one"), b"1").expect("written");
    let folder = library.catalog.add_folder(Ino::ROOT, b"folder");
    (0..count).map(|n| library.catalog.add_file(folder, format!("file {n}").as_bytes(), b"one")).collect()
}

#[test]
fn listing_of_ten_thousand_is_complete_while_entries_come_and_go() {
    let Some(library) = Library::new() else { return };
    let inos = fill(&library, 10_000);
    let folder = library.catalog.add_folder(Ino::ROOT, b"unused");
    library.catalog.remove(folder);
    let mut seen = Vec::new();
    let dir = std::fs::read_dir(library.path("folder")).expect("opened");
    for (count, entry) in dir.enumerate() {
        seen.push(entry.expect("listed").file_name());
        if count % 100 == 0 && count / 100 < 50 {
            // every second one of the upper half goes, as many new ones come
            library.catalog.remove(inos[5_000 + count / 100 * 2]);
            library.catalog.add_file(Ino(16), format!("late {count}").as_bytes(), b"one");
        }
    }
    let unique: HashSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "no entry twice");
    for n in (0..5_000).chain((5_001..10_000).step_by(2)) {
        assert!(unique.contains(&OsString::from(format!("file {n}"))), "file {n}");
    }
    assert!(library.count("readdirplus", true) > 10);
}

#[test]
fn listing_has_dots_types_and_stable_inode_numbers() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"12345");
    let folder = library.catalog.add_folder(Ino::ROOT, b"folder");
    let dir = File::open(library.mounted.mountpoint()).expect("opened");
    let listed: Vec<_> = rustix::fs::Dir::read_from(&dir)
        .expect("listed")
        .map(|entry| entry.expect("listed"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.ino(), entry.file_type().is_dir()))
        .collect();
    let expected = [
        (".", Ino::ROOT, true),
        ("..", Ino::ROOT, true),
        (".origins", Ino::ORIGINS, true),
        ("a.flac", ino, false),
        ("folder", folder, true),
    ];
    assert_eq!(listed, expected.map(|(name, ino, is_folder)| (name.to_owned(), ino.0, is_folder)));
    assert_eq!(run(&format!("ls -ai {}/folder | wc -l", library.mounted.mountpoint().display())), "2");
}

#[test]
fn attributes_are_those_of_the_catalog_to_the_nanosecond() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", &[7; 1025]);
    let plain = std::fs::metadata(library.origin_path("a.flac")).expect("there");
    let shown = std::fs::metadata(library.path("a.flac")).expect("shown");
    assert_eq!((shown.size(), shown.blocks(), shown.nlink(), shown.ino()), (1025, 3, 1, ino.0));
    assert_eq!((shown.mtime(), shown.mtime_nsec()), (plain.mtime(), plain.mtime_nsec()));
    assert_eq!((shown.mode(), shown.uid(), shown.gid()), (0o100_444, super::owner().uid, super::owner().gid));
    let root = std::fs::metadata(library.mounted.mountpoint()).expect("shown");
    assert_eq!((root.mode(), root.nlink(), root.ino()), (0o040_555, 1, 1));
    let there = run(&format!("stat -f -c '%b %l' {}", library.mounted.mountpoint().display()));
    let cache = run(&format!("stat -f -c '%b' {}", library.dir.path().display()));
    assert_eq!(there, format!("{cache} 255"));
}

#[test]
fn names_are_bytes() {
    let Some(library) = Library::new() else { return };
    std::fs::write(library.origin_path("one"), b"1").expect("written");
    let name = OsStr::from_bytes(b"\xff\xfe caf\xe9\n.flac");
    library.catalog.add_file(Ino::ROOT, name.as_bytes(), b"one");
    assert_eq!(std::fs::read(library.mounted.mountpoint().join(name)).expect("read"), b"1");
    let listed = std::fs::read_dir(library.mounted.mountpoint()).expect("opened");
    assert!(listed.flatten().any(|entry| entry.file_name() == name));
}

#[test]
fn absent_name_is_asked_for_once_until_it_is_invalidated() {
    let Some(library) = Library::new() else { return };
    let absent = || kind(std::fs::metadata(library.path("late.flac")));
    assert_eq!(absent(), ErrorKind::NotFound);
    let asked = library.count("lookup", true);
    assert_eq!(absent(), ErrorKind::NotFound);
    assert_eq!(library.count("lookup", true), asked, "the kernel remembers");
    library.add_file("late.flac", b"here");
    library.forget("late.flac");
    assert_eq!(std::fs::read(library.path("late.flac")).expect("seen"), b"here");
}

#[test]
fn second_walk_asks_for_no_file_again() {
    let Some(library) = Library::new() else { return };
    fill(&library, 200);
    let walk = format!("ls -l {}", library.path("folder").display());
    assert_eq!(run(&walk).lines().count(), 201);
    let (lookups, getattrs) = (library.count("lookup", true), library.count("getattr", true));
    run(&walk);
    assert!(library.count("lookup", true) - lookups < 20, "names are cached");
    assert!(library.count("getattr", true) - getattrs < 20, "attributes are cached");
}

#[test]
fn listing_of_a_small_folder_asks_the_catalog_once_and_is_read_again_when_rewound() {
    use rustix::fs::{RawDir, SeekFrom, seek};
    let Some(library) = Library::new() else { return };
    fill(&library, 12);
    let folder = library.catalog.add_folder(Ino::ROOT, b"other");
    library.catalog.add_file(folder, b"early", b"one");
    let dir = File::open(library.path("other")).expect("opened");
    let list = || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(&dir, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            names.push(entry.expect("listed").file_name().to_bytes().to_vec());
        }
        names
    };
    let before = library.catalog.num_scans();
    assert_eq!(list(), [&b"."[..], b"..", b"early"]);
    assert_eq!(library.catalog.num_scans() - before, 1, "the end is known");
    assert!(list().is_empty());
    assert_eq!(library.catalog.num_scans() - before, 1, "and stays known");
    library.catalog.add_file(folder, b"late", b"one");
    seek(&dir, SeekFrom::Start(0)).expect("rewound");
    assert_eq!(list(), [&b"."[..], b"..", b"early", b"late"]);
}

#[test]
fn closed_gate_holds_the_root_back_and_nothing_else() {
    let Some(library) = Library::with(Wishes { ready: false, ..Wishes::default() }) else { return };
    library.add_file("a.flac", b"bytes");
    let root = library.mounted.mountpoint().display();
    let list = { shell(&format!("ls {root}")) }.stdout(Stdio::piped()).spawn().expect("sh");
    let read = { shell(&format!("cat {root}/a.flac")) }.stdout(Stdio::piped()).spawn().expect("sh");
    wait_until("both wait", || library.edge.num_waiting() == 2);
    assert_eq!(run(&format!("stat -c %i {root}")), "1");
    assert_eq!(run(&format!("stat -f -c %l {root}")), "255");
    assert_eq!(run(&format!("stat -c %i {root}/.origins")), "2");
    assert_eq!(run(&format!("ls {root}/.origins")), "");
    assert_eq!(library.edge.num_waiting(), 2);
    library.gate.open();
    assert_eq!(list.wait_with_output().expect("ended").stdout, b"a.flac\n");
    assert_eq!(read.wait_with_output().expect("ended").stdout, b"bytes");
}

#[test]
fn gate_that_never_opens_answers_with_an_error_and_not_with_an_empty_library() {
    let Some(library) = Library::with(Wishes { ready: false, ..Wishes::default() }) else { return };
    let root = library.mounted.mountpoint().display();
    let list = { shell(&format!("ls {root}")) }.stderr(Stdio::piped()).spawn().expect("sh");
    wait_until("it waits", || library.edge.num_waiting() == 1);
    library.edge.tick(Instant::now() + Duration::from_secs(18));
    let output = list.wait_with_output().expect("ended");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Input/output error"), "{output:?}");
    library.gate.open();
    assert_eq!(run(&format!("ls {root}")), "");
}
