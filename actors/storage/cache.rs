//! `CacheStorage`: the database of the content store in the cache folder, and the lock on that folder.
//!
//! `<cache folder>/index` says which chunk lies where and what is known of each content. Losing it loses no byte: segments
//! have logs that it can be rebuilt from, so a database that does not open is thrown away and begun anew. Only what a newer program wrote is left alone. Any cleaner may delete the cache folder; the catalog is
//! elsewhere. The memory and disk that it takes are scaled to the bound of the cache (`tuning`).

use std::fs::File;
use std::path::{Path, PathBuf};

use super::database::{Database, Shape};
use super::{StorageError, VisitRow, create_folder, lock_folder, show, tuning};

/// The shape of the tables that this program reads and writes.
const SCHEMA: u32 = 1;

/// The folder of the database in the cache folder.
const INDEX: &str = "index";

/// The tables of the content store; what is in them is described where they are used, in `store/rows.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheFamily {
    /// Single rows: schema, counters.
    Meta,
    /// Chunk hash → segment, offset, length.
    Chunks,
    /// (Content key, slice number) → a slice of its piece table.
    Slices,
    /// Content key → what the content is.
    Contents,
    /// Segment number → class and sealed length.
    Segments,
    /// (Chunk hash, content key) of pinned contents.
    Pins,
}

impl CacheFamily {
    /// Every table.
    pub const ALL: [Self; 6] = [Self::Meta, Self::Chunks, Self::Slices, Self::Contents, Self::Segments, Self::Pins];

    /// The column family's name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Chunks => "chunks",
            Self::Slices => "slices",
            Self::Contents => "contents",
            Self::Segments => "segments",
            Self::Pins => "pins",
        }
    }
}

/// Where the cache is and how much it may take.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// The cache folder; created with mode 0700 when it is missing, accepted as it is when it exists.
    pub cache_dir: PathBuf,
    /// Every byte below it.
    pub bound: u64,
}

/// One row of a batch: put when there is a value, else deleted.
pub type CacheRow<'a> = (CacheFamily, &'a [u8], Option<&'a [u8]>);

/// The open database of the content store and the lock on its folder.
pub struct CacheStorage {
    database: Database,
    folder: PathBuf,
    _lock: File,
}

impl CacheStorage {
    /// Locks the cache folder and opens the database in it, a new one if the old one is damaged.
    pub fn open(config: &CacheConfig) -> Result<Self, StorageError> {
        let folder = config.cache_dir.clone();
        create_folder(&folder)?;
        let lock = lock_folder(&folder)?;
        let path = folder.join(INDEX);
        create_folder(&path)?;
        let opened = Database::open(&path, shape(config.bound));
        let database = match opened {
            Err(StorageError::Unopenable { reason, .. }) => {
                tracing::warn!(folder = show(&path), reason, "the cache's index does not open and is built anew");
                remove_database(&path)?;
                create_folder(&path)?;
                Database::open(&path, shape(config.bound))?
            }
            opened => opened?,
        };
        Ok(Self { database, folder, _lock: lock })
    }

    /// The cache folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `decode` makes of a row's bytes, where they lie; nothing when there is no such row.
    pub fn read<T>(
        &self,
        family: CacheFamily,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StorageError> {
        self.database.read(family.name(), key, decode)
    }

    /// Visits the rows whose keys begin with `prefix`, in order, from the first that is not below `from`.
    pub fn scan(
        &self,
        family: CacheFamily,
        prefix: &[u8],
        from: &[u8],
        visit: &mut VisitRow<'_>,
    ) -> Result<(), StorageError> {
        self.database.scan(family.name(), prefix, from, visit)
    }

    /// Writes a batch, all or nothing. `sync` returns only when it would survive a power cut; without it a batch
    /// survives the death of the process, and a power cut loses the latest batches in whole.
    pub fn commit<'a>(&self, rows: impl Iterator<Item = CacheRow<'a>>, sync: bool) -> Result<(), StorageError> {
        self.database.commit(rows.map(|(family, key, value)| (family.name(), key, value)), sync)
    }
}

impl std::fmt::Debug for CacheStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CacheStorage({})", show(&self.folder))
    }
}

/// What the database may take beside its tables: memtables, their log, and tables that are being written while the old ones
/// are still there. The store counts it as used.
pub fn cache_database_growth(bound: u64) -> u64 {
    2 * tuning::cache_memtables_bytes(bound)
}

fn shape(bound: u64) -> Shape {
    Shape {
        options: tuning::cache_database(bound),
        tables: tuning::cache_families(bound),
        meta: CacheFamily::Meta.name(),
        schema: SCHEMA,
    }
}

fn remove_database(path: &Path) -> Result<(), StorageError> {
    let unusable = |error: std::io::Error| super::unusable(path, &error.to_string());
    std::fs::remove_dir_all(path).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> CacheConfig {
        CacheConfig { cache_dir: folder.to_owned(), bound: 64 << 20 }
    }

    fn put(storage: &CacheStorage, key: &[u8]) {
        storage.commit(std::iter::once((CacheFamily::Chunks, key, Some(&b"x"[..]))), false).unwrap();
    }

    fn has(storage: &CacheStorage, key: &[u8]) -> bool {
        storage.read(CacheFamily::Chunks, key, |_| ()).unwrap().is_some()
    }

    #[test]
    fn rows_are_kept_and_a_second_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let storage = CacheStorage::open(&config(folder.path())).unwrap();
        put(&storage, b"kept");
        let error = CacheStorage::open(&config(folder.path())).unwrap_err();
        assert_eq!(error, StorageError::AlreadyInUse { folder: show(folder.path()) });
        drop(storage);
        let storage = CacheStorage::open(&config(folder.path())).unwrap();
        assert!(has(&storage, b"kept"));
    }

    #[test]
    fn damaged_database_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        put(&CacheStorage::open(&config(folder.path())).unwrap(), b"lost");
        std::fs::write(folder.path().join("index/CURRENT"), b"nonsense").unwrap();
        let storage = CacheStorage::open(&config(folder.path())).unwrap();
        assert!(!has(&storage, b"lost"));
    }

    #[test]
    fn newer_schema_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let storage = CacheStorage::open(&config(folder.path())).unwrap();
        let row = (SCHEMA + 1).to_be_bytes();
        let key = super::super::database::SCHEMA_KEY;
        storage.commit(std::iter::once((CacheFamily::Meta, key, Some(&row[..]))), true).unwrap();
        drop(storage);
        for _ in 0..2 {
            let error = CacheStorage::open(&config(folder.path())).unwrap_err();
            assert!(matches!(error, StorageError::NewerSchema { .. }), "{error}");
        }
    }

    #[test]
    fn smallest_bound_has_a_small_database() {
        let folder = tempfile::tempdir().unwrap();
        let storage = CacheStorage::open(&config(folder.path())).unwrap();
        put(&storage, b"one");
        let files = std::fs::read_dir(folder.path().join(INDEX)).unwrap();
        let bytes: u64 =
            files.map(|file| std::os::unix::fs::MetadataExt::blocks(&file.unwrap().metadata().unwrap()) * 512).sum();
        assert!(bytes <= config(folder.path()).bound / 16, "{bytes}");
    }
}
