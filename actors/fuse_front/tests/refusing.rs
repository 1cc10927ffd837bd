//! What the mount refuses: every call that would change something, and everything at a closed gate or after the end.
//!
//! Each call is made for real and its errno compared.
//! A refusal is an answer: no test may leave a request waiting.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::AsFd;

use musicfs_protocol::FetchError;
use musicfs_pure::ids::Ino;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use super::{Library, Wishes, kind, run, shell};

/// The results of every call that would write to `dir` or to its file `a.flac`.
fn every_write(dir: &File) -> Vec<(&'static str, rustix::io::Result<()>)> {
    use rustix::fs;
    let (dir_fd, mode, file) = (dir.as_fd(), Mode::from_raw_mode(0o644), "a.flac");
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let open = |flags| fs::openat(dir_fd, file, flags, mode).map(drop);
    let by_fd = CString::new(format!("/proc/self/fd/{}/{file}", std::os::fd::AsRawFd::as_raw_fd(dir))).expect("no NUL");
    vec![
        ("open for writing", open(OFlags::WRONLY)),
        ("open for both", open(OFlags::RDWR)),
        ("open with truncation", open(OFlags::RDONLY | OFlags::TRUNC)),
        ("open for appending", open(OFlags::WRONLY | OFlags::APPEND)),
        ("create", fs::openat(dir_fd, "new", OFlags::WRONLY | OFlags::CREATE, mode).map(drop)),
        ("temporary file", fs::openat(dir_fd, ".", OFlags::RDWR | OFlags::TMPFILE, mode).map(drop)),
        ("mkdir", fs::mkdirat(dir_fd, "new", mode)),
        ("mknod", fs::mknodat(dir_fd, "new", FileType::Fifo, mode, 0)),
        ("unlink", fs::unlinkat(dir_fd, file, AtFlags::empty())),
        ("rmdir", fs::unlinkat(dir_fd, "folder", AtFlags::REMOVEDIR)),
        ("rename", fs::renameat(dir_fd, file, dir_fd, "new")),
        ("link", fs::linkat(dir_fd, file, dir_fd, "new", AtFlags::empty())),
        ("symlink", fs::symlinkat("a", dir_fd, "new")),
        ("chmod", fs::chmodat(dir_fd, file, mode, AtFlags::empty())),
        ("chown", fs::chownat(dir_fd, file, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::empty())),
        ("utimens", fs::utimensat(dir_fd, file, &times, AtFlags::empty())),
        ("setxattr", fs::setxattr(by_fd.as_c_str(), "user.mine", b"1", XattrFlags::empty())),
        ("removexattr", fs::removexattr(by_fd.as_c_str(), "user.musicfs.path")),
    ]
}

#[test]
fn every_call_that_would_write_is_a_read_only_file_system() {
    let Some(library) = Library::new() else { return };
    library.add_file("a.flac", b"bytes");
    library.catalog.add_folder(Ino::ROOT, b"folder");
    let dir = File::open(library.mounted.mountpoint()).expect("opened");
    for (call, result) in every_write(&dir) {
        let error = Error::from(result.expect_err(call));
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{call}: {error}");
    }
    assert_eq!(std::fs::read(library.origin_path("a.flac")).expect("there"), b"bytes");
}

#[test]
fn ordinary_user_too_is_told_that_it_is_read_only() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let Some(library) = Library::with(Wishes { allow_other: true, ..Wishes::default() }) else { return };
    library.add_file("a.flac", b"bytes");
    let dir = library.mounted.mountpoint().display();
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    for call in ["touch new", "mkdir new", "rm -f a.flac", "mv a.flac b", "sh -c 'echo x > a.flac'", "ln -s a b"] {
        let output = shell(&format!("cd {dir} && {user} {call}")).output().expect("sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("Read-only file system"), "{call}: {said}");
    }
    assert_eq!(run(&format!("{user} cat {dir}/a.flac")), "bytes");
}

#[test]
fn trouble_of_the_origin_becomes_the_errno_of_the_table_and_is_remembered() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"bytes");
    let reason = "gone".to_owned();
    let expectations = [
        (FetchError::AccessDenied, ErrorKind::PermissionDenied),
        (FetchError::Offline { reason }, ErrorKind::Other),
        (FetchError::NotFound, ErrorKind::NotFound),
    ];
    for (error, expected) in expectations {
        *library.reader.refuses.lock() = Some(error.clone());
        let got = File::open(library.path("a.flac")).expect_err("refused");
        if expected == ErrorKind::Other {
            assert!(got.to_string().contains("Input/output error"), "{got}");
        } else {
            assert_eq!(got.kind(), expected);
        }
        let remembered = library.board.last_error("nas:a.flac").expect("remembered");
        assert_eq!(remembered.text, error.to_string());
    }
    *library.reader.refuses.lock() = None;
    assert!(File::open(library.path("a.flac")).is_ok(), "nothing was removed");
    library.catalog.remove(ino);
}

#[test]
fn attributes_tell_where_a_file_is_and_nothing_else() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"bytes");
    let path = library.path("a.flac");
    let get = |name: &str| {
        let mut value = [0_u8; 256];
        rustix::fs::getxattr(&path, name, &mut value).map(|len| String::from_utf8_lossy(&value[..len]).into_owned())
    };
    assert_eq!(get("user.musicfs.origin").as_deref(), Ok("nas"));
    assert_eq!(get("user.musicfs.path").as_deref(), Ok("a.flac"));
    assert_eq!(get("user.musicfs.file"), Ok(ino.to_string()));
    assert!(get("user.musicfs.version").expect("there").starts_with("size=5,mtime="));
    for absent in ["user.musicfs.bytes.held", "user.other", "security.selinux"] {
        assert_eq!(get(absent), Err(rustix::io::Errno::NODATA), "{absent}");
    }
    let mut small = [0_u8; 2];
    let error = rustix::fs::getxattr(&path, "user.musicfs.path", &mut small).expect_err("too small");
    assert_eq!(error, rustix::io::Errno::RANGE);
    assert_eq!(rustix::fs::getxattr_query(&path, "user.musicfs.path"), Ok(6));
    assert!(rustix::fs::listxattr_query(&path).expect("listed") > 50);
    let mut names = [0_u8; 256];
    let len = rustix::fs::listxattr(&path, &mut names).expect("listed");
    assert_eq!(names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()).count(), 4);
    assert_eq!(rustix::fs::listxattr(library.mounted.mountpoint(), &mut names), Ok(0));
}

#[test]
fn folder_cannot_be_opened_as_a_file_nor_a_file_listed() {
    let Some(library) = Library::new() else { return };
    library.add_file("a.flac", b"bytes");
    library.catalog.add_folder(Ino::ROOT, b"folder");
    assert_eq!(kind(std::fs::read(library.path("folder"))), ErrorKind::IsADirectory);
    assert_eq!(kind(std::fs::read_dir(library.path("a.flac"))), ErrorKind::NotADirectory);
    assert_eq!(kind(std::fs::read_link(library.path("a.flac"))), ErrorKind::InvalidInput);
    let long = "x".repeat(256);
    assert_eq!(kind(std::fs::metadata(library.path(&long))), ErrorKind::InvalidFilename);
}
