//! What a batch in the making still has to settle before it may be committed.
//!
//! Changes mark; settling looks at each marked thing once, however often it was marked. Sets are ordered, so that the
//! same changes give the same numbers. Nothing here is persistent: a batch that fails forgets it whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use musicfs_protocol::Happening;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::naming::numbered_parts;

/// A name in a folder whose entry may be stale in the kernel.
pub type TouchedName = (Ino, Box<[u8]>);

/// Marks of one batch.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// (Library folder, wanted name): who has the name must be decided again.
    pub(super) groups: BTreeSet<(Ino, Vec<u8>)>,
    /// Source folders all of whose sidecars must be spread anew.
    pub(super) sources: BTreeSet<Ino>,
    /// Sidecars, each with its source folder, that must be spread anew.
    pub(super) sidecars: BTreeSet<(Ino, FileId)>,
    /// How many sidecars the marked source folders have: work that a batch has taken on without having staged it.
    pub(super) num_to_spread: usize,
    /// Library folders whose made cover must be decided again.
    pub(super) covers: BTreeSet<Ino>,
    /// Library folders whose spelling must be decided again.
    pub(super) spellings: BTreeSet<Ino>,
    /// Folders that lost an entry.
    pub(super) maybe_empty: BTreeSet<Ino>,
    /// Files that show something else than before.
    pub(super) dirty_files: HashSet<FileId>,
    /// Folders whose membership changed.
    pub(super) changed_folders: BTreeSet<Ino>,
    /// Names to be announced once the batch is committed.
    pub(super) touched: BTreeSet<TouchedName>,
    /// What happened to files, to be published once the batch is committed.
    pub(super) happenings: Vec<Happening>,
    /// Change of the number of live files by origin.
    pub(super) files_delta: BTreeMap<u32, i64>,
    /// Change of the number of tracks.
    pub(super) tracks_delta: i64,
}

impl Pending {
    /// A name began or ceased to be wanted, or to be a folder's: its own group, and the one that numbers would have given
    /// this name to, may arrange themselves differently.
    pub(super) fn mark_name(&mut self, folder: Ino, name: &[u8]) {
        if let Some((base, _)) = numbered_parts(name) {
            self.groups.insert((folder, base));
        }
        self.groups.insert((folder, name.to_vec()));
    }

    /// All sidecars of a source folder, which are so many, may go with other albums than before.
    pub(super) fn mark_sources(&mut self, raw: Ino, num_sidecars: u64) {
        if self.sources.insert(raw) {
            self.num_to_spread = self.num_to_spread.saturating_add(num_sidecars as usize);
        }
    }

    /// An entry shows something else, under the name that it has.
    pub(super) fn mark_shown(&mut self, folder: Ino, wanted: &[u8], file: FileId) {
        self.groups.insert((folder, wanted.to_vec()));
        self.dirty_files.insert(file);
    }

    pub(super) fn count_file(&mut self, origin: u32, change: i64) {
        *self.files_delta.entry(origin).or_default() += change;
    }
}
