//! Framers under any bytes: what the trait promises holds at every prefix, and any split gives the same frames.
//!
//! Input: one byte for the limit, one for the pieces, then the stream.
#![no_main]

use fastport::{Frame, Framer, InvalidFrame, LengthDelimitedFramer, PacketFramer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [limit, pieces, stream @ ..] = input else { return };
    let limit = 4 + usize::from(*limit) * 4;
    check(&PacketFramer::default(), stream, *pieces);
    check(&PacketFramer::with_max_frame_bytes(limit).unwrap(), stream, *pieces);
    check(&LengthDelimitedFramer::default(), stream, *pieces);
    check(&LengthDelimitedFramer::with_max_frame_bytes(limit).unwrap(), stream, *pieces);
});

fn check<F: Framer>(framer: &F, stream: &[u8], pieces: u8) {
    check_prefixes(framer, &stream[..stream.len().min(64)]);
    let whole = split(framer, stream, |_| usize::MAX);
    assert_eq!(split(framer, stream, |_| 1), whole, "a byte at a time");
    let step = usize::from(pieces);
    assert_eq!(split(framer, stream, |round| 1 + step.wrapping_mul(round) % 37), whole, "in pieces");
}

/// What the trait promises of the bytes and of every shorter part of them.
fn check_prefixes<F: Framer>(framer: &F, bytes: &[u8]) {
    let mut settled = None;
    for end in 0..=bytes.len() {
        let verdict = framer.inspect(&bytes[..end]);
        if let Some(earlier) = settled {
            assert_eq!(verdict, earlier, "more bytes changed the verdict");
            continue;
        }
        match verdict {
            Frame::NeedMore { at_least } => assert!(at_least > end && at_least <= framer.max_frame_bytes()),
            Frame::Complete { frame_bytes } => {
                assert!((framer.header_bytes()..=end.min(framer.max_frame_bytes())).contains(&frame_bytes));
                settled = Some(verdict);
            }
            Frame::Invalid(_) => {
                assert!(end >= framer.header_bytes());
                settled = Some(verdict);
            }
        }
    }
}

/// The frames' sizes and ids, and how the stream ends, if it comes in pieces of those sizes.
fn split<F: Framer>(
    framer: &F,
    stream: &[u8],
    piece: impl Fn(usize) -> usize,
) -> (Vec<(u16, usize)>, Result<usize, InvalidFrame>) {
    let mut frames = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for round in 0.. {
        loop {
            match framer.inspect(&stream[begin..end]) {
                Frame::NeedMore { .. } => break,
                Frame::Invalid(fault) => return (frames, Err(fault)),
                Frame::Complete { frame_bytes } => {
                    let frame = &stream[begin..begin + frame_bytes];
                    let view = framer.view(frame);
                    assert_eq!(view.frame, frame);
                    assert_eq!(view.payload, &frame[framer.header_bytes()..]);
                    frames.push((view.id.0, frame_bytes));
                    begin += frame_bytes;
                }
            }
        }
        if end == stream.len() {
            break;
        }
        end = end.saturating_add(piece(round)).min(stream.len());
    }
    (frames, Ok(end - begin))
}
