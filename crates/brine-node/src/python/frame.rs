//! Frames between the minion and its Python: four bytes of length, big-endian, and a msgpack map.

use std::io;

use brine_wire::msgpack::DecodeError;
use brine_wire::{Map, Value, msgpack};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest frame accepted, in bytes: the limit of Salt's own transports.
const LARGEST: u32 = 100 << 20;

/// No frame could be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection ended or failed.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// The frame is larger than the limit.
    #[error("a value of {bytes} bytes is over the limit of {LARGEST}")]
    TooLarge {
        /// Its size.
        bytes: u32,
    },
    /// The bytes are not msgpack.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A value that is not a mapping.
    #[error("not a mapping")]
    NotAMap,
}

/// Reads one frame. Dropping the future loses the part that was read.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Map, FrameError> {
    let bytes = from.read_u32().await?;
    if bytes > LARGEST {
        return Err(FrameError::TooLarge { bytes });
    }
    // Grows with the bytes that arrive, not with the announced length.
    let mut body = Vec::new();
    from.take(bytes.into()).read_to_end(&mut body).await?;
    if body.len() as u64 != u64::from(bytes) {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match msgpack::decode(&body)? {
        Value::Map(map) => Ok(map),
        _ => Err(FrameError::NotAMap),
    }
}

/// For the fuzz target: a frame that was read is written and read as the same.
pub(crate) fn fuzz_frame(mut bytes: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        return;
    };
    let Ok(map) = runtime.block_on(read(&mut bytes)) else {
        return;
    };
    let mut written = vec![0; 4];
    msgpack::encode_map(&map, &mut written);
    let written = framed(written).unwrap_or_default();
    let again = runtime.block_on(read(&mut &written[..]));
    let text = |map: &Map| format!("{map:?}"); // a NaN is not equal to itself
    assert_eq!(again.ok().as_ref().map(text), Some(text(&map)));
}

/// Writes one frame.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), map: &Map) -> io::Result<()> {
    let mut body = vec![0; 4];
    msgpack::encode_map(map, &mut body);
    to.write_all(&framed(body)?).await
}

/// Fills in the length in the four bytes reserved at the beginning.
pub(super) fn framed(mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let length = u32::try_from(bytes.len().saturating_sub(4)).map_err(io::Error::other)?;
    if let Some(head) = bytes.first_chunk_mut() {
        *head = length.to_be_bytes();
    }
    Ok(bytes)
}
