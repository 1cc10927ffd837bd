//! `fuser::Filesystem` over the edge: one line per operation.
//!
//! Each operation makes a [`Call`] of its reply, so that it is counted and answered whatever happens, and runs its handler
//! under [`guarded`]. Everything that would write is refused here, although a mount that is read-only lets none of it
//! through: the promise must not hang on a mount option. Locks, polling and seeking to holes are left to the kernel, which does
//! them by itself when told that they are not implemented.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use super::call::{Call, Op, Reply, guarded};
use super::edge::Edge;
use super::errno::Failure;
use super::files::MAX_READ_BYTES;
use super::nodes::Node;

/// What is asked of the kernel, each only where it is offered:
/// * lookups and listings of one folder side by side;
/// * attributes with every page of a listing. The adaptive form goes back to bare names after the first page unless someone
///   stats while the listing runs; `ls -l` and scanners stat afterwards, and would ask once per file;
/// * the parts of a large direct read side by side;
/// * maps of files that bypass the page cache.
const WANTED: [InitFlags; 4] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
];

/// Readahead requests that may be open at once. fuser's default of 16 lets sixteen that are stuck on a dead origin block
/// every other reader.
const MAX_BACKGROUND: u16 = 4096;

/// Where the kernel says how many an ordinary user may have.
const MAX_USER_BACKGROUND_PATH: &str = "/sys/module/fuse/parameters/max_user_bgreq";

/// The edge as fuser sees it.
pub(super) struct FuseEdge {
    edge: Arc<Edge>,
}

impl FuseEdge {
    pub(super) fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// Runs the handler of one request.
    fn serve<R: Reply>(&self, op: Op, reply: R, handler: impl FnOnce(&Arc<Edge>, Call<R>)) {
        let call = self.edge.call(op, reply);
        guarded(&self.edge.accounts, op, || handler(&self.edge, call));
    }

    fn refuse<R: Reply>(&self, op: Op, reply: R, failure: Failure) {
        self.serve(op, reply, |_, call| call.refuse(&failure));
    }

    fn refuse_write<R: Reply>(&self, reply: R) {
        self.refuse(Op::Write, reply, Failure::ReadOnly);
    }
}

/// The largest number of background requests that the kernel will grant.
fn max_background() -> u16 {
    let limit = std::fs::read_to_string(MAX_USER_BACKGROUND_PATH).ok().and_then(|text| text.trim().parse().ok());
    limit.filter(|&limit| limit > 0).map_or(MAX_BACKGROUND, |limit: u16| limit.min(MAX_BACKGROUND))
}

impl Filesystem for FuseEdge {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let offered = config.capabilities();
        for wanted in WANTED.into_iter().filter(|&wanted| offered.contains(wanted)) {
            // offered was looked at just now, so it is not refused
            let _ = config.add_capabilities(wanted);
        }
        // on refusal the values stay as they were, which works too
        let _ = config.set_max_background(max_background());
        // the size of a write bounds that of a read as well
        let _ = config.set_max_write(MAX_READ_BYTES);
        self.edge.set_allows_mmap_of_direct_io(offered.contains(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP));
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve(Op::Lookup, reply, |edge, call| edge.lookup(call, Node::from_id(parent), name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(Op::Getattr, reply, |edge, call| edge.getattr(call, Node::from_id(ino), fh));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve(Op::Opendir, reply, |edge, call| edge.opendir(call, Node::from_id(ino)));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.serve(Op::Readdir, reply, |edge, call| edge.readdir(call, Node::from_id(ino), fh, offset));
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus) {
        self.serve(Op::Readdirplus, reply, |edge, call| edge.readdirplus(call, Node::from_id(ino), fh, offset));
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.serve(Op::Release, reply, |edge, call| edge.releasedir(call, fh));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve(Op::Open, reply, |edge, call| edge.open(call, Node::from_id(ino), flags));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(Op::Read, reply, |edge, call| edge.read(call, fh, offset, size));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.serve(Op::Release, reply, |_, call| call.answer(ReplyEmpty::ok));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(Op::Release, reply, |edge, call| edge.release(call, fh));
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(Op::Other, reply, |_, call| call.answer(ReplyEmpty::ok));
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve(Op::Other, reply, |_, call| call.answer(ReplyEmpty::ok));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.serve(Op::Statfs, reply, |edge, call| edge.statfs(call));
    }

    /// Asked only without `default_permissions`, with which we always mount; the modes then are what a plain read-only
    /// file system would go by.
    fn access(&self, _: &Request, _: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if mask.contains(AccessFlags::W_OK) {
            return self.refuse_write(reply);
        }
        self.serve(Op::Other, reply, |_, call| call.answer(ReplyEmpty::ok));
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.serve(Op::Xattr, reply, |edge, call| edge.getxattr(call, Node::from_id(ino), name, size));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve(Op::Xattr, reply, |edge, call| edge.listxattr(call, Node::from_id(ino), size));
    }

    fn readlink(&self, _: &Request, _: INodeNo, reply: ReplyData) {
        self.refuse(Op::Other, reply, Failure::NotLink);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.refuse(Op::Other, reply, Failure::NotDevice);
    }

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.refuse_write(reply);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        self.refuse_write(reply);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        self.refuse_write(reply);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        self.refuse_write(reply);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        self.refuse_write(reply);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        self.refuse_write(reply);
    }

    fn rename(&self, _: &Request, _: INodeNo, _: &OsStr, _: INodeNo, _: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        self.refuse_write(reply);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        self.refuse_write(reply);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        self.refuse_write(reply);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.refuse_write(reply);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        self.refuse_write(reply);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        self.refuse_write(reply);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        self.refuse_write(reply);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.refuse_write(reply);
    }
}
