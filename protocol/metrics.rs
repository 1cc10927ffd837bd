//! The table of metrics: every series that the daemon has, with its unit and what moves it.
//!
//! Names are `musicfs_<actor>_<thing>_<unit>[_total]` in base units (bytes, seconds); labels come from a fixed set (`actor
//! origin op outcome purpose lane`) and are never a path: a label per file would be a series per file. Actors hold the
//! counters they move; what others publish anyway (the board, the tables) is read when somebody asks and is no second copy
//! ([`Facts`]). `musicfs metrics` prints all of it as OpenMetrics text, without timestamps or exemplars.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use musicfs_pure::ids::OriginId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::board::{ActorName, ActorSnapshot};
use crate::event_log::EventLogSnapshot;
use crate::fetch::Purpose;
use crate::permit::Lane;
use crate::scan::{ScanProgress, ScanState};

/// Labels of what fetchers ask of origins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FetchLabels {
    origin: String,
    purpose: String,
}

impl FetchLabels {
    /// The labels of one origin and purpose.
    pub fn new(origin: &OriginId, purpose: Purpose) -> Self {
        Self { origin: origin.to_string(), purpose: purpose.as_str().to_owned() }
    }
}

/// Labels of an operation and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OpLabels {
    op: &'static str,
    outcome: &'static str,
}

impl OpLabels {
    /// The labels of one operation; `outcome` is `ok` or `error`.
    pub const fn new(op: &'static str, succeeded: bool) -> Self {
        Self { op, outcome: if succeeded { "ok" } else { "error" } }
    }
}

/// The label of one origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OriginLabels {
    origin: String,
}

/// Labels of a lane of an origin's permits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneLabels {
    origin: String,
    lane: &'static str,
}

/// What shows the use of one origin's permits.
#[derive(Clone, Debug, Default)]
pub struct PermitMeters {
    /// Bytes that are out.
    pub held: Gauge,
    waits: [Counter<f64, AtomicU64>; Lane::ALL.len()],
}

impl PermitMeters {
    /// Someone has waited this long in a lane.
    pub fn count_wait(&self, lane: Lane, waited: Duration) {
        self.waits[lane as usize].inc_by(waited.as_secs_f64());
    }
}

/// The label of an actor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActorLabels {
    actor: String,
}

/// What an origin's tables say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginFacts {
    /// Which.
    pub origin: OriginId,
    /// Whether its last probe succeeded.
    pub is_up: bool,
    /// Files in the tree.
    pub files: u64,
    /// Its scan.
    pub scan: ScanProgress,
}

/// What the system says of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Memory that is really there.
    pub resident_bytes: u64,
    /// Files, sockets and devices that are open.
    pub open_descriptors: u64,
}

/// What is read from tables and from the system at the moment of asking.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The daemon's version.
    pub version: &'static str,
    /// How long it has been running.
    pub uptime: Duration,
    /// Every actor's numbers.
    pub actors: Vec<(ActorName, ActorSnapshot)>,
    /// Every origin.
    pub origins: Vec<OriginFacts>,
    /// Files of all origins.
    pub files: u64,
    /// Audio files that the library shows.
    pub tracks: u64,
    /// Changes on their way from an origin to the kernel.
    pub pending: u64,
    /// The event log's numbers.
    pub events: EventLogSnapshot,
    /// The process; nothing where the system does not say.
    pub process: Option<ProcessFacts>,
}

type Seconds = Counter<f64, AtomicU64>;

/// A gauge with a value.
fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

/// A counter with a value.
fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

