//! What the detector publishes: each comparison with its counts, and a quarantine.
//!
//! The bench is that of the other tests; the log is read from its beginning once nothing is pending any more, so what is
//! asserted is everything that was published.

use futures_util::FutureExt;
use musicfs_protocol::EventFilter;
use musicfs_protocol::change::DeltaApplied;
use musicfs_protocol::event::{Happening, SyncScope};

use super::*;

fn published(bench: &Bench) -> Vec<Happening> {
    let mut follower = bench.events.recall(EventFilter::default());
    let batch = follower.next().now_or_never().expect("caught up");
    batch.events.iter().map(|event| event.what.clone()).collect()
}

fn started(scope: SyncScope) -> Happening {
    Happening::SyncStarted { origin: nas(), scope }
}

fn finished(scope: SyncScope, changes: DeltaApplied) -> Happening {
    Happening::SyncFinished { origin: nas(), scope, changes, error: None }
}

#[actix::test]
async fn every_comparison_is_published_with_its_counts() {
    let bench = Bench::new();
    bench.put("a.txt", 1, 1);
    bench.put("b.txt", 2, 2);
    bench.rescan(false).await;
    bench.put("c.txt", 3, 3);
    bench.take("a.txt");
    bench.touch(&["a.txt", "c.txt"]).await;
    let none = DeltaApplied::default();
    assert_eq!(
        published(&bench),
        [
            started(SyncScope::Origin),
            finished(SyncScope::Origin, DeltaApplied { added: 2, ..none }),
            started(SyncScope::Paths),
            finished(SyncScope::Paths, DeltaApplied { added: 1, ..none }),
            // what is gone is judged once all else has settled
            started(SyncScope::Paths),
            finished(SyncScope::Paths, DeltaApplied { removed: 1, ..none }),
        ]
    );
}

#[actix::test]
async fn failed_comparison_says_why_and_a_quarantine_what_to_do() {
    let bench = Bench::new();
    for number in 0..50 {
        bench.put(&format!("{number}.txt"), 1, number + 1);
    }
    bench.rescan(false).await;
    bench.origin.lock().offline = true;
    bench.rescan(false).await;
    bench.origin.lock().offline = false;
    bench.origin.lock().files.clear();
    bench.rescan(false).await;
    let events = published(&bench);
    let error_of = |event: &Happening| match event {
        Happening::SyncFinished { error, .. } => error.clone(),
        _ => None,
    };
    assert_eq!(error_of(&events[3]), Some(offline().to_string()));
    let Happening::OriginQuarantined { reason, .. } = &events[5] else { panic!("{:?}", events[5]) };
    assert!(reason.contains("50 of 50") && reason.contains("--accept-removals"), "{reason}");
    assert_eq!(error_of(&events[6]).as_ref(), Some(reason));
    assert_eq!(events.len(), 7);
}
