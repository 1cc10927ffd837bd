//! `Database`: one open RocksDB, by table names, keys and bytes.
//!
//! What [`Storage`](super::Storage) and [`CacheStorage`](super::CacheStorage) have in common: opening with every table, a
//! schema row that keeps an older program from misreading what a newer one wrote, reads where the bytes lie, scans within
//! a prefix and batches that are all or nothing. A database that fails is an error for the caller, never a panic, and it
//! is never opened a second time in place: readers hold it.

use std::path::Path;

use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, Options, ReadOptions, WriteBatch, WriteOptions};

use super::{StorageError, VisitRow, show};

/// The key of the schema row: a big-endian `u32`.
pub(super) const SCHEMA_KEY: &[u8] = b"schema";

/// What a database is opened with.
pub(super) struct Shape {
    /// Options of the whole.
    pub(super) options: Options,
    /// Every table.
    pub(super) tables: Vec<ColumnFamilyDescriptor>,
    /// The table that has the schema row.
    pub(super) meta: &'static str,
    /// What is in the schema row.
    pub(super) schema: u32,
}

/// One row of a batch: put when there is a value, else deleted.
pub(super) type NamedRow<'a> = (&'static str, &'a [u8], Option<&'a [u8]>);

/// An open database.
pub(super) struct Database {
    pub(super) db: DB,
}

impl Database {
    /// Opens what is in a folder, or makes it.
    pub(super) fn open(path: &Path, shape: Shape) -> Result<Self, StorageError> {
        let Shape { options, tables, meta, schema } = shape;
        let mut known: Vec<String> = tables.iter().map(|table| table.name().to_owned()).collect();
        known.push("default".to_owned());
        let db = DB::open_cf_descriptors(&options, path, tables).map_err(|error| {
            // A newer program's tables make the open fail before its schema row can be read.
            match DB::list_cf(&options, path) {
                Ok(names) if !names.iter().all(|name| known.contains(name)) => newer(path, schema),
                _ => StorageError::Unopenable { folder: show(path), reason: error.into_string() },
            }
        })?;
        fail::fail_point!("storage::opened", |_| std::process::abort());
        let database = Self { db };
        database.check_schema(path, meta, schema)?;
        Ok(database)
    }

    fn check_schema(&self, path: &Path, meta: &'static str, known: u32) -> Result<(), StorageError> {
        let stored = self.read(meta, SCHEMA_KEY, |row| <[u8; 4]>::try_from(row).map(u32::from_be_bytes))?;
        match stored {
            Some(Ok(schema)) if schema == known => Ok(()),
            Some(Ok(schema)) if schema > known => Err(newer(path, known)),
            Some(_) => {
                Err(StorageError::Unopenable { folder: show(path), reason: "its schema row is damaged".to_owned() })
            }
            None => self.commit(std::iter::once((meta, SCHEMA_KEY, Some(&known.to_be_bytes()[..]))), true),
        }
    }

    fn table(&self, name: &'static str) -> Result<&ColumnFamily, StorageError> {
        // Opening creates all of them, so a missing one is a damaged database.
        let missing = || StorageError::Failed { reason: format!("the table `{name}` is missing") };
        self.db.cf_handle(name).ok_or_else(missing)
    }

    /// What `decode` makes of a row's bytes, where they lie; nothing when there is no such row.
    pub(super) fn read<T>(
        &self,
        table: &'static str,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        let row = self.db.get_pinned_cf(self.table(table)?, key)?;
        Ok(row.map(|bytes| decode(&bytes)))
    }

    /// Visits the rows whose keys begin with `prefix`, in order, from the first that is not below `from`.
    pub(super) fn scan(
        &self,
        table: &'static str,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        if let Some(end) = super::prefix_end(prefix) {
            options.set_iterate_upper_bound(end);
        }
        let mut rows = self.db.raw_iterator_cf_opt(self.table(table)?, options);
        rows.seek(from.max(prefix));
        while let Some((key, value)) = rows.item() {
            if !visit(key, value) {
                return Ok(());
            }
            rows.next();
        }
        Ok(rows.status()?)
    }

    /// Writes a batch, all or nothing. `sync` returns only when it would survive a power cut; without it a batch
    /// survives the death of the process, and a power cut loses the latest batches in whole.
    pub(super) fn commit<'a>(&self, rows: impl Iterator<Item = NamedRow<'a>>, sync: bool) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        for (table, key, value) in rows {
            let table = self.table(table)?;
            match value {
                Some(value) => batch.put_cf(table, key, value),
                None => batch.delete_cf(table, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        fail::fail_point!("storage::before_write", |_| std::process::abort());
        self.db.write_opt(batch, &options)?;
        fail::fail_point!("storage::after_write", |_| std::process::abort());
        Ok(())
    }
}

fn newer(path: &Path, known: u32) -> StorageError {
    StorageError::NewerSchema { folder: show(path), known }
}
