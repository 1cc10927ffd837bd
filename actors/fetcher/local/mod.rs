//! `LocalOrigin`: a folder of this machine, or a network share mounted into it, as an origin.
//!
//! Every disk call runs on the pool, never on the actor's thread, and is given up at its deadline though the system call
//! may hang on: a hard NFS mount whose server is gone blocks a thread for ever. So calls take one of a few slots and keep
//! it until the system call has really returned: a dead mount costs the pool those threads and no more, and later calls
//! time out waiting for a slot. Nothing here writes, and nothing outside the root can be reached (`root`, `links`).

mod attributes;
mod direct;
mod file;
mod links;
mod root;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use musicfs_protocol::Deadline;
use musicfs_protocol::fetch::{FetchError, ListPage, RootIdentity, Stat};
use musicfs_protocol::pool::{self, Pool, PoolError};
use musicfs_pure::ids::OriginPath;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use self::root::Root;
use super::origin::{Origin, OriginFuture, PageRequest, RangeRequest};

pub use self::direct::LocalDirect;
pub use self::file::MAX_RANGE_BYTES;

/// The most calls of one origin on the pool at once: enough to keep a disk busy, few enough that a mount that hangs
/// leaves the pool to the others.
const MAX_CALLS: usize = 8;

/// A folder as an origin.
pub struct LocalOrigin {
    root: Arc<Path>,
    pool: Arc<dyn Pool>,
    slots: Arc<Semaphore>,
}

impl LocalOrigin {
    /// The folder `root`, an absolute path that need not exist now; its calls run on `pool`.
    pub fn new(root: PathBuf, pool: Arc<dyn Pool>) -> Self {
        Self { root: root.into(), pool, slots: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    /// Runs `work` on the pool and waits for it no longer than the deadline.
    fn on_pool<T, F>(&self, deadline: Deadline, work: F) -> OriginFuture<T>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, FetchError> + Send + 'static,
    {
        let (root, pool, slots) = (Arc::clone(&self.root), Arc::clone(&self.pool), Arc::clone(&self.slots));
        let answer = async move {
            let slot = slots.acquire_owned().await.map_err(|_| PoolError::Abandoned)?;
            let job = move || {
                let _held_until_the_call_returns = slot;
                fail::fail_point!("fetcher::pool_job");
                if deadline.has_passed(Instant::now()) { Err(FetchError::Timeout) } else { work(&root) }
            };
            pool::run(&pool, job).await
        };
        Box::pin(async move {
            match timeout_at(deadline.instant().into(), answer).await {
                Err(_) => Err(FetchError::Timeout),
                Ok(Err(PoolError::Full)) => Err(FetchError::Busy),
                Ok(Err(error @ PoolError::Abandoned)) => Err(FetchError::Io { reason: error.to_string() }),
                Ok(Ok(answer)) => answer,
            }
        })
    }
}

impl Origin for LocalOrigin {
    fn list_page(&self, request: PageRequest, deadline: Deadline) -> OriginFuture<ListPage> {
        self.on_pool(deadline, move |root| walk::list_page(root, &request, deadline))
    }

    fn stat(&self, path: OriginPath, deadline: Deadline) -> OriginFuture<Stat> {
        self.on_pool(deadline, move |root| {
            let root = Root::open(root)?;
            links::resolve(&root, &path)?.stat(&root, &path)
        })
    }

    fn read_range(&self, request: RangeRequest, deadline: Deadline) -> OriginFuture<Bytes> {
        self.on_pool(deadline, move |root| file::read_proven(&Root::open(root)?, &request))
    }

    fn probe(&self, deadline: Deadline) -> OriginFuture<RootIdentity> {
        self.on_pool(deadline, |root| Root::open(root)?.identity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_protocol::pool::{Job, ThreadPerJob};
    use parking_lot::Mutex;
    use std::time::Duration;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).unwrap()
    }

    fn soon() -> Deadline {
        Deadline::after(Instant::now(), Duration::from_mins(1))
    }

    /// A pool whose jobs are kept and never run, as on a disk that hangs, up to a bound.
    #[derive(Default)]
    struct Stuck(Mutex<Vec<Job>>);

    impl Pool for Stuck {
        fn submit(&self, job: Job) -> Result<(), PoolError> {
            let mut jobs = self.0.lock();
            if jobs.len() >= 2 {
                return Err(PoolError::Full);
            }
            jobs.push(job);
            Ok(())
        }
    }

    #[actix::test]
    async fn file_is_found_and_read_through_the_pool() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"bytes").unwrap();
        let origin = LocalOrigin::new(folder.path().to_owned(), Arc::new(ThreadPerJob));
        let stat = origin.stat(path("a"), soon()).await.unwrap();
        let request = RangeRequest { path: path("a"), version: stat.version, offset: 1, len: 3 };
        assert_eq!(origin.read_range(request, soon()).await.unwrap(), "yte".as_bytes());
        assert_eq!(origin.stat(path("b"), soon()).await, Err(FetchError::NotFound));
        let listing = PageRequest { folder: OriginPath::root(), recursive: true, cursor: None };
        let page = origin.list_page(listing, soon()).await.unwrap();
        assert_eq!(page.root, origin.probe(soon()).await.unwrap());
        drop(folder);
        assert!(matches!(origin.stat(path("a"), soon()).await, Err(FetchError::Offline { .. })));
        assert!(matches!(origin.probe(soon()).await, Err(FetchError::Offline { .. })));
    }

