//! compio over io_uring, one thread.

use compio::buf::{BufResult, IntoInner, IoBuf};
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use fastport_peers::frame;
use fastport_peers::server::Arguments;

fn main() {
    let listener = Arguments::read().listen();
    let mut proactor = ProactorBuilder::new();
    proactor.capacity(4096);
    let runtime = compio::runtime::RuntimeBuilder::new().with_proactor(proactor).build().expect("io_uring");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            compio::runtime::spawn(serve(stream)).detach();
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
        let begin = received.len();
        let BufResult(result, slice) = stream.read(received.slice(begin..)).await;
        received = slice.into_inner();
        if !matches!(result, Ok(1..)) {
            return;
        }
        let Ok(whole) = frame::answer(&received, &mut replies) else { return };
        received.drain(..whole);
        received.reserve(frame::missing(&received));
        if !replies.is_empty() {
            let BufResult(result, buffer) = stream.write_all(replies).await;
            if result.is_err() {
                return;
            }
            replies = buffer;
            replies.clear();
        }
    }
}
