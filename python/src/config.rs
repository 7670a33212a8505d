//! Salt's configuration files as a Python dict, through `brine-config`.

use std::path::Path;

use brine_config::{Environment, Opts, Role};
use brine_wire::msgpack;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

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
    let mut packed = Vec::new();
    for (name, value) in loaded.opts.iter() {
        packed.clear();
        msgpack::encode(value, &mut packed);
        options.set_item(name, decode(py, &packed)?)?;
    }
    let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
    Ok((options, warnings))
}
