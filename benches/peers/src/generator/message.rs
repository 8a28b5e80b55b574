//! What requests look like, and what their replies must look like.

use crate::arguments::{Arguments, Content};

/// Bytes at the beginning of a plain payload that number the request.
pub(crate) const NUMBER_BYTES: usize = 8;

/// The kind of message that all sessions of a run exchange.
pub(crate) struct Message {
    pub(crate) request_id: u16,
    pub(crate) reply_id: u16,
    /// A whole payload of the largest size; requests take what they need from its beginning.
    pub(crate) payload: Vec<u8>,
    /// The smallest payload; all are equal if the server's answer is of another size than the request.
    pub(crate) least_bytes: usize,
    /// The reply is the request: it is checked whether size and number are the same.
    pub(crate) is_mirrored: bool,
}

impl Message {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let ballast: Vec<u8> = (0..*arguments.payload.0.end()).map(|index| (index * 7) as u8).collect();
        let (request_id, reply_id, payload) = match arguments.content {
            Content::Bytes => (1, 1, ballast),
            Content::Echo => (0x0001, 0x0001, [header(), field(2, &ballast)].concat()),
            Content::Benchmark => (0x1001, 0x1002, [header(), TIME_AND_SEQUENCE.to_vec(), field(4, &ballast)].concat()),
        };
        let is_mirrored = arguments.content == Content::Bytes;
        let least_bytes = if is_mirrored { *arguments.payload.0.start() } else { payload.len() };
        Self { request_id, reply_id, payload, least_bytes, is_mirrored }
    }

    /// True if replies carry the number of their request.
    pub(crate) fn is_numbered(&self) -> bool {
        self.is_mirrored && self.least_bytes >= NUMBER_BYTES
    }
}

/// Field 1, a header: request 7, and a time in milliseconds as long as those of this century.
fn header() -> Vec<u8> {
    field(1, &[[0x08, 0x07, 0x10].as_slice(), &varint(1_700_000_000_000)].concat())
}

/// Field 2, a time in nanoseconds of three bytes; field 3, a sequence number.
const TIME_AND_SEQUENCE: [u8; 6] = [0x10, 0x80, 0x80, 0x01, 0x18, 0x05];

/// A field of type bytes or message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [[number << 3 | 2].as_slice(), &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
