//! Which files that are missing are believed to be gone.
//!
//! This is what protects libraries: an unmounted disk lists successfully and *empty*. So absence is doubted when the root
//! is another one, when something else than before is mounted on a folder, and when too much is missing at once. What is
//! doubted is *withheld*: it stays in the tree, path by path, until it is seen again or a person says that it is meant to
//! be gone. Withheld paths are handed in again with the next listing, whatever else has been added or removed meanwhile,
//! so that no restart and no number of new files turns a doubt into a removal.
//!
//! ```text
//!            doubted                       seen again, or a person's word
//!  missing ─────────► withheld ───────────────────────────────────────────► (nothing)
//!     │                  ▲ │ still missing at the next listing
//!     │ believed         └─┘
//!     └────────► removed
//! ```

use std::collections::{BTreeSet, HashSet};

use crate::ids::{OriginPath, outermost};

/// A listing removes nothing by itself when it would remove more files than this and more than half of them: fewer can be
/// an album that someone deleted, and are found again by their tombstones in any case.
pub const QUARANTINE_MIN_FILES: u64 = 20;

/// A path that is known and is not there any more; none lies below another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where.
    pub path: OriginPath,
    /// Known files at or below it.
    pub num_files: u64,
}

/// What is known about the origin that a listing, or a batch of events, found paths missing in.
#[derive(Clone, Debug, Default)]
pub struct Situation<'a> {
    /// Files that are known.
    pub num_known: u64,
    /// The root is another folder than the one before: another filesystem type or root inode.
    pub root_changed: bool,
    /// A person has said that the removals are wanted.
    pub accepted: bool,
    /// Where absence was not believed before.
    pub withheld: &'a [OriginPath],
    /// Folders on which something else is mounted than before, or nothing any more, or now something.
    pub changed_mounts: &'a [OriginPath],
}

/// Why absence is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The root is another one.
    OtherRoot,
    /// Something else is mounted on this folder than before.
    OtherMount(OriginPath),
    /// Too much is missing at once.
    TooMany,
    /// It was not believed before, and nothing has come back.
    Before,
}

/// What is done with missing paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovalPlan {
    /// These go.
    pub removed: Vec<OriginPath>,
    /// These stay as they are known.
    pub withheld: Vec<OriginPath>,
    /// Files among those.
    pub num_withheld: u64,
    /// The weightiest reason; something whenever files are withheld.
    pub doubt: Option<Doubt>,
}

/// Decides what is done with paths that are missing.
pub fn plan_removals(situation: &Situation<'_>, missing: Vec<Missing>) -> RemovalPlan {
    let mut plan = RemovalPlan::default();
    if situation.accepted {
        plan.removed = missing.into_iter().map(|missing| missing.path).collect();
        return plan;
    }
    let (before, mounts) = (Related::to(situation.withheld), Related::to(situation.changed_mounts));
    let mut open = Vec::new();
    for missing in missing {
        if missing.num_files == 0 {
            // an empty folder: nothing is lost with it, and nothing would ever bring it back
            plan.removed.push(missing.path);
        } else if let Some(mount) = mounts.find(&missing.path) {
            plan.withhold(missing, Doubt::OtherMount(mount));
        } else if before.find(&missing.path).is_some() {
            plan.withhold(missing, Doubt::Before);
        } else {
            open.push(missing);
        }
    }
    let num_open: u64 = open.iter().map(|missing| missing.num_files).sum();
    match judge(situation, num_open, situation.num_known.saturating_sub(plan.num_withheld)) {
        Some(doubt) => open.into_iter().for_each(|missing| plan.withhold(missing, doubt.clone())),
        None => plan.removed.extend(open.into_iter().map(|missing| missing.path)),
    }
    plan
}

/// Whether so many missing files are doubted as a whole.
fn judge(situation: &Situation<'_>, num_missing: u64, num_known: u64) -> Option<Doubt> {
    if situation.root_changed {
        Some(Doubt::OtherRoot)
    } else if num_missing > QUARANTINE_MIN_FILES && num_missing > num_known / 2 {
        Some(Doubt::TooMany)
    } else {
        None
    }
}

impl RemovalPlan {
    fn withhold(&mut self, missing: Missing, doubt: Doubt) {
        self.num_withheld += missing.num_files;
        self.withheld.push(missing.path);
        if matches!(self.doubt, None | Some(Doubt::Before)) {
            self.doubt = Some(doubt);
        }
    }
}

/// Paths, and what lies above and below them.
struct Related<'a> {
    paths: HashSet<&'a OriginPath>,
    above: HashSet<OriginPath>,
}

impl<'a> Related<'a> {
    fn to(paths: &'a [OriginPath]) -> Self {
        let above = paths.iter().flat_map(|path| std::iter::successors(path.parent(), OriginPath::parent)).collect();
        Self { paths: paths.iter().collect(), above }
    }

    /// The nearest of the paths that this one is or lies below; this one when it is a folder that one of them lies in.
    fn find(&self, path: &OriginPath) -> Option<OriginPath> {
        std::iter::successors(Some(path.clone()), OriginPath::parent)
            .find(|above| self.paths.contains(above))
            .or_else(|| self.above.contains(path).then(|| path.clone()))
    }
}

/// The paths among `withheld` that a listing says nothing about, because it could not look at `unseen`.
pub fn still_withheld<'a>(
    withheld: &'a [OriginPath],
    unseen: &'a [OriginPath],
) -> impl Iterator<Item = OriginPath> + 'a {
    let unseen = Related::to(unseen);
    withheld.iter().filter(move |path| unseen.find(path).is_some()).cloned()
}

