//! `ControlServer`: answers the control socket.
//!
//! The socket is bound before the actor exists and outlives it ([`BoundSocket`]): a client that comes early waits in the
//! backlog, and an actor that is started again serves the same socket. Each connection is a task of the actor's thread
//! that handles one call after the other; when the actor ends, its tasks end with it. Nearly everything is answered from
//! tables that others publish, so the socket says how the daemon is while an actor hangs; the exceptions (`daemon.wait`,
//! `daemon.stop`, `config.reload`) wait on ports.
//!
//! Peers are hostile until shown otherwise: only this user and root may connect, connections, lines and waiting are
//! bounded, and a client that is slow, silent or gone is dropped. Nothing here may block its thread on an origin or look
//! at the mount, and no secret is reachable from here.

mod connection;
mod daemon_calls;
mod dispatch;
mod facts;
mod library_calls;
mod line;
mod paths;
mod server;
mod socket;
mod subscription;
mod tree;
mod wait;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use socket::{BindError, BoundSocket, MAX_SOCKET_PATH_BYTES, bind, connect_now};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use musicfs_protocol::change::RescanInbox;
use musicfs_protocol::{
    ActorStats, AwaitBarrier, Board, EventLog, HealthTable, Heartbeat, Metrics, Port, ReadCatalog, ReadyGate,
    ReloadConfig, ScanTable, StopDaemon, WatchTable, Work,
};
use musicfs_pure::ids::OriginId;
use parking_lot::RwLock;

/// What a [`ControlServer`] is made with, apart from what it asks.
#[derive(Clone, Debug)]
pub struct ControlServerConfig {
    /// The socket, already bound.
    pub socket: Arc<BoundSocket>,
}

/// An origin as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedOrigin {
    /// Its name.
    pub id: OriginId,
    /// Where it is, as text without secrets.
    pub location: String,
    /// Lower is preferred.
    pub priority: u32,
}

/// What is shown of the configuration that the daemon runs with.
#[derive(Debug)]
pub struct Served {
    origins: RwLock<Arc<[ServedOrigin]>>,
    document: RwLock<Arc<serde_json::Value>>,
}

impl Served {
    /// The origins in the order in which they are shown, and the configuration with the source of each value, without
    /// secrets.
    pub fn new(origins: Vec<ServedOrigin>, document: serde_json::Value) -> Self {
        Self { origins: RwLock::new(origins.into()), document: RwLock::new(Arc::new(document)) }
    }

    /// Shows these from now on.
    pub fn replace(&self, origins: Vec<ServedOrigin>, document: serde_json::Value) {
        *self.origins.write() = origins.into();
        *self.document.write() = Arc::new(document);
    }

    /// The origins as they are now.
    pub fn origins(&self) -> Arc<[ServedOrigin]> {
        Arc::clone(&self.origins.read())
    }

    /// The configuration as it is now.
    pub fn document(&self) -> Arc<serde_json::Value> {
        Arc::clone(&self.document.read())
    }
}

/// Everything that answers are made of.
pub struct ControlServices {
    /// The library.
    pub catalog: Arc<dyn ReadCatalog>,
    /// Every actor's numbers, and the last errors.
    pub board: Arc<Board>,
    /// What happened; connections subscribe to it.
    pub events: EventLog,
    /// Every metric; `control_connections` is moved here.
    pub metrics: Metrics,
    /// How each origin is.
    pub health: Arc<HealthTable>,
    /// How far each scan is.
    pub scans: Arc<ScanTable>,
    /// How each origin's changes are noticed.
    pub watches: Arc<WatchTable>,
    /// Where a rescan is asked for.
    pub rescans: RescanInbox,
    /// The watcher, which confirms that no event is on its way to it.
    pub barrier: Port<AwaitBarrier>,
    /// Changes on their way to the kernel.
    pub work: Work,
    /// Whether the library may be looked at.
    pub ready: Arc<ReadyGate>,
    /// The supervisor, which ends the daemon.
    pub stop: Port<StopDaemon>,
    /// The supervisor, which has the configuration read again.
    pub reload: Port<ReloadConfig>,
    /// What a reload may change.
    pub served: Arc<Served>,
    /// Where the library is mounted. Used as text only.
    pub mountpoint: PathBuf,
    /// When the daemon was started.
    pub started: Instant,
    /// The daemon's version.
    pub version: &'static str,
}

/// Serves the control socket.
pub struct ControlServer {
    config: ControlServerConfig,
    services: Arc<ControlServices>,
    stats: Arc<ActorStats>,
    accepting: Option<tokio::task::AbortHandle>,
}

impl ControlServer {
    /// A server over a bound socket.
    pub fn new(config: ControlServerConfig, services: Arc<ControlServices>, stats: Arc<ActorStats>) -> Self {
        Self { config, services, stats, accepting: None }
    }
}

impl Actor for ControlServer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match self.config.socket.listener() {
            Ok(listener) => {
                let serving = server::serve(listener, Arc::clone(&self.services), Arc::clone(&self.stats));
                let task = tokio::spawn(serving);
                self.accepting = Some(task.abort_handle());
                // Accepting ends by a panic only. It is this actor's: a server that accepts nobody serves nobody.
                ctx.spawn(task.into_actor(self).map(|ended, _, ctx| match ended {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    _ => ctx.stop(),
                }));
            }
            Err(error) => {
                self.stats.fail(format!("the control socket cannot be listened on: {error}"));
                ctx.stop();
            }
        }
    }
}

impl Handler<Heartbeat> for ControlServer {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Context<Self>) {}
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        if let Some(task) = self.accepting.take() {
            task.abort();
        }
    }
}
