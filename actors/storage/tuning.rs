//! The memory plans of the databases, as RocksDB options.
//!
//! The defaults hold 64 MiB of memtable per column family and as much log, which is a second of replay at every start
//! after a crash. Here all families together have 16 MiB of memtables and 16 MiB of log, one 24 MiB block cache that also
//! holds index and filter blocks, and 256 open files: the resident size stays flat from ten files to a million. The cache's
//! index takes less, by the bound of the cache. Opening must stay O(1), so nothing here may make RocksDB read its tables at
//! the start.
//!
//! Index and filters come in partitions of 4 KiB. Whole ones are some 300 KiB for each table file: beyond a few hundred
//! thousand files they do not fit into the cache together, and every second lookup read, checked and threw away one of
//! them. A first scan of a million files took five times as long per file as one of a hundred thousand.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options,
};

use super::{CacheFamily, Family};

/// All memtables together, and all log that a start may have to replay: 60 MiB of it cost a second.
const ALL_MEMTABLES_BYTES: usize = 16 << 20;

/// The memtable of one table: an eighth of all, so that the busy tables share and an idle one holds next to nothing.
const MEMTABLE_BYTES: usize = 2 << 20;

/// The steps in which a memtable takes memory: twelve tables with a few rows each then hold 768 KiB.
const ARENA_BYTES: usize = 64 << 10;

/// The cache of data, index and filter blocks, shared by all tables: what 50 MB for a daemon with 100,000 files leave beside
/// memtables and the rest. What does not fit is in the system's page cache, a copy and a checksum away.
const BLOCK_CACHE_BYTES: usize = 24 << 20;

/// Open table files; a million library entries are some dozens.
const MAX_OPEN_FILES: i32 = 256;

/// Size of a table file: with small memtables, the default of 64 MiB would rewrite too much per compaction.
const TABLE_FILE_BYTES: u64 = 16 << 20;

/// RocksDB's own text log is for a developer's eyes: two small files.
const INFO_LOG_BYTES: usize = 1 << 20;

/// Filter bits per key: one lookup in a hundred reads a block in vain.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// Memtables and log of the cache's index are a 32nd of the cache's bound within these limits: rows are 0.13 % of the
/// bytes they describe, and what the index takes on disk is a part of the bound.
const CACHE_MEMTABLES: std::ops::RangeInclusive<u64> = 1 << 20..=8 << 20;

/// The cache of the index's blocks. A held read looks up one slice and a few chunks, which are hot while a file is read.
const CACHE_BLOCK_CACHE_BYTES: usize = 16 << 20;

/// What the list of table files is preallocated by: the default of 4 MiB is a part of the smallest bound that hurts.
const CACHE_MANIFEST_STEP_BYTES: usize = 64 << 10;

/// The options of the database as a whole.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(ALL_MEMTABLES_BYTES);
    options.set_max_total_wal_size(ALL_MEMTABLES_BYTES as u64);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    // one flush and one compaction beside the writer are enough for one writer
    options.set_max_background_jobs(2);
    options
}

/// Every table with its options; they share one block cache.
pub(super) fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let descriptor = |family: &Family| ColumnFamilyDescriptor::new(family.name(), table(is_hit(*family), &cache));
    Family::ALL.iter().map(descriptor).collect()
}

/// Whether a row that is looked for is nearly always there: by numbers that were given out, not by names that someone
/// guesses. Nine tenths of such a table need no filters then.
fn is_hit(family: Family) -> bool {
    matches!(family, Family::Entries | Family::Children | Family::Files | Family::Tags)
}

/// All memtables of the cache's index together, and its log.
pub(super) fn cache_memtables_bytes(bound: u64) -> u64 {
    (bound / 32).clamp(*CACHE_MEMTABLES.start(), *CACHE_MEMTABLES.end())
}

/// The options of the cache's index as a whole.
pub(super) fn cache_database(bound: u64) -> Options {
    let mut options = database();
    options.set_db_write_buffer_size(cache_memtables_bytes(bound) as usize);
    options.set_max_total_wal_size(cache_memtables_bytes(bound));
    options.set_manifest_preallocation_size(CACHE_MANIFEST_STEP_BYTES);
    options.set_max_log_file_size(INFO_LOG_BYTES / 4);
    options
}

/// Every table of the cache's index with its options; they share one block cache.
pub(super) fn cache_families(bound: u64) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BLOCK_CACHE_BYTES);
    let options = || {
        let mut options = table(false, &cache);
        options.set_write_buffer_size(cache_memtables_bytes(bound) as usize / 4);
        options.set_target_file_size_base(cache_memtables_bytes(bound));
        // hashes do not compress
        options.set_compression_type(DBCompressionType::None);
        options
    };
    CacheFamily::ALL.iter().map(|family| ColumnFamilyDescriptor::new(family.name(), options())).collect()
}

fn table(is_hit: bool, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_top_level_index_and_filter(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_arena_block_size(ARENA_BYTES);
    options.set_target_file_size_base(TABLE_FILE_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_optimize_filters_for_hits(is_hit);
    options
}
