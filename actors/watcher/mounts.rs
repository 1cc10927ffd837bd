//! What is mounted below an origin's root.
//!
//! A filesystem that is mounted on a watched folder, or unmounted, says so to nobody: the watches of the folder below it
//! stay and are silent, those in it end without an event that notify passes on. The kernel's table of mounts has all of it
//! and asks no filesystem, so it is read and compared.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The table of this process's mount namespace, proc(5): `id parent major:minor root mountpoint …`.
const MOUNTINFO_PATH: &str = "/proc/self/mountinfo";

/// One mount: its id, which no other has while it lasts, its device, and the mountpoint as the table writes it.
type Mount = (Vec<u8>, Vec<u8>, Vec<u8>);

/// What is mounted strictly below a folder; two of these are equal as long as nothing was mounted or unmounted there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts(BTreeSet<Mount>);

impl Mounts {
    /// What is mounted below `root`, an absolute path without links, now.
    pub(super) fn below(root: &Path) -> io::Result<Self> {
        Ok(Self::parse(&fs::read(MOUNTINFO_PATH)?, root))
    }

    fn parse(table: &[u8], root: &Path) -> Self {
        let root = root.as_os_str().as_bytes();
        Self(table.split(|&byte| byte == b'\n').filter_map(|line| mount_below(line, root)).collect())
    }
}

fn mount_below(line: &[u8], root: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (id, device, mountpoint) = (fields.next()?, fields.nth(1)?, fields.nth(1)?);
    let below = unescape(mountpoint).strip_prefix(root)?.starts_with(b"/");
    (below || root == b"/").then(|| (id.to_vec(), device.to_vec(), mountpoint.to_vec()))
}

/// Undoes the kernel's `\ooo` for blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, tail @ ..] = rest {
        let octal = |digit: &u8| matches!(digit, b'0'..=b'7').then(|| u32::from(digit - b'0'));
        rest = match (byte, tail) {
            (b'\\', [a, b, c, tail @ ..]) if let (Some(a), Some(b), Some(c)) = (octal(a), octal(b), octal(c)) => {
                out.push((a * 64 + b * 8 + c) as u8);
                tail
            }
            _ => {
                out.push(*byte);
                tail
            }
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 0:21 / / rw - ext4 /dev/sda1 rw\n\
        30 22 0:30 / /srv/music rw - ext4 /dev/sdb1 rw\n\
        31 30 0:31 / /srv/music/a\\040b rw - tmpfs none rw\n\
        32 22 0:32 / /srv/music2 rw - tmpfs none rw\n";

    #[test]
    fn mounts_strictly_below_a_folder_are_found() {
        let num_below = |root: &str| Mounts::parse(TABLE, Path::new(root)).0.len();
        assert_eq!(num_below("/srv/music"), 1);
        assert_eq!(num_below("/srv/music/a b"), 0);
        assert_eq!(num_below("/srv"), 3);
        assert_eq!(num_below("/"), 4);
        assert_eq!(num_below("/srv/music/a"), 0);
    }

    #[test]
    fn another_mount_at_the_same_place_is_another_state() {
        let before = Mounts::parse(TABLE, Path::new("/srv/music"));
        let text = String::from_utf8(TABLE.to_vec()).expect("text");
        let after = text.replace("31 30 0:31", "35 30 0:31");
        assert_eq!(before, Mounts::parse(TABLE, Path::new("/srv/music")));
        assert_ne!(before, Mounts::parse(after.as_bytes(), Path::new("/srv/music")));
    }

    #[test]
    fn names_with_blanks_are_unescaped() {
        assert_eq!(unescape(br"a\040b\134c\9"), br"a b\c\9");
    }
}
