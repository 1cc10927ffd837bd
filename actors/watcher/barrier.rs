//! `Barrier`: knowing that every event which the kernel had queued has been delivered.
//!
//! An inotify queue is one order. So a file is created in a private folder that the same inotify instance watches; when
//! its event arrives, everything that was queued before it has been handled. The wait has a limit: a daemon that answers
//! late is better than one that hangs. The folder is the barrier's own, lies in no origin, and goes with the barrier.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use musicfs_pure::ids::OriginId;
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

/// An event takes some 50 µs to arrive; a thousand watches that are being added at the same time, 20 ms. Beyond five
/// seconds something is stuck that waiting will not mend.
pub(super) const BARRIER_LIMIT: Duration = Duration::from_secs(5);

/// Why the barrier was not passed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BarrierError {
    /// The file could not be created.
    #[error("cannot create a file in `{}`: {source}; check the folder's permissions and free space", folder.display())]
    NotCreated {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its event did not arrive.
    #[error("events are more than {BARRIER_LIMIT:?} behind; the disk or the machine is overloaded")]
    TooLate,
}

/// One inotify instance's barrier.
#[derive(Debug)]
pub(super) struct Barrier {
    folder: PathBuf,
    awaited: Mutex<Option<OsString>>,
    arrived: Condvar,
}

impl Barrier {
    /// A barrier with a new folder in `parent`. Its name is new each time, so that an instance that is on its way out
    /// cannot announce the file of the one that follows.
    pub(super) fn create(parent: &Path, origin: &OriginId) -> io::Result<Self> {
        let folder = fs::canonicalize(parent)?.join(format!("{}{}", prefix(origin), Uuid::new_v4()));
        fs::create_dir(&folder)?;
        Ok(Self { folder, awaited: Mutex::default(), arrived: Condvar::new() })
    }

    /// The folder that must be watched.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Called with the path of every event; answers whether it was the barrier's own.
    pub(super) fn observe(&self, path: &Path) -> bool {
        if path == self.folder {
            return true;
        }
        if path.parent() != Some(&self.folder) {
            return false;
        }
        let mut awaited = self.awaited.lock();
        if awaited.as_deref() == path.file_name() {
            *awaited = None;
            self.arrived.notify_all();
        }
        true
    }

    /// Lets whoever waits go: the awaited event is lost, and a rescan stands for everything before it.
    pub(super) fn release(&self) {
        *self.awaited.lock() = None;
        self.arrived.notify_all();
    }

    /// Waits until everything that is queued now has been handled. One caller at a time.
    pub(super) fn pass(&self) -> Result<(), BarrierError> {
        let name = OsString::from(Uuid::new_v4().to_string());
        *self.awaited.lock() = Some(name.clone());
        let passed = self.create_and_wait(&name);
        // it may be gone already, together with the folder
        let _ = fs::remove_file(self.folder.join(&name));
        passed
    }

    fn create_and_wait(&self, name: &OsStr) -> Result<(), BarrierError> {
        File::create_new(self.folder.join(name))
            .map_err(|source| BarrierError::NotCreated { folder: self.folder.clone(), source })?;
        let limit = Instant::now() + BARRIER_LIMIT;
        let mut awaited = self.awaited.lock();
        while awaited.is_some() {
            if self.arrived.wait_until(&mut awaited, limit).timed_out() && awaited.take().is_some() {
                return Err(BarrierError::TooLate);
            }
        }
        Ok(())
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what an origin's barriers of a daemon that was killed have left. An origin's name has no dot.
pub(super) fn remove_leftovers(parent: &Path, origin: &OriginId) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(prefix(origin).as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn prefix(origin: &OriginId) -> String {
    format!("{origin}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn nas() -> OriginId {
        OriginId::parse("nas").expect("valid")
    }

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").file_name()).collect()
    }

    #[test]
    fn barrier_is_passed_when_its_own_file_is_reported() {
        let parent = tempfile::tempdir().expect("temp folder");
        let barrier = Arc::new(Barrier::create(parent.path(), &nas()).expect("created"));
        let waiting = std::thread::spawn({
            let barrier = Arc::clone(&barrier);
            move || barrier.pass()
        });
        let name = loop {
            if let Some(name) = names(barrier.folder()).pop() {
                break name;
            }
            std::thread::yield_now();
        };
        assert!(!barrier.observe(&parent.path().join(&name)));
        assert!(barrier.observe(&barrier.folder().join("another")));
        assert!(!waiting.is_finished());
        assert!(barrier.observe(&barrier.folder().join(&name)));
        waiting.join().expect("no panic").expect("passed");
        assert!(names(barrier.folder()).is_empty());
    }

    #[test]
    fn leftovers_of_this_origin_only_are_removed() {
        let parent = tempfile::tempdir().expect("temp folder");
        for name in ["nas.1", "nas2.1", "nas-x.1"] {
            fs::create_dir(parent.path().join(name)).expect("create");
        }
        remove_leftovers(parent.path(), &nas());
        let mut left = names(parent.path());
        left.sort();
        assert_eq!(left, ["nas-x.1", "nas2.1"]);
        drop(Barrier::create(parent.path(), &nas()).expect("created"));
        assert_eq!(names(parent.path()).len(), 2);
    }
}
