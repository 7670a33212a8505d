//! `/` and `/run`: commands for minions and master.

use brine_auth::{Login, is_token};
use brine_wire::network::field;
use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::arguments;
use super::body;
use super::context::Context;
use super::error::RestError;
use super::operator::{Client, Credential, Low};
use super::session::Session;
use crate::fired_by::{self, MayNotFire};
use crate::state::Noticed;

/// The clients that Salt's welcome names, whether or not they are enabled.
const CLIENTS: [&str; 10] = [
    "destroy",
    "local",
    "local_async",
    "local_batch",
    "local_subset",
    "runner",
    "runner_async",
    "ssh",
    "wheel",
    "wheel_async",
];

/// Fields that prove who somebody is, and are no arguments.
const CREDENTIALS: [&str; 4] = ["token", "eauth", "username", "password"];

/// The most commands of one request.
const MAX_CHUNKS: usize = 1000;

/// Welcomes.
pub(super) fn welcome(context: &Context) -> Answer {
    let clients: Vec<Value> = CLIENTS.iter().map(|&client| client.into()).collect();
    let mut answer = Map::new();
    answer.insert("return", "Welcome");
    answer.insert("clients", clients);
    context.answer(StatusCode::OK, &answer.into())
}

/// Runs the commands of a body for whoever is logged in.
pub(super) async fn post(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    // Asked first: a stranger's body is not read.
    let token = context.session()?.token().to_owned();
    let chunks = read(context, head, incoming).await?;
    let results = execute(context, chunks, Some(&token)).await?;
    Ok(returned(context, StatusCode::OK, results))
}

/// Runs the commands of a body, each with its own credentials.
pub(super) async fn run(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    let chunks = read(context, head, incoming).await?;
    let results = execute(context, chunks, None).await?;
    Ok(returned(context, StatusCode::OK, results))
}

