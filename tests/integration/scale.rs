//! Many files, many readers, and changes in the middle of it.
//!
//! An entry that exists throughout a listing is listed exactly once, however the listing is read and whatever else comes and
//! goes; nothing is listed twice. Changes are made between two steps of a listing that stands in the middle, and have
//! arrived in the kernel before it goes on, so that every run meets them. Sizes are those of a large library divided by
//! ten; `MUSICFS_SCALE=10` is the full size.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::daemon::Daemon;
use crate::support::listing::{Listing, STYLES, assert_seeks};
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{files, names_in};

/// Rounds of changes.
const NUM_ROUNDS: usize = 6;
/// Files of each kind of change in one round.
const PER_ROUND: usize = 20;

/// What sizes are multiplied with.
fn scale() -> usize {
    std::env::var("MUSICFS_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Compares without printing ten thousand names.
#[track_caller]
fn assert_same(found: &BTreeSet<String>, expected: &BTreeSet<String>) {
    let differences: Vec<&String> = found.symmetric_difference(expected).take(5).collect();
    assert!(differences.is_empty(), "{} found, {} expected, among others {differences:?}", found.len(), expected.len());
}

/// A track of the one large album.
fn in_folder(number: usize, title: &str) -> Track {
    Track { audio_len: 100, ..Track::new("Artist", "Album", number as u32, &format!("{title} {number}")) }
}

fn shown_in_folder(number: usize, title: &str) -> String {
    format!("{number:02} - {title} {number}.flac")
}

/// One folder with many tracks; `origin(number)` is where each is.
struct Folder<'a> {
    home: &'a Sandbox,
    num_tracks: usize,
}

impl Folder<'_> {
    fn origin(number: usize) -> String {
        format!("x/{number}.flac")
    }

    /// The kinds of change that one round makes take turns over the numbers, all in the upper half of the listing.
    fn of_round(&self, round: usize, kind: usize) -> impl Iterator<Item = usize> + use<> {
        let first = self.num_tracks / 2 + (round * 4 + kind) * PER_ROUND;
        first..first + PER_ROUND
    }

    /// The files that come in one round.
    fn late(&self, round: usize) -> std::ops::Range<usize> {
        let first = self.num_tracks + 1 + round * PER_ROUND;
        first..first + PER_ROUND
    }

    /// Removes some, adds some, renames some at the origin, retags some and replaces some.
    fn change(&self, round: usize) {
        let at = |number| self.home.origin().join(Self::origin(number));
        for number in self.of_round(round, 0) {
            fs::remove_file(at(number)).unwrap();
        }
        for number in self.of_round(round, 1) {
            fs::rename(at(number), self.home.origin().join(format!("x/renamed {number}.flac"))).unwrap();
        }
        for number in self.of_round(round, 2) {
            self.home.replace(&Self::origin(number), &in_folder(number, "Retagged").flac());
        }
        for number in self.of_round(round, 3) {
            self.home.replace(&Self::origin(number), &in_folder(number, "Title").salted(9).flac());
        }
        for number in self.late(round) {
            self.home.put(&Self::origin(number), &in_folder(number, "Late").flac());
        }
    }

    /// The names that are there from the beginning to the end.
    fn steady(&self) -> BTreeSet<String> {
        let goes = |kind| (0..NUM_ROUNDS).flat_map(move |round| self.of_round(round, kind));
        let unsteady: BTreeSet<usize> = goes(0).chain(goes(2)).collect();
        let steady = (1..=self.num_tracks).filter(|number| !unsteady.contains(number));
        steady.map(|number| shown_in_folder(number, "Title")).collect()
    }

    /// What is there in the end.
    fn final_names(&self) -> BTreeSet<String> {
        let retagged = (0..NUM_ROUNDS).flat_map(|round| self.of_round(round, 2));
        let late = (0..NUM_ROUNDS).flat_map(|round| self.late(round));
        let mut names = self.steady();
        names.extend(retagged.map(|number| shown_in_folder(number, "Retagged")));
        names.extend(late.map(|number| shown_in_folder(number, "Late")));
        names
    }
}

