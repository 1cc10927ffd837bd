//! `EventLog`: the bounded memory of events, and whoever follows them.
//!
//! Actors publish and wait for nobody. What was published lies in three rings: files, syncs, and everything else (origins,
//! actors, the daemon), so that neither a storm of changed files nor a poll every minute can push out that a disk went
//! away. A follower holds no queue, only its place in the rings: one that falls behind is told how many events it missed,
//! costs the publishers nothing, and a thousand followers cost a thousand places.
//!
//! Opens of files are worth publishing only while somebody follows them ([`EventLog::wants_opens`]): a player must not
//! pay for listeners that are not there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::event::{EVENT_TYPES, Event, EventFilter, FILE_OPENED, Happening};

/// Events about files that are remembered: some hundred albums; a storm is not worth more memory.
pub const MAX_FILE_EVENTS: usize = 4096;

/// Beginnings and ends of syncs that are remembered: four hours of an origin that is polled every minute.
pub const MAX_SYNC_EVENTS: usize = 512;

/// Other events that are remembered: weeks of a healthy daemon, hours of one whose disk comes and goes.
pub const MAX_OTHER_EVENTS: usize = 1024;

/// What each ring may hold in bytes, however long its paths are: the full ring of files with paths of 256 bytes.
pub const MAX_RING_BYTES: usize = 2 << 20;

/// Events that are looked at under the lock at a time: some microseconds, for which a publisher may have to wait.
const BATCH: u64 = 128;

const NUM_RINGS: usize = 3;

/// The ring of a type.
fn ring_of(type_name: &str) -> usize {
    match type_name.split_once('.') {
        Some(("file", _)) => 0,
        Some(("sync", _)) => 1,
        _ => 2,
    }
}

/// The latest events of one kind. Positions count all events that the ring ever had.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The position of the oldest that is left.
    first: u64,
    num_bytes: usize,
    max_events: usize,
}

impl Ring {
    fn new(max_events: usize) -> Self {
        Self { events: VecDeque::new(), first: 0, num_bytes: 0, max_events }
    }

    /// The position of the next event.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn push(&mut self, event: Arc<Event>) {
        self.num_bytes += num_bytes(&event);
        self.events.push_back(event);
        while self.events.len() > self.max_events || (self.num_bytes > MAX_RING_BYTES && self.events.len() > 1) {
            let Some(oldest) = self.events.pop_front() else { break };
            self.num_bytes -= num_bytes(&oldest);
            self.first += 1;
        }
    }

    fn get(&self, position: u64) -> Option<&Arc<Event>> {
        self.events.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }
}

fn num_bytes(event: &Event) -> usize {
    size_of::<Event>() + event.what.num_heap_bytes()
}

#[derive(Debug)]
struct Rings {
    last_seq: u64,
    rings: [Ring; NUM_RINGS],
}

#[derive(Debug)]
struct Shared {
    rings: Mutex<Rings>,
    news: Notify,
    num_followers: AtomicUsize,
    num_open_followers: AtomicUsize,
    num_missed: AtomicU64,
}

/// What was published and not forgotten. Clones share it.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

impl Default for EventLog {
    fn default() -> Self {
        let rings = [MAX_FILE_EVENTS, MAX_SYNC_EVENTS, MAX_OTHER_EVENTS].map(Ring::new);
        Self(Arc::new(Shared {
            rings: Mutex::new(Rings { last_seq: 0, rings }),
            news: Notify::new(),
            num_followers: AtomicUsize::new(0),
            num_open_followers: AtomicUsize::new(0),
            num_missed: AtomicU64::new(0),
        }))
    }
}

/// The log's own numbers, since the start of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventLogSnapshot {
    /// Events published.
    pub published: u64,
    /// Events that followers missed, each counted for each of them.
    pub missed: u64,
    /// Followers now.
    pub followers: usize,
    /// Bytes of all events that are remembered.
    pub bytes: usize,
}

impl EventLog {
    /// Something happened. Never blocks longer than another publisher or a follower takes for a batch.
    pub fn publish(&self, what: Happening) {
        self.publish_all([what]);
    }

    /// Several things happened, in this order.
    pub fn publish_all(&self, all: impl IntoIterator<Item = Happening>) {
        let at = SystemTime::now();
        {
            let mut log = self.0.rings.lock();
            for what in all {
                log.last_seq += 1;
                let ring = ring_of(what.type_name());
                let event = Arc::new(Event { seq: log.last_seq, at, what });
                log.rings[ring].push(event);
            }
        }
        self.0.news.notify_waiters();
    }

