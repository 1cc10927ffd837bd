//! What people and scripts get to see: tables, texts without control characters, JSON documents.
//!
//! Tags and names come from strangers. Paths arrive percent-escaped; every other text passes [`printable`] before it is
//! shown on a terminal, so that no tag can send a control sequence. Nothing prints except through the writer of the
//! context: a closed pipe is then an error that can be passed over, not a panic.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use musicfs_protocol::wire::{DatedText, WireTime};

/// A text without characters that a terminal acts upon.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Columns that are as wide as their widest cell; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let num_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..num_columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", printable(cell)));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one pair a line.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    table(&pairs.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect::<Vec<_>>())
}

/// One JSON document, as people can read it.
pub(super) fn document(out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

/// One JSON document on a line of its own: for verbs that print more than one.
pub(super) fn json_line(out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A moment as text, to the second.
pub(super) fn moment(unix_ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).filter(|at| is_writable(*at));
    at.map_or_else(|| "?".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// humantime writes years up to 9999 and panics beyond.
fn is_writable(at: SystemTime) -> bool {
    const LAST_SECS: u64 = 253_402_300_799;
    at.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() <= LAST_SECS)
}

/// An mtime as text, with its full precision.
pub(super) fn mtime(time: WireTime) -> String {
    let secs = u64::try_from(time.secs).ok();
    let at = secs.and_then(|secs| UNIX_EPOCH.checked_add(Duration::new(secs, time.nanos.min(999_999_999))));
    match at.filter(|at| is_writable(*at)) {
        Some(at) => humantime::format_rfc3339_nanos(at).to_string(),
        None => format!("{}.{:09} s since 1970", time.secs, time.nanos),
    }
}

/// An error and its time.
pub(super) fn dated(error: &DatedText) -> String {
    format!("{} ({})", printable(&error.text), moment(error.at_unix_ms))
}

/// A duration in whole seconds.
pub(super) fn seconds(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_carry_no_control_characters() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["ö\u{1b}[31m".to_owned(), "x\n".to_owned()]];
        assert_eq!(table(&rows), "a       b\nö\u{fffd}[31m  x\u{fffd}\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn times_of_any_size_are_written() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(u64::MAX), "?");
        assert_eq!(mtime(WireTime { secs: 1, nanos: 5 }), "1970-01-01T00:00:01.000000005Z");
        assert_eq!(mtime(WireTime { secs: -1, nanos: 0 }), "-1.000000000 s since 1970");
        assert_eq!(mtime(WireTime { secs: i64::MAX, nanos: u32::MAX }), "9223372036854775807.4294967295 s since 1970");
    }
}
