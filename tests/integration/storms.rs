//! Storms of changes: whatever happens in an origin, and however fast, the mount ends as the origin is.
//!
//! Operations are those that programs make: downloads into new folders, editors' atomic saves, folders that are moved
//! about with everything in them, names that are given to something else at once. A burst of them is made without a pause,
//! then the raw view must be the origin, byte for byte, and the library must have every track.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::ordinary_sandbox;
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{Tree, listed, walk};
use crate::support::user::as_nobody;

/// Operations of a run; more in the long one.
fn num_ops() -> usize {
    std::env::var("MUSICFS_OPS").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// Operations in a burst.
const BURST: usize = 25;

/// What a walk of the origin and of its raw view have in common.
fn comparable(root: &Path) -> Tree {
    let mut tree = walk(root);
    for node in tree.values_mut() {
        (node.ino, node.mode) = (0, if node.is_dir { 0 } else { node.mode & 0o555 });
    }
    tree
}

#[track_caller]
fn assert_same(home: &Sandbox, what: &str) {
    let (shown, real) = (comparable(&home.shown(".origins/a")), comparable(&home.origin()));
    for (path, node) in &real {
        assert_eq!(shown.get(path), Some(node), "{what}: {}", path.display());
    }
    for path in shown.keys() {
        assert!(real.contains_key(path), "{what}: {} is shown and gone", path.display());
    }
    let is_track = |path: &&Path| path.extension().is_some_and(|extension| extension == "flac");
    let num_tracks = real.keys().map(PathBuf::as_path).filter(is_track).count();
    let library = listed(&home.mnt());
    assert_eq!(library.iter().map(Path::new).filter(is_track).count(), num_tracks, "{what}: tracks");
}

/// An origin under attack.
struct World<'a> {
    home: &'a Sandbox,
    random: Random,
    next: u32,
}

impl World<'_> {
    fn flac(&mut self) -> Vec<u8> {
        self.next += 1;
        let (artist, album) = (self.next % 5, self.next % 3);
        let track = Track::new(&format!("Artist {artist}"), &format!("Album {album}"), self.next, "T");
        Track { audio_len: 64, ..track }.flac()
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    /// Files and folders that are there now.
    fn all(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut files, mut folders) = (Vec::new(), vec![self.home.origin()]);
        let mut at = 0;
        while at < folders.len() {
            for entry in fs::read_dir(&folders[at]).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
            at += 1;
        }
        files.sort();
        folders[1..].sort();
        (files, folders)
    }

    /// Does one thing at random and says what.
    fn step(&mut self) -> String {
        let (files, folders) = self.all();
        let (name, bytes) = (self.fresh("n"), self.flac());
        let folder = self.random.pick(&folders).clone();
        let done = match (self.random.one_in(2), files.is_empty()) {
            (true, _) => self.change_folder(&folder, &files, &folders, &name, &bytes),
            (false, true) => None,
            (false, false) => Some(self.change_file(&folder, &files, &name, &bytes)),
        };
        done.unwrap_or_else(|| {
            fs::write(folder.join(format!("{name}.flac")), bytes).unwrap();
            format!("add {}", folder.join(name).display())
        })
    }

    /// Makes, moves or removes a folder; nothing where that cannot be.
    fn change_folder(
        &mut self,
        folder: &Path,
        files: &[PathBuf],
        folders: &[PathBuf],
        name: &str,
        bytes: &[u8],
    ) -> Option<String> {
        let root = self.home.origin();
        let other = self.random.pick(folders).clone();
        // more than that in one burst would be taken for a lost disk
        let may_go = folder != root && files.iter().filter(|file| file.starts_with(folder)).count() <= 4;
        let what = match self.random.below(6) {
            0 => {
                let deep = folder.join(name).join("b/c");
                fs::create_dir_all(&deep).unwrap();
                fs::write(deep.join("1.flac"), bytes).unwrap();
                format!("fill {}", deep.display())
            }
            1 if folder != root && !other.starts_with(folder) => {
                fs::rename(folder, other.join(name)).unwrap();
                format!("move {} into {} as {name}", folder.display(), other.display())
            }
            2 if folder != root => {
                fs::rename(folder, folder.with_file_name(name)).unwrap();
                fs::create_dir(folder).unwrap();
                fs::write(folder.join("again.flac"), bytes).unwrap();
                format!("rename {} to {name} and make it anew", folder.display())
            }
            3 => {
                let staged = self.home.path("stage").join(name);
                fs::create_dir_all(staged.join("in")).unwrap();
                fs::write(staged.join("in/1.flac"), bytes).unwrap();
                fs::write(staged.join("cover.jpg"), b"picture").unwrap();
                fs::rename(&staged, folder.join(name)).unwrap();
                format!("move in {name} to {}", folder.display())
            }
            4 if may_go && folders.len() > 6 => {
                let out = self.home.path("stage").join(name);
                fs::rename(folder, &out).unwrap();
                if self.random.one_in(2) {
                    fs::rename(&out, folder).unwrap();
                }
                format!("move out {}", folder.display())
            }
            5 if may_go && folders.len() > 10 => {
                fs::remove_dir_all(folder).unwrap();
                format!("remove {}", folder.display())
            }
            _ => return None,
        };
        Some(what)
    }

    /// Writes, replaces, swaps or links a file.
    fn change_file(&mut self, folder: &Path, files: &[PathBuf], name: &str, bytes: &[u8]) -> String {
        let file = self.random.pick(files).clone();
        match self.random.below(5) {
            0 => {
                fs::remove_file(&file).unwrap();
                fs::write(&file, bytes).unwrap();
                format!("delete and write {}", file.display())
            }
            1 => {
                let staged = file.with_file_name(format!(".{name}.tmp"));
                fs::write(&staged, bytes).unwrap();
                fs::rename(&staged, &file).unwrap();
                format!("save {}", file.display())
            }
            2 => {
                let (second, aside) = (self.random.pick(files).clone(), self.home.origin().join(name));
                fs::rename(&file, &aside).unwrap();
                if second != file {
                    fs::rename(&second, &file).unwrap();
                }
                fs::rename(&aside, &second).unwrap();
                format!("swap {} and {}", file.display(), second.display())
            }
            3 => {
                fs::hard_link(&file, folder.join(format!("{name}.flac"))).unwrap();
                fs::remove_file(&file).unwrap();
                format!("link {} to {} and unlink it", file.display(), folder.join(name).display())
            }
            _ => {
                let before = fs::metadata(&file).unwrap();
                let mut bytes = bytes.to_vec();
                bytes.resize(before.len() as usize, 0);
                fs::write(&file, bytes).unwrap();
                filetime::set_file_mtime(&file, filetime::FileTime::from_last_modification_time(&before)).unwrap();
                format!("rewrite {} and put its mtime back", file.display())
            }
        }
    }
}

