//! What a tag scan may cost: a few small ranges, whatever the size of the embedded art.
//!
//! Each file is an origin of its own, so that the fetcher's metrics are those of one file. The bounds are the product's
//! promise: 128 KiB and 3 requests, 384 KiB where an M4A keeps its index at the end.

use std::fs;

use crate::support::encode::with_art;
use crate::support::metrics::sum;
use crate::support::music::Track;
use crate::support::require;
use crate::support::sandbox::Sandbox;
use crate::support::tree::files;

const USUAL_BYTES: u64 = 128 * 1024;
const MOOV_LAST_BYTES: u64 = 384 * 1024;
const REQUESTS: u64 = 3;

const BYTES: &str = "musicfs_fetcher_fetched_bytes_total";
const NUM_REQUESTS: &str = "musicfs_fetcher_requests_total";

#[test]
fn tag_scan_of_files_with_large_art_reads_a_few_small_ranges() {
    require!("ffmpeg");
    let home = Sandbox::new();
    let mut command = home.mount_command();
    let mut origins = Vec::new();
    for entry in fs::read_dir(with_art()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(fs::metadata(&file).unwrap().len() > 1_400_000, "{name} should have large art");
        let origin = name.replace('.', "-");
        let folder = home.path(&origin);
        fs::create_dir(&folder).unwrap();
        fs::copy(&file, folder.join(&name)).unwrap();
        command.arg("--origin").arg(format!("{origin}={}", folder.display()));
        origins.push((origin, if name == "last.m4a" { MOOV_LAST_BYTES } else { USUAL_BYTES }));
    }
    let daemon = home.start_with(&mut command);
    let text = daemon.metrics();
    for (origin, bound) in &origins {
        let labels = [("origin", origin.as_str()), ("purpose", "tags")];
        let (bytes, requests) = (sum(&text, BYTES, &labels), sum(&text, NUM_REQUESTS, &labels));
        assert!((1..=*bound).contains(&bytes), "{origin}: {bytes} bytes in {requests} requests, allowed are {bound}");
        assert!((1..=REQUESTS).contains(&requests), "{origin}: {requests} requests for {bytes} bytes");
    }
    assert_eq!(sum(&text, "musicfs_fetcher_permit_bytes", &[]), 0, "nothing is under way any more");
    assert_eq!(sum(&text, "musicfs_fetcher_permit_wait_seconds_total", &[]), 0, "so few small ranges wait for nothing");
    let tracks = files(&home.mnt()).into_iter().filter(|path| path.starts_with("Artist/Album (2020)/0")).count();
    assert_eq!(tracks, origins.len(), "every file's tags were read: {:?}", files(&home.mnt()));
    daemon.stop();
}

#[test]
fn second_start_reads_no_tags_of_unchanged_files() {
    let home = Sandbox::new();
    for number in 1..=20 {
        home.put(&format!("{number}.flac"), &Track::new("A", "B", number, "T").flac());
    }
    let daemon = home.start();
    let labels = [("purpose", "tags")];
    assert!(sum(&daemon.metrics(), NUM_REQUESTS, &labels) >= 20);
    daemon.stop();
    let daemon = home.start();
    daemon.idle();
    assert_eq!(sum(&daemon.metrics(), NUM_REQUESTS, &labels), 0);
    assert_eq!(files(&home.mnt()).len(), 20);
    daemon.stop();
}

#[test]
fn listing_and_stat_through_the_mount_read_nothing_of_the_origin() {
    let home = Sandbox::new();
    home.put("1.flac", &Track::new("A", "B", 1, "T").flac());
    let daemon = home.start();
    let requests =
        |text: &str| sum(text, NUM_REQUESTS, &[]) + sum(text, "musicfs_fetcher_calls_total", &[("op", "stat")]);
    let before = requests(&daemon.metrics());
    for _ in 0..10 {
        for entry in fs::read_dir(home.shown("A/B (2020)")).unwrap() {
            entry.unwrap().metadata().unwrap();
        }
    }
    assert_eq!(requests(&daemon.metrics()), before);
    daemon.stop();
}
