//! Threads that read the same files through the mount again and again and compare every byte.
//!
//! Local files are opened past the page cache, so each read is a request to the daemon. A wrong byte and an error count
//! alike: whatever happens to the actors, these files do not change and their readers must notice nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two files: a listener's pace would be slower, and the processors are for the daemon too.
const PAUSE: Duration = Duration::from_millis(5);

/// Readers at work.
#[derive(Debug)]
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64, String>>>,
}

impl Readers {
    /// Starts `count` readers of files that are to have these bytes, each beginning with another file.
    pub(crate) fn start(files: &[(PathBuf, Vec<u8>)], count: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..count)
            .map(|number| {
                let first = number % files.len();
                let files = [&files[first..], &files[..first]].concat();
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || read_until(&stop, &files))
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends them; asserts that every read was right and answers how many files were read.
    #[track_caller]
    pub(crate) fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let ends = std::mem::take(&mut self.threads).into_iter().map(|thread| thread.join().expect("no panic"));
        ends.map(|end| end.unwrap_or_else(|what| panic!("{what}"))).sum()
    }
}

/// Not joined: after a failure the mount may hang, and goes away with its guard.
impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read_until(stop: &AtomicBool, files: &[(PathBuf, Vec<u8>)]) -> Result<u64, String> {
    let mut num_read = 0;
    for (path, bytes) in files.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match std::fs::read(path) {
            Ok(read) if read == *bytes => num_read += 1,
            Ok(read) => return Err(format!("{}: {} wrong bytes of {}", path.display(), read.len(), bytes.len())),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(num_read)
}
