//! Mounting and unmounting.
//!
//! Root mounts by itself, anyone else through the setuid `fusermount3`, which sends the descriptor of the new connection
//! back over a socket. fuser's own mounting is not used: it loses the subtype as root, it unmounts by joining threads, and
//! its unmounting waits for open files. Here unmounting is always lazy, happens once, and touches only the very mount
//! that was made (the kernel's table has its device number). The session's thread is never joined: it ends when the last
//! file is closed, which may be never, and says so on a channel.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuser::{Config, Notifier, Session, SessionACL};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::sync::watch;

use super::edge::Edge;
use super::filesystem::FuseEdge;
use super::helper::{self, Ending};
use super::mount_table::{FS_NAME, FS_TYPE, MountTable};

/// The kernel's end of FUSE.
const FUSE_DEVICE: &str = "/dev/fuse";

/// The setuid helper.
pub(super) const FUSERMOUNT: &str = "fusermount3";

/// How long the helper may take: it makes a few system calls.
pub(super) const FUSERMOUNT_LIMIT: Duration = Duration::from_secs(5);

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// An existing empty folder.
    pub mountpoint: PathBuf,
    /// Other users may look at the library too.
    pub allow_other: bool,
    /// Threads that answer the kernel, 2 to 4: with one, a catalog row that must come from the disk delays everyone; nothing
    /// else of what they do waits, so more of them only fight for the cores.
    pub num_threads: usize,
}

