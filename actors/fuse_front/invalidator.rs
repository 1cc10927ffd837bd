//! The invalidator: tells the kernel which names changed.
//!
//! A changed name is invalidated; the next lookup then brings a fresh node, so no pages are ever invalidated. A folder
//! whose mtime moved keeps its name, because a folder that is dropped is lost to whoever stands in it (`getcwd` fails);
//! only its attributes are. That call takes no lock in the kernel, with a negative offset it touches no page, and it is
//! never made for a file. For a name the kernel takes the lock of the folder for it, and may be holding that lock for someone who waits for
//! us; so a thread of its own makes the call, holding nothing, and neither the actor nor a FUSE thread ever does. A call
//! may hang; the actor does not, and the inbox goes on collecting by name. After [`Disarm::disarm`] no call is begun: one
//! that hangs while the mount goes away could never be killed.
//!
//! Bound: when [`MAX_NAMES`] names are pending, the names of each folder become one mark for the whole folder, which is
//! invalidated under its own name in its parent and takes everything cached below it along. The root has no name; its
//! own entries stay as they are. If even that is too much, one mark stands for everything, and each name that the root has
//! is invalidated; a name that left the root in the same storm is forgotten when its time is over.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use fuser::{INodeNo, Notifier};
use musicfs_protocol::change::{FOLDER_ITSELF, TreeInbox};
use musicfs_protocol::{ActorStats, CatalogError, Heartbeat, Inbox, InboxReady, Metrics, ReadCatalog, TreeChanged};
use musicfs_pure::ids::Ino;
use tokio::sync::oneshot;

/// Names that may be pending: about 10 MB of them.
const MAX_NAMES: usize = 65_536;

/// The name that no entry has: it stands for all names of its folder, and with the root for all there are.
const ALL_NAMES: &[u8] = b"";

/// A name in a folder.
type Name = (Ino, Box<[u8]>);

/// The pending names as the inbox has them.
type Names = HashMap<Name, TreeChanged>;

/// The inbox between the catalog and the invalidator.
pub fn tree_inbox() -> TreeInbox {
    // a name is pending or it is not: the token that is held already says so
    Inbox::new(MAX_NAMES, |_, _| {}, collapse)
}

/// Makes fewer entries of too many; see the top of this file.
fn collapse(names: Names) -> Names {
    let whole_folder = |(folder, name): Name| match folder {
        Ino::ROOT => (folder, name),
        _ => (folder, ALL_NAMES.into()),
    };
    let folders: Names = names.into_iter().map(|(key, event)| (whole_folder(key), event)).collect();
    // as long as half is left, the next collapse is far enough away to be paid for by what comes in between
    if folders.len() <= MAX_NAMES / 2 {
        return folders;
    }
    folders.into_values().next().map(|event| ((Ino::ROOT, ALL_NAMES.into()), event)).into_iter().collect()
}

/// Whoever can invalidate a name in the kernel.
pub trait InvalidateEntry: Send + Sync + 'static {
    /// Makes the kernel forget what it knows of a name in a folder. May block.
    fn invalidate(&self, folder: Ino, name: &[u8]) -> io::Result<()>;
    /// Makes the kernel forget the attributes of a folder, and nothing else.
    fn invalidate_attributes(&self, folder: Ino) -> io::Result<()>;
}

impl InvalidateEntry for Notifier {
    fn invalidate(&self, folder: Ino, name: &[u8]) -> io::Result<()> {
        // a folder has no revisions, so its node is its inode number; a name that is not cached is no error
        self.inval_entry(INodeNo(folder.0), OsStr::from_bytes(name))
    }

    // The ban is on page invalidation, which can wait for a reader that waits for us. A negative offset means: no pages.
    #[allow(clippy::disallowed_methods)]
    fn invalidate_attributes(&self, folder: Ino) -> io::Result<()> {
        self.inval_inode(INodeNo(folder.0), -1, 0)
    }
}

/// The switch that ends all notifications; clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct Disarm(Arc<AtomicBool>);

