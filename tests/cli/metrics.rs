//! Metrics: every series is moved by an action that is named here, the text is OpenMetrics, the dashboard shows what exists.
//!
//! A series that is registered and has no row in [`TABLE`] fails, and so does one whose action leaves it where it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::failpoints::Failpoints;
use crate::support::metrics::{assert_openmetrics, families, sum};
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

/// What moves a series.
enum Mover {
    /// It is above 0 once the daemon is there.
    Start,
    /// Something that is done to a running daemon.
    Act(fn(&Sandbox, &Daemon<'_>)),
    /// The same, with a failpoint set.
    Fail(&'static str, &'static str, fn(&Sandbox, &Daemon<'_>)),
    /// A flood, or a state that passes too quickly to be seen from outside: the test of this name in this file makes it.
    UnitTest(&'static str, &'static str),
}
use Mover::{Act, Fail, Start, UnitTest};

const FACTS: Mover = UnitTest("protocol/metrics.rs", "facts_are_shown_under_their_names_in_base_units");

/// Every series by the name that it is registered with, and what moves it. The rows are played in this order.
const TABLE: &[(&str, Mover)] = &[
    ("daemon_uptime_seconds", Start),
    ("daemon_build", Start),
    ("daemon_resident_bytes", Start),
    ("daemon_open_descriptors", Start),
    ("actor_running", Start),
    ("actor_handling_seconds", Start),
    ("health_origin_up", Start),
    ("control_connections", Act(status)),
    ("fuse_requests", Act(read)),
    ("fuse_read_bytes", Act(read)),
    ("fuse_panics", Fail("fuse_front::statfs", "1*panic", ask_for_space)),
    ("fetcher_fetched_bytes", Act(add_a_track)),
    ("fetcher_requests", Act(add_a_track)),
    ("fetcher_calls", Act(rescan)),
    ("fetcher_permit_bytes", UnitTest("protocol/permit.rs", "waiting_is_measured_by_lane")),
    ("fetcher_permit_wait_seconds", UnitTest("protocol/permit.rs", "waiting_is_measured_by_lane")),
    ("invalidator_entries", Act(add_a_track)),
    ("watcher_events", Act(add_a_track)),
    ("watcher_overflows", UnitTest("actors/watcher/inotify.rs", "overflow_is_a_rescan_and_a_rebuild")),
    ("catalog_changes", Act(add_a_track)),
    ("catalog_files", Act(add_a_track)),
    ("catalog_tracks", Act(add_a_track)),
    ("catalog_origin_files", Act(add_a_track)),
    ("actor_handled", Act(rescan)),
    ("actor_waiting", Fail(PAGE_LISTED, "pause", rescan_until_it_is_held)),
    ("actor_queued_seconds", FACTS),
    ("delta_scans", Act(rescan)),
    ("delta_scan_running", Fail(PAGE_LISTED, "pause", rescan_until_it_is_held)),
    ("daemon_pending_changes", Fail(PAGE_LISTED, "pause", rescan_until_it_is_held)),
    ("actor_restarts", Fail("delta_detector::job", "1*panic", rescan)),
    ("events_published", Act(add_a_track)),
    ("events_missed", UnitTest("protocol/event_log.rs", "storm_of_files_is_bounded_and_pushes_out_nothing_else")),
    ("events_followers", FACTS),
    ("delta_quarantined", Act(lose_everything)),
    ("delta_scan_failed", Act(lose_the_root)),
    ("actor_failed", Act(rescan)),
    ("actor_parked", FACTS),
];

/// The middle of a scan.
const PAGE_LISTED: &str = "delta_detector::page_listed";

/// Enough that losing all of them is not believed.
const NUM_TRACKS: u32 = 30;

fn status(_: &Sandbox, daemon: &Daemon<'_>) {
    daemon.cli(&["status"]).ok();
}

fn read(home: &Sandbox, _: &Daemon<'_>) {
    fs::read(home.shown("Artist/Album (2020)/01 - T1.flac")).unwrap();
}

fn ask_for_space(home: &Sandbox, _: &Daemon<'_>) {
    rustix::fs::statvfs(home.mnt()).map(drop).expect_err("a handler that panicked is answered with an error");
}

/// A track that was not there before.
fn add_a_track(home: &Sandbox, daemon: &Daemon<'_>) {
    let number = fs::read_dir(home.origin()).unwrap().count() as u32;
    home.put(&format!("{number}.flac"), &track(number).flac());
    daemon.idle();
}

fn rescan(_: &Sandbox, daemon: &Daemon<'_>) {
    daemon.cli(&["origin", "rescan", "a"]).ok();
    daemon.idle();
}

fn rescan_until_it_is_held(_: &Sandbox, daemon: &Daemon<'_>) {
    daemon.cli(&["origin", "rescan", "a"]).ok();
    eventually("the scan runs", || value(&daemon.metrics(), "delta_scan_running") > 0.0);
}

fn lose_everything(home: &Sandbox, daemon: &Daemon<'_>) {
    for entry in fs::read_dir(home.origin()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    daemon.idle();
}

fn lose_the_root(home: &Sandbox, daemon: &Daemon<'_>) {
    fs::rename(home.origin(), home.path("away")).unwrap();
    rescan(home, daemon);
}

fn track(number: u32) -> Track {
    Track::new("Artist", "Album", number, &format!("T{number}"))
}

/// The sum of a series over its labels.
fn value(text: &str, name: &str) -> f64 {
    let family = format!("musicfs_{name}");
    let names = ["", "_total", "_info"].map(|suffix| format!("{family}{suffix}"));
    let is_of =
        |line: &&str| names.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    text.lines().filter(is_of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The names that `protocol/metrics.rs` registers.
fn registered() -> BTreeSet<&'static str> {
    let source = include_str!("../../protocol/metrics.rs");
    source.split("register(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn every_series_is_in_the_table_of_what_moves_it() {
    let rows: BTreeSet<_> = TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows.len(), TABLE.len(), "a series has one row");
    assert_eq!(rows, registered());
    for (name, mover) in TABLE {
        let UnitTest(file, test) = mover else { continue };
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(source.contains(&format!("fn {test}()")), "{name}: {file} has no test {test}");
    }
}

#[test]
fn metrics_are_openmetrics_text_and_each_is_moved_by_its_action() {
    let home = Sandbox::new();
    for number in 0..NUM_TRACKS {
        home.put(&format!("{number}.flac"), &track(number).flac());
    }
    let failpoints = Failpoints::new(&home);
    let daemon = home.start_with(failpoints.arm(&mut home.mount_command()));
    for (name, mover) in TABLE {
        let before = daemon.metrics();
        assert_openmetrics(&before);
        match mover {
            Start => assert!(value(&before, name) > 0.0, "{name} is not above 0: {before}"),
            Act(act) => act(&home, &daemon),
            Fail(point, actions, act) => {
                failpoints.set(point, actions);
                act(&home, &daemon);
            }
            UnitTest(..) => {}
        }
        if matches!(mover, Act(_) | Fail(..)) {
            // an actor that failed is started again a moment later
            eventually(&format!("{name} is moved"), || value(&daemon.metrics(), name) > value(&before, name));
        }
        if let Fail(point, ..) = mover {
            failpoints.clear(point);
            daemon.idle();
        }
    }
    let known = registered();
    for (family, kind) in families(&daemon.metrics()) {
        let name = family.strip_prefix("musicfs_").unwrap();
        assert!(known.contains(name), "{family}, a {kind}, is not registered");
    }
    daemon.stop();
}

#[test]
fn dashboard_shows_series_that_exist() {
    let text = include_str!("../../systemd/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() >= 8));
    let known = registered();
    let mut shown = BTreeSet::new();
    for rest in text.split("musicfs_").skip(1) {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let plain = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(&name).to_owned();
        assert!(known.contains(plain.as_str()), "the dashboard names musicfs_{name}, which is no series");
        shown.insert(plain);
    }
    assert!(shown.len() >= 15, "{shown:?}");
}

#[test]
fn label_with_quotes_and_backslashes_is_text_that_parsers_take() {
    let sample = "# HELP a B.\n# TYPE a counter\na_total{l=\"x\\\"y\\\\\"} 1\n# EOF\n";
    assert_openmetrics(sample);
    for broken in
        ["a_total{l=\"x\"} 1 2", "a{l=\"x\"} 1", "a_total{l=x} 1", "a_total 1 # {} 1", "b_total 1", "a_total -1"]
    {
        let text = format!("# HELP a B.\n# TYPE a counter\n{broken}\n# EOF\n");
        let refused = std::panic::catch_unwind(|| assert_openmetrics(&text));
        assert!(refused.is_err(), "{broken}");
    }
    assert_eq!(sum(sample, "a_total", &[]), 1);
}
