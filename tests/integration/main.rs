//! The product as a user meets it: a folder of music, a mount, and what the mount does when the folder changes.
//!
//! Each module takes one promise and checks it through the kernel, with the calls that any program would make. What a
//! test needs and does not find is named and the test is left out; nothing is ever asserted about time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod arrangement;
mod attributes;
mod budget;
mod changes;
mod clocks;
mod formats;
mod handles;
mod identity;
mod names;
mod origin_view;
mod ownership;
mod read_only;
mod reload;
mod scale;
mod service;
mod sidecars;
mod start;
mod stop;
mod storms;
mod systemd_user;
