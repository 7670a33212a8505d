//! Answers requests of the local socket's client with what an API returns.
//!
//! Each connection to the private socket is served separately: complete answers as they are, events converted from
//! the API's lines to records. When the API cannot be reached, the connection of a stream is closed, as by a bus that
//! ends: the client reconnects when it can, and continues where it was.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brine_log::Position;
use brine_wire::envelope::TAG_END;
use brine_wire::record::Record;
use brine_wire::{Map, Value, json, msgpack};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::http::{self, Failure, Server, away};
use super::login::Login;
use super::{Kind, Trouble};
use crate::clock;
use crate::event_lines::{self, Line};

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// The longest line of a stream, in bytes: an event of the bus's largest frame, as JSON.
const MAX_LINE: usize = 256 << 20;
/// After so long without a byte a stream of Brine's is cut: it shows every 15 s that it lives.
const SILENCE: Duration = Duration::from_secs(60);
/// The name of a stream of Salt's in positions: it has none itself.
const SALTS_LOG: u64 = 1;

/// What is said of a token that is refused.
const NOT_LOGGED_IN: &str = "the token is not, or no longer, valid: log in again";

/// The header that carries a token.
const X_AUTH_TOKEN: &str = "x-auth-token";

/// What all connections share.
pub(super) struct Relay {
    server: Server,
    login: Mutex<Login>,
    kind: Kind,
    trouble: Trouble,
    /// How many events Salt's API has sent: they become the numbers.
    count: AtomicU64,
}