/// Why the library could not be mounted, or an old mount not be cleared.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mountpoint does not exist.
    #[error("the mountpoint {0:?} does not exist; create it with `mkdir -p`")]
    MountpointMissing(PathBuf),
    /// The mountpoint is not a folder.
    #[error("the mountpoint {0:?} is not a folder; choose another one")]
    MountpointNotFolder(PathBuf),
    /// Mounting would hide what is in the folder.
    #[error("the mountpoint {0:?} is not empty; mounting would hide what is in it, choose an empty folder")]
    MountpointNotEmpty(PathBuf),
    /// The mountpoint cannot be looked at.
    #[error("the mountpoint {path:?} cannot be used: {reason}; check its permissions")]
    MountpointUnusable {
        /// The mountpoint.
        path: PathBuf,
        /// In the words of the system.
        reason: String,
    },
    /// Another daemon serves there.
    #[error(
        "{0:?} is already mounted by a running musicfs; stop that one with `musicfs stop`, or choose another mountpoint"
    )]
    AlreadyMounted(PathBuf),
    /// A mount of another user is there, whose state cannot be told.
    #[error("{path:?} is a musicfs mount of user {uid}; unmount it as that user with `fusermount3 -u`")]
    OtherUser {
        /// The mountpoint.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// A mount is there that neither answers nor is dead.
    #[error("the musicfs mount at {0:?} does not answer; end its daemon, or remove the mount with `fusermount3 -uz`")]
    Unresponsive(PathBuf),
    /// A dead mount could not be removed.
    #[error("the dead mount at {path:?} could not be removed: {reason}; try `sudo umount -l`")]
    NotCleared {
        /// The mountpoint.
        path: PathBuf,
        /// What the attempt said.
        reason: String,
    },
    /// The kernel's table of mounts cannot be read.
    #[error("the list of mounts cannot be read: {0}; is /proc mounted?")]
    NoMountTable(#[source] io::Error),
    /// The kernel has no FUSE, or this process may not use it.
    #[error(
        "/dev/fuse cannot be used: {0}; load it with `sudo modprobe fuse`, and allow it with `sudo chmod 666 /dev/fuse`"
    )]
    NoFuseDevice(#[source] io::Error),
    /// The setuid helper is not installed.
    #[error("fusermount3 is not installed; install it with `sudo apt-get install fuse3`")]
    FusermountMissing,
    /// The setuid helper did not mount.
    #[error("fusermount3 failed: {0}; check that fuse3 is installed and that /dev/fuse may be opened by you")]
    FusermountFailed(String),
    /// Other users may be let in only when the system's administrator agrees.
    #[error(
        "`allow_other` is not permitted; add the line `user_allow_other` to /etc/fuse.conf, or set allow_other = false"
    )]
    AllowOtherForbidden,
    /// The kernel refused the mount.
    #[error("the kernel refused the mount: {0}; check that {FUSE_DEVICE} works, `sudo dmesg` may say more")]
    Refused(#[source] io::Error),
    /// The connection was made and could not be used.
    #[error("the connection to the kernel failed: {0}; try again")]
    SessionFailed(#[source] io::Error),
}

/// A library that is mounted. Dropping it unmounts.
pub struct Mounted {
    notifier: Notifier,
    unmounter: Unmounter,
}

/// Takes a mount away, from whichever thread comes to it first. Clones are of the same mount, which goes once.
#[derive(Clone, Debug)]
pub struct Unmounter(Arc<Seat>);

/// A mount that was made, until it is taken away.
#[derive(Debug)]
struct Seat {
    place: Place,
    ended: watch::Receiver<bool>,
    unmounted: AtomicBool,
}

impl Unmounter {
    /// Takes the mount away from its place; files that are open stay readable. Does nothing the second time, and never
    /// waits for anyone who has a file open.
    pub fn unmount_lazily(&self) {
        let Seat { place, ended, unmounted } = &*self.0;
        if !unmounted.swap(true, Ordering::AcqRel) && !*ended.borrow() {
            place.detach();
        }
    }
}

/// A mount that was made: where, and which file system, so that no other is unmounted in its place.
#[derive(Debug)]
struct Place {
    mountpoint: PathBuf,
    device: Option<String>,
}

impl Place {
    /// Takes the mount out of the tree of files. Open files stay readable; nothing is waited for but the helper.
    fn detach(&self) {
        let table = MountTable::read().unwrap_or_default();
        let is_there = table.top_at(&self.mountpoint).is_some_and(|top| Some(&top.device) == self.device.as_ref());
        if !is_there {
            return;
        }
        if let Err(reason) = detach(&self.mountpoint) {
            tracing::warn!(mountpoint = ?self.mountpoint, reason, "could not unmount");
        }
    }
}

/// Unmounts lazily whatever is seen at a mountpoint.
pub(super) fn detach(mountpoint: &Path) -> Result<(), String> {
    if rustix::mount::unmount(mountpoint, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {
        return Ok(());
    }
    let mut command = Command::new(FUSERMOUNT);
    command.args(["-u", "-z", "--"]).arg(mountpoint);
    match helper::run(command, FUSERMOUNT_LIMIT) {
        Ok(Ending::Exited { success: true, .. }) => Ok(()),
        Ok(Ending::Exited { text, .. }) => Err(text),
        Ok(Ending::TimedOut) => Err("fusermount3 did not end".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Mounted {
    /// What the invalidator tells the kernel through.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Where the library is mounted, with all links resolved.
    pub fn mountpoint(&self) -> &Path {
        &self.unmounter.0.place.mountpoint
    }

    /// Becomes true when the session is over: unmounted, by us or by someone else, and the last file closed.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.unmounter.0.ended.clone()
    }

    /// For whoever must take the mount away while its owner hangs.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// See [`Unmounter::unmount_lazily`].
    pub fn unmount_lazily(&self) {
        self.unmounter.unmount_lazily();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.unmount_lazily();
    }
}

/// Mounts the library. [`clear_stale`](super::stale::clear_stale) comes first: this looks at the mountpoint.
pub fn mount(config: &MountConfig, edge: &Arc<Edge>) -> Result<Mounted, MountError> {
    let mountpoint = check_mountpoint(&config.mountpoint)?;
    let connection = connect(&mountpoint, config)?;
    serve(mountpoint, connection, config, edge)
}

/// Mounts, by whichever way this process has.
pub(super) fn connect(mountpoint: &Path, config: &MountConfig) -> Result<OwnedFd, MountError> {
    match mount_directly(mountpoint, config) {
        Err(MountError::Refused(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            mount_through_helper(mountpoint, config)
        }
        connection => connection,
    }
}

/// Answers the requests of a connection that was just mounted; the mount is taken away again when that fails.
pub(super) fn serve(
    mountpoint: PathBuf,
    connection: OwnedFd,
    config: &MountConfig,
    edge: &Arc<Edge>,
) -> Result<Mounted, MountError> {
    let table = MountTable::read().unwrap_or_default();
    let device = table.top_at(&mountpoint).filter(|top| top.is_ours()).map(|top| top.device.clone());
    let place = Place { mountpoint, device };
    let (notifier, ended) = run_session(connection, config, edge).inspect_err(|_| place.detach())?;
    let unmounter = Unmounter(Arc::new(Seat { place, ended, unmounted: AtomicBool::new(false) }));
    Ok(Mounted { notifier, unmounter })
}

/// A mountpoint that can be mounted on, by its real name.
fn check_mountpoint(path: &Path) -> Result<PathBuf, MountError> {
    let table = MountTable::read().map_err(MountError::NoMountTable)?;
    let unusable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => MountError::MountpointMissing(path.to_owned()),
        io::ErrorKind::NotADirectory => MountError::MountpointNotFolder(path.to_owned()),
        _ => MountError::MountpointUnusable { path: path.to_owned(), reason: error.to_string() },
    };
    let real = table.resolve(path).map_err(unusable)?;
    if table.top_at(&real).is_some_and(super::mount_table::MountEntry::is_ours) {
        return Err(MountError::AlreadyMounted(real));
    }
    let mut entries = std::fs::read_dir(&real).map_err(unusable)?;
    if entries.next().is_some() { Err(MountError::MountpointNotEmpty(real)) } else { Ok(real) }
}

/// The mount system call, which takes root; `Refused` with "permission denied" for anyone else.
fn mount_directly(mountpoint: &Path, config: &MountConfig) -> Result<OwnedFd, MountError> {
    if !rustix::process::geteuid().is_root() {
        return Err(MountError::Refused(io::ErrorKind::PermissionDenied.into()));
    }
    let device = File::options().read(true).write(true).open(FUSE_DEVICE).map_err(MountError::NoFuseDevice)?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut options = format!("fd={},rootmode=40000,user_id={uid},group_id={gid}", device.as_raw_fd());
    options.push_str(",default_permissions");
    if config.allow_other {
        options.push_str(",allow_other");
    }
    let options = std::ffi::CString::new(options).map_err(|error| MountError::Refused(error.into()))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(FS_NAME, mountpoint, FS_TYPE, flags, options.as_c_str())
        .map_err(|error| MountError::Refused(error.into()))?;
    Ok(device.into())
}

/// Mounts through `fusermount3`: it gets one end of a socket as its input and sends the connection back over it.
pub(super) fn mount_through_helper(mountpoint: &Path, config: &MountConfig) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(MountError::Refused)?;
    let mut options = format!("ro,nosuid,nodev,default_permissions,fsname={FS_NAME},subtype={FS_NAME}");
    if config.allow_other {
        options.push_str(",allow_other");
    }
    let mut command = Command::new(FUSERMOUNT);
    command.args(["-o", &options, "--"]).arg(mountpoint).env("_FUSE_COMMFD", "0");
    let running = helper::start(command, Stdio::from(OwnedFd::from(theirs)), FUSERMOUNT_LIMIT).map_err(no_helper)?;
    let connection = receive_connection(&ours);
    match running.finish().map_err(no_helper)? {
        Ending::Exited { text, .. } => connection.ok_or_else(|| what_helper_meant(text)),
        Ending::TimedOut => Err(MountError::FusermountFailed("it did not end".to_owned())),
    }
}

fn no_helper(error: io::Error) -> MountError {
    match error.kind() {
        io::ErrorKind::NotFound => MountError::FusermountMissing,
        _ => MountError::FusermountFailed(error.to_string()),
    }
}

fn what_helper_meant(text: String) -> MountError {
    if text.contains("user_allow_other") {
        MountError::AllowOtherForbidden
    } else if text.contains(FUSE_DEVICE) {
        MountError::NoFuseDevice(io::Error::other(text))
    } else {
        MountError::FusermountFailed(text)
    }
}

/// The descriptor that the helper sends; nothing when it ends, or waits too long, without sending one.
fn receive_connection(socket: &UnixStream) -> Option<OwnedFd> {
    socket.set_read_timeout(Some(FUSERMOUNT_LIMIT)).ok()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

/// Starts answering the kernel.
fn run_session(
    connection: OwnedFd,
    config: &MountConfig,
    edge: &Arc<Edge>,
) -> Result<(Notifier, watch::Receiver<bool>), MountError> {
    let acl = if config.allow_other { SessionACL::All } else { SessionACL::Owner };
    let mut settings = Config::default();
    settings.n_threads = Some(config.num_threads.clamp(2, 4));
    // a connection per thread spares them a lock, but takes the right to open the device, which the helper has and a user
    // may not
    settings.clone_fd = File::options().read(true).write(true).open(FUSE_DEVICE).is_ok();
    let filesystem = FuseEdge::new(Arc::clone(edge));
    let session = Session::from_fd(filesystem, connection, acl, settings).map_err(MountError::SessionFailed)?;
    let notifier = session.notifier();
    let (sender, ended) = watch::channel(false);
    let run = move || {
        match session.run() {
            Ok(()) => tracing::info!("the mount is gone"),
            Err(error) => tracing::error!(%error, "the connection to the kernel ended"),
        }
        sender.send_replace(true);
    };
    std::thread::Builder::new().name("fuse-session".to_owned()).spawn(run).map_err(MountError::SessionFailed)?;
    Ok((notifier, ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_the_setuid_helper_become_what_to_do() {
        let refusal = |text: &str| what_helper_meant(text.to_owned());
        let allow = "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf";
        assert!(matches!(refusal(allow), MountError::AllowOtherForbidden));
        assert!(refusal(allow).to_string().contains("/etc/fuse.conf"));
        let device = "fusermount3: failed to open /dev/fuse: Permission denied";
        assert!(matches!(refusal(device), MountError::NoFuseDevice(_)));
        assert!(refusal("fusermount3: something else").to_string().contains("something else"));
        assert!(no_helper(io::ErrorKind::NotFound.into()).to_string().contains("apt-get install"));
    }
}
