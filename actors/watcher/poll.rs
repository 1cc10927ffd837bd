//! What inotify cannot see: changes that another machine makes, and a root that is replaced or unmounted.
//!
//! inotify reports what this kernel does. On a network or user-space filesystem others write as well, so such an origin is
//! compared at every poll interval besides. An unmount, or a rename above the root, gives no event either: so the root is
//! looked up again now and then and its mark compared. The device and, where inode numbers are kept by the filesystem,
//! the inode make the mark; elsewhere the same folder may come back with another inode number.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `f_type` of filesystems that others may write to unseen (Linux `magic.h`, statfs(2)): NFS, SMB, CIFS, SMB2, FUSE, 9P,
/// Ceph, AFS, Coda, GFS2, OCFS2, Lustre, and the shared folders of `VirtualBox`.
const SHARED: [u32; 13] = [
    0x6969,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x6573_5546,
    0x0102_1997,
    0x00C3_6400,
    0x5346_414F,
    0x7375_7245,
    0x0116_1970,
    0x7461_636F,
    0x0BD0_0BD0,
    0x786F_4256,
];

/// `f_type` of filesystems whose inode numbers last: ext2–4, XFS, btrfs, ZFS, tmpfs.
const STABLE_INODES: [u32; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0x0102_1994];

/// Whether others may write to the filesystem of this path unseen.
pub(super) fn is_shared(path: &Path) -> io::Result<bool> {
    Ok(SHARED.contains(&filesystem_type(path)?))
}

fn filesystem_type(path: &Path) -> io::Result<u32> {
    // the field's width differs between architectures; the values have 32 bits
    Ok(rustix::fs::statfs(path)?.f_type as u32)
}

/// What makes a root the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RootMark {
    /// The device.
    pub(super) device: u64,
    inode: Option<u64>,
}

impl RootMark {
    /// The mark of the folder that is at this path now. Fails where there is none.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(root)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let has_stable_inodes = STABLE_INODES.contains(&filesystem_type(root)?);
        Ok(Self { device: metadata.dev(), inode: has_stable_inodes.then(|| metadata.ino()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_folder_is_not_shared_and_replacing_it_changes_its_mark() {
        let parent = tempfile::tempdir().expect("temp folder");
        let root = parent.path().join("root");
        fs::create_dir(&root).expect("create");
        assert!(!is_shared(&root).expect("statfs"));
        let before = RootMark::read(&root).expect("there");
        assert_eq!(RootMark::read(&root).expect("there"), before);
        fs::rename(&root, parent.path().join("old")).expect("rename");
        assert_eq!(RootMark::read(&root).expect_err("gone").kind(), io::ErrorKind::NotFound);
        fs::create_dir(&root).expect("create");
        if before.inode.is_some() {
            assert_ne!(RootMark::read(&root).expect("there"), before);
        }
    }

    #[test]
    fn file_is_no_root() {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        assert_eq!(RootMark::read(file.path()).expect_err("no folder").kind(), io::ErrorKind::NotADirectory);
    }
}
