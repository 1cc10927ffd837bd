//! The keys of every table: big-endian numbers and raw bytes, so that the order of bytes is the order that is walked.
//!
//! | table | key | value |
//! |---|---|---|
//! | meta | `schema`, `generation`, `next_*`, `counts`, `template`, `origin` + number, `guard` + number | see `rows` |
//! | entries | entry | parent, role |
//! | names | folder, name | entry |
//! | children | folder, entry | what a listing shows |
//! | files, tags | file | the file, its tags |
//! | wants | library folder, wanted name, 0, class, file | entry, 0 while hidden |
//! | albums | library folder, role, file or folded name | see [`AlbumRole`] |
//! | sources | raw folder, library folder | number of tracks |
//! | sources | raw folder, 0, 0 | how many library folders and sidecars it has |
//! | sources | raw folder, 0, file | the library folders that a sidecar is spread over |
//! | identities | origin, inode, size, mtime, file | – , or the hash of its first bytes |
//! | tombstones | origin, path | file, time |
//! | links | origin, real path, 0, link path | – |
//!
//! A name holds no NUL, so the 0 behind one ends it: no name's rows lie among those of another that it begins.

use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::version::Version;

/// The generation of the daemon: how often the catalog was opened.
pub(super) const GENERATION: &[u8] = b"generation";
/// The first inode number that is not reserved.
pub(super) const NEXT_INO: &[u8] = b"next_ino";
/// The first file id that is not reserved.
pub(super) const NEXT_FILE: &[u8] = b"next_file";
/// The next origin's number.
pub(super) const NEXT_ORIGIN: &[u8] = b"next_origin";
/// [`CountsRow`](super::rows::CountsRow).
pub(super) const COUNTS: &[u8] = b"counts";
/// [`TemplateRow`](super::rows::TemplateRow).
pub(super) const TEMPLATE: &[u8] = b"template";
/// What the keys of origins begin with.
pub(super) const ORIGIN_PREFIX: &[u8] = b"origin";

/// What the keys of guards begin with.
const GUARD_PREFIX: &[u8] = b"guard";

/// What wants a name in a folder of the library. Tracks go before sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WantClass {
    Track = 0,
    Sidecar = 1,
}

/// What a row of `albums` says of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AlbumRole {
    /// The entry of the cover that is made from embedded art; the file is 0, the value the inode number.
    Made = 0,
    /// A sidecar that is a cover wants to be here; the value is its wanted name.
    Cover = 1,
    /// A track with embedded art is here.
    Art = 2,
    /// How a track below writes this folder's name; only where folders are merged.
    Spelling = 3,
    /// A folder in here whose name folds to what the key ends with; only where folders are merged. The value is the inode
    /// number.
    Folded = 4,
}

/// What stands in the place of a library folder where `sources` keeps the sidecars of a raw folder: no entry has this
/// number.
const SIDECARS: u64 = 0;

pub(super) fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(super) fn origin_key(origin: u32) -> Vec<u8> {
    [ORIGIN_PREFIX, &origin.to_be_bytes()].concat()
}

/// [`GuardRow`](super::rows::GuardRow).
pub(super) fn guard_key(origin: u32) -> Vec<u8> {
    [GUARD_PREFIX, &origin.to_be_bytes()].concat()
}

/// The origin's number in a key of [`origin_key`].
pub(super) fn origin_of_key(key: &[u8]) -> Option<u32> {
    key.strip_prefix(ORIGIN_PREFIX)?.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn name(folder: Ino, name: &[u8]) -> Vec<u8> {
    [&number(folder.0)[..], name].concat()
}

pub(super) fn child(folder: Ino, child: Ino) -> [u8; 16] {
    two(folder.0, child.0)
}

/// Two numbers, one behind the other.
pub(super) fn two(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number(first));
    key[8..].copy_from_slice(&number(second));
    key
}

/// The number that a key ends with.
pub(super) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The number at a place in a key.
pub(super) fn number_at(key: &[u8], start: usize) -> Option<u64> {
    key.get(start..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// All that want a name in a folder.
pub(super) fn group(folder: Ino, wanted: &[u8]) -> Vec<u8> {
    [&number(folder.0)[..], wanted, &[0]].concat()
}

pub(super) fn want(folder: Ino, wanted: &[u8], class: WantClass, file: FileId) -> Vec<u8> {
    [&number(folder.0)[..], wanted, &[0, class as u8], &number(file.0)].concat()
}

/// All rows of one role in a folder.
pub(super) fn album_role(folder: Ino, role: AlbumRole) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&number(folder.0));
    key[8] = role as u8;
    key
}

pub(super) fn album(folder: Ino, role: AlbumRole, file: FileId) -> Vec<u8> {
    [&album_role(folder, role)[..], &number(file.0)].concat()
}

/// The folder whose name folds to this one.
pub(super) fn folded(parent: Ino, folded_name: &[u8]) -> Vec<u8> {
    [&album_role(parent, AlbumRole::Folded)[..], folded_name].concat()
}

/// Whether a row of `albums` is there because folders are merged.
pub(super) fn is_of_merging(album: &[u8]) -> bool {
    let roles = [AlbumRole::Spelling as u8, AlbumRole::Folded as u8];
    album.get(size_of::<u64>()).is_some_and(|role| roles.contains(role))
}

/// How many tracks out of a raw folder are in a library folder.
pub(super) fn source(raw_folder: Ino, library_folder: Ino) -> [u8; 16] {
    two(raw_folder.0, library_folder.0)
}

/// All sidecars of a raw folder.
pub(super) fn sidecars(raw_folder: Ino) -> [u8; 16] {
    two(raw_folder.0, SIDECARS)
}

/// How many library folders have a track out of a raw folder, and how many sidecars it has: no file has the number 0.
pub(super) fn crowd(raw_folder: Ino) -> Vec<u8> {
    sidecar(raw_folder, FileId(0))
}

pub(super) fn sidecar(raw_folder: Ino, file: FileId) -> Vec<u8> {
    [&sidecars(raw_folder)[..], &number(file.0)].concat()
}

/// All files of an origin that look like this version. An origin without inode numbers has 0 in their place.
pub(super) fn lookalikes(origin: u32, version: &Version) -> Vec<u8> {
    let mut key = origin.to_be_bytes().to_vec();
    for field in [version.ino.unwrap_or(0), version.size, version.mtime.secs as u64] {
        key.extend_from_slice(&number(field));
    }
    key.extend_from_slice(&version.mtime.nanos.to_be_bytes());
    key
}

pub(super) fn identity(origin: u32, version: &Version, file: FileId) -> Vec<u8> {
    [&lookalikes(origin, version)[..], &number(file.0)].concat()
}

pub(super) fn tombstone(origin: u32, path: &[u8]) -> Vec<u8> {
    [&origin.to_be_bytes()[..], path].concat()
}

/// All links of an origin.
pub(super) fn links_of_origin(origin: u32) -> Vec<u8> {
    origin.to_be_bytes().to_vec()
}

/// All links whose real path is this one.
pub(super) fn links(origin: u32, real_path: &[u8]) -> Vec<u8> {
    [&origin.to_be_bytes()[..], real_path, &[0]].concat()
}

pub(super) fn link(origin: u32, real_path: &[u8], link_path: &[u8]) -> Vec<u8> {
    [&origin.to_be_bytes()[..], real_path, &[0], link_path].concat()
}
