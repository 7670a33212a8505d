//! Runner and wheel functions that a master calls for a local client, either for the user who logs in or with the key
//! of the master's user. Facts: `docs/protocol/network.md` §12; Salt 3008.3, by running it.

use std::time::Duration;

use brine_bus::client::tokio::Subscriber;
use brine_bus::client::{SubscriberConfig, Wait};
use brine_config::Arguments;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value};

use super::{ClientConfig, ClientError, FIND_BUS_WITHIN, ask};

/// Has the master start a runner function; the answer has its `tag` and `jid`.
///
/// # Errors
/// [`ClientError`].
pub async fn runner(
    config: &ClientConfig,
    fun: &str,
    arguments: Arguments,
) -> Result<Map, ClientError> {
    let mut within = Map::new();
    within.insert("arg", arguments.positional);
    within.insert("kwarg", arguments.keyword);
    let load = Map::from_iter([("kwarg", Value::Map(within))]);
    call(config, "runner", fun, load).await
}

/// Has the master call a wheel function; what that returned.
///
/// # Errors
/// [`ClientError`].
pub async fn wheel(
    config: &ClientConfig,
    fun: &str,
    arguments: Arguments,
) -> Result<Value, ClientError> {
    let mut load = Map::new();
    load.insert("arg", arguments.positional);
    load.insert("kwarg", arguments.keyword);
    let mut answer = call(config, "wheel", fun, load).await?;
    match answer.remove("data") {
        Some(Value::Map(mut data)) => Ok(data.remove("return").unwrap_or(Value::Nil)),
        _ => Ok(Value::Nil),
    }
}

async fn call(
    config: &ClientConfig,
    cmd: &str,
    fun: &str,
    mut load: Map,
) -> Result<Map, ClientError> {
    load.insert("cmd", cmd);
    load.insert("fun", fun);
    if config.login.is_empty() {
        load.insert("key", config.key.as_str());
        load.insert("user", config.user.as_str());
    }
    for (name, value) in &config.login {
        load.insert(name.clone(), value.clone());
    }
    let Value::Map(answer) = ask(config, load).await? else {
        return Err(ClientError::Refused(REFUSED.to_owned()));
    };
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => {
            let message = error.as_map().and_then(|error| error.get("message"));
            let message = message.and_then(Value::as_str).unwrap_or(REFUSED);
            Err(ClientError::Refused(message.to_owned()))
        }
    }
}

const REFUSED: &str = "The master refused the call.";

/// Runner functions whose returns are waited for.
pub struct RunnerCalls {
    config: ClientConfig,
    bus: Subscriber,
}

impl RunnerCalls {
    /// Connects to the master's bus, so that no return is missed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open(config: ClientConfig) -> Result<Self, ClientError> {
        let mut bus = Subscriber::new(&config.bus, SubscriberConfig::default());
        bus.subscribe(TagMatch::new(MatchType::StartsWith, "salt/run/")?);
        bus.connect(FIND_BUS_WITHIN).await?;
        Ok(Self { config, bus })
    }

    /// Has the master run a function and waits for its return; `None` when it takes longer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run(
        &mut self,
        fun: &str,
        arguments: Arguments,
        wait: Duration,
    ) -> Result<Option<Value>, ClientError> {
        let answer = runner(&self.config, fun, arguments).await?;
        let tag = answer
            .get("tag")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let returned = TagMatch::new(MatchType::StartsWith, format!("{tag}/ret"))?;
        let Some(event) = self.bus.get_event(&returned, Wait::For(wait)).await? else {
            return Ok(None);
        };
        match event.decode() {
            Ok(Value::Map(mut data)) => Ok(Some(data.remove("return").unwrap_or(Value::Nil))),
            _ => Ok(Some(Value::Nil)),
        }
    }
}
