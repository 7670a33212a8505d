//! msgpack to Python values, as Salt's library reads them, with nothing in between.
//!
//! Facts: `docs/protocol/ipc.md` §5.

use brine_wire::msgpack::{DATE, MAX_DEPTH};
use brine_wire::scan::skip_value;
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
    // The scan proves every length, so that the reader can take them at their word.
    match skip_value(packed) {
        Ok(Some(length)) if length == packed.len() => {}
        Ok(_) => return Err(malformed("expected one whole msgpack value")),
        Err(error) => return Err(PyValueError::new_err(error.to_string())),
    }
    let mut reader = Reader {
        py,
        rest: packed,
        as_bytes: false,
        not_text: false,
    };
    let value = reader.value(MAX_DEPTH)?;
    if !reader.not_text {
        return Ok(value);
    }
    reader.rest = packed;
    reader.as_bytes = true;
    reader.value(MAX_DEPTH)
}

fn malformed(text: &'static str) -> PyErr {
    PyValueError::new_err(text)
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    rest: &'a [u8],
    as_bytes: bool,
    not_text: bool,
}

impl<'a, 'py> Reader<'a, 'py> {
    fn value(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let marker = self.array::<1>()?[0];
        match marker {
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f)),
            0x00..=0x7f => self.int(marker),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f), depth),
            0x90..=0x9f => self.list(usize::from(marker & 0x0f), depth),
            0xe0..=0xff => self.int(i8::from_be_bytes([marker])),
            0xc0 | 0xc1 => Ok(self.py.None().into_bound(self.py)),
            0xc2 | 0xc3 => Ok(PyBool::new(self.py, marker == 0xc3).to_owned().into_any()),
            0xca => {
                let number = f32::from_be_bytes(self.array()?);
                Ok(PyFloat::new(self.py, number.into()).into_any())
            }
            0xcb => {
                let number = f64::from_be_bytes(self.array()?);
                Ok(PyFloat::new(self.py, number).into_any())
            }
            0xcc..=0xd3 => self.wide_int(marker),
            _ => self.sized(marker, depth),
        }
    }

    fn wide_int(&mut self, marker: u8) -> PyResult<Bound<'py, PyAny>> {
        match marker {
            0xcc => {
                let bytes = self.array()?;
                self.int(u8::from_be_bytes(bytes))
            }
            0xcd => {
                let bytes = self.array()?;
                self.int(u16::from_be_bytes(bytes))
            }
            0xce => {
                let bytes = self.array()?;
                self.int(u32::from_be_bytes(bytes))
            }
            0xcf => {
                let bytes = self.array()?;
                self.int(u64::from_be_bytes(bytes))
            }
            0xd0 => {
                let bytes = self.array()?;
                self.int(i8::from_be_bytes(bytes))
            }
            0xd1 => {
                let bytes = self.array()?;
                self.int(i16::from_be_bytes(bytes))
            }
            0xd2 => {
                let bytes = self.array()?;
                self.int(i32::from_be_bytes(bytes))
            }
            _ => {
                let bytes = self.array()?;
                self.int(i64::from_be_bytes(bytes))
            }
        }
    }

    /// What says its length in the bytes after the marker.
    fn sized(&mut self, marker: u8, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let width = match marker {
            0xc4 | 0xc7 | 0xd9 => 1,
            0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
            0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
            _ => 0,
        };
        let digits = self.take(width)?;
        let length = digits
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        match marker {
            0xc4..=0xc6 => Ok(PyBytes::new(self.py, self.take(length)?).into_any()),
            0xc7..=0xc9 => self.extension(length),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4)),
            0xd9..=0xdb => self.text(length),
            0xdc | 0xdd => self.list(length, depth),
            _ => self.map(length, depth),
        }
    }

    fn int<T: IntoPyObject<'py, Target = PyInt, Output = Bound<'py, PyInt>>>(
        &self,
        number: T,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T::Error: Into<PyErr>,
    {
        Ok(number
            .into_pyobject(self.py)
            .map_err(Into::into)?
            .into_any())
    }

    fn text(&mut self, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let bytes = self.take(length)?;
        if !self.as_bytes {
            if let Ok(text) = std::str::from_utf8(bytes) {
                return Ok(PyString::new(self.py, text).into_any());
            }
            self.not_text = true;
        }
        Ok(PyBytes::new(self.py, bytes).into_any())
    }

    fn list(&mut self, length: usize, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let depth = deeper(depth)?;
        let list = PyList::empty(self.py);
        for _ in 0..length {
            list.append(self.value(depth)?)?;
        }
        Ok(list.into_any())
    }

    fn map(&mut self, length: usize, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let depth = deeper(depth)?;
        let map = PyDict::new(self.py);
        for _ in 0..length {
            let key = self.value(depth)?;
            let value = self.value(depth)?;
            // A list or map as a key is Python's own TypeError.
            map.set_item(key, value)?;
        }
        Ok(map.into_any())
    }

    fn extension(&mut self, length: usize) -> PyResult<Bound<'py, PyAny>> {
        let kind = i8::from_be_bytes(self.array()?);
        let payload = self.take(length)?;
        if kind == DATE {
            return self.date(payload);
        }
        Ok(PyBytes::new(self.py, payload).into_any())
    }

    /// `20261123T21:30:01.000042`
    fn date(&self, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let has_shape = text.len() == 24
            && (text.iter().enumerate()).all(|(at, byte)| match at {
                8 => *byte == b'T',
                11 | 14 => *byte == b':',
                17 => *byte == b'.',
                _ => byte.is_ascii_digit(),
            });
        if !has_shape {
            return Err(malformed("expected a date in extension 78"));
        }
        let number = |from: usize, to: usize| {
            (text[from..to].iter()).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
        };
        let small = |from: usize| u8::try_from(number(from, from + 2)).unwrap_or(u8::MAX);
        let year = i32::try_from(number(0, 4)).unwrap_or(0);
        let date = PyDateTime::new(
            self.py,
            year,
            small(4),
            small(6),
            small(9),
            small(12),
            small(15),
            number(18, 24),
            None,
        )?;
        Ok(date.into_any())
    }

    fn take(&mut self, length: usize) -> PyResult<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| malformed("expected one whole msgpack value"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let taken = self.take(N)?;
        taken
            .try_into()
            .map_err(|_| malformed("expected one whole msgpack value"))
    }
}

fn deeper(depth: usize) -> PyResult<usize> {
    depth
        .checked_sub(1)
        .ok_or_else(|| malformed("expected less nesting"))
}
