//! Being an ordinary user for a while.
//!
//! A daemon or a tool is started through `setpriv`; system calls that must be made by somebody else are made on a thread
//! of its own whose ids are changed, which Linux keeps per thread. uid 65534 exists everywhere and owns nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Gid, Uid};

/// uid and gid of the ordinary user.
pub(crate) const NOBODY: u32 = 65534;

const FUSE_DEVICE: &str = "/dev/fuse";

/// Who runs the daemon and the commands of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Me,
    /// The ordinary user; whoever runs the tests when that is not root.
    Ordinary,
}

impl User {
    fn must_change(self) -> bool {
        self == Self::Ordinary && rustix::process::geteuid().is_root()
    }

    /// A command that runs as this user.
    pub(crate) fn command(self, program: &Path) -> Command {
        if !self.must_change() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).arg("--clear-groups");
        command.arg("--").arg(program);
        command
    }

    /// Hands a file or folder to this user.
    pub(crate) fn own(self, path: &Path) {
        if self.must_change() {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
    }
}

/// Runs `action` on a thread that is the ordinary user. Only root may call it.
pub(crate) fn as_nobody<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    let run = move || {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[]).expect("leave all groups");
        rustix::thread::set_thread_res_gid(gid, gid, gid).expect("change the group");
        rustix::thread::set_thread_res_uid(uid, uid, uid).expect("change the user");
        action()
    };
    std::thread::spawn(run).join().expect("the ordinary user's thread")
}

/// Makes sure that an ordinary user can open `/dev/fuse`, which fusermount3 does with the user's rights. Where the device is
/// closed, the calling thread gets a mount namespace of its own with an open device node of the sandbox in its place;
/// everything that it starts afterwards inherits that, and nobody else sees it.
pub(crate) fn open_fuse_device(folder: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(FUSE_DEVICE)?.permissions().mode();
    if mode & 0o006 == 0o006 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let node = folder.join("fuse");
    let device = rustix::fs::makedev(10, 229); // the kernel's fixed number of the device
    rustix::fs::mknodat(rustix::fs::CWD, &node, rustix::fs::FileType::CharacterDevice, 0o666.into(), device)?;
    std::fs::set_permissions(&node, PermissionsExt::from_mode(0o666))?;
    private_mounts()?;
    Ok(mount_bind(&node, FUSE_DEVICE)?)
}

/// Gives the calling thread, and whatever it starts, mounts of their own, which nobody else sees. Only root may call it.
pub(crate) fn private_mounts() -> io::Result<()> {
    leave_mount_namespace()?;
    Ok(mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?)
}

#[allow(unsafe_code)]
fn leave_mount_namespace() -> io::Result<()> {
    // SAFETY: no descriptor table is unshared; the mounts and the working folder of this thread are.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?)
}
