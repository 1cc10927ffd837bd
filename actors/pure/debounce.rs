//! `Debounce`: when a path that events touch has been quiet long enough to be looked at.
//!
//! A path settles after 200 ms without an event, and at most 2 s after the first, so that a file which is written all
//! the time is still seen. Both names of a rename are one *group* with one due time: looked at together they keep the
//! file's identity, looked at apart they are a removal and a new file. What is pending is bounded: too many paths become
//! their folders, too many folders become the whole origin; a group survives that as the group of its folders.
//!
//! ```text
//!            touch                       more than max_paths            more than max_folders
//!  (nothing) ─────► path, in a group ─────────────────────► folder ───────────────────────► origin
//!                     │ settle(now ≥ due)                      │ settle                        │ settle
//!                     └─► Settled::Path                        └─► Settled::Path, recursive     └─► Settled::Origin
//! ```
//!
//! Nothing that was touched may be forgotten: every touched path is covered by something that settles later. The payload
//! (the token that says "work is pending") is opaque; of several for one path the first is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::ids::{OriginId, OriginPath};

/// How long is quiet and how much may be pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebounceConfig {
    /// A path settles when it was not touched for this long.
    pub quiet: Duration,
    /// A path settles this long after its first touch, quiet or not.
    pub at_most: Duration,
    /// Pending paths beyond which they become their folders.
    pub max_paths: usize,
    /// Pending folders beyond which the origin with the most of them is looked at as a whole.
    pub max_folders: usize,
}

impl Default for DebounceConfig {
    /// Quiet: an editor writes a file in several steps within tens of ms, and a change must be visible within 500 ms. At
    /// most: a download that never pauses is shown growing. Paths: some 3 MB of pending state. Folders: beyond a thousand
    /// listings one walk of the origin is cheaper.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            at_most: Duration::from_secs(2),
            max_paths: 10_240,
            max_folders: 1_024,
        }
    }
}

/// One event at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch<T> {
    /// The name before, when the path is the new name of a rename.
    pub renamed_from: Option<OriginPath>,
    /// Everything below the path may have changed too.
    pub recursive: bool,
    /// Handed on with the path.
    pub payload: T,
}

/// Something that has been quiet long enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<T> {
    /// A path of an origin.
    Path {
        /// Whose path.
        origin: OriginId,
        /// Which.
        path: OriginPath,
        /// What happened there.
        touch: Touch<T>,
    },
    /// So much of an origin that it must be looked at as a whole.
    Origin {
        /// Which.
        origin: OriginId,
        /// The payload of one of the touches.
        payload: T,
    },
}

type Key = (OriginId, OriginPath);

/// The first and the last touch of something.
#[derive(Clone, Copy, Debug)]
struct Times {
    first: Instant,
    last: Instant,
}

impl Times {
    fn at(now: Instant) -> Self {
        Self { first: now, last: now }
    }

    fn cover(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    fn due(self, config: &DebounceConfig) -> Instant {
        (self.last + config.quiet).min(self.first + config.at_most)
    }
}

/// A pending path, or a folder that stands for many.
#[derive(Debug)]
struct Entry<T> {
    group: u64,
    is_collapsed: bool,
    touch: Touch<T>,
}

/// Paths that settle together.
#[derive(Debug)]
struct Group {
    times: Times,
    members: Vec<Key>,
}

/// The pending touches of all origins.
#[derive(Debug)]
pub struct Debounce<T> {
    config: DebounceConfig,
    entries: HashMap<Key, Entry<T>>,
    groups: HashMap<u64, Group>,
    queue: BTreeSet<(Instant, u64)>,
    whole: BTreeMap<OriginId, (Times, T)>,
    next_group: u64,
    num_folders: usize,
}

impl<T: Clone> Debounce<T> {
    /// Nothing pending.
    pub fn new(config: DebounceConfig) -> Self {
        Self {
            config,
            entries: HashMap::new(),
            groups: HashMap::new(),
            queue: BTreeSet::new(),
            whole: BTreeMap::new(),
            next_group: 0,
            num_folders: 0,
        }
    }

