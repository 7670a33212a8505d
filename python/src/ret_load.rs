//! The events for failed states of a job return, from `brine-wire`.

use brine_wire::{Value, msgpack, ret_load};
use pyo3::prelude::*;

use crate::address::value_error;
use crate::decode::decode;
use crate::encode::encode;

/// Tags and data in the order in which they are to be fired.
#[pyfunction]
pub(crate) fn ret_load_events<'py>(
    load: &Bound<'py, PyAny>,
) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
    let mut packed = Vec::new();
    encode(load, &mut packed)?;
    let Value::Map(load_map) = msgpack::decode(&packed).map_err(value_error)? else {
        return Ok(Vec::new());
    };
    (ret_load::fire_ret_load(&load_map).into_iter())
        .map(|(tag, data)| {
            packed.clear();
            msgpack::encode_map(&data, &mut packed);
            Ok((tag, decode(load.py(), &packed)?))
        })
        .collect()
}
