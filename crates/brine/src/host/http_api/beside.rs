//! The API beside a master, ours or Salt's, in another process: it asks the master for everything over the master's
//! own protocol, including logins and permissions.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brine_api::rest::{Client, Credential, Low, Operator, OperatorError, Pending};
use brine_auth::{Login, LoginError, Token, TokenLayout, TokenStore};
use brine_bus::address::{Address, Node};
use brine_bus::client::tokio::{Publisher, Subscriber};
use brine_bus::client::{ReceiveError, SubscriberConfig, Wait};
use brine_config::{Arguments, Opts};
use brine_net::keys::store::KeyState;
use brine_node::client::{ClientConfig, ClientError, LocalClient};
use brine_node::jobs::JobCache;
use brine_node::master::{Reservation, Reserved, permits_on_all, permits_runner};
use brine_node::{JobRequest, Published};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::{Jid, MinionId, field};
use brine_wire::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::arguments;
use super::gate::Gate;
use super::own::{BUSY, fun, not_available, of_batch, reply_value, started, where_it_is};
use crate::{bus_location, clock};

/// How long the bus of a master that runs may take to accept the connection: a busy one of Salt takes seconds.
const FIND_BUS: Duration = Duration::from_secs(10);
/// How long a master may take to start a runner function: it makes a process that loads all modules.
const START: Duration = Duration::from_secs(30);

