//! Files: getattr, open, read, release.
//!
//! A file of a local origin is opened at its origin and read through that descriptor, past the page cache where the kernel
//! can still map it then: edits in place show through, and a file replaced by a rename stays what it was for whoever has it
//! open, exactly as with the plain file. What the disk has in memory is read on the FUSE thread; anything else goes to the
//! origin's lane with the call in it. A stat that fails to find its version shows that of the open handle, or says that
//! the node is stale; it never asks the origin.

use std::cell::RefCell;
use std::sync::Arc;

use fuser::{FileHandle, FopenFlags, INodeNo, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyOpen};
use musicfs_protocol::FetchError;
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{DirectFile, EntryAttr, Source};
use musicfs_pure::version::Version;

use super::art::ArtFile;
use super::attrs::{ENTRY_TTL, UNANNOUNCED_TTL, file_attr};
use super::call::Call;
use super::edge::{Edge, OriginLane};
use super::errno::Failure;
use super::handles::{Content, OpenFile};
use super::nodes::Node;

/// The largest read that is asked of us: the kernel's own default limit for one request. A buffer of this size is all
/// that a FUSE or pool thread keeps.
pub(super) const MAX_READ_BYTES: u32 = 1 << 20;

thread_local! {
    /// Bytes on their way from the disk to the kernel; one buffer per thread, because a fresh one per read costs more than
    /// the read.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_buffer<T>(len: u32, fill: impl FnOnce(&mut [u8]) -> T) -> T {
    let len = len.min(MAX_READ_BYTES) as usize;
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        fill(&mut buffer[..len])
    })
}

impl OpenFile {
    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        fail::fail_point!("fuse_front::read_now", |_| Ok(None));
        match &self.content {
            Content::Direct(file) => Ok(file.read_now(offset, buffer)?),
            Content::Art(art) => art.read_now(offset, buffer),
        }
    }

    fn read_blocking(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        match &self.content {
            Content::Direct(file) => Ok(file.read_blocking(offset, buffer)?),
            Content::Art(art) => art.read_blocking(offset, buffer),
        }
    }

    /// The attributes at the time of opening, unless the plain file of a local disk has changed since: then its size and
    /// mtime now. A server is not asked: this runs on a FUSE thread.
    fn attr_now(&self) -> EntryAttr {
        let mut attr = self.attr.clone();
        if let Content::Direct(file) = &self.content
            && let Some(Ok(version)) = file.stat_now()
            && !is_same_content(&version, &self.source.version)
        {
            attr.size = version.size;
            attr.mtime = version.mtime;
        }
        attr
    }

    fn is_direct(&self) -> bool {
        matches!(self.content, Content::Direct(_))
    }
}

/// Whether two states of a local file have the same content, as far as a stat can tell.
pub(super) fn is_same_content(a: &Version, b: &Version) -> bool {
    let same_ino = a.ino.is_none() || b.ino.is_none() || a.ino == b.ino;
    a.size == b.size && a.mtime == b.mtime && same_ino
}

/// What is known before a file is opened at its origin.
struct OpenPlan {
    node: Node,
    attr: EntryAttr,
    source: Source,
}

impl Edge {
    /// Attributes of a node. `fstat` comes without its handle, so any open file of the node speaks for all of them.
    pub(super) fn getattr(&self, call: Call<ReplyAttr>, node: Node, handle: Option<FileHandle>) {
        let open = handle.and_then(|handle| self.handles.get(handle.0)).or_else(|| self.handles.on_node(node));
        if let Some(open) = open.as_ref().filter(|open| open.is_direct()) {
            return self.answer_open_attr(call, open);
        }
        match self.catalog.attr(node.ino) {
            Ok(Some(attr)) if Node::of(&attr) == node => {
                let (ttl, shown) = (ENTRY_TTL, file_attr(&attr, INodeNo(attr.ino.0), self.ownership));
                call.answer(|reply| reply.attr(&ttl, &shown));
            }
            Ok(_) => match open {
                Some(open) => self.answer_open_attr(call, &open),
                None => call.refuse(&Failure::Stale),
            },
            Err(error) => call.refuse(&error.into()),
        }
    }

    fn answer_open_attr(&self, call: Call<ReplyAttr>, open: &OpenFile) {
        let attr = open.attr_now();
        let shown = file_attr(&attr, INodeNo(attr.ino.0), self.ownership);
        call.answer(|reply| reply.attr(&UNANNOUNCED_TTL, &shown));
    }

    /// Opens a file for reading.
    pub(super) fn open(self: &Arc<Self>, call: Call<ReplyOpen>, node: Node, flags: OpenFlags) {
        match self.plan_open(node, flags) {
            Ok(plan) => self.open_planned(call, plan),
            Err(failure) => call.refuse(&failure),
        }
    }

