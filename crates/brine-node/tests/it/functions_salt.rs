//! The same calls in real Salt's minion and in ours: the same returns.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use brine_node::functions::{Call, Functions, FunctionsConfig, Host, grains};
use brine_testkit::{salt, wait_until};
use brine_wire::python_text::{repr, str};
use brine_wire::{Map, Value};
use serde_json::{Value as Json, json};

use crate::documented;

/// A public key, with Windows' line ends.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\r\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\r\nxyz=\r\n\r\n-----END PUBLIC KEY-----\r\n";

/// A user's modules, good and bad.
const MODULES: [(&str, &str); 6] = [
    (
        "own",
        r#"
__func_alias__ = {"list_": "list"}
def f(a, b=1):
    "Doc of f"
    return [a, b]
def list_(): return sorted({3, 1})
def pair(): return (1, {"x": b"y".decode()})
def boom(): raise ValueError("x")
def any_(*args, **kwargs): return [args, kwargs]
def code():
    __context__["retcode"] = 5
def failed(): return {"result": False, "comment": "no"}
def parts():
    yield {"a": 1}
    yield {"b": 2}
def seen(): return [__opts__["id"], __grains__["role"], __grains__.get("nope"), "test.ping" in __salt__]
def calls(): return [__salt__["test.echo"]("x"), __salt__["own.list"](), __salt__["other.g"]()]
def wrong(): return __salt__["test.echo"](1, 2)
def absent(): return __salt__["no.such"]()
def refuse():
    from salt.exceptions import CommandExecutionError
    raise CommandExecutionError("cannot")
def invocation():
    from salt.exceptions import SaltInvocationError
    raise SaltInvocationError("not so")
def not_found():
    from salt.exceptions import CommandNotFoundError
    raise CommandNotFoundError("ls")
class Thing: pass
_private = lambda: 1
"#,
    ),
    ("broken", "def f(:\n"),
    ("lacking", "import no_such_module_anywhere\ndef f(): pass\n"),
    (
        "unwanted",
        "def __virtual__(): return (False, 'no reason')\ndef f(): pass\n",
    ),
    ("silent", "def __virtual__(): return False\ndef f(): pass\n"),
    (
        "renamed",
        "__virtualname__ = 'other'\ndef __virtual__(): return __virtualname__\ndef g(): return 'g'\n",
    ),
];

