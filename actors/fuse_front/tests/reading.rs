//! Bytes: every way to read a file through the mount gives the file's own.
//!
//! pread, mmap, sendfile, splice, reads beyond the end, reads that must wait for the disk.
//! Files are served by the reader of local origins or by a fake that withholds them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use musicfs_protocol::pool::{Job, Pool, PoolError, ThreadPerJob};
use musicfs_protocol::{EventFilter, Happening};
use musicfs_pure::ids::OriginPath;

use super::{Library, Wishes, pattern, run, shell, wait_until};

/// Larger than a request of the kernel, and no multiple of anything.
const LARGE_BYTES: usize = 3 * 1024 * 1024 + 777;

/// Compares reads at many offsets and of many sizes with the bytes.
fn assert_reads_equal(file: &File, bytes: &[u8]) {
    for (offset, len) in [(0, 1), (0, 4096), (1, 4095), (131_071, 131_074), (1 << 20, 2 << 20), (LARGE_BYTES - 5, 4096)]
    {
        let mut buffer = vec![0; len];
        let read = file.read_at(&mut buffer, offset as u64).expect("read");
        let expected = &bytes[offset..bytes.len().min(offset + len)];
        assert_eq!(&buffer[..read], expected, "at {offset}");
    }
    let mut buffer = [0; 16];
    assert_eq!(file.read_at(&mut buffer, bytes.len() as u64).expect("at the end"), 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40).expect("far beyond"), 0);
}

#[test]
fn bytes_read_from_memory_equal_the_plain_file() {
    let Some(library) = Library::new() else { return };
    let bytes = pattern(LARGE_BYTES, 1);
    library.add_file("a.flac", &bytes);
    assert_reads_equal(&File::open(library.path("a.flac")).expect("opened"), &bytes);
    let mut all = Vec::new();
    File::open(library.path("a.flac")).expect("opened").read_to_end(&mut all).expect("read");
    assert!(all == bytes);
    assert!(library.metrics.fuse_read_bytes.get() >= LARGE_BYTES as u64);
    assert!(library.count("read", true) > 0 && library.count("open", true) == 2);
}

#[test]
fn open_is_published_while_somebody_follows_it() {
    let Some(library) = Library::new() else { return };
    library.add_file("a.flac", b"x");
    let open = || drop(File::open(library.path("a.flac")).expect("opened"));
    open();
    assert_eq!(library.events.snapshot().published, 0, "nobody listened");
    let mut follower = library.events.follow(EventFilter::default());
    open();
    let events: Vec<_> = std::iter::from_fn(|| follower.next().now_or_never()).flat_map(|batch| batch.events).collect();
    let opened = Happening::FileOpened { origin: super::origin(), path: OriginPath::parse(b"a.flac").expect("a path") };
    assert_eq!(events.iter().map(|event| &event.what).collect::<Vec<_>>(), [&opened]);
    drop(follower);
    open();
    assert_eq!(library.events.snapshot().published, 1);
}

#[test]
fn bytes_read_on_the_pool_equal_the_plain_file() {
    let Some(library) = Library::new() else { return };
    let bytes = pattern(LARGE_BYTES, 2);
    library.add_file("a.flac", &bytes);
    library.reader.disk.cold.store(true, Ordering::Relaxed);
    assert_reads_equal(&File::open(library.path("a.flac")).expect("opened"), &bytes);
    assert_eq!(library.edge.num_waiting(), 0);
}

#[test]
fn hundred_readers_at_once_each_get_their_bytes() {
    let Some(library) = Library::new() else { return };
    let bytes = Arc::new(pattern(LARGE_BYTES, 3));
    library.add_file("a.flac", &bytes);
    let path = library.path("a.flac");
    std::thread::scope(|scope| {
        for reader in 0..100_usize {
            let (path, bytes) = (&path, &bytes);
            scope.spawn(move || {
                let file = File::open(path).expect("opened");
                let mut buffer = [0; 4096];
                for step in 0..20 {
                    let offset = (reader * 7919 + step * 104_729) % (LARGE_BYTES - 4096);
                    file.read_exact_at(&mut buffer, offset as u64).expect("read");
                    assert_eq!(buffer, bytes[offset..offset + 4096]);
                }
            });
        }
    });
    wait_until("all handles are released", || library.edge.num_open_files() == 0);
}

/// Prints the checksum of a file read by read, by a private map, by a shared map and by sendfile.
const EVERY_WAY: &str = r#"
import hashlib, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
def show(data): print(hashlib.sha256(data).hexdigest())
show(os.pread(fd, size, 0))
for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
    with mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ) as m: show(m[:])
out = os.memfd_create("copy")
sent = 0
while sent < size:
    n = os.sendfile(out, fd, sent, size - sent)
    assert n > 0
    sent += n
show(os.pread(out, size, 0))
r, w = os.pipe()
moved = b""
while len(moved) < size:
    n = os.splice(fd, w, min(65536, size - len(moved)), offset_src=len(moved)) if hasattr(os, "splice") else 0
    if n == 0: moved = os.pread(fd, size, 0); break
    moved += os.read(r, n)
show(moved)
"#;

fn every_way(library: &Library, name: &str) -> Vec<String> {
    let script = library.dir.path().join("ways.py");
    std::fs::write(&script, EVERY_WAY).expect("written");
    let output = run(&format!("python3 {} {}", script.display(), library.path(name).display()));
    output.lines().map(str::to_owned).collect()
}

