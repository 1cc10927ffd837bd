//! Starting: what is refused, what is cleared away, and what a reader sees in the first moments.
//!
//! Every refusal is one line that names the cause and the next step; a start that is refused leaves nothing behind.

use std::fs;
use std::os::unix::net::UnixListener;

use crate::support::command::{Finished, run};
use crate::support::daemon::{Daemon, mounted};
use crate::support::eventually;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, names_in, walk};

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home
}

/// Asserts that a start was refused with a message that names all of `words`, and that nothing is mounted.
#[track_caller]
fn assert_refused(home: &Sandbox, finished: Finished, words: &[&str]) {
    let finished = finished.refused();
    for word in words {
        assert!(finished.err().contains(word), "`{word}` in: {}", finished.err());
    }
    assert!(!mounted(&home.mnt()));
}

#[test]
fn mountpoint_inside_an_origin_is_refused() {
    let home = home();
    let inside = home.origin().join("mnt");
    fs::create_dir(&inside).unwrap();
    let origin = format!("a={}", home.origin().display());
    let args = ["mount", inside.to_str().unwrap(), "--origin", &origin];
    assert_refused(&home, home.cli(&args), &["inside", home.origin().to_str().unwrap()]);
}

#[test]
fn origin_inside_the_mountpoint_is_refused() {
    let home = home();
    let inside = home.mnt().join("music");
    fs::create_dir(&inside).unwrap();
    let origin = format!("a={}", inside.display());
    let mnt = home.mnt();
    let args = ["mount", mnt.to_str().unwrap(), "--origin", &origin];
    assert_refused(&home, home.cli(&args), &["around", inside.to_str().unwrap()]);
}

#[test]
fn mountpoint_inside_an_origin_by_another_spelling_is_refused() {
    let home = home();
    let origin = format!("a={}/../origin/", home.origin().display());
    let inside = home.origin().join("./sub/../sub");
    fs::create_dir(home.origin().join("sub")).unwrap();
    let args = ["mount", inside.to_str().unwrap(), "--origin", &origin];
    assert_refused(&home, home.cli(&args), &["inside"]);
}

#[test]
fn second_daemon_on_the_same_data_is_refused_and_the_first_goes_on() {
    let home = home();
    let daemon = home.start();
    let other = home.path("mnt2");
    fs::create_dir(&other).unwrap();
    let origin = format!("a={}", home.origin().display());
    let data = home.path("data");
    let mut second = home.bare(&["mount", other.to_str().unwrap(), "--origin", &origin]);
    second.arg("--data-dir").arg(&data).arg("--socket").arg(home.path("run/second.sock"));
    let finished = run(&mut second).refused();
    assert!(finished.err().contains(data.to_str().unwrap()), "{}", finished.err());
    assert!(!mounted(&other));
    daemon.cli(&["status"]).ok();
    assert_eq!(files(&home.mnt()).len(), 1);
    daemon.stop();
}

#[test]
fn second_daemon_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let home = home();
    let daemon = home.start();
    let other = home.path("mnt2");
    fs::create_dir(&other).unwrap();
    let origin = format!("a={}", home.origin().display());
    let mut second = home.bare(&["mount", other.to_str().unwrap(), "--origin", &origin]);
    second.arg("--data-dir").arg(home.path("data2")).arg("--socket").arg(home.socket());
    run(&mut second).refused();
    assert!(!mounted(&other));
    daemon.cli(&["status"]).ok();
    daemon.stop();
}

#[test]
fn stale_socket_file_is_taken_over() {
    let home = home();
    drop(UnixListener::bind(home.socket()).unwrap());
    assert!(home.socket().exists());
    let daemon = home.start();
    daemon.cli(&["status"]).ok();
    daemon.stop();
}

#[test]
fn file_that_is_no_socket_is_not_taken_over() {
    let home = home();
    fs::write(home.socket(), b"somebody's notes").unwrap();
    assert_refused(&home, run(&mut home.mount_command()), &["control.sock"]);
    assert_eq!(fs::read(home.socket()).unwrap(), b"somebody's notes");
}

