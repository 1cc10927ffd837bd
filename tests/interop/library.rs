//! The library that the programs are pointed at: really encoded files, a cover, and two artists made to order.
//!
//! Every program gets the same one, so that what one of them misses can be compared with what the others saw.

use std::fs;

use crate::support::encode::{six_format_names, six_formats};
use crate::support::music::{Track, jpeg};
use crate::support::sandbox::Sandbox;

/// Tracks that a player must find.
pub(crate) const NUM_TRACKS: usize = 7 + 6;

/// A sandbox with the library in its origin.
pub(crate) fn library() -> Sandbox {
    let home = Sandbox::new();
    for (name, _) in six_format_names() {
        home.put(&format!("encoded/{name}"), &fs::read(six_formats().join(name)).unwrap());
    }
    for number in 1..=6 {
        let track = Track::new(&format!("Maker {}", number % 2), "Made", number, &format!("Piece {number}"));
        home.put(&format!("made/{number}.mp3"), &Track { audio_len: 40_000, ..track }.mp3());
    }
    home.put("made/cover.jpg", &jpeg(3, 5000));
    home
}
