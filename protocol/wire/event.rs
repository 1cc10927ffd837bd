//! Wire types of the stream of events.
//!
//! After `events.subscribe` a connection carries notices beside its answers: calls without an id, from the server. Types
//! may be added; a client shows one that it does not know as it came. Each notice stands for itself, so that a line can
//! be kept, or passed on to another program, without the ones before it.

use serde::{Deserialize, Serialize};

use super::unix_ms;
use crate::event::{Event, Happening};

/// Methods of notices.
pub mod notice {
    /// Something happened; the parameters are an [`EventNotice`](super::EventNotice).
    pub const EVENT: &str = "events.event";
    /// Events came faster than they were taken; the parameters are a [`LaggedNotice`](super::LaggedNotice).
    pub const LAGGED: &str = "events.lagged";
    /// Everything that was remembered has been sent, and what follows is new. Comes once; it has no parameters.
    pub const CAUGHT_UP: &str = "events.caught_up";
}

/// Send events on this connection, in the place of what was subscribed to before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeRequest {
    /// Their types, whole or the first word; every event when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Begin with those that are remembered.
    #[serde(default)]
    pub recall: bool,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventNotice {
    /// Counted up since the start of the daemon.
    pub seq: u64,
    /// When, in milliseconds since the epoch.
    pub unix_ms: u64,
    /// What.
    #[serde(flatten)]
    pub body: EventBody,
}

/// Events came faster than they were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaggedNotice {
    /// How many were forgotten before they could be sent.
    pub missed: u64,
}

