//! Who makes the calls of reactions: our own master, a real master beside us, or a minion.

use std::path::Path;
use std::sync::Arc;

use brine_bus::client::tokio::Publisher;
use brine_config::{Arguments, Opts};
use brine_node::client::{ClientConfig, JobPublisher};
use brine_node::functions::Call as NodeCall;
use brine_node::master::{self, MasterHandle};
use brine_node::minion::MinionHandle;
use brine_node::runner::{self, Beside, RunnerCall, functions};
use brine_node::{JobRequest, Published};
use brine_reactor::call::{Call, Function, Job};
use brine_reactor::files::{Available, Functions};
use brine_reactor::run::REACTOR;
use brine_reactor::{Execute, Future};
use brine_wire::network::Jid;
use brine_wire::{Map, Value, python_text};

use super::http_query::{self, HTTP_QUERY};
use super::real_salt::RealSalt;
use crate::bus_location;
use crate::clock;
use crate::show;

/// Real Salt, or why there is none.
pub(crate) type MaybeSalt = Result<RealSalt, String>;

/// Under which name a result says what is remarkable about it.
pub(crate) const NOTE: &str = "note";
/// Why `caller` must not be called on a master.
const NO_CALLER: &str =
    "on a master, Salt's reactor waits for ever for a minion of its own; use local with a target";
/// Why a minion calls nothing else.
const ONLY_CALLER: &str = "a minion's reactor calls functions of the minion itself: use caller";

/// The master in this process.
pub(crate) struct OwnMaster {
    pub(crate) master: MasterHandle,
}

/// A master in another process, which is asked as its own user asks it.
pub(crate) struct OtherMaster {
    pub(crate) opts: Opts,
}

/// The minion in this process.
pub(crate) struct OwnMinion {
    pub(crate) minion: MinionHandle,
}

/// Nobody: for looking at what reactions would do.
pub(crate) struct Nobody;

/// One of these with the machine's Salt beside it, which renders files and makes the calls that are not built in.
pub(crate) struct BesideSalt<T> {
    pub(crate) own: T,
    pub(crate) salt: Arc<MaybeSalt>,
}

/// Makes the calls that are built in.
pub(crate) trait BuiltIn: Send + Sync + 'static {
    /// What a call returned, or why it failed; `None` if it is not built in.
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Option<Result<Value, String>>>;
}

/// Where a function can run that a reaction on a master names. Beside another's master, wheel functions are real Salt's:
/// they change files that are that master's.
pub(crate) fn on_master(salt: &Arc<MaybeSalt>, is_ours: bool) -> Functions {
    let salt = Arc::clone(salt);
    Arc::new(move |kind, fun| match kind {
        "local" | "cmd" => Available::Here,
        "caller" => Available::Refused(NO_CALLER),
        "runner" if is_own_runner(fun) => Available::Here,
        "wheel" if is_ours && master::has_wheel(fun) => Available::Here,
        kind => match &*salt {
            Ok(salt) => match salt.has(kind, fun) {
                Ok(true) => Available::BySalt,
                _ => Available::Nowhere,
            },
            Err(_) => Available::BySalt, // if there were one: the error says why there is none
        },
    })
}

/// The same on a minion.
pub(crate) fn on_minion() -> Functions {
    Arc::new(|kind, _| match kind {
        "caller" => Available::Here,
        _ => Available::Refused(ONLY_CALLER),
    })
}

fn is_own_runner(fun: &str) -> bool {
    fun == HTTP_QUERY || fun != "state.event" && functions::named(fun).is_some()
}

impl<T: BuiltIn> Execute for BesideSalt<T> {
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Result<Value, String>> {
        Box::pin(async move {
            match self.own.call(call).await {
                Some(called) => called,
                None => by_salt(&self.salt, call).await,
            }
        })
    }

    fn render<'a>(
        &'a self,
        file: &'a Path,
        tag: &'a str,
        data: &'a Value,
    ) -> Future<'a, Result<Value, String>> {
        Box::pin(async move {
            match &*self.salt {
                Ok(salt) => salt.render(file, tag, data).await,
                Err(why) => Err(why.clone()),
            }
        })
    }
}

impl BuiltIn for OwnMaster {
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Option<Result<Value, String>>> {
        Box::pin(async move {
            Some(match call {
                Call::Local(job) => self.publish(job).await,
                Call::Runner(function) if function.fun == HTTP_QUERY => {
                    return http_query::query(function).await;
                }
                Call::Runner(function) if is_own_runner(&function.fun) => {
                    self.runner(function).await
                }
                Call::Wheel(function) if master::has_wheel(&function.fun) => {
                    let by = self.master.permitted_caller(REACTOR);
                    let called = self.master.wheel(wheel_call(function), &by).await;
                    called.map_err(|error| error.to_string())
                }
                _ => return None,
            })
        })
    }
}

impl OwnMaster {
    async fn publish(&self, job: &Job) -> Result<Value, String> {
        let by = self.master.own_caller();
        let published = self.master.publish(request(job), &by).await;
        Ok(outcome(job, &published.map_err(|error| error.to_string())?))
    }

    async fn runner(&self, function: &Function) -> Result<Value, String> {
        let arguments = bound(function)?;
        let by = self.master.permitted_caller(REACTOR);
        let returned = self.master.runner(&function.fun, arguments, &by).await;
        returned_value(returned.map_err(|error| error.to_string())?)
    }
}

impl BuiltIn for OtherMaster {
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Option<Result<Value, String>>> {
        Box::pin(async move {
            Some(match call {
                Call::Local(job) => self.publish(job).await,
                Call::Runner(function) if function.fun == HTTP_QUERY => {
                    return http_query::query(function).await;
                }
                Call::Runner(function) if is_own_runner(&function.fun) => {
                    self.runner(function).await
                }
                _ => return None,
            })
        })
    }
}

