//! What doctor looks at, as a value: files of the system, the user, the limits. A test makes one up.
//!
//! Reading a [`World`] touches files of `/etc` and `/proc` only, which never hang. Everything that may is asked of a child
//! (`probe`), whose program is part of the world too.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::{Resource, getrlimit};

use super::probe::{self, Asked, Question};
use crate::config::Surroundings;

/// The surroundings of a check.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// Folders of PATH.
    pub(super) path: Vec<PathBuf>,
    pub(super) uid: u32,
    /// The user's groups, the main one too.
    pub(super) groups: Vec<u32>,
    /// The user as commands name it.
    pub(super) user: String,
    pub(super) fuse_device: PathBuf,
    pub(super) fuse_conf: PathBuf,
    /// The table of mounts.
    pub(super) mountinfo: PathBuf,
    pub(super) fstab: PathBuf,
    /// The folder of the inotify limits.
    pub(super) inotify: PathBuf,
    pub(super) proc: PathBuf,
    /// The most descriptors that a process may have; nothing for no limit.
    pub(super) max_descriptors: Option<u64>,
    pub(super) now: SystemTime,
    /// musicfs, for children that look at places.
    pub(super) program: PathBuf,
    /// `musicfs` with the flags that lead to the same daemon and configuration, for commands to copy.
    pub(super) musicfs: String,
}

impl World {
    /// That of this process.
    pub(super) fn of_process(surroundings: &Surroundings, musicfs: String) -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw);
        Self {
            path: surroundings.variable("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default(),
            uid: surroundings.uid,
            groups: groups.chain([surroundings.gid]).collect(),
            user: user_name(surroundings.uid),
            fuse_device: PathBuf::from("/dev/fuse"),
            fuse_conf: PathBuf::from("/etc/fuse.conf"),
            mountinfo: PathBuf::from("/proc/self/mountinfo"),
            fstab: PathBuf::from("/etc/fstab"),
            inotify: PathBuf::from("/proc/sys/fs/inotify"),
            proc: PathBuf::from("/proc"),
            max_descriptors: getrlimit(Resource::Nofile).maximum,
            now: SystemTime::now(),
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
            musicfs,
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Asks a child about a place.
    pub(super) fn ask(&self, question: Question, place: &Path) -> Asked {
        probe::ask(&self.program, question, place)
    }

    /// A program of PATH and its attributes.
    pub(super) fn find_program(&self, name: &str) -> Option<(PathBuf, fs::Metadata)> {
        let candidates = self.path.iter().map(|folder| folder.join(name));
        let found = candidates.filter_map(|file| fs::metadata(&file).ok().map(|metadata| (file, metadata)));
        found.into_iter().find(|(_, metadata)| metadata.is_file() && metadata.mode() & 0o111 != 0)
    }

    /// The command that installs a package here.
    pub(super) fn install(&self, package: &str) -> String {
        let managers = [
            ("apt-get", "apt-get install -y"),
            ("dnf", "dnf install -y"),
            ("pacman", "pacman -S --noconfirm"),
            ("zypper", "zypper install -y"),
            ("apk", "apk add"),
        ];
        let here = managers.iter().find(|(program, _)| self.find_program(program).is_some());
        format!("{}{} {package}", self.sudo(), here.unwrap_or(&managers[0]).1)
    }

    /// `sudo `, where it is needed.
    pub(super) fn sudo(&self) -> &'static str {
        if self.is_root() { "" } else { "sudo " }
    }

    /// What mode bits grant this user of read and write, as `0o7`-style bits.
    pub(super) fn granted(&self, mode: u32, uid: u32, gid: u32) -> u32 {
        let shift = if uid == self.uid {
            6
        } else if self.groups.contains(&gid) {
            3
        } else {
            0
        };
        (mode >> shift) & 0o7
    }
}

/// The name of a user; the number where `/etc/passwd` does not have it, which commands take as well. `$USER` may be somebody
/// else's.
fn user_name(uid: u32) -> String {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut rows = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let row = rows.find(|fields| fields.get(2) == Some(&uid.to_string().as_str()));
    row.map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
}

/// A path or word as a shell takes it.
pub(super) fn quoted(text: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%~".contains(byte);
    let bytes = text.as_encoded_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) && bytes[0] != b'~' {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if let Some(text) = text.to_str().filter(|text| !text.chars().any(char::is_control)) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let shown = |byte: &u8| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    format!("$'{}'", bytes.iter().map(shown).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn quoted_words_come_out_of_a_shell_as_they_went_in() {
        for word in [&b"/plain/path"[..], b"~", b"a b", b"it's", b"$(x)`y`\"", b"nl\nx", b"\xff'\\", b"", b"-x"] {
            let script = format!("printf %s {}", quoted(OsStr::from_bytes(word)));
            let out = std::process::Command::new("bash").args(["-c", &script]).output().expect("runs");
            assert_eq!(out.stdout, word, "{script}");
        }
    }
}
