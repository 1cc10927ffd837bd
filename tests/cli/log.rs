//! The daemon's log: under systemd it goes to the journal with its fields, and repeats itself nowhere.
//!
//! The journal is a socket of the test, put where the system's would be in a mount namespace of the daemon's own, which
//! only root can make.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::{command, require, require_root};

/// Puts the socket `$0` where the journal's is, then runs the rest.
const AT_THE_JOURNAL: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
    ln -s \"$0\" /run/systemd/journal/socket && exec \"$@\"";

/// The fields of one entry in the journal's native protocol: `NAME=value`, or the name, the value's length as 64 bits and
/// the value.
fn fields(mut entry: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|&byte| byte == b'\n').expect("a field ends");
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        if line.contains(&b'=') {
            fields.push(String::from_utf8_lossy(line).into_owned());
            entry = rest;
        } else {
            let (len, value) = rest.split_first_chunk::<8>().expect("a length");
            let (value, rest) = value.split_at(u64::from_le_bytes(*len) as usize);
            fields.push(format!("{}={}", String::from_utf8_lossy(line), String::from_utf8_lossy(value)));
            entry = &rest[1..];
        }
    }
    fields
}

#[test]
fn warning_reaches_the_journal_with_its_fields_and_not_stderr() {
    require_root!("mount a folder of its own for the daemon alone");
    require!("unshare");
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("A", "B", 1, "One").flac());
    home.start().stop();
    std::fs::rename(home.origin(), home.path("away")).unwrap();
    let before = std::fs::read_to_string(home.log()).unwrap();
    let socket = home.path("journal");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_read_timeout(Some(command::LIMIT)).unwrap();
    let stderr = std::fs::metadata(home.log()).unwrap();
    let mount = home.mount_command();
    let mut daemon = home.program("unshare".as_ref());
    daemon.args(["--mount", "sh", "-c", AT_THE_JOURNAL]).arg(&socket).arg(mount.get_program()).args(mount.get_args());
    daemon.env("JOURNAL_STREAM", format!("{}:{}", stderr.dev(), stderr.ino()));
    let daemon = home.start_with(&mut daemon);
    let mut buffer = vec![0; 1 << 16];
    let entry = loop {
        let len = journal.recv(&mut buffer).expect("an entry that says that the origin is down");
        let entry = fields(&buffer[..len]);
        if entry.iter().any(|field| field == "MESSAGE=origin is down") {
            break entry;
        }
    };
    for field in ["PRIORITY=4", "SYSLOG_IDENTIFIER=musicfs", "MUSICFS_ORIGIN=a"] {
        assert!(entry.iter().any(|has| has == field), "{field} in {entry:?}");
    }
    daemon.stop();
    let after = std::fs::read_to_string(home.log()).unwrap();
    let logged = after.strip_prefix(&before).unwrap();
    assert!(!logged.contains("origin is down"), "{logged}");
}

#[test]
fn log_that_was_sent_elsewhere_stays_there_under_systemd() {
    let home = Sandbox::new();
    let daemon = home.start_with(home.mount_command().env("JOURNAL_STREAM", "1:1"));
    daemon.stop();
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("stopping"), "{log}");
}

#[test]
fn line_that_repeats_itself_is_written_once_and_its_count_at_the_end() {
    let home = Sandbox::new();
    let daemon = home.start();
    std::fs::rename(home.origin(), home.path("away")).unwrap();
    for _ in 0..5 {
        daemon.cli(&["origin", "rescan", "a"]).ok();
        daemon.idle();
    }
    daemon.stop();
    let log = std::fs::read_to_string(home.log()).unwrap();
    let is_report = |line: &&str| line.contains(" repeated ");
    let warnings = log.lines().filter(|line| line.contains("comparing the origin with the catalog failed"));
    let (reports, lines): (Vec<_>, Vec<_>) = warnings.partition(is_report);
    assert_eq!((lines.len(), reports.len()), (1, 1), "{log}");
    let times = reports[0].split_once(" repeated ").unwrap().1.split(' ').next().unwrap();
    // the origin's own probe may have asked for one more
    assert!(["4", "5"].contains(&times), "{log}");
}