/// One file keeps its entry under a new name: a listing may meet it under either, never under both.
fn assert_listed_once(names: &[String], steady: &BTreeSet<String>, what: &str) {
    let mut files = BTreeSet::new();
    for name in names {
        let number = name.split(' ').next().unwrap().to_owned();
        assert!(files.insert(number), "{what}: {name} or what it was before is listed twice");
    }
    let listed: BTreeSet<&String> = names.iter().collect();
    let missing: Vec<&String> = steady.iter().filter(|name| !listed.contains(name)).take(5).collect();
    assert!(missing.is_empty(), "{what}: {} listed, missing are {missing:?}", names.len());
}

#[test]
fn folder_of_thousands_is_listed_whole_while_it_changes() {
    let home = Sandbox::new();
    let folder = Folder { home: &home, num_tracks: 10_000 * scale() };
    for number in 1..=folder.num_tracks {
        home.put(&Folder::origin(number), &in_folder(number, "Title").flac());
    }
    let daemon = home.start();
    let shown = home.shown("Artist/Album (2020)");
    assert_seeks(&shown).unwrap();
    let steady = folder.steady();
    // of each style one that is read in small pieces and one in large ones, and each stands somewhere else
    let mut listings = Vec::new();
    for (index, style) in STYLES.into_iter().enumerate() {
        for buffer_len in [1 << 10, 64 << 10] {
            let mut listing = Listing::open(&shown, style, buffer_len).unwrap();
            listing.step(folder.num_tracks / 2 / (index + 1)).unwrap();
            listings.push((format!("{style:?} in pieces of {buffer_len}"), listing));
        }
    }
    for round in 0..NUM_ROUNDS {
        folder.change(round);
        daemon.idle();
        for (_, listing) in &mut listings {
            listing.step(PER_ROUND * 2).unwrap();
        }
    }
    assert!(listings.iter().any(|(_, listing)| !listing.has_ended), "changes came in the middle");
    for (what, listing) in listings {
        assert_listed_once(&listing.finish().unwrap(), &steady, &what);
    }
    assert_same(&names_in(&shown).into_iter().collect(), &folder.final_names());
    assert_seeks(&shown).unwrap();
    daemon.stop();
}

const TRACKS_PER_ALBUM: usize = 10;

/// Albums of ten tracks, ten of them to an artist.
fn album_track(album: usize, number: usize, version: &str) -> Track {
    let artist = format!("Artist {}", album / 10);
    Track { audio_len: 400, ..Track::new(&artist, &format!("Album {album}{version}"), number as u32, "Title") }
        .salted((album * 100 + number) as u64)
}

fn album_origin(album: usize, number: usize) -> String {
    format!("{}/{album}/{number}.flac", album / 100)
}

fn shown_album(album: usize, number: usize, version: &str) -> String {
    format!("Artist {}/Album {album}{version} (2020)/{number:02} - Title.flac", album / 10)
}

fn albums(home: &Sandbox, num_albums: usize) {
    for album in 0..num_albums {
        for number in 1..=TRACKS_PER_ALBUM {
            home.put(&album_origin(album, number), &album_track(album, number, "").flac());
        }
    }
}

/// Every file below a folder as a program without any knowledge finds it, a name for each time that it was listed.
fn walk(root: &Path, names: &mut Vec<String>) {
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        // what vanishes between its listing and this is no failure
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let Ok(entry) = entry else { break };
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => pending.push(entry.path()),
                Ok(_) => names.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned()),
                Err(_) => {}
            }
        }
    }
}

/// Walks again and again until it is told to end; every walk shows the steady files once.
fn walk_until(root: &Path, end: &AtomicBool, num_walks: &AtomicUsize, steady: &BTreeSet<String>) {
    loop {
        let is_last = end.load(Ordering::Acquire);
        let mut names = Vec::new();
        walk(root, &mut names);
        let mut times: BTreeMap<&String, usize> = BTreeMap::new();
        for name in &names {
            *times.entry(name).or_default() += 1;
        }
        for name in steady {
            assert_eq!(times.get(name), Some(&1), "{name} in a walk of {} files", names.len());
        }
        num_walks.fetch_add(1, Ordering::AcqRel);
        if is_last {
            return;
        }
    }
}

