//! Accepting connections: who may come in, and how many.
//!
//! The uid of a peer comes from the kernel (`SO_PEERCRED`), not from the peer. This user and root may connect; root
//! could anyway. The limit on connections is on tasks that live, so a connection that ends for any reason, a panic in a
//! handler too, gives its place back.

use std::sync::Arc;
use std::time::Duration;

use musicfs_protocol::ActorStats;
use musicfs_protocol::wire::{RpcError, answer_line, code};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::{ControlServices, connection};

/// Connections at a time. A shell needs one, a dashboard a few; each costs at most two lines of memory.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// How long accepting rests after it failed: descriptors are short then, and asking again at once would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the socket until the task is dropped.
pub(super) async fn serve(listener: UnixListener, services: Arc<ControlServices>, stats: Arc<ActorStats>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    fail::fail_point!("control_server::accept");
                    admit(stream, &mut connections, &services, &stats);
                }
                Err(error) => {
                    stats.fail(format!("accepting a connection failed: {error}"));
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    stats.fail(format!("a connection's task failed: {error}"));
                    tracing::error!(%error, "control connection failed");
                }
            }
        }
    }
}

fn admit(stream: UnixStream, connections: &mut JoinSet<()>, services: &Arc<ControlServices>, stats: &Arc<ActorStats>) {
    let own_uid = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if is_admitted(peer.uid(), own_uid) => {}
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "control connection of another user refused");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "control connection of an unknown user refused");
            return;
        }
    }
    if connections.len() >= MAX_CONNECTIONS {
        let busy = RpcError::new(code::BUSY, "too many connections are open; close one and try again");
        // Best effort: the buffer of a new socket takes the line, and a client that has gone misses nothing.
        let _ = stream.try_write(&answer_line(None, &Err(busy)));
        return;
    }
    services.metrics.control_connections.inc();
    connections.spawn(connection::serve(stream, Arc::clone(services), Arc::clone(stats)));
}

fn is_admitted(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == own_uid || peer_uid == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_and_root_are_admitted() {
        assert!(is_admitted(1000, 1000));
        assert!(is_admitted(0, 1000));
        assert!(!is_admitted(1001, 1000));
        assert!(!is_admitted(1000, 0));
    }
}
