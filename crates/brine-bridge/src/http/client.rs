//! Requests over HTTP/1.1 to other servers: with TLS, a timeout, and a limit on how much of an answer is kept.
//!
//! Does not know what is sent: a batch of events, or a request of a reaction.

use std::fmt;
use std::pin::Pin;

use hyper::body::{Body as _, Incoming};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::text;
use crate::tls::{TlsError, TlsOptions};

/// Who asks.
pub const USER_AGENT: &str = concat!("brine/", env!("CARGO_PKG_VERSION"));
/// How much of an answer is kept.
const MAX_ANSWER: usize = 64 << 10;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET` and the like.
    pub method: String,
    /// `http://…` or `https://…`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent with it.
    pub body: String,
}

/// An answer, whose body may be cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Such as 200.
    pub status: u16,
    /// The beginning of its body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// There is no connection: the server has received nothing of the request.
    NotConnected(String),
    /// The server may have taken it.
    Uncertain(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(reason) | Self::Uncertain(reason) => out.write_str(reason),
        }
    }
}

/// A client, which keeps connections for the next request.
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, String>,
}

impl HttpClient {
    /// A client that trusts these.
    ///
    /// # Errors
    /// [`TlsError`] if a file cannot be used.
    pub fn new(tls: &TlsOptions) -> Result<Self, TlsError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.client_config()?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Sends a request, and waits for the whole answer. Dropping the future gives it up.
    ///
    /// # Errors
    /// Why there is no answer, or what is wrong with the request. Passwords in the address are not shown.
    pub async fn ask(&self, request: &HttpRequest) -> Result<HttpAnswer, String> {
        let url = address(&request.url)?;
        let place = place(&url);
        let mut asked = Request::builder().method(&*request.method).uri(url);
        for (name, value) in &request.headers {
            asked = asked.header(name, value);
        }
        let asked = asked.body(request.body.clone());
        let asked = asked.map_err(|error| format!("{place}: {error}"))?;
        let answer = self.exchange(asked).await;
        let (status, body) = answer.map_err(|reason| format!("{place}: {reason}"))?;
        Ok(HttpAnswer {
            status: status.as_u16(),
            body,
        })
    }

    /// Sends a request that is made already, and waits for the whole answer. Dropping the future gives it up.
    pub(super) async fn exchange(
        &self,
        request: Request<String>,
    ) -> Result<(StatusCode, String), Unanswered> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| match error.is_connect() {
            true => Unanswered::NotConnected(text::with_hint(text::chain(&error))),
            false => Unanswered::Uncertain(text::chain(&error)),
        })?;
        let status = response.status();
        // An answer that breaks off does not count: the server may have given up.
        let body = read(response.into_body()).await;
        let body =
            body.map_err(|error| Unanswered::Uncertain(format!("{status}, then {error}")))?;
        Ok((status, body))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// The address of a server.
pub(super) fn address(url: &str) -> Result<Uri, String> {
    let parsed = url.parse::<Uri>().ok();
    let parsed = parsed
        .filter(|url| url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https")));
    parsed.ok_or_else(|| {
        format!("expected an address such as https://example.org/events, found {url:?}")
    })
}

/// The address without what may be a password in it.
pub(super) fn place(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let scheme = url.scheme_str().unwrap_or_default();
    let port = url.port_u16().map(|port| format!(":{port}"));
    format!(
        "{scheme}://{host}{}{}",
        port.unwrap_or_default(),
        url.path()
    )
}

/// The answer to its end; only its beginning is kept.
async fn read(mut body: Incoming) -> Result<String, hyper::Error> {
    let mut kept = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            let room = MAX_ANSWER.saturating_sub(kept.len());
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_passwords() {
        let url = address("https://user:secret@example.org:8443/in?token=x").unwrap();
        assert_eq!(place(&url), "https://example.org:8443/in");
        for url in ["example.org", "ftp://example.org", "/in", "http://"] {
            assert!(address(url).is_err(), "{url}");
        }
    }
}
