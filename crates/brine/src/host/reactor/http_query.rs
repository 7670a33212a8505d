//! The runner function `http.query`, with which reactions notify chats and other services.
//!
//! It supports the parameters that reactions use; real Salt runs a call with any other. The result is for the record:
//! the status and the beginning of the answer. Facts: `salt.utils.http.query` of 3008.3.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use brine_bridge::http::{HttpClient, HttpRequest, USER_AGENT};
use brine_bridge::tls::{TlsOptions, Trust};
use brine_reactor::call::Function;
use brine_wire::{Map, Value, json, python_text};

/// Its name.
pub(super) const HTTP_QUERY: &str = "http.query";

/// What a call says.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    request: HttpRequest,
    trust: Trust,
}

/// Makes the request of a call; `None` if it has a parameter that is real Salt's.
pub(super) async fn query(function: &Function) -> Option<Result<Value, String>> {
    match parse(function)? {
        Ok(query) => Some(ask(query).await),
        Err(why) => Some(Err(why)),
    }
}

async fn ask(query: Query) -> Result<Value, String> {
    let tls = TlsOptions {
        trust: query.trust,
        identity: None,
    };
    let client = HttpClient::new(&tls).map_err(|error| error.to_string())?;
    let answer = client.ask(&query.request).await?;
    let body = answer.body.trim();
    match answer.status {
        200..=399 => {
            let mut result = Map::new();
            result.insert("status", Value::Int(answer.status.into()));
            result.insert("body", body);
            Ok(result.into())
        }
        status => Err(format!("the server answered {status}: {body}")),
    }
}

fn parse(function: &Function) -> Option<Result<Query, String>> {
    let mut named = function.kwarg.clone();
    match &*function.arg {
        [] => {}
        [url] => named.insert("url", url.clone()),
        [url, _output] => named.insert("url", url.clone()),
        _ => return Some(Err("http.query takes one address".to_owned())),
    }
    if function.is_flat {
        named.remove("name"); // the reaction's, not the function's
    }
    let mut query = Query {
        request: HttpRequest {
            method: "GET".to_owned(),
            url: String::new(),
            headers: vec![("User-Agent".to_owned(), USER_AGENT.to_owned())],
            body: String::new(),
        },
        trust: Trust::System,
    };
    let (mut user, mut password, mut params) = (None, None, None);
    for (name, value) in &named {
        let text = || python_text::str(value);
        let request = &mut query.request;
        match name.as_str()? {
            // Nothing is said about parameters that were not given.
            _ if *value == Value::Nil => {}
            "url" => request.url = text(),
            "method" => request.method = text().to_uppercase(),
            "params" => params = Some(value),
            "data" => request.body = form(value),
            "header_dict" => {
                let headers = value.as_map()?.iter();
                let headers =
                    headers.map(|(name, value)| (python_text::str(name), python_text::str(value)));
                request.headers.extend(headers);
            }
            "header_list" => {
                for header in value.as_array()? {
                    let (name, value) = header.as_str()?.split_once(':')?;
                    let header = (name.trim().to_owned(), value.trim().to_owned());
                    request.headers.push(header);
                }
            }
            "username" => user = Some(text()),
            "password" => password = Some(text()),
            "ca_bundle" => query.trust = Trust::Roots(PathBuf::from(text())),
            "verify_ssl" if !value.is_true() => query.trust = Trust::Anyone,
            // What is returned: here always the status and the answer.
            "verify_ssl" | "status" | "text" | "headers" | "output" | "decode" | "decode_type" => {}
            // How Salt finds its options and its library.
            "node" | "backend" | "raise_error" => {}
            _ => return None,
        }
    }
    let request = &mut query.request;
    if request.url.is_empty() {
        return Some(Err("http.query needs url".to_owned()));
    }
    if let Some(params) = params {
        let between = if request.url.contains('?') { '&' } else { '?' };
        request.url.push(between);
        request.url.push_str(&form(params));
    }
    if let (Some(user), Some(password)) = (user, password) {
        let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let header = ("Authorization".to_owned(), format!("Basic {both}"));
        request.headers.push(header);
    }
    let has_type = request
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if request.method == "POST" && !has_type {
        let form = "application/x-www-form-urlencoded";
        let header = ("Content-Type".to_owned(), form.to_owned());
        request.headers.push(header);
    }
    Some(Ok(query))
}

/// A mapping as `a=b&c=d`; text as it is.
fn form(value: &Value) -> String {
    let Some(map) = value.as_map() else {
        return python_text::str(value);
    };
    let pairs = map.iter().map(|(name, value)| {
        let value = match value {
            Value::Map(_) | Value::Array(_) => {
                let mut text = String::new();
                json::to_line(value, &mut text);
                text
            }
            value => python_text::str(value),
        };
        format!("{}={}", escaped(&python_text::str(name)), escaped(&value))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Text in an address or a form.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use brine_config::yaml;

    use super::*;

    fn parsed(kwarg: &str) -> Option<Result<Query, String>> {
        let kwarg = yaml::load(kwarg.as_bytes()).unwrap();
        parse(&Function {
            fun: HTTP_QUERY.to_owned(),
            arg: Vec::new(),
            kwarg: kwarg.as_map().unwrap().clone(),
            is_flat: true,
        })
    }

    #[test]
    fn what_reactions_ask_is_read_as_salt_reads_it() {
        let query = parsed(
            "{name: x, url: 'http://h/x', method: post, params: {a: b c}, data: {k: [1]}, header_dict: {X-A: 1}, \
             header_list: ['X-B: 2'], username: u, password: p, verify_ssl: false, status: true}",
        );
        let query = query.unwrap().unwrap();
        assert_eq!(query.trust, Trust::Anyone);
        let request = query.request;
        assert_eq!(
            (&*request.method, &*request.url, &*request.body),
            ("POST", "http://h/x?a=b%20c", "k=%5B1%5D")
        );
        let headers: Vec<_> = request.headers[1..]
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            headers,
            [
                "X-A: 1",
                "X-B: 2",
                "Authorization: Basic dTpw",
                "Content-Type: application/x-www-form-urlencoded"
            ]
        );
    }

    #[test]
    fn what_is_not_here_is_real_salts() {
        for kwarg in [
            "{url: 'http://h', cert: /x}",
            "{url: 'http://h', data_file: /x}",
            "{url: 'http://h', header_dict: text}",
        ] {
            assert!(parsed(kwarg).is_none(), "{kwarg}");
        }
        let missing = parsed("{method: GET}").unwrap().unwrap_err();
        assert_eq!(missing, "http.query needs url");
    }
}
