//! The content store without its mount: cutting, hashing and keeping a stream, reading what is held, looking chunks up.
//!
//! What is measured stands beside its parts or its floor in the same run. Keeping a stream stands beside FastCDC and BLAKE3
//! by themselves and a plain file that is written and synced; held reads beside `pread` of a plain file with the same bytes at
//! the same offsets, both in the page cache; the index at a million chunks beside one of ten thousand and beside a hash
//! table in memory. The whole process is kept on one processor, the database's threads included: what they do is paid for
//! by the measurement that causes it.
//!
//! A cache lies in `MUSICFS_BENCH_DIR`, or where temporary files go; `MUSICFS_BENCH_CHUNKS` is the size of the large index.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what cannot be measured ends the run

use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group};
use fastcdc::v2020;
use musicfs_actors::storage::{CacheConfig, CacheStorage};
use musicfs_actors::store::{Kept, NewPiece, StoreConfig, StoreShared, Verify, Writer};
use musicfs_protocol::store::{Held, HeldRun, ReadStore};
use musicfs_pure::chunking::{AVG_CHUNK_BYTES, Chunker, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES};
use musicfs_pure::content::{ChunkHash, Content, Piece};
use musicfs_pure::eviction::SegmentClass;
use musicfs_pure::ids::OriginPath;
use musicfs_pure::version::{Granularity, Timestamp, Version};
use tempfile::TempDir;

/// A track of lossless music, and much more than a processor's own caches hold of a stream.
const STREAM_BYTES: usize = 32 << 20;

/// What is fed and kept at once: a slice of the piece table, so that one is written once.
const RUN_BYTES: usize = 4 << 20;

/// Every chunk has some of these in it, so that none of a stream's chunks was ever there before.
const STAMP_STRIDE: usize = MIN_CHUNK_BYTES as usize / 2;

/// More than all iterations keep: nothing is given up.
const BOUND: u64 = 16 << 30;

/// Segments of that bound are 128 MiB long and synced when they are full.
const STREAMS_PER_SEGMENT: usize = (128 << 20) / STREAM_BYTES;

/// Bytes of a chunk where only the index counts.
const TINY_CHUNK_BYTES: u32 = 64;

/// Chunks of a content there: what 5 MB of music have.
const CHUNKS_PER_CONTENT: u32 = 64;

/// Chunks in the large index when nothing is said, and in the one beside it.
const MANY_CHUNKS: u64 = 1_000_000;
const FEW_CHUNKS: u64 = 10_000;

/// The bytes of cache that a chunk stands for: memory of the database is scaled to the bound.
const REAL_CHUNK_BYTES: u64 = 80 << 10;

/// A place in memory, where a system has it: what is left when the disk costs nothing.
const MEMORY: &str = "/dev/shm";

/// Bytes from a seed, which nothing compresses and no two streams share.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn content(number: u64, size: u64) -> Content {
    let mtime = Timestamp::new(number as i64, 0);
    let version = Version { size, mtime, granularity: Granularity::Nanos, ino: None, etag: None };
    Content { origin: [1; 16], path: OriginPath::parse(format!("song {number}").as_bytes()).unwrap(), version }
}

/// An open store in a folder that goes with it.
struct Store {
    shared: Arc<StoreShared>,
    writer: Writer,
    num_contents: u64,
    folder: TempDir,
}

