//! The API of our own master, in the same process.

use std::net::IpAddr;
use std::time::Duration;

use brine_api::rest::{Client, Credential, Low, Operator, OperatorError, Pending};
use brine_auth::{Login, LoginError, Token};
use brine_config::{Arguments, Opts};
use brine_node::PublishError;
use brine_node::client::{ClientConfig, ClientError, MinionReply};
use brine_node::functions::Call;
use brine_node::master::{Caller, MasterHandle, WheelError};
use brine_node::runner::{RunnerError, functions};
use brine_wire::network::{Jid, field};
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value};

use super::arguments;
use crate::clock;

/// When somebody tries again who was refused for what others do.
pub(super) const BUSY: Duration = Duration::from_secs(1);

/// Our own master.
pub(crate) struct OwnMaster {
    master: MasterHandle,
    timeouts: Timeouts,
}

impl OwnMaster {
    /// A master, with its options.
    pub(crate) fn of(master: MasterHandle, opts: &Opts) -> anyhow::Result<Self> {
        let timeouts = ClientConfig::from_opts(opts, opts.text("user")?)?.timeouts;
        Ok(Self { master, timeouts })
    }

    async fn caller(&self, by: &Credential) -> Result<Caller, OperatorError> {
        let unknown = || OperatorError::NotAuthenticated("Authentication error occurred.".into());
        let token = match by {
            Credential::Token(text) => self.token(text).await?.ok_or_else(unknown)?,
            Credential::Login { login, from } => {
                let checked = self
                    .master
                    .check_login((**login).clone(), Some(*from))
                    .await;
                checked.map_err(login_error)?
            }
        };
        Ok(self.master.external_caller(&token))
    }

    async fn local(&self, fields: &Map, by: Caller) -> Result<Value, OperatorError> {
        let mut job = arguments::local(fields, self.timeouts)?;
        // Chosen here, because replies do not name it.
        let jid = job.request.jid.get_or_insert_with(new_jid).clone();
        let replies = self.master.gather(job.request, job.timeouts, &by).await;
        let replies = replies.map_err(client_error)?.into_iter();
        let returns = replies.map(|reply| {
            let value = reply_value(&jid, &reply, job.full_return);
            (Value::from(reply.id), value)
        });
        Ok(Map::from_pairs(returns.collect()).into())
    }

    async fn local_batch(&self, fields: &Map, by: &Caller) -> Result<Value, OperatorError> {
        let size = arguments::batch_size(fields)?;
        let job = arguments::local(fields, self.timeouts)?;
        let returns = self
            .master
            .batch_on_target(&job.request, size, job.timeouts, by);
        Ok(of_batch(returns.await.map_err(client_error)?))
    }

    async fn local_subset(&self, fields: &Map, by: Caller) -> Result<Value, OperatorError> {
        let question = arguments::subset_question(fields);
        let functions = self.local(&question, by.clone()).await?;
        self.local(&arguments::subset_job(fields, &functions), by)
            .await
    }

    async fn local_async(&self, fields: &Map, by: &Caller) -> Result<Value, OperatorError> {
        let job = arguments::local(fields, self.timeouts)?;
        let published = self.master.publish(job.request, by).await;
        let published = published.map_err(|error| publish_error(&error))?;
        Ok(started(&published))
    }

    async fn runner(&self, fields: &Map, by: &Caller) -> Result<Value, OperatorError> {
        let (fun, called) = runner_call(fields, by)?;
        let jid = new_jid();
        let mut events = self.master.follow();
        let returned = self.master.run_runner(&fun, called, by, jid.clone()).await;
        let returned = returned.map_err(|error| runner_error(&error))?;
        if !fields.get("full_return").is_some_and(Value::is_true) {
            return Ok(returned.value);
        }
        let tag = format!("salt/run/{jid}/ret");
        let found = super::feed::find(&mut events, &tag);
        let mut answer = Map::new();
        answer.insert("tag", tag);
        answer.insert("data", found.unwrap_or_default());
        Ok(answer.into())
    }

    async fn wheel(&self, fields: &Map, by: &Caller) -> Result<Value, OperatorError> {
        let called = arguments::call(fields);
        let call = Call {
            fun: fun(fields)?,
            args: called.positional,
            kwargs: called.keyword,
            ..Call::default()
        };
        let answered = self.master.wheel_answer(call, by).await;
        Ok(answered.map_err(|error| wheel_error(&error))?.0)
    }
}

impl Operator for OwnMaster {
    fn is_running(&self) -> bool {
        true
    }

    fn log_in(&self, login: Login, from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Box::pin(async move {
            let token = self.master.log_in(login, Some(from)).await;
            token.map_err(login_error)
        })
    }

    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
        Box::pin(async move {
            let found = self.master.token(text).await;
            found
                .map_err(|error| OperatorError::NoMaster(format!("cannot read the token: {error}")))
        })
    }

    fn revoke<'a>(&'a self, text: &'a str) -> Pending<'a, ()> {
        Box::pin(self.master.revoke_token(text))
    }

    fn may_run<'a>(
        &'a self,
        fields: &'a Map,
        by: &'a Credential,
    ) -> Pending<'a, Result<bool, OperatorError>> {
        Box::pin(async move {
            let caller = self.caller(by).await?;
            Ok(caller.may_run(&fun(fields)?, &arguments::runner_call(fields)))
        })
    }

    fn run(&self, low: Low, by: Credential) -> Pending<'_, Result<Value, OperatorError>> {
        Box::pin(async move {
            let caller = self.caller(&by).await?;
            let fields = &low.fields;
            match low.client {
                Client::Local => self.local(fields, caller).await,
                Client::LocalAsync => self.local_async(fields, &caller).await,
                Client::LocalBatch => self.local_batch(fields, &caller).await,
                Client::LocalSubset => self.local_subset(fields, caller).await,
                Client::Runner => self.runner(fields, &caller).await,
                Client::RunnerAsync => {
                    let (fun, called) = runner_call(fields, &caller)?;
                    let started = self.master.start_runner(&fun, called, &caller);
                    started.map_err(|error| runner_error(&error))
                }
                Client::Wheel => self.wheel(fields, &caller).await,
                Client::WheelAsync => Ok(where_it_is(&self.wheel(fields, &caller).await?)),
            }
        })
    }

    fn fire<'a>(&'a self, tag: &'a str, data: Map) -> Pending<'a, bool> {
        Box::pin(async move {
            let fired = self.master.fire(tag, data);
            if let Err(error) = &fired {
                tracing::warn!(tag, err = %error, "a webhook was not fired");
            }
            fired.is_ok()
        })
    }
}

