//! Functions that compute, sleep or draw a random number.

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use brine_wire::Value;
use brine_wire::python_text::{self, repr};

use super::Result;
use crate::functions::context::Context;
use crate::functions::signature::Bound;
use crate::functions::table::{Returned, Waiting};
use crate::functions::{Failure, digest};

pub(super) fn collatz(_: &Context, bound: &mut Bound) -> Result {
    let begin = Instant::now();
    let start = int(bound.get(0))?;
    if start < 1 {
        // Salt goes on until its memory is full.
        return Err(Failure::raised(
            "ValueError",
            "expected a number above zero",
        ));
    }
    let too_large = || Failure::raised("OverflowError", "int too large");
    // Python's division makes a float, and it stays one.
    let (mut number, mut is_float, mut steps) = (start, false, Vec::new());
    while number != 1 {
        #[allow(clippy::cast_precision_loss)] // Python's float has the same
        steps.push(if is_float {
            Value::Float(number as f64)
        } else {
            Value::Int(number)
        });
        number = if number % 2 == 0 {
            is_float = true;
            number / 2
        } else {
            let tripled = number
                .checked_mul(3)
                .and_then(|tripled| tripled.checked_add(1));
            tripled.ok_or_else(too_large)?
        };
    }
    Ok(timed(steps.into(), begin))
}

pub(super) fn fib(_: &Context, bound: &mut Bound) -> Result {
    let begin = Instant::now();
    let number = int(bound.get(0))?;
    if number < 0 {
        return Err(Failure::raised(
            "ValueError",
            "Negative number is not allowed!",
        ));
    }
    let (mut last, mut current) = (0_i128, 1_i128);
    for _ in 0..number {
        let Some(next) = last.checked_add(current) else {
            return Err(Failure::raised("OverflowError", "int too large"));
        };
        (last, current) = (current, next);
    }
    Ok(timed(Value::Int(last), begin))
}

fn timed(value: Value, begin: Instant) -> Returned {
    let seconds = begin.elapsed().as_secs_f64();
    Value::Array(vec![value, seconds.into()]).into()
}

pub(super) fn rand_sleep(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let most = u64::try_from(int(bound.get(0))?).unwrap_or(0);
        wait(context, random() % most.saturating_add(1)).await
    })
}

pub(super) fn random_hash(context: &Context, bound: &mut Bound) -> Result {
    let size = u64::try_from(int(bound.get(0))?).unwrap_or(1).max(1);
    let kind = match bound.get(1) {
        chosen if chosen.is_true() => python_text::str(chosen),
        _ => context.settings().hash_type.clone(),
    };
    let number = (random() % size + 1).to_string();
    match digest::hex(&kind, number.as_bytes()) {
        Some(hash) => Ok(Value::from(hash).into()),
        None => Err(Failure::raised(
            "AttributeError",
            format!("module 'hashlib' has no attribute '{kind}'"),
        )),
    }
}

pub(super) fn sleep(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let Ok(seconds) = u64::try_from(int(bound.get(0))?) else {
            return Err(Failure::raised(
                "ValueError",
                "sleep length must be non-negative",
            ));
        };
        wait(context, seconds).await
    })
}

async fn wait(_: &Context, seconds: u64) -> Result {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(Value::Bool(true).into())
}

/// Python's `int(value)`.
pub(super) fn int(value: &Value) -> Result<i128> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Bool(flag) => Some((*flag).into()),
        #[allow(clippy::cast_possible_truncation)] // what Python does, in the range we know
        Value::Float(number) if number.is_finite() => Some(*number as i128),
        Value::Str(text) => text.trim().replace('_', "").parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| match value {
        Value::Str(_) => Failure::raised(
            "ValueError",
            format!("invalid literal for int() with base 10: {}", repr(value)),
        ),
        _ => Failure::Arguments {
            message: "int() argument must be a string, a bytes-like object or a real number".into(),
            doc: String::new(),
        },
    })
}

/// A number that need not be hard to guess.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
