//! The clocks: walks, listings, stats and reads of any folder, the same code for the mount and for each baseline.
//!
//! What is compared is measured in turns (ours, theirs, ours, theirs), so that a machine that is busy for a while is busy
//! for both. Nothing here knows what it measures.

use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time that something takes, and what it gives.
pub(crate) fn timed<T>(action: impl FnOnce() -> io::Result<T>) -> io::Result<(Duration, T)> {
    let began = Instant::now();
    let value = action()?;
    Ok((began.elapsed(), value))
}

/// Measures each subject `num_rounds` times, in turns.
pub(crate) fn in_turns<S>(
    num_rounds: usize,
    subjects: &[S],
    mut measure: impl FnMut(&S) -> io::Result<Duration>,
) -> io::Result<Vec<Vec<Duration>>> {
    let mut times: Vec<Vec<Duration>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..num_rounds {
        for (subject, times) in subjects.iter().zip(&mut times) {
            times.push(measure(subject)?);
        }
    }
    Ok(times)
}

/// Lists everything below a folder and stats each entry, as a scanner does. Gives the number of files.
pub(crate) fn walk(root: &Path) -> io::Result<u64> {
    let mut pending = vec![root.to_owned()];
    let mut num_files = 0;
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                pending.push(path);
            } else {
                num_files += 1;
            }
        }
    }
    Ok(num_files)
}

/// Lists one folder without looking at its entries. Gives their number.
pub(crate) fn list(folder: &Path) -> io::Result<u64> {
    let mut num_entries = 0;
    for entry in fs::read_dir(folder)? {
        black_box(entry?);
        num_entries += 1;
    }
    Ok(num_entries)
}

/// The time of each single stat.
pub(crate) fn stats(root: &Path, paths: &[PathBuf]) -> io::Result<Vec<Duration>> {
    let one = |path: &PathBuf| {
        let path = root.join(path);
        timed(|| fs::symlink_metadata(&path)).map(|(time, _)| time)
    };
    paths.iter().map(one).collect()
}

/// Reads a file from end to end by `pread` with a buffer of this size.
pub(crate) fn read_whole(path: &Path, buffer_len: usize) -> io::Result<u64> {
    let file = File::open(path)?;
    let mut buffer = vec![0; buffer_len];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => return Ok(offset),
            len => offset += len as u64,
        }
        black_box(&buffer);
    }
}

/// The time of each single read of 4 KiB, at places that jump about the file.
pub(crate) fn random_reads(path: &Path, len: u64, num_reads: u64) -> io::Result<Vec<Duration>> {
    let file = File::open(path)?;
    let mut buffer = [0; 4096];
    let num_blocks = len / buffer.len() as u64;
    // a stride that is coprime to the number of blocks visits all of them in an order without a pattern of readahead
    let place = |index: u64| (index.wrapping_mul(2_654_435_761) % num_blocks) * 4096;
    (0..num_reads).map(|index| timed(|| file.read_exact_at(&mut buffer, place(index))).map(|(time, ())| time)).collect()
}
