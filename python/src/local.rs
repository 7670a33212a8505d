//! The local socket: `brine_bus::client::local::blocking` for Python.

use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use brine_bus::client::local::blocking::{self, EventStream};
use brine_bus::client::local::{
    Acknowledge, Delivery, EventQuery, Fired, LocalError, Method, Stored,
};
use brine_bus::client::{ConnectError, PublisherConfig};
use brine_wire::compat::Compat;
use brine_wire::event::{STAMP, check_tag, join};
use brine_wire::{Map, Value, msgpack, stamp, trim};
use pyo3::exceptions::{
    PyConnectionError, PyOSError, PyPermissionError, PyRuntimeError, PyTimeoutError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::address::{BusAddress, value_error};
use crate::decode::decode;
use crate::encode::encode;
use crate::subscriber::{seconds, until};
use crate::waiting::{Raised, detached, lock};

/// Which events a stream is about: the arguments of `Bus.events`, as text.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Query {
    tags: Vec<String>,
    excludes: Vec<String>,
    match_type: String,
    filter: String,
    start: String,
    since: String,
    until: String,
    last: Option<u64>,
    limit: Option<u64>,
    ends: bool,
}

impl From<Query> for EventQuery {
    fn from(query: Query) -> Self {
        let query_of = Self {
            tags: query.tags,
            match_type: query.match_type,
            excludes: query.excludes,
            filter: query.filter,
            from: query.start,
            since: query.since,
            until: query.until,
            before: None,
            last: query.last,
            limit: query.limit,
            ends: false,
            consumer: None,
            heartbeat: None,
        };
        match query.ends {
            true => query_of.of_history(),
            false => query_of,
        }
    }
}

/// What a stream gives, each with its name in front: `event` (tag, data, sequence, position), `gap`
/// (from, to, missed, reason) or `end`.
#[derive(IntoPyObject)]
enum Given<'py> {
    Event(
        &'static str,
        Bound<'py, PyString>,
        Bound<'py, PyAny>,
        u64,
        String,
    ),
    Gap(&'static str, String, String, Option<u64>, Option<String>),
    End(&'static str, ()),
}

/// A stream of events from a local socket, usable from several threads.
#[pyclass(frozen, module = "brine._native")]
pub(crate) struct LocalStream {
    inner: Mutex<EventStream>,
    raised: Raised,
}

#[pymethods]
impl LocalStream {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "arguments from Python are owned"
    )]
    fn new(address: BusAddress, query: Query) -> PyResult<Self> {
        let mut inner = EventStream::new(address.local()?, &query.into());
        let raised = Raised::default();
        inner.check_while_waiting(raised.check());
        Ok(Self {
            inner: Mutex::new(inner),
            raised,
        })
    }

    /// Connects within `timeout` seconds; whether there is a stream. What is fired after that is part
    /// of one that begins now.
    fn connect(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = Some(seconds(timeout));
        let result = detached(py, || lock(&self.inner).connect(timeout));
        match result {
            Ok(()) => Ok(true),
            Err(error) => no_bus(error, &self.raised).map(|()| false),
        }
    }

    /// The next event, gap or end; `None` after `wait` seconds without one (`None`: for ever).
    fn next<'py>(&self, py: Python<'py>, wait: Option<f64>) -> PyResult<Option<Given<'py>>> {
        let wait = until(wait);
        loop {
            let delivery = match detached(py, || lock(&self.inner).next(wait)) {
                Ok(None) => return Ok(None),
                Ok(Some(delivery)) => delivery,
                Err(error) => return no_bus(error, &self.raised).map(|()| None),
            };
            return Ok(Some(match delivery {
                Delivery::Event(Stored {
                    position, event, ..
                }) => {
                    // Data that nobody can read: skipped, as Salt does.
                    let Ok(data) = decode(py, event.data()) else {
                        continue;
                    };
                    let tag = PyString::new(py, event.tag());
                    Given::Event("event", tag, data, position.seq.0, position.to_string())
                }
                Delivery::Gap {
                    from,
                    to,
                    missed,
                    reason,
                } => Given::Gap("gap", from.to_string(), to.to_string(), missed, reason),
                Delivery::End => Given::End("end", ()),
            }));
        }
    }

    /// Where the stream is, if that is known.
    fn position(&self, py: Python<'_>) -> Option<String> {
        let position = detached(py, || lock(&self.inner).position());
        position.map(|position| position.to_string())
    }

    /// Closes the connection.
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
}

/// Where Brine's own socket of a bus is.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "arguments from Python are owned"
)]
pub(crate) fn local_path(address: BusAddress) -> PyResult<String> {
    Ok(address.local()?.path().display().to_string())
}

/// Requests to a local socket, usable from several threads.
#[pyclass(frozen, module = "brine._native")]
pub(crate) struct LocalClient {
    inner: Mutex<blocking::LocalClient>,
    raised: Raised,
    config: PublisherConfig,
}

