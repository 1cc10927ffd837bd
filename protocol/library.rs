//! The get-only handles: what the library shows, and bytes straight from a local disk.
//!
//! FUSE threads answer from these without a mailbox (a hop across threads costs 17 µs). They never wait for an origin and
//! never change anything; the catalog's actor is the only writer behind them.

use std::sync::Arc;

use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::tags::{ArtLocation, TrackTags};
use musicfs_pure::template::{Template, TemplateOptions};
use musicfs_pure::version::{Timestamp, Version};

use crate::fetch::{FetchError, MountedFolder, NodeKind, RootIdentity};

/// Why the catalog could not answer or change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The database said no.
    #[error("the catalog's database failed: {reason}")]
    Database {
        /// In the words of the database.
        reason: String,
    },
    /// A row does not decode.
    #[error("the catalog has a damaged row in `{table}`; stop the daemon and remove the state folder to build it anew")]
    Damaged {
        /// The table.
        table: &'static str,
    },
    /// The deadline of a change passed before its turn came.
    #[error("the change came too late: nobody waits for it any more; the next comparison finds it again")]
    TooLate,
    /// The origin is not one that the catalog was opened with.
    #[error("the catalog knows no origin `{origin}`")]
    UnknownOrigin {
        /// The origin's name.
        origin: OriginId,
    },
}

/// How often an entry's content changed while this daemon ran: the kernel's node id is made of it, so that one node
/// never shows two versions. Zero when the content is the one that was there at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u32);

/// What a lookup or a stat needs of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryAttr {
    /// Its inode number.
    pub ino: Ino,
    /// File or folder.
    pub kind: NodeKind,
    /// Size in bytes; 0 for a folder.
    pub size: u64,
    /// The shown mtime.
    pub mtime: Timestamp,
    /// The origin's permission bits & `0o555`; `0o555` for a folder.
    pub mode: u16,
    /// Content changes since the start.
    pub revision: Revision,
}

/// Where the bytes of an entry come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: FileId,
    /// Its origin.
    pub origin: OriginId,
    /// Its path there.
    pub path: OriginPath,
    /// The version that is shown.
    pub version: Version,
    /// When the entry is a cover made from embedded art: where the picture is in the file.
    pub art: Option<ArtLocation>,
}

/// All that is known of one file, for `why`, `tags` and the extended attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryInfo {
    /// Attributes as a stat shows them.
    pub attr: EntryAttr,
    /// The way to it from the root of the mount, as raw bytes without a leading slash.
    pub library_path: Vec<u8>,
    /// Where its bytes come from; nothing for a folder.
    pub source: Option<Source>,
    /// Its tags, where it is audio that could be read.
    pub tags: Option<TrackTags>,
    /// Named like audio but not readable as such.
    pub malformed: bool,
}

/// What the catalog knows at a path of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its id.
        file: FileId,
        /// The version that is known.
        version: Version,
        /// ctime at that time.
        ctime: Option<Timestamp>,
        /// Permission bits at that time.
        mode: u32,
        /// Its tags have been read, or it is known to have none; false when the last attempt failed.
        tags_known: bool,
    },
}

/// BLAKE3 of a file's first bytes, as many as a tag scan reads first.
pub type HeadHash = [u8; 32];

/// A file that once had the same inode, size and mtime: perhaps the same one under another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookalike {
    /// Its id.
    pub file: FileId,
    /// Where it is, or was.
    pub path: OriginPath,
    /// Whether it is in the tree now; otherwise it is a tombstone.
    pub live: bool,
    /// What its first bytes hash to, where that was asked to be remembered.
    pub head: Option<HeadHash>,
}

/// The most lookalikes that are answered: thousands of hard links to one inode tell no more than a few do.
pub const MAX_LOOKALIKES: usize = 32;

/// What the catalog knows of an origin as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginSummary {
    /// Files in the tree.
    pub files: u64,
    /// The root that the last complete listing saw; nothing before the first.
    pub listed_root: Option<RootIdentity>,
    /// Some of its paths are links, or lie below one.
    pub has_links: bool,
    /// The filesystems that the last complete listing saw mounted below the root; nothing where none has looked.
    pub listed_mounts: Option<Vec<MountedFolder>>,
    /// Where the absence of files is not believed: they stay in the tree until they are seen again or a person says that
    /// they are meant to be gone. Empty unless the origin is quarantined.
    pub withheld: Vec<OriginPath>,
}

