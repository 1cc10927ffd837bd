//! `RegularFile`: a file of a local origin, open for its bytes and nothing but a regular file.
//!
//! A path is pinned with `O_PATH` and looked at before it is opened, because opening is an act: a device may start to
//! rewind, a FIFO waits for its other end. Only what is a regular file is then opened, with `O_NONBLOCK` for the case that
//! it was exchanged in between, and looked at once more. Reads never come up short except at the end of the file, and
//! `read_proven` hands out bytes only when the version was the asked one before and after: an edit in place while reading
//! moves the mtime and is seen, a replacement by rename leaves the old file whole under this descriptor.

use std::io::IoSliceMut;

use bytes::Bytes;
use musicfs_protocol::fetch::FetchError;
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::Version;
use rustix::fd::OwnedFd;
use rustix::io::{self, Errno, ReadWriteFlags};

use super::attributes::{self, FsType};
use super::links;
use super::root::{READ, Root, reason};
use crate::fetcher::origin::RangeRequest;

/// The most bytes of one range: the largest readahead window. It bounds what one request may allocate.
pub const MAX_RANGE_BYTES: u64 = 16 << 20;

/// An open regular file.
pub(super) struct RegularFile {
    fd: OwnedFd,
    fs: FsType,
}

impl RegularFile {
    /// Opens what a path leads to, links included.
    pub(super) fn open(root: &Root<'_>, path: &OriginPath) -> Result<Self, FetchError> {
        let found = links::resolve(root, path)?;
        if !found.node.file_type().is_file() {
            return Err(FetchError::NotServable);
        }
        let fd = root.open_below(&found.real, READ).map_err(|errno| root.explain(&found.real, errno))?;
        Self::check(fd).map_err(|errno| root.explain(&found.real, errno))?.ok_or(FetchError::NotServable)
    }

    /// Takes an open descriptor; nothing when it is no regular file.
    pub(super) fn check(fd: OwnedFd) -> io::Result<Option<Self>> {
        if !attributes::file_type(&attributes::of_open(&fd)?).is_file() {
            return Ok(None);
        }
        let fs = FsType::of(&fd)?;
        Ok(Some(Self { fd, fs }))
    }

    /// The device that the file is on, when that is a local disk.
    pub(super) fn local_disk(&self) -> Option<u64> {
        let attributes = attributes::of_open(&self.fd).ok()?;
        self.fs.is_local_disk().then(|| attributes::device(&attributes))
    }

    /// Whether no server has to be asked about the file.
    pub(super) fn is_on_local_disk(&self) -> bool {
        self.fs.is_local_disk()
    }

    /// The version that the file has now.
    pub(super) fn version(&self) -> io::Result<Version> {
        attributes::proof(&self.fd).map(|now| attributes::version(&now, self.fs))
    }

    /// Fills the buffer from `offset` on; short only at the end of the file.
    pub(super) fn read_full(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        fill(buffer, offset, |rest, at| rustix::io::pread(&self.fd, rest, at))
    }

