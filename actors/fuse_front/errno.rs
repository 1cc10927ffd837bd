//! The one table from what went wrong to what a process sees: error → (errno, severity).
//!
//! Handlers say in the words of this program why they refuse ([`Failure`]); only here does that become a number, and only
//! here is decided how loud it is. A definite answer of an origin becomes a definite errno; whatever may be over in a
//! moment becomes `EIO`, never `ENOENT`: a scanner that is told "no such file" forgets the file. `ESTALE` makes the kernel
//! walk the path again, which is how it learns the node of a newer version. No other file names an errno.

use fuser::Errno;
use musicfs_protocol::{CatalogError, FetchError};

/// Why a request is answered with an error.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The request would write.
    #[error("the library is read-only; change the files at their origin")]
    ReadOnly,
    /// A name that no filesystem of Linux has.
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    /// The node names an entry or a version that is no longer shown; the kernel looks the path up again.
    #[error("the entry has changed or is gone")]
    Stale,
    /// A folder was expected.
    #[error("not a folder")]
    NotFolder,
    /// A file was expected.
    #[error("is a folder")]
    IsFolder,
    /// The library shows links as what they lead to.
    #[error("not a link")]
    NotLink,
    /// The handle is not one that was given out and not yet released.
    #[error("no such handle")]
    UnknownHandle,
    /// No extended attribute of this name.
    #[error("no such attribute")]
    NoAttribute,
    /// The buffer for an extended attribute is too small.
    #[error("the attribute is larger than the buffer")]
    BufferTooSmall,
    /// No device, so no device control.
    #[error("not a device")]
    NotDevice,
    /// The origin of the file is not one that is served from a local disk.
    #[error("the origin of this file is not served; check that it is configured and enabled")]
    OriginNotServed,
    /// What the file holds is not the picture that was found when its tags were read.
    #[error("the embedded picture cannot be taken out of its file; rescan the origin")]
    ArtUnreadable,
    /// The origin did not give the bytes.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The catalog did not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The deadline of the request passed while it waited.
    #[error("not answered in time; `musicfs status` shows what is slow")]
    TimedOut,
    /// More requests wait than are kept.
    #[error("too many requests wait; try again when the disk has caught up")]
    TooManyWaiting,
    /// The daemon is ending.
    #[error("the daemon is stopping")]
    Stopping,
    /// The system refused to say how full the disk is.
    #[error("the cache's file system does not answer: {reason}")]
    NoStatistics {
        /// In the words of the system.
        reason: String,
    },
}

/// How loud an error is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// An answer like any other.
    Debug,
    /// The library is degraded.
    Warn,
    /// Someone must act.
    Error,
}

impl Failure {
    /// The table.
    pub(super) fn verdict(&self) -> (Errno, Severity) {
        use Severity::{Debug, Error, Warn};
        match self {
            Self::ReadOnly => (Errno::EROFS, Debug),
            Self::NameTooLong => (Errno::ENAMETOOLONG, Debug),
            Self::Stale => (Errno::ESTALE, Debug),
            Self::NotFolder => (Errno::ENOTDIR, Debug),
            Self::IsFolder => (Errno::EISDIR, Debug),
            Self::NotLink => (Errno::EINVAL, Debug),
            Self::UnknownHandle => (Errno::EBADF, Warn),
            Self::NoAttribute => (Errno::NO_XATTR, Debug),
            Self::BufferTooSmall => (Errno::ERANGE, Debug),
            Self::NotDevice => (Errno::ENOTTY, Debug),
            Self::OriginNotServed
            | Self::ArtUnreadable
            | Self::NoStatistics { .. }
            | Self::TimedOut
            | Self::TooManyWaiting => (Errno::EIO, Warn),
            Self::Stopping => (Errno::EIO, Debug),
            Self::Catalog(_) => (Errno::EIO, Error),
            Self::Fetch(error) => of_fetch(error),
        }
    }

    /// Whether this is an origin's trouble that `musicfs why` should tell of.
    pub(super) fn concerns_origin(&self) -> bool {
        matches!(self, Self::Fetch(_) | Self::ArtUnreadable | Self::OriginNotServed)
    }
}

/// An origin that is out is reported by the health monitor once; per request it is no news.
fn of_fetch(error: &FetchError) -> (Errno, Severity) {
    match error {
        FetchError::NotFound => (Errno::ENOENT, Severity::Debug),
        FetchError::AccessDenied => (Errno::EACCES, Severity::Debug),
        FetchError::Changed => (Errno::ESTALE, Severity::Debug),
        FetchError::NotServable | FetchError::Offline { .. } => (Errno::EIO, Severity::Debug),
        FetchError::Timeout | FetchError::Busy | FetchError::Io { .. } => (Errno::EIO, Severity::Warn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_may_pass_is_never_no_such_file() {
        let reason = String::new();
        for error in [
            FetchError::Offline { reason: reason.clone() },
            FetchError::Timeout,
            FetchError::Busy,
            FetchError::Io { reason },
            FetchError::NotServable,
        ] {
            assert_eq!(Failure::from(error).verdict().0, Errno::EIO);
        }
        assert_eq!(Failure::from(FetchError::NotFound).verdict().0, Errno::ENOENT);
    }
}