impl OtherMaster {
    /// Publishes a job with the key of the master's user, which changes when the master restarts.
    async fn publish(&self, job: &Job) -> Result<Value, String> {
        let user = self.opts.text("user").unwrap_or("root");
        let config =
            ClientConfig::from_opts(&self.opts, user).map_err(|error| error.to_string())?;
        let published = JobPublisher::new(config).publish(&request(job)).await;
        Ok(outcome(job, &published.map_err(|error| error.to_string())?))
    }

    async fn runner(&self, function: &Function) -> Result<Value, String> {
        let config = bus_location::publisher_config(None, Some(&self.opts))
            .map_err(|error| show::one_line(&error))?;
        let address = bus_location::address(&self.opts, &brine_bus::address::Node::Master, None);
        let bus = Publisher::new(&address.map_err(|error| show::one_line(&error))?, config);
        let user = self.opts.text("user").unwrap_or("root");
        let mut operator =
            Beside::new(&self.opts, None, user, bus).map_err(|error| error.to_string())?;
        let call = RunnerCall {
            fun: function.fun.clone(),
            arguments: bound(function)?,
            user: REACTOR.to_owned(),
            jid: Jid::at(clock::since_epoch()).to_string(),
        };
        let returned = runner::run(&mut operator, call).await;
        returned_value(returned.map_err(|error| error.to_string())?)
    }
}

impl Execute for OwnMinion {
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Result<Value, String>> {
        Box::pin(async move {
            let Call::Caller(function) = call else {
                return Err(ONLY_CALLER.to_owned());
            };
            let mut load = Map::new();
            load.insert("fun", function.fun.as_str());
            load.insert("arg", function.arg.clone());
            load.insert("kwarg", function.kwarg.clone());
            load.insert("return", false);
            let answer = self.minion.call(load).await;
            let mut answer = answer.ok_or("the minion is ending")?;
            let value = answer.remove("return").unwrap_or(Value::Nil);
            match answer.get("success").is_none_or(Value::is_true) {
                true => Ok(value),
                false => Err(python_text::str(&value)),
            }
        })
    }

    fn render<'a>(
        &'a self,
        _file: &'a Path,
        _tag: &'a str,
        _data: &'a Value,
    ) -> Future<'a, Result<Value, String>> {
        Box::pin(async { Err("a minion has no real Salt beside it".to_owned()) })
    }
}

impl BuiltIn for Nobody {
    fn call<'a>(&'a self, _call: &'a Call) -> Future<'a, Option<Result<Value, String>>> {
        Box::pin(async { Some(Err("nothing is called here".to_owned())) })
    }
}

async fn by_salt(salt: &MaybeSalt, call: &Call) -> Result<Value, String> {
    let (kind, function) = match call {
        Call::Runner(function) => ("runner", function),
        Call::Wheel(function) => ("wheel", function),
        Call::Caller(_) => return Err(NO_CALLER.to_owned()),
        Call::Local(_) => return Err("a job is not real Salt's to publish".to_owned()),
    };
    match salt {
        Ok(salt) => salt.call(kind, function).await,
        Err(why) => Err(format!(
            "{} is not built in, and real Salt cannot run it: {why}",
            call.name()
        )),
    }
}

/// The job as a client publishes it.
fn request(job: &Job) -> JobRequest {
    let mut request = JobRequest::new(job.tgt.clone(), &job.tgt_type, job.fun.as_str());
    request.arg.clone_from(&job.arg);
    if !job.kwarg.is_empty() {
        let mut marked = job.kwarg.clone();
        marked.insert("__kwarg__", true);
        request.arg.push(marked.into());
    }
    request.ret.clone_from(&job.ret);
    request.kwargs.clone_from(&job.more);
    request
}

/// What the record says about a published job. A target that matches nobody is not a failure in Salt, but worth a
/// look.
fn outcome(job: &Job, published: &Published) -> Value {
    let minions = published.minions.iter().map(|id| Value::from(id.as_str()));
    let mut map = Map::new();
    match &published.jid {
        Some(jid) => map.insert("jid", jid.as_str()),
        None => {
            tracing::warn!(
                fun = %job.fun,
                tgt = job.tgt.as_str().unwrap_or("a list"),
                tgt_type = %job.tgt_type,
                "a reaction's target matches no minion; nothing was published"
            );
            map.insert(NOTE, "no minion matches the target; nothing was published");
        }
    }
    map.insert("minions", minions.collect::<Vec<_>>());
    map.into()
}

/// The arguments of one of our runner functions, if they fit.
fn bound(function: &Function) -> Result<Arguments, String> {
    let own = functions::named(&function.fun).ok_or("there is no such function")?;
    let arguments = Arguments {
        positional: function.arg.clone(),
        keyword: without_name(function, own.has_parameter("name")),
    };
    own.bind(&arguments).map_err(|error| error.to_string())?;
    Ok(arguments)
}

/// In the oldest form every reaction has `name`, which is an argument only if the function takes it.
fn without_name(function: &Function, takes_name: bool) -> Map {
    let mut keyword = function.kwarg.clone();
    if function.is_flat && !takes_name {
        keyword.remove("name");
    }
    keyword
}

fn wheel_call(function: &Function) -> NodeCall {
    NodeCall {
        args: function.arg.clone(),
        kwargs: without_name(function, false),
        ..NodeCall::new(function.fun.as_str())
    }
}

fn returned_value(returned: runner::RunnerReturn) -> Result<Value, String> {
    match returned.retcode {
        0 => Ok(returned.value),
        _ => Err(python_text::str(&returned.value)),
    }
}
