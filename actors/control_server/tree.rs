//! One page of a subtree: depth first, names in the order of their bytes, from a cursor that survives change.
//!
//! The cursor is the path of the last entry that was sent, so the server keeps nothing between pages. An entry that
//! stays is sent exactly once whatever else comes and goes, because a later page goes on above the cursor's names, level
//! by level, also where one of them has gone. Folders are kept in the order of inode numbers, not of names: the next
//! names of a folder are picked with a heap of bounded size, and a folder of 100,000 entries costs one pass of some
//! 50 ms per 4,096 of them.

use std::collections::BinaryHeap;
use std::collections::VecDeque;

use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::wire::{TreeEntry, TreeReply, TreeRequest};
use musicfs_protocol::{CatalogError, EntryAttr, ReadCatalog};
use musicfs_pure::escape::{escape, unescape};
use musicfs_pure::ids::Ino;

use super::library_calls::kind;

/// The most entries of a page, and what a client gets that does not say. Also how many names of one folder are picked at
/// a time: names of all folders on the way down together are at most a path long, so this bounds the memory to 4,096
/// paths.
const MAX_ENTRIES: usize = 4096;

/// The most bytes of paths in a page, so that it fits into a line with what is around them.
const MAX_PATH_BYTES: usize = 256 * 1024;

/// How deep it goes: a path has at most 4,096 bytes, so deeper folders have no path.
const MAX_DEPTH: usize = 2048;

/// A child, ordered by its name.
struct Child {
    name: Vec<u8>,
    attr: EntryAttr,
}

impl PartialEq for Child {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Child {}

impl PartialOrd for Child {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Child {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

/// A folder that is being gone through.
struct Level {
    folder: Ino,
    path: Vec<u8>,
    after: Vec<u8>,
    next: VecDeque<Child>,
    has_more: bool,
}

impl Level {
    fn new(folder: Ino, path: Vec<u8>) -> Self {
        Self { folder, path, after: Vec::new(), next: VecDeque::new(), has_more: true }
    }

    fn take_next(&mut self, catalog: &dyn ReadCatalog) -> Result<Option<Child>, CatalogError> {
        if self.next.is_empty() && self.has_more {
            (self.next, self.has_more) = children_after(catalog, self.folder, &self.after)?;
        }
        let child = self.next.pop_front();
        if let Some(child) = &child {
            self.after.clone_from(&child.name);
        }
        Ok(child)
    }
}

/// The first names of a folder above `after` (the empty name is below all), and whether there are more.
fn children_after(
    catalog: &dyn ReadCatalog,
    folder: Ino,
    after: &[u8],
) -> Result<(VecDeque<Child>, bool), CatalogError> {
    let mut lowest = BinaryHeap::new();
    let mut has_more = false;
    catalog.read_dir(folder, Ino(0), &mut |attr, name| {
        if name > after {
            lowest.push(Child { name: name.to_vec(), attr: attr.clone() });
            if lowest.len() > MAX_ENTRIES {
                lowest.pop();
                has_more = true;
            }
        }
        true
    })?;
    Ok((lowest.into_sorted_vec().into(), has_more))
}

/// The page of `top`'s subtree that the request asks for.
pub(super) fn page(
    catalog: &dyn ReadCatalog,
    top: &EntryAttr,
    top_path: &[u8],
    request: &TreeRequest,
) -> Result<TreeReply, CatalogError> {
    if top.kind != NodeKind::Folder {
        let entries = if request.after.is_none() { vec![entry(top_path, top)] } else { Vec::new() };
        return Ok(TreeReply { entries, next: None });
    }
    let limit = request.limit.map_or(MAX_ENTRIES, |limit| (limit as usize).clamp(1, MAX_ENTRIES));
    let after = request.after.as_ref().map(|after| unescape(after.as_bytes()));
    let mut levels = resume(catalog, top, top_path, after.as_deref())?;
    let mut entries: Vec<TreeEntry> = Vec::new();
    let mut num_path_bytes = 0;
    while let Some(level) = levels.last_mut() {
        if entries.len() >= limit || num_path_bytes >= MAX_PATH_BYTES {
            let next = entries.last().map(|last| last.path.clone());
            return Ok(TreeReply { entries, next });
        }
        let Some(child) = level.take_next(catalog)? else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, &child.name);
        let sent = entry(&path, &child.attr);
        num_path_bytes += sent.path.len();
        entries.push(sent);
        if child.attr.kind == NodeKind::Folder && levels.len() < MAX_DEPTH {
            levels.push(Level::new(child.attr.ino, path));
        }
    }
    Ok(TreeReply { entries, next: None })
}

/// The levels from `top` down to where the page before ended.
fn resume(
    catalog: &dyn ReadCatalog,
    top: &EntryAttr,
    top_path: &[u8],
    after: Option<&[u8]>,
) -> Result<Vec<Level>, CatalogError> {
    let mut levels = vec![Level::new(top.ino, top_path.to_vec())];
    let below = after.and_then(|after| after.strip_prefix(top_path)).unwrap_or_default();
    let names = below.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    for name in names.take(MAX_DEPTH - 1) {
        let Some(level) = levels.last_mut() else { break };
        name.clone_into(&mut level.after);
        let path = join(&level.path, name);
        match catalog.lookup(level.folder, name)? {
            Some(child) if child.kind == NodeKind::Folder => levels.push(Level::new(child.ino, path)),
            _ => break,
        }
    }
    Ok(levels)
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn entry(path: &[u8], attr: &EntryAttr) -> TreeEntry {
    TreeEntry { path: escape(path).into_owned(), kind: kind(attr.kind), size: attr.size, ino: attr.ino.0 }
}
