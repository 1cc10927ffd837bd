//! What survives: restarts, removals, other configurations, other templates, damage.
//!
//! After each case `self_check` compares all tables. A kill is played by copying the files of the open database, which is
//! what the kernel would have kept of them.

use std::sync::Arc;

use musicfs_protocol::change::{Change, DeltaApplied, TagOutcome};
use musicfs_protocol::fetch::{MountedFolder, RootIdentity};
use musicfs_protocol::library::{CatalogError, OriginSummary, Revision};
use musicfs_pure::ids::Ino;

use super::{
    Fixture, TEMPLATE, at, config, file_stat, folder_stat, layout, moved, open_storage, origin, other, path, put, read,
    removed, tags, track, with_art,
};
use crate::catalog::{CatalogShared, RawView, Writer};
use crate::storage::Family;

/// A day, in seconds.
const DAY_SECS: i64 = 24 * 60 * 60;

#[test]
fn file_that_returns_unchanged_gets_its_old_numbers() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("a/1.mp3", 1, "A", "", "T")]);
    fixture.apply(vec![track("a/1.mp3", 2, "A", "", "T")]);
    let numbers =
        |fixture: &Fixture| (fixture.file_at("a/1.mp3"), fixture.ino_at("A/T"), fixture.raw("o")["a/1.mp3"].attr.ino);
    let before = numbers(&fixture);
    fixture.apply(vec![removed("a")]);
    assert_eq!(fixture.paths(), Vec::<String>::new());
    fixture.check();
    fixture.now += 29 * DAY_SECS;
    fixture.maintain();
    let applied = fixture.apply(vec![track("a/1.mp3", 2, "A", "", "T")]);
    assert_eq!(applied, DeltaApplied { added: 1, ..DeltaApplied::default() });
    assert_eq!(numbers(&fixture), before);
    assert_eq!(fixture.library()["A/T"].attr.revision, Revision(1), "its kernel nodes are the ones it had");
    fixture.check();
}

#[test]
fn file_that_returns_changed_or_too_late_is_new() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T"), track("2.mp3", 2, "A", "", "X")]);
    let (first, second) = (fixture.file_at("1.mp3"), fixture.file_at("2.mp3"));
    fixture.apply(vec![removed("1.mp3"), removed("2.mp3")]);
    fixture.apply(vec![track("1.mp3", 3, "A", "", "T")]);
    assert_ne!(fixture.file_at("1.mp3"), first);
    fixture.now += 31 * DAY_SECS;
    fixture.apply(vec![track("2.mp3", 2, "A", "", "X")]);
    assert_ne!(fixture.file_at("2.mp3"), second);
    fixture.check();
}

#[test]
fn old_tombstones_are_forgotten() {
    let mut fixture = Fixture::new();
    fixture.apply((0..600).map(|n| other(&format!("{n}.txt"), n)).collect());
    fixture.apply((0..600).map(|n| removed(&format!("{n}.txt"))).collect());
    let version = file_stat(7).version;
    let lookalikes = |fixture: &Fixture| fixture.reader.lookalikes(&origin("o"), &version).unwrap();
    assert_eq!(lookalikes(&fixture).len(), 1);
    assert!(!lookalikes(&fixture)[0].live);
    fixture.now += 31 * DAY_SECS;
    fixture.writer.restart_expiry();
    fixture.maintain();
    assert_eq!(lookalikes(&fixture), []);
    fixture.check();
}

#[test]
fn removed_folder_takes_its_whole_subtree_in_batches() {
    let mut fixture = Fixture::new();
    let files = (0..700).map(|n| track(&format!("a/{}/{n}.mp3", n % 7), n, "A", "", &format!("T{n}")));
    fixture.apply(files.chain([track("b/1.mp3", 1000, "B", "", "T")]).collect());
    let mut delta = fixture.writer.begin(&origin("o"), vec![removed("a"), track("a", 1001, "B", "", "a")]).unwrap();
    let mut num_batches = 1;
    while !fixture.writer.advance(&mut delta, at(fixture.now)).unwrap() {
        num_batches += 1;
        fixture.check();
    }
    assert!(num_batches > 2, "{num_batches}");
    assert_eq!(delta.applied(), DeltaApplied { added: 1, removed: 700, ..DeltaApplied::default() });
    assert_eq!(fixture.paths(), ["B/T", "B/a"]);
    fixture.check();
}

