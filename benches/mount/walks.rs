//! Looking at the library: walks with a stat of everything, listings of one large folder, single stats.
//!
//! Baselines are the same tree on the disk below, and other programs that mount it. "Warm" means walked before: the kernel
//! then has the attributes, and what is left is the listing of folders, which a FUSE filesystem answers itself.

use std::io;
use std::path::{Path, PathBuf};

use super::measure::{in_turns, list, stats, timed, walk};
use super::peers::{MountedPeer, PEERS};
use super::report::{Report, Samples, Target};
use super::{Bench, measure};
use musicfs_benches::library::Track;

/// Rounds of a warm walk.
const NUM_WALKS: usize = 5;
/// The largest library that peers are measured on: rclone walks some ten thousand files a second.
const MAX_PEER_TRACKS: u64 = 200_000;
/// Rounds of a listing.
const NUM_LISTINGS: usize = 15;
/// Single stats.
const NUM_STATS: u64 = 20_000;
/// Entries of the large folder.
const FOLDER_TRACKS: u64 = 10_000;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let (origin, home) = bench.albums()?;
    let mut daemon = home.start()?;
    daemon.first_listing()?;
    daemon.wait("scanned")?;
    daemon.wait("idle")?;
    walks(bench, report, &home.mnt(), &origin)?;
    single_stats(bench, report, &home.mnt(), &origin)?;
    daemon.stop()?;
    large_folder(bench, report)
}

fn walks(bench: &Bench, report: &mut Report, mnt: &Path, origin: &Path) -> io::Result<()> {
    let (first, num_files) = timed(|| walk(mnt))?;
    assert_eq!(num_files, bench.num_tracks, "the mount shows every track");
    let (disk, _) = timed(|| walk(origin))?;
    let (first, disk) = (Samples::millis("musicfs", vec![first]), Samples::millis("disk", vec![disk]));
    report.row("walk with stat, first", &first, &[disk], &Target::None);
    let mounted = mount_peers(bench, report, origin)?;
    let mut folders = vec![("musicfs", mnt.to_owned()), ("disk", origin.to_owned())];
    folders.extend(mounted.iter().map(|(name, peer)| (*name, peer.mnt.clone())));
    for (_, folder) in &folders {
        walk(folder)?;
    }
    let times = in_turns(NUM_WALKS, &folders, |(_, folder)| Ok(timed(|| walk(folder))?.0))?;
    let samples: Vec<Samples> =
        folders.iter().zip(times).map(|((name, _), times)| Samples::millis(name, times)).collect();
    report.row("walk with stat, warm", &samples[0], &samples[1..], &Target::RatioAtMost(4.0));
    Ok(())
}

fn mount_peers(bench: &Bench, report: &mut Report, origin: &Path) -> io::Result<Vec<(&'static str, MountedPeer)>> {
    let mut mounted = Vec::new();
    if bench.num_tracks > MAX_PEER_TRACKS {
        report.left_out("walks by peers", "a walk of such a library takes them minutes");
        return Ok(mounted);
    }
    for peer in &PEERS {
        match peer.mount(origin, &bench.folder.join(format!("peer-{}", peer.name)))? {
            Some(peer_mount) => mounted.push((peer.name, peer_mount)),
            None => report.left_out(peer.name, "it is not installed"),
        }
    }
    Ok(mounted)
}

fn single_stats(bench: &Bench, report: &mut Report, mnt: &Path, origin: &Path) -> io::Result<()> {
    let count = NUM_STATS.min(bench.num_tracks);
    // every so many-th track, so that no two are neighbours
    let stride = bench.num_tracks / count;
    let paths: Vec<PathBuf> = (0..count).map(|index| Track::of_albums(index * stride).path()).collect();
    stats(mnt, &paths)?;
    stats(origin, &paths)?;
    let ours = Samples::micros("musicfs", stats(mnt, &paths)?);
    let disk = Samples::micros("disk", stats(origin, &paths)?);
    report.row("stat, warm, p50", &ours, std::slice::from_ref(&disk), &Target::AtMost(1000.0));
    report.row("stat, warm, p99", &ours.at_percentile(99), &[disk.at_percentile(99)], &Target::AtMost(1000.0));
    // names that are not there are asked for once each: what the daemon answers by itself
    let missing: Vec<PathBuf> = paths.iter().map(|path| path.with_extension("lrc")).collect();
    let ask = |root: &Path| {
        let one = |path: &PathBuf| measure::timed(|| Ok(std::fs::symlink_metadata(root.join(path)).is_err()));
        missing.iter().map(|path| one(path).map(|(time, _)| time)).collect::<io::Result<Vec<_>>>()
    };
    let ours = Samples::micros("musicfs", ask(mnt)?);
    let disk = Samples::micros("disk", ask(origin)?);
    report.row("lookup answered by the daemon, p50", &ours, std::slice::from_ref(&disk), &Target::AtMost(1000.0));
    let (ours, disk) = (ours.at_percentile(99), disk.at_percentile(99));
    report.row("lookup answered by the daemon, p99", &ours, &[disk], &Target::AtMost(1000.0));
    Ok(())
}

fn large_folder(bench: &Bench, report: &mut Report) -> io::Result<()> {
    let (origin, home) = bench.library(&format!("folder-{FOLDER_TRACKS}"), FOLDER_TRACKS, Track::of_one_folder)?;
    let mut daemon = home.start()?;
    daemon.first_listing()?;
    daemon.wait("scanned")?;
    daemon.wait("idle")?;
    let below = Track::of_one_folder(0).path();
    let below = below.parent().unwrap();
    let folders = [home.mnt().join(below), origin.join(below)];
    for folder in &folders {
        assert_eq!(list(folder)?, FOLDER_TRACKS);
    }
    let times = in_turns(NUM_LISTINGS, &folders, |folder| Ok(timed(|| list(folder))?.0))?;
    let [ours, disk] = <[Vec<_>; 2]>::try_from(times).unwrap();
    let (ours, disk) = (Samples::millis("musicfs", ours), Samples::millis("disk", disk));
    report.row("listing of 10,000 entries", &ours, &[disk], &Target::AtMost(50.0));
    daemon.stop()
}
