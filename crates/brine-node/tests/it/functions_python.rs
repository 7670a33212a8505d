//! Users' execution modules in the Python beside a minion: what they see, and what they cannot break.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use brine_node::functions::{Call, Failure, Functions, FunctionsConfig, Host, HostRequest};
use brine_wire::python_text::repr;
use brine_wire::{Map, Value};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::documented;
use crate::support::CUSTOM_MODULE;

/// A minion's functions with modules of a user, and the events they send.
struct Site {
    dir: TempDir,
    functions: Functions,
    events: mpsc::Receiver<Map>,
    starts: Arc<AtomicU32>,
}

impl Site {
    fn new(modules: &[(&str, &str)]) -> Self {
        Self::with_grains(modules, Map::new())
    }

    fn with_grains(modules: &[(&str, &str)], grains: Map) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cachedir = dir.path().display().to_string();
        let opts: Map = [("id", "m1"), ("cachedir", &cachedir)]
            .into_iter()
            .collect();
        let mut config = FunctionsConfig::new(opts);
        config.grains = grains;
        config.pillar = [("secret", "s3")].into_iter().collect();
        let (host, mut requests) = Host::new();
        let (sent, events) = mpsc::channel(100);
        let starts = Arc::new(AtomicU32::new(0));
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                if let HostRequest::SendEvent { load, answer } = request {
                    sent.send(load).await.unwrap();
                    answer.send(Ok(())).unwrap();
                }
            }
        });
        let site = Self {
            functions: Functions::new(config, host),
            dir,
            events,
            starts,
        };
        for (name, text) in modules {
            site.write(name, text);
        }
        site
    }

    fn modules(&self) -> PathBuf {
        self.dir.path().join("extmods/modules")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.modules()).unwrap();
        std::fs::write(self.modules().join(format!("{name}.py")), text).unwrap();
    }

    /// Runs a function and gives its return as Python writes it.
    async fn run(&self, fun: &str, args: &[Value]) -> String {
        repr(&self.outcome(fun, args).await.ret)
    }

    async fn outcome(&self, fun: &str, args: &[Value]) -> brine_node::functions::Outcome {
        let jid = self.starts.fetch_add(1, Ordering::Relaxed).to_string();
        let load: Map = [("fun", fun), ("jid", &jid)].into_iter().collect();
        let call = Call::new(fun).arguments(args.to_vec()).published(&load);
        self.functions.run(call).await
    }
}

#[tokio::test]
async fn the_documentations_module_runs_as_it_stands_and_its_event_is_sent() {
    let mut site = Site::new(&[("my_custom_module", CUSTOM_MODULE)]);
    assert_eq!(
        site.run("my_custom_module.do_something", &[]).await,
        "{'changed': 5}"
    );
    assert_eq!(
        repr(&site.events.recv().await.unwrap().into()),
        "{'tag': 'myco/my_custom_module/finished', 'data': {'finished': True, 'message': \
         'The something is finished!'}, 'cmd': '_minion_event'}"
    );
}

