//! Echo on a bare provider: every received buffer is sent back as it is, without a copy.
//!
//! `cargo run --release -p fastport-io --example stream_echo -- 127.0.0.1:7000 [backend]`

use std::net::SocketAddr;

use fastport_io::socket::listen;
use fastport_io::{
    AsyncIoProvider, Choice, CloseMode, CompletionBatch, OpKind, Payload, ProviderConfig, Result, SocketId,
    SocketOptions, Visitor, select, with_backend,
};

struct Echo {
    address: SocketAddr,
}

impl Visitor for Echo {
    type Output = Result<()>;

    fn visit<P: AsyncIoProvider + 'static>(self) -> Result<()> {
        let mut provider = P::open(&ProviderConfig::default())?;
        let listener = provider.create_socket(&self.address)?;
        listen(&listener, &self.address, 4096, &SocketOptions::default())?;
        let listener = provider.attach(listener)?;
        println!("{} echoes on {:?}", provider.info().backend, provider.socket(listener)?.local_addr());
        provider.accept_stream(listener, 0)?;
        let mut batch = CompletionBatch::with_capacity(128);
        loop {
            provider.process_completions(&mut batch, None)?;
            for completion in batch.drain() {
                // The context of a connection's operations is the id of its socket.
                let socket = SocketId::from_bits(completion.context);
                match (completion.kind, completion.payload) {
                    (_, Payload::Socket(accepted)) => {
                        let socket = provider.attach(accepted)?;
                        provider.receive_stream(socket, socket.to_bits())?;
                    }
                    (_, Payload::Lease(bytes)) => {
                        // Refused only if the socket is being closed; then nobody waits for the bytes.
                        let _ = provider.send(socket, bytes.into(), socket.to_bits());
                    }
                    (OpKind::AcceptStream, _) => {
                        eprintln!("accepting ended: {:?}", completion.result);
                        return completion.result.map(drop);
                    }
                    // End of file, a reset, or a failed send. The second of two finds the socket closing already.
                    (OpKind::ReceiveStream, _) => drop(provider.close(socket, CloseMode::Graceful, 0)),
                    (OpKind::Send, _) if completion.result.is_err() => {
                        drop(provider.close(socket, CloseMode::Abortive, 0));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let address = address.parse().expect("the first argument is an address such as 127.0.0.1:7000");
    let choice: Choice = arguments.next().map_or(Ok(Choice::Auto), |name| name.parse())?;
    let selection = select(choice, &ProviderConfig::default())?;
    with_backend(selection.backend, Echo { address })?
}