/// The end of a connection to the private socket: the client has disconnected.
struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Relay {
    /// Logs in, and finds out whose API it is.
    pub(super) async fn open(
        server: Server,
        mut login: Login,
        trouble: Trouble,
    ) -> Result<Self, Failure> {
        login.log_in(&server).await?;
        let mut relay = Self {
            server,
            login: Mutex::new(login),
            kind: Kind::Brine,
            trouble,
            count: AtomicU64::new(0),
        };
        match relay.whole("/status").await {
            Ok(_) => {}
            Err(Failure::Refused { status: 404, .. }) => {
                relay.kind = Kind::Salt;
                // So that a token that is not valid is found now, and not with the first stream. Tornado's has no
                // such path, but begins a stream at once.
                match relay.whole("/stats").await {
                    Ok(_) => {}
                    Err(Failure::Refused { status: 404, .. }) => {
                        relay.request_events("/events", None).await?;
                    }
                    Err(failure) => return Err(failure),
                }
            }
            Err(failure) => return Err(failure),
        }
        Ok(relay)
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Serves the private socket, for as long as the program runs.
    pub(super) async fn serve(self, listener: StdListener) {
        let relay = Arc::new(self);
        let Ok(listener) = UnixListener::from_std(listener) else {
            return;
        };
        while let Ok((client, _)) = listener.accept().await {
            let relay = Arc::clone(&relay);
            tokio::spawn(async move {
                // A client that has gone needs no answer.
                let _ = relay.serve_client(client).await;
            });
        }
    }

    async fn serve_client(&self, mut client: UnixStream) -> Result<(), Gone> {
        let mut input = Vec::new();
        loop {
            let head = read_head(&mut client, &mut input).await?;
            let Some(asked) = Asked::parse(&head) else {
                return refuse(&mut client, 405, "over --api one reads").await;
            };
            if asked.target.starts_with("/events") {
                return self.stream(&mut client, &asked).await;
            }
            match self.whole(&asked.target).await {
                Ok(body) => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    client.write_all(head.as_bytes()).await?;
                    client.write_all(&body).await?;
                }
                Err(Failure::Refused { status, message }) => {
                    refuse(&mut client, status, &message).await?;
                }
                Err(Failure::Away(reason)) => refuse(&mut client, 503, &reason).await?,
            }
        }
    }

    /// A whole answer.
    async fn whole(&self, target: &str) -> Result<Vec<u8>, Failure> {
        let again = match self.try_whole(target).await {
            Err(failure) if failure.is_unauthorized() => failure,
            answer => return answer,
        };
        self.log_in_again(again).await?;
        self.try_whole(target).await
    }

    async fn try_whole(&self, target: &str) -> Result<Vec<u8>, Failure> {
        let request = self.request(target, "application/json").await?;
        self.server.whole(request).await
    }

    /// The token has expired: gets another one, if that is possible.
    async fn log_in_again(&self, refused: Failure) -> Result<(), Failure> {
        let mut login = self.login.lock().await;
        match login.can_log_in() {
            true => login.log_in(&self.server).await,
            false => Err(match refused {
                Failure::Refused { status, .. } => Failure::Refused {
                    status,
                    message: NOT_LOGGED_IN.to_owned(),
                },
                away => away,
            }),
        }
    }

    async fn request(&self, target: &str, accept: &str) -> Result<hyper::Request<String>, Failure> {
        let token = self.login.lock().await.token().to_owned();
        let request = self.server.request("GET", target);
        let request = request.header(ACCEPT, accept).header(X_AUTH_TOKEN, token);
        request
            .body(String::new())
            .map_err(|error| away(error.to_string()))
    }

    /// Events.
    async fn stream(&self, client: &mut UnixStream, asked: &Asked) -> Result<(), Gone> {
        if self.kind == Kind::Salt && asked.wants_past() {
            let text =
                "this is Salt's own salt-api, which keeps no events: only new events can be read";
            return refuse(client, 400, text).await;
        }
        let opened = match self.open_stream(asked).await {
            Err(failure) if failure.is_unauthorized() => match self.log_in_again(failure).await {
                Ok(()) => self.open_stream(asked).await,
                Err(failure) => Err(failure),
            },
            opened => opened,
        };
        let answer = match opened {
            Ok(answer) => answer,
            Err(Failure::Refused { status, message }) => {
                self.trouble.set(Some(message.clone()));
                return refuse(client, status, &message).await;
            }
            Err(Failure::Away(reason)) => {
                self.trouble.set(Some(reason));
                return Err(Gone);
            }
        };
        self.trouble.set(None);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        client.write_all(head).await?;
        let ended = self.copy(client, asked, answer).await?;
        match ended {
            Ok(()) => client.write_all(b"0\r\n\r\n").await?,
            Err(
                Failure::Away(reason)
                | Failure::Refused {
                    message: reason, ..
                },
            ) => {
                self.trouble.set(Some(reason));
            }
        }
        Ok(())
    }

    async fn open_stream(&self, asked: &Asked) -> Result<Response<Incoming>, Failure> {
        // Salt's takes no parameters.
        let target = match self.kind {
            Kind::Brine => asked.target.as_str(),
            Kind::Salt => "/events",
        };
        let resume = asked.resume.filter(|_| self.kind == Kind::Brine);
        self.request_events(target, resume).await
    }

    async fn request_events(
        &self,
        target: &str,
        resume: Option<Position>,
    ) -> Result<Response<Incoming>, Failure> {
        let (form, accept) = match self.kind {
            Kind::Brine => ("application/x-ndjson", "application/x-ndjson"),
            // rest_tornado looks for a form of its other answers in it, and refuses without one.
            Kind::Salt => ("text/event-stream", "text/event-stream, */*"),
        };
        let mut request = self.request(target, accept).await?;
        if let Some(position) = resume
            && let Ok(position) = position.to_string().parse()
        {
            request.headers_mut().insert("last-event-id", position);
        }
        let answer = self.server.send(request).await;
        let answer = answer.map_err(|failure| match failure {
            // rest_tornado redirects users who are not logged in to the login.
            Failure::Refused { status: 302, .. } => Failure::Refused {
                status: 401,
                message: NOT_LOGGED_IN.to_owned(),
            },
            failure => failure,
        })?;
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.starts_with(form) {
            true => Ok(answer),
            false => Err(away(format!("expected {form}, found {kind:?}"))),
        }
    }

    /// Copies a stream to its end; returns how it ended, or that nobody reads it any more.
    async fn copy(
        &self,
        client: &mut UnixStream,
        asked: &Asked,
        answer: Response<Incoming>,
    ) -> Result<Result<(), Failure>, Gone> {
        let mut body = answer.into_body();
        let mut records = self.records(asked);
        let (mut lines, mut searched) = (Vec::new(), 0);
        let mut ignored = [0; 512];
        send(client, &mut records.out).await?;
        loop {
            let piece = tokio::select! {
                piece = timeout(self.silence(), http::piece(&mut body)) => piece,
                read = client.read(&mut ignored) => match read? {
                    0 => return Err(Gone),
                    _ => continue,
                },
            };
            let piece = match piece {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(failure))) => return Ok(Err(failure)),
                Ok(None) => return Ok(Ok(())),
                Err(_) => return Ok(Err(away("silent for a minute"))),
            };
            lines.extend_from_slice(&piece);
            let mut used = 0;
            while let Some(end) = lines[searched..].iter().position(|byte| *byte == b'\n') {
                let end = searched + end;
                match self.kind {
                    Kind::Brine => records.line(&lines[used..end]),
                    Kind::Salt => records.salts_line(&lines[used..end], &self.count),
                }
                used = end + 1;
                searched = used;
            }
            lines.drain(..used);
            searched = lines.len();
            if lines.len() > MAX_LINE {
                return Ok(Err(away("an event is longer than 256 MiB")));
            }
            send(client, &mut records.out).await?;
        }
    }

    const fn silence(&self) -> Duration {
        match self.kind {
            Kind::Brine => SILENCE,
            // It says nothing for as long as nothing happens.
            Kind::Salt => Duration::MAX,
        }
    }

    /// The records of a stream; of Salt's, with the gap before it, if it is not the first.
    fn records(&self, asked: &Asked) -> Records {
        let mut records = Records::default();
        if self.kind == Kind::Salt {
            Record::Log { log: SALTS_LOG }.encode(&mut records.out);
            if let Some(resume) = asked.resume {
                let at = (SALTS_LOG, resume.seq.0);
                let reason = "the connection was cut".to_owned();
                Record::Gap {
                    from: at,
                    to: at,
                    missed: None,
                    reason: Some(reason),
                }
                .encode(&mut records.out);
            }
        }
        records
    }
}