/// At most `max` paths under which all of these lie: too many of them become the folders that they are in.
pub fn cover(paths: BTreeSet<OriginPath>, max: usize) -> Vec<OriginPath> {
    let mut covering = outermost(paths);
    while covering.len() > max.max(1) {
        let folders = covering.iter().map(|path| path.parent().unwrap_or_else(OriginPath::root)).collect();
        covering = outermost(folders);
    }
    covering
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).expect(text)
    }

    fn missing(text: &str, num_files: u64) -> Missing {
        Missing { path: path(text), num_files }
    }

    fn of(num_known: u64) -> Situation<'static> {
        Situation { num_known, ..Situation::default() }
    }

    #[test]
    fn removals_beyond_half_and_twenty_are_not_believed() {
        for (num_known, num_missing, is_believed) in
            [(20, 20, true), (21, 21, false), (42, 21, true), (41, 21, false), (0, 0, true)]
        {
            let plan = plan_removals(&of(num_known), vec![missing("a", num_missing)]);
            assert_eq!(plan.removed == [path("a")], is_believed, "{num_missing} of {num_known}");
            assert_eq!(plan.doubt, (!is_believed).then_some(Doubt::TooMany));
        }
    }

    #[test]
    fn another_root_removes_nothing_unless_accepted() {
        let situation = Situation { root_changed: true, ..of(100) };
        let plan = plan_removals(&situation, vec![missing("a", 1), missing("empty", 0)]);
        assert_eq!((plan.removed, plan.withheld), (vec![path("empty")], vec![path("a")]));
        assert_eq!(plan.doubt, Some(Doubt::OtherRoot));
        let accepted = Situation { accepted: true, ..situation };
        assert_eq!(plan_removals(&accepted, vec![missing("a", 1)]).removed, [path("a")]);
    }

    #[test]
    fn files_below_another_mount_stay_and_others_go() {
        let mounts = [path("disk/music")];
        let situation = Situation { changed_mounts: &mounts, ..of(100) };
        let lost = ["disk/music", "disk/music/a", "disk"];
        for lost in lost {
            let plan = plan_removals(&situation, vec![missing(lost, 1), missing("other", 1), missing("disk2", 1)]);
            assert_eq!(plan.removed, [path("other"), path("disk2")]);
            assert_eq!(plan.withheld, [path(lost)]);
            assert!(matches!(plan.doubt, Some(Doubt::OtherMount(_))));
        }
    }

    #[test]
    fn withheld_files_stay_however_many_were_added() {
        let first = plan_removals(&of(50), vec![missing("a", 30)]);
        assert_eq!((first.withheld.clone(), first.num_withheld), (vec![path("a")], 30));
        let later = Situation { withheld: &first.withheld, ..of(1_000) };
        let plan = plan_removals(&later, vec![missing("a/1", 1), missing("b", 1)]);
        assert_eq!((plan.removed, plan.withheld), (vec![path("b")], vec![path("a/1")]));
        assert_eq!(plan.doubt, Some(Doubt::Before));
    }

    #[test]
    fn what_was_not_looked_at_stays_withheld() {
        let withheld = [path("a/x"), path("b"), path("c/y")];
        let unseen = [path("a"), path("b/deep")];
        assert_eq!(still_withheld(&withheld, &unseen).collect::<Vec<_>>(), [path("a/x"), path("b")]);
        assert_eq!(still_withheld(&withheld, &[OriginPath::root()]).count(), 3);
    }

    #[test]
    fn too_many_paths_become_their_folders() {
        let paths: BTreeSet<_> = ["a/1", "a/2", "b/c/1", "b/c/2"].map(path).into();
        assert_eq!(cover(paths.clone(), 4).len(), 4);
        assert_eq!(cover(paths.clone(), 2), [path("a"), path("b/c")]);
        assert_eq!(cover(paths, 1), [OriginPath::root()]);
    }

    fn paths() -> impl Strategy<Value = BTreeSet<OriginPath>> {
        proptest::collection::btree_set("[ab](/[ab]){0,3}".prop_map(|text| path(&text)), 0..12)
    }

    proptest! {
        /// Nothing is lost, nothing is decided twice, and whatever is related to a doubt stays.
        #[test]
        fn every_missing_path_is_removed_or_withheld(gone in paths(), withheld in paths(), changed in paths()) {
            let missing: Vec<Missing> =
                outermost(gone).into_iter().map(|path| Missing { path, num_files: 1 }).collect();
            let (withheld, changed): (Vec<_>, Vec<_>) = (withheld.into_iter().collect(), changed.into_iter().collect());
            let situation = Situation { withheld: &withheld, changed_mounts: &changed, ..of(1_000) };
            let plan = plan_removals(&situation, missing.clone());
            prop_assert_eq!(plan.removed.len() + plan.withheld.len(), missing.len());
            for missing in &missing {
                let doubted = withheld.iter().chain(&changed)
                    .any(|other| missing.path.is_within(other) || other.is_within(&missing.path));
                prop_assert_eq!(plan.withheld.contains(&missing.path), doubted);
            }
            prop_assert_eq!(plan.num_withheld as usize, plan.withheld.len());
            prop_assert_eq!(plan.doubt.is_some(), !plan.withheld.is_empty());
        }

        #[test]
        fn cover_covers_with_no_more_than_asked(paths in paths(), max in 1_usize..6) {
            let covering = cover(paths.clone(), max);
            prop_assert!(covering.len() <= max);
            for path in paths {
                prop_assert!(covering.iter().any(|folder| path.is_within(folder)));
            }
        }
    }
}
