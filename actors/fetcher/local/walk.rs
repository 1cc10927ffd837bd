//! Listing a local origin: whole folders, depth first, about a thousand steps to a page.
//!
//! A page's state is a stack of folders still to be listed, which travels in the cursor; nothing is kept here between two
//! pages, so a page may be asked for again after a failure and two listings never disturb each other. Entries come sorted
//! by the bytes of their names, so that the same tree gives the same listing whatever the filesystem's own order.
//!
//! A folder is either listed completely or failed: one entry that could not be looked at fails the whole folder, because
//! whoever compares the listing with what is known takes a file that is missing from a complete folder for a removed one.
//! Left out for good are only entries that vanished meanwhile, names that cannot be paths, links that are not followed,
//! and sockets, FIFOs and devices.

use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Instant;

use musicfs_protocol::Deadline;
use musicfs_protocol::fetch::{
    FetchError, ListCursor, ListPage, ListStep, MountedFolder, NodeKind, RootIdentity, Stat,
};
use musicfs_pure::ids::OriginPath;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{self, Errno};

use super::attributes::{self, FsType};
use super::links::{self, Resolved};
use super::root::Root;
use crate::fetcher::origin::PageRequest;

/// A page ends with the folder that brings it to so many steps: some 200 KB of answer, and few enough system calls that
/// a slow network mount gets through them within a deadline.
const PAGE_STEPS: usize = 1000;

/// The most entries of one folder, ten times what the filesystem promises to handle well. A larger one fails by name
/// instead of taking the daemon's memory.
const MAX_FOLDER_ENTRIES: usize = 1 << 20;

/// The buffer of one `getdents` call; what glibc uses too.
const DIRENT_BUFFER_BYTES: usize = 32 << 10;

/// What was found in one folder.
#[derive(Default)]
struct Found {
    entries: Vec<(OriginPath, Stat)>,
    mounted: Option<RootIdentity>,
    links_left_out: u64,
    names_left_out: u64,
}

/// A folder that is being listed.
struct Folder<'a> {
    root: &'a Root<'a>,
    path: &'a OriginPath,
    at: Resolved,
    fs: FsType,
    deadline: Deadline,
}

/// The next page of a listing.
pub(super) fn list_page(root: &Path, request: &PageRequest, deadline: Deadline) -> Result<ListPage, FetchError> {
    let root = Root::open(root)?;
    let identity = root.identity()?;
    let mut page = ListPage {
        steps: Vec::new(),
        next: None,
        links_left_out: 0,
        names_left_out: 0,
        root: identity,
        mounts: Vec::new(),
    };
    let mut pending = request.cursor.clone().unwrap_or_else(|| ListCursor::before(request.folder.clone()));
    while page.steps.len() < PAGE_STEPS
        && let Some(path) = pending.pop()
    {
        match Folder::open(&root, &path, deadline).and_then(|folder| folder.list()) {
            Ok(found) => add_folder(&mut page, &mut pending, request.recursive, path, found),
            // the origin is away, or nobody waits any more: that says nothing about this folder
            Err(error @ (FetchError::Offline { .. } | FetchError::Timeout)) => return Err(error),
            Err(error) => page.steps.push(ListStep::FolderFailed { path, error }),
        }
    }
    page.next = (!pending.is_empty()).then_some(pending);
    Ok(page)
}

/// Adds a complete folder to the page, and its subfolders to what is pending.
fn add_folder(page: &mut ListPage, pending: &mut ListCursor, recursive: bool, folder: OriginPath, found: Found) {
    if recursive {
        let folders = found.entries.iter().filter(|(_, stat)| stat.kind == NodeKind::Folder);
        pending.push(folders.map(|(path, _)| path.clone()).collect());
    }
    page.links_left_out += found.links_left_out;
    page.names_left_out += found.names_left_out;
    page.mounts.extend(found.mounted.map(|root| MountedFolder { path: folder.clone(), root }));
    page.steps.extend(found.entries.into_iter().map(|(path, stat)| ListStep::Entry { path, stat }));
    page.steps.push(ListStep::FolderComplete { path: folder });
}

