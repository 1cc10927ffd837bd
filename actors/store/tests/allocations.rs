//! The held read allocates nothing: counted by the allocator of the test program, per thread.
//!
//! What the C++ below the database allocates is not seen here; a read within a remembered run does not get that far.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[allow(unsafe_code)]
// SAFETY: every call is handed to the system's allocator as it came; counting touches a cell of this thread only, which
// needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread while something is done.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| {}), 0);
    assert!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))) > 0);
}

#[test]
fn held_read_allocates_nothing() {
    let mut fixture = Fixture::new();
    let (content, bytes) = fixture.keep_all(1, 8 * MIB);
    assert_eq!(fixture.held(&content, &bytes), 8 * MIB, "verified");
    let key = content.key();
    let mut buffer = vec![0; 128 << 10];
    let mut run = HeldRun::default();
    let count = allocations(|| {
        for block in 0..64_u64 {
            let at = block * buffer.len() as u64;
            let held = fixture.reader.read_blocking(key, at, &mut buffer, &mut run).unwrap();
            assert_eq!(held, Held::Bytes(buffer.len()));
            let from = at as usize;
            assert!(buffer == bytes[from..from + buffer.len()]);
        }
    });
    assert_eq!(count, 0);
}
