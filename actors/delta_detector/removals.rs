//! Carries out removals, as far as they are believed.
//!
//! Candidates are collected first and judged together, after additions and moves have been applied: what was moved is not
//! known under its old path any more and so is not missing. What is doubted is written down durably before anything goes,
//! so that the next start, and every listing until then, doubts it too.

use std::collections::BTreeSet;

use musicfs_protocol::change::{Change, MAX_WITHHELD};
use musicfs_protocol::fetch::{MountedFolder, NodeKind};
use musicfs_protocol::library::{Known, OriginSummary};
use musicfs_protocol::{FetchError, RootIdentity, WorkToken};
use musicfs_pure::ids::{OriginPath, outermost};
use musicfs_pure::removals::{Doubt, Missing, RemovalPlan, Situation, cover, plan_removals, still_withheld};

use super::context::{OriginContext, ScanError, is_other_root};

/// How candidates came to be missing.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    /// The origin's root is another one than before.
    pub(super) root_changed: bool,
    /// A person wants the removals.
    pub(super) accepted: bool,
    /// Folders on which something else is mounted than before.
    pub(super) changed_mounts: Vec<OriginPath>,
    /// Folders that could not be looked at, with everything below them.
    pub(super) unseen: Vec<OriginPath>,
}

/// Removes the candidates that the catalog still knows, as far as they are believed to be gone; says why when some are not.
pub(super) async fn remove(
    context: &OriginContext,
    candidates: Vec<OriginPath>,
    circumstances: &Circumstances,
    work: &WorkToken,
) -> Result<Option<ScanError>, ScanError> {
    let summary = context.catalog().origin_summary(&context.origin)?;
    let mut missing = Vec::new();
    for path in outermost(candidates.into_iter().collect()) {
        let num_files = match context.catalog().known(&context.origin, &path)? {
            None => continue,
            Some(Known::File { .. }) => 1,
            Some(Known::Folder) => count_files(context, &path)?,
        };
        missing.push(Missing { path, num_files });
    }
    let situation = Situation {
        num_known: summary.files,
        root_changed: circumstances.root_changed,
        accepted: circumstances.accepted,
        withheld: &summary.withheld,
        changed_mounts: &circumstances.changed_mounts,
    };
    let plan = plan_removals(&situation, missing);
    let mut changes: Vec<Change> = withhold(&summary, &plan, &circumstances.unseen).into_iter().collect();
    changes.extend(plan.removed.iter().map(|path| Change::Removed { path: path.clone() }));
    context.apply(changes, work).await?;
    Ok(plan.doubt.map(|doubt| quarantined(context, plan.num_withheld, summary.files, &doubt)))
}

/// What is to be withheld from now on, when that is not what is withheld already.
fn withhold(summary: &OriginSummary, plan: &RemovalPlan, unseen: &[OriginPath]) -> Option<Change> {
    let withheld: BTreeSet<OriginPath> =
        still_withheld(&summary.withheld, unseen).chain(plan.withheld.iter().cloned()).collect();
    let paths = cover(withheld, MAX_WITHHELD);
    (paths != summary.withheld).then_some(Change::Withheld { paths })
}

/// What is said about an origin whose removals are not carried out.
fn quarantined(context: &OriginContext, num_withheld: u64, num_known: u64, doubt: &Doubt) -> ScanError {
    let origin = &context.origin;
    let why = match doubt {
        Doubt::OtherRoot => "the origin's root is another folder than before".to_owned(),
        Doubt::OtherMount(folder) => format!("what is mounted on its folder `{folder}` is not what was there before"),
        Doubt::TooMany => "that is more than half of the origin".to_owned(),
        Doubt::Before => "have not been seen since their removal was held back".to_owned(),
    };
    let reason = format!(
        "{num_withheld} of {num_known} files seem to be gone and {why}; none of them was removed. \
         If they are meant to be gone: musicfs origin rescan {origin} --accept-removals"
    );
    ScanError::Quarantined { reason }
}

/// Where something else is mounted at the end of a listing than after the one before. Nothing is known of catalogs that
/// were written before mounts were looked at.
pub(super) fn changed_mounts(before: Option<&[MountedFolder]>, now: &[MountedFolder]) -> Vec<OriginPath> {
    let Some(before) = before else { return Vec::new() };
    let is_in = |mounts: &[MountedFolder], mount: &MountedFolder| {
        mounts.iter().any(|other| other.path == mount.path && !is_other_root(other.root, mount.root))
    };
    let lost = before.iter().filter(|mount| !is_in(now, mount));
    let new = now.iter().filter(|mount| !is_in(before, mount));
    lost.chain(new).map(|mount| mount.path.clone()).collect()
}

/// Of the filesystems that were mounted when the origin was last listed, those that are not any more and had one of these
/// paths on them.
pub(super) async fn lost_mounts(context: &OriginContext, paths: &[OriginPath]) -> Result<Vec<OriginPath>, ScanError> {
    let mut lost = Vec::new();
    for mount in context.catalog().origin_summary(&context.origin)?.listed_mounts.unwrap_or_default() {
        let concerns = |path: &OriginPath| path.is_within(&mount.path) || mount.path.is_within(path);
        if paths.iter().any(concerns)
            && mounted_on(context, &mount.path).await?.is_none_or(|now| is_other_root(mount.root, now))
        {
            lost.push(mount.path);
        }
    }
    Ok(lost)
}

/// What is mounted on a folder now.
async fn mounted_on(context: &OriginContext, folder: &OriginPath) -> Result<Option<RootIdentity>, ScanError> {
    match context.list_folder(folder).await {
        Ok(page) => Ok(page.mounts.into_iter().find(|mount| mount.path == *folder).map(|mount| mount.root)),
        Err(ScanError::Fetch(FetchError::NotFound | FetchError::NotServable | FetchError::AccessDenied)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Known files below a folder.
fn count_files(context: &OriginContext, folder: &OriginPath) -> Result<u64, ScanError> {
    let mut count = 0;
    let mut pending = vec![folder.clone()];
    while let Some(folder) = pending.pop() {
        context.catalog().known_children(&context.origin, &folder, &mut |name, kind| {
            match kind {
                NodeKind::File => count += 1,
                NodeKind::Folder => pending.extend(folder.join(name).ok()),
            }
            true
        })?;
    }
    Ok(count)
}