fn calls() -> Vec<(&'static str, Json)> {
    let kwarg = |json: Json| {
        let mut json = json;
        json["__kwarg__"] = true.into();
        json
    };
    vec![
        ("test.ping", json!([])),
        ("test.ping", json!([1])),
        ("test.echo", json!(["é☃"])),
        ("test.echo", json!([])),
        ("test.echo", json!([1, 2])),
        ("test.echo", json!(["a", "nope=1"])),
        (
            "test.echo",
            json!([kwarg(json!({"text": [1, {"a": null}]}))]),
        ),
        (
            "test.arg",
            json!([1, "two", 3.1, "txt=hello", kwarg(json!({"wow": {"a": 1}}))]),
        ),
        (
            "test.arg_clean",
            json!([1, kwarg(json!({"__x": 1, "y": 2}))]),
        ),
        ("test.arg_repr", json!([1, "two", [true, null], 1.5])),
        ("test.arg_repr", json!(["one"])),
        ("test.arg_type", json!([1, "two", 3.5, [], {}, null, true])),
        (
            "test.kwarg",
            json!(["num=1", kwarg(json!({"env": {"a": 1}}))]),
        ),
        ("test.kwarg", json!([1])),
        ("test.retcode", json!([])),
        ("test.retcode", json!([7])),
        ("test.exception", json!(["Oh noes!"])),
        ("test.exception", json!([])),
        ("test.assertion", json!([false])),
        ("test.assertion", json!([1])),
        ("test.true", json!([])),
        ("test.false", json!([])),
        ("test.outputter", json!([{"a": 1}])),
        ("test.cross_test", json!(["test.echo", ["x"]])),
        ("test.cross_test", json!(["no.such"])),
        ("test.try", json!(["no.such"])),
        ("test.conf_test", json!([])),
        ("grains.filter_by", json!([{"web": {"a": 1}}, "role"])),
        ("grains.filter_by", json!([{"w*": 1, "default": 2}, "role"])),
        ("grains.filter_by", json!([{"q": 1, "p": 2}, "list"])),
        (
            "grains.filter_by",
            json!([{"A": "B", "C": {"D": {"E": "F", "G": "H"}}}, "xxx", {"D": {"E": "I"}, "J": "K"}, "C"]),
        ),
        (
            "grains.filter_by",
            json!([{"default": {"A": {"B": "C"}, "D": "E"}, "F": {"A": {"B": "G"}}}, "xxx", {"D": "J"}, "F", "default"]),
        ),
        ("grains.filter_by", json!([{"x": 1}, "role"])),
        ("grains.filter_by", json!([{"web": 1}, "role", {"a": 1}])),
        ("grains.filter_by", json!([{"web": 1}, "role", "text"])),
        (
            "grains.filter_by",
            json!([{"web": 1, "b": {}}, "role", "base=b"]),
        ),
        (
            "grains.filter_by",
            json!([{"web": null, "default": 2}, "role"]),
        ),
        ("grains.filter_by", json!(["text", "role"])),
        ("grains.filter_by", json!([])),
        ("pillar.filter_by", json!([{"x": 1, "default": 2}, "role"])),
        ("key.finger", json!([])),
        ("key.finger", json!(["md5"])),
        ("key.finger", json!(["nosuch"])),
        ("key.finger_master", json!([])),
        ("test.provider", json!(["test"])),
        ("test.provider", json!(["nosuch"])),
        ("test.tty", json!(["tty0", "x"])),
        ("test.sleep", json!(["x"])),
        ("test.sleep", json!([0])),
        (
            "test.raise_exception",
            json!(["TypeError", "An integer is required"]),
        ),
        (
            "test.raise_exception",
            json!(["salt.exceptions.CommandExecutionError", "wrong"]),
        ),
        (
            "test.raise_exception",
            json!(["salt.exceptions.SaltInvocationError", "wrong"]),
        ),
        ("test.raise_exception", json!(["OSError", "gone"])),
        ("test.raise_exception", json!(["NoSuchError"])),
        ("test.nope", json!([])),
        ("nope.nope", json!([])),
        ("nope", json!([])),
        ("event.fire", json!(["notadict", "t"])),
        ("event.fire", json!([{}, ""])),
        ("event.fire", json!([{}])),
        ("event.fire_master", json!([{}, "t"])),
        ("event.send", json!([])),
        ("grains.get", json!(["role"])),
        ("grains.get", json!(["deep:a:b:0"])),
        ("grains.get", json!(["deep:a:b:c"])),
        ("grains.get", json!(["deep:a:b:5"])),
        (
            "grains.get",
            json!(["deep|a|b", kwarg(json!({"delimiter": "|"}))]),
        ),
        ("grains.get", json!(["nope", "default"])),
        ("grains.has_value", json!(["deep:a"])),
        ("grains.has_value", json!(["deep:z"])),
        ("grains.item", json!(["role", "nope", "deep:a:b"])),
        ("grains.item", json!(["nope", kwarg(json!({"default": 3}))])),
        ("grains.equals", json!(["role", "web"])),
        ("config.get", json!(["id"])),
        ("config.get", json!(["nope", "d"])),
        ("config.get", json!(["deep:a:b"])),
        ("config.option", json!(["role"])),
        ("config.option", json!(["nope"])),
        ("pillar.get", json!(["nope"])),
        ("pillar.raw", json!([])),
        ("saltutil.find_job", json!(["20200101000000000000"])),
        ("sys.list_functions", json!(["own"])),
        ("sys.list_modules", json!(["own*"])),
        ("sys.argspec", json!(["own.f"])),
        ("sys.argspec", json!(["own.any_"])),
        ("sys.doc", json!(["own.f"])),
        // Each of a grain of its own: the minion of the script does not load its grains again.
        ("grains.append", json!(["role", "x"])),
        ("grains.append", json!(["t1", "a"])),
        ("grains.append", json!(["t2", ["b", "c"]])),
        ("grains.append", json!(["list", "p"])),
        ("grains.append", json!(["deep:list", "z"])),
        (
            "grains.append",
            json!(["shelf", "x", kwarg(json!({"convert": true}))]),
        ),
        ("grains.remove", json!(["list", "nope"])),
        ("grains.remove", json!(["list", "p"])),
        ("grains.remove", json!(["role", 1])),
        ("grains.setval", json!(["t3", {"a": [1, "two"]}])),
        ("grains.setvals", json!([{"k1": 1, "k2": "v"}])),
        ("grains.setvals", json!(["text"])),
        ("grains.set", json!(["one", 1])),
        ("grains.set", json!(["two", 2])),
        ("grains.set", json!(["deep", 2])),
        ("grains.set", json!(["kind", [1]])),
        ("grains.set", json!(["text:inner", 3])),
        ("grains.set", json!(["x:y", 5])),
        (
            "grains.set",
            json!(["list2", 2, kwarg(json!({"force": true}))]),
        ),
        ("grains.delval", json!(["d1"])),
        ("grains.delkey", json!(["d2"])),
        ("grains.delkey", json!(["never"])),
        ("own", json!([])),
        ("own.f", json!([1])),
        ("own.f", json!([])),
        ("own.f", json!([1, 2, 3])),
        ("own.f", json!([1, "x=2", "y=3"])),
        ("own.list", json!([])),
        ("own.list_", json!([])),
        ("own.boom", json!([])),
        ("own.any_", json!([1, "a=b"])),
        ("own.code", json!([])),
        ("own.failed", json!([])),
        ("own.parts", json!([])),
        ("own.seen", json!([])),
        ("own.calls", json!([])),
        ("own.wrong", json!([])),
        ("own.absent", json!([])),
        ("own.refuse", json!([])),
        ("own.invocation", json!([])),
        ("own.not_found", json!([])),
        ("own.Thing", json!([])),
        ("own._private", json!([])),
        ("broken.f", json!([])),
        ("lacking.f", json!([])),
        ("unwanted.f", json!([])),
        ("silent.f", json!([])),
        ("other.g", json!([])),
        ("renamed.g", json!([])),
    ]
}

