//! What a fetcher is asked and what it answers: listings, stats, ranges, probes.
//!
//! Every answer about a file names the version it belongs to, and a range is proven before it is handed over: the fetcher
//! compares the version after the read with the one that was asked for. Paths have passed [`OriginPath`]'s constructor;
//! what did not pass is counted in the page and never shown.

use std::sync::Arc;

use actix::Message;
use bytes::Bytes;
use musicfs_pure::ids::{OriginId, OriginPath};
use musicfs_pure::version::{Timestamp, Version};

use crate::deadline::Deadline;
use crate::permit::Permit;

/// What bytes are fetched for; the label `purpose` of the fetchers' metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// A reader waits for them.
    Read,
    /// A reader is likely to want them next.
    Readahead,
    /// A tag scan.
    Tags,
    /// Delta sync.
    Delta,
    /// Verification of held bytes.
    Verify,
    /// A command to hold a file.
    Warm,
}

impl Purpose {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Readahead => "readahead",
            Self::Tags => "tags",
            Self::Delta => "delta",
            Self::Verify => "verify",
            Self::Warm => "warm",
        }
    }
}

/// Where a failed request may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// The answer is definite.
    Never,
    /// The same origin may answer in a moment.
    SameOrigin,
    /// This origin is out; another copy may serve.
    OtherOrigin,
}

/// Why an origin did not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The origin says definitely that there is no such file.
    #[error("the origin has no such file")]
    NotFound,
    /// The origin refuses access.
    #[error("the origin refuses access; check the file's permissions there")]
    AccessDenied,
    /// The file is not in the version that was asked for any more.
    #[error("the file has changed at its origin")]
    Changed,
    /// Not a regular file or folder, or a link that leads out of the origin's root.
    #[error("not a regular file below the origin's root")]
    NotServable,
    /// The origin's root is missing or the origin cannot be reached.
    #[error("the origin cannot be reached: {reason}")]
    Offline {
        /// What failed, in the words of the system.
        reason: String,
    },
    /// The deadline passed.
    #[error("the origin did not answer in time")]
    Timeout,
    /// As many requests wait as the origin's queue allows.
    #[error("too many requests wait for this origin")]
    Busy,
    /// Anything else that the system said.
    #[error("the origin failed: {reason}")]
    Io {
        /// The error in the words of the system.
        reason: String,
    },
}

impl FetchError {
    /// Where the request may be tried again.
    pub fn retry_class(&self) -> RetryClass {
        match self {
            Self::NotFound | Self::AccessDenied | Self::Changed | Self::NotServable => RetryClass::Never,
            Self::Timeout | Self::Offline { .. } => RetryClass::OtherOrigin,
            Self::Busy | Self::Io { .. } => RetryClass::SameOrigin,
        }
    }
}

/// What something at an origin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file, or a link to one inside the root.
    File,
    /// A folder, or a link to one inside the root that is followed.
    Folder,
}

/// The attributes of a file or folder at its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// File or folder.
    pub kind: NodeKind,
    /// Size, mtime and what else identifies the state. A folder's size is 0.
    pub version: Version,
    /// Last change of the inode, where the origin shows it; not part of the version.
    pub ctime: Option<Timestamp>,
    /// Permission bits, `0o777` at most.
    pub mode: u32,
    /// When the path is a link or lies below a followed one: the real path inside the root.
    pub real_path: Option<OriginPath>,
}

/// One step of a listing, in depth-first order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListStep {
    /// Something that exists. A folder comes before what is in it.
    Entry {
        /// Where it is.
        path: OriginPath,
        /// Its attributes.
        stat: Stat,
    },
    /// All direct children of this folder have been listed: what is known of it and was not listed is gone.
    FolderComplete {
        /// The folder.
        path: OriginPath,
    },
    /// This folder could not be read: nothing may be concluded about what is in it.
    FolderFailed {
        /// The folder.
        path: OriginPath,
        /// Why.
        error: FetchError,
    },
}

/// Where a listing goes on; made by a fetcher, opaque to everyone else. A clone costs the depth of the tree and not the
/// number of folders that are still to be listed: it is made for every page, and a library has a hundred thousand folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListCursor {
    /// Folders that lie side by side, with how many of them have been taken; those to be taken next are last.
    pending: Vec<(Arc<[OriginPath]>, usize)>,
}

