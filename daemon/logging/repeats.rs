//! Warnings and errors that repeat themselves: the first is written, the rest of a window are counted, and the count is said.
//!
//! A disk that fails says the same thing a hundred times a second, and the line that would explain it is lost among them.
//! Two lines are the same when they come from one place in the code and say the same in every field. Lines that differ
//! are never held back, and neither is one that could not be counted: the memory of lines has a bound. Reports come from
//! a thread of their own (`log`), so that a flood that has ended is reported too; a filter must not log while it filters.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// How long a line is held back after it was written: a person who follows the log sees twice a minute that it goes on.
const WINDOW: Duration = Duration::from_secs(30);

/// How often is looked for windows that have ended.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Different lines that are remembered; a healthy daemon has a handful in a window.
const MAX_LINES: usize = 512;

/// Characters of a line that its report repeats.
const MAX_REPORTED_CHARS: usize = 200;

/// The module of reports, which are never held back themselves.
const REPORTS: &str = module_path!();

/// A line that was written, and how often it came again since.
#[derive(Debug)]
struct Line {
    written_at: Instant,
    num_held_back: u64,
    level: Level,
    text: String,
}

/// How often a line was held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    level: Level,
    text: String,
    times: u64,
}

impl Line {
    fn report(self) -> Option<Repeated> {
        let Self { num_held_back: times, level, text, .. } = self;
        (times > 0).then_some(Repeated { level, text, times })
    }

    fn has_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.written_at) >= WINDOW
    }
}

/// The lines of the present windows.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    by_key: HashMap<u64, Line>,
    ended: Vec<Repeated>,
}

impl Lines {
    fn expire(&mut self, now: Instant) {
        let expired = self.by_key.extract_if(|_, line| line.has_expired(now));
        self.ended.extend(expired.filter_map(|(_, line)| line.report()));
    }
}

impl Repeats {
    /// Whether a line is to be written now.
    fn admits(&self, key: u64, level: Level, text: &str, now: Instant) -> bool {
        let mut lines = self.0.lock();
        if let Some(line) = lines.by_key.get_mut(&key).filter(|line| !line.has_expired(now)) {
            line.num_held_back += 1;
            return false;
        }
        if lines.by_key.len() >= MAX_LINES || lines.by_key.contains_key(&key) {
            lines.expire(now);
        }
        if lines.by_key.len() < MAX_LINES {
            let text = text.chars().take(MAX_REPORTED_CHARS).collect();
            lines.by_key.insert(key, Line { written_at: now, num_held_back: 0, level, text });
        }
        true
    }

    /// What was held back in the windows that have ended.
    fn take_ended(&self, now: Instant) -> Vec<Repeated> {
        let mut lines = self.0.lock();
        lines.expire(now);
        std::mem::take(&mut lines.ended)
    }

    /// What was held back so far, at the end of everything.
    pub(super) fn take_all(&self) -> Vec<Repeated> {
        let mut lines = self.0.lock();
        let open = std::mem::take(&mut lines.by_key).into_values().filter_map(Line::report);
        let open: Vec<_> = open.collect();
        std::mem::take(&mut lines.ended).into_iter().chain(open).collect()
    }
}

/// Writes reports into the log.
pub(super) fn report(repeated: Vec<Repeated>) {
    for Repeated { level, text, times } in repeated {
        if level == Level::ERROR {
            tracing::error!(line = text, "repeated {times} times");
        } else {
            tracing::warn!(line = text, "repeated {times} times");
        }
    }
}

/// Starts the thread that reports; it ends with the log.
pub(super) fn start_reporting(repeats: &Arc<Repeats>) -> std::io::Result<()> {
    let repeats = Arc::downgrade(repeats);
    let work = move || {
        while let Some(repeats) = repeats.upgrade() {
            report(repeats.take_ended(Instant::now()));
            drop(repeats);
            std::thread::park_timeout(REPORT_INTERVAL);
        }
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(work).map(drop)
}

/// The filter in front of the log. Time comes from the `clock`.
pub(super) struct RepeatFilter {
    repeats: Arc<Repeats>,
    clock: fn() -> Instant,
}

impl RepeatFilter {
    pub(super) fn new(repeats: Arc<Repeats>, clock: fn() -> Instant) -> Self {
        Self { repeats, clock }
    }
}

impl<S> Filter<S> for RepeatFilter {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == REPORTS {
            return true;
        }
        let mut text = LineText::default();
        event.record(&mut text);
        let mut hasher = DefaultHasher::new();
        (metadata.callsite(), &text.0).hash(&mut hasher);
        self.repeats.admits(hasher.finish(), *metadata.level(), &text.0, (self.clock)())
    }
}

