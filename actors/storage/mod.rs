//! `Storage`: opens and owns the daemon's databases. A plain value, lent out by main; no actor.
//!
//! Two databases in two folders: the catalog in the state folder, which must survive, and the index of the content store in
//! the cache folder (`cache`), which any cleaner may delete. The catalog is a RocksDB in `<state folder>/catalog`: one column family per table, every batch atomic over all of
//! them, write-ahead log on. A `flock` on `<state folder>/lock` keeps a second daemon out, and a schema row keeps an older
//! program from misreading what a newer one wrote. Opening costs the same whatever the size of the library: nothing is
//! scanned, nothing repaired, and the log that is replayed is bounded by the memory plan (`tuning`).
//!
//! This is the only user of rocksdb. It knows keys and bytes; what they mean is the catalog's and the store's. A database that fails is
//! an error for the caller, never a panic, and it is never opened a second time in place: readers hold it. Must never
//! change the mode of a folder that it did not create.

mod cache;
mod database;
mod tuning;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use musicfs_pure::escape::escape;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use database::{Database, Shape};

pub use cache::{CacheConfig, CacheFamily, CacheRow, CacheStorage, cache_database_growth};

/// The shape of the tables that this program reads and writes.
const SCHEMA: u32 = 1;

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
    /// The state or cache folder cannot be created or written to.
    #[error("the folder `{folder}` cannot be used: {reason}; make it writable or choose another with `--data-dir`")]
    FolderUnusable {
        /// The folder, escaped.
        folder: String,
        /// In the words of the system.
        reason: String,
    },
    /// Another daemon holds the lock.
    #[error(
        "another musicfs daemon uses the folder `{folder}`; end it with `musicfs stop` or choose another folder with `--data-dir`"
    )]
    AlreadyInUse {
        /// The folder, escaped.
        folder: String,
    },
    /// A newer program wrote the database.
    #[error(
        "the database in `{folder}` was written by a newer musicfs (this one knows schema {known}); run that one, or choose another folder with `--data-dir`"
    )]
    NewerSchema {
        /// The folder, escaped.
        folder: String,
        /// What this program knows.
        known: u32,
    },
    /// The database is there and does not open.
    #[error("the database in `{folder}` does not open: {reason}; remove that folder to have it built anew")]
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

/// The open catalog and the lock on its folder.
pub struct Storage {
    database: Database,
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
        let shape = Shape {
            options: tuning::database(),
            tables: tuning::families(),
            meta: Family::Meta.name(),
            schema: SCHEMA,
        };
        let database = Database::open(&path, shape)?;
        fail::fail_point!("storage::checked_schema", |_| std::process::abort());
        Ok(Self { database, _lock: lock })
    }

    /// What `decode` makes of a row's bytes, where they lie; nothing when there is no such row.
    pub fn read<T>(
        &self,
        family: Family,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        self.database.read(family.name(), key, decode)
    }

    /// Visits the rows whose keys begin with `prefix`, in order, from the first that is not below `from`.
    pub fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StorageError> {
        self.database.scan(family.name(), prefix, from, visit)
    }

    /// Writes a batch, all or nothing. `sync` returns only when it would survive a power cut; without it a batch
    /// survives the death of the process, and a power cut loses the latest batches in whole.
    pub fn commit<'a>(&self, rows: impl Iterator<Item = BatchRow<'a>>, sync: bool) -> Result<(), StorageError> {
        self.database.commit(rows.map(|(family, key, value)| (family.name(), key, value)), sync)
    }
}

#[cfg(test)]
impl Storage {
    /// Rows written and deleted since the database was made, for tests that count work.
    pub(crate) fn num_writes(&self) -> u64 {
        self.database.db.latest_sequence_number()
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({})", show(self.database.db.path()))
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
        storage.commit(std::iter::once((Family::Meta, database::SCHEMA_KEY, Some(&row[..]))), true).unwrap();
        drop(storage);
        assert!(matches!(open(folder.path()), Err(StorageError::NewerSchema { .. })));
    }

    #[test]
    fn unknown_table_is_taken_for_a_newer_schema() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path()).unwrap();
        storage.database.db.create_cf("segments", &tuning::database()).unwrap();
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
