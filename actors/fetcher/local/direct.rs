//! `LocalDirect`: a local origin's files, opened and read where they are.
//!
//! A local disk is not cached: its file is read directly and behaves as the plain file does. FUSE threads call here, so
//! the `…_now` calls wait for nothing: `RESOLVE_CACHED` and `RWF_NOWAIT` make the kernel say `EAGAIN` instead of asking a
//! disk, and the file itself is opened only on filesystems already known to be disks of this machine (`open` of a file on
//! NFS or FUSE asks a server whatever the flags). Everything else, links and every error included, is answered by the
//! blocking call on a pool, so each error has one place where it is explained.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use musicfs_protocol::fetch::FetchError;
use musicfs_protocol::library::{DirectFile, ReadDirect};
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::Version;
use parking_lot::RwLock;
use rustix::fs::{CWD, Mode, ResolveFlags};
use rustix::io;

use super::attributes;
use super::file::{RegularFile, explain_open};
use super::root::{BENEATH, PASS, PIN, READ, Root, relative};

/// The most devices that are remembered as local disks. A library spans one or a few; beyond that the pool opens.
const MAX_DISKS: usize = 64;

/// Opens files of one local origin for reading in place.
pub struct LocalDirect {
    root: PathBuf,
    disks: RwLock<HashSet<u64>>,
}

impl LocalDirect {
    /// Reads below `root`, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root, disks: RwLock::default() }
    }

    /// Opens a plain path from memory alone. Any error means that the blocking call must find out.
    fn open_cached(&self, path: &OriginPath) -> io::Result<Option<RegularFile>> {
        let cached = BENEATH | ResolveFlags::CACHED;
        let root = rustix::fs::openat2(CWD, &self.root, PASS, Mode::empty(), ResolveFlags::CACHED)?;
        let pinned = rustix::fs::openat2(&root, relative(path), PIN, Mode::empty(), cached)?;
        let known = attributes::cached(&pinned)?;
        if !attributes::file_type(&known).is_file() || !self.disks.read().contains(&attributes::device(&known)) {
            return Ok(None);
        }
        RegularFile::check(rustix::fs::openat2(&root, relative(path), READ, Mode::empty(), cached)?)
    }

    fn remember_disk(&self, file: &RegularFile) {
        let Some(disk) = file.local_disk() else { return };
        if !self.disks.read().contains(&disk) {
            let mut disks = self.disks.write();
            if disks.len() < MAX_DISKS {
                disks.insert(disk);
            }
        }
    }
}

impl ReadDirect for LocalDirect {
    fn open_now(&self, path: &OriginPath) -> Result<Option<Arc<dyn DirectFile>>, FetchError> {
        let file = self.open_cached(path).unwrap_or(None);
        Ok(file.map(|file| Arc::new(file) as Arc<dyn DirectFile>))
    }

    fn open_blocking(&self, path: &OriginPath) -> Result<Arc<dyn DirectFile>, FetchError> {
        let file = RegularFile::open(&Root::open(&self.root)?, path)?;
        self.remember_disk(&file);
        Ok(Arc::new(file))
    }
}

impl DirectFile for RegularFile {
    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, FetchError> {
        fail::fail_point!("fetcher::read_now", |_| Ok(None));
        self.read_cached(offset, buffer).map_err(explain_open)
    }

    fn read_blocking(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FetchError> {
        fail::fail_point!("fetcher::read_blocking");
        self.read_full(offset, buffer).map_err(explain_open)
    }

    fn stat(&self) -> Result<Version, FetchError> {
        self.version().map_err(explain_open)
    }

    fn stat_now(&self) -> Option<Result<Version, FetchError>> {
        self.is_on_local_disk().then(|| self.stat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).unwrap()
    }

    fn library() -> (tempfile::TempDir, LocalDirect) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/song"), b"0123456789").unwrap();
        let direct = LocalDirect::new(folder.path().to_owned());
        (folder, direct)
    }

    #[test]
    fn first_open_takes_the_pool_and_later_ones_do_not() {
        let (folder, direct) = library();
        assert!(direct.open_now(&path("a/song")).unwrap().is_none(), "the disk is not known yet");
        let slow = direct.open_blocking(&path("a/song")).unwrap();
        let on_disk = !direct.disks.read().is_empty();
        // any mount elsewhere on the machine makes the kernel answer "not from memory" once
        let fast = (0..100).find_map(|_| direct.open_now(&path("a/song")).unwrap());
        assert_eq!(fast.is_some(), on_disk, "{}", folder.path().display());
        if let Some(fast) = fast {
            assert_eq!(fast.stat_now(), slow.stat_now());
        }
    }

    #[test]
    fn reads_are_short_only_at_the_end_of_the_file() {
        let (_folder, direct) = library();
        let file = direct.open_blocking(&path("a/song")).unwrap();
        let mut buffer = [0; 8];
        for (offset, expected) in [(0, &b"01234567"[..]), (5, b"56789"), (10, b""), (1 << 50, b""), (u64::MAX, b"")] {
            let count = file.read_blocking(offset, &mut buffer).unwrap();
            assert_eq!(&buffer[..count], expected, "{offset}");
            // just written, so in memory, unless the filesystem cannot say
            if let Some(count) = file.read_now(offset, &mut buffer).unwrap() {
                assert_eq!(&buffer[..count], expected, "{offset}");
            }
        }
    }

    #[test]
    fn open_file_behaves_as_the_plain_file_does() {
        let (folder, direct) = library();
        let place = folder.path().join("a/song");
        let file = direct.open_blocking(&path("a/song")).unwrap();
        let before = file.stat().unwrap();
        fs::write(folder.path().join("new"), b"replaced").unwrap();
        fs::rename(folder.path().join("new"), &place).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(file.read_blocking(0, &mut buffer), Ok(10));
        assert_eq!(&buffer, b"0123456789");
        assert_eq!(file.stat().unwrap(), before);
        assert_ne!(direct.open_blocking(&path("a/song")).unwrap().stat().unwrap(), before);
    }

    #[test]
    fn links_are_opened_by_the_pool_under_the_rules_of_the_listing() {
        let (folder, direct) = library();
        fs::write(folder.path().join("top"), b"").unwrap();
        symlink("a/song", folder.path().join("link")).unwrap();
        symlink(folder.path().join("a"), folder.path().join("folder")).unwrap();
        symlink("/etc/passwd", folder.path().join("out")).unwrap();
        direct.open_blocking(&path("a/song")).unwrap();
        for inside in ["link", "folder/song"] {
            assert!(direct.open_now(&path(inside)).unwrap().is_none(), "{inside}");
            assert_eq!(direct.open_blocking(&path(inside)).unwrap().stat().unwrap().size, 10);
        }
        assert!(direct.open_now(&path("out")).unwrap().is_none());
        assert_eq!(direct.open_blocking(&path("out")).err(), Some(FetchError::NotServable));
    }

    #[test]
    fn errors_are_told_by_the_blocking_call() {
        let (folder, direct) = library();
        rustix::fs::mknodat(CWD, folder.path().join("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        direct.open_blocking(&path("a/song")).unwrap();
        for (name, error) in
            [("missing", FetchError::NotFound), ("a", FetchError::NotServable), ("fifo", FetchError::NotServable)]
        {
            assert!(direct.open_now(&path(name)).unwrap().is_none(), "{name}");
            assert_eq!(direct.open_blocking(&path(name)).err(), Some(error), "{name}");
        }
        drop(folder);
        assert!(direct.open_now(&path("a/song")).unwrap().is_none());
        assert!(matches!(direct.open_blocking(&path("a/song")), Err(FetchError::Offline { .. })));
    }
}
