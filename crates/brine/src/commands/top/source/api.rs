//! Events of a master's HTTP API, `http://` or `https://`: lines of `GET /events`, resumed where a connection was cut.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_view::Facts;
use brine_view::site::{Gap, Row};
use brine_wire::{Map, Value, json, msgpack};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Item, LOOK_EVERY, Link, Out, Over, Questions, file};
use crate::clock;

/// Where systems keep the certificates that they trust.
const SYSTEM_CA: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
/// A server that says nothing for so long has gone: it sends a heartbeat every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest line of an answer, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// An API and how to reach it.
#[derive(Clone)]
pub(super) struct Api {
    host: String,
    port: u16,
    path: String,
    token: String,
    tls: Option<Arc<ClientConfig>>,
    /// The last event read: what a new connection goes on after.
    position: Option<String>,
}

/// A connection, in clear or not.
trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

impl Api {
    pub(super) fn new(url: &str, token: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => bail!("--api {url}: expected http://HOST:PORT or https://HOST:PORT"),
        };
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            bail!("--token: expected printable characters without blanks");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (
                host,
                port.parse()
                    .with_context(|| format!("--api {url}: port {port}"))?,
            ),
            _ => (authority, if is_tls { 443 } else { 80 }),
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: format!("/{path}").trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            tls: if is_tls {
                Some(Arc::new(tls(ca)?))
            } else {
                None
            },
            position: None,
        })
    }

    /// Reads until the user has seen enough.
    pub(super) fn read(&mut self, last: u64, out: &mut Out) {
        let mut last = Some(last).filter(|last| *last > 0);
        loop {
            let lost = match self.follow(&mut last, out) {
                Ok(Ok(())) => "the server ended the stream; connecting again".to_owned(),
                Ok(Err(Over)) => return,
                Err(error) => error.to_string(),
            };
            if out.link(Link::Lost(lost)).is_err() {
                return;
            }
            for _ in 0..10 {
                if out.flush().is_err() {
                    return;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// Reads one connection to its end.
    fn follow(&mut self, last: &mut Option<u64>, out: &mut Out) -> io::Result<Result<(), Over>> {
        let query = last.map_or_else(String::new, |last| format!("?last={last}"));
        let mut lines = self.get(&format!("/events{query}"), "application/x-ndjson")?;
        *last = None;
        if out.link(Link::Live).is_err() {
            return Ok(Err(Over));
        }
        let (mut line, mut seq) = (Vec::new(), 0);
        while lines.next(&mut line)? {
            if let Some(item) = self.item(&line, &mut seq)
                && out.push(item).is_err()
            {
                return Ok(Err(Over));
            }
            if lines.is_drained() && out.flush().is_err() {
                return Ok(Err(Over));
            }
        }
        Ok(Ok(()))
    }

    /// What a line of the stream says; heartbeats say nothing.
    fn item(&mut self, line: &[u8], seq: &mut u64) -> Option<Item> {
        let Value::Map(fields) = json::parse(line).ok()? else {
            return None;
        };
        if let Some(gap) = fields.get("gap").and_then(Value::as_map) {
            let to = gap.get("to").and_then(Value::as_str);
            self.position = to.map(str::to_owned).or_else(|| self.position.take());
            let missed = match gap.get("missed") {
                Some(Value::Int(missed)) => u64::try_from(*missed).ok(),
                _ => None,
            };
            let reason = gap
                .get("reason")
                .and_then(Value::as_str)
                .unwrap_or("no longer kept")
                .to_owned();
            return Some(Item::Gap(Gap {
                at: clock::now().0,
                before: *seq + 1,
                missed,
                reason,
            }));
        }
        if let Some(position) = fields.get("position").and_then(Value::as_str) {
            self.position = Some(position.to_owned());
        }
        file::event(line, seq)
    }

    /// Asks, and gives the lines of the answer's body.
    fn get(&self, target: &str, accept: &str) -> io::Result<Lines> {
        let address = (self.host.as_str(), self.port);
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(SILENCE))?;
        tcp.set_write_timeout(Some(SILENCE))?;
        let mut connection: Box<dyn Connection> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                let tls =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(tls, tcp))
            }
        };
        let resume = match &self.position {
            Some(position) if target.starts_with("/events") => {
                format!("last-event-id: {position}\r\n")
            }
            _ => String::new(),
        };
        let request = format!(
            "GET {}{target} HTTP/1.1\r\nhost: {}\r\naccept: {accept}\r\nx-auth-token: {}\r\nconnection: close\r\n{resume}\r\n",
            self.path, self.host, self.token
        );
        connection.write_all(request.as_bytes())?;
        connection.flush()?;
        Lines::open(BufReader::new(connection))
    }

    fn rows(&self, target: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        let Ok(mut lines) = self.get(target, "application/x-ndjson") else {
            return rows;
        };
        let (mut line, mut seq) = (Vec::new(), 0);
        while matches!(lines.next(&mut line), Ok(true)) {
            if let Some(Item::Event { tag, data, at, seq }) = file::event(&line, &mut seq) {
                let decoded = msgpack::decode(&data);
                let is_failure = matches!(&decoded, Ok(Value::Map(map)) if Facts::of(&tag, map).ok == Some(false));
                rows.push(Row::Event {
                    seq,
                    at,
                    tag: tag.into(),
                    data: Some(data.into()),
                    is_failure,
                });
            }
        }
        rows
    }
}

