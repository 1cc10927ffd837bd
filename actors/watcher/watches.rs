//! `Watches`: one inotify instance with a watch on every folder of one origin.
//!
//! Folders are walked here and watched one by one instead of by notify's recursive mode, which gives up the whole walk at
//! the first folder that it may not read, and reads no events while it walks. A folder is watched before it is listed, so
//! what appears in it is either listed or reported. A folder that is renamed during the walk may lose its watch (see
//! `folders`): after each walk the queue is read to its end by the barrier, and if a known folder has left its name
//! meanwhile, the walk is repeated. Links are not followed: what they lead to is watched where it is, or lies outside.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{INotifyWatcher, RecursiveMode, Watcher as _};

use super::barrier::{Barrier, BarrierError};
use super::folders::Folders;
use super::inotify::{Sink, Translator};
use super::limits::{self, Limits};
use super::mounts::Mounts;
use super::orders::Orders;
use super::poll::{self, RootMark};

/// Walks of the same folders in a row. Folders that are renamed all the time are given back as fresh after that, so that
/// other orders get their turn.
const MAX_WALKS: u32 = 4;

/// Why an origin is not watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// There is no folder at the root.
    #[error("there is no folder at `{}`; it is watched as soon as it is there", root.display())]
    RootMissing {
        /// The configured root.
        root: PathBuf,
    },
    /// The user may have no more watches.
    #[error(
        "the system grants no more folder watches (fs.inotify.max_user_watches is {limit}); raise it, for example with \
         `sudo sysctl fs.inotify.max_user_watches=1048576`, and musicfs watches again by itself"
    )]
    TooManyWatches {
        /// The sysctl's value, in words.
        limit: String,
    },
    /// The user may have no more inotify instances, or the process no more descriptors.
    #[error(
        "the system grants no more inotify instances (fs.inotify.max_user_instances is {limit}); raise it, for example \
         with `sudo sysctl fs.inotify.max_user_instances=1024`, and musicfs watches again by itself"
    )]
    TooManyInstances {
        /// The sysctl's value, in words.
        limit: String,
    },
    /// The folder that the barrier needs is not there.
    #[error("cannot use the daemon's own folder `{}`: {source}; check its permissions and free space", folder.display())]
    BarrierFolder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root cannot be looked at.
    #[error("cannot watch `{}`: {source}; it is tried again", root.display())]
    Unreadable {
        /// The root.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon, or this watcher, ends.
    #[error("the watcher ends")]
    Stopped,
}

impl WatchError {
    /// No more watches, under the limit of now.
    pub(super) fn too_many_watches() -> Self {
        Self::TooManyWatches { limit: limits::shown(Limits::read().max_watches) }
    }

    fn too_many_instances() -> Self {
        Self::TooManyInstances { limit: limits::shown(Limits::read().max_instances) }
    }
}

/// What became of one folder.
enum Added {
    Watched,
    /// Gone, or not to be read: whoever may not watch a folder may not list it either.
    LeftOut,
}

/// The watches of one origin.
pub(super) struct Watches {
    watcher: INotifyWatcher,
    root: PathBuf,
    mark: RootMark,
    mounts: Mounts,
    devices: HashSet<u64>,
    barrier: Arc<Barrier>,
    folders: Arc<Folders>,
    orders: Arc<Orders>,
    is_shared: bool,
    has_blind_spot: bool,
}

impl Watches {
    /// Watches everything below the folder at `configured_root`. Returns when every watch is in place.
    pub(super) fn build(
        configured_root: &Path,
        barrier_dir: &Path,
        sink: &Sink,
        orders: &Arc<Orders>,
    ) -> Result<Self, WatchError> {
        let root_error = |source: io::Error| root_error(configured_root, source);
        let root = fs::canonicalize(configured_root).map_err(root_error)?;
        let mark = RootMark::read(&root).map_err(root_error)?;
        let is_shared = poll::is_shared(&root).map_err(root_error)?;
        let mounts = Mounts::below(&root).map_err(root_error)?;
        // Only from here on: a root that hangs must not keep the daemon from being idle for ever.
        let _work = sink.work.begin();
        let barrier_error = |source| WatchError::BarrierFolder { folder: barrier_dir.to_path_buf(), source };
        let barrier = Arc::new(Barrier::create(barrier_dir, &sink.origin).map_err(barrier_error)?);
        let folders = Arc::<Folders>::default();
        let parts = (Arc::clone(orders), Arc::clone(&barrier), Arc::clone(&folders));
        let translator = Translator::new(root.clone(), sink.clone(), parts.0, parts.1, parts.2);
        // links are sorted out by our own walk
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = INotifyWatcher::new(translator, config).map_err(|error| instance_error(&root, error))?;
        watcher.watch(barrier.folder(), RecursiveMode::NonRecursive).map_err(|error| instance_error(&root, error))?;
        let devices = HashSet::from([mark.device]);
        let orders = Arc::clone(orders);
        let mut watches = Self {
            watcher,
            root: root.clone(),
            mark,
            mounts,
            devices,
            barrier,
            folders,
            orders,
            is_shared,
            has_blind_spot: false,
        };
        watches.add_trees(&[root])?;
        Ok(watches)
    }

