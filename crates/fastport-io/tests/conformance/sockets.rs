//! Attaching, detaching and looking at sockets.

use std::io::{Read, Write};

use fastport_io::{AsyncIoProvider, ErrorCode, OpId, ProviderConfig, SocketId};

use crate::rig::{LOOPBACK, Outcome, Rig, peer_address, refusal};

pub(crate) fn a_detached_socket_is_an_ordinary_one<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.assert_connected(client, server);
    rig.send_now(server, b"waiting for you");
    assert_eq!(rig.provider.stats().active_sockets, 2);
    let socket = rig.provider.detach(client).unwrap();
    assert_eq!(rig.provider.stats().active_sockets, 1);
    assert_eq!(refusal(rig.provider.socket(client)), ErrorCode::SocketNotRegistered);

    socket.set_nonblocking(false).unwrap();
    let mut socket = std::net::TcpStream::try_from(socket).expect("it is one of the system");
    socket.set_read_timeout(Some(crate::rig::WAIT_LIMIT)).unwrap();
    let mut received = [0; 15];
    socket.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"waiting for you");
    socket.write_all(b"thanks").unwrap();
    assert_eq!(rig.receive_exactly(server, 6), b"thanks");
}

pub(crate) fn a_socket_can_move_to_another_provider<P: AsyncIoProvider>(config: &ProviderConfig) {
    #[cfg(windows)]
    if crate::harness::is_wine() {
        eprintln!("passed over: Wine keeps a socket at its first completion port, which Windows 8.1 does not");
        return;
    }
    let mut rig = Rig::<P>::open(config);
    let mut other = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    rig.assert_connected(client, server);
    rig.send_now(client, b"forwarded");
    let socket = rig.provider.detach(server).unwrap();
    let moved = other.attach(socket);
    assert_eq!(other.receive_exactly(moved, 9), b"forwarded");
    let socket = other.provider.detach(moved).unwrap();
    let back = rig.attach(socket);
    rig.assert_connected(client, back);
}

pub(crate) fn a_detached_socket_can_come_back<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, mut server) = rig.pair();
    for _ in 0..3 {
        rig.assert_connected(client, server);
        let socket = rig.provider.detach(server).unwrap();
        server = rig.attach(socket);
    }
    rig.assert_connected(client, server);
}

/// Acceptor and workers have providers of their own; listeners may be shared, too.
pub(crate) fn an_accepted_socket_can_be_attached_to_another_provider<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut acceptor = Rig::<P>::open(config);
    let mut worker = Rig::<P>::open(config);
    let listener = acceptor.listen();
    let accepting = acceptor.accept_stream(listener.id);
    for _ in 0..5 {
        let client = acceptor.socket_for(&listener.address);
        acceptor.connect(client, &listener.address);
        let socket = acceptor.step_of(accepting).into_socket();
        let server = worker.attach(socket);
        acceptor.send_now(client, b"over there");
        assert_eq!(worker.receive_exactly(server, 10), b"over there");
    }
}

pub(crate) fn a_busy_socket_is_not_detached<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let (client, server) = rig.pair();
    let listener = rig.listen();
    let busy: [(SocketId, OpId); 3] = [
        (client, rig.receive_stream(client)),
        (server, rig.receive(server, 16)),
        (listener.id, rig.accept_stream(listener.id)),
    ];
    let mut detached = Vec::new();
    for (socket, op) in busy {
        assert_eq!(refusal(rig.provider.detach(socket)), ErrorCode::OperationPending);
        rig.turn();
        assert_eq!(refusal(rig.provider.detach(socket)), ErrorCode::OperationPending);
        rig.provider.cancel(op).unwrap();
        rig.final_of(op);
        detached.push(rig.provider.detach(socket).expect("nothing is in flight any more"));
    }
}

pub(crate) fn what_is_no_socket_comes_back_with_a_reason<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    #[cfg(unix)]
    {
        use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let rejected = rig.provider.attach(file.into()).unwrap_err();
        assert_eq!(rejected.error.code(), ErrorCode::SocketNotRegistered);
        drop(rejected.returned);

        let datagrams: OwnedFd = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let rejected = rig.provider.attach(datagrams.into()).unwrap_err();
        assert_eq!(rejected.error.code(), ErrorCode::InvalidSocket);
        assert!(rejected.error.to_string().contains("no stream"), "{}", rejected.error);

        // SAFETY: no process has a descriptor of this number, and it is taken out again before it would be closed.
        let closed = unsafe { fastport_io::Socket::from_raw_fd(i32::MAX) };
        let rejected = rig.provider.attach(closed).unwrap_err();
        assert_eq!(rejected.error.code(), ErrorCode::SocketNotRegistered);
        assert!(rejected.error.to_string().contains("attach"), "{}", rejected.error);
        assert_eq!(rejected.returned.into_raw_fd(), i32::MAX);
    }
    assert_eq!(rig.provider.stats().active_sockets, 0);
    let (client, server) = rig.pair();
    rig.assert_connected(client, server);
}

pub(crate) fn an_attached_socket_can_be_looked_at<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = rig.listen();
    let client = rig.socket_for(&listener.address);
    let connect = rig.connect(client, &listener.address);
    assert!(rig.final_of(connect).result.is_ok());
    let socket = rig.provider.socket(client).unwrap();
    assert_eq!(peer_address(socket), listener.address);
    socket.set_tcp_nodelay(true).unwrap();
    assert!(rig.provider.socket(client).unwrap().tcp_nodelay().unwrap());
}

/// Sockets come blocking or not, from this provider or from elsewhere.
pub(crate) fn a_plain_blocking_socket_serves_as_well<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    let listener = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let (one, other) = (rig.attach(accepted.into()), rig.attach(peer.into()));
    rig.assert_connected(one, other);

    let address = listener.local_addr().unwrap();
    let listener = rig.attach(listener.into());
    let accept = rig.accept(listener);
    rig.turn();
    assert!(!rig.is_finished(accept), "a provider does not block in a blocking socket");
    let client = rig.socket_for(&address);
    rig.connect(client, &address);
    let server = rig.final_of(accept).into_socket();
    let server = rig.attach(server);
    let receive = rig.receive(server, 16);
    rig.turn();
    rig.send_now(client, b"and on");
    assert_eq!(rig.final_of(receive).bytes(), b"and on");
}
