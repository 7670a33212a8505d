//! Returns freed memory to the system after a burst of connections has ended.
//!
//! The C library never returns the memory that a thousand small tasks used: the bus would stay as large as at its
//! busiest moment. This is the only module that calls the C library directly.
#![allow(unsafe_code)]

/// Fewer connections than this are not worth the walk through the heap.
const BURST: usize = 64;

/// Watches how many connections there are.
#[derive(Debug, Default)]
pub(crate) struct TrimAfterBurst {
    most: usize,
}

impl TrimAfterBurst {
    /// Notes the present number, and tidies up when most of a burst has ended.
    pub(crate) fn note(&mut self, connections: usize) {
        self.most = self.most.max(connections);
        if self.most >= BURST && connections < self.most / 2 {
            self.most = connections;
            trim();
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: `malloc_trim` takes no pointer, may be called at any time from any thread, and
    // changes nothing that a program can see but the pages the heap holds. What it returns (whether
    // anything was given back) is of no use here.
    let _ = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
