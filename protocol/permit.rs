//! Permits: the bound on what an origin is asked for at once, in bytes, by lane.
//!
//! A mailbox is no backpressure. So a request that moves bytes carries a permit for them, and dropping it, however the
//! request ends, gives them back. Lanes keep order of importance: a lane is served before those below it, and background
//! lanes together never hold the last quarter, so a reader never waits for a scan. Whoever must wait does so as a future,
//! or leaves a call behind where a thread may not wait. A thread that froze gives nothing back: what is out when it is
//! given up is written off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::metrics::PermitMeters;

/// What bytes are wanted for, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A reader waits for these bytes.
    Demand,
    /// A reader is likely to want them next.
    Readahead,
    /// Tag scans.
    Tags,
    /// Delta sync.
    Delta,
    /// Verification of what is held.
    Scrub,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 5] = [Self::Demand, Self::Readahead, Self::Tags, Self::Delta, Self::Scrub];

    /// The label `lane` of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Readahead => "readahead",
            Self::Tags => "tags",
            Self::Delta => "delta",
            Self::Scrub => "scrub",
        }
    }

    fn is_background(self) -> bool {
        self >= Self::Tags
    }
}

/// A byte budget shared by the requests to one origin.
#[derive(Clone)]
pub struct PermitPool {
    shared: Arc<Mutex<State>>,
}

struct State {
    capacity: u64,
    held: u64,
    /// How often what was out has been written off.
    era: u64,
    waiting: [VecDeque<Waiter>; Lane::ALL.len()],
    meters: PermitMeters,
}

struct Waiter {
    bytes: u64,
    since: Instant,
    granted: Granted,
}

/// Who is told.
enum Granted {
    Future(oneshot::Sender<Permit>),
    Call(Box<dyn FnOnce(Permit) + Send>),
}

/// Bytes that may be asked for. Dropping it gives them back.
pub struct Permit {
    bytes: u64,
    era: u64,
    shared: Arc<Mutex<State>>,
}

impl State {
    /// Whether a lane may take `bytes` now. A request larger than the lane's share is let through when nothing is held:
    /// it could otherwise never run.
    fn fits(&self, lane: Lane, bytes: u64) -> bool {
        let share = if lane.is_background() { self.capacity - self.capacity / 4 } else { self.capacity };
        self.held == 0 || self.held + bytes <= share
    }

    /// Takes the next waiter that may run, most urgent lane first, in order within a lane.
    fn next(&mut self) -> Option<(Lane, Waiter)> {
        for lane in Lane::ALL {
            let fits = self.waiting[lane as usize].front().map(|waiter| self.fits(lane, waiter.bytes));
            match fits {
                Some(true) => return self.waiting[lane as usize].pop_front().map(|waiter| (lane, waiter)),
                Some(false) => return None, // nobody overtakes a more urgent lane
                None => {}
            }
        }
        None
    }

    fn set_held(&mut self, held: u64) {
        self.held = held;
        self.meters.held.set(held as i64);
    }
}

impl PermitPool {
    /// A pool of `capacity` bytes that is shown nowhere.
    pub fn new(capacity: u64) -> Self {
        Self::measured(capacity, PermitMeters::default())
    }

    /// A pool of `capacity` bytes whose use is shown by `meters`.
    pub fn measured(capacity: u64, meters: PermitMeters) -> Self {
        let waiting = <[VecDeque<Waiter>; Lane::ALL.len()]>::default();
        Self { shared: Arc::new(Mutex::new(State { capacity, held: 0, era: 0, waiting, meters })) }
    }

    /// Takes `bytes` at once or not at all; for threads that must not wait.
    pub fn try_acquire(&self, lane: Lane, bytes: u64) -> Option<Permit> {
        let mut state = self.shared.lock();
        let ahead = state.waiting[..=lane as usize].iter().any(|queue| !queue.is_empty());
        if ahead || !state.fits(lane, bytes) {
            return None;
        }
        let held = state.held + bytes;
        state.set_held(held);
        Some(Permit { bytes, era: state.era, shared: Arc::clone(&self.shared) })
    }

