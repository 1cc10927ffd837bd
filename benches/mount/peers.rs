//! Other programs that mount a folder: rclone, mergerfs, bindfs, over the same local origin and on the same machine.
//!
//! Each runs with the settings that its manual gives for the purpose, in the foreground, and is left out with a message
//! where it is not installed. They do less than musicfs does (none knows tags), so they are a yardstick for the cost of the
//! mount alone.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::daemon::is_mounted;

/// How long a peer may take to mount.
const MOUNT_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked.
const POLL: Duration = Duration::from_millis(5);

/// A way to mount a folder.
pub(crate) struct Peer {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    program: &'static str,
    /// Arguments before the folder and the mountpoint, and behind them.
    before: &'static [&'static str],
    behind: &'static [&'static str],
}

/// The peers.
pub(crate) const PEERS: [Peer; 4] = [
    Peer { name: "rclone", program: "rclone", before: &["mount"], behind: &["--read-only", "--dir-cache-time", "1h"] },
    Peer {
        name: "rclone-full-cache",
        program: "rclone",
        before: &["mount"],
        behind: &["--read-only", "--dir-cache-time", "1h", "--vfs-cache-mode", "full"],
    },
    Peer { name: "mergerfs", program: "mergerfs", before: &["-f", "-o", "ro,cache.files=off"], behind: &[] },
    Peer { name: "bindfs", program: "bindfs", before: &["-f", "-r"], behind: &[] },
];

/// A peer that runs; dropping it unmounts.
pub(crate) struct MountedPeer {
    /// Where.
    pub(crate) mnt: PathBuf,
    child: Child,
}

impl Peer {
    /// Mounts a folder; nothing where the program is not installed.
    pub(crate) fn mount(&self, origin: &Path, mnt: &Path) -> io::Result<Option<MountedPeer>> {
        std::fs::create_dir_all(mnt)?;
        let mut command = Command::new(self.program);
        // rclone reads its configuration and keeps its cache below HOME
        command.env("HOME", mnt.with_extension("home")).env("XDG_CACHE_HOME", mnt.with_extension("cache"));
        command.args(self.before).arg(origin).arg(mnt).args(self.behind);
        let child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut mounted = MountedPeer { mnt: mnt.to_owned(), child };
        let began = Instant::now();
        while !is_mounted(mnt)? {
            if began.elapsed() > MOUNT_LIMIT || mounted.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("{} does not mount", self.name)));
            }
            std::thread::park_timeout(POLL);
        }
        Ok(Some(mounted))
    }
}

impl Drop for MountedPeer {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-uz").arg(&self.mnt).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
