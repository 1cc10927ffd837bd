//! Whether a process still runs and a mount is still there, from `/proc` alone.
//!
//! The mount itself is never looked at: one that is going away can hold whoever asks it. A process is known by its start
//! time beside its number, so that a number that is given out again is not mistaken for it; a zombie has ended, even
//! when nobody has collected it yet.

use std::fs;

/// A process that ran when this was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pid: u32,
    start_time: u64,
}

impl Process {
    /// The process of this number; nothing when it has ended.
    pub(super) fn running(pid: u32) -> Option<Self> {
        let start_time = start_time(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
        Some(Self { pid, start_time })
    }

    /// Whether it still runs.
    pub(super) fn is_running(&self) -> bool {
        Self::running(self.pid).is_some_and(|now| now.start_time == self.start_time)
    }
}

/// The start time in a line of `/proc/PID/stat`; nothing for a process that has ended. The name before it stands in
/// parentheses and may hold anything, so fields are counted from its end.
fn start_time(stat: &[u8]) -> Option<u64> {
    let behind_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[behind_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    // State is field 3 of proc(5), the start time field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(start_time)
}

/// Whether a FUSE file system is mounted at exactly this path.
pub(super) fn is_fuse_mounted(mountpoint: &[u8]) -> bool {
    // Without mountinfo there is nothing to wait for.
    fs::read("/proc/self/mountinfo").is_ok_and(|table| has_fuse_mount(&table, mountpoint))
}

fn has_fuse_mount(table: &[u8], mountpoint: &[u8]) -> bool {
    table.split(|&byte| byte == b'\n').any(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let place = fields.nth(4).map(unescape_octal);
        let kind = fields.skip_while(|&field| field != b"-").nth(1);
        place.as_deref() == Some(mountpoint) && kind.is_some_and(|kind| kind.starts_with(b"fuse"))
    })
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits =
            tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        if let Some(digits) = digits {
            let value = digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            out.push(value as u8);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_runs_and_an_impossible_one_does_not() {
        assert!(Process::running(std::process::id()).expect("runs").is_running());
        assert!(Process::running(u32::MAX).is_none());
    }

    #[test]
    fn zombie_has_ended_whatever_its_name() {
        let stat = |state: &str| format!("7 (a) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        assert_eq!(start_time(stat("S").as_bytes()), Some(4711));
        assert_eq!(start_time(stat("Z").as_bytes()), None);
        assert_eq!(start_time(b"garbage"), None);
    }

    #[test]
    fn mount_is_found_by_place_and_kind() {
        let table = b"22 1 0:21 / /proc rw - proc proc rw\n\
            40 22 0:50 / /mnt/my\\040music ro,nosuid shared:7 - fuse.musicfs musicfs ro\n\
            41 22 0:51 / /mnt/disk rw - ext4 /dev/fuse rw\n";
        assert!(has_fuse_mount(table, b"/mnt/my music"));
        assert!(!has_fuse_mount(table, b"/mnt/my"));
        assert!(!has_fuse_mount(table, b"/mnt/disk"));
        assert!(!has_fuse_mount(b"", b"/mnt/my music"));
    }
}
