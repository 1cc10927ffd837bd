//! Everything that would write is answered EROFS: as root, as the ordinary user who owns the mount, and as another one.
//!
//! The calls are made through libc and not through a library that might refuse by itself. The kernel answers EACCES or
//! EPERM to an ordinary user in some of them unless the mount itself is read-only, which is why both users are asked.
#![allow(unsafe_code)] // system calls as a C program makes them

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::walk;
use crate::support::user::as_nobody;
use crate::support::{require, require_root};

const FILE: &str = "Artist/Album (2020)/01 - One.flac";
const FOLDER: &str = "Artist/Album (2020)";

fn home(sandbox: Sandbox) -> Sandbox {
    sandbox.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    sandbox
}

/// The call's name and what it answered: 0, or its errno.
type Answer = (String, i32);

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn answer(name: impl Into<String>, result: i64) -> Answer {
    let errno = if result >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap() };
    (name.into(), errno)
}

fn open_answers(file: &CStr, folder: &CStr, new: &CStr) -> Vec<Answer> {
    let open = |name: &str, path: &CStr, flags: libc::c_int| {
        // SAFETY: the path is a C string that outlives the call; a mode is given because O_CREAT reads one.
        let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644 as libc::c_uint) };
        let result = answer(name, i64::from(fd));
        if fd >= 0 {
            // SAFETY: the descriptor was opened above and belongs to nobody else.
            unsafe { libc::close(fd) };
        }
        result
    };
    vec![
        open("open O_WRONLY", file, libc::O_WRONLY),
        open("open O_RDWR", file, libc::O_RDWR),
        open("open O_APPEND", file, libc::O_WRONLY | libc::O_APPEND),
        open("open O_TRUNC", file, libc::O_WRONLY | libc::O_TRUNC),
        open("open O_CREAT", new, libc::O_WRONLY | libc::O_CREAT),
        open("open O_CREAT|O_EXCL", new, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL),
        open("open O_TMPFILE", folder, libc::O_RDWR | libc::O_TMPFILE),
    ]
}

fn name_answers(file: &CStr, folder: &CStr, new: &CStr) -> Vec<Answer> {
    let (old, into) = (file.as_ptr(), new.as_ptr());
    // SAFETY: all pointers are to C strings that outlive the calls, and no call keeps them.
    unsafe {
        vec![
            answer("mkdir", libc::mkdir(into, 0o755).into()),
            answer("mknod", libc::mknod(into, libc::S_IFREG | 0o644, 0).into()),
            answer("mkfifo", libc::mkfifo(into, 0o644).into()),
            answer("symlink", libc::symlink(old, into).into()),
            answer("link", libc::link(old, into).into()),
            answer("unlink", libc::unlink(old).into()),
            answer("rmdir", libc::rmdir(folder.as_ptr()).into()),
            answer("rename", libc::rename(old, into).into()),
            answer("rename folder", libc::rename(folder.as_ptr(), into).into()),
            answer("exchange", libc::renameat2(-100, old, -100, folder.as_ptr(), libc::RENAME_EXCHANGE).into()),
        ]
    }
}

fn attribute_answers(file: &CStr, folder: &CStr) -> Vec<Answer> {
    let (path, name) = (file.as_ptr(), c"user.note".as_ptr());
    let times = [libc::timespec { tv_sec: 1, tv_nsec: 1 }; 2];
    // SAFETY: pointers are to C strings and to an array of two times, all of which outlive the calls.
    unsafe {
        vec![
            answer("truncate", libc::truncate(path, 0).into()),
            answer("chmod", libc::chmod(path, 0o600).into()),
            answer("chmod folder", libc::chmod(folder.as_ptr(), 0o700).into()),
            answer("chown", libc::chown(path, libc::getuid(), libc::getgid()).into()),
            answer("lchown", libc::lchown(path, libc::getuid(), libc::getgid()).into()),
            answer("utimensat", libc::utimensat(-100, path, times.as_ptr(), 0).into()),
            answer("utimensat now", libc::utimensat(-100, path, std::ptr::null(), 0).into()),
            answer("setxattr", libc::setxattr(path, name, c"x".as_ptr().cast(), 1, 0).into()),
            answer("removexattr", libc::removexattr(path, c"user.musicfs.origin".as_ptr()).into()),
        ]
    }
}

/// Every mutating call on the mount, each with its answer.
fn all_answers(mnt: &Path) -> Vec<Answer> {
    let (file, folder, new) = (c_path(&mnt.join(FILE)), c_path(&mnt.join(FOLDER)), c_path(&mnt.join("Artist/new")));
    let mut answers = open_answers(&file, &folder, &new);
    answers.extend(name_answers(&file, &folder, &new));
    answers.extend(attribute_answers(&file, &folder));
    answers
}

fn assert_all_refused(answers: &[Answer]) {
    let wrong: Vec<String> = answers
        .iter()
        .filter(|(_, errno)| *errno != libc::EROFS)
        .map(|(name, errno)| format!("{name}: {}", io::Error::from_raw_os_error(*errno)))
        .collect();
    assert!(answers.len() > 25 && wrong.is_empty(), "not EROFS: {wrong:#?}");
}

#[test]
fn mutating_calls_are_erofs_for_the_owner() {
    let home = home(Sandbox::new());
    let daemon = home.start();
    let before = walk(&home.mnt());
    assert_all_refused(&all_answers(&home.mnt()));
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before);
    daemon.stop();
}

#[test]
fn mutating_calls_are_erofs_for_an_ordinary_owner() {
    require!("setpriv", "fusermount3");
    require_root!("be two users");
    let home = home(Sandbox::ordinary());
    let daemon = home.start();
    let mnt = home.mnt();
    assert_all_refused(&as_nobody(move || all_answers(&mnt)));
    daemon.stop();
}

#[test]
fn mutating_calls_are_erofs_for_another_user() {
    require_root!("be two users");
    let home = home(Sandbox::new());
    home.open_to_all();
    home.configure("allow_other = true\n");
    let daemon = home.start();
    let mnt = home.mnt();
    assert_all_refused(&as_nobody(move || all_answers(&mnt)));
    daemon.stop();
}

#[test]
fn write_calls_on_a_descriptor_for_reading_fail_and_change_nothing() {
    let home = home(Sandbox::new());
    let daemon = home.start();
    let file = c_path(&home.shown(FILE));
    // SAFETY: the path is a C string; the descriptor is used and closed here only; the buffer is one byte long as said.
    let answers = unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        assert!(fd >= 0);
        let answers = [
            answer("write", libc::write(fd, c"x".as_ptr().cast(), 1) as i64),
            answer("ftruncate", libc::ftruncate(fd, 0).into()),
            answer("fallocate", libc::fallocate(fd, 0, 0, 4096).into()),
            answer("fchmod", libc::fchmod(fd, 0o600).into()),
            answer("futimens", libc::futimens(fd, std::ptr::null()).into()),
        ];
        libc::close(fd);
        answers
    };
    for (name, errno) in &answers {
        assert!([libc::EROFS, libc::EBADF, libc::EINVAL].contains(errno), "{name} answered {errno}");
    }
    assert_eq!(std::fs::read(home.shown(FILE)).unwrap(), std::fs::read(home.origin().join("one.flac")).unwrap());
    daemon.stop();
}