#[tokio::test]
async fn modules_see_what_salt_gives_them() {
    let grains: Map = [("os", "Debian")].into_iter().collect();
    let site = Site::with_grains(
        &[
            (
                "mine",
                r#"
__func_alias__ = {"list_": "list"}
__outputter__ = {"shown": "txt"}
def list_(): return [__opts__["id"], __grains__["os"], __pillar__["secret"], __grains__.value()]
def _hidden(): return 1
def shown(): return __salt__["other.twice"](21)
def code():
    __context__["retcode"] = 7
    return "x"
def echo(*args, **kwargs): return [args, kwargs]
def builtin(): return [__salt__["test.echo"]("e"), __salt__.test.ping(), "no.such" in __salt__]
def refused(): return __salt__["test.exception"]("why")
"#,
            ),
            (
                "file_name",
                r#"
__virtualname__ = "other"
def __virtual__(): return __virtualname__
def twice(number): return 2 * number
"#,
            ),
            (
                "unwanted",
                "def __virtual__(): return (False, 'no reason')\ndef f(): pass\n",
            ),
        ],
        grains,
    );
    let run = async |fun| site.run(fun, &[]).await;
    assert_eq!(
        run("mine.list").await,
        "['m1', 'Debian', 's3', {'os': 'Debian'}]"
    );
    assert_eq!(
        run("mine._hidden").await,
        "\"'mine._hidden' is not available.\""
    );
    assert_eq!(run("mine.shown").await, "42");
    assert_eq!(
        site.outcome("mine.shown", &[]).await.out.as_deref(),
        Some("txt")
    );
    let coded = site.outcome("mine.code", &[]).await;
    assert_eq!((coded.retcode, coded.success), (7, false));
    let jid = site.starts.load(Ordering::Relaxed);
    let echoed = site.run("mine.echo", &[1.into(), "k=2".into()]).await;
    let publication = format!("'__pub_fun': 'mine.echo', '__pub_jid': '{jid}'");
    assert_eq!(echoed, format!("[[1], {{'k': 2, {publication}}}]"));
    assert_eq!(
        run("unwanted.f").await,
        "\"'unwanted' __virtual__ returned False: no reason\""
    );
    assert_eq!(run("mine.builtin").await, "['e', True, False]");
    let refused = run("mine.refused").await;
    assert!(
        refused.contains("The minion function caused an exception: Traceback"),
        "{refused}"
    );
    assert!(
        refused.contains("in refused") && refused.contains("Exception: why"),
        "{refused}"
    );
    let listed = site.run("sys.list_functions", &["mine".into()]).await;
    assert!(
        listed.starts_with("['mine.builtin', 'mine.code', 'mine.echo', 'mine.list'"),
        "{listed}"
    );
}

#[tokio::test]
async fn a_module_with_the_name_of_a_built_in_one_stands_in_its_place() {
    let site = Site::new(&[("test", "def ping(): return 'mine'\n")]);
    assert_eq!(site.run("test.ping", &[]).await, "'mine'");
    assert_eq!(
        site.run("test.echo", &[1.into()]).await,
        "\"'test.echo' is not available.\""
    );
    assert_eq!(
        site.run("sys.list_functions", &["test".into()]).await,
        "['test.ping']"
    );
}

#[tokio::test]
async fn what_a_function_returns_comes_as_salt_would_send_it() {
    let site = Site::new(&[(
        "values",
        r#"
import datetime
def all():
    return {
        "bytes": b"\x00\xff", "big": 1 << 70, "negative": -(1 << 62), "float": 0.1, "nan": float("nan"),
        "tuple": (1, 2), "set": {3}, "none": None, "true": True, 5: "number", "text": "\u00e9\u2603",
        "unsigned": (1 << 64) - 1, "long": "x" * 70000, "many": list(range(20)),
    }
def date(): return datetime.datetime(2024, 1, 2, 3, 4, 5, 6)
def parts():
    yield {"a": 1}
    yield {"b": 2}
def unknown(): return object()
def given(value): return [type(value).__name__, value]
"#,
    )]);
    let all = site
        .run("values.all", &[])
        .await
        .replace(&"x".repeat(70000), "xxx");
    assert_eq!(
        all,
        "{'bytes': b'\\x00\\xff', 'big': '1180591620717411303424', 'negative': -4611686018427387904, \
         'float': 0.1, 'nan': nan, 'tuple': [1, 2], 'set': [3], 'none': None, 'true': True, \
         5: 'number', 'text': 'é☃', 'unsigned': 18446744073709551615, 'long': 'xxx', 'many': [0, 1, \
         2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]}"
    );
    let date = site.outcome("values.date", &[]).await.ret;
    assert_eq!(date, Value::Ext(78, b"20240102T03:04:05.000006".to_vec()));
    assert_eq!(site.run("values.parts", &[]).await, "{'a': 1, 'b': 2}");
    let unknown = site.run("values.unknown", &[]).await;
    assert!(
        unknown.contains("can not serialize 'object' object"),
        "{unknown}"
    );
    for value in [
        Value::Bin(vec![0, 255]),
        Value::Int(u64::MAX.into()),
        Value::Int(-70000),
        Value::Float(1.5),
        Value::Array((0..300).map(Value::Int).collect()),
        Value::Str("y".repeat(300)),
        Value::Map((0..20).map(|n| (n, n)).collect()),
    ] {
        let Value::Array(came) = site
            .outcome("values.given", std::slice::from_ref(&value))
            .await
            .ret
        else {
            panic!("a list")
        };
        assert_eq!(came[1], value);
    }
}

