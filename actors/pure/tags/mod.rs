//! What tags say about a track, and how little of a file must be read to know it.
//!
//! [`TagScan`] is fed the ranges that it asks for and answers with the tags. One walker per container follows the
//! container's own lengths from header to header, so that pictures, padding and audio are jumped over, and reads the
//! text where it stands. A walker is a function that is run again from the start whenever bytes have arrived: replaying
//! a few KiB in memory costs less than keeping a parser's state right. `normalise` makes the fields of requirement V3
//! of what the walkers found. Nothing in here does I/O, and nothing here trusts a length.

mod aiff;
mod ape;
mod ape_tagged;
pub mod art;
mod classify;
mod detect;
#[cfg(test)]
mod fixtures;
mod flac;
mod found;
#[cfg(test)]
mod hostile_tests;
mod id3;
mod id3_frames;
mod id3_genre;
mod mp3;
mod mp4;
mod mp4_items;
mod normalise;
mod ogg;
mod ogg_packet;
#[cfg(test)]
mod real_files_tests;
mod scan;
mod source;
mod tail;
#[cfg(test)]
mod tests;
mod text;
mod vorbis_comment;
mod wav;

pub use classify::{FileClass, classify, is_cover_sidecar};
pub use scan::{ByteRange, MAX_REQUESTS, MAX_SCAN_BYTES, MalformedReason, TagScan, TagScanResult, TagStep};

/// A container whose tags are understood; decided by content, the extension is a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Native FLAC.
    Flac,
    /// MPEG audio with ID3 or APE tags.
    Mp3,
    /// Vorbis in Ogg.
    OggVorbis,
    /// Opus in Ogg.
    Opus,
    /// FLAC in Ogg.
    OggFlac,
    /// AAC or ALAC in MP4.
    Mp4,
    /// RIFF WAVE.
    Wav,
    /// AIFF or AIFF-C.
    Aiff,
    /// `WavPack`.
    WavPack,
    /// Monkey's Audio, known by its extension `ape`.
    MonkeysAudio,
    /// Musepack of stream version 7 or 8.
    Musepack,
}

/// Where an embedded picture is in its file, and how to get it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtLocation {
    /// The picture's type, from its first bytes; decides the name that it is shown under.
    pub kind: ArtKind,
    /// Length of the picture in bytes, as shown.
    pub len: u64,
    /// Offset in the file of the first byte that is needed to make it.
    pub offset: u64,
    /// How many bytes from there are needed; equal to `len` when the picture lies in the file as it is.
    pub stored_len: u64,
    /// How the stored bytes become the picture.
    pub encoding: ArtEncoding,
}

/// How an embedded picture is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtEncoding {
    /// As it is.
    Raw,
    /// With the zero bytes that ID3v2's unsynchronisation puts in.
    Unsynchronised,
    /// As it is, in a packet of an Ogg stream: whole pages are stored, and the picture begins `payload_offset` bytes into
    /// their payload.
    OggPages {
        /// Bytes of page payload before the picture.
        payload_offset: u32,
    },
    /// Base64 in a comment of an Ogg stream: whole pages are stored, the comment's text begins `text_offset` bytes into
    /// their payload and is `text_len` long, and the picture begins `picture_offset` bytes into the decoded block.
    OggComment {
        /// Bytes of page payload before the text.
        text_offset: u32,
        /// Length of the base64 text.
        text_len: u32,
        /// Length of the picture block's header.
        picture_offset: u32,
    },
}

/// Types of pictures that are shown as covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtKind {
    /// `cover.jpg`.
    Jpeg,
    /// `cover.png`.
    Png,
}

/// The tags of one track, normalised as requirements V3 says, and the raw ones for `${tag:KEY}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackTags {
    /// The container.
    pub format: Option<Format>,
    /// Title; every value in the order of the file.
    pub title: Vec<String>,
    /// Artists of the track.
    pub artist: Vec<String>,
    /// Artists of the album; "Various Artists" under the compilation flag when the file names none.
    pub albumartist: Vec<String>,
    /// Album.
    pub album: Vec<String>,
    /// Track number: leading digits without zeros, or the text as it is when it has no leading digits.
    pub track: Option<String>,
    /// Tracks in all.
    pub tracktotal: Option<String>,
    /// Disc number, as `track`.
    pub disc: Option<String>,
    /// Discs in all.
    pub disctotal: Option<String>,
    /// Year: four digits.
    pub year: Option<String>,
    /// Date as written.
    pub date: Option<String>,
    /// Genres.
    pub genre: Vec<String>,
    /// Composers.
    pub composer: Vec<String>,
    /// Comments.
    pub comment: Vec<String>,
    /// Every text tag as it is in the file, the key in upper case; bounded in number and size.
    pub raw: Vec<(String, String)>,
    /// The first front cover, else the first picture.
    pub art: Option<ArtLocation>,
}
