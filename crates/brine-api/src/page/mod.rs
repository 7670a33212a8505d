//! The web page: its files, which are part of the program, and the headers that keep everything else out of it.
//!
//! `/brine` is the page, `/brine/FILE` are its parts; browsers also get it at `/`. It is static: like any client, it
//! gets its data from `/login`, `/events` and `/status`. Browsers run the files in `assets/` as they are, without a build
//! step. Described in `docs/page.md`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Request, Response, StatusCode};

use crate::body::ResponseBody;
use crate::rest::{Answer, Context, RestError};
use crate::{health, openapi};

/// A file of the page.
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($name:literal $kind:expr),* $(,)?) => {
        [$(File { name: $name, kind: $kind, bytes: include_bytes!(concat!("assets/", $name)) }),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// All of them, the page itself first.
static FILES: [File; 17] = files![
    "index.html" HTML,
    "style.css" CSS,
    "icon.svg" "image/svg+xml",
    "app.js" JS,
    "chart.js" JS,
    "detail.js" JS,
    "events.js" JS,
    "jobs.js" JS,
    "keys.js" JS,
    "route.js" JS,
    "rows.js" JS,
    "session.js" JS,
    "stream.js" JS,
    "tables.js" JS,
    "text.js" JS,
    "tree.js" JS,
    "virtual.js" JS,
];

/// The same for all files: another version of one is another version of the page.
static VERSION: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    FILES.each_ref().map(|file| file.bytes).hash(&mut hasher);
    HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\"")) // hexadecimal digits are a header's value
});

/// Nothing but the page's own files, no script or style in its text, no strings as HTML, in no frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'",
);

/// Answers below `/brine`, at `/` for browsers, `/healthz`, `/readyz`, `/openapi.json` and `/status`.
pub(crate) async fn respond(
    context: &Context,
    path: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, RestError> {
    let name = match path {
        ["healthz"] => return Ok(health::alive()),
        ["readyz"] => return Ok(health::ready(&context.state.api())),
        ["openapi.json"] => return Ok(openapi::answer()),
        ["status"] => return status(context),
        [] | ["brine"] if !context.path().ends_with("brine/") => "index.html",
        ["brine", name] => name,
        _ => "",
    };
    let file = FILES.iter().find(|file| file.name == name);
    let file = file.ok_or_else(|| RestError::NotFound {
        path: context.path().to_owned(),
    })?;
    let known = request.headers().get(IF_NONE_MATCH);
    Ok(Answer::Response(answer(file, known)))
}

/// What runs and who reads: the body is the local socket's.
fn status(context: &Context) -> Result<Answer, RestError> {
    let (api, subject) = (context.state.api(), context.session()?.subject());
    let response = crate::status::get(&api, subject, &api.acl.access(subject), context.query());
    Ok(Answer::Response(response?))
}

fn answer(file: &File, known: Option<&HeaderValue>) -> Response<ResponseBody> {
    let is_known = known.is_some_and(|known| known == *VERSION);
    let body = if is_known {
        Bytes::new()
    } else {
        Bytes::from_static(file.bytes)
    };
    let mut response = Response::new(ResponseBody::full(body));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(ETAG, VERSION.clone());
    secure(headers);
    response
}

fn secure(headers: &mut HeaderMap) {
    let all = [
        (CONTENT_SECURITY_POLICY, POLICY),
        // Asked again each time; what has not changed is not sent again.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
        ),
    ];
    headers.extend(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_named_is_there_and_nothing_is_inline() {
        for file in &FILES {
            let text = std::str::from_utf8(file.bytes).unwrap();
            for (_, rest) in text
                .match_indices("from './")
                .map(|(at, what)| text.split_at(at + what.len()))
            {
                let name = rest.split('\'').next().unwrap();
                assert!(
                    FILES.iter().any(|file| file.name == name),
                    "{} imports {name}",
                    file.name
                );
            }
            for other in ["http://", "https://", "innerHTML", "eval("] {
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(other), "{} holds {other}", file.name);
            }
        }
        let page = std::str::from_utf8(FILES[0].bytes).unwrap();
        for inline in [" style=", " onclick=", "<style", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
        for (_, rest) in page
            .match_indices("\"brine/")
            .map(|(at, what)| page.split_at(at + what.len()))
        {
            let name = rest.split('"').next().unwrap();
            assert!(
                FILES.iter().any(|file| file.name == name),
                "the page names {name}"
            );
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let first = answer(&FILES[0], None);
        assert_eq!(first.status(), StatusCode::OK);
        let again = answer(&FILES[0], first.headers().get(ETAG));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(again.headers().contains_key(CONTENT_SECURITY_POLICY));
    }
}
