//! Messages on the control socket: a length (four bytes, big endian) and that much JSON.

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Enough for 5,000 target groups in one answer, small enough that garbage cannot exhaust memory.
const MAX_FRAME: u32 = 64 << 20;

/// What is first set aside for a message; one that is longer shows its bytes before it gets more.
const FIRST: usize = 64 << 10;

/// The next message; `None` when the peer closed between messages. A buffered stream hands over a short one, which most
/// are, in one system call.
pub(crate) async fn read<T: DeserializeOwned>(
    stream: &mut BufReader<impl AsyncRead + Unpin>,
) -> std::io::Result<Option<T>> {
    let mut length = [0u8; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(invalid(format!("a message of {length} bytes exceeds the limit of {MAX_FRAME}")));
    }
    let mut body = Vec::with_capacity(FIRST.min(length as usize));
    stream.take(u64::from(length)).read_to_end(&mut body).await?;
    if body.len() != length as usize {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| invalid(error.to_string()))
}

pub(crate) async fn write<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> std::io::Result<()> {
    let mut bytes = vec![0u8; 4];
    serde_json::to_writer(&mut bytes, message).map_err(|error| invalid(error.to_string()))?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| invalid("message too long".to_owned()))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&bytes).await
}

fn invalid(message: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, message)
}