#[test]
fn file_where_a_folder_was_and_the_reverse() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("a/b/1.mp3", 1, "A", "", "T")]);
    let applied = fixture.apply(vec![track("a", 2, "A", "", "X")]);
    assert_eq!(applied, DeltaApplied { added: 1, removed: 1, ..DeltaApplied::default() });
    assert_eq!(fixture.paths(), ["A/X"]);
    fixture.check();
    let applied = fixture.apply(vec![track("a/b/1.mp3", 3, "A", "", "T")]);
    assert_eq!(applied, DeltaApplied { added: 1, removed: 1, ..DeltaApplied::default() });
    assert_eq!(fixture.paths(), ["A/T"]);
    fixture.check();
}

#[test]
fn listing_that_completes_is_remembered_with_its_root() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reader.origin_summary(&origin("o")).unwrap(), OriginSummary::default());
    let root = RootIdentity { dev: 1, fs_type: 2, ino: 3 };
    let mounts = vec![MountedFolder { path: path("disk"), root: RootIdentity { dev: 4, ..root } }];
    fixture.apply(vec![other("1.txt", 1), Change::ListingComplete { root, mounts: mounts.clone() }]);
    let fixture = fixture.reopened();
    let summary = fixture.reader.origin_summary(&origin("o")).unwrap();
    let expected =
        OriginSummary { files: 1, listed_root: Some(root), listed_mounts: Some(mounts), ..Default::default() };
    assert_eq!(summary, expected);
}

#[test]
fn what_is_withheld_is_remembered_until_it_is_said_anew_and_goes_with_its_origin() {
    let mut fixture = Fixture::new();
    let withheld = |fixture: &Fixture| fixture.reader.origin_summary(&origin("o")).unwrap().withheld;
    let root = RootIdentity { dev: 1, fs_type: 2, ino: 3 };
    fixture.apply(vec![Change::Withheld { paths: vec![path("a"), path("b/c")] }]);
    let mut fixture = fixture.reopened();
    fixture.apply(vec![Change::ListingComplete { root, mounts: Vec::new() }]);
    assert_eq!(withheld(&fixture), [path("a"), path("b/c")], "the end of a listing says nothing of it");
    fixture.apply(vec![Change::Withheld { paths: vec![path("a")] }]);
    let mut fixture = fixture.reopen(config(TEMPLATE, RawView::Hidden, &[("o", "elsewhere"), ("p", "1")]));
    assert_eq!(withheld(&fixture), [], "another location is another origin");
    fixture.maintain();
    let mut num_guards = 0;
    fixture
        .shared
        .storage
        .scan(Family::Meta, b"guard", b"guard", &mut |_, _| {
            num_guards += 1;
            true
        })
        .unwrap();
    assert_eq!(num_guards, 0, "a purged origin leaves nothing");
}

#[test]
fn raw_folder_has_the_mtime_that_its_origin_says() {
    let mut fixture = Fixture::new();
    let folder = || Change::Folder { path: path("a"), stat: folder_stat(77) };
    fixture.apply(vec![folder(), other("a/1.txt", 1)]);
    assert_eq!(fixture.raw("o")["a"].attr.mtime, folder_stat(77).version.mtime);
    fixture.apply(vec![other("a/2.txt", 2)]);
    assert_eq!(fixture.raw("o")["a"].attr.mtime, folder_stat(77).version.mtime, "only the origin knows when that was");
    fixture.check();
}

