//! Users' execution modules in the Python beside a minion: what they see, and what they cannot break.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use brine_node::functions::{Call, Failure, Functions, FunctionsConfig, Host, HostRequest};
use brine_wire::python_text::repr;
use brine_wire::{Map, Value};
use tempfile::TempDir;
use tokio::sync::mpsc;

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
    let told = site.dir.path().join("pids");
    let mut call = Call::new("hang.forever").arguments([told.display().to_string().into()]);
    call.jid = "20".into();
    let functions = site.functions.clone();
    let job = tokio::spawn(async move { functions.call(call).await });
    until(|| told.exists()).await;
    assert!(site.functions.cancel("20"));
    assert_eq!(
        job.await.unwrap(),
        Err(Failure::Killed { jid: "20".into() })
    );
    let pids = std::fs::read_to_string(told).unwrap();
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
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not come in half a minute");
}

/// Whether a process has ended, waited for or not.
fn is_gone(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    status.is_ok_and(|status| status.contains("State:\tZ"))
        || !Path::new("/proc").join(pid).exists()
}
