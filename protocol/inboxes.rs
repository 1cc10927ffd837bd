//! The inboxes of the change pipeline, each with the rules by which its events are merged and its content made smaller.
//!
//! Merging keeps what is more: "everything below may have changed" and "removals are wanted" are never taken back, the
//! latest former name wins, and one of the work tokens stays. A full inbox of paths becomes an inbox of their folders, and
//! when those are too many as well, of their origins' roots. Nothing that was pushed may be forgotten: a path is always
//! covered by what stands for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use musicfs_pure::ids::{OriginId, OriginPath};

use crate::change::{PathKey, PathTouched, PathsSettled, RescanInbox, RescanOrigin, SettledInbox, TouchedInbox};
use crate::inbox::Inbox;

/// Pending paths before they become their folders: some 3 MB, and more than an album collection that is retagged at once.
const MAX_PATHS: usize = 10_240;

/// Pending folders before they become their origins' roots: beyond it one walk is cheaper than so many listings.
const MAX_FOLDERS: usize = 1_024;

/// Pending origins. The keys are configured origins, so this is far above what can be; it only has to be finite.
const MAX_ORIGINS: usize = 4_096;

/// An inbox for the debouncer.
pub fn touched_inbox() -> TouchedInbox {
    Inbox::new(MAX_PATHS, PathTouched::merge, collapse)
}

/// An inbox for the delta detector's settled paths.
pub fn settled_inbox() -> SettledInbox {
    Inbox::new(MAX_PATHS, PathsSettled::merge, collapse)
}

/// An inbox for the delta detector's rescans.
pub fn rescan_inbox() -> RescanInbox {
    Inbox::new(MAX_ORIGINS, merge_rescans, std::convert::identity)
}

fn merge_rescans(pending: &mut RescanOrigin, later: RescanOrigin) {
    pending.accept_removals |= later.accept_removals;
}

/// An event whose key is a path.
trait PathEvent {
    /// Adds a later event of the same path.
    fn merge(&mut self, later: Self);

    /// The event of a folder that stands for this one.
    fn of_folder(self) -> Self;
}

impl PathEvent for PathTouched {
    fn merge(&mut self, later: Self) {
        self.recursive |= later.recursive;
        self.renamed_from = later.renamed_from.or(self.renamed_from.take());
    }

    fn of_folder(self) -> Self {
        Self { renamed_from: None, recursive: true, work: self.work }
    }
}

impl PathEvent for PathsSettled {
    fn merge(&mut self, later: Self) {
        self.recursive |= later.recursive;
        self.renamed_from = later.renamed_from.or(self.renamed_from.take());
    }

    fn of_folder(self) -> Self {
        Self { renamed_from: None, recursive: true, work: self.work }
    }
}

fn collapse<V: PathEvent>(full: HashMap<PathKey, V>) -> HashMap<PathKey, V> {
    let folders = regroup(full, |(origin, path)| (origin, path.parent().unwrap_or_else(OriginPath::root)));
    if folders.len() <= MAX_FOLDERS {
        return folders;
    }
    regroup(folders, |(origin, _): (OriginId, _)| (origin, OriginPath::root()))
}

fn regroup<V: PathEvent>(events: HashMap<PathKey, V>, folder_of: fn(PathKey) -> PathKey) -> HashMap<PathKey, V> {
    let mut folders = HashMap::<PathKey, V>::new();
    for (key, event) in events {
        let event = event.of_folder();
        match folders.entry(folder_of(key)) {
            Entry::Occupied(mut slot) => slot.get_mut().merge(event),
            Entry::Vacant(slot) => {
                slot.insert(event);
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Work;

    fn origin() -> OriginId {
        OriginId::parse("nas").expect("valid")
    }

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).expect("valid")
    }

    fn touched(work: &Work, renamed_from: Option<&str>, recursive: bool) -> PathTouched {
        PathTouched { renamed_from: renamed_from.map(path), recursive, work: work.begin() }
    }

    #[test]
    fn events_of_one_path_keep_what_is_more() {
        let (inbox, work) = (touched_inbox(), Work::default());
        inbox.push((origin(), path("x")), touched(&work, Some("a"), false));
        inbox.push((origin(), path("x")), touched(&work, Some("b"), true));
        inbox.push((origin(), path("x")), touched(&work, None, false));
        assert_eq!(work.pending(), 1);
        let event = inbox.drain().remove(&(origin(), path("x"))).expect("pending");
        assert!(event.recursive);
        assert_eq!(event.renamed_from, Some(path("b")));
    }

    #[test]
    fn too_many_paths_become_their_folders_recursively() {
        let (inbox, work) = (settled_inbox(), Work::default());
        for number in 0..=MAX_PATHS {
            let settled = PathsSettled { renamed_from: None, recursive: false, work: work.begin() };
            inbox.push((origin(), path(&format!("{}/{number}", number % 7))), settled);
        }
        let pending = inbox.drain();
        assert_eq!(pending.len(), 7);
        assert!(pending.iter().all(|((_, folder), event)| event.recursive && folder.as_bytes().len() == 1));
        assert_eq!(work.pending(), 7);
    }

    #[test]
    fn too_many_folders_become_the_root_of_their_origin() {
        let (inbox, work) = (touched_inbox(), Work::default());
        for number in 0..=MAX_PATHS {
            inbox.push((origin(), path(&format!("{number}/x"))), touched(&work, None, false));
        }
        let pending = inbox.drain();
        assert_eq!(pending.len(), 1);
        assert!(pending[&(origin(), OriginPath::root())].recursive);
    }

    #[test]
    fn rescan_that_accepts_removals_stays_one() {
        let (inbox, work) = (rescan_inbox(), Work::default());
        for accept_removals in [false, true, false] {
            inbox.push(origin(), RescanOrigin { accept_removals, work: work.begin() });
        }
        assert!(inbox.drain()[&origin()].accept_removals);
    }
}
