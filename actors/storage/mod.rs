//! `Storage`: opens and owns the daemon's databases. A plain value, lent out by main; no actor.
//!
//! The catalog is a RocksDB in `<state folder>/catalog`: one column family per table, every batch atomic over all of
//! them, write-ahead log on. A `flock` on `<state folder>/lock` keeps a second daemon out, and a schema row keeps an older
//! program from misreading what a newer one wrote. Opening costs the same whatever the size of the library: nothing is
//! scanned, nothing repaired, and the log that is replayed is bounded by the memory plan (`tuning`).
//!
//! This is the only user of rocksdb. It knows keys and bytes; what they mean is the catalog's. A database that fails is
//! an error for the caller, never a panic, and it is never opened a second time in place: readers hold it. Must never
//! change the mode of a folder that it did not create.

mod tuning;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use musicfs_pure::escape::escape;
use rocksdb::{ColumnFamily, DB, ReadOptions, WriteBatch, WriteOptions};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The shape of the tables that this program reads and writes.
const SCHEMA: u32 = 1;

/// The key of the schema row in [`Family::Meta`]: a big-endian `u32`.
const SCHEMA_KEY: &[u8] = b"schema";

/// The tables of the catalog; what is in them is described where they are used, in `catalog/keys.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Single rows: schema, counters, origins.
    Meta,
    /// Inode number → parent and role.
    Entries,
    /// (Folder, name) → inode number.
    Names,
    /// (Folder, inode number) → name and attributes.
    Children,
    /// File id → file.
    Files,
    /// File id → tags.
    Tags,
    /// (Library folder, wanted name, class, file id) → inode number.
    Wants,
    /// (Library folder, role, file id): what decides about covers, and about the spelling of folders.
    Albums,
    /// (Source folder, library folder): how many tracks of one are in the other; and each source folder's sidecars.
    Sources,
    /// (Origin, inode, size, mtime, file id): files by what they look like.
    Identities,
    /// (Origin, path) → a removed file.
    Tombstones,
    /// (Origin, real path, link path): what reads through links.
    Links,
}

impl Family {
    /// Every table.
    pub const ALL: [Self; 12] = [
        Self::Meta,
        Self::Entries,
        Self::Names,
        Self::Children,
        Self::Files,
        Self::Tags,
        Self::Wants,
        Self::Albums,
        Self::Sources,
        Self::Identities,
        Self::Tombstones,
        Self::Links,
    ];

    /// The column family's name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Entries => "entries",
            Self::Names => "names",
            Self::Children => "children",
            Self::Files => "files",
            Self::Tags => "tags",
            Self::Wants => "wants",
            Self::Albums => "albums",
            Self::Sources => "sources",
            Self::Identities => "identities",
            Self::Tombstones => "tombstones",
            Self::Links => "links",
        }
    }
}

/// Where the databases are.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The state folder; created with mode 0700 when it is missing, accepted as it is when it exists.
    pub state_dir: PathBuf,
}

/// Why the storage does not open or does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The state folder cannot be created or written to.
    #[error(
        "the state folder `{folder}` cannot be used: {reason}; make it writable or choose another with `--data-dir`"
    )]
    FolderUnusable {
        /// The folder, escaped.
        folder: String,
        /// In the words of the system.
        reason: String,
    },
    /// Another daemon holds the lock.
    #[error(
        "another musicfs daemon uses the state folder `{folder}`; end it with `musicfs stop` or choose another folder with `--data-dir`"
    )]
    AlreadyInUse {
        /// The folder, escaped.
        folder: String,
    },
    /// A newer program wrote the database.
    #[error(
        "the catalog in `{folder}` was written by a newer musicfs (this one knows schema {SCHEMA}); run that one, or choose another folder with `--data-dir`"
    )]
    NewerSchema {
        /// The folder, escaped.
        folder: String,
    },
    /// The database is there and does not open.
    #[error("the catalog in `{folder}` does not open: {reason}; remove that folder to have it built anew")]
    Unopenable {
        /// The database's folder, escaped.
        folder: String,
        /// In the words of the database.
        reason: String,
    },
    /// The open database said no.
    #[error("{reason}")]
    Failed {
        /// In the words of the database.
        reason: String,
    },
}

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Failed { reason: error.into_string() }
    }
}

