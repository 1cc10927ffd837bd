//! What a difference between an origin and the catalog means: what happened to a file that a listing or an event shows.
//!
//! Sizes, mtimes and inodes make the version; a change of ctime alone makes a file suspect, and its tags are read again.
//! Times are compared for equality and never for order, so clocks that jump and mtimes in the future mean nothing here.

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
}
