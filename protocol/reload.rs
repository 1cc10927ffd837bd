//! Reading the configuration again: the request, and what it makes other actors do.
//!
//! What a message here carries is already checked; nothing here knows files or keys beyond their names. Each may be
//! repeated: what is so already is not done again.

use std::time::Duration;

use actix::Message;
use musicfs_pure::ids::OriginId;
use serde_json::Value;

use crate::deadline::Deadline;
use crate::library::{CatalogError, Layout};
use crate::work::WorkToken;

/// control_server → supervisor: read the configuration again and apply what can change in a running daemon. A refusal
/// has changed nothing. May be repeated; one is done after the other.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<ConfigReloaded, ReloadRefused>")]
pub struct ReloadConfig;

/// What a reload found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigReloaded {
    /// Keys whose value in the configuration is not the one that the daemon ran with.
    pub keys: Vec<ReloadedKey>,
    /// What is odd in the configuration and was passed over.
    pub warnings: Vec<String>,
}

/// A key whose value is another one now.
#[derive(Clone, Debug, PartialEq)]
pub struct ReloadedKey {
    /// Dotted.
    pub key: String,
    /// What the daemon ran with; null for none.
    pub old: Value,
    /// What the configuration says; null for nothing.
    pub new: Value,
    /// The daemon runs with the new value; otherwise it keeps the old one until it is started again.
    pub is_applied: bool,
}

/// Why nothing was reloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRefused {
    /// The configuration is wrong.
    #[error("{reason}\nnothing has changed; the daemon goes on with what it has")]
    Invalid {
        /// Every mistake.
        reason: String,
    },
    /// An actor that must know is not there.
    #[error("the configuration is right but could not be applied: {reason}; nothing has changed, try again")]
    NotApplied {
        /// Why.
        reason: String,
    },
}

/// supervisor → catalog: show the library so from now on. Tracks move in batches after the reply, while everyone reads.
/// One outstanding.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CatalogError>")]
pub struct SetLayout {
    /// How.
    pub layout: Layout,
    /// Held until the last track is in its new place.
    pub work: WorkToken,
    /// When the sender stops waiting; later it is refused.
    pub deadline: Deadline,
}

/// supervisor → watcher: compare origins this often from now on, where events do not tell everything. One outstanding.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetPollIntervals(pub Vec<(OriginId, Duration)>);
