//! From READY to the end: when the library may be looked at, what makes the daemon stop, and in which order it does.
//!
//! ```text
//!  mounting ──► waiting for first scans ──► ready ──► stopping ──► ended
//!                    10 s at most                        ▲
//!    SIGTERM, SIGINT, SIGQUIT, a closed terminal, `stop`, an unmount by others, frozen actors
//! ```
//!
//! SIGHUP has two meanings. Sent by someone it asks for a reload, as daemons have it. Sent by the kernel it says that the
//! terminal in which the daemon runs has been closed: whoever did that expects it to end, as every program in the
//! foreground does, and a daemon left without a terminal would hold a mount that nobody remembers. The two are told
//! apart by `/dev/tty`, which a process that lost its terminal cannot open any more; under `nohup` there is no terminal to
//! lose.
//!
//! Stopping: the invalidator is disarmed (a notification to a mount that goes away can block), the mount is detached lazily,
//! so that nobody comes anew, those who are reading may read on for 5 s, what still waits then is answered with an error, the
//! actors are stopped, and the process ends. The session's threads are never joined: a reader that keeps a file open could
//! hold them for ever. `ending` sees to it that all of this ends, and that a second signal ends it at once.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use musicfs_protocol::{ReadCatalog, ReadyGate, ScanTable};
use musicfs_pure::ids::OriginId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::ending::Ending;
use crate::supervision::StopReason;

/// How long the root waits for the first scans: a scanner that looks later than this after the mount appeared must see
/// what there is.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(10);

/// How often the scans are looked at while the root waits for them.
const READY_POLL: Duration = Duration::from_millis(20);

/// Why the daemon stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked for it.
    Signal,
    /// `musicfs stop` asked for it.
    Requested,
    /// Someone else unmounted the library.
    Unmounted,
    /// Actor threads froze; the service manager should start the daemon again.
    Frozen,
    /// The supervisor is gone, which only a defect explains: nobody would start a failed actor again.
    Unsupervised,
}

impl ExitReason {
    /// The word in outputs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Requested => "requested",
            Self::Unmounted => "unmounted",
            Self::Frozen => "frozen",
            Self::Unsupervised => "unsupervised",
        }
    }
}

/// Ends the process of a daemon that has shut down, without running what the C library does at an orderly exit.
///
/// Threads that wait for the kernel or a dead disk cannot be joined, and may still hold the database; its destructors
/// would pull the ground from under them and abort. All that must last is in the write-ahead log by now.
pub(crate) fn end_process(status: u8) -> ! {
    // SAFETY: `_exit` takes no pointer, touches no memory of ours and does not return.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(i32::from(status))
    }
}

/// The signals that stop the daemon, or make it read its configuration again.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    /// There is a terminal whose end is the daemon's.
    has_terminal: bool,
    reload: Arc<Notify>,
}

impl StopSignals {
    /// Takes the signals over from their default action. `reload` is notified when one asks for a reload; any number of
    /// them before it is looked at are one.
    pub(crate) fn listen(reload: Arc<Notify>) -> std::io::Result<Self> {
        let has_terminal = has_terminal() && !is_hangup_ignored();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            has_terminal,
            reload,
        })
    }

    /// Waits for the next one that stops.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => return,
                _ = self.hangup.recv() => {}
            }
            if self.has_terminal && !has_terminal() {
                tracing::info!("the terminal was closed");
                return;
            }
            self.reload.notify_one();
        }
    }
}

/// Whether the process has a terminal that can be closed under it.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether whoever started the process (`nohup`) had it ignore hangups; asked before the signal is taken over.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (SignalKind::hangup().as_raw_value() - 1)) != 0
}

/// Waits for whatever stops the daemon first. `unmounted` resolves when the kernel has let go of the mount.
pub(crate) async fn wait_for_stop(
    ending: &Ending,
    requests: &mut watch::Receiver<Option<StopReason>>,
    unmounted: impl Future<Output = ()>,
) -> ExitReason {
    tokio::select! {
        () = ending.signalled() => ExitReason::Signal,
        reason = requested(requests) => match reason {
            Some(StopReason::Requested) => ExitReason::Requested,
            Some(StopReason::Frozen) => ExitReason::Frozen,
            None => ExitReason::Unsupervised,
        },
        () = unmounted => ExitReason::Unmounted,
    }
}

/// The reason that the supervisor gives; nothing when it is gone.
async fn requested(requests: &mut watch::Receiver<Option<StopReason>>) -> Option<StopReason> {
    let reason = requests.wait_for(Option::is_some).await.ok()?;
    reason.clone()
}

/// Opens the gate once every origin has been listed before, or its first scan has ended, or the limit has passed.
pub(crate) async fn open_when_listed(
    gate: Arc<ReadyGate>,
    catalog: Arc<dyn ReadCatalog>,
    scans: Arc<ScanTable>,
    origins: Vec<OriginId>,
) {
    let was_listed =
        |origin: &OriginId| catalog.origin_summary(origin).is_ok_and(|summary| summary.listed_root.is_some());
    let new: Vec<OriginId> = origins.into_iter().filter(|origin| !was_listed(origin)).collect();
    let settled = async {
        while !scans.all_settled(new.iter()) {
            tokio::time::sleep(READY_POLL).await;
        }
    };
    if tokio::time::timeout(READY_LIMIT, settled).await.is_err() {
        tracing::warn!("the first scan goes on; the library fills while it is looked at");
    }
    gate.open();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn request_before_the_wait_is_not_missed() {
        let (stop, mut requests) = watch::channel(None);
        stop.send_replace(Some(StopReason::Requested));
        let ending = Ending::listen().expect("signals");
        let reason = wait_for_stop(&ending, &mut requests, std::future::pending()).await;
        assert_eq!(reason, ExitReason::Requested);
    }

    #[tokio::test]
    async fn daemon_without_a_supervisor_ends() {
        let (stop, mut requests) = watch::channel(None);
        drop(stop);
        let ending = Ending::listen().expect("signals");
        let reason = wait_for_stop(&ending, &mut requests, std::future::pending()).await;
        assert_eq!(reason, ExitReason::Unsupervised);
    }

    #[tokio::test]
    async fn unmount_by_others_stops_the_daemon() {
        let (_stop, mut requests) = watch::channel(None);
        let ending = Ending::listen().expect("signals");
        let reason = wait_for_stop(&ending, &mut requests, async {}).await;
        assert_eq!(reason, ExitReason::Unmounted);
    }
}
