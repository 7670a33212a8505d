//! Requests to an API: one connection each, HTTP/1.1, over TLS unless it stays on this machine.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bridge::tls::TlsOptions;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::show;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long an answer may take to begin: a server may look through a long history for it.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The longest whole answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// How much of an error's text people are shown, in characters.
const SHOWN: usize = 300;

/// Why a request has no answer, or which refusal it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server cannot be reached, or its answer broke off.
    Away(String),
    /// It refuses.
    Refused { status: u16, message: String },
}

impl Failure {
    pub(super) const fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(reason) => out.write_str(reason),
            Self::Refused { status, message } => write!(out, "{status}: {message}"),
        }
    }
}

/// Where an API is.
pub(super) struct Server {
    host: String,
    port: u16,
    /// What goes before every path.
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Server {
    /// The server of an address.
    pub(super) fn new(url: &str, tls: &TlsOptions) -> anyhow::Result<Self> {
        let expected = || format!("--api {url}: expected an address such as https://salt:8000");
        let uri: Uri = url.parse().with_context(expected)?;
        let authority = uri.authority().with_context(expected)?;
        if authority.as_str().contains('@') {
            bail!(
                "--api: leave name and password out of the address; see --user and --password-file"
            );
        }
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let (port, tls) = match uri.scheme_str() {
            Some("https") => {
                let config: ClientConfig = tls.client_config()?;
                let name = ServerName::try_from(host.clone()).with_context(expected)?;
                (443, Some((TlsConnector::from(Arc::new(config)), name)))
            }
            Some("http") if is_this_machine(&host) => (80, None),
            Some("http") => bail!(
                "--api {url}: http:// would send the token to everybody on the way; use https://, or http:// over a tunnel to 127.0.0.1"
            ),
            _ => bail!(expected()),
        };
        if uri.query().is_some() {
            bail!(expected());
        }
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(port),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// A request for a path below the address.
    pub(super) fn request(&self, method: &str, target: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.prefix))
            .header(HOST, self.authority())
            .header(USER_AGENT, concat!("brine/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
    }

    /// Sends a request; the answer's body is to be read. A refusal is a failure.
    pub(super) async fn send(
        &self,
        request: Request<String>,
    ) -> Result<Response<Incoming>, Failure> {
        let connection = timeout(CONNECT_TIME, self.connect()).await;
        let connection = connection.map_err(|_| away("no connection within 10 s"))??;
        let handshake = http1::handshake(TokioIo::new(connection)).await;
        let (mut sender, driver) = handshake.map_err(|error| away(show::causes(&error)))?;
        tokio::spawn(async move {
            // Its errors are those of the answer's body.
            let _ = driver.await;
        });
        let answer = timeout(ANSWER_TIME, sender.send_request(request)).await;
        let answer = answer.map_err(|_| away("no answer within 60 s"))?;
        let answer = answer.map_err(|error| away(show::causes(&error)))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => {
                let text = read(answer.into_body()).await.unwrap_or_default();
                Err(Failure::Refused {
                    status: status.as_u16(),
                    message: message(status, &text),
                })
            }
        }
    }

    /// The whole body of an answer.
    pub(super) async fn whole(&self, request: Request<String>) -> Result<Vec<u8>, Failure> {
        let answer = self.send(request).await?;
        let body = timeout(ANSWER_TIME, read(answer.into_body())).await;
        body.map_err(|_| away("the answer is not complete within 60 s"))?
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| away(error.to_string()))?;
        let _ = stream.set_nodelay(true); // slower without, and no more
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        match connector.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let text = error.to_string();
                if text.contains("InvalidContentType") {
                    return Err(away(
                        "what answers there does not speak TLS; if it speaks plain http, use http://, over a tunnel to 127.0.0.1 if it is another machine",
                    ));
                }
                let hint = match text.contains("UnknownIssuer") {
                    true => "; --ca-file FILE names the certificates to trust",
                    false => "",
                };
                Err(away(format!("TLS: {text}{hint}")))
            }
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The next piece of a body; `None` at its end.
pub(super) async fn piece(body: &mut Incoming) -> Option<Result<Bytes, Failure>> {
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        match frame {
            Err(error) => return Some(Err(away(show::causes(&error)))),
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
        }
    }
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    while let Some(data) = piece(&mut body).await {
        whole.extend_from_slice(&data?);
        if whole.len() > MAX_ANSWER {
            return Err(away("the answer is longer than 64 MiB"));
        }
    }
    Ok(whole)
}

pub(super) fn away(reason: impl Into<String>) -> Failure {
    Failure::Away(reason.into())
}

/// Whether a host is this machine, by its name or address.
fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// What a refusal says: Salt's pages have it in `<p>`, where there is more than the name of the status.
fn message(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let said = text
        .split_once("<p>")
        .and_then(|(_, rest)| rest.split_once("</p>"))
        .map_or("", |(said, _)| said.trim());
    let said: String = said.chars().take(SHOWN).collect();
    match said.is_empty() {
        true => status.canonical_reason().unwrap_or("refused").to_owned(),
        false => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<String, String> {
        let tls = TlsOptions::default();
        Server::new(url, &tls)
            .map(|server| server.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_encrypted_or_of_this_machine() {
        assert_eq!(server("https://salt:8000").unwrap(), "https://salt:8000");
        assert_eq!(server("https://salt/api/").unwrap(), "https://salt:443/api");
        assert_eq!(server("https://[::1]:8000").unwrap(), "https://[::1]:8000");
        assert_eq!(
            server("http://127.0.0.1:8000").unwrap(),
            "http://127.0.0.1:8000"
        );
        assert_eq!(server("http://[::1]").unwrap(), "http://[::1]:80");
        for url in [
            "http://salt:8000",
            "salt:8000",
            "ftp://salt",
            "https://",
            "https://salt/?a=1",
        ] {
            assert!(server(url).is_err(), "{url}");
        }
        let with_password = server("https://fred:secret@salt").unwrap_err();
        assert!(!with_password.contains("secret"), "{with_password}");
    }

    #[test]
    fn a_server_without_tls_is_told_from_one_with_a_bad_certificate() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            std::io::Write::write_all(&mut stream, answer).unwrap();
            // Kept until the other side has read it and closes.
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        });
        let server = Server::new(&url, &TlsOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let Err(Failure::Away(said)) = runtime.block_on(server.connect()).map(drop) else {
            panic!("expected no connection");
        };
        assert!(said.contains("does not speak TLS"), "{said}");
        answers.join().unwrap();
    }

    #[test]
    fn a_refusal_says_what_salts_pages_say() {
        let page = b"<html><h2>401 Unauthorized</h2><p>Could not authenticate</p></html>";
        assert_eq!(
            message(StatusCode::UNAUTHORIZED, page),
            "Could not authenticate"
        );
        assert_eq!(message(StatusCode::NOT_FOUND, b"{}"), "Not Found");
    }
}
