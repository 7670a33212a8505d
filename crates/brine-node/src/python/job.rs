//! The protocol with a child process that runs one function.
//!
//! The child reports that it has started, gets a request, may call built-in functions of the minion, and sends the
//! result.

use std::future::Future;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brine_wire::{Map, Value};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::frame::{self, FrameError};
use super::parent::Parent;
use super::{Python, connection, worker};
use crate::call::{Call, Failure, Outcome, Unloaded};

/// A request to a child.
pub(crate) enum Request {
    /// Run this call.
    Call(Call),
    /// List all functions.
    List {
        /// A function that a call did not find: why its module cannot be imported has been logged.
        missing: Option<String>,
    },
}

/// A child's reply.
pub(crate) enum Answer {
    /// The function returned.
    Returned(Outcome),
    /// No user's module has this function; with the reason if it is known.
    Missing(Option<Unloaded>),
    /// All functions: name, documentation and argspec.
    Listed(Vec<Listed>),
}

/// A function of a user's module.
pub(crate) struct Listed {
    /// Its full name.
    pub(crate) name: String,
    /// Its docstring; may be empty.
    pub(crate) doc: Value,
    /// Its signature as `sys.argspec` returns it.
    pub(crate) argspec: Value,
}

/// The child gave no reply.
enum NoAnswer {
    /// The child did not start: the parent had ended.
    NotBegun,
    /// The function failed.
    Failed(Failure),
}

impl Python {
    /// Runs a job in a child. Dropping the future kills it.
    ///
    /// Modules see these grains and this pillar; their calls of built-in functions go to `call_back`.
    pub(crate) async fn run<C, F>(
        &self,
        grains: Arc<Map>,
        pillar: Arc<Map>,
        request: &Request,
        call_back: &C,
    ) -> Result<Answer, Failure>
    where
        C: Fn(Call) -> F,
        F: Future<Output = Result<Outcome, Failure>>,
    {
        // That the parent has just died shows when it does not start the job.
        for _ in 0..2 {
            let job = (grains.clone(), pillar.clone());
            match self.try_run(job, request, call_back).await {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Failed(failure)) => return Err(failure),
                Err(NoAnswer::NotBegun) => {}
            }
        }
        Err(worker(format!(
            "python {}: ended before the job began; its log says why",
            self.program.display()
        )))
    }

    async fn try_run<C, F>(
        &self,
        (grains, pillar): (Arc<Map>, Arc<Map>),
        request: &Request,
        call_back: &C,
    ) -> Result<Answer, NoAnswer>
    where
        C: Fn(Call) -> F,
        F: Future<Output = Result<Outcome, Failure>>,
    {
        let failed = |err: std::io::Error| NoAnswer::Failed(worker(format!("python: {err}")));
        let (connection, theirs) = connection().map_err(failed)?;
        let parent = self.start_job(theirs, grains, pillar);
        let parent = parent.map_err(NoAnswer::Failed)?;
        let mut running = Running::begin(connection, parent).await?;
        self.job_began();
        let asked = frame::write(&mut running.connection, &request.to_map()).await;
        asked.map_err(failed)?;
        let mut answer = running.answer(call_back).await.map_err(NoAnswer::Failed)?;
        running.is_done = true;
        if let (Request::Call(call), records) = (request, answer.remove("log"))
            && let Some(log) = &call.log
        {
            log.extend(records.as_ref());
        }
        self.imported(paths(answer.get("imported")));
        read(answer).map_err(NoAnswer::Failed)
    }
}

impl Request {
    fn to_map(&self) -> Map {
        let mut map = Map::new();
        match self {
            Self::List { missing } => {
                map.insert("op", "list");
                if let Some(fun) = missing {
                    map.insert("missing", fun.as_str());
                }
            }
            Self::Call(call) => {
                map.insert("op", "call");
                map.insert("fun", call.fun.as_str());
                map.insert("args", call.args.clone());
                map.insert("kwargs", call.kwargs.clone());
                map.insert("pub", call.publication.clone());
                map.insert("jid", call.jid.as_str());
                if let Some(master) = &call.master {
                    map.insert("master", master.as_str());
                }
                if let Some(log) = &call.log {
                    map.insert("log", log.level());
                }
            }
        }
        map
    }
}

/// A running child; killed when dropped before it is done.
struct Running {
    connection: UnixStream,
    parent: Parent,
    pid: u32,
    ended: watch::Receiver<Option<i32>>,
    is_done: bool,
}

impl Running {
    async fn begin(mut connection: UnixStream, parent: Parent) -> Result<Self, NoAnswer> {
        let started = frame::read(&mut connection).await;
        let started = started.map_err(|_| NoAnswer::NotBegun)?;
        let pid = started.get("pid").and_then(Value::as_int);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or(NoAnswer::NotBegun)?;
        let ended = parent.end_of(pid);
        Ok(Self {
            connection,
            parent,
            pid,
            ended,
            is_done: false,
        })
    }

    /// The child's result, after serving its calls of built-in functions.
    async fn answer<C, F>(&mut self, call_back: &C) -> Result<Map, Failure>
    where
        C: Fn(Call) -> F,
        F: Future<Output = Result<Outcome, Failure>>,
    {
        loop {
            let message = match self.next().await {
                Ok(message) => message,
                Err(FrameError::Connection(_)) => return Err(self.died().await),
                Err(err) => return Err(worker(format!("returned value: {err}"))),
            };
            if message.get("op").and_then(Value::as_str) != Some("salt") {
                return Ok(message);
            }
            let answer = answer_of(call_back(call_of(message)).await);
            if frame::write(&mut self.connection, &answer).await.is_err() {
                return Err(self.died().await);
            }
        }
    }