#[tokio::test]
async fn what_goes_wrong_in_a_module_costs_that_job_alone() {
    let site = Site::new(&[
        (
            "crash",
            r#"
import os, signal, sys
from salt.exceptions import CommandExecutionError
def leave(): os._exit(3)
def leave_with_others():
    if os.fork() == 0:
        import time
        time.sleep(60)
    os._exit(3)
def fault(): os.kill(os.getpid(), signal.SIGSEGV)
def call_exit(): sys.exit(4)
def refuse(): raise CommandExecutionError("cannot")
def needs(one, two=2): pass
def memory(): raise MemoryError()
def deep(): return deep()
"#,
        ),
        ("broken", "def f(:\n"),
        ("lacking", "import no_such_module_anywhere\ndef f(): pass\n"),
        ("good", "def f(): return 'fine'\n"),
    ]);
    for (fun, says) in [
        ("crash.leave", "ended with exit status 3 before it returned"),
        ("crash.leave_with_others", "ended with exit status 3"),
        ("crash.fault", "ended by signal 11"),
        ("crash.call_exit", "SystemExit"),
        ("crash.memory", "MemoryError"),
        ("crash.deep", "RecursionError"),
        (
            "broken.f",
            "'broken' __virtual__ returned False: invalid syntax (broken.py, line 1)",
        ),
        (
            "lacking.f",
            "'lacking' __virtual__ returned False: No module named 'no_such_module_anywhere'",
        ),
    ] {
        let outcome = site.outcome(fun, &[]).await;
        let text = outcome.ret.as_str().unwrap_or_default().to_owned();
        assert!(text.contains(says), "{fun}: {text}");
        assert_eq!((outcome.retcode, outcome.success), (1, false), "{fun}");
        assert_eq!(site.run("good.f", &[]).await, "'fine'", "after {fun}");
    }
    assert_eq!(site.run("crash.refuse", &[]).await, "'ERROR: cannot'");
    let missing = site.run("crash.needs", &[]).await;
    assert!(
        missing.contains("needs() missing 1 required positional argument: 'one'"),
        "{missing}"
    );
    let unknown = site.run("crash.needs", &[1.into(), "x=1".into()]).await;
    assert!(
        unknown.contains("The following keyword arguments are not valid: x=1"),
        "{unknown}"
    );
}

#[tokio::test]
async fn a_killed_job_takes_what_it_started_with_it() {
    let site = Site::new(&[(
        "hang",
        r#"
import os, subprocess, time
def forever(path):
    child = subprocess.Popen(["sleep", "600"])
    with open(path + ".new", "w") as file: file.write("%d %d" % (os.getpid(), child.pid))
    os.rename(path + ".new", path)
    while True: time.sleep(600)
"#,
    )]);
    let file = site.dir.path().join("pids");
    let mut call = Call::new("hang.forever").arguments([file.display().to_string().into()]);
    call.jid = "20".into();
    let functions = site.functions.clone();
    let job = tokio::spawn(async move { functions.call(call).await });
    until(|| file.exists()).await;
    assert!(site.functions.cancel("20"));
    assert_eq!(
        job.await.unwrap(),
        Err(Failure::Killed { jid: "20".into() })
    );
    let pids = std::fs::read_to_string(file).unwrap();
    for pid in pids.split(' ') {
        until(|| is_gone(pid)).await;
    }
}

