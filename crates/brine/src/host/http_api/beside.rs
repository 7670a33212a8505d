//! The API beside a master, ours or Salt's, in another process: it asks the master for everything over the master's
//! own protocol, including logins and permissions.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brine_api::rest::{Client, Credential, Low, Operator, OperatorError, Pending};
use brine_auth::{Attempts, Login, LoginError, Token, TokenLayout, TokenStore};
use brine_bus::address::{Address, Node};
use brine_bus::client::tokio::{Publisher, Subscriber};
use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait};
use brine_config::Opts;
use brine_node::client::{ClientConfig, ClientError, LocalClient};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::field;
use brine_wire::{Map, Value};

use super::arguments;
use super::own::{BUSY, fun, of_batch, reply_value, started, where_it_is};
use crate::{bus_location, clock};

/// How long the bus may take to accept the connection.
const FIND_BUS: Duration = Duration::from_secs(1);

/// A master beside this process.
pub(crate) struct BesideMaster {
    client: ClientConfig,
    bus: Address,
    publisher: PublisherConfig,
    /// What shows that a master runs.
    liveness: Vec<PathBuf>,
    /// For logging out: masters of Salt do not remove tokens when asked.
    tokens: Vec<TokenStore>,
    /// `rest_timeout`: how long a runner function may take.
    timeout: Duration,
    /// The failed logins of late: a master knows no client's address, and one of Salt's limits nothing.
    attempts: Attempts,
}

impl BesideMaster {
    /// The master that options describe, for a user of this machine.
    pub(crate) fn new(opts: &Opts, user: &str) -> anyhow::Result<Self> {
        let sock_dir = Path::new(opts.text("sock_dir")?);
        let hash_type = opts.text("hash_type")?;
        let cache = Path::new(opts.text("cachedir")?).join("tokens");
        let mut tokens = vec![TokenStore::new(cache, TokenLayout::Cache, hash_type)];
        if let Ok(directory) = opts.text("token_dir") {
            tokens.push(TokenStore::new(directory, TokenLayout::Bare, hash_type));
        }
        let timeout = opts.int("rest_timeout").unwrap_or(300);
        Ok(Self {
            client: ClientConfig::from_opts(opts, user)?,
            bus: bus_location::address(opts, &Node::Master, None)?,
            publisher: bus_location::publisher_config(None, Some(opts))?,
            liveness: match brine_node::uses_tcp(opts) {
                true => Vec::new(),
                false => ["workers.ipc", "publish_pull.ipc"]
                    .map(|name| sock_dir.join(name))
                    .into(),
            },
            tokens,
            timeout: Duration::from_secs(u64::try_from(timeout).unwrap_or(300)),
            attempts: Attempts::default(),
        })
    }

    /// Does what a login is shown for, unless too many of its user or address have failed.
    async fn attempt<T>(
        &self,
        login: &Login,
        from: IpAddr,
        attempt: impl Future<Output = Result<T, OperatorError>>,
    ) -> Result<T, OperatorError> {
        let (from, user) = (Some(from), login.username.as_str());
        if let Some(wait) = self.attempts.wait(from, user, Instant::now()) {
            return Err(OperatorError::TooMany { wait });
        }
        let done = attempt.await;
        if matches!(done, Err(OperatorError::NotAuthenticated(_))) {
            self.attempts.failed(from, user, Instant::now());
        }
        done
    }

    async fn run_for(&self, low: &Low, by: &Credential) -> Result<Value, OperatorError> {
        let fields = &low.fields;
        match low.client {
            Client::Local => self.local(fields, by).await,
            Client::LocalAsync => self.local_async(fields, by).await,
            Client::LocalBatch => self.local_batch(fields, by).await,
            Client::LocalSubset => self.local_subset(fields, by).await,
            Client::Runner => self.runner(fields, by).await,
            Client::RunnerAsync => self.start_runner(fields, by).await,
            Client::Wheel => self.wheel(fields, by).await,
            Client::WheelAsync => Ok(where_it_is(&self.wheel(fields, by).await?)),
        }
    }

    async fn open(&self) -> Result<LocalClient, OperatorError> {
        let opened = LocalClient::open(self.client.clone()).await;
        opened.map_err(client_error)
    }

