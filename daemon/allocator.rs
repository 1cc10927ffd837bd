//! What the C library's allocator is told: few arenas.
//!
//! It gives every thread that finds the others busy an arena of its own, up to eight for each processor, and what is freed in
//! one is not used by another. The daemon has some forty threads and hardly ever more than a handful at work, so that
//! would be memory for nothing: with two arenas an idle daemon with 100,000 files took 41 MiB instead of 47. RocksDB takes
//! its memory from here too, which is why a Rust allocator would not do. Where there is another C library, nothing is said.

/// Arenas: one for the main thread, one for all others, which allocate little at a time when they are many.
#[cfg(target_env = "gnu")]
const NUM_ARENAS: i32 = 2;

/// Limits the arenas. Called before there are threads: an arena that exists is not given up.
pub(crate) fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two numbers and changes the allocator's own settings, under its own lock.
        #[allow(unsafe_code)]
        let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, NUM_ARENAS) };
        if done == 0 {
            tracing::debug!("the allocator keeps its own number of arenas");
        }
    }
}
