//! monoio over io_uring, one thread.

use fastport_peers::frame;
use fastport_peers::server::Arguments;
use monoio::buf::SliceMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

fn main() {
    let listener = Arguments::read().listen();
    let mut runtime =
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(4096).build().expect("io_uring");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            monoio::spawn(serve(stream));
        }
    });
}

async fn serve(mut stream: TcpStream) {
    let mut received: Vec<u8> = Vec::with_capacity(4096);
    let mut replies: Vec<u8> = Vec::new();
    loop {
        if received.len() == received.capacity() {
            received.reserve(received.capacity());
        }
        let (begin, end) = (received.len(), received.capacity());
        let (result, slice) = stream.read(SliceMut::new(received, begin, end)).await;
        received = slice.into_inner();
        if !matches!(result, Ok(1..)) {
            return;
        }
        let Ok(whole) = frame::answer(&received, &mut replies) else { return };
        received.drain(..whole);
        received.reserve(frame::missing(&received));
        if !replies.is_empty() {
            let (result, buffer) = stream.write_all(replies).await;
            if result.is_err() {
                return;
            }
            replies = buffer;
            replies.clear();
        }
    }
}
