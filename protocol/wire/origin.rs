//! Wire types of the methods about origins.
//!
//! A location is shown as the configuration names it; it cannot hold a secret, because the configuration refuses one.

use serde::{Deserialize, Serialize};

/// Every origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginListReply {
    /// In the order of their priority.
    pub origins: Vec<OriginRow>,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginRow {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// Lower is preferred.
    pub priority: u32,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Since when, in milliseconds since the epoch; nothing before the first probe.
    pub since_unix_ms: Option<u64>,
    /// Why the last probe failed, when it did.
    pub last_error: Option<String>,
    /// How its scan stands: `pending`, `running`, `done`, `failed` or `quarantined`.
    pub scan: String,
    /// Why the scan failed, when it did, and what to do.
    pub scan_problem: Option<String>,
    /// How its changes are noticed: `starting`, `absent`, `events`, `events+polling` or `polling`.
    #[serde(default)]
    pub watch: String,
    /// Why it is not watched, when it is not, and what to do.
    #[serde(default)]
    pub watch_problem: Option<String>,
    /// Files seen by the present or last listing.
    pub num_listed: u64,
    /// Files whose tags that scan read.
    pub num_tags_read: u64,
    /// Links that lead out of the root and are not shown.
    pub num_links_left_out: u64,
    /// Names that cannot be file names and are not shown.
    pub num_names_left_out: u64,
    /// Files in the tree.
    pub num_files: u64,
}

/// Compare an origin with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescanRequest {
    /// The origin's name.
    pub name: String,
    /// Removals that look like a lost disk are wanted.
    #[serde(default)]
    pub accept_removals: bool,
}
