//! Salt's configuration files as a Python dict, through `brine-config`.

use std::path::Path;

use brine_config::{Environment, Opts, Role, parse_arguments};
use brine_wire::{Value, msgpack};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::decode::decode;

/// Reads the configuration of a `role` (`master`, `minion` or `client`): the options, and the
/// warnings as texts.
#[pyfunction]
pub(crate) fn load_config<'py>(
    py: Python<'py>,
    role: &str,
    path: &str,
) -> PyResult<(Bound<'py, PyDict>, Vec<String>)> {
    let role = match role {
        "master" => Role::Master,
        "client" => Role::Client,
        _ => Role::Minion,
    };
    let loaded = Opts::load(role, Path::new(path), &Environment::current())
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let options = PyDict::new(py);
    for (name, value) in loaded.opts.iter() {
        options.set_item(name, to_python(py, value)?)?;
    }
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    Ok((options, warnings))
}

/// Arguments as a command line has them: the positional ones and the named ones. What is no text
/// stays as it is.
#[pyfunction]
#[pyo3(name = "parse_arguments")]
pub(crate) fn parse_texts<'py>(
    arguments: &Bound<'py, PyList>,
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyDict>)> {
    let py = arguments.py();
    let (positional, named) = (PyList::empty(py), PyDict::new(py));
    for argument in arguments {
        let Ok(text) = argument.cast::<PyString>() else {
            positional.append(argument)?;
            continue;
        };
        let parsed = parse_arguments([&*text.to_cow()?], &[]);
        for value in &parsed.positional {
            positional.append(to_python(py, value)?)?;
        }
        for (name, value) in parsed.keyword.iter() {
            named.set_item(to_python(py, name)?, to_python(py, value)?)?;
        }
    }
    Ok((positional, named))
}

fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    let mut packed = Vec::new();
    msgpack::encode(value, &mut packed);
    decode(py, &packed)
}