/// A master beside this process.
pub(crate) struct BesideMaster {
    client: ClientConfig,
    bus: Address,
    /// One connection for all events: buses read several side by side, and so in any order.
    publisher: Mutex<Publisher>,
    /// What shows that a master runs.
    liveness: Vec<PathBuf>,
    /// For logging out: masters of Salt do not remove tokens when asked.
    tokens: Vec<TokenStore>,
    /// The master keeps all tokens in these files.
    has_all_tokens: bool,
    /// `rest_timeout`: how long a runner function may take.
    timeout: Duration,
    /// Where logins wait: a master knows no client's address.
    gate: Gate,
    /// Where the master has its jobs, of which nobody may add to another user's.
    jobs: Jobs,
    /// `external_auth`: what users may do, as far as the API must know it.
    external_auth: Map,
    /// `permissive_acl`: what everybody may do, users with entries of their own may, too.
    permissive_acl: bool,
    /// Denied keys, which `key.gen_accept` of a master of Salt does not see.
    denied_keys: PathBuf,
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
        let bus = bus_location::address(opts, &Node::Master, None)?;
        let publisher = bus_location::publisher_config(None, Some(opts))?;
        Ok(Self {
            client: ClientConfig::from_opts(opts, user)?,
            publisher: Mutex::new(Publisher::new(&bus, publisher)),
            bus,
            liveness: match brine_node::uses_tcp(opts) {
                true => Vec::new(),
                false => ["workers.ipc", "publish_pull.ipc"]
                    .map(|name| sock_dir.join(name))
                    .into(),
            },
            tokens,
            has_all_tokens: opts
                .text("eauth_tokens")
                .is_ok_and(|store| store == "localfs")
                && opts.text("cache").is_ok_and(|cache| cache == "localfs")
                && [
                    "eauth_tokens.cache_driver",
                    "eauth_tokens.cluster_id",
                    "cluster_id",
                ]
                .iter()
                .all(|name| opts.text(name).is_err()),
            timeout: Duration::from_secs(u64::try_from(timeout).unwrap_or(300)),
            gate: Gate::default(),
            jobs: Jobs::of(opts)?,
            external_auth: match opts.get("external_auth") {
                Some(Value::Map(backends)) => backends.clone(),
                _ => Map::new(),
            },
            permissive_acl: opts.flag("permissive_acl").unwrap_or(false),
            denied_keys: Path::new(opts.text("pki_dir")?).join(KeyState::Denied.folder()),
        })
    }

    /// Asks the master what it checks the caller for.
    async fn checked<T>(
        &self,
        by: &Credential,
        asked: impl Future<Output = Result<T, OperatorError>>,
    ) -> Result<T, OperatorError> {
        match by {
            Credential::Token(_) => asked.await,
            Credential::Login { login, from } => self.gate.pass(login, *from, asked).await,
        }
    }

    /// Publishes a job for a caller.
    async fn publish(
        &self,
        client: &LocalClient,
        request: &JobRequest,
        by: &Credential,
    ) -> Result<Published, OperatorError> {
        let published = async { client.publish(request).await.map_err(client_error) };
        self.checked(by, published).await
    }

    /// Refuses a job of several functions unless each is permitted: masters of Salt run all if one is permitted, and
    /// then the others are run for somebody who may not run them. Only permissions for all minions count, since the
    /// master alone knows which minions a target selects.
    async fn refuse_what_one_permits(
        &self,
        request: &JobRequest,
        by: &Credential,
    ) -> Result<(), OperatorError> {
        if request.fun.as_array().is_none_or(|funs| funs.len() <= 1) {
            return Ok(());
        }
        match permits_on_all(&self.entries(by).await?, request) {
            true => Ok(()),
            false => Err(OperatorError::NotPermitted(SEVERAL.to_owned())),
        }
    }

    /// What `external_auth` permits a caller.
    async fn entries(&self, by: &Credential) -> Result<Vec<Value>, OperatorError> {
        let token = self.who(by).await?;
        if let Some(entries) = token.auth_list {
            return Ok(entries);
        }
        let backend = self.external_auth.get(token.eauth.as_str());
        let backend = backend.and_then(Value::as_map).cloned();
        let (backend, is_permissive) = (backend.unwrap_or_default(), self.permissive_acl);
        Ok(brine_auth::auth_list(
            &backend,
            &token.name,
            &token.groups,
            is_permissive,
        ))
    }

    /// Has the master call a runner or wheel function for a caller.
    async fn call(&self, mut load: Map, by: &Credential) -> Result<Value, OperatorError> {
        prove(&mut load, by);
        let called = async {
            match (self.ask(load).await, by) {
                // Masters refuse what a user may not call in the words for a wrong password.
                (Err(OperatorError::NotAuthenticated(text)), Credential::Login { login, .. })
                    if self.knows(login).await =>
                {
                    Err(OperatorError::NotPermitted(text))
                }
                (called, _) => called,
            }
        };
        self.checked(by, called).await
    }

    /// Whether the master lets somebody in.
    async fn knows(&self, login: &Login) -> bool {
        match self.make_token(login).await {
            Ok(token) => {
                self.forget(&token.token);
                true
            }
            Err(_) => false,
        }
    }

    async fn make_token(&self, login: &Login) -> Result<Token, OperatorError> {
        let mut load = Map::new();
        load.insert("cmd", "mk_token");
        insert_login(&mut load, login);
        if let Some(expire) = login.token_expire {
            load.insert("token_expire", Value::Int(expire.as_secs().into()));
        }
        let answer = self.ask(load).await?;
        let token = answer.as_map().and_then(Token::from_map);
        let refused = || OperatorError::NotAuthenticated("the master refuses".to_owned());
        token.ok_or_else(refused)
    }

    fn forget(&self, token: &str) {
        for store in &self.tokens {
            store.remove(token);
        }
    }

    /// Whose credential this is, if it is valid.
    async fn who(&self, by: &Credential) -> Result<Token, OperatorError> {
        match by {
            Credential::Token(text) => {
                let token = self.token(text).await?;
                token.ok_or_else(|| OperatorError::NotAuthenticated(AUTHENTICATION.to_owned()))
            }
            Credential::Login { login, .. } => {
                let known = async {
                    let token = self.make_token(login).await?;
                    self.forget(&token.token);
                    Ok(token)
                };
                self.checked(by, known).await
            }
        }
    }

    /// Reserves the id that a caller has chosen for a job.
    async fn reserve(
        &self,
        jid: Option<&Jid>,
        by: &Credential,
    ) -> Result<Option<Reservation<'_>>, OperatorError> {
        match jid {
            Some(jid) => {
                let user = self.who(by).await?.name;
                self.jobs.reserve(jid, &user).map(Some)
            }
            None => Ok(None),
        }
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
        let until = Instant::now() + FIND_BUS;
        loop {
            match LocalClient::open(self.client.clone()).await {
                // It has tried for a second.
                Err(ClientError::NoMaster) if Instant::now() < until && self.is_running() => {}
                opened => return opened.map_err(client_error),
            }
        }
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
        self.refuse_what_one_permits(&job.request, by).await?;
        let reserved = self.reserve(job.request.jid.as_ref(), by).await?;
        prove(&mut job.request.kwargs, by);
        let mut client = self.open().await?;
        let published = self.publish(&client, &job.request, by).await?;
        drop(reserved);
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
        self.refuse_what_one_permits(&job.request, by).await?;
        let _reserved = self.reserve(job.request.jid.as_ref(), by).await?;
        // Each of its jobs carries the login: they follow one another, and it is right.
        self.who(by).await?;
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
        self.refuse_what_one_permits(&job.request, by).await?;
        let _reserved = self.reserve(job.request.jid.as_ref(), by).await?;
        prove(&mut job.request.kwargs, by);
        let client = self.open().await?;
        Ok(started(&self.publish(&client, &job.request, by).await?))
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
        self.call(load, by).await
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
        let fun = fun(fields)?;
        let (new, tag) = (format!("{tag}/new"), format!("{tag}/ret"));
        let until = Instant::now() + timeout;
        // A master of 3008 fires nothing for a function that it does not have.
        let mut starts_until = Some(Instant::now() + START);
        // With a master that has ended, its runners have, too.
        let mut is_away = false;
        loop {
            let wait = starts_until.map_or(until, |start| start.min(until));
            let look = wait.min(Instant::now() + FIND_BUS);
            let event = match bus.get_event(&returns, Wait::Until(look)).await {
                Err(ReceiveError::Connect(_)) if !is_away && look < wait => {
                    is_away = true;
                    continue;
                }
                event => event.map_err(|error| no_bus(&error))?,
            };
            is_away = false;
            let Some(event) = event else {
                if look < wait {
                    continue;
                }
                return Err(match wait == until {
                    true => OperatorError::Timeout,
                    false => not_available(&fun),
                });
            };
            if event.tag() == new {
                starts_until = None;
            }
            if event.tag() != tag {
                continue;
            }
            let Ok(Value::Map(data)) = event.decode() else {
                return Err(OperatorError::Failed(
                    "the runner's event is malformed".to_owned(),
                ));
            };
            if is_not_available(&fun, &data) {
                return Err(not_available(&fun));
            }
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
        let fun = fun(fields)?;
        if fun == GEN_ACCEPT && self.has_denied_key(&called) {
            return self.deny_key(by).await;
        }
        self.call(wheel_load(&fun, called), by).await
    }

    /// What masters answer for an id that has a key, once this one has let the caller call the function: nobody else
    /// learns that there is a key. Called without its arguments, it fails and changes nothing.
    async fn deny_key(&self, by: &Credential) -> Result<Value, OperatorError> {
        let nothing = Arguments {
            positional: Vec::new(),
            keyword: Map::new(),
        };
        let (mut answer, mut data) = (Map::new(), Map::new());
        match self.call(wheel_load(GEN_ACCEPT, nothing), by).await {
            // It says who called the function, and where the events of that call are.
            Ok(Value::Map(failed)) => {
                answer = failed;
                if let Some(Value::Map(failed)) = answer.remove("data") {
                    data = failed;
                }
            }
            Ok(_) | Err(OperatorError::Invalid(_)) => {}
            Err(refused) => return Err(refused),
        }
        data.insert("return", Map::new());
        data.insert("success", true);
        answer.insert("data", data);
        Ok(answer.into())
    }

    /// Whether the id in the arguments of `key.gen_accept` has a denied key that is not to be replaced.
    fn has_denied_key(&self, called: &Arguments) -> bool {
        let argument = |name, at| called.keyword.get(name).or(called.positional.get(at));
        let id = argument("id_", 0).and_then(Value::as_str);
        let id = id.and_then(|id| MinionId::parse(id).ok());
        !argument("force", 2).is_some_and(Value::is_true)
            && id.is_some_and(|id| self.denied_keys.join(id.as_str()).exists())
    }
}

