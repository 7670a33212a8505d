//! Patterns for tags: one, as in Salt's calls, or several with exclusions.

use std::sync::Arc;

use brine_wire::matching::{MatchError, MatchType, TagFilter, TagMatch};
use pyo3::prelude::*;

use crate::address::value_error;

/// The pattern of one call. An unknown `match_type` is taken for the default, as Salt does.
pub(crate) fn tag_match(py: Python<'_>, pattern: &str, match_type: &str) -> PyResult<TagMatch> {
    let kind = match_type.parse().unwrap_or(MatchType::StartsWith);
    compile(py, pattern, kind)
}

fn compile(py: Python<'_>, pattern: &str, kind: MatchType) -> PyResult<TagMatch> {
    TagMatch::new(kind, pattern).map_err(|error| not_a_pattern(py, &error))
}

/// Python's own exception for a bad regular expression.
fn not_a_pattern(py: Python<'_>, error: &MatchError) -> PyErr {
    let exception = py
        .import("re")
        .and_then(|re| re.getattr("error"))
        .and_then(|class| class.call1((error.to_string(),)));
    match exception {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// Which tags an event stream selects: any of `tags` (none given: all) and none of `excludes`.
#[pyclass(frozen, module = "brine._native")]
pub(crate) struct Filter(pub(crate) Arc<TagFilter>);

#[pymethods]
impl Filter {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "arguments from Python are owned"
    )]
    fn new(
        py: Python<'_>,
        tags: Vec<String>,
        excludes: Vec<String>,
        match_type: &str,
    ) -> PyResult<Self> {
        let kind = MatchType::from_option(match_type).map_err(value_error)?;
        let patterns = |texts: &[String]| -> PyResult<Vec<TagMatch>> {
            (texts.iter()).map(|text| compile(py, text, kind)).collect()
        };
        Ok(Self(Arc::new(TagFilter::of(
            patterns(&tags)?,
            patterns(&excludes)?,
        ))))
    }

    /// Whether a tag passes.
    fn matches(&self, tag: &str) -> bool {
        self.0.matches(tag)
    }
}
