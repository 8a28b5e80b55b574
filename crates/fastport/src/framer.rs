//! Framers: where one packet ends and the next begins in a byte stream.
//!
//! A session asks its [`Framer`] about the bytes that it holds, hands complete frames to the handler where they lie, and
//! keeps the incomplete tail. The framer has no state and copies nothing: it only looks at the first bytes of a frame.
//! Sessions are generic over it, so that the calls below are inlined into the receive loop; there is no `dyn`.
//!
//! Two framers ship: [`PacketFramer`] for the 4-byte header with an id, and [`LengthDelimitedFramer`] for a plain 32-bit
//! length, as many other protocols use it.

use crate::packet::{HEADER_BYTES, MAX_PACKET_BYTES, Packet, PacketHeader, PacketId, PacketView, PayloadTooLarge};

/// Cuts a byte stream into frames, and writes the headers of outgoing frames.
///
/// A frame is a header of constant size followed by the payload. An implementation promises:
///
/// - The verdict depends on the given bytes only, and more bytes never change a `Complete` or an `Invalid`.
/// - `Complete` covers at least the header, and no more than what was given; `NeedMore` asks for more than was given.
/// - No frame is longer than [`max_frame_bytes`](Framer::max_frame_bytes), so a session can tell which buffer is enough.
/// - No input makes [`inspect`](Framer::inspect) panic.
pub trait Framer: Clone + Send + Sync + 'static {
    /// Size of the header that [`write_header`](Framer::write_header) fills.
    fn header_bytes(&self) -> usize;

    /// The longest frame, header included, that is accepted and that may be sent.
    fn max_frame_bytes(&self) -> usize;

    /// Looks at contiguous bytes that begin with the first byte of a frame, and may end anywhere.
    fn inspect(&self, bytes: &[u8]) -> Frame;

    /// The packet in a frame, exactly as long as `inspect` said.
    ///
    /// # Panics
    ///
    /// If the frame is shorter than a header, which `inspect` never calls complete.
    fn view<'a>(&self, frame: &'a [u8]) -> PacketView<'a>;

    /// Writes the header of an outgoing frame; on an error nothing is written.
    ///
    /// # Panics
    ///
    /// If `header` is not [`header_bytes`](Framer::header_bytes) long.
    fn write_header(&self, id: PacketId, payload_bytes: usize, header: &mut [u8]) -> Result<(), PayloadTooLarge>;

    /// The largest payload that may be sent.
    #[inline]
    fn max_payload_bytes(&self) -> usize {
        self.max_frame_bytes() - self.header_bytes()
    }

    /// An encoded packet to be shared by many sessions. `fill` gets exactly `payload_bytes` bytes, all zero.
    fn packet(
        &self,
        id: PacketId,
        payload_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Packet, PayloadTooLarge> {
        check_payload(payload_bytes, self.max_payload_bytes())?;
        Packet::assemble(id, self.header_bytes(), payload_bytes, |header, payload| {
            self.write_header(id, payload_bytes, header)?;
            fill(payload);
            Ok(())
        })
    }
}

/// What a framer says about the bytes at the start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The frame is there.
    Complete {
        /// Its length, header included; the next frame begins behind it.
        frame_bytes: usize,
    },
    /// The frame goes on.
    NeedMore {
        /// Total bytes needed, counted from the start of the frame: the header's size while the header is incomplete,
        /// then the length of the whole frame. A buffer of this size is enough to go on.
        at_least: usize,
    },
    /// The peer does not speak this protocol. The stream cannot be read any further.
    Invalid(InvalidFrame),
}

/// Why a frame cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFrame {
    /// The size field is smaller than the header that it must include.
    #[error("frame size {frame_bytes} is smaller than its header of {header_bytes} bytes")]
    TooShort {
        /// The size that the peer sent.
        frame_bytes: u64,
        /// The smallest valid size.
        header_bytes: u64,
    },
    /// The frame would be longer than the framer's maximum.
    #[error("frame size {frame_bytes} is over the limit of {limit_bytes} bytes")]
    TooLong {
        /// The size of the whole frame that the peer announced.
        frame_bytes: u64,
        /// The framer's maximum.
        limit_bytes: u64,
    },
    /// The header is wrong in a way that only its own framer knows.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
}

