//! `fuse_front`: the kernel's requests, answered.
//!
//! The [`Edge`] is what FUSE threads share. It answers from get-only handles on the thread a request came in on, and is
//! no actor's property: it lives as long as the mount. The actor [`FuseFront`] watches over what could not be answered at
//! once, so that every request has an answer within its deadline. [`Invalidator`] is the way back, from a changed tree to
//! the kernel's caches. Nothing in this folder waits on a FUSE thread, writes to an origin, or touches its own mountpoint.
//!
//! * `filesystem`: fuser's trait, one line per operation; `call`: a request and the account of its answer
//! * `edge`, `dirs`, `files`, `art`, `xattrs`, `disk_usage`: the operations by noun; `attrs`, `nodes`, `handles`, `listings`:
//!   what they talk about
//! * `errno`: the one table of errors; `waiting`: deadlines, and disk work by origin
//! * `mount`, `mount_table`, `stale`, `helper`: getting the mount there and away

mod art;
mod attrs;
mod call;
mod dirs;
mod disk_usage;
mod edge;
mod errno;
mod files;
mod filesystem;
mod handles;
pub mod helper;
pub mod invalidator;
mod listings;
pub mod mount;
pub mod mount_table;
mod nodes;
pub mod stale;
mod waiting;
mod xattrs;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler};
use musicfs_protocol::{Heartbeat, RefuseWaiting};

pub use art::ArtDecoder;
pub use attrs::Ownership;
pub use edge::{DirectOrigin, Edge, EdgeConfig};
pub use invalidator::{Disarm, InvalidateEntry, Invalidator, InvalidatorConfig, tree_inbox};
pub use mount::{MountConfig, MountError, Mounted, Unmounter, mount};
pub use stale::{Cleared, clear_stale, mount_answers, resolve_links};

/// The actor: sees to it that nothing waits for ever.
pub struct FuseFront {
    edge: Arc<Edge>,
}

impl FuseFront {
    /// An actor over an edge; the one before may have died, the edge does not.
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }
}

impl Actor for FuseFront {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(waiting::TICK, |actor, _| {
            fail::fail_point!("fuse_front::tick");
            actor.edge.tick(Instant::now());
        });
    }
}

impl Handler<Heartbeat> for FuseFront {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

impl Handler<RefuseWaiting> for FuseFront {
    type Result = ();

    fn handle(&mut self, _: RefuseWaiting, _: &mut Self::Context) {
        self.edge.refuse_waiting();
    }
}
