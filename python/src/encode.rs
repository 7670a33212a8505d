//! Python values to msgpack, as Salt's library writes them, without an intermediate form.
//!
//! Facts: `docs/protocol/ipc.md` §5.

use brine_wire::event::join;
use brine_wire::msgpack::DATE;
use brine_wire::{Value, msgpack, trim};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDate, PyDateTime, PyDict, PyFloat, PyFrozenSet, PyInt, PyList,
    PyMapping, PySet, PyString, PyTuple,
};

/// How deep values may be nested: what Salt's packer takes.
const MAX_DEPTH: usize = 511;

/// A value as bytes.
#[pyfunction]
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut packed = Vec::with_capacity(256);
    encode(value, &mut packed)?;
    Ok(PyBytes::new(value.py(), &packed))
}

/// Salt's `pack`: tag, tag end and data, which are trimmed to `max_size` bytes if that is given.
#[pyfunction]
pub(crate) fn pack<'py>(
    tag: &str,
    data: &Bound<'py, PyAny>,
    max_size: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut packed = Vec::with_capacity(256);
    encode(data, &mut packed)?;
    let packed = match max_size {
        Some(most) if most > 0 => trim::trim_to(packed, most),
        _ => packed,
    };
    Ok(PyBytes::new(data.py(), &join(tag, &packed)))
}

/// Appends a value.
pub(crate) fn encode(value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    put(value, out, MAX_DEPTH)
}

fn put(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        put_text(text.to_cow()?.as_bytes(), out);
    } else if value.is_none() {
        out.push(0xc0);
    } else if let Ok(flag) = value.cast::<PyBool>() {
        out.push(if flag.is_true() { 0xc3 } else { 0xc2 });
    } else if let Ok(number) = value.cast::<PyInt>() {
        put_int(number, out)?;
    } else if let Ok(map) = value.cast::<PyDict>() {
        put_dict(map, out, deeper(depth)?)?;
    } else if let Ok(items) = value.cast::<PyList>() {
        header(out, items.len(), (0x90, 16), None, [0xdc, 0xdd])?;
        for item in items {
            put(&item, out, deeper(depth)?)?;
        }
    } else if let Ok(number) = value.cast::<PyFloat>() {
        out.push(0xcb);
        out.extend_from_slice(&number.value().to_be_bytes());
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        put_bytes(bytes.as_bytes(), out);
    } else {
        return put_rarer(value, out, depth);
    }
    Ok(())
}

fn put_rarer(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    if let Ok(items) = value.cast::<PyTuple>() {
        header(out, items.len(), (0x90, 16), None, [0xdc, 0xdd])?;
        for item in items {
            put(&item, out, deeper(depth)?)?;
        }
    } else if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        header(out, value.len()?, (0x90, 16), None, [0xdc, 0xdd])?;
        for item in value.try_iter()? {
            put(&item?, out, deeper(depth)?)?;
        }
    } else if let Ok(bytes) = value.cast::<PyByteArray>() {
        put_bytes(&bytes.to_vec(), out);
    } else if value.is_instance_of::<PyDateTime>() || value.is_instance_of::<PyDate>() {
        let text = value.call_method1(intern!(value.py(), "strftime"), ("%Y%m%dT%H:%M:%S.%f",))?;
        let payload = text.cast::<PyString>()?.to_cow()?.as_bytes().to_vec();
        msgpack::encode(&Value::Ext(DATE, payload), out);
    } else if value.cast::<PyMapping>().is_ok() {
        let map = PyDict::new(value.py());
        map.update(value.cast::<PyMapping>()?)?;
        put_dict(&map, out, deeper(depth)?)?;
    } else {
        let name = value.get_type().qualname()?;
        return Err(PyTypeError::new_err(format!(
            "can not serialize '{name}' object"
        )));
    }
    Ok(())
}

fn put_dict(map: &Bound<'_, PyDict>, out: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    header(out, map.len(), (0x80, 16), None, [0xde, 0xdf])?;
    for (key, value) in map {
        put(&key, out, depth)?;
        put(&value, out, depth)?;
    }
    Ok(())
}

/// What 64 bits cannot hold goes as decimal text.
fn put_int(number: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> PyResult<()> {
    match number.extract::<i64>() {
        Ok(number @ 0..=0x7f) => out.push(number as u8),
        Ok(number) => msgpack::encode(&Value::Int(number.into()), out),
        Err(_) => match number.extract::<u64>() {
            Ok(number) => msgpack::encode(&Value::Int(number.into()), out),
            Err(_) => put_text(number.str()?.to_cow()?.as_bytes(), out),
        },
    }
    Ok(())
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    // A length past 32 bits is no event's: the bus takes 100 MiB.
    let _ = header(out, text.len(), (0xa0, 32), Some(0xd9), [0xda, 0xdb]);
    out.extend_from_slice(text);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let _ = header(out, bytes.len(), (0, 0), Some(0xc4), [0xc5, 0xc6]);
    out.extend_from_slice(bytes);
}

/// The shortest header for a length: within the marker, or after it in 8, 16 or 32 bits.
fn header(
    out: &mut Vec<u8>,
    length: usize,
    (short, short_below): (u8, usize),
    in_8_bits: Option<u8>,
    [in_16_bits, in_32_bits]: [u8; 2],
) -> PyResult<()> {
    if length < short_below {
        out.push(short | length as u8);
    } else if let (Some(marker), Ok(length)) = (in_8_bits, u8::try_from(length)) {
        out.extend_from_slice(&[marker, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(in_16_bits);
        out.extend_from_slice(&length.to_be_bytes());
    } else if let Ok(length) = u32::try_from(length) {
        out.push(in_32_bits);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        return Err(PyValueError::new_err(format!(
            "expected at most 4294967295 items or bytes, found {length}"
        )));
    }
    Ok(())
}

fn deeper(depth: usize) -> PyResult<usize> {
    depth
        .checked_sub(1)
        .ok_or_else(|| PyValueError::new_err("recursion limit exceeded"))
}
