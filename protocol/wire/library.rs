//! Wire types of the methods about entries of the library.
//!
//! A path in a request is taken below the mountpoint when it lies there, else in the library; both relative and absolute
//! ones. A path in a reply is always relative to the library's root. Subtrees come in pages, because a library has no
//! largest size and a line has one.

use serde::{Deserialize, Serialize};

use super::DatedText;

/// A path as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathRequest {
    /// Percent-escaped; absolute, or relative to `cwd` when that lies below the mountpoint, else to the library's root.
    pub path: String,
    /// The caller's working folder, percent-escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// One page of a subtree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeRequest {
    /// As in [`PathRequest`].
    #[serde(default)]
    pub path: String,
    /// As in [`PathRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// `next` of the page before; nothing for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The most entries wanted; the server has a limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Entries of a subtree, folders before what is in them, names in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReply {
    /// The entries of this page.
    pub entries: Vec<TreeEntry>,
    /// `after` of the next page; nothing when this is the last.
    pub next: Option<String>,
}

/// File or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

impl EntryKind {
    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
        }
    }
}

/// One entry of a subtree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Relative to the library's root, percent-escaped.
    pub path: String,
    /// File or folder.
    pub kind: EntryKind,
    /// Size in bytes; 0 for a folder.
    pub size: u64,
    /// Its inode number.
    pub ino: u64,
}

/// A time with its full precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireTime {
    /// Seconds since the epoch, negative before it.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl From<musicfs_pure::version::Timestamp> for WireTime {
    fn from(time: musicfs_pure::version::Timestamp) -> Self {
        Self { secs: time.secs, nanos: time.nanos }
    }
}

/// The state of a file that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVersion {
    /// Size in bytes.
    pub size: u64,
    /// Last modification.
    pub mtime: WireTime,
    /// Inode number at the origin, where it is stable.
    pub ino: Option<u64>,
    /// The origin's validator, where it has one.
    pub etag: Option<String>,
}

/// Where an entry's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhySource {
    /// The origin.
    pub origin: String,
    /// How it is: `up`, `down` or `unknown`.
    pub health: String,
    /// The path there, relative to its root, percent-escaped.
    pub path: String,
    /// The file's id.
    pub file_id: u64,
    /// The version that is shown.
    pub version: FileVersion,
    /// The entry is a cover made from a picture inside that file.
    pub embedded_art: bool,
}

/// Everything about an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    /// Relative to the library's root, percent-escaped.
    pub path: String,
    /// File or folder.
    pub kind: EntryKind,
    /// Its inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// The shown mtime.
    pub mtime: WireTime,
    /// The shown permission bits, in octal.
    pub mode: String,
    /// Content changes since the start of the daemon.
    pub revision: u32,
    /// Where its bytes come from; nothing for a folder.
    pub source: Option<WhySource>,
    /// Tags were read.
    pub tagged: bool,
    /// Named like audio but not readable as such.
    pub malformed: bool,
    /// What went wrong with it last.
    pub last_error: Option<DatedText>,
}

/// The tags of one track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsReply {
    /// Relative to the library's root, percent-escaped.
    pub path: String,
    /// Named like audio but not readable as such.
    pub malformed: bool,
    /// The tags; nothing for what is not audio or could not be read.
    pub tags: Option<Tags>,
}

/// Tags, normalised as the template sees them, and as they are in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// The container.
    pub format: Option<String>,
    /// Fields that the template knows, with their values; a missing field is not listed.
    pub fields: Vec<(String, Vec<String>)>,
    /// Keys and values of the file.
    pub raw: Vec<(String, String)>,
}
