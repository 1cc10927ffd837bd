//! How tests reach the failpoints of a running daemon: a file that says what each point does.
//!
//! `MUSICFS_FAILPOINTS` names the file. Its first line is a number, each further one `NUMBER NAME=ACTIONS` in the words of
//! the `fail` crate; a point that no line names is off. It is applied before anything else starts, and again whenever the
//! first number has changed: of its points only those whose own number is new, because setting a point starts its counts
//! anew. Then the number is written to the same path with `.applied` behind it, so that whoever wrote the file knows from
//! when on it counts. In a daemon that `cargo build` makes, failpoints do not exist and this module does nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names the file.
const VARIABLE: &str = "MUSICFS_FAILPOINTS";

/// How often the file is looked at: a test waits this long for a point to take effect.
const POLL: Duration = Duration::from_millis(5);

/// Applies the file and keeps following it, where failpoints are compiled in.
pub(crate) fn follow() {
    if !fail::has_failpoints() {
        return;
    }
    let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    let mut follower = Follower { path, applied: String::new(), points: BTreeMap::new() };
    follower.apply_new();
    let spawned = std::thread::Builder::new().name("failpoints".to_owned()).spawn(move || {
        loop {
            std::thread::park_timeout(POLL);
            follower.apply_new();
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "failpoints cannot be followed");
    }
}

struct Follower {
    path: PathBuf,
    /// The number of the content that counts.
    applied: String,
    /// The points that were set by it, each with its number.
    points: BTreeMap<String, String>,
}

impl Follower {
    /// Applies the file's content when it is another one than before. The writer replaces the file in one step.
    fn apply_new(&mut self) {
        let Ok(text) = std::fs::read_to_string(&self.path) else { return };
        let mut lines = text.lines();
        let Some(number) = lines.next().filter(|number| *number != self.applied) else { return };
        let wanted: BTreeMap<&str, (&str, &str)> = lines.filter_map(point_of).collect();
        for gone in self.points.keys().filter(|point| !wanted.contains_key(point.as_str())) {
            fail::remove(gone);
        }
        for (name, (number, actions)) in &wanted {
            if self.points.get(*name).is_none_or(|before| before != number)
                && let Err(error) = fail::cfg(*name, actions)
            {
                tracing::error!(name, error, "no such failpoint action");
            }
        }
        self.points = wanted.iter().map(|(name, (number, _))| ((*name).to_owned(), (*number).to_owned())).collect();
        number.clone_into(&mut self.applied);
        acknowledge(&self.path, number);
    }
}

/// A point's name, its number and its actions.
fn point_of(line: &str) -> Option<(&str, (&str, &str))> {
    let (number, point) = line.split_once(' ')?;
    let (name, actions) = point.split_once('=')?;
    Some((name, (number, actions)))
}

fn acknowledge(path: &Path, number: &str) {
    let mut applied = OsString::from(path);
    applied.push(".applied");
    if let Err(error) = std::fs::write(applied, number) {
        tracing::error!(%error, "failpoints cannot be acknowledged");
    }
}
