//! Libraries of any size, made in seconds: a tree of small FLAC files that is laid out as the default template arranges it.
//!
//! Ten tracks to an album and ten albums to an artist, each file about 1 KB: a STREAMINFO, comments, and bytes that stand
//! for audio. The origin has the same names as the mount will show, so a walk of one is the baseline of a walk of the
//! other. A library that was made is kept beside a mark and used again: a million files take minutes to write.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::push_block;

/// Tracks of an album.
pub const TRACKS_PER_ALBUM: u64 = 10;
/// Albums of an artist.
const ALBUMS_PER_ARTIST: u64 = 10;

/// Bytes of a track: tags are different in each, and a million of them are still a gigabyte.
const TRACK_BYTES: usize = 1000;

/// What a track's tags say, and with it where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The artist.
    pub artist: String,
    /// The album, without its year.
    pub album: String,
    /// The year.
    pub year: u64,
    /// Its number on the album.
    pub number: u64,
    /// Its title.
    pub title: String,
}

impl Track {
    /// The track of this number in a library of albums.
    pub fn of_albums(index: u64) -> Self {
        let album = index / TRACKS_PER_ALBUM;
        Self {
            artist: format!("Artist {:05}", album / ALBUMS_PER_ARTIST),
            album: format!("Album {album:06}"),
            year: 1970 + album % 50,
            number: index % TRACKS_PER_ALBUM + 1,
            title: format!("Title {index:07}"),
        }
    }

    /// The track of this number in a folder that holds all of them.
    pub fn of_one_folder(index: u64) -> Self {
        let (artist, album) = ("Artist".to_owned(), "Album".to_owned());
        Self { artist, album, year: 2020, number: index % 90 + 10, title: format!("Title {index:07}") }
    }

    /// Where the default template puts it, and where it stands in the origin.
    pub fn path(&self) -> PathBuf {
        let folder = format!("{} ({})", self.album, self.year);
        PathBuf::from(&self.artist).join(folder).join(format!("{:02} - {}.flac", self.number, self.title))
    }

    /// Its bytes; `salt` makes the tags of two versions differ.
    pub fn flac(&self, salt: &str) -> Vec<u8> {
        let comments = [
            format!("TITLE={}", self.title),
            format!("ARTIST={}", self.artist),
            format!("ALBUM={}", self.album),
            format!("DATE={}", self.year),
            format!("TRACKNUMBER={}", self.number),
            format!("COMMENT={salt}"),
        ];
        let mut body = le_bytes("musicfs benches");
        body.extend_from_slice(&(comments.len() as u32).to_le_bytes());
        body.extend(comments.iter().flat_map(|comment| le_bytes(comment)));
        let mut file = b"fLaC".to_vec();
        push_block(&mut file, 0, &[0; 34]);
        push_block(&mut file, 0x80 | 4, &body);
        file.resize(file.len().max(TRACK_BYTES), 0x55);
        file
    }
}

fn le_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// Writes the tracks 0 to `num_tracks` below a folder, unless that was done before.
pub fn make(root: &Path, num_tracks: u64, track: fn(u64) -> Track) -> io::Result<()> {
    let mark = root.with_extension("made");
    if mark.exists() {
        return Ok(());
    }
    let mut last_folder = PathBuf::new();
    for index in 0..num_tracks {
        let track = track(index);
        let file = root.join(track.path());
        let folder = file.parent().unwrap_or(root);
        if folder != last_folder {
            fs::create_dir_all(folder)?;
            folder.clone_into(&mut last_folder);
        }
        fs::File::create(&file)?.write_all(&track.flac("first"))?;
    }
    fs::write(mark, num_tracks.to_string())
}
