//! Who gets which name, and what goes beside the tracks: the named cases of requirements V4 and V6.
//!
//! What the random histories found is kept here, too, as a case of its own. The template has no extension, so that tracks
//! can want the names of folders, sidecars and covers.

use musicfs_protocol::change::{Change, TagOutcome};
use musicfs_protocol::library::Revision;
use musicfs_pure::tags::{ArtKind, ArtLocation};

use super::{Fixture, TEMPLATE, art, config, file_stat, moved, other, path, put, read, removed, tags, track, with_art};
use crate::catalog::RawView;

#[test]
fn files_that_want_one_name_are_numbered_by_their_ids_and_move_up() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T"), track("2.mp3", 2, "A", "", "T")]);
    fixture.apply(vec![track("3.mp3", 3, "A", "", "T")]);
    assert_eq!(fixture.paths(), ["A/T", "A/T (2)", "A/T (3)"]);
    let (second, third) = (fixture.ino_at("A/T (2)"), fixture.ino_at("A/T (3)"));
    fixture.apply(vec![removed("1.mp3")]);
    assert_eq!(fixture.paths(), ["A/T", "A/T (2)"]);
    assert_eq!((fixture.ino_at("A/T"), fixture.ino_at("A/T (2)")), (second, third));
    fixture.check();
}

#[test]
fn number_that_another_file_wants_for_itself_is_skipped_and_filled_again() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T"), track("2.mp3", 2, "A", "", "T")]);
    fixture.apply(vec![track("3.mp3", 3, "A", "", "T (2)")]);
    assert_eq!(fixture.paths(), ["A/T", "A/T (2)", "A/T (3)"]);
    assert_eq!(fixture.reader.source(fixture.ino_at("A/T (2)")).unwrap().unwrap().path, path("3.mp3"));
    fixture.apply(vec![removed("3.mp3")]);
    assert_eq!(fixture.paths(), ["A/T", "A/T (2)"]);
    fixture.check();
}

#[test]
fn folder_has_its_name_before_a_track_has_it() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "X")]);
    fixture.apply(vec![track("2.mp3", 2, "A", "X", "T")]);
    assert_eq!(fixture.paths(), ["A/X (2)", "A/X/T"]);
    fixture.apply(vec![removed("2.mp3")]);
    assert_eq!(fixture.paths(), ["A/X"]);
    fixture.check();
}

#[test]
fn emptied_folders_go_and_their_inode_numbers_with_them() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "X", "T")]);
    let before = fixture.ino_at("A");
    let file = fixture.ino_at("A/X/T");
    fixture.apply(vec![track("1.mp3", 2, "B", "", "T")]);
    assert!(!fixture.library().contains_key("A"));
    assert_eq!(fixture.ino_at("B/T"), file, "a retag keeps the inode number");
    fixture.apply(vec![track("1.mp3", 3, "A", "X", "T")]);
    assert_ne!(fixture.ino_at("A"), before, "a number is never given twice");
}

#[test]
fn folder_mtime_moves_with_its_membership_only() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let mtime = |fixture: &Fixture| fixture.library()["A"].attr.mtime;
    let first = mtime(&fixture);
    fixture.apply(vec![track("1.mp3", 2, "A", "", "T")]);
    assert_eq!(mtime(&fixture), first, "a new version is no change of the folder");
    fixture.apply(vec![track("2.mp3", 3, "A", "", "X")]);
    let second = mtime(&fixture);
    assert!(second > first);
    fixture.apply(vec![track("3.mp3", 4, "B", "", "X")]);
    let fixture = fixture.reopened();
    assert_eq!(mtime(&fixture), second, "it is persistent");
}

