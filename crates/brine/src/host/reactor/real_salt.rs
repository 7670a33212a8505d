//! Real Salt beside the reactor, for what Brine lacks: a Python that has Salt renders files and runs functions.
//!
//! It is started when it is first needed, and again if it ends. The reactor finds out what the machine's Python
//! offers before it starts, so that a reaction that nothing here can run is refused by name.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use brine_wire::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

/// The program that Python runs.
const WORKER: &str = include_str!("worker.py");
/// Where packages of Salt put its Python.
const ONEDIR: &str = "/opt/saltstack/salt/bin/python3";
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Real Salt on this machine.
pub(crate) struct RealSalt {
    python: PathBuf,
    conf: PathBuf,
    /// What its functions are: found out once, when something asks.
    functions: OnceLock<Result<BTreeSet<String>, String>>,
    worker: tokio::sync::Mutex<Option<Worker>>,
    lock_file: PathBuf,
}

/// A Python that runs.
struct Worker {
    _child: Child,
    requests: ChildStdin,
    answers: Answers,
    next: u64,
}

/// Who waits for which answer; `None` when the worker has ended.
type Answers = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Value, String>>>>>>;

impl RealSalt {
    /// Looks for a Python with Salt: the configured one, else that of Salt's packages, else `python3`. `conf` is the
    /// master's configuration file, `directory` one that this user can write to.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn find(
        configured: Option<&str>,
        conf: &Path,
        directory: &Path,
    ) -> Result<Self, String> {
        let candidates = match configured {
            Some(python) => vec![python],
            None => vec![ONEDIR, "python3"],
        };
        let python = candidates.iter().find(|python| has_salt(python));
        let Some(python) = python else {
            let tried = candidates.join(" and ");
            return Err(format!(
                "no Salt in {tried}; set brine: {{python: …}} to a Python that has"
            ));
        };
        // Its answers are locked there, from before there is a record.
        brine_reactor::journal::make(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Self {
            python: PathBuf::from(python),
            conf: conf.to_owned(),
            functions: OnceLock::new(),
            worker: tokio::sync::Mutex::new(None),
            lock_file: directory.join("worker.lock"),
        })
    }

    /// Whether it has a function, `runner.state.orchestrate`. Takes seconds when it is asked first.
    pub(crate) fn has(&self, kind: &str, fun: &str) -> Result<bool, String> {
        let functions = self.functions.get_or_init(|| self.list());
        match functions {
            Ok(functions) => Ok(functions.contains(&format!("{kind}.{fun}"))),
            Err(why) => Err(why.clone()),
        }
    }

    fn list(&self) -> Result<BTreeSet<String>, String> {
        let request = "{\"id\": 0, \"op\": \"functions\"}\n";
        let mut child = std::process::Command::new(&self.python)
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.python.display()))?;
        let mut input = child.stdin.take();
        let mut line = String::new();
        if let Some(input) = &mut input {
            use std::io::Write;
            input
                .write_all(request.as_bytes())
                .map_err(|error| error.to_string())?;
        }
        if let Some(output) = child.stdout.take() {
            use std::io::BufRead;
            let read = std::io::BufReader::new(output).read_line(&mut line);
            read.map_err(|error| error.to_string())?;
        }
        drop(input);
        let _ = child.wait(); // it has answered
        let (_, answer) = parsed(&line).ok_or_else(|| {
            format!(
                "{} cannot load Salt with {}",
                self.python.display(),
                self.conf.display()
            )
        })?;
        let kinds = answer?;
        let mut all = BTreeSet::new();
        for (kind, names) in kinds.as_map().into_iter().flatten() {
            for name in names.as_array().unwrap_or_default() {
                if let (Some(kind), Some(name)) = (kind.as_str(), name.as_str()) {
                    all.insert(format!("{kind}.{name}"));
                }
            }
        }
        Ok(all)
    }

    fn arguments(&self) -> Vec<std::ffi::OsString> {
        vec![
            "-c".into(),
            WORKER.into(),
            self.conf.clone().into(),
            self.lock_file.clone().into(),
        ]
    }

    /// Renders a reaction file.
    pub(crate) async fn render(
        &self,
        file: &Path,
        tag: &str,
        data: &Value,
    ) -> Result<Value, String> {
        let mut request = Map::new();
        request.insert("op", "render");
        request.insert("file", file.to_string_lossy().into_owned());
        request.insert("tag", tag);
        request.insert("data", data.clone());
        self.ask(request).await
    }

    /// Runs a runner or wheel function. Dropping the future kills it.
    pub(crate) async fn call(
        &self,
        kind: &str,
        function: &brine_reactor::call::Function,
    ) -> Result<Value, String> {
        let mut request = Map::new();
        request.insert("op", kind);
        request.insert("fun", function.fun.as_str());
        request.insert("arg", function.arg.clone());
        request.insert("kwarg", function.kwarg.clone());
        request.insert("flat", function.is_flat);
        self.ask(request).await
    }

    async fn ask(&self, mut request: Map) -> Result<Value, String> {
        let (number, answer) = {
            let mut worker = self.worker.lock().await;
            if worker.as_ref().is_none_or(Worker::has_ended) {
                *worker = Some(self.start()?);
            }
            let Some(worker) = worker.as_mut() else {
                return Err("the Python with Salt has ended".to_owned());
            };
            worker.next += 1;
            let number = worker.next;
            request.insert("id", number);
            let (answered, answer) = oneshot::channel();
            match locked(&worker.answers).as_mut() {
                Some(waiting) => drop(waiting.insert(number, answered)),
                None => return Err("the Python with Salt has ended".to_owned()),
            }
            worker.write(&request).await?;
            (number, answer)
        };
        let mut kill = Kill {
            salt: self,
            number: Some(number),
        };
        let answer = answer.await;
        kill.number = None;
        answer.unwrap_or_else(|_| Err("the Python with Salt has ended".to_owned()))
    }

    fn start(&self) -> Result<Worker, String> {
        let started = Command::new(&self.python)
            .args(self.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn();
        let mut child = started.map_err(|error| format!("{}: {error}", self.python.display()))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the Python with Salt has no pipes".to_owned());
        };
        let answers: Answers = Arc::new(Mutex::new(Some(HashMap::new())));
        let waiting = Arc::clone(&answers);
        // It ends with the process that it reads from, which ends when it is dropped.
        tokio::spawn(async move {
            let mut lines = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line).await, Ok(1..))
                && line.len() <= MAX_ANSWER
            {
                if let Some((number, answer)) = parsed(&String::from_utf8_lossy(&line))
                    && let Some(answered) = locked(&waiting)
                        .as_mut()
                        .and_then(|waiting| waiting.remove(&number))
                {
                    let _ = answered.send(answer); // whoever asked may have given up
                }
                line.clear();
            }
            locked(&waiting).take();
        });
        Ok(Worker {
            _child: child,
            requests,
            answers,
            next: 0,
        })
    }
}

