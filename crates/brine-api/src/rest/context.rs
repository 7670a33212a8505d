//! What a handler knows of a request besides the request itself: who asks, from where, and what every
//! answer to it must carry.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN, SERVER,
    VARY,
};
use hyper::http::request::Parts;

use super::error::RestError;
use super::session::Session;
use super::state::RestState;
use crate::query;

/// What a request came over.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Whether a handler may take the connection over: not where several requests share it.
    pub(crate) can_take_over: bool,
}

/// The header that carries a token.
const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// The cookie that does.
const SESSION_COOKIE: &str = "session_id";

/// The context of one request.
pub(crate) struct Context {
    pub(crate) state: Arc<RestState>,
    transport: Transport,
    /// The path, decoded; without `root_prefix`, query and token.
    path: String,
    segments: Vec<String>,
    /// The query without tokens.
    query: String,
    origin: Option<HeaderValue>,
    accept: Option<String>,
    session: Option<Arc<Session>>,
}

impl Context {
    /// Looks at a request's head and finds its session, if it names one.
    pub(super) async fn new(
        state: &Arc<RestState>,
        transport: Transport,
        request: Request<Incoming>,
    ) -> (Self, Request<Incoming>) {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let segments: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| query::decode(segment).unwrap_or_else(|_| segment.to_owned()))
            .collect();
        let (query, token) = tokens(&head, &segments);
        let session = match token {
            Some(token) => state.sessions.find(&token).await,
            None => None,
        };
        let context = Self {
            state: Arc::clone(state),
            transport,
            path: path.to_owned(),
            segments,
            query,
            origin: head.headers.get(ORIGIN).cloned(),
            accept: text(&head.headers, &ACCEPT),
            session,
        };
        (context, Request::from_parts(head, body))
    }

    /// The client's address.
    pub(crate) const fn peer(&self) -> SocketAddr {
        self.transport.peer
    }

    /// Whether [`Answer::TakeOver`](super::Answer::TakeOver) is possible: HTTP/1.
    pub(crate) const fn can_take_over(&self) -> bool {
        self.transport.can_take_over
    }

    /// The path of the request.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path's parts, decoded; empty ones left out.
    pub(crate) fn segments(&self) -> Vec<String> {
        self.segments.clone()
    }

    /// The query, as it was sent but for tokens.
    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    /// What the client accepts.
    pub(crate) fn accept(&self) -> Option<&str> {
        self.accept.as_deref()
    }

    /// Whether a browser asks for a page.
    pub(crate) fn prefers_html(&self) -> bool {
        self.accept()
            .is_some_and(|accept| accept.contains("text/html"))
    }

    /// The session of whoever is logged in.
    pub(crate) fn session(&self) -> Result<&Arc<Session>, RestError> {
        self.session.as_ref().ok_or(RestError::NotLoggedIn)
    }

    /// Adds what every answer carries.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap) {
        let any = HeaderValue::from_static("*");
        headers.insert(SERVER, HeaderValue::from_static("Brine"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_ORIGIN,
            self.origin.clone().unwrap_or(any),
        );
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("GET, POST"),
        );
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The query without tokens, and the token that a request shows: the header wins over the cookie; streams
/// take it from query and path, too.
fn tokens(head: &Parts, segments: &[String]) -> (String, Option<String>) {
    let query = head.uri.query().unwrap_or_default();
    let mut kept = Vec::new();
    let mut in_query = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("token" | "salt_token", token)) => in_query = Some(token.to_owned()),
            _ => kept.push(pair),
        }
    }
    let in_path = match segments {
        [first, token] if ["ws", "all_events", "formatted_events"].contains(&first.as_str()) => {
            Some(token.clone())
        }
        _ => None,
    };
    let token = text(&head.headers, &X_AUTH_TOKEN)
        .filter(|token| !token.is_empty())
        .or(in_path)
        .or(in_query)
        .or_else(|| cookie(&head.headers));
    (kept.join("&"), token)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == SESSION_COOKIE)?;
    Some(value.trim_matches('"').to_owned())
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