/// A command that is killed for its time has failed; Salt gives the same text, and exit code 0.
#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_it_started() {
    let root = tempfile::tempdir().unwrap();
    let functions = ours(root.path(), "3008.3");
    let mark = root.path().join("mark").display().to_string();
    let line = format!("(sleep 1000; touch {mark}) & echo $! > {mark}.pid; wait");
    let options: Map = [
        ("__kwarg__", Value::Bool(true)),
        ("timeout", Value::Float(0.5)),
        ("python_shell", Value::Bool(true)),
    ]
    .into_iter()
    .collect();
    let call = Call::new("cmd.run").arguments([line.as_str().into(), options.into()]);
    let outcome = functions.run(call).await;
    let expected = format!("{line} : Timed out after 0.5 seconds");
    assert_eq!((outcome.ret, outcome.retcode), (expected.into(), 1));
    let pid = std::fs::read_to_string(format!("{mark}.pid")).unwrap();
    let state = format!("/proc/{}/stat", pid.trim());
    let is_gone = || std::fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z "));
    wait_until("the command's child to end", is_gone);
}

/// Commands, and the returns of functions that run them.
fn commands(root: &Path) -> Vec<(&'static str, Json)> {
    let script = root.join("script.sh");
    std::fs::write(
        &script,
        "#!/bin/sh\necho \"$# $1\"; [ $# = 0 ] && cat; exit 4\n",
    )
    .unwrap();
    let script = script.display().to_string();
    let run = |line: &str, options: Json| {
        let mut options = options;
        options["__kwarg__"] = true.into();
        json!([line, options])
    };
    let mut calls = Vec::new();
    for (line, options) in [
        ("echo hi", json!({})),
        ("echo $((1+1)) | tr 2 3", json!({})),
        ("exit 3", json!({})),
        ("echo out; echo err >&2", json!({})),
        ("echo out; echo err >&2", json!({"redirect_stderr": false})),
        ("cat", json!({"stdin": "a\\nb"})),
        ("cat", json!({"stdin": "a\\nb", "stdin_raw_newlines": true})),
        ("pwd", json!({"cwd": "/usr"})),
        ("pwd", json!({})),
        ("pwd", json!({"cwd": "usr"})),
        ("pwd", json!({"cwd": "/nosuch"})),
        ("pwd", json!({"shell": "/bin/nosuch"})),
        ("echo 'a b' | cat", json!({"python_shell": false})),
        ("nosuch-program x", json!({"python_shell": false})),
        ("nosuch-program x", json!({})),
        ("echo 'a", json!({"python_shell": false})),
        ("echo $A-$B", json!({"env": {"A": 1, "B": null}})),
        ("echo $A-$C", json!({"env": [{"A": "b"}, {"C": "d"}]})),
        ("echo $LC_ALL $LC_TIME $LANGUAGE", json!({})),
        ("echo $LC_TIME", json!({"env": {"LC_TIME": "x"}})),
        ("echo x$LC_TIME", json!({"reset_system_locale": false})),
        (
            "echo $A; env | grep -c HOME",
            json!({"clean_env": true, "env": {"A": "x"}}),
        ),
        ("id", json!({"runas": "nosuchuser"})),
        ("umask", json!({"umask": "077"})),
        ("umask", json!({"umask": "0"})),
        ("umask", json!({"umask": "9"})),
        ("echo", json!({"timeout": "x"})),
        ("exit 3", json!({"ignore_retcode": true})),
        ("echo x", json!({"hide_output": true})),
        ("exit 3", json!({"success_retcodes": [3, 4]})),
        ("exit 3", json!({"success_retcodes": "3,4"})),
        ("exit 3", json!({"success_retcodes": "x"})),
        ("echo fine; exit 3", json!({"success_stdout": ["fine"]})),
        ("echo bad; exit 3", json!({"raise_err": true})),
        ("echo ' x '", json!({"rstrip": false})),
        ("printf '\\351x'", json!({})),
        ("kill -9 $$", json!({})),
    ] {
        calls.push(("cmd.run", run(line, options)));
    }
    if rustix::process::geteuid().is_root() {
        let options = json!({"runas": "nobody"});
        calls.push(("cmd.run", run("id -un; id -Gn; echo $HOME $USER", options)));
    }
    for fun in [
        "cmd.run_stdout",
        "cmd.run_stderr",
        "cmd.run_all",
        "cmd.retcode",
        "cmd.shell",
    ] {
        calls.push((fun, json!(["echo out; echo err >&2; exit 2"])));
        calls.push((fun, json!(["true"])));
    }
    calls.push((
        "cmd.run",
        json!([["echo", "a b", "$HOME"], "python_shell=False"]),
    ));
    calls.push(("cmd.run", json!([])));
    calls.push(("cmd.run", json!(["true", "nosuch=1"])));
    for (fun, arguments) in [
        ("cmd.which", json!(["sh"])),
        ("cmd.which", json!(["nosuch-program"])),
        ("cmd.which", json!(["/bin/sh"])),
        ("cmd.which_bin", json!([["nosuch-program", "cat"]])),
        ("cmd.which_bin", json!(["cat"])),
        ("cmd.has_exec", json!(["cat"])),
        ("cmd.has_exec", json!(["nosuch-program"])),
        (
            "cmd.exec_code",
            json!(["sh", "echo $1; exit 3", "args=x y"]),
        ),
        ("cmd.exec_code_all", json!(["sh", "echo $1; exit 3"])),
        ("cmd.shells", json!([])),
        ("cmd.script", json!([script, "stdin=in"])),
        ("cmd.script", json!([script, "'a b' c"])),
        ("cmd.script", json!(["/nosuch/script.sh"])),
        ("cmd.script_retcode", json!([script, "x", "template="])),
    ] {
        calls.push((fun, arguments));
    }
    calls
}