    /// Asks the master's request port.
    async fn ask(&self, load: Map) -> Result<Value, OperatorError> {
        let asked = brine_node::client::ask(&self.client, load).await;
        let answer = asked.map_err(client_error)?;
        let error = answer.as_map().and_then(|answer| answer.get("error"));
        match error.and_then(Value::as_map) {
            Some(error) => Err(refusal(error)),
            None => Ok(answer),
        }
    }

    async fn local(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let mut job = arguments::local(fields, self.client.timeouts)?;
        prove(&mut job.request.kwargs, by);
        let mut client = self.open().await?;
        let published = client.publish(&job.request).await.map_err(client_error)?;
        let Some(jid) = published.jid.clone() else {
            return Ok(Map::new().into());
        };
        let mut returns = Map::new();
        let waited = client.wait(&published, job.timeouts, |reply| {
            let value = reply_value(&jid, &reply, job.full_return);
            returns.insert(reply.id, value);
            ControlFlow::Continue(())
        });
        waited.await.map_err(client_error)?;
        Ok(returns.into())
    }

    async fn local_batch(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let size = arguments::batch_size(fields)?;
        let mut job = arguments::local(fields, self.client.timeouts)?;
        prove(&mut job.request.kwargs, by);
        let mut client = self.open().await?;
        let returns = client.batch_on_target(&job.request, size, job.timeouts);
        Ok(of_batch(returns.await.map_err(client_error)?))
    }

    async fn local_subset(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let question = arguments::subset_question(fields);
        let functions = self.local(&question, by).await?;
        self.local(&arguments::subset_job(fields, &functions), by)
            .await
    }

    async fn local_async(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let mut job = arguments::local(fields, self.client.timeouts)?;
        prove(&mut job.request.kwargs, by);
        let client = self.open().await?;
        let published = client.publish(&job.request).await;
        Ok(started(&published.map_err(client_error)?))
    }

    /// Starts a runner function; `tag` and `jid` of its events.
    async fn start_runner(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let called = arguments::runner_call(fields);
        let mut kwarg = Map::new();
        kwarg.insert("kwarg", called.keyword);
        kwarg.insert("arg", called.positional);
        let mut load = Map::new();
        load.insert("cmd", "runner");
        load.insert("fun", fun(fields)?);
        load.insert("kwarg", kwarg);
        prove(&mut load, by);
        self.ask(load).await
    }

    async fn runner(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let timeout = arguments::seconds(fields.get("timeout"));
        let timeout = timeout.map_or(self.timeout, Duration::from_secs_f64);
        let returns = TagMatch::new(MatchType::StartsWith, "salt/run/");
        let returns = returns.map_err(|error| OperatorError::Failed(error.to_string()))?;
        let mut bus = Subscriber::new(&self.bus, SubscriberConfig::default());
        let no_bus = |error: &dyn std::fmt::Display| OperatorError::NoMaster(error.to_string());
        bus.connect(FIND_BUS)
            .await
            .map_err(|error| no_bus(&error))?;
        bus.subscribe(returns.clone());
        let started = self.start_runner(fields, by).await?;
        let tag = started
            .as_map()
            .and_then(|started| field::text(started, "tag"));
        let Some(tag) = tag else {
            return Err(OperatorError::Failed("the runner did not start".to_owned()));
        };
        let (tag, until) = (format!("{tag}/ret"), Instant::now() + timeout);
        loop {
            let event = bus.get_event(&returns, Wait::Until(until)).await;
            let event = event.map_err(|error| no_bus(&error))?;
            let event = event.ok_or(OperatorError::Timeout)?;
            if event.tag() != tag {
                continue;
            }
            let Ok(Value::Map(data)) = event.decode() else {
                return Err(OperatorError::Failed(
                    "the runner's event is malformed".to_owned(),
                ));
            };
            if fields.get("full_return").is_some_and(Value::is_true) {
                let mut answer = Map::new();
                answer.insert("tag", tag);
                answer.insert("data", data);
                return Ok(answer.into());
            }
            return Ok(data.get("return").cloned().unwrap_or(Value::Nil));
        }
    }

    async fn wheel(&self, fields: &Map, by: &Credential) -> Result<Value, OperatorError> {
        let called = arguments::call(fields);
        let mut load = called.keyword;
        if !called.positional.is_empty() {
            load.insert("arg", called.positional);
            load.insert("kwarg", Map::new());
        }
        load.insert("fun", fun(fields)?);
        load.insert("cmd", "wheel");
        prove(&mut load, by);
        self.ask(load).await
    }
}

