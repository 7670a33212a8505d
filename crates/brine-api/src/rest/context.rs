//! What a handler knows of a request besides the request itself: who asks, from where, and what every
//! answer to it must carry.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use brine_wire::{Map, Value};
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, COOKIE, DATE, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, SERVER, SET_COOKIE, VARY,
};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode};

use super::accept;
use super::answer::Answer;
use super::date;
use super::error::RestError;
use super::secrets::blanked;
use super::session::{IDLE, Session};
use super::state::RestState;
use crate::body::ResponseBody;
use crate::query;

/// What a request came over.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Whether a handler may take the connection over: not where several requests share it.
    pub(crate) can_take_over: bool,
    /// Whether it is encrypted.
    pub(crate) is_tls: bool,
}

/// The header that carries a token.
pub(super) const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// The cookie that does.
const SESSION_COOKIE: &str = "session_id";

/// Paths that a token may follow.
const TOKEN_PATHS: [&str; 3] = ["ws", "all_events", "formatted_events"];

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
    /// The token that was shown: a secret.
    token: Option<String>,
    session: Option<Arc<Session>>,
    /// The token could not be checked.
    is_in_doubt: bool,
    /// A page of another origin has nothing to show but the browser's cookie.
    is_foreign: bool,
    has_query_token: bool,
    endpoint: Endpoint,
}

/// What is known of an endpoint before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Endpoint {
    /// Its methods, as `Allow` names them; `None` if there is no such path.
    pub(crate) allow: Option<&'static str>,
    /// One must be logged in.
    pub(crate) needs_session: bool,
    /// Tokens may be in the query and the path, and be Salt's own.
    pub(crate) is_stream: bool,
}

