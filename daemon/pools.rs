//! The pools of threads that may block, each named, sized and listed here.
//!
//! | pool | threads | queue | what runs there |
//! |---|---|---|---|
//! | `origin-NAME` | 16 | 1,024 | listings, stats, tag reads and probes of one local origin, and reads that must wait for its disk |
//! | `probe` | 1 | 1 | waiting for the child that asks whether the mount answers |
//! | `disk-usage` | 1 | 1 | asking how full the cache's file system is, for `df` |
//! | `config` | 1 | 1 | reading the configuration again |
//!
//! Sizes: a disk that is not in trouble answers within milliseconds, so a few threads keep it busy; a disk that hangs
//! holds its own pool's threads and nobody else's. Queues are bounded and a full one refuses. A job that panics ends
//! itself, not its thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use musicfs_protocol::pool::{Job, Pool, PoolError};
use parking_lot::Mutex;

/// A fixed number of threads behind a bounded queue. The threads end when the pool is dropped and its queue is empty.
pub struct BoundedPool {
    queue: SyncSender<Job>,
}

impl BoundedPool {
    /// The pool for one local origin. The fetcher takes at most 8 of its threads, so readers always have some.
    pub fn for_origin(name: &str) -> std::io::Result<Self> {
        Self::start(&format!("origin-{name}"), 16, 1024)
    }

    /// The pool for probes of the mount.
    pub fn for_probes() -> std::io::Result<Self> {
        Self::start("probe", 1, 1)
    }

    /// The pool that asks how full the cache's disk is.
    pub fn for_disk_usage() -> std::io::Result<Self> {
        Self::start("disk-usage", 1, 1)
    }

    /// The pool for reading the configuration again.
    pub fn for_config() -> std::io::Result<Self> {
        Self::start("config", 1, 1)
    }

    fn start(name: &str, num_threads: usize, queue_len: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(queue_len);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..num_threads {
            let jobs = Arc::clone(&jobs);
            let point = format!("pool::{name}");
            std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || work(&jobs, &point))?;
        }
        Ok(Self { queue })
    }
}

/// Does jobs until the pool is gone. `point` is where tests make a disk hang.
fn work(jobs: &Mutex<Receiver<Job>>, point: &str) {
    loop {
        let next = jobs.lock().recv();
        let Ok(job) = next else { return };
        // The panic hook has logged it; the caller sees its reply channel closed.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!(point);
            job();
        }));
    }
}

impl Pool for BoundedPool {
    fn submit(&self, job: Job) -> Result<(), PoolError> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => PoolError::Full,
            TrySendError::Disconnected(_) => PoolError::Abandoned,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_protocol::pool::run;

    #[test]
    fn full_queue_refuses() {
        let pool = BoundedPool::start("test", 1, 1).expect("threads");
        let (started, starts) = sync_channel(1);
        let (release, released) = sync_channel::<()>(0);
        pool.submit(Box::new(move || {
            let _ = started.send(());
            let _ = released.recv();
        }))
        .expect("room");
        starts.recv().expect("running");
        pool.submit(Box::new(|| ())).expect("one may wait");
        assert_eq!(pool.submit(Box::new(|| ())), Err(PoolError::Full));
        release.send(()).expect("running");
    }

    #[tokio::test]
    async fn panicking_job_leaves_its_thread_alive() {
        let pool: Arc<dyn Pool> = Arc::new(BoundedPool::start("test", 1, 4).expect("threads"));
        let failed = run(&pool, || panic!("wanted")).await;
        assert_eq!(failed, Err(PoolError::Abandoned));
        assert_eq!(run(&pool, || 7).await, Ok(7));
    }
}
