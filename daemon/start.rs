//! `run`: from a checked configuration to a mounted library, and to the end of the daemon.
//!
//! Everything that can fail at the start fails here, with an error that names the cause and the next step, and before the
//! mount exists. Whatever was acquired is released on the way out: the mount by `Mounted`, the socket by `BoundSocket`, the
//! locks with the process.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, System};
use musicfs_actors::catalog::{CatalogConfig, CatalogOrigin, CatalogShared, Crowding};
use musicfs_actors::control_server::{self, BindError, BoundSocket};
use musicfs_actors::fetcher::LocalDirect;
use musicfs_actors::fuse_front::{
    DirectOrigin, Edge, EdgeConfig, MountConfig, MountError, Mounted, Ownership, clear_stale, mount, resolve_links,
};
use musicfs_actors::storage::{Storage, StorageConfig, StorageError};
use musicfs_protocol::pool::Pool;
use musicfs_protocol::{CatalogError, Happening, RefuseWaiting};
use musicfs_pure::escape::escape;
use musicfs_pure::ids::OriginId;
use musicfs_pure::tags::art;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::allocator;
use crate::config::{self, Config, OriginConfig, ReadyRule};
use crate::ending::Ending;
use crate::failpoints;
use crate::lifecycle::{ExitReason, open_when_listed, wait_for_stop};
use crate::panic_hook;
use crate::pools::BoundedPool;
use crate::reload::{self, ReloadSource, Reloader};
use crate::service_manager::{self, ServiceManager};
use crate::supervision::{ActorSpec, Limits, StartActors, StopActors, StopReason, Supervisor};
use crate::wiring::{BARRIER_FOLDER, House};

/// Threads that answer the kernel: enough that one in a long directory does not delay the others.
const NUM_FUSE_THREADS: usize = 4;

/// How long the process waits for the last reader of a mount that is gone from the tree.
const LAST_READER_LIMIT: Duration = Duration::from_secs(5);

/// How long answering those who wait with an error may take: it is a loop over what waits, on a thread that may be frozen.
const REFUSE_LIMIT: Duration = Duration::from_secs(1);

/// How long the lock of a daemon that was killed may outlive it, and how often it is tried.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// How long following the links of a path may take at the start.
const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

/// Open files that the daemon asks the system for: thousands of handles, each a descriptor.
const WANTED_DESCRIPTORS: u64 = 65_536;

/// Why a daemon did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder of the daemon's cannot be made.
    #[error("the folder {path:?} cannot be created: {source}; check the permissions above it")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// In the words of the system.
        source: io::Error,
    },
    /// The state cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The catalog cannot be opened.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The control socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// Links lead the library and an origin into each other.
    #[error(
        "through its links the mountpoint {mountpoint:?} lies {relation} origin {origin} {root:?}; choose another mountpoint"
    )]
    Nested {
        /// The mountpoint without links.
        mountpoint: PathBuf,
        /// How it lies to the origin.
        relation: &'static str,
        /// The origin.
        origin: OriginId,
        /// Its root without links.
        root: PathBuf,
    },
    /// The library cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A thread or a signal handler could not be set up.
    #[error("the system refused a thread or a signal handler: {0}; check the process limits (ulimit -a)")]
    System(#[from] io::Error),
}

/// Runs a daemon until something stops it. `source` is where `config` came from, for a reload; `on_ready` is called once,
/// when the library may be looked at.
pub fn run(config: Config, source: ReloadSource, on_ready: impl FnOnce() + 'static) -> Result<ExitReason, RunError> {
    allocator::limit_arenas();
    panic_hook::install();
    failpoints::follow();
    raise_descriptor_limit();
    let ending = Ending::listen()?;
    let foundation = Foundation::lay(&config)?;
    System::new().block_on(live(config, source, foundation, &ending, on_ready))
}

/// What is there before any actor.
struct Foundation {
    catalog: Arc<CatalogShared>,
    socket: Arc<BoundSocket>,
    pools: BTreeMap<String, Arc<dyn Pool>>,
    probes: Arc<dyn Pool>,
    disk_usage: Arc<dyn Pool>,
}

impl Foundation {
    fn lay(config: &Config) -> Result<Self, RunError> {
        for folder in [&config.state_dir, &config.cache_dir, &config.state_dir.join(BARRIER_FOLDER)] {
            create_folder(folder)?;
        }
        let storage = Arc::new(open_storage(&StorageConfig { state_dir: config.state_dir.clone() })?);
        let catalog = CatalogShared::open(storage, catalog_config(config))?;
        let socket = Arc::new(control_server::bind(&config.socket_path)?);
        let mut pools = BTreeMap::new();
        for origin in &config.origins {
            let pool: Arc<dyn Pool> = Arc::new(BoundedPool::for_origin(origin.id.as_str())?);
            pools.insert(origin.id.to_string(), pool);
        }
        let probes = Arc::new(BoundedPool::for_probes()?);
        let disk_usage = Arc::new(BoundedPool::for_disk_usage()?);
        Ok(Self { catalog, socket, pools, probes, disk_usage })
    }
}