    /// The child's next message.
    ///
    /// A process that the function started may keep the connection open when the child is gone; what the child itself
    /// sent arrives soon after its end, or never.
    async fn next(&mut self) -> Result<Map, FrameError> {
        const SOON: Duration = Duration::from_secs(2);
        let mut next = std::pin::pin!(frame::read(&mut self.connection));
        tokio::select! {
            message = &mut next => message,
            Some(_) = status(&mut self.ended) => {
                let message = tokio::time::timeout(SOON, next).await;
                message.unwrap_or_else(|_| Err(std::io::Error::from(ErrorKind::BrokenPipe).into()))
            }
        }
    }

    /// How a child ended that sends nothing more.
    async fn died(&mut self) -> Failure {
        /// The parent tells at once, unless it is gone too.
        const TIMEOUT: Duration = Duration::from_secs(5);
        let status = tokio::time::timeout(TIMEOUT, status(&mut self.ended)).await;
        worker(describe(status.ok().flatten()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.parent.forget(self.pid);
        if !self.is_done {
            self.parent.kill(self.pid);
        }
    }
}

/// A child's exit status; empty if its parent is gone and cannot report it.
async fn status(ended: &mut watch::Receiver<Option<i32>>) -> Option<i32> {
    let ended = ended.wait_for(Option::is_some).await;
    ended.ok().and_then(|status| *status)
}

/// What a module calls through `__salt__`.
fn call_of(mut request: Map) -> Call {
    let fun = request
        .get("fun")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut call = Call::new(fun);
    if let Some(Value::Array(args)) = request.remove("args") {
        call.args = args;
    }
    if let Some(Value::Map(kwargs)) = request.remove("kwargs") {
        call.kwargs = kwargs;
    }
    call
}

/// The result of the call, for the child.
fn answer_of(called: Result<Outcome, Failure>) -> Map {
    let mut answer = Map::new();
    match called {
        Ok(outcome) => {
            answer.insert("ret", outcome.ret);
            answer.insert("retcode", outcome.retcode);
        }
        Err(failure) => {
            let (kind, message) = match &failure {
                Failure::Execution { message } => ("execution", message.clone()),
                Failure::CommandNotFound { message } => ("command_not_found", message.clone()),
                Failure::Invocation { message } => ("invocation", message.clone()),
                Failure::Arguments { message, .. } => ("arguments", message.clone()),
                Failure::Raised { kind, message, .. } => {
                    answer.insert("class", kind.as_str());
                    ("raised", message.clone())
                }
                other => ("execution", other.to_string()),
            };
            answer.insert("kind", kind);
            answer.insert("message", message);
        }
    }
    answer
}

/// Reads a child's result.
fn read(mut message: Map) -> Result<Answer, Failure> {
    let text = |name: &str| {
        message
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match message.get("op").and_then(Value::as_str) {
        Some("returned") => {
            let retcode = message.get("retcode").and_then(Value::as_int).unwrap_or(0);
            let out = message
                .get("out")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let mut outcome = Outcome::returned(
                message.remove("ret").unwrap_or(Value::Nil),
                i64::try_from(retcode).unwrap_or(1),
            );
            outcome.out = out;
            Ok(Answer::Returned(outcome))
        }
        Some("missing") => {
            let reason = message
                .get("reason")
                .and_then(Value::as_str)
                .map(str::to_owned);
            Ok(Answer::Missing(match text("kind").as_str() {
                "virtual" => Some(Unloaded::Virtual(reason)),
                "import" => Some(Unloaded::Import(reason.unwrap_or_default())),
                _ => None,
            }))
        }
        Some("listed") => Ok(Answer::Listed(listed(message.remove("functions")))),
        Some("failed") => Err(match text("kind").as_str() {
            "execution" => Failure::Execution {
                message: text("message"),
            },
            "command_not_found" => Failure::CommandNotFound {
                message: text("message"),
            },
            "invocation" => Failure::Invocation {
                message: text("message"),
            },
            "unsendable" => Failure::Worker {
                message: text("message"),
            },
            "arguments" => Failure::Arguments {
                message: text("message"),
                doc: text("doc"),
            },
            _ => Failure::Raised {
                kind: text("class"),
                message: text("message"),
                traceback: text("traceback"),
            },
        }),
        _ => Err(worker("python: unknown message".into())),
    }
}

fn listed(functions: Option<Value>) -> Vec<Listed> {
    let Some(Value::Map(functions)) = functions else {
        return Vec::new();
    };
    let one = |(name, fields): (Value, Value)| {
        let fields = fields.as_map()?;
        Some(Listed {
            name: name.as_str()?.to_owned(),
            doc: fields.get("doc")?.clone(),
            argspec: fields.get("argspec")?.clone(),
        })
    };
    functions.into_iter().filter_map(one).collect()
}

fn paths(fields: Option<&Value>) -> Vec<PathBuf> {
    match fields {
        Some(Value::Array(paths)) => {
            let paths = paths.iter().filter_map(Value::as_str);
            paths.map(PathBuf::from).collect()
        }
        _ => Vec::new(),
    }
}

/// An exit status of `wait` as text.
fn describe(status: Option<i32>) -> String {
    let how = match status {
        None => "in an unknown way".into(),
        Some(status) if status & 0x7f != 0 => format!("by signal {}", status & 0x7f),
        Some(status) => format!("with exit status {}", status >> 8),
    };
    format!("the process that ran the function ended {how} before it returned")
}