/// Counts of the library as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LibrarySummary {
    /// Files of all origins.
    pub files: u64,
    /// Audio files that the library shows.
    pub tracks: u64,
}

/// How `.origins` is shown in the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawView {
    /// It can be looked up and is not listed: scanners that index dot-folders would find everything twice.
    Hidden,
    /// It is listed.
    Listed,
    /// There is no such folder.
    Off,
}

/// How the library is arranged and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Arranges it.
    pub template: Template,
    /// Stands in for missing fields.
    pub options: TemplateOptions,
    /// Folders that differ in upper and lower case only are one.
    pub case_insensitive: bool,
    /// How `.origins` is shown.
    pub raw_view: RawView,
}

/// A visitor of a folder's entries; answers whether it wants more.
pub type VisitEntry<'a> = dyn FnMut(&EntryAttr, &[u8]) -> bool + 'a;

/// Reading the catalog. Every method answers from local data at once.
pub trait ReadCatalog: Send + Sync + 'static {
    /// The entry of this name in a folder.
    fn lookup(&self, folder: Ino, name: &[u8]) -> Result<Option<EntryAttr>, CatalogError>;
    /// An entry's attributes.
    fn attr(&self, ino: Ino) -> Result<Option<EntryAttr>, CatalogError>;
    /// The folder that an entry is in; the root is in itself.
    fn parent(&self, ino: Ino) -> Result<Option<Ino>, CatalogError>;
    /// A folder's entries in the order of their inode numbers, from the first one above `after`. An entry that stays is
    /// visited exactly once however the folder changes between two calls.
    fn read_dir(&self, folder: Ino, after: Ino, visit: &mut VisitEntry<'_>) -> Result<(), CatalogError>;
    /// Where a file's bytes come from; nothing for a folder or an unknown number.
    fn source(&self, ino: Ino) -> Result<Option<Source>, CatalogError>;
    /// Everything about an entry.
    fn describe(&self, ino: Ino) -> Result<Option<EntryInfo>, CatalogError>;
    /// What is known at a path of an origin.
    fn known(&self, origin: &OriginId, path: &OriginPath) -> Result<Option<Known>, CatalogError>;
    /// The names of a folder's direct children at an origin, from the first one above `after` in the order of inode
    /// numbers.
    fn known_children(
        &self,
        origin: &OriginId,
        folder: &OriginPath,
        visit: &mut dyn FnMut(&[u8], NodeKind) -> bool,
    ) -> Result<(), CatalogError>;
    /// Files of an origin, live or tombstoned, that had this inode, size and mtime; [`MAX_LOOKALIKES`] at most.
    fn lookalikes(&self, origin: &OriginId, version: &Version) -> Result<Vec<Lookalike>, CatalogError>;
    /// Paths that read through to `real` because they are links to it or lie below a linked folder.
    fn links_to(&self, origin: &OriginId, real: &OriginPath) -> Result<Vec<OriginPath>, CatalogError>;
    /// An origin as a whole.
    fn origin_summary(&self, origin: &OriginId) -> Result<OriginSummary, CatalogError>;
    /// The library as a whole.
    fn library_summary(&self) -> Result<LibrarySummary, CatalogError>;
}

/// An open file of a local disk.
pub trait DirectFile: Send + Sync {
    /// Reads without waiting for the disk. `None` when the bytes are not in memory: ask again with
    /// [`DirectFile::read_blocking`] on a pool. Short only at the end of the file.
    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, FetchError>;
    /// Reads, waiting for the disk. Short only at the end of the file.
    fn read_blocking(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FetchError>;
    /// The size and mtime that the file has now; may wait for the disk or a server.
    fn stat(&self) -> Result<Version, FetchError>;
    /// The same where nothing has to be waited for; `None` elsewhere.
    fn stat_now(&self) -> Option<Result<Version, FetchError>>;
}

/// Reading a local origin's files where they are.
pub trait ReadDirect: Send + Sync + 'static {
    /// Opens a file if that needs no disk access; `None` when it would.
    fn open_now(&self, path: &OriginPath) -> Result<Option<Arc<dyn DirectFile>>, FetchError>;
    /// Opens a file, waiting for the disk. For pools.
    fn open_blocking(&self, path: &OriginPath) -> Result<Arc<dyn DirectFile>, FetchError>;
}
