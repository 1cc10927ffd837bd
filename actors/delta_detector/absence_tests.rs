//! Absence between an origin and a catalog in memory: what is not seen any more, and whether that is believed.
//!
//! The surroundings are those of `tests`; here the origin goes offline, loses its files, its root or what is mounted on
//! one of its folders, and each test says what the catalog still has and what ends the doubt.

use musicfs_protocol::fetch::MountedFolder;
use musicfs_protocol::*;

use super::tests::{Bench, ROOT, path};

#[actix::test]
async fn offline_origin_loses_nothing() {
    let bench = Bench::new();
    bench.put("a.txt", 1, 1);
    bench.rescan(false).await;
    bench.origin.lock().offline = true;
    bench.touch(&["a.txt"]).await;
    bench.rescan(false).await;
    assert!(bench.ids().contains_key("a.txt"));
    assert!(matches!(bench.state(), ScanState::Failed { .. }));
}

#[actix::test]
async fn folder_that_cannot_be_listed_keeps_its_files() {
    let bench = Bench::new();
    bench.put("a/x.txt", 1, 1);
    bench.put("b/y.txt", 1, 2);
    bench.rescan(false).await;
    bench.take("b/y.txt");
    bench.origin.lock().failing_folder = Some(path("a"));
    bench.rescan(false).await;
    assert_eq!(bench.ids().into_keys().collect::<Vec<_>>(), ["a/x.txt"]);
    assert!(matches!(bench.state(), ScanState::Failed { .. }));
}

#[actix::test]
async fn emptied_origin_is_quarantined_until_accepted() {
    let bench = Bench::new();
    for number in 0..30 {
        bench.put(&format!("{number}.txt"), 1, number);
    }
    bench.rescan(false).await;
    bench.origin.lock().files.clear();
    bench.rescan(false).await;
    assert_eq!(bench.ids().len(), 30);
    assert!(matches!(bench.state(), ScanState::Quarantined { .. }));
    bench.rescan(true).await;
    assert!(bench.ids().is_empty());
    assert_eq!(bench.state(), ScanState::Done);
}

#[actix::test]
async fn other_root_removes_not_even_one_file() {
    let bench = Bench::new();
    bench.put("a.txt", 1, 1);
    bench.put("b.txt", 1, 2);
    bench.rescan(false).await;
    bench.take("b.txt");
    bench.origin.lock().root = Some(RootIdentity { ino: 99, ..ROOT });
    bench.rescan(false).await;
    assert_eq!(bench.ids().len(), 2);
    assert!(matches!(bench.state(), ScanState::Quarantined { .. }));
}

#[actix::test]
async fn files_missing_under_another_root_are_not_removed_by_events() {
    let bench = Bench::new();
    bench.put("a.txt", 1, 1);
    bench.rescan(false).await;
    bench.origin.lock().files.clear();
    bench.origin.lock().root = Some(RootIdentity { ino: 99, ..ROOT });
    bench.touch(&["a.txt"]).await;
    assert!(bench.ids().contains_key("a.txt"));
}

