//! `test.*`: functions that show that calls, arguments and returns work.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them.

mod arguments;
mod raised;
mod work;

use std::mem::take;

use brine_wire::{Map, Value, python_text};

use self::arguments::{arg_repr, arg_type, both, clean};
use self::raised::raise_exception;
use self::work::{collatz, fib, int, rand_sleep, random_hash, sleep};
use super::context::Context;
use super::signature::Bound;
use super::table::{self, Builtin, Returned, Run, Waiting};
use super::{Call, Failure, Functions};

type Result<T = Returned> = std::result::Result<T, Failure>;

pub(super) const TABLE: &[Builtin] = &[
    Builtin::now(
        "test.arg",
        "*args, **kwargs",
        "
    Return the arguments as they came, by place and by name.

        salt '*' test.arg 1 \"two\" 3.1 txt=\"hello\" wow='{a: 1, b: \"hello\"}'
    ",
        |_, bound| {
            Ok(both(
                take(&mut bound.varargs).into(),
                take(&mut bound.keywords).into(),
            ))
        },
    ),
    Builtin::now(
        "test.arg_clean",
        "*args, **kwargs",
        "
    Return the arguments as they came, without the job's own keys.

        salt '*' test.arg_clean 1 \"two\" 3.1 txt=\"hello\"
    ",
        |_, bound| {
            Ok(both(
                take(&mut bound.varargs).into(),
                clean(take(&mut bound.keywords)).into(),
            ))
        },
    ),
    Builtin::now(
        "test.arg_repr",
        "*args, **kwargs",
        "
    Return the arguments as Python writes them.

        salt '*' test.arg_repr 1 \"two\" 3.1 txt=\"hello\"
    ",
        arg_repr,
    ),
    Builtin::now(
        "test.arg_type",
        "*args, **kwargs",
        "
    Return the types of the arguments.

        salt '*' test.arg_type 1 'int'
    ",
        arg_type,
    ),
    Builtin::now(
        "test.assertion",
        "assertion",
        "
    Raise an AssertionError unless the argument is true.

        salt '*' test.assertion False
    ",
        |_, bound| match bound.get(0).is_true() {
            true => Ok(Value::Nil.into()),
            false => Err(Failure::raised("AssertionError", "")),
        },
    ),
    Builtin::now(
        "test.attr_call",
        "",
        "
    Return the grains.

        salt '*' test.attr_call
    ",
        |context, _| Ok(Value::Map(context.grains().as_ref().clone()).into()),
    ),
    Builtin::now(
        "test.collatz",
        "start",
        "
    Return the Collatz sequence from a number, and the seconds it took.

        salt '*' test.collatz 3
    ",
        collatz,
    ),
    Builtin::now(
        "test.conf_test",
        "",
        "
    Return the option test.foo of the minion's configuration.

        salt '*' test.conf_test
    ",
        |context, _| {
            Ok(context
                .config()
                .opts
                .get("test.foo")
                .cloned()
                .unwrap_or("unconfigured".into())
                .into())
        },
    ),
    Builtin {
        name: "test.cross_test",
        signature: "func, args=None",
        doc: "
    Run another function from within this one.

        salt '*' test.cross_test file.gid_to_group 0
    ",
        run: Run::Calls(cross_test),
    },
    Builtin::now(
        "test.echo",
        "text",
        "
    Return the text it is given.

        salt '*' test.echo 'foo bar baz quo qux'
    ",
        |_, bound| Ok(bound.take(0).into()),
    ),
    Builtin::now(
        "test.exception",
        "message='Test Exception'",
        "
    Raise an exception.

        salt '*' test.exception 'Oh noes!'
    ",
        |_, bound| Err(Failure::raised("Exception", bound.text(0))),
    ),
    Builtin::now(
        "test.false",
        "",
        "
    Return False.

        salt '*' test.false
    ",
        |_, _| Ok(Value::Bool(false).into()),
    ),
    Builtin::now(
        "test.fib",
        "num",
        "
    Return a Fibonacci number, and the seconds it took.

        salt '*' test.fib 3
    ",
        fib,
    ),
    Builtin::now(
        "test.get_opts",
        "",
        "
    Return the minion's options.

        salt '*' test.get_opts
    ",
        |context, _| Ok(Value::Map(context.config().opts.clone()).into()),
    ),
    Builtin::now(
        "test.kwarg",
        "**kwargs",
        "
    Return the arguments by name, with the job's own keys.

        salt '*' test.kwarg num=1 txt=\"two\" env='{a: 1, b: \"hello\"}'
    ",
        |_, bound| Ok(Value::Map(take(&mut bound.keywords)).into()),
    ),
    Builtin::now(
        "test.not_loaded",
        "",
        "
    Return the modules that are there but not loaded.

        salt '*' test.not_loaded
    ",
        |_, _| Ok(Value::Array(Vec::new()).into()),
    ),
    Builtin::now(
        "test.opts_pkg",
        "",
        "
    Return the minion's options with its grains.

        salt '*' test.opts_pkg
    ",
        opts_pkg,
    ),
    Builtin::now(
        "test.outputter",
        "data",
        "
    Return the data it is given, for the text outputter.

        salt '*' test.outputter foobar
    ",
        |_, bound| Ok(bound.take(0).into()),
    ),
    Builtin::now(
        "test.ping",
        "",
        "
    Return True: the minion is up and answers.

        salt '*' test.ping
    ",
        |_, _| Ok(Value::Bool(true).into()),
    ),
    Builtin::now(
        "test.provider",
        "module",
        "
    Return the name of the module that provides functions under a name.

        salt '*' test.provider service
    ",
        |_, bound| Ok(provider(&bound.text(0)).into()),
    ),
    Builtin::now(
        "test.providers",
        "",
        "
    Return every module by the name of what provides it.

        salt '*' test.providers
    ",
        providers,
    ),
    Builtin::now(
        "test.raise_exception",
        "name, *args, **kwargs",
        "
    Raise the exception that is named; False if there is none of that name.

        salt '*' test.raise_exception TypeError \"An integer is required\"
        salt '*' test.raise_exception salt.exceptions.CommandExecutionError \"Something went wrong\"
    ",
        raise_exception,
    ),
    Builtin {
        name: "test.rand_sleep",
        signature: "max=60",
        doc: "
    Sleep for a random number of seconds.

        salt '*' test.rand_sleep 60
    ",
        run: Run::Waits(rand_sleep),
    },
    Builtin::now(
        "test.rand_str",
        "size=9999999999, hash_type=None",
        "
    Return the hash of a random number; the old name of test.random_hash.

        salt '*' test.rand_str
    ",
        random_hash,
    ),
    Builtin::now(
        "test.random_hash",
        "size=9999999999, hash_type=None",
        "
    Return the hash of a random number.

        salt '*' test.random_hash
        salt '*' test.random_hash hash_type=sha512
    ",
        random_hash,
    ),
    Builtin::now(
        "test.retcode",
        "code=42",
        "
    Set the exit code.

        salt '*' test.retcode 42
    ",
        retcode,
    ),
    Builtin {
        name: "test.sleep",
        signature: "length",
        doc: "
    Sleep for a number of seconds.

        salt '*' test.sleep 20
    ",
        run: Run::Waits(sleep),
    },
    Builtin::now(
        "test.true",
        "",
        "
    Return True.

        salt '*' test.true
    ",
        |_, _| Ok(Value::Bool(true).into()),
    ),
    Builtin {
        name: "test.try",
        signature: "module, return_try_exception=False, **kwargs",
        doc: "
    Run a function and return None, or the text of the exception, where it raises one.

        salt '*' test.try module=test.exception
    ",
        run: Run::Calls(try_),
    },
    Builtin::now(
        "test.tty",
        "*args, **kwargs",
        "
    Deprecated: cmd.tty.

        salt '*' test.tty tty0 'This is a test'
    ",
        |_, _| Ok(Value::from("ERROR: This function has been moved to cmd.tty").into()),
    ),
    Builtin::now(
        "test.version",
        "",
        "
    Return the Salt release whose answers the minion gives.

        salt '*' test.version
    ",
        |context, _| Ok(Value::from(context.config().salt_version.as_str()).into()),
    ),
    Builtin::now(
        "test.versions",
        "",
        "
    Return the versions of the program and of the release it answers as.

        salt '*' test.versions
    ",
        versions_report,
    ),
    Builtin::now(
        "test.versions_information",
        "",
        "
    Return the versions of the program and of the release it answers as, as data.

        salt '*' test.versions_information
    ",
        |context, _| Ok(Value::Map(versions(context)).into()),
    ),
    Builtin::now(
        "test.versions_report",
        "",
        "
    Return the versions of the program and of the release it answers as.

        salt '*' test.versions_report
    ",
        versions_report,
    ),
];

