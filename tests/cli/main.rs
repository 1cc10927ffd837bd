//! The command line as a person and as a script use it.
//!
//! Every verb against a running daemon, in words and as JSON; exit codes; errors that name the next step; pipes that
//! close; and the configuration with its layers.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod config;
mod doctor;
mod events;
mod layers;
mod log;
mod metrics;
mod progress;
mod snapshots;
mod usage;
mod verbs;
