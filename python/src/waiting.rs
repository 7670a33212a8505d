//! Waiting without the interpreter lock, and what may end it: signals, forks, the interpreter's end.
//!
//! The interpreter kills a thread that asks for the lock after the interpreter has begun to end, in the middle of
//! native code. So such a thread sleeps instead until the process is gone.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;

/// The thread that ends the interpreter, once it has begun to.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

/// Says that the interpreter ends now, on this thread: other threads that wait never come back.
#[pyfunction]
pub(crate) fn leave() {
    let _ = ENDING.set(thread::current().id());
}

/// Sleeps for ever if the interpreter is being ended by another thread.
fn stay_if_ending() {
    if ENDING.get().is_some_and(|id| *id != thread::current().id()) {
        loop {
            thread::park();
        }
    }
}

/// Runs `work` without the interpreter lock.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl Send + FnOnce() -> T) -> T {
    py.detach(|| {
        let done = work();
        stay_if_ending();
        done
    })
}

/// The lock on what is inside an object; a panic of another thread leaves it usable.
pub(crate) fn lock<T>(inside: &Mutex<T>) -> MutexGuard<'_, T> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exception a signal's handler raised during a wait.
#[derive(Clone, Default)]
pub(crate) struct Raised(Arc<Mutex<Option<PyErr>>>);

impl Raised {
    /// A check for `check_while_waiting`: runs Python's signal handlers.
    pub(crate) fn check(&self) -> impl FnMut() -> ControlFlow<()> + Send + 'static {
        let raised = self.clone();
        move || {
            stay_if_ending();
            match Python::attach(|py| py.check_signals()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    *lock(&raised.0) = Some(error);
                    ControlFlow::Break(())
                }
            }
        }
    }

    /// Takes the exception out.
    pub(crate) fn take(&self) -> PyErr {
        lock(&self.0)
            .take()
            .unwrap_or_else(|| pyo3::exceptions::PyKeyboardInterrupt::new_err(()))
    }
}
