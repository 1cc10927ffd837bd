//! Folders with many albums and many sidecars: what goes with what, and what it costs.
//!
//! The work is counted in rows that the database was told to write or delete, which is the same in every run.

use super::*;
use crate::catalog::keys;
use crate::storage::Family;

/// A catalog in which a folder is crowded beyond two albums and this many entries.
fn fixture(max_shown: u64) -> Fixture {
    let crowding = Crowding { max_albums: 2, max_shown };
    Fixture::with(CatalogConfig { crowding, ..config(TEMPLATE, RawView::Hidden, &[("o", "1")]) })
}

/// One track for each of these albums and one sidecar for each track, in one folder.
fn flat(albums: std::ops::Range<u64>) -> Vec<Change> {
    let pair = |number: u64| {
        let song = track(&format!("flat/{number}.mp3"), 2 * number, "A", &format!("X{number}"), "T");
        [song, other(&format!("flat/{number}.lrc"), 2 * number + 1)]
    };
    albums.flat_map(pair).collect()
}

#[test]
fn sidecars_of_a_crowded_folder_go_with_their_namesakes() {
    let mut fixture = fixture(8);
    fixture.apply(flat(0..2));
    fixture.apply(vec![other("flat/cover.jpg", 90)]);
    let all = ["A/X0/0.lrc", "A/X0/1.lrc", "A/X0/T", "A/X0/cover.jpg", "A/X1/0.lrc", "A/X1/1.lrc", "A/X1/T"];
    assert_eq!(fixture.paths(), [&all[..], &["A/X1/cover.jpg"]].concat(), "two albums share what they have");
    fixture.apply(flat(2..3));
    let own = ["A/X0/0.lrc", "A/X0/T", "A/X1/1.lrc", "A/X1/T", "A/X2/2.lrc", "A/X2/T"];
    assert_eq!(fixture.paths(), own, "with three albums and four sidecars each goes with its namesake");
    fixture.check();
    fixture.apply(vec![moved("flat/9.mp3", 2, fixture.file_at("flat/1.mp3"))]);
    assert_eq!(fixture.paths(), ["A/X0/0.lrc", "A/X0/T", "A/X1/T", "A/X2/2.lrc", "A/X2/T"]);
    fixture.apply(vec![moved("flat/9.lrc", 3, fixture.file_at("flat/1.lrc"))]);
    assert_eq!(fixture.paths(), ["A/X0/0.lrc", "A/X0/T", "A/X1/9.lrc", "A/X1/T", "A/X2/2.lrc", "A/X2/T"]);
    fixture.check();
    fixture.apply(vec![removed("flat/2.mp3")]);
    let all = ["A/X0/0.lrc", "A/X0/2.lrc", "A/X0/9.lrc", "A/X0/T", "A/X0/cover.jpg"];
    assert_eq!(fixture.paths()[..5], all, "the folder is not crowded any more");
    assert_eq!(fixture.paths().len(), 10);
    fixture.check();
}

#[test]
fn sidecar_of_a_crowded_folder_follows_a_track_that_is_retagged() {
    let mut fixture = fixture(8);
    fixture.apply(flat(0..4));
    assert!(fixture.paths().contains(&"A/X3/3.lrc".to_owned()));
    fixture.apply(vec![track("flat/3.mp3", 50, "B", "Y", "T")]);
    let paths = fixture.paths();
    assert!(paths.contains(&"B/Y/3.lrc".to_owned()) && !paths.iter().any(|path| path.starts_with("A/X3")), "{paths:?}");
    fixture.check();
}

/// Rows written for a flat folder with so many albums and as many sidecars, and for its removal.
fn work(num_albums: u64, max_shown: u64) -> u64 {
    let mut fixture = fixture(max_shown);
    let before = fixture.shared.storage.num_writes();
    for first in (0..num_albums).step_by(10) {
        fixture.apply(flat(first..first + 10));
    }
    fixture.check();
    fixture.apply(vec![removed("flat")]);
    assert_eq!(fixture.paths(), Vec::<String>::new());
    fixture.shared.storage.num_writes() - before
}

#[test]
fn flat_folder_of_many_albums_and_sidecars_costs_their_sum() {
    let (small, large) = (work(40, 64), work(80, 64));
    assert!(2 * large < 5 * small, "twice as many took {large} rows after {small}: that is no sum");
    let (small, large) = (work(40, u64::MAX), work(80, u64::MAX));
    assert!(
        large > 3 * small,
        "a rule that is off costs the product, {large} after {small}: what is counted is the work"
    );
}

#[test]
fn spread_of_a_catalog_from_before_the_rule_is_found_and_brought_up_to_date() {
    let mut fixture = Fixture::new();
    fixture.apply(flat(0..2));
    let raw = fixture.raw("o")["flat"].attr.ino;
    let sidecar = fixture.file_at("flat/0.lrc");
    let old =
        [(Family::Sources, keys::crowd(raw), None), (Family::Sources, keys::sidecar(raw, sidecar), Some(Vec::new()))];
    let rows = old.iter().map(|(family, key, value)| (*family, key.as_slice(), value.as_deref()));
    fixture.shared.storage.commit(rows, false).unwrap();
    fixture.apply(vec![removed("flat/1.mp3")]);
    assert_eq!(fixture.paths(), ["A/X0/0.lrc", "A/X0/1.lrc", "A/X0/T"]);
    fixture.check();
}