impl Disarm {
    /// No notification is begun from now on.
    pub fn disarm(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether that is so.
    pub fn is_disarmed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the invalidator needs.
#[derive(Clone)]
pub struct InvalidatorConfig {
    /// What changed.
    pub tree: TreeInbox,
    /// The kernel.
    pub kernel: Arc<dyn InvalidateEntry>,
    /// Finds the names of folders that changed as a whole.
    pub catalog: Arc<dyn ReadCatalog>,
    /// Ends all notifications.
    pub disarm: Disarm,
    /// The actor's numbers.
    pub stats: Arc<ActorStats>,
    /// The daemon's metrics.
    pub metrics: Metrics,
}

/// The actor; its thread does the work.
pub struct Invalidator {
    config: InvalidatorConfig,
    wake: Option<SyncSender<()>>,
}

impl Invalidator {
    /// An invalidator that has not begun.
    pub fn new(config: InvalidatorConfig) -> Self {
        Self { config, wake: None }
    }

    fn give_up(&self, why: &str, ctx: &mut Context<Self>) {
        self.config.stats.fail(why);
        ctx.stop();
    }

    fn wake_thread(&self) {
        if let Some(wake) = &self.wake {
            // a wake that is there already will do
            let _ = wake.try_send(());
        }
    }
}

impl Actor for Invalidator {
    type Context = Context<Self>;

    /// Starts the thread. The one of an actor before may still hang in the kernel; it ends when it comes back. Without a
    /// thread nobody tells the kernel anything, so the actor ends with it and is started again.
    fn started(&mut self, ctx: &mut Self::Context) {
        let (wake, woken) = sync_channel(1);
        let (alive, ended) = oneshot::channel::<()>();
        let work = Worker { config: self.config.clone() };
        let thread = std::thread::Builder::new().name("fuse-invalidate".to_owned());
        let run = move || {
            let _dropped_when_the_thread_ends = alive;
            work.run(&woken);
        };
        if let Err(error) = thread.spawn(run) {
            return self.give_up(&format!("no thread for notifications: {error}"), ctx);
        }
        self.wake = Some(wake);
        self.wake_thread(); // what came in while nobody was there
        let ended = ended.into_actor(self);
        ctx.spawn(ended.map(|_, actor, ctx| actor.give_up("the thread of notifications panicked; see the log", ctx)));
    }
}

impl Handler<InboxReady> for Invalidator {
    type Result = ();

    fn handle(&mut self, _: InboxReady, _: &mut Self::Context) {
        fail::fail_point!("invalidator::handle");
        self.wake_thread();
    }
}

impl Handler<Heartbeat> for Invalidator {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _: &mut Self::Context) {}
}

/// Names on their way to the kernel. What the thread has not got to when it panics goes back to the inbox.
struct Batch<'a> {
    tree: &'a TreeInbox,
    names: Vec<(Name, TreeChanged)>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.tree.push_all(std::mem::take(&mut self.names));
    }
}

/// What runs on the thread.
struct Worker {
    config: InvalidatorConfig,
}

impl Worker {
    /// Until the actor is gone.
    fn run(&self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            loop {
                let mut batch =
                    Batch { tree: &self.config.tree, names: self.config.tree.drain().into_iter().collect() };
                if batch.names.is_empty() {
                    break;
                }
                while let Some(((folder, name), _)) = batch.names.last() {
                    fail::fail_point!("invalidator::notify");
                    self.forget(*folder, name);
                    batch.names.pop(); // the change has arrived
                }
            }
        }
    }

    fn forget(&self, folder: Ino, name: &[u8]) {
        let began = std::time::Instant::now();
        let account = self.config.stats.begin();
        let outcome = match (folder, name) {
            (Ino::ROOT, ALL_NAMES) => self.forget_everything(),
            (_, ALL_NAMES) => self.forget_folder(folder),
            _ => {
                self.notify(folder, name);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%folder, %error, "changed folder not found, its names live on until their time is over");
            self.config.stats.fail(error.to_string());
        }
        account.finish(std::time::Duration::ZERO, began.elapsed());
    }

    /// Invalidates a folder under its own name. One that is gone was invalidated when it went.
    fn forget_folder(&self, folder: Ino) -> Result<(), CatalogError> {
        let catalog = &self.config.catalog;
        if let (Some(parent), Some(info)) = (catalog.parent(folder)?, catalog.describe(folder)?) {
            let name = info.library_path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            self.notify(parent, name);
        }
        Ok(())
    }

    fn forget_everything(&self) -> Result<(), CatalogError> {
        let mut names = Vec::new();
        let mut collect = |_: &musicfs_protocol::EntryAttr, name: &[u8]| {
            names.push(name.to_owned());
            true
        };
        self.config.catalog.read_dir(Ino::ROOT, Ino(0), &mut collect)?;
        for name in &names {
            self.notify(Ino::ROOT, name);
        }
        Ok(())
    }

    fn notify(&self, folder: Ino, name: &[u8]) {
        if name.is_empty() || self.config.disarm.is_disarmed() {
            return;
        }
        self.config.metrics.invalidated_entries.inc();
        fail::fail_point!("invalidator::before_call");
        let outcome = match name {
            FOLDER_ITSELF => self.config.kernel.invalidate_attributes(folder),
            _ => self.config.kernel.invalidate(folder, name),
        };
        if let Err(error) = outcome {
            // the connection is gone: whoever mounts next starts with empty caches
            tracing::debug!(%folder, %error, "the kernel did not take an invalidation");
        }
    }
}
