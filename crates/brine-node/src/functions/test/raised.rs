//! `test.raise_exception`: an exception by its name.

use brine_wire::Value;
use brine_wire::python_text::{self, repr};

use super::Result;
use crate::functions::Failure;
use crate::functions::context::Context;
use crate::functions::signature::Bound;

pub(super) fn raise_exception(_: &Context, bound: &mut Bound) -> Result {
    let name = bound.text(0);
    let message = match bound.varargs.as_slice() {
        [] => String::new(),
        [one] => python_text::str(one),
        many => {
            let many: Vec<_> = many.iter().map(repr).collect();
            format!("({})", many.join(", "))
        }
    };
    Err(match name.as_str() {
        "salt.exceptions.CommandExecutionError" => Failure::Execution { message },
        "salt.exceptions.CommandNotFoundError" => Failure::CommandNotFound { message },
        "salt.exceptions.SaltInvocationError" => Failure::Invocation { message },
        "TypeError" => Failure::Arguments {
            message,
            doc: String::new(),
        },
        name if PYTHON_EXCEPTIONS.contains(&name) => Failure::raised(name, message),
        _ => return Ok(Value::Bool(false).into()),
    })
}

const PYTHON_EXCEPTIONS: &[&str] = &[
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BufferError",
    "EOFError",
    "Exception",
    "FileExistsError",
    "FileNotFoundError",
    "ImportError",
    "IndexError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "NameError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "RuntimeError",
    "SyntaxError",
    "TimeoutError",
    "UnicodeError",
    "ValueError",
    "ZeroDivisionError",
];
