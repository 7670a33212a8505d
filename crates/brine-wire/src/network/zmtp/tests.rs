//! Tests of `zmtp`.

use alloc::vec;

use proptest::prelude::*;

use super::*;

fn steps(decoder: &mut Decoder, mut bytes: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, ZmtpError> {
    let mut found = Vec::new();
    while let Some((length, step)) = decoder.next(bytes)? {
        let told = match step {
            Step::Nothing => (0, Vec::new()),
            Step::Reply(bytes) => (1, bytes),
            Step::Message { envelope, body } => (2, [&envelope[..], body].concat()),
            Step::Subscribe(topic) => (3, topic.to_vec()),
            Step::Cancel(topic) => (4, topic.to_vec()),
            Step::Ready => (5, Vec::new()),
            Step::Publish { topic, body } => (6, [&topic.unwrap_or_default(), body].concat()),
        };
        if told.0 != 0 {
            found.push(told);
        }
        bytes = &bytes[length..];
    }
    Ok(found)
}

fn open(socket: Socket) -> Decoder {
    let mut decoder = Decoder::new(socket, 10_000);
    let ready = match socket {
        Socket::Router => Socket::Req.ready(),
        Socket::Req => Socket::Router.ready(),
        Socket::Pub => Socket::Sub.ready(),
        Socket::Sub => Socket::Pub.ready(),
    };
    let found = steps(&mut decoder, &[&GREETING[..], ready].concat()).unwrap();
    let ours = (1, socket.ready().to_vec());
    match socket.connects() {
        true => assert_eq!(found, [ours, (5, Vec::new())]),
        false => assert_eq!(found, [ours]),
    }
    decoder
}

#[test]
fn a_request_comes_back_behind_its_envelope() {
    let mut decoder = open(Socket::Router);
    let found = steps(&mut decoder, b"\x01\x02id\x01\x00\x00\x04body").unwrap();
    assert_eq!(found, [(2, b"\x01\x02id\x01\x00body".to_vec())]);
    assert_eq!(encode_reply(b"\x01\x00", b"yes"), b"\x01\x00\x00\x03yes");
    let large = vec![7; 300];
    let reply = encode_reply(b"\x01\x00", &large);
    assert_eq!(reply[..11], *b"\x01\x00\x02\0\0\0\0\0\0\x01\x2c");
    assert_eq!(
        steps(&mut decoder, &reply).unwrap(),
        [(2, [b"\x01\x00", &large[..]].concat())]
    );
}

#[test]
fn subscriptions_are_commands_or_messages() {
    let mut decoder = open(Socket::Pub);
    let found = steps(
        &mut decoder,
        b"\x04\x0b\x09SUBSCRIBEa\x04\x08\x06CANCELa\x00\x02\x01b\x00\x02\x00b\x00\x00",
    );
    let topic = |kind, topic: &str| (kind, topic.as_bytes().to_vec());
    let expected = [topic(3, "a"), topic(4, "a"), topic(3, "b"), topic(4, "b")];
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn a_reply_stands_behind_one_empty_frame() {
    let mut decoder = open(Socket::Req);
    let reply = encode_reply(b"\x01\0", b"yes");
    let found = steps(&mut decoder, &reply).unwrap();
    assert_eq!(found, [(2, b"\x01\0yes".to_vec())]);
    let error = |bytes: &[u8]| steps(&mut open(Socket::Req), bytes).unwrap_err();
    for wrong in [
        &b"\x01\x01a\x01\0\x00\x01b"[..],
        b"\x00\x03yes",
        b"\x01\0\x01\x01a\x00\x01b",
    ] {
        assert_eq!(error(wrong), ZmtpError::Message);
    }
}

#[test]
fn a_publish_has_a_body_and_at_most_one_topic() {
    let mut decoder = open(Socket::Sub);
    let bytes = [
        encode_publish(None, b"1"),
        encode_publish(Some("t"), b"2"),
        encode_publish(Some(""), b"3"),
    ];
    let found = steps(&mut decoder, &bytes.concat()).unwrap();
    let publish = |text: &str| (6, text.as_bytes().to_vec());
    assert_eq!(found, [publish("1"), publish("t2"), publish("3")]);
    let error = |bytes: &[u8]| steps(&mut open(Socket::Sub), bytes).unwrap_err();
    assert_eq!(error(b"\x01\x01a\x01\x01b\x00\x01c"), ZmtpError::Message);
    let limit = |bytes: &[u8]| match error(bytes) {
        ZmtpError::TooLarge { limit, .. } => limit,
        other => panic!("{other}"),
    };
    assert_eq!(limit(b"\x03\0\0\0\0\0\0\x10\0"), MAX_ENVELOPE);
    assert_eq!(limit(b"\x02\0\0\0\0\0\0\x27\x11"), 10_000);
}

#[test]
fn a_limit_that_changes_holds_from_the_next_frame() {
    let mut decoder = open(Socket::Req);
    let reply = encode_reply(b"\x01\0", &[7; 300]);
    decoder.set_max_bytes(299);
    assert!(steps(&mut decoder.clone(), &reply).is_err());
    decoder.set_max_bytes(300);
    assert_eq!(steps(&mut decoder, &reply).unwrap().len(), 1);
}

#[test]
fn both_ends_understand_each_other() {
    for (connecting, bound) in [(Socket::Req, Socket::Router), (Socket::Sub, Socket::Pub)] {
        let mut ends = [Decoder::new(connecting, 100), Decoder::new(bound, 100)];
        let first = steps(&mut ends[0], &GREETING).unwrap();
        let second = steps(&mut ends[1], &[&GREETING, &first[0].1[..]].concat()).unwrap();
        let third = steps(&mut ends[0], &second[0].1).unwrap();
        assert_eq!(third, [(5, Vec::new())]);
    }
    let sent = encode_request(b"ask");
    let found = steps(&mut open(Socket::Router), &sent).unwrap();
    assert_eq!(found, [(2, b"\x01\0ask".to_vec())]);
    let sent = encode_subscription(b"topic");
    let found = steps(&mut open(Socket::Pub), &sent).unwrap();
    assert_eq!(found, [(3, b"topic".to_vec())]);
}

#[test]
fn pings_are_answered_with_their_context() {
    let mut decoder = open(Socket::Router);
    let found = steps(&mut decoder, b"\x04\x0a\x04PING\0\x05abc").unwrap();
    assert_eq!(found, [(1, b"\x04\x08\x04PONGabc".to_vec())]);
    assert_eq!(
        steps(&mut decoder, PING).unwrap(),
        [(1, b"\x04\x05\x04PONG".to_vec())]
    );
}

#[test]
fn strangers_end_where_they_show_it() {
    let error = |bytes: &[u8]| steps(&mut Decoder::new(Socket::Router, 99), bytes).unwrap_err();
    assert_eq!(error(b"GET / HTTP/1.1"), ZmtpError::Greeting);
    assert_eq!(
        error(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01"),
        ZmtpError::Greeting
    );
    assert_eq!(
        error(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01CURVE"),
        ZmtpError::Greeting
    );
    let then = |bytes: &[u8]| error(&[&GREETING[..], bytes].concat());
    assert_eq!(then(Socket::Sub.ready()), ZmtpError::SocketType);
    assert_eq!(then(b"\x04\x00"), ZmtpError::Handshake);
    assert_eq!(then(b"\x00\x01a"), ZmtpError::Handshake);
    assert_eq!(then(b"\x08"), ZmtpError::Flags { flags: 8 });
    assert_eq!(then(b"\x05"), ZmtpError::Flags { flags: 5 });
    let huge = b"\x06\xff\xff\xff\xff\xff\xff\xff\xff";
    assert!(matches!(
        then(huge),
        ZmtpError::TooLarge {
            limit: MAX_COMMAND,
            ..
        }
    ));
}

#[test]
fn a_message_without_end_is_none() {
    let error = |bytes: &[u8]| steps(&mut open(Socket::Router), bytes).unwrap_err();
    assert_eq!(error(b"\x01\x00\x01\x01a"), ZmtpError::Message);
    assert_eq!(error(b"\x00\x01a"), ZmtpError::Message);
    let many = b"\x01\x01a".repeat(MAX_ENVELOPE / 3 + 1);
    assert!(matches!(
        error(&many),
        ZmtpError::TooLarge {
            limit: MAX_ENVELOPE,
            ..
        }
    ));
    let early = b"\x03\0\0\0\0\0\0\x10\0";
    assert!(matches!(
        error(early),
        ZmtpError::TooLarge {
            limit: MAX_ENVELOPE,
            ..
        }
    ));
    let body = b"\x01\x00\x02\0\0\0\0\0\0\x27\x11";
    assert!(matches!(
        error(body),
        ZmtpError::TooLarge { limit: 10_000, .. }
    ));
}

#[test]
fn how_much_is_needed_is_known_from_the_header() {
    let mut decoder = open(Socket::Router);
    assert_eq!(decoder.wanted(), 1);
    assert_eq!(
        steps(&mut decoder, b"\x01\x00\x02\0\0\0\0\0\0\x20\0ab").unwrap(),
        []
    );
    assert_eq!(decoder.wanted(), 9 + 0x2000);
}

proptest! {
    #[test]
    fn what_comes_does_not_hang_on_how_it_is_cut(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..5),
        step in 1_usize..50,
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| encode_reply(b"\x01\x00", body)).collect();
        let (mut decoder, mut start, mut end, mut found) = (open(Socket::Router), 0, 0, Vec::new());
        while end < stream.len() {
            end = (end + step).min(stream.len());
            while let Some((length, step)) = decoder.next(&stream[start..end]).unwrap() {
                start += length;
                if let Step::Message { body, .. } = step {
                    found.push(body.to_vec());
                }
            }
        }
        prop_assert_eq!(found, bodies);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for socket in [Socket::Router, Socket::Pub, Socket::Req, Socket::Sub] {
            let _ = steps(&mut open(socket), &bytes);
            let _ = steps(&mut Decoder::new(socket, 100), &bytes);
        }
    }
}
