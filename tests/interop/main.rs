//! Programs that people use with a music folder, on the mount: players, taggers, copiers, and the tools of the shell.
//!
//! Each must behave as on a plain folder, and a program that keeps a database must find nothing new the second time. A
//! program that is not installed is named and its test is left out.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod library;
mod managers;
mod players;
mod shell;
