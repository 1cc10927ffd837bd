//! What cannot be answered at once: kept calls with their deadlines, and the disk work they wait for.
//!
//! A FUSE thread never waits. A call that needs the disk, or the opening of the ready gate, is put into [`Waiting`]; whoever
//! has its answer takes it out again, and the one who takes it answers. When the deadline passes first, the tick of the
//! actor takes it and answers `EIO`: a pool thread that hangs in a dead disk holds nobody but itself. Work waits in its
//! [`Lane`], one per origin so that a slow disk delays no other, until there is a permit for the bytes that it moves and
//! room in the pool; it goes on when a permit is given back, when a job of the lane ends, and at each tick. `EAGAIN` is no answer that a reader of a plain file understands, so time is the
//! only limit.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use musicfs_protocol::Deadline;
use musicfs_protocol::permit::{self, Permit, PermitPool};
use musicfs_protocol::pool::Pool;
use parking_lot::Mutex;

use super::call::{Call, Reply, guarded};
use super::errno::Failure;

/// How often deadlines are looked at.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// How long a call may wait. The promise is 18 s (the kernel's freezer gives a process 20), less the tick that may pass
/// before it is noticed, less another for the tick's own delay.
const WAIT_LIMIT: Duration = Duration::from_secs(17);

fn wait_limit() -> Duration {
    fail::fail_point!("fuse_front::wait_limit_ms", |limit| {
        limit.and_then(|limit| limit.parse().ok()).map_or(WAIT_LIMIT, Duration::from_millis)
    });
    WAIT_LIMIT
}

/// The most calls that wait at once: each is a blocked thread of some process, so more is a fork bomb, not a library.
const MAX_WAITING: usize = 65_536;

/// Where a kept call is until someone takes it.
type Slot<R> = Mutex<Option<Call<R>>>;

/// A kept call of any kind, as the deadline sees it.
trait Refuse: Send + Sync {
    fn refuse(&self, failure: &Failure);
}

impl<R: Reply> Refuse for Slot<R> {
    fn refuse(&self, failure: &Failure) {
        let call = self.lock().take();
        if let Some(call) = call {
            call.refuse(failure);
        }
    }
}

/// All calls that wait.
#[derive(Default)]
pub(super) struct Waiting {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next_id: u64,
    closed: bool,
    calls: HashMap<u64, (Deadline, Arc<dyn Refuse>)>,
}

/// A call that waits; clones are the same call, and the first who takes it has it.
pub(super) struct Kept<R: Reply> {
    id: u64,
    slot: Arc<Slot<R>>,
    waiting: Arc<Waiting>,
}

impl<R: Reply> Kept<R> {
    /// The call, if its deadline has not taken it.
    pub(super) fn take(&self) -> Option<Call<R>> {
        self.waiting.table.lock().calls.remove(&self.id);
        self.slot.lock().take()
    }

    /// Answers with an error, if the deadline has not.
    pub(super) fn refuse(&self, failure: &Failure) {
        if let Some(call) = self.take() {
            call.refuse(failure);
        }
    }

    fn still_waits(&self) -> bool {
        self.slot.lock().is_some()
    }
}

impl<R: Reply> Clone for Kept<R> {
    fn clone(&self) -> Self {
        Self { id: self.id, slot: Arc::clone(&self.slot), waiting: Arc::clone(&self.waiting) }
    }
}

impl Waiting {
    /// Keeps a call until it is taken or its deadline passes. Nothing, and the call answered, when none is kept any more.
    pub(super) fn keep<R: Reply>(self: &Arc<Self>, call: Call<R>, now: Instant) -> Option<Kept<R>> {
        let mut table = self.table.lock();
        let full = table.calls.len() >= MAX_WAITING;
        if table.closed || full {
            drop(table);
            call.refuse(if full { &Failure::TooManyWaiting } else { &Failure::Stopping });
            return None;
        }
        let id = table.next_id;
        table.next_id += 1;
        let slot = Arc::new(Mutex::new(Some(call)));
        let refuse: Arc<dyn Refuse> = slot.clone();
        table.calls.insert(id, (Deadline::after(now, wait_limit()), refuse));
        Some(Kept { id, slot, waiting: Arc::clone(self) })
    }

