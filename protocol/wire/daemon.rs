//! Wire types of the methods about the daemon itself.
//!
//! What is here is read from atomics and tables that the actors publish: answering never waits for an actor that may
//! hang, except for `daemon.wait`, whose waiting is its purpose and bounded by the client.

use serde::{Deserialize, Serialize};

use super::{DatedText, OriginRow};

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelloRequest {
    /// Its name.
    pub client: String,
    /// Its version.
    pub version: String,
}

/// Who the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply {
    /// `musicfs`.
    pub server: String,
    /// The daemon's version.
    pub version: String,
    /// The version of the protocol.
    pub protocol: u32,
}

/// The daemon as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Where the library is mounted, percent-escaped.
    pub mountpoint: String,
    /// Whether the library may be looked at: the first listings are in.
    pub ready: bool,
    /// Every origin.
    pub origins: Vec<OriginRow>,
    /// Files of all origins.
    pub num_files: u64,
    /// Audio files that the library shows.
    pub num_tracks: u64,
    /// Changes on their way from an origin to the kernel.
    pub num_pending: u64,
    /// Actors that failed too often and are left stopped. Nothing but a restart of the daemon brings them back.
    #[serde(default)]
    pub parked: Vec<ParkedRow>,
}

/// An actor that is left stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRow {
    /// Its name.
    pub name: String,
    /// Its last error.
    pub last_error: Option<DatedText>,
}

/// The reply to a stop: given before the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReply {
    /// The process that is going to end.
    pub pid: u32,
}

/// Every actor's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorsReply {
    /// By name.
    pub actors: Vec<ActorRow>,
}

/// One actor's numbers, since the start of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRow {
    /// Its name.
    pub name: String,
    /// Runs now.
    pub running: bool,
    /// Failed too often and is left stopped.
    pub parked: bool,
    /// Messages handled.
    pub num_handled: u64,
    /// Messages whose handling failed.
    pub num_failed: u64,
    /// Messages accepted and not finished.
    pub num_waiting: u64,
    /// Restarts after a failure.
    pub num_restarts: u64,
    /// Time that handled messages waited, in all.
    pub queued_ms: u64,
    /// Time spent handling, in all.
    pub handling_ms: u64,
    /// The last error.
    pub last_error: Option<DatedText>,
}

/// Every metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsReply {
    /// OpenMetrics text.
    pub openmetrics: String,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    /// Every reachable origin is listed, its tags are read and the tree is built.
    Scanned,
    /// Scanned, and nothing is pending, in flight or queued for the kernel.
    Idle,
}

impl WaitFor {
    /// The word on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scanned => "scanned",
            Self::Idle => "idle",
        }
    }
}

/// Wait for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// For what.
    #[serde(rename = "for")]
    pub goal: WaitFor,
    /// How long; without it until it is so, or the client goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How the waiting ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReply {
    /// Whether it is so; otherwise the time was up.
    pub reached: bool,
    /// What was still missing when the time was up.
    pub waiting_for: Vec<String>,
}

/// The configuration that the daemon runs with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigReply {
    /// Every value with its source, as `musicfs config show --json` prints it.
    pub config: serde_json::Value,
}