    #[actix::test]
    async fn call_that_hangs_is_given_up_at_its_deadline() {
        let pool = Arc::new(Stuck::default());
        let origin = LocalOrigin::new("/".into(), Arc::<Stuck>::clone(&pool) as Arc<dyn Pool>);
        let at_once = || Deadline::after(Instant::now(), Duration::from_millis(1));
        assert_eq!(origin.probe(at_once()).await, Err(FetchError::Timeout));
        assert_eq!(origin.probe(at_once()).await, Err(FetchError::Timeout));
        assert_eq!(origin.probe(soon()).await, Err(FetchError::Busy));
        // a refused call gives its slot back, one that hangs keeps it
        assert_eq!(origin.slots.available_permits(), MAX_CALLS - 2);
        pool.0.lock().clear();
        assert_eq!(origin.slots.available_permits(), MAX_CALLS);
    }

    #[actix::test]
    async fn dead_mount_takes_no_more_than_its_slots_from_the_pool() {
        struct Endless(Mutex<Vec<Job>>);
        impl Pool for Endless {
            fn submit(&self, job: Job) -> Result<(), PoolError> {
                self.0.lock().push(job);
                Ok(())
            }
        }
        let pool = Arc::new(Endless(Mutex::default()));
        let origin = LocalOrigin::new("/".into(), Arc::<Endless>::clone(&pool) as Arc<dyn Pool>);
        for _ in 0..MAX_CALLS + 3 {
            let soon = Deadline::after(Instant::now(), Duration::from_millis(1));
            assert_eq!(origin.probe(soon).await, Err(FetchError::Timeout));
        }
        assert_eq!(pool.0.lock().len(), MAX_CALLS);
        // the system calls return at last: what is past its deadline does no work, and the origin answers again
        for job in std::mem::take(&mut *pool.0.lock()) {
            job();
        }
        let mut answer = origin.probe(soon());
        tokio::select! {
            biased;
            _ = &mut answer => unreachable!("the job has not run yet"),
            () = std::future::ready(()) => {}
        }
        for job in std::mem::take(&mut *pool.0.lock()) {
            job();
        }
        assert!(answer.await.is_ok());
    }

    #[actix::test]
    async fn job_that_is_dropped_is_an_error_and_not_a_hang() {
        struct Dropping;
        impl Pool for Dropping {
            fn submit(&self, _job: Job) -> Result<(), PoolError> {
                Ok(())
            }
        }
        let origin = LocalOrigin::new("/".into(), Arc::new(Dropping));
        assert!(matches!(origin.probe(soon()).await, Err(FetchError::Io { .. })));
    }
}
