//! The network listener over TLS: both versions of HTTP, certificates that change, clients that must show one.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brine_api::network::{Tls, TlsFiles};
use brine_api::rest::{Limits, RestOptions};
use brine_testkit::wait_until;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::network::{Network, Nobody, TOKEN};
use crate::support::DEADLINE;

fn certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn write(directory: &Path, name: &str, made: &CertifiedKey<KeyPair>) -> TlsFiles {
    let certificate = directory.join(format!("{name}.crt"));
    let key = directory.join(format!("{name}.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    TlsFiles {
        certificate,
        key,
        chain: None,
        client_ca: None,
    }
}

/// What comes back for a request over TLS by somebody who trusts a certificate and may show one.
fn ask(
    network: &Network,
    trusted: &CertifiedKey<KeyPair>,
    shown: Option<&CertifiedKey<KeyPair>>,
    protocol: &[u8],
) -> Result<String, String> {
    let mut stream = connect(network, trusted, shown, protocol);
    let request = match protocol {
        b"h2" => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        _ => b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
    };
    stream
        .write_all(&request)
        .map_err(|error| error.to_string())?;
    let mut answer = vec![0; 9];
    stream
        .read_exact(&mut answer)
        .map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(
    network: &Network,
    trusted: &CertifiedKey<KeyPair>,
    shown: Option<&CertifiedKey<KeyPair>>,
    protocol: &[u8],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let certificate: CertificateDer<'static> = shown.cert.der().clone();
            let key = PrivatePkcs8KeyDer::from(shown.signing_key.serialize_der());
            let key = PrivateKeyDer::from(key);
            builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(network.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    StreamOwned::new(connection, stream)
}

fn start(files: TlsFiles) -> Network {
    start_with(files, Limits::default())
}

fn start_with(files: TlsFiles, limits: Limits) -> Network {
    let tls = Tls::load(files).unwrap();
    let options = RestOptions {
        limits,
        ..RestOptions::default()
    };
    Network::over("[]", options, Arc::new(Nobody), Some(tls))
}

#[test]
fn both_versions_of_http_are_spoken_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let own = certificate();
    let network = start(write(directory.path(), "own", &own));
    assert_eq!(ask(&network, &own, None, b"http/1.1").unwrap(), "HTTP/1.1 ");
    // The server's settings frame.
    let frame = ask(&network, &own, None, b"h2").unwrap();
    assert_eq!(frame.as_bytes()[3], 4, "{frame:?}");
    // In clear there is no answer, and the server stays.
    assert_eq!(
        network
            .raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .find("HTTP"),
        None
    );
    assert!(ask(&network, &certificate(), None, b"http/1.1").is_err());
    assert!(ask(&network, &own, None, b"http/1.1").is_ok());
}

#[test]
fn a_page_that_is_not_encrypted_cannot_use_the_cookie_of_one_that_is() {
    let directory = tempfile::tempdir().unwrap();
    let own = certificate();
    let network = start(write(directory.path(), "own", &own));
    for (origin, status) in [("https://x", "200"), ("http://x", "403"), ("ws://x", "403")] {
        let mut stream = connect(&network, &own, None, b"http/1.1");
        let request = format!(
            "HEAD /events HTTP/1.1\r\nhost: x\r\ncookie: session_id={TOKEN}\r\norigin: {origin}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let expected = format!("HTTP/1.1 {status}");
        assert_eq!(String::from_utf8_lossy(&answer), expected, "{origin}");
    }
}

#[test]
fn clients_must_show_a_certificate_where_that_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let (own, client) = (certificate(), certificate());
    let ca = write(directory.path(), "client", &client).certificate;
    let network = start(TlsFiles {
        client_ca: Some(ca),
        ..write(directory.path(), "own", &own)
    });
    assert!(ask(&network, &own, None, b"http/1.1").is_err());
    assert!(ask(&network, &own, Some(&certificate()), b"http/1.1").is_err());
}

#[test]
fn handshakes_under_way_are_bounded_and_delay_nobody_else() {
    const MOST: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let own = certificate();
    // Nobody is shown the door by time.
    let limits = Limits {
        handshakes: MOST,
        head_timeout: 10 * DEADLINE,
        ..Limits::default()
    };
    let network = start_with(write(directory.path(), "own", &own), limits);
    let held: Vec<_> = (0..2 * MOST)
        .map(|_| {
            let mut stream = TcpStream::connect(network.address).unwrap();
            stream.write_all(b"\x16\x03\x01").unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let is_closed = |mut stream: &TcpStream| match stream.read(&mut [0; 64]) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(read) => read == 0,
    };
    let closed = || held.iter().filter(|stream| is_closed(stream)).count();
    wait_until("the oldest make room", || closed() == MOST);
    assert!(ask(&network, &own, None, b"http/1.1").is_ok());
    wait_until("one more makes room", || closed() == MOST + 1);
}

#[test]
fn a_connection_of_http2_that_asks_nothing_is_closed_and_a_stream_stays() {
    let directory = tempfile::tempdir().unwrap();
    let own = certificate();
    let limits = Limits {
        head_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let network = start_with(write(directory.path(), "own", &own), limits);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for start in [&b""[..], &preface[..10], preface] {
        let mut stream = connect(&network, &own, None, b"h2");
        stream.write_all(start).unwrap();
        let closed = frames(&mut stream, |_, _| true);
        let kind = closed.unwrap_err().kind();
        assert!(
            kind != ErrorKind::WouldBlock && kind != ErrorKind::TimedOut,
            "{start:?}"
        );
    }
    let mut stream = connect(&network, &own, None, b"h2");
    let path = format!("/events?heartbeat=1&token={TOKEN}");
    let mut head = vec![
        0x82,
        0x87,
        0x01,
        1,
        b'x',
        0x04,
        u8::try_from(path.len()).unwrap(),
    ];
    head.extend_from_slice(path.as_bytes());
    let mut request = preface.to_vec();
    request.extend_from_slice(&[0, 0, u8::try_from(head.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    request.extend_from_slice(&head);
    stream.write_all(&request).unwrap();
    let mut beats = 0;
    let all_came = frames(&mut stream, |kind, _| {
        beats += usize::from(kind == DATA);
        beats < 5
    });
    all_came.unwrap();
}

const DATA: u8 = 0;
const PING: u8 = 6;

/// Reads the frames of HTTP/2 and answers pings, until one is enough; the kind and the payload of each.
fn frames(
    stream: &mut (impl Read + Write),
    mut goes_on: impl FnMut(u8, &[u8]) -> bool,
) -> std::io::Result<()> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length.try_into().unwrap()];
        stream.read_exact(&mut payload)?;
        if head[3] == PING && head[4] == 0 {
            let mut answer = head.to_vec();
            answer[4] = 1;
            answer.extend_from_slice(&payload);
            stream.write_all(&answer)?;
        }
        if !goes_on(head[3], &payload) {
            return Ok(());
        }
    }
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let files = write(directory.path(), "own", &certificate());
    std::fs::write(&files.certificate, "nothing").unwrap();
    let error = Tls::load(files.clone()).unwrap_err().to_string();
    assert!(error.contains("own.crt: expected certificates"), "{error}");
    let other = write(directory.path(), "other", &certificate());
    let mixed = TlsFiles {
        certificate: other.certificate,
        ..files
    };
    assert!(
        Tls::load(mixed)
            .unwrap_err()
            .to_string()
            .starts_with("ssl_crt and ssl_key")
    );
}
