//! Wire types of the control socket: JSON-RPC 2.0, one object per line, protocol version 1.
//!
//! These types are the promise to scripts and to other versions of the command line, so they are their own: no message
//! between actors and no row on disk is ever serialised here, and a change of either cannot change the wire. A reply may
//! gain members; nothing that is there changes its meaning without a new [`PROTOCOL`]. Requests refuse members that they
//! do not know, because a misspelt one would otherwise be ignored.
//!
//! Names of files are bytes and JSON is text: every path is in the percent-escape of `musicfs_pure::escape`. Times are
//! milliseconds since the epoch, or split into seconds and nanoseconds where the full precision matters. No secret ever
//! enters one of these types.

mod daemon;
mod envelope;
mod event;
mod library;
pub mod method;
mod origin;
mod reload;

pub use daemon::{
    ActorRow, ActorsReply, ConfigReply, HelloReply, HelloRequest, MetricsReply, ParkedRow, StatusReply, StopReply,
    WaitFor, WaitReply, WaitRequest,
};
pub use envelope::{
    Answer, Call, Notice, Refusal, RpcError, answer_line, call_line, code, notice_line, parse_answer, parse_call,
    parse_notice,
};
pub use event::{EventBody, EventNotice, LaggedNotice, SubscribeRequest, notice};
pub use library::{
    EntryKind, FileVersion, PathRequest, Tags, TagsReply, TreeEntry, TreeReply, TreeRequest, WhyReply, WhySource,
    WireTime,
};
pub use method::Method;
pub use origin::{OriginListReply, OriginRow, RescanRequest};
pub use reload::{ReloadOutcome, ReloadReply, ReloadRow};

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The version of everything in this module. A client that does not know it must not go on.
pub const PROTOCOL: u32 = 1;

/// The longest line, in either direction. The largest legitimate ones are a page of `library.tree` and the metrics, well
/// below; a peer that sends more is not one of ours.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// A request or reply without members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// An error's text and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatedText {
    /// The text.
    pub text: String,
    /// When, in milliseconds since the epoch.
    pub at_unix_ms: u64,
}

impl From<crate::board::DatedError> for DatedText {
    fn from(error: crate::board::DatedError) -> Self {
        Self { text: error.text, at_unix_ms: unix_ms(error.at) }
    }
}

/// A moment as milliseconds since the epoch; 0 for one before it.
pub fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
