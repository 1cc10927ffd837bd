//! A folder as a map: what a plain walk with plain system calls sees.
//!
//! Two walks compare with `==`. Content is kept as a hash, because most failures are about which file stands where; the
//! tests about bytes compare bytes. The walk itself never follows links.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) is_dir: bool,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) mode: u32,
    /// Hash of the bytes; 0 for a folder.
    pub(crate) content: u64,
}

/// Everything below a folder, by relative path.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// Hash of some bytes, the same in every run of one build.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn node(path: &Path) -> io::Result<Node> {
    let meta = std::fs::symlink_metadata(path)?;
    let content = if meta.is_file() { hash(&std::fs::read(path)?) } else { 0 };
    Ok(Node {
        is_dir: meta.is_dir(),
        ino: meta.ino(),
        size: if meta.is_dir() { 0 } else { meta.size() },
        mtime: (meta.mtime(), meta.mtime_nsec()),
        mode: meta.mode() & 0o7777,
        content,
    })
}

fn walk_into(root: &Path, folder: &Path, tree: &mut Tree) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let node = node(&path)?;
        let is_dir = node.is_dir;
        tree.insert(path.strip_prefix(root).expect("below the root").to_owned(), node);
        if is_dir {
            walk_into(root, &path, tree)?;
        }
    }
    Ok(())
}

/// Everything below a folder, or why it could not be read.
pub(crate) fn try_walk(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    walk_into(root, root, &mut tree)?;
    Ok(tree)
}

/// Everything below a folder.
#[track_caller]
pub(crate) fn walk(root: &Path) -> Tree {
    try_walk(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}

/// The files only, with paths as text.
#[track_caller]
pub(crate) fn files(root: &Path) -> BTreeSet<String> {
    let tree = walk(root);
    tree.iter().filter(|(_, node)| !node.is_dir).map(|(path, _)| path.to_string_lossy().into_owned()).collect()
}

/// The files of a tree with their inode numbers.
pub(crate) fn inodes(tree: &Tree) -> BTreeMap<PathBuf, u64> {
    tree.iter().map(|(path, node)| (path.clone(), node.ino)).collect()
}

/// The paths of the files below a folder, without reading a byte of them: what an origin that is away can show too.
#[track_caller]
pub(crate) fn listed(folder: &Path) -> BTreeSet<String> {
    try_listed(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The same while names come and go.
pub(crate) fn try_listed(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in std::fs::read_dir(&at)? {
            let path = entry?.path();
            if std::fs::symlink_metadata(&path)?.is_dir() {
                pending.push(path);
            } else {
                found.insert(path.strip_prefix(folder).expect("below").to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

/// A set of paths to compare with [`files`].
pub(crate) fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.into_iter().map(str::to_owned).collect()
}

/// The inode number of a path.
#[track_caller]
pub(crate) fn ino(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).ino()
}

/// The names in a folder, sorted.
#[track_caller]
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
