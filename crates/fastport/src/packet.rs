//! The packet: a 4-byte header and a payload.
//!
//! ```text
//!  0        2        4
//!  +--------+--------+------------------------------+
//!  | size   | id     | payload, 0 ..= 65 531 bytes  |
//!  +--------+--------+------------------------------+
//! ```
//!
//! Both header fields are big-endian; `size` counts the whole packet, header included.
//!
//! Three types: [`PacketHeader`] is the four bytes, [`PacketView`] borrows a received packet where it lies, [`Packet`]
//! owns an encoded packet that many sessions share. Which bytes of a stream form a packet is decided by a
//! [framer](crate::framer); nothing here reads or writes a socket.

use std::fmt;
use std::sync::Arc;

/// Bytes of the header: size and id.
pub const HEADER_BYTES: usize = 4;

/// The largest packet that the 16-bit size can describe, header included.
pub const MAX_PACKET_BYTES: usize = u16::MAX as usize;

/// The largest payload of a packet.
pub const MAX_PAYLOAD_BYTES: usize = MAX_PACKET_BYTES - HEADER_BYTES;

/// What a packet means.
///
/// A type of its own because the number beside it in the header, the size, is 16 bits wide too. It can be matched:
/// `match packet.id { LOGIN => …, _ => … }` with `const LOGIN: PacketId = PacketId(0x0101);`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PacketId(pub u16);

impl PacketId {
    /// True for 0x8000 ..= 0x8FFF, the range of the admin channel.
    pub const fn is_admin(self) -> bool {
        self.0 & 0xF000 == 0x8000
    }
}

impl From<u16> for PacketId {
    fn from(id: u16) -> Self {
        Self(id)
    }
}

impl From<PacketId> for u16 {
    fn from(id: PacketId) -> Self {
        id.0
    }
}

/// Hexadecimal, as protocol tables write it: `0x8001`.
impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Debug for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PacketId({self})")
    }
}

/// A payload does not fit into one packet; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a payload of {payload_bytes} bytes is over the limit of {limit_bytes}: \
     split it, or use a framer with a higher maximum"
)]
pub struct PayloadTooLarge {
    /// Size of the payload.
    pub payload_bytes: usize,
    /// The largest payload that would have been taken.
    pub limit_bytes: usize,
}

/// The decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// Size of the whole packet. What a peer sent is not checked here: it may be smaller than the header itself.
    pub packet_bytes: u16,
    /// What the packet means.
    pub id: PacketId,
}

impl PacketHeader {
    /// The header of a packet with a payload of this size.
    #[inline]
    pub const fn for_payload(id: PacketId, payload_bytes: usize) -> Result<Self, PayloadTooLarge> {
        if payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(PayloadTooLarge { payload_bytes, limit_bytes: MAX_PAYLOAD_BYTES });
        }
        Ok(Self { packet_bytes: (HEADER_BYTES + payload_bytes) as u16, id })
    }

    /// The bytes on the wire.
    #[inline]
    pub const fn encode(self) -> [u8; HEADER_BYTES] {
        let [size_high, size_low] = self.packet_bytes.to_be_bytes();
        let [id_high, id_low] = self.id.0.to_be_bytes();
        [size_high, size_low, id_high, id_low]
    }

    /// Reads the bytes on the wire; any four bytes are some header.
    #[inline]
    pub const fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [size_high, size_low, id_high, id_low] = bytes;
        Self {
            packet_bytes: u16::from_be_bytes([size_high, size_low]),
            id: PacketId(u16::from_be_bytes([id_high, id_low])),
        }
    }
}

/// A packet that lies in somebody else's memory, usually in the buffer that the kernel received it into.
///
/// Nothing is copied: the view ends when its handler returns. To keep the packet, copy it into a [`Packet`]; to send
/// it on as it came, send `frame`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PacketView<'a> {
    /// What the packet means.
    pub id: PacketId,
    /// The part after the header.
    pub payload: &'a [u8],
    /// The whole packet as it was on the wire. It ends with `payload`.
    pub frame: &'a [u8],
}

impl fmt::Debug for PacketView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("PacketView", *self, f)
    }
}

/// An encoded packet that is cheap to clone: every session of a broadcast sends the same bytes.
///
/// Made for the standard header by [`Packet::new`] and [`Packet::build`], for any other by
/// [`Framer::packet`](crate::framer::Framer::packet), and from a received packet with `Packet::from(view)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    frame: Arc<[u8]>,
    header_bytes: u32,
    id: PacketId,
}

impl Packet {
    /// A packet with a copy of this payload.
    pub fn new(id: PacketId, payload: &[u8]) -> Result<Self, PayloadTooLarge> {
        Self::build(id, payload.len(), |bytes| bytes.copy_from_slice(payload))
    }

