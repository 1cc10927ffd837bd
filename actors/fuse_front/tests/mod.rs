//! Tests of `fuse_front` through a real mount: a catalog in memory, a folder as origin, the kernel in between.
//!
//! One mount at a time, taken away by a guard also when a test fails. Where a call may hang if the code is wrong, it is made
//! by a child under `timeout`, because a test process that hangs in its own mount could not be killed. Without
//! `/dev/fuse`, or the right to mount, the tests say so and pass.

mod changes;
mod covers;
mod fakes;
mod lifecycle;
mod listing;
mod reading;
mod refusing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use musicfs_protocol::metrics::OpLabels;
use musicfs_protocol::pool::{Pool, ThreadPerJob};
use musicfs_protocol::{Board, EventLog, Metrics, PermitPool, ReadyGate};
use musicfs_pure::ids::{Ino, OriginId};
use parking_lot::{Mutex, MutexGuard};

use super::attrs::Ownership;
use super::edge::{DirectOrigin, Edge, EdgeConfig};
use super::mount::{MountConfig, Mounted, connect, detach, mount};
use fakes::{FakeCatalog, FolderReader};

/// Mount tests take turns: each mount is a few threads and a few MiB, and the machine is small.
static TURN: Mutex<()> = Mutex::new(());

/// How long anything that must happen is waited for; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted library over a folder, and everything that a test wants to look at.
struct Library {
    mounted: Mounted,
    edge: Arc<Edge>,
    catalog: Arc<FakeCatalog>,
    reader: Arc<FolderReader>,
    gate: Arc<ReadyGate>,
    board: Arc<Board>,
    metrics: Metrics,
    events: EventLog,
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What a test wants to be different.
struct Wishes {
    pool: Arc<dyn Pool>,
    allow_other: bool,
    ready: bool,
    decode_art: super::ArtDecoder,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { pool: Arc::new(ThreadPerJob), allow_other: false, ready: true, decode_art: |_, _| None }
    }
}

/// Whether this process can mount; says why not. A user who may not is no failure; root always may.
fn can_mount() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let reason = REASON.get_or_init(why_not_mountable);
    if let Some(reason) = reason {
        println!("skipped: {reason}");
    }
    reason.is_none()
}

fn why_not_mountable() -> Option<String> {
    if !Path::new("/dev/fuse").exists() {
        return Some("no /dev/fuse".to_owned());
    }
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let dir = tempfile::tempdir().expect("temp folder");
    let config = MountConfig { mountpoint: dir.path().to_owned(), allow_other: false, num_threads: 2 };
    match connect(dir.path(), &config) {
        Ok(_) => detach(dir.path()).err(),
        Err(error) => Some(error.to_string()),
    }
}

fn origin() -> OriginId {
    OriginId::parse("nas").expect("valid")
}

/// An edge over `dir/origin`, not mounted.
fn edge_over(dir: &Path, wishes: Wishes) -> (Arc<Edge>, Arc<FakeCatalog>, Arc<FolderReader>, EdgeParts) {
    let root = dir.join("origin");
    std::fs::create_dir_all(&root).expect("origin made");
    let catalog = Arc::new(FakeCatalog::new(root.clone()));
    let reader = Arc::new(FolderReader::new(root));
    let parts = EdgeParts::default();
    if wishes.ready {
        parts.gate.open();
    }
    let direct = DirectOrigin { reader: reader.clone(), pool: wishes.pool, permits: PermitPool::new(4 << 20) };
    let edge = Edge::new(EdgeConfig {
        catalog: catalog.clone(),
        direct: HashMap::from([(origin(), direct)]),
        gate: Arc::clone(&parts.gate),
        board: Arc::clone(&parts.board),
        stats: parts.board.actor("fuse_front"),
        metrics: parts.metrics.clone(),
        events: parts.events.clone(),
        decode_art: wishes.decode_art,
        ownership: owner(),
        statfs_path: dir.to_owned(),
        statfs_pool: Arc::new(ThreadPerJob),
    });
    (edge, catalog, reader, parts)
}

/// Everything belongs to whoever runs the test.
fn owner() -> Ownership {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ownership { uid, gid, umask: 0 }
}

#[derive(Default)]
struct EdgeParts {
    gate: Arc<ReadyGate>,
    board: Arc<Board>,
    metrics: Metrics,
    events: EventLog,
}

impl Library {
    /// A mounted, empty library; nothing when this process cannot mount.
    fn new() -> Option<Self> {
        Self::with(Wishes::default())
    }

    fn with(wishes: Wishes) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let turn = TURN.lock();
        let dir = tempfile::tempdir().expect("temp folder");
        open_to_all(dir.path());
        let allow_other = wishes.allow_other;
        let (edge, catalog, reader, parts) = edge_over(dir.path(), wishes);
        let mountpoint = dir.path().join("library");
        std::fs::create_dir(&mountpoint).expect("mountpoint made");
        let mounted = mount(&MountConfig { mountpoint, allow_other, num_threads: 2 }, &edge).expect("mounted");
        let EdgeParts { gate, board, metrics, events } = parts;
        Some(Self { mounted, edge, catalog, reader, gate, board, metrics, events, dir, _turn: turn })
    }

    /// A path in the mount.
    fn path(&self, name: &str) -> PathBuf {
        self.mounted.mountpoint().join(name)
    }

    /// Writes a file at the origin, and shows it in the root of the library under the same name.
    fn add_file(&self, name: &str, bytes: &[u8]) -> Ino {
        std::fs::write(self.origin_path(name), bytes).expect("written");
        self.catalog.add_file(Ino::ROOT, name.as_bytes(), name.as_bytes())
    }

    fn origin_path(&self, name: &str) -> PathBuf {
        self.dir.path().join("origin").join(name)
    }

    /// Requests of an operation that were answered, well or not.
    fn count(&self, op: &'static str, ok: bool) -> u64 {
        self.metrics.fuse_requests.get_or_create(&OpLabels::new(op, ok)).get()
    }

    /// Makes the kernel forget a name in the root, as the invalidator does.
    fn forget(&self, name: &str) {
        self.mounted.notifier().inval_entry(fuser::INodeNo(1), name.as_ref()).expect("invalidated");
    }
}

/// Lets other users into a folder.
fn open_to_all(dir: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::chmod(dir, mode).expect("mode set");
}

/// Bytes that differ everywhere.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A shell script in a child that is killed after 20 s.
fn shell(script: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "20", "sh", "-c", script]).env("LC_ALL", "C");
    command
}

/// Runs a script and gives what it printed; fails with its errors.
fn run(script: &str) -> String {
    let Output { status, stdout, stderr } = shell(script).output().expect("sh started");
    assert!(status.success(), "{script}: {status} {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).trim().to_owned()
}

/// Waits for a condition that another thread makes true.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// Waits for the end of a session.
fn wait_ended(mounted: &Mounted) {
    let ended = mounted.ended();
    wait_until("the session ends", || *ended.borrow());
}

/// The errno that a call failed with, as a kind.
fn kind<T: std::fmt::Debug>(result: std::io::Result<T>) -> std::io::ErrorKind {
    result.expect_err("must fail").kind()
}
