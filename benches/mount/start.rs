//! Starting: the first scan, the time from the start of the process to the first listing, and what stays in memory.
//!
//! The baseline is a daemon with an empty library, started in turns with the large one: what starts in O(1) has a ratio
//! near one whatever the size. Memory is the anonymous part of the resident set, which cannot be given back; it is taken
//! when the daemon is idle after a start that scanned nothing new, and after the first scan.

use std::io;

use super::Bench;
use super::daemon::Home;
use super::report::{Report, Samples, Target};
use musicfs_benches::library::Track;

/// Starts of each daemon.
const NUM_STARTS: usize = 7;

/// What is promised of the first listing, whatever the size.
const FIRST_LISTING_MS: f64 = 500.0;

/// What is promised of memory when idle: up to 100,000 files, and beyond.
const SMALL_TRACKS: u64 = 100_000;
const SMALL_MIB: f64 = 50.0;
const LARGE_MIB: f64 = 150.0;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let (_, home) = bench.albums()?;
    let (_, empty) = bench.library("empty", 0, Track::of_albums)?;
    first_scan(bench, report, &home)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut idle = Vec::new();
    let mut idle_empty = Vec::new();
    scan_once(&empty)?;
    for round in 0..NUM_STARTS {
        for (home, times, memory) in [(&home, &mut ours, &mut idle), (&empty, &mut theirs, &mut idle_empty)] {
            let mut daemon = home.start()?;
            times.push(daemon.first_listing()?.0);
            if round == 0 {
                daemon.wait("scanned")?;
                daemon.wait("idle")?;
                memory.push(daemon.memory_mib("RssAnon")?);
            }
            daemon.stop()?;
        }
    }
    let (ours, theirs) = (Samples::millis("musicfs", ours), Samples::millis("empty library", theirs));
    report.row("start to first listing", &ours, &[theirs], &Target::AtMost(FIRST_LISTING_MS));
    let bound = if bench.num_tracks <= SMALL_TRACKS { SMALL_MIB } else { LARGE_MIB };
    let (ours, theirs) = (Samples::new("musicfs", "MiB", idle), Samples::new("empty library", "MiB", idle_empty));
    report.row("anonymous memory, idle after a start", &ours, &[theirs], &Target::AtMost(bound));
    after_kill(report, &home)
}

fn scan_once(home: &Home) -> io::Result<()> {
    if home.is_scanned() {
        return Ok(());
    }
    let daemon = home.start()?;
    daemon.wait("scanned")?;
    daemon.stop()
}

fn first_scan(bench: &Bench, report: &mut Report, home: &Home) -> io::Result<()> {
    if home.is_scanned() {
        report.left_out("first scan", "the catalog of a run before is used");
        return Ok(());
    }
    home.clear()?;
    let daemon = home.start()?;
    let time = daemon.wait("scanned")?;
    let per_track = |value: f64| value / bench.num_tracks as f64;
    let rate = Samples::new("musicfs", "tracks/s", vec![1.0 / per_track(time.as_secs_f64())]);
    report.row("first scan", &rate, &[], &Target::None);
    daemon.wait("idle")?;
    let memory = Samples::new("musicfs", "MiB", vec![daemon.memory_mib("RssAnon")?]);
    report.row("anonymous memory after the first scan", &memory, &[], &Target::None);
    let used = Samples::new("musicfs", "µs", vec![per_track(daemon.processor_time()?.as_secs_f64() * 1e6)]);
    report.row("processor time of the first scan, per track", &used, &[], &Target::None);
    let state = Samples::new("musicfs", "B", vec![per_track(home.state_bytes()? as f64)]);
    report.row("catalog on disk, per track", &state, &[], &Target::None);
    daemon.stop()
}

/// A daemon that was killed has a log to replay.
fn after_kill(report: &mut Report, home: &Home) -> io::Result<()> {
    let mut orderly = home.start()?;
    orderly.first_listing()?;
    orderly.wait("scanned")?;
    drop(orderly);
    let mut daemon = home.start()?;
    let killed = Samples::millis("musicfs", vec![daemon.first_listing()?.0]);
    report.row("start to first listing after kill -9", &killed, &[], &Target::AtMost(FIRST_LISTING_MS));
    daemon.stop()
}
