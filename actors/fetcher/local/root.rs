//! `Root`: an origin's root folder, open for the length of one operation, and the only way to anything below it.
//!
//! Every open goes through `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` from the root's descriptor: the kernel
//! itself refuses to leave the root, and links are followed by `links` alone, one rule for listing, stat and read. The
//! root is opened afresh for each operation, because a disk may be unmounted and mounted again under a running daemon and
//! a kept descriptor would hold the old one for ever.
//!
//! The absence rule lives in `explain`: "no such file" is said only while the root that was searched is still the one at
//! its path. Whatever fails because the root is away is `Offline`, so that nobody takes a vanished disk for removed files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use musicfs_protocol::fetch::{FetchError, RootIdentity};
use musicfs_pure::escape::escape;
use musicfs_pure::ids::OriginPath;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Statx};
use rustix::io::{self, Errno};

use super::attributes::{self, FsType};

/// How a folder is opened that is only passed through.
pub(super) const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How something is pinned in order to look at it: neither links nor devices nor FIFOs are opened by that.
pub(super) const PIN: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a file is opened for its bytes. `NONBLOCK`: what has become a FIFO since it was pinned must not hang the thread.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The kernel's promise that nothing outside the root is reached.
pub(super) const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A root folder, open.
pub(super) struct Root<'a> {
    path: &'a Path,
    fd: OwnedFd,
    attributes: Statx,
}

/// Something below the root, held in place without being opened, and its attributes.
pub(super) struct Pinned {
    /// An `O_PATH` descriptor.
    pub(super) fd: OwnedFd,
    /// What it is.
    pub(super) attributes: Statx,
}

impl Pinned {
    /// What kind of thing it is.
    pub(super) fn file_type(&self) -> FileType {
        attributes::file_type(&self.attributes)
    }
}

/// The path as `openat2` takes it: relative, the root as `.`.
pub(super) fn relative(path: &OriginPath) -> &OsStr {
    OsStr::from_bytes(if path.is_root() { b"." } else { path.as_bytes() })
}

/// The words of the system.
pub(super) fn reason(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// Errors that mean the device or the server behind a path is away.
fn is_device_error(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::IO
            | Errno::NXIO
            | Errno::NODEV
            | Errno::STALE
            | Errno::NOTCONN
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::TIMEDOUT
            | Errno::SHUTDOWN
    )
}

impl<'a> Root<'a> {
    /// Opens the root. Whatever stands in the way, the origin is offline: its files are neither gone nor refused.
    pub(super) fn open(path: &'a Path) -> Result<Self, FetchError> {
        let offline = |errno| FetchError::Offline {
            reason: format!("its root {}: {}", escape(path.as_os_str().as_bytes()), reason(errno)),
        };
        let fd = rustix::fs::openat(CWD, path, PASS, Mode::empty()).map_err(offline)?;
        let attributes = attributes::of_open(&fd).map_err(offline)?;
        Ok(Self { path, fd, attributes })
    }

    /// Asks the filesystem which root this is; on a network mount its server must answer.
    pub(super) fn identity(&self) -> Result<RootIdentity, FetchError> {
        let asked = attributes::proof(&self.fd).and_then(|now| Ok((now, FsType::of(&self.fd)?)));
        let (now, fs) = asked.map_err(|errno| self.explain(&OriginPath::root(), errno))?;
        Ok(attributes::identity(&now, fs))
    }

    /// Opens something below the root; a link anywhere in the path is `ELOOP`.
    pub(super) fn open_below(&self, path: &OriginPath, flags: OFlags) -> io::Result<OwnedFd> {
        rustix::fs::openat2(&self.fd, relative(path), flags, Mode::empty(), BENEATH)
    }

    /// Holds something below the root in place and looks at it. The last component may be a link, which is pinned itself.
    pub(super) fn pin(&self, path: &OriginPath) -> io::Result<Pinned> {
        let fd = self.open_below(path, PIN)?;
        let attributes = attributes::of_open(&fd)?;
        Ok(Pinned { fd, attributes })
    }

