//! Permits: the bound on what an origin is asked for at once, in bytes, by lane.
//!
//! A mailbox is no backpressure. So a request that moves bytes carries a permit for them, and dropping it, however the
//! request ends, gives them back. Lanes keep order of importance: a lane is served before those below it, and background
//! lanes together never hold the last quarter, so a reader never waits for a scan.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

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
    waiting: [VecDeque<Waiter>; Lane::ALL.len()],
}

struct Waiter {
    bytes: u64,
    granted: oneshot::Sender<Permit>,
}

/// Bytes that may be asked for. Dropping it gives them back.
pub struct Permit {
    bytes: u64,
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
    fn next(&mut self) -> Option<Waiter> {
        for lane in Lane::ALL {
            let fits = self.waiting[lane as usize].front().map(|waiter| self.fits(lane, waiter.bytes));
            match fits {
                Some(true) => return self.waiting[lane as usize].pop_front(),
                Some(false) => return None, // nobody overtakes a more urgent lane
                None => {}
            }
        }
        None
    }
}

impl PermitPool {
    /// A pool of `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Self { shared: Arc::new(Mutex::new(State { capacity, held: 0, waiting: Default::default() })) }
    }

    /// Takes `bytes` at once or not at all; for threads that must not wait.
    pub fn try_acquire(&self, lane: Lane, bytes: u64) -> Option<Permit> {
        let mut state = self.shared.lock();
        let ahead = state.waiting[..=lane as usize].iter().any(|queue| !queue.is_empty());
        if ahead || !state.fits(lane, bytes) {
            return None;
        }
        state.held += bytes;
        Some(Permit { bytes, shared: Arc::clone(&self.shared) })
    }

    /// Waits for `bytes`. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self, lane: Lane, bytes: u64) -> Permit {
        if let Some(permit) = self.try_acquire(lane, bytes) {
            return permit;
        }
        loop {
            let (granted, receiver) = oneshot::channel();
            self.shared.lock().waiting[lane as usize].push_back(Waiter { bytes, granted });
            grant(&self.shared);
            if let Ok(permit) = receiver.await {
                return permit;
            }
        }
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
        let Some(waiter) = state.next() else { return };
        state.held += waiter.bytes;
        let permit = Permit { bytes: waiter.bytes, shared: Arc::clone(shared) };
        drop(state);
        if let Err(mut refused) = waiter.granted.send(permit) {
            shared.lock().held -= refused.bytes;
            refused.bytes = 0; // already given back: its drop must not do it again, nor recurse
        }
    }
}

impl Permit {
    /// The bytes it stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.lock().held -= self.bytes;
            grant(&self.shared);
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

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        let mut ctx = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::Pin::new(future).poll(&mut ctx).is_pending()
    }
}