impl Store {
    fn new(bound: u64) -> Self {
        Self::within(&std::env::var_os("MUSICFS_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into), bound)
    }

    fn within(parent: &Path, bound: u64) -> Self {
        Self::over(TempDir::with_prefix_in("musicfs-bench-store-", parent).unwrap(), bound)
    }

    fn over(folder: TempDir, bound: u64) -> Self {
        let storage = CacheStorage::open(&CacheConfig { cache_dir: folder.path().to_owned(), bound }).unwrap();
        let shared = StoreShared::open(storage, StoreConfig { bound, reserve: 0, verify: Verify::First }).unwrap();
        let writer = Writer::new(Arc::clone(&shared)).unwrap();
        Self { shared, writer, num_contents: 0, folder }
    }

    fn next_content(&mut self, size: u64) -> Content {
        self.num_contents += 1;
        content(self.num_contents, size)
    }

    fn keep(&mut self, content: &Content, pieces: &[Piece], stream: &[u8]) {
        let bytes_of = |piece: &Piece| &stream[piece.offset as usize..piece.end() as usize];
        let run: Vec<NewPiece<'_>> =
            pieces.iter().map(|piece| NewPiece { piece: *piece, bytes: bytes_of(piece) }).collect();
        assert_eq!(self.writer.keep(content, SegmentClass::Music, &run).unwrap(), Kept::Held);
    }

    /// Cuts, hashes and keeps a stream run by run, as one that comes from an origin.
    fn keep_stream(&mut self, stream: &[u8]) -> Content {
        let content = self.next_content(stream.len() as u64);
        let (mut chunker, mut pieces) = (Chunker::new(0), Vec::new());
        for run in stream.chunks(RUN_BYTES) {
            chunker.feed(run, &mut |piece, _| pieces.push(piece));
            self.keep(&content, &pieces, stream);
            pieces.clear();
        }
        chunker.finish(&mut |piece, _| pieces.push(piece));
        self.keep(&content, &pieces, stream);
        content
    }
}

fn used<T>(value: T) {
    black_box(value);
}

/// Cuts as the library does it by itself.
fn cuts(stream: &[u8], mut take: impl FnMut(&[u8])) {
    let (strict, relaxed) = v2020::select_masks(AVG_CHUNK_BYTES as usize, v2020::Normalization::Level1);
    let [min, avg, max] = [MIN_CHUNK_BYTES, AVG_CHUNK_BYTES, MAX_CHUNK_BYTES].map(|bytes| bytes as usize);
    let mut rest = stream;
    while !rest.is_empty() {
        let window = &rest[..rest.len().min(max)];
        let (chunk, behind) =
            rest.split_at(v2020::cut(window, min, avg, max, strict, relaxed, strict << 1, relaxed << 1).1);
        take(chunk);
        rest = behind;
    }
}

/// A plain file that grows by streams, chunk by chunk and synced as often as a segment is.
struct PlainFile {
    file: File,
    len: u64,
    num_unsynced: usize,
}

impl PlainFile {
    fn append(&mut self, mut stream: &[u8], lens: &[usize]) {
        for len in lens {
            let (chunk, behind) = stream.split_at(*len);
            self.file.write_all_at(chunk, self.len).unwrap();
            (stream, self.len) = (behind, self.len + *len as u64);
        }
        self.num_unsynced += 1;
        if self.num_unsynced == STREAMS_PER_SEGMENT {
            self.file.sync_data().unwrap();
            self.num_unsynced = 0;
        }
    }
}

/// Measures what is done with a stream that was never there before.
fn measure_stream(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    stream: &mut [u8],
    mut work: impl FnMut(&[u8]),
) {
    /// Over all measurements: a store must not meet a stream twice.
    static STAMP: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|num_iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..num_iterations {
                let stamp = STAMP.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                for at in stream.chunks_exact_mut(STAMP_STRIDE) {
                    at[..8].copy_from_slice(&stamp.to_le_bytes());
                }
                let begun = Instant::now();
                work(black_box(stream));
                spent += begun.elapsed();
            }
            spent
        });
    });
}

fn ingest(criterion: &mut Criterion) {
    let mut stream = bytes(1, STREAM_BYTES);
    let mut lens = Vec::new();
    cuts(&stream, |chunk| lens.push(chunk.len()));
    let mut group = criterion.benchmark_group("keep_a_stream");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(STREAM_BYTES as u64));
    let group = &mut group;
    measure_stream(group, "baseline_fastcdc", &mut stream, |stream| cuts(stream, |chunk| used(chunk.len())));
    measure_stream(group, "baseline_blake3", &mut stream, |stream| {
        let mut rest = stream;
        for len in &lens {
            let (chunk, behind) = rest.split_at(*len);
            black_box(blake3::hash(chunk));
            rest = behind;
        }
    });
    measure_stream(group, "baseline_fastcdc_blake3", &mut stream, |stream| {
        cuts(stream, |chunk| used(blake3::hash(chunk)));
    });
    measure_stream(group, "chunk_hash", &mut stream, |stream| {
        let mut chunker = Chunker::new(0);
        for run in stream.chunks(RUN_BYTES) {
            chunker.feed(run, &mut |piece, _| used(piece));
        }
        chunker.finish(&mut |piece, _| used(piece));
    });
    keep_in(group, "disk", Store::new(BOUND), &mut stream, &lens);
    if Path::new(MEMORY).is_dir() {
        keep_in(group, "memory", Store::within(Path::new(MEMORY), BOUND), &mut stream, &lens);
    }
}

