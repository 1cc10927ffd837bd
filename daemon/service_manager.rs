//! What systemd is told: ready, a line of status, reloading, stopping, and that the mount still answers.
//!
//! The watchdog is fed only when a child's `statfs` through the mount comes back in time: a process that lives while its
//! mount hangs is what a watchdog is for. The child is another process because a thread of ours in our own mount could
//! never be killed. Without a service manager (`NOTIFY_SOCKET` is unset) nothing is sent and no child is started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use musicfs_actors::fuse_front::mount_answers;
use musicfs_protocol::health::Health;
use musicfs_protocol::pool::{self, Pool};
use musicfs_protocol::{HealthTable, ReadCatalog};
use musicfs_pure::ids::OriginId;
use sd_notify::NotifyState;

/// How long the mount may take to answer: it answers from memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The pause before the mount is asked again at the start: a probe that cannot even be started fails at once.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// How often the status line is renewed where no watchdog asks for more.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);

/// The service manager, if there is one.
pub(crate) struct ServiceManager {
    /// Where the library is mounted.
    pub(crate) mountpoint: PathBuf,
    /// What the status line counts.
    pub(crate) catalog: Arc<dyn ReadCatalog>,
    /// Whether the origins are there.
    pub(crate) health: Arc<HealthTable>,
    /// The origins.
    pub(crate) origins: Vec<OriginId>,
    /// Runs the probes of the mount.
    pub(crate) pool: Arc<dyn Pool>,
}

impl ServiceManager {
    /// This, when a service manager has started the process.
    pub(crate) fn if_present(self) -> Option<Arc<Self>> {
        std::env::var_os("NOTIFY_SOCKET")?;
        Some(Arc::new(self))
    }

    /// Says that the library may be looked at, and from then on that the mount answers, as often as is asked for.
    pub(crate) async fn serve(self: Arc<Self>) {
        while !self.mount_answers().await {
            tracing::warn!("the mount does not answer yet");
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        tell(&[NotifyState::Ready, NotifyState::Status(&self.status())]);
        let watchdog = sd_notify::watchdog_enabled();
        // Three times within the limit, so that one slow answer is not taken for a freeze.
        let interval = watchdog.map_or(STATUS_INTERVAL, |limit| limit / 3);
        loop {
            tokio::time::sleep(interval).await;
            if watchdog.is_none() {
                tell(&[NotifyState::Status(&self.status())]);
            } else if self.mount_answers().await {
                tell(&[NotifyState::Watchdog, NotifyState::Status(&self.status())]);
            } else {
                tracing::error!("the mount does not answer; the watchdog is not fed");
            }
        }
    }

    async fn mount_answers(&self) -> bool {
        let mountpoint = self.mountpoint.clone();
        pool::run(&self.pool, move || mount_answers(&mountpoint, ANSWER_LIMIT)).await.unwrap_or(false)
    }

    fn status(&self) -> String {
        let counts = match self.catalog.library_summary() {
            Ok(summary) => format!("{} tracks of {} files", summary.tracks, summary.files),
            Err(error) => error.to_string(),
        };
        let is_away = |origin: &&OriginId| self.health.get(origin).is_some_and(|known| known.health == Health::Down);
        let away: Vec<&str> = self.origins.iter().filter(is_away).map(OriginId::as_str).collect();
        if away.is_empty() { counts } else { format!("{counts}; away: {}", away.join(", ")) }
    }
}

/// Says that the configuration is read again. [`reloaded`] must follow.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager was not told of the reload"),
    }
}

/// Says that the reload is over, whatever came of it.
pub(crate) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Says that the daemon ends in order.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A manager that cannot be reached is no reason to stop serving music.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
