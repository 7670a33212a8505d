//! Listening: `brine_bus::client::blocking::Subscriber` for Python.

use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use brine_bus::client::{Event, ReceiveError, SubscriberConfig, Wait, blocking};
use brine_wire::matching::TagMatch;
use pyo3::exceptions::{PyConnectionError, PyOSError, PyPermissionError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::address::BusAddress;
use crate::decode::decode;
use crate::filter::{Filter, tag_match};
use crate::waiting::{Raised, detached, lock};

/// An event as Python gets it: tag and data.
type Received<'py> = Option<(Bound<'py, PyString>, Bound<'py, PyAny>)>;

/// A listener on a bus, usable from several threads.
#[pyclass(frozen, module = "brine._native")]
pub(crate) struct Subscriber {
    inner: Mutex<blocking::Subscriber>,
    raised: Raised,
    /// The pattern of the last call: most calls repeat it, and compiling one is dear.
    last: Mutex<Option<(String, TagMatch)>>,
}

#[pymethods]
impl Subscriber {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "arguments from Python are owned"
    )]
    fn new(address: BusAddress) -> PyResult<Self> {
        let mut inner = blocking::Subscriber::new(&address.address()?, SubscriberConfig::default());
        let raised = Raised::default();
        inner.check_while_waiting(raised.check());
        Ok(Self {
            inner: Mutex::new(inner),
            raised,
            last: Mutex::default(),
        })
    }

    /// Connects within `timeout` seconds; whether there is a connection.
    fn connect(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = seconds(timeout);
        match detached(py, || lock(&self.inner).connect(timeout)) {
            Ok(()) => Ok(true),
            Err(error) => self.failed(error).map(|()| false),
        }
    }

    /// Salt's `get_event`: `wait` in seconds, `None` for ever; `once` takes one event at most.
    fn get<'py>(
        &self,
        py: Python<'py>,
        pattern: &str,
        match_type: &str,
        wait: Option<f64>,
        once: bool,
    ) -> PyResult<Received<'py>> {
        let wanted = self.pattern(py, pattern, match_type)?;
        let wait = if once { Wait::NO_BLOCK } else { until(wait) };
        loop {
            let result = detached(py, || lock(&self.inner).get_event(&wanted, wait));
            match self.received(py, result)? {
                Outcome::Malformed if !once => {}
                Outcome::Event(tag, data) => return Ok(Some((tag, data))),
                _ => return Ok(None),
            }
        }
    }

    /// The next event that passes `filter`, without a look at subscriptions.
    fn next<'py>(
        &self,
        py: Python<'py>,
        filter: &Filter,
        wait: Option<f64>,
    ) -> PyResult<Received<'py>> {
        let wait = until(wait);
        loop {
            let result = detached(py, || {
                let mut inner = lock(&self.inner);
                loop {
                    match inner.next_ref(wait)? {
                        Some(event) if filter.0.matches(event.tag()) => {
                            return Ok(Some(event.to_event()));
                        }
                        Some(_) => {}
                        None => return Ok(None),
                    }
                }
            });
            match self.received(py, result)? {
                Outcome::Malformed => {}
                Outcome::Event(tag, data) => return Ok(Some((tag, data))),
                Outcome::Nothing => return Ok(None),
            }
        }
    }

    /// The next event's bytes, undecoded.
    fn next_raw<'py>(
        &self,
        py: Python<'py>,
        wait: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let wait = until(wait);
        let result = detached(py, || -> Result<_, ReceiveError> {
            Ok(lock(&self.inner)
                .next_ref(wait)?
                .map(|event| event.to_event()))
        });
        match result {
            Ok(event) => Ok(event.map(|event| PyBytes::new(py, event.as_bytes()))),
            Err(error) => self.failed(error).map(|()| None),
        }
    }

    /// Keeps matching events that other calls pass over.
    fn subscribe(&self, py: Python<'_>, pattern: &str, match_type: &str) -> PyResult<()> {
        let wanted = tag_match(py, pattern, match_type)?;
        detached(py, || lock(&self.inner).subscribe(wanted));
        Ok(())
    }

    /// Takes one such subscription back.
    fn unsubscribe(&self, py: Python<'_>, pattern: &str, match_type: &str) -> PyResult<()> {
        let wanted = tag_match(py, pattern, match_type)?;
        detached(py, || lock(&self.inner).unsubscribe(&wanted));
        Ok(())
    }

    /// The events that a subscription wanted and no call has got yet, oldest first: tags and data.
    fn pending<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        let events = detached(py, || {
            let inner = lock(&self.inner);
            inner.pending_events().cloned().collect::<Vec<_>>()
        });
        let mut pending = Vec::with_capacity(events.len());
        for event in events {
            // One whose data nobody can read is skipped, as by the calls that get events.
            if let Ok(data) = decode(py, event.data()) {
                pending.push((event.tag().to_owned(), data));
            }
        }
        Ok(pending)
    }

    /// Forgets them.
    fn forget_pending(&self, py: Python<'_>) {
        detached(py, || lock(&self.inner).forget_pending());
    }

    /// Closes the connection and forgets pending events.
    fn close(&self, py: Python<'_>) {
        detached(py, || lock(&self.inner).close());
    }

    /// The socket's number, if there is a connection.
    fn fileno(&self, py: Python<'_>) -> Option<i32> {
        detached(py, || {
            let inner = lock(&self.inner);
            inner.socket().map(|socket| socket.as_raw_fd())
        })
    }

    /// Whether no thread is at work in it: in a forked child, one that was will never be done.
    fn is_free(&self) -> bool {
        self.inner.try_lock().is_ok()
    }
}

