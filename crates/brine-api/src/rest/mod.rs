//! Salt's REST surface: what `salt-api` answers, on the network.
//!
//! Each endpoint is a file of its own; streams of events, metrics and the web page are modules beside this one, and
//! which of them answers a request is the business of `router`. Who asks and what every answer has in common is
//! `context`. Nothing here knows sockets, or how a master runs a command ([`Operator`]).
//! Facts: Salt 3008.3 and 3006.28 as they behave; `tests/it/captures`.

mod accept;
mod answer;
pub mod arguments;
mod body;
mod commands;
mod context;
mod date;
mod error;
mod files;
mod hook;
mod jobs;
mod keys;
mod login;
mod minions;
mod operator;
mod options;
mod preflight;
mod secrets;
mod session;
mod state;
mod stats;

use hyper::body::Incoming;
use hyper::{Method, Request};

pub(crate) use self::answer::{Answer, head_bytes};
pub(crate) use self::body::fuzz as fuzz_bodies;
pub(crate) use self::context::fuzz as fuzz_heads;
pub(crate) use self::context::{Context, Endpoint, Transport};
pub(crate) use self::error::RestError;
pub(crate) use self::files::{is_of_files, respond as files};
pub(crate) use self::minions::ask_for_grains;
pub use self::operator::{Client, Credential, Low, Operator, OperatorError, Pending};
pub use self::options::{Limits, RestOptions};
pub(crate) use self::secrets::blanked;
pub use self::session::{Session, Sessions};
pub use self::state::RestState;
pub use crate::counters::{Counters, Counts};

/// Answers a request to one of Salt's endpoints. Its path names one, and who asks may.
pub(crate) async fn respond(
    context: &Context,
    path: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, RestError> {
    let is_hook = path.first() == Some(&context.state.options.webhook_url.as_str());
    let (head, incoming) = request.into_parts();
    // Which answers with an archive.
    let makes_keys = path == ["keys"] && head.method == Method::POST;
    if !is_hook && !makes_keys {
        context.check_accept()?;
    }
    match (path, &head.method) {
        ([] | ["run" | "token"], &Method::GET | &Method::HEAD) => Ok(commands::welcome(context)),
        ([], &Method::POST) => commands::post(context, &head, incoming).await,
        (["run"], &Method::POST) => commands::run(context, &head, incoming).await,
        (["login"], &Method::GET | &Method::HEAD) => login::get(context),
        (["login"], &Method::POST) => login::post(context, &head, incoming).await,
        (["logout"], &Method::POST) => login::logout(context).await,
        (["token"], &Method::POST) => login::token(context, &head, incoming).await,
        (["minions"], &Method::POST) => minions::post(context, &head, incoming).await,
        (["minions"], &Method::GET | &Method::HEAD) => minions::get(context, "*").await,
        (["minions", id], &Method::GET | &Method::HEAD) => minions::get(context, id).await,
        (["jobs"], &Method::GET | &Method::HEAD) => jobs::list(context).await,
        (["jobs", jid], &Method::GET | &Method::HEAD) => jobs::get(context, jid).await,
        (["keys"], &Method::GET | &Method::HEAD) => keys::list(context).await,
        (["keys", id], &Method::GET | &Method::HEAD) => keys::get(context, id).await,
        (["keys"], &Method::POST) => keys::post(context, &head, incoming).await,
        (["stats"], &Method::GET | &Method::HEAD) => stats::get(context),
        (_, &Method::POST) if is_hook => hook::post(context, &path[1..], &head, incoming).await,
        _ => Err(RestError::MethodNotAllowed {
            allow: context.endpoint().allow.unwrap_or_default(),
        }),
    }
}
