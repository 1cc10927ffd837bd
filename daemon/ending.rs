//! `Ending`: the way out of the process that nothing can hold up.
//!
//! A thread of its own, there before anything that may hang, listens for the signals that stop the daemon:
//!
//! ```text
//!  listening ──signal, or `begin`──► ending ──second signal, or END_LIMIT──► the mount is taken away, _exit
//!      └──────────the daemon has ended by itself──────────┴──► nothing left to do
//! ```
//!
//! The first signal is passed on, and the daemon ends in the order that `lifecycle` explains. Were that done on the thread
//! that the order runs on, one system call that does not return (a state folder on a dead disk, a helper that hangs, a
//! database that does not close) would make the process deaf to every further signal but kill -9, which leaves a dead mount
//! behind. This thread touches neither the mount nor any disk: it waits, and it starts the helper that unmounts.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use musicfs_actors::fuse_front::Unmounter;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::lifecycle::{ExitReason, StopSignals, end_process};

/// How long an orderly end may take in all: 5 s for the helper that unmounts, 5 s for the last reader, a second for
/// answering whoever waits, and two more for a busy machine. The user unit allows 20 s (`TimeoutStopSec`).
const END_LIMIT: Duration = Duration::from_secs(13);

/// How long unmounting may keep a process that is to end at once. The helper goes on by itself when it takes longer.
const LAST_UNMOUNT_LIMIT: Duration = Duration::from_secs(1);

/// The exit status after a second signal: 128 + SIGINT, as a shell would report it.
const EXIT_ON_SECOND_SIGNAL: u8 = 130;

/// What the main thread holds of it. Dropping it lets the thread go: the daemon has ended by itself.
pub(crate) struct Ending {
    began: watch::Sender<Option<ExitReason>>,
    mount: Arc<Mutex<Option<Unmounter>>>,
    reload: Arc<Notify>,
    _ended: oneshot::Sender<()>,
}

impl Ending {
    /// Takes the signals over from their default action.
    pub(crate) fn listen() -> io::Result<Self> {
        let (began, _) = watch::channel(None);
        let mount = Arc::<Mutex<Option<Unmounter>>>::default();
        let (ended, has_ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (listens, is_listening) = mpsc::sync_channel(1);
        let (begins, last_mount) = (began.clone(), Arc::clone(&mount));
        let reload = Arc::<Notify>::default();
        let reloads = Arc::clone(&reload);
        let attend = async move {
            match StopSignals::listen(reloads) {
                Ok(signals) => {
                    let _ = listens.send(Ok(()));
                    tokio::select! {
                        status = last_resort(signals, begins) => {
                            take_away(last_mount.lock().take());
                            end_process(status)
                        }
                        _ = has_ended => {}
                    }
                }
                Err(error) => {
                    let _ = listens.send(Err(error));
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(attend))?;
        is_listening.recv().unwrap_or_else(|_| Err(io::Error::other("the thread for signals ended")))?;
        Ok(Self { began, mount, reload, _ended: ended })
    }

    /// Notified when a signal asks for a reload of the configuration.
    pub(crate) fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// From now on there is a mount to be taken away.
    pub(crate) fn has_mount(&self, unmounter: Unmounter) {
        *self.mount.lock() = Some(unmounter);
    }

    /// The daemon begins to end without a signal: the time runs from now, and the next signal is the last.
    pub(crate) fn begin(&self, reason: ExitReason) {
        self.began.send_if_modified(|began| began.is_none() && began.replace(reason).is_none());
    }

    /// Whether a signal has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.began.borrow().is_some()
    }

    /// Waits for the first signal.
    pub(crate) async fn signalled(&self) {
        // The sender is our own, so this cannot fail.
        let _ = self.began.subscribe().wait_for(Option::is_some).await;
    }
}

/// Waits until the process must end whatever it is doing; says with which status.
async fn last_resort(mut signals: StopSignals, began: watch::Sender<Option<ExitReason>>) -> u8 {
    let mut begun = began.subscribe();
    tokio::select! {
        () = signals.next() => {
            tracing::info!("a signal asks for the end");
            began.send_replace(Some(ExitReason::Signal));
        }
        _ = begun.wait_for(Option::is_some) => {}
    }
    tokio::select! {
        () = signals.next() => {
            tracing::warn!("second signal: the process ends at once");
            EXIT_ON_SECOND_SIGNAL
        }
        () = tokio::time::sleep(end_limit()) => {
            tracing::error!("the daemon does not end in order, so the process is ended");
            // What was asked for is done, except where a service manager is to start the daemon again.
            u8::from(matches!(*began.borrow(), Some(ExitReason::Frozen | ExitReason::Unsupervised)))
        }
    }
}

fn end_limit() -> Duration {
    fail::fail_point!("ending::limit_ms", |ms| Duration::from_millis(ms.and_then(|ms| ms.parse().ok()).unwrap_or(0)));
    END_LIMIT
}

/// Unmounts on a thread that may hang in it.
fn take_away(mount: Option<Unmounter>) {
    let Some(unmounter) = mount else { return };
    let (done, is_done) = mpsc::sync_channel(1);
    let unmount = move || {
        unmounter.unmount_lazily();
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("last-unmount".to_owned()).spawn(unmount).is_ok() {
        let _ = is_done.recv_timeout(LAST_UNMOUNT_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn end_that_has_begun_keeps_its_first_reason() {
        let ending = Ending::listen().expect("signals");
        assert!(!ending.has_begun());
        ending.begin(ExitReason::Frozen);
        ending.begin(ExitReason::Requested);
        ending.signalled().await;
        assert_eq!(*ending.began.borrow(), Some(ExitReason::Frozen));
    }
}