#[test]
fn sidecars_go_with_every_album_of_their_source_folder() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![
        track("a/1.mp3", 1, "A", "X", "T"),
        track("a/2.mp3", 2, "B", "X", "T"),
        track("b/1.mp3", 3, "B", "X", "Y"),
        other("a/cover.jpg", 4),
        other("b/cover.jpg", 5),
        other("a/x.lrc", 6),
        other("a/notes.txt", 7),
    ]);
    assert_eq!(
        fixture.paths(),
        ["A/X/T", "A/X/cover.jpg", "A/X/x.lrc", "B/X/T", "B/X/Y", "B/X/cover.jpg", "B/X/x.lrc"]
    );
    let source = fixture.reader.source(fixture.ino_at("B/X/cover.jpg")).unwrap().unwrap();
    assert_eq!(source.path, path("a/cover.jpg"), "the lowest file id is shown");
    fixture.apply(vec![removed("a/2.mp3")]);
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/cover.jpg", "A/X/x.lrc", "B/X/Y", "B/X/cover.jpg"]);
    let source = fixture.reader.source(fixture.ino_at("B/X/cover.jpg")).unwrap().unwrap();
    assert_eq!(source.path, path("b/cover.jpg"));
    fixture.check();
}

#[test]
fn embedded_art_becomes_a_cover_where_the_album_has_none() {
    let mut fixture = Fixture::new();
    let embedded = |len| with_art(tags("A", "X", "T"), len);
    fixture.apply(vec![put("a/1.mp3", 1, read(embedded(50)))]);
    let made = fixture.library()["A/X/cover.jpg"].clone();
    assert_eq!((made.attr.size, made.attr.mode), (50, 0o444));
    let source = made.source.unwrap();
    assert_eq!((source.art, source.path), (Some(art(50)), path("a/1.mp3")));
    fixture.apply(vec![other("a/folder.png", 2)]);
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/folder.png"]);
    fixture.apply(vec![removed("a/folder.png")]);
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/cover.jpg"]);
    fixture.apply(vec![put("a/1.mp3", 3, read(tags("A", "X", "T")))]);
    assert_eq!(fixture.paths(), ["A/X/T"]);
    fixture.check();
}

#[test]
fn made_cover_of_a_changed_picture_keeps_its_inode_number_and_gets_a_revision() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![put("1.mp3", 1, read(with_art(tags("A", "", "T"), 50)))]);
    let before = fixture.library()["A/cover.jpg"].attr.clone();
    assert_eq!(before.revision, Revision(0));
    let png = ArtLocation { kind: ArtKind::Png, ..art(60) };
    let tagged = musicfs_pure::tags::TrackTags { art: Some(png), ..tags("A", "", "T") };
    fixture.apply(vec![put("1.mp3", 2, read(tagged))]);
    let after = fixture.library()["A/cover.png"].attr.clone();
    assert_eq!((after.ino, after.revision, after.size), (before.ino, Revision(1), 60));
    assert!(!fixture.library().contains_key("A/cover.jpg"));
    fixture.check();
}

#[test]
fn track_that_wants_the_name_of_a_cover_has_it() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![put("1.mp3", 1, read(with_art(tags("A", "", "T"), 50))), other("x.lrc", 2)]);
    fixture.apply(vec![track("2.mp3", 3, "A", "", "cover.jpg"), track("3.mp3", 4, "A", "", "x.lrc")]);
    let library = fixture.library();
    assert_eq!(library["A/cover.jpg"].source.as_ref().unwrap().path, path("2.mp3"));
    assert_eq!(library["A/x.lrc"].source.as_ref().unwrap().path, path("3.mp3"));
    fixture.apply(vec![removed("2.mp3"), removed("3.mp3")]);
    let library = fixture.library();
    assert!(library["A/cover.jpg"].source.as_ref().unwrap().art.is_some());
    assert_eq!(library["A/x.lrc"].source.as_ref().unwrap().path, path("x.lrc"));
    fixture.check();
}