/// A framer's maximum lies outside the range that its header can describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a maximum frame of {given_bytes} bytes is out of range: choose {least_bytes} to {most_bytes}")]
pub struct FrameLimitOutOfRange {
    /// The value that was asked for.
    pub given_bytes: usize,
    /// The smallest possible maximum: a header without payload.
    pub least_bytes: usize,
    /// The largest possible maximum.
    pub most_bytes: usize,
}

/// Frames with the standard header of [`crate::packet`]: 16-bit size of the whole packet, 16-bit id.
///
/// The default accepts everything that the header can describe, 65 535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketFramer {
    max_frame_bytes: u16,
}

impl PacketFramer {
    /// Accepts packets up to this size, header included: 4 ..= 65 535.
    pub const fn with_max_frame_bytes(max_frame_bytes: usize) -> Result<Self, FrameLimitOutOfRange> {
        match check_limit(max_frame_bytes, HEADER_BYTES, MAX_PACKET_BYTES) {
            Ok(()) => Ok(Self { max_frame_bytes: max_frame_bytes as u16 }),
            Err(error) => Err(error),
        }
    }
}

impl Default for PacketFramer {
    fn default() -> Self {
        Self { max_frame_bytes: MAX_PACKET_BYTES as u16 }
    }
}

impl Framer for PacketFramer {
    #[inline]
    fn header_bytes(&self) -> usize {
        HEADER_BYTES
    }

    #[inline]
    fn max_frame_bytes(&self) -> usize {
        self.max_frame_bytes as usize
    }

    #[inline]
    fn inspect(&self, bytes: &[u8]) -> Frame {
        let Some(header) = bytes.first_chunk() else {
            return Frame::NeedMore { at_least: HEADER_BYTES };
        };
        let frame_bytes = PacketHeader::decode(*header).packet_bytes as usize;
        if frame_bytes < HEADER_BYTES {
            return too_short(frame_bytes as u64, HEADER_BYTES as u64);
        }
        if frame_bytes > self.max_frame_bytes as usize {
            return too_long(frame_bytes as u64, self.max_frame_bytes as u64);
        }
        complete_if_within(bytes, frame_bytes)
    }

    #[inline]
    fn view<'a>(&self, frame: &'a [u8]) -> PacketView<'a> {
        let (header, payload) = frame.split_first_chunk().expect("a complete frame has a header");
        PacketView { id: PacketHeader::decode(*header).id, payload, frame }
    }

    #[inline]
    fn write_header(&self, id: PacketId, payload_bytes: usize, header: &mut [u8]) -> Result<(), PayloadTooLarge> {
        check_payload(payload_bytes, self.max_payload_bytes())?;
        header.copy_from_slice(&PacketHeader::for_payload(id, payload_bytes)?.encode());
        Ok(())
    }
}

/// Bytes of the length in front of a length-delimited payload.
const LENGTH_BYTES: usize = 4;

/// Frames of a 32-bit big-endian length and a payload of that many bytes; the length does not count itself.
///
/// There is no id on the wire: received packets have id 0, and the id of a sent packet is not transmitted.
///
/// The default maximum is 1 MiB. A peer that announces a frame makes the session provide for it, so the maximum should be
/// no higher than the application's largest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthDelimitedFramer {
    max_frame_bytes: u32,
}

impl LengthDelimitedFramer {
    /// Accepts frames up to this size, the 4 bytes of the length included: 4 ..= 4 294 967 295.
    pub const fn with_max_frame_bytes(max_frame_bytes: usize) -> Result<Self, FrameLimitOutOfRange> {
        match check_limit(max_frame_bytes, LENGTH_BYTES, u32::MAX as usize) {
            Ok(()) => Ok(Self { max_frame_bytes: max_frame_bytes as u32 }),
            Err(error) => Err(error),
        }
    }
}