/// What a minion's reply is to a client of `local`.
pub(super) fn reply_value(jid: &Jid, reply: &MinionReply, full: bool) -> Value {
    if !full {
        return reply.ret.clone();
    }
    let mut whole = Map::new();
    whole.insert("jid", jid.as_str());
    whole.insert("retcode", Value::Int(reply.retcode.into()));
    whole.insert("ret", reply.ret.clone());
    if let Some(out) = &reply.out {
        whole.insert("out", out.as_str());
    }
    whole.into()
}

/// What a client of `local_batch` gets: a result for each minion, empty for one that did not return.
pub(super) fn of_batch(returns: Vec<(String, Option<MinionReply>)>) -> Value {
    let results = returns.into_iter().map(|(id, reply)| {
        let value = reply.map_or_else(|| Map::new().into(), |reply| reply.ret);
        Value::from(Map::from_iter([(id.as_str(), value)]))
    });
    results.collect::<Vec<_>>().into()
}

/// What a client of `local_async` gets: nothing if no minion matched.
pub(super) fn started(published: &brine_node::Published) -> Value {
    let mut answer = Map::new();
    if let Some(jid) = &published.jid {
        let minions = published.minions.iter().map(|id| id.as_str().into());
        answer.insert("jid", jid.as_str());
        answer.insert("minions", minions.collect::<Vec<Value>>());
    }
    answer.into()
}

/// `tag` and `jid` of a wheel function's answer.
pub(in crate::host) fn where_it_is(answer: &Value) -> Value {
    let answer = answer.as_map();
    let of = |map: Option<&Map>, key| map.and_then(|map| map.get(key)).cloned();
    let data = answer
        .and_then(|answer| answer.get("data"))
        .and_then(Value::as_map);
    let mut place = Map::new();
    place.insert("tag", of(answer, "tag").unwrap_or(Value::Nil));
    place.insert("jid", of(data, "jid").unwrap_or(Value::Nil));
    place.into()
}

/// The id of a job that begins now.
fn new_jid() -> Jid {
    Jid::at(clock::since_epoch())
}

pub(super) fn fun(fields: &Map) -> Result<String, OperatorError> {
    let fun = field::text(fields, "fun").map(str::to_owned);
    fun.ok_or_else(|| OperatorError::Invalid("\"fun\" must be the name of a function".to_owned()))
}

/// The runner function that is called, and with what. One that does not exist is an unforeseen error to salt-api, if the
/// caller may call it.
fn runner_call(fields: &Map, by: &Caller) -> Result<(String, Arguments), OperatorError> {
    let (fun, called) = (fun(fields)?, arguments::runner_call(fields));
    if !by.may_run(&fun, &called) {
        return Err(not_permitted());
    }
    match functions::named(&fun) {
        Some(_) => Ok((fun, called)),
        None => Err(not_available(&fun)),
    }
}

pub(super) fn not_available(fun: &str) -> OperatorError {
    OperatorError::Failed(format!("'{fun}' is not available."))
}

fn login_error(error: LoginError) -> OperatorError {
    match error {
        LoginError::TooMany { wait } => OperatorError::TooMany { wait },
        LoginError::Busy => OperatorError::TooMany { wait: BUSY },
        LoginError::NotEnabled(_) | LoginError::Wrong => {
            tracing::debug!(err = %error, "login refused");
            OperatorError::NotAuthenticated("Authentication error occurred.".to_owned())
        }
        other => {
            tracing::error!(err = %other, "cannot check a login");
            OperatorError::NotAuthenticated("Authentication error occurred.".to_owned())
        }
    }
}

fn not_permitted() -> OperatorError {
    OperatorError::NotPermitted("Authorization error occurred.".to_owned())
}

fn publish_error(error: &PublishError) -> OperatorError {
    match error {
        PublishError::Blacklisted | PublishError::NotPermitted => not_permitted(),
        PublishError::JidInUse => OperatorError::NotPermitted(error.to_string()),
        other => OperatorError::NoMaster(other.to_string()),
    }
}

fn client_error(error: ClientError) -> OperatorError {
    match error {
        ClientError::Publish(error) => publish_error(&error),
        other => OperatorError::Failed(other.to_string()),
    }
}

fn runner_error(error: &RunnerError) -> OperatorError {
    match error {
        RunnerError::NotPermitted => not_permitted(),
        RunnerError::ShuttingDown => OperatorError::NoMaster(error.to_string()),
        other => OperatorError::Failed(other.to_string()),
    }
}

fn wheel_error(error: &WheelError) -> OperatorError {
    match error {
        WheelError::NotPermitted => not_permitted(),
        WheelError::ShuttingDown => OperatorError::NoMaster(error.to_string()),
        other => OperatorError::Failed(other.to_string()),
    }
}