/// What a call for an event brought.
enum Outcome<'py> {
    Event(Bound<'py, PyString>, Bound<'py, PyAny>),
    /// An event whose data nobody can read: skipped, as Salt does.
    Malformed,
    Nothing,
}

impl Subscriber {
    fn pattern(&self, py: Python<'_>, pattern: &str, match_type: &str) -> PyResult<TagMatch> {
        // Never held while waiting, so that no lock is waited for with the interpreter's held.
        let mut last = lock(&self.last);
        if let Some((kind, wanted)) = &*last
            && kind == match_type
            && wanted.pattern() == pattern
        {
            return Ok(wanted.clone());
        }
        let wanted = tag_match(py, pattern, match_type)?;
        *last = Some((match_type.to_owned(), wanted.clone()));
        Ok(wanted)
    }

    fn received<'py>(
        &self,
        py: Python<'py>,
        result: Result<Option<Event>, ReceiveError>,
    ) -> PyResult<Outcome<'py>> {
        match result {
            Ok(Some(event)) => match decode(py, event.data()) {
                Ok(data) => Ok(Outcome::Event(PyString::new(py, event.tag()), data)),
                Err(_) => Ok(Outcome::Malformed),
            },
            Ok(None) => Ok(Outcome::Nothing),
            Err(error) => self.failed(error).map(|()| Outcome::Nothing),
        }
    }

    /// An error as Python's; no bus is none, as with Salt.
    fn failed(&self, error: ReceiveError) -> PyResult<()> {
        let text = error.to_string();
        match error {
            ReceiveError::Interrupted => Err(self.raised.take()),
            ReceiveError::Connect(brine_bus::client::ConnectError::Denied { .. }) => {
                Err(PyPermissionError::new_err(text))
            }
            ReceiveError::Connect(_) | ReceiveError::Closed { .. } => Ok(()),
            ReceiveError::NotABus { .. } => Err(PyConnectionError::new_err(text)),
            _ => Err(PyOSError::new_err(text)),
        }
    }
}

/// A time in seconds; what is no time is none.
pub(crate) fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time.max(0.0)).unwrap_or(Duration::MAX)
}

/// A budget that lasts for several calls.
pub(crate) fn until(wait: Option<f64>) -> Wait {
    let deadline = wait
        .map(seconds)
        .map(|wait| Instant::now().checked_add(wait));
    deadline.flatten().map_or(Wait::Forever, Wait::Until)
}
