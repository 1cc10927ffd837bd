//! The table of metrics: every series that the daemon has, with its unit and what moves it.
//!
//! Names are `musicfs_<actor>_<thing>_<unit>[_total]`; labels come from a fixed set (`origin op outcome purpose lane`) and are
//! never a path: a label per file would be a series per file. Actors hold the counters they move; `musicfs metrics` prints
//! all of them as OpenMetrics text, without timestamps or exemplars.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use musicfs_pure::ids::OriginId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::fetch::Purpose;
use crate::permit::Lane;

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
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry());
        text
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
        let text = metrics.render();
        assert!(text.contains(r#"musicfs_fetcher_fetched_bytes_total{origin="nas",purpose="tags"} 7"#), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
