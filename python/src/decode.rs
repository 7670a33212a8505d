//! msgpack to Python values, as Salt's library reads them, without an intermediate form.
//!
//! `brine-wire` reads the msgpack; this file makes Python's objects. Facts: `docs/protocol/ipc.md` §5.

use brine_wire::build::{self, Build, BuildError, Date};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyString};

/// One value from bytes.
#[pyfunction]
pub(crate) fn loads<'py>(py: Python<'py>, packed: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, packed)
}

/// Decodes exactly one value. If one text in it is not UTF-8, all texts become bytes.
///
/// # Errors
/// `ValueError` where Salt calls an event malformed.
pub(crate) fn decode<'py>(py: Python<'py>, packed: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(build::build(packed, &mut Objects { py })?)
}

/// Python's exception, or the one that stands for malformed bytes.
struct Failed(PyErr);

impl From<BuildError> for Failed {
    fn from(error: BuildError) -> Self {
        Self(PyValueError::new_err(error.to_string()))
    }
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Failed> for PyErr {
    fn from(failed: Failed) -> Self {
        failed.0
    }
}

/// Makes Python objects.
struct Objects<'py> {
    py: Python<'py>,
}

impl<'py> Objects<'py> {
    fn int<T: IntoPyObject<'py, Target = PyInt, Output = Bound<'py, PyInt>>>(
        &self,
        number: T,
    ) -> Result<Bound<'py, PyAny>, Failed>
    where
        T::Error: Into<PyErr>,
    {
        let number = number.into_pyobject(self.py);
        Ok(number.map_err(Into::into)?.into_any())
    }
}

impl<'py> Build for Objects<'py> {
    type Value = Bound<'py, PyAny>;
    type List = Bound<'py, PyList>;
    type Map = Bound<'py, PyDict>;
    type Error = Failed;

    fn nil(&mut self) -> Self::Value {
        self.py.None().into_bound(self.py)
    }

    fn boolean(&mut self, boolean: bool) -> Self::Value {
        PyBool::new(self.py, boolean).to_owned().into_any()
    }

    fn signed(&mut self, number: i64) -> Result<Self::Value, Failed> {
        self.int(number)
    }

    fn unsigned(&mut self, number: u64) -> Result<Self::Value, Failed> {
        self.int(number)
    }

    fn float(&mut self, number: f64) -> Self::Value {
        PyFloat::new(self.py, number).into_any()
    }

    fn text(&mut self, text: &str) -> Self::Value {
        PyString::new(self.py, text).into_any()
    }

    fn bytes(&mut self, bytes: &[u8]) -> Self::Value {
        PyBytes::new(self.py, bytes).into_any()
    }

    fn extension(&mut self, _: i8, payload: &[u8]) -> Self::Value {
        self.bytes(payload)
    }

    fn date(&mut self, date: Date) -> Result<Self::Value, Failed> {
        let date = PyDateTime::new(
            self.py,
            i32::try_from(date.year).unwrap_or(0),
            date.month,
            date.day,
            date.hour,
            date.minute,
            date.second,
            date.microsecond,
            None,
        )?;
        Ok(date.into_any())
    }

    fn list(&mut self) -> Self::List {
        PyList::empty(self.py)
    }

    fn push(&mut self, list: &mut Self::List, item: Self::Value) -> Result<(), Failed> {
        Ok(list.append(item)?)
    }

    fn whole_list(&mut self, list: Self::List) -> Self::Value {
        list.into_any()
    }

    fn map(&mut self) -> Self::Map {
        PyDict::new(self.py)
    }

    fn set(
        &mut self,
        map: &mut Self::Map,
        key: Self::Value,
        value: Self::Value,
    ) -> Result<(), Failed> {
        // A list or map as a key is Python's own TypeError.
        Ok(map.set_item(key, value)?)
    }

    fn whole_map(&mut self, map: Self::Map) -> Self::Value {
        map.into_any()
    }
}
