//! The watcher on real folders: every test changes a temporary folder and asks the barrier before it looks.
//!
//! Nothing waits for time: after `AwaitBarrier` everything that happened before must be in the inbox, so a test that
//! finds nothing there fails at once. What comes without being asked for (a root that appears, a poll) is awaited on the
//! inbox's own wake.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use musicfs_protocol::{InboxReady, WatchMode, rescan_inbox, touched_inbox};
use musicfs_pure::ids::{OriginId, OriginPath};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;

/// Longer than any event can take on a busy machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Long enough never to fire during a test.
const NEVER: Duration = Duration::from_hours(1);

const SOON: Duration = Duration::from_millis(10);

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

/// Acts as if the system granted no more watches.
#[derive(Message)]
#[rtype(result = "()")]
struct ExhaustWatches;

impl Handler<ExhaustWatches> for Watcher {
    type Result = ();

    fn handle(&mut self, _: ExhaustWatches, _: &mut Self::Context) {
        self.keepers[0].orders.limit_reached();
    }
}

/// What was touched: path → (recursive, former name).
type Touches = BTreeMap<String, (bool, Option<String>)>;

struct Bench {
    config: WatcherConfig,
    watcher: Addr<Watcher>,
    touched: TouchedInbox,
    rescans: RescanInbox,
    work: Work,
    metrics: Metrics,
    watches: Arc<WatchTable>,
    rescan_news: mpsc::UnboundedReceiver<()>,
    _barrier_dir: TempDir,
}

impl Bench {
    /// Watches these roots as `o0`, `o1`, … and waits until that is in place.
    async fn start(roots: &[&Path], poll_interval: Duration) -> Self {
        let barrier_dir = tempfile::tempdir().expect("temp folder");
        let origin = |(index, root): (usize, &&Path)| WatchedOrigin {
            origin: id(index),
            root: root.to_path_buf(),
            poll_interval,
        };
        let origins = roots.iter().enumerate().map(origin).collect();
        let config = WatcherConfig { origins, barrier_dir: barrier_dir.path().to_path_buf() };
        let (touched, rescans) = (touched_inbox(), rescan_inbox());
        let (work, metrics, watches) = (Work::default(), Metrics::default(), Arc::<WatchTable>::default());
        let (sender, rescan_news) = mpsc::unbounded_channel();
        rescans.ready_port().bind(&Probe(sender).start());
        let watcher = spawn(&config, &touched, &rescans, &work, &metrics, &watches);
        let bench =
            Self { config, watcher, touched, rescans, work, metrics, watches, rescan_news, _barrier_dir: barrier_dir };
        bench.touches().await;
        bench
    }

    /// As the supervisor does after a failure.
    fn restart(&mut self) {
        self.watcher = spawn(&self.config, &self.touched, &self.rescans, &self.work, &self.metrics, &self.watches);
    }

    async fn barrier(&self) {
        tokio::time::timeout(PATIENCE, self.watcher.send(AwaitBarrier)).await.expect("answers").expect("alive");
    }

    /// Everything that was touched up to now, of the first origin.
    async fn touches(&self) -> Touches {
        self.touches_of(0).await
    }

    async fn touches_of(&self, index: usize) -> Touches {
        self.barrier().await;
        let touched = self.touched.drain().into_iter().filter(|((origin, _), _)| *origin == id(index));
        let entry = |((_, path), event): ((_, OriginPath), musicfs_protocol::PathTouched)| {
            (path.to_string(), (event.recursive, event.renamed_from.map(|path| path.to_string())))
        };
        touched.map(entry).collect()
    }

    /// Waits for the next rescans and answers whose they are.
    async fn next_rescan(&mut self) -> Vec<OriginId> {
        loop {
            tokio::time::timeout(PATIENCE, self.rescan_news.recv()).await.expect("a rescan").expect("open");
            let origins: Vec<OriginId> = self.rescans.drain().into_keys().collect();
            if !origins.is_empty() {
                return origins;
            }
        }
    }

    fn mode(&self) -> WatchMode {
        self.watches.get(&id(0)).mode
    }
}

