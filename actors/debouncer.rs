//! The debouncer: holds what events touched until it has been quiet, then hands it to the delta detector.
//!
//! The rules are `pure::debounce`; here are its clock, its one timer and its two inboxes. What is pending is a value that
//! the wiring makes and every incarnation shares: an actor that dies, or freezes and is abandoned, takes no change along,
//! and the next one goes on with the due times as they were. What settles together is pushed in one step, so that the
//! delta detector never sees half a rename. It looks at no file and never waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use musicfs_protocol::change::{PathKey, RescanInbox, SettledInbox, TouchedInbox};
use musicfs_protocol::{ActorStats, Heartbeat, InboxReady, PathsSettled, RescanOrigin, WorkToken};
use musicfs_pure::debounce::{Debounce, DebounceConfig, Settled, Touch};
use parking_lot::Mutex;

/// What was touched and has not settled; outlives the actor.
pub type PendingTouches = Arc<Mutex<Debounce<WorkToken>>>;

/// Nothing pending. The wiring keeps the value and gives a clone to every incarnation.
pub fn pending_touches(config: DebounceConfig) -> PendingTouches {
    Arc::new(Mutex::new(Debounce::new(config)))
}

/// The actor.
pub struct Debouncer {
    pending: PendingTouches,
    touched: TouchedInbox,
    settled: SettledInbox,
    rescans: RescanInbox,
    stats: Arc<ActorStats>,
    timer: Option<(Instant, SpawnHandle)>,
}

impl Debouncer {
    /// A debouncer from `touched` to `settled`, or to `rescans` where too much of an origin is pending.
    pub fn new(
        pending: PendingTouches,
        touched: TouchedInbox,
        settled: SettledInbox,
        rescans: RescanInbox,
        stats: Arc<ActorStats>,
    ) -> Self {
        Self { pending, touched, settled, rescans, stats, timer: None }
    }

    /// Takes in what was touched, hands on what is due, and sets the timer for the rest.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        let account = self.stats.begin();
        // tokio's clock, so that a test that pauses time pauses this too
        let now = tokio::time::Instant::now().into_std();
        self.take_in(now);
        let (settled, next_due) = {
            let mut pending = self.pending.lock();
            (pending.settle(now), pending.next_due())
        };
        self.hand_on(settled);
        self.set_timer(now, next_due, ctx);
        account.finish(Duration::ZERO, now.elapsed());
    }

    fn take_in(&self, now: Instant) {
        let mut pending = self.pending.lock();
        for ((origin, path), event) in self.touched.drain() {
            let touch = Touch { renamed_from: event.renamed_from, recursive: event.recursive, payload: event.work };
            pending.touch(now, origin, path, touch);
        }
    }

    fn hand_on(&self, settled: Vec<Settled<WorkToken>>) {
        let mut paths: Vec<(PathKey, PathsSettled)> = Vec::new();
        for item in settled {
            match item {
                Settled::Path { origin, path, touch: Touch { renamed_from, recursive, payload: work } } => {
                    paths.push(((origin, path), PathsSettled { renamed_from, recursive, work }));
                }
                Settled::Origin { origin, payload: work } => {
                    tracing::info!(%origin, "so much changed that the whole origin is compared");
                    self.rescans.push(origin, RescanOrigin { accept_removals: false, work });
                }
            }
        }
        self.settled.push_all(paths);
    }

    /// Due times mostly move later, so a timer that fires too early and finds nothing is cheaper than one that is set anew
    /// at every touch.
    fn set_timer(&mut self, now: Instant, next_due: Option<Instant>, ctx: &mut Context<Self>) {
        let Some(due) = next_due else { return };
        match self.timer {
            Some((set_for, _)) if set_for <= due => return,
            Some((_, handle)) => drop(ctx.cancel_future(handle)),
            None => {}
        }
        let handle = ctx.run_later(due.saturating_duration_since(now), |debouncer, ctx| {
            fail::fail_point!("debouncer::tick");
            debouncer.timer = None;
            debouncer.turn(ctx);
        });
        self.timer = Some((due, handle));
    }
}

impl Actor for Debouncer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.turn(ctx);
    }
}

impl Handler<InboxReady> for Debouncer {
    type Result = ();

    fn handle(&mut self, _: InboxReady, ctx: &mut Self::Context) {
        fail::fail_point!("debouncer::handle");
        self.turn(ctx);
    }
}

impl Handler<Heartbeat> for Debouncer {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use musicfs_protocol::{PathTouched, Work, rescan_inbox, settled_inbox, touched_inbox};
    use musicfs_pure::ids::{OriginId, OriginPath};
    use tokio::sync::mpsc;

    use super::*;

    /// Tells a test that an inbox has something.
    struct Probe(mpsc::UnboundedSender<()>);

    impl Actor for Probe {
        type Context = Context<Self>;
    }

    impl Handler<InboxReady> for Probe {
        type Result = ();

        fn handle(&mut self, _: InboxReady, _: &mut Self::Context) {
            let _ = self.0.send(());
        }
    }

    struct Bench {
        touched: TouchedInbox,
        settled: SettledInbox,
        rescans: RescanInbox,
        work: Work,
        news: mpsc::UnboundedReceiver<()>,
        pending: PendingTouches,
        probe: Addr<Probe>,
    }

