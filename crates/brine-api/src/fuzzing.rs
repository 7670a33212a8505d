//! What must hold for any bytes a client sends: the bodies of the fuzz targets, which tests replay.
//!
//! Not part of the crate's interface.

use crate::events::lines::{Line, Lines};
use crate::query;

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

/// Any text is a query or is refused.
pub fn fuzz_query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(parameters) = query::parse(&text, &["tag", "filter", "limit"]) {
        assert!(parameters.len() <= 64);
    }
}
