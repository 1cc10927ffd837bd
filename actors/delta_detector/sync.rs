//! Looks at the paths that events named, and at nothing else.
//!
//! Each path is stat'ed; what exists is examined, a folder is compared with everything below it when the event says so or
//! when it is new, and what is gone is only named: it is looked at again, judged and removed when all else has settled. A file that is read through links elsewhere in the
//! root is looked at under those names too. Events are hints: whatever they say, only the stat counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use musicfs_protocol::change::PathsSettled;
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::{FetchError, ScanState, Stat, WorkToken};
use musicfs_pure::ids::{OriginPath, outermost};

use super::context::{OriginContext, ScanError};
use super::examine::{Seen, examine_all};
use super::removals::{self, Circumstances};
use super::scan;

/// Stats beside each other.
const STATS_IN_FLIGHT: usize = 8;

/// Compares these paths with the catalog and tells it what is new or changed. Answers with what is gone.
pub(super) async fn sync_paths(
    context: &OriginContext,
    settled: &HashMap<OriginPath, PathsSettled>,
    work: &WorkToken,
) -> Result<Vec<OriginPath>, ScanError> {
    let mut found = Found::default();
    for (path, stat) in stat_all(context, wanted_paths(context, settled)?).await? {
        let touched = settled.get(&path);
        let recursive = touched.is_some_and(|settled| settled.recursive);
        found.add(context, path, recursive, touched.is_some(), stat)?;
    }
    let mut gone = found.gone;
    let seen: Vec<OriginPath> = found.existing.iter().map(|seen| seen.path.clone()).collect();
    let changes = examine_all(context, found.existing).await?;
    let applied = context.apply(changes, work).await?;
    if applied.added + applied.moved > 0 || !gone.is_empty() || !found.folders.is_empty() {
        context.rescan_if_linked(work)?;
    }
    context.rescan_if_withheld(&seen, work)?;
    gone.extend(compare_folders(context, found.folders, work).await?);
    mark_done(context);
    Ok(gone)
}

/// Removes what is still gone, if it is believed.
pub(super) async fn remove_gone(
    context: &OriginContext,
    paths: BTreeSet<OriginPath>,
    work: &WorkToken,
) -> Result<(), ScanError> {
    let looked_at = stat_all(context, paths).await?;
    let gone: Vec<OriginPath> =
        looked_at.into_iter().filter(|(_, stat)| stat.is_none()).map(|(path, _)| path).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let circumstances = Circumstances {
        root_changed: context.root_changed().await?,
        accepted: false,
        changed_mounts: removals::lost_mounts(context, &gone).await?,
        unseen: vec![OriginPath::root()],
    };
    removals::remove(context, gone, &circumstances, work).await?.map_or(Ok(()), Err)
}

/// What the stats of a batch came to.
#[derive(Default)]
struct Found {
    existing: Vec<Seen>,
    folders: BTreeSet<OriginPath>,
    gone: Vec<OriginPath>,
}

impl Found {
    fn add(
        &mut self,
        context: &OriginContext,
        path: OriginPath,
        recursive: bool,
        is_touched: bool,
        stat: Option<Stat>,
    ) -> Result<(), ScanError> {
        match stat {
            None => self.gone.push(path),
            Some(stat) => {
                let is_folder = stat.kind == NodeKind::Folder;
                if is_folder && (recursive || context.catalog().known(&context.origin, &path)?.is_none()) {
                    self.folders.insert(path.clone());
                }
                if !path.is_root() {
                    self.existing.push(Seen { path, stat, is_touched });
                }
            }
        }
        Ok(())
    }
}

/// The settled paths, where links show them, and the folders they are in, whose mtime has moved.
fn wanted_paths(
    context: &OriginContext,
    settled: &HashMap<OriginPath, PathsSettled>,
) -> Result<BTreeSet<OriginPath>, ScanError> {
    let mut wanted = BTreeSet::new();
    for path in settled.keys() {
        let links = context.catalog().links_to(&context.origin, path)?;
        for path in links.into_iter().chain([path.clone()]) {
            wanted.extend(path.parent().filter(|parent| !parent.is_root()));
            wanted.insert(path);
        }
    }
    Ok(wanted)
}

/// The stat of each path; nothing where the origin says definitely that there is nothing to serve.
async fn stat_all(
    context: &OriginContext,
    paths: BTreeSet<OriginPath>,
) -> Result<BTreeMap<OriginPath, Option<Stat>>, ScanError> {
    stream::iter(paths)
        .map(|path| async move {
            match context.stat(&path).await {
                Ok(stat) => Ok(Some((path, Some(stat)))),
                Err(ScanError::Fetch(FetchError::NotFound | FetchError::NotServable)) => Ok(Some((path, None))),
                // Nothing can be concluded about what may not be looked at.
                Err(ScanError::Fetch(FetchError::AccessDenied)) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffered(STATS_IN_FLIGHT)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

/// Compares folders with everything below them.
async fn compare_folders(
    context: &OriginContext,
    folders: BTreeSet<OriginPath>,
    work: &WorkToken,
) -> Result<Vec<OriginPath>, ScanError> {
    let mut missing = Vec::new();
    for folder in outermost(folders) {
        match scan::missing_below(context, &folder, work).await {
            Ok(below) => missing.extend(below),
            // It went away between its stat and its listing: the event of that is on its way.
            Err(ScanError::Fetch(FetchError::NotFound)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// A failure that events have healed is over; a quarantine is not.
fn mark_done(context: &OriginContext) {
    context.progress(|progress| {
        if matches!(progress.state, ScanState::Failed { .. }) && progress.num_finished > 0 {
            progress.state = ScanState::Done;
        }
    });
}