#[tokio::test]
async fn a_module_changed_on_disk_is_read_again_and_a_dead_python_is_started_again() {
    let site = Site::new(&[(
        "changing",
        "import os\ndef f(): return 1\ndef parent(): return os.getppid()\n",
    )]);
    for _ in 0..3 {
        assert_eq!(site.run("changing.f", &[]).await, "1");
    }
    site.write(
        "changing",
        "import os\ndef f(): return 2\ndef parent(): return os.getppid()\n",
    );
    assert_eq!(site.run("changing.f", &[]).await, "2");
    let parent = site.run("changing.parent", &[]).await;
    let killed = std::process::Command::new("kill")
        .args(["-9", &parent])
        .status();
    assert!(killed.unwrap().success());
    until(|| is_gone(&parent)).await;
    assert_eq!(site.run("changing.f", &[]).await, "2");
    assert_ne!(site.run("changing.parent", &[]).await, parent);
}

#[tokio::test]
async fn many_jobs_run_at_once() {
    let site = Site::new(&[(
        "slow",
        "import time\ndef f(n):\n    time.sleep(0.2)\n    return n\n",
    )]);
    let jobs = (0..30_i32).map(|number| {
        let functions = site.functions.clone();
        let call = Call::new("slow.f").arguments([number.into()]);
        tokio::spawn(async move { functions.run(call).await.ret })
    });
    let jobs: Vec<_> = jobs.collect();
    for (number, job) in (0..).zip(jobs) {
        assert_eq!(job.await.unwrap(), Value::Int(number));
    }
}

#[tokio::test]
async fn without_python_a_users_function_fails_and_built_in_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("extmods/modules")).unwrap();
    std::fs::write(
        dir.path().join("extmods/modules/mine.py"),
        "def f(): pass\n",
    )
    .unwrap();
    let cachedir = dir.path().display().to_string();
    let opts: Map = [("cachedir", cachedir)].into_iter().collect();
    let mut config = FunctionsConfig::new(opts);
    config.python = Some("/nowhere/python".into());
    let functions = Functions::new(config, Host::new().0);
    assert_eq!(
        functions.run(Call::new("test.ping")).await.ret,
        Value::Bool(true)
    );
    let failed = functions.run(Call::new("mine.f")).await;
    assert!(
        failed
            .ret
            .as_str()
            .unwrap()
            .contains("python /nowhere/python"),
        "{failed:?}"
    );
}

/// Waits for what must come.
async fn until(condition: impl Fn() -> bool) {
    let came = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(brine_testkit::DEADLINE, came)
        .await
        .expect("it comes in time");
}

/// Whether a process has ended, waited for or not.
fn is_gone(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    status.is_ok_and(|status| status.contains("State:\tZ"))
        || !Path::new("/proc").join(pid).exists()
}

#[tokio::test]
async fn an_exceptions_info_is_shown_and_kept() {
    let site = Site::new(&[(
        "ei",
        r#"
from salt.exceptions import CommandExecutionError
def half():
    raise CommandExecutionError(
        "half done", info={"errors": ["b failed"], "changes": {"a": {"old": 1, "new": 2}}}
    )
def text():
    try:
        half()
    except CommandExecutionError as err:
        return [err.error, err.info, err.strerror_without_changes]
def only_changes():
    try:
        raise CommandExecutionError("done", info={"changes": {}})
    except CommandExecutionError as err:
        return err.strerror_without_changes
"#,
    )]);
    let half = site.outcome("ei.half", &[]).await;
    let shown = "ERROR: half done. Additional info follows:\n\nchanges:\n    ----------\n    a:\n        \
                 ----------\n        new:\n            2\n        old:\n            1\nerrors:\n    - b failed";
    assert_eq!((half.ret, half.retcode), (shown.into(), 1));
    assert_eq!(
        site.run("ei.text", &[]).await,
        "['half done', {'errors': ['b failed'], 'changes': {'a': {'old': 1, 'new': 2}}}, \
         'half done. Additional info follows:\\n\\nerrors:\\n    - b failed']"
    );
    assert_eq!(site.run("ei.only_changes", &[]).await, "'done'");
}

