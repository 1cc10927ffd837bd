//! The null filesystem: one file, served from memory by the least code that fuser allows.
//!
//! It is what a FUSE mount on this kernel can reach at best, so the distance of a held read from it is what musicfs adds.
//! It is mounted with the settings that musicfs asks for (threads, request size, read-only), once past the page cache, as
//! musicfs serves local files, and once through it. Every byte is the same, because nothing here is about bytes.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
    SessionACL,
};

/// The file's name.
const NAME: &str = "file";
/// The file's inode number; the folder has that of every root.
const FILE: INodeNo = INodeNo(2);
/// The largest request, as musicfs asks for it.
const MAX_READ_BYTES: u32 = 1 << 20;
/// As long as musicfs lets the kernel keep attributes.
const TTL: Duration = Duration::from_mins(10);

struct Null {
    len: u64,
    bytes: Vec<u8>,
    open_flags: FopenFlags,
}

impl Null {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let time = SystemTime::UNIX_EPOCH;
        let is_file = ino == FILE;
        FileAttr {
            ino,
            size: if is_file { self.len } else { 0 },
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o555,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 128 << 10,
            flags: 0,
        }
    }
}

impl Filesystem for Null {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [InitFlags::FUSE_ASYNC_DIO, InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP];
        let offered = config.capabilities();
        for flag in wanted.into_iter().filter(|&flag| offered.contains(flag)) {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_READ_BYTES);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&TTL, &self.attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), self.open_flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = self.len.saturating_sub(offset).min(u64::from(size)) as usize;
        reply.data(&self.bytes[..len]);
    }
}

/// A mounted null filesystem; dropping it unmounts.
pub(crate) struct NullFuse {
    /// The file in it.
    pub(crate) file: PathBuf,
    session: Option<BackgroundSession>,
}

impl NullFuse {
    /// Mounts a file of this length. `direct` bypasses the page cache.
    pub(crate) fn mount(mountpoint: &Path, len: u64, direct: bool) -> io::Result<Self> {
        std::fs::create_dir_all(mountpoint)?;
        let open_flags = if direct { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE };
        let null = Null { len, bytes: vec![7; MAX_READ_BYTES as usize], open_flags };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("null".to_owned()), MountOption::RO];
        config.acl = SessionACL::Owner;
        config.n_threads = Some(4);
        config.clone_fd = rustix::process::geteuid().is_root();
        let session = Some(fuser::spawn_mount(null, mountpoint, &config)?);
        Ok(Self { file: mountpoint.join(NAME), session })
    }
}

impl Drop for NullFuse {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // a mount that does not go away is the next run's trouble, and its message says so
            let _ = session.umount_and_join();
        }
    }
}
