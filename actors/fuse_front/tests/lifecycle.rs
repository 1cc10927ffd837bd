//! Mounting, unmounting, and what is left of a dead mount.
//!
//! Each test has a mountpoint of its own and leaves none behind, also when it fails.
//! Mounts of others are looked at in the kernel's table only.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use actix::Actor;
use musicfs_protocol::{Heartbeat, RefuseWaiting};

use super::super::FuseFront;
use super::super::mount::{MountConfig, MountError, connect, mount, mount_through_helper, serve};
use super::super::mount_table::MountTable;
use super::super::stale::{Cleared, clear_stale};
use super::{Library, TURN, Wishes, can_mount, edge_over, run, shell, wait_ended, wait_until};

fn config(mountpoint: &Path) -> MountConfig {
    MountConfig { mountpoint: mountpoint.to_owned(), allow_other: false, num_threads: 2 }
}

fn is_mounted(mountpoint: &Path) -> bool {
    MountTable::read().expect("read").top_at(mountpoint).is_some()
}

/// A folder for a mount, by its real name.
fn mountpoint_in(dir: &Path) -> PathBuf {
    let mountpoint = dir.canonicalize().expect("there").join("library");
    std::fs::create_dir(&mountpoint).expect("made");
    mountpoint
}

#[test]
fn handler_that_panics_answers_an_error_and_the_mount_lives_on() {
    let Some(library) = Library::new() else { return };
    library.add_file("a.flac", b"bytes");
    for round in 1..=10 {
        let error = std::fs::metadata(library.path("panic")).expect_err("refused");
        assert!(error.to_string().contains("Input/output error"), "{error}");
        wait_until("it is counted", || library.metrics.fuse_panics.get() == round);
    }
    assert_eq!(library.count("lookup", false), 10);
    assert_eq!(std::fs::read(library.path("a.flac")).expect("read"), b"bytes");
}

#[test]
fn mount_is_read_only_and_carries_our_name() {
    let Some(library) = Library::new() else { return };
    let options = run(&format!("findmnt -n -o FSTYPE,SOURCE,OPTIONS {}", library.mounted.mountpoint().display()));
    for word in ["fuse.musicfs", " musicfs ", "ro,", "nosuid", "nodev", "default_permissions"] {
        assert!(options.contains(word), "{word}: {options}");
    }
}

#[test]
fn unmounting_waits_for_no_open_file_and_happens_once() {
    let Some(library) = Library::new() else { return };
    library.add_file("a.flac", b"bytes");
    let mut open = File::open(library.path("a.flac")).expect("opened");
    library.mounted.unmount_lazily();
    library.mounted.unmount_lazily();
    assert!(!is_mounted(library.mounted.mountpoint()));
    assert!(!*library.mounted.ended().borrow());
    let mut bytes = String::new();
    open.read_to_string(&mut bytes).expect("still readable");
    assert_eq!(bytes, "bytes");
    drop(open);
    wait_ended(&library.mounted);
}

#[test]
fn unmount_by_someone_else_is_noticed_and_the_next_mount_there_left_alone() {
    let Some(library) = Library::new() else { return };
    let mountpoint = library.mounted.mountpoint().to_owned();
    run(&format!("fusermount3 -u {}", mountpoint.display()));
    wait_ended(&library.mounted);
    let (edge, ..) = edge_over(library.dir.path(), Wishes::default());
    let next = mount(&config(&mountpoint), &edge).expect("mounted again");
    library.mounted.unmount_lazily();
    assert!(is_mounted(&mountpoint));
    drop(next);
    assert!(!is_mounted(&mountpoint));
}

#[test]
fn mountpoint_that_cannot_be_used_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("temp folder");
    let (edge, ..) = edge_over(dir.path(), Wishes::default());
    std::fs::write(dir.path().join("file"), b"").expect("written");
    let refusal = |name: &str| match mount(&config(&dir.path().join(name)), &edge) {
        Ok(_) => panic!("{name} was mounted on"),
        Err(error) => error,
    };
    assert!(matches!(refusal("absent"), MountError::MountpointMissing(_)));
    assert!(matches!(refusal("file"), MountError::MountpointNotFolder(_)));
    assert!(matches!(refusal("."), MountError::MountpointNotEmpty(_)));
    assert!(refusal("absent").to_string().contains("mkdir -p"));
}

#[test]
fn live_mount_is_neither_cleared_nor_mounted_over() {
    let Some(library) = Library::new() else { return };
    let mountpoint = library.mounted.mountpoint();
    assert!(matches!(clear_stale(mountpoint), Err(MountError::AlreadyMounted(_))));
    assert!(matches!(mount(&config(mountpoint), &library.edge), Err(MountError::AlreadyMounted(_))));
    let link = library.dir.path().join("link");
    std::os::unix::fs::symlink(mountpoint, &link).expect("made");
    assert!(matches!(clear_stale(&link), Err(MountError::AlreadyMounted(_))));
    assert!(is_mounted(mountpoint));
    run(&format!("ls {}", mountpoint.display()));
}

