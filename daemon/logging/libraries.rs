//! What libraries say through the `log` crate, in the same log; two of their complaints are none here.
//!
//! When a reader is interrupted, fuser answers the interruption, and the kernel may have closed the matter by then: the
//! write of the answer fails with ENOENT. Nobody waits for that answer and nothing is wrong, so fuser's error line about
//! it is worth a `debug`. Whatever else fails when a reply is sent stays an error. notify takes the watch of a deleted
//! folder away twice, with the folder above it and by its own name, and warns of the second time: the same.

use log::{Level, Log, Metadata, Record};
use tracing_log::{AsLog, LogTracer};

/// ENOENT, as `io::Error` writes it.
const NOBODY_WAITS: &str = "(os error 2)";

/// How notify begins to say that a watch is gone already.
const WATCH_IS_GONE: &str = "Unable to remove the path from the watches";

struct Bridge(LogTracer);

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let mut same = Record::builder();
        same.args(*record.args()).target(record.target()).level(level_of(record));
        same.module_path(record.module_path()).file(record.file()).line(record.line());
        self.0.log(&same.build());
    }

    fn flush(&self) {}
}

/// How much a line of a library matters here.
fn level_of(record: &Record<'_>) -> Level {
    let says = |what: fn(&str) -> bool| what(&record.args().to_string());
    let is_harmless = match (record.level(), record.target().split_once("::")) {
        (Level::Error, Some(("fuser", "reply"))) => says(|text| text.ends_with(NOBODY_WAITS)),
        (Level::Warn, Some(("notify", "inotify"))) => says(|text| text.starts_with(WATCH_IS_GONE)),
        _ => false,
    };
    if is_harmless { Level::Debug } else { record.level() }
}

/// Leads what libraries log to `tracing`.
pub(super) fn install() -> Result<(), log::SetLoggerError> {
    log::set_boxed_logger(Box::new(Bridge(LogTracer::new())))?;
    log::set_max_level(tracing::level_filters::LevelFilter::current().as_log());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(target: &str, level: Level, text: &str) -> Level {
        level_of(&Record::builder().target(target).level(level).args(format_args!("{text}")).build())
    }

    #[test]
    fn late_answer_to_an_interruption_is_no_error_and_any_other_is() {
        let late = format!("Failed to send FUSE reply: {}", std::io::Error::from_raw_os_error(2));
        let broken = format!("Failed to send FUSE reply: {}", std::io::Error::from_raw_os_error(19));
        assert_eq!(level("fuser::reply", Level::Error, &late), Level::Debug);
        assert_eq!(level("fuser::reply", Level::Error, &broken), Level::Error);
        assert_eq!(level("fuser::session", Level::Error, &late), Level::Error);
        assert_eq!(level("fuser::reply", Level::Warn, &late), Level::Warn);
    }

    #[test]
    fn watch_of_a_deleted_folder_is_no_warning() {
        let gone = format!("{WATCH_IS_GONE}: Error {{ kind: WatchNotFound }}");
        assert_eq!(level("notify::inotify", Level::Warn, &gone), Level::Debug);
        assert_eq!(level("notify::inotify", Level::Warn, "anything else"), Level::Warn);
    }
}
