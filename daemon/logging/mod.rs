//! The log: `tracing` to stderr, as lines for people or as JSON, one object per line; to the journal where that is stderr.
//!
//! What is logged is decided by `-v` or `-q`, else by `MUSICFS_LOG` (a filter per module, as `tracing-subscriber` reads
//! it), else by `[log] level`. A level is that of musicfs itself; libraries are kept a step quieter, so that `info` stays
//! readable; a reload changes it while the log is in use. Under systemd a line keeps its fields (`MUSICFS_ACTOR=`, `MUSICFS_ORIGIN=`, `PRIORITY=`), unless JSON was asked
//! for. A warning that repeats itself is counted and not written again ([`repeats`]). Colours only on a terminal. stdout is
//! never logged to: it belongs to what was asked for.

mod journal;
mod libraries;
mod repeats;

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Instant;

use tracing_subscriber::filter::{EnvFilter, FilterExt};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use crate::config::{LogFormat, LogSettings};
use repeats::{RepeatFilter, Repeats};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `MUSICFS_LOG` is no filter.
    #[error("MUSICFS_LOG is no filter: {reason}; write a level, or `target=level` separated by commas")]
    Filter {
        /// The parser's words.
        reason: String,
    },
    /// Something in this process logs already.
    #[error("the log has been set up before: {reason}; set it up once per process")]
    Twice {
        /// In the words of `tracing`.
        reason: String,
    },
    /// The log is no more.
    #[error("the log is gone: {reason}; restart the daemon")]
    Gone {
        /// In the words of `tracing`.
        reason: String,
    },
    /// The thread that reports repetitions could not be started.
    #[error("the system refused a thread: {0}; check the process limits (ulimit -a)")]
    Thread(#[from] std::io::Error),
}

/// What the process's surroundings say about its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSurroundings<'a> {
    /// What `MUSICFS_LOG` holds.
    pub directives: Option<&'a str>,
    /// What `JOURNAL_STREAM` holds: the device and inode of the stream that leads to the journal.
    pub journal_stream: Option<&'a OsStr>,
}

/// The log of this process.
#[derive(Debug)]
pub struct Log {
    repeats: Arc<Repeats>,
    directives: Option<String>,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Reports what is counted and not yet said, before the process ends.
    pub fn flush(&self) {
        repeats::report(self.repeats.take_all());
    }

    /// Logs by the level of these settings from now on; `MUSICFS_LOG` goes before it as it did at the start.
    pub fn set_level(&self, settings: &LogSettings) -> Result<(), LoggingError> {
        let filter = env_filter(settings, self.directives.as_deref())?;
        self.filter.reload(filter).map_err(|error| LoggingError::Gone { reason: error.to_string() })
    }
}

/// Sets up the log of this process.
pub fn init(settings: &LogSettings, surroundings: LogSurroundings<'_>) -> Result<Log, LoggingError> {
    let (filter, handle) = reload::Layer::new(env_filter(settings, surroundings.directives)?);
    let repeats = Arc::<Repeats>::default();
    let filter = filter.and(RepeatFilter::new(Arc::clone(&repeats), Instant::now));
    let subscriber = Registry::default().with(output(settings, surroundings).with_filter(filter));
    let twice = |reason: String| LoggingError::Twice { reason };
    tracing::subscriber::set_global_default(subscriber).map_err(|error| twice(error.to_string()))?;
    libraries::install().map_err(|error| twice(error.to_string()))?;
    repeats::start_reporting(&repeats)?;
    Ok(Log { repeats, directives: surroundings.directives.map(str::to_owned), filter: handle })
}

/// Where lines go, and what they look like there.
fn output(settings: &LogSettings, surroundings: LogSurroundings<'_>) -> Box<dyn Layer<Registry> + Send + Sync> {
    // A complaint of a stderr that cannot be written (a closed terminal) would go to that very stderr, and panic.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    match settings.format {
        LogFormat::Json => lines.json().with_ansi(false).flatten_event(true).boxed(),
        LogFormat::Text => match journal::layer(surroundings.journal_stream) {
            Some(journal) => journal.boxed(),
            None => lines.with_ansi(has_colours()).compact().boxed(),
        },
    }
}

fn has_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

fn env_filter(settings: &LogSettings, directives: Option<&str>) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(filter_text(settings, directives))
        .map_err(|error| LoggingError::Filter { reason: error.to_string() })
}

fn filter_text(settings: &LogSettings, directives: Option<&str>) -> String {
    match directives {
        Some(directives) if !settings.level_is_flag => directives.to_owned(),
        _ => {
            let libraries = match settings.level.as_str() {
                "trace" => "debug",
                "debug" => "info",
                "error" => "error",
                _ => "warn",
            };
            // A target matches by its beginning, so this is every crate of ours.
            format!("{libraries},musicfs={}", settings.level)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(level: &str, level_is_flag: bool) -> LogSettings {
        LogSettings { level: level.to_owned(), level_is_flag, format: LogFormat::Text }
    }

    #[test]
    fn flag_goes_before_variable_and_variable_before_configuration() {
        assert_eq!(filter_text(&settings("info", false), None), "warn,musicfs=info");
        assert_eq!(filter_text(&settings("info", false), Some("fuser=trace")), "fuser=trace");
        assert_eq!(filter_text(&settings("debug", true), Some("fuser=trace")), "info,musicfs=debug");
    }

    #[test]
    fn every_level_makes_a_filter() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(EnvFilter::try_new(filter_text(&settings(level, false), None)).is_ok(), "{level}");
        }
    }
}
