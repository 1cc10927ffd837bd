//! `Keeper`: the thread that keeps one origin's watches in place.
//!
//! Everything that may block happens here, never on the actor's or notify's thread: looking at the root, walking it,
//! waiting for the barrier. Each origin has a keeper and an inotify instance of its own, so that a dead mount holds up
//! nobody but itself; a thread that hangs on one is expendable and ends when the mount answers.
//!
//! ```text
//!              root is there            root is gone, moved or replaced; events lost
//!   Starting ───────────────► Watched ◄──────────────────────────────────────────────┐
//!      │                       │   └──► built anew, then a rescan ────────────────────┘
//!      │ no folder there       │ no more watches granted
//!      └─► Absent ──► (tried   └─► Polled for good: the watches are given back
//!                  again)
//! ```
//!
//! After every build the whole origin is compared: what changed before the last watch was in place is in nobody's queue.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use musicfs_pure::ids::{OriginId, OriginPath};
use parking_lot::Mutex;

use super::barrier;
use super::inotify::{Sink, relative};
use super::orders::{Orders, Todo};
use super::watches::{WatchError, Watches};

/// Rounds of barrier and orders before a barrier is answered: each round takes in the folders that the one before
/// uncovered, and a tree that grows all the time never ends.
const MAX_BARRIER_ROUNDS: u32 = 16;

/// An origin and where it is.
#[derive(Clone, Debug)]
pub struct WatchedOrigin {
    /// Which.
    pub origin: OriginId,
    /// Its folder; need not exist, may be a link.
    pub root: PathBuf,
    /// How often it is compared where events do not tell everything.
    pub poll_interval: Duration,
}

/// How an origin's changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not known yet.
    Starting,
    /// There is no folder at the root.
    Absent,
    /// By events.
    Watched,
    /// By events, and by comparing because others may write too.
    WatchedAndPolled,
    /// By comparing.
    Polled,
}

impl Mode {
    /// Whether the origin is compared at every poll interval.
    pub(super) fn polls(self) -> bool {
        matches!(self, Self::WatchedAndPolled | Self::Polled)
    }
}

/// The actor's side of a keeper; ends it when dropped.
pub(super) struct KeeperHandle {
    pub(super) orders: Arc<Orders>,
    mode: Arc<Mutex<Mode>>,
    thread: Option<JoinHandle<()>>,
}

impl KeeperHandle {
    /// How the origin's changes are noticed now.
    pub(super) fn mode(&self) -> Mode {
        *self.mode.lock()
    }

    /// Whether the thread is gone, which only a defect or an exhausted system explains.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for KeeperHandle {
    fn drop(&mut self) {
        // not joined: it may be stuck on a dead mount
        self.orders.stop();
    }
}

/// The thread's side.
pub(super) struct Keeper {
    origin: WatchedOrigin,
    barrier_dir: PathBuf,
    sink: Sink,
    orders: Arc<Orders>,
    mode: Arc<Mutex<Mode>>,
    watches: Option<Watches>,
    has_given_up: bool,
}