#[test]
fn malformed_audio_is_listed_under_its_name_and_unread_audio_not_yet() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![put("bad.mp3", 1, TagOutcome::Malformed), put("later.mp3", 2, TagOutcome::Unread)]);
    assert_eq!(fixture.paths(), ["Unknown Artist/bad"]);
    assert_eq!(fixture.raw("o").len(), 2);
    assert!(fixture.reader.describe(fixture.ino_at("Unknown Artist/bad")).unwrap().unwrap().malformed);
    fixture.apply(vec![track("later.mp3", 2, "A", "", "T")]);
    assert_eq!(fixture.paths(), ["A/T", "Unknown Artist/bad"]);
    fixture.apply(vec![put("later.mp3", 3, TagOutcome::Unread)]);
    assert_eq!(fixture.paths(), ["A/T", "Unknown Artist/bad"], "what was known stays");
    fixture.check();
}

#[test]
fn renamed_file_keeps_its_numbers_and_follows_the_template() {
    let mut fixture = Fixture::with(config("${artist}/${filename}", RawView::Hidden, &[("o", "1")]));
    fixture.apply(vec![track("a/1.mp3", 1, "A", "", "T"), other("a/x.lrc", 2)]);
    let (track_ino, raw_ino) = (fixture.ino_at("A/1"), fixture.raw("o")["a/1.mp3"].attr.ino);
    let file = fixture.file_at("a/1.mp3");
    let applied = fixture.apply(vec![moved("b/2.mp3", 1, file)]);
    assert_eq!(applied.moved, 1);
    assert_eq!(fixture.paths(), ["A/2"], "the sidecar stays with its source folder");
    assert_eq!((fixture.ino_at("A/2"), fixture.raw("o")["b/2.mp3"].attr.ino), (track_ino, raw_ino));
    assert_eq!(fixture.library()["A/2"].attr.revision, Revision(0), "the content is the same");
    fixture.check();
}

#[test]
fn files_that_swap_their_paths_swap_their_ids() {
    let mut fixture = Fixture::with(config(TEMPLATE, RawView::Hidden, &[("o", "1")]));
    fixture.apply(vec![track("1.mp3", 1, "A", "", "X"), track("2.mp3", 2, "A", "", "Y")]);
    let (first, second) = (fixture.file_at("1.mp3"), fixture.file_at("2.mp3"));
    fixture.apply(vec![moved("1.mp3", 2, second), moved("2.mp3", 1, first)]);
    assert_eq!((fixture.file_at("1.mp3"), fixture.file_at("2.mp3")), (second, first));
    assert_eq!(fixture.paths(), ["A/X", "A/Y"]);
    fixture.check();
}

#[test]
fn changed_content_gets_a_revision_and_changed_permissions_do_not() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let looks = |fixture: &Fixture| {
        let attr = fixture.library()["A/T"].attr.clone();
        (attr.revision, attr.mode)
    };
    let mut stat = file_stat(1);
    stat.mode = 0o600;
    fixture.apply(vec![Change::File { path: path("1.mp3"), stat, keeps: None, tags: TagOutcome::Keep }]);
    assert_eq!(looks(&fixture), (Revision(0), 0o400));
    fixture.apply(vec![put("1.mp3", 2, TagOutcome::Keep)]);
    assert_eq!(looks(&fixture), (Revision(1), 0o444));
    assert_eq!(fixture.raw("o")["1.mp3"].attr.revision, Revision(1));
    let fixture = fixture.reopened();
    assert_eq!(looks(&fixture), (Revision(0), 0o444), "a new daemon starts with what is there");
}

/// Found by the random histories: the sidecars that leave with a folder's last track had the names of their stored rows,
/// and the track itself was stored under its old one.
#[test]
fn last_track_that_is_renamed_to_a_sidecar_leaves_nothing_behind() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("2.mp3", 1, "A", "", "T")]);
    let file = fixture.file_at("2.mp3");
    fixture.apply(vec![moved("folder.png", 1, file)]);
    assert!(fixture.library().is_empty());
    fixture.check();
    fixture.apply(vec![track("1.mp3", 2, "A", "", "T")]);
    assert_eq!(fixture.paths(), ["A/T", "A/folder.png"]);
    fixture.apply(vec![moved("3.mp3", 1, file)]);
    assert_eq!(fixture.paths(), ["A/T"], "its tags are still to be read");
    fixture.check();
}

