//! Runs calls: a built-in function if there is one, else a user's module.
//!
//! A cancelled call ends at its next wait. Printing and sending results is up to the caller.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::Map;
use tokio::sync::oneshot;

use super::context::Context;
use super::signature::Origin;
use super::table::{self, Run};
use super::{Call, Failure, FunctionsConfig, Host, Outcome, Unloaded};
use super::{salt_modules, sys};
use crate::python::{Answer, Python, Request};

/// The future result of a call or of a request to Python.
type Waited<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// All functions of a minion; cheap to clone.
#[derive(Clone)]
pub struct Functions {
    inner: Arc<Inner>,
}

struct Inner {
    context: Context,
    python: Python,
    /// Running calls, by job: sending ends one. Held to add, remove or take, never across an await.
    running: Mutex<HashMap<String, Vec<oneshot::Sender<()>>>>,
}

impl Functions {
    /// Functions of the minion that `config` describes and that answers as `host`.
    #[must_use]
    pub fn new(config: FunctionsConfig, host: Host) -> Self {
        let builtins = table::all().map(|known| known.builtin.name);
        let inner = Inner {
            python: Python::new(config.python_config(builtins)),
            context: Context::new(config, host),
            running: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Runs a call; returns the fields of a minion's return.
    ///
    /// Dropping the future ends the function and the process of a user's module.
    pub async fn run(&self, call: Call) -> Outcome {
        let fun = call.fun.clone();
        match self.call(call).await {
            Ok(outcome) => outcome,
            Err(failure) => failure.outcome(&fun),
        }
    }

    /// Runs a call; for callers that format failures themselves, such as `salt-call`.
    ///
    /// # Errors
    /// [`Failure`]; for [`Failure::Killed`] Salt sends no return.
    pub async fn call(&self, call: Call) -> Result<Outcome, Failure> {
        let jid = call.jid.clone();
        let mut entered = self.enter(&jid);
        tokio::select! {
            outcome = self.dispatch(call, Origin::Job) => outcome,
            Ok(()) = &mut entered.ended => Err(Failure::Killed { jid: jid.clone() }),
        }
    }

    /// Ends the calls of a job; whether there were any.
    pub fn cancel(&self, jid: &str) -> bool {
        let calls = self.running().remove(jid).unwrap_or_default();
        let ended = calls.into_iter().filter(|call| !call.is_closed());
        ended
            .map(|call| call.send(()).is_ok())
            .fold(false, |any, one| any | one)
    }

    /// The minion's grains as they are now.
    #[must_use]
    pub fn grains(&self) -> Arc<Map> {
        self.inner.context.grains()
    }

    /// The minion's pillar as it is now.
    #[must_use]
    pub fn pillar(&self) -> Arc<Map> {
        self.inner.context.pillar()
    }

    /// Replaces the grains.
    pub fn set_grains(&self, grains: Map) {
        self.inner.context.set_grains(grains);
    }

    /// Replaces the pillar.
    pub fn set_pillar(&self, pillar: Map) {
        self.inner.context.set_pillar(pillar);
    }

    pub(crate) fn context(&self) -> &Context {
        &self.inner.context
    }

    pub(crate) fn python(&self) -> &Python {
        &self.inner.python
    }

    /// Asks the Python beside the minion.
    pub(crate) fn ask_python<'a>(&'a self, request: &'a Request) -> Waited<'a, Answer> {
        // Boxed: a module may call a function of another module.
        let call_back = |call| Box::pin(self.within(call)) as Waited<'_, Outcome>;
        let context = self.context();
        let (grains, pillar) = (context.grains(), context.pillar());
        Box::pin(async move {
            self.inner
                .python
                .run(grains, pillar, request, &call_back)
                .await
        })
    }

    /// Runs a call within another, as a module's `__salt__` does: without a job of its own; a missing function raises
    /// a `KeyError`.
    pub(crate) async fn within(&self, call: Call) -> Result<Outcome, Failure> {
        match self.dispatch(call, Origin::Function).await {
            Err(Failure::NotAvailable { fun, .. }) => {
                Err(Failure::raised("KeyError", format!("'{fun}'")))
            }
            outcome => outcome,
        }
    }

    async fn dispatch(&self, call: Call, origin: Origin) -> Result<Outcome, Failure> {
        let module = call.fun.split('.').next().unwrap_or_default();
        let python = &self.inner.python;
        let is_own = python.has_file(module);
        let Some(known) = table::find(&call.fun).filter(|_| !is_own) else {
            if !is_own && !python.has_modules() {
                return Err(self.missing(&call.fun, None).await);
            }
            let fun = call.fun.clone();
            return match self.ask_python(&Request::Call(call)).await? {
                Answer::Returned(outcome) => Ok(outcome),
                Answer::Missing(reason) => Err(self.missing(&fun, reason).await),
                Answer::Listed(_) => Err(self.missing(&fun, None).await),
            };
        };
        let builtin = known.builtin;
        let name = builtin
            .name
            .split_once('.')
            .map_or(builtin.name, |(_, name)| name);
        let mut bound = known.signature.bind(name, builtin.doc, call, origin)?;
        let returned = match builtin.run {
            Run::Now(run) => run(self.context(), &mut bound)?,
            Run::Waits(run) => run(self.context(), bound).await?,
            Run::Calls(run) => run(self, bound).await?,
        };
        Ok(Outcome::returned(returned.value, returned.retcode))
    }

    async fn missing(&self, fun: &str, reason: Option<Unloaded>) -> Failure {
        let offers_salt = self.inner.python.offers_salt();
        let is_own = self
            .inner
            .python
            .has_file(fun.split('.').next().unwrap_or_default());
        let is_salts = || !offers_salt && !is_own && salt_modules::has(fun);
        let reason = reason.or_else(|| is_salts().then_some(Unloaded::SaltOnly));
        Failure::NotAvailable {
            fun: fun.into(),
            reason,
            docs: sys::docs_beginning(self, fun).await,
        }
    }

    fn enter<'a>(&'a self, jid: &'a str) -> Entered<'a> {
        let (end, ended) = oneshot::channel();
        self.running().entry(jid.into()).or_default().push(end);
        Entered {
            functions: self,
            jid,
            ended,
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Vec<oneshot::Sender<()>>>> {
        // A poisoned map is still a map: nothing that can panic happens under the lock.
        self.inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers a running call until it is dropped.
struct Entered<'a> {
    functions: &'a Functions,
    jid: &'a str,
    /// Completes when the call must end.
    ended: oneshot::Receiver<()>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.ended.close();
        let mut running = self.functions.running();
        if let Some(calls) = running.get_mut(self.jid) {
            calls.retain(|call| !call.is_closed());
            if calls.is_empty() {
                running.remove(self.jid);
            }
        }
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Functions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::HostRequest;
    use brine_wire::Value;

    /// Functions whose host takes every event, and what it took.
    fn functions(opts: Map) -> (Functions, std::sync::mpsc::Receiver<HostRequest>) {
        let (host, mut requests) = Host::new();
        let (took, taken) = std::sync::mpsc::sync_channel(64);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let seen = match request {
                    HostRequest::Fire { tag, data, answer } => {
                        answer.send(Ok(())).unwrap();
                        HostRequest::Fire {
                            tag,
                            data,
                            answer: oneshot::channel().0,
                        }
                    }
                    HostRequest::SendEvent { load, answer } => {
                        answer.send(Ok(())).unwrap();
                        HostRequest::SendEvent {
                            load,
                            answer: oneshot::channel().0,
                        }
                    }
                    other => other,
                };
                took.send(seen).unwrap();
            }
        });
        (Functions::new(FunctionsConfig::new(opts), host), taken)
    }

    #[tokio::test]
    async fn a_sent_event_carries_the_jobs_keys_before_the_callers_own() {
        let (functions, taken) = functions(Map::new());
        let data: Map = [("a", 1)].into_iter().collect();
        let load: Map = [("fun", "event.send"), ("jid", "1")].into_iter().collect();
        let call = Call::new("event.send")
            .arguments(["my/tag".into(), data.into()])
            .published(&load);
        let outcome = functions.run(call).await;
        assert_eq!((outcome.ret, outcome.retcode), (Value::Bool(true), 0));
        let HostRequest::SendEvent { load, .. } = taken.recv().unwrap() else {
            panic!("an event was sent")
        };
        assert_eq!(
            brine_wire::python_text::repr(&load.into()),
            "{'tag': 'my/tag', 'data': {'__pub_fun': 'event.send', '__pub_jid': '1', 'a': 1}, \
             'cmd': '_minion_event'}"
        );
    }

    #[tokio::test]
    async fn without_a_master_by_configuration_events_are_fired_here() {
        let opts = || [("file_client", "local")].into_iter().collect();
        let (functions, taken) = functions(opts());
        let call = Call::new("event.send").arguments(["t".into(), "foo=1".into()]);
        assert!(functions.run(call).await.success);
        let HostRequest::Fire { tag, data, .. } = taken.recv().unwrap() else {
            panic!("an event was fired")
        };
        assert_eq!((tag.as_str(), data.get("foo")), ("t", Some(&1.into())));
        let call = Call::new("event.fire_master").arguments([Map::new().into(), "t".into()]);
        assert_eq!(functions.run(call).await.ret, Value::Bool(false));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_available_and_a_module_alone_shows_its_functions() {
        let (functions, _taken) = functions(Map::new());
        let outcome = functions.run(Call::new("nope.nope")).await;
        assert_eq!(outcome.ret, "'nope.nope' is not available.".into());
        assert_eq!((outcome.retcode, outcome.success), (1, false));
        let outcome = functions.run(Call::new("event")).await;
        let docs = outcome.ret.as_map().unwrap();
        assert!(docs.get("event.send").is_some());
        assert_eq!(docs.get("event"), Some(&"'event' is not available.".into()));
    }

    #[tokio::test]
    async fn a_cancelled_job_ends_at_once() {
        let (functions, _taken) = functions(Map::new());
        let mut call = Call::new("test.sleep").arguments([Value::Int(3600)]);
        call.jid = "7".into();
        let other = functions.clone();
        let job = tokio::spawn(async move { other.call(call).await });
        while !functions.cancel("7") {
            tokio::task::yield_now().await;
        }
        let killed = Failure::Killed { jid: "7".into() };
        assert_eq!(job.await.unwrap(), Err(killed));
        assert!(!functions.cancel("7"));
    }
}