impl Default for LengthDelimitedFramer {
    fn default() -> Self {
        Self { max_frame_bytes: 1 << 20 }
    }
}

impl Framer for LengthDelimitedFramer {
    #[inline]
    fn header_bytes(&self) -> usize {
        LENGTH_BYTES
    }

    #[inline]
    fn max_frame_bytes(&self) -> usize {
        self.max_frame_bytes as usize
    }

    #[inline]
    fn inspect(&self, bytes: &[u8]) -> Frame {
        let Some(length) = bytes.first_chunk() else {
            return Frame::NeedMore { at_least: LENGTH_BYTES };
        };
        // In 64 bits: the sum of the largest length and the length's own bytes does not fit into 32.
        let frame_bytes = LENGTH_BYTES as u64 + u32::from_be_bytes(*length) as u64;
        if frame_bytes > self.max_frame_bytes as u64 {
            return too_long(frame_bytes, self.max_frame_bytes as u64);
        }
        complete_if_within(bytes, frame_bytes as usize)
    }

    #[inline]
    fn view<'a>(&self, frame: &'a [u8]) -> PacketView<'a> {
        let (_, payload) = frame.split_first_chunk::<LENGTH_BYTES>().expect("a complete frame has a header");
        PacketView { id: PacketId(0), payload, frame }
    }

    #[inline]
    fn write_header(&self, _: PacketId, payload_bytes: usize, header: &mut [u8]) -> Result<(), PayloadTooLarge> {
        check_payload(payload_bytes, self.max_payload_bytes())?;
        header.copy_from_slice(&(payload_bytes as u32).to_be_bytes());
        Ok(())
    }
}

#[inline]
fn complete_if_within(bytes: &[u8], frame_bytes: usize) -> Frame {
    if bytes.len() < frame_bytes {
        return Frame::NeedMore { at_least: frame_bytes };
    }
    Frame::Complete { frame_bytes }
}

#[inline]
fn check_payload(payload_bytes: usize, limit_bytes: usize) -> Result<(), PayloadTooLarge> {
    if payload_bytes > limit_bytes {
        return Err(PayloadTooLarge { payload_bytes, limit_bytes });
    }
    Ok(())
}

const fn check_limit(given_bytes: usize, least_bytes: usize, most_bytes: usize) -> Result<(), FrameLimitOutOfRange> {
    if given_bytes < least_bytes || given_bytes > most_bytes {
        return Err(FrameLimitOutOfRange { given_bytes, least_bytes, most_bytes });
    }
    Ok(())
}

// The two verdicts that end a session are kept out of the receive loop.

#[cold]
fn too_short(frame_bytes: u64, header_bytes: u64) -> Frame {
    Frame::Invalid(InvalidFrame::TooShort { frame_bytes, header_bytes })
}

