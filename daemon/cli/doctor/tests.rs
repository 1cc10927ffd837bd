//! Each check against a made-up world that lacks nothing but what is broken on purpose.
//!
//! Children are played by a script, so that a mount can be dead or an origin away without either. What the real children
//! find is tested through the program, in `tests/cli/doctor.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use super::probe::{FolderFacts, OriginFacts};
use super::running::Running;
use super::*;

const MOUNTPOINT: &str = "/home/u/Library";

/// A world of an ordinary user in which all is well.
struct Place {
    folder: tempfile::TempDir,
    world: World,
    subject: Subject,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let world = World {
            path: vec![at("bin")],
            uid: 1000,
            groups: vec![1000],
            user: "u".to_owned(),
            fuse_device: at("fuse"),
            fuse_conf: at("fuse.conf"),
            mountinfo: at("mountinfo"),
            fstab: at("fstab"),
            inotify: at("inotify"),
            proc: at("proc"),
            max_descriptors: Some(1 << 20),
            now: SystemTime::now(),
            program: at("musicfs"),
            musicfs: "musicfs --socket /s".to_owned(),
        };
        let subject = Subject {
            mountpoint: Some(MOUNTPOINT.into()),
            state_dir: Some("/home/u/state".into()),
            cache_dir: Some("/home/u/cache".into()),
            socket: Some("/run/user/1000/musicfs/control.sock".into()),
            allow_other: true,
            origins: vec![("a".to_owned(), "/srv/music".into())],
        };
        let place = Self { folder, world, subject };
        for (name, text) in [
            ("fuse", ""),
            ("fuse.conf", "# comment\nuser_allow_other\n"),
            ("mountinfo", "22 1 0:21 / /proc rw - proc proc rw\n"),
            ("fstab", "/dev/sda1 / ext4 defaults 0 1\nnas:/x /srv/my\\040nas nfs soft 0 0\n# nas:/y /srv/music nfs\n"),
            ("inotify/max_user_watches", "1000\n"),
            ("inotify/max_user_instances", "128\n"),
            ("proc/self/status", "NoNewPrivs:\t0\n"),
        ] {
            place.write(name, text);
        }
        fs::set_permissions(place.at("fuse"), fs::Permissions::from_mode(0o666)).expect("sets it");
        place.answer("folder", &serde_json::to_value(folder_facts()).expect("serialises"));
        place.answer("origin", &serde_json::to_value(origin_facts()).expect("serialises"));
        place.answer("mount", &json!({ "is_dead": false, "error": null }));
        place.write(
            "musicfs",
            "#!/bin/sh\nif [ \"$3\" = links ]; then printf '{\"path\":\"%s\"}' \"$4\"; else cat \"$0-$3\"; fi\n",
        );
        fs::set_permissions(place.at("musicfs"), fs::Permissions::from_mode(0o755)).expect("sets it");
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("has one")).expect("makes it");
        fs::write(path, text).expect("writes");
    }

    /// What children answer to a question, whatever the place.
    fn answer(&self, question: &str, facts: &Value) {
        self.write(&format!("musicfs-{question}"), &facts.to_string());
    }

    fn folders(&self, change: impl FnOnce(&mut FolderFacts)) -> &Self {
        let mut facts = folder_facts();
        change(&mut facts);
        self.answer("folder", &serde_json::to_value(facts).expect("serialises"));
        self
    }

    fn origin(&self, change: impl FnOnce(&mut OriginFacts)) -> &Self {
        let mut facts = origin_facts();
        change(&mut facts);
        self.answer("origin", &serde_json::to_value(facts).expect("serialises"));
        self
    }

    /// What the checks of the system find.
    fn findings(&self, running: Option<&Running>) -> Vec<Finding> {
        let Self { world, subject, .. } = self;
        let mut findings = fuse::examine(world, subject);
        // fusermount3 must belong to root, which a test that is not root cannot arrange
        findings.retain(|finding| finding.check != "fusermount");
        findings.extend(mounts::examine(world, subject, running));
        findings.extend(folders::examine(world, subject));
        findings.extend(origins::examine(world, subject));
        findings.extend(limits::descriptors(world, running.map(|running| running.pid)));
        findings
    }

    /// Asserts that exactly one thing is found, and what its texts hold.
    #[track_caller]
    fn finds(&self, check: &str, what: &str, mend: &str) {
        self.finds_while(None, check, what, mend);
    }

    #[track_caller]
    fn finds_while(&self, running: Option<&Running>, check: &str, what: &str, mend: &str) {
        let findings = self.findings(running);
        let [finding] = findings.as_slice() else { panic!("one finding expected: {findings:#?}") };
        assert_eq!((finding.check, finding.level), (check, Level::Problem));
        assert!(finding.what.contains(what), "`{what}` in {finding:#?}");
        assert!(finding.mend.contains(mend), "`{mend}` in {finding:#?}");
        assert!(!finding.why.is_empty());
    }
}