    /// Pending paths, folders and origins.
    pub fn len(&self) -> usize {
        self.entries.len() + self.whole.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Something happened at a path. A rename touches both of its names.
    pub fn touch(&mut self, now: Instant, origin: OriginId, path: OriginPath, touch: Touch<T>) {
        if let Some((times, _)) = self.whole.get_mut(&origin) {
            times.cover(Times::at(now));
            return;
        }
        let from = touch.renamed_from.clone().map(|from| {
            let gone = Touch { renamed_from: None, recursive: false, payload: touch.payload.clone() };
            ((origin.clone(), from), gone)
        });
        let key = (origin, path);
        self.add(key.clone(), Times::at(now), touch, false);
        if let Some((from, gone)) = from {
            self.add(from.clone(), Times::at(now), gone, false);
            self.link(&key, &from);
        }
        self.hold_bounds();
    }

    /// When [`settle`](Self::settle) has something to give next.
    pub fn next_due(&self) -> Option<Instant> {
        let paths = self.queue.first().map(|&(due, _)| due);
        let origins = self.whole.values().map(|(times, _)| times.due(&self.config));
        origins.chain(paths).min()
    }

    /// Takes out everything that is due, in the order of its due times; what was renamed together comes together.
    pub fn settle(&mut self, now: Instant) -> Vec<Settled<T>> {
        let mut settled = Vec::new();
        while let Some(&(due, id)) = self.queue.first() {
            if due > now {
                break;
            }
            self.queue.pop_first();
            let Some(mut group) = self.groups.remove(&id) else { continue };
            group.members.sort_unstable();
            settled.extend(group.members.into_iter().filter_map(|key| self.take(key)));
        }
        let config = self.config;
        let due = self.whole.extract_if(.., |_, (times, _)| times.due(&config) <= now);
        settled.extend(due.map(|(origin, (_, payload))| Settled::Origin { origin, payload }));
        settled
    }

    fn take(&mut self, key: Key) -> Option<Settled<T>> {
        let entry = self.entries.remove(&key)?;
        self.num_folders -= usize::from(entry.is_collapsed);
        let (origin, path) = key;
        Some(Settled::Path { origin, path, touch: entry.touch })
    }

    /// Adds to what is pending at a key, or begins it in a group of its own.
    fn add(&mut self, key: Key, times: Times, touch: Touch<T>, is_collapsed: bool) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.touch.recursive |= touch.recursive;
            entry.touch.renamed_from = touch.renamed_from.or(entry.touch.renamed_from.take());
            self.num_folders += usize::from(is_collapsed && !entry.is_collapsed);
            entry.is_collapsed |= is_collapsed;
            let group = entry.group;
            self.extend_group(group, times, Vec::new());
            return;
        }
        let group = self.next_group;
        self.next_group += 1;
        self.num_folders += usize::from(is_collapsed);
        self.entries.insert(key.clone(), Entry { group, is_collapsed, touch });
        self.groups.insert(group, Group { times, members: vec![key] });
        self.queue.insert((times.due(&self.config), group));
    }

    fn extend_group(&mut self, id: u64, times: Times, members: Vec<Key>) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        self.queue.remove(&(group.times.due(&self.config), id));
        group.times.cover(times);
        group.members.extend(members);
        self.queue.insert((group.times.due(&self.config), id));
    }

    /// Makes one group of those of two pending keys. The smaller one is moved, so a chain of renames costs n log n.
    fn link(&mut self, one: &Key, other: &Key) {
        let group_of = |key: &Key| self.entries.get(key).map(|entry| entry.group);
        let (Some(one), Some(other)) = (group_of(one), group_of(other)) else { return };
        if one == other {
            return;
        }
        let num_members = |id: u64| self.groups.get(&id).map_or(0, |group| group.members.len());
        let (keep, give) = if num_members(one) < num_members(other) { (other, one) } else { (one, other) };
        let Some(given) = self.groups.remove(&give) else { return };
        self.queue.remove(&(given.times.due(&self.config), give));
        for key in &given.members {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.group = keep;
            }
        }
        self.extend_group(keep, given.times, given.members);
    }

    fn hold_bounds(&mut self) {
        if self.entries.len() - self.num_folders > self.config.max_paths {
            self.collapse_paths();
        }
        while self.num_folders > self.config.max_folders {
            let Some(origin) = self.busiest_origin() else { return };
            self.collapse_origin(origin);
        }
    }

    /// Every pending path becomes its folder with all below; the root stays the root.
    fn collapse_paths(&mut self) {
        let groups = std::mem::take(&mut self.groups);
        let mut entries = std::mem::take(&mut self.entries);
        self.queue.clear();
        self.num_folders = 0;
        for group in groups.into_values() {
            let mut linked: Option<Key> = None;
            for key in group.members {
                let Some(entry) = entries.remove(&key) else { continue };
                let folder = if entry.is_collapsed { key } else { folder_of(key) };
                let touch = Touch { renamed_from: None, recursive: true, payload: entry.touch.payload };
                self.add(folder.clone(), group.times, touch, true);
                match &linked {
                    Some(other) => self.link(other, &folder),
                    None => linked = Some(folder),
                }
            }
        }
    }

    fn busiest_origin(&self) -> Option<OriginId> {
        let mut num_folders = BTreeMap::<&OriginId, usize>::new();
        for ((origin, _), entry) in &self.entries {
            *num_folders.entry(origin).or_default() += usize::from(entry.is_collapsed);
        }
        num_folders.into_iter().max_by_key(|&(_, num)| num).map(|(origin, _)| origin.clone())
    }

    /// Everything pending of an origin becomes the origin. Groups are within one origin, so they go with it.
    fn collapse_origin(&mut self, origin: OriginId) {
        let mut times: Option<Times> = None;
        let mut payload: Option<T> = None;
        for (_, entry) in self.entries.extract_if(|(owner, _), _| *owner == origin) {
            self.num_folders -= usize::from(entry.is_collapsed);
            if let Some(group) = self.groups.remove(&entry.group) {
                self.queue.remove(&(group.times.due(&self.config), entry.group));
                times.get_or_insert(group.times).cover(group.times);
            }
            payload.get_or_insert(entry.touch.payload);
        }
        if let (Some(times), Some(payload)) = (times, payload) {
            self.whole.insert(origin, (times, payload));
        }
    }
}

fn folder_of((origin, path): Key) -> Key {
    let folder = path.parent().unwrap_or_else(OriginPath::root);
    (origin, folder)
}

#[cfg(test)]
#[path = "debounce_tests.rs"]
mod tests;
