//! The rows on disk, byte by byte: a test that fails here says that caches in the field are no longer readable.
//!
//! Such a change needs a new version byte for the row, or a new schema, which begins the cache anew. Slices and logs have
//! their own tests beside their code.

use musicfs_pure::content::{ChunkHash, ContentKey, ManifestId};

use super::*;
use crate::storage::CacheFamily;
use crate::store::rows::{
    ContentRow, DiskClass, Location, Sealed, SegmentRow, decode, decode_u64, encode, pin_key, slice_key,
};

#[test]
fn location_is_stable() {
    let location = Location { segment: 0x0102, offset: 3, len: 0x0405 };
    let row = [1, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 4, 0, 0];
    assert_eq!(location.encode(), row);
    assert_eq!(Location::decode(&row), Ok(location));
    for damaged in [&row[..16], &[&row[..], &[0]].concat(), &[&[2], &row[1..]].concat()] {
        assert!(Location::decode(damaged).is_err());
    }
}

#[test]
fn keys_are_stable() {
    assert_eq!(slice_key(ContentKey([7; 16]), 258), [&[7; 16][..], &[0, 0, 0, 0, 0, 0, 1, 2]].concat()[..]);
    assert_eq!(pin_key(&ChunkHash([8; 32]), ContentKey([7; 16])), [&[8; 32][..], &[7; 16]].concat()[..]);
    assert_eq!(decode_u64(CacheFamily::Meta, &[0, 0, 0, 0, 0, 0, 1, 2]), Ok(258));
    assert!(decode_u64(CacheFamily::Meta, &[0; 7]).is_err());
}

#[test]
fn segment_row_is_stable() {
    let open = SegmentRow { class: DiskClass::Ends, generation: 300, sealed: None };
    let sealed = SegmentRow { class: DiskClass::Music, sealed: Some(Sealed { bytes: 5, log_bytes: 6 }), ..open };
    for (row, bytes) in [(open, &[1, 0, 0xac, 2, 0][..]), (sealed, &[1, 1, 0xac, 2, 1, 5, 6])] {
        assert_eq!(encode(&row).unwrap(), bytes);
        assert_eq!(decode(CacheFamily::Segments, bytes), Ok(row));
        assert!(decode::<SegmentRow>(CacheFamily::Segments, &[bytes, &[0]].concat()).is_err());
    }
}

#[test]
fn content_row_is_stable() {
    let version = Version {
        size: 300,
        mtime: Timestamp::new(-2, 5),
        granularity: Granularity::Seconds,
        ino: Some(7),
        etag: Some("e".into()),
    };
    let content = Content { origin: [9; 16], path: OriginPath::parse(b"a\xff").unwrap(), version };
    let mut row = ContentRow::new(&content);
    row.set_manifest(Some(ManifestId([4; 32])));
    let bytes = [&[1][..], &[9; 16], &[2, b'a', 0xff, 0xac, 2, 3, 5, 1, 1, 7, 1, 1, b'e', 1], &[4; 32], &[0]].concat();
    assert_eq!(encode(&row).unwrap(), bytes);
    let read: ContentRow = decode(CacheFamily::Contents, &bytes).unwrap();
    assert_eq!(read, row);
    assert_eq!(read.content(), Some(content));
    assert_eq!(read.manifest(), Some(ManifestId([4; 32])));
}
