//! A track's tags as they lie on disk.
//!
//! The embedded picture's place is not among them: it is in the file's row, where covers are decided. Formats are
//! numbers that are never given to another, so that a new container does not change what an old row means.

use musicfs_protocol::library::CatalogError;
use musicfs_pure::tags::{ArtEncoding, ArtKind, ArtLocation, Format, TrackTags};
use serde::{Deserialize, Serialize};

use super::codec::damaged;
use crate::storage::Family;

/// Row of `tags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TagsRow {
    format: Option<u8>,
    title: Vec<String>,
    artist: Vec<String>,
    albumartist: Vec<String>,
    album: Vec<String>,
    track: Option<String>,
    tracktotal: Option<String>,
    disc: Option<String>,
    disctotal: Option<String>,
    year: Option<String>,
    date: Option<String>,
    genre: Vec<String>,
    composer: Vec<String>,
    comment: Vec<String>,
    raw: Vec<(String, String)>,
}

/// The number of a container.
const fn format_code(format: Format) -> u8 {
    match format {
        Format::Flac => 1,
        Format::Mp3 => 2,
        Format::OggVorbis => 3,
        Format::Opus => 4,
        Format::OggFlac => 5,
        Format::Mp4 => 6,
        Format::Wav => 7,
        Format::Aiff => 8,
        Format::WavPack => 9,
        Format::MonkeysAudio => 10,
        Format::Musepack => 11,
    }
}

/// The container of a number that [`format_code`] gives.
const fn format_of_code(code: u8) -> Option<Format> {
    Some(match code {
        1 => Format::Flac,
        2 => Format::Mp3,
        3 => Format::OggVorbis,
        4 => Format::Opus,
        5 => Format::OggFlac,
        6 => Format::Mp4,
        7 => Format::Wav,
        8 => Format::Aiff,
        9 => Format::WavPack,
        10 => Format::MonkeysAudio,
        11 => Format::Musepack,
        _ => return None,
    })
}

impl From<&TrackTags> for TagsRow {
    fn from(tags: &TrackTags) -> Self {
        let tags = tags.clone();
        Self {
            format: tags.format.map(format_code),
            title: tags.title,
            artist: tags.artist,
            albumartist: tags.albumartist,
            album: tags.album,
            track: tags.track,
            tracktotal: tags.tracktotal,
            disc: tags.disc,
            disctotal: tags.disctotal,
            year: tags.year,
            date: tags.date,
            genre: tags.genre,
            composer: tags.composer,
            comment: tags.comment,
            raw: tags.raw,
        }
    }
}

impl TagsRow {
    /// The tags, with the picture that the file's row knows of.
    pub(super) fn into_tags(self, art: Option<DiskArt>) -> Result<TrackTags, CatalogError> {
        let known = |code| format_of_code(code).ok_or_else(|| damaged(Family::Tags));
        Ok(TrackTags {
            format: self.format.map(known).transpose()?,
            title: self.title,
            artist: self.artist,
            albumartist: self.albumartist,
            album: self.album,
            track: self.track,
            tracktotal: self.tracktotal,
            disc: self.disc,
            disctotal: self.disctotal,
            year: self.year,
            date: self.date,
            genre: self.genre,
            composer: self.composer,
            comment: self.comment,
            raw: self.raw,
            art: art.map(ArtLocation::from),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DiskArtKind {
    Jpeg,
    Png,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DiskArtEncoding {
    Raw,
    Unsynchronised,
    OggComment { text_offset: u32, text_len: u32, picture_offset: u32 },
    OggPages { payload_offset: u32 },
}

/// Where an embedded picture is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskArt {
    pub(super) kind: DiskArtKind,
    pub(super) len: u64,
    pub(super) offset: u64,
    pub(super) stored_len: u64,
    pub(super) encoding: DiskArtEncoding,
}

impl DiskArt {
    /// The name that a cover made from it is shown under.
    pub(super) const fn file_name(self) -> &'static [u8] {
        match self.kind {
            DiskArtKind::Jpeg => b"cover.jpg",
            DiskArtKind::Png => b"cover.png",
        }
    }
}

/// Every name that [`DiskArt::file_name`] gives.
pub(super) const MADE_COVER_NAMES: [&[u8]; 2] = [b"cover.jpg", b"cover.png"];

impl From<&ArtLocation> for DiskArt {
    fn from(art: &ArtLocation) -> Self {
        let kind = match art.kind {
            ArtKind::Jpeg => DiskArtKind::Jpeg,
            ArtKind::Png => DiskArtKind::Png,
        };
        let encoding = match art.encoding {
            ArtEncoding::Raw => DiskArtEncoding::Raw,
            ArtEncoding::Unsynchronised => DiskArtEncoding::Unsynchronised,
            ArtEncoding::OggPages { payload_offset } => DiskArtEncoding::OggPages { payload_offset },
            ArtEncoding::OggComment { text_offset, text_len, picture_offset } => {
                DiskArtEncoding::OggComment { text_offset, text_len, picture_offset }
            }
        };
        Self { kind, len: art.len, offset: art.offset, stored_len: art.stored_len, encoding }
    }
}

impl From<DiskArt> for ArtLocation {
    fn from(art: DiskArt) -> Self {
        let kind = match art.kind {
            DiskArtKind::Jpeg => ArtKind::Jpeg,
            DiskArtKind::Png => ArtKind::Png,
        };
        let encoding = match art.encoding {
            DiskArtEncoding::Raw => ArtEncoding::Raw,
            DiskArtEncoding::Unsynchronised => ArtEncoding::Unsynchronised,
            DiskArtEncoding::OggPages { payload_offset } => ArtEncoding::OggPages { payload_offset },
            DiskArtEncoding::OggComment { text_offset, text_len, picture_offset } => {
                ArtEncoding::OggComment { text_offset, text_len, picture_offset }
            }
        };
        Self { kind, len: art.len, offset: art.offset, stored_len: art.stored_len, encoding }
    }
}
