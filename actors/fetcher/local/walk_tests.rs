//! Listings of real folders: order, pages, links, hostile names, folders that fail.
//!
//! Each test builds a small tree in a temporary folder and states the whole listing, not a part of it: what must not be
//! listed is as much the point as what must. The thread that tries an unreadable folder gives up root for itself first.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::*;

fn soon() -> Deadline {
    Deadline::after(Instant::now(), Duration::from_mins(1))
}

fn path(text: &str) -> OriginPath {
    OriginPath::parse(text.as_bytes()).unwrap()
}

fn page(root: &Path, folder: &str, recursive: bool, cursor: Option<ListCursor>) -> Result<ListPage, FetchError> {
    list_page(root, &PageRequest { folder: path(folder), recursive, cursor }, soon())
}

/// `name` a file, `name/` a folder, `name/.` its end, `!name` a failure; ` = real` where there is a real path.
fn shown(step: &ListStep) -> String {
    match step {
        ListStep::Entry { path, stat } => {
            let slash = if stat.kind == NodeKind::Folder { "/" } else { "" };
            let real = stat.real_path.as_ref().map(|real| format!(" = {real}")).unwrap_or_default();
            format!("{path}{slash}{real}")
        }
        ListStep::FolderComplete { path } => format!("{path}/."),
        ListStep::FolderFailed { path, error } => format!("!{path}: {error:?}"),
    }
}

fn listing(root: &Path) -> Vec<String> {
    page(root, "", true, None).unwrap().steps.iter().map(shown).collect()
}

#[test]
fn listing_is_depth_first_in_the_order_of_names() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("b/inner")).unwrap();
    fs::create_dir(root.path().join("a")).unwrap();
    for file in ["b/inner/x", "b/y", "a/z", "B", "c"] {
        fs::write(root.path().join(file), file).unwrap();
    }
    let expected = ["B", "a/", "b/", "c", "/.", "a/z", "a/.", "b/inner/", "b/y", "b/.", "b/inner/x", "b/inner/."];
    assert_eq!(listing(root.path()), expected);
    let flat = page(root.path(), "b", false, None).unwrap();
    assert_eq!(flat.steps.iter().map(shown).collect::<Vec<_>>(), ["b/inner/", "b/y", "b/."]);
    assert_eq!(flat.next, None);
}

#[test]
fn names_are_bytes_and_special_files_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let odd = [&b"\xff\xfe.flac"[..], b"new\nline", b"back\\slash", b" ", b"%41", b"...", &[b'x'; 255]];
    for name in odd {
        fs::write(root.path().join(OsStr::from_bytes(name)), b"").unwrap();
    }
    let fifo = root.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    let page = page(root.path(), "", true, None).unwrap();
    let mut expected = odd.map(<[u8]>::to_vec);
    expected.sort();
    let entries = page.steps.iter().filter_map(|step| match step {
        ListStep::Entry { path, .. } => Some(path.as_bytes().to_vec()),
        _ => None,
    });
    assert_eq!(entries.collect::<Vec<_>>(), expected);
    assert_eq!((page.links_left_out, page.names_left_out), (0, 0));
}

#[test]
fn links_are_followed_once_and_counted_when_left_out() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/deep")).unwrap();
    fs::create_dir(root.path().join("b")).unwrap();
    fs::write(root.path().join("a/deep/song"), b"").unwrap();
    for (target, link) in [
        ("../a", "b/to_a"),            // entered once, with what is below it
        ("../b", "a/to_b"),            // from /a only; below b/to_a it is the second one
        ("deep/song", "a/file"),       // a file, also below b/to_a
        ("..", "a/deep/circle"),       // to a folder it lies in
        (".", "b/itself"),             // the same
        ("/etc/passwd", "a/absolute"), // out
        ("../..", "b/out"),            // out
        ("missing", "broken"),
    ] {
        symlink(target, root.path().join(link)).unwrap();
    }
    let page = page(root.path(), "", true, None).unwrap();
    let expected = [
        "a/",
        "b/",
        "/.",
        "a/deep/",
        "a/file = a/deep/song",
        "a/to_b/ = b",
        "a/.",
        "a/deep/song",
        "a/deep/.",
        "a/to_b/.",
        "b/to_a/ = a",
        "b/.",
        "b/to_a/deep/ = a/deep",
        "b/to_a/file = a/deep/song",
        "b/to_a/.",
        "b/to_a/deep/song = a/deep/song",
        "b/to_a/deep/.",
    ];
    assert_eq!(page.steps.iter().map(shown).collect::<Vec<_>>(), expected);
    // root: broken; a: absolute; a/deep: circle; a/to_b: itself, out, to_a; b: itself, out; b/to_a: absolute, to_b;
    // b/to_a/deep: circle
    assert_eq!(page.links_left_out, 11);
    let root = Root::open(root.path()).unwrap();
    for step in &page.steps {
        if let ListStep::Entry { path, stat } = step {
            let again = links::resolve(&root, path).and_then(|found| found.stat(&root, path));
            assert_eq!(again.as_ref(), Ok(stat), "a stat and the listing agree on {path}");
        }
    }
}

