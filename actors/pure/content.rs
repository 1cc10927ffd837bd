//! What names the bytes of a file: the hash of a chunk, the key of a content, the id of a manifest.
//!
//! A *content* is one version of one file of one origin. Its key is a hash of what names it and no counter: after a power
//! cut a reused counter would give one file the table of another, and every chunk of it would still verify. A *piece* says
//! which chunk lies where in a content. All hashes are BLAKE3; each begins with a text that names its purpose and the
//! version of its input, so that no two kinds of input can ever give one hash.

use std::fmt;
use std::ops::Range;

use crate::ids::OriginPath;
use crate::version::{Granularity, Version};

/// The longest piece: the most that the chunker cuts, so that one piece is one bounded read and one bounded buffer.
pub const MAX_PIECE_BYTES: u32 = 256 << 10;

/// BLAKE3 of a chunk's bytes: what a chunk is known by in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash(pub [u8; 32]);

impl ChunkHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkHash({self})")
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        data_encoding::HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

/// What a content is: the header of its piece table repeats this, and it is compared when the table is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The uuid that the origin's location got when it was first seen.
    pub origin: [u8; 16],
    /// The file's path there.
    pub path: OriginPath,
    /// The version of it.
    pub version: Version,
}

impl Content {
    /// The key under which its table is kept.
    pub fn key(&self) -> ContentKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"musicfs content 1\0");
        hasher.update(&self.origin);
        hash_bytes(&mut hasher, self.path.as_bytes());
        let Version { size, mtime, granularity, ino, etag } = &self.version;
        hasher.update(&size.to_le_bytes());
        hasher.update(&mtime.secs.to_le_bytes());
        hasher.update(&mtime.nanos.to_le_bytes());
        let granularity = match granularity {
            Granularity::Nanos => 0,
            Granularity::Seconds => 1,
        };
        hasher.update(&[granularity, u8::from(ino.is_some()), u8::from(etag.is_some())]);
        hasher.update(&ino.unwrap_or_default().to_le_bytes());
        hash_bytes(&mut hasher, etag.as_deref().unwrap_or_default().as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        ContentKey(key)
    }
}

/// Hashes a length and then as many bytes, so that neighbouring fields cannot be confused.
fn hash_bytes(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// 128 bits of BLAKE3 over a [`Content`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(pub [u8; 16]);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({})", data_encoding::HEXLOWER.encode_display(&self.0))
    }
}

/// The id of a manifest: equal for equal bytes, whatever file or origin they are in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId(pub [u8; 32]);

impl fmt::Debug for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestId({self})")
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        data_encoding::HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

/// A chunk at its place in a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// First byte's place in the content.
    pub offset: u64,
    /// Bytes, 1 to [`MAX_PIECE_BYTES`].
    pub len: u32,
    /// What they hash to.
    pub hash: ChunkHash,
}

impl Piece {
    /// The place after the last byte.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    /// The bytes of the content that it covers.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Timestamp;

    fn content() -> Content {
        let version = Version {
            size: 1000,
            mtime: Timestamp::new(-5, 7),
            granularity: Granularity::Nanos,
            ino: Some(42),
            etag: None,
        };
        let path = OriginPath::parse(b"a/song.flac").expect("valid");
        Content { origin: [7; 16], path, version }
    }

    /// Caches in the field are found by this key: another value here makes all of them unreadable.
    #[test]
    fn content_key_is_stable() {
        assert_eq!(format!("{:?}", content().key()), "ContentKey(17474cad14aa70cea7eb8ffeb210c30c)");
    }

    #[test]
    fn content_key_changes_with_everything_that_names_a_content() {
        let version = content().version;
        let with = |version: Version| Content { version, ..content() };
        let path = OriginPath::parse(b"a/song.fla").expect("valid");
        let others = [
            Content { origin: [8; 16], ..content() },
            Content { path, ..content() },
            with(Version { size: 1001, ..version.clone() }),
            with(Version { mtime: Timestamp::new(-5, 8), ..version.clone() }),
            with(Version { mtime: Timestamp::new(-6, 7), ..version.clone() }),
            with(Version { granularity: Granularity::Seconds, ..version.clone() }),
            with(Version { ino: None, ..version.clone() }),
            with(Version { ino: Some(0), ..version.clone() }),
            with(Version { etag: Some("".into()), ..version.clone() }),
            with(Version { etag: Some("c".into()), ..version }),
        ];
        let mut keys: Vec<ContentKey> = others.iter().map(Content::key).chain([content().key()]).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1);
    }
}
