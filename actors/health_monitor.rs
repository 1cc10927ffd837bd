//! `HealthMonitor`: probes every origin and publishes how it is.
//!
//! Each origin has a chain of its own: probe, judge, publish, wait, probe again; so there is never more than one probe of
//! an origin in flight, and one that hangs delays no other. The waits are counted from the start of the last probe, so
//! slow answers do not stretch the interval. What an answer means is decided by [`judge`], without clock or I/O.
//!
//! When an origin comes back, or shows another root than before, the whole of it is compared again: nobody saw what
//! changed while it was away. When it goes down that is asked for too, so that its scan is seen to fail and whoever waits
//! for a first listing need not wait longer. The first success after the start asks for nothing, because the watcher does.
//! Down means that the last known listing stays; nothing here ever removes a file.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use musicfs_protocol::change::{RescanInbox, RescanOrigin};
use musicfs_protocol::fetch::{FetchError, Probe, RootIdentity};
use musicfs_protocol::health::{Health, HealthTable, OriginHealth};
use musicfs_protocol::{ActorStats, Deadline, EventLog, Happening, Heartbeat, Port, PortError, Work};
use musicfs_pure::ids::OriginId;

/// The first wait after a failed probe: most interruptions are over by then.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest wait while an origin is down: a disk that is plugged in again is there within it.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Probes in a row that the fetcher lost before the origin counts as down: a fetcher is started again within a second or
/// two, and its origin is not to blame.
const MAX_LOST_PROBES: u32 = 3;

/// When origins are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthMonitorConfig {
    /// From one probe of a healthy origin to the next.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
}

impl Default for HealthMonitorConfig {
    /// 30 s: often enough that a vanished disk is known before most listeners notice, seldom enough that a share may
    /// idle. 5 s: a stat of a root takes milliseconds; what takes longer is no use to a reader either.
    fn default() -> Self {
        Self { interval: probe_interval(), timeout: Duration::from_secs(5) }
    }
}

fn probe_interval() -> Duration {
    const INTERVAL: Duration = Duration::from_secs(30);
    fail::fail_point!("health_monitor::interval_ms", |interval| {
        interval.and_then(|interval| interval.parse().ok()).map_or(INTERVAL, Duration::from_millis)
    });
    INTERVAL
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ProbeFailure {
    /// The origin said so, or said nothing in time.
    Origin(FetchError),
    /// The fetcher in front of it is not there.
    Fetcher(PortError),
}

impl ProbeFailure {
    fn text(&self) -> String {
        match self {
            Self::Origin(error) => error.to_string(),
            Self::Fetcher(error) => error.to_string(),
        }
    }

    /// Failures in a row that make an origin down.
    fn limit(&self) -> u32 {
        match self {
            Self::Origin(_) => 1,
            Self::Fetcher(_) => MAX_LOST_PROBES,
        }
    }
}

/// What is remembered of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watched {
    health: OriginHealth,
    /// The root of the last successful probe.
    root: Option<RootIdentity>,
}

/// What follows from a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    now: Watched,
    /// The origin must be compared as a whole.
    rescan: bool,
}

/// What a probe's answer means for an origin.
fn judge(before: &Watched, answer: Result<RootIdentity, ProbeFailure>, now: SystemTime) -> Verdict {
    let was = before.health.health;
    let (health, num_failures, last_error) = match &answer {
        Ok(_) => (Health::Up, 0, None),
        Err(failure) => {
            let num_failures = before.health.num_failures.saturating_add(1);
            let health = if num_failures >= failure.limit() { Health::Down } else { was };
            (health, num_failures, Some(failure.text()))
        }
    };
    let other_root = matches!((before.root, &answer), (Some(before), Ok(now)) if before != *now);
    let since = if health == was { before.health.since } else { now };
    Verdict {
        now: Watched {
            health: OriginHealth { health, since, num_failures, last_error },
            root: answer.ok().or(before.root),
        },
        rescan: other_root || (was == Health::Down) != (health == Health::Down),
    }
}

/// The wait from the start of one probe to the next, after so many failures in a row.
fn wait_after(num_failures: u32, interval: Duration) -> Duration {
    match num_failures {
        0 => interval,
        // doubling; more than a few steps are past the limit anyway
        failures => (FIRST_RETRY * 2_u32.pow((failures - 1).min(8))).min(LAST_RETRY).min(interval),
    }
}

/// One origin and the way to it.
struct Target {
    id: OriginId,
    port: Port<Probe>,
    watched: Watched,
}

/// The actor that probes origins.
pub struct HealthMonitor {
    config: HealthMonitorConfig,
    targets: Vec<Target>,
    table: Arc<HealthTable>,
    stats: Arc<ActorStats>,
    rescans: RescanInbox,
    work: Work,
    events: EventLog,
}