    /// A packet whose payload is written in place: one allocation, no copy. `fill` gets exactly `payload_bytes` bytes,
    /// all zero.
    pub fn build(id: PacketId, payload_bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self, PayloadTooLarge> {
        let encoded = PacketHeader::for_payload(id, payload_bytes)?.encode();
        Self::assemble(id, HEADER_BYTES, payload_bytes, |header, payload| {
            header.copy_from_slice(&encoded);
            fill(payload);
            Ok(())
        })
    }

    /// A header and a payload in one shared allocation, both written by `write`.
    pub(crate) fn assemble(
        id: PacketId,
        header_bytes: usize,
        payload_bytes: usize,
        write: impl FnOnce(&mut [u8], &mut [u8]) -> Result<(), PayloadTooLarge>,
    ) -> Result<Self, PayloadTooLarge> {
        let mut frame: Arc<[u8]> = std::iter::repeat_n(0, header_bytes + payload_bytes).collect();
        // Nobody else holds the new allocation, so this borrows it and clones nothing.
        let (header, payload) = Arc::make_mut(&mut frame).split_at_mut(header_bytes);
        write(header, payload)?;
        Ok(Self { frame, header_bytes: header_bytes as u32, id })
    }

    /// What the packet means.
    pub fn id(&self) -> PacketId {
        self.id
    }

    /// The part after the header.
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.header_bytes as usize..]
    }

    /// The whole packet as it goes on the wire.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The packet as a handler would see it.
    pub fn view(&self) -> PacketView<'_> {
        PacketView { id: self.id, payload: self.payload(), frame: self.frame() }
    }

    /// The whole packet, to be queued by reference.
    pub fn into_shared_frame(self) -> Arc<[u8]> {
        self.frame
    }
}

/// Copies the packet, whatever its header format.
impl From<PacketView<'_>> for Packet {
    fn from(view: PacketView<'_>) -> Self {
        debug_assert!(view.frame.ends_with(view.payload), "a frame ends with its payload");
        let header_bytes = (view.frame.len() - view.payload.len()) as u32;
        Self { frame: view.frame.into(), header_bytes, id: view.id }
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("Packet", self.view(), f)
    }
}

/// The id and the size only: a payload can be 64 KiB long, and private.
fn describe(name: &str, view: PacketView<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name).field("id", &view.id).field("payload_bytes", &view.payload.len()).finish_non_exhaustive()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wire_bytes_are_the_documented_ones() {
        let packet = Packet::new(PacketId(0x1002), b"hey").unwrap();
        assert_eq!(packet.frame(), [0x00, 0x07, 0x10, 0x02, b'h', b'e', b'y']);
        assert_eq!(packet.payload(), b"hey");
    }

    #[test]
    fn an_empty_payload_is_a_packet_of_four_bytes() {
        let packet = Packet::new(PacketId(1), &[]).unwrap();
        assert_eq!(packet.frame(), [0, 4, 0, 1]);
        assert!(packet.payload().is_empty());
    }

    #[test]
    fn the_largest_payload_fits_and_one_byte_more_is_refused() {
        let largest = Packet::build(PacketId(1), MAX_PAYLOAD_BYTES, |_| {}).unwrap();
        assert_eq!(largest.frame().len(), MAX_PACKET_BYTES);
        assert_eq!(largest.frame()[..2], [0xFF, 0xFF]);

        let error = Packet::new(PacketId(1), &vec![0; MAX_PAYLOAD_BYTES + 1]).unwrap_err();
        assert_eq!(error, PayloadTooLarge { payload_bytes: 65_532, limit_bytes: 65_531 });
        assert!(error.to_string().contains("65532 bytes is over the limit of 65531"));
    }

    #[test]
    fn a_payload_too_large_is_refused_before_it_is_built() {
        let refused = Packet::build(PacketId(1), usize::MAX, |_| panic!("nothing to fill"));
        assert!(refused.is_err());
    }

    #[test]
    fn clones_share_one_allocation() {
        let packet = Packet::new(PacketId(1), b"to everyone").unwrap();
        let first = packet.clone().into_shared_frame();
        let second = packet.into_shared_frame();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn ids_print_in_hexadecimal_and_know_the_admin_range() {
        assert_eq!(PacketId(0x8001).to_string(), "0x8001");
        assert_eq!(PacketId(1).to_string(), "0x0001");
        assert!(PacketId(0x8000).is_admin() && PacketId(0x8FFF).is_admin());
        assert!(!PacketId(0x7FFF).is_admin() && !PacketId(0x9000).is_admin());
    }

    #[test]
    fn debug_output_does_not_show_the_payload() {
        let packet = Packet::new(PacketId(2), b"secret").unwrap();
        assert_eq!(format!("{packet:?}"), "Packet { id: PacketId(0x0002), payload_bytes: 6, .. }");
    }

    proptest! {
        #[test]
        fn headers_survive_the_wire(packet_bytes in any::<u16>(), id in any::<u16>()) {
            let header = PacketHeader { packet_bytes, id: PacketId(id) };
            prop_assert_eq!(PacketHeader::decode(header.encode()), header);
        }

        #[test]
        fn a_kept_view_equals_the_packet_it_came_from(
            id in any::<u16>(),
            payload in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let packet = Packet::new(PacketId(id), &payload).unwrap();
            let kept = Packet::from(packet.view());
            prop_assert_eq!(kept.payload(), payload.as_slice());
            prop_assert_eq!(kept, packet);
        }
    }
}
