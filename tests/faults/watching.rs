//! What the watcher cannot see: a queue that overflows, watches that are not granted, filesystems that come and go.
//!
//! The overflow is a real one: the daemon is stopped while the queue fills. That the system grants no watch is a failpoint,
//! because the real limit belongs to the whole machine. Mounts are made in a mount namespace of the test's own thread,
//! which the daemon inherits; nobody else sees them.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, inodes, listed, try_listed, walk};
use crate::support::user::private_mounts;
use crate::support::{eventually, require_root, skip};

fn track(number: u32) -> Vec<u8> {
    Track::new("Artist", "Album", number, "T").flac()
}

fn home(num_tracks: u32) -> Sandbox {
    let home = Sandbox::new();
    for number in 1..=num_tracks {
        home.put(&format!("{}/{number}.flac", number % 3), &track(number));
    }
    home
}

fn origins(daemon: &Daemon<'_>) -> String {
    daemon.cli(&["origin", "list"]).ok().out()
}

/// The daemon of an origin that is compared every second where nothing announces changes.
fn polled_every_second(home: &Sandbox) -> Command {
    let location = home.origin();
    home.configure(&format!("[origin.a]\nlocation = \"{}\"\npoll_interval = \"1s\"\n", location.display()));
    let mut command = home.command(&["mount"]);
    command.arg(home.mnt());
    command
}

#[test]
fn overflow_of_the_event_queue_loses_no_change() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: u32 = limit.trim().parse().unwrap();
    if limit > 100_000 {
        return skip(module_path!(), "the event queue of this system takes too long to fill");
    }
    let home = home(5);
    let daemon = home.start();
    daemon.signal(Signal::STOP);
    // two files in turn, because an event that equals the last one in the queue is not queued again
    for number in 0..=limit / 2 {
        fs::write(home.origin().join(format!("noise{}.txt", number % 2)), b"x").unwrap();
    }
    for number in 6..=30 {
        home.put(&format!("late/{}/{number}.flac", number % 4), &track(number));
    }
    fs::rename(home.origin().join("1"), home.origin().join("moved")).unwrap();
    daemon.signal(Signal::CONT);
    daemon.idle();
    assert!(sum(&daemon.metrics(), "musicfs_watcher_overflows_total", &[]) >= 1);
    assert_eq!(files(&home.mnt()).len(), 30);
    assert_eq!(files(&home.shown(".origins/a")), files(&home.origin()));
    // what appeared unseen is watched from now on
    home.put("late/1/31.flac", &track(31));
    home.put("moved/32.flac", &track(32));
    daemon.idle();
    assert_eq!(files(&home.mnt()).len(), 32);
    daemon.stop();
}

#[test]
fn lost_event_is_made_up_for_by_a_comparison() {
    let home = home(5);
    let points = Failpoints::new(&home);
    let daemon = home.start_with(points.arm(&mut home.mount_command()));
    daemon.idle();
    let before = sum(&daemon.metrics(), "musicfs_watcher_overflows_total", &[]);
    points.set("watcher::overflow", "1*return->off");
    fs::remove_file(home.origin().join("1/1.flac")).unwrap();
    home.put("6.flac", &track(6));
    daemon.idle();
    assert_eq!(sum(&daemon.metrics(), "musicfs_watcher_overflows_total", &[]), before + 1);
    assert_eq!(files(&home.shown(".origins/a")), files(&home.origin()));
    daemon.stop();
}

#[test]
fn origin_without_watches_is_polled_and_watched_again_when_they_can_be_had() {
    let home = home(5);
    let points = Failpoints::new(&home);
    points.preset("watcher::add_watch", "return");
    let daemon = home.start_with(points.arm(&mut polled_every_second(&home)));
    eventually("the origin is polled", || origins(&daemon).contains("polling"));
    let text = origins(&daemon);
    for word in ["fs.inotify.max_user_watches is ", "sudo sysctl fs.inotify.max_user_watches="] {
        assert!(text.contains(word) && daemon.cli(&["status"]).ok().out().contains(word), "{text}");
    }
    home.put("6.flac", &track(6));
    eventually("the change is found by polling", || try_listed(&home.mnt()).is_ok_and(|shown| shown.len() == 6));
    let log = fs::read_to_string(home.log()).unwrap();
    let warnings = log.lines().filter(|line| line.contains("the origin is not watched")).count();
    assert_eq!(warnings, 1, "{log}");
    points.set("watcher::add_watch", "off");
    points.set("watcher::limits", "return(12345678)");
    eventually("the origin is watched again", || origins(&daemon).contains("events"));
    assert!(!origins(&daemon).contains("max_user_watches"), "{}", origins(&daemon));
    home.put("7.flac", &track(7));
    daemon.idle();
    assert_eq!(files(&home.mnt()).len(), 7);
    daemon.stop();
}

#[test]
fn new_folder_without_a_watch_turns_its_origin_to_polling() {
    let home = home(5);
    let points = Failpoints::new(&home);
    let daemon = home.start_with(points.arm(&mut polled_every_second(&home)));
    daemon.idle();
    assert!(origins(&daemon).contains("events"), "{}", origins(&daemon));
    points.set("watcher::add_watch", "return");
    home.put("new/6.flac", &track(6));
    eventually("the origin is polled", || origins(&daemon).contains("polling"));
    home.put("new/deep/7.flac", &track(7));
    fs::remove_file(home.origin().join("1/1.flac")).unwrap();
    let same = || try_listed(&home.shown(".origins/a")).is_ok_and(|shown| shown == listed(&home.origin()));
    eventually("changes are found by polling", same);
    daemon.stop();
}

