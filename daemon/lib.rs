//! The daemon as a library: configuration, wiring, supervision, and the command line in front of it.
//!
//! [`run`] is the whole life of a daemon. The order of its start is a promise: the locks on state and cache first, so
//! that a second daemon does nothing; then the control socket, which answers while everything else may still hang; then
//! a dead mount of ours is cleared and the library mounted; then origins are touched, never before. Nothing here is
//! global, so tests start it in their own process.

mod allocator;
pub mod cli;
pub mod config;
mod ending;
mod failpoints;
pub mod lifecycle;
pub mod logging;
mod panic_hook;
pub mod pools;
mod reload;
mod service_manager;
mod start;
pub mod supervision;
mod wiring;

pub use lifecycle::ExitReason;
pub use reload::ReloadSource;
pub use start::{RunError, run};
