//! The fetcher over an origin that answers when the test says so, and over a real folder.
//!
//! Bounds and deadlines are shown with the first, whose calls are counted and stay in flight until they are let through;
//! permits, bytes and metrics with the second, through the same messages that other actors send.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use bytes::Bytes;
use musicfs_protocol::fetch::Purpose;
use musicfs_protocol::metrics::Facts;
use musicfs_protocol::permit::{Lane, PermitPool};
use musicfs_protocol::pool::ThreadPerJob;
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::{Granularity, Timestamp, Version};
use tokio::sync::Notify;

/// Every call is counted and then waits for a permit of `gate`.
struct Gated {
    asked: AtomicUsize,
    was_asked: Notify,
    gate: Semaphore,
}

impl Gated {
    fn new(open: usize) -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), was_asked: Notify::new(), gate: Semaphore::new(open) })
    }

    async fn until_asked(&self, count: usize) {
        while self.asked.load(Ordering::SeqCst) < count {
            self.was_asked.notified().await;
        }
    }
}

/// The trait is implemented for a handle, because its futures own what they use.
struct GatedOrigin(Arc<Gated>);

impl GatedOrigin {
    fn answer<T: Send + 'static>(&self, answer: Result<T, FetchError>) -> OriginFuture<T> {
        let gated = Arc::clone(&self.0);
        Box::pin(async move {
            gated.asked.fetch_add(1, Ordering::SeqCst);
            gated.was_asked.notify_one();
            gated.gate.acquire().await.unwrap().forget();
            answer
        })
    }
}

impl Origin for GatedOrigin {
    fn list_page(&self, _: PageRequest, _: Deadline) -> OriginFuture<ListPage> {
        self.answer(Err(FetchError::Offline { reason: "unplugged".to_owned() }))
    }

    fn stat(&self, _: OriginPath, _: Deadline) -> OriginFuture<Stat> {
        self.answer(Err(FetchError::NotFound))
    }

    fn read_range(&self, request: RangeRequest, _: Deadline) -> OriginFuture<Bytes> {
        self.answer(Ok(Bytes::from(vec![7; request.len as usize])))
    }

    fn probe(&self, _: Deadline) -> OriginFuture<RootIdentity> {
        self.answer(Ok(RootIdentity { dev: 1, fs_type: 2, ino: 3 }))
    }
}

struct Bench {
    addr: actix::Addr<Fetcher>,
    stats: Arc<ActorStats>,
    metrics: Metrics,
}

fn nas() -> OriginId {
    OriginId::parse("nas").unwrap()
}

fn start(origin: Arc<dyn Origin>) -> Bench {
    let (stats, metrics) = (Arc::new(ActorStats::default()), Metrics::default());
    let fetcher = Fetcher::new(FetcherConfig::default(), nas(), origin, Arc::clone(&stats), metrics.clone());
    Bench { addr: fetcher.start(), stats, metrics }
}

fn soon() -> Deadline {
    Deadline::after(Instant::now(), Duration::from_mins(1))
}

fn passed() -> Deadline {
    Deadline::after(Instant::now(), Duration::ZERO)
}

fn stat_request(deadline: Deadline) -> StatPath {
    StatPath { origin: nas(), path: OriginPath::root(), deadline }
}

fn some_version(size: u64) -> Version {
    Version { size, mtime: Timestamp::default(), granularity: Granularity::Nanos, ino: None, etag: None }
}

async fn range(permits: &PermitPool, version: Version, deadline: Deadline) -> ReadRange {
    let permit = permits.acquire(Lane::Tags, 5).await;
    let path = OriginPath::parse(b"a").unwrap();
    ReadRange { origin: nas(), path, version, offset: 0, len: 5, purpose: Purpose::Tags, deadline, permit }
}

#[actix::test]
async fn stats_in_flight_are_bounded_and_probes_pass_them() {
    let gated = Gated::new(0);
    let bench = start(Arc::new(GatedOrigin(Arc::clone(&gated))));
    let waiting: Vec<_> = (0..20).map(|_| actix::spawn(bench.addr.send(stat_request(soon())))).collect();
    gated.until_asked(8).await;
    bench.addr.send(Heartbeat).await.unwrap();
    let probe = actix::spawn(bench.addr.send(Probe { deadline: soon() }));
    gated.until_asked(9).await;
    assert_eq!(gated.asked.load(Ordering::SeqCst), 9, "8 stats and the probe");
    gated.gate.add_permits(21);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap(), Err(FetchError::NotFound));
    }
    assert!(probe.await.unwrap().unwrap().is_ok());
    let numbers = bench.stats.snapshot();
    assert_eq!((numbers.handled, numbers.failed, numbers.waiting), (21, 0, 0), "a definite answer is no failure");
}

