//! One connection: a line in, a line out, until the client is done or has to go.
//!
//! Calls of one connection are handled one after the other, so a client is its own backpressure. While a call is handled
//! the connection is watched: when the client has gone, its `daemon.wait` must not wait on. A client that merely has
//! nothing more to say (it shut down its sending side) still gets its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use musicfs_protocol::ActorStats;
use musicfs_protocol::wire::{Refusal, RpcError, answer_line, code, parse_call};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::WriteHalf;
use tokio::time::timeout;

use super::line::{LineError, LineReader};
use super::{ControlServices, dispatch};

/// How long a client may take to fetch an answer: a megabyte at most, from the memory of the same machine.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// How often a connection is looked at while its call is handled.
const GONE_TICK: Duration = Duration::from_millis(100);

/// Serves one connection to its end.
pub(super) async fn serve(mut stream: UnixStream, services: Arc<ControlServices>, stats: Arc<ActorStats>) {
    let (reader, mut writer) = stream.split();
    let mut lines = LineReader::new(reader);
    loop {
        let answer = match lines.next_line().await {
            Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
            Ok(Some(line)) => tokio::select! {
                answer = handle_line(&line, &services, &stats) => answer,
                () = until_gone(&writer) => return,
            },
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "control connection dropped");
                if matches!(error, LineError::TooLong) {
                    let refusal = Err(RpcError::new(code::INVALID_REQUEST, error.to_string()));
                    let _ = timeout(WRITE_LIMIT, writer.write_all(&answer_line(None, &refusal))).await;
                }
                return;
            }
        };
        let Some(answer) = answer else { continue };
        if !matches!(timeout(WRITE_LIMIT, writer.write_all(&answer)).await, Ok(Ok(()))) {
            tracing::debug!("control connection dropped: the client does not take its answer");
            return;
        }
    }
}

/// The line that answers a line; nothing for a notification.
async fn handle_line(line: &[u8], services: &Arc<ControlServices>, stats: &Arc<ActorStats>) -> Option<Vec<u8>> {
    let call = match parse_call(line) {
        Ok(call) => call,
        Err(Refusal { id, error }) => return Some(answer_line(id.as_deref(), &Err(error))),
    };
    let account = stats.begin();
    fail::fail_point!("control_server::handle");
    let began = Instant::now();
    let outcome = dispatch::dispatch(&call.method, call.params.as_deref(), services).await;
    if let Err(error) = &outcome
        && matches!(error.code, code::INTERNAL_ERROR | code::UNAVAILABLE)
    {
        stats.fail(format!("{}: {error}", call.method));
        tracing::warn!(method = %call.method, %error, "control call failed");
    }
    account.finish(Duration::ZERO, began.elapsed());
    call.id.map(|id| answer_line(Some(&id), &outcome))
}

/// Ends when the other side has closed its end altogether.
async fn until_gone(writer: &WriteHalf<'_>) {
    let mut tick = tokio::time::interval(GONE_TICK);
    loop {
        tick.tick().await;
        match timeout(GONE_TICK, writer.ready(Interest::WRITABLE)).await {
            Ok(Ok(ready)) if !ready.is_write_closed() => {}
            Ok(_) => return,
            Err(_) => {} // its buffer is full: it is there, only slow
        }
    }
}
