//! What a change looks like from outside: names, nodes and open handles before and after it.
//!
//! A real mount over a catalog that the test changes by hand, and the invalidator against the kernel or a fake of it.
//! No test touches the mount from a thread that the mount itself waits for.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use actix::Actor;
use musicfs_protocol::change::{FOLDER_ITSELF, TreeInbox};
use musicfs_protocol::{Metrics, TreeChanged, Work};
use musicfs_pure::ids::Ino;
use parking_lot::{Condvar, Mutex};
use rustix::fs::{AtFlags, StatxFlags};

use super::super::invalidator::{Disarm, InvalidateEntry, Invalidator, InvalidatorConfig, tree_inbox};
use super::fakes::FakeCatalog;
use super::{Library, kind, pattern, wait_until};

/// Replaces a file at the origin by a rename.
fn replace(library: &Library, name: &str, bytes: &[u8]) {
    let fresh = library.origin_path("fresh");
    std::fs::write(&fresh, bytes).expect("written");
    std::fs::rename(fresh, library.origin_path(name)).expect("renamed");
}

fn all_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let read = file.read_at(&mut bytes, 0).expect("read");
    bytes.truncate(read);
    bytes
}

#[test]
fn old_handle_keeps_the_replaced_file_and_a_new_open_sees_the_new_one() {
    let Some(library) = Library::new() else { return };
    let (old_bytes, new_bytes) = (pattern(300_000, 1), pattern(200_000, 2));
    let ino = library.add_file("a.flac", &old_bytes);
    let old = File::open(library.path("a.flac")).expect("opened");
    assert!(all_of(&old) == old_bytes);

    replace(&library, "a.flac", &new_bytes);
    library.catalog.revise(ino);
    library.forget("a.flac");
    let new = File::open(library.path("a.flac")).expect("opened");
    assert!(all_of(&new) == new_bytes);
    assert!(all_of(&old) == old_bytes);
    for (file, bytes) in [(&old, &old_bytes), (&new, &new_bytes)] {
        let shown = file.metadata().expect("shown");
        assert_eq!((shown.ino(), shown.size()), (ino.0, bytes.len() as u64));
    }
    let shown = std::fs::metadata(library.path("a.flac")).expect("shown");
    assert_eq!((shown.ino(), shown.size()), (ino.0, 200_000));
}

#[test]
fn open_through_a_name_that_nobody_invalidated_finds_the_new_version() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"old");
    assert_eq!(std::fs::read(library.path("a.flac")).expect("read"), b"old");
    replace(&library, "a.flac", b"newer");
    library.catalog.revise(ino);
    // the kernel opens the node it knows, is told that it is stale, and walks the path again
    assert_eq!(std::fs::read(library.path("a.flac")).expect("read"), b"newer");
    assert_eq!(std::fs::metadata(library.path("a.flac")).expect("shown").ino(), ino.0);
    assert!(library.count("open", false) > 0);
}

/// The size that the daemon says, past what the kernel remembers.
fn size_now(fd: impl AsFd, path: &str) -> u64 {
    let flags = AtFlags::STATX_FORCE_SYNC | AtFlags::EMPTY_PATH;
    rustix::fs::statx(fd, path, flags, StatxFlags::BASIC_STATS).expect("shown").stx_size
}

#[test]
fn stat_shows_the_handle_what_it_opened_and_the_name_what_is_there() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"old");
    let dir = File::open(library.mounted.mountpoint()).expect("opened");
    let old = File::open(library.path("a.flac")).expect("opened");
    std::fs::write(library.origin_path("a.flac"), b"grown").expect("edited");
    assert_eq!(size_now(&old, ""), 5, "as fstat of the plain file");

    replace(&library, "a.flac", b"replaced");
    library.catalog.revise(ino);
    assert_eq!(size_now(&old, ""), 5);
    drop(old);
    wait_until("the handle is released", || library.edge.num_open_files() == 0);
    // nobody invalidated the name: its node is stale, and the kernel walks the path again
    assert_eq!(size_now(&dir, "a.flac"), 8);
    assert!(library.count("getattr", false) > 0);
}

#[test]
fn inode_number_is_stable_over_many_versions_in_stat_and_listing() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"0");
    for round in 1..20_usize {
        replace(&library, "a.flac", &pattern(round, round as u64));
        library.catalog.revise(ino);
        library.forget("a.flac");
        let names: Vec<_> = std::fs::read_dir(library.mounted.mountpoint()).expect("opened").flatten().collect();
        assert_eq!(names.len(), 2);
        let shown = names[1].metadata().expect("shown");
        assert_eq!((shown.ino(), shown.size()), (ino.0, round as u64));
        assert_eq!(std::fs::read(library.path("a.flac")).expect("read"), pattern(round, round as u64));
    }
}

#[test]
fn file_that_was_removed_is_gone_by_name_and_there_for_its_handle() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("a.flac", b"bytes");
    let open = File::open(library.path("a.flac")).expect("opened");
    std::fs::remove_file(library.origin_path("a.flac")).expect("removed");
    library.catalog.remove(ino);
    library.forget("a.flac");
    assert_eq!(kind(std::fs::metadata(library.path("a.flac"))), ErrorKind::NotFound);
    assert_eq!(all_of(&open), b"bytes");
    assert_eq!(open.metadata().expect("shown").ino(), ino.0);
}

fn push(tree: &TreeInbox, work: &Work, folder: Ino, name: &[u8]) {
    tree.push((folder, name.into()), TreeChanged { work: work.begin() });
}

