//! `Translator`: from notify's events to touched paths.
//!
//! It runs on notify's own thread, between two reads of the kernel's queue: it only translates and pushes, blocks on
//! nothing and looks at no file. What needs a look (a folder that appeared and has no watch yet, a lost root) becomes an
//! order for the keeper. Both names of a rename are paired by the kernel's cookie, also where other events lie between
//! them, which notify's own pairing does not bear. Our own scans open every file: those events are dropped first of all.
//! A panic here would end notify's thread and with it every event to come, so it is caught and answered as lost events.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use musicfs_protocol::change::{RescanInbox, TouchedInbox};
use musicfs_protocol::{Metrics, PathTouched, RescanOrigin, WatchTable, Work};
use musicfs_pure::ids::{OriginId, OriginPath};
use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RenameMode};

use super::barrier::Barrier;
use super::folders::Folders;
use super::orders::Orders;

/// Renames whose second name has not come yet. Both names are queued within microseconds of each other, so more than one
/// takes as many threads renaming at the same instant; a name that was moved out of the origin stays until it is pushed out.
const MAX_HALF_RENAMES: usize = 64;

/// Where an origin's events go.
#[derive(Clone)]
pub(super) struct Sink {
    pub(super) origin: OriginId,
    pub(super) touched: TouchedInbox,
    pub(super) rescans: RescanInbox,
    pub(super) work: Work,
    pub(super) metrics: Metrics,
    pub(super) watches: Arc<WatchTable>,
}

impl Sink {
    /// Something happened at a path.
    pub(super) fn touch(&self, path: OriginPath, recursive: bool, renamed_from: Option<OriginPath>) {
        let event = PathTouched { renamed_from, recursive, work: self.work.begin() };
        self.touched.push((self.origin.clone(), path), event);
    }

    /// Anything may have happened.
    pub(super) fn rescan(&self) {
        let event = RescanOrigin { accept_removals: false, work: self.work.begin() };
        self.rescans.push(self.origin.clone(), event);
    }
}

/// Where an absolute path lies in the origin with this root. What cannot be a path of an origin is its nearest folder
/// that can.
pub(super) fn relative(root: &Path, path: &Path) -> Option<OriginPath> {
    let below = path.strip_prefix(root).ok()?;
    below.ancestors().find_map(|path| OriginPath::parse(path.as_os_str().as_bytes()).ok())
}

/// The handler of one inotify instance's events.
pub(super) struct Translator {
    root: PathBuf,
    sink: Sink,
    orders: Arc<Orders>,
    barrier: Arc<Barrier>,
    folders: Arc<Folders>,
    half_renames: VecDeque<(usize, OriginPath)>,
}

impl Translator {
    /// A translator of events below `root`, an absolute path without links.
    pub(super) fn new(
        root: PathBuf,
        sink: Sink,
        orders: Arc<Orders>,
        barrier: Arc<Barrier>,
        folders: Arc<Folders>,
    ) -> Self {
        Self { root, sink, orders, barrier, folders, half_renames: VecDeque::new() }
    }

    fn translate(&mut self, event: notify::Result<Event>) {
        // as if the queue had overflowed just before this event, which is lost with it
        fail::fail_point!("watcher::overflow", |_| {
            self.overflowed();
        });
        match event {
            Ok(event) if event.need_rescan() => self.overflowed(),
            Ok(event) if is_our_own(event.kind) => {}
            // Every other event has one path; the one with both names of a rename repeats two that came before.
            Ok(event) => {
                if let [path] = &event.paths[..]
                    && !self.barrier.observe(path)
                {
                    self.sink.metrics.watch_events.inc();
                    self.path_event(path, event.kind, event.tracker());
                }
            }
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => self.orders.limit_reached(),
            Err(error) => {
                tracing::warn!(origin = %self.sink.origin, %error, "reading events failed; comparing the whole origin");
                self.events_lost();
            }
        }
    }

    fn overflowed(&self) {
        self.sink.metrics.watch_overflows.inc();
        tracing::warn!(origin = %self.sink.origin, "more changes than the event queue holds; comparing the whole origin");
        self.events_lost();
    }

    /// The rescan now covers what was lost; the one after the rebuild, what happens until then.
    fn events_lost(&self) {
        self.sink.rescan();
        self.orders.rebuild();
        self.barrier.release();
    }

    fn path_event(&mut self, path: &Path, kind: EventKind, cookie: Option<usize>) {
        let Some(key) = relative(&self.root, path) else { return };
        if key.is_root() && path == self.root {
            return self.root_event(kind);
        }
        match kind {
            EventKind::Create(CreateKind::Folder) => {
                self.sink.touch(key, true, None);
                self.orders.fresh(path.to_path_buf());
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                self.folders.left(path);
                self.remember(cookie, &key);
                self.sink.touch(key, false, None);
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                let renamed_from = self.recall(cookie);
                // notify does not say whether it is a folder
                self.sink.touch(key, true, renamed_from);
                self.orders.fresh(path.to_path_buf());
            }
            EventKind::Remove(_) => {
                self.folders.left(path);
                self.sink.touch(key, false, None);
            }
            EventKind::Modify(ModifyKind::Metadata(_)) => self.attributes_changed(path, key),
            _ => self.sink.touch(key, false, None),
        }
    }

    /// Permissions decide what can be seen below a folder.
    fn attributes_changed(&self, path: &Path, key: OriginPath) {
        self.sink.touch(key, self.folders.is_known(path), None);
        if self.folders.has_denied_below(path) {
            self.orders.fresh(path.to_path_buf());
        }
    }