fn opts_pkg(context: &Context, _: &mut Bound) -> Result {
    let mut opts = context.config().opts.clone();
    opts.insert("grains", context.grains().as_ref().clone());
    Ok(Value::Map(opts).into())
}

fn provider(module: &str) -> Value {
    let is_there = table::all().any(|known| known.module() == module);
    if is_there { module.into() } else { "".into() }
}

fn providers(_: &Context, _: &mut Bound) -> Result {
    let modules = table::all().map(|known| (known.module(), known.module()));
    Ok(Value::Map(modules.collect()).into())
}

fn retcode(_: &Context, bound: &mut Bound) -> Result {
    let retcode = i64::try_from(int(&bound.take(0))?).unwrap_or(1);
    Ok(Returned {
        value: Value::Bool(true),
        retcode,
    })
}

fn cross_test(functions: &Functions, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let mut call = Call::new(bound.text(0));
        if let Value::Array(args) = bound.take(1) {
            call.args = args;
        }
        Ok(functions.within(call).await?.ret.into())
    })
}

fn try_(functions: &Functions, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let mut call = Call::new(bound.text(0));
        call.kwargs = clean(take(&mut bound.keywords));
        Ok(match functions.within(call).await {
            Ok(outcome) => outcome.ret,
            Err(failure) if bound.get(1).is_true() => failure.to_string().into(),
            Err(_) => Value::Nil,
        }
        .into())
    })
}

fn versions(context: &Context) -> Map {
    let of = |name: &str, version: &str| -> Value {
        let one: Map = [(name, version)].into_iter().collect();
        one.into()
    };
    let salt = of("Salt", &context.config().salt_version);
    let brine = of("Brine", env!("CARGO_PKG_VERSION"));
    [("Salt Version", salt), ("Brine Version", brine)]
        .into_iter()
        .collect()
}

fn versions_report(context: &Context, _: &mut Bound) -> Result {
    let mut lines = Vec::new();
    for (title, versions) in &versions(context) {
        lines.push(format!("{}:", python_text::str(title)));
        for (name, version) in versions.as_map().into_iter().flatten() {
            let (name, version) = (python_text::str(name), python_text::str(version));
            lines.push(format!("{name:>18}: {version}"));
        }
        lines.push(" ".into());
    }
    lines.pop();
    Ok(Value::from(lines.join("\n")).into())
}
