//! An open file while its origin changes: never two versions in one read.
//!
//! A file of a local origin behaves as the plain file does: replaced by a rename, the old handle keeps the old bytes;
//! edited in place, every handle sees the edit. The plain file is opened beside it and is the definition of right.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

const SHOWN: &str = "Artist/Album (2020)/01 - One.flac";

fn version(salt: u64, audio_len: usize) -> Vec<u8> {
    Track { audio_len, ..Track::new("Artist", "Album", 1, "One").salted(salt) }.flac()
}

fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; 4 << 20];
    let mut len = 0;
    loop {
        match file.read_at(&mut bytes[len..], len as u64).unwrap() {
            0 => break,
            more => len += more,
        }
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn handles_before_and_after_a_replacement_each_see_their_own_version() {
    for (old_len, new_len) in [(1_000_000, 1_000_000), (1_000_000, 300_000), (300_000, 1_000_000)] {
        let home = Sandbox::new();
        let (old, new) = (version(1, old_len), version(2, new_len));
        home.put("one.flac", &old);
        let daemon = home.start();
        let before = File::open(home.shown(SHOWN)).unwrap();
        assert_eq!(fs::read(home.shown(SHOWN)).unwrap(), old);
        home.replace("one.flac", &new);
        daemon.idle();
        let after = File::open(home.shown(SHOWN)).unwrap();
        for _ in 0..2 {
            assert!(whole(&before) == old, "the handle from before shows other bytes");
            assert!(whole(&after) == new, "the handle from after shows other bytes");
        }
        assert_eq!(fs::metadata(home.shown(SHOWN)).unwrap().len(), new.len() as u64);
        daemon.stop();
    }
}

#[test]
fn handles_over_many_replacements_each_keep_their_version() {
    let home = Sandbox::new();
    let versions: Vec<Vec<u8>> = (0..8).map(|salt| version(salt, 100_000 + 7_000 * salt as usize)).collect();
    home.put("one.flac", &versions[0]);
    let daemon = home.start();
    let mut handles = vec![File::open(home.shown(SHOWN)).unwrap()];
    for bytes in &versions[1..] {
        home.replace("one.flac", bytes);
        daemon.idle();
        handles.push(File::open(home.shown(SHOWN)).unwrap());
    }
    for (handle, bytes) in handles.iter().zip(&versions) {
        assert!(whole(handle) == *bytes, "a handle shows another version");
    }
    daemon.stop();
}

#[test]
fn edit_in_place_shows_as_it_does_in_the_plain_folder() {
    let home = Sandbox::new();
    let plain = home.put("one.flac", &version(1, 200_000));
    let daemon = home.start();
    let (reference, open) = (File::open(&plain).unwrap(), File::open(home.shown(SHOWN)).unwrap());
    assert!(whole(&open) == whole(&reference));
    let writer = File::options().write(true).open(&plain).unwrap();
    writer.write_all_at(b"edited in place", 100_000).unwrap();
    assert!(whole(&open) == whole(&reference), "the edit does not show at once");
    writer.set_len(60_000).unwrap();
    assert!(whole(&open) == whole(&reference), "the cut does not show");
    daemon.idle();
    assert!(fs::read(home.shown(SHOWN)).unwrap() == fs::read(&plain).unwrap());
    assert_eq!(fs::metadata(home.shown(SHOWN)).unwrap().len(), 60_000);
    daemon.stop();
}

#[test]
fn open_file_survives_its_deletion() {
    let home = Sandbox::new();
    let bytes = version(1, 500_000);
    home.put("one.flac", &bytes);
    let daemon = home.start();
    let open = File::open(home.shown(SHOWN)).unwrap();
    fs::remove_file(home.origin().join("one.flac")).unwrap();
    daemon.idle();
    assert!(!home.shown(SHOWN).exists());
    assert!(whole(&open) == bytes);
    daemon.stop();
}

#[test]
fn reads_at_any_offset_and_length_agree_with_the_plain_file() {
    let home = Sandbox::new();
    let bytes = version(1, 700_001);
    home.put("one.flac", &bytes);
    let daemon = home.start();
    let open = File::open(home.shown(SHOWN)).unwrap();
    let mut random = crate::support::random::Random::new(11);
    for _ in 0..500 {
        let offset = random.below(bytes.len() + 5000);
        let mut buffer = vec![0; 1 + random.below(200_000)];
        let len = open.read_at(&mut buffer, offset as u64).unwrap();
        let end = bytes.len().min(offset + buffer.len());
        assert_eq!(len, end.saturating_sub(offset), "at {offset} of {}", bytes.len());
        assert!(buffer[..len] == bytes[offset.min(end)..end], "at {offset}");
    }
    daemon.stop();
}

#[test]
fn hundred_readers_at_once_all_see_the_bytes() {
    let home = Sandbox::new();
    let bytes = std::sync::Arc::new(version(1, 300_000));
    home.put("one.flac", &bytes);
    let daemon = home.start();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let (path, bytes) = (home.shown(SHOWN), std::sync::Arc::clone(&bytes));
            std::thread::spawn(move || assert!(fs::read(path).unwrap() == *bytes))
        })
        .collect();
    for reader in readers {
        reader.join().unwrap();
    }
    daemon.stop();
}

#[test]
fn two_thousand_handles_can_be_open_at_once() {
    let home = Sandbox::new();
    home.put("one.flac", &version(1, 3000));
    let daemon = home.start();
    // As many as this process may have, which is no promise of the daemon's.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let num_handles = limit.current.unwrap_or(4096).saturating_sub(200).min(2000) as usize;
    let handles: Vec<File> = (0..num_handles).map(|_| File::open(home.shown(SHOWN)).unwrap()).collect();
    let mut first = [0; 4];
    for handle in &handles {
        handle.read_exact_at(&mut first, 0).unwrap();
        assert_eq!(&first, b"fLaC");
    }
    daemon.stop();
}
