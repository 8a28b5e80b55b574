//! The framer of a server of C's, chosen when it is created.

use fastport::framer::FrameLimitOutOfRange;
use fastport::{Frame, Framer, LengthDelimitedFramer, PacketFramer, PacketId, PacketView, PayloadTooLarge};
use fastport_io::Result;

use crate::error::invalid;

/// Packets with a header of 4 bytes: the size of the whole packet and an id, 16 bits each, big-endian.
pub const FP_FRAMING_PACKET: u32 = 0;
/// Packets with a header of 4 bytes: the size of what follows, 32 bits, big-endian. There is no id: those received have id
/// 0, and the id of those sent is not transmitted.
pub const FP_FRAMING_LENGTH: u32 = 1;

/// One type for both framers, so that there is one kind of server. The branch costs nothing beside a call into C.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    Packet(PacketFramer),
    Length(LengthDelimitedFramer),
}

impl Framing {
    /// By the numbers of C; a maximum of 0 is the framer's own.
    pub(super) fn new(framing: u32, max_frame_bytes: u32) -> Result<Self> {
        let limit = Some(max_frame_bytes as usize).filter(|limit| *limit > 0);
        let out_of_range = |error: FrameLimitOutOfRange| invalid(format!("max_frame_bytes: {error}"));
        match framing {
            FP_FRAMING_PACKET => {
                let framer = limit.map_or(Ok(PacketFramer::default()), PacketFramer::with_max_frame_bytes);
                framer.map(Self::Packet).map_err(out_of_range)
            }
            FP_FRAMING_LENGTH => {
                let framer =
                    limit.map_or(Ok(LengthDelimitedFramer::default()), LengthDelimitedFramer::with_max_frame_bytes);
                framer.map(Self::Length).map_err(out_of_range)
            }
            _ => Err(invalid(format!("there is no framing {framing}; choose FP_FRAMING_PACKET or FP_FRAMING_LENGTH"))),
        }
    }
}

/// Asks the chosen framer.
macro_rules! chosen {
    ($self:ident, $framer:ident => $call:expr) => {
        match $self {
            Self::Packet($framer) => $call,
            Self::Length($framer) => $call,
        }
    };
}

impl Framer for Framing {
    #[inline]
    fn header_bytes(&self) -> usize {
        chosen!(self, framer => framer.header_bytes())
    }

    #[inline]
    fn max_frame_bytes(&self) -> usize {
        chosen!(self, framer => framer.max_frame_bytes())
    }

    #[inline]
    fn inspect(&self, bytes: &[u8]) -> Frame {
        chosen!(self, framer => framer.inspect(bytes))
    }

    #[inline]
    fn view<'a>(&self, frame: &'a [u8]) -> PacketView<'a> {
        chosen!(self, framer => framer.view(frame))
    }

    #[inline]
    fn write_header(
        &self,
        id: PacketId,
        payload_bytes: usize,
        header: &mut [u8],
    ) -> std::result::Result<(), PayloadTooLarge> {
        chosen!(self, framer => framer.write_header(id, payload_bytes, header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framers_can_be_chosen_with_their_own_maximum_or_another() {
        for (framing, limit, most) in [
            (FP_FRAMING_PACKET, 0, 65_535),
            (FP_FRAMING_PACKET, 1024, 1024),
            (FP_FRAMING_LENGTH, 0, 1 << 20),
            (FP_FRAMING_LENGTH, 1 << 24, 1 << 24),
        ] {
            assert_eq!(Framing::new(framing, limit).unwrap().max_frame_bytes(), most);
        }
    }

    #[test]
    fn unknown_framings_and_maxima_out_of_range_are_refused() {
        assert!(Framing::new(2, 0).is_err());
        assert!(Framing::new(FP_FRAMING_PACKET, 65_536).is_err());
        assert!(Framing::new(FP_FRAMING_LENGTH, 3).is_err());
    }
}
