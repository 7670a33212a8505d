//! Salt's WebSockets: `/ws` of `rest_cherrypy`, `/all_events` and `/formatted_events` of `rest_tornado`.
//!
//! The stream itself is written like any other, into a pipe; this file turns its lines into messages. Messages from a
//! client are answered as Salt does, and have no other effect. Protocol and frames are tungstenite's.

use std::io;
use std::sync::Arc;

use brine_wire::json;
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Response, StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes, Message, Utf8Bytes};

use super::form::Form;
use super::formatted::{Formatted, Style};
use super::window::Wire;
use super::{Prepared, StreamKind, prepare};
use crate::connection::{Connection, Io};
use crate::events::lines::{Line, Lines};
use crate::rest::{Answer, Context, RestError, RestState, Session, ask_for_grains, head_bytes};

/// What a client says when it wants events.
const READY: &str = "websocket client ready";
/// What `rest_cherrypy` answers to every message.
const RECEIVED: &str = "server received message";
/// The largest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 << 10;
/// What waits in the pipe of a stream, and in the buffers of its socket, in bytes.
const BUFFER_BYTES: usize = 16 << 10;

/// How a stream's lines become messages.
enum Messages {
    /// `data: {…}` and two line ends, as the body of `/events` has them.
    Data,
    /// The objects alone.
    Objects,
    /// Snapshots of jobs and minions.
    Formatted(Formatted),
}