/// Every metric of the daemon. Clones share the counters.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Bytes that fetchers read from origins, by origin and purpose. Moved by every range read.
    pub fetched_bytes: Family<FetchLabels, Counter>,
    /// Range requests that fetchers made, by origin and purpose. Moved by every range read.
    pub fetch_requests: Family<FetchLabels, Counter>,
    /// Listing, stat and probe calls on origins, by operation. Moved by every such call.
    pub origin_calls: Family<OpLabels, Counter>,
    /// Bytes that permits stand for now, by origin. Moved by every request that moves bytes, while it is under way.
    pub permit_bytes: Family<OriginLabels, Gauge>,
    /// Seconds that requests waited for their permits, by origin and lane. Moved by more requests than an origin may have
    /// under way.
    pub permit_waits: Family<LaneLabels, Counter<f64, AtomicU64>>,
    /// FUSE requests answered, by operation. Moved by every request from the kernel.
    pub fuse_requests: Family<OpLabels, Counter>,
    /// Bytes handed to readers. Moved by every read.
    pub fuse_read_bytes: Counter,
    /// Handler bodies that panicked and were answered with an error. Moved by a defect only.
    pub fuse_panics: Counter,
    /// Names whose kernel entry was invalidated. Moved by every change of the tree.
    pub invalidated_entries: Counter,
    /// Events that watches delivered. Moved by every change in a watched folder.
    pub watch_events: Counter,
    /// Event queues that overflowed, each answered by a rescan. Moved by a flood of changes.
    pub watch_overflows: Counter,
    /// Changes applied to the catalog, by kind. Moved by every difference found.
    pub catalog_changes: Family<OpLabels, Counter>,
    /// Connections accepted on the control socket. Moved by every command.
    pub control_connections: Counter,
}

impl Metrics {
    /// The meters of an origin's permits.
    pub fn permits(&self, origin: &OriginId) -> PermitMeters {
        let labels = |lane: Lane| LaneLabels { origin: origin.to_string(), lane: lane.as_str() };
        PermitMeters {
            held: self.permit_bytes.get_or_create(&OriginLabels { origin: origin.to_string() }).clone(),
            waits: Lane::ALL.map(|lane| self.permit_waits.get_or_create(&labels(lane)).clone()),
        }
    }

