//! Who is connected to whom: makes every port, inbox, pool and table once, and the specs that make the actors from them.
//!
//! This is the one place that knows all actors. The order of the specs is the order of starting: who writes first (the
//! catalog), then who tells the kernel, then origins, and the watcher last, because its events set everything in motion.
//! Values that must outlive an actor (the catalog, the edge, pending events, permits) are made here and lent to each
//! incarnation.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Instant;

use actix::Addr;
use musicfs_actors::catalog::{Catalog, CatalogShared};
use musicfs_actors::control_server::{
    BoundSocket, ControlServer, ControlServerConfig, ControlServices, Served, ServedOrigin,
};
use musicfs_actors::debouncer::{Debouncer, PendingTouches, pending_touches};
use musicfs_actors::delta_detector::{DeltaDetector, DeltaDetectorConfig, OriginPorts};
use musicfs_actors::fetcher::{Fetcher, FetcherConfig, LocalOrigin};
use musicfs_actors::fuse_front::{
    Disarm, Edge, FuseFront, InvalidateEntry, Invalidator, InvalidatorConfig, tree_inbox,
};
use musicfs_actors::health_monitor::{HealthMonitor, HealthMonitorConfig};
use musicfs_actors::watcher::{WatchedOrigin, Watcher, WatcherConfig};
use musicfs_protocol::change::{RescanInbox, SettledInbox, TouchedInbox, TreeInbox};
use musicfs_protocol::pool::Pool;
use musicfs_protocol::{
    ApplyDelta, AwaitBarrier, Board, EventLog, HealthTable, Incarnation, Metrics, PermitPool, Port, ReadCatalog,
    ReadyGate, RefuseWaiting, ReloadConfig, RescanOrigin, ScanTable, SetLayout, SetPollIntervals, StopDaemon,
    WatchTable, Work, rescan_inbox, settled_inbox, touched_inbox,
};
use musicfs_pure::debounce::DebounceConfig;
use musicfs_pure::escape::escape;
use musicfs_pure::ids::OriginId;
use parking_lot::RwLock;

use crate::config::{Config, OriginConfig};
use crate::reload::Targets;
use crate::supervision::{ActorSpec, Group, Rescan, Supervisor};

/// Bytes that may be asked of one origin at once: the largest reads of the kernel (1 MiB) keep four of a disk's threads busy,
/// usual ones (128 KiB) all of them, and tag scans leave a quarter to readers.
const ORIGIN_PERMIT_BYTES: u64 = 4 << 20;

/// The first read of a file whose tags are wanted, where a request costs little.
const TAG_HEAD_BYTES: u64 = 16 << 10;

/// What all actors share.
pub(crate) struct House {
    pub(crate) board: Arc<Board>,
    pub(crate) metrics: Metrics,
    pub(crate) events: EventLog,
    pub(crate) work: Work,
    pub(crate) gate: Arc<ReadyGate>,
    pub(crate) scans: Arc<ScanTable>,
    pub(crate) disarm: Disarm,
    pub(crate) refuse_waiting: Port<RefuseWaiting>,
    pub(crate) health: Arc<HealthTable>,
    watches: Arc<WatchTable>,
    touched: TouchedInbox,
    settled: SettledInbox,
    rescans: RescanInbox,
    tree: TreeInbox,
    apply: Port<ApplyDelta>,
    barrier: Port<AwaitBarrier>,
    stop: Port<StopDaemon>,
    reload: Port<ReloadConfig>,
    set_layout: Port<SetLayout>,
    set_poll_intervals: Port<SetPollIntervals>,
    running: Arc<RwLock<Config>>,
    served: Arc<Served>,
    pending: PendingTouches,
    /// Of every configured origin.
    permits: BTreeMap<OriginId, PermitPool>,
}

