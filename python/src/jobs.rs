//! The rules for jobs that `brine-wire` has, for Python: when to stop waiting for returns, and node
//! groups in targets.

use std::time::{Duration, Instant};

use brine_wire::nodegroup::{self, NodeGroupError};
use brine_wire::returns::{self, Step, Taken, Timeouts};
use brine_wire::{Map, Value, msgpack};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::address::value_error;
use crate::encode::encode;
use crate::subscriber::seconds;

/// The returns of one job; see [`returns::Returns`].
#[pyclass(module = "brine._native")]
pub(crate) struct Returns {
    inner: returns::Returns,
    began: Instant,
}

#[pymethods]
impl Returns {
    /// A job that was published just now; times in seconds.
    #[new]
    fn new(jid: &str, minions: Vec<String>, timeout: f64, gather: f64) -> Self {
        let timeouts = Timeouts {
            timeout: seconds(timeout),
            gather: seconds(gather),
        };
        Self {
            inner: returns::Returns::new(jid, minions, [], timeouts, Duration::ZERO),
            began: Instant::now(),
        }
    }

    /// Takes an event of the master's bus: `"return"` for the first return of a minion,
    /// `"refused"` if the master refused the job, `None` for anything else.
    fn take(&mut self, tag: &str, data: &Bound<'_, PyAny>) -> PyResult<Option<&'static str>> {
        let Value::Map(data) = to_value(data)? else {
            return Ok(None);
        };
        Ok(match self.inner.take(tag, &data, self.began.elapsed()) {
            Taken::Return { .. } => Some("return"),
            Taken::Refused(_) => Some("refused"),
            Taken::Nothing => None,
        })
    }

    /// What to do next: wait for events for so many seconds, ask these minions whether the job
    /// runs, or (`None`) stop waiting.
    fn poll<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let now = self.began.elapsed();
        match self.inner.poll(now) {
            Step::WaitUntil(due) => {
                let wait = due.saturating_sub(now).as_secs_f64();
                wait.into_bound_py_any(py).map(Some)
            }
            Step::Ask(minions) => minions.into_bound_py_any(py).map(Some),
            Step::Done => Ok(None),
        }
    }

    /// Notes the job id of the question; `None` if no minion could be asked.
    fn asked(&mut self, jid: Option<&str>) {
        self.inner.asked(jid, self.began.elapsed());
    }

    /// Minions that have not returned, sorted.
    fn unreturned(&self) -> Vec<String> {
        self.inner.unreturned().map(str::to_owned).collect()
    }

    /// Targeted ids that no minion with an accepted key has, sorted.
    fn missing(&self) -> Vec<String> {
        self.inner.missing().map(str::to_owned).collect()
    }
}

/// A compound target with its node groups replaced, or a node group as a compound target, and what is wrong inside
/// the groups; `None` if targets of this type name no node groups.
#[pyfunction]
pub(crate) fn without_nodegroups(
    tgt: &Bound<'_, PyAny>,
    tgt_type: &str,
    groups: &Bound<'_, PyAny>,
) -> PyResult<Option<(String, Vec<String>)>> {
    let groups: Map = nodegroup::nodegroups(Some(&to_value(groups)?));
    let resolved = nodegroup::without_nodegroups(&to_value(tgt)?, tgt_type, &groups);
    let resolved = resolved.map_err(|error| match error {
        // Salt's words, which programs may look for.
        NodeGroupError::Unknown { name } => value_error(format!(
            "Node group {name} unavailable in the master config file"
        )),
        error => value_error(error),
    })?;
    Ok(resolved.map(|resolved| {
        let faults = resolved.faults.iter().map(ToString::to_string);
        (resolved.words.join(" "), faults.collect())
    }))
}

fn to_value(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let mut packed = Vec::new();
    encode(value, &mut packed)?;
    msgpack::decode(&packed).map_err(value_error)
}
