//! What stands at the very end of a file that is no container: an ID3v1 tag, and before it an appended one.
//!
//! One read there settles all of them, because each ends where the file or the next one ends and says so in its last
//! bytes. Which of them is believed more is the format's affair, so each is taken by a call of its own.

use super::found::{Found, Rank};
use super::id3;
use super::id3_genre::genre_name;
use super::source::{Hop, Source, Stop};
use super::text::fixed_field;

/// Length of an ID3v1 tag.
const ID3V1_BYTES: u64 = 128;

/// The end of a file, known.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    id3v1: Option<&'a [u8]>,
    /// Where an appended tag ends: at the ID3v1 tag, or at the end of the file.
    pub(super) end: u64,
}

impl<'a> Tail<'a> {
    /// Reads the last `num_bytes` of the file.
    pub(super) fn read(source: &'a Source, num_bytes: u64) -> Result<Self, Stop> {
        let size = source.size();
        let len = size.min(num_bytes);
        source.read(size - len, len, Hop { bytes: len, end: size })?;
        let start = size.checked_sub(ID3V1_BYTES);
        let id3v1 = start.and_then(|at| source.known(at, ID3V1_BYTES)).filter(|tag| tag.starts_with(b"TAG"));
        Ok(Self { id3v1, end: size - id3v1.map_or(0, |_| ID3V1_BYTES) })
    }

    /// ID3v1.1: fixed fields, and a track number where the comment leaves room for it.
    pub(super) fn push_id3v1(&self, found: &mut Found) {
        let Some(tag) = self.id3v1 else { return };
        found.begin_layer(Rank::Poor);
        for (key, field) in
            [("TITLE", 3..33), ("ARTIST", 33..63), ("ALBUM", 63..93), ("YEAR", 93..97), ("COMMENT", 97..127)]
        {
            found.push(Rank::Poor, key, &fixed_field(&tag[field]));
        }
        if tag[125] == 0 && tag[126] != 0 {
            found.push(Rank::Poor, "TRACK", &tag[126].to_string());
        }
        if let Some(genre) = genre_name(usize::from(tag[127])) {
            found.push(Rank::Poor, "GENRE", genre);
        }
    }

    /// An ID3v2.4 tag at the end, found by its footer.
    pub(super) fn walk_appended_id3(&self, source: &Source, found: &mut Found) -> Result<(), Stop> {
        let Some(footer) = self.end.checked_sub(10).and_then(|at| source.known(at, 10)) else { return Ok(()) };
        let [b'3', b'D', b'I', 4, _, _, ref size @ ..] = *footer else { return Ok(()) };
        let Some(start) = size.first_chunk().and_then(|&size| self.end.checked_sub(20 + id3::synchsafe(size))) else {
            return Ok(());
        };
        id3::walk(source, start, self.end, found).map(|_| ())
    }
}
