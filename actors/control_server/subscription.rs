//! What one connection has subscribed to: at most one stream of events, between the answers to its calls.
//!
//! Nothing is queued for a client: its place is in the event log, and what it does not fetch in time is counted as missed
//! and told to it. So a slow client costs one batch of lines, and one that stops reading is dropped by the limit on
//! writing, as for any answer.

use musicfs_protocol::event_log::{EventBatch, Follower};
use musicfs_protocol::wire::{
    Empty, EventNotice, LaggedNotice, Method, RpcError, SubscribeRequest, code, method, notice, notice_line,
};
use musicfs_protocol::{EventFilter, EventLog};
use serde_json::value::RawValue;

use super::dispatch::{Outcome, read, write};

/// The stream of one connection.
#[derive(Default)]
pub(super) struct Subscription(Option<Follower>);

impl Subscription {
    /// Whether there is a stream.
    pub(super) fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// Handles the methods that are about the connection itself; nothing for any other.
    pub(super) fn handle(&mut self, name: &str, params: Option<&RawValue>, log: &EventLog) -> Option<Outcome> {
        match name {
            method::Subscribe::NAME => Some(read(params).and_then(|request| self.subscribe(request, log))),
            method::Unsubscribe::NAME => Some(read::<Empty>(params).and_then(|reply| {
                self.0 = None;
                write(&reply)
            })),
            _ => None,
        }
    }

    fn subscribe(&mut self, request: SubscribeRequest, log: &EventLog) -> Outcome {
        let filter = EventFilter::new(request.types);
        let filter = filter.map_err(|unknown| RpcError::new(code::INVALID_PARAMS, unknown.to_string()))?;
        self.0 = Some(if request.recall { log.recall(filter) } else { log.follow(filter) });
        write(&Empty {})
    }

    /// Waits for the next lines of the stream; for ever when there is none. Dropping the future loses nothing.
    pub(super) async fn next_lines(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Some(follower) => lines(&follower.next().await),
            None => std::future::pending().await,
        }
    }
}

fn lines(batch: &EventBatch) -> Vec<u8> {
    let mut lines = Vec::new();
    if batch.missed > 0 {
        push(&mut lines, notice::LAGGED, &LaggedNotice { missed: batch.missed });
    }
    for event in &batch.events {
        push(&mut lines, notice::EVENT, &EventNotice::from(&**event));
    }
    if batch.caught_up {
        push(&mut lines, notice::CAUGHT_UP, &Empty {});
    }
    lines
}

fn push(lines: &mut Vec<u8>, method: &str, params: &impl serde::Serialize) {
    match notice_line(method, params) {
        Ok(line) => lines.extend(line),
        Err(error) => tracing::error!(method, %error, "a notice cannot be written as JSON"),
    }
}