fn put_tracks(folder: &Path, numbers: std::ops::Range<u32>) {
    for number in numbers {
        fs::write(folder.join(format!("{number}.flac")), track(number)).unwrap();
    }
}

#[test]
fn filesystem_that_is_unmounted_below_the_root_loses_nothing() {
    require_root!("mount filesystems");
    private_mounts().unwrap();
    let home = home(9);
    let disk = home.origin().join("disk");
    fs::create_dir(&disk).unwrap();
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), None).unwrap();
    put_tracks(&disk, 10..15);
    let daemon = home.start();
    assert_eq!(listed(&home.mnt()).len(), 14);
    let before = inodes(&walk(&home.mnt()));
    unmount(&disk, UnmountFlags::DETACH).unwrap();
    fs::remove_file(home.origin().join("0/9.flac")).unwrap();
    daemon.idle();
    let raw = listed(&home.shown(".origins/a"));
    assert!(raw.contains("disk/10.flac") && !raw.contains("0/9.flac"), "{raw:?}");
    let text = origins(&daemon);
    assert!(text.contains("quarantined") && text.contains("`disk`") && text.contains("--accept-removals"), "{text}");
    daemon.stop();
    // at the next start the folder is empty, as it was at the end of the last run
    let daemon = home.start();
    daemon.idle();
    assert_eq!(listed(&home.mnt()).len(), 13);
    // the same files are back on another filesystem
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), None).unwrap();
    put_tracks(&disk, 10..15);
    daemon.idle();
    assert!(!origins(&daemon).contains("quarantined"), "{}", origins(&daemon));
    put_tracks(&disk, 15..16);
    fs::remove_file(disk.join("10.flac")).unwrap();
    daemon.idle();
    assert_eq!(listed(&home.shown(".origins/a")), listed(&home.origin()));
    let after = inodes(&walk(&home.mnt()));
    let stayed = before.iter().filter(|(path, _)| path.to_string_lossy().contains("/11 - "));
    assert!(stayed.clone().count() == 1);
    for (path, ino) in stayed {
        assert_eq!(after.get(path), Some(ino), "{}", path.display());
    }
    daemon.stop();
}

#[test]
fn folder_that_is_bound_below_the_root_and_released_loses_nothing_and_comes_back() {
    require_root!("mount filesystems");
    private_mounts().unwrap();
    let home = home(3);
    let (disk, away) = (home.origin().join("disk"), home.path("stage/disk"));
    for folder in [&disk, &away] {
        fs::create_dir(folder).unwrap();
    }
    put_tracks(&away, 10..13);
    let daemon = home.start();
    mount_bind(&away, &disk).unwrap();
    daemon.idle();
    assert_eq!(listed(&home.mnt()).len(), 6, "what is mounted is found");
    let before = walk(&home.mnt());
    unmount(&disk, UnmountFlags::DETACH).unwrap();
    daemon.idle();
    assert_eq!(listed(&home.mnt()).len(), 6);
    mount_bind(&away, &disk).unwrap();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    assert!(!origins(&daemon).contains("quarantined"), "{}", origins(&daemon));
    daemon.stop();
}

#[test]
fn root_that_is_unmounted_keeps_every_file_and_is_watched_when_it_is_back() {
    require_root!("mount filesystems");
    private_mounts().unwrap();
    let home = Sandbox::new();
    let away = home.path("stage/disk");
    fs::create_dir(&away).unwrap();
    put_tracks(&away, 1..6);
    mount_bind(&away, home.origin()).unwrap();
    let daemon = home.start();
    let before = walk(&home.mnt());
    unmount(home.origin(), UnmountFlags::DETACH).unwrap();
    daemon.idle();
    assert_eq!(listed(&home.mnt()).len(), 5);
    assert!(origins(&daemon).contains("quarantined"), "{}", origins(&daemon));
    mount_bind(&away, home.origin()).unwrap();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    put_tracks(&home.origin(), 6..7);
    daemon.idle();
    assert_eq!(listed(&home.mnt()).len(), 6);
    daemon.stop();
    unmount(home.origin(), UnmountFlags::DETACH).unwrap();
}

#[test]
fn renames_on_a_filesystem_without_lasting_inodes_keep_the_numbers() {
    require_root!("mount filesystems");
    private_mounts().unwrap();
    let home = Sandbox::new();
    let layers = ["lower", "upper", "work"].map(|name| home.path("stage").join(name));
    for layer in &layers {
        fs::create_dir(layer).unwrap();
    }
    let [lower, upper, work] = layers.map(|layer| layer.display().to_string());
    let options = CString::new(format!("lowerdir={lower},upperdir={upper},workdir={work}")).unwrap();
    if let Err(error) = mount("overlay", home.origin(), "overlay", MountFlags::empty(), Some(options.as_c_str())) {
        return skip(module_path!(), &format!("an overlay cannot be mounted here: {error}"));
    }
    fs::create_dir(home.origin().join("old")).unwrap();
    put_tracks(&home.origin().join("old"), 1..30);
    let daemon = home.start();
    let before = inodes(&walk(&home.mnt()));
    fs::create_dir(home.origin().join("new")).unwrap();
    for number in 1..30 {
        let name = format!("{number}.flac");
        fs::rename(home.origin().join("old").join(&name), home.origin().join("new").join(&name)).unwrap();
    }
    daemon.idle();
    assert_eq!(inodes(&walk(&home.mnt())), before);
    daemon.stop();
    fs::rename(home.origin().join("new/7.flac"), home.origin().join("renamed.flac")).unwrap();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(inodes(&walk(&home.mnt())), before, "also while no daemon ran");
    daemon.stop();
    unmount(home.origin(), UnmountFlags::DETACH).unwrap();
}
