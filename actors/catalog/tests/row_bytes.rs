//! The format on disk, byte by byte: a test that fails here says that catalogs in the field are no longer readable.
//!
//! Such a change needs a new version byte for the row, a way to read the old one, and both in this file. A row of every
//! type and a key of every table is here.

use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::tags::{ArtEncoding, ArtKind, ArtLocation, Format, TrackTags};
use musicfs_pure::version::{Granularity, Timestamp, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::codec::{decode, encode};
use crate::catalog::keys::{self, AlbumRole, WantClass};
use crate::catalog::rows::{
    ChildRow, CountsRow, CrowdRow, DiskMount, DiskRevision, DiskRoot, EntryRow, FileRow, Gone, GuardRow, OriginRow,
    Place, Role, Shown, SpreadRow, TagState, TemplateRow, TombstoneRow,
};
use crate::catalog::tag_rows::{DiskArt, TagsRow};
use crate::storage::Family;

fn version() -> Version {
    let etag = Some("e".into());
    Version { size: 300, mtime: Timestamp::new(-2, 5), granularity: Granularity::Seconds, ino: Some(7), etag }
}

fn art() -> ArtLocation {
    let encoding = ArtEncoding::OggComment { text_offset: 1, text_len: 2, picture_offset: 3 };
    ArtLocation { kind: ArtKind::Png, len: 4, offset: 5, stored_len: 6, encoding }
}

fn assert_bytes<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(row: &T, bytes: &[u8]) {
    assert_eq!(encode(row).unwrap(), bytes, "{row:?}");
    assert_eq!(decode::<T>(Family::Meta, bytes).as_ref(), Ok(row));
}

#[test]
fn file_row_is_stable() {
    let row = FileRow {
        origin: 1,
        folder: 16,
        name: b"a\xff".to_vec(),
        version: (&version()).into(),
        ctime: Some(Timestamp::new(3, 0).into()),
        mode: 0o644,
        real_path: Some(b"r".to_vec()),
        tags: TagState::Read,
        tags_known: true,
        art: Some(DiskArt::from(&art())),
        raw_ino: 17,
        track_ino: 18,
        place: Some(Place { folder: 19, wanted: b"w".to_vec() }),
        revision: DiskRevision { generation: 2, number: 1 },
        gone: Some(Gone { at_secs: 1, path: b"p".to_vec() }),
    };
    let bytes = [
        &[1, 1, 16, 2, b'a', 0xff][..],
        &[0xac, 2, 3, 5, 1, 1, 7, 1, 1, b'e'],
        &[1, 6, 0, 0xa4, 3, 1, 1, b'r', 2, 1],
        &[1, 1, 4, 5, 6, 2, 1, 2, 3],
        &[17, 18, 1, 19, 1, b'w', 2, 1, 1, 2, 1, b'p'],
    ];
    assert_bytes(&row, &bytes.concat());
}

#[test]
fn entry_and_child_rows_are_stable() {
    let roles = [
        (Role::Folder, vec![0]),
        (Role::RawFolder { real_path: None }, vec![1, 0]),
        (Role::RawFolder { real_path: Some(b"r".to_vec()) }, vec![1, 1, 1, b'r']),
        (Role::RawFile { file: 1 }, vec![2, 1]),
        (Role::Track { file: 1 }, vec![3, 1]),
        (Role::Sidecar { file: 1 }, vec![4, 1]),
        (
            Role::Art { file: 1, art: (&art()).into(), made_from: DiskRevision { generation: 9, number: 8 } },
            vec![5, 1, 1, 4, 5, 6, 2, 1, 2, 3, 9, 8],
        ),
    ];
    for (role, bytes) in roles {
        assert_bytes(&EntryRow { parent: 16, role }, &[&[1, 16], &bytes[..]].concat());
    }
    let shown = Shown { revision: DiskRevision { generation: 1, number: 2 }, ..Shown::folder(Timestamp::new(1, 2)) };
    let row = ChildRow { shown, name: b"n" };
    let bytes = [1, 1, 0, 2, 2, 0xed, 2, 1, 2, 1, b'n'];
    assert_eq!(encode(&row).unwrap(), bytes);
    assert_eq!(decode::<ChildRow<'_>>(Family::Children, &bytes), Ok(row));
}

#[test]
fn tags_row_is_stable() {
    let one = |text: &str| vec![text.to_owned()];
    let tags = TrackTags {
        format: Some(Format::Flac),
        title: one("t"),
        artist: vec!["a".to_owned(), "b".to_owned()],
        albumartist: one("c"),
        album: one("d"),
        track: Some("1".to_owned()),
        tracktotal: None,
        disc: Some("2".to_owned()),
        disctotal: None,
        year: Some("1999".to_owned()),
        date: None,
        genre: one("g"),
        composer: Vec::new(),
        comment: Vec::new(),
        raw: vec![("K".to_owned(), "v".to_owned())],
        art: Some(art()),
    };
    let row = TagsRow::from(&tags);
    let bytes = b"\x01\x01\x01\x01\x01t\x02\x01a\x01b\x01\x01c\x01\x01d\x01\x011\0\x01\x012\0\x01\x041999\0\x01\x01g\0\0\x01\x01K\x01v";
    assert_bytes(&row, bytes);
    assert_eq!(row.into_tags(Some(DiskArt::from(&art()))), Ok(tags));
}

#[test]
fn encodings_of_pictures_keep_their_numbers() {
    let comment = ArtEncoding::OggComment { text_offset: 1, text_len: 2, picture_offset: 3 };
    for (encoding, bytes) in [
        (ArtEncoding::Raw, &[0][..]),
        (ArtEncoding::Unsynchronised, &[1]),
        (comment, &[2, 1, 2, 3]),
        (ArtEncoding::OggPages { payload_offset: 1 }, &[3, 1]),
    ] {
        let location = ArtLocation { encoding, ..art() };
        assert_bytes(&DiskArt::from(&location), &[&[1, 1, 4, 5, 6], bytes].concat());
        assert_eq!(ArtLocation::from(DiskArt::from(&location)), location);
    }
}

#[test]
fn formats_keep_their_numbers() {
    let formats: [(Format, u8); 11] = [
        (Format::Flac, 1),
        (Format::Mp3, 2),
        (Format::OggVorbis, 3),
        (Format::Opus, 4),
        (Format::OggFlac, 5),
        (Format::Mp4, 6),
        (Format::Wav, 7),
        (Format::Aiff, 8),
        (Format::WavPack, 9),
        (Format::MonkeysAudio, 10),
        (Format::Musepack, 11),
    ];
    for (format, number) in formats {
        let tags = TrackTags { format: Some(format), ..TrackTags::default() };
        let row = TagsRow::from(&tags);
        // every field is empty or absent
        assert_bytes(&row, &[&[1, 1, number][..], &[0; 14]].concat());
        assert_eq!(row.into_tags(None), Ok(tags));
    }
}

#[test]
fn rows_of_meta_are_stable() {
    let row = OriginRow {
        name: "o".to_owned(),
        uuid: [3; 16],
        fingerprint: "f".to_owned(),
        root: 16,
        listed: Some(DiskRoot { dev: 1, fs_type: 2, ino: 3 }),
        num_files: 4,
        retired: false,
    };
    assert_bytes(&row, &[&[1, 1, b'o'][..], &[3; 16], &[1, b'f', 16, 1, 1, 2, 3, 4, 0]].concat());
    let mounts = vec![DiskMount { path: b"m".to_vec(), root: DiskRoot { dev: 1, fs_type: 2, ino: 3 } }];
    let row = GuardRow { mounts: Some(mounts), withheld: vec![b"p".to_vec(), b"q".to_vec()] };
    assert_bytes(&row, &[1, 1, 1, 1, b'm', 1, 2, 3, 2, 1, b'p', 1, b'q']);
    assert_bytes(&GuardRow::default(), &[1, 0, 0]);
    assert_bytes(&CountsRow { num_files: 1, num_tracks: 2 }, &[1, 1, 2]);
    let row = TemplateRow { fingerprint: [7; 32], replace_from: Some(300) };
    assert_bytes(&row, &[&[1][..], &[7; 32], &[1, 0xac, 2]].concat());
    assert_bytes(&TombstoneRow { file: 1, at_secs: -1 }, &[1, 1, 1]);
    assert_bytes(&CrowdRow { albums: 1, sidecars: 300 }, &[1, 1, 0xac, 2]);
    assert_bytes(&SpreadRow { albums: vec![16, 300] }, &[1, 2, 16, 0xac, 2]);
    // an empty value in place of a spread is that of a catalog in which every sidecar went with every album
    assert_bytes(&SpreadRow::default(), &[1, 0]);
}

#[test]
fn keys_are_stable() {
    let (folder, file) = (Ino(0x0102), FileId(3));
    let number = |last: &[u8]| [&[0; 8][..8 - last.len()], last].concat();
    let folder_bytes = number(&[1, 2]);
    let file_bytes = number(&[3]);
    let of_folder = |rest: &[&[u8]]| [&folder_bytes[..], &rest.concat()].concat();
    assert_eq!(keys::name(folder, b"n"), of_folder(&[b"n"]));
    assert_eq!(keys::child(folder, Ino(3))[..], of_folder(&[&file_bytes]));
    assert_eq!(keys::want(folder, b"n", WantClass::Sidecar, file), of_folder(&[b"n", &[0, 1], &file_bytes]));
    assert_eq!(keys::album(folder, AlbumRole::Art, file), of_folder(&[&[2], &file_bytes]));
    assert_eq!(keys::album(folder, AlbumRole::Spelling, file), of_folder(&[&[3], &file_bytes]));
    assert_eq!(keys::folded(folder, b"n"), of_folder(&[&[4], b"n"]));
    assert_eq!(keys::source(folder, Ino(3))[..], of_folder(&[&file_bytes]));
    assert_eq!(keys::sidecar(folder, file), of_folder(&[&[0; 8], &file_bytes]));
    assert_eq!(keys::crowd(folder), of_folder(&[&[0; 8], &[0; 8]]));
    assert_eq!(keys::tombstone(5, b"p"), b"\0\0\0\x05p");
    assert_eq!(keys::link(5, b"r", b"l"), b"\0\0\0\x05r\0l");
    assert_eq!(keys::origin_key(5), b"origin\0\0\0\x05");
    assert_eq!(keys::guard_key(5), b"guard\0\0\0\x05");
    let looks = [&[0, 0, 0, 5][..], &number(&[7]), &number(&[1, 44]), &(-2_i64).to_be_bytes(), &[0, 0, 0, 5]].concat();
    assert_eq!(keys::lookalikes(5, &version()), looks);
    assert_eq!(keys::identity(5, &version(), file), [&looks[..], &file_bytes].concat());
}