impl HealthMonitor {
    /// A monitor of these origins. What `table` says of them already is where it goes on from.
    pub fn new(
        config: HealthMonitorConfig,
        origins: Vec<(OriginId, Port<Probe>)>,
        table: Arc<HealthTable>,
        stats: Arc<ActorStats>,
        rescans: RescanInbox,
        work: Work,
        events: EventLog,
    ) -> Self {
        let unknown =
            || OriginHealth { health: Health::Unknown, since: SystemTime::now(), num_failures: 0, last_error: None };
        let target = |(id, port)| {
            let watched = Watched { health: table.get(&id).unwrap_or_else(unknown), root: None };
            Target { id, port, watched }
        };
        let targets = origins.into_iter().map(target).collect();
        Self { config, targets, table, stats, rescans, work, events }
    }

    /// Probes the origin at `index`, and again when it is time.
    fn probe(&self, index: usize, ctx: &mut Context<Self>) {
        fail::fail_point!("health_monitor::tick");
        let Some(target) = self.targets.get(index) else { return };
        let port = target.port.clone();
        let started = Instant::now();
        let deadline = Deadline::after(started, self.config.timeout);
        let account = self.stats.begin();
        let answer = async move {
            match port.request(deadline, || Probe { deadline }).await {
                Ok(answer) => answer.map_err(ProbeFailure::Origin),
                // the fetcher keeps the deadline too; its answer may come a moment after it
                Err(PortError::Late) => Err(ProbeFailure::Origin(FetchError::Timeout)),
                Err(error) => Err(ProbeFailure::Fetcher(error)),
            }
        };
        let probed = answer.into_actor(self).map(move |answer, monitor, ctx| {
            let handling = started.elapsed();
            account.finish(Duration::ZERO, handling);
            let wait = monitor.conclude(index, answer);
            ctx.run_later(wait.saturating_sub(handling), move |monitor, ctx| monitor.probe(index, ctx));
        });
        ctx.spawn(probed);
    }

    /// Publishes what an answer means and says how long to wait.
    fn conclude(&mut self, index: usize, answer: Result<RootIdentity, ProbeFailure>) -> Duration {
        fail::fail_point!("health_monitor::handle");
        let Some(target) = self.targets.get_mut(index) else { return self.config.interval };
        let verdict = judge(&target.watched, answer, SystemTime::now());
        announce(&target.id, &target.watched.health, &verdict.now.health);
        if let Some(happening) = happening(&target.id, &target.watched.health, &verdict.now.health) {
            self.events.publish(happening);
        }
        if let Some(error) = &verdict.now.health.last_error {
            self.stats.fail(format!("{}: {error}", target.id));
        }
        target.watched = verdict.now;
        let health = target.watched.health.clone();
        let wait = wait_after(health.num_failures, self.config.interval);
        self.table.publish(target.id.clone(), health);
        if verdict.rescan {
            // removals stay under the quarantine: what came back may be an empty disk
            let event = RescanOrigin { accept_removals: false, work: self.work.begin() };
            self.rescans.push(target.id.clone(), event);
        }
        wait
    }
}

/// Says in the log when an origin's health changes, and only then.
fn announce(id: &OriginId, before: &OriginHealth, now: &OriginHealth) {
    if before.health == now.health {
        return;
    }
    match now.health {
        Health::Down => {
            let error = now.last_error.as_deref().unwrap_or_default();
            tracing::warn!(origin = %id, error, "origin is down");
        }
        Health::Up | Health::Unknown => tracing::info!(origin = %id, "origin is up"),
    }
}

/// What has happened to an origin between two probes, if anything.
fn happening(id: &OriginId, before: &OriginHealth, now: &OriginHealth) -> Option<Happening> {
    let origin = id.clone();
    let reason = || now.last_error.clone().unwrap_or_default();
    let is_news = before.health != now.health;
    match (now.health, now.num_failures) {
        (Health::Down, _) => is_news.then(|| Happening::OriginDown { origin, reason: reason() }),
        (Health::Up, 0) => (is_news || before.num_failures > 0).then_some(Happening::OriginUp { origin }),
        // the next lost probes are no news
        (Health::Up | Health::Unknown, 1) => Some(Happening::OriginDegraded { origin, reason: reason() }),
        (Health::Up | Health::Unknown, _) => None,
    }
}

impl Actor for HealthMonitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for index in 0..self.targets.len() {
            self.probe(index, ctx);
        }
    }
}

impl Handler<Heartbeat> for HealthMonitor {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::ResponseFuture;
    use futures_util::FutureExt;
    use musicfs_protocol::EventFilter;
    use tokio::sync::{mpsc, oneshot};

