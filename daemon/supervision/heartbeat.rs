//! Heartbeats: who does not answer is frozen, and is given up.
//!
//! One heartbeat per actor is outstanding. What counts is the time in which the supervisor itself was awake: after a stop
//! of the whole process (Ctrl-Z, a suspended virtual machine) everyone owes an answer, and nobody has had the time to give
//! it, so the time begins anew for all.

use std::time::Instant;

use actix::prelude::*;
use musicfs_protocol::WorkToken;

use super::{State, StopReason, Supervisor};

impl Supervisor {
    /// Asks every actor for a heartbeat and gives up on those that owe one for too long.
    pub(super) fn heartbeat_tick(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let has_slept = now.duration_since(self.last_tick) > 2 * self.limits.heartbeat_interval();
        self.last_tick = now;
        for index in 0..self.actors.len() {
            let State::Running(running) = &mut self.actors[index].state else { continue };
            match running.asked_at {
                None => self.ask(index, now, ctx),
                Some(_) if has_slept => running.asked_at = Some(now),
                Some(asked_at) if now.duration_since(asked_at) >= self.limits.freeze => self.abandon(index, ctx),
                Some(_) => {}
            }
        }
    }

    fn ask(&mut self, index: usize, now: Instant, ctx: &mut Context<Self>) {
        let incarnation = self.actors[index].incarnation;
        let State::Running(running) = &mut self.actors[index].state else { return };
        running.asked_at = Some(now);
        let answer = running.heartbeat();
        ctx.spawn(answer.into_actor(self).map(move |alive, supervisor, _| {
            let managed = &mut supervisor.actors[index];
            if alive
                && managed.incarnation == incarnation
                && let State::Running(running) = &mut managed.state
            {
                running.asked_at = None;
            }
        }));
    }

    /// The thread is left alone: nothing can stop it. Should it ever come back it ends, and what it may still write is
    /// refused by its writer's generation.
    fn abandon(&mut self, index: usize, ctx: &mut Context<Self>) {
        const WHY: &str = "the actor's thread does not answer";
        self.actors[index].stats.fail(WHY);
        let work = self.write_off(index);
        self.actor_failed(index, WHY, ctx);
        drop(work); // from here on the restart has its own
    }

    /// The same for one that is about to be replaced with its group and owes an answer: if it is frozen, nobody would notice
    /// later. If it was only slow, it ends soon and is taken off the list of the frozen.
    pub(super) fn write_off_if_frozen(&mut self, index: usize) -> Option<WorkToken> {
        let State::Running(running) = &self.actors[index].state else { return None };
        let owes = running.asked_at.is_some_and(|asked_at| asked_at.elapsed() >= self.limits.heartbeat_interval());
        owes.then(|| self.write_off(index))
    }

    /// Takes back what the thread of an actor holds and may never give back. The token stands for what was lost.
    fn write_off(&mut self, index: usize) -> WorkToken {
        let work = self.work.write_off();
        let managed = &mut self.actors[index];
        if !managed.spec.requests_outlive_it {
            managed.stats.write_off_waiting();
        }
        (managed.spec.when_abandoned)();
        self.frozen.insert((index, managed.incarnation));
        if self.frozen.len() >= self.limits.frozen_threads {
            tracing::error!("too many actor threads are frozen; the daemon ends so that it can be started afresh");
            self.stop.send_replace(Some(StopReason::Frozen));
        }
        work
    }
}
