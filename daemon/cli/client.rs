//! The client of the control socket: one connection, one call after the other, each with a limit.
//!
//! The daemon may be frozen, so connecting never waits and an answer is waited for with a limit. What answers may be
//! anything, so a line is bounded here too, and the handshake comes first.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use musicfs_actors::control_server::connect_now;
use musicfs_protocol::wire::{
    HelloRequest, MAX_LINE_BYTES, Method, Notice, PROTOCOL, call_line, method, parse_answer, parse_notice,
};

use super::exit::CliError;

/// How long an answer is waited for, but for `wait`: nothing that the daemon does while it answers takes longer.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A connection to the daemon.
#[derive(Debug)]
pub(super) struct Client {
    reader: BufReader<UnixStream>,
    last_id: u64,
}

impl Client {
    /// Connects and shakes hands. `limit` is for the handshake; a daemon that is starting answers a little later.
    pub(super) fn connect(socket: &Path, limit: Option<Duration>) -> Result<Self, CliError> {
        let stream = connect_now(socket).map_err(|reason| match reason.kind() {
            io::ErrorKind::WouldBlock => no_answer(),
            _ => CliError::NoDaemon { socket: socket.to_owned(), reason },
        })?;
        let mut client = Self { reader: BufReader::new(stream), last_id: 0 };
        let hello = HelloRequest { client: "musicfs".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let reply = client.call::<method::Hello>(&hello, limit)?;
        if reply.protocol != PROTOCOL {
            return Err(CliError::OtherProtocol { version: reply.version, protocol: reply.protocol });
        }
        Ok(client)
    }

    /// Makes a call and waits for its answer.
    pub(super) fn call<M: Method>(
        &mut self,
        request: &M::Request,
        limit: Option<Duration>,
    ) -> Result<M::Reply, CliError> {
        self.send::<M>(request, limit)?;
        let line = self.read_line()?;
        self.result_of::<M>(&line)
    }

    /// Makes a call and does something every `tick` until its answer has come.
    pub(super) fn call_watched<M: Method>(
        &mut self,
        request: &M::Request,
        limit: Option<Duration>,
        tick: Duration,
        mut watch: impl FnMut() -> Result<(), CliError>,
    ) -> Result<M::Reply, CliError> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.send::<M>(request, Some(tick))?;
        let mut line = Vec::new();
        loop {
            match self.read_more(&mut line) {
                Ok(()) => return self.result_of::<M>(&line),
                Err(CliError::TimedOut { .. }) if deadline.is_none_or(|deadline| Instant::now() < deadline) => watch()?,
                Err(error) => return Err(error),
            }
        }
    }

    fn send<M: Method>(&mut self, request: &M::Request, limit: Option<Duration>) -> Result<(), CliError> {
        self.last_id += 1;
        let call = call_line(self.last_id, M::NAME, request).map_err(malformed)?;
        // A limit of zero would mean none.
        let limit = limit.map(|limit| limit.max(Duration::from_millis(1)));
        let stream = self.reader.get_mut();
        stream.set_read_timeout(limit).map_err(connection_failed)?;
        stream.set_write_timeout(limit).map_err(connection_failed)?;
        stream.write_all(&call).map_err(connection_failed)
    }

    fn result_of<M: Method>(&self, line: &[u8]) -> Result<M::Reply, CliError> {
        let answer = parse_answer(line).map_err(malformed)?;
        // An answer without an id refuses the connection as a whole.
        if answer.id.is_some_and(|id| id != self.last_id) {
            return Err(CliError::NoAnswer { reason: "the answer belongs to no call".to_owned() });
        }
        let result = answer.into_outcome()?;
        serde_json::from_str(result.get()).map_err(malformed)
    }

    /// Waits for what the daemon tells unasked, for as long as it takes.
    pub(super) fn next_notice(&mut self) -> Result<Notice, CliError> {
        self.reader.get_mut().set_read_timeout(None).map_err(connection_failed)?;
        let line = self.read_line()?;
        parse_notice(&line).ok_or_else(|| CliError::NoAnswer { reason: "a line is no notice".to_owned() })
    }

    /// Whether the next notice has begun to come in.
    pub(super) fn has_more(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    fn read_line(&mut self) -> Result<Vec<u8>, CliError> {
        let mut line = Vec::new();
        self.read_more(&mut line)?;
        Ok(line)
    }

    /// Reads to the end of a line that may have begun to come in before the time was up.
    fn read_more(&mut self, line: &mut Vec<u8>) -> Result<(), CliError> {
        let limit = MAX_LINE_BYTES as u64 + 1;
        let left = limit.saturating_sub(line.len() as u64);
        self.reader.by_ref().take(left).read_until(b'\n', line).map_err(connection_failed)?;
        match line.last() {
            Some(b'\n') => Ok(()),
            Some(_) if line.len() as u64 >= limit => {
                Err(CliError::NoAnswer { reason: "the answer is too long".to_owned() })
            }
            _ => Err(CliError::ConnectionLost),
        }
    }
}

fn no_answer() -> CliError {
    CliError::TimedOut { waiting_for: "the daemon does not answer; `kill` it and start it again".to_owned() }
}

fn malformed(error: serde_json::Error) -> CliError {
    CliError::NoAnswer { reason: error.to_string() }
}

fn connection_failed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => no_answer(),
        _ => CliError::ConnectionLost,
    }
}
