//! Every message of musicfs, the ids in them and the ports they travel through. Nothing in this crate acts.
//!
//! Actors know each other only by the types below. A *request* is a verb and its object, has a reply, a deadline and,
//! where it moves bytes, a permit. An *event* is a participle, carries ids only, has no reply and is coalesced by key in
//! an [`Inbox`]. Requests form no cycle; events may run against them. `tests/tidy.rs` checks this table against the code.
//!
//! | message | sender → receiver | reply | bound |
//! |---|---|---|---|
//! | [`PathTouched`] | watcher → debouncer | event | `Inbox` by (origin, path), 10,240 keys, then folders, then rescan |
//! | [`PathsSettled`] | debouncer → `delta_detector` | event | `Inbox` by (origin, path), as above |
//! | [`ListOrigin`] | `delta_detector` → fetcher | [`ListPage`] | one outstanding per origin |
//! | [`StatPath`] | `delta_detector` → fetcher | [`Stat`] | 8 outstanding per origin |
//! | [`ReadRange`] | `delta_detector` → fetcher | [`RangeBytes`] | permits in bytes, per origin |
//! | [`Probe`] | health_monitor, delta_detector → fetcher | [`RootIdentity`] | one outstanding per origin |
//! | [`ApplyDelta`] | `delta_detector` → catalog | [`DeltaApplied`] | one outstanding |
//! | [`TreeChanged`] | catalog → invalidator | event | `Inbox` by (folder, name), 65,536 keys, then folders, then everything |
//! | [`RescanOrigin`] | control_server, watcher, debouncer, health_monitor, supervisor → `delta_detector` | event | `Inbox` by origin |
//! | [`AwaitBarrier`] | control_server → watcher | `()` | one per connection |
//! | [`Heartbeat`] | supervisor → every actor | `()` | one outstanding per actor |
//! | [`StopDaemon`] | control_server → supervisor | `()` | idempotent |
//! | [`RefuseWaiting`] | supervisor → `fuse_front` | `()` | idempotent |
//! | [`ReloadConfig`] | control_server → supervisor | [`ConfigReloaded`] | one after the other |
//! | [`SetLayout`] | supervisor → catalog | `()` | one outstanding, idempotent |
//! | [`SetPollIntervals`] | supervisor → watcher | `()` | one outstanding, idempotent |

pub mod board;
pub mod change;
pub mod deadline;
pub mod event;
pub mod event_log;
pub mod fetch;
pub mod gate;
pub mod health;
pub mod inbox;
pub mod inboxes;
pub mod library;
pub mod metrics;
pub mod permit;
pub mod pool;
pub mod port;
pub mod reload;
pub mod scan;
pub mod store;
pub mod watch;
pub mod wire;
pub mod work;

pub use board::{ActorName, ActorStats, Board, Handling};
pub use change::{
    ApplyDelta, AwaitBarrier, Change, DeltaApplied, Heartbeat, PathTouched, PathsSettled, RefuseWaiting, RescanOrigin,
    StopDaemon, TreeChanged,
};
pub use deadline::Deadline;
pub use event::{EventFilter, Happening};
pub use event_log::EventLog;
pub use fetch::{FetchError, ListOrigin, ListPage, Probe, RangeBytes, ReadRange, RootIdentity, Stat, StatPath};
pub use gate::ReadyGate;
pub use health::HealthTable;
pub use inbox::{Inbox, InboxReady};
pub use inboxes::{rescan_inbox, settled_inbox, touched_inbox};
pub use library::{CatalogError, EntryAttr, ReadCatalog, ReadDirect};
pub use metrics::Metrics;
pub use permit::{Lane, Permit, PermitPool};
pub use port::{Incarnation, Port, PortError, Standing};
pub use reload::{ConfigReloaded, ReloadConfig, SetLayout, SetPollIntervals};
pub use scan::{ScanState, ScanTable};
pub use store::{ReadStore, StoreError};
pub use watch::{OriginWatch, WatchMode, WatchTable};
pub use work::{Work, WorkToken};