impl Operator for BesideMaster {
    fn is_running(&self) -> bool {
        self.liveness.is_empty() || self.liveness.iter().any(|path| path.exists())
    }

    fn log_in(&self, login: Login, from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Box::pin(async move {
            let made = async {
                let mut load = Map::new();
                load.insert("cmd", "mk_token");
                insert_login(&mut load, &login);
                if let Some(expire) = login.token_expire {
                    load.insert("token_expire", Value::Int(expire.as_secs().into()));
                }
                let answer = self.ask(load).await?;
                let token = answer.as_map().and_then(Token::from_map);
                let refused = || OperatorError::NotAuthenticated("the master refuses".to_owned());
                token.ok_or_else(refused)
            };
            self.attempt(&login, from, made).await
        })
    }

    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Option<Token>> {
        Box::pin(async move {
            // The master reads the same files; it is asked where they are not its store.
            let now = clock::since_epoch().as_secs_f64();
            let mut found = self.tokens.iter().filter_map(|store| store.find(text));
            if let Some(token) = found.find(|token| token.expire > now) {
                return Some(token);
            }
            let load: Map = [("cmd", "get_token"), ("token", text)]
                .into_iter()
                .collect();
            let answer = self.ask(load).await.ok()?;
            let token = Token::from_map(answer.as_map()?)?;
            (token.token == text).then_some(token)
        })
    }

    fn revoke<'a>(&'a self, text: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            for store in &self.tokens {
                store.remove(text);
            }
        })
    }

    fn run(&self, low: Low, by: Credential) -> Pending<'_, Result<Value, OperatorError>> {
        Box::pin(async move {
            match &by {
                Credential::Token(_) => self.run_for(&low, &by).await,
                Credential::Login { login, from } => {
                    self.attempt(login, *from, self.run_for(&low, &by)).await
                }
            }
        })
    }

    fn fire<'a>(&'a self, tag: &'a str, mut data: Map) -> Pending<'a, bool> {
        Box::pin(async move {
            let mut bus = Publisher::new(&self.bus, self.publisher);
            let fired = bus.fire_event(tag, &mut data, Some(FIND_BUS)).await;
            if let Err(error) = &fired {
                tracing::warn!(tag, err = %error, "a webhook was not fired");
            }
            fired.is_ok()
        })
    }
}

/// Adds to a load what proves who asks.
fn prove(load: &mut Map, by: &Credential) {
    match by {
        Credential::Token(token) => load.insert("token", token.as_str()),
        Credential::Login { login, .. } => insert_login(load, login),
    }
}

fn insert_login(load: &mut Map, login: &Login) {
    load.insert("username", login.username.as_str());
    load.insert("password", login.password.as_str());
    load.insert("eauth", login.eauth.as_str());
}

/// The master's refusal, by the name of Salt's exception.
fn refusal(error: &Map) -> OperatorError {
    let text = field::text(error, "message")
        .unwrap_or("the master refuses")
        .to_owned();
    match field::text(error, "name") {
        _ if is_limit(&text) => OperatorError::TooMany { wait: BUSY },
        Some(
            "AuthenticationError"
            | "TokenAuthenticationError"
            | "EauthAuthenticationError"
            | "UserAuthenticationError",
        ) => OperatorError::NotAuthenticated(text),
        Some("AuthorizationError") => OperatorError::NotPermitted(text),
        Some("SaltInvocationError") => OperatorError::Invalid(text),
        _ => OperatorError::Failed(text),
    }
}

/// Whether a Brine master has not looked at a login, because too many failed or are under way.
fn is_limit(text: &str) -> bool {
    let wait = Duration::ZERO; // is not in the text
    let limits = [LoginError::TooMany { wait }, LoginError::Busy];
    limits.iter().any(|limit| limit.to_string() == text)
}

fn client_error(error: ClientError) -> OperatorError {
    match error {
        ClientError::NoMaster | ClientError::NoAnswer(_) => {
            OperatorError::NoMaster(error.to_string())
        }
        ClientError::Refused(text) if is_limit(&text) => OperatorError::TooMany { wait: BUSY },
        ClientError::Refused(text) if text.starts_with("Authentication error occurred") => {
            OperatorError::NotAuthenticated(text)
        }
        ClientError::Refused(text) if text.contains("error occurred") => {
            OperatorError::NotPermitted(text)
        }
        ClientError::Refused(text) => OperatorError::Failed(text),
        other => OperatorError::Failed(other.to_string()),
    }
}
