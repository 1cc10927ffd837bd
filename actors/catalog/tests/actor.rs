//! The actor: what it answers, announces and counts, and that a new one takes over.
//!
//! Everything is awaited: a reply, or the count of work that is pending. Whatever a writer decides is tested without the
//! actor; here only what actix adds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Actor;
use futures_util::FutureExt;
use musicfs_protocol::change::{ApplyDelta, Change, DeltaApplied, Heartbeat, TreeInbox};
use musicfs_protocol::library::CatalogError;
use musicfs_protocol::metrics::Facts;
use musicfs_protocol::{ActorStats, Deadline, EventFilter, EventLog, Happening, Inbox, Metrics, Work};
use musicfs_pure::ids::Ino;
use musicfs_pure::version::Timestamp;

use super::{Fixture, moved, origin, path, removed, track};
use crate::catalog::Catalog;

struct Running {
    fixture: Fixture,
    tree: TreeInbox,
    stats: Arc<ActorStats>,
    metrics: Metrics,
    work: Work,
    events: EventLog,
}

impl Running {
    fn new() -> Self {
        let tree = Inbox::new(1000, |old, new| *old = new, |_| HashMap::new());
        Self {
            fixture: Fixture::new(),
            tree,
            stats: Arc::default(),
            metrics: Metrics::default(),
            work: Work::default(),
            events: EventLog::default(),
        }
    }

    fn actor(&self) -> Catalog {
        let shared = Arc::clone(&self.fixture.shared);
        let (stats, metrics) = (Arc::clone(&self.stats), self.metrics.clone());
        Catalog::new(shared, self.tree.clone(), stats, metrics, self.work.clone(), self.events.clone())
    }

    fn delta(&self, name: &str, changes: Vec<Change>) -> ApplyDelta {
        let deadline = Deadline::after(Instant::now(), Duration::from_mins(1));
        ApplyDelta { origin: origin(name), changes, work: self.work.begin(), deadline }
    }