/// One row of a batch: put when there is a value, else deleted.
pub type BatchRow<'a> = (Family, &'a [u8], Option<&'a [u8]>);

/// A visitor of rows; answers whether it wants more.
pub type VisitRow<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// The open databases and the lock on their folder.
pub struct Storage {
    db: DB,
    _lock: File,
}

impl Storage {
    /// Locks the state folder and opens what is in it.
    pub fn open(config: &StorageConfig) -> Result<Self, StorageError> {
        let folder = &config.state_dir;
        create_folder(folder)?;
        let lock = lock_folder(folder)?;
        fail::fail_point!("storage::locked", |_| std::process::abort());
        let path = folder.join("catalog");
        create_folder(&path)?;
        let db = open_database(&path)?;
        fail::fail_point!("storage::opened", |_| std::process::abort());
        let storage = Self { db, _lock: lock };
        storage.check_schema(&path)?;
        fail::fail_point!("storage::checked_schema", |_| std::process::abort());
        Ok(storage)
    }

    fn check_schema(&self, path: &Path) -> Result<(), StorageError> {
        let stored = self.read(Family::Meta, SCHEMA_KEY, |row| <[u8; 4]>::try_from(row).map(u32::from_be_bytes))?;
        match stored {
            Some(Ok(SCHEMA)) => Ok(()),
            Some(Ok(schema)) if schema > SCHEMA => Err(StorageError::NewerSchema { folder: show(path) }),
            Some(_) => {
                Err(StorageError::Unopenable { folder: show(path), reason: "its schema row is damaged".to_owned() })
            }
            None => {
                let row = SCHEMA.to_be_bytes();
                self.commit(std::iter::once((Family::Meta, SCHEMA_KEY, Some(&row[..]))), true)
            }
        }
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, StorageError> {
        // Opening creates all of them, so a missing one is a damaged database.
        let missing = || StorageError::Failed { reason: format!("the table `{}` is missing", family.name()) };
        self.db.cf_handle(family.name()).ok_or_else(missing)
    }

    /// What `decode` makes of a row's bytes, where they lie; nothing when there is no such row.
    pub fn read<T>(
        &self,
        family: Family,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        let row = self.db.get_pinned_cf(self.family(family)?, key)?;
        Ok(row.map(|bytes| decode(&bytes)))
    }

    /// Visits the rows whose keys begin with `prefix`, in order, from the first that is not below `from`.
    pub fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        if let Some(end) = prefix_end(prefix) {
            options.set_iterate_upper_bound(end);
        }
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family)?, options);
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
    pub fn commit<'a>(&self, rows: impl Iterator<Item = BatchRow<'a>>, sync: bool) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        for (family, key, value) in rows {
            let family = self.family(family)?;
            match value {
                Some(value) => batch.put_cf(family, key, value),
                None => batch.delete_cf(family, key),
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

#[cfg(test)]
impl Storage {
    /// Rows written and deleted since the database was made, for tests that count work.
    pub(crate) fn num_writes(&self) -> u64 {
        self.db.latest_sequence_number()
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({})", show(self.db.path()))
    }
}

/// The first key above every key that begins with `prefix`; nothing when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn show(path: &Path) -> String {
    escape(path.as_os_str().as_bytes()).into_owned()
}

fn create_folder(folder: &Path) -> Result<(), StorageError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(folder, &error.to_string()))
}

fn unusable(folder: &Path, reason: &str) -> StorageError {
    StorageError::FolderUnusable { folder: show(folder), reason: reason.to_owned() }
}

/// The lock lives as long as the file is open, so the kernel releases it however the process ends.
fn lock_folder(folder: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(folder.join("lock")).map_err(|error| unusable(folder, &error.to_string()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StorageError::AlreadyInUse { folder: show(folder) }),
        Err(error) => Err(unusable(folder, &error.to_string())),
    }
}

