//! Clearing a mount that a daemon left behind when it was killed.
//!
//! Such a mount answers everything with "transport endpoint is not connected" and stands in the way of the next one.
//! Whether it is dead is asked by a child, because only the mount itself knows, and a mount whose daemon hangs would take
//! the asking process along. A mount that answers belongs to a running daemon and is never touched; one that does not
//! answer may be busy, so it is left alone too.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::helper::{self, Ending};
use super::mount::{MountError, detach};
use super::mount_table::{MountEntry, MountTable};

/// How long a mount may take to answer: a live daemon answers from memory.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Mounts of dead daemons may lie on top of each other; more than this is not what crashes leave behind.
const MAX_LAYERS: usize = 8;

/// What the system says of a mount whose daemon is gone.
const DEAD_MESSAGE: &str = "not connected";

/// What was in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// Nothing.
    Nothing,
    /// A dead mount of a musicfs daemon, or several.
    DeadMount,
}

/// Removes a dead musicfs mount from a mountpoint. Other file systems are left as they are.
pub fn clear_stale(mountpoint: &Path) -> Result<Cleared, MountError> {
    let mut cleared = Cleared::Nothing;
    for _ in 0..MAX_LAYERS {
        let table = MountTable::read().map_err(MountError::NoMountTable)?;
        let path = match table.resolve(mountpoint) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(cleared),
            Err(error) => {
                return Err(MountError::MountpointUnusable { path: mountpoint.to_owned(), reason: error.to_string() });
            }
        };
        let Some(entry) = table.top_at(&path).filter(|entry| entry.is_ours()) else { return Ok(cleared) };
        check_dead(entry)?;
        clear(entry)?;
        cleared = Cleared::DeadMount;
    }
    let reason = format!("more than {MAX_LAYERS} of them lie on top of each other");
    Err(MountError::NotCleared { path: mountpoint.to_owned(), reason })
}

/// Whether a mount answers within `limit`, asked by a child. Blocks for as long; never for an actor's or a FUSE thread.
pub fn mount_answers(mountpoint: &Path, limit: Duration) -> bool {
    let mut command = Command::new("stat");
    command.args(["-f", "--"]).arg(mountpoint);
    matches!(helper::run(command, limit), Ok(Ending::Exited { success: true, .. }))
}

/// Where a path leads when its links are followed, asked by a child because it may lead to something that hangs; nothing
/// when it does not answer within `limit`. Parts that do not exist stay as they are.
pub fn resolve_links(path: &Path, limit: Duration) -> Option<PathBuf> {
    let mut command = Command::new("realpath");
    command.args(["-m", "-z", "--"]).arg(path);
    match helper::run(command, limit) {
        Ok(Ending::Exited { success: true, text }) => Some(PathBuf::from(text.trim_end_matches('\0'))),
        _ => None,
    }
}

/// Whether a mount of ours is dead for sure; the error says what it is otherwise.
fn check_dead(entry: &MountEntry) -> Result<(), MountError> {
    let path = entry.mountpoint.clone();
    let uid = rustix::process::geteuid().as_raw();
    // the kernel answers a stranger without asking whether the daemon is there
    if let Some(owner) = entry.user_id().filter(|&owner| owner != uid) {
        return Err(MountError::OtherUser { path, uid: owner });
    }
    let mut command = Command::new("stat");
    command.args(["-f", "--"]).arg(&path);
    match helper::run(command, PROBE_LIMIT) {
        Ok(Ending::Exited { success: true, .. }) => Err(MountError::AlreadyMounted(path)),
        Ok(Ending::Exited { text, .. }) if text.contains(DEAD_MESSAGE) => Ok(()),
        Ok(Ending::Exited { text, .. }) => Err(MountError::MountpointUnusable { path, reason: text }),
        Ok(Ending::TimedOut) => Err(MountError::Unresponsive(path)),
        Err(error) => Err(MountError::MountpointUnusable { path, reason: format!("`stat` cannot be run: {error}") }),
    }
}

/// Removes a dead mount: first its connection, so that whoever still hangs in it gets an error, then its place.
fn clear(entry: &MountEntry) -> Result<(), MountError> {
    if let Some(connection) = entry.connection() {
        let abort = Path::new("/sys/fs/fuse/connections").join(connection).join("abort");
        // only where that file system is mounted, and gone already when the connection is
        let _ = std::fs::write(abort, b"1");
    }
    let path = entry.mountpoint.clone();
    detach(&path).map_err(|reason| MountError::NotCleared { path, reason })?;
    tracing::info!(mountpoint = ?entry.mountpoint, "removed the mount of a daemon that is gone");
    Ok(())
}
