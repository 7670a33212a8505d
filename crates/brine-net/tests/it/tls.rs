//! TLS on both tcp ports: our own ends, wrong certificates, and real Salt on either side.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use brine_net::channel::{Limits, Presence, Publication};
use brine_net::listener::Listener;
use brine_net::tcp::client::{Destination, Requester, Subscription};
use brine_net::tcp::publish::{self, Publisher};
use brine_net::tcp::serve_requests;
use brine_net::tls::{CertReqs, TlsError, TlsOptions};
use brine_testkit::DEADLINE;
use brine_wire::compat::Compat;
use brine_wire::network::MinionId;
use brine_wire::network::publish::Publish;
use brine_wire::{Map, Value};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::salt_master;

/// An authority and certificates from it, in files.
pub(crate) struct Certificates {
    root: TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        let root = tempfile::tempdir().unwrap();
        for (authority, names) in [
            ("ca", &["localhost", "m1", "elsewhere.example"][..]),
            ("other-ca", &["stranger"]),
        ] {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let name = rcgen::DnType::CommonName;
            params.distinguished_name.push(name, authority);
            let issuer =
                CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            write(root.path(), &format!("{authority}.crt"), &issuer.pem());
            for name in names {
                Self::issue(root.path(), name, &issuer);
            }
        }
        Self { root }
    }

    fn issue(root: &Path, name: &str, issuer: &Issuer<'_, KeyPair>) {
        let mut names = vec![name.to_owned()];
        if name == "localhost" {
            names.push("127.0.0.1".into());
        }
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        write(root, &format!("{name}.crt"), &certificate.pem());
        write(root, &format!("{name}.key"), &key.serialize_pem());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn options(&self, name: &str, cert_reqs: Option<CertReqs>) -> TlsOptions {
        TlsOptions {
            certfile: Some(self.path(&format!("{name}.crt"))),
            keyfile: Some(self.path(&format!("{name}.key"))),
            ca_certs: vec![self.path("ca.crt")],
            cert_reqs,
        }
    }

    /// The same as Salt's configuration says it.
    pub(crate) fn salt(&self, name: &str) -> String {
        let root = self.root.path().display();
        format!(
            "ssl:\n  certfile: {root}/{name}.crt\n  keyfile: {root}/{name}.key\n  \
             ca_certs: {root}/ca.crt\n  cert_reqs: CERT_REQUIRED\n"
        )
    }
}

fn write(root: &Path, name: &str, text: &str) {
    fs::write(root.join(name), text).unwrap();
}

