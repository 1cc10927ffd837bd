//! The reference model: random operations on an origin, and after each settling the mount is what a slow, obvious model
//! says it must be.
//!
//! `model` is the one definition of right: from the origin's files and their tags to the tree, without ids, events or
//! caches. `ops` chooses and performs operations. `run` compares: the same files, bytes, sizes, mtimes, modes, and the same
//! inode numbers for whatever stayed itself. `soak` does the same while actors panic. `MUSICFS_OPS` sets the number of
//! operations, `MUSICFS_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod model;
mod ops;
mod run;
mod soak;
