//! `Orders`: what the keeper of an origin's watches has to do.
//!
//! notify's thread and the actor give orders and go on; the keeper's thread takes all of them at once. Orders of one kind
//! are one order, so what waits is bounded: the folders that need a watch by a number beyond which all are looked at
//! again, the rest by being flags. While an order waits that may uncover changes it holds a work token, so that the daemon
//! is not idle. Giving an order never blocks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use musicfs_protocol::{Work, WorkToken};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// Folders that wait for their watch before the whole root is walked instead: about where that becomes cheaper.
const MAX_FRESH_FOLDERS: usize = 1_024;

/// Everything that is to be done, in this order.
#[derive(Debug, Default)]
pub(super) struct Todo {
    /// The system grants no more watches: poll from now on.
    pub(super) limit_reached: bool,
    /// Events were lost, or the root is gone: begin anew.
    pub(super) rebuild: bool,
    /// See whether the root is still the one that is watched.
    pub(super) check_root: bool,
    /// Paths where a folder may have appeared that has no watch.
    pub(super) fresh: BTreeSet<PathBuf>,
    /// As if every folder of the origin were fresh.
    pub(super) all_fresh: bool,
    work: Option<WorkToken>,
}

impl Todo {
    /// To look at the root, and no more.
    pub(super) fn check_root() -> Self {
        Self { check_root: true, ..Self::default() }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        !(self.limit_reached || self.rebuild || self.check_root || self.all_fresh) && self.fresh.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    todo: Todo,
    barriers: Vec<oneshot::Sender<()>>,
    stop: bool,
}

/// The orders of one keeper.
#[derive(Debug)]
pub(super) struct Orders {
    state: Mutex<State>,
    given: Condvar,
    work: Work,
}

impl Orders {
    /// Orders that begin with looking at the root.
    pub(super) fn new(work: Work) -> Self {
        let todo = Todo::check_root();
        Self { state: Mutex::new(State { todo, ..State::default() }), given: Condvar::new(), work }
    }

    /// Everything that waits, as soon as something does; nothing when the keeper must end.
    pub(super) fn next(&self) -> Option<(Todo, Vec<oneshot::Sender<()>>)> {
        let mut state = self.state.lock();
        while !state.stop && state.todo.is_empty() && state.barriers.is_empty() {
            self.given.wait(&mut state);
        }
        (!state.stop).then(|| (std::mem::take(&mut state.todo), std::mem::take(&mut state.barriers)))
    }

    /// What waits now besides barriers, which have to wait for a barrier of their own.
    pub(super) fn take_todo(&self) -> Todo {
        std::mem::take(&mut self.state.lock().todo)
    }

    /// Whether the keeper must end.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Ends the keeper.
    pub(super) fn stop(&self) {
        self.give(|state, _| state.stop = true);
    }

    /// See [`Todo::limit_reached`].
    pub(super) fn limit_reached(&self) {
        self.give(|state, _| state.todo.limit_reached = true);
    }

    /// See [`Todo::rebuild`].
    pub(super) fn rebuild(&self) {
        self.give(|state, work| {
            state.todo.rebuild = true;
            state.todo.work.get_or_insert_with(|| work.begin());
        });
    }

    /// See [`Todo::check_root`].
    pub(super) fn check_root(&self) {
        self.give(|state, _| state.todo.check_root = true);
    }

    /// See [`Todo::fresh`].
    pub(super) fn fresh(&self, path: PathBuf) {
        self.give(|state, work| {
            let todo = &mut state.todo;
            todo.work.get_or_insert_with(|| work.begin());
            if !todo.all_fresh {
                todo.fresh.insert(path);
            }
            if todo.fresh.len() > MAX_FRESH_FOLDERS {
                todo.fresh.clear();
                todo.all_fresh = true;
            }
        });
    }

    /// Told when everything that is queued now has been passed on.
    pub(super) fn await_barrier(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.give(|state, _| {
            // a keeper that is stuck on a dead mount takes none; those who asked have left
            state.barriers.retain(|waiting| !waiting.is_closed());
            state.barriers.push(sender);
        });
        receiver
    }

    fn give(&self, order: impl FnOnce(&mut State, &Work)) {
        order(&mut self.state.lock(), &self.work);
        self.given.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_fresh_folders_are_one_order() {
        let work = Work::default();
        let orders = Orders::new(work.clone());
        for number in 0..2 * MAX_FRESH_FOLDERS {
            orders.fresh(PathBuf::from(number.to_string()));
        }
        let todo = orders.take_todo();
        assert!(todo.all_fresh && todo.fresh.is_empty());
        assert_eq!(work.pending(), 1);
        drop(todo);
        assert_eq!(work.pending(), 0);
        assert!(orders.take_todo().is_empty());
    }

    #[test]
    fn stopped_orders_end_the_keeper() {
        let orders = Orders::new(Work::default());
        assert!(orders.next().is_some_and(|(todo, _)| todo.check_root));
        orders.fresh(PathBuf::from("x"));
        orders.stop();
        assert!(orders.next().is_none());
    }
}