impl House {
    pub(crate) fn new(config: &Config) -> Self {
        let metrics = Metrics::default();
        let permits_of = |origin: &OriginConfig| {
            let permits = PermitPool::measured(ORIGIN_PERMIT_BYTES, metrics.permits(&origin.id));
            (origin.id.clone(), permits)
        };
        Self {
            permits: config.origins.iter().map(permits_of).collect(),
            board: Arc::default(),
            metrics,
            events: EventLog::default(),
            work: Work::default(),
            gate: Arc::default(),
            scans: Arc::default(),
            disarm: Disarm::default(),
            refuse_waiting: Port::unbound(),
            health: Arc::default(),
            watches: Arc::default(),
            touched: touched_inbox(),
            settled: settled_inbox(),
            rescans: rescan_inbox(),
            tree: tree_inbox(),
            apply: Port::unbound(),
            barrier: Port::unbound(),
            stop: Port::unbound(),
            reload: Port::unbound(),
            set_layout: Port::unbound(),
            set_poll_intervals: Port::unbound(),
            running: Arc::new(RwLock::new(config.clone())),
            served: Arc::new(Served::new(config.origins.iter().map(served).collect(), config.document.clone())),
            pending: pending_touches(DebounceConfig::default()),
        }
    }

    /// The byte budget of an origin, shared by all who ask it for bytes.
    pub(crate) fn permits(&self, origin: &OriginId) -> Option<PermitPool> {
        self.permits.get(origin).cloned()
    }

    /// Has every configured origin compared with what is known.
    pub(crate) fn rescan(&self, config: &Config) -> Rescan {
        let origins: Vec<OriginId> = config.origins.iter().map(|origin| origin.id.clone()).collect();
        let (rescans, work) = (self.rescans.clone(), self.work.clone());
        Box::new(move || {
            for origin in &origins {
                rescans.push(origin.clone(), RescanOrigin { accept_removals: false, work: work.begin() });
            }
        })
    }

    /// What a reload of the configuration changes.
    pub(crate) fn reload_targets(&self) -> Targets {
        Targets {
            running: Arc::clone(&self.running),
            served: Arc::clone(&self.served),
            layout: self.set_layout.clone(),
            poll_intervals: self.set_poll_intervals.clone(),
            events: self.events.clone(),
            gate: Arc::clone(&self.gate),
            work: self.work.clone(),
        }
    }

    /// The control server, which answers before there is a mount.
    pub(crate) fn control_spec(
        &self,
        config: &Config,
        socket: Arc<BoundSocket>,
        catalog: Arc<dyn ReadCatalog>,
        supervisor: &Addr<Supervisor>,
    ) -> ActorSpec {
        self.stop.bind(supervisor);
        self.reload.bind(supervisor);
        let services = Arc::new(ControlServices {
            catalog,
            board: Arc::clone(&self.board),
            metrics: self.metrics.clone(),
            events: self.events.clone(),
            health: Arc::clone(&self.health),
            scans: Arc::clone(&self.scans),
            watches: Arc::clone(&self.watches),
            rescans: self.rescans.clone(),
            barrier: self.barrier.clone(),
            work: self.work.clone(),
            ready: Arc::clone(&self.gate),
            stop: self.stop.clone(),
            reload: self.reload.clone(),
            served: Arc::clone(&self.served),
            mountpoint: config.mountpoint.clone(),
            started: Instant::now(),
            version: env!("CARGO_PKG_VERSION"),
        });
        let control = ControlServerConfig { socket };
        let stats = self.board.actor("control_server");
        let make = move || ControlServer::new(control.clone(), Arc::clone(&services), Arc::clone(&stats));
        ActorSpec::new("control_server", Group::Alone, make, |_| ()).indispensable()
    }

