//! Counts what a thread allocates, for tests of what hostile input costs.
//!
//! Not a clock: what is counted is the same on every machine and under any load. A test program that uses it declares
//! `#[global_allocator] static ALLOCATOR: Counting = Counting;`.

#![allow(
    unsafe_code,
    reason = "an allocator cannot be written without; each call is passed on to the system's as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting.
#[derive(Debug, Clone, Copy)]
pub struct Counting;

thread_local! {
    /// Bytes allocated in all, and how many are held at present and were at most since [`measure`] began.
    static BYTES: Cell<Counts> = const { Cell::new(Counts { total: 0, held: 0, peak: 0 }) };
}

/// What a function has allocated on its thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In all, in bytes, whether or not it was freed again.
    pub total: usize,
    /// What is held now; what others allocated and this thread freed may count against it.
    held: isize,
    /// The most it has held at a time, in bytes.
    pub peak: isize,
}

/// Runs a function; what it allocated.
pub fn measure(run: impl FnOnce()) -> Counts {
    BYTES.with(|bytes| bytes.set(Counts::default()));
    run();
    BYTES.with(Cell::get)
}

fn count(change: isize) {
    // Not while the thread ends and its variables are gone.
    let _ = BYTES.try_with(|bytes| {
        let mut counts = bytes.get();
        counts.total = counts.total.saturating_add_signed(change.max(0));
        counts.held = counts.held.saturating_add(change);
        counts.peak = counts.peak.max(counts.held);
        bytes.set(counts);
    });
}

// SAFETY: every method passes its arguments to the system's allocator unchanged and returns what that returns; counting
// touches only a thread's own variable, whose access allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
