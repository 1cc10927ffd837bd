//! One state of a file, and when two states are the same.
//!
//! A version is what an origin can say cheaply about a file: size, mtime with the origin's granularity, and what else it
//! has (an ETag, an inode number). The device number is left out on purpose: it changes when a disk is mounted again.
//! ctime is kept beside the version, not in it: a change of ctime alone makes a file *suspect*, not new.

/// A point in time as an origin shows it: seconds since the epoch and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC; negative before.
    pub secs: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// A timestamp from an untrusted pair; nanoseconds out of range are taken as 0.
    pub fn new(secs: i64, nanos: u32) -> Self {
        Self { secs, nanos: if nanos < 1_000_000_000 { nanos } else { 0 } }
    }
}

/// How finely an origin keeps mtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// Nanoseconds, as ext4, xfs, btrfs and tmpfs keep them.
    Nanos,
    /// Whole seconds, as SFTP v3 and S3 show them.
    Seconds,
}

/// One state of a file. Two equal versions of one path are taken for the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Size in bytes.
    pub size: u64,
    /// Last modification.
    pub mtime: Timestamp,
    /// How much of `mtime` the origin really keeps.
    pub granularity: Granularity,
    /// The origin's inode number, on filesystems where it is stable.
    pub ino: Option<u64>,
    /// The origin's validator, where it has one.
    pub etag: Option<Box<str>>,
}