    /// Every other actor, in the order of starting.
    pub(crate) fn specs(
        &self,
        config: &Config,
        pools: &BTreeMap<String, Arc<dyn Pool>>,
        catalog: &Arc<CatalogShared>,
        edge: &Arc<Edge>,
        kernel: Arc<dyn InvalidateEntry>,
    ) -> Vec<ActorSpec> {
        let reader = catalog.reader();
        let mut origins = BTreeMap::new();
        let mut specs = vec![
            self.catalog_spec(Arc::clone(catalog)),
            self.invalidator_spec(kernel, Arc::clone(&reader)),
            self.fuse_front_spec(Arc::clone(edge)),
        ];
        for origin in &config.origins {
            let Some(pool) = pools.get(origin.id.as_str()) else { continue };
            let Some(permits) = self.permits(&origin.id) else { continue };
            let ports = unbound_ports(permits);
            specs.push(self.fetcher_spec(origin, Arc::clone(pool), ports.clone()));
            origins.insert(origin.id.clone(), ports);
        }
        specs.push(self.health_spec(&origins));
        specs.push(self.delta_spec(origins, reader));
        specs.push(self.debouncer_spec());
        specs.push(self.watcher_spec());
        specs
    }

    fn catalog_spec(&self, shared: Arc<CatalogShared>) -> ActorSpec {
        let stats = self.board.actor("catalog");
        let (tree, metrics, events) = (self.tree.clone(), self.metrics.clone(), self.events.clone());
        let (work, apply, set_layout) = (self.work.clone(), self.apply.clone(), self.set_layout.clone());
        let make = move || {
            let (shared, stats) = (Arc::clone(&shared), Arc::clone(&stats));
            Catalog::new(shared, tree.clone(), stats, metrics.clone(), work.clone(), events.clone())
        };
        ActorSpec::new("catalog", Group::Alone, make, move |addr| {
            apply.bind(addr);
            set_layout.bind(addr);
        })
    }

    fn invalidator_spec(&self, kernel: Arc<dyn InvalidateEntry>, catalog: Arc<dyn ReadCatalog>) -> ActorSpec {
        let config = InvalidatorConfig {
            tree: self.tree.clone(),
            kernel,
            catalog,
            disarm: self.disarm.clone(),
            stats: self.board.actor("invalidator"),
            metrics: self.metrics.clone(),
        };
        let ready = self.tree.ready_port().clone();
        let make = move || Invalidator::new(config.clone());
        ActorSpec::new("invalidator", Group::Alone, make, move |addr| ready.bind(addr))
    }

    fn fuse_front_spec(&self, edge: Arc<Edge>) -> ActorSpec {
        let refuse = self.refuse_waiting.clone();
        let make = move || FuseFront::new(Arc::clone(&edge));
        ActorSpec::new("fuse_front", Group::Alone, make, move |addr| refuse.bind(addr)).requests_outlive_it()
    }

    fn fetcher_spec(&self, origin: &OriginConfig, pool: Arc<dyn Pool>, ports: OriginPorts) -> ActorSpec {
        let name = format!("fetcher/{}", origin.id);
        let local = Arc::new(LocalOrigin::new(origin.root.clone(), pool));
        let (id, stats, metrics) = (origin.id.clone(), self.board.actor(&name), self.metrics.clone());
        let make = move || {
            Fetcher::new(FetcherConfig::default(), id.clone(), local.clone(), Arc::clone(&stats), metrics.clone())
        };
        let permits = ports.permits.clone();
        let bind = move |addr: &Incarnation<Fetcher>| {
            ports.list.bind(addr);
            ports.stat.bind(addr);
            ports.probe.bind(addr);
            ports.read.bind(addr);
        };
        ActorSpec::new(name, Group::Alone, make, bind).when_abandoned(move || permits.write_off())
    }

    fn health_spec(&self, origins: &BTreeMap<OriginId, OriginPorts>) -> ActorSpec {
        let probes: Vec<_> = origins.iter().map(|(id, ports)| (id.clone(), ports.probe.clone())).collect();
        let (table, stats) = (Arc::clone(&self.health), self.board.actor("health_monitor"));
        let (rescans, work, events) = (self.rescans.clone(), self.work.clone(), self.events.clone());
        let make = move || {
            let config = HealthMonitorConfig::default();
            let (table, stats) = (Arc::clone(&table), Arc::clone(&stats));
            HealthMonitor::new(config, probes.clone(), table, stats, rescans.clone(), work.clone(), events.clone())
        };
        ActorSpec::new("health_monitor", Group::Alone, make, |_| ())
    }

