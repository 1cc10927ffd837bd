//! `IdBlock`: numbers that are never given out twice, whatever happens to the machine.
//!
//! A player remembers inode numbers; a number that came back for another file would show it the wrong song. So numbers
//! come from blocks of 1,024: the end of a block is on disk, synced, before its first number is used. What is left of a
//! block when the daemon ends is lost, which costs nothing of a 64-bit space; the rows that use the numbers need no sync.

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};

use super::keys;
use super::tables::Rows;
use crate::storage::{Family, Storage};

/// Numbers reserved by one synced write: at some 10 ms per sync, a first scan of 100 k files waits 3 s for them in all.
const BLOCK_LEN: u64 = 1024;

/// A row of `meta` that says what is reserved, and what is left of the block that this writer reserved last.
#[derive(Debug)]
struct IdBlock {
    key: &'static [u8],
    first: u64,
    max: u64,
    next: u64,
    end: u64,
}

impl IdBlock {
    const fn new(key: &'static [u8], first: u64, max: u64) -> Self {
        Self { key, first, max, next: 0, end: 0 }
    }

    fn take(&mut self, storage: &Storage) -> Result<u64, CatalogError> {
        if self.next == self.end {
            let start = storage.number(Family::Meta, self.key)?.unwrap_or(self.first).max(self.first);
            let end = start.saturating_add(BLOCK_LEN).min(self.max);
            if start >= end {
                return Err(CatalogError::Database { reason: "the catalog has used up its numbers".to_owned() });
            }
            fail::fail_point!("catalog::before_reserve", |_| std::process::abort());
            storage.commit(std::iter::once((Family::Meta, self.key, Some(&keys::number(end)[..]))), true)?;
            fail::fail_point!("catalog::after_reserve", |_| std::process::abort());
            (self.next, self.end) = (start, end);
        }
        let id = self.next;
        self.next += 1;
        Ok(id)
    }
}

/// The numbers that a writer gives out.
#[derive(Debug)]
pub(super) struct Ids {
    inos: IdBlock,
    files: IdBlock,
}

impl Ids {
    pub(super) const fn new() -> Self {
        Self {
            inos: IdBlock::new(keys::NEXT_INO, Ino::FIRST_FREE.0, Ino::MAX.0),
            // 0 stands for "no file" in keys
            files: IdBlock::new(keys::NEXT_FILE, 1, u64::MAX),
        }
    }

    pub(super) fn ino(&mut self, storage: &Storage) -> Result<Ino, CatalogError> {
        self.inos.take(storage).map(Ino)
    }

    pub(super) fn file(&mut self, storage: &Storage) -> Result<FileId, CatalogError> {
        self.files.take(storage).map(FileId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageConfig;

    #[test]
    fn numbers_of_a_writer_that_died_are_never_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig { state_dir: folder.path().to_owned() };
        let mut last = Ino(0);
        for num_taken in [1, 1024, 1500, 3] {
            let storage = Storage::open(&config).unwrap();
            let mut ids = Ids::new();
            for _ in 0..num_taken {
                let ino = ids.ino(&storage).unwrap();
                assert!(ino > last && ino >= Ino::FIRST_FREE);
                last = ino;
            }
            let reserved = storage.number(Family::Meta, keys::NEXT_INO).unwrap().unwrap();
            assert!(last.0 < reserved, "{last} is used and not reserved");
        }
    }

    #[test]
    fn space_that_is_used_up_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&StorageConfig { state_dir: folder.path().to_owned() }).unwrap();
        let mut block = IdBlock::new(b"test", 5, 7);
        assert_eq!(block.take(&storage), Ok(5));
        assert_eq!(block.take(&storage), Ok(6));
        assert!(block.take(&storage).is_err());
    }
}
