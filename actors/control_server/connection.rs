//! One connection: a line in, a line out, and events in between, until the client is done or has to go.
//!
//! Calls of one connection are handled one after the other, so a client is its own backpressure; events of its
//! subscription are sent between the answers, also while a call waits. While a call is handled the connection is watched:
//! when the client has gone, its `daemon.wait` must not wait on. A client that merely has nothing more to say (it shut
//! down its sending side) still gets its answer, and its events.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use musicfs_protocol::ActorStats;
use musicfs_protocol::wire::{Refusal, RpcError, answer_line, code, parse_call};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::WriteHalf;
use tokio::time::timeout;

use super::line::{LineError, LineReader};
use super::subscription::Subscription;
use super::{ControlServices, dispatch};

/// How long a client may take to fetch what is written to it: a megabyte at most, from the memory of the same machine. A
/// test of a client that never does need not wait so long.
const WRITE_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// How often a connection is looked at while its call is handled.
const GONE_TICK: Duration = Duration::from_millis(100);

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum Dropped {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the client does not take what it asked for")]
    NotTaken,
    #[error("the client has gone")]
    Gone,
}

/// Serves one connection to its end.
pub(super) async fn serve(mut stream: UnixStream, services: Arc<ControlServices>, stats: Arc<ActorStats>) {
    let (reader, writer) = stream.split();
    let mut lines = LineReader::new(reader);
    let mut connection = Connection { writer, subscription: Subscription::default(), services, stats };
    let Err(dropped) = connection.run(&mut lines).await else { return };
    match dropped {
        Dropped::NotTaken if connection.subscription.is_active() => {
            tracing::warn!("a client that subscribed to events does not read them and was dropped");
        }
        dropped => tracing::debug!(reason = %dropped, "control connection dropped"),
    }
}

struct Connection<'a> {
    writer: WriteHalf<'a>,
    subscription: Subscription,
    services: Arc<ControlServices>,
    stats: Arc<ActorStats>,
}

impl Connection<'_> {
    async fn run<R: tokio::io::AsyncRead + Unpin>(&mut self, lines: &mut LineReader<R>) -> Result<(), Dropped> {
        loop {
            let line = tokio::select! {
                line = lines.next_line(!self.subscription.is_active()) => line,
                notices = self.subscription.next_lines() => {
                    write(&mut self.writer, &notices).await?;
                    continue;
                }
            };
            match line {
                Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                Ok(Some(line)) => self.handle(&line).await?,
                Ok(None) => return self.stream_on().await,
                Err(error) => {
                    if matches!(error, LineError::TooLong) {
                        let refusal = Err(RpcError::new(code::INVALID_REQUEST, error.to_string()));
                        write(&mut self.writer, &answer_line(None, &refusal)).await?;
                    }
                    return Err(error.into());
                }
            }
        }
    }

    /// Handles a line, and sends events while that takes time.
    async fn handle(&mut self, line: &[u8]) -> Result<(), Dropped> {
        let call = match parse_call(line) {
            Ok(call) => call,
            Err(Refusal { id, error }) => {
                return write(&mut self.writer, &answer_line(id.as_deref(), &Err(error))).await;
            }
        };
        let account = self.stats.begin();
        fail::fail_point!("control_server::handle");
        let began = Instant::now();
        let outcome = match self.subscription.handle(&call.method, call.params.as_deref(), &self.services.events) {
            Some(outcome) => outcome,
            None => self.dispatch(&call.method, call.params.as_deref()).await?,
        };
        if let Err(error) = &outcome
            && matches!(error.code, code::INTERNAL_ERROR | code::UNAVAILABLE)
        {
            self.stats.fail(format!("{}: {error}", call.method));
            tracing::warn!(method = %call.method, %error, "control call failed");
        }
        account.finish(Duration::ZERO, began.elapsed());
        match call.id {
            Some(id) => write(&mut self.writer, &answer_line(Some(&id), &outcome)).await,
            None => Ok(()), // a notification wants no answer
        }
    }

    async fn dispatch(
        &mut self,
        name: &str,
        params: Option<&serde_json::value::RawValue>,
    ) -> Result<dispatch::Outcome, Dropped> {
        let services = Arc::clone(&self.services);
        let mut answering = std::pin::pin!(dispatch::dispatch(name, params, &services));
        loop {
            tokio::select! {
                outcome = &mut answering => return Ok(outcome),
                () = until_gone(&self.writer) => return Err(Dropped::Gone),
                notices = self.subscription.next_lines() => write(&mut self.writer, &notices).await?,
            }
        }
    }

    /// The client has said everything; what it subscribed to goes on until it has gone.
    async fn stream_on(&mut self) -> Result<(), Dropped> {
        while self.subscription.is_active() {
            tokio::select! {
                () = until_gone(&self.writer) => return Ok(()),
                notices = self.subscription.next_lines() => write(&mut self.writer, &notices).await?,
            }
        }
        Ok(())
    }
}

async fn write(writer: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<(), Dropped> {
    match timeout(WRITE_LIMIT, writer.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Dropped::Gone),
        Ok(Err(_)) | Err(_) => Err(Dropped::NotTaken),
    }
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