#[test]
fn mountpoint_that_is_no_folder_or_not_empty_is_refused() {
    let home = home();
    fs::write(home.path("file"), b"").unwrap();
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/notes"), b"would be hidden").unwrap();
    let origin = format!("a={}", home.origin().display());
    for name in ["file", "full"] {
        let path = home.path(name);
        let finished = home.cli(&["mount", path.to_str().unwrap(), "--origin", &origin]);
        assert_refused(&home, finished, &[path.to_str().unwrap()]);
        assert!(!mounted(&path));
    }
}

#[test]
fn mountpoint_that_is_missing_is_made() {
    let home = home();
    fs::remove_dir(home.mnt()).unwrap();
    let daemon = home.start();
    assert_eq!(files(&home.mnt()).len(), 1);
    daemon.stop();
}

#[test]
fn mount_without_a_mountpoint_is_refused() {
    let home = home();
    let origin = format!("a={}", home.origin().display());
    assert_refused(&home, home.cli(&["mount", "--origin", &origin]), &["mountpoint"]);
}

#[test]
fn live_mount_of_another_daemon_is_never_cleared() {
    let home = home();
    let daemon = home.start();
    let origin = format!("a={}", home.origin().display());
    let mut second = home.bare(&["mount", home.mnt().to_str().unwrap(), "--origin", &origin]);
    second.arg("--data-dir").arg(home.path("data2")).arg("--socket").arg(home.path("run/second.sock"));
    run(&mut second).refused();
    assert_eq!(files(&home.mnt()).len(), 1, "the first daemon still serves");
    daemon.stop();
}

#[test]
fn mountpoint_in_the_configuration_needs_no_argument() {
    let home = home();
    let (mnt, origin) = (home.mnt(), home.origin());
    home.configure(&format!(
        "mountpoint = \"{}\"\n[origin.main]\nlocation = \"{}\"\n",
        mnt.display(),
        origin.display()
    ));
    let daemon = home.start_with(&mut home.command(&["mount"]));
    assert_eq!(files(&home.mnt()).len(), 1);
    daemon.stop();
}

#[test]
fn socket_answers_and_mount_appears_with_the_only_origin_missing() {
    let home = Sandbox::new();
    let missing = format!("a={}", home.path("not-there").display());
    let mut command = home.command(&["mount", home.mnt().to_str().unwrap(), "--origin", &missing]);
    let daemon = Daemon::spawn(&home, &mut command);
    eventually("the mount appears", || mounted(&home.mnt()));
    daemon.cli(&["status"]).ok();
    daemon.cli(&["origin", "list"]).ok();
    assert!(names_in(&home.mnt()).is_empty());
    daemon.stop();
}

#[test]
fn first_look_at_a_new_library_is_not_at_an_empty_one() {
    let home = Sandbox::new();
    for number in 0..400 {
        let track = Track::new(&format!("Artist {}", number % 20), "Album", number, "T");
        home.put(&format!("{}/{number}.flac", number % 20), &track.flac());
    }
    let daemon = Daemon::spawn(&home, &mut home.mount_command());
    eventually("the mount appears", || mounted(&home.mnt()));
    let first = names_in(&home.mnt());
    assert!(!first.is_empty(), "a scanner that looks now would wipe its library");
    daemon.scanned();
    assert_eq!(names_in(&home.mnt()).len(), 20);
    daemon.stop();
}

#[test]
fn known_library_is_whole_at_once_at_the_next_start() {
    let home = Sandbox::new();
    for number in 0..200 {
        home.put(&format!("{number}.flac"), &Track::new("Artist", "Album", number, "T").flac());
    }
    let daemon = home.start();
    let before = walk(&home.mnt());
    daemon.stop();
    let daemon = Daemon::spawn(&home, &mut home.mount_command());
    eventually("the mount appears", || mounted(&home.mnt()));
    assert_eq!(walk(&home.mnt()), before);
    daemon.scanned();
    daemon.stop();
}

#[test]
fn mountpoint_that_a_link_leads_into_an_origin_is_refused() {
    let home = Sandbox::new();
    fs::create_dir(home.origin().join("empty")).unwrap();
    let link = home.path("link");
    std::os::unix::fs::symlink(home.origin().join("empty"), &link).unwrap();
    let origin = format!("a={}", home.origin().display());
    let finished = home.cli(&["mount", link.to_str().unwrap(), "--origin", &origin]);
    assert_refused(&home, finished, &["through its links", "choose another"]);
    assert!(!home.socket().exists(), "a start that failed leaves no socket");
}
