//! Compares a folder and everything below it, or a whole origin, with the catalog.
//!
//! Pages are worked off as they come: what is new or changed is examined and applied, so that the library fills while a
//! long listing goes on. Per folder the names that were seen are set against the names that are known; what is missing is
//! only remembered, and judged at the end. A folder that could not be read is incomplete: nothing below it is missing. A
//! root that changes between two pages makes the whole listing worthless.

use std::collections::{HashMap, HashSet};

use musicfs_protocol::change::Change;
use musicfs_protocol::fetch::{ListStep, MountedFolder, NodeKind};
use musicfs_protocol::{FetchError, ListPage, RescanOrigin, RootIdentity, ScanState, WorkToken};
use musicfs_pure::ids::OriginPath;

use super::context::{OriginContext, ScanError, is_other_root};
use super::examine::{Seen, examine_all};
use super::removals::{self, Circumstances};

/// Files examined before their changes are applied: a library that is being scanned for the first time fills visibly, and
/// a scan that is interrupted goes on from there. So the tags of at most this many files are read twice.
const EXAMINED_AT_ONCE: usize = 256;

/// What a listing has shown so far.
#[derive(Default)]
struct Listing {
    seen: HashMap<OriginPath, HashSet<Box<[u8]>>>,
    missing: Vec<OriginPath>,
    failed: Option<(u64, OriginPath, FetchError)>,
    /// Folders that could not be read, for whatever reason: nothing is concluded about what is in them.
    unseen: Vec<OriginPath>,
    root: Option<RootIdentity>,
    mounts: Vec<MountedFolder>,
}

/// Compares the whole origin; publishes progress and how it ended.
pub(super) async fn scan_origin(context: &OriginContext, rescan: &RescanOrigin) -> Result<(), ScanError> {
    context.progress(|progress| {
        progress.state = ScanState::Running;
        (progress.num_listed, progress.num_tags_read) = (0, 0);
        (progress.num_links_left_out, progress.num_names_left_out) = (0, 0);
    });
    let before = context.catalog().origin_summary(&context.origin)?;
    let listing = list_below(context, &OriginPath::root(), &rescan.work, true).await?;
    let listed_root = before.listed_root;
    let circumstances = Circumstances {
        root_changed: matches!((listed_root, listing.root), (Some(before), Some(now)) if is_other_root(before, now)),
        accepted: rescan.accept_removals,
        changed_mounts: removals::changed_mounts(before.listed_mounts.as_deref(), &listing.mounts),
        unseen: listing.unseen,
    };
    let doubt = removals::remove(context, listing.missing, &circumstances, &rescan.work).await?;
    // Another root is not taken for the origin's own while anything is missing from it.
    let is_believed = doubt.is_none() || !circumstances.root_changed;
    if let (Some(root), None, true) = (listing.root, &listing.failed, is_believed) {
        let mut mounts = listing.mounts;
        mounts.extend(unseen_mounts(before.listed_mounts.unwrap_or_default(), &circumstances.unseen));
        context.apply(vec![Change::ListingComplete { root, mounts }], &rescan.work).await?;
    }
    if let Some(doubt) = doubt {
        return Err(doubt);
    }
    if let Some((num_folders, first, error)) = listing.failed {
        return Err(ScanError::Incomplete { num_folders, first, error });
    }
    context.progress(|progress| {
        progress.state = ScanState::Done;
        progress.num_finished += 1;
    });
    tracing::info!(origin = %context.origin, "origin compared with the catalog");
    Ok(())
}

/// The mounts that a listing could not look at: they are taken to be as they were.
fn unseen_mounts(mounts: Vec<MountedFolder>, unseen: &[OriginPath]) -> impl Iterator<Item = MountedFolder> {
    mounts.into_iter().filter(|mount| unseen.iter().any(|folder| mount.path.is_within(folder)))
}

