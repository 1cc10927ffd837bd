//! What every test target shares: a sandbox, a running daemon, music made to order, and tools with a time limit.
//!
//! The tests are black boxes around the binary. A [`Sandbox`] is a temp folder with an origin, a mountpoint and a home of
//! its own, so that nothing of the user's is touched; [`daemon::Daemon`] is the process that serves it and takes the
//! mount away again on every way out, a panic included. Nothing here sleeps to let something happen: it waits on a child,
//! on a lock, or asks `musicfs wait`. No helper may change anything outside the sandbox and the cache of encoded files.
#![allow(dead_code, unused_macros, unused_imports)] // every target compiles this module and uses a part of it

pub(crate) mod actors;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod encode;
pub(crate) mod failpoints;
pub(crate) mod listing;
pub(crate) mod metrics;
pub(crate) mod music;
pub(crate) mod random;
pub(crate) mod readers;
pub(crate) mod sandbox;
pub(crate) mod slot;
pub(crate) mod tree;
pub(crate) mod user;

/// Ends the test, saying what it needs and does not have. The line is also added to the file that `MUSICFS_SKIP_LOG`
/// names, so that `make test` can list what was left out.
macro_rules! require {
    ($($tool:literal),+ $(,)?) => {
        if let Some(reason) = crate::support::missing_tools(&[$($tool),+]) {
            crate::support::skip(module_path!(), &reason);
            return;
        }
    };
}

/// Ends the test unless it runs as root, which it needs in order to be two users.
macro_rules! require_root {
    ($what:literal) => {
        if !rustix::process::geteuid().is_root() {
            crate::support::skip(module_path!(), concat!("needs root to ", $what));
            return;
        }
    };
}

/// A sandbox whose daemon is an ordinary user's; ends the test where such a user cannot mount.
macro_rules! ordinary_sandbox {
    () => {{
        crate::support::require!("setpriv", "fusermount3");
        let home = crate::support::sandbox::Sandbox::ordinary();
        if let Err(error) = crate::support::user::open_fuse_device(&home.path("home")) {
            let reason = format!("/dev/fuse is closed to ordinary users and cannot be opened to them here: {error}");
            crate::support::skip(module_path!(), &reason);
            return;
        }
        home
    }};
}

pub(crate) use {ordinary_sandbox, require, require_root};

/// The first of `tools` that is not in PATH, in words.
pub(crate) fn missing_tools(tools: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |tool: &str| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    let tool = tools.iter().find(|tool| !found(tool))?;
    Some(format!("`{tool}` is not installed; `make deps` installs it where the distribution has it"))
}

/// Notes that a test did not run.
pub(crate) fn skip(test: &str, reason: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or(test).to_owned();
    eprintln!("SKIPPED {name}: {reason}");
    if let Some(log) = std::env::var_os("MUSICFS_SKIP_LOG")
        && let Ok(mut log) = std::fs::OpenOptions::new().append(true).create(true).open(log)
    {
        let _ = writeln!(log, "{name}: {reason}");
    }
}

/// Asks again until the answer is yes, for what no event tells of. The pause only saves processor time: nothing is
/// concluded from it, and an answer that never comes fails the test.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < command::LIMIT, "never happened: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}
