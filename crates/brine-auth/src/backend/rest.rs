//! `rest`: an HTTP server says whether user and password belong together, and may add permissions.
//!
//! Both are sent to it as a form. 200 accepts the user; a JSON list in the answer is added to the permissions of
//! `external_auth`. Redirects are not followed: a password goes only to the configured address. Facts:
//! `salt.auth.rest` of Salt 3008.3 and 3006.28, by running it.

use brine_wire::{Map, Value, json};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use zeroize::Zeroizing;

use super::{ANSWER_WITHIN, BackendError, Known};
use crate::login::Login;

/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Asks the server.
pub(super) fn check(login: &Login, options: &Map) -> Result<Option<Known>, BackendError> {
    let url = options.get("^url").and_then(Value::as_str);
    let url = url.and_then(|url| url.parse::<Uri>().ok());
    let url = url
        .filter(|url| url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https")));
    let url = url.ok_or(BackendError::Option {
        option: "external_auth: {rest: {^url: …}}",
        expected: "an address such as https://example.org/auth",
    })?;
    let broken = |reason: String| BackendError::Server {
        // Without what may be a secret in it.
        server: format!("^url at {}", url.authority().map_or("", |to| to.as_str())),
        reason,
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.map_err(|error| broken(error.to_string()))?;
    let asked = async { tokio::time::timeout(ANSWER_WITHIN, ask(login, url.clone())).await };
    let (status, body) = match runtime.block_on(asked) {
        Ok(answered) => answered.map_err(broken)?,
        Err(_) => return Err(broken("no answer in time".to_owned())),
    };
    if status != StatusCode::OK {
        tracing::debug!(%status, "the server of external_auth: rest refuses a user");
        return Ok(None);
    }
    let permissions = match body.trim_ascii() {
        b"" => Vec::new(),
        body => match json::parse(body) {
            Ok(Value::Array(permissions)) => permissions,
            Ok(Value::Nil) => Vec::new(),
            _ => return Err(broken("expected a JSON list of permissions".to_owned())),
        },
    };
    Ok(Some(Known {
        permissions,
        ..Known::default()
    }))
}

async fn ask(login: &Login, url: Uri) -> Result<(StatusCode, Vec<u8>), String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let connector = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
    let connector = connector.map_err(|error| error.to_string())?;
    let connector = connector.https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let form = Zeroizing::new(format!(
        "username={}&password={}",
        *encoded(&login.username),
        *encoded(&login.password)
    ));
    let request = Request::post(url)
        .header(USER_AGENT, concat!("brine/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(String::from(&**form));
    let request = request.map_err(|error| error.to_string())?;
    let response = client.request(request).await;
    let response = response.map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })?;
    let status = response.status();
    Ok((status, read(response.into_body()).await?))
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        let frame = frame.map_err(|error| error.to_string())?;
        all.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if all.len() > MAX_ANSWER {
            return Err(format!("the answer is longer than {MAX_ANSWER} bytes"));
        }
    }
    Ok(all)
}

/// A text as a form holds it.
fn encoded(text: &str) -> Zeroizing<String> {
    let mut all = Zeroizing::new(String::with_capacity(text.len() * 3));
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                all.push(char::from(byte));
            }
            _ => all.push_str(&format!("%{byte:02X}")),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    fn login(user: &str, password: &str) -> Login {
        let fields = [
            ("username", user),
            ("password", password),
            ("eauth", "rest"),
        ];
        Login::from_map(&fields.into_iter().collect()).unwrap()
    }

    /// Asks a server that answers so; what it was sent, and what came of it.
    fn asked(answer: &'static str) -> (String, Result<Option<Known>, BackendError>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/auth?key=k", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"password=a%26b%20%C3%A9") {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&request));
                request.extend_from_slice(&piece[..read]);
            }
            let _ = stream.write_all(answer.as_bytes()); // it may have read enough
            String::from_utf8(request).unwrap()
        });
        let options: Map = [("^url", url.as_str())].into_iter().collect();
        let known = check(&login("fr=ed", "a&b é"), &options);
        (served.join().unwrap(), known)
    }

    #[test]
    fn the_status_decides_and_a_list_permits() {
        let (request, known) = asked(
            "HTTP/1.1 200 OK\r\ncontent-length: 33\r\n\r\n[\"test.*\", {\"web*\": [\"state.*\"]}]",
        );
        assert!(
            request.starts_with("POST /auth?key=k HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\nusername=fr%3Ded&password=a%26b%20%C3%A9"));
        assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"));
        let permissions = json::parse(br#"["test.*", {"web*": ["state.*"]}]"#).unwrap();
        assert_eq!(
            known.unwrap().unwrap().permissions,
            permissions.as_array().unwrap()
        );
        for nothing in ["", "null"] {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{nothing}",
                nothing.len()
            );
            let known = asked(answer.leak()).1;
            assert_eq!(known.unwrap(), Some(Known::default()), "{nothing:?}");
        }
    }

    #[test]
    fn only_a_200_with_a_list_or_nothing_accepts_a_user() {
        for answer in [
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 500 Oops\r\ncontent-length: 5\r\n\r\n[\".*\"",
        ] {
            assert_eq!(asked(answer).1.unwrap(), None, "{answer}");
        }
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<html> no",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n[\".*\"]",
            "nonsense\r\n\r\n",
            "",
        ] {
            let error = asked(answer).1.unwrap_err().to_string();
            assert!(
                !error.contains("key=k") && !error.contains("%26"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_address_is_needed() {
        for url in ["", "no url", "ftp://x/", "/path"] {
            let options: Map = [("^url", url)].into_iter().collect();
            assert!(check(&login("a", "b"), &options).is_err(), "{url}");
        }
    }
}