    /// Waits for `bytes`. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self, lane: Lane, bytes: u64) -> Permit {
        if let Some(permit) = self.try_acquire(lane, bytes) {
            return permit;
        }
        loop {
            let (granted, receiver) = oneshot::channel();
            self.queue(lane, bytes, Granted::Future(granted));
            if let Ok(permit) = receiver.await {
                return permit;
            }
        }
    }

    /// Has `call` called with `bytes` when they are free, on the thread that frees them, or now. How long was waited is for
    /// the caller to [count](Self::count_wait): it may speak for a queue of its own.
    pub fn call_when_free(&self, lane: Lane, bytes: u64, call: impl FnOnce(Permit) + Send + 'static) {
        self.queue(lane, bytes, Granted::Call(Box::new(call)));
    }

    fn queue(&self, lane: Lane, bytes: u64, granted: Granted) {
        self.shared.lock().waiting[lane as usize].push_back(Waiter { bytes, since: Instant::now(), granted });
        grant(&self.shared);
    }

    /// Counts the time since `since` as waited for in a lane.
    pub fn count_wait(&self, lane: Lane, since: Instant) {
        self.shared.lock().meters.count_wait(lane, since.elapsed());
    }

    /// Nothing that is out now is given back any more: it counts as free. What of it still moves is beyond the bound until
    /// it ends.
    pub fn write_off(&self) {
        {
            let mut state = self.shared.lock();
            state.era += 1;
            state.set_held(0);
        }
        grant(&self.shared);
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.shared.lock().held
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting.iter().map(VecDeque::len).sum()
    }
}

/// Hands freed bytes to those who wait. A waiter that has gone drops its permit, which comes back here.
fn grant(shared: &Arc<Mutex<State>>) {
    loop {
        let mut state = shared.lock();
        let Some((lane, waiter)) = state.next() else { return };
        let held = state.held + waiter.bytes;
        state.set_held(held);
        let mut permit = Permit { bytes: waiter.bytes, era: state.era, shared: Arc::clone(shared) };
        match waiter.granted {
            // the lock is let go first: whoever is called may give back or ask for more
            Granted::Call(call) => {
                drop(state);
                call(permit);
            }
            Granted::Future(granted) if granted.is_closed() => permit.give_back(&mut state),
            Granted::Future(granted) => {
                state.meters.count_wait(lane, waiter.since.elapsed());
                drop(state);
                if let Err(mut refused) = granted.send(permit) {
                    // it left in this very moment; giving back here and not by the drop keeps this from recursing
                    refused.give_back(&mut shared.lock());
                }
            }
        }
    }
}