#[tokio::test]
async fn functions_return_what_salts_do_3006() {
    check("3006.28").await;
}

#[tokio::test]
async fn functions_return_what_salts_do_3008() {
    check("3008.3").await;
}

async fn check(version: &str) {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("cache/extmods/modules");
    std::fs::create_dir_all(&modules).unwrap();
    for (name, text) in MODULES {
        std::fs::write(modules.join(format!("{name}.py")), text).unwrap();
    }
    let pki = root.path().join("pki");
    std::fs::create_dir_all(&pki).unwrap();
    std::fs::write(pki.join("minion.pub"), KEY).unwrap();
    let grains = "{role: web, deep: {a: {b: [x, {c: 1}]}}, shelf: 3, list: [p, q], one: 1, two: 1, kind: x, \
                  text: v, list2: [1], d1: 1, d2: 2}";
    std::fs::write(root.path().join("grains"), grains).unwrap();
    let functions = ours(root.path(), version);
    let mut calls = calls();
    calls.extend(commands(root.path()));
    calls.push(("sys.argspec", json!(["*"]))); // all at once: each look takes Salt seconds
    let theirs = theirs(root.path(), version, &calls);
    let mut different = Vec::new();
    for ((fun, arg), theirs) in calls.iter().zip(theirs) {
        if *fun == "sys.argspec" && arg == &json!(["*"]) {
            let all = theirs[0].as_str().unwrap();
            different.extend(wrong_rows(&functions, all, version).await);
            different.extend(different_signatures(&functions, all).await);
            continue;
        }
        let load = load(fun, arg);
        let arguments = load.get("arg").cloned();
        let Some(Value::Array(arguments)) = arguments else {
            panic!("a list of arguments")
        };
        let call = Call::new(*fun).arguments(arguments).published(&load);
        let ours = functions.run(call).await;
        let ours = json!([
            comparable(&repr(&ours.ret)),
            ours.retcode,
            ours.success,
            ours.out
        ]);
        let mut theirs = theirs;
        if let Some(text) = theirs[0].as_str() {
            theirs[0] = comparable(text).into();
        }
        if ours != theirs {
            different.push(format!("{fun} {arg}\n  ours   {ours}\n  theirs {theirs}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Rows of the table in `docs/compatibility.md` that do not say what is so.
async fn wrong_rows(functions: &Functions, all: &str, version: &str) -> Vec<String> {
    let named = all
        .split("': {'args'")
        .filter_map(|part| part.rsplit('\'').next());
    let theirs: Vec<&str> = named.filter(|name| documented::is_listed(name)).collect();
    let ours = functions.run(Call::new("sys.list_functions")).await.ret;
    let Value::Array(ours) = ours else {
        panic!("a list of functions")
    };
    let ours: Vec<String> = ours.iter().map(str).collect();
    let rows = documented::functions();
    let column = documented::column(version);
    let mut wrong = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let has = match row[column] {
            "yes" => true,
            "–" => false,
            _ => !theirs.contains(&row[0]), // wrong either way
        };
        let is_ours = ours.iter().any(|own| own == row[0]);
        let is_nowhere = row[1..=2] == ["–", "–"] && !is_ours;
        let is_repeated = rows[..at].iter().any(|earlier| earlier[0] == row[0]);
        let says_ours = match row[3] {
            "built in" => true,
            "through real Salt" | "missing" => false,
            _ => !is_ours,
        };
        if has != theirs.contains(&row[0]) || says_ours != is_ours || is_nowhere || is_repeated {
            wrong.push(format!("docs/compatibility.md: {row:?}"));
        }
    }
    let missing = theirs
        .iter()
        .copied()
        .chain(ours.iter().map(String::as_str));
    let missing = missing
        .filter(|name| documented::is_listed(name) && !rows.iter().any(|row| row[0] == *name));
    wrong.extend(missing.map(|name| format!("docs/compatibility.md lacks {name}")));
    wrong
}

/// Built-in functions whose signatures are not those that Salt reports in `all`.
async fn different_signatures(functions: &Functions, all: &str) -> Vec<String> {
    /// Parameters by name only, which ours takes among any others; functions Salt has not.
    const KNOWN: [&str; 8] = [
        "sys.reload_modules",
        "pillar.item",
        "pillar.items",
        "pillar.data",
        "pillar.ls",
        // 3008 has a parameter more than 3006.
        "pillar.get",
        "pillar.keys",
        "pillar.raw",
    ];
    let Value::Map(ours) = functions
        .run(Call::new("sys.argspec").arguments(["*".into()]))
        .await
        .ret
    else {
        panic!("a mapping of signatures")
    };
    let mut different = Vec::new();
    for (name, argspec) in &ours {
        let shown = format!("{}: {}", repr(name), repr(argspec));
        // Salt's default is the shell of whoever runs it.
        let shell = std::env::var("SHELL").unwrap_or("/bin/sh".into());
        let shown = shown.replace("'/bin/sh'", &format!("'{shell}'"));
        let is_known = KNOWN.contains(&str(name).as_str());
        if !is_known && !all.contains(&shown) {
            different.push(shown);
        }
    }
    different
}

/// The text without what no two programs share: process ids, tracebacks' frames and the words of documentation.
fn comparable(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("{'pid': ") {
        return format!(
            "{{'pid': N{}",
            rest.trim_start_matches(|c: char| c.is_ascii_digit())
        );
    }
    let raised = "The minion function caused an exception: ";
    if text.contains(raised) {
        let last = text.trim_end_matches(['\'', '"']).trim_end_matches("\\n");
        let last = last.rsplit("\\n").next().unwrap_or_default();
        return format!("{raised}{last}").replace("\\'", "'");
    }
    match text.split_once("\\n") {
        Some((first, _)) if text.contains("Passed invalid arguments to ") => {
            first.trim_start_matches(['\'', '"']).replace("\\'", "'")
        }
        _ => text.to_owned(),
    }
}

fn load(fun: &str, arg: &Json) -> Map {
    let mut load = Map::new();
    for (name, value) in [
        ("jid", "20261124010101000001"),
        ("ret", ""),
        ("tgt", "m1"),
        ("user", "root"),
    ] {
        load.insert(name, value);
    }
    load.insert("fun", fun);
    load.insert("arg", value_of(arg));
    load
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        Json::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| (key.as_str(), value_of(value)));
            Value::Map(pairs.collect())
        }
    }
}

fn ours(root: &Path, version: &str) -> Functions {
    let mut opts = Map::new();
    opts.insert("id", "m1");
    opts.insert("cachedir", root.join("cache").display().to_string());
    opts.insert("pki_dir", root.join("pki").display().to_string());
    opts.insert("file_client", "local");
    opts.insert("conf_file", root.join("minion").display().to_string());
    let mut config = FunctionsConfig::new(opts);
    config.salt_version = version.into();
    config.grains = grains::load(&config.opts, version);
    let (host, mut requests) = Host::new();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            if let brine_node::functions::HostRequest::Running { answer } = request {
                answer.send(Ok(Vec::new())).unwrap();
            }
        }
    });
    Functions::new(config, host)
}

fn theirs(root: &Path, version: &str, calls: &[(&str, Json)]) -> Vec<Json> {
    let mut salt = salt::script(version, "functions.py")
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = String::new();
    for (fun, arg) in calls {
        let load = json!({"jid": "20261124010101000001", "ret": "", "tgt": "m1", "user": "root"});
        lines.push_str(&json!([fun, arg, load]).to_string());
        lines.push('\n');
    }
    let mut stdin = salt.stdin.take().unwrap();
    let writes = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = salt.wait_with_output().unwrap();
    writes.join().unwrap().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        answers.len(),
        calls.len(),
        "Salt {version} answered every call"
    );
    answers
}
