//! What happens when something breaks: the process is killed, the root vanishes, a folder cannot be read, bytes lie.
//!
//! The fault is made where it happens in life, at the process or at the origin, never inside the daemon. After each one
//! the question is the same: is everything that was known still there, under the same inode numbers? What takes bytes from
//! outside apart is also run without a daemon, on mutated inputs (`fuzz`).
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod fuzz;
mod hostile_files;
mod hostile_peer;
mod kill;
mod kill_points;
mod resuming;
mod shutdown;
mod stuck;
mod supervision;
mod watching;

/// Deaths in a run of all tests: `MUSICFS_KILLS`, a tenth of the long run's unless it says otherwise.
fn num_kills() -> usize {
    std::env::var("MUSICFS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// A test's share of the deaths that are more than one at each step of each scene.
fn more_kills(percent: usize) -> usize {
    (num_kills().saturating_sub(kill_points::num_first_deaths()) * percent).div_ceil(100)
}
mod stopped_reader;
