//! Folders: lookup, opendir, readdir, readdirplus.
//!
//! The cursor of a listing is the last entry's inode number, by which the catalog orders a folder's entries: it stays valid
//! however the folder changes, and an entry that stays is listed exactly once; all that a handle adds is whether its
//! listing has ended (`listings`). The two cursors before the entries are those after `.` and `..`. At the root everything
//! but `.origins` waits for the ready gate, because an empty folder makes a scanner forget its library.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    FileHandle, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
};
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{EntryAttr, Revision};
use musicfs_pure::ids::{Ino, MAX_NAME_BYTES};
use musicfs_pure::version::Timestamp;

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

/// Where a listing goes on.
#[derive(Clone, Copy)]
struct Place {
    folder: Ino,
    handle: u64,
    cursor: u64,
}

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

    /// Says whether there is such a folder.
    pub(super) fn opendir(self: &Arc<Self>, call: Call<ReplyOpen>, folder: Node) {
        if self.is_ready() || folder.ino != Ino::ROOT {
            return self.opendir_now(call, folder.ino);
        }
        self.when_ready(call, move |edge, call| edge.opendir_now(call, folder.ino));
    }

    fn opendir_now(&self, call: Call<ReplyOpen>, folder: Ino) {
        match self.catalog.attr(folder) {
            Ok(Some(attr)) if attr.kind == NodeKind::Folder => {
                let handle = FileHandle(self.listings.open());
                call.answer(|reply| reply.opened(handle, FopenFlags::empty()));
            }
            Ok(Some(_)) => call.refuse(&Failure::NotFolder),
            Ok(None) => call.refuse(&Failure::Stale),
            Err(error) => call.refuse(&error.into()),
        }
    }

    /// Closes a listing.
    pub(super) fn releasedir(&self, call: Call<ReplyEmpty>, handle: FileHandle) {
        self.listings.close(handle.0);
        call.answer(ReplyEmpty::ok);
    }

    /// Names and inode numbers.
    pub(super) fn readdir(self: &Arc<Self>, call: Call<ReplyDirectory>, folder: Node, handle: FileHandle, cursor: u64) {
        let at = Place { folder: folder.ino, handle: handle.0, cursor };
        if self.is_ready() || folder.ino != Ino::ROOT {
            return self.readdir_now(call, at);
        }
        self.when_ready(call, move |edge, call| edge.readdir_now(call, at));
    }

    fn readdir_now(&self, call: Call<ReplyDirectory>, at: Place) {
        let fill = |reply: &mut ReplyDirectory| {
            self.list(at, &mut |line| {
                let (ino, kind) = (INodeNo(line.attr.ino.0), file_type(line.attr.kind));
                reply.add(ino, line.cursor, kind, OsStr::from_bytes(line.name))
            })
        };
        call.fill_and_answer(fill, ReplyDirectory::ok);
    }

    /// Names with attributes, so that a walk with a stat of everything asks once per page.
    pub(super) fn readdirplus(
        self: &Arc<Self>,
        call: Call<ReplyDirectoryPlus>,
        folder: Node,
        handle: FileHandle,
        cursor: u64,
    ) {
        let at = Place { folder: folder.ino, handle: handle.0, cursor };
        if self.is_ready() || folder.ino != Ino::ROOT {
            return self.readdirplus_now(call, at);
        }
        self.when_ready(call, move |edge, call| edge.readdirplus_now(call, at));
    }

    fn readdirplus_now(&self, call: Call<ReplyDirectoryPlus>, at: Place) {
        let fill = |reply: &mut ReplyDirectoryPlus| {
            self.list(at, &mut |line| {
                let node = Node::of(line.attr);
                // one lifetime for name and attributes, so it is the shorter of the two
                let ttl = if node.is_revised() { Duration::ZERO } else { ENTRY_TTL };
                let shown = file_attr(line.attr, node.id(), self.ownership);
                reply.add(node.id(), line.cursor, OsStr::from_bytes(line.name), &ttl, &shown, GENERATION)
            })
        };
        call.fill_and_answer(fill, ReplyDirectoryPlus::ok);
    }

    /// Goes on with a listing, until `emit` says that it is full.
    fn list(&self, at: Place, emit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Failure> {
        if at.cursor >= AFTER_DOT_DOT && self.listings.has_ended(at.handle, at.cursor) {
            return Ok(());
        }
        let mut last = at.cursor;
        let mut is_full = false;
        let mut visit = |attr: &EntryAttr, name: &[u8], cursor: u64| {
            is_full = emit(Listed { attr, name, cursor });
            if !is_full {
                last = cursor;
            }
            !is_full
        };
        if self.list_dots(at, &mut visit)? {
            let after = Ino(at.cursor.saturating_sub(AFTER_DOT_DOT));
            let mut entry = |attr: &EntryAttr, name: &[u8]| visit(attr, name, attr.ino.0.saturating_add(AFTER_DOT_DOT));
            self.catalog.read_dir(at.folder, after, &mut entry)?;
        }
        if !is_full {
            self.listings.end(at.handle, last);
        }
        Ok(())
    }

    /// Lists `.` and `..`, as far as that is still to be done; says whether there is room for more. Of the two the kernel
    /// takes number and type, whatever else is said, so nothing is looked up but the folder above.
    fn list_dots(&self, at: Place, visit: &mut dyn FnMut(&EntryAttr, &[u8], u64) -> bool) -> Result<bool, Failure> {
        if at.cursor >= AFTER_DOT_DOT {
            return Ok(true);
        }
        let parent = self.catalog.parent(at.folder)?.ok_or(Failure::Stale)?;
        let has_room = at.cursor >= AFTER_DOT || visit(&bare_folder(at.folder), b".", AFTER_DOT);
        Ok(has_room && visit(&bare_folder(parent), b"..", AFTER_DOT_DOT))
    }
}

/// A folder of which only the number is known.
fn bare_folder(ino: Ino) -> EntryAttr {
    let (kind, mtime, revision) = (NodeKind::Folder, Timestamp::default(), Revision::default());
    EntryAttr { ino, kind, size: 0, mtime, mode: 0o555, revision }
}
