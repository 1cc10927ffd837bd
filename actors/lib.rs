//! The actors of musicfs: `ls` of this folder is the picture in the README.
//!
//! One file or folder per actor; each knows the others only through ports of messages (`musicfs-protocol`) and decides
//! with functions of `musicfs-pure`. No module here imports another actor's. `storage` is the exception that is no actor:
//! a plain value that owns the databases, lent to the catalog and the store and read through get-only handles. fuser is named in
//! `fuse_front` only, notify in `watcher` only, rocksdb in `storage` only; `tests/tidy.rs` holds that.

pub mod catalog;
pub mod control_server;
pub mod debouncer;
pub mod delta_detector;
pub mod fetcher;
pub mod fuse_front;
pub mod health_monitor;
pub mod storage;
pub mod store;
pub mod watcher;