fn spawn(
    config: &WatcherConfig,
    touched: &TouchedInbox,
    rescans: &RescanInbox,
    work: &Work,
    metrics: &Metrics,
    watches: &Arc<WatchTable>,
) -> Addr<Watcher> {
    let (touched, rescans, work, metrics) = (touched.clone(), rescans.clone(), work.clone(), metrics.clone());
    Watcher::new(config.clone(), touched, rescans, work, Arc::default(), metrics, Arc::clone(watches)).start()
}

fn id(index: usize) -> OriginId {
    OriginId::parse(&format!("o{index}")).expect("valid")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("temp folder")
}

fn write(path: PathBuf) {
    fs::write(path, b"x").expect("write");
}

fn is_covered(touches: &Touches, path: &str) -> bool {
    Path::new(path).ancestors().any(|above| {
        let touch = touches.get(above.to_str().expect("text"));
        touch.is_some_and(|(recursive, _)| *recursive || above == Path::new(path))
    })
}

#[actix::test]
async fn created_modified_and_deleted_files_are_touched() {
    let root = folder();
    let bench = Bench::start(&[root.path()], NEVER).await;
    assert_eq!(bench.mode(), WatchMode::Watched);
    let file = root.path().join("a.flac");
    for change in ["create", "modify", "chmod", "delete"] {
        match change {
            "chmod" => fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod"),
            "delete" => fs::remove_file(&file).expect("delete"),
            _ => write(file.clone()),
        }
        let touches = bench.touches().await;
        assert_eq!(touches, Touches::from([("a.flac".into(), (false, None))]), "{change}");
    }
    assert!(bench.metrics.watch_events.get() >= 4);
}

#[actix::test]
async fn renamed_file_is_touched_under_both_names() {
    let root = folder();
    write(root.path().join("old"));
    let bench = Bench::start(&[root.path()], NEVER).await;
    fs::rename(root.path().join("old"), root.path().join("new")).expect("rename");
    let touches = bench.touches().await;
    let expected = Touches::from([("new".into(), (true, Some("old".into()))), ("old".into(), (false, None))]);
    assert_eq!(touches, expected);
}

#[actix::test]
async fn file_in_a_renamed_folder_is_reported_under_its_new_path() {
    let root = folder();
    fs::create_dir_all(root.path().join("a/b/c")).expect("create");
    write(root.path().join("a/b/c/1"));
    let bench = Bench::start(&[root.path()], NEVER).await;
    fs::rename(root.path().join("a"), root.path().join("z")).expect("rename");
    let touches = bench.touches().await;
    assert_eq!(touches["z"], (true, Some("a".into())));
    write(root.path().join("z/b/c/1"));
    assert_eq!(bench.touches().await.into_keys().collect::<Vec<_>>(), ["z/b/c/1"]);
}

#[actix::test]
async fn folder_moved_out_is_silent_and_moved_in_is_watched() {
    let (root, elsewhere) = (folder(), folder());
    fs::create_dir(root.path().join("out")).expect("create");
    fs::create_dir_all(elsewhere.path().join("in/deep")).expect("create");
    let bench = Bench::start(&[root.path()], NEVER).await;
    fs::rename(root.path().join("out"), elsewhere.path().join("out")).expect("rename");
    fs::rename(elsewhere.path().join("in"), root.path().join("in")).expect("rename");
    let touches = bench.touches().await;
    assert_eq!(touches["out"], (false, None));
    assert_eq!(touches["in"], (true, None));
    write(elsewhere.path().join("out/x"));
    write(root.path().join("in/deep/y"));
    assert_eq!(bench.touches().await.into_keys().collect::<Vec<_>>(), ["in/deep/y"]);
}

#[actix::test]
async fn nested_folders_made_at_once_are_covered_and_then_watched() {
    let root = folder();
    let bench = Bench::start(&[root.path()], NEVER).await;
    for burst in 0..50 {
        let deep = root.path().join(format!("{burst}/b/c"));
        fs::create_dir_all(&deep).expect("create");
        write(deep.join("early"));
    }
    let touches = bench.touches().await;
    for burst in 0..50 {
        assert!(is_covered(&touches, &format!("{burst}/b/c/early")), "{burst}");
    }
    for burst in 0..50 {
        write(root.path().join(format!("{burst}/b/c/late")));
    }
    let touches = bench.touches().await;
    assert_eq!(touches.len(), 50);
    assert!(touches.contains_key("49/b/c/late"));
}

