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
//!      └─► Absent ──► (tried   └─► Polled: the watches are given back, and tried again after RETRY_AFTER or when the
//!                  again)                  system's limit is another one
//! ```
//!
//! After every build the whole origin is compared: what changed before the last watch was in place is in nobody's queue.
//! The kernel tells nobody that a filesystem was mounted on a watched folder, or that one is gone: so what is mounted below
//! the root is compared with what was there when the watches were built, whenever the root is looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use musicfs_protocol::{OriginWatch, WatchMode};
use musicfs_pure::ids::{OriginId, OriginPath};
use parking_lot::Mutex;

use super::barrier;
use super::inotify::{Sink, relative};
use super::limits::Limits;
use super::orders::{Orders, Todo};
use super::watches::{WatchError, Watches};

/// Rounds of barrier and orders before a barrier is answered: each round takes in the folders that the one before
/// uncovered, and a tree that grows all the time never ends.
const MAX_BARRIER_ROUNDS: u32 = 16;

/// After this time it is tried whether other programs have given back watches: a try walks the folders of the origin and
/// takes watches from the others while it does, so it is made seldom. A raised limit is seen at once.
const RETRY_AFTER: Duration = Duration::from_mins(10);

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

/// The actor's side of a keeper; ends it when dropped.
pub(super) struct KeeperHandle {
    pub(super) orders: Arc<Orders>,
    mode: Arc<Mutex<WatchMode>>,
    thread: Option<JoinHandle<()>>,
}

impl KeeperHandle {
    /// How the origin's changes are noticed now.
    pub(super) fn mode(&self) -> WatchMode {
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
    mode: Arc<Mutex<WatchMode>>,
    watches: Option<Watches>,
    given_up: Option<GivenUp>,
}

/// When the system granted no more watches, and what its limits were.
struct GivenUp {
    at: Instant,
    limits: Limits,
}

impl GivenUp {
    /// Whether it may be otherwise by now.
    fn may_be_over(&self) -> bool {
        self.at.elapsed() >= RETRY_AFTER || self.limits != Limits::read()
    }
}

impl Keeper {
    /// Starts the keeper of an origin.
    pub(super) fn spawn(origin: WatchedOrigin, barrier_dir: PathBuf, sink: Sink) -> KeeperHandle {
        let orders = Arc::new(Orders::new(sink.work.clone()));
        let mode = Arc::new(Mutex::new(WatchMode::Starting));
        let name = format!("watch-{}", origin.origin);
        let parts = (Arc::clone(&orders), Arc::clone(&mode));
        let keeper = Self { origin, barrier_dir, sink, orders: parts.0, mode: parts.1, watches: None, given_up: None };
        keeper.set_mode(WatchMode::Starting, None);
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
            self.give_up(&WatchError::too_many_watches());
        }
        if todo.rebuild {
            self.watches = None;
        }
        if todo.check_root {
            self.check_root();
            self.given_up.take_if(|given_up| given_up.may_be_over());
        }
        if self.watches.is_none() && self.given_up.is_none() {
            // a build takes in what is fresh
            self.build();
        } else if todo.all_fresh {
            self.add_fresh(None);
        } else if !todo.fresh.is_empty() {
            self.add_fresh(Some(todo.fresh.iter().cloned().collect()));
        }
    }

    /// Until no event is queued, and every folder that events told of is watched and touched. What gives no event is looked
    /// at first.
    fn pass_barrier(&mut self) {
        if self.watches.is_some() {
            self.obey(Todo::check_root());
        }
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
        let Some(watches) = &self.watches else { return };
        if !watches.is_current(&self.origin.root) {
            tracing::warn!(origin = %self.origin.origin, "the origin's folder was replaced or unmounted");
            self.sink.touch(OriginPath::root(), true, None);
            self.watches = None;
        } else if watches.has_other_mounts() {
            tracing::info!(origin = %self.origin.origin, "what is mounted below the origin's folder has changed");
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
            Err(error @ (WatchError::TooManyWatches { .. } | WatchError::TooManyInstances { .. })) => {
                self.give_up(&error);
            }
            Err(error @ WatchError::RootMissing { .. }) => self.publish(WatchMode::Absent, &error),
            Err(error @ (WatchError::Unreadable { .. } | WatchError::BarrierFolder { .. })) => {
                self.publish(WatchMode::Polled, &error);
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
        self.given_up = Some(GivenUp { at: Instant::now(), limits: Limits::read() });
        self.publish(WatchMode::Polled, error);
        self.sink.rescan();
    }

    fn publish_watched(&self) {
        let is_partial = self.watches.as_ref().is_some_and(Watches::is_partial);
        self.set_mode(if is_partial { WatchMode::WatchedAndPolled } else { WatchMode::Watched }, None);
    }

    /// Warns when the mode is news, not at every attempt.
    fn publish(&self, new: WatchMode, error: &WatchError) {
        let old = self.set_mode(new, Some(error.to_string()));
        if old != new {
            let interval = self.origin.poll_interval;
            tracing::warn!(origin = %self.origin.origin, mode = ?new, ?interval, %error, "the origin is not watched");
        }
    }

    /// Answers the mode before. A keeper that was told to end has a successor, who publishes.
    fn set_mode(&self, mode: WatchMode, problem: Option<String>) -> WatchMode {
        if !self.orders.is_stopped() {
            self.sink.watches.publish(&self.origin.origin, OriginWatch { mode, problem });
        }
        std::mem::replace(&mut *self.mode.lock(), mode)
    }
}
