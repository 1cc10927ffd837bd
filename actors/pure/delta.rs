//! What a difference between an origin and the catalog means.
//!
//! Two questions: what happened to a file that a listing or an event shows, and whether a listing is to be believed when
//! it says that files are gone. The second is the one that protects libraries: an unmounted disk lists successfully and
//! *empty*, so a listing that removes too much, or that comes from another root, removes nothing until a person says so.

use crate::version::{Timestamp, Version};

/// What is compared of a file.
#[derive(Clone, Copy, Debug)]
pub struct FileState<'a> {
    /// Size, mtime and the rest of the version.
    pub version: &'a Version,
    /// Last change of the inode, where the origin shows it.
    pub ctime: Option<Timestamp>,
    /// Permission bits.
    pub mode: u32,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing.
    None,
    /// Only permission bits, at an origin that shows no change time.
    Attributes,
    /// The inode changed and the version did not: an editor that puts the mtime back looks like this, whether or not
    /// permission bits changed too. Tags are read again; the version stays.
    Suspect,
    /// Another version.
    Modified,
}

/// Compares what is known of a path with what is seen there now.
pub fn compare(known: FileState<'_>, seen: FileState<'_>) -> Difference {
    if known.version != seen.version {
        Difference::Modified
    } else if known.ctime != seen.ctime && seen.ctime.is_some() {
        Difference::Suspect
    } else if known.mode != seen.mode {
        Difference::Attributes
    } else {
        Difference::None
    }
}

/// A listing removes nothing by itself when it would remove more files than this and more than half of them: fewer can be
/// an album that someone deleted, and are found again by their tombstones in any case.
pub const QUARANTINE_MIN_FILES: u64 = 20;

/// What a listing would do to an origin's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removals {
    /// Files that are known.
    pub known: u64,
    /// Files among them that the listing lacks.
    pub missing: u64,
    /// The listing comes from another root than the one before: another filesystem type or root inode.
    pub root_changed: bool,
    /// A person has said that the removals are wanted.
    pub accepted: bool,
}

/// Whether removals are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are believed.
    Remove,
    /// They are not, because the root is another one.
    OtherRoot,
    /// They are not, because there are too many.
    TooMany,
}

/// Decides over the removals of one listing or one batch of events.
pub fn judge_removals(removals: Removals) -> Verdict {
    let Removals { known, missing, root_changed, accepted } = removals;
    if accepted || missing == 0 {
        Verdict::Remove
    } else if root_changed {
        Verdict::OtherRoot
    } else if missing > QUARANTINE_MIN_FILES && missing > known / 2 {
        Verdict::TooMany
    } else {
        Verdict::Remove
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Granularity;

    fn version(size: u64, ino: u64) -> Version {
        Version { size, mtime: Timestamp::new(1, 5), granularity: Granularity::Nanos, ino: Some(ino), etag: None }
    }

    #[test]
    fn file_states_are_told_apart() {
        let (one, other) = (version(10, 1), version(10, 2));
        let at = |secs| Some(Timestamp::new(secs, 0));
        let known = FileState { version: &one, ctime: at(1), mode: 0o644 };
        let cases = [
            (known, Difference::None),
            (FileState { mode: 0o600, ctime: at(2), ..known }, Difference::Suspect),
            (FileState { mode: 0o600, ctime: None, ..known }, Difference::Attributes),
            (FileState { ctime: at(2), ..known }, Difference::Suspect),
            (FileState { ctime: None, ..known }, Difference::None),
            (FileState { version: &other, ..known }, Difference::Modified),
        ];
        for (seen, expected) in cases {
            assert_eq!(compare(known, seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn removals_beyond_half_and_twenty_are_not_believed() {
        let judge = |known, missing| judge_removals(Removals { known, missing, root_changed: false, accepted: false });
        assert_eq!(judge(20, 20), Verdict::Remove);
        assert_eq!(judge(21, 21), Verdict::TooMany);
        assert_eq!(judge(42, 21), Verdict::Remove);
        assert_eq!(judge(41, 21), Verdict::TooMany);
        assert_eq!(judge(0, 0), Verdict::Remove);
    }

    #[test]
    fn another_root_removes_nothing_unless_accepted() {
        let removals = Removals { known: 100, missing: 1, root_changed: true, accepted: false };
        assert_eq!(judge_removals(removals), Verdict::OtherRoot);
        assert_eq!(judge_removals(Removals { accepted: true, ..removals }), Verdict::Remove);
        assert_eq!(judge_removals(Removals { missing: 0, ..removals }), Verdict::Remove);
    }
}
