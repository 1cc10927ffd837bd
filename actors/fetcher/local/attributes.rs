//! What a disk says about a file, as versions and stats.
//!
//! All attributes come from `statx`, whose fields have the same types on every architecture and which can be told how far
//! to go for them: `proof` asks a network filesystem's server (on a local disk that costs nothing), `cached` never leaves
//! memory. An inode number is part of a version only on filesystems that keep it for the life of a file: elsewhere (FUSE,
//! vfat, overlays) it may change with the next mount and would make every file look new. Device numbers are never part of
//! a version; they only tell whether two things are on one filesystem.

use musicfs_protocol::fetch::{NodeKind, RootIdentity, Stat};
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::{Granularity, Timestamp, Version};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};
use rustix::io;

/// Magic numbers of `statfs(2)` whose inode numbers live as long as the file.
const STABLE_INODES: [u32; 6] = [
    0x0000_EF53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x2FC1_2FC1, // zfs
    0x0102_1994, // tmpfs
    0x0000_6969, // nfs
];

/// Magic numbers whose `open` and `fstat` ask nobody but the kernel and a disk of this machine.
const LOCAL_DISKS: [u32; 10] = [
    0x0000_EF53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0x2FC1_2FC1, // zfs
    0x0102_1994, // tmpfs
    0xF2F5_2010, // f2fs
    0xCA45_1A4E, // bcachefs
    0x0000_4D44, // vfat
    0x2011_BAB0, // exfat
    0x794C_7630, // overlayfs: a container's own root
];

/// The type of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FsType(u32);

impl FsType {
    /// The type of the filesystem that an open file, `O_PATH` included, is on.
    pub(super) fn of(fd: impl AsFd) -> io::Result<Self> {
        // the magic has 32 bits; the field is wider on some architectures and may be sign-extended there
        rustix::fs::fstatfs(fd).map(|fs| Self(fs.f_type as u32))
    }

    /// The number, for a [`RootIdentity`].
    pub(super) fn magic(self) -> u64 {
        u64::from(self.0)
    }

    /// Whether an inode number identifies a file for as long as it lives.
    pub(super) fn has_stable_inodes(self) -> bool {
        STABLE_INODES.contains(&self.0)
    }

    /// Whether `open` and `fstat` of something whose names are in memory wait for nobody.
    pub(super) fn is_local_disk(self) -> bool {
        LOCAL_DISKS.contains(&self.0)
    }
}

/// The attributes of an open file, as fresh as a plain `fstat` gives them.
pub(super) fn of_open(fd: impl AsFd) -> io::Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// The attributes of an open file as the owner of the bytes has them: NFS and SMB ask their server.
pub(super) fn proof(fd: impl AsFd) -> io::Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS)
}

/// Type and device of an open file as far as they are in memory.
pub(super) fn cached(fd: impl AsFd) -> io::Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)
}

/// The attributes of a name in an open folder; of a link itself, not of what it leads to.
pub(super) fn of_entry(folder: impl AsFd, name: &[u8]) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS)
}

/// What kind of thing it is.
pub(super) fn file_type(attributes: &Statx) -> FileType {
    FileType::from_raw_mode(attributes.stx_mode.into())
}

/// The device number, in one piece.
pub(super) fn device(attributes: &Statx) -> u64 {
    rustix::fs::makedev(attributes.stx_dev_major, attributes.stx_dev_minor)
}

/// The version that these attributes stand for. A folder's size says nothing and is 0.
pub(super) fn version(attributes: &Statx, fs: FsType) -> Version {
    let size = if file_type(attributes).is_dir() { 0 } else { attributes.stx_size };
    Version {
        size,
        mtime: Timestamp::new(attributes.stx_mtime.tv_sec, attributes.stx_mtime.tv_nsec),
        granularity: Granularity::Nanos,
        ino: fs.has_stable_inodes().then_some(attributes.stx_ino),
        etag: None,
    }
}

/// The stat of a file or folder; nothing for a link, socket, FIFO or device.
pub(super) fn stat(attributes: &Statx, fs: FsType, real_path: Option<OriginPath>) -> Option<Stat> {
    let kind = match file_type(attributes) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Folder,
        _ => return None,
    };
    Some(Stat {
        kind,
        version: version(attributes, fs),
        ctime: Some(Timestamp::new(attributes.stx_ctime.tv_sec, attributes.stx_ctime.tv_nsec)),
        mode: u32::from(attributes.stx_mode) & 0o777,
        real_path,
    })
}

/// Whether this is where a filesystem, or a part of one by a bind mount, is mounted. Kernels before 5.8 do not say.
pub(super) fn is_mount_root(attributes: &Statx) -> bool {
    attributes.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

/// What tells this root from another one in its place.
pub(super) fn identity(attributes: &Statx, fs: FsType) -> RootIdentity {
    RootIdentity { dev: device(attributes), fs_type: fs.magic(), ino: attributes.stx_ino }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn version_is_equal_until_size_or_mtime_moves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"one").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        let fs = FsType::of(&file).unwrap();
        let before = version(&proof(&file).unwrap(), fs);
        assert_eq!(before, version(&of_open(&file).unwrap(), fs));
        assert_eq!((before.size, before.granularity, &before.etag), (3, Granularity::Nanos, &None));
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let after = version(&proof(&file).unwrap(), fs);
        assert_eq!(after.mtime, Timestamp::new(0, 0));
        assert_ne!(before, after);
    }

    #[test]
    fn inode_is_part_of_the_version_only_where_it_is_stable() {
        let file = tempfile::tempfile().unwrap();
        let attributes = of_open(&file).unwrap();
        assert_eq!(version(&attributes, FsType(0xEF53)).ino, Some(attributes.stx_ino));
        for unstable in [0x6573_5546, 0x4D44, 0x794C_7630, 0xFF53_4D42] {
            assert_eq!(version(&attributes, FsType(unstable)).ino, None, "{unstable:x}");
        }
    }

    #[test]
    fn stat_of_a_folder_has_no_size_and_a_device_has_no_stat() {
        let folder = File::open(std::env::temp_dir()).unwrap();
        let found = stat(&of_open(&folder).unwrap(), FsType::of(&folder).unwrap(), None).unwrap();
        assert_eq!((found.kind, found.version.size), (NodeKind::Folder, 0));
        let device = File::open("/dev/null").unwrap();
        assert_eq!(stat(&of_open(&device).unwrap(), FsType::of(&device).unwrap(), None), None);
    }
}
