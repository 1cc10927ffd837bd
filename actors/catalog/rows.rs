//! The rows of the catalog as they lie on disk, apart from tags (`tag_rows`) and keys (`keys`).
//!
//! These types exist for the disk only; each converts to and from the core type that it stands for, so that neither a
//! message nor a core type can change the format by accident, and a byte-exact test per row says when it did change.
//! What an entry shows is stored once, in its row in `children`; `entries` says only where that row is and what the
//! entry stands for. A file's row outlives the file by its tombstone.

use musicfs_protocol::fetch::{NodeKind, RootIdentity};
use musicfs_protocol::library::{EntryAttr, Revision};
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::version::{Granularity, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::tag_rows::DiskArt;

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskTime {
    pub(super) secs: i64,
    pub(super) nanos: u32,
}

impl From<Timestamp> for DiskTime {
    fn from(time: Timestamp) -> Self {
        Self { secs: time.secs, nanos: time.nanos }
    }
}

impl From<DiskTime> for Timestamp {
    fn from(time: DiskTime) -> Self {
        Self::new(time.secs, time.nanos)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DiskGranularity {
    Nanos,
    Seconds,
}

/// A version of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskVersion {
    pub(super) size: u64,
    pub(super) mtime: DiskTime,
    pub(super) granularity: DiskGranularity,
    pub(super) ino: Option<u64>,
    pub(super) etag: Option<Box<str>>,
}

impl From<&Version> for DiskVersion {
    fn from(version: &Version) -> Self {
        let granularity = match version.granularity {
            Granularity::Nanos => DiskGranularity::Nanos,
            Granularity::Seconds => DiskGranularity::Seconds,
        };
        let Version { size, mtime, ino, etag, .. } = version.clone();
        Self { size, mtime: mtime.into(), granularity, ino, etag }
    }
}

impl From<DiskVersion> for Version {
    fn from(version: DiskVersion) -> Self {
        let granularity = match version.granularity {
            DiskGranularity::Nanos => Granularity::Nanos,
            DiskGranularity::Seconds => Granularity::Seconds,
        };
        let DiskVersion { size, mtime, ino, etag, .. } = version;
        Self { size, mtime: mtime.into(), granularity, ino, etag }
    }
}

/// Content changes counted within one run of the daemon, which its generation names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskRevision {
    pub(super) generation: u64,
    pub(super) number: u32,
}

impl DiskRevision {
    /// The count in this generation: what an earlier daemon counted is forgotten, as its kernel nodes are.
    pub(super) fn current(self, generation: u64) -> Revision {
        Revision(if self.generation == generation { self.number } else { 0 })
    }

    /// One content change more.
    pub(super) fn next(self, generation: u64) -> Self {
        Self { generation, number: self.current(generation).0.saturating_add(1) }
    }
}

/// What an entry stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// A folder of the library, the root, or `.origins`.
    Folder,
    /// A folder of an origin; with its real path when it is, or lies below, a followed link.
    RawFolder { real_path: Option<Vec<u8>> },
    /// A file in its origin's raw view.
    RawFile { file: u64 },
    /// A track in the library.
    Track { file: u64 },
    /// A sidecar in one folder of the library.
    Sidecar { file: u64 },
    /// A cover made from embedded art, and the state of the file that it was made from.
    Art { file: u64, art: DiskArt, made_from: DiskRevision },
}

impl Role {
    /// The file behind the entry; nothing for folders.
    pub(super) fn file(&self) -> Option<FileId> {
        match *self {
            Self::Folder | Self::RawFolder { .. } => None,
            Self::RawFile { file } | Self::Track { file } | Self::Sidecar { file } | Self::Art { file, .. } => {
                Some(FileId(file))
            }
        }
    }
}

/// Row of `entries`: where an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntryRow {
    /// The folder it is in; 0 for the root and `.origins`.
    pub(super) parent: u64,
    pub(super) role: Role,
}

impl EntryRow {
    pub(super) fn parent(&self) -> Ino {
        Ino(self.parent)
    }
}

/// What an entry shows, apart from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) is_folder: bool,
    pub(super) size: u64,
    pub(super) mtime: DiskTime,
    pub(super) mode: u16,
    pub(super) revision: DiskRevision,
}

impl Shown {
    /// A folder as all are shown.
    pub(super) fn folder(mtime: Timestamp) -> Self {
        Self { is_folder: true, size: 0, mtime: mtime.into(), mode: 0o555, revision: DiskRevision::default() }
    }

    /// A file as its origin has it, without anyone's permission to write.
    pub(super) fn file(row: &FileRow) -> Self {
        let mode = (row.mode & 0o555) as u16;
        let DiskVersion { size, mtime, .. } = row.version;
        Self { is_folder: false, size, mtime, mode, revision: row.revision }
    }