fn folder_facts() -> FolderFacts {
    FolderFacts {
        exists: true,
        is_folder: true,
        is_empty: true,
        mode: 0o700,
        uid: 1000,
        can_read: true,
        can_write: true,
        free_bytes: 1 << 40,
        free_inodes: Some(1 << 20),
        newest_secs: 1_600_000_000,
        error: None,
    }
}

fn origin_facts() -> OriginFacts {
    OriginFacts { num_folders: 1000, num_files: 9000, is_complete: true, ..OriginFacts::default() }
}

fn running() -> Running {
    Running { pid: 77, document: Value::Null }
}

#[test]
fn world_in_which_all_is_well_has_no_findings() {
    let place = Place::new();
    assert_eq!(place.findings(None), []);
}

#[test]
fn device_that_is_missing_or_closed() {
    let place = Place::new();
    fs::set_permissions(place.at("fuse"), fs::Permissions::from_mode(0o600)).expect("sets it");
    let mut other = place.world.clone();
    other.uid = 1_000_000;
    let findings = fuse::examine(&other, &Subject::default());
    assert!(findings.iter().any(|found| found.check == "fuse_device" && found.mend.contains("sudo chmod 666 ")));
    fs::remove_file(place.at("fuse")).expect("removes it");
    place.finds("fuse_device", "does not exist", "sudo modprobe fuse");
}

#[test]
fn helper_that_is_missing_not_setuid_or_held_back() {
    let mut place = Place::new();
    let helper = |place: &Place| {
        let found =
            fuse::examine(&place.world, &Subject::default()).into_iter().find(|found| found.check == "fusermount");
        found.map(|found| (found.what, found.mend)).unwrap_or_default()
    };
    assert_eq!(helper(&place).1, "sudo apt-get install -y fuse3");
    place.write("bin/dnf", "");
    fs::set_permissions(place.at("bin/dnf"), fs::Permissions::from_mode(0o755)).expect("sets it");
    assert_eq!(helper(&place).1, "sudo dnf install -y fuse3");
    place.write("bin/fusermount3", "");
    fs::set_permissions(place.at("bin/fusermount3"), fs::Permissions::from_mode(0o755)).expect("sets it");
    let (what, mend) = helper(&place);
    assert!(
        what.contains("not setuid root") && mend.contains("chmod 4755 ") && mend.ends_with("bin/fusermount3"),
        "{mend}"
    );
    place.world.uid = 0;
    assert_eq!(helper(&place), Default::default(), "root needs no helper");
    place.world.uid = 1000;
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(place.at("bin/fusermount3"), fs::Permissions::from_mode(0o4755)).expect("sets it");
        assert_eq!(helper(&place), Default::default());
        place.write("proc/self/status", "Name:\tx\nNoNewPrivs:\t1\n");
        assert!(helper(&place).0.contains("NoNewPrivs"));
    }
}

#[test]
fn permission_to_let_others_in_is_missing() {
    let mut place = Place::new();
    place.write("fuse.conf", "#user_allow_other\nmount_max = 10\n");
    place.finds("allow_other", "user_allow_other is not set", "echo user_allow_other | sudo tee -a ");
    fs::remove_file(place.at("fuse.conf")).expect("removes it");
    place.finds("allow_other", "user_allow_other is not set", "fuse.conf");
    place.subject.allow_other = false;
    assert_eq!(place.findings(None), []);
}

/// A line of the table of mounts.
fn mount_line(place: &str, kind: &str, uid: u32) -> String {
    format!("40 22 0:50 / {place} ro,nosuid - {kind} musicfs ro,user_id={uid},group_id=0\n")
}

