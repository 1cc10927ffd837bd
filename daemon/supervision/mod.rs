//! The supervisor: starts every actor, notices when one ends or freezes, and starts it again.
//!
//! actix' own `Supervisor` restarts after an orderly stop only; a panic kills an actor and its address for good (pinned in
//! `actix_facts`). So each actor is made by a factory, on an arbiter thread of its own, with a guard in its context that
//! reports its end however it comes, and is asked for a heartbeat. An incarnation that is replaced is never listened to
//! again. What is restarted with what is the spec's group; when, is `pure::restart`. A thread that does not answer cannot
//! be killed: it is abandoned, and after three the process ends so that the service manager starts it afresh.

mod spec;

#[cfg(test)]
mod actix_facts;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use musicfs_protocol::{ActorStats, Board, StopDaemon};
use musicfs_pure::restart::{Remedy, RestartPolicy};
use tokio::sync::watch;

use spec::{ActorEnded, Running};
pub use spec::{ActorSpec, Group};

/// How often every actor is asked for a heartbeat.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// An actor that has not answered for this long is frozen: longer than its longest handler (a catalog batch, tenths of a
/// second) by two orders of magnitude, and than any pause of a busy machine.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);

/// Abandoned threads that are borne: each may hold memory and locks that nobody gets back.
const MAX_ABANDONED_THREADS: u32 = 3;

/// Why the daemon ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Someone asked for it on the control socket.
    Requested,
    /// Too many actor threads froze.
    Frozen,
}

/// One actor under supervision.
struct Managed {
    spec: ActorSpec,
    stats: Arc<ActorStats>,
    policy: RestartPolicy,
    running: Option<Running>,
    incarnation: u64,
    restart_pending: bool,
}

/// The actor that owns all others.
pub struct Supervisor {
    actors: Vec<Managed>,
    board: Arc<Board>,
    stop: watch::Sender<Option<StopReason>>,
    abandoned_threads: u32,
    stopping: bool,
}

impl Supervisor {
    /// A supervisor of no actors yet. `stop` is told when the daemon must end.
    pub fn new(board: Arc<Board>, stop: watch::Sender<Option<StopReason>>) -> Self {
        Self { actors: Vec::new(), board, stop, abandoned_threads: 0, stopping: false }
    }

    fn start_actor(&mut self, index: usize, ctx: &mut Context<Self>) {
        let supervisor = ctx.address().recipient();
        let managed = &mut self.actors[index];
        managed.incarnation += 1;
        managed.restart_pending = false;
        let ended = ActorEnded { index, incarnation: managed.incarnation };
        managed.running = Some(managed.spec.start(ended, supervisor));
        managed.stats.set_running(true);
        tracing::debug!(actor = %managed.spec.name, incarnation = managed.incarnation, "actor started");
    }

    /// Decides about an actor that has ended or does not answer.
    fn actor_failed(&mut self, index: usize, why: &str, ctx: &mut Context<Self>) {
        let managed = &mut self.actors[index];
        managed.stats.set_running(false);
        managed.stats.fail(why);
        managed.running = None;
        let name = Arc::clone(&managed.spec.name);
        match managed.policy.failed(Instant::now()) {
            Remedy::RestartAfter(delay) => {
                tracing::error!(actor = %name, why, ?delay, "actor failed and will be started again");
                managed.restart_pending = true;
                ctx.run_later(delay, move |supervisor, ctx| supervisor.restart(index, ctx));
            }
            Remedy::Park => {
                tracing::error!(actor = %name, why, "actor failed too often and is left stopped; restart the daemon");
                managed.stats.set_parked(true);
            }
        }
    }

    /// Starts an actor again, with the rest of its group.
    fn restart(&mut self, index: usize, ctx: &mut Context<Self>) {
        if self.stopping || !self.actors[index].restart_pending {
            return;
        }
        let group = self.actors[index].spec.group;
        let members: Vec<usize> = match group {
            Group::Alone => vec![index],
            Group::Change => (0..self.actors.len()).filter(|&other| self.actors[other].spec.group == group).collect(),
        };
        for &member in &members {
            if let Some(running) = self.actors[member].running.take() {
                running.stop();
            }
            self.start_actor(member, ctx);
        }
        self.actors[index].stats.restarted();
        self.actors[index].spec.after_restart();
    }

    /// Asks every actor for a heartbeat and gives up on those that owe one for too long.
    fn heartbeat_tick(&mut self, ctx: &mut Context<Self>) {
        for index in 0..self.actors.len() {
            let Some(running) = &mut self.actors[index].running else { continue };
            match running.asked_at {
                Some(asked_at) if asked_at.elapsed() > FREEZE_LIMIT => self.abandon(index, ctx),
                Some(_) => {}
                None => self.ask(index, ctx),
            }
        }
    }

    fn ask(&mut self, index: usize, ctx: &mut Context<Self>) {
        let incarnation = self.actors[index].incarnation;
        let Some(running) = &mut self.actors[index].running else { return };
        running.asked_at = Some(Instant::now());
        let answer = running.heartbeat();
        ctx.spawn(answer.into_actor(self).map(move |alive, supervisor, _| {
            let managed = &mut supervisor.actors[index];
            if alive
                && managed.incarnation == incarnation
                && let Some(running) = &mut managed.running
            {
                running.asked_at = None;
            }
        }));
    }

    /// The thread is left alone: nothing can stop it, and what it may still write is refused by its writer's generation.
    fn abandon(&mut self, index: usize, ctx: &mut Context<Self>) {
        self.abandoned_threads += 1;
        if let Some(running) = self.actors[index].running.take() {
            running.stop(); // takes effect should the thread ever come back
        }
        if self.abandoned_threads >= MAX_ABANDONED_THREADS {
            tracing::error!("too many actor threads are frozen; the daemon ends so that it can be started afresh");
            self.stop.send_replace(Some(StopReason::Frozen));
        }
        self.actor_failed(index, "the actor's thread does not answer", ctx);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(HEARTBEAT_INTERVAL, Self::heartbeat_tick);
    }
}

impl Handler<ActorEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ended: ActorEnded, ctx: &mut Self::Context) {
        let managed = &self.actors[ended.index];
        if self.stopping || managed.incarnation != ended.incarnation || managed.running.is_none() {
            return;
        }
        if let Some(running) = self.actors[ended.index].running.take() {
            running.stop();
        }
        self.actor_failed(ended.index, "the actor panicked; the log has the place", ctx);
    }
}

impl Handler<StopDaemon> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: StopDaemon, _: &mut Self::Context) {
        self.stop.send_replace(Some(StopReason::Requested));
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
            self.actors.push(Managed {
                stats: self.board.actor(&spec.name),
                spec,
                policy: RestartPolicy::default(),
                running: None,
                incarnation: 0,
                restart_pending: false,
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
        self.stopping = true;
        for managed in self.actors.iter_mut().rev() {
            if let Some(running) = managed.running.take() {
                running.stop();
                managed.stats.set_running(false);
            }
        }
    }
}
