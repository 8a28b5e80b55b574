//! What travels: packets that say whose they are and which one, and that show every altered byte.

use fastport_io::sim::Random;

/// The id of every packet of a lawful client, and of its reply.
pub(crate) const PACKET_ID: u16 = 0x0042;

/// Size and id, as the default framer has them.
pub(crate) const HEADER_BYTES: usize = 4;

/// Client, round and number: the least that a payload holds.
pub(crate) const LEAST_PAYLOAD: usize = 12;

/// The most that a packet can hold.
pub(crate) const MOST_PAYLOAD: usize = u16::MAX as usize - HEADER_BYTES;

/// Whose packet it is, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    pub(crate) client: u32,
    /// Which connection of the client's.
    pub(crate) round: u32,
    pub(crate) number: u32,
}

impl Label {
    /// The source of the bytes behind the label.
    fn noise(self, bytes: usize) -> Random {
        let position = u64::from(self.client) << 40 ^ u64::from(self.round) << 24 ^ u64::from(self.number);
        Random::new(position ^ (bytes as u64) << 48)
    }

    fn encode(self) -> [u8; LEAST_PAYLOAD] {
        let mut bytes = [0; LEAST_PAYLOAD];
        for (place, part) in bytes.chunks_mut(4).zip([self.client, self.round, self.number]) {
            place.copy_from_slice(&part.to_be_bytes());
        }
        bytes
    }
}

/// Appends a whole frame with a payload of `bytes` bytes.
pub(crate) fn write_frame(target: &mut Vec<u8>, label: Label, bytes: usize) {
    let bytes = bytes.clamp(LEAST_PAYLOAD, MOST_PAYLOAD);
    target.extend(((HEADER_BYTES + bytes) as u16).to_be_bytes());
    target.extend(PACKET_ID.to_be_bytes());
    target.extend(label.encode());
    let begin = target.len();
    target.resize(begin + bytes - LEAST_PAYLOAD, 0);
    label.noise(bytes).fill(&mut target[begin..]);
}

/// Reads the label of a payload and checks every byte behind it. The error says what is wrong.
pub(crate) fn verify(id: u16, payload: &[u8]) -> Result<Label, String> {
    if id != PACKET_ID {
        return Err(format!("a packet has the id {id:#06x}, which nobody sends"));
    }
    let Some((head, rest)) = payload.split_at_checked(LEAST_PAYLOAD) else {
        return Err(format!("a payload of {} bytes is too short", payload.len()));
    };
    let part = |index: usize| u32::from_be_bytes([head[index], head[index + 1], head[index + 2], head[index + 3]]);
    let label = Label { client: part(0), round: part(4), number: part(8) };
    let mut noise = label.noise(payload.len());
    let mut expected = [0; 8];
    for (position, chunk) in rest.chunks(8).enumerate() {
        noise.fill(&mut expected);
        if chunk != &expected[..chunk.len()] {
            let at = LEAST_PAYLOAD + position * 8;
            return Err(format!("{label:?}: altered at byte {at} of {}", payload.len()));
        }
    }
    Ok(label)
}

/// Cuts a stream into frames. Independent of the framer that is being tested.
#[derive(Default)]
pub(crate) struct Deframer {
    bytes: Vec<u8>,
    begin: usize,
}

impl Deframer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.begin > 0 && self.begin == self.bytes.len() {
            self.clear();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame: id and payload.
    pub(crate) fn next(&mut self) -> Option<(u16, &[u8])> {
        let rest = &self.bytes[self.begin..];
        let header = rest.first_chunk::<HEADER_BYTES>()?;
        let size = usize::from(u16::from_be_bytes([header[0], header[1]])).max(HEADER_BYTES);
        let id = u16::from_be_bytes([header[2], header[3]]);
        let frame = rest.get(..size)?;
        self.begin += size;
        Some((id, &frame[HEADER_BYTES..]))
    }

    /// Bytes of a frame that is not whole.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.begin
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.begin = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back_and_an_altered_byte_is_found() {
        let label = Label { client: 3, round: 1, number: 7 };
        let mut stream = Vec::new();
        write_frame(&mut stream, label, 100);
        write_frame(&mut stream, Label { number: 8, ..label }, 12);
        let mut deframer = Deframer::default();
        deframer.push(&stream[..50]);
        assert!(deframer.next().is_none());
        deframer.push(&stream[50..]);
        let (id, payload) = deframer.next().unwrap();
        assert_eq!(verify(id, payload), Ok(label));
        let mut altered = payload.to_vec();
        altered[60] ^= 1;
        assert!(verify(id, &altered).unwrap_err().contains("altered at byte 60"));
        let (id, payload) = deframer.next().unwrap();
        assert_eq!(verify(id, payload).unwrap().number, 8);
        assert_eq!(deframer.left(), 0);
    }
}
