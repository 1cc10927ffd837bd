//! Lines from a socket, bounded in length and in time.
//!
//! A line is read into one buffer that never grows beyond [`MAX_LINE_BYTES`] and a chunk. A client may be silent between
//! lines for minutes (a shell that keeps its connection), but a line that has begun must end soon: otherwise one byte a
//! minute would hold a connection for ever. A client that listens to events may be silent for as long as it listens.

use std::io;
use std::time::Duration;

use musicfs_protocol::wire::MAX_LINE_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a client may be silent between lines. Long enough for a person at a prompt; short enough that forgotten
/// connections do not use up the places.
const IDLE_LIMIT: Duration = Duration::from_mins(5);

/// How long a line may take from its first byte to its newline: generous for a megabyte on one machine.
const LINE_LIMIT: Duration = Duration::from_secs(10);

/// What one read asks for; a typical call fits into one.
const CHUNK_BYTES: usize = 8 * 1024;

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("a line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    #[error("the client was silent or slow for too long")]
    Slow,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Cuts a stream into lines.
pub(super) struct LineReader<R> {
    reader: R,
    buffer: Vec<u8>,
    num_searched: usize,
    at_end: bool,
    line_limit: Duration,
    /// When the line that has begun must have ended.
    line_deadline: Option<Instant>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), num_searched: 0, at_end: false, line_limit: LINE_LIMIT, line_deadline: None }
    }

    /// The next line without its newline; nothing at the end of the stream. A last line need not have a newline. A client
    /// that `must_speak` may not be silent for ever before it. Dropping the future loses nothing, not even the time that
    /// the line has taken so far.
    pub(super) async fn next_line(&mut self, must_speak: bool) -> Result<Option<Vec<u8>>, LineError> {
        if self.buffer.is_empty() {
            let is_filled = if must_speak {
                timeout(IDLE_LIMIT, self.fill()).await.map_err(|_| LineError::Slow)??
            } else {
                self.fill().await?
            };
            if !is_filled {
                return Ok(None);
            }
        }
        let limit = self.line_limit;
        let deadline = *self.line_deadline.get_or_insert_with(|| Instant::now() + limit);
        let line = timeout_at(deadline, self.finish_line()).await.map_err(|_| LineError::Slow)??;
        self.line_deadline = None;
        Ok(line)
    }

    async fn finish_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Some(line));
            }
            if !self.fill().await? {
                self.num_searched = 0;
                let rest = std::mem::take(&mut self.buffer);
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let found = self.buffer[self.num_searched..].iter().position(|&byte| byte == b'\n');
        let len = found.map_or(self.buffer.len(), |at| self.num_searched + at);
        if len > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        self.num_searched = len;
        if found.is_none() {
            return Ok(None);
        }
        let rest = self.buffer.split_off(len + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.num_searched = 0;
        Ok(Some(line))
    }

    /// Reads what is there; whether there was anything.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        self.buffer.reserve(CHUNK_BYTES);
        let num_read = (&mut self.reader).take(CHUNK_BYTES as u64).read_buf(&mut self.buffer).await?;
        self.at_end = num_read == 0;
        Ok(!self.at_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8]) -> Result<Vec<Vec<u8>>, LineError> {
        let mut reader = LineReader::new(input);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line(true).await? {
            lines.push(line);
        }
        Ok(lines)
    }

    #[tokio::test]
    async fn stream_is_cut_at_newlines() {
        assert_eq!(lines(b"a\n\nbc\nlast").await.expect("reads"), [&b"a"[..], b"", b"bc", b"last"]);
        assert!(lines(b"").await.expect("reads").is_empty());
    }

    #[tokio::test]
    async fn line_at_the_limit_passes_and_one_byte_more_does_not() {
        let mut input = vec![b'x'; MAX_LINE_BYTES];
        input.extend_from_slice(b"\nnext\n");
        assert_eq!(lines(&input).await.expect("reads").len(), 2);
        input.insert(0, b'x');
        assert!(matches!(lines(&input).await, Err(LineError::TooLong)));
    }

    #[tokio::test]
    async fn stream_without_any_newline_stops_at_the_limit() {
        let endless = tokio::io::repeat(b'x');
        let mut reader = LineReader::new(endless);
        assert!(matches!(reader.next_line(true).await, Err(LineError::TooLong)));
        assert!(reader.buffer.len() <= MAX_LINE_BYTES + CHUNK_BYTES);
    }

    #[tokio::test]
    async fn line_that_is_looked_for_again_and_again_is_given_up_too() {
        let (mut client, server) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"{").await.expect("writes");
        let mut reader = LineReader::new(server);
        reader.line_limit = Duration::from_millis(5);
        let slow = loop {
            // As a connection does whose subscription has something to send.
            if let Ok(ended) = timeout(Duration::from_millis(1), reader.next_line(false)).await {
                break ended;
            }
        };
        assert!(matches!(slow, Err(LineError::Slow)));
        drop(client);
    }

    #[tokio::test]
    async fn line_that_never_ends_is_given_up() {
        let (mut client, server) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"{").await.expect("writes");
        let mut reader = LineReader::new(server);
        reader.line_limit = Duration::from_millis(1);
        assert!(matches!(reader.next_line(true).await, Err(LineError::Slow)));
        drop(client);
    }
}
