//! The table of what strangers send: made of parts, so that each part is malformed in each place.

use std::fmt;

use brine_wire::frame::Framing;

use crate::peers::{event, frame};

/// One thing to send on a fresh connection.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// `None`: nothing may be published, whether the bus closes the connection or waits for more.
    pub(crate) expected: Option<Outcome>,
}

/// What the bus does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Closes the connection, publishes nothing.
    Closed,
    /// Waits for more, publishes nothing, and discards what came when the publisher goes.
    Waits,
    /// Publishes so many events and keeps the connection.
    Published(u32),
    /// Publishes what came before the malformed frame, closes at it.
    PublishedAndClosed(u32),
    /// Leaves out malformed events, publishes so many others and keeps the connection.
    LeftOut(u32),
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => out.write_str("closed"),
            Self::Waits => out.write_str("waits"),
            Self::Published(count) => write!(out, "published {count}"),
            Self::PublishedAndClosed(count) => write!(out, "published {count}, closed"),
            Self::LeftOut(count) => write!(out, "left out, published {count}"),
        }
    }
}

use Outcome::{Closed, LeftOut, Published, PublishedAndClosed, Waits};

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut table = Table::default();
    first_bytes(&mut table);
    prefixes(&mut table);
    frame_maps(&mut table);
    head_and_body_types(&mut table);
    truncations(&mut table);
    tags(&mut table);
    data_types(&mut table);
    data_inside(&mut table);
    nesting(&mut table);
    other_protocols(&mut table);
    sequences(&mut table);
    random(&mut table);
    table.cases
}

#[derive(Default)]
struct Table {
    cases: Vec<Case>,
}

impl Table {
    fn raw(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>, expected: Outcome) {
        self.cases.push(Case {
            name: name.into(),
            bytes: bytes.into(),
            expected: Some(expected),
        });
    }

    /// A frame's map, in both framings.
    fn map(&mut self, name: &str, map: &[u8], expected: Outcome) {
        self.raw(format!("bare: {name}"), map, expected);
        self.raw(format!("prefixed: {name}"), prefixed(map), expected);
    }

    /// An event in a proper frame, in both framings.
    fn event(&mut self, name: &str, event: &[u8], expected: Outcome) {
        self.raw(
            format!("bare: {name}"),
            frame(Framing::Bare, event),
            expected,
        );
        self.raw(
            format!("prefixed: {name}"),
            frame(Framing::Prefixed, event),
            expected,
        );
    }

    /// Data in a proper event; the prefixed form alone, since the framing ends far outside.
    fn data(&mut self, name: &str, data: &[u8], expected: Outcome) {
        let event = [b"case\n\n", data].concat();
        self.raw(
            format!("data: {name}"),
            frame(Framing::Prefixed, &event),
            expected,
        );
    }
}

fn prefixed(map: &[u8]) -> Vec<u8> {
    let length = u32::try_from(map.len()).unwrap();
    [&length.to_be_bytes()[..], map].concat()
}

fn good() -> Vec<u8> {
    event("case", 7)
}