impl Questions for Api {
    fn status(&mut self) -> Option<(Map, Vec<Map>)> {
        let mut lines = self.get("/status", "application/json").ok()?;
        let mut text = Vec::new();
        let mut line = Vec::new();
        while lines.next(&mut line).ok()? {
            text.extend_from_slice(&line);
        }
        match json::parse(&text).ok()? {
            Value::Map(status) => Some((status, Vec::new())),
            _ => None,
        }
    }

    fn before(&mut self, at: u64, count: u64) -> Vec<Row> {
        let target = format!(
            "/events?follow=false&last={count}&until=@{}.{:03}",
            at / 1000,
            at % 1000
        );
        let mut past = self.clone();
        past.position = None;
        past.rows(&target)
    }

    fn one(&mut self, seq: u64) -> Option<(String, Option<Map>, u64)> {
        let mut past = self.clone();
        past.position = None;
        let rows = past.rows(&format!("/events?follow=false&from={seq}&limit=1"));
        rows.into_iter()
            .find(|row| row.seq() == seq)
            .and_then(|row| match row {
                Row::Event { at, tag, data, .. } => {
                    let data = data.and_then(|data| msgpack::decode(&data).ok());
                    let data = data.and_then(|data| match data {
                        Value::Map(map) => Some(map),
                        _ => None,
                    });
                    Some((tag.to_string(), data, at))
                }
                Row::Gap(_) => None,
            })
    }
}