/// Runs an invalidator until all work that was begun has ended.
fn run_invalidator(config: InvalidatorConfig, work: &Work) {
    actix::System::new().block_on(async {
        let tree = config.tree.clone();
        let addr = Invalidator::new(config).start();
        tree.ready_port().bind(&addr);
        let done = async {
            while work.pending() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(super::PATIENCE, done).await.expect("all names are told");
    });
}

#[test]
fn invalidator_tells_the_kernel_and_then_lets_go_of_the_work() {
    let Some(library) = Library::new() else { return };
    let ino = library.add_file("old name.flac", b"bytes");
    assert!(std::fs::metadata(library.path("old name.flac")).is_ok());
    assert_eq!(kind(std::fs::metadata(library.path("new name.flac"))), ErrorKind::NotFound);
    library.catalog.rename(ino, b"new name.flac");

    let (tree, work) = (tree_inbox(), Work::default());
    push(&tree, &work, Ino::ROOT, b"old name.flac");
    push(&tree, &work, Ino::ROOT, b"new name.flac");
    push(&tree, &work, Ino::ROOT, b"never heard of");
    let config = InvalidatorConfig {
        tree,
        kernel: Arc::new(library.mounted.notifier()),
        catalog: library.catalog.clone(),
        disarm: Disarm::default(),
        stats: library.board.actor("invalidator"),
        metrics: library.metrics.clone(),
    };
    run_invalidator(config, &work);
    assert_eq!(kind(std::fs::metadata(library.path("old name.flac"))), ErrorKind::NotFound);
    assert_eq!(std::fs::metadata(library.path("new name.flac")).expect("seen").ino(), ino.0);
    assert_eq!(library.metrics.invalidated_entries.get(), 3);
}

/// A kernel that writes down what it is told, and can be made to hang.
#[derive(Default)]
struct FakeKernel {
    told: Mutex<Vec<(Ino, Vec<u8>)>>,
    hangs: Mutex<bool>,
    freed: Condvar,
}

impl InvalidateEntry for FakeKernel {
    fn invalidate(&self, folder: Ino, name: &[u8]) -> io::Result<()> {
        self.freed.wait_while(&mut self.hangs.lock(), |hangs| *hangs);
        self.told.lock().push((folder, name.to_vec()));
        Ok(())
    }

    fn invalidate_attributes(&self, folder: Ino) -> io::Result<()> {
        self.invalidate(folder, FOLDER_ITSELF)
    }
}

fn fake_config(catalog: FakeCatalog) -> (InvalidatorConfig, Arc<FakeKernel>) {
    let kernel = Arc::new(FakeKernel::default());
    let config = InvalidatorConfig {
        tree: tree_inbox(),
        kernel: kernel.clone(),
        catalog: Arc::new(catalog),
        disarm: Disarm::default(),
        stats: Arc::default(),
        metrics: Metrics::default(),
    };
    (config, kernel)
}

#[test]
fn too_many_names_become_their_folders_and_the_root_keeps_its_own() {
    let catalog = FakeCatalog::new("/nowhere".into());
    let folders = [catalog.add_folder(Ino::ROOT, b"one"), catalog.add_folder(Ino(16), b"two")];
    let (config, kernel) = fake_config(catalog);
    let work = Work::default();
    push(&config.tree, &work, Ino::ROOT, b"root name");
    for n in 0..70_000_u32 {
        push(&config.tree, &work, folders[n as usize % 2], &n.to_le_bytes());
    }
    assert!(config.tree.len() <= 65_536);
    run_invalidator(config, &work);
    let told = kernel.told.lock();
    for (folder, name) in [(Ino::ROOT, "one"), (Ino(16), "two"), (Ino::ROOT, "root name")] {
        assert!(told.contains(&(folder, name.as_bytes().to_vec())), "{name}");
    }
}

#[test]
fn too_many_folders_become_everything_that_the_root_has() {
    let catalog = FakeCatalog::new("/nowhere".into());
    catalog.add_folder(Ino::ROOT, b"one");
    catalog.add_folder(Ino::ROOT, b"two");
    let (config, kernel) = fake_config(catalog);
    let work = Work::default();
    for n in 0..65_537_u64 {
        push(&config.tree, &work, Ino(1000 + n), b"x");
    }
    assert_eq!((config.tree.len(), work.pending()), (1, 1));
    run_invalidator(config, &work);
    let names = [b".origins".to_vec(), b"one".to_vec(), b"two".to_vec()];
    assert_eq!(*kernel.told.lock(), names.map(|name| (Ino::ROOT, name)));
}

#[test]
fn disarmed_invalidator_begins_no_call_and_still_lets_go_of_the_work() {
    let (config, kernel) = fake_config(FakeCatalog::new("/nowhere".into()));
    let work = Work::default();
    push(&config.tree, &work, Ino::ROOT, b"name");
    config.disarm.disarm();
    run_invalidator(config, &work);
    assert!(kernel.told.lock().is_empty());
}

#[test]
fn call_that_hangs_in_the_kernel_stops_neither_the_actor_nor_the_inbox() {
    use musicfs_protocol::Heartbeat;
    let (config, kernel) = fake_config(FakeCatalog::new("/nowhere".into()));
    let (work, tree) = (Work::default(), config.tree.clone());
    *kernel.hangs.lock() = true;
    push(&tree, &work, Ino::ROOT, b"first");
    actix::System::new().block_on(async {
        let addr = Invalidator::new(config).start();
        tree.ready_port().bind(&addr);
        while !tree.is_empty() {
            tokio::task::yield_now().await; // until the thread has taken it
        }
        push(&tree, &work, Ino::ROOT, b"second");
        addr.send(Heartbeat).await.expect("the actor lives");
        assert_eq!(work.pending(), 2);
        *kernel.hangs.lock() = false;
        kernel.freed.notify_all();
        while work.pending() > 0 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(kernel.told.lock().len(), 2);
}
