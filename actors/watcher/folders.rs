//! `Folders`: what the keeper and the event handler tell each other about folders.
//!
//! notify forgets a watch by the path it was added under. A folder that is renamed while the keeper walks can be found,
//! and watched, under its new name before the event of its old name arrives; that event then takes the watch away. So the
//! handler counts every known folder that leaves its name, and the keeper walks again until the count stands still. Known
//! paths are kept as hashes (8 bytes for each of a hundred thousand folders): a false match costs one walk and hides nothing.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Known paths. The system grants about a million watches to a machine with 8 GB; beyond that every path counts as known.
const MAX_KNOWN: usize = 1 << 20;

/// Folders that may not be watched and are remembered by name. Beyond it a change of permissions is seen by the next
/// rescan.
const MAX_DENIED: usize = 1_024;

/// Shared by the keeper and the event handler of one inotify instance.
#[derive(Debug, Default)]
pub(super) struct Folders {
    hasher: RandomState,
    known: Mutex<HashSet<u64>>,
    denied: Mutex<BTreeSet<PathBuf>>,
    num_left: AtomicU64,
}

impl Folders {
    /// A folder is about to be watched under this path. Must be called before it is.
    pub(super) fn add(&self, path: &Path) {
        let hash = self.hash(path);
        let mut known = self.known.lock();
        if known.len() < MAX_KNOWN {
            known.insert(hash);
        }
    }

    /// Whether a folder was watched under this path.
    pub(super) fn is_known(&self, path: &Path) -> bool {
        let known = self.known.lock();
        known.len() >= MAX_KNOWN || known.contains(&self.hash(path))
    }

    /// Something is no longer at this path.
    pub(super) fn left(&self, path: &Path) {
        if self.is_known(path) {
            self.num_left.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Folders that have left their path so far.
    pub(super) fn num_left(&self) -> u64 {
        self.num_left.load(Ordering::Acquire)
    }

    /// The folder may not be watched, or may be again.
    pub(super) fn set_denied(&self, path: &Path, is_denied: bool) {
        let mut denied = self.denied.lock();
        if !is_denied {
            denied.remove(path);
        } else if denied.len() < MAX_DENIED {
            denied.insert(path.to_path_buf());
        }
    }

    /// Whether this folder, or one below it, may not be watched.
    pub(super) fn has_denied_below(&self, path: &Path) -> bool {
        self.denied.lock().iter().any(|denied| denied.starts_with(path))
    }

    fn hash(&self, path: &Path) -> u64 {
        self.hasher.hash_one(path.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_folders_are_counted() {
        let folders = Folders::default();
        folders.add(Path::new("/m/a"));
        folders.left(Path::new("/m/file"));
        assert_eq!(folders.num_left(), 0);
        folders.left(Path::new("/m/a"));
        assert_eq!(folders.num_left(), 1);
    }

    #[test]
    fn denied_folder_is_found_from_above() {
        let folders = Folders::default();
        folders.set_denied(Path::new("/m/a/b"), true);
        assert!(folders.has_denied_below(Path::new("/m/a")));
        assert!(!folders.has_denied_below(Path::new("/m/a/bc")));
        folders.set_denied(Path::new("/m/a/b"), false);
        assert!(!folders.has_denied_below(Path::new("/m")));
    }
}
