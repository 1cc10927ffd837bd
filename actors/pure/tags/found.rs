//! What the walkers have found in one file, before it is normalised.
//!
//! Tags come in layers, because a file can hold several: an ID3v2 tag and an ID3v1 tag, `LIST INFO` and an `id3 ` chunk.
//! A layer of lower rank is asked first for each field. The limits of what is kept of a file's text are held here and
//! nowhere else; a file that exceeds them loses the rest, not its place in the library.

use super::{ArtEncoding, ArtKind, ArtLocation, Format};

/// Tags that are kept of a file: ten times what a well-kept classical library has.
const MAX_ENTRIES: usize = 512;

/// Length of a key that is kept: keys are words, not texts.
const MAX_KEY_BYTES: usize = 256;

/// Length of a value that is kept: no path component is longer than 255 bytes, so this is lyrics and cue sheets.
pub(super) const MAX_VALUE_BYTES: usize = 4 << 10;

/// Text that is kept of a file, because it is held per track in the catalog.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// The largest picture that is shown, and the most stored bytes that one is made of: beyond it is a scan of a booklet, and
/// making it costs that much memory. A picture that lies in the file as it is, is not made.
const MAX_PICTURE_BYTES: u64 = 32 << 20;

/// Tags that are told apart in one file; the entries of more of the same rank join the last one. A crafted file could
/// have one per ten bytes.
const MAX_LAYERS: usize = 16;

/// Which tag a layer comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The container's own tag, ID3v2, or APE where it is the format's own.
    Main,
    /// APE behind an MP3.
    Appended,
    /// ID3v1, RIFF INFO or the text chunks of AIFF: cut to a few bytes or a few fields.
    Poor,
}

/// The entries of one tag: keys in upper case, in the order of the file.
#[derive(Debug)]
struct Layer {
    rank: Rank,
    entries: Vec<(String, String)>,
}

/// Everything found so far.
#[derive(Debug)]
pub(super) struct Found {
    /// The container.
    pub(super) format: Option<Format>,
    layers: Vec<Layer>,
    art: Option<(bool, ArtLocation)>,
    file_size: u64,
    num_entries: usize,
    num_text_bytes: usize,
}

impl Found {
    /// Nothing, in a file of this size.
    pub(super) fn new(file_size: u64) -> Self {
        Self { format: None, layers: Vec::new(), art: None, file_size, num_entries: 0, num_text_bytes: 0 }
    }

    /// Whether there is neither a tag nor a picture.
    pub(super) fn is_empty(&self) -> bool {
        self.num_entries == 0 && self.art.is_none()
    }

    /// Whether no tag has text.
    pub(super) fn has_no_text(&self) -> bool {
        self.num_entries == 0
    }

    /// Begins the next tag.
    pub(super) fn begin_layer(&mut self, rank: Rank) {
        if self.layers.len() >= MAX_LAYERS && self.layers.iter().any(|layer| layer.rank == rank) {
            return;
        }
        let at = self.layers.partition_point(|layer| layer.rank <= rank);
        self.layers.insert(at, Layer { rank, entries: Vec::new() });
    }

    /// Adds an entry to the layer of this rank that was begun last. A value that is too long is cut.
    pub(super) fn push(&mut self, rank: Rank, key: &str, value: &str) {
        let value = cut(value, MAX_VALUE_BYTES);
        let num_bytes = key.len() + value.len();
        let fits = self.num_entries < MAX_ENTRIES && self.num_text_bytes + num_bytes <= MAX_TEXT_BYTES;
        if value.trim().is_empty() || key.is_empty() || key.len() > MAX_KEY_BYTES || !fits {
            return;
        }
        let Some(layer) = self.layers.iter_mut().rev().find(|layer| layer.rank == rank) else { return };
        layer.entries.push((key.to_uppercase(), value.to_owned()));
        self.num_entries += 1;
        self.num_text_bytes += num_bytes;
    }

    /// Offers a picture: the first front cover wins, else the first picture.
    pub(super) fn offer_art(&mut self, is_front: bool, art: ArtLocation) {
        let inside = art.offset.checked_add(art.stored_len).is_some_and(|end| end <= self.file_size);
        let better = self.art.as_ref().is_none_or(|&(had_front, _)| is_front && !had_front);
        let limit = MAX_PICTURE_BYTES;
        if better && inside && (1..=limit).contains(&art.len) && art.stored_len <= limit {
            self.art = Some((is_front, art));
        }
    }