impl Permit {
    /// The bytes it stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the bytes back, once.
    fn give_back(&mut self, state: &mut State) {
        let bytes = std::mem::take(&mut self.bytes);
        if self.era == state.era {
            let held = state.held - bytes;
            state.set_held(held);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let shared = Arc::clone(&self.shared);
            self.give_back(&mut shared.lock());
            grant(&shared);
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({} B)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_never_holds_the_last_quarter() {
        let pool = PermitPool::new(100);
        let tags = pool.try_acquire(Lane::Tags, 75);
        assert!(tags.is_some());
        assert!(pool.try_acquire(Lane::Tags, 1).is_none());
        assert!(pool.try_acquire(Lane::Demand, 25).is_some());
    }

    #[test]
    fn request_larger_than_the_pool_runs_alone() {
        let pool = PermitPool::new(100);
        let large = pool.try_acquire(Lane::Tags, 1000);
        assert!(large.is_some());
        assert!(pool.try_acquire(Lane::Demand, 1).is_none());
        drop(large);
        assert_eq!(pool.held(), 0);
    }

    #[tokio::test]
    async fn freed_bytes_go_to_the_most_urgent_waiter() {
        let pool = PermitPool::new(100);
        let first = pool.acquire(Lane::Demand, 100).await;
        let scrub = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire(Lane::Scrub, 60).await }
        });
        while pool.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        let demand = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire(Lane::Demand, 60).await }
        });
        while pool.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let permit = demand.await.expect("granted");
        assert!(!scrub.is_finished());
        drop(permit);
        assert_eq!(scrub.await.expect("granted").bytes(), 60);
    }

    #[tokio::test]
    async fn waiter_that_gave_up_holds_nothing() {
        let pool = PermitPool::new(10);
        let held = pool.acquire(Lane::Demand, 10).await;
        let mut gone = Box::pin(pool.acquire(Lane::Demand, 10));
        assert!(futures_poll(&mut gone));
        drop(gone);
        drop(held);
        assert_eq!(pool.held(), 0);
    }

    #[tokio::test]
    async fn call_left_behind_gets_its_bytes_from_whoever_frees_them() {
        let pool = PermitPool::new(10);
        let held = pool.acquire(Lane::Tags, 7).await;
        let got = Arc::new(Mutex::new(None));
        let place = Arc::clone(&got);
        pool.call_when_free(Lane::Demand, 10, move |permit| *place.lock() = Some(permit));
        assert!(got.lock().is_none());
        assert_eq!(pool.waiting(), 1);
        drop(held);
        assert_eq!(got.lock().take().map(|permit| permit.bytes()), Some(10));
        assert_eq!((pool.held(), pool.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn ten_thousand_waiters_stay_within_the_bound_and_all_get_their_turn() {
        let pool = PermitPool::new(100);
        let done = Arc::new(Mutex::new((0, 0)));
        let tasks: Vec<_> = (0..10_000_usize)
            .map(|number| {
                let (pool, done) = (pool.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    let permit = pool.acquire(Lane::ALL[number % 5], 7).await;
                    tokio::task::yield_now().await;
                    let mut done = done.lock();
                    *done = (done.0 + 1, done.1.max(pool.held()));
                    drop((done, permit));
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        let (count, most_held) = *done.lock();
        assert_eq!((count, pool.held(), pool.waiting()), (10_000, 0, 0));
        assert!(most_held <= 100, "{most_held}");
    }

    #[tokio::test]
    async fn permits_of_a_frozen_thread_are_written_off_once() {
        let pool = PermitPool::new(100);
        let frozen = pool.acquire(Lane::Demand, 100).await;
        pool.write_off();
        let fresh = pool.try_acquire(Lane::Demand, 60).expect("free again");
        drop(frozen);
        assert_eq!(pool.held(), 60);
        drop(fresh);
        assert_eq!(pool.held(), 0);
    }

    #[tokio::test]
    async fn waiting_is_measured_by_lane() {
        let metrics = crate::Metrics::default();
        let origin = musicfs_pure::ids::OriginId::parse("nas").expect("valid");
        let pool = PermitPool::measured(10, metrics.permits(&origin));
        let held = pool.acquire(Lane::Demand, 10).await;
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire(Lane::Tags, 5).await }
        });
        while pool.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        assert!(
            metrics
                .render(&crate::metrics::Facts::default())
                .contains(r#"musicfs_fetcher_permit_bytes{origin="nas"} 10"#)
        );
        drop(held);
        waiting.await.expect("granted");
        let text = metrics.render(&crate::metrics::Facts::default());
        let waited = |lane: &str| {
            let series = format!(r#"musicfs_fetcher_permit_wait_seconds_total{{origin="nas",lane="{lane}"}} "#);
            let value = text.split(&series).nth(1).and_then(|rest| rest.lines().next()).expect("shown");
            value.parse::<f64>().expect("a number")
        };
        assert!(waited("tags") > 0.0 && waited("demand") == 0.0, "{text}");
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        let mut ctx = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::Pin::new(future).poll(&mut ctx).is_pending()
    }
}