#[test]
fn dead_mounts_at_the_mountpoint_and_elsewhere() {
    let place = Place::new();
    let dead = json!({ "is_dead": true, "error": "Transport endpoint is not connected" });
    place.write("mountinfo", &mount_line(MOUNTPOINT, "fuse.musicfs", 1000));
    let findings = place.findings(None);
    assert_eq!((findings.len(), findings[0].level), (1, Level::Note), "a live one of somebody: {findings:#?}");
    assert_eq!(place.findings(Some(&running())), [], "the daemon's own");
    place.answer("mount", &dead);
    place.finds("mount", "a dead mount of a musicfs daemon is at", "fusermount3 -uz /home/u/Library");
    place.write("mountinfo", &mount_line(MOUNTPOINT, "fuse.sshfs", 1000));
    place.finds("mount", "a dead mount of type fuse.sshfs", "fusermount3 -uz /home/u/Library");
    place.write("mountinfo", &mount_line(MOUNTPOINT, "nfs4", 0));
    place.finds("mount", "a dead mount of type nfs4", "sudo umount -l /home/u/Library");
    place.write("mountinfo", &mount_line("/mnt/old\\040one", "fuse.musicfs", 1000));
    let findings = place.findings(None);
    assert_eq!((findings.len(), findings[0].level), (1, Level::Note), "{findings:#?}");
    assert_eq!(findings[0].mend, "fusermount3 -uz '/mnt/old one'");
    place.write("mountinfo", &mount_line("/mnt/other", "fuse.musicfs", 1001));
    assert_eq!(place.findings(None), [], "another user's is not ours to mend");
    place.answer("mount", &json!({ "is_dead": false, "error": "Input/output error" }));
    place.write("mountinfo", &mount_line(MOUNTPOINT, "fuse.musicfs", 1000));
    place.finds("mount", "Input/output error", "fusermount3 -uz");
}

#[test]
fn daemon_whose_mount_is_not_seen_from_here() {
    let place = Place::new();
    place.finds_while(Some(&running()), "mount", "nothing is mounted at", "musicfs --socket /s stop");
}

#[test]
fn mountpoint_that_cannot_be_mounted_on() {
    let place = Place::new();
    // the daemon's own folders are elsewhere here, so that only the mountpoint is looked at
    let of_mountpoint = |change: fn(&mut FolderFacts)| {
        let mut place = Place::new();
        place.subject = Subject { mountpoint: place.subject.mountpoint, ..Subject::default() };
        place.folders(change);
        place
    };
    assert_eq!(place.findings(None), []);
    of_mountpoint(|facts| facts.is_empty = false).finds("mountpoint", "is not empty", "mv /home/u/Library");
    of_mountpoint(|facts| facts.is_folder = false).finds("mountpoint", "is no folder", "mv /home/u/Library");
    of_mountpoint(|facts| facts.can_write = false).finds(
        "mountpoint",
        "does not belong",
        "sudo chown u /home/u/Library",
    );
    of_mountpoint(|facts| (facts.exists, facts.can_write) = (false, false)).finds(
        "mountpoint",
        "cannot be made",
        "sudo install -d -o u /home/u/Library",
    );
    of_mountpoint(|facts| facts.error = Some("no way".to_owned())).finds("mountpoint", "no way", "namei -l");
}

#[test]
fn mountpoint_inside_an_origin_through_a_link() {
    let mut place = Place::new();
    place.subject.origins = vec![("a".to_owned(), "/home/u".into())];
    place.finds("mountpoint", "inside origin a", "mount ~/Library");
}

/// A world whose state folder alone is examined.
fn with_state(change: impl FnOnce(&mut FolderFacts)) -> Place {
    let mut place = Place::new();
    place.subject = Subject { state_dir: place.subject.state_dir, ..Subject::default() };
    place.folders(change);
    place
}

#[test]
fn folders_of_the_wrong_owner_or_mode() {
    with_state(|facts| facts.uid = 0).finds("folders", "belongs to user 0", "sudo chown -R u /home/u/state");
    with_state(|facts| facts.mode = 0o500).finds("folders", "cannot be written", "chmod u+rwx /home/u/state");
    with_state(|facts| facts.mode = 0o777).finds("folders", "other users may write", "chmod go-w /home/u/state");
    with_state(|facts| facts.is_folder = false).finds("folders", "is no folder", "mv /home/u/state");
    with_state(|facts| (facts.exists, facts.can_write) = (false, false)).finds(
        "folders",
        "cannot be made",
        "sudo install -d -m 700 -o u /home/u/state",
    );
    with_state(|facts| facts.error = Some("no way".to_owned())).finds("folders", "no way", "namei -l");
    // a socket in /tmp is in everybody's folder, and guarded by the check of its peers
    let mut place = Place::new();
    place.subject = Subject { socket: Some("/tmp/musicfs.sock".into()), ..Subject::default() };
    place.folders(|facts| (facts.mode, facts.uid) = (0o1777, 0));
    assert_eq!(place.findings(None), []);
}

