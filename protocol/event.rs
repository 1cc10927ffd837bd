//! `Event`: something that happened to an origin, an actor, a file or the daemon, and which of them somebody wants.
//!
//! Events carry ids and texts without secrets, never a handle to anything. Each has a dotted type, which filters name
//! whole or by its first word; the wire form is `wire::event`, the memory of them [`EventLog`](crate::EventLog).

use std::time::SystemTime;

use musicfs_pure::ids::{OriginId, OriginPath};

use crate::board::ActorName;

/// What was compared by a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// Everything that the origin has.
    Origin,
    /// Paths that events named.
    Paths,
}

impl SyncScope {
    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Paths => "paths",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// An origin answers its probes.
    OriginUp {
        /// Which.
        origin: OriginId,
    },
    /// A probe of an origin was lost, and it does not count as down yet.
    OriginDegraded {
        /// Which.
        origin: OriginId,
        /// What the probe came to.
        reason: String,
    },
    /// An origin is away; its last known listing stays.
    OriginDown {
        /// Which.
        origin: OriginId,
        /// What the probe came to.
        reason: String,
    },
    /// An origin's listing would remove so much that it is not believed.
    OriginQuarantined {
        /// Which.
        origin: OriginId,
        /// Why, and what to do.
        reason: String,
    },
    /// An actor failed and was started again.
    ActorRestarted {
        /// Which.
        actor: ActorName,
        /// Its restarts since the start of the daemon, this one included.
        restarts: u64,
    },
    /// An actor failed too often and is left stopped.
    ActorParked {
        /// Which.
        actor: ActorName,
        /// How it failed last.
        reason: String,
    },
    /// Comparing an origin, or a part of it, with the catalog has begun.
    SyncStarted {
        /// Which origin.
        origin: OriginId,
        /// All of it or some paths.
        scope: SyncScope,
    },
    /// Comparing has ended.
    SyncFinished {
        /// Which origin.
        origin: OriginId,
        /// All of it or some paths.
        scope: SyncScope,
        /// What it changed, also when it failed later.
        changes: crate::change::DeltaApplied,
        /// Why it did not come to its end.
        error: Option<String>,
    },
    /// A file is new.
    FileAdded {
        /// Where.
        origin: OriginId,
        /// Its path there.
        path: OriginPath,
    },
    /// A file has a new version or new tags.
    FileChanged {
        /// Where.
        origin: OriginId,
        /// Its path there.
        path: OriginPath,
    },
    /// A file has another path.
    FileMoved {
        /// Where.
        origin: OriginId,
        /// Its path now.
        path: OriginPath,
        /// Its path before.
        from: OriginPath,
    },
    /// A file is gone.
    FileRemoved {
        /// Where it was.
        origin: OriginId,
        /// Its path there.
        path: OriginPath,
    },
    /// A file of the mount was opened. Published only while somebody follows this type.
    FileOpened {
        /// Where its bytes come from.
        origin: OriginId,
        /// Its path there.
        path: OriginPath,
    },
    /// The library may be looked at.
    DaemonReady,
    /// The daemon ends in order.
    DaemonStopping {
        /// What asked for it.
        reason: &'static str,
    },
    /// The configuration was read again.
    ConfigReloaded {
        /// Keys whose new value counts now.
        applied: Vec<String>,
        /// Keys whose new value counts after the next start.
        needs_restart: Vec<String>,
    },
}

/// The type that only a follower makes worth publishing.
pub(crate) const FILE_OPENED: &str = "file.opened";

/// Every type, as [`Happening::type_name`] gives them.
pub const EVENT_TYPES: [&str; 16] = [
    "origin.up",
    "origin.degraded",
    "origin.down",
    "origin.quarantined",
    "actor.restarted",
    "actor.parked",
    "sync.started",
    "sync.finished",
    "file.added",
    "file.changed",
    "file.moved",
    "file.removed",
    FILE_OPENED,
    "daemon.ready",
    "daemon.stopping",
    "config.reloaded",
];