    fn root_event(&self, kind: EventKind) {
        let is_lost = matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
        if is_lost {
            tracing::warn!(origin = %self.sink.origin, "the origin's folder was moved or deleted");
        }
        self.sink.touch(OriginPath::root(), true, None);
        if is_lost || self.folders.has_denied_below(&self.root) {
            self.orders.rebuild();
        }
    }

    fn remember(&mut self, cookie: Option<usize>, from: &OriginPath) {
        let Some(cookie) = cookie else { return };
        if self.half_renames.len() == MAX_HALF_RENAMES {
            self.half_renames.pop_front();
        }
        self.half_renames.push_back((cookie, from.clone()));
    }

    fn recall(&mut self, cookie: Option<usize>) -> Option<OriginPath> {
        let position = self.half_renames.iter().rposition(|(of, _)| Some(*of) == cookie)?;
        self.half_renames.remove(position).map(|(_, from)| from)
    }
}

/// Opening and reading change nothing. Closing after writing ends a change.
fn is_our_own(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

impl notify::EventHandler for Translator {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let caught = catch_unwind(AssertUnwindSafe(|| self.translate(event)));
        if caught.is_err() {
            self.events_lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_protocol::{rescan_inbox, touched_inbox};
    use notify::EventHandler as _;
    use notify::event::Flag;

    struct Bench {
        translator: Translator,
        sink: Sink,
        orders: Arc<Orders>,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("temp folder");
            let origin = OriginId::parse("nas").expect("valid");
            let barrier = Arc::new(Barrier::create(folder.path(), &origin).expect("created"));
            let (work, metrics) = (Work::default(), Metrics::default());
            let orders = Arc::new(Orders::new(work.clone()));
            let (touched, rescans, watches) = (touched_inbox(), rescan_inbox(), Arc::default());
            let sink = Sink { origin, touched, rescans, work, metrics, watches };
            let folders = Arc::<Folders>::default();
            let translator = Translator::new("/m".into(), sink.clone(), Arc::clone(&orders), barrier, folders);
            orders.take_todo();
            Self { translator, sink, orders, _folder: folder }
        }

        fn event(&mut self, kind: EventKind, path: &str, cookie: Option<usize>) {
            let event = Event::new(kind).add_path(path.into());
            self.translator.handle_event(Ok(match cookie {
                Some(cookie) => event.set_tracker(cookie),
                None => event,
            }));
        }

        fn renamed_from(&self, path: &str) -> Option<OriginPath> {
            let key = (self.sink.origin.clone(), OriginPath::parse(path.as_bytes()).expect("valid"));
            self.sink.touched.drain().remove(&key).expect("touched").renamed_from
        }
    }

    const FROM: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    const TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));

    #[test]
    fn renames_that_interleave_are_paired_by_cookie() {
        let mut bench = Bench::new();
        bench.event(FROM, "/m/a", Some(1));
        bench.event(FROM, "/m/b", Some(2));
        bench.event(TO, "/m/x", Some(1));
        assert_eq!(bench.renamed_from("x").map(|path| path.to_string()), Some("a".into()));
        bench.event(TO, "/m/y", Some(2));
        assert_eq!(bench.renamed_from("y").map(|path| path.to_string()), Some("b".into()));
        bench.event(TO, "/m/z", Some(2));
        assert_eq!(bench.renamed_from("z"), None);
    }

    #[test]
    fn names_moved_out_are_forgotten_in_the_end() {
        let mut bench = Bench::new();
        for cookie in 0..10 * MAX_HALF_RENAMES {
            bench.event(FROM, "/m/a", Some(cookie));
        }
        assert_eq!(bench.translator.half_renames.len(), MAX_HALF_RENAMES);
    }

    #[test]
    fn overflow_is_a_rescan_and_a_rebuild() {
        let mut bench = Bench::new();
        bench.translator.handle_event(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(bench.sink.rescans.drain().len(), 1);
        assert_eq!(bench.sink.metrics.watch_overflows.get(), 1);
        assert!(bench.orders.take_todo().rebuild);
    }

    #[test]
    fn failing_backend_is_a_rescan_and_a_rebuild() {
        let mut bench = Bench::new();
        bench.translator.handle_event(Err(notify::Error::generic("broken")));
        assert_eq!(bench.sink.rescans.drain().len(), 1);
        assert!(bench.orders.take_todo().rebuild);
    }

    #[test]
    fn exhausted_watches_are_an_order_to_poll() {
        let mut bench = Bench::new();
        bench.translator.handle_event(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        assert!(bench.orders.take_todo().limit_reached);
    }

    #[test]
    fn reading_touches_nothing_and_closing_after_writing_does() {
        let mut bench = Bench::new();
        bench.event(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/m/a", None);
        bench.event(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/m/a", None);
        assert!(bench.sink.touched.is_empty());
        assert_eq!(bench.sink.metrics.watch_events.get(), 0);
        bench.event(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/m/a", None);
        assert_eq!(bench.sink.touched.len(), 1);
    }

    #[test]
    fn path_that_cannot_be_one_touches_its_nearest_folder() {
        let root = Path::new("/m");
        let long = format!("/m/a/{}/b", "x".repeat(256));
        assert_eq!(relative(root, Path::new(&long)).map(|path| path.to_string()), Some("a".into()));
        assert_eq!(relative(root, Path::new("/m")), Some(OriginPath::root()));
        assert_eq!(relative(root, Path::new("/mm/a")), None);
    }
}
