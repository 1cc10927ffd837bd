//! The ids that travel in messages, as newtypes with checking constructors.
//!
//! `OriginId` and `OriginPath` are the border to the outside: an origin's listing, a config file and a socket peer all
//! hand over bytes, and whatever passes `parse` here cannot name anything outside an origin's root. The numeric ids
//! (`FileId`, `Ino`) are given out by the catalog, durable before they are shown and never reused.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::escape;

/// The longest path that is accepted from an origin, in bytes: Linux' own `PATH_MAX`.
pub const MAX_ORIGIN_PATH_BYTES: usize = 4096;

/// The longest component of a path, in bytes: `NAME_MAX` of every Linux filesystem and of FUSE.
pub const MAX_NAME_BYTES: usize = 255;

/// The name of an origin in the configuration: `[a-z0-9][a-z0-9_-]{0,31}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(Arc<str>);

/// Why a string is not an [`OriginId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no origin name: use 1 to 32 of a-z, 0-9, `_` and `-`, beginning with a letter or digit")]
pub struct InvalidOriginId(pub String);

impl OriginId {
    /// Accepts exactly the names that the configuration accepts.
    pub fn parse(name: &str) -> Result<Self, InvalidOriginId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let valid = (1..=32).contains(&bytes.len())
            && plain(bytes[0])
            && bytes.iter().all(|&byte| plain(byte) || byte == b'_' || byte == b'-');
        if valid { Ok(Self(name.into())) } else { Err(InvalidOriginId(name.to_owned())) }
    }

    /// The name as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginId({})", self.0)
    }
}

/// A path below an origin's root, as raw bytes; the root itself is the empty path.
///
/// Never absolute, no empty, `.` or `..` component, no NUL, each component at most 255 bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginPath(Arc<[u8]>);

/// Why bytes from an origin are not a path below its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path is longer than [`MAX_ORIGIN_PATH_BYTES`].
    #[error("path is longer than {MAX_ORIGIN_PATH_BYTES} bytes")]
    TooLong,
    /// A component is empty: a leading, trailing or doubled slash.
    #[error("path has an empty component")]
    EmptyComponent,
    /// A component is longer than [`MAX_NAME_BYTES`].
    #[error("path has a component longer than {MAX_NAME_BYTES} bytes")]
    LongComponent,
    /// A component is `.` or `..`.
    #[error("path has a `.` or `..` component")]
    DotComponent,
    /// A NUL byte.
    #[error("path has a NUL byte")]
    Nul,
}

/// Whether `name` can be one component of an [`OriginPath`].
fn check_component(name: &[u8]) -> Result<(), InvalidPath> {
    match name {
        b"" => Err(InvalidPath::EmptyComponent),
        b"." | b".." => Err(InvalidPath::DotComponent),
        _ if name.len() > MAX_NAME_BYTES => Err(InvalidPath::LongComponent),
        _ if name.contains(&0) => Err(InvalidPath::Nul),
        _ => Ok(()),
    }
}

impl OriginPath {
    /// The origin's root.
    pub fn root() -> Self {
        Self(Arc::from(&b""[..]))
    }