    const ROOT: RootIdentity = RootIdentity { dev: 1, fs_type: 2, ino: 3 };
    const OTHER: RootIdentity = RootIdentity { dev: 1, fs_type: 2, ino: 4 };

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn watched(health: Health, num_failures: u32, root: Option<RootIdentity>) -> Watched {
        let last_error = (num_failures > 0).then(|| "no".to_owned());
        Watched { health: OriginHealth { health, since: at(1), num_failures, last_error }, root }
    }

    #[test]
    fn probe_answers_lead_to_health_and_rescans() {
        use Health::{Down, Unknown, Up};
        let away = || Err(ProbeFailure::Origin(FetchError::Timeout));
        let lost = || Err(ProbeFailure::Fetcher(PortError::Down));
        let table = [
            // before, answer → health, failures, since, rescan
            (watched(Unknown, 0, None), Ok(ROOT), Up, 0, 2, false),
            (watched(Unknown, 0, None), away(), Down, 1, 2, true),
            (watched(Up, 0, Some(ROOT)), Ok(ROOT), Up, 0, 1, false),
            (watched(Up, 0, Some(ROOT)), Ok(OTHER), Up, 0, 1, true),
            (watched(Up, 0, Some(ROOT)), away(), Down, 1, 2, true),
            (watched(Down, 1, Some(ROOT)), away(), Down, 2, 1, false),
            (watched(Down, 9, Some(ROOT)), Ok(ROOT), Up, 0, 2, true),
            (watched(Down, 9, None), Ok(ROOT), Up, 0, 2, true),
            (watched(Up, 0, Some(ROOT)), lost(), Up, 1, 1, false),
            (watched(Up, 1, Some(ROOT)), Ok(ROOT), Up, 0, 1, false),
            (watched(Up, 2, Some(ROOT)), lost(), Down, 3, 2, true),
            (watched(Up, u32::MAX, Some(ROOT)), lost(), Down, u32::MAX, 2, true),
        ];
        for (before, answer, health, num_failures, since, rescan) in table {
            let case = format!("{before:?} and {answer:?}");
            let answered = answer.clone().ok();
            let verdict = judge(&before, answer, at(2));
            let now = &verdict.now.health;
            assert_eq!((now.health, now.num_failures, now.since), (health, num_failures, at(since)), "{case}");
            assert_eq!((now.last_error.is_some(), verdict.rescan), (answered.is_none(), rescan), "{case}");
            assert_eq!(verdict.now.root, answered.or(before.root), "{case}");
        }
    }

    #[test]
    fn origin_that_is_down_is_probed_more_often() {
        let interval = Duration::from_secs(30);
        for (num_failures, millis) in
            [(0, 30_000), (1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 5000), (6, 5000), (u32::MAX, 5000)]
        {
            assert_eq!(wait_after(num_failures, interval), Duration::from_millis(millis), "{num_failures}");
        }
        assert_eq!(wait_after(9, Duration::from_secs(1)), Duration::from_secs(1), "never less often than when up");
    }

    type Answer = Result<RootIdentity, FetchError>;

    /// Stands in for a fetcher: hands each probe to the test, which answers it.
    struct Stand(mpsc::UnboundedSender<oneshot::Sender<Answer>>);

    impl Actor for Stand {
        type Context = Context<Self>;
    }

    impl Handler<Probe> for Stand {
        type Result = ResponseFuture<Answer>;

        fn handle(&mut self, _: Probe, _: &mut Self::Context) -> Self::Result {
            let (reply, answer) = oneshot::channel();
            self.0.send(reply).unwrap();
            Box::pin(async move { answer.await.unwrap() })
        }
    }

    struct Bench {
        probes: mpsc::UnboundedReceiver<oneshot::Sender<Answer>>,
        table: Arc<HealthTable>,
        stats: Arc<ActorStats>,
        rescans: RescanInbox,
        work: Work,
    }

    fn nas() -> OriginId {
        OriginId::parse("nas").unwrap()
    }

    fn away() -> FetchError {
        FetchError::Offline { reason: "unplugged".to_owned() }
    }

    fn start(interval: Duration, table: Arc<HealthTable>) -> Bench {
        let (sender, probes) = mpsc::unbounded_channel();
        let rescans = RescanInbox::new(8, |old, new| *old = new, |full| full);
        let (stats, work) = (Arc::<ActorStats>::default(), Work::default());
        let config = HealthMonitorConfig { interval, timeout: Duration::from_mins(1) };
        let port = Port::to(Stand(sender).start().recipient());
        let shared = (Arc::clone(&table), Arc::clone(&stats), rescans.clone(), work.clone());
        let events = EventLog::default();
        HealthMonitor::new(config, vec![(nas(), port)], shared.0, shared.1, shared.2, shared.3, events).start();
        Bench { probes, table, stats, rescans, work }
    }