impl Operator for BesideMaster {
    fn is_running(&self) -> bool {
        self.liveness.is_empty() || self.liveness.iter().any(|path| path.exists())
    }

    fn log_in(&self, login: Login, from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Box::pin(async move { self.gate.pass(&login, from, self.make_token(&login)).await })
    }

    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
        Box::pin(async move {
            // The master reads the same files; it is asked where they are not its store.
            let now = clock::since_epoch().as_secs_f64();
            // Where they cannot be read, the master is asked, too.
            let mut found = self
                .tokens
                .iter()
                .filter_map(|store| store.find(text).ok()?);
            if let Some(token) = found.find(|token| token.expire > now) {
                return Ok(Some(token));
            }
            // Strangers send any number of texts that are none: they cost the master nothing.
            let is_known_to_lack = |store: &TokenStore| store.has(text) == Some(false);
            if self.has_all_tokens && self.tokens.iter().all(is_known_to_lack) {
                return Ok(None);
            }
            let load: Map = [("cmd", "get_token"), ("token", text)]
                .into_iter()
                .collect();
            let answer = self.ask(load).await?;
            let token = answer.as_map().and_then(Token::from_map);
            Ok(token.filter(|token| token.token == text))
        })
    }

    fn revoke<'a>(&'a self, text: &'a str) -> Pending<'a, ()> {
        Box::pin(async move { self.forget(text) })
    }

    fn may_run<'a>(
        &'a self,
        fields: &'a Map,
        by: &'a Credential,
    ) -> Pending<'a, Result<bool, OperatorError>> {
        Box::pin(async move {
            let (fun, called) = (fun(fields)?, arguments::runner_call(fields));
            Ok(permits_runner(&self.entries(by).await?, &fun, &called))
        })
    }

    fn run(&self, low: Low, by: Credential) -> Pending<'_, Result<Value, OperatorError>> {
        Box::pin(async move { self.run_for(&low, &by).await })
    }

    fn fire<'a>(&'a self, tag: &'a str, mut data: Map) -> Pending<'a, bool> {
        Box::pin(async move {
            // Those before it may wait for the bus, too.
            let until = tokio::time::Instant::now() + FIND_BUS;
            let Ok(mut bus) = timeout_at(until, self.publisher.lock()).await else {
                tracing::warn!(tag, "a webhook was not fired: the bus takes nothing");
                return false;
            };
            // Of a client that has gone before its event was sent.
            bus.discard_queued();
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let fired = bus.fire_event(tag, &mut data, Some(left)).await;
            drop(bus);
            if let Err(error) = &fired {
                tracing::warn!(tag, err = %error, "a webhook was not fired");
            }
            fired.is_ok()
        })
    }
}