#[test]
fn three_thousand_files_come_over_pages_each_once() {
    let root = tempfile::tempdir().unwrap();
    for folder in 0..30 {
        let folder = root.path().join(format!("{folder:02}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(format!("{file:02}")), b"").unwrap();
        }
    }
    let (mut paths, mut num_pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = page(root.path(), "", true, cursor).unwrap();
        assert!(page.steps.len() < PAGE_STEPS + 101);
        num_pages += 1;
        paths.extend(page.steps.into_iter().filter_map(|step| match step {
            ListStep::Entry { path, stat } if stat.kind == NodeKind::File => Some(path),
            _ => None,
        }));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let sorted = paths.clone();
    paths.sort();
    paths.dedup();
    assert_eq!((num_pages, paths.len()), (3, 3000));
    assert_eq!(paths, sorted);
}

#[test]
fn folder_larger_than_a_page_is_one_page() {
    let root = tempfile::tempdir().unwrap();
    for file in 0..=PAGE_STEPS {
        fs::write(root.path().join(file.to_string()), b"").unwrap();
    }
    let page = page(root.path(), "", true, None).unwrap();
    assert_eq!((page.steps.len(), page.next), (PAGE_STEPS + 2, None));
}

#[test]
fn deep_nesting_ends_where_paths_end() {
    let root = tempfile::tempdir().unwrap();
    // relative to an open folder, because no path can name the deepest ones
    let mut at = rustix::fs::open(root.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let name = "d".repeat(250);
    for _ in 0..18 {
        rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, name.as_str(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let page = page(root.path(), "", true, None).unwrap();
    // 16 names of 250 bytes and their slashes are 4,015 bytes; the 17th would pass 4,096
    assert_eq!((page.names_left_out, page.next), (1, None));
    let complete = page.steps.iter().filter(|step| matches!(step, ListStep::FolderComplete { .. })).count();
    assert_eq!((page.steps.len(), complete), (33, 17));
}

#[test]
fn folder_that_is_gone_fails_and_others_are_listed() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    let mut cursor = ListCursor::before(OriginPath::root());
    cursor.push(vec![path("file"), path("gone")]);
    let page = page(root.path(), "", false, Some(cursor)).unwrap();
    let expected = ["!file: NotFound", "!gone: NotFound", "file", "/."];
    assert_eq!(page.steps.iter().map(shown).collect::<Vec<_>>(), expected);
}

#[test]
fn removed_folder_is_an_error_and_not_an_empty_listing() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("gone");
    fs::create_dir(&place).unwrap();
    let held = rustix::fs::open(&place, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    fs::remove_dir(&place).unwrap();
    assert_eq!(read_names(&held, &mut |_| true), Err(Errno::NOENT));
}

#[test]
fn listing_without_its_root_is_offline() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let before = page(&root, "", true, None).unwrap();
    fs::rename(&root, folder.path().join("aside")).unwrap();
    let away = page(&root, "", true, None);
    assert!(matches!(away, Err(FetchError::Offline { .. })), "{away:?}");
    fs::create_dir(&root).unwrap();
    let replaced = page(&root, "", true, None).unwrap();
    assert_ne!(before.root, replaced.root);
}

#[test]
fn page_past_its_deadline_says_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    let request = PageRequest { folder: OriginPath::root(), recursive: true, cursor: None };
    let passed = Deadline::after(Instant::now(), Duration::ZERO);
    assert_eq!(list_page(root.path(), &request, passed), Err(FetchError::Timeout));
}

#[test]
fn unreadable_folder_fails_and_an_unreadable_file_is_listed() {
    let root = tempfile::tempdir().unwrap();
    let set_mode = |name: &str, mode| fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode));
    fs::create_dir(root.path().join("closed")).unwrap();
    fs::create_dir(root.path().join("names_only")).unwrap();
    fs::write(root.path().join("closed/song"), b"").unwrap();
    fs::write(root.path().join("names_only/song"), b"").unwrap();
    fs::write(root.path().join("secret"), b"").unwrap();
    for (name, mode) in [("", 0o755), ("closed", 0o000), ("names_only", 0o744), ("secret", 0o000)] {
        set_mode(name, mode).unwrap();
    }
    if !rustix::process::geteuid().is_root() {
        set_mode("names_only", 0o400).unwrap();
    }
    let place = root.path().to_owned();
    let page = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            // of this thread alone; `nobody` has none of root's capabilities
            let nobody = rustix::fs::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        page(&place, "", true, None).unwrap()
    });
    let page = page.join().unwrap();
    for (name, mode) in [("closed", 0o755), ("names_only", 0o755)] {
        set_mode(name, mode).unwrap();
    }
    let expected = ["closed/", "names_only/", "secret", "/.", "!closed: AccessDenied", "!names_only: AccessDenied"];
    assert_eq!(page.steps.iter().map(shown).collect::<Vec<_>>(), expected);
    assert!(page.steps.iter().any(|step| matches!(step, ListStep::Entry { stat, .. } if stat.mode == 0)));
}