impl Context {
    /// Looks at a request's head and finds its session, if it names one.
    pub(crate) async fn new<B>(
        state: &Arc<RestState>,
        transport: Transport,
        request: &Request<B>,
        endpoint: impl FnOnce(&RestState, &[String]) -> Endpoint,
    ) -> Self {
        let path = request.uri().path();
        let options = &state.options;
        // A path that is not below the prefix leads nowhere: no endpoint has an empty name.
        let below = below_prefix(path, &options.root_prefix).unwrap_or("%");
        let segments: Vec<String> = below
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(query::decode_path)
            .collect();
        let endpoint = endpoint(state, &segments);
        let headers = request.headers();
        let query = request.uri().query().unwrap_or_default();
        let shown = Shown::in_request(headers, query, &segments);
        let sent = shown.sent(endpoint.is_stream, options.allow_query_token);
        // A browser sends the cookie whoever wrote the page that asks.
        let is_foreign = sent.is_none()
            && shown.cookie.is_some()
            && is_foreign(request, transport.is_tls, &options.cors_origin);
        let token = sent.or(shown.cookie.clone().filter(|_| !is_foreign));
        let mut session = Ok(None);
        if let Some(token) = &token {
            let operator = state.operator.as_ref();
            session = state.sessions.find(token, operator).await;
            if matches!(session, Ok(None)) && endpoint.is_stream {
                session = state.sessions.of_salt_token(token, operator).await;
            }
        }
        let path = match segments.as_slice() {
            // The rest may be a token, which is in no log.
            [first, ..] if TOKEN_PATHS.contains(&first.as_str()) => format!("/{first}"),
            _ => match blanked(&query::decode_path(path)) {
                Cow::Borrowed(_) => path.to_owned(),
                Cow::Owned(blanked) => blanked.escape_debug().to_string(),
            },
        };
        Self {
            state: Arc::clone(state),
            transport,
            path,
            segments,
            has_query_token: shown.is_in_query(),
            query: shown.query,
            origin: headers.get(ORIGIN).cloned(),
            accept: text(headers, &ACCEPT),
            token,
            is_in_doubt: session.is_err(),
            session: session.unwrap_or_else(|error| {
                tracing::warn!(err = %error, "cannot tell whether a token is valid");
                None
            }),
            is_foreign,
            endpoint,
        }
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

    /// Whether a browser asks for a page: it accepts HTML rather than JSON.
    pub(crate) fn prefers_html(&self) -> bool {
        const TYPES: [&str; 3] = ["application/json", "application/x-yaml", "text/html"];
        self.accept().is_some() && accept::best(self.accept(), &TYPES) == Some("text/html")
    }

    /// Whether a token stands in the query, where it may not.
    pub(crate) fn has_forbidden_token(&self) -> bool {
        self.has_query_token && !self.state.options.allow_query_token
    }

    /// What is known of the endpoint.
    pub(crate) const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The token that was shown.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether the client accepts one of the forms of answers.
    pub(super) fn check_accept(&self) -> Result<(), RestError> {
        match accept::best(self.accept(), &ANSWERS) {
            Some(_) => Ok(()),
            None => Err(RestError::NotAcceptable(
                format!(
                    "Your client sent this Accept header: {}. But this resource only emits these \
                     media types: {}.",
                    self.accept().unwrap_or_default(),
                    ANSWERS.join(", ")
                )
                .into(),
            )),
        }
    }

    /// A value in the form that the client accepts: JSON or YAML.
    pub(crate) fn answer(&self, status: StatusCode, value: &Value) -> Answer {
        match accept::best(self.accept(), &ANSWERS) {
            Some("application/x-yaml") => {
                let text = (self.state.options.to_yaml)(value);
                Answer::whole(status, HeaderValue::from_static("application/x-yaml"), text)
            }
            _ => Answer::json(status, value),
        }
    }

    /// The answer to a request that fails.
    pub(crate) fn refuse(&self, error: &RestError) -> Response<ResponseBody> {
        let status = error.status();
        if let RestError::Unforeseen(what) = error {
            let shown = match self.state.options.debug {
                true => what.as_str(),
                false => "An unexpected error occurred",
            };
            let answer: Map = [
                ("status", Value::Int(status.as_u16().into())),
                ("return", shown.into()),
            ]
            .into_iter()
            .collect();
            if let Answer::Response(response) = self.answer(status, &answer.into()) {
                return response;
            }
        }
        error.to_response()
    }

    /// The cookie of a session. Scripts of pages and other sites cannot use it.
    pub(super) fn cookie(&self, token: &str) -> String {
        let expires = date::http(SystemTime::now() + IDLE);
        let max_age = IDLE.as_secs();
        let secure = if self.transport.is_tls {
            "; Secure"
        } else {
            ""
        };
        format!(
            "{SESSION_COOKIE}={token}; expires={expires}; Max-Age={max_age}; Path=/; HttpOnly; \
             SameSite=Lax{secure}"
        )
    }

    /// The cookie that makes browsers forget the session's.
    pub(super) fn expired_cookie(&self) -> String {
        const YEAR: Duration = Duration::from_secs(365 * 86_400);
        let expires = date::http(SystemTime::now() - YEAR);
        format!("{SESSION_COOKIE}=; expires={expires}; Max-Age=0; Path=/")
    }

    /// The session of whoever is logged in.
    pub(crate) fn session(&self) -> Result<&Arc<Session>, RestError> {
        self.session.as_ref().ok_or_else(|| {
            if self.is_foreign {
                RestError::Forbidden(FOREIGN.into())
            } else if self.is_in_doubt {
                RestError::NoMaster
            } else {
                RestError::NotLoggedIn
            }
        })
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
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding, Origin"));
        if let Ok(date) = HeaderValue::try_from(date::http(SystemTime::now())) {
            headers.insert(DATE, date);
        }
        // Browsers forget a session that is used as late as one that is not, unless told anew.
        if let (Some(_), Some(token)) = (&self.session, &self.token)
            && !self.endpoint.is_stream
            && !headers.contains_key(SET_COOKIE)
            && let Ok(mut cookie) = HeaderValue::try_from(self.cookie(token))
        {
            cookie.set_sensitive(true);
            headers.insert(SET_COOKIE, cookie);
        }
        if let Some(allow) = self.endpoint.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.endpoint.needs_session
            && self.session.is_some()
            && !headers.contains_key(CACHE_CONTROL)
        {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
    }
}

/// The forms of answers.
const ANSWERS: [&str; 2] = ["application/json", "application/x-yaml"];

/// The error for a request that a page of another origin sends with the browser's cookie.
const FOREIGN: &str = "A page of another origin must send its token as X-Auth-Token; the browser's cookie counts for the \
    origins that cors_origin names";

/// Whether a page asks that is of another origin than this server, and of none of these.
fn is_foreign<B>(request: &Request<B>, is_tls: bool, known: &[String]) -> bool {
    let headers = request.headers();
    let Some(origin) = headers.get(ORIGIN) else {
        return false; // no page
    };
    // The browser's word, which no page can choose; a proxy may have changed the host.
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "same-origin")
    {
        return false;
    }
    let origin = origin.to_str().unwrap_or_default();
    let host = request.uri().authority().map(Authority::as_str);
    let host = host.or_else(|| headers.get(HOST)?.to_str().ok());
    let (scheme, of_origin) = origin.split_once("://").unwrap_or_default();
    // Whoever is on the way can write a page that is not encrypted. One that is may have come through a proxy.
    let is_own = (scheme == "https" || !is_tls)
        && host.is_some_and(|host| host.eq_ignore_ascii_case(of_origin));
    !is_own && !known.iter().any(|known| known == "*" || known == origin)
}

/// The rest of a path that lies below a prefix.
fn below_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let prefix = prefix.trim_end_matches('/');
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Any text as the head's parts that we read ourselves. Tokens are taken out of what is kept of the query.
pub(crate) fn fuzz(text: &str) {
    let _ = accept::best(Some(text), &ANSWERS);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(COOKIE, value);
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let segments: Vec<String> = path.split('/').map(query::decode_path).collect();
    let shown = Shown::in_request(&headers, query, &segments);
    assert!(
        !shown
            .query
            .split('&')
            .any(|pair| pair.starts_with("token="))
    );
    assert!(shown.sent(false, true).is_none());
    assert!(shown.cookie.is_none() || text.contains(SESSION_COOKIE));
    let _ = below_prefix(path, "/salt/");
}

/// The tokens that a request shows.
struct Shown {
    header: Option<String>,
    cookie: Option<String>,
    in_path: Option<String>,
    in_query: Option<String>,
    /// The query without tokens.
    query: String,
}

impl Shown {
    fn in_request(headers: &HeaderMap, query: &str, segments: &[String]) -> Self {
        let mut kept = Vec::new();
        let mut in_query = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("token" | "salt_token", token)) => in_query = Some(token.to_owned()),
                _ => kept.push(pair),
            }
        }
        Self {
            header: text(headers, &X_AUTH_TOKEN).filter(|token| !token.is_empty()),
            cookie: cookie(headers),
            in_path: match segments {
                [_, token] => Some(token.clone()),
                _ => None,
            },
            in_query,
            query: kept.join("&"),
        }
    }

    /// The token that the client sends explicitly, which takes precedence over the browser's cookie. One in the address counts
    /// for streams only. In the path Salt takes it even where it refuses it in the query: WebSockets of browsers send no
    /// header.
    fn sent(&self, is_stream: bool, in_query: bool) -> Option<String> {
        let in_query = self.in_query.as_ref().filter(|_| in_query);
        let in_address = self.in_path.as_ref().or(in_query).filter(|_| is_stream);
        self.header.as_ref().or(in_address).cloned()
    }

    /// Whether a token stands in the query.
    fn is_in_query(&self) -> bool {
        self.in_query.is_some()
    }
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