#[pymethods]
impl LocalClient {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "arguments from Python are owned"
    )]
    fn new(address: BusAddress, compat: Option<&str>, max_event_size: usize) -> PyResult<Self> {
        let compat = match compat {
            Some(release) => release.parse().map_err(value_error)?,
            None => Compat::NEWEST,
        };
        let config = PublisherConfig {
            max_event_size,
            ..PublisherConfig::for_compat(compat)
        };
        let mut inner = blocking::LocalClient::new(address.local()?, config);
        let raised = Raised::default();
        inner.check_while_waiting(raised.check());
        Ok(Self {
            inner: Mutex::new(inner),
            raised,
            config,
        })
    }

    /// Fires an event; its position, once it is on disk or, if not `durable`, once it can be read.
    /// Sets `_stamp` in `data`.
    fn fire(
        &self,
        py: Python<'_>,
        tag: &str,
        data: &Bound<'_, PyAny>,
        durable: bool,
        timeout: Option<f64>,
    ) -> PyResult<String> {
        check_tag(tag).map_err(value_error)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let stamp = stamp::format(now.unwrap_or_default(), self.config.stamp_style);
        data.set_item(intern!(py, STAMP), stamp)?;
        let mut packed = Vec::with_capacity(256);
        encode(data, &mut packed)?;
        let packed =
            trim::refuse_to_trim(packed, self.config.max_event_size).map_err(value_error)?;
        let event = join(tag, &packed);
        let acknowledge = match durable {
            true => Acknowledge::Durable,
            false => Acknowledge::Appended,
        };
        let fired = self.ask(py, timeout, |client, timeout| {
            client.fire_raw(&event, acknowledge, timeout)
        })?;
        match fired {
            Fired::At(position) => Ok(position.to_string()),
            Fired::Refused { code, message } if code == "forbidden" => {
                Err(PyPermissionError::new_err(message))
            }
            Fired::Refused { message, .. } => Err(PyValueError::new_err(message)),
        }
    }

    /// What the bus answers to `GET` of a path.
    fn get<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let answer = self.ask(py, timeout, |client, timeout| {
            client.request(Method::Get, path, timeout)
        })?;
        let mut packed = Vec::new();
        msgpack::encode(&answer, &mut packed);
        decode(py, &packed)
    }

    /// Has the node run a command, looking for it `find_within` seconds and waiting `timeout` for the answer (`None`: for
    /// ever): `{"return": …}`, or `{"error": {"name", "message"}}` where it failed or was refused.
    fn run<'py>(
        &self,
        py: Python<'py>,
        command: &Bound<'py, PyAny>,
        find_within: f64,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut packed = Vec::new();
        encode(command, &mut packed)?;
        let Ok(Value::Map(command)) = msgpack::decode(&packed) else {
            return Err(PyValueError::new_err("a command is a mapping"));
        };
        let (find_within, timeout) = (seconds(find_within), timeout.map(seconds));
        let result = detached(py, || {
            let mut client = lock(&self.inner);
            client.connect(Some(find_within))?;
            client.run(command, timeout)
        });
        let answer: Map = match result {
            Ok(value) => [("return", value)].into_iter().collect(),
            Err(LocalError::Refused {
                status: 422,
                code,
                message,
            }) => {
                let error: Map = [("name", code), ("message", message)].into_iter().collect();
                [("error", error)].into_iter().collect()
            }
            Err(error) => return Err(raise(error, &self.raised)),
        };
        let mut packed = Vec::new();
        msgpack::encode(&answer.into(), &mut packed);
        decode(py, &packed)
    }

    /// Closes the connection.
    fn close(&self, py: Python<'_>) {
        detached(py, || lock(&self.inner).close());
    }
}

impl LocalClient {
    /// Looks for the bus for `timeout` seconds, then asks and waits as long for the answer.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        ask: impl Send + FnOnce(&mut blocking::LocalClient, Option<Duration>) -> Result<T, LocalError>,
    ) -> PyResult<T> {
        let timeout = timeout.map(seconds);
        let result = detached(py, || {
            let mut client = lock(&self.inner);
            client.connect(timeout)?;
            ask(&mut client, timeout)
        });
        result.map_err(|error| raise(error, &self.raised))
    }
}

/// No bus is no error for a stream, which waits for one.
fn no_bus(error: LocalError, raised: &Raised) -> PyResult<()> {
    match error {
        LocalError::Connect(ConnectError::Denied { .. }) => Err(raise(error, raised)),
        LocalError::Connect(_) => Ok(()),
        error => Err(raise(error, raised)),
    }
}

/// An error as Python's.
fn raise(error: LocalError, raised: &Raised) -> PyErr {
    let text = error.to_string();
    match error {
        LocalError::Interrupted => raised.take(),
        LocalError::Connect(ConnectError::Denied { .. })
        | LocalError::Refused {
            status: 401 | 403, ..
        } => PyPermissionError::new_err(text),
        LocalError::Refused { status: 409, .. } => PyRuntimeError::new_err(text),
        LocalError::Event(_)
        | LocalError::Refused {
            status: 200..=499, ..
        } => PyValueError::new_err(text),
        LocalError::Connect(_) | LocalError::Closed { .. } | LocalError::Http { .. } => {
            PyConnectionError::new_err(text)
        }
        LocalError::TimedOut { .. } => PyTimeoutError::new_err(text),
        _ => PyOSError::new_err(text),
    }
}
