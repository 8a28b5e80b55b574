//! tokio on a current-thread runtime, by hand; with `--variant` over tokio-util's `Framed`, as most users write it.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fastport_peers::frame::{HEADER_BYTES, MAX_FRAME_BYTES, size};
use fastport_peers::server::Arguments;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Decoder, Framed, LengthDelimitedCodec};

const FIRST_READ_BYTES: usize = 4096;

fn main() {
    let arguments = Arguments::read();
    let listener = arguments.listen();
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("register");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            if arguments.variant {
                tokio::spawn(framed(stream));
            } else {
                tokio::spawn(by_hand(stream));
            }
        }
    });
}

/// Ends with the session, whatever ended it.
async fn by_hand(mut stream: TcpStream) -> io::Result<()> {
    let mut received = BytesMut::with_capacity(FIRST_READ_BYTES);
    let mut replies = BytesMut::new();
    // Grows to the largest frame that was seen.
    let mut room = FIRST_READ_BYTES;
    loop {
        received.reserve(room - received.len().min(room - 1));
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        while received.len() >= HEADER_BYTES {
            let Ok(frame_bytes) = size(&received) else { return Ok(()) };
            if received.len() < frame_bytes {
                room = room.max(frame_bytes);
                break;
            }
            replies.reserve(frame_bytes);
            replies.put_slice(&received[..frame_bytes]);
            received.advance(frame_bytes);
        }
        if !replies.is_empty() {
            stream.write_all(&replies).await?;
            replies.clear();
        }
    }
}

/// The codec hands out `[id][payload]`, and puts the size before it again.
async fn framed(stream: TcpStream) -> io::Result<()> {
    let codec = LengthDelimitedCodec::builder()
        .length_field_offset(0)
        .length_field_length(2)
        .length_adjustment(-2)
        .num_skip(2)
        .max_frame_length(MAX_FRAME_BYTES)
        .new_codec();
    let mut stream = Framed::with_capacity(stream, codec, FIRST_READ_BYTES);
    while let Some(packet) = stream.next().await {
        stream.feed(packet?.freeze()).await?;
        // Flushes once for all whole frames of a read.
        while let Some(packet) = next_buffered(&mut stream)? {
            stream.feed(packet.freeze()).await?;
        }
        SinkExt::<Bytes>::flush(&mut stream).await?;
    }
    Ok(())
}

fn next_buffered(stream: &mut Framed<TcpStream, LengthDelimitedCodec>) -> io::Result<Option<BytesMut>> {
    let mut buffered = std::mem::take(stream.read_buffer_mut());
    let packet = stream.codec_mut().decode(&mut buffered);
    *stream.read_buffer_mut() = buffered;
    packet
}
