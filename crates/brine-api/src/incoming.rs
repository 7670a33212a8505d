//! The bodies of requests, read within limits of size and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{HOST, HeaderMap, ORIGIN, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Request, Version};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;

/// How long a client may take between two pieces of a body that it announced as whole.
const BETWEEN_PIECES: Duration = Duration::from_secs(30);

/// How long it may take for all of it.
const WHOLE: Duration = Duration::from_secs(300);
/// What a body may have that is not counted, in bytes: about as much as a head.
const SMALL: usize = 16 << 10;

/// The next piece of a request's body; `None` at its end.
pub(crate) async fn piece(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Why a body cannot be read to its end, with what is behind hyper's words.
pub(crate) fn broken(error: &hyper::Error) -> ApiError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    ApiError::BadRequest(format!("body: {error}{}", cause.unwrap_or_default()))
}

/// Whether a request's body is coded in a way that is understood. A length beside chunks is hyper's to deal with: it
/// reads the chunks and closes the connection, so that nothing that follows is taken for another request.
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(ApiError::UnsupportedCoding);
    }
    Ok(())
}

/// Whether a head is one that RFC 9112 lets a server answer. hyper takes all that are left here: with more than one host,
/// or none, a proxy in front and we could mean different ones, and so with two origins.
pub(crate) fn check_head<B>(request: &Request<B>) -> Result<(), ApiError> {
    check_framing(request.headers())?;
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_one = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => host.is_empty() || is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if !is_one {
        return Err(ApiError::BadRequest(
            "expected one Host in the head".to_owned(),
        ));
    }
    if request.headers().get_all(ORIGIN).iter().nth(1).is_some() {
        return Err(ApiError::BadRequest(
            "expected at most one Origin in the head".to_owned(),
        ));
    }
    Ok(())
}

fn is_host(host: &[u8]) -> bool {
    !host.contains(&b'@') && Authority::try_from(host).is_ok()
}

/// All of a request's body.
pub(crate) async fn whole(body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    admitted(body, limit, || Some(())).await
}

/// All of a request's body. If it is large, `enter` decides whether it is read, and counts it until it has come.
pub(crate) async fn admitted<H>(
    mut body: Incoming,
    limit: usize,
    enter: impl FnOnce() -> Option<H>,
) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::BodyTooLarge { limit };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let (mut enter, mut held) = (Some(enter), None);
    let mut count = |size: usize| {
        if size > SMALL
            && let Some(enter) = enter.take()
        {
            held = Some(enter().ok_or(ApiError::TooMany)?);
        }
        Ok(())
    };
    count(announced)?;
    let until = Instant::now() + WHOLE;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let next = until.min(Instant::now() + BETWEEN_PIECES);
        let piece = timeout_at(next, piece(&mut body));
        match piece.await.map_err(|_| ApiError::BodyTimeout)? {
            None if all.is_empty() => return Ok(first),
            None => return Ok(all.freeze()),
            Some(Ok(data)) if first.is_empty() && all.is_empty() => first = data,
            Some(Ok(data)) => {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
            Some(Err(error)) => return Err(broken(&error)),
        }
        let size = first.len().max(all.len());
        if size > limit {
            return Err(too_large());
        }
        count(size)?;
    }
}
