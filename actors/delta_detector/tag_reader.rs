//! Reads the tags of one file: asks `pure::tags` which ranges matter, fetches just these, and feeds them back.
//!
//! The walker decides and this loop fetches, so the number of requests and bytes is the walker's (requirements V8) and
//! never depends on what a file claims. Every range carries a permit of the tags lane; ranges that the walker wants
//! together are fetched together.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::future::try_join_all;
use musicfs_protocol::change::TagOutcome;
use musicfs_protocol::fetch::Purpose;
use musicfs_protocol::library::HeadHash;
use musicfs_protocol::{FetchError, Lane, RangeBytes, ReadRange};
use musicfs_pure::ids::OriginPath;
use musicfs_pure::tags::{ByteRange, TagScan, TagScanResult, TagStep};
use musicfs_pure::version::Version;

use super::context::{OriginContext, ScanError};

/// A walker that has not ended after so many rounds is taken for malformed; its own limit is 12 requests.
const MAX_ROUNDS: usize = 16;

/// What a file met that the walkers should have survived.
const DEFECT: &str =
    "the reader of tags failed, which is a defect of musicfs; please report it with the first 64 KiB of the file";

/// What reading a file's tags came to.
pub(super) struct TagsRead {
    pub(super) outcome: TagOutcome,
    /// Of the bytes that were read first.
    pub(super) head: Option<HeadHash>,
}

impl TagsRead {
    /// Where nothing was read.
    pub(super) fn without_head(outcome: TagOutcome) -> Self {
        Self { outcome, head: None }
    }
}

/// The tags of a file in this version. A file that changes or disappears meanwhile is `Unread`: an event or the next
/// listing brings it back.
pub(super) async fn read_tags(
    context: &OriginContext,
    path: &OriginPath,
    version: &Version,
) -> Result<TagsRead, ScanError> {
    let mut head = None;
    match scan(context, path, version, &mut head).await {
        Ok(outcome) => Ok(TagsRead { outcome, head }),
        Err(ScanError::Fetch(error)) if is_about_this_file(&error) => {
            tracing::debug!(origin = %context.origin, %path, %error, "tags could not be read");
            Ok(TagsRead::without_head(TagOutcome::Unread))
        }
        Err(error) => Err(error),
    }
}

/// Whether an error concerns one file, and not the whole origin or the moment.
fn is_about_this_file(error: &FetchError) -> bool {
    !matches!(error, FetchError::Offline { .. } | FetchError::Busy | FetchError::Timeout)
}

async fn scan(
    context: &OriginContext,
    path: &OriginPath,
    version: &Version,
    head: &mut Option<HeadHash>,
) -> Result<TagOutcome, ScanError> {
    let name = path.file_name().unwrap_or_default();
    let mut scan = TagScan::new(name, version.size, context.ports.tag_head_bytes);
    for _ in 0..MAX_ROUNDS {
        // A walker that panics on some file is a defect, and must not take the pipeline of every origin along.
        let step = AssertUnwindSafe(|| {
            fail::fail_point!("tag_reader::step");
            scan.step()
        });
        let Ok(step) = catch_unwind(step) else { return Ok(malformed(context, path, DEFECT)) };
        match step {
            TagStep::Need(ranges) => {
                let fetches = ranges.into_iter().map(|range| fetch(context, path, version, range));
                let parts = try_join_all(fetches).await?;
                fail::fail_point!("delta_detector::tags_fetched");
                for part in parts {
                    if part.offset == 0 {
                        head.get_or_insert_with(|| *blake3::hash(&part.bytes).as_bytes());
                    }
                    let feeding = catch_unwind(AssertUnwindSafe(|| scan.feed(part.offset, &part.bytes)));
                    if feeding.is_err() {
                        return Ok(malformed(context, path, DEFECT));
                    }
                }
            }
            TagStep::Done(TagScanResult::Tags(tags)) => return Ok(TagOutcome::Read(tags)),
            TagStep::Done(TagScanResult::Malformed(reason)) => {
                return Ok(malformed(context, path, reason));
            }
        }
    }
    Ok(malformed(context, path, DEFECT))
}

/// A file that is listed by its name only. It is not read again in this version, so this is said once.
fn malformed(context: &OriginContext, path: &OriginPath, reason: impl Display) -> TagOutcome {
    tracing::warn!(origin = %context.origin, %path, %reason, "no tags can be read from this file");
    TagOutcome::Malformed
}

async fn fetch(
    context: &OriginContext,
    path: &OriginPath,
    version: &Version,
    range: ByteRange,
) -> Result<RangeBytes, ScanError> {
    let deadline = OriginContext::deadline();
    let make = async || ReadRange {
        origin: context.origin.clone(),
        path: path.clone(),
        version: version.clone(),
        offset: range.offset,
        len: range.len,
        purpose: Purpose::Tags,
        deadline,
        permit: context.ports.permits.acquire(Lane::Tags, range.len).await,
    };
    Ok(context.ports.read.request_with(deadline, make).await??)
}