#[test]
fn origin_under_a_storm_of_everything_is_shown_as_it_ends() {
    let home = Sandbox::new();
    let mut world = World { home: &home, random: Random::new(Random::seed("storm")), next: 0 };
    for _ in 0..60 {
        world.step();
    }
    let daemon = home.start();
    for burst in 0..num_ops() / BURST {
        let steps: Vec<String> = (0..BURST).map(|_| world.step()).collect();
        println!("burst {burst}:\n  {}", steps.join("\n  "));
        daemon.idle();
        assert_same(&home, &format!("burst {burst}"));
    }
    daemon.stop();
    let daemon = home.start();
    daemon.idle();
    assert_same(&home, "after a restart");
    daemon.stop();
}

#[test]
fn folders_that_are_closed_and_opened_again_show_what_came_meanwhile() {
    let home = ordinary_sandbox!();
    let put = |path: &str, number| {
        home.put(path, &Track::new("Artist", "Album", number, "T").flac());
        let mut at = home.origin().join(path);
        while at.pop() && at.starts_with(home.origin()) {
            home.user.own(&at);
        }
    };
    let mode = |path: &str, mode| {
        fs::set_permissions(home.origin().join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for number in 1..=6 {
        put(&format!("{}/deep/{number}.flac", number % 2), number);
    }
    let daemon = home.start();
    // another user, root among them, may not look at the mount
    let shown = |folder: &str| {
        let folder = home.shown(folder);
        if rustix::process::geteuid().is_root() { as_nobody(move || listed(&folder)) } else { listed(&folder) }
    };
    mode("1", 0o000);
    daemon.idle();
    assert_eq!(shown("").len(), 6, "what may not be looked at is not gone");
    mode("1", 0o755);
    put("1/deep/7.flac", 7);
    fs::remove_file(home.origin().join("1/deep/1.flac")).unwrap();
    daemon.idle();
    assert_eq!(shown(".origins/a"), listed(&home.origin()));
    mode("0/deep", 0o000);
    fs::rename(home.origin().join("0"), home.origin().join("renamed")).unwrap();
    daemon.idle();
    mode("renamed/deep", 0o755);
    put("renamed/deep/8.flac", 8);
    daemon.idle();
    assert_eq!(shown(".origins/a"), listed(&home.origin()));
    assert_eq!(shown("").len(), 7);
    daemon.stop();
}

#[test]
fn ten_thousand_touched_files_cost_work_in_proportion() {
    const NUM_FILES: u64 = 10_000;
    let home = Sandbox::new();
    let mut names = Vec::new();
    for number in 0..NUM_FILES as u32 {
        let track = Track { audio_len: 1, ..Track::new(&format!("Artist {}", number % 50), "Album", number, "T") };
        names.push(home.put(&format!("{}/{number}.flac", number % 100), &track.flac()));
    }
    let daemon = home.start();
    daemon.idle();
    let before = daemon.metrics();
    for name in &names {
        filetime::set_file_mtime(name, home.fresh_mtime()).unwrap();
    }
    daemon.idle();
    let after = daemon.metrics();
    let moved = |name: &str, labels: &[(&str, &str)]| sum(&after, name, labels) - sum(&before, name, labels);
    assert_eq!(moved("musicfs_catalog_changes_total", &[("op", "modified")]), NUM_FILES);
    for op in ["added", "moved", "removed"] {
        assert_eq!(moved("musicfs_catalog_changes_total", &[("op", op)]), 0, "{op}");
    }
    // a file may be seen twice, when its batch settles while it is touched
    assert!(moved("musicfs_watcher_events_total", &[]) <= 2 * NUM_FILES);
    assert!(moved("musicfs_fetcher_requests_total", &[("purpose", "tags")]) <= 2 * NUM_FILES);
    let looks = moved("musicfs_fetcher_calls_total", &[("op", "stat")]);
    assert!(looks <= 3 * NUM_FILES, "{looks} stats: files, their folders, and both again");
    let shown = comparable(&home.shown(".origins/a"));
    assert_eq!(shown, comparable(&home.origin()));
    daemon.stop();
}