fn open_database(path: &Path) -> Result<DB, StorageError> {
    let options = tuning::database();
    let families = tuning::families();
    DB::open_cf_descriptors(&options, path, families).map_err(|error| {
        // A newer program's tables make the open fail before its schema row can be read.
        let known = |name: &String| name == "default" || Family::ALL.iter().any(|family| family.name() == name);
        match DB::list_cf(&options, path) {
            Ok(names) if !names.iter().all(known) => StorageError::NewerSchema { folder: show(path) },
            _ => StorageError::Unopenable { folder: show(path), reason: error.into_string() },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn open(folder: &Path) -> Result<Storage, StorageError> {
        Storage::open(&StorageConfig { state_dir: folder.to_owned() })
    }

    fn put(storage: &Storage, key: &[u8]) {
        storage.commit(std::iter::once((Family::Names, key, Some(&b"x"[..]))), false).unwrap();
    }

    fn keys(storage: &Storage, prefix: &[u8], from: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            true
        };
        storage.scan(Family::Names, prefix, from, visit).unwrap();
        keys
    }

    #[test]
    fn scan_stays_within_its_prefix_and_begins_at_from() {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path()).unwrap();
        for key in [&b"a1"[..], b"a2", b"a3", b"b1", b"\xff\xff", b"\xff\xff1"] {
            put(&storage, key);
        }
        assert_eq!(keys(&storage, b"a", b""), [b"a1", b"a2", b"a3"]);
        assert_eq!(keys(&storage, b"a", b"a2"), [b"a2", b"a3"]);
        assert_eq!(keys(&storage, b"\xff", b""), [&b"\xff\xff"[..], b"\xff\xff1"]);
        assert_eq!(keys(&storage, b"a", b"b"), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn second_open_of_a_folder_names_the_folder_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path()).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert_eq!(error, StorageError::AlreadyInUse { folder: show(folder.path()) });
        assert!(error.to_string().contains("musicfs stop"), "{error}");
        drop(storage);
        open(folder.path()).unwrap();
    }

    #[test]
    fn created_folder_is_private_and_an_existing_one_is_left_as_it_is() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::set_permissions(outer.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let created = outer.path().join("deep/state");
        drop(open(&created).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&created), 0o700);
        drop(open(outer.path()).unwrap());
        assert_eq!(mode(outer.path()), 0o755);
    }

    #[test]
    fn newer_schema_is_refused_with_a_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path()).unwrap();
        let row = (SCHEMA + 1).to_be_bytes();
        storage.commit(std::iter::once((Family::Meta, SCHEMA_KEY, Some(&row[..]))), true).unwrap();
        drop(storage);
        assert!(matches!(open(folder.path()), Err(StorageError::NewerSchema { .. })));
    }

    #[test]
    fn unknown_table_is_taken_for_a_newer_schema() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.db.create_cf("segments", &tuning::database()).unwrap();
        drop(storage);
        assert!(matches!(open(folder.path()), Err(StorageError::NewerSchema { .. })));
    }

    #[test]
    fn unusable_folder_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(matches!(open(&file.join("state")), Err(StorageError::FolderUnusable { .. })));
        let damaged = folder.path().join("damaged");
        drop(open(&damaged).unwrap());
        std::fs::write(damaged.join("catalog/CURRENT"), b"nonsense").unwrap();
        assert!(matches!(open(&damaged), Err(StorageError::Unopenable { .. })));
    }

    #[test]
    fn committed_rows_survive_without_a_clean_close() {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path()).unwrap();
        put(&storage, b"kept");
        let copy = tempfile::tempdir().unwrap();
        copy_database(folder.path(), copy.path());
        assert_eq!(keys(&open(copy.path()).unwrap(), b"", b""), [b"kept"]);
    }

    /// What a kill -9 leaves behind: the files as they are while the database is open.
    fn copy_database(from: &Path, to: &Path) {
        std::fs::create_dir(to.join("catalog")).unwrap();
        for file in std::fs::read_dir(from.join("catalog")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join("catalog").join(file.file_name())).unwrap();
        }
    }
}
