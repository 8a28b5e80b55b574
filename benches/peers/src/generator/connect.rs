//! Opens the sessions. Each has one exchange at once, so that idle ones too are sessions that were used.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fastport_peers::frame::{self, HEADER_BYTES};
use socket2::SockRef;

use crate::arguments::Arguments;
use crate::message::Message;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The idle ones first.
pub(crate) fn open(arguments: &Arguments) -> Result<Vec<TcpStream>, String> {
    let message = Message::new(arguments);
    let count = arguments.idle + arguments.sessions + usize::from(arguments.flood > 0);
    (0..count).map(|index| connect(arguments, &message).map_err(|error| format!("session {index}: {error}"))).collect()
}

fn connect(arguments: &Arguments, message: &Message) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(arguments.addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Thousands of sessions leave no thousands of ports in TIME_WAIT behind.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let payload = &message.payload[..message.least_bytes];
    stream.write_all(&frame::header(payload.len() + HEADER_BYTES, message.request_id))?;
    stream.write_all(payload)?;
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let size = frame::size(&header).map_err(|_| std::io::Error::other("a malformed reply"))?;
    let mut reply = vec![0; size - HEADER_BYTES];
    stream.read_exact(&mut reply)?;
    if message.is_mirrored && reply != payload {
        return Err(std::io::Error::other("the reply is not the request"));
    }
    Ok(stream)
}
