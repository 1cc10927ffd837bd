//! `/proc/self/mountinfo`, read as text: what is mounted where, without asking any mount.
//!
//! A `stat` of a mountpoint goes to the file system behind it, and when that is ours and hangs, the daemon hangs with it and
//! cannot even be killed. So everything that must be known about mounts is taken from the kernel's table, and a
//! mountpoint given by the user is followed to the name that the table has for it by looking at its parent folders only.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The table of this process's mount namespace.
const MOUNTINFO_PATH: &str = "/proc/self/mountinfo";

/// More than this is no table: 100,000 mounts of 160 bytes, which is the kernel's own limit on their number.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// How many links are followed to a mountpoint; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// What our mounts are called in the table.
pub const FS_NAME: &str = "musicfs";

/// Their type, where whoever mounted could say so.
pub const FS_TYPE: &str = "fuse.musicfs";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// `major:minor` of the file system; unique while it exists.
    pub device: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The file system's type.
    pub fs_type: String,
    /// What was mounted; for FUSE the name that the daemon gave.
    pub source: String,
    /// Options of the file system.
    pub options: String,
}

impl MountEntry {
    /// Whether a musicfs daemon made it.
    pub fn is_ours(&self) -> bool {
        self.fs_type == FS_TYPE || (self.fs_type == "fuse" && self.source == FS_NAME)
    }

    /// The user for whom a FUSE file system was mounted.
    pub fn user_id(&self) -> Option<u32> {
        self.options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
    }

    /// The name of the connection in `/sys/fs/fuse/connections`.
    pub fn connection(&self) -> Option<&str> {
        self.device.strip_prefix("0:")
    }
}

/// The mounts of a namespace, in the order in which they were made.
#[derive(Debug, Default)]
pub struct MountTable(Vec<MountEntry>);

impl MountTable {
    /// The table as it is now.
    pub fn read() -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(MOUNTINFO_PATH)?.take(MAX_TABLE_BYTES).read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// From the text of a `mountinfo`. Lines that cannot be understood are none of ours.
    pub fn parse(text: &[u8]) -> Self {
        Self(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    /// Every mount.
    pub fn iter(&self) -> impl Iterator<Item = &MountEntry> {
        self.0.iter()
    }

    /// The mount that is seen at a path: the last one made there.
    pub fn top_at(&self, path: &Path) -> Option<&MountEntry> {
        self.0.iter().rev().find(|entry| entry.mountpoint == path)
    }

    /// The name that the table would have for a mountpoint. No mount at its place is touched: its folder is resolved by the
    /// system, itself only when the table shows that nothing is mounted there.
    pub fn resolve(&self, mountpoint: &Path) -> io::Result<PathBuf> {
        let mut path = std::path::absolute(mountpoint)?;
        for _ in 0..MAX_LINKS {
            path = match (path.parent(), path.file_name()) {
                (Some(folder), Some(name)) => folder.canonicalize()?.join(name),
                _ => return Ok(path),
            };
            if self.top_at(&path).is_some() {
                return Ok(path);
            }
            let Ok(target) = path.read_link() else { return Ok(path) };
            path = path.parent().map(|folder| folder.join(&target)).unwrap_or(target);
        }
        Err(io::Error::other("too many links"))
    }
}

/// `id parent major:minor root mountpoint options fields… - type source super-options`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = text(fields.nth(2)?)?;
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
    let (fs_type, source) = (text(rest.next()?)?, text(rest.next()?)?);
    let options = rest.next().and_then(text).unwrap_or_default();
    Some(MountEntry { device, mountpoint, fs_type, source, options })
}

fn text(field: &[u8]) -> Option<String> {
    String::from_utf8(unescape(field)).ok()
}

/// Undoes the kernel's `\ooo` for blanks, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        let value = code.map(|digits| digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0')));
        if let Some(value) = value.and_then(|value| u8::try_from(value).ok()) {
            out.push(value);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
        36 28 0:53 / /home/a\\040b/Music rw,ro shared:1 master:2 - fuse.musicfs musicfs ro,user_id=1000,group_id=1000\n\
        37 28 0:54 / /home/a\\040b/Music rw - ext4 /dev/sda1 rw\n\
        nonsense\n\
        38 28 0:55 / /mnt/\\134\\9 ro - fuse musicfs ro,user_id=0\n";

    #[test]
    fn mount_made_last_is_the_one_seen() {
        let table = MountTable::parse(TABLE);
        let top = table.top_at(Path::new("/home/a b/Music")).expect("mounted");
        assert_eq!((top.fs_type.as_str(), top.is_ours()), ("ext4", false));
        assert!(table.top_at(Path::new("/home/a b")).is_none());
    }

    #[test]
    fn fields_of_our_mounts_are_found() {
        let table = MountTable::parse(TABLE);
        let user = &table.0[1];
        assert!(user.is_ours());
        assert_eq!((user.user_id(), user.connection()), (Some(1000), Some("53")));
        let root = table.top_at(Path::new("/mnt/\\\\9")).expect("a backslash, then one that is no escape");
        assert!(root.is_ours());
        assert_eq!(root.user_id(), Some(0));
    }

    #[test]
    fn mountpoint_is_followed_through_links() {
        let dir = tempfile::tempdir().expect("temp folder");
        let real = dir.path().canonicalize().expect("there");
        std::fs::create_dir(real.join("library")).expect("made");
        std::os::unix::fs::symlink("library", real.join("link")).expect("made");
        std::os::unix::fs::symlink("link", real.join("second")).expect("made");
        let table = MountTable::default();
        assert_eq!(table.resolve(&real.join("second")).expect("followed"), real.join("library"));
        assert_eq!(table.resolve(&real.join("absent")).expect("its folder is there"), real.join("absent"));
        std::os::unix::fs::symlink("loop", real.join("loop")).expect("made");
        assert!(table.resolve(&real.join("loop")).is_err());
    }
}
