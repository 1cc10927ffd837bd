//! `Pool`: a handle to a bounded set of threads that may block.
//!
//! Disk calls block, and actors and FUSE threads must not. The pools themselves (named, sized, listed in one table) are
//! made by the daemon; actors only get this handle. A pool has a bounded queue and refuses when it is full: the caller
//! must have an answer for that, because a queue without bound is how a dead disk eats the memory of a daemon.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

/// A piece of blocking work.
pub type Job = Box<dyn FnOnce() + Send + 'static>;

/// Why a job was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The pool's queue is full: as many calls wait as it allows.
    #[error("too many disk calls are waiting")]
    Full,
    /// The job panicked, or the pool was shut down before it ran.
    #[error("the disk call was abandoned")]
    Abandoned,
}

/// Something that runs blocking jobs on its own threads.
pub trait Pool: Send + Sync + 'static {
    /// Queues a job, or hands it back to nobody with [`PoolError::Full`].
    fn submit(&self, job: Job) -> Result<(), PoolError>;
}

/// Runs a blocking function on a pool and waits for what it returns.
pub fn run<T, F>(pool: &Arc<dyn Pool>, work: F) -> impl Future<Output = Result<T, PoolError>> + Send + use<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let queued = pool.submit(Box::new(move || {
        // The caller may have passed its deadline and gone; then nobody wants the value.
        let _ = sender.send(work());
    }));
    async move {
        queued?;
        receiver.await.map_err(|_| PoolError::Abandoned)
    }
}

/// A pool for tests: a new thread per job, without bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadPerJob;

impl Pool for ThreadPerJob {
    fn submit(&self, job: Job) -> Result<(), PoolError> {
        std::thread::spawn(job);
        Ok(())
    }
}
