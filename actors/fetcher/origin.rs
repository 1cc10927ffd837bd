//! `Origin`: what every kind of origin can do, whatever it is reached by.
//!
//! The fetcher is the same actor for all of them; what differs is behind this trait: a folder today, later an SFTP server
//! or a bucket. Methods answer boxed futures that own all they need, so that the trait is an object, several calls are in
//! flight at once and none keeps the actor's thread. Every call carries its deadline and must answer by then, even when
//! what it asked the system for still hangs. An implementation never changes anything at the origin, and never says
//! [`FetchError::NotFound`] because the origin itself is away: a vanished origin must not look like removed files.

use std::pin::Pin;

use bytes::Bytes;
use musicfs_protocol::Deadline;
use musicfs_protocol::fetch::{FetchError, ListCursor, ListPage, RootIdentity, Stat};
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::Version;

/// The answer of an origin, on its way.
pub type OriginFuture<T> = Pin<Box<dyn Future<Output = Result<T, FetchError>> + Send>>;

/// Which page of which listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The folder to list.
    pub folder: OriginPath,
    /// Whether to go into subfolders.
    pub recursive: bool,
    /// Where the last page ended; nothing for the first.
    pub cursor: Option<ListCursor>,
}

/// Which bytes of which version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// The file.
    pub path: OriginPath,
    /// The version that the bytes must belong to.
    pub version: Version,
    /// First byte.
    pub offset: u64,
    /// How many bytes; the answer is shorter only at the end of the file.
    pub len: u64,
}

/// A place that music is read from.
pub trait Origin: Send + Sync + 'static {
    /// The next page of a listing. A folder that cannot be read is a step of the page; an error means that the page says
    /// nothing at all.
    fn list_page(&self, request: PageRequest, deadline: Deadline) -> OriginFuture<ListPage>;
    /// The attributes of one path, under the same rules as a listing: what is not listed is not found here either.
    fn stat(&self, path: OriginPath, deadline: Deadline) -> OriginFuture<Stat>;
    /// Bytes that are proven to belong to the version asked for, else [`FetchError::Changed`].
    fn read_range(&self, request: RangeRequest, deadline: Deadline) -> OriginFuture<Bytes>;
    /// Whether the origin answers, and which root it shows.
    fn probe(&self, deadline: Deadline) -> OriginFuture<RootIdentity>;
}