    /// As a lookup answers it.
    pub(super) fn attr(self, ino: Ino, generation: u64) -> EntryAttr {
        let kind = if self.is_folder { NodeKind::Folder } else { NodeKind::File };
        let revision = self.revision.current(generation);
        EntryAttr { ino, kind, size: self.size, mtime: self.mtime.into(), mode: self.mode, revision }
    }
}

/// Row of `children`: everything that a listing needs, borrowed from the database's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChildRow<'a> {
    pub(super) shown: Shown,
    pub(super) name: &'a [u8],
}

/// What is known of a file's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TagState {
    /// Nothing yet.
    Unread,
    /// It is no audio.
    NotAudio,
    /// They are in `tags`.
    Read,
    /// Named like audio and not readable as such.
    Malformed,
}

/// Where a track wants to be in the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The library folder's inode number.
    pub(super) folder: u64,
    /// The name before it is numbered among those that want the same.
    pub(super) wanted: Vec<u8>,
}

/// That a file is gone, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    /// Seconds since the epoch.
    pub(super) at_secs: i64,
    /// Where it was.
    pub(super) path: Vec<u8>,
}

/// Row of `files`: one file of one origin, live or tombstoned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRow {
    /// The origin's number.
    pub(super) origin: u32,
    /// The raw folder that it is in; its path is found by walking up from there.
    pub(super) folder: u64,
    /// Its name there.
    pub(super) name: Vec<u8>,
    pub(super) version: DiskVersion,
    pub(super) ctime: Option<DiskTime>,
    pub(super) mode: u32,
    pub(super) real_path: Option<Vec<u8>>,
    pub(super) tags: TagState,
    /// The last attempt to read its tags succeeded, or there was none to make.
    pub(super) tags_known: bool,
    /// Its embedded picture; kept here because covers are decided without reading tags.
    pub(super) art: Option<DiskArt>,
    /// The entry of the raw view.
    pub(super) raw_ino: u64,
    /// The entry of the library; 0 as long as it never had one.
    pub(super) track_ino: u64,
    pub(super) place: Option<Place>,
    /// Content changes: of the file, so that they survive a tombstone.
    pub(super) revision: DiskRevision,
    pub(super) gone: Option<Gone>,
}

/// Row of `tombstones`, and the last file to have been at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TombstoneRow {
    pub(super) file: u64,
    pub(super) at_secs: i64,
}

/// Row of `sources` for a raw folder as a whole: what decides whether it is crowded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CrowdRow {
    /// Library folders that have a track out of it.
    pub(super) albums: u64,
    /// Sidecars in it.
    pub(super) sidecars: u64,
}

/// Row of `sources` for a sidecar: the library folders in which it wants its name, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SpreadRow {
    pub(super) albums: Vec<u64>,
}

/// A root folder, as one boot sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskRoot {
    pub(super) dev: u64,
    pub(super) fs_type: u64,
    pub(super) ino: u64,
}

impl From<RootIdentity> for DiskRoot {
    fn from(root: RootIdentity) -> Self {
        Self { dev: root.dev, fs_type: root.fs_type, ino: root.ino }
    }
}

impl From<DiskRoot> for RootIdentity {
    fn from(root: DiskRoot) -> Self {
        Self { dev: root.dev, fs_type: root.fs_type, ino: root.ino }
    }
}

/// Row of `meta` under [`origin_key`](super::keys::origin_key): one origin, configured now or to be purged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OriginRow {
    /// The name in the configuration; an old one when the origin is retired.
    pub(super) name: String,
    /// Identity beyond the name: two locations under one name differ in it.
    pub(super) uuid: [u8; 16],
    /// Of the location.
    pub(super) fingerprint: String,
    /// The folder of its raw view.
    pub(super) root: u64,
    /// The root that the last complete listing saw.
    pub(super) listed: Option<DiskRoot>,
    /// Live files.
    pub(super) num_files: u64,
    /// No longer configured: out of `.origins`, its rows wait to be purged.
    pub(super) retired: bool,
}

/// Row of `meta` under [`guard_key`](super::keys::guard_key): what keeps an origin's files from being taken for removed.
/// Absent for an origin that has never been listed by a program that looked for mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GuardRow {
    /// What the last complete listing saw mounted below the root.
    pub(super) mounts: Option<Vec<DiskMount>>,
    /// Paths under which absence is not believed.
    pub(super) withheld: Vec<Vec<u8>>,
}

/// A filesystem mounted on a folder of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskMount {
    pub(super) path: Vec<u8>,
    pub(super) root: DiskRoot,
}

/// Row of `meta`: counts of the library as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CountsRow {
    pub(super) num_files: u64,
    pub(super) num_tracks: u64,
}

/// Row of `meta`: the template that tracks are placed by, and how far a change of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TemplateRow {
    /// BLAKE3 over the template and its options.
    pub(super) fingerprint: [u8; 32],
    /// Files from this id on are still placed by an older template; nothing when all are placed.
    pub(super) replace_from: Option<u64>,
}
