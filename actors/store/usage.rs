//! What the cache folder takes on disk, as `du` counts it, and what the file system has left.
//!
//! Segments are counted by the table, because there can be thousands; everything else (the database, folders, the lock) is
//! a few dozen files and is measured each time: what RocksDB takes cannot be told from what was written to it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;

/// Bytes that a folder and everything below it takes, apart from the files in `without`.
pub(super) fn disk_bytes(folder: &Path, without: &Path) -> io::Result<u64> {
    let mut bytes = std::fs::symlink_metadata(folder)?.blocks() * STAT_BLOCK_BYTES;
    if folder == without {
        return Ok(bytes);
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // RocksDB removes files while they are counted.
        let counted = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path(), without),
            Ok(metadata) => Ok(metadata.blocks() * STAT_BLOCK_BYTES),
            Err(error) => Err(error),
        };
        match counted {
            Ok(counted) => bytes += counted,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Bytes that the file system of a folder has left for an ordinary user.
pub(super) fn free_disk(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