    /// Answers the calls whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        let expired: Vec<_> = {
            let mut table = self.table.lock();
            table.calls.extract_if(|_, (deadline, _)| deadline.has_passed(now)).map(|(_, (_, call))| call).collect()
        };
        for call in expired {
            call.refuse(&Failure::TimedOut);
        }
    }

    /// Answers every call that waits, and keeps none from now on.
    pub(super) fn close(&self) {
        let calls = {
            let mut table = self.table.lock();
            table.closed = true;
            std::mem::take(&mut table.calls)
        };
        for (_, call) in calls.into_values() {
            call.refuse(&Failure::Stopping);
        }
    }

    /// Calls that wait now.
    pub(super) fn len(&self) -> usize {
        self.table.lock().calls.len()
    }

    fn contains(&self, id: u64) -> bool {
        self.table.lock().calls.contains_key(&id)
    }
}

/// Work that may block, repeatable because a full pool throws away what it refuses.
type Work = Arc<dyn Fn() + Send + Sync>;

/// Work that is not on the pool yet.
struct Parked {
    id: u64,
    /// Bytes that it moves.
    bytes: u64,
    work: Work,
    /// Since when its bytes have been wanting.
    without_permit: Option<Instant>,
}

/// The disk work of one origin, in the order in which it was asked for.
pub(super) struct Lane {
    pool: Arc<dyn Pool>,
    permits: PermitPool,
    waiting: Arc<Waiting>,
    parked: Mutex<VecDeque<Parked>>,
    /// A call is left behind at the permits.
    is_asking: AtomicBool,
}

impl Lane {
    /// The lane in front of a pool, whose work moves no more bytes at once than there are permits for.
    pub(super) fn new(pool: Arc<dyn Pool>, permits: PermitPool, waiting: &Arc<Waiting>) -> Arc<Self> {
        let (waiting, parked) = (Arc::clone(waiting), Mutex::default());
        Arc::new(Self { pool, permits, waiting, parked, is_asking: AtomicBool::new(false) })
    }

    /// Runs `work`, which moves at most `bytes`, on the pool; it takes the call when it has the answer. Nothing is run for a
    /// call that is answered.
    pub(super) fn run<R: Reply>(
        self: &Arc<Self>,
        call: Call<R>,
        bytes: u64,
        work: impl Fn(&Kept<R>) + Send + Sync + 'static,
    ) {
        let (op, accounts) = (call.op(), call.accounts());
        let Some(kept) = self.waiting.keep(call, Instant::now()) else { return };
        let id = kept.id;
        let work: Work = Arc::new(move || {
            if kept.still_waits() {
                guarded(&accounts, op, || work(&kept));
                drop(kept.take()); // after a panic the call is still there: dropping it answers
            }
        });
        self.parked.lock().push_back(Parked { id, bytes, work, without_permit: None });
        self.pump(None);
    }

    /// Submits what is parked until permits or the pool are used up. No lock is held while submitting: a pool may run a job
    /// at once, and giving back a permit calls whoever waits for it.
    fn pump(self: &Arc<Self>, mut granted: Option<Permit>) {
        loop {
            let next = self.parked.lock().pop_front();
            let Some(parked) = next else { return };
            let mut permit = granted.take().filter(|permit| permit.bytes() == parked.bytes);
            if permit.is_none() {
                permit = self.permits.try_acquire(permit::Lane::Demand, parked.bytes);
            }
            let Some(permit) = permit else { return self.wait_for_permit(parked) };
            if let Some(since) = parked.without_permit {
                self.permits.count_wait(permit::Lane::Demand, since);
            }
            if let Err(refused) = self.submit(parked, permit) {
                return self.parked.lock().push_front(refused);
            }
        }
    }

    fn submit(self: &Arc<Self>, parked: Parked, permit: Permit) -> Result<(), Parked> {
        let (work, lane) = (Arc::clone(&parked.work), Arc::downgrade(self));
        let job = move || {
            work();
            drop(work);
            drop(permit);
            if let Some(lane) = lane.upgrade() {
                lane.pump(None);
            }
        };
        self.pool.submit(Box::new(job)).map_err(|_| parked)
    }

    /// Puts work back to the front; whoever frees its bytes goes on with it.
    fn wait_for_permit(self: &Arc<Self>, mut parked: Parked) {
        let bytes = parked.bytes;
        parked.without_permit.get_or_insert_with(Instant::now);
        self.parked.lock().push_front(parked);
        if !self.is_asking.swap(true, Ordering::AcqRel) {
            let lane = Arc::downgrade(self);
            self.permits.call_when_free(permit::Lane::Demand, bytes, move |permit| {
                if let Some(lane) = lane.upgrade() {
                    lane.is_asking.store(false, Ordering::Release);
                    lane.pump(Some(permit));
                }
            });
        }
    }