/// What happened; paths are percent-escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[expect(missing_docs, reason = "each is documented with what it is made from, `event::Happening`")]
pub enum EventBody {
    #[serde(rename = "origin.up")]
    OriginUp { origin: String },
    #[serde(rename = "origin.degraded")]
    OriginDegraded { origin: String, reason: String },
    #[serde(rename = "origin.down")]
    OriginDown { origin: String, reason: String },
    #[serde(rename = "origin.quarantined")]
    OriginQuarantined { origin: String, reason: String },
    #[serde(rename = "actor.restarted")]
    ActorRestarted { actor: String, num_restarts: u64 },
    #[serde(rename = "actor.parked")]
    ActorParked { actor: String, reason: String },
    #[serde(rename = "sync.started")]
    SyncStarted { origin: String, scope: String },
    #[serde(rename = "sync.finished")]
    SyncFinished {
        origin: String,
        scope: String,
        num_added: u64,
        num_changed: u64,
        num_moved: u64,
        num_removed: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    #[serde(rename = "file.added")]
    FileAdded { origin: String, path: String },
    #[serde(rename = "file.changed")]
    FileChanged { origin: String, path: String },
    #[serde(rename = "file.moved")]
    FileMoved { origin: String, path: String, from: String },
    #[serde(rename = "file.removed")]
    FileRemoved { origin: String, path: String },
    #[serde(rename = "file.opened")]
    FileOpened { origin: String, path: String },
    #[serde(rename = "daemon.ready")]
    DaemonReady {},
    #[serde(rename = "daemon.stopping")]
    DaemonStopping { reason: String },
    #[serde(rename = "config.reloaded")]
    ConfigReloaded { applied: Vec<String>, needs_restart: Vec<String> },
}

impl From<&Event> for EventNotice {
    fn from(event: &Event) -> Self {
        Self { seq: event.seq, unix_ms: unix_ms(event.at), body: event.what.clone().into() }
    }
}

impl From<Happening> for EventBody {
    fn from(what: Happening) -> Self {
        match what {
            Happening::OriginUp { origin } => Self::OriginUp { origin: origin.to_string() },
            Happening::OriginDegraded { origin, reason } => Self::OriginDegraded { origin: origin.to_string(), reason },
            Happening::OriginDown { origin, reason } => Self::OriginDown { origin: origin.to_string(), reason },
            Happening::OriginQuarantined { origin, reason } => {
                Self::OriginQuarantined { origin: origin.to_string(), reason }
            }
            Happening::ActorRestarted { actor, restarts } => {
                Self::ActorRestarted { actor: actor.to_string(), num_restarts: restarts }
            }
            Happening::ActorParked { actor, reason } => Self::ActorParked { actor: actor.to_string(), reason },
            Happening::SyncStarted { origin, scope } => {
                Self::SyncStarted { origin: origin.to_string(), scope: scope.as_str().to_owned() }
            }
            Happening::SyncFinished { origin, scope, changes, error } => Self::SyncFinished {
                origin: origin.to_string(),
                scope: scope.as_str().to_owned(),
                num_added: changes.added,
                num_changed: changes.modified,
                num_moved: changes.moved,
                num_removed: changes.removed,
                error,
            },
            Happening::FileAdded { origin, path } => {
                Self::FileAdded { origin: origin.to_string(), path: path.to_string() }
            }
            Happening::FileChanged { origin, path } => {
                Self::FileChanged { origin: origin.to_string(), path: path.to_string() }
            }
            Happening::FileMoved { origin, path, from } => {
                Self::FileMoved { origin: origin.to_string(), path: path.to_string(), from: from.to_string() }
            }
            Happening::FileRemoved { origin, path } => {
                Self::FileRemoved { origin: origin.to_string(), path: path.to_string() }
            }
            Happening::FileOpened { origin, path } => {
                Self::FileOpened { origin: origin.to_string(), path: path.to_string() }
            }
            Happening::DaemonReady => Self::DaemonReady {},
            Happening::DaemonStopping { reason } => Self::DaemonStopping { reason: reason.to_owned() },
            Happening::ConfigReloaded { applied, needs_restart } => Self::ConfigReloaded { applied, needs_restart },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use musicfs_pure::ids::{OriginId, OriginPath};

    use super::*;
    use crate::change::DeltaApplied;
    use crate::event::{EVENT_TYPES, SyncScope};

    /// One event of every type, and its line.
    fn every_event() -> Vec<(Happening, &'static str)> {
        let origin = OriginId::parse("nas").expect("valid");
        let path = OriginPath::parse(b"A/b \xff%.flac").expect("a path");
        let from = OriginPath::parse(b"old").expect("a path");
        let reason = || "a \"reason\"".to_owned();
        let changes = DeltaApplied { added: 1, modified: 2, moved: 3, removed: 4 };
        let (o, p) = (|| origin.clone(), || path.clone());
        vec![
            (Happening::OriginUp { origin: o() }, r#""type":"origin.up","origin":"nas""#),
            (
                Happening::OriginDegraded { origin: o(), reason: reason() },
                r#""type":"origin.degraded","origin":"nas","reason":"a \"reason\"""#,
            ),
            (
                Happening::OriginDown { origin: o(), reason: reason() },
                r#""type":"origin.down","origin":"nas","reason":"a \"reason\"""#,
            ),
            (
                Happening::OriginQuarantined { origin: o(), reason: reason() },
                r#""type":"origin.quarantined","origin":"nas","reason":"a \"reason\"""#,
            ),
            (
                Happening::ActorRestarted { actor: "fetcher/nas".into(), restarts: 2 },
                r#""type":"actor.restarted","actor":"fetcher/nas","num_restarts":2"#,
            ),
            (
                Happening::ActorParked { actor: "catalog".into(), reason: reason() },
                r#""type":"actor.parked","actor":"catalog","reason":"a \"reason\"""#,
            ),
            (
                Happening::SyncStarted { origin: o(), scope: SyncScope::Paths },
                r#""type":"sync.started","origin":"nas","scope":"paths""#,
            ),
            (
                Happening::SyncFinished { origin: o(), scope: SyncScope::Origin, changes, error: None },
                r#""type":"sync.finished","origin":"nas","scope":"origin","num_added":1,"num_changed":2,"num_moved":3,"num_removed":4"#,
            ),
            (
                Happening::FileAdded { origin: o(), path: p() },
                r#""type":"file.added","origin":"nas","path":"A/b %FF%25.flac""#,
            ),
            (
                Happening::FileChanged { origin: o(), path: p() },
                r#""type":"file.changed","origin":"nas","path":"A/b %FF%25.flac""#,
            ),
            (
                Happening::FileMoved { origin: o(), path: p(), from },
                r#""type":"file.moved","origin":"nas","path":"A/b %FF%25.flac","from":"old""#,
            ),
            (
                Happening::FileRemoved { origin: o(), path: p() },
                r#""type":"file.removed","origin":"nas","path":"A/b %FF%25.flac""#,
            ),
            (
                Happening::FileOpened { origin: o(), path: p() },
                r#""type":"file.opened","origin":"nas","path":"A/b %FF%25.flac""#,
            ),
            (Happening::DaemonReady, r#""type":"daemon.ready""#),
            (Happening::DaemonStopping { reason: "signal" }, r#""type":"daemon.stopping","reason":"signal""#),
            (
                Happening::ConfigReloaded { applied: vec!["log.level".to_owned()], needs_restart: Vec::new() },
                r#""type":"config.reloaded","applied":["log.level"],"needs_restart":[]"#,
            ),
        ]
    }

    #[test]
    fn every_event_is_frozen_to_the_byte_and_read_back() {
        let mut types = Vec::new();
        for (what, expected) in every_event() {
            types.push(what.type_name());
            let event = Event { seq: 7, at: UNIX_EPOCH + Duration::from_millis(1_600_000_000_123), what };
            let notice = EventNotice::from(&event);
            let line = serde_json::to_string(&notice).expect("serialises");
            assert_eq!(line, format!("{{\"seq\":7,\"unix_ms\":1600000000123,{expected}}}"));
            assert!(line.contains(&format!("\"type\":\"{}\"", event.what.type_name())));
            assert_eq!(serde_json::from_str::<EventNotice>(&line).expect("reads"), notice);
        }
        assert_eq!(types, EVENT_TYPES);
    }

    #[test]
    fn failed_sync_says_why() {
        let origin = OriginId::parse("nas").expect("valid");
        let error = Some("no".to_owned());
        let body = EventBody::from(Happening::SyncFinished {
            origin,
            scope: SyncScope::Paths,
            changes: DeltaApplied::default(),
            error,
        });
        assert!(serde_json::to_string(&body).expect("serialises").ends_with(r#""num_removed":0,"error":"no"}"#));
    }
}