    fn delta_spec(&self, origins: BTreeMap<OriginId, OriginPorts>, catalog: Arc<dyn ReadCatalog>) -> ActorSpec {
        let stats = self.board.actor("delta_detector");
        let (settled, rescans) = (self.settled.clone(), self.rescans.clone());
        let (apply, scans, events) = (self.apply.clone(), Arc::clone(&self.scans), self.events.clone());
        let (settled_ready, rescans_ready) = (settled.ready_port().clone(), rescans.ready_port().clone());
        let (touched, pending) = (self.touched.clone(), Arc::clone(&self.pending));
        let is_settling: Arc<dyn Fn() -> bool + Send + Sync> =
            Arc::new(move || !touched.is_empty() || !pending.lock().is_empty());
        let make = move || {
            let config = DeltaDetectorConfig {
                origins: origins.clone(),
                catalog: Arc::clone(&catalog),
                apply: apply.clone(),
                settled: settled.clone(),
                rescans: rescans.clone(),
                scans: Arc::clone(&scans),
                events: events.clone(),
                is_settling: Arc::clone(&is_settling),
            };
            DeltaDetector::new(config, Arc::clone(&stats))
        };
        let bind = move |addr: &Incarnation<DeltaDetector>| {
            settled_ready.bind(addr);
            rescans_ready.bind(addr);
        };
        ActorSpec::new("delta_detector", Group::Change, make, bind)
    }

    fn debouncer_spec(&self) -> ActorSpec {
        let stats = self.board.actor("debouncer");
        let (pending, touched) = (Arc::clone(&self.pending), self.touched.clone());
        let (settled, rescans) = (self.settled.clone(), self.rescans.clone());
        let ready = touched.ready_port().clone();
        let make = move || {
            let (touched, settled, rescans) = (touched.clone(), settled.clone(), rescans.clone());
            Debouncer::new(Arc::clone(&pending), touched, settled, rescans, Arc::clone(&stats))
        };
        ActorSpec::new("debouncer", Group::Change, make, move |addr| ready.bind(addr))
    }

    fn watcher_spec(&self) -> ActorSpec {
        let running = Arc::clone(&self.running);
        let (touched, rescans) = (self.touched.clone(), self.rescans.clone());
        let (work, metrics, stats) = (self.work.clone(), self.metrics.clone(), self.board.actor("watcher"));
        let (barrier, watches) = (self.barrier.clone(), Arc::clone(&self.watches));
        let intervals = self.set_poll_intervals.clone();
        let make = move || {
            let (touched, rescans, stats) = (touched.clone(), rescans.clone(), Arc::clone(&stats));
            let (config, watches) = (watcher_config(&running.read()), Arc::clone(&watches));
            Watcher::new(config, touched, rescans, work.clone(), stats, metrics.clone(), watches)
        };
        ActorSpec::new("watcher", Group::Change, make, move |addr| {
            barrier.bind(addr);
            intervals.bind(addr);
        })
    }
}

fn unbound_ports(permits: PermitPool) -> OriginPorts {
    OriginPorts {
        list: Port::unbound(),
        stat: Port::unbound(),
        probe: Port::unbound(),
        read: Port::unbound(),
        permits,
        tag_head_bytes: TAG_HEAD_BYTES,
    }
}

/// The folder below the state folder in which the watcher makes files to know where it is in its queue.
pub(crate) const BARRIER_FOLDER: &str = "barrier";

fn watcher_config(config: &Config) -> WatcherConfig {
    let watched = |origin: &OriginConfig| WatchedOrigin {
        origin: origin.id.clone(),
        root: origin.root.clone(),
        poll_interval: origin.poll_interval,
    };
    let barrier_dir = config.state_dir.join(BARRIER_FOLDER);
    WatcherConfig { origins: config.origins.iter().map(watched).collect(), barrier_dir }
}

/// An origin as the control socket shows it.
pub(crate) fn served(origin: &OriginConfig) -> ServedOrigin {
    ServedOrigin {
        id: origin.id.clone(),
        location: escape(origin.root.as_os_str().as_bytes()).into_owned(),
        priority: origin.priority,
    }
}
