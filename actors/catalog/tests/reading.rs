//! The get-only handle: listings that stay valid, `.origins`, descriptions, links.
//!
//! One case looks from another thread while the writer commits: whatever it finds, it must never take a half-seen change
//! for damage.

use musicfs_protocol::change::Change;
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{CatalogError, Known};
use musicfs_pure::ids::{Ino, OriginPath};

use super::{Fixture, TEMPLATE, config, file_stat, folder_stat, origin, other, path, removed, tags, track};
use crate::catalog::RawView;

/// A listing taken page by page, with something done between the pages.
fn paged(fixture: &mut Fixture, folder: Ino, page_len: usize, mut between: impl FnMut(&mut Fixture)) -> Vec<String> {
    let (mut after, mut names) = (Ino(0), Vec::new());
    loop {
        let mut page = Vec::new();
        fixture
            .reader
            .read_dir(folder, after, &mut |attr, name| {
                page.push((attr.ino, String::from_utf8_lossy(name).into_owned()));
                page.len() < page_len
            })
            .unwrap();
        let Some((last, _)) = page.last() else { return names };
        after = *last;
        names.extend(page.into_iter().map(|(_, name)| name));
        between(fixture);
    }
}

#[test]
fn entry_that_stays_is_listed_once_however_the_folder_changes() {
    let mut fixture = Fixture::new();
    fixture.apply((0..100).map(|n| track(&format!("{n}.mp3"), n, "A", "", &format!("T{n:02}"))).collect());
    let folder = fixture.ino_at("A");
    let mut step = 0;
    let mut names = paged(&mut fixture, folder, 7, |fixture| {
        // one that was listed goes, one comes, and one that stays is renamed by it
        step += 1;
        if step > 10 {
            return;
        }
        fixture
            .apply(vec![removed(&format!("{step}.mp3")), track(&format!("n{step}.mp3"), 500 + step, "A", "", "New")]);
    });
    names.retain(|name| name.starts_with('T'));
    let mut stayed: Vec<String> = fixture.children(folder).into_iter().map(|(_, name)| name).collect();
    stayed.retain(|name| name.starts_with('T'));
    for name in stayed {
        assert_eq!(names.iter().filter(|listed| **listed == name).count(), 1, "{name}");
    }
}

#[test]
fn origins_folder_is_found_listed_or_off() {
    for (raw_view, is_found, is_listed) in
        [(RawView::Hidden, true, false), (RawView::Listed, true, true), (RawView::Off, false, false)]
    {
        let mut fixture = Fixture::with(config(TEMPLATE, raw_view, &[("o", "1")]));
        fixture.apply(vec![track("1.mp3", 1, "A", "", "T")]);
        let found = fixture.reader.lookup(Ino::ROOT, b".origins").unwrap();
        assert_eq!(
            found.as_ref().map(|attr| (attr.ino, attr.kind)),
            is_found.then_some((Ino::ORIGINS, NodeKind::Folder))
        );
        assert_eq!(fixture.reader.attr(Ino::ORIGINS).unwrap(), found);
        let names: Vec<String> = fixture.children(Ino::ROOT).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names.contains(&".origins".to_owned()), is_listed);
        assert_eq!(fixture.children(Ino::ORIGINS).len(), usize::from(is_found));
        let names = paged(&mut fixture, Ino::ROOT, 1, |_| {});
        assert_eq!(names.len(), 1 + usize::from(is_listed), "the cursor passes it once");
    }
}

#[test]
fn fixed_folders_have_parents_and_attributes() {
    let fixture = Fixture::new();
    let root = fixture.reader.attr(Ino::ROOT).unwrap().unwrap();
    assert_eq!((root.ino, root.kind, root.mode), (Ino::ROOT, NodeKind::Folder, 0o555));
    assert_eq!(fixture.reader.parent(Ino::ROOT).unwrap(), Some(Ino::ROOT));
    assert_eq!(fixture.reader.parent(Ino::ORIGINS).unwrap(), Some(Ino::ROOT));
    assert_eq!(fixture.reader.describe(Ino::ROOT).unwrap().unwrap().library_path, b"");
    assert_eq!(fixture.reader.attr(Ino(999)).unwrap(), None);
    assert_eq!(fixture.reader.parent(Ino(999)).unwrap(), None);
    assert_eq!(fixture.reader.source(Ino(999)).unwrap(), None);
    assert_eq!(fixture.reader.lookup(Ino::ROOT, b"nothing").unwrap(), None);
}