/// A request to the private socket.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    target: String,
    resume: Option<Position>,
}

impl Asked {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let target = lines
            .next()?
            .strip_prefix("GET ")?
            .strip_suffix(" HTTP/1.1")?;
        let resume = lines.find_map(|line| line.strip_prefix("last-event-id: "));
        Some(Self {
            target: target.to_owned(),
            resume: resume.and_then(|resume| resume.parse().ok()),
        })
    }

    /// Whether it asks for events that were before now.
    fn wants_past(&self) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            matches!(name, "since" | "until" | "last")
                || parameter == "follow=false"
                || (name == "from" && parameter != "from=new")
        })
    }
}

/// Makes records of lines.
#[derive(Debug, Default)]
struct Records {
    log: Option<u64>,
    out: Vec<u8>,
}

impl Records {
    /// A line of Brine's. One that cannot be read is left out: a newer server may write it.
    fn line(&mut self, line: &[u8]) {
        match event_lines::parse(line) {
            Some(Line::Event {
                tag,
                data,
                position: Some(position),
                at,
                sender,
                ..
            }) => {
                self.in_log(position);
                let event = event(&tag, &data);
                Record::Event {
                    sequence: position.seq.0,
                    at: at.unwrap_or_else(clock::now).0,
                    event: &event,
                    sender: sender.as_deref(),
                }
                .encode(&mut self.out);
            }
            Some(Line::Gap {
                from,
                to,
                missed,
                reason,
            }) => Record::Gap {
                from: (from.log.0, from.seq.0),
                to: (to.log.0, to.seq.0),
                missed,
                reason,
            }
            .encode(&mut self.out),
            Some(Line::Heartbeat(position)) => {
                self.in_log(position);
                Record::Heartbeat {
                    sequence: position.seq.0,
                }
                .encode(&mut self.out);
            }
            Some(Line::Event { .. }) | None => {}
        }
    }

    /// Says which log the numbers that follow belong to, where that changes.
    fn in_log(&mut self, position: Position) {
        let log = position.log.0;
        if self.log != Some(log) {
            Record::Log { log }.encode(&mut self.out);
            self.log = Some(log);
        }
    }

    /// A line of Salt's server-sent events.
    fn salts_line(&mut self, line: &[u8], count: &AtomicU64) {
        let Some(object) = line.strip_prefix(b"data: ") else {
            return;
        };
        if let Some(Line::Event { tag, data, .. }) = event_lines::parse(object) {
            let event = event(&tag, &data);
            Record::Event {
                sequence: count.fetch_add(1, Ordering::Relaxed) + 1,
                at: clock::now().0,
                event: &event,
                sender: None,
            }
            .encode(&mut self.out);
        }
    }
}

fn event(tag: &str, data: &Map) -> Vec<u8> {
    let mut event = tag.as_bytes().to_vec();
    event.extend_from_slice(TAG_END);
    msgpack::encode_map(data, &mut event);
    event
}