    /// Offers a picture that lies in the file as it is; `first_bytes` are its own.
    pub(super) fn offer_raw_art(&mut self, is_front: bool, (offset, len): (u64, u64), first_bytes: &[u8], mime: &[u8]) {
        if let Some(kind) = picture_kind(first_bytes, mime) {
            let art = ArtLocation { kind, len, offset, stored_len: len, encoding: ArtEncoding::Raw };
            self.offer_art(is_front, art);
        }
    }

    /// Whether a front cover is known.
    pub(super) fn has_front_art(&self) -> bool {
        self.art.as_ref().is_some_and(|&(is_front, _)| is_front)
    }

    /// The picture to show.
    pub(super) fn art(&self) -> Option<&ArtLocation> {
        self.art.as_ref().map(|(_, art)| art)
    }

    /// The entries, best layer first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(String, String)> {
        self.layers.iter().flat_map(|layer| &layer.entries)
    }

    /// The values of the first of these keys that the best layer with any of them has.
    pub(super) fn values(&self, keys: &[&str]) -> Vec<&str> {
        for layer in &self.layers {
            for key in keys {
                let named = layer.entries.iter().filter(|(name, _)| name == key);
                let values: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
                if !values.is_empty() {
                    return values;
                }
            }
        }
        Vec::new()
    }
}

/// The text cut to at most `max` bytes between two characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The type of a picture by its first bytes, or by what is declared when those are not known.
pub(super) fn picture_kind(first_bytes: &[u8], mime: &[u8]) -> Option<ArtKind> {
    if first_bytes.len() < 4 {
        return match mime.to_ascii_lowercase().as_slice() {
            b"image/jpeg" | b"image/jpg" | b"jpg" => Some(ArtKind::Jpeg),
            b"image/png" | b"png" => Some(ArtKind::Png),
            _ => None,
        };
    }
    match first_bytes {
        [0xff, 0xd8, 0xff, ..] => Some(ArtKind::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(ArtKind::Png),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(kind: ArtKind, offset: u64) -> ArtLocation {
        ArtLocation { kind, len: 10, offset, stored_len: 10, encoding: ArtEncoding::Raw }
    }

    #[test]
    fn first_front_cover_wins_over_the_first_picture() {
        let mut found = Found::new(100);
        for (is_front, offset) in [(false, 1), (true, 2), (true, 3)] {
            found.offer_art(is_front, located(ArtKind::Png, offset));
        }
        assert_eq!(found.art().map(|art| art.offset), Some(2));
    }

    #[test]
    fn picture_beyond_the_file_or_too_large_is_ignored() {
        let mut found = Found::new(u64::MAX);
        found.offer_art(true, located(ArtKind::Png, u64::MAX - 5));
        found.offer_art(true, ArtLocation { len: 33 << 20, ..located(ArtKind::Png, 0) });
        found.offer_art(true, ArtLocation { stored_len: 33 << 20, ..located(ArtKind::Png, 0) });
        assert_eq!(found.art(), None);
    }

    #[test]
    fn entries_beyond_the_limits_are_dropped() {
        let mut found = Found::new(100);
        found.begin_layer(Rank::Main);
        for _ in 0..600 {
            found.push(Rank::Main, "k", "v");
        }
        assert_eq!(found.entries().count(), 512);
        let mut found = Found::new(100);
        found.begin_layer(Rank::Main);
        for _ in 0..100 {
            found.push(Rank::Main, "k", &"ö".repeat(4000));
        }
        assert_eq!(found.entries().count(), 15);
        assert!(found.entries().all(|(_, value)| value.len() == 4096));
    }

    #[test]
    fn better_layer_is_asked_first_whatever_the_order_in_the_file() {
        let mut found = Found::new(100);
        found.begin_layer(Rank::Poor);
        found.push(Rank::Poor, "INAM", "poor");
        found.push(Rank::Poor, "IART", "only here");
        found.begin_layer(Rank::Main);
        found.push(Rank::Main, "TIT2", "main");
        assert_eq!(found.values(&["INAM", "TIT2"]), ["main"]);
        assert_eq!(found.values(&["IART", "TPE1"]), ["only here"]);
    }

    #[test]
    fn picture_type_comes_from_its_bytes_and_else_from_its_declaration() {
        assert_eq!(picture_kind(b"\x89PNG\r\n", b"image/jpeg"), Some(ArtKind::Png));
        assert_eq!(picture_kind(b"GIF89a", b"image/png"), None);
        assert_eq!(picture_kind(b"", b"image/JPEG"), Some(ArtKind::Jpeg));
    }
}