    /// The same without waiting for the disk; nothing when some of it is not in memory.
    pub(super) fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = fill(buffer, offset, |rest, at| {
            rustix::io::preadv2(&self.fd, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT)
        });
        match read {
            // NOSYS and INVAL: a kernel or filesystem that does not know the flag
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// Calls `read` until the buffer is full or the file ends.
fn fill(
    buffer: &mut [u8],
    offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        // no file reaches beyond the kernel's signed offset, and `u64::MAX` would mean "the current position"
        let at = match offset.checked_add(done as u64) {
            Some(at) if i64::try_from(at).is_ok() => at,
            _ => break,
        };
        match read(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Reads a range that belongs to the asked version, or says that the file has changed.
pub(super) fn read_proven(root: &Root<'_>, request: &RangeRequest) -> Result<Bytes, FetchError> {
    let file = RegularFile::open(root, &request.path)?;
    let failed = |errno| root.explain(&request.path, errno);
    if file.version().map_err(failed)? != request.version {
        return Err(FetchError::Changed);
    }
    let len = request.len.min(request.version.size.saturating_sub(request.offset));
    if len > MAX_RANGE_BYTES {
        return Err(FetchError::Io { reason: format!("a range has at most {MAX_RANGE_BYTES} bytes; ask for less") });
    }
    let mut buffer = vec![0; len as usize];
    let count = file.read_full(request.offset, &mut buffer).map_err(failed)?;
    if file.version().map_err(failed)? != request.version {
        return Err(FetchError::Changed);
    }
    if count < buffer.len() {
        return Err(FetchError::Io { reason: "the file ends before the size that it claims".to_owned() });
    }
    Ok(buffer.into())
}

/// What a failure on an open file means; its root is not asked, so nothing here is "not found".
pub(super) fn explain_open(errno: Errno) -> FetchError {
    match errno {
        Errno::ACCESS | Errno::PERM => FetchError::AccessDenied,
        errno => FetchError::Io { reason: reason(errno) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode};
    use std::fs;
    use std::path::Path;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).unwrap()
    }

    fn range(folder: &Path, name: &str, offset: u64, len: u64) -> RangeRequest {
        let root = Root::open(folder).unwrap();
        let version = RegularFile::open(&root, &path(name)).unwrap().version().unwrap();
        RangeRequest { path: path(name), version, offset, len }
    }

    #[test]
    fn range_is_short_only_at_the_end_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"0123456789").unwrap();
        let root = Root::open(folder.path()).unwrap();
        for (offset, len, expected) in
            [(0, 10, "0123456789"), (2, 3, "234"), (8, 100, "89"), (10, 1, ""), (u64::MAX, u64::MAX, ""), (3, 0, "")]
        {
            let bytes = read_proven(&root, &range(folder.path(), "a", offset, len)).unwrap();
            assert_eq!(bytes, expected.as_bytes(), "{offset}+{len}");
        }
    }

    #[test]
    fn replaced_or_edited_file_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, b"first").unwrap();
        let root = Root::open(folder.path()).unwrap();
        let asked = range(folder.path(), "a", 0, 5);
        assert_eq!(read_proven(&root, &asked).unwrap(), "first".as_bytes());
        fs::write(&b, b"replaced").unwrap();
        fs::rename(&b, &a).unwrap();
        assert_eq!(read_proven(&root, &asked), Err(FetchError::Changed));
        let asked = range(folder.path(), "a", 0, 5);
        fs::write(&a, b"longer than before").unwrap();
        assert_eq!(read_proven(&root, &asked), Err(FetchError::Changed));
        fs::remove_file(&a).unwrap();
        assert_eq!(read_proven(&root, &asked), Err(FetchError::NotFound));
    }

    #[test]
    fn file_with_another_mtime_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        fs::write(&place, b"same size").unwrap();
        let asked = range(folder.path(), "a", 0, 9);
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 1);
        fs::File::options().append(true).open(&place).unwrap().set_modified(later).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(read_proven(&root, &asked), Err(FetchError::Changed));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, folder.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("fifo", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("device")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for name in ["fifo", "socket", "folder", "link", "device"] {
            assert_eq!(RegularFile::open(&root, &path(name)).err(), Some(FetchError::NotServable), "{name}");
        }
    }

    #[test]
    fn what_became_a_fifo_after_it_was_pinned_neither_hangs_nor_is_read() {
        let folder = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, folder.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let fd = root.open_below(&path("fifo"), READ).unwrap();
        assert!(RegularFile::check(fd).unwrap().is_none());
    }

    #[test]
    fn oversized_range_is_refused_before_it_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("sparse")).unwrap();
        file.set_len(1 << 40).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let asked = range(folder.path(), "sparse", 0, u64::MAX);
        assert!(matches!(read_proven(&root, &asked), Err(FetchError::Io { reason }) if reason.contains("16777216")));
        let asked = range(folder.path(), "sparse", (1 << 40) - 2, u64::MAX);
        assert_eq!(read_proven(&root, &asked).unwrap(), [0, 0][..]);
    }

    #[test]
    fn fill_goes_on_after_short_reads_and_interruptions() {
        let mut answers = [Ok(2), Err(Errno::INTR), Ok(1), Ok(0)].into_iter();
        let mut asked = Vec::new();
        let count = fill(&mut [0; 8], 10, |rest, at| {
            asked.push((rest.len(), at));
            answers.next().unwrap()
        });
        assert_eq!(count, Ok(3));
        assert_eq!(asked, [(8, 10), (6, 12), (6, 12), (5, 13)]);
        let mut answers = [Ok(2), Err(Errno::AGAIN)].into_iter();
        assert_eq!(fill(&mut [0; 8], 0, |_, _| answers.next().unwrap()), Err(Errno::AGAIN));
    }
}
