//! Reading one large file that is in memory: from end to end, and 4 KiB at a time.
//!
//! musicfs serves a local file past the page cache, so that an edit in place shows at once; its like is the null
//! filesystem with direct I/O. The one with the page cache and the plain file show what that choice costs when the same
//! bytes are read again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Bench;
use super::measure::{in_turns, random_reads, read_whole, timed};
use super::null_fuse::NullFuse;
use super::peers::{MountedPeer, PEERS};
use super::report::{Report, Samples, Target};
use musicfs_benches::library::Track;

/// Bytes of the file: several seconds of reading in all, and small enough to stay in memory.
const FILE_BYTES: u64 = 256 << 20;
/// Rounds of a whole read.
const NUM_ROUNDS: usize = 7;
/// Single reads.
const NUM_READS: u64 = 20_000;

/// The file's name in the library; the template makes it of no tags, because it has none.
const SHOWN: &str = ".origins/a/large.flac";

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let (origin, home) = bench.library("large-file", 0, Track::of_albums)?;
    make_file(&origin.join("large.flac"))?;
    let mut daemon = home.start()?;
    daemon.first_listing()?;
    daemon.wait("scanned")?;
    let direct = NullFuse::mount(&bench.folder.join("null-direct"), FILE_BYTES, true)?;
    let cached = NullFuse::mount(&bench.folder.join("null-cached"), FILE_BYTES, false)?;
    let mut files = vec![
        ("musicfs".to_owned(), home.mnt().join(SHOWN)),
        ("null (direct)".to_owned(), direct.file.clone()),
        ("null (page cache)".to_owned(), cached.file.clone()),
        ("disk".to_owned(), origin.join("large.flac")),
    ];
    let peers = mount_peers(bench, report, &origin, &mut files)?;
    for (name, file) in &files {
        assert_eq!(read_whole(file, 1 << 20)?, FILE_BYTES, "{name} shows the whole file");
    }
    for (what, buffer_len) in
        [("sequential read, 128 KiB at a time", 128 << 10), ("the same, 1 MiB at a time", 1 << 20)]
    {
        let times = in_turns(NUM_ROUNDS, &files, |(_, file)| Ok(timed(|| read_whole(file, buffer_len))?.0))?;
        let rate = |time: &std::time::Duration| FILE_BYTES as f64 / 1e6 / time.as_secs_f64();
        let samples: Vec<Samples> = files
            .iter()
            .zip(times)
            .map(|((name, _), times)| Samples::new(name, "MB/s", times.iter().map(rate).collect()))
            .collect();
        report.row(what, &samples[0], &samples[1..], &Target::RatioAtLeast(0.65));
    }
    single_reads(report, &files)?;
    drop(peers);
    daemon.stop()
}

fn make_file(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() == FILE_BYTES) {
        return Ok(());
    }
    let mut file = File::create(path)?;
    let track = Track { artist: "A".into(), album: "B".into(), year: 2020, number: 1, title: "Large".into() };
    file.write_all(&track.flac("large"))?;
    let block = vec![0x55; 1 << 20];
    let mut left = FILE_BYTES - fs::metadata(path)?.len();
    while left > 0 {
        let len = left.min(block.len() as u64);
        file.write_all(&block[..len as usize])?;
        left -= len;
    }
    Ok(())
}

fn mount_peers(
    bench: &Bench,
    report: &mut Report,
    origin: &Path,
    files: &mut Vec<(String, PathBuf)>,
) -> io::Result<Vec<MountedPeer>> {
    let mut mounted = Vec::new();
    for peer in &PEERS {
        match peer.mount(origin, &bench.folder.join(format!("peer-{}", peer.name)))? {
            Some(peer_mount) => {
                files.push((peer.name.to_owned(), peer_mount.mnt.join("large.flac")));
                mounted.push(peer_mount);
            }
            None => report.left_out(peer.name, "it is not installed"),
        }
    }
    Ok(mounted)
}

fn single_reads(report: &mut Report, files: &[(String, PathBuf)]) -> io::Result<()> {
    let mut samples = Vec::new();
    for (name, file) in files {
        random_reads(file, FILE_BYTES, NUM_READS)?;
        samples.push(Samples::micros(name, random_reads(file, FILE_BYTES, NUM_READS)?));
    }
    report.row("4 KiB reads at random, p50", &samples[0], &samples[1..], &Target::AtMost(1000.0));
    let tails: Vec<Samples> = samples.iter().map(|samples| samples.at_percentile(99)).collect();
    report.row("4 KiB reads at random, p99", &tails[0], &tails[1..], &Target::None);
    Ok(())
}