    /// The root without links in its path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether something can change unseen: others may write to the filesystem, or a folder could not be watched.
    pub(super) fn is_partial(&self) -> bool {
        self.is_shared || self.has_blind_spot
    }

    /// Whether the folder at the configured root is still the one that is watched.
    pub(super) fn is_current(&self, configured_root: &Path) -> bool {
        RootMark::read(configured_root).is_ok_and(|mark| mark == self.mark)
    }

    /// Whether something was mounted or unmounted below the root since the watches were built. Where the table cannot be
    /// read, nothing is known to have changed.
    pub(super) fn has_other_mounts(&self) -> bool {
        Mounts::below(&self.root).is_ok_and(|mounts| mounts != self.mounts)
    }

    /// Waits until every queued event has been handled.
    pub(super) fn pass_barrier(&self) -> Result<(), BarrierError> {
        self.barrier.pass()
    }

    /// Watches these folders with everything below them; answers which of them are folders.
    pub(super) fn add_trees<'a>(&mut self, tops: &'a [PathBuf]) -> Result<Vec<&'a PathBuf>, WatchError> {
        for _ in 0..MAX_WALKS {
            let num_left = self.folders.num_left();
            let mut found = Vec::new();
            for top in tops {
                if self.add_tree(top)? {
                    found.push(top);
                }
            }
            if found.is_empty() {
                return Ok(found);
            }
            if let Err(error) = self.barrier.pass() {
                tracing::warn!(%error, "whether a folder was renamed meanwhile is not known");
                return Ok(found);
            }
            if self.folders.num_left() == num_left {
                return Ok(found);
            }
        }
        for top in tops {
            self.orders.fresh(top.clone());
        }
        Ok(tops.iter().collect())
    }

    /// Whether there is a folder at `top`; if so, it and everything below it has a watch.
    fn add_tree(&mut self, top: &Path) -> Result<bool, WatchError> {
        let mut pending = vec![top.to_path_buf()];
        let mut is_folder = false;
        while let Some(folder) = pending.pop() {
            if self.orders.is_stopped() {
                return Err(WatchError::Stopped);
            }
            let Ok(metadata) = fs::symlink_metadata(&folder) else { continue };
            if !metadata.is_dir() {
                continue;
            }
            is_folder = true;
            self.note_device(&folder, metadata.dev());
            if matches!(self.add_folder(&folder)?, Added::Watched) {
                list_folders(&folder, &mut pending);
            }
        }
        Ok(is_folder)
    }

    /// Another filesystem may be mounted below the root.
    fn note_device(&mut self, folder: &Path, device: u64) {
        if self.devices.insert(device) && poll::is_shared(folder).unwrap_or(true) {
            self.is_shared = true;
        }
    }

    fn add_folder(&mut self, folder: &Path) -> Result<Added, WatchError> {
        fail::fail_point!("watcher::add_watch", |_| Err(WatchError::too_many_watches()));
        self.folders.add(folder);
        let added = self.watcher.watch(folder, RecursiveMode::NonRecursive);
        let is_denied = matches!(&added, Err(error) if io_kind(error) == Some(ErrorKind::PermissionDenied));
        self.folders.set_denied(folder, is_denied);
        match added {
            Ok(()) => Ok(Added::Watched),
            Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => Err(WatchError::too_many_watches()),
            Err(error) => {
                let is_gone = matches!(error.kind, notify::ErrorKind::PathNotFound)
                    || matches!(io_kind(&error), Some(ErrorKind::NotFound | ErrorKind::NotADirectory));
                if !is_gone && !is_denied {
                    self.has_blind_spot = true;
                    tracing::warn!(folder = %folder.display(), %error, "folder cannot be watched and is polled");
                }
                Ok(Added::LeftOut)
            }
        }
    }
}

/// A folder that vanishes, or may be watched but not listed, has nothing that could be served from it.
fn list_folders(folder: &Path, pending: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pending.push(entry.path());
        }
    }
}

fn io_kind(error: &notify::Error) -> Option<ErrorKind> {
    match &error.kind {
        notify::ErrorKind::Io(source) => Some(source.kind()),
        _ => None,
    }
}

fn root_error(root: &Path, source: io::Error) -> WatchError {
    let root = root.to_path_buf();
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => WatchError::RootMissing { root },
        _ => WatchError::Unreadable { root, source },
    }
}

fn instance_error(root: &Path, error: notify::Error) -> WatchError {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => WatchError::too_many_watches(),
        notify::ErrorKind::Io(source) if source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            WatchError::too_many_instances()
        }
        notify::ErrorKind::Io(source) => WatchError::Unreadable { root: root.to_path_buf(), source },
        _ => WatchError::Unreadable { root: root.to_path_buf(), source: io::Error::other(error.to_string()) },
    }
}
