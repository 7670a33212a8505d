//! Bytes of programs that speak something else, and messages made to cost more than they weigh.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use brine_net::channel::Limits;
use brine_wire::network::zmtp;

use crate::honest::Minion;
use crate::master::{
    ALL, DEADLINE, Master, Transport, WS_BEGIN, WS_MORE, WS_OPENED, WS_OPENING, WS_WHOLE, ws_frame,
};

/// Limits under which strangers are shown the door while a test waits.
fn impatient() -> Limits {
    Limits {
        io_timeout: Duration::from_secs(2),
        identification: Duration::from_secs(2),
        ..Limits::default()
    }
}

/// What port scanners and lost clients begin with.
fn openings() -> Vec<Vec<u8>> {
    let mut tls = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".to_vec();
    tls.resize(205, 0x5a);
    let greeting = |length: usize| {
        let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
        greeting.resize(64, 0);
        greeting.truncate(length);
        greeting
    };
    let mut openings: Vec<Vec<u8>> = [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"EHLO scanner\r\n",
        b"\x03\x00\x00\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0", // RDP
        b"\0\0\0\x2f\xffSMB\x72",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x80\x9e\x01\x03\x01",
        b"\0",
        b"\xff",
        b"\xc1",
        b"\r\n\r\n",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .into();
    openings.push(tls);
    openings.extend([1, 9, 10, 11, 12, 31, 63, 64].map(greeting));
    // A whole greeting, and then a command that is none, or is too long.
    for rest in [
        &b"\x04\xff\x05READY"[..],
        b"\x06\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\x00",
    ] {
        openings.push([&greeting(64)[..], rest].concat());
    }
    let mut seed = 0x9e37_79b9_u32;
    for length in [1, 7, 64, 500, 5_000] {
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        openings.push((0..length).map(|_| random()).collect());
    }
    openings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scanners_disturb_nobody_at_either_port() {
    for transport in ALL {
        let master = Master::with(transport, impatient(), |config| {
            config.rules.auto_accept = true;
        })
        .await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let mut held = Vec::new();
        for port in [master.ret_port, master.publish_port] {
            for opening in openings() {
                let mut stream = Master::connect(port);
                let _ = stream.write_all(&opening); // it may be closed already
                held.push(stream);
                let mut gone = Master::connect(port);
                let _ = gone.write_all(&opening);
            }
            minion.works().await;
        }
        assert_eq!(
            master.reached().len(),
            2,
            "what is not the minion's got through"
        );
        // Whoever says nothing sensible is not kept.
        let closed = tokio::task::spawn_blocking(move || held.into_iter().map(is_closed).collect());
        let closed: Vec<bool> = closed.await.unwrap();
        let kept = closed.iter().filter(|closed| !**closed).count();
        assert_eq!(
            kept,
            0,
            "{transport:?}: connections kept of {}",
            closed.len()
        );
        minion.works().await;
    }
}

fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Messages that say they hold more than they do, or are deeper than anybody needs.
fn bombs() -> Vec<Vec<u8>> {
    vec![
        vec![0x91; 60_000],
        vec![0x81; 60_000],
        [&[0x81, 0xa1, b'x'][..]; 20_000].concat(),
        b"\xdf\xff\xff\xff\xff".to_vec(),
        b"\xdd\xff\xff\xff\xff".to_vec(),
        b"\xdb\xff\xff\xff\xff".to_vec(),
        b"\xc6\xff\xff\xff\xff".to_vec(),
        b"\xc9\xff\xff\xff\xff\x05".to_vec(),
        [&b"\xdd\x00\x00\xff\xff"[..]; 10_000].concat(),
        [&b"\xdd\x00\x00\xc3\x50"[..], &[0xc0; 50_000]].concat(),
        b"\x82\xa3enc\xa5clear\xa4load\xdf\x7f\xff\xff\xff".to_vec(),
        Vec::new(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_do_not_go_off() {
    for transport in ALL {
        let master = Master::with(transport, impatient(), |config| {
            config.rules.auto_accept = true;
        })
        .await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let before = resident();
        let (ret, publish) = (master.ret_port, master.publish_port);
        for bomb in bombs() {
            for _ in 0..20 {
                let bomb = bomb.clone();
                tokio::task::spawn_blocking(move || match transport {
                    Transport::Tcp => {
                        for port in [ret, publish] {
                            let mut stream = Master::connect(port);
                            let _ = stream.write_all(b"\x82\xa4head\x80\xa4body");
                            let _ = stream.write_all(&bomb);
                        }
                    }
                    Transport::ZeroMq => send_zeromq(ret, &bomb),
                    Transport::Ws => {
                        for port in [ret, publish] {
                            let mut stream = Master::connect(port);
                            let _ = stream.write_all(WS_OPENING);
                            let _ = stream.write_all(&ws_frame(WS_WHOLE, &bomb));
                        }
                    }
                })
                .await
                .unwrap();
            }
            minion.works().await;
        }
        let reached = master.reached();
        assert!(
            reached
                .iter()
                .all(|one| one.fields.get("id") == Some(&"m1".into()))
        );
        let more = resident().saturating_sub(before);
        assert!(more < 200 << 20, "{transport:?}: {} MiB more", more >> 20);
    }
}

/// Messages over ZeroMQ that never end, and subscriptions without number: libzmq would keep them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_without_end_are_not_kept() {
    let master = Master::start(Transport::ZeroMq).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let before = resident();
    let piece = [&b"\x03\0\0\0\0\0\x10\0\0"[..], &vec![b'x'; 1 << 20]].concat();
    let small = b"\x01\x01x".repeat(100_000);
    let topics = (0..20_000).map(|n| format!("\x04\x13\x09SUBSCRIBE{n:09}").into_bytes());
    for (port, socket_type, rest) in [
        (
            master.ret_port,
            &b"REQ"[..],
            [&b"\x01\0"[..], &piece].concat(),
        ),
        (master.ret_port, b"DEALER", piece.clone()),
        (master.ret_port, b"DEALER", small),
        (master.publish_port, b"SUB", piece),
        (
            master.publish_port,
            b"SUB",
            topics.collect::<Vec<_>>().concat(),
        ),
    ] {
        let mut stream = Master::connect(port);
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&zmtp::GREETING).unwrap();
        let length = u8::try_from(22 + socket_type.len()).unwrap();
        let ready = [
            &[4, length][..],
            b"\x05READY\x0bSocket-Type\0\0\0",
            &[length - 22],
            socket_type,
        ];
        stream.write_all(&ready.concat()).unwrap();
        let closed =
            tokio::task::spawn_blocking(move || (0..500).any(|_| stream.write_all(&rest).is_err()));
        assert!(
            closed.await.unwrap(),
            "{} took all of it",
            String::from_utf8_lossy(socket_type)
        );
        minion.works().await;
    }
    let more = resident().saturating_sub(before);
    assert!(more < 50 << 20, "{} MiB more", more >> 20);
}

/// Messages over WebSockets whose parts never end, each small enough to arrive at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_without_end_are_not_kept() {
    let limits = Limits {
        large_message_bytes: 2 << 20,
        ..Limits::default()
    };
    let master = Master::with(Transport::Ws, limits, |config| {
        config.rules.auto_accept = true;
    })
    .await;
    let minion = Minion::sign_in(&master, "m1").await;
    for port in [master.ret_port, master.publish_port] {
        let mut stream = Master::connect(port);
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(WS_OPENING).unwrap();
        let mut opened = vec![0; WS_OPENED.len()];
        stream.read_exact(&mut opened).unwrap();
        assert_eq!(opened, WS_OPENED);
        // 32 MiB: less than a minion's message may have, and more than strangers have together.
        let closed = tokio::task::spawn_blocking(move || {
            let (first, more) = (ws_frame(WS_BEGIN, b""), ws_frame(WS_MORE, &[0; 4096]));
            std::iter::once(first)
                .chain(std::iter::repeat_n(more, 8192))
                .any(|part| stream.write_all(&part).is_err())
        });
        assert!(closed.await.unwrap(), "port {port} took all of it");
        minion.works().await;
    }
}

/// One frame as a request; waits for the answer that everything gets.
fn send_zeromq(port: u16, body: &[u8]) {
    const READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ";
    let mut stream = Master::connect(port);
    for bytes in [&zmtp::GREETING, READY, &zmtp::encode_request(body)] {
        stream.write_all(bytes).unwrap();
    }
    let mut answer = Vec::new();
    let mut decoder = zmtp::Decoder::new(zmtp::Socket::Req, 1024);
    loop {
        match decoder.next(&answer).unwrap() {
            Some((_, zmtp::Step::Message { body, .. })) => {
                assert_eq!(body, b"\xa8bad load");
                return;
            }
            Some((length, _)) => drop(answer.drain(..length)),
            None => {
                let mut more = [0; 1024];
                let length = stream.read(&mut more).unwrap();
                assert_ne!(length, 0, "the connection was closed");
                answer.extend_from_slice(&more[..length]);
            }
        }
    }
}

/// What this process has resident, in bytes.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
