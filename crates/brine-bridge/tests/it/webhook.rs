//! Webhooks: a receiver that answers all sorts of things.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brine_bridge::Secret;
use brine_bridge::http::HttpOptions;
use brine_bridge::tls::{TlsOptions, Trust};
use brine_bridge::webhook::{WebhookForm, WebhookOptions, WebhookSink};
use brine_testkit::certificates::Certificates;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::tempdir;

use crate::support::{Bus, config, wait_until};

/// What the receiver does with the next requests, one each; then it takes all.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Status(&'static str),
    /// The head of an answer, and not all of its body.
    Partial,
    /// The connection is closed.
    Nothing,
    /// No answer for long.
    Silence,
}

#[derive(Default)]
struct Received {
    requests: Vec<(BTreeMap<String, String>, String)>,
    /// The numbers of those that were answered with success.
    taken: Vec<i64>,
}

/// An event for which it always answers the same.
#[derive(Clone, Copy)]
pub(crate) struct Poison {
    pub(crate) number: i64,
    pub(crate) status: &'static str,
    pub(crate) says: &'static str,
}

pub(crate) struct Receiver {
    pub(crate) address: String,
    received: Arc<Mutex<Received>>,
}

impl Receiver {
    pub(crate) fn start(answers: Vec<Answer>, poison: Option<Poison>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/in?key=x", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &mut answers, poison, &shared);
            }
        });
        Self { address, received }
    }

    pub(crate) fn taken(&self) -> Vec<i64> {
        self.received.lock().unwrap().taken.clone()
    }

    /// The body of the first request.
    pub(crate) fn first(&self) -> String {
        self.received.lock().unwrap().requests[0].1.clone()
    }
}

fn serve(
    stream: impl Read + Write,
    answers: &mut std::vec::IntoIter<Answer>,
    poison: Option<Poison>,
    received: &Mutex<Received>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers["content-length"].parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body).unwrap();
        // As a webhook has them, and OTLP.
        let numbers = body.replace("\"key\":\"n\",\"value\":{\"intValue\":\"", "\"n\": ");
        let numbers = numbers.split("\"n\": ").skip(1);
        let numbers: Vec<i64> = numbers
            .map(|rest| {
                let end = rest.find(|one: char| !one.is_ascii_digit()).unwrap();
                rest[..end].parse().unwrap()
            })
            .collect();
        received.lock().unwrap().requests.push((headers, body));
        let poison = poison.filter(|poison| numbers.contains(&poison.number));
        let answer = answers.next();
        if matches!(answer, Some(Answer::Silence)) {
            // Until the other side gives up.
            let mut byte = [0];
            let _ = reader.read(&mut byte);
            return Ok(());
        }
        let out = reader.get_mut();
        match (answer, poison) {
            (Some(Answer::Partial), _) => {
                return write!(
                    out,
                    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nand then"
                );
            }
            (Some(Answer::Nothing | Answer::Silence), _) => return Ok(()),
            (Some(Answer::Status(status)), _) => {
                write!(out, "HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nsaid")?;
            }
            (None, Some(Poison { status, says, .. })) => {
                let length = says.len();
                write!(
                    out,
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{says}"
                )?;
            }
            (None, None) => {
                received.lock().unwrap().taken.extend(numbers);
                write!(out, "HTTP/1.1 204 No Content\r\n\r\n")?;
            }
        }
        out.flush()?;
    }
}

fn sink(receiver: &Receiver, form: WebhookForm) -> WebhookSink {
    let options = WebhookOptions {
        http: HttpOptions {
            url: receiver.address.clone(),
            headers: [("x-own".to_owned(), Secret::new("word".to_owned()))].into(),
            timeout: Duration::from_millis(700),
            tls: TlsOptions::default(),
        },
        secret: Some(Secret::new("Jefe".to_owned())),
        form,
    };
    WebhookSink::new("hook", options).unwrap()
}

