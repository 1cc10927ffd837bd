//! `.origins/<name>/`: each origin as it is, hidden from listings unless asked for.
//!
//! Scanners index dot-folders too, so a listed raw view would show them every file twice; that is why "hidden" is the
//! default and still answers to its name.

use std::fs;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, walk};

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("x/one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home.put("x/list.m3u", b"one.flac\n");
    home.put("notes.txt", b"not music");
    home
}

fn root_names(home: &Sandbox) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(home.mnt()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn hidden_raw_view_answers_to_its_name_and_is_not_listed() {
    let home = home();
    let daemon = home.start();
    assert_eq!(root_names(&home), ["Artist"]);
    assert_eq!(files(&home.shown(".origins")), files(&home.origin()).iter().map(|name| format!("a/{name}")).collect());
    daemon.stop();
}

#[test]
fn raw_view_shows_every_file_with_its_bytes_and_attributes() {
    let home = home();
    let daemon = home.start();
    let (raw, plain) = (walk(&home.shown(".origins/a")), walk(&home.origin()));
    assert_eq!(raw.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (path, node) in raw.iter().filter(|(_, node)| !node.is_dir) {
        let want = &plain[path];
        assert_eq!((node.size, node.mtime, node.content), (want.size, want.mtime, want.content), "{}", path.display());
    }
    daemon.stop();
}

#[test]
fn raw_view_follows_changes() {
    let home = home();
    let daemon = home.start();
    assert!(!home.shown(".origins/a/new").exists());
    fs::create_dir(home.origin().join("new")).unwrap();
    fs::rename(home.origin().join("x/one.flac"), home.origin().join("new/two.flac")).unwrap();
    fs::remove_file(home.origin().join("notes.txt")).unwrap();
    daemon.idle();
    assert_eq!(files(&home.shown(".origins/a")), files(&home.origin()));
    assert!(!home.shown(".origins/a/x/one.flac").exists());
    daemon.stop();
}

#[test]
fn listed_raw_view_is_in_the_root() {
    let home = home();
    home.configure("raw_view = \"listed\"\n");
    let daemon = home.start();
    assert_eq!(root_names(&home), [".origins", "Artist"]);
    daemon.stop();
}

#[test]
fn raw_view_that_is_off_does_not_exist() {
    let home = home();
    home.configure("raw_view = \"off\"\n");
    let daemon = home.start();
    assert_eq!(root_names(&home), ["Artist"]);
    assert!(!home.shown(".origins").exists());
    daemon.stop();
}

#[test]
fn origins_stand_beside_each_other() {
    let home = home();
    let other = home.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("two.flac"), Track::new("Artist", "Album", 2, "Two").flac()).unwrap();
    let daemon = home.start_with(home.mount_command().arg("--origin").arg(format!("b={}", other.display())));
    let names: Vec<_> = files(&home.shown("Artist/Album (2020)")).into_iter().collect();
    assert_eq!(names, ["01 - One.flac", "02 - Two.flac"]);
    assert!(files(&home.shown(".origins")).contains("b/two.flac"));
    daemon.stop();
}
