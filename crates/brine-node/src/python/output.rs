//! Copies what users' modules print and log into the minion's log.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longer lines are logged in pieces.
const LONGEST_LINE: usize = 8 << 10;

/// Logs lines until the end of the stream.
pub(super) async fn log_lines(mut from: impl AsyncRead + Unpin) {
    let mut waiting = Vec::new();
    let mut piece = vec![0; LONGEST_LINE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        waiting.extend_from_slice(piece.get(..length).unwrap_or_default());
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let rest = waiting.split_off(end + 1);
            log(&waiting);
            waiting = rest;
        }
        if waiting.len() >= LONGEST_LINE {
            log(&waiting);
            waiting.clear();
        }
    }
    log(&waiting);
}

/// Lines of Python's logging begin with their level in brackets; printed lines do not.
fn log(line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    let level = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "));
    match level {
        _ if line.is_empty() => {}
        Some(("CRITICAL" | "ERROR", text)) => tracing::error!(target: "python", "{text}"),
        Some(("WARNING", text)) => tracing::warn!(target: "python", "{text}"),
        Some(("INFO", text)) => tracing::info!(target: "python", "{text}"),
        Some(("DEBUG", text)) => tracing::debug!(target: "python", "{text}"),
        _ => tracing::info!(target: "python", "{line}"),
    }
}
