//! `Overlay`: a batch in the making, readable as if it were committed.
//!
//! The writer decides step by step, and each step must see what the ones before it changed. So staged rows lie in one
//! ordered map per table over the committed ones, and a scan merges both. Nothing of it is on disk before `commit`, which
//! writes everything or nothing; a failed delta is simply discarded. It holds about 2,000 rows (the writer's bound), so
//! its memory does not grow with the library.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use musicfs_protocol::library::CatalogError;
use serde::Serialize;

use super::codec::encode;
use super::tables::Rows;
use crate::storage::{Family, Storage, VisitRow};

/// Staged rows of one table: a value, or that the row is deleted.
type Staged = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Staged rows over committed ones.
pub(super) struct Overlay {
    storage: Arc<Storage>,
    staged: [Staged; Family::ALL.len()],
}

impl Overlay {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self { storage, staged: Default::default() }
    }

    pub(super) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Staged rows in all.
    pub(super) fn len(&self) -> usize {
        self.staged.iter().map(BTreeMap::len).sum()
    }

    pub(super) fn put(&mut self, family: Family, key: &[u8], row: &impl Serialize) -> Result<(), CatalogError> {
        let bytes = encode(row)?;
        self.put_bytes(family, key, bytes);
        Ok(())
    }

    pub(super) fn put_number(&mut self, family: Family, key: &[u8], number: u64) {
        self.put_bytes(family, key, number.to_be_bytes().to_vec());
    }

    pub(super) fn put_bytes(&mut self, family: Family, key: &[u8], bytes: Vec<u8>) {
        self.staged[family as usize].insert(key.to_vec(), Some(bytes));
    }

    pub(super) fn delete(&mut self, family: Family, key: &[u8]) {
        self.staged[family as usize].insert(key.to_vec(), None);
    }

    /// Forgets what is staged.
    pub(super) fn discard(&mut self) {
        self.staged = Default::default();
    }

    /// Makes what is staged the catalog's state, all of it or nothing. `sync` waits for the disk.
    pub(super) fn commit(&mut self, sync: bool) -> Result<(), CatalogError> {
        if self.len() > 0 {
            let of_table = |family: Family| {
                let staged = self.staged[family as usize].iter();
                staged.map(move |(key, value)| (family, key.as_slice(), value.as_deref()))
            };
            self.storage.commit(Family::ALL.into_iter().flat_map(of_table), sync)?;
        }
        self.discard();
        Ok(())
    }
}

impl Rows for Overlay {
    fn read<T>(&self, family: Family, key: &[u8], decode: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, CatalogError> {
        match self.staged[family as usize].get(key) {
            Some(value) => Ok(value.as_deref().map(decode)),
            None => Rows::read(&self.storage, family, key, decode),
        }
    }

    fn scan(&self, family: Family, prefix: &[u8], from: &[u8], visit: &mut VisitRow<'_>) -> Result<(), CatalogError> {
        let start = Bound::Included(from.max(prefix));
        let staged = self.staged[family as usize].range::<[u8], _>((start, Bound::Unbounded));
        let mut staged = staged.take_while(|(key, _)| key.starts_with(prefix)).peekable();
        let mut wants_more = true;
        Rows::scan(&self.storage, family, prefix, from, &mut |key, value| {
            while wants_more
                && let Some((staged_key, staged_value)) = staged.next_if(|(staged, _)| staged.as_slice() <= key)
            {
                if let Some(staged_value) = staged_value {
                    wants_more = visit(staged_key, staged_value);
                }
                if staged_key.as_slice() == key {
                    return wants_more;
                }
            }
            wants_more = wants_more && visit(key, value);
            wants_more
        })?;
        for (key, value) in staged {
            if let Some(value) = value {
                wants_more = wants_more && visit(key, value);
            }
            if !wants_more {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::storage::StorageConfig;

    fn rows_of(rows: &impl Rows, prefix: &[u8], from: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        rows.scan(Family::Names, prefix, from, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            found.len() < limit
        })
        .unwrap();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn scan_of_staged_rows_agrees_with_the_scan_after_the_commit(
            batches in proptest::collection::vec(proptest::collection::vec((0_u8..12, any::<Option<u8>>()), 1..12), 1..4),
            (prefix, from, limit) in (0_u8..4, 0_u8..12, 1_usize..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let storage = Arc::new(Storage::open(&StorageConfig { state_dir: folder.path().to_owned() }).unwrap());
            let mut overlay = Overlay::new(Arc::clone(&storage));
            for batch in batches {
                for (key, value) in batch {
                    let key = [key / 3, key];
                    match value {
                        Some(value) => overlay.put_bytes(Family::Names, &key, vec![value]),
                        None => overlay.delete(Family::Names, &key),
                    }
                }
                let from = [prefix, from];
                let staged = rows_of(&overlay, &[prefix], &from, limit);
                overlay.commit(false).unwrap();
                prop_assert_eq!(staged, rows_of(&storage, &[prefix], &from, limit));
            }
        }
    }
}