/// The master's jobs, of which a user may choose the id.
struct Jobs {
    cache: JobCache,
    /// Where the cache is.
    directory: PathBuf,
    /// Whether the master keeps its jobs there.
    is_there: bool,
    reserved: Reserved,
}

impl Jobs {
    fn of(opts: &Opts) -> anyhow::Result<Self> {
        let cachedir = Path::new(opts.text("cachedir")?);
        let kept = opts.text("master_job_cache").unwrap_or(LOCAL_CACHE);
        Ok(Self {
            cache: JobCache::open(cachedir, opts.text("hash_type")?, None)?,
            directory: cachedir.join("jobs"),
            is_there: kept == LOCAL_CACHE,
            reserved: Reserved::default(),
        })
    }

    /// Reserves an id for a job of a user, until the master has answered and so has written the job: it may not be
    /// another user's.
    fn reserve(&self, jid: &Jid, user: &str) -> Result<Reservation<'_>, OperatorError> {
        let is_readable = match std::fs::read_dir(&self.directory) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if !self.is_there || !is_readable {
            return Err(OperatorError::NotPermitted(CANNOT_TELL.to_owned()));
        }
        let reserved = self.reserved.reserve(Some(jid), user, false);
        let reserved = reserved.filter(|_| {
            let known = self.cache.load(jid);
            known.is_none_or(|known| field::text(&known, "user") == Some(user))
        });
        // What the master says to those who may not run the job: they learn nothing of others' jobs.
        reserved.ok_or_else(|| OperatorError::NotPermitted(AUTHORIZATION.to_owned()))
    }
}

const GEN_ACCEPT: &str = "key.gen_accept";
/// What proves who asks.
const CREDENTIALS: [&str; 4] = ["token", "eauth", "username", "password"];
const LOCAL_CACHE: &str = "local_cache";
const CANNOT_TELL: &str = "whose job has this jid cannot be told here, since the master's job cache cannot be read; leave \
    out \"jid\"";