/// The trust in servers: a file's certificates, or the system's.
fn tls(ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let file = match ca {
        Some(file) => file.to_owned(),
        None => {
            let found = SYSTEM_CA
                .iter()
                .map(PathBuf::from)
                .find(|file| file.exists());
            found.context("no certificates of this system found; add --ca FILE")?
        }
    };
    let name = || file.display().to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&file).with_context(name)? {
        // Of a system's bundle some may be of no use here.
        let added = roots.add(certificate.with_context(name)?);
        if ca.is_some() {
            added.with_context(name)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The lines of an answer's body.
struct Lines {
    from: BufReader<Box<dyn Connection>>,
    is_chunked: bool,
    /// What is left of the present chunk, or of the body.
    left: u64,
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    is_over: bool,
}

impl Lines {
    /// Reads the head.
    fn open(mut from: BufReader<Box<dyn Connection>>) -> io::Result<Self> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut line = String::new();
        from.by_ref().take(8192).read_line(&mut line)?;
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        match status.as_str() {
            "200" => {}
            "401" => {
                return Err(wrong(
                    "the API refuses the token (401): log in again".to_owned(),
                ));
            }
            _ => {
                return Err(wrong(format!(
                    "expected an answer of the API, found {}",
                    line.trim()
                )));
            }
        }
        let (mut is_chunked, mut left) = (false, u64::MAX);
        for _ in 0..100 {
            line.clear();
            from.by_ref().take(8192).read_line(&mut line)?;
            let lower = line.to_ascii_lowercase();
            if lower.trim().is_empty() {
                return Ok(Self {
                    from,
                    is_chunked,
                    left: if is_chunked { 0 } else { left },
                    begun: Vec::new(),
                    is_over: false,
                });
            }
            if let Some(length) = lower.strip_prefix("content-length:") {
                left = length
                    .trim()
                    .parse()
                    .map_err(|_| wrong("content-length is no number".to_owned()))?;
            }
            is_chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        }
        Err(wrong("the head of the answer does not end".to_owned()))
    }

    /// Whether reading on would wait.
    fn is_drained(&self) -> bool {
        self.from.buffer().is_empty()
    }

    /// The next line; `false` at the end of the body.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        loop {
            if self.left == 0 && !self.next_chunk()? {
                std::mem::swap(line, &mut self.begun);
                self.begun.clear();
                return Ok(!line.is_empty());
            }
            let most = self.left.min(MAX_LINE);
            let read = self
                .from
                .by_ref()
                .take(most)
                .read_until(b'\n', &mut self.begun)? as u64;
            self.left = self.left.saturating_sub(read);
            if read == 0 {
                self.is_over = true;
                self.left = 0;
            }
            if self.begun.len() as u64 > MAX_LINE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line is too long",
                ));
            }
            if self.begun.ends_with(b"\n") {
                std::mem::swap(line, &mut self.begun);
                self.begun.clear();
                return Ok(true);
            }
        }
    }

    /// Goes on to the next chunk; `false` after the last one.
    fn next_chunk(&mut self) -> io::Result<bool> {
        if self.is_over || !self.is_chunked {
            return Ok(false);
        }
        let mut size = String::new();
        // The line end behind the chunk before comes first.
        while size.trim().is_empty() {
            size.clear();
            if self.from.by_ref().take(64).read_line(&mut size)? == 0 {
                self.is_over = true;
                return Ok(false);
            }
        }
        let digits = size.trim().split(';').next().unwrap_or_default();
        self.left = u64::from_str_radix(digits, 16).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "a chunk's size is no number")
        })?;
        self.is_over = self.left == 0;
        Ok(!self.is_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Answer(io::Cursor<Vec<u8>>);

    impl Read for Answer {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // Whatever the pieces are.
            let most = buffer.len().min(3);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Write for Answer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(answer: &str) -> io::Result<Vec<String>> {
        let answer = Answer(io::Cursor::new(answer.as_bytes().to_vec()));
        let mut lines = Lines::open(BufReader::new(Box::new(answer)))?;
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while lines.next(&mut line)? {
            all.push(String::from_utf8(line.clone()).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn lines_come_out_of_chunks_and_whole_bodies() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\n4\r\nwo\n\n\r\n0\r\n\r\n";
        assert_eq!(lines(chunked).unwrap(), ["one\n", "two\n", "\n"]);
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none\nx\nrest";
        assert_eq!(lines(whole).unwrap(), ["one\n", "x\n"]);
        let error = lines("HTTP/1.1 401 Unauthorized\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("log in again"), "{error}");
        assert!(lines("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").is_err());
    }

    #[test]
    fn addresses_are_read() {
        for (url, host, port, path) in [
            ("http://salt:8000", "salt", 8000, ""),
            ("http://[::1]:8000/api/", "::1", 8000, "/api"),
            ("http://salt", "salt", 80, ""),
        ] {
            let api = Api::new(url, "t", None).unwrap();
            assert_eq!(
                (api.host.as_str(), api.port, api.path.as_str()),
                (host, port, path)
            );
        }
        assert!(Api::new("salt:8000", "t", None).is_err());
        assert!(Api::new("http://salt", "a b", None).is_err());
    }
}
