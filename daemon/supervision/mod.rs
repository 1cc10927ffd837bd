//! The supervisor: starts every actor, notices when one ends or freezes, and starts it again.
//!
//! actix' own `Supervisor` restarts after an orderly stop only; a panic kills an actor and its address for good (pinned in
//! `actix_facts`). So each actor is made by a factory, on an arbiter thread of its own, with a guard in its context that
//! reports its end however it comes, and is asked for a heartbeat. An incarnation that is replaced is never listened to
//! again. What is restarted with what is the spec's group; when, is `pure::restart`.
//!
//! ```text
//!              ended, or froze: the thread is abandoned
//!   Running ─────────────────────────────────────────► Waiting ──── too often ────► Parked
//!      ▲  ▲                                               │                    a person restarts the daemon
//!      │  └───── started again with its group ────────────┘
//!      └──────── or because another of its group failed
//! ```
//!
//! A thread that does not answer cannot be killed: it is abandoned, and with three of them at once the process ends so that
//! the service manager starts it afresh. What it may still write is refused by its writer's generation, and the changes it
//! held are written off and made up for by a comparison of every origin. While an actor waits to be started again a token
//! is held for what it lost, so that nobody takes the daemon for idle.

mod heartbeat;
mod limits;
mod spec;

#[cfg(test)]
mod actix_facts;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use musicfs_protocol::reload::ReloadRefused;
use musicfs_protocol::{
    ActorStats, Board, ConfigReloaded, EventLog, Happening, ReloadConfig, Standing, StopDaemon, Work, WorkToken,
};
use musicfs_pure::restart::{Remedy, RestartPolicy};
use tokio::sync::watch;

use crate::reload::Reloader;
pub use limits::Limits;
use spec::{ActorEnded, Running, Start};
pub use spec::{ActorSpec, Group};

/// Why the daemon ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Someone asked for it on the control socket.
    Requested,
    /// Too many actor threads froze.
    Frozen,
}

/// Has every origin compared with what is known.
pub type Rescan = Box<dyn Fn() + Send>;

/// How an actor stands.
enum State {
    Running(Running),
    /// To be started again. The token stands for the changes that it held.
    Waiting {
        was_abandoned: bool,
        work: WorkToken,
    },
    /// Failed too often.
    Parked,
    /// The daemon ends.
    Stopped,
}

/// One actor under supervision.
struct Managed {
    spec: ActorSpec,
    stats: Arc<ActorStats>,
    policy: RestartPolicy,
    state: State,
    incarnation: u64,
    /// Tells the ports how the present incarnation stands.
    standing: watch::Sender<Standing>,
}

/// The actor that owns all others.
pub struct Supervisor {
    actors: Vec<Managed>,
    board: Arc<Board>,
    events: EventLog,
    work: Work,
    rescan: Rescan,
    limits: Limits,
    stop: watch::Sender<Option<StopReason>>,
    reloader: Option<Arc<Reloader>>,
    /// Incarnations whose thread was abandoned and has not come back.
    frozen: BTreeSet<(usize, u64)>,
    last_tick: Instant,
}

impl Supervisor {
    /// A supervisor of no actors yet. `stop` is told when the daemon must end.
    pub fn new(
        board: Arc<Board>,
        events: EventLog,
        work: Work,
        rescan: Rescan,
        limits: Limits,
        stop: watch::Sender<Option<StopReason>>,
    ) -> Self {
        let (frozen, last_tick) = (BTreeSet::new(), Instant::now());
        Self { actors: Vec::new(), board, events, work, rescan, limits, stop, reloader: None, frozen, last_tick }
    }

    /// Hands requests for a reload of the configuration to this one.
    pub(crate) fn reloading_by(self, reloader: Arc<Reloader>) -> Self {
        Self { reloader: Some(reloader), ..self }
    }

    fn start_actor(&mut self, index: usize, ctx: &mut Context<Self>) {
        let managed = &mut self.actors[index];
        managed.standing.send_replace(Standing::Gone); // whoever waits for the one that is replaced
        managed.incarnation += 1;
        let (standing, told) = watch::channel(Standing::Serving);
        let incarnation = managed.incarnation;
        let start = Start { index, incarnation, supervisor: ctx.address().recipient(), standing: told };
        match managed.spec.start(start) {
            Ok(running) => {
                managed.standing = standing; // until now the ports listened to the one before
                managed.state = State::Running(running);
                managed.stats.set_running(true);
                tracing::debug!(actor = %managed.spec.name, incarnation, "actor started");
            }
            Err(why) => {
                managed.stats.fail(&*why);
                self.actor_failed(index, &why, ctx);
            }
        }
    }