#[actix::test]
async fn removed_folder_counts_each_file_once() {
    let bench = Bench::new();
    for number in 0..15 {
        bench.put(&format!("a/{number}.txt"), 1, number);
    }
    for number in 0..15 {
        bench.put(&format!("b/{number}.txt"), 1, 100 + number);
    }
    bench.rescan(false).await;
    bench.origin.lock().files.retain(|file, _| file.is_within(&path("b")));
    let gone: Vec<String> = (0..15).map(|number| format!("a/{number}.txt")).chain(["a".into()]).collect();
    bench.touch(&gone.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bench.assert_same();
}

#[actix::test]
async fn quarantine_outlives_new_files_and_ends_file_by_file() {
    let bench = Bench::new();
    for number in 0..30 {
        bench.put(&format!("old/{number}.txt"), 1, number);
    }
    bench.rescan(false).await;
    let old = std::mem::take(&mut bench.origin.lock().files);
    bench.rescan(false).await;
    for number in 100..200 {
        bench.put(&format!("new/{number}.txt"), 1, number);
    }
    // far fewer than half are missing now, for a listing and for events
    bench.rescan(false).await;
    bench.touch(&["old", "old/1.txt"]).await;
    assert_eq!(bench.ids().len(), 130);
    assert!(matches!(bench.state(), ScanState::Quarantined { .. }));
    for (path, entry) in old.into_iter().skip(3) {
        bench.origin.lock().files.insert(path, entry);
    }
    bench.rescan(false).await;
    assert_eq!(bench.ids().len(), 130, "what is still missing stays");
    assert_eq!(bench.catalog.0.lock().summary.withheld.len(), 3, "and nothing else is held back");
    bench.take("new/100.txt");
    bench.touch(&["new/100.txt"]).await;
    assert_eq!(bench.ids().len(), 129, "other files go as they always do");
    bench.rescan(true).await;
    bench.assert_same();
    assert_eq!(bench.state(), ScanState::Done);
    assert_eq!(bench.catalog.0.lock().summary.withheld, []);
}

#[actix::test]
async fn withheld_files_that_come_back_by_events_end_the_quarantine() {
    let bench = Bench::new();
    for number in 0..30 {
        bench.put(&format!("old/{number}.txt"), 1, number);
    }
    bench.rescan(false).await;
    let old = std::mem::take(&mut bench.origin.lock().files);
    bench.touch(&["old"]).await;
    assert!(matches!(bench.state(), ScanState::Quarantined { .. }));
    bench.origin.lock().files = old;
    bench.touch(&["old"]).await;
    assert_eq!(bench.state(), ScanState::Done);
    assert_eq!(bench.catalog.0.lock().summary.withheld, []);
    bench.take("old/1.txt");
    bench.touch(&["old/1.txt"]).await;
    bench.assert_same();
}

#[actix::test]
async fn files_of_a_filesystem_that_is_not_mounted_any_more_stay() {
    let bench = Bench::new();
    let disk = MountedFolder { path: path("disk"), root: RootIdentity { ino: 77, ..ROOT } };
    bench.origin.lock().mounts.push(disk.clone());
    for name in ["disk/a.txt", "disk/b.txt", "other.txt"] {
        bench.put(name, 1, name.len() as u64);
    }
    bench.rescan(false).await;
    bench.origin.lock().mounts.clear();
    let a = bench.take("disk/a.txt");
    bench.touch(&["disk/a.txt"]).await;
    assert_eq!(bench.ids().len(), 3, "one file, and an event named it");
    let b = bench.take("disk/b.txt");
    bench.take("other.txt");
    bench.put("new.txt", 1, 99);
    bench.rescan(false).await;
    let mut names: Vec<_> = bench.ids().into_keys().collect();
    names.sort();
    assert_eq!(names, ["disk/a.txt", "disk/b.txt", "new.txt"], "what was not on it goes");
    assert!(matches!(bench.state(), ScanState::Quarantined { reason } if reason.contains("`disk`")));
    bench.rescan(false).await;
    assert_eq!(bench.ids().len(), 3, "the second listing finds the same mounts as the first");
    bench.origin.lock().mounts.push(disk);
    bench.origin.lock().files.extend([(path("disk/a.txt"), a), (path("disk/b.txt"), b)]);
    bench.rescan(false).await;
    bench.assert_same();
    assert_eq!(bench.state(), ScanState::Done);
}

#[actix::test]
async fn files_under_a_filesystem_that_was_mounted_over_them_stay() {
    let bench = Bench::new();
    bench.put("disk/a.txt", 1, 1);
    bench.rescan(false).await;
    bench.take("disk/a.txt");
    bench.put("disk/b.txt", 1, 2);
    bench.origin.lock().mounts.push(MountedFolder { path: path("disk"), root: RootIdentity { ino: 77, ..ROOT } });
    bench.rescan(false).await;
    assert_eq!(bench.ids().len(), 2);
}