impl Keeper {
    /// Starts the keeper of an origin.
    pub(super) fn spawn(origin: WatchedOrigin, barrier_dir: PathBuf, sink: Sink) -> KeeperHandle {
        let orders = Arc::new(Orders::new(sink.work.clone()));
        let mode = Arc::new(Mutex::new(Mode::Starting));
        let name = format!("watch-{}", origin.origin);
        let parts = (Arc::clone(&orders), Arc::clone(&mode));
        let keeper =
            Self { origin, barrier_dir, sink, orders: parts.0, mode: parts.1, watches: None, has_given_up: false };
        let thread = Builder::new().name(name).spawn(|| keeper.run());
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread for an origin's watches; it is tried again");
        }
        KeeperHandle { orders, mode, thread: thread.ok() }
    }

    fn run(mut self) {
        barrier::remove_leftovers(&self.barrier_dir, &self.origin.origin);
        while let Some((todo, barriers)) = self.orders.next() {
            self.obey(todo);
            if !barriers.is_empty() {
                self.pass_barrier();
            }
            for barrier in barriers {
                // who asked may have left
                let _ = barrier.send(());
            }
        }
    }

    fn obey(&mut self, todo: Todo) {
        if todo.limit_reached {
            self.give_up(&WatchError::TooManyWatches);
        }
        if todo.rebuild {
            self.watches = None;
        }
        if todo.check_root {
            self.check_root();
        }
        if self.watches.is_none() && !self.has_given_up {
            // a build takes in what is fresh
            self.build();
        } else if todo.all_fresh {
            self.add_fresh(None);
        } else if !todo.fresh.is_empty() {
            self.add_fresh(Some(todo.fresh.iter().cloned().collect()));
        }
    }

    /// Until no event is queued, and every folder that events told of is watched and touched.
    fn pass_barrier(&mut self) {
        for _ in 0..MAX_BARRIER_ROUNDS {
            let Some(watches) = &self.watches else { return };
            if let Err(error) = watches.pass_barrier() {
                tracing::warn!(origin = %self.origin.origin, %error, "the event queue was not read to its end");
                return;
            }
            let todo = self.orders.take_todo();
            if todo.is_empty() {
                return;
            }
            self.obey(todo);
        }
    }

    fn check_root(&mut self) {
        let is_lost = self.watches.as_ref().is_some_and(|watches| !watches.is_current(&self.origin.root));
        if is_lost {
            tracing::warn!(origin = %self.origin.origin, "the origin's folder was replaced or unmounted");
            self.sink.touch(OriginPath::root(), true, None);
            self.watches = None;
        }
    }

    fn build(&mut self) {
        match Watches::build(&self.origin.root, &self.barrier_dir, &self.sink, &self.orders) {
            Ok(watches) => {
                tracing::info!(origin = %self.origin.origin, root = %watches.root().display(), "watching");
                self.watches = Some(watches);
                self.publish_watched();
                self.sink.rescan();
            }
            Err(WatchError::Stopped) => {}
            Err(error @ (WatchError::TooManyWatches | WatchError::TooManyInstances)) => self.give_up(&error),
            Err(error @ WatchError::RootMissing { .. }) => self.publish(Mode::Absent, &error),
            Err(error @ (WatchError::Unreadable { .. } | WatchError::BarrierFolder { .. })) => {
                self.publish(Mode::Polled, &error);
            }
        }
    }

    /// Watches folders that appeared, or with `None` all of them, and touches them once more: what came into them before
    /// their watch did is known to nobody.
    fn add_fresh(&mut self, fresh: Option<Vec<PathBuf>>) {
        let Some(watches) = &mut self.watches else { return };
        let root = watches.root().to_path_buf();
        let tops = fresh.unwrap_or_else(|| vec![root.clone()]);
        match watches.add_trees(&tops) {
            Ok(folders) => {
                for path in folders.into_iter().filter_map(|folder| relative(&root, folder)) {
                    self.sink.touch(path, true, None);
                }
                self.publish_watched();
            }
            Err(WatchError::Stopped) => {}
            Err(error) => self.give_up(&error),
        }
    }

    /// Watches on half of a tree are worth little, and the user's other programs need them.
    fn give_up(&mut self, error: &WatchError) {
        self.watches = None;
        self.has_given_up = true;
        self.publish(Mode::Polled, error);
        self.sink.rescan();
    }

    fn publish_watched(&self) {
        let is_partial = self.watches.as_ref().is_some_and(Watches::is_partial);
        *self.mode.lock() = if is_partial { Mode::WatchedAndPolled } else { Mode::Watched };
    }

    /// Warns when the mode is news, not at every attempt.
    fn publish(&self, new: Mode, error: &WatchError) {
        let old = std::mem::replace(&mut *self.mode.lock(), new);
        if old != new {
            let interval = self.origin.poll_interval;
            tracing::warn!(origin = %self.origin.origin, mode = ?new, ?interval, %error, "the origin is not watched");
        }
    }
}
