//! What a service manager hears: a socket of the test stands in for systemd's.
//!
//! READY comes when the library may be looked at, never before; the watchdog is fed while the mount answers; STOPPING
//! comes before the end. The unit as shipped must not take away what `fusermount3` needs.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

/// A message that does not come fails the test; it says nothing about speed.
const PATIENCE: Duration = Duration::from_mins(1);

/// The next message that has this line; others are passed over.
fn hear(manager: &UnixDatagram, line: &str) -> Vec<String> {
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
fn unit_runs_the_daemon_itself_and_leaves_setuid_helpers_their_power() {
    let unit = include_str!("../../systemd/musicfs.service");
    let keys: Vec<&str> = unit.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(unit.contains("\nType=notify\n") && unit.contains("/musicfs mount\n"));
    for breaks_fusermount in ["NoNewPrivileges", "SystemCallFilter", "PrivateTmp", "ProtectHome", "ProtectSystem"] {
        assert!(!keys.contains(&breaks_fusermount), "{breaks_fusermount}");
    }
}
