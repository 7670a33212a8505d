//! `/login`, `/logout` and `/token`.

use std::time::Duration;

use brine_auth::{Login, Token};
use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use tokio::time::{Instant, sleep_until};

use super::answer::Answer;
use super::body;
use super::commands;
use super::context::{Context, X_AUTH_TOKEN};
use super::error::RestError;
use super::operator::OperatorError;

/// How long a failed login takes, whatever was wrong.
const FAILURE: Duration = Duration::from_secs(1);

/// Says that one must log in.
pub(super) fn get(context: &Context) -> Result<Answer, RestError> {
    let answer: Map = [("status", Value::Nil), ("return", "Please log in".into())]
        .into_iter()
        .collect();
    let mut answer = context.answer(StatusCode::OK, &answer.into());
    answer.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Session"));
    Ok(answer)
}

/// Logs in: a session and its token.
pub(super) async fn post(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    let fields = credentials(context, head, incoming).await?;
    let login = Login::from_map(&fields);
    let user = login.as_ref().map(|login| login.username.as_str());
    if !is_address_permitted(context, user.unwrap_or_default()) {
        return Err(RestError::NotLoggedIn);
    }
    let token = log_in(context, login).await?;
    let opened = context.state.sessions.open(&token);
    let (text, session) = opened.map_err(|error| RestError::Unforeseen(error.to_string()))?;
    tracing::info!(peer = %context.peer(), user = %session.subject().user, eauth = %token.eauth, "logged in");
    let backend = context
        .state
        .options
        .external_auth
        .get(token.eauth.as_str());
    let backend = backend.and_then(Value::as_map);
    let permissions = match &token.auth_list {
        Some(list) => list.clone(),
        None => brine_auth::shown(backend.unwrap_or(&Map::new()), &token.name, &token.groups),
    };
    let mut login = Map::new();
    login.insert("token", text.as_str());
    login.insert("expire", Value::Float(token.expire));
    login.insert("start", Value::Float(token.start));
    login.insert("user", token.name.as_str());
    login.insert("eauth", token.eauth.as_str());
    match permissions.is_empty() {
        // As in Salt: an empty mapping, though it would be a list.
        true => login.insert("perms", Map::new()),
        false => login.insert("perms", permissions),
    }
    let answer: Map = [("return", vec![Value::from(login)])].into_iter().collect();
    let mut answer = context.answer(StatusCode::OK, &answer.into());
    insert_secret(&mut answer, X_AUTH_TOKEN, &text);
    answer.insert_cookie(context.cookie(&text));
    Ok(answer)
}

/// Makes a token of Salt's, without a session.
pub(super) async fn token(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    let chunks = commands::read(context, head, incoming).await?;
    let mut tokens = Vec::new();
    for fields in chunks {
        if ["username", "password", "eauth"]
            .iter()
            .any(|name| fields.get(name).is_none())
        {
            return Err(RestError::BadRequest(
                "Require \"username\", \"password\", and \"eauth\" params".into(),
            ));
        }
        let token = log_in(context, Login::from_map(&fields)).await?;
        tokens.push(token.to_map().into());
    }
    Ok(context.answer(StatusCode::OK, &Value::Array(tokens)))
}

/// Logs out: session and token are dead at once.
pub(super) async fn logout(context: &Context) -> Result<Answer, RestError> {
    let session = context.session()?;
    context.state.operator.revoke(session.token()).await;
    if let Some(token) = context.token() {
        context.state.sessions.end(token);
    }
    let answer: Map = [("return", "Your token has been cleared")]
        .into_iter()
        .collect();
    let mut answer = context.answer(StatusCode::OK, &answer.into());
    answer.insert_cookie(context.expired_cookie());
    Ok(answer)
}

async fn credentials(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Map, RestError> {
    let parsed = body::read(context, head, incoming).await?;
    if !context.state.operator.is_running() {
        return Err(RestError::NoMaster);
    }
    match parsed.value {
        Some(Value::Map(fields)) => Ok(fields),
        Some(Value::Array(mut list)) if !list.is_empty() => match list.swap_remove(0) {
            Value::Map(fields) => Ok(fields),
            _ => Err(no_login()),
        },
        _ => Err(no_login()),
    }
}

fn no_login() -> RestError {
    RestError::BadRequest("Require a mapping with \"username\", \"password\", and \"eauth\"".into())
}

/// Asks the master. A failure takes its time, so that nothing can be learnt from how long.
async fn log_in(context: &Context, login: Option<Login>) -> Result<Token, RestError> {
    let until = Instant::now() + FAILURE;
    let counters = &context.state.counters;
    let checked = match login {
        Some(login) => {
            let operator = &context.state.operator;
            operator.log_in(login, context.peer().ip()).await
        }
        None => Err(OperatorError::NotAuthenticated("incomplete".to_owned())),
    };
    match checked {
        Ok(token) => {
            counters.logged_in();
            Ok(token)
        }
        Err(OperatorError::NotAuthenticated(why)) => {
            tracing::info!(peer = %context.peer(), why, "login failed");
            counters.login_failed();
            sleep_until(until).await;
            Err(RestError::LoginFailed)
        }
        Err(OperatorError::TooMany { wait }) => {
            counters.login_failed();
            if context.state.limited_logins.may_be_told() {
                tracing::warn!(peer = %context.peer(), "too many failed logins");
            }
            Err(RestError::TooMany { wait })
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether `api_acl` lets a user log in from where the client is.
fn is_address_permitted(context: &Context, user: &str) -> bool {
    let Some(users) = &context.state.options.api_acl else {
        return true;
    };
    let Some(addresses) = users.get(user).or_else(|| users.get("*")) else {
        return false;
    };
    let address = context.peer().ip().to_canonical().to_string();
    addresses
        .iter()
        .any(|known| known == "*" || *known == address)
}

fn insert_secret(answer: &mut Answer, name: HeaderName, text: &str) {
    if let Ok(mut value) = HeaderValue::from_str(text) {
        value.set_sensitive(true);
        answer.insert(name, value);
    }
}
