//! At most two mounts at once, over all test processes of this user.
//!
//! nextest runs each test in a process of its own and cargo test runs them as threads, so the count is kept by `flock` on
//! two files: it is given back by the kernel however a process ends. More mounts than cores only make every wait longer.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

/// The right to have a mount; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code)] File);

fn lock_file(index: u32) -> File {
    let uid = rustix::process::geteuid().as_raw();
    let folder: PathBuf = std::env::temp_dir().join(format!("musicfs-test-slots-{uid}"));
    std::fs::create_dir_all(&folder).expect("folder of the slots");
    File::create(folder.join(index.to_string())).expect("file of a slot")
}

impl Slot {
    /// Waits until one of the two is free.
    pub(crate) fn take() -> Self {
        for index in 0..2 {
            let file = lock_file(index);
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Self(file);
            }
        }
        // Both are taken: queue for one. Tests are of like length, so it matters little which.
        let file = lock_file(std::process::id() % 2);
        flock(&file, FlockOperation::LockExclusive).expect("slot");
        Self(file)
    }
}
