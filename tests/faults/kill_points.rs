//! Death at every durable step: before and after each write of the catalog and of the storage below it, and at the turns
//! of the daemon's start and end.
//!
//! A failpoint aborts the process there, which leaves behind exactly what kill -9 would. Then the state folder is opened by
//! the test, which compares all its tables, and a daemon is started on it: the library is what the origin says, inode
//! numbers are what they were, and the start does no work again that was done (counted, not timed). One library lives
//! through all deaths of a test. The daemon dies at the first time of every step, then at later ones, chosen at random.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use musicfs_actors::catalog::{Crowding, self_check};
use musicfs_actors::storage::{Storage, StorageConfig};
use rustix::process::Signal;

use crate::more_kills;
use crate::support::daemon::Daemon;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;
use crate::support::tree::{Node, hash, walk};

/// What a daemon is doing when it comes to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// Its first start on an empty state folder, up to the end of the first scan.
    First,
    /// A start on a state that is known.
    Start,
    /// Files that come, go and change while it runs.
    Changes,
    /// The placing of every track by another template.
    Template,
    /// The same, asked of a daemon that runs.
    Reload,
    /// The purge of an origin that is not configured any more.
    Purge,
    /// Its end.
    Stop,
}

/// Every step, with the scenes that come to it.
const STEPS: [(&str, &[Scene]); 21] = [
    ("storage::locked", &[Scene::First, Scene::Start]),
    ("storage::opened", &[Scene::First, Scene::Start]),
    ("storage::checked_schema", &[Scene::First, Scene::Start]),
    ("storage::before_write", &[Scene::First, Scene::Start, Scene::Changes, Scene::Reload]),
    ("storage::after_write", &[Scene::First, Scene::Start, Scene::Changes, Scene::Reload]),
    ("catalog::before_open_commit", &[Scene::First, Scene::Start]),
    ("catalog::after_open_commit", &[Scene::First, Scene::Start]),
    ("catalog::before_reserve", &[Scene::First, Scene::Changes]),
    ("catalog::after_reserve", &[Scene::First, Scene::Changes]),
    ("catalog::before_commit", &[Scene::First, Scene::Changes, Scene::Template, Scene::Reload, Scene::Purge]),
    ("catalog::after_commit", &[Scene::First, Scene::Changes, Scene::Template, Scene::Reload, Scene::Purge]),
    ("catalog::before_last_commit", &[Scene::First, Scene::Changes]),
    ("catalog::after_last_commit", &[Scene::First, Scene::Changes]),
    ("catalog::before_maintenance_commit", &[Scene::First, Scene::Template, Scene::Reload, Scene::Purge]),
    ("catalog::after_maintenance_commit", &[Scene::First, Scene::Template, Scene::Reload, Scene::Purge]),
    ("catalog::purged_all_but_the_origin", &[Scene::Purge]),
    ("catalog::before_announce", &[Scene::First, Scene::Changes, Scene::Template, Scene::Reload, Scene::Purge]),
    ("start::before_mount", &[Scene::First, Scene::Start]),
    ("start::after_mount", &[Scene::First, Scene::Start]),
    ("stop::before_unmount", &[Scene::Stop]),
    ("stop::after_unmount", &[Scene::Stop]),
];

/// Deaths that are the first at their step in their scene.
pub(crate) fn num_first_deaths() -> usize {
    STEPS.iter().map(|(_, scenes)| scenes.len()).sum()
}

/// The names of the failpoints in the sources that abort the process.
fn steps_in_the_sources() -> BTreeSet<String> {
    fn collect(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split("fail_point!(\"").skip(1).filter_map(|rest| {
                    let (name, rest) = rest.split_once('"')?;
                    rest.starts_with(", |_| std::process::abort())").then(|| name.to_owned())
                });
                found.extend(names);
            }
        }
    }
    let mut found = BTreeSet::new();
    for folder in ["actors/catalog", "actors/storage", "daemon"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found
}

#[test]
fn every_failpoint_that_aborts_is_in_the_table_of_steps() {
    let table: BTreeSet<String> = STEPS.iter().map(|(step, _)| (*step).to_owned()).collect();
    assert_eq!(steps_in_the_sources(), table);
}

/// Templates that give every track another path.
const TEMPLATES: [&str; 2] =
    ["${artist}/${album}/${track:02} - ${title}.${ext}", "${album}/${artist} - ${title}.${ext}"];

