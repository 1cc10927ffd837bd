//! Users: the daemon as an ordinary user, the mount seen by others, files that may not be read.
//!
//! Media servers run as users of their own, and the daemon runs as whoever owns the music. `/dev/fuse` may be closed to
//! that user: fusermount3 is setuid and opens it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::set;
use crate::support::user::{NOBODY, as_nobody};
use crate::support::{ordinary_sandbox, require, require_root, tree};

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn fill(home: &Sandbox) -> Vec<u8> {
    let bytes = Track::new("Artist", "Album", 1, "One").flac();
    home.put("one.flac", &bytes);
    bytes
}

#[test]
fn daemon_of_an_ordinary_user_mounts_serves_and_unmounts() {
    let home = ordinary_sandbox!();
    let bytes = fill(&home);
    let daemon = home.start();
    let mnt = home.mnt();
    let look = move || (tree::files(&mnt), fs::read(mnt.join(SHOWN)).unwrap(), fs::metadata(mnt.join(SHOWN)).unwrap());
    let (names, read, meta) = if rustix::process::geteuid().is_root() { as_nobody(look) } else { look() };
    assert_eq!((names, read), (set([SHOWN]), bytes));
    let owner = if rustix::process::geteuid().is_root() { NOBODY } else { rustix::process::geteuid().as_raw() };
    assert_eq!(meta.uid(), owner);
    daemon.stop();
}

#[test]
fn file_that_the_daemon_may_not_read_is_listed_and_refused_with_eacces() {
    require_root!("be two users");
    let home = ordinary_sandbox!();
    fill(&home);
    let secret = home.put("secret.flac", &Track::new("Artist", "Album", 2, "Two").flac());
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    let daemon = home.start();
    let mnt = home.mnt();
    let (names, error) = as_nobody(move || {
        (tree::names_in(&mnt.join(".origins/a")), fs::read(mnt.join(".origins/a/secret.flac")).unwrap_err())
    });
    assert_eq!(names, ["one.flac", "secret.flac"]);
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    daemon.stop();
}

#[test]
fn folder_that_the_daemon_may_not_read_hides_nothing_else_and_loses_nothing() {
    require_root!("be two users");
    let home = ordinary_sandbox!();
    fill(&home);
    home.put("closed/two.flac", &Track::new("Artist", "Album", 2, "Two").flac());
    home.user.own(&home.origin().join("closed"));
    let daemon = home.start();
    let mnt = home.mnt();
    let album = move || tree::names_in(&mnt.join("Artist/Album (2020)"));
    let before = as_nobody(album.clone());
    assert_eq!(before.len(), 2);
    fs::set_permissions(home.origin().join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
    assert_eq!(as_nobody(album.clone()), before, "a folder that cannot be listed is not an empty one");
    fs::set_permissions(home.origin().join("closed"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::remove_file(home.origin().join("closed/two.flac")).unwrap();
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
    assert_eq!(as_nobody(album), ["01 - One.flac"]);
    daemon.stop();
}

#[test]
fn mount_is_closed_to_others_unless_they_are_allowed() {
    require_root!("be two users");
    let home = Sandbox::new();
    home.open_to_all();
    let bytes = fill(&home);
    let daemon = home.start();
    let file = home.shown(SHOWN);
    let path = file.clone();
    assert!(as_nobody(move || fs::read(path)).is_err());
    daemon.stop();
    home.configure("allow_other = true\n");
    let daemon = home.start();
    assert_eq!(as_nobody(move || fs::read(file)).unwrap(), bytes);
    daemon.stop();
}

#[test]
fn others_may_read_only_what_the_mode_allows() {
    require_root!("be two users");
    let home = Sandbox::new();
    home.open_to_all();
    fill(&home);
    fs::set_permissions(home.origin().join("one.flac"), PermissionsExt::from_mode(0o640)).unwrap();
    home.configure("allow_other = true\n");
    let daemon = home.start();
    let file = home.shown(SHOWN);
    assert_eq!(as_nobody(move || fs::read(file)).unwrap_err().kind(), ErrorKind::PermissionDenied);
    daemon.stop();
}

#[test]
fn owner_group_and_umask_are_those_of_the_configuration() {
    let home = Sandbox::new();
    fill(&home);
    // Whoever is neither root nor the owner may not look into such folders.
    let user = rustix::process::geteuid();
    let uid = if user.is_root() { 1234 } else { user.as_raw() };
    home.configure(&format!("uid = {uid}\ngid = 4321\numask = \"027\"\n"));
    let daemon = home.start();
    let meta = fs::metadata(home.shown(SHOWN)).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (uid, 4321, 0o440));
    assert_eq!(fs::metadata(home.shown("Artist")).unwrap().mode() & 0o777, 0o550);
    daemon.stop();
}

#[test]
fn socket_and_data_folders_are_private() {
    let home = Sandbox::new();
    fill(&home);
    let daemon = home.start();
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(home.socket()), 0o600);
    assert_eq!(mode(home.path("data/state")), 0o700);
    daemon.stop();
}

#[test]
fn socket_of_one_user_is_closed_to_another() {
    require!("setpriv");
    require_root!("be two users");
    let home = Sandbox::new();
    home.open_to_all();
    fill(&home);
    let daemon = home.start();
    fs::set_permissions(home.path("run"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(home.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let socket = home.socket();
    let answer = as_nobody(move || {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
        // A peer that is not served may be cut off before or after it has spoken.
        let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.stop\"}\n");
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    assert!(!answer.unwrap_or_default().contains("\"result\""), "another user's call was carried out");
    daemon.cli(&["status"]).ok();
    daemon.stop();
}
