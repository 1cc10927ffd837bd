//! Open files: handle number → what is read through it, and node → an open handle of it.
//!
//! A handle is pinned to what it opened, whatever the library shows later: the descriptor of a local file, or the version
//! that a picture was found in. Numbers are counted up and never given out twice, so a late request of a released handle
//! finds nothing instead of another file. The table is split into shards so that a hundred readers do not queue for one
//! lock; it has no bound of its own, because each handle is an open file of some process, and the system bounds those.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use musicfs_protocol::library::{DirectFile, EntryAttr, Source};
use parking_lot::{Mutex, RwLock};

use super::art::ArtFile;
use super::nodes::Node;

/// Locks that handles are spread over; a few times the number of FUSE threads.
const NUM_SHARDS: usize = 16;

/// What is read through a handle.
pub(super) enum Content {
    /// A local file, as it is.
    Direct(Arc<dyn DirectFile>),
    /// A picture inside a local file.
    Art(ArtFile),
}

/// An open file.
pub(super) struct OpenFile {
    /// The node that was opened.
    pub node: Node,
    /// The attributes at that time.
    pub attr: EntryAttr,
    /// Where its bytes come from.
    pub source: Source,
    /// The bytes.
    pub content: Content,
}

/// The open files.
#[derive(Default)]
pub(super) struct Handles {
    last: AtomicU64,
    files: [RwLock<HashMap<u64, Arc<OpenFile>>>; NUM_SHARDS],
    nodes: [Mutex<HashMap<Node, Vec<u64>>>; NUM_SHARDS],
}

impl Handles {
    /// Adds an open file and gives its number.
    pub(super) fn insert(&self, file: OpenFile) -> u64 {
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let node = file.node;
        self.files(handle).write().insert(handle, Arc::new(file));
        self.nodes(node).lock().entry(node).or_default().push(handle);
        handle
    }

    /// The open file of this number.
    pub(super) fn get(&self, handle: u64) -> Option<Arc<OpenFile>> {
        self.files(handle).read().get(&handle).cloned()
    }

    /// Some open file of this node: all of them show the same version.
    pub(super) fn on_node(&self, node: Node) -> Option<Arc<OpenFile>> {
        let handle = self.nodes(node).lock().get(&node).and_then(|handles| handles.last().copied())?;
        self.get(handle)
    }

    /// Forgets an open file; whoever still reads it keeps it until done.
    pub(super) fn remove(&self, handle: u64) -> Option<Arc<OpenFile>> {
        let file = self.files(handle).write().remove(&handle)?;
        if let Entry::Occupied(mut slot) = self.nodes(file.node).lock().entry(file.node) {
            slot.get_mut().retain(|&other| other != handle);
            if slot.get().is_empty() {
                slot.remove();
            }
        }
        Some(file)
    }

    /// Open files now.
    pub(super) fn len(&self) -> usize {
        self.files.iter().map(|shard| shard.read().len()).sum()
    }

    fn files(&self, handle: u64) -> &RwLock<HashMap<u64, Arc<OpenFile>>> {
        &self.files[handle as usize % NUM_SHARDS]
    }

    fn nodes(&self, node: Node) -> &Mutex<HashMap<Node, Vec<u64>>> {
        &self.nodes[node.ino.0 as usize % NUM_SHARDS]
    }
}
