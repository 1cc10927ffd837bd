//! `Work`: how many changes are on their way from an origin to the kernel.
//!
//! A token is held for every change that has been seen and is not yet told to the kernel. It travels inside events and
//! requests, so there is no instant at which a change belongs to nobody: `wait --for idle` is exact, not a guess that
//! some queues looked empty one after another. A thread that freezes keeps its tokens for ever; when it is given up, all
//! tokens of that time are written off ([`Work::write_off`]) and a comparison of every origin stands for what they meant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bits of the count; those above are the number of times that tokens were written off.
const COUNT_BITS: u32 = 32;

fn era_of(state: u64) -> u64 {
    state >> COUNT_BITS
}

/// The number of tokens held, shared by all who hold one.
#[derive(Clone, Debug, Default)]
pub struct Work(Arc<AtomicU64>);

impl Work {
    /// Starts a piece of work; it ends when the token and all its clones are dropped.
    pub fn begin(&self) -> WorkToken {
        let era = era_of(self.0.fetch_add(1, Ordering::AcqRel));
        WorkToken { work: self.clone(), era }
    }

    /// Tokens held now.
    pub fn pending(&self) -> usize {
        (self.0.load(Ordering::Acquire) & u64::from(u32::MAX)) as usize
    }

    /// No token that is held now counts any more. The one that is answered stands for all of them, so that nobody finds
    /// the daemon idle before their loss has been made up for.
    pub fn write_off(&self) -> WorkToken {
        let next = |state| Some(((era_of(state) + 1) << COUNT_BITS) | 1);
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_else(|same| same);
        WorkToken { work: self.clone(), era: era_of(before) + 1 }
    }
}

/// A change on its way. Dropping it says that the change has arrived, or was found to be none.
#[derive(Debug)]
pub struct WorkToken {
    work: Work,
    era: u64,
}

/// The clone of a token that was written off counts: whoever clones it is at work.
impl Clone for WorkToken {
    fn clone(&self) -> Self {
        self.work.begin()
    }
}

impl Drop for WorkToken {
    fn drop(&mut self) {
        let give_back = |state| (era_of(state) == self.era).then(|| state - 1);
        // an error says that it was written off
        let _ = self.work.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, give_back);
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

    #[test]
    fn token_that_was_written_off_counts_no_more_and_its_clone_does() {
        let work = Work::default();
        let (frozen, other) = (work.begin(), work.begin());
        let lost = work.write_off();
        assert_eq!(work.pending(), 1);
        drop(lost);
        assert_eq!(work.pending(), 0);
        let fresh = work.begin();
        let clone = other.clone();
        assert_eq!(work.pending(), 2);
        drop((frozen, other));
        assert_eq!(work.pending(), 2);
        drop((fresh, clone));
        assert_eq!(work.pending(), 0);
    }
}
