//! What must hold for any bytes that a client sends: the bodies of the fuzz targets, which tests replay.
//!
//! Not part of the crate's interface.

use crate::events::lines::{Line, Lines};
use crate::query;
use crate::stream;

/// Lines are the same however the stream is cut, and none is over the limit. The first byte says how
/// many bytes come at a time.
pub fn fuzz_lines(bytes: &[u8]) {
    const LIMIT: usize = 64;
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    let cut = |step: usize| {
        let (mut lines, mut all) = (Lines::new(LIMIT), Vec::new());
        let mut take = |line: Line<'_>| {
            all.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        };
        for piece in stream.chunks(step.max(1)) {
            lines.push(piece, &mut take);
        }
        lines.finish(take);
        all
    };
    let whole = cut(stream.len());
    assert_eq!(whole, cut(usize::from(step)));
    let fits = |line: &Vec<u8>| line.len() <= LIMIT && !line.contains(&b'\n');
    assert!(whole.iter().flatten().all(fits));
}

/// Any body of a request over the network is a list of commands or is refused. The first byte says how it is read.
pub fn fuzz_bodies(bytes: &[u8]) {
    crate::rest::fuzz_bodies(bytes);
}

/// Any head of a request over the network is read; a token is found only where one is.
pub fn fuzz_heads(bytes: &[u8]) {
    crate::rest::fuzz_heads(&String::from_utf8_lossy(bytes));
}

/// Any text is a query or is refused.
pub fn fuzz_query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(parameters) = query::parse(&text, &["tag", "filter", "limit"]) {
        assert!(parameters.len() <= 64);
    }
}

/// Whatever an event holds, its record in a stream has the lines of one record and no others, and its
/// chunk is one.
pub fn fuzz_stream_record(event: &[u8]) {
    stream::fuzz_record(event);
}