/// Opens the state. A daemon that was killed a moment ago holds its lock until the kernel has cleared it away.
fn open_storage(config: &StorageConfig) -> Result<Storage, StorageError> {
    let until = Instant::now() + LOCK_LIMIT;
    loop {
        match Storage::open(config) {
            Err(StorageError::AlreadyInUse { .. }) if Instant::now() < until => std::thread::park_timeout(LOCK_POLL),
            result => return result,
        }
    }
}

fn catalog_config(config: &Config) -> CatalogConfig {
    let catalog_origin = |origin: &OriginConfig| CatalogOrigin {
        origin: origin.id.clone(),
        fingerprint: format!("local:{}", escape(origin.root.as_os_str().as_bytes())),
    };
    let origins = config.origins.iter().map(catalog_origin).collect();
    CatalogConfig { origins, layout: reload::layout(config), crowding: Crowding::default() }
}

/// Makes a folder that only its owner may enter; one that exists is accepted as it is.
fn create_folder(path: &Path) -> Result<(), RunError> {
    config::make_private_folder(path).map_err(|source| RunError::Folder { path: path.to_owned(), source })
}

/// The soft limit of open files is often 1,024, which a busy library passes; the hard one may be used.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED_DESCRIPTORS, |maximum| maximum.min(WANTED_DESCRIPTORS));
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, wanted, "the limit of open files could not be raised");
    }
}