/// A library that lives through deaths, and what must be true of it.
struct World<'a> {
    home: &'a Sandbox,
    random: Random,
    /// The files of the origin by the number in their titles: where they are, and what they hold.
    files: BTreeMap<u32, (String, Track)>,
    next: u32,
    /// The inode numbers that were seen, by the number in the title.
    seen: BTreeMap<u32, u64>,
    template: usize,
}

impl<'a> World<'a> {
    fn new(home: &'a Sandbox, num_tracks: u32) -> Self {
        let random = Random::new(Random::seed("kill at a step"));
        let mut world = Self { home, random, files: BTreeMap::new(), next: 1, seen: BTreeMap::new(), template: 0 };
        (0..num_tracks).for_each(|_| world.add());
        world.configure("");
        world
    }

    /// Writes the template, and perhaps more, into the configuration.
    fn configure(&self, more: &str) {
        self.home.configure(&format!("template = '{}'\n{more}", TEMPLATES[self.template]));
    }

    fn add(&mut self) {
        let number = self.next;
        self.next += 1;
        let (artist, album) = (format!("Artist {}", number % 3), format!("Album {}", number % 5));
        let track = Track::new(&artist, &album, number, &format!("Title {number}"));
        let path = format!("{}/{number}.flac", number % 7);
        self.home.put(&path, &track.flac());
        self.files.insert(number, (path, track));
    }

    /// Some files come, some go, some are retagged, some are renamed; none has two things happen to it. Says of how many
    /// files the tags may have to be read.
    fn change(&mut self) -> u64 {
        let numbers: Vec<u32> = self.files.keys().copied().collect();
        let start = self.random.below(3);
        let chosen = |from: usize| numbers.iter().copied().skip(start + from).step_by(11).take(4).collect::<Vec<_>>();
        let (retagged, renamed, removed) = (chosen(0), chosen(3), chosen(6));
        for number in &retagged {
            let (path, track) = self.files.get_mut(number).unwrap();
            track.artist.push_str(" again");
            self.home.put(path, &track.flac());
        }
        for number in &renamed {
            let (path, _) = self.files.get_mut(number).unwrap();
            let (from, to) = (self.home.origin().join(&*path), format!("{}/{number}-{}.flac", number % 7, self.next));
            fs::rename(from, self.home.origin().join(&to)).unwrap();
            *path = to;
        }
        for number in &removed {
            let (path, _) = self.files.remove(number).unwrap();
            fs::remove_file(self.home.origin().join(path)).unwrap();
            self.seen.remove(number);
        }
        (0..removed.len()).for_each(|_| self.add());
        (retagged.len() + renamed.len() + removed.len()) as u64
    }

    /// A run with a second origin, which the next one does not have any more.
    fn run_with_another_origin(&self) {
        let other = self.home.path("other");
        if !other.exists() {
            fs::create_dir(&other).unwrap();
            for number in 0..20 {
                let track = Track::new("Other", "Other", number, &format!("Else {number}"));
                fs::write(other.join(format!("{number}.flac")), track.flac()).unwrap();
            }
        }
        self.configure(&format!("[origin.b]\nlocation = '{}'\n", other.display()));
        self.home.start().stop();
        self.configure("");
    }

    /// One death in a scene at a step, after it was passed `skipped` times, and the recovery from it.
    fn die(&mut self, scene: Scene, step: &str, skipped: usize) {
        println!("{scene:?} at {step}, time {}", skipped + 1);
        let failpoints = Failpoints::new(self.home);
        match scene {
            Scene::First => {
                let _ = fs::remove_dir_all(self.home.path("data"));
                self.seen.clear();
            }
            Scene::Template => {
                self.template = 1 - self.template;
                self.configure("");
            }
            Scene::Purge => self.run_with_another_origin(),
            Scene::Start | Scene::Stop | Scene::Changes | Scene::Reload => {}
        }
        let actions = format!("{skipped}*off->return");
        let mut command = self.home.mount_command();
        failpoints.arm(&mut command);
        let daemon = if matches!(scene, Scene::Changes | Scene::Reload | Scene::Stop) {
            let daemon = self.home.start_with(&mut command);
            failpoints.set(step, &actions);
            daemon
        } else {
            failpoints.preset(step, &actions);
            Daemon::spawn(self.home, &mut command)
        };
        let max_tags_read = match scene {
            Scene::First => self.files.len() as u64,
            Scene::Changes => self.change(),
            Scene::Stop => {
                daemon.signal(Signal::TERM);
                0
            }
            Scene::Reload => {
                self.template = 1 - self.template;
                self.configure("");
                daemon.signal(Signal::HUP);
                0
            }
            Scene::Start | Scene::Template | Scene::Purge => 0,
        };
        // The first time must come. Where a later one does not, the end of what it did is the moment.
        if skipped == 0 || !daemon.idle_or_ended() {
            daemon.aborted();
        } else {
            daemon.kill9();
        }
        self.assert_consistent();
        self.assert_recovers(max_tags_read);
    }