#[actix::test]
async fn barrier_is_exact_200_times() {
    let root = folder();
    let bench = Bench::start(&[root.path()], NEVER).await;
    for round in 0..200 {
        write(root.path().join(format!("{round}")));
        assert_eq!(bench.touches().await.into_keys().collect::<Vec<_>>(), [round.to_string()]);
        assert_eq!(bench.work.pending(), 1, "the rescan of the start, which nobody drains here");
    }
}

#[actix::test]
async fn our_own_reads_are_no_events() {
    let root = folder();
    fs::create_dir(root.path().join("a")).expect("create");
    for number in 0..100 {
        write(root.path().join(format!("a/{number}")));
    }
    let bench = Bench::start(&[root.path()], NEVER).await;
    let before = bench.metrics.watch_events.get();
    for entry in fs::read_dir(root.path().join("a")).expect("folder") {
        assert_eq!(fs::read(entry.expect("entry").path()).expect("readable"), b"x");
    }
    assert_eq!(bench.touches().await, Touches::new());
    assert_eq!(bench.metrics.watch_events.get(), before);
}

#[actix::test]
async fn root_behind_a_link_is_watched() {
    let (real, links) = (folder(), folder());
    let link = links.path().join("music");
    symlink(real.path(), &link).expect("link");
    let bench = Bench::start(&[&link], NEVER).await;
    write(real.path().join("x"));
    assert!(bench.touches().await.contains_key("x"));
}

#[actix::test]
async fn name_that_is_not_utf8_is_touched_byte_for_byte() {
    let root = folder();
    let bench = Bench::start(&[root.path()], NEVER).await;
    let name = b"caf\xe9.mp3";
    write(root.path().join(OsStr::from_bytes(name)));
    bench.barrier().await;
    let touched = bench.touched.drain();
    assert!(touched.contains_key(&(id(0), OriginPath::parse(name).expect("valid"))));
}

#[actix::test]
async fn origin_within_an_origin_is_touched_in_both() {
    let root = folder();
    let inner = root.path().join("inner");
    fs::create_dir(&inner).expect("create");
    let bench = Bench::start(&[root.path(), &inner], NEVER).await;
    write(inner.join("x"));
    bench.barrier().await;
    let touched = bench.touched.drain();
    for (index, path) in [(0, "inner/x"), (1, "x")] {
        assert!(touched.contains_key(&(id(index), OriginPath::parse(path.as_bytes()).expect("valid"))));
    }
}

#[actix::test]
async fn missing_root_is_watched_when_it_appears() {
    let parent = folder();
    let root = parent.path().join("later");
    let mut bench = Bench::start(&[&root], SOON).await;
    assert_eq!(bench.mode(), WatchMode::Absent);
    assert!(bench.rescans.is_empty());
    fs::create_dir(&root).expect("create");
    bench.next_rescan().await;
    write(root.join("x"));
    assert!(bench.touches().await.contains_key("x"));
}

#[actix::test]
async fn replaced_root_is_touched_and_watched_anew() {
    let parent = folder();
    let root = parent.path().join("music");
    fs::create_dir(&root).expect("create");
    let mut bench = Bench::start(&[&root], NEVER).await;
    bench.next_rescan().await;
    fs::rename(&root, parent.path().join("old")).expect("rename");
    fs::create_dir(&root).expect("create");
    assert_eq!(bench.touches().await[""], (true, None));
    bench.next_rescan().await;
    write(parent.path().join("old/x"));
    write(root.join("y"));
    assert_eq!(bench.touches().await.into_keys().collect::<Vec<_>>(), ["y"]);
}

#[actix::test]
async fn root_replaced_from_above_is_found_by_looking() {
    let parent = folder();
    let root = parent.path().join("disk/music");
    fs::create_dir_all(&root).expect("create");
    let mut bench = Bench::start(&[&root], SOON).await;
    bench.next_rescan().await;
    fs::rename(parent.path().join("disk"), parent.path().join("other")).expect("rename");
    fs::create_dir_all(&root).expect("create");
    bench.next_rescan().await;
    bench.touches().await;
    write(root.join("y"));
    assert_eq!(bench.touches().await.into_keys().collect::<Vec<_>>(), ["y"]);
}