#[test]
fn origin_that_is_no_longer_configured_is_purged_in_steps() {
    let mut fixture = Fixture::new();
    fixture.apply((0..600).map(|n| track(&format!("a/{n}.mp3"), n, "A", "", &format!("T{n}"))).collect());
    fixture.apply(vec![removed("a/0.mp3")]);
    fixture.apply_to("p", vec![track("1.mp3", 1, "B", "", "T")]);
    let mut fixture = fixture.reopen(config(TEMPLATE, RawView::Hidden, &[("p", "1")]));
    assert_eq!(fixture.reader.lookup(Ino::ORIGINS, b"o").unwrap(), None);
    let node = fixture.library()["A/T1"].clone();
    assert_eq!(node.source, None, "nobody can be asked for its bytes");
    fixture.maintain();
    assert_eq!(fixture.paths(), ["B/T"]);
    assert_eq!(fixture.writer.num_retired(), 0);
    assert_eq!(fixture.reader.library_summary().unwrap().files, 1);
    fixture.check();
}

#[test]
fn other_location_under_the_same_name_is_another_origin() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let before = (fixture.file_at("1.mp3"), fixture.ino_at("A/T"));
    let mut fixture = fixture.reopen(config(TEMPLATE, RawView::Hidden, &[("o", "2"), ("p", "1")]));
    assert_eq!(fixture.reader.origin_summary(&origin("o")).unwrap(), OriginSummary::default());
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    assert_eq!(fixture.paths(), ["A/T (2)"], "the old one is still to be purged");
    fixture.maintain();
    assert_eq!(fixture.paths(), ["A/T"]);
    let after = (fixture.file_at("1.mp3"), fixture.ino_at("A/T"));
    assert!(before.0 != after.0 && before.1 != after.1);
    fixture.check();
}

#[test]
fn changed_template_moves_every_track_and_keeps_its_numbers() {
    let mut fixture = Fixture::new();
    fixture.apply((0..600).map(|n| track(&format!("{n}.mp3"), n, "A", "X", &format!("T{n}"))).collect());
    let ino = fixture.ino_at("A/X/T7");
    let changed = config("${album}/${title}", RawView::Hidden, &[("o", "1"), ("p", "1")]);
    let mut fixture = fixture.reopen(changed.clone());
    assert!(fixture.writer.maintain(at(5)).unwrap());
    fixture.check();
    // a stop in the middle goes on where it was
    let mut fixture = fixture.reopen(changed);
    fixture.maintain();
    assert_eq!(fixture.ino_at("X/T7"), ino);
    assert!(!fixture.library().contains_key("A"));
    assert_eq!(fixture.paths().len(), 600);
    fixture.check();
}

#[test]
fn layout_that_is_set_while_it_runs_moves_every_track_and_keeps_its_numbers() {
    let mut fixture = Fixture::new();
    fixture.apply((0..600).map(|n| track(&format!("{n}.mp3"), n, "A", "X", &format!("T{n}"))).collect());
    let ino = fixture.ino_at("A/X/T7");
    fixture.touched();
    fixture.set_layout(layout("${album}/${title}", RawView::Hidden));
    assert_eq!(fixture.touched(), [], "nothing has moved yet");
    // what comes now is placed by the new template, before and between the steps
    fixture.apply(vec![track("new.mp3", 1000, "B", "Y", "New")]);
    assert!(fixture.writer.maintain(at(5)).unwrap());
    fixture.check();
    // a writer that takes over in the middle goes on where the last one was
    fixture.writer = Writer::new(Arc::clone(&fixture.shared));
    fixture.maintain();
    assert_eq!(fixture.ino_at("X/T7"), ino);
    assert_eq!(fixture.paths().len(), 601);
    assert!(fixture.paths().contains(&"Y/New".to_owned()) && !fixture.library().contains_key("A"));
    fixture.check();
    // the same layout once more places nothing anew
    fixture.set_layout(layout("${album}/${title}", RawView::Hidden));
    fixture.touched();
    fixture.maintain();
    assert_eq!(fixture.touched(), []);
}

