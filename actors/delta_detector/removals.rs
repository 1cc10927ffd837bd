//! Carries out removals, if they are believed.
//!
//! Candidates are collected first and judged together, after additions and moves have been applied: what was moved is not
//! known under its old path any more and so is not missing. Counting stops where the verdict is certain.

use musicfs_protocol::WorkToken;
use musicfs_protocol::change::Change;
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::Known;
use musicfs_pure::delta::{Removals, Verdict, judge_removals};
use musicfs_pure::ids::{OriginPath, outermost};

use super::context::{OriginContext, ScanError};

/// What is said about an origin whose removals are not carried out.
fn quarantine_reason(context: &OriginContext, missing: u64, known: u64, why: &str) -> String {
    let origin = &context.origin;
    format!(
        "{missing} of {known} files seem to be gone and {why}; nothing was removed. \
         If they are meant to be gone: musicfs origin rescan {origin} --accept-removals"
    )
}

/// Removes the candidates that the catalog still knows, or quarantines the origin.
pub(super) async fn remove(
    context: &OriginContext,
    candidates: Vec<OriginPath>,
    root_changed: bool,
    accepted: bool,
    work: &WorkToken,
) -> Result<(), ScanError> {
    let known = context.catalog().origin_summary(&context.origin)?.files;
    let mut missing = 0;
    let mut removed = Vec::new();
    for path in outermost(candidates.into_iter().collect()) {
        match context.catalog().known(&context.origin, &path)? {
            None => continue,
            Some(Known::File { .. }) => missing += 1,
            Some(Known::Folder) => missing += count_files(context, &path)?,
        }
        removed.push(Change::Removed { path });
    }
    let why = match judge_removals(Removals { known, missing, root_changed, accepted }) {
        Verdict::Remove => {
            context.apply(removed, work).await?;
            return Ok(());
        }
        Verdict::OtherRoot => "the origin's root is another folder than before",
        Verdict::TooMany => "that is more than half of the origin",
    };
    Err(ScanError::Quarantined { reason: quarantine_reason(context, missing, known, why) })
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