    impl Bench {
        /// Answers the probe that is in flight and waits for the next one: then the answer has had its effect.
        async fn answer(&mut self, pending: oneshot::Sender<Answer>, answer: Answer) -> oneshot::Sender<Answer> {
            pending.send(answer).unwrap();
            self.probes.recv().await.unwrap()
        }

        fn health(&self) -> (Health, u32) {
            let health = self.table.get(&nas()).unwrap();
            (health.health, health.num_failures)
        }
    }

    #[actix::test]
    async fn origin_that_comes_back_is_published_and_scanned_again() {
        let mut bench = start(Duration::from_millis(1), Arc::default());
        let first = bench.probes.recv().await.unwrap();
        assert_eq!(bench.table.get(&nas()), None, "nothing is said before the first answer");
        let second = bench.answer(first, Ok(ROOT)).await;
        assert_eq!((bench.health(), bench.rescans.len()), ((Health::Up, 0), 0));
        let third = bench.answer(second, Err(away())).await;
        assert_eq!((bench.health(), bench.rescans.len()), ((Health::Down, 1), 1), "the scan is to fail visibly");
        drop(bench.rescans.drain());
        let fourth = bench.answer(third, Err(away())).await;
        assert_eq!(bench.health(), (Health::Down, 2));
        assert!(bench.table.get(&nas()).unwrap().last_error.unwrap().contains("unplugged"));
        let fifth = bench.answer(fourth, Ok(ROOT)).await;
        assert_eq!((bench.health(), bench.work.pending()), ((Health::Up, 0), 1));
        let events = bench.rescans.drain();
        assert_eq!(events.get(&nas()).map(|event| event.accept_removals), Some(false));
        drop(events);
        assert_eq!(bench.work.pending(), 0);
        let numbers = bench.stats.snapshot();
        assert_eq!((numbers.handled, numbers.failed, numbers.waiting), (4, 2, 1));
        drop(fifth);
    }

    #[actix::test]
    async fn other_root_in_the_same_place_is_scanned_again() {
        let mut bench = start(Duration::from_millis(1), Arc::default());
        let first = bench.probes.recv().await.unwrap();
        let second = bench.answer(first, Ok(ROOT)).await;
        let _third = bench.answer(second, Ok(OTHER)).await;
        assert_eq!((bench.health(), bench.rescans.len()), ((Health::Up, 0), 1));
    }

    #[actix::test]
    async fn restarted_monitor_goes_on_from_the_table() {
        let table = Arc::<HealthTable>::default();
        table.publish(nas(), watched(Health::Down, 3, None).health);
        let mut bench = start(Duration::from_millis(1), table);
        let first = bench.probes.recv().await.unwrap();
        let _second = bench.answer(first, Ok(ROOT)).await;
        assert_eq!((bench.health(), bench.rescans.len()), ((Health::Up, 0), 1));
    }

    #[actix::test]
    async fn fetcher_that_is_away_does_not_make_its_origin_down_at_once() {
        let table = Arc::<HealthTable>::default();
        table.publish(nas(), watched(Health::Up, 0, None).health);
        let rescans = RescanInbox::new(8, |old, new| *old = new, |full| full);
        let config = HealthMonitorConfig { interval: Duration::from_millis(1), ..HealthMonitorConfig::default() };
        let targets = vec![(nas(), Port::unbound())];
        let (stats, events) = (Arc::default(), EventLog::default());
        let mut monitor =
            HealthMonitor::new(config, targets, Arc::clone(&table), stats, rescans, Work::default(), events.clone());
        for (num_failures, health) in [(1, Health::Up), (2, Health::Up), (3, Health::Down)] {
            monitor.conclude(0, Err(ProbeFailure::Fetcher(PortError::Down)));
            let now = table.get(&nas()).unwrap();
            assert_eq!((now.num_failures, now.health), (num_failures, health));
        }
        monitor.conclude(0, Err(ProbeFailure::Fetcher(PortError::Down)));
        for _ in 0..2 {
            monitor.conclude(0, Ok(ROOT));
        }
        monitor.conclude(0, Err(ProbeFailure::Fetcher(PortError::Down)));
        monitor.conclude(0, Ok(ROOT));
        let batch = events.recall(EventFilter::default()).next().now_or_never().unwrap();
        let types: Vec<_> = batch.events.iter().map(|event| event.what.type_name()).collect();
        assert_eq!(types, ["origin.degraded", "origin.down", "origin.up", "origin.degraded", "origin.up"]);
    }
}