#[test]
fn whatever_the_receiver_answers_it_gets_each_event_in_order() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let receiver = Receiver::start(
        vec![
            Answer::Status("500 Oh"),
            Answer::Partial,
            Answer::Status("429 Slow"),
            Answer::Nothing,
            Answer::Silence,
            Answer::Status("404 Where"),
        ],
        None,
    );
    let mut config = config(directory.path(), "hook");
    config.attempts = 10;
    let running = bus.start_with(config, sink(&receiver, WebhookForm::List));
    bus.fire_numbers(0..50);
    wait_until("taken", || receiver.taken().len() >= 50);
    assert!(receiver.taken().into_iter().eq(0..50));
    assert_eq!(running.handle.figures().failures, 6);
    let received = receiver.received.lock().unwrap();
    let (headers, body) = &received.requests[0];
    assert_eq!(headers["x-own"], "word");
    assert!(headers["idempotency-key"].starts_with("hook:"));
    assert!(headers["x-brine-signature"].starts_with("sha256="));
    assert!(body.starts_with("[{\"position\": \""), "{body}");
    // The same batch has the same key, so that the receiver knows it again.
    let keys = received
        .requests
        .iter()
        .map(|(headers, _)| &headers["idempotency-key"]);
    let keys: Vec<_> = keys.take(6).collect();
    assert!(keys.iter().all(|key| key == &keys[0]), "{keys:?}");
    let why = running.handle.figures().last_error.unwrap().reason;
    assert!(why.contains("404") && !why.contains("key=x"), "{why}");
}

#[test]
fn an_event_the_receiver_refuses_is_set_aside() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let poison = Poison {
        number: 13,
        status: "422 No",
        says: "bad",
    };
    let receiver = Receiver::start(Vec::new(), Some(poison));
    let running = bus.start(
        directory.path(),
        "hook",
        sink(&receiver, WebhookForm::Lines),
    );
    bus.fire_numbers(0..40);
    wait_until("taken", || receiver.taken().len() == 39);
    wait_until("set aside", || running.handle.figures().dead == 1);
    assert!(
        receiver
            .taken()
            .into_iter()
            .eq((0..40).filter(|n| *n != 13))
    );
}

#[test]
fn an_event_at_which_the_receiver_breaks_holds_up_nobody() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let poison = Poison {
        number: 0,
        status: "500 Internal Server Error",
        says: "",
    };
    let receiver = Receiver::start(Vec::new(), Some(poison));
    let running = bus.start(directory.path(), "hook", sink(&receiver, WebhookForm::List));
    // Alone, nobody can tell it from a receiver that is away.
    bus.fire_numbers(0..1);
    wait_until("it was tried", || running.handle.figures().failures >= 3);
    assert_eq!(running.handle.figures().dead, 0);
    bus.fire_numbers(1..40);
    wait_until("set aside", || running.handle.figures().dead == 1);
    wait_until("taken", || receiver.taken().last() == Some(&39));
    let mut taken = receiver.taken();
    // One of them was asked for while the other failed.
    taken.dedup();
    let again = taken.len() - 39;
    assert!(
        again <= 1 && taken[again..].iter().copied().eq(1..40),
        "{taken:?}"
    );
    let why = running.handle.figures().last_error.unwrap().reason;
    assert!(why.contains("500"), "{why}");
}

/// The same over TLS.
fn start_over_tls(files: &Certificates) -> Receiver {
    let certificates = CertificateDer::pem_file_iter(&files.certificate).unwrap();
    let certificates = certificates.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!(
        "https://localhost:{}/in",
        listener.local_addr().unwrap().port()
    );
    let received = Arc::new(Mutex::new(Received::default()));
    let shared = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                let stream = StreamOwned::new(connection, stream);
                serve(stream, &mut Vec::new().into_iter(), None, &shared)
            });
        }
    });
    Receiver { address, received }
}

#[test]
fn only_a_receiver_of_the_authority_that_is_given_gets_events() {
    let directory = tempdir().unwrap();
    let files = Certificates::make(directory.path());
    let receiver = start_over_tls(&files);
    let bus = Bus::open(directory.path());
    let of = |roots: &Path| {
        let options = WebhookOptions {
            http: HttpOptions {
                url: receiver.address.clone(),
                headers: BTreeMap::new(),
                timeout: Duration::from_secs(60),
                tls: TlsOptions {
                    trust: Trust::Roots(roots.to_owned()),
                    identity: None,
                },
            },
            secret: None,
            form: WebhookForm::List,
        };
        WebhookSink::new("hook", options).unwrap()
    };
    let _trusting = bus.start(directory.path(), "trusting", of(&files.authority));
    let wary = bus.start(directory.path(), "wary", of(&files.stranger));
    bus.fire_numbers(0..3);
    wait_until("taken", || receiver.taken() == [0, 1, 2]);
    wait_until("it is said why not", || {
        let why = wary.handle.figures().waits_for;
        why.is_some_and(|why| why.contains("option ca names who may"))
    });
}