/// Message and fields of a line.
#[derive(Default)]
struct LineText(String);

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::sync::OnceLock;

    use tracing_subscriber::filter::FilterExt;
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::registry::Registry;
    use tracing_subscriber::{EnvFilter, fmt};

    use super::*;

    thread_local! {
        static NOW_SECS: Cell<u64> = const { Cell::new(0) };
    }

    /// A clock that stands still until a test moves it.
    fn clock() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(NOW_SECS.get())
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written, and held back, while `act` logs.
    fn logged(act: impl FnOnce(&Repeats)) -> Vec<String> {
        NOW_SECS.set(0);
        let (written, repeats) = (Written::default(), Arc::<Repeats>::default());
        let writer = written.clone();
        let lines = fmt::layer().compact().without_time().with_ansi(false).with_writer(move || writer.clone());
        let filter = EnvFilter::new("info").and(RepeatFilter::new(Arc::clone(&repeats), clock));
        let subscriber = Registry::default().with(lines.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || act(&repeats));
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).expect("text").lines().map(|line| line.trim().to_owned()).collect()
    }

    fn warn(origin: &str) {
        tracing::warn!(target: "t", origin, "origin is down");
    }

    #[test]
    fn repeated_warning_is_written_once_and_counted() {
        let lines = logged(|repeats| {
            for _ in 0..100 {
                warn("a");
            }
            NOW_SECS.set(29);
            assert_eq!(repeats.take_ended(clock()), []);
            NOW_SECS.set(30);
            report(repeats.take_ended(clock()));
            warn("a");
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "WARN t: origin is down origin=\"a\"");
        assert!(lines[1].starts_with("WARN musicfs::logging::repeats: repeated 99 times line="), "{lines:?}");
        assert!(lines[1].contains("origin is down"), "{lines:?}");
        assert_eq!(lines[2], lines[0], "a new window has begun");
    }

    #[test]
    fn warnings_that_differ_and_lower_levels_are_all_written() {
        let lines = logged(|_| {
            for origin in ["a", "b", "a"] {
                warn(origin);
            }
            for _ in 0..2 {
                tracing::info!(target: "t", "library mounted");
            }
            tracing::error!(target: "t", origin = "a", "origin is down");
        });
        assert_eq!(lines.len(), 5, "{lines:?}");
    }

    #[test]
    fn count_of_a_window_that_a_later_line_ends_is_not_lost() {
        logged(|repeats| {
            warn("a");
            warn("a");
            NOW_SECS.set(31);
            warn("a");
            let ended = repeats.take_ended(clock());
            assert_eq!(ended.len(), 1);
            assert_eq!((ended[0].times, ended[0].level), (1, Level::WARN));
        });
    }

    #[test]
    fn what_is_held_back_when_the_daemon_ends_is_said() {
        logged(|repeats| {
            warn("a");
            warn("a");
            warn("b");
            assert_eq!(repeats.take_all().iter().map(|line| line.times).collect::<Vec<_>>(), [1]);
            assert_eq!(repeats.take_all(), []);
        });
    }

    #[test]
    fn more_lines_than_are_remembered_are_all_written() {
        let lines = logged(|repeats| {
            for _ in 0..2 {
                for number in 0..2 * MAX_LINES {
                    warn(&number.to_string());
                }
            }
            assert_eq!(repeats.0.lock().by_key.len(), MAX_LINES);
        });
        assert_eq!(lines.len(), 3 * MAX_LINES, "those that could be counted once, the others twice");
    }
}
