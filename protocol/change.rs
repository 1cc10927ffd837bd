//! The way of a change: touched → settled → delta → tree, and the control messages around it.
//!
//! Events carry ids only. Each holds a [`WorkToken`], so that "idle" is a count and not a guess. `ApplyDelta` is the one
//! request on this way, and it carries the tags, so that the catalog never waits for an origin.

use actix::Message;
use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::tags::TrackTags;

use crate::deadline::Deadline;
use crate::fetch::{MountedFolder, RootIdentity, Stat};
use crate::inbox::Inbox;
use crate::library::{CatalogError, HeadHash};
use crate::work::WorkToken;

/// The key of a change at an origin.
pub type PathKey = (OriginId, OriginPath);

/// watcher → debouncer (event): something happened at this path. Any number may be merged into one.
#[derive(Clone, Debug)]
pub struct PathTouched {
    /// Where the file was before, when the event said that it was renamed.
    pub renamed_from: Option<OriginPath>,
    /// Everything below the path may have changed too.
    pub recursive: bool,
    /// Held until the change has reached the kernel.
    pub work: WorkToken,
}

/// debouncer → `delta_detector` (event): the path has been quiet long enough to look at it.
#[derive(Clone, Debug)]
pub struct PathsSettled {
    /// Where the file was before, as far as events said; a hint that saves a lookup, never trusted.
    pub renamed_from: Option<OriginPath>,
    /// Everything below the path may have changed too.
    pub recursive: bool,
    /// Held until the change has reached the kernel.
    pub work: WorkToken,
}

/// control_server, watcher, debouncer, health_monitor, supervisor → `delta_detector` (event): compare the whole origin with
/// what is known. The detector asks itself too, after a failure that may pass and when names change beside links.
#[derive(Clone, Debug)]
pub struct RescanOrigin {
    /// Removals beyond the quarantine's limit are wanted.
    pub accept_removals: bool,
    /// Held until the scan has reached the kernel.
    pub work: WorkToken,
}

/// The inbox of the debouncer.
pub type TouchedInbox = Inbox<PathKey, PathTouched>;
/// The inbox of the delta detector for settled paths.
pub type SettledInbox = Inbox<PathKey, PathsSettled>;
/// The inbox of the delta detector for whole origins.
pub type RescanInbox = Inbox<OriginId, RescanOrigin>;
/// The inbox of the invalidator: names in folders whose entry may be stale in the kernel.
pub type TreeInbox = Inbox<(Ino, Box<[u8]>), TreeChanged>;

/// The name in a [`TreeChanged`] key that stands for the folder's own attributes; no entry can have it.
pub const FOLDER_ITSELF: &[u8] = b".";

/// catalog → invalidator (event): the entry of this name in this folder changed. The key is (folder, name), and the name
/// is [`FOLDER_ITSELF`] when it is the folder's own mtime that moved.
#[derive(Clone, Debug)]
pub struct TreeChanged {
    /// Held until the kernel knows.
    pub work: WorkToken,
}

/// What a tag scan found out about a file.
#[derive(Clone, Debug, PartialEq)]
pub enum TagOutcome {
    /// The content is the one whose tags are known already.
    Keep,
    /// Not audio: a sidecar, or something that only the raw view shows.
    NotAudio,
    /// The tags of an audio file.
    Read(Box<TrackTags>),
    /// Named like audio, but not readable as such; shown under its own name.
    Malformed,
    /// The tags could not be fetched; what was known stays, and the next scan tries again.
    Unread,
}

/// One difference between an origin and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A folder exists.
    Folder {
        /// Where.
        path: OriginPath,
        /// Its attributes.
        stat: Stat,
    },
    /// A file exists, is new or has a new version.
    File {
        /// Where.
        path: OriginPath,
        /// Its attributes.
        stat: Stat,
        /// The id it keeps: that of the path before, or of the file that was moved here. Nothing for the catalog to find
        /// one: a tombstone of this path with the same version, else a new id.
        keeps: Option<FileId>,
        /// What was read of its tags.
        tags: TagOutcome,
    },
    /// A file, or a folder with everything in it, is gone.
    Removed {
        /// Where it was.
        path: OriginPath,
    },
    /// What the first bytes of the file at this path hash to. Told after the file itself, where its origin has no inode
    /// numbers that last: there it is what tells a moved file from another of the same size and mtime.
    Head {
        /// The file.
        path: OriginPath,
        /// Of the bytes that the tag scan read first.
        head: HeadHash,
    },
    /// A listing of the whole origin has come to its end.
    ListingComplete {
        /// The root that was listed.
        root: RootIdentity,
        /// What is mounted below it.
        mounts: Vec<MountedFolder>,
    },
    /// The absence of files under these paths is not believed, and of no others; replaces what was said before. Durable
    /// when it is answered, because the files must still be there after a restart.
    Withheld {
        /// The paths; [`MAX_WITHHELD`] at most.
        paths: Vec<OriginPath>,
    },
}

/// The most paths of one origin under which removals are held back: a row of some 100 KB. More of them become the folders
/// that they are in, which holds back more and never less.
pub const MAX_WITHHELD: usize = 1_024;

/// `delta_detector` → catalog: make these changes, in consistent batches. An error leaves whole batches made. Repeating
/// it changes nothing.
#[derive(Debug, Message)]
#[rtype(result = "Result<DeltaApplied, CatalogError>")]
pub struct ApplyDelta {
    /// Whose changes.
    pub origin: OriginId,
    /// At most [`MAX_CHANGES`]; in the order in which they are to be made.
    pub changes: Vec<Change>,
    /// Passed on to the kernel's invalidation.
    pub work: WorkToken,
    /// When the sender stops waiting.
    pub deadline: Deadline,
}

/// The most changes in one [`ApplyDelta`]: about 1 MB of rows, some 20 ms of one writer.
pub const MAX_CHANGES: usize = 512;

/// What [`ApplyDelta`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaApplied {
    /// Files that are new.
    pub added: u64,
    /// Files with a new version or new tags.
    pub modified: u64,
    /// Files that kept their id under another path.
    pub moved: u64,
    /// Files that are gone.
    pub removed: u64,
}

impl std::ops::Add for DeltaApplied {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            added: self.added + other.added,
            modified: self.modified + other.modified,
            moved: self.moved + other.moved,
            removed: self.removed + other.removed,
        }
    }
}

impl std::ops::AddAssign for DeltaApplied {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// control_server → watcher: answer when every event that the system had queued before has been passed on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitBarrier;

/// supervisor → every actor: answer to show that the thread is not frozen.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Heartbeat;

/// control_server → supervisor: end the daemon in order. Idempotent.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopDaemon;

/// supervisor → `fuse_front`: answer every kernel request that waits with an error, and let none wait any more: the
/// daemon is about to end. Idempotent.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RefuseWaiting;