#[cold]
fn too_long(frame_bytes: u64, limit_bytes: u64) -> Frame {
    Frame::Invalid(InvalidFrame::TooLong { frame_bytes, limit_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Payloads = Vec<(u16, Vec<u8>)>;

    fn encode<F: Framer>(framer: &F, packets: &Payloads) -> Vec<u8> {
        let mut stream = Vec::new();
        for (id, payload) in packets {
            let start = stream.len();
            stream.resize(start + framer.header_bytes(), 0);
            framer.write_header(PacketId(*id), payload.len(), &mut stream[start..]).unwrap();
            stream.extend_from_slice(payload);
        }
        stream
    }

    /// Receives the stream in pieces, the way a session does: whatever is incomplete waits for the next piece.
    fn decode<F: Framer>(framer: &F, stream: &[u8], pieces: &[usize]) -> Payloads {
        let mut packets = Vec::new();
        let mut held = Vec::new();
        let mut rest = stream;
        let mut sizes = pieces.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            held.extend_from_slice(piece);
            rest = after;
            while let Frame::Complete { frame_bytes } = framer.inspect(&held) {
                let view = framer.view(&held[..frame_bytes]);
                assert_eq!(view.frame, &held[..frame_bytes]);
                packets.push((view.id.0, view.payload.to_vec()));
                held.drain(..frame_bytes);
            }
            assert!(matches!(framer.inspect(&held), Frame::NeedMore { .. }));
        }
        assert!(held.is_empty(), "the stream ends with a frame");
        packets
    }

    /// What the trait promises, for the bytes and for every shorter part of them.
    fn check_promises<F: Framer>(framer: &F, bytes: &[u8]) {
        let mut settled = None;
        for end in 0..=bytes.len() {
            let verdict = framer.inspect(&bytes[..end]);
            match verdict {
                Frame::Complete { frame_bytes } => {
                    assert!((framer.header_bytes()..=end).contains(&frame_bytes));
                    assert!(frame_bytes <= framer.max_frame_bytes());
                    let view = framer.view(&bytes[..frame_bytes]);
                    assert_eq!(view.payload.len(), frame_bytes - framer.header_bytes());
                }
                Frame::NeedMore { at_least } => {
                    assert!(at_least > end && at_least <= framer.max_frame_bytes());
                    assert_eq!(at_least == framer.header_bytes(), end < framer.header_bytes());
                }
                Frame::Invalid(_) => assert!(end >= framer.header_bytes()),
            }
            match settled {
                Some(earlier) => assert_eq!(verdict, earlier, "more bytes changed the verdict"),
                None if matches!(verdict, Frame::NeedMore { .. }) => {}
                None => settled = Some(verdict),
            }
        }
    }

    #[test]
    fn sizes_below_the_header_are_invalid() {
        for size in 0..4_u8 {
            let verdict = PacketFramer::default().inspect(&[0, size, 0, 1, 0, 0]);
            assert_eq!(
                verdict,
                Frame::Invalid(InvalidFrame::TooShort { frame_bytes: u64::from(size), header_bytes: 4 })
            );
        }
    }

    #[test]
    fn an_incomplete_header_asks_for_the_header_and_then_for_the_whole_frame() {
        let framer = PacketFramer::default();
        let stream = encode(&framer, &vec![(7, vec![1, 2, 3])]);
        assert_eq!(framer.inspect(&[]), Frame::NeedMore { at_least: 4 });
        assert_eq!(framer.inspect(&stream[..3]), Frame::NeedMore { at_least: 4 });
        assert_eq!(framer.inspect(&stream[..4]), Frame::NeedMore { at_least: 7 });
        assert_eq!(framer.inspect(&stream), Frame::Complete { frame_bytes: 7 });
    }

    #[test]
    fn a_frame_at_the_configured_maximum_is_accepted_and_one_byte_more_is_not() {
        let framer = PacketFramer::with_max_frame_bytes(100).unwrap();
        assert_eq!(framer.inspect(&[0, 100, 0, 1]), Frame::NeedMore { at_least: 100 });
        assert_eq!(
            framer.inspect(&[0, 101, 0, 1]),
            Frame::Invalid(InvalidFrame::TooLong { frame_bytes: 101, limit_bytes: 100 })
        );

        let framer = LengthDelimitedFramer::with_max_frame_bytes(100).unwrap();
        assert_eq!(framer.inspect(&[0, 0, 0, 96]), Frame::NeedMore { at_least: 100 });
        assert_eq!(
            framer.inspect(&[0, 0, 0, 97]),
            Frame::Invalid(InvalidFrame::TooLong { frame_bytes: 101, limit_bytes: 100 })
        );
    }

    #[test]
    fn the_largest_length_does_not_overflow() {
        let framer = LengthDelimitedFramer::with_max_frame_bytes(u32::MAX as usize).unwrap();
        assert_eq!(
            framer.inspect(&[0xFF; 4]),
            Frame::Invalid(InvalidFrame::TooLong { frame_bytes: (1 << 32) + 3, limit_bytes: u64::from(u32::MAX) })
        );
    }

    #[test]
    fn a_length_of_zero_is_an_empty_packet_with_id_0() {
        let framer = LengthDelimitedFramer::default();
        assert_eq!(framer.inspect(&[0; 4]), Frame::Complete { frame_bytes: 4 });
        let view = framer.view(&[0; 4]);
        assert_eq!((view.id, view.payload), (PacketId(0), &[][..]));
    }

    #[test]
    fn what_would_not_be_accepted_cannot_be_sent() {
        let framer = PacketFramer::with_max_frame_bytes(100).unwrap();
        let mut header = [0xAA; 4];
        assert_eq!(framer.write_header(PacketId(1), 96, &mut header), Ok(()));
        assert_eq!(header, [0, 100, 0, 1]);
        let refused = Err(PayloadTooLarge { payload_bytes: 97, limit_bytes: 96 });
        assert_eq!(framer.write_header(PacketId(2), 97, &mut header), refused);
        assert_eq!(header, [0, 100, 0, 1], "a refused header is not written");
        assert!(framer.packet(PacketId(2), 97, |_| panic!("nothing to fill")).is_err());
    }

    #[test]
    fn a_shared_packet_has_the_header_of_its_framer() {
        let packet = LengthDelimitedFramer::default().packet(PacketId(9), 2, |bytes| bytes.fill(5)).unwrap();
        assert_eq!(packet.frame(), [0, 0, 0, 2, 5, 5]);
        assert_eq!(packet.payload(), [5, 5]);

        let packet = PacketFramer::default().packet(PacketId(9), 2, |bytes| bytes.fill(5)).unwrap();
        assert_eq!(packet, Packet::new(PacketId(9), &[5, 5]).unwrap());
    }

    #[test]
    fn a_maximum_that_the_header_cannot_describe_is_refused_with_the_range() {
        for given_bytes in [0, 3, 65_536] {
            let error = PacketFramer::with_max_frame_bytes(given_bytes).unwrap_err();
            assert!(error.to_string().ends_with("choose 4 to 65535"), "{error}");
        }
        assert!(PacketFramer::with_max_frame_bytes(4).is_ok());
        assert_eq!(PacketFramer::with_max_frame_bytes(65_535), Ok(PacketFramer::default()));
        assert!(LengthDelimitedFramer::with_max_frame_bytes(3).is_err());
    }

    fn payloads() -> impl Strategy<Value = Payloads> {
        let size = prop_oneof![4 => 0..40_usize, 1 => 0..5000_usize];
        let payload = size.prop_flat_map(|bytes| proptest::collection::vec(any::<u8>(), bytes));
        proptest::collection::vec((any::<u16>(), payload), 0..12)
    }

    fn pieces() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(prop_oneof![Just(1_usize), 1..9_usize, 1..3000_usize], 1..30)
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_packets(packets in payloads(), pieces in pieces()) {
            let framer = PacketFramer::default();
            prop_assert_eq!(decode(&framer, &encode(&framer, &packets), &pieces), packets);
        }

        #[test]
        fn any_split_of_a_length_delimited_stream_gives_the_same_payloads(packets in payloads(), pieces in pieces()) {
            let framer = LengthDelimitedFramer::default();
            let decoded = decode(&framer, &encode(&framer, &packets), &pieces);
            let without_ids: Payloads = packets.into_iter().map(|(_, payload)| (0, payload)).collect();
            prop_assert_eq!(decoded, without_ids);
        }

        #[test]
        fn the_promises_hold_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64), limit in 4..100_usize) {
            check_promises(&PacketFramer::default(), &bytes);
            check_promises(&PacketFramer::with_max_frame_bytes(limit).unwrap(), &bytes);
            check_promises(&LengthDelimitedFramer::default(), &bytes);
            check_promises(&LengthDelimitedFramer::with_max_frame_bytes(limit).unwrap(), &bytes);
        }

        #[test]
        fn the_promises_hold_for_short_sizes(size in 0..80_u8, tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let packet: Vec<u8> = [0, size].into_iter().chain(tail.iter().copied()).collect();
            check_promises(&PacketFramer::default(), &packet);
            let delimited: Vec<u8> = [0, 0, 0, size].into_iter().chain(tail).collect();
            check_promises(&LengthDelimitedFramer::default(), &delimited);
        }
    }
}
