//! How far scans are, while a verb waits for them.
//!
//! On a terminal a bar or a spinner on stderr, one line per origin that is being scanned; with `--json` a line per change on
//! stdout, before the reply; otherwise nothing. A bar needs a total, which only an origin has that was listed before; a
//! first scan is a spinner with its counts. The daemon is asked on a connection of its own, because the other one waits;
//! what cannot be learned is not shown, and never makes the waiting fail.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use musicfs_protocol::wire::{Empty, OriginRow, method};
use serde_json::json;

use super::Context;
use super::client::Client;
use super::output::printable;

/// How often progress is asked for: a bar that moves, and no work for the daemon.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// How long the daemon may take to say how far it is; it reads a table.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// Where progress goes.
enum Display {
    /// Nowhere.
    None,
    /// Bars on the terminal.
    Bars(MultiProgress, BTreeMap<String, ProgressBar>),
    /// Lines of JSON.
    Lines(BTreeMap<String, serde_json::Value>),
}

/// The progress of scans, for as long as something waits for them.
pub(super) struct Progress {
    display: Display,
    client: Option<Client>,
    /// Files of the origins that had been listed before.
    totals: BTreeMap<String, u64>,
}

impl Progress {
    /// Progress as the flags and the terminal have it. `before` is how the origins were before a scan was asked for.
    pub(super) fn new(ctx: &Context<'_>, before: &[OriginRow]) -> Self {
        let display = if ctx.json {
            Display::Lines(BTreeMap::new())
        } else if !ctx.quiet && io::stderr().is_terminal() {
            Display::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), BTreeMap::new())
        } else {
            Display::None
        };
        let was_listed = |origin: &&OriginRow| origin.scan == "done" && origin.num_files > 0;
        let totals = before.iter().filter(was_listed).map(|origin| (origin.name.clone(), origin.num_files)).collect();
        Self { display, client: None, totals }
    }

    /// Whether there is anything to show it on.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.display, Display::None)
    }

    /// Asks how far the scans are and shows it.
    pub(super) fn tick(&mut self, socket: &Path, out: &mut dyn Write) -> io::Result<()> {
        if self.client.is_none() {
            self.client = Client::connect(socket, Some(ASK_LIMIT)).ok();
        }
        let Some(client) = &mut self.client else { return Ok(()) };
        let Ok(reply) = client.call::<method::OriginList>(&Empty {}, Some(ASK_LIMIT)) else {
            self.client = None; // the next tick tries again
            return Ok(());
        };
        reply.origins.iter().try_for_each(|origin| self.show(origin, out))
    }

    fn show(&mut self, origin: &OriginRow, out: &mut dyn Write) -> io::Result<()> {
        let total = self.totals.get(&origin.name).copied();
        let is_running = origin.scan == "running";
        match &mut self.display {
            Display::Bars(bars, by_name) => {
                if is_running {
                    let bar = by_name.entry(origin.name.clone()).or_insert_with(|| bars.add(bar(&origin.name, total)));
                    draw(bar, origin, total);
                } else if let Some(bar) = by_name.remove(&origin.name) {
                    bar.finish_and_clear();
                }
                Ok(())
            }
            Display::Lines(last) => {
                let line = line(origin, total);
                if (is_running || last.contains_key(&origin.name)) && last.get(&origin.name) != Some(&line) {
                    writeln!(out, "{line}")?;
                    out.flush()?;
                    last.insert(origin.name.clone(), line);
                }
                Ok(())
            }
            Display::None => Ok(()),
        }
    }

    /// Takes what is left off the terminal.
    pub(super) fn clear(&mut self) {
        if let Display::Bars(_, by_name) = &mut self.display {
            for bar in std::mem::take(by_name).into_values() {
                bar.finish_and_clear();
            }
        }
    }
}

/// How far an origin is, for scripts.
fn line(origin: &OriginRow, total: Option<u64>) -> serde_json::Value {
    json!({
        "type": "progress",
        "origin": origin.name,
        "scan": origin.scan,
        "num_listed": origin.num_listed,
        "num_tags_read": origin.num_tags_read,
        "num_expected": total,
    })
}

fn bar(name: &str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{prefix} {wide_bar} {msg}",
        None => "{spinner} {prefix} {msg}",
    };
    // One that is no template would be a mistake in the lines above; the plain style still counts.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.with_style(style).with_prefix(printable(name).into_owned())
}

fn draw(bar: &ProgressBar, origin: &OriginRow, total: Option<u64>) {
    let (listed, tags) = (origin.num_listed, origin.num_tags_read);
    if let Some(total) = total {
        bar.set_position(listed.min(total));
        bar.set_message(format!("{listed} of {total} files, tags of {tags} read"));
    } else {
        bar.tick();
        bar.set_message(format!("{listed} files listed, tags of {tags} read"));
    }
}