#[test]
fn description_says_everything_about_a_track() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("a/1.mp3", 1, "A", "X", "T")]);
    let info = fixture.reader.describe(fixture.ino_at("A/X/T")).unwrap().unwrap();
    assert_eq!(info.library_path, b"A/X/T");
    assert_eq!(info.tags, Some(tags("A", "X", "T")));
    assert!(!info.malformed);
    let source = info.source.unwrap();
    assert_eq!((source.origin, source.path, source.version), (origin("o"), path("a/1.mp3"), file_stat(1).version));
    let raw = fixture.raw("o")["a/1.mp3"].attr.ino;
    assert_eq!(fixture.reader.describe(raw).unwrap().unwrap().library_path, b".origins/o/a/1.mp3");
    let folder = fixture.reader.describe(fixture.ino_at("A/X")).unwrap().unwrap();
    assert_eq!((folder.library_path, folder.source), (b"A/X".to_vec(), None));
}

#[test]
fn names_that_are_no_text_stay_byte_for_byte() {
    let mut fixture = Fixture::new();
    let name = OriginPath::parse(b"a\xff/b\xfe.mp3").unwrap();
    let stat = file_stat(1);
    fixture.apply(vec![Change::File { path: name.clone(), stat, keeps: None, tags: super::TagOutcome::Malformed }]);
    assert!(fixture.reader.known(&origin("o"), &name).unwrap().is_some());
    let root = fixture.reader.lookup(Ino::ORIGINS, b"o").unwrap().unwrap().ino;
    let folder = fixture.reader.lookup(root, b"a\xff").unwrap().unwrap().ino;
    let file = fixture.reader.lookup(folder, b"b\xfe.mp3").unwrap().unwrap().ino;
    assert_eq!(fixture.reader.source(file).unwrap().unwrap().path, name);
}

#[test]
fn known_says_what_is_at_a_path() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("a/1.mp3", 1, "A", "", "T"), other("a/b/x.txt", 2)]);
    let known = |at: &str| fixture.reader.known(&origin("o"), &path(at)).unwrap();
    assert_eq!(known("a"), Some(Known::Folder));
    assert_eq!(known(""), Some(Known::Folder));
    assert_eq!(known("a/2.mp3"), None);
    assert_eq!(known("a/1.mp3/x"), None);
    assert!(matches!(known("a/1.mp3"), Some(Known::File { tags_known: true, mode: 0o644, .. })));
    let mut children = Vec::new();
    let visit = &mut |name: &[u8], kind: NodeKind| {
        children.push((String::from_utf8_lossy(name).into_owned(), kind));
        true
    };
    fixture.reader.known_children(&origin("o"), &path("a"), visit).unwrap();
    children.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(children, [("1.mp3".to_owned(), NodeKind::File), ("b".to_owned(), NodeKind::Folder)]);
    let unknown = fixture.reader.known(&origin("x"), &path("a"));
    assert_eq!(unknown, Err(CatalogError::UnknownOrigin { origin: origin("x") }));
}

#[test]
fn links_to_a_path_are_found_through_linked_folders_too() {
    let mut fixture = Fixture::new();
    let linked = |mut stat: musicfs_protocol::Stat, real: &str| {
        stat.real_path = Some(path(real));
        stat
    };
    let link_file = |at: &str, number, real: &str| Change::File {
        path: path(at),
        stat: linked(file_stat(number), real),
        keeps: None,
        tags: super::TagOutcome::NotAudio,
    };
    fixture.apply(vec![
        other("a/b/x.txt", 1),
        Change::Folder { path: path("l"), stat: linked(folder_stat(2), "a/b") },
        link_file("l/x.txt", 1, "a/b/x.txt"),
        link_file("alone.txt", 1, "a/b/x.txt"),
    ]);
    let links = |fixture: &Fixture, real: &str| fixture.reader.links_to(&origin("o"), &path(real)).unwrap();
    assert_eq!(links(&fixture, "a/b/x.txt"), [path("alone.txt"), path("l/x.txt")]);
    assert_eq!(links(&fixture, "a/b/new.txt"), [path("l/new.txt")]);
    assert_eq!(links(&fixture, "a/bc"), []);
    fixture.check();
    fixture.apply(vec![removed("l"), removed("alone.txt")]);
    assert_eq!(links(&fixture, "a/b/x.txt"), []);
    fixture.check();
}

#[test]
fn looking_while_the_writer_commits_shows_an_entry_whole_or_not_at_all() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![track("1.mp3", 1, "A", "", "T"), track("2.mp3", 2, "A", "", "stays")]);
    let folder = fixture.ino_at("A");
    let reader = std::sync::Arc::clone(&fixture.reader);
    let looking = std::thread::spawn(move || {
        for _ in 0..20_000 {
            for name in [&b"T"[..], b"X"] {
                if let Some(attr) = reader.lookup(folder, name).expect("no damage") {
                    reader.source(attr.ino).expect("no damage");
                    reader.describe(attr.ino).expect("no damage");
                }
            }
        }
    });
    let mut number = 2;
    while !looking.is_finished() {
        number += 1;
        let title = if number % 2 == 0 { "T" } else { "X" };
        fixture.apply(vec![track("1.mp3", number, "A", "", title)]);
    }
    looking.join().expect("the reader ends");
    fixture.check();
}
