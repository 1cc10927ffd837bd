//! Attributes as the kernel wants them, and for how long it may keep them.
//!
//! The catalog knows size, mtime and permission bits; owner and umask come from the configuration, and the rest follows
//! from what a read-only library is. Lifetimes are long because a change is announced by invalidating the name; that they
//! end at all is what heals a lost announcement. Nothing here asks anyone for anything.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::EntryAttr;
use musicfs_pure::version::Timestamp;

/// How long the kernel keeps a name, and the attributes of a file: long enough that a scanner's second walk asks nothing,
/// short enough that a lost invalidation heals while someone still wonders.
pub(super) const ENTRY_TTL: Duration = Duration::from_mins(10);

/// How long the kernel remembers that there is no such name. Players probe for covers and lyrics that do not exist.
pub(super) const NEGATIVE_TTL: Duration = Duration::from_mins(1);

/// How long the kernel keeps attributes of which no invalidation tells: those of an open file move with the file.
pub(super) const UNANNOUNCED_TTL: Duration = Duration::from_secs(1);

/// The preferred size of a read, which stdio takes for its buffer: each read call of a file on direct I/O is one round
/// trip, and this is what the kernel's own readahead would ask for.
const FILE_BLOCK_BYTES: u32 = 128 * 1024;

/// For folders the number means nothing; this is what everyone shows.
const FOLDER_BLOCK_BYTES: u32 = 4096;

/// Whose the library looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Owner of everything.
    pub uid: u32,
    /// Group of everything.
    pub gid: u32,
    /// Permission bits taken away from everything.
    pub umask: u16,
}

/// The type that a directory entry carries.
pub(super) fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Folder => FileType::Directory,
    }
}

/// The attributes of an entry. `number` is the inode number, or, in answers whose one field is both, the node id.
pub(super) fn file_attr(attr: &EntryAttr, number: INodeNo, owner: Ownership) -> FileAttr {
    let time = system_time(attr.mtime);
    let is_folder = attr.kind == NodeKind::Folder;
    FileAttr {
        ino: number,
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attr.kind),
        // whatever a catalog row says, nothing here can be written or run as someone else
        perm: attr.mode & 0o555 & !owner.umask,
        nlink: 1,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        blksize: if is_folder { FOLDER_BLOCK_BYTES } else { FILE_BLOCK_BYTES },
        flags: 0,
    }
}

/// "No such name", to be remembered for [`NEGATIVE_TTL`]: an entry with node 0 means that to the kernel.
pub(super) fn no_entry() -> FileAttr {
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// The instant, or the epoch for one that the system cannot express.
fn system_time(time: Timestamp) -> SystemTime {
    let secs = Duration::from_secs(time.secs.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let whole = if time.secs < 0 { epoch.checked_sub(secs) } else { epoch.checked_add(secs) };
    whole.and_then(|at| at.checked_add(Duration::from_nanos(u64::from(time.nanos)))).unwrap_or(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_times_do_not_panic_and_keep_their_nanoseconds() {
        for secs in [i64::MIN, -1, 0, 1, i64::MAX] {
            let _ = system_time(Timestamp { secs, nanos: 999_999_999 });
        }
        let before = system_time(Timestamp { secs: -2, nanos: 250_000_000 });
        let gap = SystemTime::UNIX_EPOCH.duration_since(before).expect("before the epoch");
        assert_eq!(gap, Duration::from_millis(1750));
    }

    #[test]
    fn mode_never_has_write_or_set_id_bits() {
        use musicfs_protocol::library::Revision;
        use musicfs_pure::ids::Ino;
        let (ino, mtime, revision) = (Ino(20), Timestamp::default(), Revision(0));
        let entry = EntryAttr { ino, kind: NodeKind::File, size: 1025, mtime, mode: 0o7777, revision };
        let attr = file_attr(&entry, INodeNo(20), Ownership { uid: 1, gid: 2, umask: 0o022 });
        assert_eq!((attr.perm, attr.blocks, attr.nlink), (0o555, 3, 1));
        let attr = file_attr(&entry, INodeNo(20), Ownership { uid: 1, gid: 2, umask: 0o077 });
        assert_eq!(attr.perm, 0o500);
    }
}