#[tokio::test]
async fn a_value_that_cannot_be_sent_is_not_blamed_on_the_arguments() {
    let site = Site::new(&[(
        "rv",
        r#"
import datetime, decimal, pathlib
def filtered():
    """Names, filtered."""
    return filter(None, ["a", ""])
def path(): return pathlib.Path("/srv")
def decimal_(): return decimal.Decimal("1.5")
def clock(): return {"at": datetime.time(1, 2)}
def deep():
    value = []
    for _ in range(500): value = [value]
    return value
def raises(): raise TypeError("my own")
__func_alias__ = {"decimal_": "decimal"}
"#,
    )]);
    for (fun, kind) in [
        ("filtered", "filter"),
        ("path", "PosixPath"),
        ("decimal", "Decimal"),
        ("clock", "time"),
    ] {
        let outcome = site.outcome(&format!("rv.{fun}"), &[]).await;
        let text = outcome.ret.as_str().unwrap();
        assert!(
            text.contains("the return value of rv.") && text.contains(kind),
            "{text}"
        );
        assert!(
            !text.contains("invalid arguments") && !text.contains("Names, filtered"),
            "{text}"
        );
        assert_eq!((outcome.retcode, outcome.success), (1, false));
    }
    let deep = site.run("rv.deep", &[]).await;
    assert!(
        deep.contains("the return value of rv.deep (list) cannot be sent"),
        "{deep}"
    );
    let raises = site.run("rv.raises", &[]).await;
    assert!(
        raises.contains("Passed invalid arguments to rv.raises: my own"),
        "{raises}"
    );
}

#[tokio::test]
async fn what_modules_write_has_the_umask_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let modules = dir.path().join("extmods/modules");
    std::fs::create_dir_all(&modules).unwrap();
    let module = "import os\ndef mask():\n    old = os.umask(0)\n    return '%04o' % old\n";
    std::fs::write(modules.join("um.py"), module).unwrap();
    let cachedir = dir.path().display().to_string();
    let opts: Map = [("id", "m1"), ("cachedir", &cachedir)]
        .into_iter()
        .collect();
    let mut config = FunctionsConfig::new(opts);
    config.umask = Some(0o027);
    let functions = Functions::new(config, Host::new().0);
    assert_eq!(functions.run(Call::new("um.mask")).await.ret, "0027".into());
    let call = Call::new("cmd.run").arguments(["umask".into(), "python_shell=True".into()]);
    assert_eq!(functions.run(call).await.ret, "0027".into());
}

/// Functions of a minion whose Python has real Salt.
fn with_salt(version: &str, dir: &Path, modules: &[(&str, &str)]) -> Functions {
    let extensions = dir.join("extmods/modules");
    std::fs::create_dir_all(&extensions).unwrap();
    std::fs::create_dir_all(dir.join("srv")).unwrap();
    for (name, text) in modules {
        std::fs::write(extensions.join(format!("{name}.py")), text).unwrap();
    }
    let text = |name: &str| Value::from(dir.join(name).display().to_string());
    let mut opts = Map::new();
    opts.insert("id", "m1");
    opts.insert("file_client", "local");
    for (name, path) in [
        ("cachedir", ""),
        ("extension_modules", "extmods"),
        ("conf_file", "minion"),
        ("sock_dir", "s"),
    ] {
        opts.insert(name, text(path));
    }
    let roots: Map = [("base", Value::Array(vec![text("srv")]))]
        .into_iter()
        .collect();
    opts.insert("file_roots", roots);
    let mut config = FunctionsConfig::new(opts);
    config.salt_version = version.into();
    config.grains = brine_node::functions::grains::load(&config.opts, version);
    config.grains.insert("shelf", 7);
    config.pillar = [("secret", "s3")].into_iter().collect();
    config.python = Some(brine_testkit::salt::python(version).get_program().into());
    Functions::new(config, Host::new().0)
}

