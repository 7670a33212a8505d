//! Firing: `brine_bus::client::blocking::Publisher` for Python.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use brine_bus::client::{ConnectError, Oversize, PublishError, PublisherConfig, blocking};
use brine_wire::compat::Compat;
use brine_wire::event::{STAMP, check_tag, join};
use brine_wire::{stamp, trim};
use pyo3::exceptions::{PyConnectionError, PyOSError, PyPermissionError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::address::{BusAddress, value_error};
use crate::encode::encode;
use crate::subscriber::seconds;
use crate::waiting::{Raised, detached, lock};

/// A publisher on a bus, usable from several threads.
#[pyclass(frozen, module = "brine._native")]
pub(crate) struct Publisher {
    inner: Mutex<blocking::Publisher>,
    raised: Raised,
    config: PublisherConfig,
}

#[pymethods]
impl Publisher {
    #[new]
    #[pyo3(signature = (address, compat, max_event_size, trims=true))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "arguments from Python are owned"
    )]
    fn new(
        address: BusAddress,
        compat: Option<&str>,
        max_event_size: usize,
        trims: bool,
    ) -> PyResult<Self> {
        let compat = match compat {
            Some(release) => release.parse().map_err(value_error)?,
            None => Compat::NEWEST,
        };
        let config = PublisherConfig {
            max_event_size,
            oversize: if trims {
                Oversize::Trim
            } else {
                Oversize::Refuse
            },
            ..PublisherConfig::for_compat(compat)
        };
        let mut inner = blocking::Publisher::new(&address.address()?, config);
        let raised = Raised::default();
        inner.check_while_waiting(raised.check());
        Ok(Self {
            inner: Mutex::new(inner),
            raised,
            config,
        })
    }

    /// Connects within `timeout` seconds (`None`: for ever); whether there is a connection.
    fn connect(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(seconds);
        let result = detached(py, || lock(&self.inner).connect(timeout));
        self.outcome(result)
    }

    /// Salt's `fire_event`: sets `_stamp` in `data` and sends; whether the bus was there. `max_event_size` is that of
    /// this event alone.
    #[pyo3(signature = (tag, data, timeout, max_event_size=None))]
    fn fire(
        &self,
        py: Python<'_>,
        tag: &str,
        data: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        max_event_size: Option<usize>,
    ) -> PyResult<bool> {
        check_tag(tag).map_err(value_error)?;
        let timeout = timeout.map(seconds);
        let connected = detached(py, || lock(&self.inner).connect(timeout));
        if !self.outcome(connected)? {
            return Ok(false);
        }
        let stamp = stamp::format(since_epoch(), self.config.stamp_style);
        data.set_item(intern!(py, STAMP), stamp)?;
        let mut packed = Vec::with_capacity(256);
        encode(data, &mut packed)?;
        let limit = max_event_size.unwrap_or(self.config.max_event_size);
        let packed = match self.config.oversize {
            Oversize::Trim => trim::trim_to(packed, limit),
            Oversize::Refuse => trim::refuse_to_trim(packed, limit).map_err(value_error)?,
        };
        let event = join(tag, &packed);
        let sent = detached(py, || lock(&self.inner).fire_raw(&event, timeout));
        self.outcome(sent)
    }

    /// Closes the connection.
    fn close(&self, py: Python<'_>) {
        detached(py, || lock(&self.inner).close());
    }

    /// Whether no thread is at work in it: in a forked child, one that was will never be done.
    fn is_free(&self) -> bool {
        self.inner.try_lock().is_ok()
    }
}

impl Publisher {
    /// No bus, or one that takes nothing, is `False`, as with Salt.
    fn outcome(&self, result: Result<(), PublishError>) -> PyResult<bool> {
        let Err(error) = result else { return Ok(true) };
        let text = error.to_string();
        match error {
            PublishError::Interrupted => Err(self.raised.take()),
            PublishError::Connect(ConnectError::Denied { .. }) => {
                Err(PyPermissionError::new_err(text))
            }
            PublishError::Connect(_) | PublishError::Stalled { .. } => Ok(false),
            PublishError::Closed { .. } => Err(PyConnectionError::new_err(text)),
            PublishError::Event(error) => Err(value_error(error)),
            _ => Err(PyOSError::new_err(text)),
        }
    }
}

/// The time now; a clock before 1970 says 1970.
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
