//! What a service manager hears: a socket of the test stands in for systemd's.
//!
//! READY comes when the library may be looked at, never before; the watchdog is fed while the mount answers; STOPPING
//! comes before the end. The unit as shipped must not take away what `fusermount3` needs.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::failpoints::Failpoints;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

/// A message that does not come fails the test; it says nothing about speed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The next message that has this line; others are passed over.
#[track_caller]
pub(crate) fn hear(manager: &UnixDatagram, line: &str) -> Vec<String> {
    let mut buffer = [0; 4096];
    loop {
        let len = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{line} never came: {error}"));
        let lines: Vec<String> = String::from_utf8_lossy(&buffer[..len]).lines().map(str::to_owned).collect();
        if lines.iter().any(|heard| heard == line) {
            return lines;
        }
    }
}

#[test]
fn manager_hears_ready_with_figures_then_the_watchdog_then_stopping() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = home.mount_command();
    command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "200000");
    let daemon = home.start_with(&mut command);
    let ready = hear(&manager, "READY=1");
    assert!(ready.contains(&"STATUS=1 tracks of 1 files".to_owned()), "{ready:?}");
    assert!(home.shown("Artist/Album (2020)/01 - One.flac").exists());
    hear(&manager, "WATCHDOG=1");
    hear(&manager, "WATCHDOG=1");
    daemon.cli(&["stop"]).ok();
    hear(&manager, "STOPPING=1");
    daemon.ended_in_order();
}

#[test]
fn manager_hears_which_origins_are_away_and_nothing_while_the_mount_hangs() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    home.start().stop();
    std::fs::rename(home.origin(), home.path("away")).unwrap();
    let failpoints = Failpoints::new(&home);
    let mut command = home.mount_command();
    command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "300000");
    let daemon = home.start_with(failpoints.arm(&mut command));
    hear(&manager, "STATUS=1 tracks of 1 files; away: a");
    failpoints.set("fuse_front::statfs", "pause");
    home.logged("the watchdog is not fed");
    manager.set_nonblocking(true).unwrap();
    while manager.recv(&mut [0; 4096]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
    daemon.signal(rustix::process::Signal::TERM);
    let mut buffer = [0; 4096];
    let len = manager.recv(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..len]).trim(), "STOPPING=1");
    daemon.ended_in_order();
}

/// What `systemd-analyze security` looks for in a service.
const HARDENING: [&str; 38] = [
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "DeviceAllow",
    "DynamicUser",
    "InaccessiblePaths",
    "IPAddressDeny",
    "LimitCORE",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoExecPaths",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "RemoveIPC",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "RootDirectory",
    "SupplementaryGroups",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "UMask",
    "User",
];

#[test]
fn hardening_is_in_the_unit_or_the_readme_says_why_not() {
    let unit = include_str!("../../systemd/musicfs.service");
    let readme = include_str!("../../systemd/README.md");
    let left_out = readme.split("## Hardening that is left out").nth(1).unwrap();
    let keys: Vec<&str> = unit.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    for key in HARDENING {
        let is_explained = left_out.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{key}=`")));
        assert!(keys.contains(&key) != is_explained, "{key}: in the unit, or in the table of what is not");
    }
}

#[test]
fn unit_runs_the_daemon_itself_under_a_watchdog() {
    let unit = include_str!("../../systemd/musicfs.service");
    for line in ["Type=notify", "ExecStart=%h/.local/bin/musicfs mount", "Restart=on-failure", "WatchdogSec=60"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}
