//! Tests of the debouncer's state machine: examples of each rule, and random histories against a slow oracle.
//!
//! The oracle keeps every event and finds groups and due times afresh at each question, so it has no state that could go
//! wrong. With tiny bounds the oracle only asks the one thing that must hold whatever collapses: what was touched is
//! covered by something that settles later.

use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const CONFIG: DebounceConfig = DebounceConfig {
    quiet: Duration::from_millis(200),
    at_most: Duration::from_secs(2),
    max_paths: 10_240,
    max_folders: 1_024,
};

fn origin(name: &str) -> OriginId {
    OriginId::parse(name).expect("valid name")
}

fn path(text: &str) -> OriginPath {
    OriginPath::parse(text.as_bytes()).expect("valid path")
}

fn plain<T>(payload: T) -> Touch<T> {
    Touch { renamed_from: None, recursive: false, payload }
}

fn renamed<T>(from: &str, payload: T) -> Touch<T> {
    Touch { renamed_from: Some(path(from)), recursive: true, payload }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn names<T>(settled: &[Settled<T>]) -> Vec<String> {
    let name = |item: &Settled<T>| match item {
        Settled::Path { path, touch, .. } => format!("{path}{}", if touch.recursive { "/**" } else { "" }),
        Settled::Origin { origin, .. } => format!("{origin}:"),
    };
    settled.iter().map(name).collect()
}

impl<T: Clone> Debounce<T> {
    /// Panics unless every index agrees with every other.
    fn self_check(&self) {
        assert_eq!(self.groups.values().map(|group| group.members.len()).sum::<usize>(), self.entries.len());
        assert_eq!(self.queue.len(), self.groups.len());
        assert_eq!(self.entries.values().filter(|entry| entry.is_collapsed).count(), self.num_folders);
        for (id, group) in &self.groups {
            assert!(self.queue.contains(&(group.times.due(&self.config), *id)));
            assert!(group.members.iter().all(|key| self.entries[key].group == *id));
        }
        assert!(self.entries.keys().all(|(origin, _)| !self.whole.contains_key(origin)));
        assert!(self.entries.len() - self.num_folders <= self.config.max_paths);
        assert!(self.num_folders <= self.config.max_folders);
    }
}

#[test]
fn path_quiet_for_200_ms_settles() {
    let start = Instant::now();
    let mut debounce = Debounce::new(CONFIG);
    debounce.touch(start, origin("a"), path("x"), plain(()));
    debounce.touch(start + ms(150), origin("a"), path("x"), plain(()));
    assert_eq!(debounce.next_due(), Some(start + ms(350)));
    assert!(debounce.settle(start + ms(349)).is_empty());
    assert_eq!(names(&debounce.settle(start + ms(350))), ["x"]);
    assert!(debounce.is_empty());
    assert_eq!(debounce.next_due(), None);
}

#[test]
fn path_touched_all_the_time_settles_after_2_s() {
    let start = Instant::now();
    let mut debounce = Debounce::new(CONFIG);
    for step in 0..20 {
        debounce.touch(start + ms(step * 100), origin("a"), path("x"), plain(()));
        assert!(debounce.settle(start + ms(step * 100)).is_empty());
    }
    assert_eq!(debounce.next_due(), Some(start + ms(2000)));
    assert_eq!(names(&debounce.settle(start + ms(2000))), ["x"]);
}

#[test]
fn rename_settles_both_names_together_in_either_order_of_arrival() {
    let start = Instant::now();
    for from_first in [true, false] {
        let mut debounce = Debounce::new(CONFIG);
        if from_first {
            debounce.touch(start, origin("a"), path("old"), plain(()));
        }
        debounce.touch(start + ms(50), origin("a"), path("new"), renamed("old", ()));
        if !from_first {
            debounce.touch(start + ms(50), origin("a"), path("old"), plain(()));
        }
        debounce.touch(start + ms(100), origin("a"), path("new"), plain(()));
        assert!(debounce.settle(start + ms(299)).is_empty());
        let settled = debounce.settle(start + ms(300));
        assert_eq!(names(&settled), ["new/**", "old"]);
        let Settled::Path { touch, .. } = &settled[0] else { panic!("a path") };
        assert_eq!(touch.renamed_from, Some(path("old")));
    }
}

#[test]
fn chain_of_renames_is_one_group() {
    let start = Instant::now();
    let mut debounce = Debounce::new(CONFIG);
    debounce.touch(start, origin("a"), path("b"), renamed("a", ()));
    debounce.touch(start + ms(150), origin("a"), path("c"), renamed("b", ()));
    debounce.touch(start + ms(300), origin("a"), path("d"), renamed("c", ()));
    debounce.self_check();
    assert!(debounce.settle(start + ms(499)).is_empty());
    assert_eq!(names(&debounce.settle(start + ms(500))), ["a", "b/**", "c/**", "d/**"]);
}

#[test]
fn too_many_paths_become_their_folders() {
    let start = Instant::now();
    let mut debounce = Debounce::new(DebounceConfig { max_paths: 3, max_folders: 8, ..CONFIG });
    for name in ["a/1", "a/2", "b/c/1", "top"] {
        debounce.touch(start, origin("a"), path(name), plain(()));
    }
    debounce.self_check();
    let mut settled = names(&debounce.settle(start + ms(200)));
    settled.sort();
    assert_eq!(settled, ["/**", "a/**", "b/c/**"]);
}

#[test]
fn too_many_folders_become_their_origin_and_leave_others_alone() {
    let start = Instant::now();
    let mut debounce = Debounce::new(DebounceConfig { max_paths: 3, max_folders: 2, ..CONFIG });
    debounce.touch(start, origin("b"), path("x/1"), plain(()));
    for name in ["a/1", "b/2", "c/3"] {
        debounce.touch(start, origin("a"), path(name), plain(()));
    }
    debounce.self_check();
    debounce.touch(start + ms(100), origin("a"), path("z"), plain(()));
    assert_eq!(names(&debounce.settle(start + ms(200))), ["x/**"]);
    assert_eq!(names(&debounce.settle(start + ms(300))), ["a:"]);
}

/// One event of a random history: (ms since the one before, path number, number of the path it was renamed from).
type Step = (u64, u8, Option<u8>);

const PATHS: [&str; 10] = ["", "a", "b", "a/1", "a/2", "b/1", "a/c", "a/c/1", "a/c/2", "b/c/d"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..PATHS.len() as u8;
    prop::collection::vec((0..700_u64, number.clone(), prop::option::weighted(0.3, number)), 1..60)
}

/// Every event since its path settled last.
#[derive(Default)]
struct Oracle {
    events: Vec<(Instant, OriginPath, Option<OriginPath>)>,
}

impl Oracle {
    /// The groups: pending paths connected by renames, each with the times of its events.
    fn groups(&self) -> Vec<(BTreeSet<OriginPath>, Times)> {
        let mut groups: Vec<(BTreeSet<OriginPath>, Times)> = Vec::new();
        for (at, path, from) in &self.events {
            let mut merged: BTreeSet<OriginPath> = from.iter().chain([path]).cloned().collect();
            let mut times = Times::at(*at);
            groups.retain(|(members, other)| {
                let apart = members.is_disjoint(&merged);
                if !apart {
                    merged.extend(members.iter().cloned());
                    times.cover(*other);
                }
                apart
            });
            groups.push((merged, times));
        }
        groups
    }

    fn settle(&mut self, now: Instant) -> BTreeMap<OriginPath, Option<OriginPath>> {
        let due: BTreeSet<OriginPath> = self
            .groups()
            .into_iter()
            .filter(|(_, times)| times.due(&CONFIG) <= now)
            .flat_map(|(members, _)| members)
            .collect();
        let mut settled: BTreeMap<_, _> = due.iter().map(|path| (path.clone(), None)).collect();
        for (_, path, from) in self.events.extract_if(.., |(_, path, _)| due.contains(path)) {
            if from.is_some() {
                settled.insert(path, from);
            }
        }
        settled
    }

    fn next_due(&self) -> Option<Instant> {
        self.groups().into_iter().map(|(_, times)| times.due(&CONFIG)).min()
    }
}

proptest! {
    #[test]
    fn random_history_settles_as_the_oracle_says(steps in steps()) {
        let mut now = Instant::now();
        let mut debounce = Debounce::new(CONFIG);
        let mut oracle = Oracle::default();
        for (delay, number, from) in steps {
            now += ms(delay);
            let to = path(PATHS[number as usize]);
            let from = from.map(|number| path(PATHS[number as usize]));
            oracle.events.push((now, to.clone(), from.clone()));
            debounce.touch(now, origin("a"), to, Touch { renamed_from: from, recursive: false, payload: () });
            debounce.self_check();
            prop_assert_eq!(debounce.next_due(), oracle.next_due());
            now += ms(delay / 2);
            let settled = debounce.settle(now).into_iter().map(|item| match item {
                Settled::Path { path, touch, .. } => (path, touch.renamed_from),
                Settled::Origin { .. } => panic!("nothing collapses here"),
            });
            prop_assert_eq!(settled.collect::<BTreeMap<_, _>>(), oracle.settle(now));
            debounce.self_check();
        }
    }

    #[test]
    fn random_history_with_tiny_bounds_forgets_nothing(
        steps in steps(), max_paths in 1..5_usize, max_folders in 0..4_usize, num_origins in 1..3_u8,
    ) {
        let mut now = Instant::now();
        let mut debounce = Debounce::new(DebounceConfig { max_paths, max_folders, ..CONFIG });
        let token = Rc::new(());
        let mut uncovered: Vec<(OriginId, OriginPath)> = Vec::new();
        let end = (10_000, 0, None);
        for (delay, number, from) in steps.into_iter().chain([end]) {
            let origin = origin(["a", "b"][usize::from(number % num_origins)]);
            let to = path(PATHS[number as usize]);
            let from = from.map(|number| path(PATHS[number as usize]));
            uncovered.extend(from.iter().chain([&to]).map(|path| (origin.clone(), path.clone())));
            let touch = Touch { renamed_from: from, recursive: false, payload: Rc::clone(&token) };
            debounce.touch(now, origin, to, touch);
            debounce.self_check();
            prop_assert_eq!(Rc::strong_count(&token), 1 + debounce.len());
            now += ms(delay);
            for item in debounce.settle(now) {
                uncovered.retain(|(owner, path)| !covers(&item, owner, path));
            }
            debounce.self_check();
        }
        prop_assert_eq!(uncovered, vec![]);
        prop_assert_eq!(Rc::strong_count(&token), 1);
    }
}

fn covers<T>(item: &Settled<T>, owner: &OriginId, touched: &OriginPath) -> bool {
    match item {
        Settled::Origin { origin, .. } => origin == owner,
        Settled::Path { origin, path, touch } => {
            origin == owner && (path == touched || (touch.recursive && touched.is_within(path)))
        }
    }
}