#[test]
fn raw_view_that_is_set_while_it_runs_shows_and_hides_the_folder() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    fixture.touched();
    for (raw_view, is_found, is_listed) in
        [(RawView::Listed, true, true), (RawView::Off, false, false), (RawView::Hidden, true, false)]
    {
        fixture.set_layout(layout(TEMPLATE, raw_view));
        assert_eq!(fixture.reader.lookup(Ino::ROOT, b".origins").unwrap().is_some(), is_found, "{raw_view:?}");
        let names: Vec<String> = fixture.children(Ino::ROOT).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names.contains(&".origins".to_owned()), is_listed, "{raw_view:?}");
        assert_eq!(fixture.touched(), [(Ino::ROOT, (*b".origins").into())], "the kernel is told");
    }
    assert!(!fixture.writer.maintain(at(5)).unwrap(), "no track moves for it");
}

#[test]
fn error_in_the_middle_of_a_delta_leaves_whole_batches() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let key = super::super::keys::number(fixture.file_at("1.mp3").0);
    let row = fixture.shared.storage.read(Family::Files, &key, <[u8]>::to_vec).unwrap().unwrap();
    let store = |fixture: &Fixture, row: &[u8]| {
        fixture.shared.storage.commit(std::iter::once((Family::Files, &key[..], Some(row))), false).unwrap();
    };
    store(&fixture, b"\x01damaged");
    let damaged = CatalogError::Damaged { table: "files" };
    let changes = || vec![track("2.mp3", 2, "A", "", "X"), removed("1.mp3")];
    assert_eq!(fixture.writer.apply(&origin("o"), changes(), at(9)), Err(damaged.clone()));
    assert_eq!(fixture.reader.source(fixture.reader.lookup(Ino::ROOT, b"A").unwrap().unwrap().ino), Ok(None));
    let ino = fixture.children(fixture.reader.lookup(Ino::ROOT, b"A").unwrap().unwrap().ino)[0].0.ino;
    assert_eq!(fixture.reader.source(ino), Err(damaged));
    store(&fixture, &row);
    assert_eq!(fixture.paths(), ["A/T"]);
    fixture.check();
    fixture.apply(changes());
    assert_eq!(fixture.paths(), ["A/X"]);
}

#[test]
fn damaged_listing_row_is_an_error_and_no_panic() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let folder = fixture.ino_at("A");
    let key = super::super::keys::child(Ino::ROOT, folder);
    fixture.shared.storage.commit(std::iter::once((Family::Children, &key[..], Some(&b"?"[..]))), false).unwrap();
    let damaged = CatalogError::Damaged { table: "children" };
    assert_eq!(fixture.reader.read_dir(Ino::ROOT, Ino(0), &mut |_, _| true), Err(damaged.clone()));
    assert_eq!(fixture.reader.lookup(Ino::ROOT, b"A"), Err(damaged.clone()));
    assert_eq!(fixture.reader.attr(folder), Err(damaged));
}

#[test]
fn writer_that_replaces_another_goes_on_and_reuses_no_number() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let before = fixture.raw("o")["1.mp3"].attr.ino;
    // the old one is dropped as after a panic, in the middle of a batch
    let mut delta = fixture.writer.begin(&origin("o"), vec![track("2.mp3", 2, "A", "", "X")]).unwrap();
    fixture.writer = Writer::new(Arc::clone(&fixture.shared));
    fixture.writer.advance(&mut delta, at(7)).unwrap();
    assert!(fixture.raw("o")["2.mp3"].attr.ino > before);
    assert_eq!(fixture.paths(), ["A/T", "A/X"]);
    fixture.check();
}