impl ListCursor {
    /// A cursor before one folder.
    pub fn before(folder: OriginPath) -> Self {
        Self { pending: vec![([folder].into(), 0)] }
    }

    /// Adds folders that come before all that wait, in this order.
    pub fn push(&mut self, folders: Vec<OriginPath>) {
        if !folders.is_empty() {
            self.pending.push((folders.into(), 0));
        }
    }

    /// Takes the next folder.
    pub fn pop(&mut self) -> Option<OriginPath> {
        let (folders, taken) = self.pending.last_mut()?;
        let folder = folders.get(*taken).cloned();
        *taken += 1;
        if *taken >= folders.len() {
            self.pending.pop();
        }
        folder
    }

    /// Whether no folder is left.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

/// `delta_detector` → fetcher: the next page of what is below a folder. May be repeated.
#[derive(Debug, Message)]
#[rtype(result = "Result<ListPage, FetchError>")]
pub struct ListOrigin {
    /// Whose listing.
    pub origin: OriginId,
    /// The folder to list.
    pub folder: OriginPath,
    /// Whether to go into subfolders; otherwise they are listed and not entered.
    pub recursive: bool,
    /// Where the last page ended; nothing for the first.
    pub cursor: Option<ListCursor>,
    /// When the page is no longer wanted.
    pub deadline: Deadline,
}

/// A page of a listing: whole folders, about a thousand entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// What was found.
    pub steps: Vec<ListStep>,
    /// Where to go on; nothing at the end.
    pub next: Option<ListCursor>,
    /// Links that lead out of the root, or round in a circle, and are not listed.
    pub links_left_out: u64,
    /// Names that cannot be shown as file names and are not listed.
    pub names_left_out: u64,
    /// The root as it was when this page was made; a change in the middle makes the listing worthless.
    pub root: RootIdentity,
    /// Folders of this page, the root excepted, that are the root of a filesystem mounted there.
    pub mounts: Vec<MountedFolder>,
}

/// A folder below an origin's root on which something else is mounted. It may go away alone, and what was in it is then
/// listed as missing by a listing that succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedFolder {
    /// The folder.
    pub path: OriginPath,
    /// What is mounted on it.
    pub root: RootIdentity,
}

/// What tells one root folder from another that later stands in its place: an unmounted disk leaves an empty folder with
/// another device or inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RootIdentity {
    /// Device number of the root; compared within one boot only.
    pub dev: u64,
    /// Filesystem type as `statfs` gives it.
    pub fs_type: u64,
    /// Inode number of the root folder.
    pub ino: u64,
}

/// `delta_detector` → fetcher: the attributes of one path. May be repeated.
#[derive(Debug, Message)]
#[rtype(result = "Result<Stat, FetchError>")]
pub struct StatPath {
    /// Whose path.
    pub origin: OriginId,
    /// The path.
    pub path: OriginPath,
    /// When the answer is no longer wanted.
    pub deadline: Deadline,
}

/// `delta_detector` → fetcher: bytes of one version of a file. May be repeated; bounded by the permit.
#[derive(Debug, Message)]
#[rtype(result = "Result<RangeBytes, FetchError>")]
pub struct ReadRange {
    /// Whose file.
    pub origin: OriginId,
    /// The file.
    pub path: OriginPath,
    /// The version that the bytes must belong to.
    pub version: Version,
    /// First byte.
    pub offset: u64,
    /// How many bytes; the answer is shorter only at the end of the file.
    pub len: u64,
    /// What for.
    pub purpose: Purpose,
    /// When the bytes are no longer wanted.
    pub deadline: Deadline,
    /// Leave to have this many bytes in flight.
    pub permit: Permit,
}

/// Bytes that are proven to belong to the version that was asked for.
#[derive(Debug)]
pub struct RangeBytes {
    /// First byte's place in the file.
    pub offset: u64,
    /// The bytes; shorter than asked only at the end of the file.
    pub bytes: Bytes,
    /// Held until the bytes are used.
    pub permit: Permit,
}

/// health_monitor, delta_detector → fetcher: whether the origin answers, and with which root. May be repeated.
#[derive(Debug, Message)]
#[rtype(result = "Result<RootIdentity, FetchError>")]
pub struct Probe {
    /// When the answer is no longer wanted.
    pub deadline: Deadline,
}
