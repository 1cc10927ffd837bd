//! `OpenSegment`: the segment that is being written, and its log.
//!
//! Bytes first, then the log, then (by the writer) the index: whatever is cut off by a crash, what is left describes bytes
//! that are there. Appending is at fixed offsets, so a write that failed half way is written over by the next. Only sealing
//! waits for the disk; until then a power cut may cost what was appended, and nothing else.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use musicfs_pure::eviction::SegmentClass;

use super::log;
use super::segments::{Segment, SegmentTable};

/// A segment that chunks are appended to.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) segment: Arc<Segment>,
    bytes: File,
    log: File,
    len: u64,
    log_len: u64,
    /// What it may grow to.
    capacity: u64,
}

impl OpenSegment {
    /// Makes the files of a segment that has never been.
    pub(super) fn begin(table: &SegmentTable, id: u64, class: SegmentClass, capacity: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let bytes = options.open(table.bytes_path(id))?;
        let log = options.open(table.log_path(id))?;
        let header = log::header(id, class);
        log.write_all_at(&header, 0)?;
        // the names: a segment that the index knows and the folder does not is given up
        File::open(table.folder())?.sync_all()?;
        let segment = Arc::new(Segment::new(id, class));
        Ok(Self { segment, bytes, log, len: 0, log_len: header.len() as u64, capacity })
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.len)
    }

    /// Where the next chunk will lie.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The length of the log.
    pub(super) fn log_len(&self) -> u64 {
        self.log_len
    }

    /// Writes a chunk's bytes at `at`; they do not count before they are [`accepted`](Self::accept).
    pub(super) fn write_bytes(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        fail::fail_point!("store::write_bytes", |_| Err(io::Error::from(io::ErrorKind::StorageFull)));
        self.bytes.write_all_at(bytes, at)
    }

    /// Writes records; they do not count before they are [`accepted`](Self::accept).
    pub(super) fn write_log(&self, records: &[u8]) -> io::Result<()> {
        fail::fail_point!("store::write_log", |_| Err(io::Error::from(io::ErrorKind::StorageFull)));
        self.log.write_all_at(records, self.log_len)
    }

    /// Takes what was written up to `len`, with so many bytes of log, as being there.
    pub(super) fn accept(&mut self, len: u64, log_bytes: u64) {
        self.len = len;
        self.log_len += log_bytes;
        self.segment.publish(self.len, self.log_len);
    }

    /// Waits until both files are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.bytes.sync_data()?;
        self.log.sync_data()
    }
}
