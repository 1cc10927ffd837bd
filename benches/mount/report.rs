//! What was measured, as a table of ratios and as raw data.
//!
//! A [`Samples`] is one subject's figures of one measure. A row sets musicfs beside its baselines of the same run; what is
//! compared are medians, and the ratio is what counts. Everything is printed as it comes, and with `MUSICFS_BENCH_KEEP`
//! written to that folder too: the table, the samples, the machine and the commands. Losses are kept as they are.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Samples that are written down of one subject and measure: a run with 20,000 stats of each would be megabytes.
const MAX_KEPT: usize = 200;

/// The figures of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    subject: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Samples {
    /// Figures in a unit, not empty.
    pub(crate) fn new(subject: &str, unit: &'static str, values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "{subject}: nothing was measured");
        Self { subject: subject.to_owned(), unit, values }
    }

    /// Durations in milliseconds.
    pub(crate) fn millis(subject: &str, times: Vec<Duration>) -> Self {
        Self::new(subject, "ms", times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
    }

    /// Durations in microseconds.
    pub(crate) fn micros(subject: &str, times: Vec<Duration>) -> Self {
        Self::new(subject, "µs", times.iter().map(|time| time.as_secs_f64() * 1e6).collect())
    }

    /// The same figures reduced to one.
    pub(crate) fn at_percentile(&self, percent: usize) -> Self {
        Self { values: vec![self.percentile(percent)], ..self.clone() }
    }

    /// The value in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() - 1) * percent / 100]
    }

    /// The samples as they are written down: of very many the quantiles, in ascending order.
    fn kept(&self) -> Vec<f64> {
        if self.values.len() <= MAX_KEPT {
            return self.values.clone();
        }
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        (0..MAX_KEPT).map(|index| sorted[index * (sorted.len() - 1) / (MAX_KEPT - 1)]).collect()
    }

    fn shown(&self) -> String {
        let median = self.median();
        let decimals = if median >= 100.0 { 0 } else { 2 };
        format!("{median:.decimals$} {}", self.unit)
    }
}

/// What a row promises.
pub(crate) enum Target {
    /// Nothing; the row informs.
    None,
    /// The ratio to the first baseline is at most this.
    RatioAtMost(f64),
    /// The ratio to the first baseline is at least this.
    RatioAtLeast(f64),
    /// The figure itself is at most this.
    AtMost(f64),
}

impl Target {
    fn shown(&self, ours: &Samples, beside: &[Samples]) -> String {
        let ratio = beside.first().map_or(f64::NAN, |first| ours.median() / first.median());
        let (text, met) = match *self {
            Self::None => return "–".to_owned(),
            Self::RatioAtMost(bound) => (format!("ratio ≤ {bound}"), ratio <= bound),
            Self::RatioAtLeast(bound) => (format!("ratio ≥ {bound}"), ratio >= bound),
            Self::AtMost(bound) => (format!("≤ {bound} {}", ours.unit), ours.median() <= bound),
        };
        format!("{text}: {}", if met { "met" } else { "**missed**" })
    }
}

/// The run's table and raw data.
pub(crate) struct Report {
    keep: Option<PathBuf>,
    table: String,
    raw: String,
}

impl Report {
    /// A report that is kept in `keep`, or only printed.
    pub(crate) fn new(keep: Option<PathBuf>) -> Self {
        let table = "| measure | musicfs | beside it (ratio) | target |\n|---|---|---|---|\n".to_owned();
        print!("{table}");
        Self { keep, table, raw: "measure,subject,unit,value\n".to_owned() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, measure: &str, ours: &Samples, beside: &[Samples], target: &Target) {
        let against =
            |other: &Samples| format!("{} {} ({:.2})", other.subject, other.shown(), ours.median() / other.median());
        let others: Vec<String> = beside.iter().map(against).collect();
        let others = if others.is_empty() { "–".to_owned() } else { others.join("; ") };
        let row = format!("| {measure} | {} | {others} | {} |\n", ours.shown(), target.shown(ours, beside));
        print!("{row}");
        self.table.push_str(&row);
        for samples in std::iter::once(ours).chain(beside) {
            for value in samples.kept() {
                let _ = writeln!(self.raw, "\"{measure}\",{},{},{value:.3}", samples.subject, samples.unit);
            }
        }
    }

    /// Says what could not be measured.
    pub(crate) fn left_out(&mut self, what: &str, why: &str) {
        let row = format!("| {what} | left out: {why} | – | – |\n");
        print!("{row}");
        self.table.push_str(&row);
    }

    /// Writes the run down where it is to be kept; runs of other sizes in the same folder stay.
    pub(crate) fn keep(&self, command: &str, num_tracks: u64) -> io::Result<()> {
        let Some(folder) = &self.keep else { return Ok(()) };
        fs::create_dir_all(folder)?;
        let page = format!("# Benchmark of the mount\n\n`{command}`\n\n{}", self.table);
        fs::write(folder.join(format!("mount-{num_tracks}.md")), page)?;
        fs::write(folder.join(format!("mount-{num_tracks}.csv")), &self.raw)?;
        fs::write(folder.join(format!("machine-{num_tracks}.txt")), machine())
    }
}

/// The machine, in the words of its own tools.
fn machine() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let versions = ["rclone", "mergerfs", "bindfs"].map(|peer| {
        let text = said(peer, &["--version"]);
        format!("{peer}: {}", text.lines().next().unwrap_or("not installed"))
    });
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{}{}load at the end: {load}{}\n", said("uname", &["-srm"]), said("lscpu", &[]), versions.join("\n"))
}
