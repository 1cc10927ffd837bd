//! Turns what an origin shows at a path into a change for the catalog, or into nothing.
//!
//! A path that is known keeps its file's id, whatever happened to the content. A path that is new may be a file that was
//! renamed: one with the same inode, size and mtime, whose own path is gone, keeps its id and its tags, and nothing is
//! fetched. Only files named like audio are opened at all.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use musicfs_protocol::change::{Change, TagOutcome};
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::Known;
use musicfs_protocol::{FetchError, Stat};
use musicfs_pure::delta::{Difference, FileState, compare};
use musicfs_pure::ids::{FileId, OriginPath};
use musicfs_pure::tags::{FileClass, classify};

use super::context::{OriginContext, ScanError};
use super::tag_reader::read_tags;

/// Files examined beside each other, so that a round trip to a far origin is hidden behind others.
const FILES_IN_FLIGHT: usize = 8;

/// Examines many paths; the answers come in the order of the paths.
pub(super) async fn examine_all(
    context: &OriginContext,
    seen: Vec<(OriginPath, Stat)>,
) -> Result<Vec<Change>, ScanError> {
    let changes: Vec<Option<Change>> = stream::iter(seen)
        .map(|(path, stat)| examine(context, path, stat))
        .buffered(FILES_IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(changes.into_iter().flatten().collect())
}

/// What the catalog must be told about a path that exists; nothing when it knows already.
async fn examine(context: &OriginContext, path: OriginPath, stat: Stat) -> Result<Option<Change>, ScanError> {
    if stat.kind == NodeKind::Folder {
        return Ok(Some(Change::Folder { path, stat }));
    }
    match context.catalog().known(&context.origin, &path)? {
        Some(Known::File { file, version, ctime, mode, tags_known }) => {
            let known = FileState { version: &version, ctime, mode };
            let seen = FileState { version: &stat.version, ctime: stat.ctime, mode: stat.mode };
            let difference = compare(known, seen);
            examine_known(context, path, stat, file, difference, tags_known).await
        }
        Some(Known::Folder) | None => examine_new(context, path, stat).await.map(Some),
    }
}

async fn examine_known(
    context: &OriginContext,
    path: OriginPath,
    stat: Stat,
    file: FileId,
    difference: Difference,
    tags_known: bool,
) -> Result<Option<Change>, ScanError> {
    let tags = match difference {
        Difference::None if tags_known => return Ok(None),
        Difference::Attributes if tags_known => TagOutcome::Keep,
        _ => tags_of(context, &path, &stat).await?,
    };
    Ok(Some(Change::File { path, stat, keeps: Some(file), tags }))
}

async fn examine_new(context: &OriginContext, path: OriginPath, stat: Stat) -> Result<Change, ScanError> {
    if let Some(file) = moved_from(context, &path, &stat).await? {
        return Ok(Change::File { path, stat, keeps: Some(file), tags: TagOutcome::Keep });
    }
    let tags = tags_of(context, &path, &stat).await?;
    Ok(Change::File { path, stat, keeps: None, tags })
}

async fn tags_of(context: &OriginContext, path: &OriginPath, stat: &Stat) -> Result<TagOutcome, ScanError> {
    if classify(path.file_name().unwrap_or_default()) != FileClass::Audio {
        return Ok(TagOutcome::NotAudio);
    }
    context.progress(|progress| progress.num_tags_read += 1);
    read_tags(context, path, &stat.version).await
}

/// The file that was moved to this path, if there is exactly one that it can be. A link's target is no file of its own,
/// so a link is never taken for a moved file, nor is a file of another class: its tags would be missing.
async fn moved_from(context: &OriginContext, path: &OriginPath, stat: &Stat) -> Result<Option<FileId>, ScanError> {
    if stat.real_path.is_some() || stat.version.ino.is_none() {
        return Ok(None);
    }
    let class = classify(path.file_name().unwrap_or_default());
    let mut candidates = Vec::new();
    for lookalike in context.catalog().lookalikes(&context.origin, &stat.version)? {
        let same_class = classify(lookalike.path.file_name().unwrap_or_default()) == class;
        if same_class && (!lookalike.live || is_gone(context, &lookalike.path).await?) {
            candidates.push(lookalike.file);
        }
    }
    let [file] = candidates[..] else { return Ok(None) };
    Ok(Some(file))
}

/// Whether the origin says definitely that nothing is at this path.
async fn is_gone(context: &OriginContext, path: &OriginPath) -> Result<bool, ScanError> {
    match context.stat(path).await {
        Err(ScanError::Fetch(FetchError::NotFound)) => Ok(true),
        Ok(_) | Err(ScanError::Fetch(FetchError::AccessDenied | FetchError::NotServable)) => Ok(false),
        Err(error) => Err(error),
    }
}
