//! The frame that all servers echo.

/// Bytes of the size and the id.
pub const HEADER_BYTES: usize = 4;
/// The largest frame: the size has 16 bits.
pub const MAX_FRAME_BYTES: usize = 65_535;

/// A size smaller than the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The header of a frame of that size.
pub fn header(frame_bytes: usize, id: u16) -> [u8; HEADER_BYTES] {
    let size = u16::try_from(frame_bytes).expect("a frame has at most 65535 bytes").to_be_bytes();
    let id = id.to_be_bytes();
    [size[0], size[1], id[0], id[1]]
}

/// The size in a header.
#[inline]
pub fn size(bytes: &[u8]) -> Result<usize, Malformed> {
    let size = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    if size < HEADER_BYTES { Err(Malformed) } else { Ok(size) }
}

/// Bytes of the whole frames at the beginning of `bytes`. Each is shown to `visit`.
#[inline]
pub fn walk(bytes: &[u8], mut visit: impl FnMut(&[u8])) -> Result<usize, Malformed> {
    let mut position = 0;
    while bytes.len() - position >= HEADER_BYTES {
        let end = position + size(&bytes[position..])?;
        if end > bytes.len() {
            break;
        }
        visit(&bytes[position..end]);
        position = end;
    }
    Ok(position)
}

/// Bytes of the whole frames at the beginning of `bytes`, which a handler answers by appending them to `replies`.
#[inline]
pub fn answer(bytes: &[u8], replies: &mut Vec<u8>) -> Result<usize, Malformed> {
    walk(bytes, |frame| replies.extend_from_slice(frame))
}

/// Bytes that the first frame lacks, as far as its header is there.
pub fn missing(bytes: &[u8]) -> usize {
    if bytes.len() < HEADER_BYTES {
        return 0;
    }
    size(bytes).map_or(0, |frame_bytes| frame_bytes.saturating_sub(bytes.len()))
}
