//! The log: `tracing` to stderr, as lines for people or as JSON, one object per line.
//!
//! What is logged is decided by `-v` or `-q`, else by `MUSICFS_LOG` (a filter per module, as `tracing-subscriber` reads
//! it), else by `[log] level`. A level is that of musicfs itself; libraries are kept a step quieter, so that `info` stays
//! readable. Colours only on a terminal. stdout is never logged to: it belongs to what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogSettings};

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
}

/// Sets up the log of this process. `directives` is what `MUSICFS_LOG` holds.
pub fn init(settings: &LogSettings, directives: Option<&str>) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(filter_text(settings, directives));
    let filter = filter.map_err(|error| LoggingError::Filter { reason: error.to_string() })?;
    let has_colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(has_colours);
    let result = match settings.format {
        LogFormat::Text => log.compact().try_init(),
        LogFormat::Json => log.json().with_ansi(false).flatten_event(true).try_init(),
    };
    result.map_err(|error| LoggingError::Twice { reason: error.to_string() })
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