    impl Bench {
        fn new(config: DebounceConfig) -> Self {
            let (sender, news) = mpsc::unbounded_channel();
            let (touched, settled, rescans) = (touched_inbox(), settled_inbox(), rescan_inbox());
            let probe = Probe(sender).start();
            settled.ready_port().bind(&probe);
            rescans.ready_port().bind(&probe);
            let pending = pending_touches(config);
            Self { touched, settled, rescans, work: Work::default(), news, pending, probe }
        }

        fn start(&self) -> Addr<Debouncer> {
            let (touched, settled, rescans) = (self.touched.clone(), self.settled.clone(), self.rescans.clone());
            let stats = Arc::<ActorStats>::default();
            let debouncer = Debouncer::new(Arc::clone(&self.pending), touched, settled, rescans, stats).start();
            self.touched.ready_port().bind(&debouncer);
            debouncer
        }

        fn touch(&self, path: &str, renamed_from: Option<&str>) {
            let parse = |text: &str| OriginPath::parse(text.as_bytes()).expect("valid");
            let event =
                PathTouched { renamed_from: renamed_from.map(parse), recursive: false, work: self.work.begin() };
            self.touched.push((OriginId::parse("nas").expect("valid"), parse(path)), event);
        }

        /// Waits for the next batch of settled paths.
        async fn next_batch(&mut self) -> BTreeMap<String, Option<String>> {
            tokio::time::timeout(Duration::from_secs(30), self.news.recv()).await.expect("something settles");
            let batch = self.settled.drain();
            batch
                .into_iter()
                .map(|((_, path), event)| (path.to_string(), event.renamed_from.map(|p| p.to_string())))
                .collect()
        }
    }

    #[actix::test]
    async fn touched_path_settles_and_its_work_ends_with_it() {
        let mut bench = Bench::new(DebounceConfig::default());
        bench.start();
        bench.touch("a/b", None);
        assert_eq!(bench.next_batch().await.into_keys().collect::<Vec<_>>(), ["a/b"]);
        assert_eq!(bench.work.pending(), 0);
    }

    #[actix::test]
    async fn rename_arrives_in_one_batch() {
        let mut bench = Bench::new(DebounceConfig::default());
        bench.start();
        bench.touch("old", None);
        bench.touch("new", Some("old"));
        let batch = bench.next_batch().await;
        assert_eq!(batch, BTreeMap::from([("new".into(), Some("old".into())), ("old".into(), None)]));
    }

    #[actix::test]
    async fn what_was_touched_before_the_start_settles() {
        let mut bench = Bench::new(DebounceConfig::default());
        bench.touch("early", None);
        bench.start();
        assert!(bench.next_batch().await.contains_key("early"));
    }

    #[actix::test]
    async fn pending_paths_outlive_the_actor() {
        let mut bench = Bench::new(DebounceConfig::default());
        let first = bench.start();
        bench.touch("kept", None);
        first.send(Heartbeat).await.expect("alive");
        assert!(bench.touched.is_empty());
        first.send(Die).await.expect("alive");
        assert_eq!(bench.work.pending(), 1);
        bench.start();
        assert!(bench.next_batch().await.contains_key("kept"));
    }

    #[actix::test]
    async fn too_many_folders_become_a_rescan() {
        let config = DebounceConfig { max_paths: 2, max_folders: 1, ..DebounceConfig::default() };
        let mut bench = Bench::new(config);
        bench.start();
        for name in ["a/1", "b/2", "c/3"] {
            bench.touch(name, None);
        }
        assert!(bench.next_batch().await.is_empty());
        assert_eq!(bench.rescans.drain().len(), 1);
        assert_eq!(bench.work.pending(), 0);
        assert!(bench.probe.connected());
    }

    #[actix::test]
    async fn storm_of_events_is_held_in_bounded_inboxes_and_no_path_is_forgotten() {
        const BOUND: usize = 10_240;
        let mut bench = Bench::new(DebounceConfig::default());
        bench.start();
        for number in 0..10 * BOUND {
            bench.touch(&format!("{}/{number}", number % 40), None);
            assert!(bench.touched.len() <= BOUND && bench.settled.len() <= BOUND);
            if number % 1_000 == 0 {
                // the debouncer takes in what is there
                tokio::task::yield_now().await;
                assert!(bench.pending.lock().len() <= BOUND);
            }
        }
        let mut folders = std::collections::BTreeSet::new();
        while folders.len() < 40 {
            tokio::time::timeout(Duration::from_secs(30), bench.news.recv()).await.expect("something settles");
            let settled = bench.settled.drain();
            assert!(settled.len() <= BOUND);
            // a folder stands for all that is in it
            folders.extend(settled.into_iter().filter(|(_, event)| event.recursive).map(|((_, path), _)| path));
        }
        while bench.work.pending() > 0 {
            bench.settled.drain();
            tokio::task::yield_now().await;
        }
    }

    /// Ends the actor as a failure would.
    #[derive(Message)]
    #[rtype(result = "()")]
    struct Die;

    impl Handler<Die> for Debouncer {
        type Result = ();

        fn handle(&mut self, _: Die, ctx: &mut Self::Context) {
            ctx.terminate();
        }
    }
}
