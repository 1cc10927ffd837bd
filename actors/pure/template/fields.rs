//! The fields of a template and what each says about a track.
//!
//! Values of tags are trimmed of surrounding whitespace, as MusicBrainz Picard does: a space before a slash is never
//! meant, and players differ in how they pad. Names and paths are not: they are the file's own bytes. A value that is
//! blank is missing. Must never read more of a tag than a path can hold, however long it is.

use std::borrow::Cow;

use crate::ids::MAX_ORIGIN_PATH_BYTES;
use crate::naming::{cut_at_character, is_blank, split_extension};
use crate::tags::TrackTags;

/// The most bytes of one value that are looked at: longer than any path, so that a tag of 16 MiB costs nothing.
pub(super) const MAX_VALUE_BYTES: usize = MAX_ORIGIN_PATH_BYTES;

/// Between the values of a field that has several.
const VALUE_SEPARATOR: &[u8] = b"; ";

/// Something known of a track, by its name in templates and in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `title`; the filename where it is missing.
    Title,
    /// `artist`: the first one.
    Artist,
    /// `albumartist`: the first one.
    AlbumArtist,
    /// `album`.
    Album,
    /// `track`: the track's number.
    Track,
    /// `tracktotal`.
    TrackTotal,
    /// `disc`: the disc's number, where there are several.
    Disc,
    /// `disctotal`.
    DiscTotal,
    /// `year`: four digits.
    Year,
    /// `date` as written.
    Date,
    /// `genre`.
    Genre,
    /// `composer`.
    Composer,
    /// `comment`.
    Comment,
    /// `ext`: the file's extension in lower case, without its dot.
    Ext,
    /// `filename`: the file's name at its origin, without its extension.
    Filename,
    /// `origin`: the origin's name in the configuration.
    Origin,
    /// `path`: the file's path at its origin, with its extension.
    Path,
}

impl Field {
    /// Every field, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::Title,
        Self::Artist,
        Self::AlbumArtist,
        Self::Album,
        Self::Track,
        Self::TrackTotal,
        Self::Disc,
        Self::DiscTotal,
        Self::Year,
        Self::Date,
        Self::Genre,
        Self::Composer,
        Self::Comment,
        Self::Ext,
        Self::Filename,
        Self::Origin,
        Self::Path,
    ];

    /// The name in templates and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Artist => "artist",
            Self::AlbumArtist => "albumartist",
            Self::Album => "album",
            Self::Track => "track",
            Self::TrackTotal => "tracktotal",
            Self::Disc => "disc",
            Self::DiscTotal => "disctotal",
            Self::Year => "year",
            Self::Date => "date",
            Self::Genre => "genre",
            Self::Composer => "composer",
            Self::Comment => "comment",
            Self::Ext => "ext",
            Self::Filename => "filename",
            Self::Origin => "origin",
            Self::Path => "path",
        }
    }

    /// The field of this name, in whatever case it is written.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The field whose name is most like this one, where one is like it at all.
    pub fn nearest(name: &str) -> Option<Self> {
        // Below 0.8 the names share little more than letters; `tracknumber` still finds `track`.
        const MIN_LIKENESS: f64 = 0.8;
        let name = name.to_ascii_lowercase();
        let likeness = |field: &Self| strsim::jaro_winkler(field.name(), &name);
        let nearest = Self::ALL.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(&nearest) >= MIN_LIKENESS).then_some(nearest)
    }

    /// What the field says of a track; nothing when it is missing or blank.
    pub(super) fn value<'a>(self, track: &TrackContext<'a>) -> Option<Cow<'a, [u8]>> {
        let (stem, extension) = split_extension(track.filename);
        let value = match self {
            Self::Filename => Cow::Borrowed(stem),
            Self::Ext => Cow::Owned(extension.strip_prefix(b".")?.to_ascii_lowercase()),
            Self::Origin => Cow::Borrowed(track.origin.as_bytes()),
            Self::Path => Cow::Borrowed(track.path),
            _ => return self.tag_value(track.tags?),
        };
        (!is_blank(&value)).then_some(value)
    }

    fn tag_value(self, tags: &TrackTags) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Title => join_values(&tags.title),
            Self::Artist => first_value(&tags.artist),
            Self::AlbumArtist => first_value(&tags.albumartist),
            Self::Album => join_values(&tags.album),
            Self::Track => first_value(&tags.track),
            Self::TrackTotal => first_value(&tags.tracktotal),
            Self::Disc => first_value(&tags.disc),
            Self::DiscTotal => first_value(&tags.disctotal),
            Self::Year => first_value(&tags.year),
            Self::Date => first_value(&tags.date),
            Self::Genre => join_values(&tags.genre),
            Self::Composer => join_values(&tags.composer),
            Self::Comment => join_values(&tags.comment),
            Self::Ext | Self::Filename | Self::Origin | Self::Path => None,
        }
    }
}

/// What is known of the track that is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct TrackContext<'a> {
    /// Its tags; nothing for a file that is named like audio but not readable as such.
    pub tags: Option<&'a TrackTags>,
    /// The last component of its path at the origin.
    pub filename: &'a [u8],
    /// Its path at the origin, relative to the root.
    pub path: &'a [u8],
    /// The origin's name.
    pub origin: &'a str,
}

/// The values of a raw tag, its key compared without regard to case.
pub(super) fn raw_value<'a>(key: &str, tags: &'a TrackTags) -> Option<Cow<'a, [u8]>> {
    let folded = |text: &str| text.chars().flat_map(char::to_uppercase).eq(key.chars().flat_map(char::to_uppercase));
    join_values(tags.raw.iter().filter(|(name, _)| folded(name)).map(|(_, value)| value))
}

/// The first value that is not blank, trimmed.
fn first_value<'a>(values: impl IntoIterator<Item = &'a String>) -> Option<Cow<'a, [u8]>> {
    present(values).next().map(|value| Cow::Borrowed(value.as_bytes()))
}

/// Every value that is not blank, trimmed and joined, until the limit is reached.
fn join_values<'a>(values: impl IntoIterator<Item = &'a String>) -> Option<Cow<'a, [u8]>> {
    let mut values = present(values);
    let mut joined = Cow::Borrowed(values.next()?.as_bytes());
    for value in values {
        if joined.len() >= MAX_VALUE_BYTES {
            break;
        }
        let all = joined.to_mut();
        all.extend_from_slice(VALUE_SEPARATOR);
        all.extend_from_slice(cut_at_character(value.as_bytes(), MAX_VALUE_BYTES));
    }
    Some(joined)
}

fn present<'a>(values: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = &'a str> {
    values.into_iter().map(|value| value.trim()).filter(|value| !value.is_empty())
}