    /// Decides about an actor that has ended, could not be started, or was abandoned.
    fn actor_failed(&mut self, index: usize, why: &str, ctx: &mut Context<Self>) {
        let was_abandoned = self.frozen.contains(&(index, self.actors[index].incarnation));
        let work = self.work.begin();
        let managed = &mut self.actors[index];
        managed.stats.set_running(false);
        managed.standing.send_replace(Standing::Gone);
        let name = &managed.spec.name;
        match managed.policy.failed(Instant::now()) {
            Remedy::RestartAfter(delay) => {
                tracing::error!(actor = %name, why, ?delay, "actor failed and will be started again");
                managed.state = State::Waiting { was_abandoned, work };
                let incarnation = managed.incarnation;
                ctx.run_later(delay, move |supervisor, ctx| supervisor.restart(index, incarnation, ctx));
            }
            Remedy::Park => {
                tracing::error!(actor = %name, why, "actor failed too often and is left stopped; restart the daemon");
                managed.state = State::Parked;
                managed.standing.send_replace(Standing::Parked);
                managed.stats.set_parked(true);
                if was_abandoned {
                    (self.rescan)(); // what others were about to do was written off with it
                }
                self.events.publish(Happening::ActorParked { actor: Arc::clone(name), reason: why.to_owned() });
            }
        }
    }

    /// Starts an actor again, with the rest of its group. One that was started with its group meanwhile is left alone.
    fn restart(&mut self, index: usize, incarnation: u64, ctx: &mut Context<Self>) {
        let failed = &self.actors[index];
        if !matches!(failed.state, State::Waiting { .. }) || failed.incarnation != incarnation {
            return;
        }
        let group = failed.spec.group;
        let mut must_rescan = group == Group::Change;
        let mut tokens = Vec::new();
        for member in self.members(index, group) {
            let managed = &mut self.actors[member];
            if matches!(managed.state, State::Waiting { .. })
                && let State::Waiting { was_abandoned, work } = std::mem::replace(&mut managed.state, State::Stopped)
            {
                must_rescan |= was_abandoned;
                tokens.push(work);
                managed.stats.restarted();
                tracing::warn!(actor = %managed.spec.name, "actor started again");
                let (actor, restarts) = (Arc::clone(&managed.spec.name), managed.stats.snapshot().restarts);
                self.events.publish(Happening::ActorRestarted { actor, restarts });
            }
            tokens.extend(self.write_off_if_frozen(member));
            self.start_actor(member, ctx);
        }
        if must_rescan {
            (self.rescan)();
        }
        drop(tokens); // what they stood for has been asked for again
    }

    /// Who is started together with an actor: never one that is parked.
    fn members(&self, index: usize, group: Group) -> Vec<usize> {
        let is_member = |&other: &usize| {
            let managed = &self.actors[other];
            other == index
                || (group != Group::Alone && managed.spec.group == group && !matches!(managed.state, State::Parked))
        };
        (0..self.actors.len()).filter(is_member).collect()
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.limits.heartbeat_interval(), Self::heartbeat_tick);
    }
}

impl Handler<ActorEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ended: ActorEnded, ctx: &mut Self::Context) {
        let ActorEnded { index, incarnation, panicked } = ended;
        if self.frozen.remove(&(index, incarnation)) {
            tracing::warn!(actor = %self.actors[index].spec.name, "an abandoned thread has come back and ended");
        }
        let managed = &mut self.actors[index];
        if managed.incarnation != incarnation || !matches!(managed.state, State::Running(_)) {
            return;
        }
        if panicked {
            managed.stats.fail("the actor panicked; the log has the place");
        }
        let why = if panicked { "it panicked" } else { "it gave up; its last error says why" };
        self.actor_failed(index, why, ctx);
    }
}

impl Handler<StopDaemon> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: StopDaemon, _: &mut Self::Context) {
        self.stop.send_replace(Some(StopReason::Requested));
    }
}

impl Handler<ReloadConfig> for Supervisor {
    type Result = ResponseFuture<Result<ConfigReloaded, ReloadRefused>>;

    fn handle(&mut self, _: ReloadConfig, _: &mut Self::Context) -> Self::Result {
        let reloader = self.reloader.clone();
        Box::pin(async move {
            match reloader {
                Some(reloader) => reloader.reload().await,
                None => Err(ReloadRefused::NotApplied { reason: "there is nothing to reload from".to_owned() }),
            }
        })
    }
}

/// run → supervisor: start these actors in this order and watch them from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StartActors(pub Vec<ActorSpec>);

impl Handler<StartActors> for Supervisor {
    type Result = ();

    fn handle(&mut self, StartActors(specs): StartActors, ctx: &mut Self::Context) {
        for spec in specs {
            let policy = if spec.is_indispensable { RestartPolicy::tireless() } else { RestartPolicy::default() };
            self.actors.push(Managed {
                stats: self.board.actor(&spec.name),
                spec,
                policy,
                state: State::Stopped,
                incarnation: 0,
                standing: watch::Sender::default(),
            });
            self.start_actor(self.actors.len() - 1, ctx);
        }
    }
}

/// run → supervisor: stop every actor, in the reverse of the order in which they were started, and restart none.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopActors;

impl Handler<StopActors> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: StopActors, _: &mut Self::Context) {
        for managed in self.actors.iter_mut().rev() {
            managed.state = State::Stopped;
            managed.standing.send_replace(Standing::Gone);
            managed.stats.set_running(false);
        }
    }
}