#[actix::test]
async fn request_past_its_deadline_never_reaches_the_origin() {
    let gated = Gated::new(100);
    let bench = start(Arc::new(GatedOrigin(Arc::clone(&gated))));
    let permits = PermitPool::new(100);
    assert_eq!(bench.addr.send(stat_request(passed())).await.unwrap(), Err(FetchError::Timeout));
    let read = bench.addr.send(range(&permits, some_version(5), passed()).await).await.unwrap();
    assert_eq!(read.err(), Some(FetchError::Timeout));
    assert_eq!((gated.asked.load(Ordering::SeqCst), permits.held()), (0, 0));
    assert_eq!(bench.stats.snapshot().failed, 2);
    assert!(!bench.metrics.render(&Facts::default()).contains("fetcher_requests_total{"), "no request was made");
}

#[actix::test]
async fn request_that_waits_for_its_turn_ends_at_its_deadline() {
    let gated = Gated::new(0);
    let bench = start(Arc::new(GatedOrigin(Arc::clone(&gated))));
    let first = actix::spawn(bench.addr.send(Probe { deadline: soon() }));
    gated.until_asked(1).await;
    let short = Deadline::after(Instant::now(), Duration::from_millis(1));
    assert_eq!(bench.addr.send(Probe { deadline: short }).await.unwrap(), Err(FetchError::Timeout));
    gated.gate.add_permits(1);
    assert!(first.await.unwrap().unwrap().is_ok());
    assert_eq!(gated.asked.load(Ordering::SeqCst), 1);
}

/// An origin whose code is broken: in the call, and in the future of the call.
struct Broken;

impl Origin for Broken {
    fn list_page(&self, _: PageRequest, _: Deadline) -> OriginFuture<ListPage> {
        panic!("wanted");
    }

    fn stat(&self, _: OriginPath, _: Deadline) -> OriginFuture<Stat> {
        Box::pin(async { panic!("wanted") })
    }

    fn read_range(&self, _: RangeRequest, _: Deadline) -> OriginFuture<Bytes> {
        Box::pin(async { panic!("wanted") })
    }

    fn probe(&self, _: Deadline) -> OriginFuture<RootIdentity> {
        Box::pin(async { Ok(RootIdentity { dev: 1, fs_type: 2, ino: 3 }) })
    }
}

#[actix::test]
async fn request_that_panics_is_an_error_and_all_others_go_on() {
    let bench = start(Arc::new(Broken));
    let permits = PermitPool::new(100);
    let is_io = |error: &FetchError| matches!(error, FetchError::Io { reason } if reason.contains("panicked"));
    assert!(bench.addr.send(stat_request(soon())).await.unwrap().is_err_and(|error| is_io(&error)));
    let read = bench.addr.send(range(&permits, some_version(5), soon()).await).await.unwrap();
    assert!(read.is_err_and(|error| is_io(&error)));
    let listing =
        ListOrigin { origin: nas(), folder: OriginPath::root(), recursive: true, cursor: None, deadline: soon() };
    assert!(bench.addr.send(listing).await.unwrap().is_err_and(|error| is_io(&error)));
    assert!(bench.addr.send(Probe { deadline: soon() }).await.unwrap().is_ok());
    let numbers = bench.stats.snapshot();
    assert_eq!((numbers.handled, numbers.failed, numbers.waiting, permits.held()), (4, 3, 0, 0));
}

#[actix::test]
async fn failure_is_counted_with_its_text() {
    let bench = start(Arc::new(GatedOrigin(Gated::new(100))));
    let listing =
        ListOrigin { origin: nas(), folder: OriginPath::root(), recursive: true, cursor: None, deadline: soon() };
    assert!(bench.addr.send(listing).await.unwrap().is_err());
    let numbers = bench.stats.snapshot();
    assert_eq!((numbers.handled, numbers.failed), (1, 1));
    assert!(numbers.last_error.is_some_and(|error| error.text.contains("unplugged")));
    let text = bench.metrics.render(&Facts::default());
    assert!(text.contains(r#"musicfs_fetcher_calls_total{op="list",outcome="error"} 1"#), "{text}");
}

#[actix::test]
async fn real_file_is_read_with_its_permit_and_counted_by_purpose() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), b"bytes!").unwrap();
    let bench = start(Arc::new(LocalOrigin::new(folder.path().to_owned(), Arc::new(ThreadPerJob))));
    let path = OriginPath::parse(b"a").unwrap();
    let stat = bench.addr.send(StatPath { origin: nas(), path, deadline: soon() }).await.unwrap().unwrap();
    let permits = PermitPool::new(100);
    let read = bench.addr.send(range(&permits, stat.version, soon()).await).await.unwrap().unwrap();
    assert_eq!((&read.bytes[..], read.offset, permits.held()), (&b"bytes"[..], 0, 5));
    drop(read);
    assert_eq!(permits.held(), 0);
    let changed = bench.addr.send(range(&permits, some_version(6), soon()).await).await.unwrap();
    assert_eq!((changed.err(), permits.held()), (Some(FetchError::Changed), 0));
    let text = bench.metrics.render(&Facts::default());
    assert!(text.contains(r#"musicfs_fetcher_fetched_bytes_total{origin="nas",purpose="tags"} 5"#), "{text}");
    assert!(text.contains(r#"musicfs_fetcher_requests_total{origin="nas",purpose="tags"} 2"#), "{text}");
    assert!(text.contains(r#"musicfs_fetcher_calls_total{op="stat",outcome="ok"} 1"#), "{text}");
}
