//! Covers made from embedded pictures, read through a real mount.
//!
//! Raw, decoded and undecodable pictures; the stored bytes are a file of the test's own.
//! What a picture looks like inside a container is tested with the tag readers, not here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use musicfs_pure::tags::{ArtEncoding, ArtKind, ArtLocation};

use super::{Library, Wishes, pattern};

const OFFSET: usize = 1000;
const LEN: usize = 300_000;

fn location(encoding: ArtEncoding) -> ArtLocation {
    let (offset, len) = (OFFSET as u64, LEN as u64);
    ArtLocation { kind: ArtKind::Jpeg, len, offset, stored_len: len, encoding }
}

/// A library with `a.flac`, and `cover.jpg` in it.
fn with_cover(encoding: ArtEncoding, decode_art: super::super::ArtDecoder) -> Option<(Library, Vec<u8>)> {
    let library = Library::with(Wishes { decode_art, ..Wishes::default() })?;
    let bytes = pattern(OFFSET + LEN + 50, 1);
    library.add_file("a.flac", &bytes);
    library.catalog.add_art(b"cover.jpg", b"a.flac", location(encoding));
    Some((library, bytes))
}

#[test]
fn picture_that_lies_in_the_file_is_exactly_its_range() {
    let Some((library, bytes)) = with_cover(ArtEncoding::Raw, |_, _| None) else { return };
    for cold in [false, true] {
        library.reader.disk.cold.store(cold, Ordering::Relaxed);
        let cover = std::fs::read(library.path("cover.jpg")).expect("read");
        assert!(cover == bytes[OFFSET..OFFSET + LEN], "cold: {cold}");
    }
}

#[test]
fn picture_that_is_stored_otherwise_is_decoded_once() {
    static NUM_DECODED: AtomicU32 = AtomicU32::new(0);
    let decode = |_: &ArtLocation, stored: &[u8]| {
        NUM_DECODED.fetch_add(1, Ordering::Relaxed);
        Some(stored.iter().rev().copied().collect())
    };
    let Some((library, bytes)) = with_cover(ArtEncoding::Unsynchronised, decode) else { return };
    let expected: Vec<u8> = bytes[OFFSET..OFFSET + LEN].iter().rev().copied().collect();
    assert!(std::fs::read(library.path("cover.jpg")).expect("read") == expected);
    assert!(library.count("read", true) > 1);
    assert_eq!(NUM_DECODED.load(Ordering::Relaxed), 1);
}

#[test]
fn picture_that_cannot_be_decoded_is_an_error_that_is_remembered() {
    for decode in [(|_, _| None) as super::super::ArtDecoder, |_, _| Some(vec![1])] {
        let Some((library, _)) = with_cover(ArtEncoding::Unsynchronised, decode) else { return };
        let error = std::fs::read(library.path("cover.jpg")).expect_err("refused");
        assert!(error.to_string().contains("Input/output error"), "{error}");
        assert!(library.board.last_error("nas:a.flac").is_some());
    }
}

#[test]
fn picture_of_a_file_that_was_edited_is_stale_and_never_other_bytes() {
    let Some((library, _)) = with_cover(ArtEncoding::Raw, |_, _| None) else { return };
    let open = File::open(library.path("cover.jpg")).expect("opened");
    std::fs::write(library.origin_path("a.flac"), pattern(OFFSET + LEN, 2)).expect("edited");
    let mut buffer = [0; 16];
    assert_eq!(open.read_at(&mut buffer, 0).expect_err("stale").kind(), std::io::ErrorKind::StaleNetworkFileHandle);
    let error = File::open(library.path("cover.jpg")).expect_err("stale");
    assert_eq!(error.kind(), std::io::ErrorKind::StaleNetworkFileHandle);
}