/// Sends records as a chunk.
async fn send(client: &mut UnixStream, records: &mut Vec<u8>) -> Result<(), Gone> {
    if records.is_empty() {
        return Ok(());
    }
    let size = format!("{:x}\r\n", records.len());
    client.write_all(size.as_bytes()).await?;
    records.extend_from_slice(b"\r\n");
    client.write_all(records).await?;
    records.clear();
    Ok(())
}

async fn refuse(client: &mut UnixStream, status: u16, message: &str) -> Result<(), Gone> {
    let error: Map = [("code", "refused"), ("message", message)]
        .into_iter()
        .collect();
    let error: Map = [("error", Value::from(error))].into_iter().collect();
    let mut body = String::new();
    json::to_line(&error.into(), &mut body);
    let head = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    Ok(())
}

/// The head of the next request, without its end. The client of the local socket sends no body when it reads.
async fn read_head(client: &mut UnixStream, input: &mut Vec<u8>) -> Result<String, Gone> {
    loop {
        if let Some(end) = input.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).into_owned();
            input.drain(..end + 4);
            return Ok(head);
        }
        if input.len() > MAX_HEAD || client.read_buf(input).await? == 0 {
            return Err(Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{LogId, Seq};
    use brine_wire::record;

    #[test]
    fn a_request_is_read_as_the_client_writes_it() {
        let head =
            "GET /events?follow=true&last=5 HTTP/1.1\r\nhost: brine\r\nlast-event-id: 7f3a-42";
        let asked = Asked::parse(head).unwrap();
        assert_eq!(asked.target, "/events?follow=true&last=5");
        let resume = Position {
            log: LogId(0x7f3a),
            seq: Seq(42),
        };
        assert_eq!(asked.resume, Some(resume));
        assert_eq!(Asked::parse("POST /events HTTP/1.1"), None);
    }

    #[test]
    fn salts_api_has_no_past() {
        for (query, past) in [
            ("follow=true", false),
            ("follow=true&tag=last", false),
            ("follow=true&from=new", false),
            ("follow=true&from=earliest", true),
            ("follow=true&last=5", true),
            ("follow=false", true),
        ] {
            let asked = Asked {
                target: format!("/events?{query}"),
                resume: None,
            };
            assert_eq!(asked.wants_past(), past, "{query}");
        }
    }

    #[test]
    fn lines_become_records_of_their_log() {
        let mut records = Records::default();
        records.line(br#"{"seq": 42, "position": "7-42", "time": "1970-01-01T00:00:01.000000Z", "tag": "t", "data": {"a": 1}}"#);
        records.line(b"something newer");
        records.line(br#"{"gap": {"from": "7-42", "to": "8-0", "missed": null, "reason": null}}"#);
        records.line(br#"{"seq": 1, "position": "8-1", "tag": "u", "data": {}}"#);
        let (mut read, mut rest) = (Vec::new(), &records.out[..]);
        while let Some((record, length)) = record::next(rest, 1000).unwrap() {
            read.push(match record {
                Record::Log { log } => format!("log {log}"),
                Record::Event {
                    sequence: 42,
                    at,
                    event,
                    ..
                } => {
                    assert_eq!(event, b"t\n\n\x81\xa1a\x01");
                    format!("event 42 at {at}")
                }
                Record::Event { sequence, .. } => format!("event {sequence}"),
                Record::Gap { from, to, .. } => format!("gap {from:?} {to:?}"),
                other => format!("{other:?}"),
            });
            rest = &rest[length..];
        }
        assert_eq!(
            read,
            [
                "log 7",
                "event 42 at 1000",
                "gap (7, 42) (8, 0)",
                "log 8",
                "event 1"
            ]
        );
    }

    #[test]
    fn salts_events_are_numbered() {
        let (mut records, count) = (Records::default(), AtomicU64::new(0));
        for line in [
            "retry: 400",
            "tag: t",
            "",
            "data: {\"tag\": \"t\", \"data\": {\"a\": 1}}",
        ] {
            records.salts_line(line.as_bytes(), &count);
        }
        let (record, length) = record::next(&records.out, 1000).unwrap().unwrap();
        assert!(
            matches!(record, Record::Event { sequence: 1, .. }),
            "{record:?}"
        );
        assert_eq!(length, records.out.len());
    }
}