#[test]
fn maps_and_sendfile_show_the_file_and_after_an_edit_the_edited_one() {
    let Some(library) = Library::new() else { return };
    if !shell("command -v python3 >/dev/null").status().expect("sh").success() {
        println!("skipped: no python3 to map a file with");
        return;
    }
    library.add_file("a.flac", &pattern(LARGE_BYTES, 4));
    for round in 5..8 {
        let sum = run(&format!("sha256sum < {}", library.origin_path("a.flac").display()));
        let expected = sum.split_whitespace().next().expect("a sum").to_owned();
        assert_eq!(every_way(&library, "a.flac"), vec![expected; 5], "round {round}");
        // in place and of the same size; the catalog has not noticed yet
        let file = File::options().write(true).open(library.origin_path("a.flac")).expect("opened");
        file.write_all_at(&pattern(LARGE_BYTES, round), 0).expect("edited");
    }
    println!("past the page cache: {}", library.edge.opens_direct());
}

#[test]
fn edit_in_place_shows_through_an_open_handle_as_with_the_plain_file() {
    let Some(library) = Library::new() else { return };
    if !library.edge.opens_direct() {
        println!("skipped: this kernel cannot map files that bypass its page cache");
        return;
    }
    library.add_file("a.flac", b"old bytes");
    let file = File::open(library.path("a.flac")).expect("opened");
    let mut buffer = [0; 32];
    assert_eq!(file.read_at(&mut buffer, 0).expect("read"), 9);
    std::fs::write(library.origin_path("a.flac"), b"new and longer").expect("edited");
    let read = file.read_at(&mut buffer, 0).expect("read");
    assert_eq!(&buffer[..read], b"new and longer");
}

#[test]
fn read_stuck_in_a_dead_disk_is_answered_at_its_deadline_and_delays_nobody() {
    let Some(library) = Library::new() else { return };
    library.add_file("stuck.flac", &pattern(100_000, 9));
    library.add_file("held.flac", b"held");
    let disk = Arc::clone(&library.reader.disk);
    let opened = File::open(library.path("held.flac")).expect("opened");
    disk.set_stuck(true);
    disk.cold.store(true, Ordering::Relaxed);
    let script = format!("head -c 1 {}", library.path("stuck.flac").display());
    let readers: Vec<_> =
        (0..64).map(|_| shell(&script).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh")).collect();
    wait_until("all of them wait", || library.edge.num_waiting() == 64);

    disk.cold.store(false, Ordering::Relaxed);
    let mut buffer = [0; 4];
    opened.read_exact_at(&mut buffer, 0).expect("held read");
    assert_eq!(&buffer, b"held");
    assert!(run(&format!("ls {}", library.path("").display())).contains("stuck.flac"));

    library.edge.tick(Instant::now());
    assert_eq!(library.edge.num_waiting(), 64, "none is given up early");
    library.edge.tick(Instant::now() + Duration::from_secs(18));
    for reader in readers {
        let output = reader.wait_with_output().expect("ended");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Input/output error"), "{output:?}");
    }
    disk.set_stuck(false);
    assert_eq!(run(&format!("head -c 4 {}", library.path("held.flac").display())), "held");
}

/// A pool that refuses a number of jobs before it takes one.
struct BusyPool {
    refusals: AtomicU32,
}

impl Pool for BusyPool {
    fn submit(&self, job: Job) -> Result<(), PoolError> {
        let refuse = |left: u32| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse) {
            Ok(_) => Err(PoolError::Full),
            Err(_) => ThreadPerJob.submit(job),
        }
    }
}

#[test]
fn read_that_a_full_pool_refuses_is_tried_again_until_it_is_taken() {
    let pool = Arc::new(BusyPool { refusals: AtomicU32::new(3) });
    let Some(library) = Library::with(Wishes { pool: pool.clone(), ..Wishes::default() }) else { return };
    library.add_file("a.flac", b"patience");
    library.reader.disk.cold.store(true, Ordering::Relaxed);
    let reader = shell(&format!("cat {}", library.path("a.flac").display()));
    let reader = { reader }.stdout(Stdio::piped()).spawn().expect("sh");
    wait_until("it was taken", || {
        library.edge.tick(Instant::now());
        pool.refusals.load(Ordering::Relaxed) == 0 && library.edge.num_waiting() == 0
    });
    let output = reader.wait_with_output().expect("ended");
    assert_eq!(output.stdout, b"patience");
}

#[test]
fn what_waits_is_refused_when_the_daemon_stops() {
    let Some(library) = Library::new() else { return };
    library.add_file("a.flac", b"bytes");
    library.reader.disk.set_stuck(true);
    library.reader.disk.cold.store(true, Ordering::Relaxed);
    let reader = shell(&format!("cat {}", library.path("a.flac").display()));
    let reader = { reader }.stderr(Stdio::piped()).spawn().expect("sh");
    wait_until("it waits", || library.edge.num_waiting() == 1);
    library.edge.refuse_waiting();
    assert!(!reader.wait_with_output().expect("ended").status.success());
    let again = shell(&format!("cat {}", library.path("a.flac").display())).output().expect("sh");
    assert!(!again.status.success(), "nothing waits any more");
    library.reader.disk.set_stuck(false);
}
