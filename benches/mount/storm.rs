//! A storm of changes: thousands of files retagged at once, and how long until the mount shows all of them.
//!
//! The cost must grow with the number of changed files and with nothing else, so the baseline of the large storm is a
//! tenth of it, per file: a ratio near one is linear. Events that came in, tags that were read and names that the kernel was
//! told to forget are counted beside the time, and the peak of memory.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Bench;
use super::daemon::Daemon;
use super::measure::timed;
use super::report::{Report, Samples, Target};
use musicfs_benches::library::Track;

/// Files of the large storm; the small one is a tenth.
const STORM_TRACKS: u64 = 10_000;

/// A storm that is linear may still pay for waking up: twice the cost per file is the bound.
const LINEAR: f64 = 2.0;

/// Memory when a storm is at its worst.
const PEAK_MIB: f64 = 500.0;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let (origin, home) = bench.albums()?;
    let mut daemon = home.start()?;
    daemon.first_listing()?;
    daemon.wait("scanned")?;
    daemon.wait("idle")?;
    super::measure::walk(&home.mnt())?;
    let large = STORM_TRACKS.min(bench.num_tracks);
    let salt = format!("{:?}", std::time::SystemTime::now());
    let few = storm(&daemon, &origin, large / 10, &format!("few {salt}"))?;
    let before = counters(&daemon)?;
    let many = storm(&daemon, &origin, large, &format!("many {salt}"))?;
    let per_file = |name: &str, time: Duration, num: u64| Samples::micros(name, vec![time / num as u32]);
    let (ours, baseline) = (per_file("musicfs", many, large), per_file("a tenth of it", few, large / 10));
    let what = format!("storm of {large} retagged files to settled, per file");
    report.row(&what, &ours, &[baseline], &Target::RatioAtMost(LINEAR));
    for ((name, metric), (after, before)) in COUNTERS.iter().zip(counters(&daemon)?.into_iter().zip(before)) {
        let _ = metric;
        let count = Samples::new("musicfs", "per file", vec![(after - before) / large as f64]);
        report.row(&format!("storm: {name}"), &count, &[], &Target::None);
    }
    let peak = Samples::new("musicfs", "MiB", vec![daemon.memory_mib("VmHWM")?]);
    report.row("storm: peak of resident memory, mapped files included", &peak, &[], &Target::AtMost(PEAK_MIB));
    daemon.stop()
}

/// What moves in a storm.
const COUNTERS: [(&str, &str); 4] = [
    ("events", "musicfs_watcher_events_total"),
    ("requests to the origin", "musicfs_fetcher_requests_total"),
    ("changes of the catalog", "musicfs_catalog_changes_total"),
    ("names the kernel was told to forget", "musicfs_invalidator_entries_total"),
];

fn counters(daemon: &Daemon<'_>) -> io::Result<Vec<f64>> {
    COUNTERS.iter().map(|(_, metric)| daemon.metric(metric)).collect()
}

/// Retags so many tracks in place; the time from the first write until the mount has all of it.
fn storm(daemon: &Daemon<'_>, origin: &Path, num_tracks: u64, salt: &str) -> io::Result<Duration> {
    let (time, ()) = timed(|| {
        for index in 0..num_tracks {
            let track = Track::of_albums(index);
            fs::write(origin.join(track.path()), track.flac(salt))?;
        }
        daemon.wait("idle").map(|_| ())
    })?;
    Ok(time)
}
