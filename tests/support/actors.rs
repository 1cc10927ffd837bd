//! What `musicfs actors` says, as numbers.
//!
//! Counts are since the start of the daemon and exact, so that a test can say how often an actor failed, and that no other
//! one did.

use std::collections::BTreeMap;

use serde_json::Value;

use super::daemon::Daemon;

/// One actor's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) running: bool,
    pub(crate) parked: bool,
    pub(crate) failed: u64,
    pub(crate) waiting: u64,
    pub(crate) restarts: u64,
    pub(crate) last_error: String,
}

fn numbers(row: &Value) -> Numbers {
    let count = |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"));
    Numbers {
        running: row["running"] == true,
        parked: row["parked"] == true,
        failed: count("num_failed"),
        waiting: count("num_waiting"),
        restarts: count("num_restarts"),
        last_error: row["last_error"]["text"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Every actor by name.
#[track_caller]
pub(crate) fn actors(daemon: &Daemon<'_>) -> BTreeMap<String, Numbers> {
    let out = daemon.cli(&["actors", "--json"]).ok().out();
    let reply: Value = serde_json::from_str(&out).expect("JSON");
    let rows = reply["actors"].as_array().expect("rows");
    rows.iter().map(|row| (row["name"].as_str().expect("a name").to_owned(), numbers(row))).collect()
}

/// How often each actor was started again, without those that never were.
#[track_caller]
pub(crate) fn restarts(daemon: &Daemon<'_>) -> BTreeMap<String, u64> {
    let rows = actors(daemon).into_iter().map(|(name, numbers)| (name, numbers.restarts));
    rows.filter(|(_, restarts)| *restarts > 0).collect()
}