impl Worker {
    fn has_ended(&self) -> bool {
        locked(&self.answers).is_none()
    }

    async fn write(&mut self, request: &Map) -> Result<(), String> {
        let mut line = String::new();
        json::to_line(&request.clone().into(), &mut line);
        line.push('\n');
        let written = self.requests.write_all(line.as_bytes()).await;
        written.map_err(|error| format!("the Python with Salt: {error}"))
    }
}

/// Kills a function for which nobody waits any more.
struct Kill<'a> {
    salt: &'a RealSalt,
    number: Option<u64>,
}

impl Drop for Kill<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        // Another thread that holds the worker is writing a request, and will be done in a moment.
        if let Ok(mut worker) = self.salt.worker.try_lock()
            && let Some(worker) = worker.as_mut()
        {
            locked(&worker.answers)
                .as_mut()
                .and_then(|waiting| waiting.remove(&number));
            let mut request = Map::new();
            request.insert("op", "kill");
            request.insert("id", number);
            let mut writing = std::pin::pin!(worker.write(&request));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            // A short line fits into the pipe.
            let _ = Future::poll(writing.as_mut(), &mut context);
        }
    }
}

/// An answer's number, and what it says.
fn parsed(line: &str) -> Option<(u64, Result<Value, String>)> {
    let Ok(Value::Map(mut answer)) = json::parse(line.as_bytes()) else {
        return None;
    };
    let number = u64::try_from(answer.get("id")?.as_int()?).ok()?;
    let said = match answer.remove("error") {
        Some(Value::Str(error)) => Err(error),
        _ => Ok(answer.remove("value").unwrap_or(Value::Nil)),
    };
    Some((number, said))
}

/// Whether a Python can import Salt. Does not load it.
fn has_salt(python: &str) -> bool {
    const PROBE: &str = "import importlib.util, sys; sys.exit(importlib.util.find_spec('salt.utils.reactor') is None)";
    let mut probe = std::process::Command::new(python);
    probe
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
