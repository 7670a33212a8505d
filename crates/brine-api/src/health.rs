//! `/healthz` and `/readyz`, for supervisors that restart a process and load balancers that send it clients. They
//! need no login, and reveal nothing else.

use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};

use crate::rest::Answer;
use crate::state::ApiState;

/// The process answers.
pub(crate) fn alive() -> Answer {
    answer(StatusCode::OK, "ok", &[])
}

/// New clients will be served: it is not about to end, and what it depends on is there.
pub(crate) fn ready(state: &ApiState) -> Answer {
    let mut reasons = Vec::new();
    if *state.shutdown().borrow() {
        reasons.push("shutting down".to_owned());
    }
    reasons.extend(state.readiness.iter().filter_map(|check| check()));
    if reasons.is_empty() {
        answer(StatusCode::OK, "ready", &reasons)
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, "not ready", &reasons)
    }
}

fn answer(status: StatusCode, word: &str, reasons: &[String]) -> Answer {
    let mut body = Map::new();
    body.insert("status", word);
    if !reasons.is_empty() {
        let reasons = reasons.iter().map(|reason| Value::from(reason.as_str()));
        body.insert("reasons", reasons.collect::<Vec<_>>());
    }
    let mut answer = Answer::json(status, &body.into());
    if let Answer::Response(response) = &mut answer {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}