    /// Forgets parked work whose call is answered, and tries the pool again: its last job may have ended just before
    /// something was parked.
    pub(super) fn tick(self: &Arc<Self>) {
        self.parked.lock().retain(|parked| self.waiting.contains(parked.id));
        self.pump(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use fuser::Errno;
    use musicfs_protocol::pool::{Job, PoolError};
    use musicfs_protocol::{ActorStats, Metrics};

    use crate::fuse_front::call::{Accounts, Op};

    /// A reply that counts how it was answered.
    #[derive(Clone, Default)]
    struct Counted(Arc<AtomicU64>, Arc<AtomicU64>);

    impl Counted {
        fn counts(&self) -> (u64, u64) {
            (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed))
        }
    }

    impl Reply for Counted {
        fn error(self, _: Errno) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A pool whose jobs are kept until the test runs them.
    struct Kept16(Mutex<VecDeque<Job>>);

    impl Pool for Kept16 {
        fn submit(&self, job: Job) -> Result<(), PoolError> {
            let mut jobs = self.0.lock();
            if jobs.len() >= 16 {
                return Err(PoolError::Full);
            }
            jobs.push_back(job);
            Ok(())
        }
    }

    const READ: u64 = 128 << 10;

    struct Bench {
        pool: Arc<Kept16>,
        permits: PermitPool,
        lane: Arc<Lane>,
        waiting: Arc<Waiting>,
        accounts: Arc<Accounts>,
        stats: Arc<ActorStats>,
        replies: Counted,
    }

    impl Bench {
        fn new(permit_bytes: u64) -> Self {
            let pool = Arc::new(Kept16(Mutex::default()));
            let (permits, waiting) = (PermitPool::new(permit_bytes), Arc::<Waiting>::default());
            let lane = Lane::new(pool.clone(), permits.clone(), &waiting);
            let stats = Arc::<ActorStats>::default();
            let accounts = Arc::new(Accounts::new(&Metrics::default(), Arc::clone(&stats)));
            Self { pool, permits, lane, waiting, accounts, stats, replies: Counted::default() }
        }

        fn read(&self) {
            let replies = self.replies.clone();
            let call = Call::new(&self.accounts, Op::Read, replies);
            self.lane.run(call, READ, |kept| {
                if let Some(call) = kept.take() {
                    call.answer(|reply| {
                        reply.0.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }

        fn run_next(&self) -> bool {
            let job = self.pool.0.lock().pop_front();
            job.map(|job| job()).is_some()
        }
    }

    #[test]
    fn ten_thousand_reads_keep_to_the_permits_and_are_all_answered() {
        let bench = Bench::new(8 * READ);
        for _ in 0..10_000 {
            bench.read();
        }
        assert_eq!(
            (bench.permits.held(), bench.pool.0.lock().len()),
            (8 * READ, 8),
            "no more than may be asked at once"
        );
        assert_eq!((bench.waiting.len(), bench.stats.snapshot().waiting), (10_000, 10_000));
        while bench.run_next() {
            assert!(bench.permits.held() <= 8 * READ);
        }
        assert_eq!(bench.replies.counts(), (10_000, 0));
        assert_eq!((bench.permits.held(), bench.waiting.len(), bench.stats.snapshot().waiting), (0, 0, 0));
    }

    #[test]
    fn full_pool_keeps_no_permits_for_what_it_refused() {
        let bench = Bench::new(100 * READ);
        for _ in 0..40 {
            bench.read();
        }
        assert_eq!(bench.permits.held(), 16 * READ);
        while bench.run_next() {}
        assert_eq!((bench.replies.counts(), bench.permits.held()), ((40, 0), 0));
    }

    #[test]
    fn reads_go_on_when_someone_else_gives_a_permit_back() {
        let bench = Bench::new(READ);
        let scan = bench.permits.try_acquire(permit::Lane::Tags, READ).expect("free");
        bench.read();
        bench.lane.tick();
        assert!(!bench.run_next(), "nothing is asked of the disk without a permit");
        drop(scan);
        assert!(bench.run_next());
        assert_eq!(bench.replies.counts(), (1, 0));
    }

    #[test]
    fn reads_that_nobody_waits_for_any_more_take_no_permit() {
        let bench = Bench::new(READ);
        let scan = bench.permits.try_acquire(permit::Lane::Tags, READ).expect("free");
        for _ in 0..100 {
            bench.read();
        }
        bench.waiting.expire(Instant::now() + 2 * WAIT_LIMIT);
        assert_eq!(bench.replies.counts(), (0, 100));
        bench.lane.tick();
        drop(scan);
        assert!(!bench.run_next());
        assert_eq!((bench.permits.held(), bench.lane.parked.lock().len()), (0, 0));
        bench.read();
        assert!(bench.run_next());
    }
}