/// The commands of a body.
pub(super) async fn read(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Vec<Map>, RestError> {
    let chunks = body::lowstate(body::read(context, head, incoming).await?.value)?;
    if chunks.len() > MAX_CHUNKS {
        return Err(RestError::BadRequest(
            "Too many commands in one request".into(),
        ));
    }
    Ok(chunks)
}

/// Runs commands one after another; their results. `token` is that of the session.
pub(super) async fn execute(
    context: &Context,
    chunks: Vec<Map>,
    token: Option<&str>,
) -> Result<Vec<Value>, RestError> {
    let mut results = Vec::new();
    for mut chunk in chunks {
        if let Some(token) = token {
            chunk.insert("token", token);
        }
        let is_batch = chunk.get("client").and_then(Value::as_str) == Some("local_batch");
        match execute_one(context, chunk).await? {
            Value::Array(of_minions) if is_batch => results.extend(of_minions),
            result => results.push(result),
        }
    }
    Ok(results)
}

/// Runs a command that an endpoint makes itself, for whoever is logged in.
pub(super) async fn execute_own(
    context: &Context,
    client: &str,
    fun: &str,
    fields: &[(&str, &str)],
) -> Result<Value, RestError> {
    let mut chunk = Map::new();
    chunk.insert("client", client);
    chunk.insert("fun", fun);
    for (name, value) in fields {
        chunk.insert(*name, *value);
    }
    match context.session() {
        Ok(session) => chunk.insert("token", session.token()),
        Err(RestError::NotLoggedIn) => {} // in the command's own words
        Err(foreign) => return Err(foreign),
    }
    execute_one(context, chunk).await
}

async fn execute_one(context: &Context, mut chunk: Map) -> Result<Value, RestError> {
    let state = &context.state;
    if let Some(token) = chunk.get("token")
        && !token.as_str().is_some_and(is_token)
    {
        return Err(RestError::Unauthorized("Invalid token".into()));
    }
    if !state.operator.is_running() {
        return Err(RestError::NoMaster);
    }
    let client = client(context, chunk.remove("client").as_ref())?;
    let credential = credential(context, &chunk)?;
    if chunk.get("raw_shell").is_some_and(Value::is_true) && !state.options.allow_raw_shell {
        return Err(RestError::Unauthorized(
            "Raw shell option not allowed.".into(),
        ));
    }
    for name in CREDENTIALS {
        chunk.remove(name);
    }
    // A minion answers in its own words that it has no such function.
    let names_nothing = |fun: &Value| !client.is_for_minions() && fun.as_str() == Some("");
    if chunk.get("fun").is_none_or(names_nothing) {
        return Err(RestError::BadRequest("The command needs a \"fun\"".into()));
    }
    refuse_events(context, client, &chunk, &credential).await?;
    state.counters.command();
    let Ok(_permit) = state.commands.acquire().await else {
        return Err(RestError::NoMaster); // never closed
    };
    let is_event = client == Client::Runner && chunk.get("full_return").is_some_and(Value::is_true);
    let low = Low {
        client,
        fields: chunk,
    };
    let mut result = state.operator.run(low, credential).await?;
    if is_event {
        as_streamed(context, &mut result);
    }
    Ok(result)
}

/// Refuses a command that would fire events which the user may not fire.
async fn refuse_events(
    context: &Context,
    client: Client,
    chunk: &Map,
    credential: &Credential,
) -> Result<(), RestError> {
    let (api, operator) = (context.state.api(), &context.state.operator);
    let fun = chunk.get("fun").and_then(Value::as_str);
    let fun = fun.filter(|fun| client.is_runner() && fired_by::chooses_tags(fun));
    // Asking who it is costs a login.
    let Some(fun) = fun.filter(|_| api.acl.restricts_api_users()) else {
        return Ok(());
    };
    let token = match credential {
        Credential::Token(text) => {
            let unknown = || RestError::Unauthorized("Authentication error occurred.".into());
            operator.token(text).await?.ok_or_else(unknown)?
        }
        Credential::Login { login, from } => {
            let token = operator.log_in((**login).clone(), *from).await?;
            operator.revoke(&token.token).await;
            token
        }
    };
    let session = Session::new(&token);
    let permitted = api.acl.access(session.subject()).fire;
    let Err(why) = fired_by::check(&permitted, fun, &arguments::call(chunk)) else {
        return Ok(());
    };
    // A user who may not call it at all gets a 401, as from Salt.
    if !operator.may_run(chunk, credential).await? {
        return Err(RestError::Unauthorized(
            "Authorization error occurred.".into(),
        ));
    }
    let tag = match &why {
        MayNotFire::Tag(tag) => Some(tag.as_str()),
        MayNotFire::Any(_) => None,
    };
    api.note(session.subject(), Noticed::IsRefused { tag });
    Err(RestError::Forbidden(why.to_string().into()))
}

/// Writes the event in a runner's `full_return` as streams write it.
fn as_streamed(context: &Context, result: &mut Value) {
    let Value::Map(event) = result else {
        return;
    };
    let tag = field::text(event, "tag").unwrap_or_default().to_owned();
    if let Some(mut data) = event.get("data").cloned() {
        context.state.streams.events_of().rewrite(&tag, &mut data);
        event.insert("data", data);
    }
}

/// The client of a command, if it may be used.
fn client(context: &Context, client: Option<&Value>) -> Result<Client, RestError> {
    let name = match client {
        Some(Value::Str(name)) => name.as_str(),
        None => "None",
        Some(_) => "",
    };
    if !CLIENTS.contains(&name) || name == "destroy" {
        let shown: String = name.chars().take(64).collect();
        let shown = if client.is_none() {
            shown
        } else {
            format!("'{shown}'")
        };
        return Err(RestError::BadRequest(
            format!("Invalid client specified: {shown}").into(),
        ));
    }
    let enabled = &context.state.options.enabled_clients;
    if !enabled.iter().any(|enabled| enabled == name) {
        return Err(RestError::BadRequest(
            format!(
                "Client disabled: '{name}'. Add to 'netapi_enable_clients' master config option to enable."
            )
            .into(),
        ));
    }
    Client::named(name).ok_or_else(|| {
        let text = format!("The client '{name}' is not there: Brine has no Salt SSH.");
        RestError::BadRequest(text.into())
    })
}

fn credential(context: &Context, chunk: &Map) -> Result<Credential, RestError> {
    if let Some(token) = chunk.get("token").and_then(Value::as_str) {
        return Ok(Credential::Token(token.to_owned()));
    }
    if chunk.get("eauth").is_none() {
        return Err(RestError::Unauthorized(
            "No authentication credentials given".into(),
        ));
    }
    let login = Login::from_map(chunk);
    let login = login.ok_or(RestError::Unauthorized(
        "Authentication error occurred.".into(),
    ))?;
    Ok(Credential::Login {
        login: Box::new(login),
        from: context.peer().ip(),
    })
}

/// `{"return": […]}`
pub(super) fn returned(context: &Context, status: StatusCode, results: Vec<Value>) -> Answer {
    let answer: Map = [("return", results)].into_iter().collect();
    context.answer(status, &answer.into())
}
