//! Folders: lookup, opendir, readdir, readdirplus.
//!
//! A folder has no state per handle. The cursor of a listing is the last entry's inode number, by which the catalog orders
//! a folder's entries: it stays valid however the folder changes, and an entry that stays is listed exactly once. The two
//! cursors before the entries are those after `.` and `..`. At the root everything but `.origins` waits for the ready gate,
//! because an empty folder makes a scanner forget its library.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{FileHandle, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyOpen};
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::EntryAttr;
use musicfs_pure::ids::{Ino, MAX_NAME_BYTES};

use super::attrs::{ENTRY_TTL, NEGATIVE_TTL, file_attr, file_type, no_entry};
use super::call::Call;
use super::edge::Edge;
use super::errno::Failure;
use super::nodes::Node;

/// The folder that shows each origin as it is; the one name at the root that is answered before the library is ready.
const ORIGINS_NAME: &[u8] = b".origins";

/// The cursor after `.`.
const AFTER_DOT: u64 = 1;
/// The cursor after `..`. An entry's cursor is its inode number and this, so that none meets these two.
const AFTER_DOT_DOT: u64 = 2;

/// Inode numbers are never reused, so an id needs no generation beside it.
const GENERATION: Generation = Generation(0);

/// One line of a listing.
struct Listed<'a> {
    attr: &'a EntryAttr,
    name: &'a [u8],
    /// Where the listing goes on after this line.
    cursor: u64,
}

impl Edge {
    /// The entry of a name in a folder.
    pub(super) fn lookup(self: &Arc<Self>, call: Call<ReplyEntry>, folder: Node, name: &OsStr) {
        let name = name.as_bytes();
        if name.len() > MAX_NAME_BYTES {
            return call.refuse(&Failure::NameTooLong);
        }
        if self.is_ready() || folder.ino != Ino::ROOT || name == ORIGINS_NAME {
            return self.lookup_now(call, folder.ino, name);
        }
        let name = name.to_owned();
        self.when_ready(call, move |edge, call| edge.lookup_now(call, folder.ino, &name));
    }

    fn lookup_now(&self, call: Call<ReplyEntry>, folder: Ino, name: &[u8]) {
        match self.catalog.lookup(folder, name) {
            Ok(Some(attr)) => {
                let node = Node::of(&attr);
                // the one number of this reply is the node; the kernel must ask for the inode number
                let ttl = if node.is_revised() { Duration::ZERO } else { ENTRY_TTL };
                let shown = file_attr(&attr, node.id(), self.ownership);
                call.answer(|reply| reply.entry_with_ttls(&ttl, &ENTRY_TTL, &shown, GENERATION));
            }
            Ok(None) => call.answer(|reply| reply.entry(&NEGATIVE_TTL, &no_entry(), GENERATION)),
            Err(error) => call.refuse(&error.into()),
        }
    }

    /// Says whether there is such a folder; listing needs no handle.
    pub(super) fn opendir(self: &Arc<Self>, call: Call<ReplyOpen>, folder: Node) {
        if self.is_ready() || folder.ino != Ino::ROOT {
            return self.opendir_now(call, folder.ino);
        }
        self.when_ready(call, move |edge, call| edge.opendir_now(call, folder.ino));
    }

    fn opendir_now(&self, call: Call<ReplyOpen>, folder: Ino) {
        match self.catalog.attr(folder) {
            Ok(Some(attr)) if attr.kind == NodeKind::Folder => {
                call.answer(|reply| reply.opened(FileHandle(0), FopenFlags::empty()));
            }
            Ok(Some(_)) => call.refuse(&Failure::NotFolder),
            Ok(None) => call.refuse(&Failure::Stale),
            Err(error) => call.refuse(&error.into()),
        }
    }

    /// Names and inode numbers.
    pub(super) fn readdir(self: &Arc<Self>, call: Call<ReplyDirectory>, folder: Node, cursor: u64) {
        if self.is_ready() || folder.ino != Ino::ROOT {
            return self.readdir_now(call, folder.ino, cursor);
        }
        self.when_ready(call, move |edge, call| edge.readdir_now(call, folder.ino, cursor));
    }

    fn readdir_now(&self, call: Call<ReplyDirectory>, folder: Ino, cursor: u64) {
        let fill = |reply: &mut ReplyDirectory| {
            self.list(folder, cursor, &mut |line| {
                let (ino, kind) = (INodeNo(line.attr.ino.0), file_type(line.attr.kind));
                reply.add(ino, line.cursor, kind, OsStr::from_bytes(line.name))
            })
        };
        call.fill_and_answer(fill, ReplyDirectory::ok);
    }

    /// Names with attributes, so that a walk with a stat of everything asks once per page.
    pub(super) fn readdirplus(self: &Arc<Self>, call: Call<ReplyDirectoryPlus>, folder: Node, cursor: u64) {
        if self.is_ready() || folder.ino != Ino::ROOT {
            return self.readdirplus_now(call, folder.ino, cursor);
        }
        self.when_ready(call, move |edge, call| edge.readdirplus_now(call, folder.ino, cursor));
    }

    fn readdirplus_now(&self, call: Call<ReplyDirectoryPlus>, folder: Ino, cursor: u64) {
        let fill = |reply: &mut ReplyDirectoryPlus| {
            self.list(folder, cursor, &mut |line| {
                let node = Node::of(line.attr);
                // one lifetime for name and attributes, so it is the shorter of the two
                let ttl = if node.is_revised() { Duration::ZERO } else { ENTRY_TTL };
                let shown = file_attr(line.attr, node.id(), self.ownership);
                reply.add(node.id(), line.cursor, OsStr::from_bytes(line.name), &ttl, &shown, GENERATION)
            })
        };
        call.fill_and_answer(fill, ReplyDirectoryPlus::ok);
    }

    /// Lists a folder from a cursor on, until `emit` says that it is full.
    fn list(&self, folder: Ino, cursor: u64, emit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Failure> {
        if cursor < AFTER_DOT {
            let attr = self.catalog.attr(folder)?.ok_or(Failure::Stale)?;
            if emit(Listed { attr: &attr, name: b".", cursor: AFTER_DOT }) {
                return Ok(());
            }
        }
        if cursor < AFTER_DOT_DOT {
            let parent = self.catalog.parent(folder)?.ok_or(Failure::Stale)?;
            let attr = self.catalog.attr(parent)?.ok_or(Failure::Stale)?;
            if emit(Listed { attr: &attr, name: b"..", cursor: AFTER_DOT_DOT }) {
                return Ok(());
            }
        }
        let after = Ino(cursor.saturating_sub(AFTER_DOT_DOT));
        let mut visit = |attr: &EntryAttr, name: &[u8]| {
            let cursor = attr.ino.0.saturating_add(AFTER_DOT_DOT);
            !emit(Listed { attr, name, cursor })
        };
        Ok(self.catalog.read_dir(folder, after, &mut visit)?)
    }
}