#[tokio::test]
async fn salts_own_modules_run_where_the_python_has_salt() {
    for version in ["3006.28", "3008.3"] {
        let dir = tempfile::tempdir().unwrap();
        let module = "def f(): return [__salt__['pillar.get']('secret'), __salt__['temp.dir'] is not None]\n";
        let functions = with_salt(
            version,
            dir.path(),
            &[("own", module), ("temp", "def only(): return 1\n")],
        );
        let run = async |fun: &str, args: &[Value]| {
            functions.run(Call::new(fun).arguments(args.to_vec())).await
        };
        // A module that Brine lacks, and one that sees grains and pillar.
        let hash = run("hashutil.sha256_digest", &["x".into()]).await;
        let digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!((hash.ret, hash.retcode), (digest.into(), 0), "{version}");
        let found = run("match.grain", &["shelf:7".into()]).await;
        assert_eq!(found.ret, true.into(), "{version}");
        // Built-in functions and users' modules come first.
        assert_eq!(run("test.ping", &[]).await.ret, true.into());
        let taken = run("temp.dir", &[]).await;
        assert!(
            repr(&taken.ret).contains("'temp.dir' is not available"),
            "{taken:?}"
        );
        // States, with the pillar.
        let state = "a:\n  test.succeed_with_changes:\n    - name: {{ pillar.get('secret') }}-{{ grains['shelf'] }}\n\
                     b:\n  test.fail_without_changes: []\n";
        std::fs::write(dir.path().join("srv/st.sls"), state).unwrap();
        let applied = run("state.apply", &["st".into()]).await;
        let text = repr(&applied.ret);
        assert!(
            text.contains("'name': 's3-7'") || text.contains("'name': '-7'"),
            "{version} {text}"
        );
        assert_eq!(
            (applied.retcode, applied.out.as_deref()),
            (2, Some("highstate")),
            "{text}"
        );
        // What exists and what does not.
        let listed = repr(&run("sys.list_functions", &["hashutil".into()]).await.ret);
        assert!(listed.contains("'hashutil.sha256_digest'"), "{listed}");
        let listed = run("sys.list_functions", &[]).await.ret;
        assert_eq!(wrongly_documented(&listed, version), [""; 0], "{version}");
        let missing = run("hashutil.nope", &[]).await;
        assert!(
            repr(&missing.ret).contains("'hashutil.nope' is not available."),
            "{missing:?}"
        );
        let wrong = run("hashutil.sha256_digest", &[]).await;
        assert!(
            repr(&wrong.ret).contains("Passed invalid arguments to hashutil.sha256_digest"),
            "{wrong:?}"
        );
    }
}

/// Rows of the documentation's table that do not say what a minion has whose Python has this release.
fn wrongly_documented(listed: &Value, version: &str) -> Vec<String> {
    let listed = listed.as_array().unwrap().iter().filter_map(Value::as_str);
    let listed: BTreeSet<_> = listed.filter(|name| documented::is_listed(name)).collect();
    let column = documented::column(version);
    let rows = documented::functions();
    let said = rows.iter().filter(|row| {
        row[3] == "built in" || (row[3] == "through real Salt" && row[column] == "yes")
    });
    let said: BTreeSet<_> = said.map(|row| row[0]).collect();
    let different = listed.symmetric_difference(&said);
    different.map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn without_salt_a_missing_function_is_named_with_the_remedy() {
    let site = Site::new(&[]);
    let missing = site.outcome("pkg.version", &["bash".into()]).await;
    let text = missing.ret.as_str().unwrap();
    assert!(
        text.starts_with("'pkg.version' is not available: Brine has no function"),
        "{text}"
    );
    assert!(text.contains("brine: {python: PATH}"), "{text}");
    assert_eq!(
        site.run("nope.nope", &[]).await,
        "\"'nope.nope' is not available.\""
    );
}
