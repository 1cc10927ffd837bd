//! The decisions of musicfs, as functions of their arguments.
//!
//! Nothing here does I/O, reads a clock, spawns a thread, logs or knows an actor: time and randomness come in as
//! arguments, so that every rule can be tested against a slow, obvious oracle. Actors collect asynchronously, ask this
//! crate what to do, and act. Everything that an origin says (names, sizes, tag bytes) is hostile until a constructor
//! in here has accepted it.

pub mod chunking;
pub mod content;
pub mod debounce;
pub mod delta;
pub mod escape;
pub mod eviction;
pub mod ids;
pub mod naming;
pub mod piece_table;
pub mod readahead;
pub mod removals;
pub mod restart;
pub mod tags;
pub mod template;
pub mod version;