/// Compares what is below a folder; what is missing there is left to the caller to judge.
pub(super) async fn missing_below(
    context: &OriginContext,
    folder: &OriginPath,
    work: &WorkToken,
) -> Result<Vec<OriginPath>, ScanError> {
    let listing = list_below(context, folder, work, false).await?;
    let before = context.catalog().origin_summary(&context.origin)?.listed_mounts;
    let is_other = |path: &OriginPath| listing.mounts.iter().any(|mount| mount.path == *path);
    if removals::changed_mounts(before.as_deref(), &listing.mounts).iter().any(is_other) {
        // what is mounted there hides what is known: only a comparison of the whole origin may judge that
        context.rescan(work);
        return Ok(Vec::new());
    }
    match listing.failed {
        Some((num_folders, first, error)) => Err(ScanError::Incomplete { num_folders, first, error }),
        None => Ok(listing.missing),
    }
}

async fn list_below(
    context: &OriginContext,
    folder: &OriginPath,
    work: &WorkToken,
    whole: bool,
) -> Result<Listing, ScanError> {
    let mut listing = Listing::default();
    let mut cursor = None;
    loop {
        let page = context.list(folder, cursor).await?;
        if *listing.root.get_or_insert(page.root) != page.root {
            return Err(ScanError::RootChanged);
        }
        if whole {
            publish_page(context, &page);
        }
        listing.mounts.extend_from_slice(&page.mounts);
        fail::fail_point!("delta_detector::page_listed");
        let next = page.next.clone();
        apply_page(context, &mut listing, page, work).await?;
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(listing),
        }
    }
}

fn publish_page(context: &OriginContext, page: &ListPage) {
    context.progress(|progress| {
        progress.num_listed += page.steps.iter().filter(|step| is_file(step)).count() as u64;
        progress.num_links_left_out += page.links_left_out;
        progress.num_names_left_out += page.names_left_out;
    });
}

fn is_file(step: &ListStep) -> bool {
    matches!(step, ListStep::Entry { stat, .. } if stat.kind == NodeKind::File)
}

/// Applies what a page shows and notes what it lacks.
async fn apply_page(
    context: &OriginContext,
    listing: &mut Listing,
    page: ListPage,
    work: &WorkToken,
) -> Result<(), ScanError> {
    let mut entries: Vec<Seen> = Vec::new();
    for step in page.steps {
        match step {
            ListStep::Entry { path, stat } => {
                if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                    listing.seen.entry(parent).or_default().insert(name.into());
                }
                entries.push(Seen { path, stat, is_touched: false });
            }
            ListStep::FolderComplete { path } => note_missing(context, listing, &path)?,
            ListStep::FolderFailed { path, error } => note_failed(context, listing, path, error),
        }
    }
    while !entries.is_empty() {
        let rest = entries.split_off(entries.len().min(EXAMINED_AT_ONCE));
        let changes = examine_all(context, std::mem::replace(&mut entries, rest)).await?;
        context.apply(changes, work).await?;
        // as kill -9: what is applied is the checkpoint
        fail::fail_point!("delta_detector::batch_applied", |_| std::process::abort());
    }
    Ok(())
}

/// A folder that vanished during the listing is no failure: its parent's next comparison shows it. Nor is one that may not
/// be read, like `lost+found`: it is left as it is known, and the rest of the listing is whole.
fn note_failed(context: &OriginContext, listing: &mut Listing, path: OriginPath, error: FetchError) {
    listing.seen.remove(&path);
    listing.unseen.push(path.clone());
    if error == FetchError::NotFound && !path.is_root() {
        return;
    }
    if error == FetchError::AccessDenied && !path.is_root() {
        tracing::warn!(origin = %context.origin, %path, "the folder may not be read; what is known of it stays");
        return;
    }
    match &mut listing.failed {
        Some((num_folders, ..)) => *num_folders += 1,
        None => listing.failed = Some((1, path, error)),
    }
}

/// What is known of a folder and was not seen in it.
fn note_missing(context: &OriginContext, listing: &mut Listing, folder: &OriginPath) -> Result<(), ScanError> {
    let seen = listing.seen.remove(folder).unwrap_or_default();
    let missing = &mut listing.missing;
    context.catalog().known_children(&context.origin, folder, &mut |name, _| {
        if !seen.contains(name) {
            missing.extend(folder.join(name).ok());
        }
        true
    })?;
    Ok(())
}