impl<'a> Folder<'a> {
    fn open(root: &'a Root<'a>, path: &'a OriginPath, deadline: Deadline) -> Result<Self, FetchError> {
        let at = links::resolve(root, path)?;
        if !at.node.file_type().is_dir() {
            return Err(FetchError::NotFound);
        }
        let fs = FsType::of(&at.node.fd).map_err(|errno| root.explain(path, errno))?;
        Ok(Self { root, path, at, fs, deadline })
    }

    /// Whether a linked folder was entered on the way here.
    fn is_linked(&self) -> bool {
        self.at.real != *self.path
    }

    fn explain(&self, errno: Errno) -> FetchError {
        self.root.explain(self.path, errno)
    }

    fn list(&self) -> Result<Found, FetchError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(&self.at.node.fd, c".", flags, Mode::empty());
        let mut names = readable.map_err(|errno| self.explain(errno)).and_then(|fd| self.names(&fd))?;
        names.sort_unstable();
        let mut found = Found { mounted: self.mounted(), ..Found::default() };
        for name in names {
            if self.deadline.has_passed(Instant::now()) {
                return Err(FetchError::Timeout);
            }
            self.add_entry(&name, &mut found)?;
        }
        Ok(found)
    }

    /// What is mounted on the folder; the origin's root is told apart by its own identity.
    fn mounted(&self) -> Option<RootIdentity> {
        let attributes = &self.at.node.attributes;
        let is_mounted = !self.at.real.is_root() && attributes::is_mount_root(attributes);
        is_mounted.then(|| attributes::identity(attributes, self.fs))
    }

    fn names(&self, fd: &OwnedFd) -> Result<Vec<Box<[u8]>>, FetchError> {
        let mut names = Vec::new();
        let complete = read_names(fd, &mut |name| {
            names.push(name.into());
            names.len() <= MAX_FOLDER_ENTRIES
        });
        if !complete.map_err(|errno| self.explain(errno))? {
            let reason = format!("a folder has more than {MAX_FOLDER_ENTRIES} entries; split it");
            return Err(FetchError::Io { reason });
        }
        Ok(names)
    }

    /// Looks at one name. Only an error that leaves the answer open is an error of the folder.
    fn add_entry(&self, name: &[u8], found: &mut Found) -> Result<(), FetchError> {
        let (Ok(path), Ok(real)) = (self.path.join(name), self.at.real.join(name)) else {
            found.names_left_out += 1;
            return Ok(());
        };
        let attributes = match attributes::of_entry(&self.at.node.fd, name) {
            Ok(attributes) => attributes,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.explain(errno)),
        };
        if attributes::file_type(&attributes).is_symlink() {
            return self.add_link(name, path, found);
        }
        let same_fs = attributes::device(&attributes) == attributes::device(&self.at.node.attributes);
        let fs = if same_fs { self.fs } else { self.fs_of(&real)? };
        let real_path = self.is_linked().then_some(real);
        if let Some(stat) = attributes::stat(&attributes, fs, real_path) {
            found.entries.push((path, stat));
        }
        Ok(())
    }

    /// The filesystem of an entry that has another device number than its folder.
    fn fs_of(&self, real: &OriginPath) -> Result<FsType, FetchError> {
        self.root.pin(real).and_then(|node| FsType::of(&node.fd)).map_err(|errno| self.explain(errno))
    }

    fn add_link(&self, name: &[u8], path: OriginPath, found: &mut Found) -> Result<(), FetchError> {
        let target = links::resolve_child(self.root, &self.at.real, self.is_linked(), name)
            .and_then(|(target, _)| target.stat(self.root, &path));
        match target {
            Ok(stat) => found.entries.push((path, stat)),
            Err(FetchError::NotFound | FetchError::NotServable | FetchError::AccessDenied) => found.links_left_out += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Hands every name but `.` and `..` to `take` until that has enough; answers whether it came to the end.
///
/// With `getdents` itself and not with a library's iterator: those take `ENOENT`, which a removed folder gives, for the
/// end of the folder, and it would list as complete and empty.
fn read_names(fd: &OwnedFd, take: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut buffer = vec![MaybeUninit::uninit(); DIRENT_BUFFER_BYTES];
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let name = match entry {
            Ok(entry) => entry.file_name().to_bytes().to_vec(),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        if name != b"." && name != b".." && !take(&name) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