#[test]
fn catalog_of_a_killed_daemon_is_whole_and_reuses_no_number() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T"), put("2.mp3", 2, read(with_art(tags("A", "", "X"), 9)))]);
    let tree = fixture.library();
    // what a kill -9 leaves behind: the files as they are while the database is open
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("catalog")).unwrap();
    for file in std::fs::read_dir(fixture.folder.path().join("catalog")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join("catalog").join(file.file_name())).unwrap();
    }
    let shared = CatalogShared::open(open_storage(copy.path()), fixture.config.clone()).unwrap();
    let (writer, reader) = (Writer::new(Arc::clone(&shared)), shared.reader());
    let config = fixture.config.clone();
    let mut after = Fixture { folder: copy, config, shared, writer, reader, now: 2_000_000 };
    assert_eq!(after.library(), tree);
    after.check();
    after.apply(vec![track("3.mp3", 3, "A", "", "Y")]);
    let highest = tree.values().map(|node| node.attr.ino).max().unwrap();
    assert!(after.ino_at("A/Y") > highest);
}

#[test]
fn lookalike_of_a_moved_file_is_its_old_self() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    let file = fixture.file_at("1.mp3");
    let lookalikes = |fixture: &Fixture| fixture.reader.lookalikes(&origin("o"), &file_stat(1).version).unwrap();
    assert_eq!(lookalikes(&fixture)[0].path, path("1.mp3"));
    fixture.apply(vec![removed("1.mp3")]);
    let found = lookalikes(&fixture);
    assert_eq!((found[0].file, &found[0].path, found[0].live), (file, &path("1.mp3"), false));
    fixture.apply(vec![moved("2.mp3", 1, file)]);
    assert_eq!(fixture.file_at("2.mp3"), file);
    assert_eq!(lookalikes(&fixture)[0].path, path("2.mp3"));
    fixture.check();
}

#[test]
fn tags_that_could_not_be_read_are_asked_for_again() {
    let mut fixture = Fixture::new();
    let known = |fixture: &Fixture| match fixture.reader.known(&origin("o"), &path("1.mp3")).unwrap() {
        Some(musicfs_protocol::library::Known::File { tags_known, .. }) => tags_known,
        known => panic!("{known:?}"),
    };
    fixture.apply(vec![put("1.mp3", 1, TagOutcome::Unread)]);
    assert!(!known(&fixture));
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
    assert!(known(&fixture));
    fixture.apply(vec![put("1.mp3", 2, TagOutcome::Unread)]);
    assert!(!known(&fixture));
    fixture.apply(vec![put("1.mp3", 2, TagOutcome::NotAudio)]);
    assert!(known(&fixture));
    assert_eq!(fixture.paths(), Vec::<String>::new());
    fixture.check();
}

#[test]
fn head_is_remembered_with_the_version_that_it_belongs_to() {
    let mut fixture = Fixture::new();
    let head = |at: &str, head| Change::Head { path: path(at), head: [head; 32] };
    let heads = |fixture: &Fixture, number| {
        let found = fixture.reader.lookalikes(&origin("o"), &file_stat(number).version).unwrap();
        found.into_iter().map(|lookalike| lookalike.head).collect::<Vec<_>>()
    };
    fixture.apply(vec![track("a/1.mp3", 1, "A", "", "T"), head("a/1.mp3", 7), head("nowhere", 8)]);
    assert_eq!(heads(&fixture, 1), [Some([7; 32])]);
    fixture.check();
    let file = fixture.file_at("a/1.mp3");
    fixture.apply(vec![moved("b/2.mp3", 1, file)]);
    assert_eq!(heads(&fixture, 1), [Some([7; 32])], "a move changes nothing of what it looks like");
    fixture.apply(vec![removed("b")]);
    assert_eq!(heads(&fixture, 1), [Some([7; 32])], "nor does a tombstone");
    fixture.apply(vec![track("b/2.mp3", 1, "A", "", "T"), track("b/2.mp3", 2, "A", "", "T")]);
    assert_eq!((heads(&fixture, 1), heads(&fixture, 2)), (Vec::new(), vec![None]));
    fixture.check();
}