/// A request port within TLS that answers with what it is asked.
async fn echo_port(options: &TlsOptions) -> String {
    let limits = Limits {
        io_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    echo_port_within(limits, options).await
}

async fn echo_port_within(limits: Limits, options: &TlsOptions) -> String {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let mut listener = Listener::from(tcp);
    listener.tls = Some(options.server(Compat::NEWEST).unwrap());
    let (handler, mut incoming) = crate::requests::channel();
    tokio::spawn(serve_requests(
        listener,
        limits,
        handler,
        std::future::pending(),
    ));
    tokio::spawn(async move {
        while let Some(mut request) = incoming.recv().await {
            let payload = request.take_payload();
            request.answer(payload);
        }
    });
    address
}

fn destination(address: &str, options: &TlsOptions) -> Destination {
    Destination {
        tls: Some(options.client().unwrap()),
        ..Destination::from(address)
    }
}

#[tokio::test]
async fn requests_and_publishes_go_through_tls() {
    let certificates = Certificates::make();
    let server = certificates.options("localhost", Some(CertReqs::Required));
    let client = certificates.options("m1", None);
    let address = echo_port(&server).await;
    let requester = Requester::new(destination(&address, &client));
    let large = Value::Bin(vec![0xff; 3_000_000]);
    for payload in [Value::from(1), large, Value::from(2)] {
        assert!(requester.request(&payload, DEADLINE).await.unwrap() == payload);
    }

    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let mut listener = Listener::from(tcp);
    listener.tls = Some(server.server(Compat::NEWEST).unwrap());
    let publisher = Publisher::default();
    let (changes, mut presence) = mpsc::channel(16);
    tokio::spawn(publish::serve(
        listener,
        Limits::default(),
        publisher.clone(),
        Arc::new(|body: &Value| body.as_str().and_then(|id| MinionId::parse(id).ok())),
        changes,
        std::future::pending(),
    ));
    let mut subscription = Subscription::open(destination(&address, &client), &"m1".into())
        .await
        .unwrap();
    let id = MinionId::parse("m1").unwrap();
    let identified = timeout(DEADLINE, presence.recv()).await.unwrap();
    assert_eq!(identified, Some(Presence::Identified(id.clone())));
    let load = vec![9; 200_000];
    let publish = Publish {
        load: load.clone(),
        signature: None,
    };
    let publication = Publication {
        payload: publish.to_bytes().into(),
        audience: brine_net::channel::Audience::Minions(vec![id]),
    };
    assert_eq!(publisher.publish(&publication), 0);
    let published = timeout(DEADLINE, subscription.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(published.load, load);
}

#[tokio::test]
async fn wrong_certificates_get_nowhere() {
    let certificates = Certificates::make();
    let strict = certificates.options("localhost", Some(CertReqs::Required));
    let address = echo_port(&strict).await;
    let ask = async |destination: Destination| {
        let requester = Requester::new(destination);
        requester.request(&1.into(), DEADLINE).await
    };
    let good = certificates.options("m1", None);
    // Without a certificate, with one of another authority, and in clear.
    let without = TlsOptions {
        certfile: None,
        ..good.clone()
    };
    for wrong in [without.clone(), certificates.options("stranger", None)] {
        assert!(ask(destination(&address, &wrong)).await.is_err());
    }
    assert!(ask(Destination::from(address.as_str())).await.is_err());
    // A minion that does not know the master's authority, or calls it by another name.
    let other = TlsOptions {
        ca_certs: vec![certificates.path("other-ca.crt")],
        ..good.clone()
    };
    assert!(ask(destination(&address, &other)).await.is_err());
    let elsewhere = certificates.options("elsewhere.example", Some(CertReqs::None));
    let address = echo_port(&elsewhere).await;
    assert!(ask(destination(&address, &good)).await.is_err());
    // Who asks for nothing takes it.
    let anybody = TlsOptions {
        cert_reqs: Some(CertReqs::None),
        ..without
    };
    assert!(ask(destination(&address, &anybody)).await.is_ok());
    let optional = certificates.options("localhost", Some(CertReqs::Optional));
    let address = echo_port(&optional).await;
    assert!(ask(destination(&address, &anybody)).await.is_ok());
    assert!(ask(destination(&address, &good)).await.is_ok());
}

#[tokio::test]
async fn a_connection_without_handshake_is_closed() {
    let certificates = Certificates::make();
    let strict = certificates.options("localhost", Some(CertReqs::Required));
    let address = echo_port(&strict).await;
    for bytes in [
        &b""[..],
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x82\xa4head\x80",
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{bytes:02x?}");
    }
    let good = certificates.options("m1", None);
    let requester = Requester::new(destination(&address, &good));
    assert!(requester.request(&1.into(), DEADLINE).await.is_ok());
}

/// A record of a handshake whose message claims the most that the library would wait for, and so much of it.
fn large_handshake(bytes: usize) -> Vec<u8> {
    let length = u16::try_from(bytes).unwrap().to_be_bytes();
    let mut record = [&b"\x16\x03\x01"[..], &length, b"\x01\x00\xff\xfb"].concat();
    record.resize(5 + bytes, 0);
    record
}

#[tokio::test]
async fn a_handshake_is_so_large_and_no_larger() {
    let certificates = Certificates::make();
    let options = certificates.options("localhost", Some(CertReqs::Required));
    let patient = Limits {
        io_timeout: 10 * DEADLINE,
        ..Limits::default()
    };
    let address = echo_port_within(patient, &options).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut record = large_handshake(16_000);
    stream.write_all(&record).await.unwrap();
    // The second record goes on with the message.
    record.truncate(5);
    record.resize(16_005, 0);
    let _ = stream.write_all(&record).await; // closed perhaps before all of it is written
    let mut rest = Vec::new();
    let closed = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "still open after 32,000 bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_stop_within_a_handshake_delay_nobody_else() {
    const EACH: usize = 100;
    let certificates = Certificates::make();
    let options = certificates.options("localhost", Some(CertReqs::Required));
    // Fewer than come, and nobody is shown the door by time.
    let limits = Limits {
        io_timeout: 10 * DEADLINE,
        strangers_per_address: EACH,
        ..Limits::default()
    };
    let address = echo_port_within(limits, &options).await;
    let mut held = Vec::new();
    for opening in [
        &b""[..],
        b"\x16\x03\x01",
        &[0x5a; 300],
        &large_handshake(15_000),
    ] {
        for _ in 0..EACH {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(opening).await.unwrap();
            held.push(stream);
        }
        let good = certificates.options("m1", None);
        let requester = Requester::new(destination(&address, &good));
        let answer = requester.request(&1.into(), DEADLINE).await;
        assert!(
            answer.is_ok(),
            "{answer:?} beside {} connections",
            held.len()
        );
    }
    // What they hold is bounded by their number, and those that were there first made room.
    let first = timeout(DEADLINE, held[0].read_to_end(&mut Vec::new())).await;
    assert!(first.is_ok(), "the oldest connection is still open");
}

#[test]
fn the_option_is_read_as_salt_writes_it() {
    let read = |ssl: Value| TlsOptions::from_option(Some(&ssl));
    assert_eq!(TlsOptions::from_option(None).unwrap(), None);
    assert_eq!(read(false.into()).unwrap(), None);
    assert_eq!(read(true.into()).unwrap(), Some(TlsOptions::default()));
    let map = |name: &str, value: Value| -> Map { [(name, value)].into_iter().collect() };
    let whole: Map = [
        ("certfile", "a.crt"),
        ("keyfile", "a.key"),
        ("ca_certs", "ca.crt"),
        ("cert_reqs", "CERT_OPTIONAL"),
        ("ciphers", "HIGH"),
    ]
    .into_iter()
    .collect();
    let expected = TlsOptions {
        certfile: Some("a.crt".into()),
        keyfile: Some("a.key".into()),
        ca_certs: vec!["ca.crt".into()],
        cert_reqs: Some(CertReqs::Optional),
    };
    assert_eq!(read(whole.into()).unwrap(), Some(expected));
    let more = vec!["one.crt".into(), map("cafile", "two.crt".into()).into()];
    let read_more = read(map("verify_locations", Value::Array(more)).into()).unwrap();
    assert_eq!(
        read_more.unwrap().ca_certs,
        [PathBuf::from("one.crt"), "two.crt".into()]
    );
    for wrong in [
        Value::from("yes"),
        map("cert_reqs", "CERT_MAYBE".into()).into(),
        map("certfile", 1.into()).into(),
        map(
            "verify_flags",
            Value::Array(vec!["VERIFY_CRL_CHECK_LEAF".into()]),
        )
        .into(),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong:?}");
    }
}

#[test]
fn unusable_certificates_are_reported_at_start() {
    let certificates = Certificates::make();
    let mut options = certificates.options("localhost", Some(CertReqs::Required));
    assert!(options.server(Compat::NEWEST).is_ok());
    options.ca_certs.clear();
    let missing = options.server(Compat::NEWEST);
    assert!(matches!(missing, Err(TlsError::Missing { .. })));
    assert!(matches!(options.client(), Err(TlsError::Missing { .. })));
    options.certfile = Some(certificates.path("no-such.crt"));
    options.cert_reqs = Some(CertReqs::None);
    assert!(matches!(
        options.server(Compat::NEWEST),
        Err(TlsError::File { .. })
    ));
    options.certfile = None;
    assert!(matches!(
        options.server(Compat::NEWEST),
        Err(TlsError::Missing { .. })
    ));
}

// 3007.14's TLS does not start on the Python it comes with, on either side.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_minions_work_within_tls_on_our_side() {
    for version in ["3006.28", "3008.3"] {
        println!("Salt {version}");
        let certificates = Certificates::make();
        let server = certificates.options("localhost", Some(CertReqs::Required));
        let tls = server.server(Compat::NEWEST).unwrap();
        let mut master = crate::salt_minion::Master::with(Some(tls)).await;
        let extra = certificates.salt("m1");
        let _minion = master.salt_with(version, "salt-minion", &[], &extra);
        master.started().await;
        master.run_job("20260101000000000001").await;
    }
}

/// Behind its request port, a 3008.3 master speaks TLS to its own workers where they do not, unless
/// it has no worker pools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_minions_side_works_within_tls_on_real_masters() {
    for version in ["3006.28", "3008.3"] {
        println!("Salt {version}");
        let certificates = Certificates::make();
        let extra = certificates.salt("localhost") + "worker_pools_enabled: false\n";
        let master = salt_master::Master::start_with(version, "tcp", &extra);
        let client = certificates.options("m1", Some(CertReqs::Required));
        let address = format!("127.0.0.1:{}", master.ret_port);
        let destination = destination(&address, &client);
        let minion = salt_master::Minion::sign_in_to(&master, destination).await;
        let grains: Map = [("id", "m1")].into_iter().collect();
        assert_eq!(minion.pillar(grains).await, Map::new());
        minion.answer_a_ping(&master).await;
    }
}