#[test]
fn disk_that_is_full_or_out_of_inodes() {
    with_state(|facts| facts.free_bytes = 1 << 20).finds("disk", "1.0 MiB are free", "du -xh");
    with_state(|facts| facts.free_inodes = Some(3)).finds("disk", "inodes are used up", "--inodes");
    assert_eq!(with_state(|facts| facts.free_inodes = None).findings(None), []);
}

#[test]
fn clock_that_is_behind_its_own_files() {
    let tomorrow = |facts: &mut FolderFacts| facts.newest_secs = probe::unix_secs(SystemTime::now()) + 86_400;
    with_state(tomorrow).finds("clock", "from now", "sudo timedatectl set-ntp true");
}

#[test]
fn origin_that_is_away_unreadable_or_from_the_future() {
    let mut place = Place::new();
    let gone = |facts: &mut OriginFacts| (facts.is_missing, facts.error) = (true, Some("No such file".to_owned()));
    place.origin(gone).finds("origin", "No such file", "mkdir -p /srv/music");
    place.origin(|facts| facts.error = Some("Permission denied".to_owned()));
    place.finds("origin", "Permission denied", "sudo chmod a+rx /srv/music");
    place.origin(|facts| (facts.num_unreadable, facts.unreadable) = (3, Some("x/y.flac".to_owned())));
    place.finds("origin", "3 files or folders of origin a cannot be read by this user; the first is x/y.flac", "a+rX");
    place.origin(|facts| (facts.num_future, facts.future, facts.future_secs) = (2, Some("z".to_owned()), 7200));
    place.finds("clock", "up to 2h from now; the first is z", "find /srv/music -newermt");
    place.subject.origins = vec![("a".to_owned(), "/srv/my nas/music".into())];
    place.origin(gone).finds("origin", "No such file", "sudo mount '/srv/my nas'");
}

#[test]
fn too_few_watches_and_instances() {
    let place = Place::new();
    place.write("inotify/max_user_watches", "999\n");
    place.finds(
        "inotify",
        "1000 folders",
        "echo fs.inotify.max_user_watches=524288 | sudo tee /etc/sysctl.d/90-musicfs",
    );
    place.origin(|facts| facts.num_folders = 1 << 20);
    place.finds("inotify", "1048576 folders", "max_user_watches=2097152");
    place.origin(|facts| facts.is_shared = true);
    assert_eq!(place.findings(None), [], "what is compared anyway needs no watches");
    place.write("inotify/max_user_instances", "16\n");
    place.finds("inotify", "16 inotify instances", "fs.inotify.max_user_instances=1024");
}

#[test]
fn too_few_descriptors_of_this_process_or_of_the_daemon() {
    let mut place = Place::new();
    place.subject = Subject::default();
    place.world.max_descriptors = Some(1024);
    place.finds(
        "descriptors",
        "1024 files",
        "echo 'u hard nofile 65536' | sudo tee /etc/security/limits.d/musicfs.conf",
    );
    place.write(
        "proc/77/limits",
        "Limit  Soft Limit  Hard Limit  Units\nMax open files            65536    65536    files\n",
    );
    assert_eq!(limits::descriptors(&place.world, Some(77)), None, "the daemon's own limit counts");
    place.write("proc/77/limits", "Max open files            512    65536    files\n");
    assert!(limits::descriptors(&place.world, Some(77)).is_some_and(|found| found.what.contains("512")));
}

#[test]
fn subject_is_read_from_a_document() {
    let document = json!({
        "socket": "/s%20x",
        "values": {
            "mountpoint": { "value": "/m%FF" }, "state_dir": { "value": "/st" }, "allow_other": { "value": true },
            "origin.a.location": { "value": "/a" }, "origin.b.location": { "value": "sftp://nas/x" },
        },
    });
    let subject = Subject::of_document(&document);
    assert_eq!(subject.socket.as_deref(), Some(Path::new("/s x")));
    assert_eq!(subject.mountpoint.as_ref().map(|path| path.as_os_str().len()), Some(3));
    assert_eq!((subject.allow_other, subject.cache_dir), (true, None));
    assert_eq!(subject.origins, [("a".to_owned(), PathBuf::from("/a"))]);
    assert_eq!(Subject::of_document(&Value::Null), Subject::default());
}

#[test]
fn texts_of_strangers_reach_no_terminal_as_they_are() {
    let findings = [Finding::problem("origin", "bad \u{1b}[2J", "why", "mend\n")];
    assert!(!text(&findings).contains('\u{1b}'));
}
