//! Kernel node ids: one names one (Ino, revision), and nothing is stored for it.
//!
//! The kernel keeps pages and attributes per node. If a file kept its node when its content changes, an old handle and a
//! new one would share pages, and however pages are invalidated some reader sees two versions mixed. So a changed file
//! gets a fresh node at its next lookup: the revision in the upper bits, the inode number in the lower 40. The id is
//! computed, so a `forget` has nothing to undo. `st_ino` is always the inode number alone; it never shows the revision.

use fuser::INodeNo;
use musicfs_protocol::library::EntryAttr;
use musicfs_pure::ids::Ino;

/// Bits of a node id that hold the inode number: the catalog gives out none above.
const INO_BITS: u32 = 40;

/// The revision's share: 63 bits in all, so that a program that prints a node id as a signed number still shows a
/// positive one. 8 million changes of one file in one run of the daemon wrap it around.
const REVISION_MASK: u32 = (1 << (63 - INO_BITS)) - 1;

/// What a kernel node id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// The entry.
    pub ino: Ino,
    /// Its revision, as far as the id has room for it.
    revision: u32,
}

impl Node {
    /// The node that shows an entry as it is now.
    pub(super) fn of(attr: &EntryAttr) -> Self {
        Self { ino: attr.ino, revision: attr.revision.0 & REVISION_MASK }
    }

    /// What an id from the kernel stands for. Any number is accepted: one that was never given out names no entry.
    pub(super) fn from_id(id: INodeNo) -> Self {
        let revision = (id.0 >> INO_BITS) as u32 & REVISION_MASK;
        Self { ino: Ino(id.0 & Ino::MAX.0), revision }
    }

    /// The id for the kernel.
    pub(super) fn id(self) -> INodeNo {
        INodeNo((u64::from(self.revision) << INO_BITS) | self.ino.0)
    }

    /// Whether the id is not simply the inode number: then an answer that carries both in one field would show the id
    /// as `st_ino`.
    pub(super) fn is_revised(self) -> bool {
        self.revision != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_protocol::fetch::NodeKind;
    use musicfs_protocol::library::Revision;
    use musicfs_pure::version::Timestamp;
    use proptest::prelude::*;

    fn attr(ino: u64, revision: u32) -> EntryAttr {
        let (kind, mtime) = (NodeKind::File, Timestamp::default());
        EntryAttr { ino: Ino(ino), kind, size: 0, mtime, mode: 0o444, revision: Revision(revision) }
    }

    proptest! {
        #[test]
        fn node_survives_the_way_through_the_kernel(ino in 1..=Ino::MAX.0, revision: u32) {
            let node = Node::of(&attr(ino, revision));
            prop_assert_eq!(Node::from_id(node.id()), node);
            prop_assert_eq!(node.ino, Ino(ino));
            prop_assert!(node.id().0 < 1 << 63);
            prop_assert_eq!(node.is_revised(), node.id().0 != ino);
        }
    }

    #[test]
    fn another_revision_is_another_node() {
        assert_ne!(Node::of(&attr(20, 0)).id(), Node::of(&attr(20, 1)).id());
        assert_eq!(Node::of(&attr(20, 0)).id(), INodeNo(20));
    }
}
