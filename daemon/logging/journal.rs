//! The journal: whether stderr leads to it, and how a line is sent there with its fields.
//!
//! systemd says in `JOURNAL_STREAM` which stream it connected to the journal. Only when stderr is still that very stream
//! does the log go there by the journal's own protocol: a daemon whose stderr was sent to a file logs to that file. A field
//! `actor` becomes `MUSICFS_ACTOR`, for `journalctl MUSICFS_ACTOR=watcher`.

use std::ffi::OsStr;

use tracing_journald::{Priority, PriorityMappings};

/// The journal's layer; nothing where stderr does not lead to the journal, or the journal does not listen.
pub(super) fn layer(stream: Option<&OsStr>) -> Option<tracing_journald::Layer> {
    let stat = rustix::fs::fstat(std::io::stderr()).ok()?;
    if !names(stream?, stat.st_dev, stat.st_ino) {
        return None;
    }
    let layer = tracing_journald::Layer::new().ok()?;
    let priorities = PriorityMappings {
        // what systemd's own tools call them: a notice would stand out among everything else in the journal
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let prefix = Some("MUSICFS".to_owned());
    Some(
        layer.with_field_prefix(prefix).with_syslog_identifier("musicfs".to_owned()).with_priority_mappings(priorities),
    )
}

/// Whether the variable names this device and inode.
fn names(stream: &OsStr, dev: u64, ino: u64) -> bool {
    let numbers = stream.to_str().and_then(|text| text.split_once(':'));
    numbers.is_some_and(|(device, inode)| device.parse() == Ok(dev) && inode.parse() == Ok(ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_stream_is_the_journal() {
        assert!(names(OsStr::new("8:1234"), 8, 1234));
        for other in ["", "8", "8:", "8:1235", "9:1234", "8:1234:1", "a:b", " 8:1234"] {
            assert!(!names(OsStr::new(other), 8, 1234), "{other}");
        }
    }
}