    async fn idle(&self) {
        while self.work.pending() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[actix::test]
async fn delta_is_applied_announced_and_counted() {
    let running = Running::new();
    let catalog = running.actor().start();
    let delta = running.delta("o", vec![track("1.mp3", 1, "A", "", "T")]);
    let applied = catalog.send(delta).await.unwrap().unwrap();
    assert_eq!(applied, DeltaApplied { added: 1, ..DeltaApplied::default() });
    assert_eq!(running.fixture.paths(), ["A/T"]);
    assert!(running.work.pending() > 0, "the change is with the invalidator now");
    let announced = running.tree.drain();
    assert!(announced.contains_key(&(Ino::ROOT, (*b"A").into())));
    assert!(announced.contains_key(&(running.fixture.ino_at("A"), (*b"T").into())));
    drop(announced);
    running.idle().await;
    assert_eq!(running.stats.snapshot().handled, 1);
    let text = running.metrics.render(&Facts::default());
    assert!(text.contains(r#"musicfs_catalog_changes_total{op="added",outcome="ok"} 1"#), "{text}");
}

#[actix::test]
async fn what_happens_to_files_is_published_once_it_is_committed() {
    let running = Running::new();
    let catalog = running.actor().start();
    let mut follower = running.events.follow(EventFilter::default());
    let mut published = async |name: &str, changes: Vec<Change>| {
        catalog.send(running.delta(name, changes)).await.unwrap().unwrap();
        let batches = std::iter::from_fn(|| follower.next().now_or_never());
        batches.flat_map(|batch| batch.events).map(|event| event.what.clone()).collect::<Vec<_>>()
    };
    let (o, a, b) = (origin("o"), path("a/1.mp3"), path("a/2.mp3"));
    let added = published("o", vec![track("a/1.mp3", 1, "A", "", "T")]).await;
    assert_eq!(added, [Happening::FileAdded { origin: o.clone(), path: a.clone() }]);
    assert_eq!(published("o", vec![track("a/1.mp3", 1, "A", "", "T")]).await, [], "nothing is new");
    let changed = published("o", vec![track("a/1.mp3", 1, "A", "", "U")]).await;
    assert_eq!(changed, [Happening::FileChanged { origin: o.clone(), path: a.clone() }]);
    let file = running.fixture.file_at("a/1.mp3");
    let renamed = published("o", vec![moved("a/2.mp3", 1, file)]).await;
    assert_eq!(renamed, [Happening::FileMoved { origin: o.clone(), path: b.clone(), from: a }]);
    // a folder that goes takes each of its files
    let gone = published("o", vec![removed("a")]).await;
    assert_eq!(gone, [Happening::FileRemoved { origin: o.clone(), path: b.clone() }]);
    let back = published("o", vec![track("a/2.mp3", 1, "A", "", "U")]).await;
    assert_eq!(back, [Happening::FileAdded { origin: o, path: b }], "as the count of what was applied has it");
}

#[actix::test]
async fn unknown_origin_is_an_error_and_the_actor_lives_on() {
    let running = Running::new();
    let catalog = running.actor().start();
    let error = catalog.send(running.delta("x", Vec::new())).await.unwrap();
    assert_eq!(error, Err(CatalogError::UnknownOrigin { origin: origin("x") }));
    assert!(running.stats.snapshot().last_error.is_some());
    catalog.send(Heartbeat).await.unwrap();
}

#[actix::test]
async fn heartbeat_is_answered_while_a_large_removal_is_under_way() {
    let mut running = Running::new();
    let files = (0..3000).map(|n| track(&format!("a/{n}.mp3"), n, "A", "", &format!("T{n}"))).collect();
    running.fixture.apply(files);
    let catalog = running.actor().start();
    let removal = catalog.send(running.delta("o", vec![removed("a")]));
    let beats = async {
        let mut num_beats = 0;
        while running.fixture.reader.library_summary().unwrap().files > 0 {
            catalog.send(Heartbeat).await.unwrap();
            num_beats += 1;
        }
        num_beats
    };
    let (applied, num_beats) = tokio::join!(removal, beats);
    assert_eq!(applied.unwrap().unwrap().removed, 3000);
    assert!(num_beats > 3, "{num_beats}");
}

#[actix::test]
async fn change_that_nobody_waits_for_any_more_is_refused_and_leaves_no_trace() {
    let running = Running::new();
    let catalog = running.actor().start();
    let mut delta = running.delta("o", vec![track("1.mp3", 1, "A", "", "T")]);
    delta.deadline = Deadline::after(Instant::now(), Duration::ZERO);
    assert_eq!(catalog.send(delta).await.unwrap(), Err(CatalogError::TooLate));
    assert!(running.fixture.paths().is_empty());
    running.idle().await;
    let numbers = running.stats.snapshot();
    assert_eq!((numbers.handled, numbers.failed, numbers.waiting), (1, 1, 0));
    catalog.send(running.delta("o", vec![track("1.mp3", 1, "A", "", "T")])).await.unwrap().unwrap();
    assert_eq!(running.fixture.paths(), ["A/T"]);
}

#[actix::test]
async fn what_was_committed_and_not_announced_is_announced_by_the_next_one() {
    let mut running = Running::new();
    running.fixture.writer.apply(&origin("o"), vec![track("1.mp3", 1, "A", "", "T")], Timestamp::default()).unwrap();
    let catalog = running.actor().start();
    catalog.send(Heartbeat).await.unwrap();
    assert!(running.tree.drain().contains_key(&(Ino::ROOT, (*b"A").into())));
    assert_eq!(running.fixture.writer.take_touched(), [], "another has taken over");
}

#[actix::test]
async fn actor_that_replaces_another_goes_on() {
    let running = Running::new();
    let first = running.actor().start();
    first.send(running.delta("o", vec![track("1.mp3", 1, "A", "", "T")])).await.unwrap().unwrap();
    drop(first);
    let second = running.actor().start();
    second.send(running.delta("o", vec![track("2.mp3", 2, "A", "", "X")])).await.unwrap().unwrap();
    assert_eq!(running.fixture.paths(), ["A/T", "A/X"]);
    running.tree.drain();
    running.idle().await;
    running.fixture.check();
}