    /// Checks bytes that came from outside. The empty path is the root.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidPath> {
        if bytes.len() > MAX_ORIGIN_PATH_BYTES {
            return Err(InvalidPath::TooLong);
        }
        if !bytes.is_empty() {
            bytes.split(|&byte| byte == b'/').try_for_each(check_component)?;
        }
        Ok(Self(bytes.into()))
    }

    /// This path and one more component, which must not contain a slash.
    pub fn join(&self, name: &[u8]) -> Result<Self, InvalidPath> {
        if name.contains(&b'/') {
            return Err(InvalidPath::EmptyComponent);
        }
        check_component(name)?;
        if self.0.len() + 1 + name.len() > MAX_ORIGIN_PATH_BYTES {
            return Err(InvalidPath::TooLong);
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Ok(Self(bytes.into()))
    }

    /// The bytes, relative to the origin's root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the origin's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last component; of the root, nothing.
    pub fn file_name(&self) -> Option<&[u8]> {
        (!self.is_root()).then(|| self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default())
    }

    /// The path without its last component; of the root, nothing.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// Whether this path is `folder` or lies below it.
    pub fn is_within(&self, folder: &Self) -> bool {
        folder.is_root() || (self.0.starts_with(&folder.0) && matches!(self.0.get(folder.0.len()), None | Some(b'/')))
    }

    /// Where this path is after its ancestor `from` became `to`; nothing when it does not lie within `from`.
    pub fn rebase(&self, from: &Self, to: &Self) -> Option<Self> {
        if !self.is_within(from) {
            return None;
        }
        let skip = if from.is_root() { 0 } else { from.0.len() + 1 };
        let rest = self.0.get(skip..).unwrap_or_default();
        let mut bytes = to.0.to_vec();
        if !rest.is_empty() && !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(rest);
        Self::parse(&bytes).ok()
    }
}

/// The paths among these that do not lie below another of them, in order.
pub fn outermost(paths: BTreeSet<OriginPath>) -> Vec<OriginPath> {
    let is_covered = |path: &OriginPath| {
        std::iter::successors(path.parent(), OriginPath::parent).any(|ancestor| paths.contains(&ancestor))
    };
    paths.iter().filter(|path| !is_covered(path)).cloned().collect()
}

impl fmt::Display for OriginPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::escape(&self.0))
    }
}

impl fmt::Debug for OriginPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginPath({self})")
    }
}

/// One file of one origin, whatever path it has at the moment. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// One entry of the library or of a raw view: the inode number that the kernel shows. Never reused, stable across
/// restarts, below 2^40 so that a node id has room for a revision beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root of the mount, as the kernel numbers it.
    pub const ROOT: Self = Self(1);
    /// The folder `.origins`, which holds each origin as it is.
    pub const ORIGINS: Self = Self(2);
    /// The first number that is given to an entry; what is below is reserved for the fixed folders and for the cursors
    /// of `.` and `..`.
    pub const FIRST_FREE: Self = Self(16);
    /// The largest number that an entry may have.
    pub const MAX: Self = Self((1 << 40) - 1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn origin_id_outside_the_alphabet_is_refused() {
        for name in ["", "-a", "_a", "A", "a b", "a/b", &"a".repeat(33)] {
            assert!(OriginId::parse(name).is_err(), "{name}");
        }
        for name in ["a", "0", "nas-2_b", &"a".repeat(32)] {
            assert!(OriginId::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn hostile_path_is_refused() {
        for text in ["/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0b", &"x".repeat(256), &"a/".repeat(3000)] {
            assert!(OriginPath::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(path("a").join(b"b/c").is_err());
        assert!(path("a").join(b"..").is_err());
    }

    #[test]
    fn path_within_counts_whole_components() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("ab").is_within(&OriginPath::root()));
    }

    #[test]
    fn rebase_moves_a_subtree() {
        assert_eq!(path("a/b/c").rebase(&path("a/b"), &path("x")), Some(path("x/c")));
        assert_eq!(path("a/b").rebase(&path("a/b"), &path("x/y")), Some(path("x/y")));
        assert_eq!(path("ab").rebase(&path("a"), &path("x")), None);
        assert_eq!(path("a").rebase(&OriginPath::root(), &path("x")), Some(path("x/a")));
    }

    #[test]
    fn outermost_paths_cover_the_others() {
        let set = ["a", "a-b", "a/x", "b/c", "b/c/d"].map(path).into_iter().collect();
        assert_eq!(outermost(set), ["a", "a-b", "b/c"].map(path));
    }

    #[test]
    fn parent_and_name_take_a_path_apart() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(OriginPath::root()));
        assert_eq!(OriginPath::root().parent(), None);
        assert_eq!(path("a/b").file_name(), Some(&b"b"[..]));
        assert_eq!(path("a/b").components().count(), 2);
        assert_eq!(OriginPath::root().components().count(), 0);
    }
}
