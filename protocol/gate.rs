//! `ReadyGate`: closed until the library may be looked at.
//!
//! An empty catalog must not look like an empty library: a scanner that sees an empty folder forgets everything. So
//! before the first listing of each origin is in (or has definitely failed, or ten seconds have passed) requests at the
//! root are kept here instead of being answered. The gate opens once and stays open.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// What is done when the gate opens; must not block.
pub type OnOpen = Box<dyn FnOnce() + Send>;

/// The most requests that are kept; a further one is answered at once.
const MAX_KEPT: usize = 4096;

/// A gate that opens once.
#[derive(Default)]
pub struct ReadyGate {
    open: AtomicBool,
    kept: Mutex<Vec<OnOpen>>,
}

impl ReadyGate {
    /// Whether the gate is open.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Opens the gate and does what was kept, on this thread.
    pub fn open(&self) {
        let kept = {
            let mut kept = self.kept.lock();
            self.open.store(true, Ordering::Release);
            std::mem::take(&mut *kept)
        };
        for action in kept {
            action();
        }
    }

    /// Does `action` when the gate is open: now if it is, or if too many are kept already.
    pub fn when_open(&self, action: OnOpen) {
        {
            let mut kept = self.kept.lock();
            if !self.is_open() && kept.len() < MAX_KEPT {
                kept.push(action);
                return;
            }
        }
        action();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn kept_actions_run_once_when_the_gate_opens() {
        let gate = ReadyGate::default();
        let count = Arc::new(AtomicU32::new(0));
        for _ in 0..3 {
            let count = Arc::clone(&count);
            gate.when_open(Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }));
        }
        assert_eq!(count.load(Ordering::Relaxed), 0);
        gate.open();
        gate.open();
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}
