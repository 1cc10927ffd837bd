//! What cannot be answered at once: kept calls with their deadlines, and the disk work they wait for.
//!
//! A FUSE thread never waits. A call that needs the disk, or the opening of the ready gate, is put into [`Waiting`]; whoever
//! has its answer takes it out again, and the one who takes it answers. When the deadline passes first, the tick of the
//! actor takes it and answers `EIO`: a pool thread that hangs in a dead disk holds nobody but itself. Work that a full pool
//! refuses is parked in its [`Lane`], one per origin so that a slow disk delays no other, and is submitted again when a job
//! of the lane ends, and at each tick. `EAGAIN` is no answer that a reader of a plain file understands, so time is the
//! only limit.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use musicfs_protocol::Deadline;
use musicfs_protocol::pool::Pool;
use parking_lot::Mutex;

use super::call::{Call, Reply, guarded};
use super::errno::Failure;

/// How often deadlines are looked at.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// How long a call may wait. The promise is 18 s (the kernel's freezer gives a process 20), less the tick that may pass
/// before it is noticed, less another for the tick's own delay.
const WAIT_LIMIT: Duration = Duration::from_secs(17);

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
        table.calls.insert(id, (Deadline::after(now, WAIT_LIMIT), refuse));
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

/// The disk work of one origin, in the order in which it was asked for.
pub(super) struct Lane {
    pool: Arc<dyn Pool>,
    waiting: Arc<Waiting>,
    parked: Mutex<VecDeque<(u64, Work)>>,
}

impl Lane {
    /// The lane in front of a pool.
    pub(super) fn new(pool: Arc<dyn Pool>, waiting: &Arc<Waiting>) -> Arc<Self> {
        Arc::new(Self { pool, waiting: Arc::clone(waiting), parked: Mutex::default() })
    }

    /// Runs `work` on the pool; it takes the call when it has the answer. Nothing is run for a call that is answered.
    pub(super) fn run<R: Reply>(self: &Arc<Self>, call: Call<R>, work: impl Fn(&Kept<R>) + Send + Sync + 'static) {
        let (op, accounts) = (call.op(), call.accounts());
        let Some(kept) = self.waiting.keep(call, Instant::now()) else { return };
        let id = kept.id;
        let lane = Arc::downgrade(self);
        let work: Work = Arc::new(move || {
            if kept.still_waits() {
                guarded(&accounts, op, || work(&kept));
                drop(kept.take()); // after a panic the call is still there: dropping it answers
            }
            if let Some(lane) = lane.upgrade() {
                lane.pump();
            }
        });
        self.parked.lock().push_back((id, work));
        self.pump();
    }

    /// Submits what is parked until the pool is full. The lock is not held while submitting: a pool may run a job at once.
    fn pump(&self) {
        loop {
            let next = self.parked.lock().pop_front();
            let Some((id, work)) = next else { return };
            let job = Arc::clone(&work);
            if self.pool.submit(Box::new(move || job())).is_err() {
                self.parked.lock().push_front((id, work));
                return;
            }
        }
    }

    /// Forgets parked work whose call is answered, and tries the pool again: its last job may have ended just before
    /// something was parked.
    pub(super) fn tick(&self) {
        self.parked.lock().retain(|(id, _)| self.waiting.contains(*id));
        self.pump();
    }
}