#[actix::test]
async fn exhausted_watches_are_replaced_by_polling_of_that_origin_only() {
    let (polled, watched) = (folder(), folder());
    let mut bench = Bench::start(&[polled.path(), watched.path()], SOON).await;
    bench.rescans.drain();
    bench.watcher.send(ExhaustWatches).await.expect("alive");
    for _ in 0..5 {
        assert!(!bench.next_rescan().await.contains(&id(1)));
    }
    assert_eq!(bench.mode(), WatchMode::Polled);
    write(polled.path().join("x"));
    write(watched.path().join("y"));
    bench.barrier().await;
    let touched: Vec<OriginId> = bench.touched.drain().into_keys().map(|(origin, _)| origin).collect();
    assert_eq!(touched, [id(1)]);
}

#[actix::test]
async fn changed_poll_interval_counts_at_once() {
    let (polled, watched) = (folder(), folder());
    let mut bench = Bench::start(&[polled.path(), watched.path()], NEVER).await;
    bench.watcher.send(ExhaustWatches).await.expect("alive");
    bench.barrier().await;
    assert_eq!(bench.mode(), WatchMode::Polled);
    bench.rescans.drain();
    let unknown = OriginId::parse("unknown").expect("valid");
    let intervals = vec![(unknown, SOON), (id(0), SOON), (id(1), SOON)];
    bench.watcher.send(SetPollIntervals(intervals)).await.expect("alive");
    for _ in 0..3 {
        assert_eq!(bench.next_rescan().await, [id(0)]);
    }
}

#[actix::test]
async fn restarted_watcher_watches_everything_anew() {
    let root = folder();
    let mut bench = Bench::start(&[root.path()], NEVER).await;
    bench.next_rescan().await;
    bench.restart();
    bench.next_rescan().await;
    write(root.path().join("x"));
    assert!(bench.touches().await.contains_key("x"));
}

#[actix::test]
async fn unreadable_folder_hides_no_other() {
    if rustix::process::geteuid().is_root() {
        // root may read every folder, so there is nothing to show
        return;
    }
    let root = folder();
    for name in ["a", "b", "c"] {
        fs::create_dir_all(root.path().join(name).join("deep")).expect("create");
    }
    let closed = root.path().join("b");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("chmod");
    let bench = Bench::start(&[root.path()], NEVER).await;
    write(root.path().join("a/deep/x"));
    write(root.path().join("c/deep/x"));
    assert_eq!(bench.touches().await.len(), 2);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(bench.touches().await["b"], (true, None));
    write(closed.join("deep/x"));
    assert!(bench.touches().await.contains_key("b/deep/x"));
}

/// A small deterministic generator (xorshift64): the same storm in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// Every folder below `root`, relative to it.
fn all_folders(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("folder") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                pending.push(entry.path());
                found.push(entry.path().strip_prefix(root).expect("below").to_path_buf());
            }
        }
    }
    found
}

/// Makes, moves and removes folders as fast as it can.
fn storm(root: &Path, dice: &mut Dice) {
    for step in 0..60 {
        let folders = all_folders(root);
        let pick = |dice: &mut Dice| folders.get(dice.roll(folders.len().max(1))).cloned().unwrap_or_default();
        let (one, other) = (pick(dice), pick(dice));
        match dice.roll(5) {
            0 | 1 => fs::create_dir_all(root.join(one).join(format!("n{step}/m"))).expect("create"),
            2 | 3 if !other.starts_with(&one) => {
                fs::rename(root.join(&one), root.join(other).join(format!("r{step}"))).expect("rename");
            }
            _ if folders.len() > 20 => fs::remove_dir_all(root.join(one)).expect("remove"),
            _ => {}
        }
    }
}

#[actix::test]
async fn folders_that_survive_a_storm_of_moves_are_all_watched() {
    let root = folder();
    let bench = Bench::start(&[root.path()], NEVER).await;
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for round in 0..40 {
        storm(root.path(), &mut dice);
        bench.touches().await;
        let mut expected: Vec<String> = Vec::new();
        for folder in all_folders(root.path()) {
            let file = folder.join(format!("probe{round}"));
            write(root.path().join(&file));
            expected.push(file.to_str().expect("text").to_owned());
        }
        expected.sort();
        assert_eq!(bench.touches().await.into_keys().collect::<Vec<_>>(), expected, "round {round}");
    }
}
