//! The scan of one file: which ranges it needs, and when it is done.
//!
//! `step` runs the walker over what is known. Bytes that the walker misses become a request: clamped to the file, known
//! parts taken out, neighbours joined, and counted. Whatever a file's lengths claim, a scan never asks for more than
//! [`MAX_SCAN_BYTES`] in more than [`MAX_REQUESTS`] requests; then the tags found so far are the answer, and so they are
//! where a walk through what is known does not come to an end. A read that comes back short is taken as the end of the
//! file. The scan never asks for a byte twice, nor beyond the size that it was told.

use super::TrackTags;
use super::detect::{Hint, walk_by_content};
use super::found::Found;
use super::normalise::normalise;
use super::source::{Source, Stop};

/// The most bytes that are asked for, whatever the file claims: eight times what a normal file costs.
pub const MAX_SCAN_BYTES: u64 = 1 << 20;

/// The most requests that are made, whatever the file claims: four times what a normal file costs.
pub const MAX_REQUESTS: u32 = 12;

/// Bounds of the first read: below, most headers would need a second one; above, it would be the whole budget of an
/// ordinary file.
const HEAD_BYTES: std::ops::RangeInclusive<u64> = (4 << 10)..=(128 << 10);

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl ByteRange {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Why a file is listed without tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// A file of no bytes.
    #[error("the file is empty; copy it again from its source")]
    Empty,
    /// The content is none of the formats whose tags are read.
    #[error("the content is no audio format that is read here; play or convert the file to see what it is")]
    UnknownContent,
    /// The file ends before its tags.
    #[error("the file ends before its tags; copy it again from its source")]
    Truncated,
    /// The container's structure contradicts itself.
    #[error("the structure of the file is damaged; repair it with a tool for its format")]
    BadStructure,
    /// The tags lie behind more data than a scan reads.
    #[error("the tags lie behind more than a scan reads; remux the file so that they come early")]
    TooCostly,
}

/// What a scan wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagStep {
    /// Fetch these, in any order or together, feed them, and step again. Each counts as one request.
    Need(Vec<ByteRange>),
    /// The scan is done.
    Done(TagScanResult),
}

/// What a scan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagScanResult {
    /// The tags; none of them may be present.
    Tags(Box<TrackTags>),
    /// The file is listed without tags.
    Malformed(MalformedReason),
}

/// A range that was asked for.
#[derive(Debug)]
struct Asked {
    range: ByteRange,
    /// Whether something was fed for it. If so, and bytes are still missing, the file ends there.
    is_answered: bool,
}

/// The scan of one file.
///
/// ```text
///   new ─► step ─► Need(ranges) ─► feed each ─► step ─► … ─► Done
/// ```
#[derive(Debug)]
pub struct TagScan {
    source: Source,
    hint: Hint,
    head_bytes: u64,
    asked: Vec<Asked>,
    num_bytes: u64,
}

impl TagScan {
    /// A scan of a file of `size` bytes. The extension of `name` only breaks ties. `head_bytes` is the length of the
    /// first read: 16 KiB where a round trip is cheap, 64 KiB on S3.
    pub fn new(name: &[u8], size: u64, head_bytes: u64) -> Self {
        Self {
            source: Source::new(size),
            hint: Hint::of_name(name),
            head_bytes: head_bytes.clamp(*HEAD_BYTES.start(), *HEAD_BYTES.end()),
            asked: Vec::new(),
            num_bytes: 0,
        }
    }

    /// Gives bytes that were read at `offset`. A range that comes back shorter than asked for, or empty, says that the
    /// file ends there.
    pub fn feed(&mut self, offset: u64, bytes: &[u8]) {
        self.source.insert(offset, bytes);
        for asked in &mut self.asked {
            let end = offset.saturating_add(bytes.len() as u64);
            let begins_there = offset == asked.range.offset;
            asked.is_answered |= offset < asked.range.end() && (end > asked.range.offset || begins_there);
        }
    }

