//! What a panic leaves behind: thread, place and backtrace in the log.
//!
//! The supervisor notices *that* an actor died by its guard; only the hook knows *where*. It runs on the panicking thread
//! before the stack unwinds and does nothing but log, because whatever else it touched could be what is broken.

use std::backtrace::Backtrace;
use std::panic;

/// Logs every panic of the process as an error.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::force_capture();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), %place, %backtrace, "panic: {message}");
    }));
}