    /// A registry over these counters.
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("musicfs");
        let r = &mut registry;
        r.register("fetcher_fetched_bytes", "Bytes read from origins", self.fetched_bytes.clone());
        r.register("fetcher_requests", "Range requests made to origins", self.fetch_requests.clone());
        r.register("fetcher_calls", "Listing, stat and probe calls on origins", self.origin_calls.clone());
        r.register("fetcher_permit_bytes", "Bytes that origins are being asked for", self.permit_bytes.clone());
        r.register("fetcher_permit_wait_seconds", "Time spent waiting for permits", self.permit_waits.clone());
        r.register("fuse_requests", "FUSE requests answered", self.fuse_requests.clone());
        r.register("fuse_read_bytes", "Bytes handed to readers", self.fuse_read_bytes.clone());
        r.register("fuse_panics", "FUSE handlers that panicked", self.fuse_panics.clone());
        r.register("invalidator_entries", "Names invalidated in the kernel", self.invalidated_entries.clone());
        r.register("watcher_events", "Events delivered by watches", self.watch_events.clone());
        r.register("watcher_overflows", "Event queues that overflowed", self.watch_overflows.clone());
        r.register("catalog_changes", "Changes applied to the catalog", self.catalog_changes.clone());
        r.register("control_connections", "Connections accepted", self.control_connections.clone());
        registry
    }

    /// All series as OpenMetrics text.
    pub fn render(&self, facts: &Facts) -> String {
        let mut registry = self.registry();
        facts.register_actors(&mut registry);
        facts.register_origins(&mut registry);
        facts.register_daemon(&mut registry);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Facts {
    fn of_actors(&self, value: impl Fn(&ActorSnapshot) -> u64) -> Family<ActorLabels, Gauge> {
        let family = Family::<ActorLabels, Gauge>::default();
        for (name, actor) in &self.actors {
            family.get_or_create(&ActorLabels { actor: name.to_string() }).set(value(actor) as i64);
        }
        family
    }

    fn counted_of_actors(&self, value: impl Fn(&ActorSnapshot) -> u64) -> Family<ActorLabels, Counter> {
        let family = Family::<ActorLabels, Counter>::default();
        for (name, actor) in &self.actors {
            family.get_or_create(&ActorLabels { actor: name.to_string() }).inc_by(value(actor));
        }
        family
    }

    fn timed_of_actors(&self, value: impl Fn(&ActorSnapshot) -> Duration) -> Family<ActorLabels, Seconds> {
        let family = Family::<ActorLabels, Seconds>::default();
        for (name, actor) in &self.actors {
            family.get_or_create(&ActorLabels { actor: name.to_string() }).inc_by(value(actor).as_secs_f64());
        }
        family
    }

    /// From the board. Moved by the work of the actors, and by their failures.
    fn register_actors(&self, r: &mut Registry) {
        let (handled, failed) = (|a: &ActorSnapshot| a.handled, |a: &ActorSnapshot| a.failed);
        r.register("actor_handled", "Messages handled", self.counted_of_actors(handled));
        r.register("actor_failed", "Failures, of messages and of the actor", self.counted_of_actors(failed));
        r.register("actor_restarts", "Restarts after a failure", self.counted_of_actors(|a| a.restarts));
        r.register("actor_queued_seconds", "Time that messages waited", self.timed_of_actors(|a| a.queued));
        r.register("actor_handling_seconds", "Time spent handling", self.timed_of_actors(|a| a.handling));
        r.register("actor_waiting", "Messages accepted and not finished", self.of_actors(|a| a.waiting));
        r.register("actor_running", "Whether the actor runs", self.of_actors(|a| a.running.into()));
        r.register("actor_parked", "Whether the actor is left stopped", self.of_actors(|a| a.parked.into()));
    }

    fn of_origins(&self, value: impl Fn(&OriginFacts) -> u64) -> Family<OriginLabels, Gauge> {
        let family = Family::<OriginLabels, Gauge>::default();
        for facts in &self.origins {
            family.get_or_create(&OriginLabels { origin: facts.origin.to_string() }).set(value(facts) as i64);
        }
        family
    }

    /// From the tables of health, scans and files. Moved by an origin that goes or comes, and by its scans.
    fn register_origins(&self, r: &mut Registry) {
        let is_running = |o: &OriginFacts| u64::from(o.scan.state == ScanState::Running);
        let has_failed = |o: &OriginFacts| u64::from(matches!(o.scan.state, ScanState::Failed { .. }));
        let is_quarantined = |o: &OriginFacts| u64::from(matches!(o.scan.state, ScanState::Quarantined { .. }));
        r.register("health_origin_up", "Whether the last probe succeeded", self.of_origins(|o| o.is_up.into()));
        r.register("catalog_origin_files", "Files of the origin", self.of_origins(|o| o.files));
        r.register("delta_scan_running", "Whether a scan is under way", self.of_origins(is_running));
        r.register("delta_scan_failed", "Whether the last scan failed", self.of_origins(has_failed));
        r.register("delta_quarantined", "Whether removals wait for a person's word", self.of_origins(is_quarantined));
        let scans = Family::<OriginLabels, Counter>::default();
        for facts in &self.origins {
            let labels = OriginLabels { origin: facts.origin.to_string() };
            scans.get_or_create(&labels).inc_by(facts.scan.num_finished);
        }
        r.register("delta_scans", "Scans brought to a good end", scans);
    }

    /// Of the daemon as a whole. Moved by time, by changes, by what the process holds, and by who follows events.
    fn register_daemon(&self, r: &mut Registry) {
        let uptime = Gauge::<f64, AtomicU64>::default();
        uptime.set(self.uptime.as_secs_f64());
        r.register("daemon_uptime_seconds", "Time since the start", uptime);
        r.register("daemon_build", "The build that runs", Info::new(vec![("version", self.version)]));
        r.register("daemon_pending_changes", "Changes on their way to the kernel", gauge(self.pending));
        r.register("catalog_files", "Files of all origins", gauge(self.files));
        r.register("catalog_tracks", "Audio files that the library shows", gauge(self.tracks));
        r.register("events_published", "Events published", counter(self.events.published));
        r.register("events_missed", "Events that followers were too slow for", counter(self.events.missed));
        r.register("events_followers", "Followers of events", gauge(self.events.followers as u64));
        if let Some(process) = self.process {
            r.register("daemon_resident_bytes", "Memory that is really there", gauge(process.resident_bytes));
            r.register("daemon_open_descriptors", "Open files and sockets", gauge(process.open_descriptors));
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_end_in_total_and_keep_their_labels() {
        let metrics = Metrics::default();
        let origin = musicfs_pure::ids::OriginId::parse("nas").expect("valid");
        metrics.fetched_bytes.get_or_create(&FetchLabels::new(&origin, Purpose::Tags)).inc_by(7);
        let text = metrics.render(&Facts::default());
        assert!(text.contains(r#"musicfs_fetcher_fetched_bytes_total{origin="nas",purpose="tags"} 7"#), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    /// One of everything, with values that differ.
    fn some_facts() -> Facts {
        let actor = ActorSnapshot {
            handled: 11,
            failed: 12,
            waiting: 13,
            queued: Duration::from_millis(1500),
            handling: Duration::from_micros(250),
            restarts: 14,
            parked: true,
            running: true,
            last_error: None,
        };
        let origin = |name: &str, state| OriginFacts {
            origin: OriginId::parse(name).expect("valid"),
            is_up: name == "nas",
            files: 15,
            scan: ScanProgress { state, num_finished: 16, ..ScanProgress::default() },
        };
        Facts {
            version: "0.1.0",
            uptime: Duration::from_millis(2500),
            actors: vec![("fetcher/nas".into(), actor)],
            origins: vec![
                origin("nas", ScanState::Running),
                origin("b", ScanState::Failed { reason: String::new() }),
                origin("c", ScanState::Quarantined { reason: String::new() }),
            ],
            files: 17,
            tracks: 18,
            pending: 19,
            events: EventLogSnapshot { published: 20, missed: 21, followers: 22, bytes: 0 },
            process: Some(ProcessFacts { resident_bytes: 23, open_descriptors: 24 }),
        }
    }

    #[test]
    fn facts_are_shown_under_their_names_in_base_units() {
        let text = Metrics::default().render(&some_facts());
        for line in [
            r#"musicfs_actor_handled_total{actor="fetcher/nas"} 11"#,
            r#"musicfs_actor_failed_total{actor="fetcher/nas"} 12"#,
            r#"musicfs_actor_restarts_total{actor="fetcher/nas"} 14"#,
            r#"musicfs_actor_queued_seconds_total{actor="fetcher/nas"} 1.5"#,
            r#"musicfs_actor_handling_seconds_total{actor="fetcher/nas"} 0.00025"#,
            r#"musicfs_actor_waiting{actor="fetcher/nas"} 13"#,
            r#"musicfs_actor_running{actor="fetcher/nas"} 1"#,
            r#"musicfs_actor_parked{actor="fetcher/nas"} 1"#,
            r#"musicfs_health_origin_up{origin="nas"} 1"#,
            r#"musicfs_health_origin_up{origin="b"} 0"#,
            r#"musicfs_catalog_origin_files{origin="b"} 15"#,
            r#"musicfs_delta_scan_running{origin="nas"} 1"#,
            r#"musicfs_delta_scan_failed{origin="b"} 1"#,
            r#"musicfs_delta_quarantined{origin="c"} 1"#,
            r#"musicfs_delta_scans_total{origin="c"} 16"#,
            "musicfs_daemon_uptime_seconds 2.5",
            r#"musicfs_daemon_build_info{version="0.1.0"} 1"#,
            "musicfs_daemon_pending_changes 19",
            "musicfs_catalog_files 17",
            "musicfs_catalog_tracks 18",
            "musicfs_events_published_total 20",
            "musicfs_events_missed_total 21",
            "musicfs_events_followers 22",
            "musicfs_daemon_resident_bytes 23",
            "musicfs_daemon_open_descriptors 24",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
        }
    }
}
