//! The daemon as a library.
pub mod pools;
pub mod supervision;