    /// Compares the tables of a copy of the state folder, so that the next daemon finds it as it was left.
    fn assert_consistent(&self) {
        let copy = self.home.path("stage/state");
        let _ = fs::remove_dir_all(&copy);
        copy_folder(&self.home.path("data/state"), &copy);
        let storage = Storage::open(&StorageConfig { state_dir: copy }).unwrap();
        assert_eq!(self_check(&storage, false, Crowding::default()).unwrap(), Vec::<String>::new());
    }

    /// Starts a daemon without failpoints and asserts that nothing was lost and nothing is done twice: the library is what
    /// the origin says, every track has the inode number that was seen, and the tags of at most so many files are read.
    fn assert_recovers(&mut self, max_tags_read: u64) {
        let daemon = self.home.start();
        daemon.idle();
        // The tags of such a file lie in its first bytes: one request each.
        let tags_read = sum(&daemon.metrics(), "musicfs_fetcher_requests_total", &[("purpose", "tags")]);
        assert!(tags_read <= max_tags_read, "tags were read {tags_read} times, {max_tags_read} files had changed");
        let tree = walk(&self.home.mnt());
        let mut shown: BTreeMap<u32, (&Path, &Node)> = BTreeMap::new();
        for (path, node) in tree.iter().filter(|(_, node)| !node.is_dir) {
            assert_eq!(shown.insert(number_of(path), (path, node)), None, "{} is shown twice", path.display());
        }
        assert_eq!(shown.keys().collect::<Vec<_>>(), self.files.keys().collect::<Vec<_>>());
        for (number, (_, track)) in &self.files {
            let (path, node) = shown[number];
            assert_eq!(path.to_str().unwrap(), self.shown_path(track));
            assert_eq!(node.content, hash(&track.flac()), "bytes of {}", path.display());
            let before = *self.seen.entry(*number).or_insert(node.ino);
            assert_eq!(node.ino, before, "inode number of {}", path.display());
        }
        daemon.stop();
        self.assert_consistent();
    }

    /// Where the template puts a track.
    fn shown_path(&self, track: &Track) -> String {
        let Track { artist, album, number, title, .. } = track;
        match self.template {
            0 => format!("{artist}/{album}/{number:0>2} - {title}.flac"),
            _ => format!("{album}/{artist} - {title}.flac"),
        }
    }
}

/// The number in the title, which ends every name.
fn number_of(path: &Path) -> u32 {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{} is no track of ours", path.display()))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Dies at every step of a scene, then at random ones.
fn die_everywhere(scene: Scene) {
    let home = Sandbox::new();
    let mut world = World::new(&home, 60);
    if scene != Scene::First {
        world.assert_recovers(60);
    }
    let steps: Vec<&str> = STEPS.iter().filter(|(_, scenes)| scenes.contains(&scene)).map(|(step, _)| *step).collect();
    for step in &steps {
        world.die(scene, step, 0);
    }
    for _ in 0..more_kills(5) {
        let (step, skipped) = (*world.random.pick(&steps), world.random.below(4));
        world.die(scene, step, if scene == Scene::Stop { 0 } else { skipped });
    }
}

#[test]
fn death_at_any_step_of_a_first_scan_loses_nothing() {
    die_everywhere(Scene::First);
}

#[test]
fn death_at_any_step_of_a_start_loses_nothing() {
    die_everywhere(Scene::Start);
}

#[test]
fn death_at_any_step_of_changes_loses_nothing() {
    die_everywhere(Scene::Changes);
}

#[test]
fn death_at_any_step_of_another_template_loses_nothing() {
    die_everywhere(Scene::Template);
}

#[test]
fn death_at_any_step_of_a_reload_loses_nothing() {
    die_everywhere(Scene::Reload);
}

#[test]
fn death_at_any_step_of_a_purge_loses_nothing() {
    die_everywhere(Scene::Purge);
}

#[test]
fn death_at_any_step_of_the_end_loses_nothing() {
    die_everywhere(Scene::Stop);
}