/// What keeping costs where a cache lies, beside a plain file in the same place.
fn keep_in(group: &mut BenchmarkGroup<'_, WallTime>, place: &str, mut store: Store, stream: &mut [u8], lens: &[usize]) {
    let path = store.folder.path().join("plain");
    let mut plain = PlainFile { file: File::create(&path).unwrap(), len: 0, num_unsynced: 0 };
    measure_stream(group, &format!("baseline_write_{place}"), stream, |stream| plain.append(stream, lens));
    std::fs::remove_file(&path).unwrap();
    measure_stream(group, &format!("chunk_hash_store_{place}"), stream, |stream| used(store.keep_stream(stream)));
}

/// Offsets of reads of one length in a stream: one after the other, or anywhere.
fn offsets(len: usize, is_random: bool) -> Vec<u64> {
    let num_reads = (STREAM_BYTES / len) as u64;
    // an odd factor goes through every read of a power of two of them, in an order without neighbours
    let place = |number: u64| if is_random { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % num_reads } else { number };
    (0..num_reads).map(|number| place(number) * len as u64).collect()
}

fn held_reads(criterion: &mut Criterion) {
    let stream = bytes(2, STREAM_BYTES);
    let mut store = Store::new(BOUND);
    let key = store.keep_stream(&stream).key();
    store.writer.seal().unwrap();
    let path = store.folder.path().join("plain");
    std::fs::write(&path, &stream).unwrap();
    let (plain, reader) = (File::open(&path).unwrap(), store.shared.reader());
    for (len, is_random) in [(4 << 10, false), (4 << 10, true), (128 << 10, false), (128 << 10, true)] {
        let order = if is_random { "random" } else { "sequential" };
        let (offsets, mut buffer, mut run) = (offsets(len, is_random), vec![0; len], HeldRun::default());
        for offset in &offsets {
            let read = reader.read_blocking(key, *offset, &mut buffer, &mut run).unwrap();
            assert_eq!(read, Held::Bytes(len));
            assert!(buffer == stream[*offset as usize..][..len], "wrong bytes at {offset}");
        }
        let mut group = criterion.benchmark_group(format!("read_{}_kib_held_{order}", len >> 10));
        group.throughput(Throughput::Bytes(len as u64));
        let mut next = offsets.iter().cycle();
        group.bench_function("baseline_pread", |bencher| {
            bencher.iter(|| plain.read_exact_at(&mut buffer, *next.next().unwrap()).unwrap());
        });
        let (mut next, mut num_waits) = (offsets.iter().cycle(), 0_u64);
        group.bench_function("store", |bencher| {
            bencher.iter(|| {
                let offset = *next.next().unwrap();
                let mut read = reader.read_now(key, offset, &mut buffer, &mut run).unwrap();
                // somebody else has filled the page cache: asked again, as a daemon does
                if read == Held::WouldBlock {
                    num_waits += 1;
                    read = reader.read_blocking(key, offset, &mut buffer, &mut run).unwrap();
                }
                assert_eq!(read, Held::Bytes(len));
            });
        });
        println!("reads that had to wait for the disk: {num_waits}");
        group.finish();
    }
}

