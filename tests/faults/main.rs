//! What happens when something breaks: the process is killed, the root vanishes, a folder cannot be read.
//!
//! The fault is made where it happens in life, at the process or at the origin, never inside the daemon. After each one
//! the question is the same: is everything that was known still there, under the same inode numbers?
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod hostile_peer;
mod kill;