/// A mount whose daemon does nothing; it is dead when the descriptor is dropped.
fn mount_without_a_daemon(mountpoint: &Path) -> OwnedFd {
    connect(mountpoint, &config(mountpoint)).expect("mounted")
}

#[test]
fn dead_mounts_are_cleared_layer_by_layer() {
    if !can_mount() {
        return;
    }
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().expect("temp folder");
    let mountpoint = mountpoint_in(dir.path());
    assert_eq!(clear_stale(&mountpoint).expect("nothing there"), Cleared::Nothing);
    assert_eq!(clear_stale(&dir.path().join("absent/library")).expect("nothing there"), Cleared::Nothing);
    drop(mount_without_a_daemon(&mountpoint));
    assert!(is_mounted(&mountpoint));
    let dead = shell(&format!("stat {}", mountpoint.display())).output().expect("sh");
    assert!(String::from_utf8_lossy(&dead.stderr).contains("not connected"), "{dead:?}");
    assert_eq!(clear_stale(&mountpoint).expect("cleared"), Cleared::DeadMount);
    assert!(!is_mounted(&mountpoint));
    assert_eq!(run(&format!("ls {}", mountpoint.display())), "");
}

#[test]
fn mount_that_does_not_answer_is_left_alone() {
    if !can_mount() {
        return;
    }
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().expect("temp folder");
    let mountpoint = mountpoint_in(dir.path());
    let connection = mount_without_a_daemon(&mountpoint);
    assert!(matches!(clear_stale(&mountpoint), Err(MountError::Unresponsive(_))));
    assert!(is_mounted(&mountpoint));
    drop(connection);
    assert_eq!(clear_stale(&mountpoint).expect("cleared"), Cleared::DeadMount);
}

#[test]
fn mount_through_the_setuid_helper_serves_like_any_other() {
    if !can_mount() {
        return;
    }
    if !shell("command -v fusermount3 >/dev/null").status().expect("sh").success() {
        println!("skipped: no fusermount3");
        return;
    }
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().expect("temp folder");
    let mountpoint = mountpoint_in(dir.path());
    let (edge, ..) = edge_over(dir.path(), Wishes::default());
    let connection = mount_through_helper(&mountpoint, &config(&mountpoint)).expect("mounted");
    let mounted = serve(mountpoint.clone(), connection, &config(&mountpoint), &edge).expect("served");
    let shown = run(&format!("findmnt -n -o FSTYPE,OPTIONS {m}; ls -a {m}", m = mountpoint.display()));
    assert!(shown.contains("fuse.musicfs") && shown.contains("ro,") && shown.contains(".origins"), "{shown}");
    drop(mounted);
    assert!(!is_mounted(&mountpoint));
}

#[test]
fn setuid_helper_that_refuses_is_quoted() {
    let gone = Path::new("/nonexistent/library");
    let refusal = mount_through_helper(gone, &config(gone)).expect_err("refused");
    match refusal {
        MountError::FusermountFailed(text) => assert!(text.contains("nonexistent"), "{text}"),
        MountError::FusermountMissing => println!("skipped: no fusermount3"),
        other => panic!("{other}"),
    }
}

#[test]
fn actor_can_be_replaced_while_the_mount_serves_on() {
    let Some(library) = Library::with(Wishes { ready: false, ..Wishes::default() }) else { return };
    library.add_file("a.flac", b"bytes");
    let stats = library.board.actor("fuse_front");
    let list = shell(&format!("ls {}", library.mounted.mountpoint().display())).spawn().expect("sh");
    wait_until("it waits", || library.edge.num_waiting() == 1);
    let mut list = list;
    actix::System::new().block_on(async {
        for _ in 0..2 {
            let addr = FuseFront::new(library.edge.clone()).start();
            addr.send(Heartbeat).await.expect("alive");
            drop(addr);
        }
        let addr = FuseFront::new(library.edge.clone()).start();
        assert_eq!(library.edge.num_waiting(), 1);
        addr.send(RefuseWaiting).await.expect("alive");
    });
    assert!(!list.wait().expect("ended").success());
    assert!(std::fs::metadata(library.path("a.flac")).is_err(), "nothing waits any more");
    library.gate.open();
    assert_eq!(std::fs::read(library.path("a.flac")).expect("read"), b"bytes");
    assert!(stats.snapshot().handled > 0);
}