const SEVERAL: &str = "of several functions, each must be permitted for all minions; send those that are permitted for some \
    minions one by one";
const AUTHENTICATION: &str = "Authentication error occurred.";
const AUTHORIZATION: &str = "Authorization error occurred.";

/// Whether a runner function failed because the master does not have it.
fn is_not_available(fun: &str, data: &Map) -> bool {
    let why = field::text(data, "return").unwrap_or_default().trim_end();
    data.get("success") == Some(&false.into())
        && why.ends_with(&format!("'{fun}' is not available."))
}

/// The request to call a wheel function.
fn wheel_load(fun: &str, called: Arguments) -> Map {
    let mut load = called.keyword;
    if !called.positional.is_empty() {
        load.insert("arg", called.positional);
        load.insert("kwarg", Map::new());
    }
    // The master would take it for what proves who asks, and answer another than we count the attempt for.
    for name in CREDENTIALS {
        load.remove(name);
    }
    load.insert("fun", fun);
    load.insert("cmd", "wheel");
    load
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
    if let Some(wait) = limit(&text) {
        return OperatorError::TooMany { wait };
    }
    match field::text(error, "name") {
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

/// How long a Brine master does not look at a login, because too many failed or are under way.
fn limit(text: &str) -> Option<Duration> {
    match LoginError::limit(text)? {
        LoginError::TooMany { wait } => Some(wait),
        _ => Some(BUSY),
    }
}

fn client_error(error: ClientError) -> OperatorError {
    match error {
        // A bus that goes away while a job runs is the master's.
        ClientError::NoMaster | ClientError::NoAnswer(_) | ClientError::Bus(_) => {
            OperatorError::NoMaster(error.to_string())
        }
        ClientError::Refused(text) => match limit(&text) {
            Some(wait) => OperatorError::TooMany { wait },
            None if text.starts_with("Authentication error occurred") => {
                OperatorError::NotAuthenticated(text)
            }
            None if text.contains("error occurred") => OperatorError::NotPermitted(text),
            None => OperatorError::Failed(text),
        },
        other => OperatorError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use brine_bus::address::Endpoint;
    use brine_bus::client::ReceiveError;
    use brine_config::{Environment, Role};

    use super::*;

    #[tokio::test]
    async fn webhooks_share_a_connection_and_so_keep_their_order() {
        let root = tempfile::tempdir().unwrap();
        let (file, place) = (root.path().join("master"), root.path().display());
        std::fs::write(&file, format!("root_dir: {place}\nsock_dir: {place}\n")).unwrap();
        let environment = Environment::default();
        let loaded = Opts::load(Role::Master, &file, &environment).unwrap();
        let master = BesideMaster::new(&loaded.opts, "root").unwrap();
        let Endpoint::Path(pull) = master.bus.pull() else {
            panic!("{:?}", master.bus);
        };
        std::fs::create_dir_all(pull.parent().unwrap()).unwrap();
        let bus = UnixListener::bind(pull).unwrap();
        bus.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            assert!(master.fire("salt/netapi/hook/one", Map::new()).await);
        }
        let _connection = bus.accept().unwrap();
        let other = bus.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(other, Err(std::io::ErrorKind::WouldBlock));
    }

    #[test]
    fn a_master_that_goes_away_during_a_job_is_one_that_is_not_there() {
        let lost = ReceiveError::Closed {
            endpoint: Endpoint::Path("/run/salt/master_event_pub.ipc".into()),
        };
        let error = client_error(ClientError::Bus(lost));
        assert!(matches!(error, OperatorError::NoMaster(_)), "{error:?}");
    }

    #[test]
    fn no_argument_of_a_wheel_function_proves_who_asks() {
        let keyword = [
            ("match", "m1"),
            ("token", "05a3"),
            ("eauth", "pam"),
            ("cmd", "x"),
        ];
        let called = Arguments {
            positional: Vec::new(),
            keyword: keyword.into_iter().collect(),
        };
        let load = wheel_load("key.accept", called);
        let expected = [("match", "m1"), ("cmd", "wheel"), ("fun", "key.accept")];
        assert_eq!(load, expected.into_iter().collect());
    }
}