/// A catalog whose folders are merged.
fn merged() -> Fixture {
    let mut config = config(TEMPLATE, RawView::Hidden, &[("o", "1"), ("p", "1")]);
    config.layout.case_insensitive = true;
    Fixture::with(config)
}

#[test]
fn folders_that_differ_in_case_only_are_one_in_the_spelling_of_the_lowest_file_id() {
    let mut fixture = merged();
    fixture.apply(vec![track("1.mp3", 1, "AC/DC", "Live", "T"), track("2.mp3", 2, "Ac/Dc", "LIVE", "Y")]);
    fixture.apply(vec![track("3.mp3", 3, "ac/dc", "Live", "t")]);
    assert_eq!(fixture.paths(), ["AC_DC/Live/T", "AC_DC/Live/Y", "AC_DC/Live/t"], "files stay two");
    let folders = [fixture.ino_at("AC_DC"), fixture.ino_at("AC_DC/Live")];
    fixture.apply(vec![removed("1.mp3")]);
    assert_eq!(fixture.paths(), ["Ac_Dc/LIVE/Y", "Ac_Dc/LIVE/t"]);
    assert_eq!([fixture.ino_at("Ac_Dc"), fixture.ino_at("Ac_Dc/LIVE")], folders, "a folder that is spelled anew stays");
    fixture.apply(vec![track("1.mp3", 1, "AC/DC", "Live", "T")]);
    assert_eq!(fixture.paths(), ["AC_DC/Live/T", "AC_DC/Live/Y", "AC_DC/Live/t"], "a returning file has its old id");
    fixture.check();
}

#[test]
fn folder_that_is_spelled_anew_has_its_name_before_a_track_has_it() {
    let mut fixture = merged();
    fixture.apply(vec![
        track("1.mp3", 1, "A", "X", "T"),
        track("2.mp3", 2, "A", "x", "Y"),
        track("3.mp3", 3, "A", "", "x"),
    ]);
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/Y", "A/x"]);
    fixture.apply(vec![removed("1.mp3")]);
    assert_eq!(fixture.paths(), ["A/x (2)", "A/x/Y"]);
    fixture.check();
}

#[test]
fn sidecars_and_covers_of_merged_folders_stand_together() {
    let mut fixture = merged();
    fixture.apply(vec![
        put("a/1.mp3", 1, read(with_art(tags("A", "X", "T"), 50))),
        track("b/2.mp3", 2, "a", "x", "Y"),
        other("b/x.lrc", 3),
    ]);
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/Y", "A/X/cover.jpg", "A/X/x.lrc"]);
    fixture.apply(vec![other("b/folder.png", 4)]);
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/Y", "A/X/folder.png", "A/X/x.lrc"]);
    fixture.check();
}

#[test]
fn changed_case_insensitive_places_the_library_anew() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![
        track("1.mp3", 1, "A", "X", "T"),
        track("2.mp3", 2, "a", "x", "Y"),
        track("3.mp3", 3, "a", "X", "Z"),
    ]);
    let exact = ["A/X/T", "a/X/Z", "a/x/Y"];
    assert_eq!(fixture.paths(), exact);
    let config = fixture.config.clone();
    let mut merging = config.clone();
    merging.layout.case_insensitive = true;
    let mut fixture = fixture.reopen(merging);
    fixture.maintain();
    assert_eq!(fixture.paths(), ["A/X/T", "A/X/Y", "A/X/Z"]);
    fixture.check();
    let mut fixture = fixture.reopen(config);
    fixture.maintain();
    assert_eq!(fixture.paths(), exact);
    fixture.check();
}
