//! `Work`: how many changes are on their way from an origin to the kernel.
//!
//! A token is held for every change that has been seen and is not yet told to the kernel. It travels inside events and
//! requests, so there is no instant at which a change belongs to nobody: `wait --for idle` is exact, not a guess that
//! some queues looked empty one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of tokens held, shared by all who hold one.
#[derive(Clone, Debug, Default)]
pub struct Work(Arc<AtomicUsize>);

impl Work {
    /// Starts a piece of work; it ends when the token and all its clones are dropped.
    pub fn begin(&self) -> WorkToken {
        self.0.fetch_add(1, Ordering::AcqRel);
        WorkToken(Arc::clone(&self.0))
    }

    /// Tokens held now.
    pub fn pending(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// A change on its way. Dropping it says that the change has arrived, or was found to be none.
#[derive(Debug)]
pub struct WorkToken(Arc<AtomicUsize>);

impl Clone for WorkToken {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for WorkToken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_pending_until_the_last_clone_is_dropped() {
        let work = Work::default();
        let token = work.begin();
        let clone = token.clone();
        drop(token);
        assert_eq!(work.pending(), 1);
        drop(clone);
        assert_eq!(work.pending(), 0);
    }
}