/// The daemon's life inside the actor system.
async fn live(
    config: Config,
    source: ReloadSource,
    foundation: Foundation,
    ending: &Ending,
    on_ready: impl FnOnce() + 'static,
) -> Result<ExitReason, RunError> {
    let house = House::new(&config);
    let reloader = Reloader::new(source, Arc::new(BoundedPool::for_config()?), house.reload_targets());
    let (stop, mut requests) = watch::channel::<Option<StopReason>>(None);
    let rescan = house.rescan(&config);
    let (board, events, work) = (Arc::clone(&house.board), house.events.clone(), house.work.clone());
    let supervisor = Supervisor::new(board, events, work, rescan, Limits::default(), stop);
    let supervisor = supervisor.reloading_by(Arc::clone(&reloader)).start();
    let reader = foundation.catalog.reader();
    let control = house.control_spec(&config, Arc::clone(&foundation.socket), Arc::clone(&reader), &supervisor);
    start_actors(&supervisor, vec![control]).await;

    fail::fail_point!("start::before_mount", |_| std::process::abort());
    if ending.has_begun() {
        foundation.socket.remove_file();
        return Ok(ExitReason::Signal);
    }
    let edge = make_edge(&config, &house, &foundation);
    let mounted = mount_library(&config, &edge).inspect_err(|_| foundation.socket.remove_file())?;
    ending.has_mount(mounted.unmounter());
    fail::fail_point!("start::after_mount", |_| std::process::abort());
    let kernel = Arc::new(mounted.notifier());
    let specs = house.specs(&config, &foundation.pools, &foundation.catalog, &edge, kernel);
    start_actors(&supervisor, specs).await;
    let announcing = announce_when_ready(&config, &house, &foundation, on_ready);
    let reloading = actix::spawn(reload_on_hangup(ending.reload(), reloader));

    let mut ended = mounted.ended();
    let unmounted = async move {
        // An error means that the session is gone as well.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let reason = wait_for_stop(ending, &mut requests, unmounted).await;
    tracing::info!(?reason, "stopping");
    ending.begin(reason);
    // The first scan goes on while readers are waited for; its end is not to be announced any more.
    announcing.abort();
    reloading.abort();
    house.events.publish(Happening::DaemonStopping { reason: reason.as_str() });
    service_manager::stopping();
    shut_down(&house, &supervisor, &mounted).await;
    foundation.socket.remove_file();
    Ok(reason)
}

/// Waits until the supervisor has them: one that is dropped before it began would begin while it is dropped, without a
/// clock.
async fn start_actors(supervisor: &Addr<Supervisor>, specs: Vec<ActorSpec>) {
    if supervisor.send(StartActors(specs)).await.is_err() {
        tracing::error!("the supervisor is gone");
    }
}

/// What comes of a reload is in the log: whoever sends a signal hears nothing.
async fn reload_on_hangup(hangups: Arc<Notify>, reloader: Arc<Reloader>) {
    loop {
        hangups.notified().await;
        let _ = reloader.reload().await;
    }
}

fn make_edge(config: &Config, house: &House, foundation: &Foundation) -> Arc<Edge> {
    let access = &config.access;
    let direct = config.origins.iter().filter_map(|origin| {
        let reader = Arc::new(LocalDirect::new(origin.root.clone()));
        let pool = Arc::clone(foundation.pools.get(origin.id.as_str())?);
        let permits = house.permits(&origin.id)?;
        Some((origin.id.clone(), DirectOrigin { reader, pool, permits }))
    });
    Edge::new(EdgeConfig {
        catalog: foundation.catalog.reader(),
        direct: direct.collect::<HashMap<_, _>>(),
        gate: Arc::clone(&house.gate),
        board: Arc::clone(&house.board),
        stats: house.board.actor("fuse_front"),
        metrics: house.metrics.clone(),
        events: house.events.clone(),
        decode_art: art::decode,
        ownership: Ownership { uid: access.uid, gid: access.gid, umask: access.umask as u16 },
        statfs_path: config.cache_dir.clone(),
        statfs_pool: Arc::clone(&foundation.disk_usage),
    })
}

/// Clears a dead mount of ours, then mounts. The mountpoint is made when it is not there.
fn mount_library(config: &Config, edge: &Arc<Edge>) -> Result<Mounted, RunError> {
    let cleared = clear_stale(&config.mountpoint)?;
    tracing::debug!(?cleared, "looked for a mount that an earlier daemon left behind");
    check_nesting(config)?;
    if !config.mountpoint.exists() {
        create_folder(&config.mountpoint)?;
    }
    let mount_config = MountConfig {
        mountpoint: config.mountpoint.clone(),
        allow_other: config.access.allow_other,
        num_threads: NUM_FUSE_THREADS,
    };
    Ok(mount(&mount_config, edge)?)
}

/// The configuration was checked by text; here links are followed, now that no dead mount is in the way. An origin that
/// does not answer is left unchecked: it cannot hold the mountpoint and hang.
fn check_nesting(config: &Config) -> Result<(), RunError> {
    let resolve = |path: &Path| resolve_links(path, RESOLVE_LIMIT);
    let Some(mountpoint) = resolve(&config.mountpoint) else { return Ok(()) };
    for origin in &config.origins {
        let Some(root) = resolve(&origin.root) else { continue };
        if let Some(relation) = config::paths::relation(&mountpoint, &root) {
            let origin = origin.id.clone();
            return Err(RunError::Nested { mountpoint, relation, origin, root });
        }
    }
    Ok(())
}

/// Opens the root when it may be looked at, and says so.
fn announce_when_ready(
    config: &Config,
    house: &House,
    foundation: &Foundation,
    on_ready: impl FnOnce() + 'static,
) -> JoinHandle<()> {
    let (gate, scans) = (Arc::clone(&house.gate), Arc::clone(&house.scans));
    let reader = foundation.catalog.reader();
    let origins = match config.ready {
        ReadyRule::Listed => config.origins.iter().map(|origin| origin.id.clone()).collect(),
        ReadyRule::Mounted => Vec::new(),
    };
    let probes = foundation.probes.clone();
    let manager = ServiceManager {
        mountpoint: config.mountpoint.clone(),
        catalog: Arc::clone(&reader),
        health: Arc::clone(&house.health),
        origins: config.origins.iter().map(|origin| origin.id.clone()).collect(),
        pool: probes,
    };
    let manager = manager.if_present();
    let events = house.events.clone();
    actix::spawn(async move {
        open_when_listed(gate, reader, scans, origins).await;
        events.publish(Happening::DaemonReady);
        on_ready();
        if let Some(manager) = manager {
            manager.serve().await;
        }
    })
}

/// Ends everything in the order that `lifecycle` explains.
async fn shut_down(house: &House, supervisor: &Addr<Supervisor>, mounted: &Mounted) {
    house.disarm.disarm();
    fail::fail_point!("stop::before_unmount", |_| std::process::abort());
    mounted.unmount_lazily();
    fail::fail_point!("stop::after_unmount", |_| std::process::abort());
    let mut ended = mounted.ended();
    let readers_are_gone = tokio::time::timeout(LAST_READER_LIMIT, ended.wait_for(|ended| *ended)).await;
    if readers_are_gone.is_err() {
        tracing::warn!("files are still open; their readers will get errors");
    }
    // An actor that is down has nothing that waits.
    let _ = tokio::time::timeout(REFUSE_LIMIT, house.refuse_waiting.send(RefuseWaiting)).await;
    let _ = supervisor.send(StopActors).await;
}