/// Answers with a WebSocket.
pub(super) fn respond(
    context: &Context,
    kind: StreamKind,
    request: &Request<Incoming>,
) -> Result<Answer, RestError> {
    let form = Form::Messages(context.state.streams.config.events_of);
    let (query, wants_formatted) = without_format(context.query());
    let prepared = prepare(context, request, &query, form, Wire::Bare)?;
    let accept = accept_key(request)?;
    if !context.can_take_over() || request.version() != Version::HTTP_11 {
        return Err(RestError::BadRequest(
            "expected a WebSocket over HTTP/1.1".into(),
        ));
    }
    let messages = match kind {
        StreamKind::FormattedEvents => Messages::Formatted(Formatted::new(Style::Tornado)),
        StreamKind::AllEvents => Messages::Objects,
        _ if wants_formatted => Messages::Formatted(Formatted::new(Style::Cherrypy)),
        _ => Messages::Data,
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    context.decorate(headers);
    let head = head_bytes(&response);
    let session = Arc::clone(&prepared.session);
    let answers = matches!(kind, StreamKind::Websocket);
    let of_grains = matches!(kind, StreamKind::FormattedEvents).then(|| Arc::clone(&context.state));
    Ok(Answer::TakeOver(Box::new(move |connection| {
        Box::pin(async move {
            // Whatever ends it, the client sees that the connection is gone.
            let conversation = Conversation {
                session: &session,
                messages,
                answers,
                of_grains,
            };
            let _ = serve(connection, &head, prepared, conversation).await;
        })
    })))
}

/// Whether snapshots are asked for (`format_events`, with or without a value), and the other parameters.
fn without_format(query: &str) -> (String, bool) {
    let is_format = |pair: &&str| pair.split('=').next() == Some("format_events");
    let (format, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_format);
    (others.join("&"), !format.is_empty())
}

/// What proves to the client that its handshake was understood.
fn accept_key(request: &Request<Incoming>) -> Result<HeaderValue, RestError> {
    let headers = request.headers();
    let is_upgrade =
        names(headers, &UPGRADE, "websocket") && names(headers, &CONNECTION, "upgrade");
    let is_known = names(headers, &SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    match key {
        Some(key) if is_upgrade && is_known => {
            HeaderValue::try_from(derive_accept_key(key.as_bytes()))
                .map_err(|error| RestError::Unforeseen(format!("an accept key is base64: {error}")))
        }
        _ => Err(RestError::BadRequest(
            "expected a WebSocket's handshake: Upgrade: websocket, Connection: Upgrade, \
             Sec-WebSocket-Version: 13 and Sec-WebSocket-Key"
                .into(),
        )),
    }
}

/// Whether a header lists a word.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut words = values.flat_map(|value| value.split(','));
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

type Socket = WebSocketStream<Io>;

/// What a client is told whose session has ended.
const ENDED: &str = "the session has ended";

/// What is said to a client.
struct Conversation<'a> {
    session: &'a Session,
    messages: Messages,
    /// Whether its messages are answered.
    answers: bool,
    /// Of whom the minions' grains are asked when events begin.
    of_grains: Option<Arc<RestState>>,
}

/// Serves a connection until it, its session or its stream ends.
async fn serve(
    connection: Connection,
    head: &[u8],
    prepared: Prepared,
    conversation: Conversation<'_>,
) -> tungstenite::Result<()> {
    let Conversation {
        session,
        messages,
        answers,
        of_grains,
    } = conversation;
    let Connection {
        mut io,
        read,
        mut closing,
        held,
    } = connection;
    io.write_all(head).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_partially_read(io, read.into(), Role::Server, Some(config));
    let mut socket = socket.await;
    let converse = async {
        if !wait_until_ready(&mut socket, answers).await? {
            return Ok(());
        }
        let (stream, pipe) = tokio::io::duplex(BUFFER_BYTES);
        prepared.start(Box::new(pipe), Vec::new(), Box::new(held));
        let grains = async {
            if let Some(state) = &of_grains {
                ask_for_grains(state, session).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            result = forward(&mut socket, stream, messages, answers) => result,
            never = grains => never,
        }
    };
    let (result, code, reason) = tokio::select! {
        result = converse => {
            match result {
                // The stream may notice it first.
                Ok(()) if !session.is_alive() => (Ok(()), CloseCode::Policy, ENDED),
                Ok(()) => (Ok(()), CloseCode::Normal, ""),
                Err(error) => {
                    let code = code_of(&error);
                    (Err(error), code, "")
                }
            }
        }
        () = session.ended() => (Ok(()), CloseCode::Policy, ENDED),
        _ = closing.wait_for(|is_closing| *is_closing) => (Ok(()), CloseCode::Away, ""),
    };
    let reason = Utf8Bytes::from_static(reason);
    let _ = socket.close(Some(CloseFrame { code, reason })).await; // it may be gone already
    result
}

/// What a client is told that did not keep to the protocol.
const fn code_of(error: &tungstenite::Error) -> CloseCode {
    match error {
        tungstenite::Error::Capacity(_) => CloseCode::Size,
        tungstenite::Error::Protocol(_) => CloseCode::Protocol,
        tungstenite::Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Error,
    }
}

/// Answers messages until one says that the client wants events; false if none does.
async fn wait_until_ready(socket: &mut Socket, answers: bool) -> tungstenite::Result<bool> {
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        if answers {
            socket.send(Message::text(RECEIVED)).await?;
        }
        if text.as_str() == READY {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sends what the stream has, and answers what the client says.
async fn forward(
    socket: &mut Socket,
    mut stream: DuplexStream,
    mut messages: Messages,
    answers: bool,
) -> tungstenite::Result<()> {
    // As long as any event that the bus took.
    let mut lines = Lines::new(usize::MAX);
    let mut piece = vec![0; BUFFER_BYTES];
    loop {
        tokio::select! {
            read = stream.read(&mut piece) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let mut due = Vec::new();
                lines.push(&piece[..read], |line| {
                    if let Line::Whole(line) = line {
                        due.push(messages.of(line));
                    }
                });
                for of_line in due {
                    for message in of_line? {
                        socket.feed(message).await?;
                    }
                }
                socket.flush().await?;
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(_))) if answers => {
                    socket.send(Message::text(RECEIVED)).await?;
                }
                Some(Ok(_)) => {} // pings are answered by the library
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

impl Messages {
    /// The messages of a line of the stream. An empty one is a heartbeat.
    fn of(&mut self, line: &[u8]) -> io::Result<Vec<Message>> {
        if line.is_empty() {
            return Ok(vec![Message::Ping(Bytes::new())]);
        }
        let text = std::str::from_utf8(line).map_err(io::Error::other)?;
        Ok(match self {
            Self::Data => vec![Message::text(format!("data: {text}\n\n"))],
            Self::Objects => vec![Message::text(text)],
            Self::Formatted(formatted) => {
                let event = json::parse(line).map_err(io::Error::other)?;
                formatted
                    .take(&event)
                    .into_iter()
                    .map(Message::text)
                    .collect()
            }
        })
    }
}