/// One of each msgpack type, whole.
const VALUES: [(&str, &[u8]); 31] = [
    ("positive fixint", b"\x07"),
    ("fixmap", b"\x81\xa1a\x01"),
    ("fixarray", b"\x91\x01"),
    ("fixstr", b"\xa1x"),
    ("nil", b"\xc0"),
    ("false", b"\xc2"),
    ("true", b"\xc3"),
    ("bin8", b"\xc4\x01x"),
    ("bin16", b"\xc5\x00\x01x"),
    ("bin32", b"\xc6\x00\x00\x00\x01x"),
    ("ext8", b"\xc7\x01\x05x"),
    ("ext16", b"\xc8\x00\x01\x05x"),
    ("ext32", b"\xc9\x00\x00\x00\x01\x05x"),
    ("float32", b"\xca\x3f\x80\x00\x00"),
    ("float64", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
    ("uint8", b"\xcc\xff"),
    ("uint16", b"\xcd\xff\xff"),
    ("uint32", b"\xce\xff\xff\xff\xff"),
    ("uint64", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
    ("int8", b"\xd0\x80"),
    ("int16", b"\xd1\x80\x00"),
    ("int32", b"\xd2\x80\x00\x00\x00"),
    ("int64", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
    ("fixext1", b"\xd4\x05x"),
    ("timestamp", b"\xd6\xff\x00\x00\x00\x01"),
    ("str8", b"\xd9\x01x"),
    ("str16", b"\xda\x00\x01x"),
    ("str32", b"\xdb\x00\x00\x00\x01x"),
    ("array16", b"\xdc\x00\x01\x01"),
    ("array32", b"\xdd\x00\x00\x00\x01\x01"),
    ("negative fixint", b"\xff"),
];

/// A connection begins with a map or a length below 2 GiB; nothing else can be a frame.
fn first_bytes(table: &mut Table) {
    for (name, value) in VALUES {
        let expected = match value[0] {
            0x00..=0x7f => Waits,
            _ => Closed,
        };
        table.raw(format!("a lone {name}"), value, expected);
    }
    table.raw("a lone undefined byte", b"\xc1", Closed);
    table.raw("nothing at all", b"", Waits);
    table.raw("one byte of a map", b"\x82", Waits);
    table.raw("one byte of a length", b"\x00", Waits);
}

fn prefixes(table: &mut Table) {
    let good = frame(Framing::Bare, &good());
    let length = u32::try_from(good.len()).unwrap();
    for (name, declared, expected) in [
        ("0", 0, Closed),
        ("1, then a map", 1, Closed),
        ("one less than the map", length - 1, Closed),
        ("one more than the map", length + 1, Waits),
        ("of 100 MiB", 100 << 20, Waits),
        ("of 100 MiB and a byte", (100 << 20) + 1, Closed),
        ("of 1 GiB", 1 << 30, Closed),
        ("of 2 GiB less one", i32::MAX as u32, Closed),
        ("in little endian", length.swap_bytes(), Closed),
    ] {
        let bytes = [&declared.to_be_bytes()[..], &good].concat();
        table.raw(format!("a length {name}"), bytes, expected);
    }
    let padded = [&(length + 3).to_be_bytes()[..], &good, b"\0\0\0"].concat();
    table.raw("a length that covers 3 bytes more", padded, Closed);
    let two = [&(2 * length).to_be_bytes()[..], &good, &good].concat();
    table.raw("a length that covers two maps", two, Closed);
    for count in 1..4 {
        table.raw(format!("{count} bytes of a length"), vec![0; count], Waits);
    }
    for (name, value) in VALUES {
        if !matches!(value[0], 0x80..=0x8f) {
            table.raw(format!("a length, then {name}"), prefixed(value), Closed);
        }
    }
    table.raw(
        "a length, then the undefined byte",
        prefixed(b"\xc1"),
        Closed,
    );
}

/// The map of a frame: what it must have, may have, and cannot be.
fn frame_maps(table: &mut Table) {
    let event = good();
    let body = |prefix: &[u8], suffix: &[u8]| {
        let length = u8::try_from(event.len()).unwrap();
        [prefix, b"\xa4body\xc4", &[length], &event, suffix].concat()
    };
    // Every form a real bus takes.
    table.map(
        "body before head",
        &body(b"\x82", b"\xa4head\x80"),
        Published(1),
    );
    table.map("no head", &body(b"\x81", b""), Published(1));
    table.map(
        "a third key",
        &body(b"\x83\xa4head\x80", b"\xa1x\x01"),
        Published(1),
    );
    table.map(
        "head with a mid",
        &body(b"\x82\xa4head\x81\xa3mid\x01", b""),
        Published(1),
    );
    table.map(
        "a map16 header",
        &body(b"\xde\x00\x02\xa4head\x80", b""),
        Published(1),
    );
    table.map(
        "a map32 header",
        &body(b"\xdf\x00\x00\x00\x02\xa4head\x80", b""),
        Published(1),
    );
    table.map(
        "head twice",
        &body(b"\x83\xa4head\x80\xa4head\x80", b""),
        Published(1),
    );
    table.map(
        "body twice",
        &body(b"\x82\xa4body\xc4\x01x", b""),
        Published(1),
    );
    table.map("a number as key", &body(b"\x82\x07\x07", b""), Published(1));
    table.map(
        "a map as key",
        &body(b"\x82\x81\x01\x02\x07", b""),
        Published(1),
    );
    table.map(
        "15 other keys",
        &body(
            &[b"\xde\x00\x10", &b"\xa1x\x01".repeat(15)[..]].concat(),
            b"",
        ),
        Published(1),
    );
    let length = u8::try_from(event.len()).unwrap();
    for (name, key) in [
        ("body as bytes", &b"\xc4\x04body"[..]),
        ("body as str8", b"\xd9\x04body"),
        ("body as str16", b"\xda\x00\x04body"),
        ("body as str32", b"\xdb\x00\x00\x00\x04body"),
        ("body as bin16", b"\xc5\x00\x04body"),
    ] {
        let map = [b"\x82\xa4head\x80", key, b"\xc4", &[length], &event].concat();
        table.map(&format!("the key {name}"), &map, Published(1));
    }
    for (name, header) in [
        ("str8", vec![0xd9, length]),
        ("str16", vec![0xda, 0, length]),
        ("str32", vec![0xdb, 0, 0, 0, length]),
        ("bin16", vec![0xc5, 0, length]),
        ("bin32", vec![0xc6, 0, 0, 0, length]),
    ] {
        let map = [b"\x82\xa4head\x80\xa4body", &header[..], &event].concat();
        table.map(&format!("the event as {name}"), &map, Published(1));
    }
    // And what no bus can make an event of.
    table.map("an empty map", b"\x80", Closed);
    table.map("head alone", b"\x81\xa4head\x80", Closed);
    table.map(
        "Body with a capital",
        &[b"\x81\xa4Body\xc4", &[length][..], &event].concat(),
        Closed,
    );
    table.map(
        "a body too many letters long",
        &[b"\x81\xa5bodys\xc4", &[length][..], &event].concat(),
        Closed,
    );
    table.map("a number for body", b"\x81\x04\xc4\x01x", Closed);
    table.map(
        "the last body is nil",
        &body(b"\x82", b"\xa4body\xc0"),
        Closed,
    );
    table.map("the undefined byte as key", b"\x82\xc1", Closed);
    table.map("the undefined byte after head", b"\x82\xa4head\xc1", Closed);
    table.map(
        "17 KiB beside the body",
        &body(
            &[b"\x82\xa1x\xc5\x44\x00", &[0; 17 << 10][..]].concat(),
            b"",
        ),
        Closed,
    );
    // A map that ends early: a prefix says so, without one the rest may come.
    for (name, map) in [
        ("of two pairs with one", body(b"\x82", b"")),
        ("of 65,535 pairs with one", body(b"\xde\xff\xff", b"")),
        ("of 4 G pairs with one", body(b"\xdf\xff\xff\xff\xff", b"")),
        (
            "with a key and no value",
            b"\x82\xa4head\x80\xa4body".to_vec(),
        ),
        ("with half a header", b"\xdf\x00\x00".to_vec()),
        (
            "with a body of 255 that is shorter",
            b"\x81\xa4body\xc4\xffx".to_vec(),
        ),
        (
            "with a head of 16 keys and none",
            b"\x82\xa4head\xde\x00\x10".to_vec(),
        ),
    ] {
        table.raw(format!("bare: a map {name}"), map.clone(), Waits);
        table.raw(format!("prefixed: a map {name}"), prefixed(&map), Closed);
    }
    for (name, header) in [
        ("bin32 of 4 GiB", b"\xc6\xff\xff\xff\xff"),
        ("str32 of 4 GiB", b"\xdb\xff\xff\xff\xff"),
        ("bin32 of 101 MiB", b"\xc6\x06\x50\x00\x00"),
        ("str32 of 2 GiB", b"\xdb\x80\x00\x00\x00"),
    ] {
        let map = [b"\x82\xa4head\x80\xa4body", &header[..]].concat();
        table.map(&format!("a body {name}"), &map, Closed);
    }
    let head = b"\x82\xa4head\xc6\xff\xff\xff\xff";
    table.map("a head of 4 GiB", head, Closed);
}

fn head_and_body_types(table: &mut Table) {
    let event = good();
    let length = u8::try_from(event.len()).unwrap();
    for (name, value) in VALUES {
        let map = [b"\x82\xa4head", value, b"\xa4body\xc4", &[length], &event].concat();
        // Nobody looks at the head.
        table.map(&format!("{name} for head"), &map, Published(1));
        let map = [b"\x82\xa4head\x80\xa4body", value].concat();
        // Text and bytes are read as an event, which "x" is not.
        let is_read = ["fixstr", "str", "bin"]
            .iter()
            .any(|kind| name.starts_with(kind));
        let expected = if is_read { LeftOut(0) } else { Closed };
        table.map(&format!("{name} for body"), &map, expected);
    }
}

/// A good frame, cut after every byte.
fn truncations(table: &mut Table) {
    for (name, framing) in [("bare", Framing::Bare), ("prefixed", Framing::Prefixed)] {
        let whole = frame(framing, &good());
        for cut in 1..whole.len() {
            let name = format!("{name}: {cut} of {} bytes of a good frame", whole.len());
            table.raw(name, &whole[..cut], Waits);
        }
    }
}

fn tags(table: &mut Table) {
    let data = b"\x81\xa1n\x01";
    let with = |tag: &[u8]| [tag, b"\n\n", data].concat();
    for (name, tag) in [
        ("a lone continuation byte", &b"a\x80"[..]),
        ("a byte that UTF-8 never has", b"a\xff"),
        ("an overlong slash", b"a\xc0\xaf"),
        ("an overlong NUL", b"a\xe0\x80\x80"),
        ("half a surrogate pair", b"a\xed\xa0\x80"),
        ("past the last character", b"a\xf4\x90\x80\x80"),
        ("a character cut short", b"a\xe2\x82"),
        ("Latin-1", b"k\xe4se"),
        ("UTF-16", b"\xff\xfet\0a\0g\0"),
    ] {
        table.event(&format!("a tag with {name}"), &with(tag), LeftOut(0));
    }
    table.event("an empty tag", &with(b""), LeftOut(0));
    table.event("an empty event", b"", LeftOut(0));
    table.event("a tag alone", b"case", LeftOut(0));
    table.event("a tag and one line feed", b"case\n\x80", LeftOut(0));
    table.event(
        "a tag ended as in Windows",
        &[b"case\r\n\r\n", &data[..]].concat(),
        LeftOut(0),
    );
    table.event(
        "a tag ended as on old Macs",
        &[b"case\r\r", &data[..]].concat(),
        LeftOut(0),
    );
    table.event("a tag end and nothing", b"case\n\n", LeftOut(0));
    table.event("line feeds alone", b"\n\n\n\n\n\n", LeftOut(0));
    table.event(
        "the old form of 20 characters",
        &[b"case||||||||||||||||", &data[..]].concat(),
        LeftOut(0),
    );
    // Its first blank line is cut at, and a line feed is no map.
    table.event(
        "a tag that ends in a line feed",
        &with(b"case\n"),
        LeftOut(0),
    );
    table.event(
        "a blank line inside the tag",
        &with(b"case\n\nmore"),
        LeftOut(0),
    );
    table.event("a tag with NUL", &with(b"case\0\0"), Published(1));
    table.event(
        "a tag with line feeds apart",
        &with(b"c\na\ns\ne"),
        Published(1),
    );
    table.event(
        "a tag of controls",
        &with(b"\x1b[31m\x07\r\t"),
        Published(1),
    );
    table.event(
        "a tag of 1 MB",
        &with(&b"x".repeat(1_000_000)),
        Published(1),
    );
}

/// Data is one map; every other type is no event.
fn data_types(table: &mut Table) {
    for (name, value) in VALUES {
        let expected = if name == "fixmap" {
            Published(1)
        } else {
            LeftOut(0)
        };
        table.data(&format!("{name} for the map"), value, expected);
    }
    table.data("map16", b"\xde\x00\x01\xa1a\x01", Published(1));
    table.data("map32", b"\xdf\x00\x00\x00\x01\xa1a\x01", Published(1));
    table.data("an empty map", b"\x80", Published(1));
    table.data("a byte after the map", b"\x80\x00", LeftOut(0));
    table.data("two maps", b"\x80\x80", LeftOut(0));
    table.data("a line feed before the map", b"\n\x80", LeftOut(0));
    table.data("JSON", b"{\"a\": 1}", LeftOut(0));
    table.data("YAML", b"a: 1\n", LeftOut(0));
    table.data("a pickle", b"\x80\x04}\x94\x8c\x01a\x94K\x01s.", LeftOut(0));
}

fn data_inside(table: &mut Table) {
    for (name, value) in VALUES {
        let map = [b"\x81\xa1v", value].concat();
        table.data(&format!("{name} inside"), &map, Published(1));
        let map = [b"\x81", value, b"\x01"].concat();
        table.data(&format!("{name} as key"), &map, Published(1));
        if value.len() > 1 {
            let map = [b"\x81\xa1v", &value[..value.len() - 1]].concat();
            table.data(&format!("{name} cut short"), &map, LeftOut(0));
        }
    }
    table.data(
        "text that is not UTF-8",
        b"\x81\xa1v\xa2\xff\xfe",
        Published(1),
    );
    table.data("a key twice", b"\x82\xa1a\x01\xa1a\x02", Published(1));
    table.data(
        "a date that is none",
        b"\x81\xa1v\xc7\x04Nnope",
        Published(1),
    );
    table.data("an empty extension", b"\x81\xa1v\xc7\x00\x4e", Published(1));
    table.data("the undefined byte as value", b"\x81\xa1v\xc1", LeftOut(0));
    table.data("the undefined byte as key", b"\x81\xc1\x01", LeftOut(0));
    table.data(
        "the undefined byte in an array",
        b"\x81\xa1v\x92\x01\xc1",
        LeftOut(0),
    );
    // Readers skip such an event; looking at every value of every event would cost all of them.
    let late = [b"\x81\xa1v\xdc\x27\x10", &[0; 9999][..], b"\xc1"].concat();
    table.data("the undefined byte after 9,999 values", &late, Published(1));
    table.data("a key without value", b"\x81\xa1v", LeftOut(0));
    table.data("a pair too few", b"\x82\xa1v\x01", LeftOut(0));
    table.data("a pair too many", b"\x81\xa1v\x01\xa1w\x02", LeftOut(0));
    for (name, header) in [
        ("a text", &b"\xdb\xff\xff\xff\xff"[..]),
        ("bytes", b"\xc6\xff\xff\xff\xff"),
        ("an array", b"\xdd\xff\xff\xff\xff"),
        ("a map", b"\xdf\xff\xff\xff\xff"),
        ("an extension", b"\xc9\xff\xff\xff\xff\x05"),
    ] {
        let map = [b"\x81\xa1v", header].concat();
        table.data(&format!("{name} of 4 G"), &map, LeftOut(0));
        let maps = [b"\x81\xa1v", &header.repeat(100)[..]].concat();
        table.data(
            &format!("{name} of 4 G, a hundred times"),
            &maps,
            LeftOut(0),
        );
    }
}

/// Python's reader gives up at 1,024 levels, so nothing deeper is published.
fn nesting(table: &mut Table) {
    for depth in [100, 1023, 1024, 1025, 5000, 100_000] {
        // The data's own map is a level.
        let expected = if depth < 1024 {
            Published(1)
        } else {
            LeftOut(0)
        };
        let arrays = [b"\x81\xa1v", &b"\x91".repeat(depth)[..], b"\xc0"].concat();
        table.data(&format!("arrays {depth} deep"), &arrays, expected);
        let maps = [b"\x81\xa1v", &b"\x81\xa1k".repeat(depth)[..], b"\xc0"].concat();
        table.data(&format!("maps {depth} deep"), &maps, expected);
        let keys = [
            b"\x81",
            &b"\x81".repeat(depth)[..],
            &b"\xc0".repeat(depth + 2),
        ]
        .concat();
        table.data(&format!("keys {depth} deep"), &keys, expected);
    }
    let head = [b"\x82\xa4head", &b"\x91".repeat(100_000)[..]].concat();
    table.map("a head 100,000 deep", &head, Closed);
    let wide = [
        b"\x81\xa1v\xdd\x00\x01\x86\xa0",
        &b"\x90".repeat(100_000)[..],
    ]
    .concat();
    table.data("100,000 arrays beside each other", &wide, Published(1));
}

/// Programs that took this for another socket.
fn other_protocols(table: &mut Table) {
    for (name, bytes) in [
        ("HTTP", &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        (
            "ZMTP 3",
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL",
        ),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("NATS", b"CONNECT {}\r\nPING\r\n"),
        ("JSON", b"{\"head\": {}, \"body\": \"case\"}\n"),
        ("SMTP", b"EHLO localhost\r\n"),
        ("SQLite", b"SQLite format 3\0"),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
        ("a program", b"\x7fELF\x02\x01\x01\x00"),
        ("a shell", b"rm -rf /\n"),
    ] {
        table.raw(format!("another protocol: {name}"), bytes, Closed);
    }
    // What might be the beginning of ours.
    table.raw(
        "another protocol: PostgreSQL",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        Waits,
    );
    table.raw("another protocol: a picture", b"\x89PNG\r\n\x1a\n", Waits);
    table.raw("another protocol: D-Bus", b"\0AUTH EXTERNAL 30\r\n", Waits);
    table.raw("zeros", vec![0; 4096], Closed);
    table.raw("ones", vec![0xff; 4096], Closed);
}

/// What comes before a malformed frame is published, what comes after it is not. A malformed event costs only itself.
fn sequences(table: &mut Table) {
    for (name, framing, other) in [
        ("bare", Framing::Bare, Framing::Prefixed),
        ("prefixed", Framing::Prefixed, Framing::Bare),
    ] {
        let good = frame(framing, &good());
        let bad = frame(framing, b"case\n\n\x01");
        let mut add = |what: &str, parts: &[&[u8]], expected| {
            table.raw(format!("{name}: {what}"), parts.concat(), expected);
        };
        add("three good frames", &[&good, &good, &good], Published(3));
        add("a good frame, then a bad event", &[&good, &bad], LeftOut(1));
        add("a bad event, then a good frame", &[&bad, &good], LeftOut(1));
        add("good, bad, good", &[&good, &good, &bad, &good], LeftOut(3));
        add(
            "a good frame, then half of one",
            &[&good, &good[..20]],
            Published(1),
        );
        add(
            "a good frame, then the undefined byte",
            &[&good, b"\xc1\xc1\xc1\xc1\xc1"],
            PublishedAndClosed(1),
        );
        let switched = frame(other, &self::good());
        add(
            "a good frame, then the other framing",
            &[&good, &switched],
            PublishedAndClosed(1),
        );
        let large = frame(
            framing,
            &[b"case\n\n\x81\xa1v\xc6\x00\x10\x00\x00", &[0; 1 << 20][..]].concat(),
        );
        add(
            "a large frame, then a bad event",
            &[&large, &bad],
            LeftOut(1),
        );
    }
}

/// The same every time, since the listing is compared.
fn random(table: &mut Table) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    for number in 0..20 {
        let bytes: Vec<u8> = (0..1000).map(|_| next()).collect();
        let name = format!("random bytes {number}");
        table.cases.push(Case {
            name,
            bytes,
            expected: None,
        });
    }
    // Random bytes where a reader is already inside: a frame's map, and an event's data.
    for number in 0..20 {
        let bytes: Vec<u8> = (0..200).map(|_| next()).collect();
        let name = format!("random map {number}");
        let bytes = prefixed(&[b"\x82\xa4body", &bytes[..]].concat());
        table.cases.push(Case {
            name,
            bytes,
            expected: Some(Closed),
        });
    }
    for number in 0..20 {
        let bytes: Vec<u8> = (0..200).map(|_| next()).collect();
        table.data(
            &format!("random pairs {number}"),
            &[b"\x8f", &bytes[..]].concat(),
            LeftOut(0),
        );
    }
}