    /// Whether anybody wants to know of opened files.
    pub fn wants_opens(&self) -> bool {
        self.0.num_open_followers.load(Ordering::Relaxed) > 0
    }

    /// Follows the events that come from now on.
    pub fn follow(&self, filter: EventFilter) -> Follower {
        let next = self.0.rings.lock().rings.each_ref().map(Ring::end);
        Follower::new(self.clone(), filter, next)
    }

    /// Follows from the oldest event that is remembered.
    pub fn recall(&self, filter: EventFilter) -> Follower {
        let next = self.0.rings.lock().rings.each_ref().map(|ring| ring.first);
        Follower::new(self.clone(), filter, next)
    }

    /// The log's own numbers.
    pub fn snapshot(&self) -> EventLogSnapshot {
        let log = self.0.rings.lock();
        EventLogSnapshot {
            published: log.last_seq,
            missed: self.0.num_missed.load(Ordering::Relaxed),
            followers: self.0.num_followers.load(Ordering::Relaxed),
            bytes: log.rings.iter().map(|ring| ring.num_bytes).sum(),
        }
    }
}

/// What a follower gets at a time.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// Events that were forgotten before the follower came for them; among them may be some that it did not want.
    pub missed: u64,
    /// What it wanted, in the order of their numbers.
    pub events: Vec<Arc<Event>>,
    /// Given once: what was remembered when the follower began has all been given, and what follows is new.
    pub caught_up: bool,
}

impl EventBatch {
    fn is_empty(&self) -> bool {
        self.missed == 0 && self.events.is_empty() && !self.caught_up
    }
}

/// A place in the log.
#[derive(Debug)]
pub struct Follower {
    log: EventLog,
    filter: EventFilter,
    next: [u64; NUM_RINGS],
    wanted: [bool; NUM_RINGS],
    has_caught_up: bool,
}

impl Follower {
    fn new(log: EventLog, filter: EventFilter, next: [u64; NUM_RINGS]) -> Self {
        let mut wanted = [false; NUM_RINGS];
        for name in EVENT_TYPES.into_iter().filter(|name| filter.wants(name)) {
            wanted[ring_of(name)] = true;
        }
        log.0.num_followers.fetch_add(1, Ordering::Relaxed);
        if filter.wants(FILE_OPENED) {
            log.0.num_open_followers.fetch_add(1, Ordering::Relaxed);
        }
        Self { log, filter, next, wanted, has_caught_up: false }
    }

    /// Waits for something to tell. Dropping the future loses nothing.
    pub async fn next(&mut self) -> EventBatch {
        let shared = Arc::clone(&self.log.0);
        loop {
            // Made before the look, so that what is published after it is not slept through.
            let news = shared.news.notified();
            loop {
                let (batch, is_at_end) = self.take();
                if !batch.is_empty() {
                    return batch;
                }
                if is_at_end {
                    break;
                }
            }
            news.await;
        }
    }

