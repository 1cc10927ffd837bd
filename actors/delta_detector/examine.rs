//! Turns what an origin shows at a path into a change for the catalog, or into nothing.
//!
//! A path that is known keeps its file's id, whatever happened to the content. A path that is new may be a file that was
//! renamed: one with the same inode, size and mtime, whose own path is gone, keeps its id and its tags, and nothing is
//! fetched. Where inode numbers do not last (vfat, FUSE, SMB), equal size and mtime say little, so the first bytes must be
//! the same too: they are read with the tags of every file there, and their hash is kept. Only files named like audio are
//! opened at all.

use std::cell::RefCell;
use std::collections::HashSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use musicfs_protocol::change::{Change, TagOutcome};
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{HeadHash, Known};
use musicfs_protocol::{FetchError, Stat};
use musicfs_pure::delta::{Difference, FileState, compare};
use musicfs_pure::ids::{FileId, OriginPath};
use musicfs_pure::tags::{FileClass, classify};

use super::context::{OriginContext, ScanError};
use super::tag_reader::{TagsRead, read_tags};

/// With more files of one inode than this, a new name is taken for one more hard link.
const MAX_LOOKALIKES: usize = 8;

/// Files examined beside each other, so that a round trip to a far origin is hidden behind others.
const FILES_IN_FLIGHT: usize = 8;

/// Files that a path of this batch was found to have come from: two hard links cannot both be what one file became.
type Claims = RefCell<HashSet<FileId>>;

/// A path and what its origin shows there.
pub(super) struct Seen {
    pub(super) path: OriginPath,
    pub(super) stat: Stat,
    /// An event says that something happened to it. Two writes within one tick of the filesystem's clock leave the same
    /// attributes, so attributes that are the known ones do not prove that the content is: its tags are read again.
    pub(super) is_touched: bool,
}

/// Examines many paths; the answers come in the order of the paths.
pub(super) async fn examine_all(context: &OriginContext, seen: Vec<Seen>) -> Result<Vec<Change>, ScanError> {
    let claims = Claims::default();
    let changes: Vec<Vec<Change>> =
        stream::iter(seen).map(|seen| examine(context, &claims, seen)).buffered(FILES_IN_FLIGHT).try_collect().await?;
    Ok(changes.into_iter().flatten().collect())
}

/// What the catalog must be told about a path that exists; nothing when it knows already.
async fn examine(
    context: &OriginContext,
    claims: &Claims,
    Seen { path, stat, is_touched }: Seen,
) -> Result<Vec<Change>, ScanError> {
    if stat.kind == NodeKind::Folder {
        return Ok(vec![Change::Folder { path, stat }]);
    }
    match context.catalog().known(&context.origin, &path)? {
        Some(Known::File { file, version, ctime, mode, tags_known }) => {
            let known = FileState { version: &version, ctime, mode };
            let seen = FileState { version: &stat.version, ctime: stat.ctime, mode: stat.mode };
            let difference = match compare(known, seen) {
                Difference::None if is_touched => Difference::Suspect,
                difference => difference,
            };
            examine_known(context, path, stat, file, difference, tags_known).await
        }
        Some(Known::Folder) | None => examine_new(context, claims, path, stat).await,
    }
}

async fn examine_known(
    context: &OriginContext,
    path: OriginPath,
    stat: Stat,
    file: FileId,
    difference: Difference,
    tags_known: bool,
) -> Result<Vec<Change>, ScanError> {
    let tags = match difference {
        Difference::None if tags_known => return Ok(Vec::new()),
        Difference::Attributes if tags_known => TagsRead::without_head(TagOutcome::Keep),
        _ => tags_of(context, &path, &stat).await?,
    };
    Ok(changes(path, stat, Some(file), tags))
}

/// What the catalog is told about a file; of its first bytes only where nothing better identifies it.
fn changes(path: OriginPath, stat: Stat, keeps: Option<FileId>, tags: TagsRead) -> Vec<Change> {
    let head = tags.head.filter(|_| stat.version.ino.is_none()).map(|head| Change::Head { path: path.clone(), head });
    [Change::File { path, stat, keeps, tags: tags.outcome }].into_iter().chain(head).collect()
}

async fn examine_new(
    context: &OriginContext,
    claims: &Claims,
    path: OriginPath,
    stat: Stat,
) -> Result<Vec<Change>, ScanError> {
    let claim = |moved: Option<FileId>| moved.filter(|&file| claims.borrow_mut().insert(file));
    if stat.version.ino.is_some()
        && let Some(file) = claim(moved_from(context, &path, &stat, None).await?)
    {
        return Ok(changes(path, stat, Some(file), TagsRead::without_head(TagOutcome::Keep)));
    }
    let tags = tags_of(context, &path, &stat).await?;
    let moved = match tags.head {
        Some(head) if stat.version.ino.is_none() => claim(moved_from(context, &path, &stat, Some(head)).await?),
        _ => None,
    };
    Ok(changes(path, stat, moved, tags))
}

async fn tags_of(context: &OriginContext, path: &OriginPath, stat: &Stat) -> Result<TagsRead, ScanError> {
    if classify(path.file_name().unwrap_or_default()) != FileClass::Audio {
        return Ok(TagsRead::without_head(TagOutcome::NotAudio));
    }
    context.progress(|progress| progress.num_tags_read += 1);
    read_tags(context, path, &stat.version).await
}

/// The file that was moved to this path, if there is exactly one that it can be: one that is known elsewhere and is gone
/// there, else one that was removed before. Without an inode number its first bytes hash to `head`. A link's target is no file of its own, so a link is never taken for a moved
/// file, nor is a file of another class: its tags would be missing. One of many hard links is not worth the stats.
async fn moved_from(
    context: &OriginContext,
    path: &OriginPath,
    stat: &Stat,
    head: Option<HeadHash>,
) -> Result<Option<FileId>, ScanError> {
    if stat.real_path.is_some() {
        return Ok(None);
    }
    let class = classify(path.file_name().unwrap_or_default());
    let mut lookalikes = context.catalog().lookalikes(&context.origin, &stat.version)?;
    // files that were copied together often have one time, so only what also begins the same counts
    lookalikes.retain(|lookalike| head.is_none() || lookalike.head == head);
    if lookalikes.len() > MAX_LOOKALIKES {
        return Ok(None);
    }
    let (mut gone, mut removed) = (Vec::new(), Vec::new());
    for lookalike in lookalikes {
        if classify(lookalike.path.file_name().unwrap_or_default()) != class {
            continue;
        }
        if !lookalike.live {
            removed.push(lookalike.file);
        } else if is_gone(context, &lookalike.path).await? {
            gone.push(lookalike.file);
        }
    }
    match (&gone[..], &removed[..]) {
        ([file], _) | ([], [file]) => Ok(Some(*file)),
        _ => Ok(None),
    }
}

/// Whether the origin says definitely that nothing is at this path.
async fn is_gone(context: &OriginContext, path: &OriginPath) -> Result<bool, ScanError> {
    match context.stat(path).await {
        Err(ScanError::Fetch(FetchError::NotFound)) => Ok(true),
        Ok(_) | Err(ScanError::Fetch(FetchError::AccessDenied | FetchError::NotServable)) => Ok(false),
        Err(error) => Err(error),
    }
}
