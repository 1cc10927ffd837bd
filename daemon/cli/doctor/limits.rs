//! Limits of the system: inotify watches and instances, open files.
//!
//! One watch is needed per folder and one instance per origin. Other programs of the user count against the same limits,
//! so a limit that just fits is too low in practice; what they need is not known, so only certain shortage is reported.

use std::fs;

use super::Finding;
use super::world::World;

/// Instances that the desktop and editors of a user take besides.
const OTHER_INSTANCES: u64 = 16;

/// The least number of open files with which a library works well: the database has 256, and each file that a player holds
/// open is one.
const MIN_DESCRIPTORS: u64 = 4096;

/// What is asked for instead.
const WANTED_DESCRIPTORS: u64 = 65_536;
const WANTED_INSTANCES: u64 = 1024;
const WANTED_WATCHES: u64 = 524_288;

/// `num_folders` that are to be watched, in `num_origins`.
pub(super) fn inotify(world: &World, num_folders: u64, num_origins: u64) -> Vec<Finding> {
    let limit = |name: &str| fs::read_to_string(world.inotify.join(name)).ok()?.trim().parse::<u64>().ok();
    let raise = |name: &str, value: u64| {
        format!(
            "echo fs.inotify.{name}={value} | {0}tee /etc/sysctl.d/90-musicfs-{name}.conf && {0}sysctl --system",
            world.sudo()
        )
    };
    let watches = limit("max_user_watches").filter(|&limit| limit < num_folders).map(|limit| {
        let what = format!("{num_folders} folders are to be watched and the system grants {limit} watches");
        let why = "origins that find no watches are compared once in a while instead, so changes show late";
        let wanted = num_folders.saturating_mul(2).next_power_of_two().max(WANTED_WATCHES);
        Finding::problem("inotify", what, why, raise("max_user_watches", wanted))
    });
    let needed = num_origins + OTHER_INSTANCES;
    let instances = limit("max_user_instances").filter(|&limit| limit < needed).map(|limit| {
        let what = format!(
            "the system grants {limit} inotify instances; {num_origins} origins and other programs need {needed}"
        );
        let why = "an origin without an instance is compared once in a while instead, so changes show late";
        Finding::problem("inotify", what, why, raise("max_user_instances", WANTED_INSTANCES))
    });
    [watches, instances].into_iter().flatten().collect()
}

/// The open files of the daemon when there is one, else those that one started from here would be granted.
pub(super) fn descriptors(world: &World, daemon: Option<u32>) -> Option<Finding> {
    let of_daemon = daemon.and_then(|pid| fs::read_to_string(world.proc.join(format!("{pid}/limits"))).ok());
    let granted = match of_daemon {
        Some(text) => text.lines().find_map(soft_limit)?,
        None => world.max_descriptors?,
    };
    (granted < MIN_DESCRIPTORS).then(|| {
        let what = format!("the daemon may open {granted} files at a time");
        let why = "with more open, reads fail; a scan by a media server opens thousands";
        let line = format!("{} hard nofile {WANTED_DESCRIPTORS}", world.user);
        let mend =
            format!("echo '{line}' | {}tee /etc/security/limits.d/musicfs.conf  # then log in again", world.sudo());
        Finding::problem("descriptors", what, why, mend)
    })
}

/// The soft limit in a line of `/proc/PID/limits`, which the daemon has raised as far as it may.
fn soft_limit(line: &str) -> Option<u64> {
    line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()
}