    fn plan_open(&self, node: Node, flags: OpenFlags) -> Result<OpenPlan, Failure> {
        let truncates = flags.0 & rustix::fs::OFlags::TRUNC.bits().cast_signed() != 0;
        if truncates || flags.acc_mode() != OpenAccMode::O_RDONLY {
            return Err(Failure::ReadOnly);
        }
        let attr = self.catalog.attr(node.ino)?.ok_or(Failure::Stale)?;
        if attr.kind == NodeKind::Folder {
            return Err(Failure::IsFolder);
        }
        // another version has another node: the kernel walks the path again and opens that
        if Node::of(&attr) != node {
            return Err(Failure::Stale);
        }
        let source = self.catalog.source(node.ino)?.ok_or(Failure::Stale)?;
        Ok(OpenPlan { node, attr, source })
    }

    fn open_planned(self: &Arc<Self>, call: Call<ReplyOpen>, plan: OpenPlan) {
        let Some(OriginLane { reader, lane }) = self.direct.get(&plan.source.origin) else {
            self.report(&plan.source, &Failure::OriginNotServed);
            return call.refuse(&Failure::OriginNotServed);
        };
        if let Some(opened) = reader.open_now(&plan.source.path).transpose() {
            return self.finish_open(call, &plan, opened);
        }
        let (edge, reader) = (Arc::clone(self), Arc::clone(reader));
        lane.run(call, 0, move |kept| {
            let opened = reader.open_blocking(&plan.source.path);
            if let Some(call) = kept.take() {
                edge.finish_open(call, &plan, opened);
            }
        });
    }

    fn finish_open(&self, call: Call<ReplyOpen>, plan: &OpenPlan, opened: Result<Arc<dyn DirectFile>, FetchError>) {
        match opened.map_err(Failure::from).and_then(|file| self.content_of(plan, file)) {
            Ok(content) => {
                let flags = self.open_flags(&content);
                self.publish_open(&plan.source);
                let (node, attr, source) = (plan.node, plan.attr.clone(), plan.source.clone());
                let handle = self.handles.insert(OpenFile { node, attr, source, content });
                call.answer(|reply| reply.opened(FileHandle(handle), flags));
            }
            Err(failure) => {
                self.report(&plan.source, &failure);
                call.refuse(&failure);
            }
        }
    }

    fn content_of(&self, plan: &OpenPlan, file: Arc<dyn DirectFile>) -> Result<Content, Failure> {
        let Some(location) = plan.source.art.clone() else { return Ok(Content::Direct(file)) };
        let (version, budget) = (plan.source.version.clone(), self.art_budget.clone());
        ArtFile::open(file, location, version, self.decode_art, budget).map(Content::Art)
    }

    /// Nothing is ever written, so a close has nothing to flush. Without keep-cache each open drops the pages that a map or
    /// a sendfile left behind. A picture is made anew for each version, so its pages can be shared by its readers.
    fn open_flags(&self, content: &Content) -> FopenFlags {
        match content {
            Content::Direct(_) if self.opens_direct() => FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH,
            Content::Direct(_) | Content::Art(_) => FopenFlags::FOPEN_NOFLUSH,
        }
    }

    /// Reads from an open file.
    pub(super) fn read(self: &Arc<Self>, call: Call<ReplyData>, handle: FileHandle, offset: u64, len: u32) {
        let Some(open) = self.handles.get(handle.0) else { return call.refuse(&Failure::UnknownHandle) };
        let left_over = with_buffer(len, |buffer| match open.read_now(offset, buffer) {
            Ok(Some(read)) => {
                call.answer_bytes(&buffer[..read]);
                None
            }
            Ok(None) => Some(call),
            Err(failure) => {
                self.report(&open.source, &failure);
                call.refuse(&failure);
                None
            }
        });
        if let Some(call) = left_over {
            self.read_on_pool(call, open, offset, len);
        }
    }

    fn read_on_pool(self: &Arc<Self>, call: Call<ReplyData>, open: Arc<OpenFile>, offset: u64, len: u32) {
        let Some(OriginLane { lane, .. }) = self.direct.get(&open.source.origin) else {
            return call.refuse(&Failure::OriginNotServed);
        };
        let edge = Arc::clone(self);
        let bytes = u64::from(len.min(MAX_READ_BYTES));
        lane.run(call, bytes, move |kept| {
            with_buffer(len, |buffer| match open.read_blocking(offset, buffer) {
                Ok(read) => {
                    if let Some(call) = kept.take() {
                        call.answer_bytes(&buffer[..read]);
                    }
                }
                Err(failure) => {
                    edge.report(&open.source, &failure);
                    kept.refuse(&failure);
                }
            });
        });
    }

    /// Closes a handle.
    pub(super) fn release(&self, call: Call<ReplyEmpty>, handle: FileHandle) {
        let open = self.handles.remove(handle.0);
        call.answer(ReplyEmpty::ok);
        // closing the last descriptor of a replaced file can take the disk a while; nobody waits for it now
        drop(open);
    }
}
