//! The mount, measured as a user meets it: start, walk, stat, read, change, at a size that is chosen.
//!
//! `MUSICFS_BENCH_TRACKS` is the size (100,000), `MUSICFS_BENCH_DIR` a folder on a real disk for libraries and daemons,
//! which are kept there for the next run, `MUSICFS_BENCH_KEEP` a folder for the results, `MUSICFS_BENCH_ONLY` a comma-separated
//! choice of sections, `MUSICFS_BIN` the program. Every row has its baseline from the same run: the same tree on the disk
//! below, a daemon with an empty library, a null FUSE filesystem, other programs that mount a folder. A machine that is
//! busy with something else is busy for both, so ratios hold where times do not.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what cannot be measured ends the run

mod daemon;
mod measure;
mod null_fuse;
mod peers;
mod reads;
mod report;
mod start;
mod storm;
mod walks;

use std::io;
use std::path::PathBuf;

use musicfs_benches::library::{self, Track};

use daemon::Home;
use report::Report;

/// Tracks when nothing is said.
const USUAL_TRACKS: u64 = 100_000;

/// What is to be measured, and where.
pub(crate) struct Bench {
    binary: PathBuf,
    folder: PathBuf,
    num_tracks: u64,
    only: Option<String>,
}

impl Bench {
    fn from_env() -> io::Result<Self> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let binary = var("MUSICFS_BIN").ok_or_else(|| io::Error::other("MUSICFS_BIN does not name the program"))?;
        let folder = var("MUSICFS_BENCH_DIR").map_or_else(|| std::env::temp_dir().join("musicfs-bench"), PathBuf::from);
        std::fs::create_dir_all(&folder)?;
        let num_tracks = var("MUSICFS_BENCH_TRACKS").and_then(|text| text.parse().ok()).unwrap_or(USUAL_TRACKS);
        // the daemon is started in another folder
        let binary = PathBuf::from(binary).canonicalize()?;
        Ok(Self { binary, folder: folder.canonicalize()?, num_tracks, only: var("MUSICFS_BENCH_ONLY") })
    }

    /// The library in albums, and a home for its daemon.
    pub(crate) fn albums(&self) -> io::Result<(PathBuf, Home)> {
        self.library(&format!("albums-{}", self.num_tracks), self.num_tracks, Track::of_albums)
    }

    /// A library of its own with a home for its daemon. Both stay for the next run.
    pub(crate) fn library(&self, name: &str, num_tracks: u64, track: fn(u64) -> Track) -> io::Result<(PathBuf, Home)> {
        let origin = self.folder.join(format!("origin-{name}"));
        std::fs::create_dir_all(&origin)?;
        library::make(&origin, num_tracks, track)?;
        let home = Home::new(&self.binary, &self.folder.join(format!("home-{name}")), &origin)?;
        Ok((origin, home))
    }

    fn wants(&self, section: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|wanted| wanted == section))
    }
}

/// Measures one subject and reports it.
type Section = fn(&Bench, &mut Report) -> io::Result<()>;

fn main() -> io::Result<()> {
    let bench = Bench::from_env()?;
    let keep = std::env::var_os("MUSICFS_BENCH_KEEP").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let mut report = Report::new(keep);
    let sections: [(&str, Section); 4] =
        [("start", start::measure), ("walks", walks::measure), ("reads", reads::measure), ("storm", storm::measure)];
    for (name, measure) in sections {
        if bench.wants(name) {
            measure(&bench, &mut report)?;
        }
    }
    let only = bench.only.as_ref().map_or_else(String::new, |only| format!("MUSICFS_BENCH_ONLY={only} "));
    let command = format!("MUSICFS_BENCH_TRACKS={} {only}make bench KEEP=1", bench.num_tracks);
    report.keep(&command, bench.num_tracks)
}