    /// What a failure at `path` means.
    pub(super) fn explain(&self, path: &OriginPath, errno: Errno) -> FetchError {
        match errno {
            Errno::NOSYS => FetchError::Offline {
                reason: "the system call openat2 is not available; it needs Linux 5.6 and no seccomp filter against it"
                    .to_owned(),
            },
            Errno::NOENT | Errno::NOTDIR if !path.is_root() && self.is_in_place() => FetchError::NotFound,
            Errno::NOENT | Errno::NOTDIR => FetchError::Offline { reason: "its root is not there any more".to_owned() },
            Errno::ACCESS | Errno::PERM => FetchError::AccessDenied,
            Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG => FetchError::NotServable,
            errno if is_device_error(errno) && (path.is_root() || !self.is_in_place()) => {
                FetchError::Offline { reason: reason(errno) }
            }
            errno => FetchError::Io { reason: reason(errno) },
        }
    }

    /// Whether the root's path still leads to the folder that this operation opened.
    fn is_in_place(&self) -> bool {
        Root::open(self.path).is_ok_and(|now| {
            now.attributes.stx_ino == self.attributes.stx_ino
                && attributes::device(&now.attributes) == attributes::device(&self.attributes)
        })
    }

    /// The part of an absolute link below the root; nothing when it leads elsewhere. Compared as text, with the root as it
    /// is configured and as it is without links: resolving the link itself would reach outside.
    pub(super) fn strip<'t>(&self, absolute: &'t [u8]) -> Option<&'t [u8]> {
        let without_links: Option<PathBuf> = std::fs::canonicalize(self.path).ok();
        let prefixes = [Some(self.path), without_links.as_deref()];
        prefixes.into_iter().flatten().find_map(|prefix| strip_folder(absolute, prefix.as_os_str().as_bytes()))
    }
}

/// `path` without the leading `folder`, when it lies in it.
fn strip_folder<'t>(path: &'t [u8], folder: &[u8]) -> Option<&'t [u8]> {
    let end = folder.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let rest = path.strip_prefix(&folder[..end])?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn missing_root_is_offline_and_never_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        assert!(matches!(Root::open(&gone), Err(FetchError::Offline { reason }) if reason.contains("gone")));
        std::fs::write(&gone, b"a file in place of the root").unwrap();
        assert!(matches!(Root::open(&gone), Err(FetchError::Offline { .. })));
    }

    #[test]
    fn no_such_file_under_a_root_that_was_replaced_is_offline() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("root");
        std::fs::create_dir(&place).unwrap();
        let root = Root::open(&place).unwrap();
        assert_eq!(root.explain(&path("a"), Errno::NOENT), FetchError::NotFound);
        std::fs::rename(&place, folder.path().join("aside")).unwrap();
        std::fs::create_dir(&place).unwrap();
        assert!(matches!(root.explain(&path("a"), Errno::NOENT), FetchError::Offline { .. }));
    }

    #[test]
    fn errors_have_one_meaning_each() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let top = OriginPath::root();
        for away in [Errno::NOTCONN, Errno::STALE, Errno::IO, Errno::NXIO, Errno::HOSTDOWN, Errno::NOENT] {
            assert!(matches!(root.explain(&top, away), FetchError::Offline { .. }), "{away}");
        }
        assert!(
            matches!(root.explain(&path("a"), Errno::NOSYS), FetchError::Offline { reason } if reason.contains("openat2"))
        );
        assert!(matches!(root.explain(&path("a"), Errno::IO), FetchError::Io { reason } if reason.contains("error 5")));
        assert_eq!(root.explain(&path("a"), Errno::NOTDIR), FetchError::NotFound);
        assert_eq!(root.explain(&path("a"), Errno::ACCESS), FetchError::AccessDenied);
        assert_eq!(root.explain(&path("a"), Errno::PERM), FetchError::AccessDenied);
        assert_eq!(root.explain(&path("a"), Errno::XDEV), FetchError::NotServable);
        assert_eq!(root.explain(&path("a"), Errno::LOOP), FetchError::NotServable);
    }

    #[test]
    fn absolute_path_is_inside_by_whole_components() {
        assert_eq!(strip_folder(b"/m/a/b", b"/m"), Some(&b"/a/b"[..]));
        assert_eq!(strip_folder(b"/m/a", b"/m//"), Some(&b"/a"[..]));
        assert_eq!(strip_folder(b"/m", b"/m"), Some(&b""[..]));
        assert_eq!(strip_folder(b"/a", b"/"), Some(&b"/a"[..]));
        assert_eq!(strip_folder(b"/music/a", b"/m"), None);
        assert_eq!(strip_folder(b"/x", b"/m"), None);
    }
}