impl Happening {
    /// Its type: a word for what it is about, a dot, a word for what happened.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::OriginUp { .. } => "origin.up",
            Self::OriginDegraded { .. } => "origin.degraded",
            Self::OriginDown { .. } => "origin.down",
            Self::OriginQuarantined { .. } => "origin.quarantined",
            Self::ActorRestarted { .. } => "actor.restarted",
            Self::ActorParked { .. } => "actor.parked",
            Self::SyncStarted { .. } => "sync.started",
            Self::SyncFinished { .. } => "sync.finished",
            Self::FileAdded { .. } => "file.added",
            Self::FileChanged { .. } => "file.changed",
            Self::FileMoved { .. } => "file.moved",
            Self::FileRemoved { .. } => "file.removed",
            Self::FileOpened { .. } => FILE_OPENED,
            Self::DaemonReady => "daemon.ready",
            Self::DaemonStopping { .. } => "daemon.stopping",
            Self::ConfigReloaded { .. } => "config.reloaded",
        }
    }

    /// Bytes that it keeps beyond its own size. Names of origins and actors are shared by all who name them.
    pub(crate) fn num_heap_bytes(&self) -> usize {
        match self {
            Self::OriginDegraded { reason, .. }
            | Self::OriginDown { reason, .. }
            | Self::OriginQuarantined { reason, .. }
            | Self::ActorParked { reason, .. } => reason.len(),
            Self::SyncFinished { error, .. } => error.as_ref().map_or(0, String::len),
            Self::FileMoved { path, from, .. } => path.as_bytes().len() + from.as_bytes().len(),
            Self::FileAdded { path, .. }
            | Self::FileChanged { path, .. }
            | Self::FileRemoved { path, .. }
            | Self::FileOpened { path, .. } => path.as_bytes().len(),
            Self::ConfigReloaded { applied, needs_restart } => {
                applied.iter().chain(needs_restart).map(String::len).sum()
            }
            Self::OriginUp { .. }
            | Self::ActorRestarted { .. }
            | Self::SyncStarted { .. }
            | Self::DaemonReady
            | Self::DaemonStopping { .. } => 0,
        }
    }
}

/// Something that happened, with its number and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counted up from 1 since the start of the daemon.
    pub seq: u64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: Happening,
}

/// A filter that lets nothing through, because nothing has this type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no event of the type `{0}`; there are {types}", types = EVENT_TYPES.join(", "))]
pub struct UnknownEventType(pub String);

/// Which events somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter(Vec<String>);

impl EventFilter {
    /// Events of these types; a type may be left at its first word. None at all stands for every event.
    pub fn new(types: Vec<String>) -> Result<Self, UnknownEventType> {
        match types.iter().find(|wanted| !EVENT_TYPES.iter().any(|name| is_type(name, wanted))) {
            Some(unknown) => Err(UnknownEventType(unknown.clone())),
            None => Ok(Self(types)),
        }
    }

    /// Whether it lets this type through.
    pub fn wants(&self, type_name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| is_type(type_name, wanted))
    }
}

fn is_type(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(types: &[&str]) -> Result<EventFilter, UnknownEventType> {
        EventFilter::new(types.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn filter_takes_whole_types_and_first_words() {
        let some = filter(&["file", "origin.down"]).expect("known");
        let wanted: Vec<_> = EVENT_TYPES.into_iter().filter(|name| some.wants(name)).collect();
        assert_eq!(wanted, ["origin.down", "file.added", "file.changed", "file.moved", "file.removed", "file.opened"]);
        assert!(EVENT_TYPES.into_iter().all(|name| EventFilter::default().wants(name)));
    }

    #[test]
    fn type_that_nothing_has_is_refused_with_those_that_there_are() {
        for unknown in ["fil", "file.", "file.added.x", "orign", ""] {
            let error = filter(&["file", unknown]).expect_err(unknown);
            assert_eq!(error, UnknownEventType(unknown.to_owned()));
        }
        assert!(filter(&["disk"]).expect_err("unknown").to_string().contains("origin.up, origin.degraded"));
    }
}