    /// The next events without waiting, and whether they were the last.
    fn take(&mut self) -> (EventBatch, bool) {
        let log = Arc::clone(&self.log.0);
        let log = log.rings.lock();
        let mut batch = EventBatch::default();
        for ((next, ring), wanted) in self.next.iter_mut().zip(&log.rings).zip(self.wanted) {
            if *next < ring.first {
                batch.missed += if wanted { ring.first - *next } else { 0 };
                *next = ring.first;
            }
        }
        let mut is_at_end = false;
        for _ in 0..BATCH {
            let heads = self.next.iter().zip(&log.rings).map(|(next, ring)| ring.get(*next)).enumerate();
            let earliest = heads.filter_map(|(ring, head)| Some((ring, head?))).min_by_key(|(_, event)| event.seq);
            let Some((ring, event)) = earliest else {
                is_at_end = true;
                break;
            };
            self.next[ring] += 1;
            if self.filter.wants(event.what.type_name()) {
                batch.events.push(Arc::clone(event));
            }
        }
        drop(log);
        batch.caught_up = is_at_end && !self.has_caught_up;
        self.has_caught_up |= is_at_end;
        self.log.0.num_missed.fetch_add(batch.missed, Ordering::Relaxed);
        (batch, is_at_end)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.log.0.num_followers.fetch_sub(1, Ordering::Relaxed);
        if self.filter.wants(FILE_OPENED) {
            self.log.0.num_open_followers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use musicfs_pure::ids::{OriginId, OriginPath};

    use super::*;
    use crate::event::SyncScope;

    fn nas() -> OriginId {
        OriginId::parse("nas").expect("valid")
    }

    fn down() -> Happening {
        Happening::OriginDown { origin: nas(), reason: "gone".to_owned() }
    }

    fn added(name: &[u8]) -> Happening {
        Happening::FileAdded { origin: nas(), path: OriginPath::parse(name).expect("a path") }
    }

    fn filter(types: &[&str]) -> EventFilter {
        EventFilter::new(types.iter().map(|&name| name.to_owned()).collect()).expect("known")
    }

    /// Everything that a follower can be given now: events missed, and the numbers of those given.
    fn all(follower: &mut Follower) -> (u64, Vec<u64>) {
        let (mut missed, mut seqs) = (0, Vec::new());
        while let Some(batch) = follower.next().now_or_never() {
            missed += batch.missed;
            seqs.extend(batch.events.iter().map(|event| event.seq));
        }
        (missed, seqs)
    }

    #[test]
    fn rings_are_given_in_the_order_of_their_numbers() {
        let log = EventLog::default();
        log.publish_all([added(b"a"), down(), added(b"b"), Happening::DaemonReady, added(b"c")]);
        let mut follower = log.recall(EventFilter::default());
        assert_eq!(all(&mut follower), (0, vec![1, 2, 3, 4, 5]));
        log.publish(down());
        assert_eq!(all(&mut follower), (0, vec![6]));
        assert_eq!(all(&mut log.recall(filter(&["origin"]))), (0, vec![2, 6]));
    }

    #[test]
    fn follower_is_told_once_that_it_has_caught_up() {
        let log = EventLog::default();
        log.publish(down());
        let mut follower = log.recall(filter(&["daemon"]));
        assert!(follower.next().now_or_never().expect("caught up").caught_up);
        assert!(follower.next().now_or_never().is_none());
        log.publish_all([down(), Happening::DaemonReady]);
        let batch = follower.next().now_or_never().expect("an event");
        assert_eq!((batch.caught_up, batch.events.len()), (false, 1));
    }

    #[tokio::test]
    async fn waiting_follower_is_woken_by_what_it_wants() {
        let log = EventLog::default();
        let mut follower = log.follow(filter(&["daemon.ready"]));
        assert!(follower.next().await.caught_up);
        let publisher = log.clone();
        let waiting = tokio::spawn(async move { follower.next().await.events[0].seq });
        while log.0.num_followers.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        publisher.publish(down());
        publisher.publish(Happening::DaemonReady);
        assert_eq!(waiting.await.expect("ends"), 2);
    }

    #[test]
    fn storm_of_files_is_bounded_and_pushes_out_nothing_else() {
        let log = EventLog::default();
        let mut follower = log.follow(EventFilter::default());
        assert_eq!(all(&mut follower), (0, vec![]));
        log.publish(down());
        log.publish(Happening::SyncStarted { origin: nas(), scope: SyncScope::Origin });
        log.publish_all((0..10_000).map(|number| added(format!("{number}.flac").as_bytes())));
        let (missed, seqs) = all(&mut follower);
        assert_eq!((missed, seqs.len()), (10_000 - MAX_FILE_EVENTS as u64, MAX_FILE_EVENTS + 2));
        assert_eq!(seqs[..2], [1, 2], "what came before the storm is still there");
        assert!(seqs.is_sorted());
        assert_eq!(log.snapshot().missed, missed);
    }

    #[test]
    fn long_paths_are_bounded_in_bytes() {
        let log = EventLog::default();
        let path = vec![b'x'; 250].repeat(16).chunks(250).collect::<Vec<_>>().join(&b'/');
        log.publish_all((0..10_000).map(|_| added(&path)));
        let snapshot = log.snapshot();
        assert!(snapshot.bytes <= MAX_RING_BYTES && snapshot.bytes > MAX_RING_BYTES / 2, "{snapshot:?}");
        assert_eq!(snapshot.published, 10_000);
        let (_, seqs) = all(&mut log.recall(EventFilter::default()));
        assert!(seqs.len() < MAX_RING_BYTES / path.len());
    }

    #[test]
    fn what_a_follower_does_not_want_it_does_not_miss() {
        let log = EventLog::default();
        let mut follower = log.follow(filter(&["origin", "actor"]));
        log.publish_all((0..10_000).map(|_| added(b"a")));
        assert_eq!(all(&mut follower), (0, vec![]));
    }

    #[test]
    fn opens_are_wanted_as_long_as_somebody_follows_them() {
        let log = EventLog::default();
        let other = log.follow(filter(&["file.added", "origin"]));
        assert!(!log.wants_opens());
        let (one, two) = (log.follow(filter(&["file"])), log.recall(EventFilter::default()));
        drop(one);
        assert!(log.wants_opens());
        drop(two);
        assert!(!log.wants_opens());
        drop(other);
        assert_eq!(log.snapshot().followers, 0);
    }
}
