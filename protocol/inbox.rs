//! `Inbox<K, V>`: events between actors, coalesced by key, bounded, one wake per batch.
//!
//! A mailbox can neither coalesce nor push back, and a storm of changes must cost memory in proportion to what changed,
//! not to how often. So the sender puts values into a map that both sides share; the receiver gets one [`InboxReady`] and
//! drains. The map outlives the receiver: what was in it when an actor died is there for the one that replaces it. A full
//! inbox collapses by the rule it was made with; it never drops an event silently.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use actix::Message;
use parking_lot::Mutex;

use crate::port::Port;

/// Inbox → its receiver: something is in the inbox. Sent once per batch; may be repeated without harm.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct InboxReady;

/// What a full inbox does: makes the content smaller without forgetting that something happened.
pub type Collapse<K, V> = fn(HashMap<K, V>) -> HashMap<K, V>;

/// A bounded map of pending events, shared by its senders and its receiver.
pub struct Inbox<K, V> {
    shared: Arc<Shared<K, V>>,
}

struct Shared<K, V> {
    pending: Mutex<HashMap<K, V>>,
    bound: usize,
    merge: fn(&mut V, V),
    collapse: Collapse<K, V>,
    ready: Port<InboxReady>,
}

impl<K: Eq + Hash, V> Shared<K, V> {
    fn add(&self, pending: &mut HashMap<K, V>, key: K, value: V) {
        match pending.entry(key) {
            Entry::Occupied(mut slot) => (self.merge)(slot.get_mut(), value),
            Entry::Vacant(slot) => {
                slot.insert(value);
            }
        }
        if pending.len() > self.bound {
            *pending = (self.collapse)(std::mem::take(pending));
        }
    }
}

impl<K: Eq + Hash, V> Inbox<K, V> {
    /// An inbox of at most `bound` keys. `merge` adds a later value to one that waits under the same key; `collapse` is
    /// called when the bound is passed and must return fewer entries.
    pub fn new(bound: usize, merge: fn(&mut V, V), collapse: Collapse<K, V>) -> Self {
        let shared = Shared { pending: Mutex::default(), bound, merge, collapse, ready: Port::unbound() };
        Self { shared: Arc::new(shared) }
    }

    /// The port that wakes the receiver; the wiring binds it. After binding, the receiver drains once by itself.
    pub fn ready_port(&self) -> &Port<InboxReady> {
        &self.shared.ready
    }

    /// Adds an event. The receiver is woken when the inbox was empty before.
    pub fn push(&self, key: K, value: V) {
        self.push_all([(key, value)]);
    }

    /// Adds events that belong together: the receiver drains all of them or none.
    pub fn push_all(&self, events: impl IntoIterator<Item = (K, V)>) {
        let is_news = {
            let mut pending = self.shared.pending.lock();
            let was_empty = pending.is_empty();
            for (key, value) in events {
                self.shared.add(&mut pending, key, value);
            }
            was_empty && !pending.is_empty()
        };
        if is_news {
            // A receiver that is down drains when it comes back.
            let _ = self.shared.ready.wake(InboxReady);
        }
    }

    /// Takes everything that is pending.
    pub fn drain(&self) -> HashMap<K, V> {
        std::mem::take(&mut *self.shared.pending.lock())
    }

    /// Pending keys.
    pub fn len(&self) -> usize {
        self.shared.pending.lock().len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V> Clone for Inbox<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(old: &mut u32, new: u32) {
        *old += new;
    }

    fn to_one(full: HashMap<u8, u32>) -> HashMap<u8, u32> {
        HashMap::from([(0, full.into_values().sum())])
    }

    #[test]
    fn events_of_one_key_are_merged() {
        let inbox = Inbox::new(8, add, to_one);
        inbox.push(1, 2);
        inbox.push(1, 3);
        assert_eq!(inbox.drain(), HashMap::from([(1, 5)]));
        assert!(inbox.is_empty());
    }

    #[test]
    fn full_inbox_collapses_and_forgets_nothing() {
        let inbox = Inbox::new(4, add, to_one);
        for key in 0..100 {
            inbox.push(key, 1);
            assert!(inbox.len() <= 4);
        }
        assert_eq!(inbox.drain().into_values().sum::<u32>(), 100);
    }
}