    /// Decides what is next. Calling it again without feeding gives the same answer.
    pub fn step(&mut self) -> TagStep {
        let open = self.settle_asked();
        if !open.is_empty() {
            return TagStep::Need(open);
        }
        if self.source.size() == 0 {
            return TagStep::Done(TagScanResult::Malformed(MalformedReason::Empty));
        }
        let mut found = Found::new(self.source.size());
        self.source.begin_walk();
        let head = ByteRange { offset: 0, len: self.head_bytes };
        let stop = match self.source.num_requests {
            0 => Err(Stop::Need(vec![head])),
            _ => walk_by_content(&self.source, self.hint, &mut found),
        };
        let trouble = match stop {
            Ok(()) => None,
            Err(Stop::Need(wanted)) => match self.plan(&wanted) {
                Some(ranges) => return TagStep::Need(ranges),
                None => Some(MalformedReason::TooCostly),
            },
            Err(Stop::Truncated) => Some(MalformedReason::Truncated),
            Err(Stop::Malformed(reason)) => Some(reason),
        };
        TagStep::Done(conclude(&found, trouble))
    }

    /// What is known of the file.
    #[cfg(test)]
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Drops what was asked for and has come, notes where the file ended early, and gives what is still to come.
    fn settle_asked(&mut self) -> Vec<ByteRange> {
        let mut open = Vec::new();
        for asked in std::mem::take(&mut self.asked) {
            let missing = self.source.unknown(asked.range);
            match missing.first() {
                Some(first) if asked.is_answered => self.source.truncate(first.offset),
                Some(_) => {
                    open.extend(missing);
                    self.asked.push(asked);
                }
                None => {}
            }
        }
        open
    }

    /// Makes requests of what a walker wants, or none when the scan has cost enough.
    fn plan(&mut self, wanted: &[ByteRange]) -> Option<Vec<ByteRange>> {
        let mut gaps: Vec<ByteRange> = wanted.iter().flat_map(|&range| self.source.unknown(range)).collect();
        gaps.sort_by_key(|gap| gap.offset);
        let mut ranges: Vec<ByteRange> = Vec::new();
        for gap in gaps {
            match ranges.last_mut() {
                Some(last) if gap.offset <= last.end() => last.len = last.len.max(gap.end() - last.offset),
                _ => ranges.push(gap),
            }
        }
        let num_bytes = ranges.iter().fold(self.num_bytes, |sum, range| sum.saturating_add(range.len));
        let num_requests = self.source.num_requests.saturating_add(u32::try_from(ranges.len()).ok()?);
        if ranges.is_empty() || num_bytes > MAX_SCAN_BYTES || num_requests > MAX_REQUESTS {
            return None;
        }
        self.num_bytes = num_bytes;
        self.source.num_requests = num_requests;
        self.asked = ranges.iter().map(|&range| Asked { range, is_answered: false }).collect();
        Some(ranges)
    }
}

/// The result: what was found, or the trouble when there was some and nothing was found.
fn conclude(found: &Found, trouble: Option<MalformedReason>) -> TagScanResult {
    match trouble {
        Some(reason) if found.is_empty() => TagScanResult::Malformed(reason),
        _ => TagScanResult::Tags(Box::new(normalise(found))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn scan_of_an_empty_file_is_malformed_without_a_request() {
        let mut scan = TagScan::new(b"a.flac", 0, 16 << 10);
        assert_eq!(scan.step(), TagStep::Done(TagScanResult::Malformed(MalformedReason::Empty)));
    }

    #[test]
    fn step_without_feeding_repeats_its_answer() {
        let mut scan = TagScan::new(b"a.flac", 1 << 20, 16 << 10);
        let need = TagStep::Need(vec![ByteRange { offset: 0, len: 16 << 10 }]);
        assert_eq!(scan.step(), need);
        assert_eq!(scan.step(), need);
        scan.feed(5000, b"not asked for here");
        scan.feed(1 << 19, b"nor there");
    }

    #[test]
    fn short_read_is_the_end_of_the_file() {
        let file = fixtures::flac(&[("TITLE", "t")], &[], 0);
        let mut scan = TagScan::new(b"a.flac", 1 << 20, 16 << 10);
        let _ = scan.step();
        scan.feed(0, &file[..20]);
        assert_eq!(scan.step(), TagStep::Done(TagScanResult::Malformed(MalformedReason::Truncated)));
    }

    #[test]
    fn empty_answer_is_the_end_of_the_file() {
        let mut scan = TagScan::new(b"a.flac", 1 << 20, 16 << 10);
        let _ = scan.step();
        scan.feed(0, b"");
        assert_eq!(scan.step(), TagStep::Done(TagScanResult::Malformed(MalformedReason::Empty)));
    }
}
