//! Who sends a little at a time, or only half of it.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use brine_net::channel::Limits;
use brine_wire::network::{tcp, zmtp};
use brine_wire::{Value, msgpack};

use crate::honest::Minion;
use crate::master::{ALL, DEADLINE, Master, Transport, WS_OPENED, WS_OPENING, WS_WHOLE, ws_frame};

const IO_TIMEOUT: Duration = Duration::from_secs(3);

async fn impatient_master(transport: Transport) -> Master {
    let limits = Limits {
        io_timeout: IO_TIMEOUT,
        identification: IO_TIMEOUT,
        ..Limits::default()
    };
    Master::with(transport, limits, |config| {
        config.rules.auto_accept = true;
    })
    .await
}

/// Sends a byte now and then until the connection is closed, if it is.
fn drip(port: u16, bytes: &[u8]) -> bool {
    let mut stream = Master::connect(port);
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let due = Instant::now() + DEADLINE;
    let mut byte = bytes.iter().cycle();
    while Instant::now() < due {
        if stream.write_all(&[*byte.next().unwrap()]).is_err() {
            return true;
        }
        // What comes back is of no interest, but its end is.
        match stream.read(&mut [0; 256]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return true,
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_byte_by_byte_is_not_waited_for() {
    // A text of 60,000 bytes, well formed as far as it gets.
    let mut request = b"\x82\xa4head\x80\xa4body\xda\xea\x60".to_vec();
    request.resize(60_000, b'x');
    for (transport, bytes) in [
        (Transport::Tcp, request),
        (Transport::Ws, WS_OPENING[..100].to_vec()),
        (Transport::Ws, WS_OPENING.to_vec()),
        (Transport::ZeroMq, b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
    ] {
        let master = impatient_master(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        for port in [master.ret_port, master.publish_port] {
            let bytes = bytes.clone();
            let dripping = tokio::task::spawn_blocking(move || drip(port, &bytes));
            minion.works().await;
            assert!(dripping.await.unwrap(), "{transport:?}");
        }
        minion.works().await;
    }
}

/// A request as it stands on a connection, behind what a connection begins with.
fn framed(transport: Transport, payload: &Value) -> (Vec<u8>, Vec<u8>) {
    const READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ";
    match transport {
        Transport::Tcp => {
            let head = [("mid", "1")].into_iter().collect();
            (Vec::new(), tcp::encode(&head, payload))
        }
        Transport::ZeroMq => {
            let mut packed = Vec::new();
            msgpack::encode_network(payload, &mut packed);
            (
                [&zmtp::GREETING[..], READY].concat(),
                zmtp::encode_reply(b"\x01\0", &packed),
            )
        }
        Transport::Ws => {
            let mut packed = Vec::new();
            msgpack::encode_network(payload, &mut packed);
            (WS_OPENING.to_vec(), ws_frame(WS_WHOLE, &packed))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_is_nobodys_request() {
    for transport in ALL {
        let master = impatient_master(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let payload = minion.seal(minion.event("my/tag")).payload;
        let (opening, request) = framed(transport, &payload);
        let whole = [&opening[..], &request].concat();
        for length in (0..whole.len()).step_by(5) {
            let mut stream = Master::connect(master.ret_port);
            stream.write_all(&whole[..length]).unwrap();
        }
        minion.works().await;
        assert_eq!(master.reached().len(), 1, "{transport:?}: the minion's own");
        // The whole of it is one.
        let mut stream = Master::connect(master.ret_port);
        stream.write_all(&whole).unwrap();
        let greeted = match transport {
            Transport::Tcp => 0,
            Transport::ZeroMq => 64 + 43,
            Transport::Ws => WS_OPENED.len(),
        };
        stream.read_exact(&mut vec![0; greeted + 1]).unwrap();
        minion.works().await;
        assert_eq!(master.reached().len(), 2, "{transport:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_its_answers_is_closed() {
    for transport in ALL {
        let master = impatient_master(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        let port = master.ret_port;
        let flooding = tokio::task::spawn_blocking(move || {
            let mut stream = Master::connect(port);
            stream.set_write_timeout(Some(DEADLINE)).unwrap();
            let (opening, request) = framed(transport, &"?".into());
            stream.write_all(&opening).unwrap();
            let many = request.repeat(1000);
            // Tens of MB of requests whose answers nobody reads: at some point there must be an end to it.
            (0..2000).any(|_| stream.write_all(&many).is_err())
        });
        for _ in 0..20 {
            minion.works().await;
        }
        assert!(flooding.await.unwrap(), "{transport:?}");
        minion.works().await;
    }
}