/// The chunks of a content of a large index.
fn tiny_pieces(bytes: &[u8]) -> Vec<Piece> {
    let piece = |(number, bytes): (usize, &[u8])| Piece {
        offset: number as u64 * u64::from(TINY_CHUNK_BYTES),
        len: bytes.len() as u32,
        hash: ChunkHash::of(bytes),
    };
    bytes.chunks(TINY_CHUNK_BYTES as usize).enumerate().map(piece).collect()
}

const TINY_CONTENT_BYTES: u64 = (TINY_CHUNK_BYTES * CHUNKS_PER_CONTENT) as u64;

/// A store with so many chunks, as the next daemon finds it, and its contents.
fn filled(num_chunks: u64, bound: u64) -> (Store, Vec<Content>) {
    let mut store = Store::new(bound);
    let keep = |number| {
        let content = store.next_content(TINY_CONTENT_BYTES);
        let bytes = bytes(number, TINY_CONTENT_BYTES as usize);
        store.keep(&content, &tiny_pieces(&bytes), &bytes);
        content
    };
    let contents = (0..num_chunks / u64::from(CHUNKS_PER_CONTENT)).map(keep).collect();
    store.writer.seal().unwrap();
    let Store { shared, writer, folder, .. } = store;
    drop((shared, writer));
    (Store::over(folder, bound), contents)
}

fn look_up(reader: &dyn ReadStore, content: &Content) {
    let missing = reader.missing(content.key(), TINY_CONTENT_BYTES, 0..TINY_CONTENT_BYTES).unwrap();
    assert!(missing.is_empty(), "all is held");
}

fn index(criterion: &mut Criterion) {
    let asked = std::env::var("MUSICFS_BENCH_CHUNKS").ok().and_then(|text| text.parse().ok());
    let num_chunks: u64 = asked.unwrap_or(MANY_CHUNKS);
    let mut group = criterion.benchmark_group("look_up_the_chunks_of_a_content");
    group.throughput(Throughput::Elements(u64::from(CHUNKS_PER_CONTENT)));
    // what was just written is still being compacted
    group.warm_up_time(Duration::from_secs(5));
    for (name, num_chunks) in [("baseline", FEW_CHUNKS), ("store", num_chunks)] {
        let (store, contents) = filled(num_chunks, MANY_CHUNKS.max(num_chunks) * REAL_CHUNK_BYTES);
        let reader = store.shared.reader();
        let mut next = scattered(&contents);
        group.bench_function(format!("{name}_{num_chunks}_chunks"), |bencher| {
            bencher.iter(|| look_up(reader.as_ref(), next.next().unwrap()));
        });
    }
    let num_contents = num_chunks / u64::from(CHUNKS_PER_CONTENT);
    let tables: Vec<Vec<Piece>> =
        (0..num_contents).map(|number| tiny_pieces(&bytes(number, TINY_CONTENT_BYTES as usize))).collect();
    let located = tables.iter().flatten().enumerate().map(|(at, piece)| (piece.hash, (at as u64, piece.len)));
    let locations: HashMap<ChunkHash, (u64, u32)> = located.collect();
    let mut next = scattered(&tables);
    group.bench_function(format!("baseline_hash_map_{num_chunks}_chunks"), |bencher| {
        bencher.iter(|| {
            let found = next.next().unwrap().iter().filter(|piece| locations.contains_key(&piece.hash)).count();
            assert_eq!(found, CHUNKS_PER_CONTENT as usize);
        });
    });
    group.finish();
}

/// All of them again and again, in an order in which neighbours are far from each other.
fn scattered<T>(all: &[T]) -> impl Iterator<Item = &T> {
    // about the golden section of what there is: every prefix is spread evenly
    let stride = (all.len() * 618 / 1000).max(1);
    (0..).map(move |number: usize| &all[number.wrapping_mul(stride) % all.len()])
}

/// Everything from here on, threads that begin later included, runs on one processor.
fn stay_on_one_processor() {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let mut one = rustix::thread::CpuSet::new();
    one.set((0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap());
    rustix::thread::sched_setaffinity(None, &one).unwrap();
}

/// Short: what is compared differs by more than what longer runs would settle.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group!(name = benches; config = quick(); targets = ingest, held_reads, index);

fn main() {
    stay_on_one_processor();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
