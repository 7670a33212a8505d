//! Webhooks: a receiver that answers all sorts of things.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brine_bridge::Secret;
use brine_bridge::tls::TlsOptions;
use brine_bridge::webhook::{WebhookForm, WebhookOptions, WebhookSink};
use tempfile::tempdir;

use crate::support::{Bus, wait_until};

/// What the receiver does with the next requests, one each; then it takes all.
#[derive(Clone, Copy)]
enum Answer {
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

struct Receiver {
    address: String,
    received: Arc<Mutex<Received>>,
}

impl Receiver {
    fn start(answers: Vec<Answer>, refused: Option<i64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/in?key=x", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Arc::clone(&received);
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &mut answers, refused, &shared);
            }
        });
        Self { address, received }
    }

    fn taken(&self) -> Vec<i64> {
        self.received.lock().unwrap().taken.clone()
    }
}

fn serve(
    stream: TcpStream,
    answers: &mut std::vec::IntoIter<Answer>,
    refused: Option<i64>,
    received: &Mutex<Received>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
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
        let numbers: Vec<i64> = body
            .split("\"n\": ")
            .skip(1)
            .map(|rest| rest.split('}').next().unwrap().parse().unwrap())
            .collect();
        received.lock().unwrap().requests.push((headers, body));
        let is_refused = refused.is_some_and(|refused| numbers.contains(&refused));
        match answers.next() {
            Some(Answer::Status(status)) => {
                write!(out, "HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nsaid")?;
            }
            Some(Answer::Partial) => {
                return write!(
                    out,
                    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nand then"
                );
            }
            Some(Answer::Nothing) => return Ok(()),
            Some(Answer::Silence) => {
                // Until the other side gives up.
                let mut byte = [0];
                let _ = reader.read(&mut byte);
                return Ok(());
            }
            None if is_refused => {
                write!(out, "HTTP/1.1 422 No\r\ncontent-length: 3\r\n\r\nbad")?;
            }
            None => {
                received.lock().unwrap().taken.extend(numbers);
                write!(out, "HTTP/1.1 204 No Content\r\n\r\n")?;
            }
        }
    }
}

fn sink(receiver: &Receiver, form: WebhookForm) -> WebhookSink {
    let options = WebhookOptions {
        url: receiver.address.clone(),
        secret: Some(Secret::new("Jefe".to_owned())),
        headers: [("x-own".to_owned(), Secret::new("word".to_owned()))].into(),
        timeout: Duration::from_millis(700),
        form,
        tls: TlsOptions::default(),
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
    let running = bus.start(directory.path(), "hook", sink(&receiver, WebhookForm::List));
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
    let receiver = Receiver::start(Vec::new(), Some(13));
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
