//! Runs operations in bursts, lets each burst settle, and compares the mount with the model.
//!
//! A file that was only moved, or only changed, keeps its inode number; one that was both moved and changed within one
//! burst may be taken for another file, and its number is learned anew. The raw view is compared every few bursts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::model::{Content, Origin, expected};
use crate::ops::{Op, World};
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{Node, Tree, files, hash, walk};

/// Operations in a burst, at most.
const MAX_BURST: usize = 9;

fn num_ops() -> usize {
    std::env::var("MUSICFS_OPS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

/// The files of a walk by path as text.
fn by_name(tree: &Tree) -> BTreeMap<String, &Node> {
    let files = tree.iter().filter(|(_, node)| !node.is_dir);
    files.map(|(path, node)| (path.to_str().unwrap().to_owned(), node)).collect()
}

/// The one of `candidates` that stands at `node`, with its attributes right.
fn identify<'a>(origin: &Origin, candidates: &'a BTreeSet<String>, name: &str, node: &Node) -> &'a String {
    let found = candidates.iter().find(|path| hash(&origin[*path].bytes()) == node.content);
    let path = found.unwrap_or_else(|| panic!("`{name}` has the bytes of none of {candidates:?}"));
    let file = &origin[path];
    assert_eq!(node.size, file.bytes().len() as u64, "size of {name}");
    assert_eq!(node.mtime, file.mtime, "mtime of {name}, which is {path}");
    assert_eq!(node.mode & 0o777, file.mode & 0o555, "mode of {name}, which is {path}");
    path
}

/// The folders of a walk are exactly the ancestors of its files.
fn assert_no_empty_folders(tree: &Tree, names: &BTreeSet<String>) {
    let ancestors = |name: &String| Path::new(name).ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let wanted: BTreeSet<_> = names.iter().flat_map(ancestors).filter(|path| path != Path::new("")).collect();
    let shown: BTreeSet<_> = tree.iter().filter(|(_, node)| node.is_dir).map(|(path, _)| path.clone()).collect();
    assert_eq!(shown, wanted, "folders");
}

/// Asserts that the mount is what the model says, and learns the inode numbers.
pub(crate) fn compare(world: &mut World<'_>) {
    let tree = walk(&world.home.mnt());
    let shown = by_name(&tree);
    let want = expected(&world.origin);
    let names: BTreeSet<String> = shown.keys().cloned().collect();
    assert_eq!(names, want.names(), "names");
    assert_no_empty_folders(&tree, &names);
    for (name, candidates) in &want.sidecars {
        identify(&world.origin, candidates, name, shown[name]);
    }
    for (names, candidates) in &want.groups {
        let mut found = BTreeSet::new();
        for name in names {
            let path = identify(&world.origin, candidates, name, shown[name]).clone();
            learn_ino(world, &path, name, shown[name].ino);
            assert!(found.insert(path), "`{name}` shows a file that another name shows too");
        }
    }
}

fn learn_ino(world: &mut World<'_>, path: &str, name: &str, ino: u64) {
    let file = world.origin.get_mut(path).unwrap();
    if let Some(before) = file.ino
        && !(file.moved && file.changed)
    {
        assert_eq!(ino, before, "inode number of `{name}`, which is {path}");
    }
    file.ino = Some(ino);
}

/// The raw view is the origin as it is.
fn compare_raw(world: &World<'_>) {
    let raw = world.home.shown(".origins/a");
    let want: BTreeSet<String> = world.origin.keys().cloned().collect();
    assert_eq!(files(&raw), want, "names in the raw view");
    let tree = walk(&raw);
    for (name, node) in by_name(&tree) {
        let own = BTreeSet::from([name.clone()]);
        identify(&world.origin, &own, &name, node);
    }
}

pub(crate) fn forget_marks(origin: &mut Origin) {
    for file in origin.values_mut() {
        // A file that is not shown in the library has no number there to keep.
        if matches!(file.content, Content::Sidecar(_) | Content::Other(_)) {
            file.ino = None;
        }
        (file.moved, file.changed) = (false, false);
    }
}

#[test]
fn mount_agrees_with_the_model_after_random_operations() {
    let random = Random::new(Random::seed("reference"));
    let home = Sandbox::new();
    let mut world = World::new(&home, random);
    let daemon = home.start();
    let mut done = 0;
    let mut round = 0;
    while done < num_ops() {
        let burst = 1 + world.random.below(MAX_BURST);
        let ops: Vec<Op> = (0..burst).map(|_| step(&mut world)).collect();
        println!("{done}: {ops:?}");
        daemon.idle();
        compare(&mut world);
        if round % 8 == 0 {
            compare_raw(&world);
        }
        forget_marks(&mut world.origin);
        done += burst;
        round += 1;
    }
    assert!(!world.origin.is_empty());
    restart_and_compare(&home, daemon, &mut world);
}

pub(crate) fn step(world: &mut World<'_>) -> Op {
    let op = world.choose();
    world.perform(&op);
    op
}

/// The same once more from what is on the disk: the incremental and the stored state agree.
fn restart_and_compare(home: &Sandbox, daemon: crate::support::daemon::Daemon<'_>, world: &mut World<'_>) {
    let before = walk(&home.mnt());
    daemon.stop();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(walk(&home.mnt()), before, "after a restart");
    compare(world);
    compare_raw(world);
    daemon.stop();
}

/// A library built file by file and one built at once from the same folder show the same files.
#[test]
fn incremental_and_full_builds_agree() {
    let random = Random::new(Random::seed("incremental and full"));
    let home = Sandbox::new();
    let mut world = World::new(&home, random);
    let daemon = home.start();
    for _ in 0..6 {
        for _ in 0..12 {
            step(&mut world);
        }
        daemon.idle();
    }
    let incremental = files(&home.mnt());
    daemon.stop();
    std::fs::remove_dir_all(home.path("data")).unwrap();
    let daemon = home.start();
    assert_eq!(files(&home.mnt()), incremental);
    assert_eq!(expected(&world.origin).names(), incremental);
    daemon.stop();
}