/// One round: albums are removed, renamed at the origin, retagged into other folders, and new ones come.
fn change_albums(home: &Sandbox, round: usize, num_albums: usize) {
    let first = round * 6;
    fs::remove_dir_all(home.origin().join(format!("0/{first}"))).unwrap();
    fs::rename(home.origin().join(format!("0/{}", first + 1)), home.origin().join(format!("moved {round}"))).unwrap();
    for number in 1..=TRACKS_PER_ALBUM {
        home.replace(&album_origin(first + 2, number), &album_track(first + 2, number, " anew").flac());
        let late = num_albums + round;
        home.put(&album_origin(late, number), &album_track(late, number, "").flac());
    }
}

#[test]
fn thousand_albums_are_walked_whole_by_several_while_they_change() {
    let home = Sandbox::new();
    let num_albums = 1000 * scale();
    albums(&home, num_albums);
    let daemon = home.start();
    assert_eq!(files(&home.mnt()).len(), num_albums * TRACKS_PER_ALBUM);
    let tracks = |albums: &mut dyn Iterator<Item = usize>, version: &str| -> BTreeSet<String> {
        let tracks = |album| (1..=TRACKS_PER_ALBUM).map(move |number| (album, number));
        albums.flat_map(tracks).map(|(album, number)| shown_album(album, number, version)).collect()
    };
    let steady = tracks(&mut (NUM_ROUNDS * 6..num_albums), "");
    let mnt = home.mnt();
    let (end, num_walks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let walkers: Vec<_> = (0..3).map(|_| scope.spawn(|| walk_until(&mnt, &end, &num_walks, &steady))).collect();
        for round in 0..NUM_ROUNDS {
            change_albums(&home, round, num_albums);
            daemon.idle();
        }
        end.store(true, Ordering::Release);
        for walker in walkers {
            walker.join().unwrap();
        }
    });
    assert!(num_walks.load(Ordering::Acquire) >= 3);
    let mut expected = steady;
    let of_rounds = |offset: usize| (0..NUM_ROUNDS).map(move |round| round * 6 + offset);
    expected.extend(tracks(&mut (1..6).filter(|offset| *offset != 2).flat_map(of_rounds), ""));
    expected.extend(tracks(&mut of_rounds(2), " anew"));
    expected.extend(tracks(&mut (num_albums..num_albums + NUM_ROUNDS), ""));
    assert_same(&files(&home.mnt()), &expected);
    daemon.stop();
}

#[test]
fn thousand_open_files_and_a_hundred_readers_all_see_their_own_bytes() {
    let home = Sandbox::new();
    albums(&home, 100);
    let daemon = home.start();
    let all: Vec<(usize, usize)> = (0..100).flat_map(|album| (1..=TRACKS_PER_ALBUM).map(move |n| (album, n))).collect();
    let plain = |(album, number)| album_track(album, number, "").flac();
    let open: Vec<fs::File> =
        all.iter().map(|(album, n)| fs::File::open(home.shown(&shown_album(*album, *n, ""))).unwrap()).collect();
    assert_eq!(open.len(), 1000);
    let open = Arc::new(open);
    std::thread::scope(|scope| {
        for reader in 0..100 {
            let (open, all) = (Arc::clone(&open), &all);
            scope.spawn(move || {
                let mut random = Random::new(reader);
                for _ in 0..50 {
                    let chosen = random.below(all.len());
                    let bytes = plain(all[chosen]);
                    let offset = random.below(bytes.len() + 100);
                    let mut buffer = vec![0; 1 + random.below(3000)];
                    let len = open[chosen].read_at(&mut buffer, offset as u64).unwrap();
                    let expected = &bytes[offset.min(bytes.len())..bytes.len().min(offset + buffer.len())];
                    assert!(buffer[..len] == *expected, "{:?} at {offset}", all[chosen]);
                }
            });
        }
    });
    // each handle is one open file of the daemon, and none outlives its reader
    assert_eq!(open_files_of(&daemon, &home), 1000);
    drop(open);
    crate::support::eventually("the daemon closes what its readers closed", || open_files_of(&daemon, &home) == 0);
    assert!(sum(&daemon.metrics(), "musicfs_fuse_requests_total", &[("op", "read")]) >= 5000);
    daemon.stop();
}

/// Files of the origin that the daemon has open.
fn open_files_of(daemon: &Daemon<'_>, home: &Sandbox) -> usize {
    let folder = format!("/proc/{}/fd", daemon.pid().as_raw_nonzero());
    let links = fs::read_dir(folder).unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|target| target.starts_with(home.origin()) && target.extension().is_some()).count()
}
