//! How full the cache's file system is, for `df`, without ever waiting for it on a FUSE thread.
//!
//! The question goes to a pool, because a disk that hangs never answers it, and four `df` would hold all FUSE threads. While
//! one question is open, everyone else gets the last known answer; the one that asked is answered by its deadline. So a
//! healthy disk is asked each time, and a dead one by one thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::ReplyStatfs;
use musicfs_pure::ids::MAX_NAME_BYTES;
use parking_lot::Mutex;
use rustix::fs::StatVfs;

use super::call::Call;
use super::errno::Failure;
use super::waiting::Lane;

/// The state of one file system, as it was last seen.
pub(super) struct DiskUsage {
    path: PathBuf,
    lane: Arc<Lane>,
    known: Mutex<Option<Arc<StatVfs>>>,
    is_asking: AtomicBool,
}

/// An open question; dropped with the work that asks it, run or not.
struct Asking(Arc<DiskUsage>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.is_asking.store(false, Ordering::Release);
    }
}

impl DiskUsage {
    /// The file system of `path`, asked through `lane`.
    pub(super) fn new(path: PathBuf, lane: Arc<Lane>) -> Arc<Self> {
        Arc::new(Self { path, lane, known: Mutex::default(), is_asking: AtomicBool::new(false) })
    }

    /// Answers with what is so now, or with what was known when someone is waiting for that already.
    pub(super) fn answer(self: &Arc<Self>, call: Call<ReplyStatfs>) {
        let known = self.known.lock().clone();
        if self.is_asking.swap(true, Ordering::AcqRel)
            && let Some(known) = known
        {
            return reply(call, &known);
        }
        let asking = Asking(Arc::clone(self));
        self.lane.run(call, 0, move |kept| {
            let usage = &asking.0;
            fail::fail_point!("fuse_front::disk_usage");
            match rustix::fs::statvfs(&usage.path) {
                Ok(now) => {
                    let now = Arc::new(now);
                    *usage.known.lock() = Some(Arc::clone(&now));
                    if let Some(call) = kept.take() {
                        reply(call, &now);
                    }
                }
                Err(error) => kept.refuse(&Failure::NoStatistics { reason: error.to_string() }),
            }
        });
    }

    /// See [`Lane::tick`].
    pub(super) fn tick(&self) {
        self.lane.tick();
    }
}

fn reply(call: Call<ReplyStatfs>, fs: &StatVfs) {
    call.answer(|reply| {
        let (bsize, frsize) = (to_u32(fs.f_bsize), to_u32(fs.f_frsize));
        let namelen = MAX_NAME_BYTES as u32;
        reply.statfs(fs.f_blocks, fs.f_bfree, fs.f_bavail, fs.f_files, fs.f_ffree, bsize, namelen, frsize);
    });
}

/// A block size; one that does not fit is no block size.
fn to_u32(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
