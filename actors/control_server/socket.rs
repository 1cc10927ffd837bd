//! The control socket as a file: binding, taking over a dead one, and connecting without waiting.
//!
//! A socket file outlives a killed daemon. Whether one still serves is asked by connecting: refused means dead, and the
//! file is removed; anything else means alive, and is left alone. Asking and binding happen under a lock of the folder,
//! so that two daemons that start together cannot remove each other's fresh socket. Connecting never waits: a daemon
//! that is frozen with a full backlog would hold its callers for ever.
//!
//! The file is 0600 in a folder that is 0700 when it is made here; between bind and chmod the peer check of the server
//! keeps others out. A file that is no socket is never removed.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The longest path of a Unix socket: `sun_path` has 108 bytes, one for the final NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Why the control socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path does not fit into a socket address.
    #[error(
        "the path of the control socket has {len} bytes and may have {MAX_SOCKET_PATH_BYTES}; give a shorter one with --socket"
    )]
    PathTooLong {
        /// Its length.
        len: usize,
    },
    /// A daemon answers there.
    #[error("a daemon already answers at {path}; end it with `musicfs stop`, or give another path with --socket")]
    AlreadyServed {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path} exists and is no socket; remove it, or give another path with --socket")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Another daemon is between asking and binding.
    #[error("another daemon is starting with a socket in {folder}; try again, or give another path with --socket")]
    FolderBusy {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused.
    #[error("the control socket {path} cannot be made ({action}: {source}); give another path with --socket")]
    System {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket that is listened on. Dropping it removes its file, unless the file is somebody else's by then.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl BoundSocket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, unless it is somebody else's by now. For an end at which a holder may live on; repeating it does
    /// no harm.
    pub fn remove_file(&self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Gone already, or in a folder that is read-only by now: nothing that a stop could mend.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// A listener for the runtime of the calling thread.
    pub fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        self.remove_file();
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Binds the control socket, taking over the file of a daemon that is dead.
pub fn bind(path: &Path) -> Result<BoundSocket, BindError> {
    let len = path.as_os_str().as_bytes().len();
    if len > MAX_SOCKET_PATH_BYTES {
        return Err(BindError::PathTooLong { len });
    }
    let failed = |action| move |source| BindError::System { path: path.to_owned(), action, source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("making its folder"))?;
    let _turn = lock_folder(folder).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BindError::FolderBusy { folder: folder.to_owned() },
        _ => failed("locking its folder")(error),
    })?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed("binding"))?;
    let bound = BoundSocket { listener, path: path.to_owned(), identity: identity(path) };
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed("setting its permissions"))?;
    bound.listener.set_nonblocking(true).map_err(failed("making it non-blocking"))?;
    Ok(bound)
}

/// Locks a folder for as long as the file is open. The lock is held for a few system calls by whoever has it, and a
/// daemon that finds it taken has a rival: there is nothing to wait for.
fn lock_folder(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match connect_now(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(|source| {
            BindError::System { path: path.to_owned(), action: "removing the one of a dead daemon", source }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(BindError::AlreadyServed { path: path.to_owned() }),
    }
}

/// Connects to a Unix socket without waiting: a full backlog is [`io::ErrorKind::WouldBlock`]. The stream that is
/// returned blocks.
pub fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/control.sock");
        (folder, path)
    }

    #[test]
    fn bound_socket_and_its_folder_are_private_and_removed_at_the_end() {
        let (_folder, path) = place();
        let bound = bind(&path).expect("binds");
        let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("has one")), 0o700);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn socket_of_a_dead_daemon_is_taken_over() {
        let (_folder, path) = place();
        fs::create_dir(path.parent().expect("has one")).expect("makes it");
        drop(UnixListener::bind(&path).expect("binds")); // the file stays, as after kill -9
        assert!(path.exists());
        let bound = bind(&path).expect("takes over");
        assert!(connect_now(bound.path()).is_ok());
    }

    #[test]
    fn socket_of_a_live_daemon_is_left_alone() {
        let (_folder, path) = place();
        let first = bind(&path).expect("binds");
        assert!(matches!(bind(&path), Err(BindError::AlreadyServed { .. })));
        assert!(connect_now(&path).is_ok());
        drop(first);
    }

    #[test]
    fn socket_of_a_frozen_daemon_is_left_alone() {
        let (_folder, path) = place();
        let frozen = bind(&path).expect("binds");
        let mut waiting = Vec::new();
        let full = loop {
            match connect_now(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 100_000);
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(matches!(bind(&path), Err(BindError::AlreadyServed { .. })));
        drop(frozen);
    }

    #[test]
    fn file_that_is_no_socket_is_left_alone() {
        let (_folder, path) = place();
        fs::create_dir(path.parent().expect("has one")).expect("makes it");
        fs::write(&path, "precious").expect("writes");
        assert!(matches!(bind(&path), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[test]
    fn file_of_a_successor_is_left_alone_at_the_end() {
        let (_folder, path) = place();
        let first = bind(&path).expect("binds");
        fs::rename(&path, path.with_extension("old")).expect("moves it away");
        let second = bind(&path).expect("binds");
        drop(first);
        assert!(connect_now(&path).is_ok());
        drop(second);
    }

    #[test]
    fn path_longer_than_an_address_is_refused() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(MAX_SOCKET_PATH_BYTES)));
        assert!(matches!(bind(&path), Err(BindError::PathTooLong { .. })));
    }

    #[test]
    fn folder_that_another_daemon_holds_is_not_fought_over() {
        let (_folder, path) = place();
        let folder = path.parent().expect("has one");
        fs::create_dir(folder).expect("makes it");
        let held = lock_folder(folder).expect("locks");
        assert!(matches!(bind(&path), Err(BindError::FolderBusy { .. })));
        drop(held);
        assert!(bind(&path).is_ok());
    }
}
