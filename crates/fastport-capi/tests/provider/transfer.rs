//! Sends, receives, accepts, connects, timeouts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use fastport_capi::error::{FP_CONNECTION_REFUSED, FP_INVALID_BUFFER, FP_OPERATION_PENDING};
use fastport_capi::provider::completion::{
    FP_KIND_ACCEPT, FP_KIND_CONNECT, FP_KIND_RECEIVE, FP_KIND_SEND, FP_KIND_TIMEOUT, FP_STATUS_CANCELLED,
    FP_STATUS_ERROR, FP_STATUS_SUCCESS,
};
use fastport_capi::provider::socket::FP_NO_SOCKET;
use fastport_capi::provider::submit::{
    fp_provider_accept, fp_provider_cancel, fp_provider_connect, fp_provider_receive_registered,
    fp_provider_send_batch, fp_provider_send_registered, fp_provider_timeout, fp_send,
};
use fastport_capi::provider::{
    fp_provider_register_buffer, fp_provider_register_socket, fp_provider_unregister_buffer,
    fp_provider_unregister_socket,
};

use crate::{Provider, backends, done, pair, raw, stream};

#[test]
fn bytes_go_both_ways_and_their_completions_name_operation_socket_and_contexts() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (mut far, near) = pair();
        done(fp_provider_register_socket(provider.0, raw(&near), 77));
        let sent = provider.send(raw(&near), b"hello", 1);
        let completion = provider.completion();
        assert_eq!((completion.operation, completion.kind, completion.context), (sent, FP_KIND_SEND, 1));
        assert_eq!((completion.status, completion.bytes), (FP_STATUS_SUCCESS, 5));
        assert_eq!((completion.socket, completion.socket_context), (raw(&near), 77));
        let mut bytes = [0; 5];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");

        let mut buffer = [0; 16];
        let received = provider.receive(raw(&near), &mut buffer, 2);
        far.write_all(b"world").unwrap();
        let completion = provider.completion();
        assert_eq!((completion.operation, completion.kind, completion.bytes), (received, FP_KIND_RECEIVE, 5));
        assert_eq!(&buffer[..5], b"world");
        done(fp_provider_unregister_socket(provider.0, raw(&near)));
    }
}

#[test]
fn an_orderly_end_is_a_receive_of_0_bytes() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (far, near) = pair();
        let mut buffer = [0; 16];
        provider.receive(raw(&near), &mut buffer, 0);
        far.shutdown(Shutdown::Write).unwrap();
        let completion = provider.completion();
        assert_eq!((completion.status, completion.bytes, completion.error), (FP_STATUS_SUCCESS, 0, 0));
    }
}

#[test]
fn what_does_not_fit_the_array_comes_with_the_next_call_in_order() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (_far, near) = pair();
        let sends: Vec<fp_send> = (0..100)
            .map(|context| fp_send { socket: raw(&near), data: b"x".as_ptr().cast(), length: 1, context })
            .collect();
        let (mut ids, mut posted) = ([0; 100], 0);
        // SAFETY: the arrays are as long as said.
        done(unsafe { fp_provider_send_batch(provider.0, sends.as_ptr(), 100, ids.as_mut_ptr(), &raw mut posted) });
        assert_eq!(posted, 100);
        for (context, id) in ids.into_iter().enumerate() {
            let completion = provider.completion();
            assert_eq!((completion.context, completion.operation), (context as u64, id));
        }
        assert!(provider.process(8, 0).1.is_empty());
    }
}

#[test]
fn connections_are_accepted_and_made() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut accepted, mut address) = (FP_NO_SOCKET, [0u8; 16]);
        // SAFETY: both places live until the completion.
        done(unsafe {
            let address = address.as_mut_ptr().cast();
            fp_provider_accept(provider.0, raw(&listener), &raw mut accepted, address, 16, 5, std::ptr::null_mut())
        });
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let completion = provider.completion();
        assert_eq!((completion.kind, completion.status, completion.context), (FP_KIND_ACCEPT, FP_STATUS_SUCCESS, 5));
        assert_eq!(completion.accepted, accepted);
        let near = stream(accepted);
        assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
        // A sockaddr_in: port at 2, address at 4.
        assert_eq!(u16::from_be_bytes([address[2], address[3]]), far.local_addr().unwrap().port());
        assert_eq!(&address[4..8], &[127, 0, 0, 1]);
    }
}

/// A sockaddr_in, as this system lays it out.
fn sockaddr_of(address: std::net::SocketAddr) -> socket2::SockAddr {
    address.into()
}

#[test]
fn a_connect_succeeds_or_tells_that_nobody_listens() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for expected in [0, FP_CONNECTION_REFUSED] {
            let listener_address = listener.local_addr().unwrap();
            let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let address = sockaddr_of(if expected == 0 { listener_address } else { refused });
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            // SAFETY: the address is as long as said.
            done(unsafe {
                let start = address.as_ptr().cast();
                fp_provider_connect(provider.0, raw(&socket), start, address.len() as _, 0, std::ptr::null_mut())
            });
            let completion = provider.completion();
            assert_eq!((completion.kind, completion.error), (FP_KIND_CONNECT, expected));
            done(fp_provider_unregister_socket(provider.0, raw(&socket)));
        }
    }
}

#[test]
fn a_timeout_completes_and_a_cancelled_operation_says_so() {
    for backend in backends() {
        let provider = Provider::start(backend);
        // SAFETY: NULL is allowed.
        done(unsafe { fp_provider_timeout(provider.0, 1, 9, std::ptr::null_mut()) });
        let completion = provider.completion();
        assert_eq!((completion.kind, completion.status, completion.context), (FP_KIND_TIMEOUT, FP_STATUS_SUCCESS, 9));

        let (_far, near) = pair();
        let mut buffer = [0; 16];
        let id = provider.receive(raw(&near), &mut buffer, 0);
        done(fp_provider_cancel(provider.0, id));
        let completion = provider.completion();
        assert_eq!((completion.operation, completion.status), (id, FP_STATUS_CANCELLED));
        done(fp_provider_cancel(provider.0, id));
    }
}

#[test]
fn a_closed_socket_is_told_by_the_completion() {
    for backend in backends() {
        let provider = Provider::start(backend);
        // Far above any descriptor of this process, and a multiple of 4 as handles of Windows are.
        provider.send(0x7FFF_FFF0, b"x", 3);
        let completion = provider.completion();
        assert_eq!((completion.status, completion.context), (FP_STATUS_ERROR, 3));
        assert_ne!(completion.error, 0);
    }
}

#[test]
fn registered_buffers_are_sent_from_and_received_into_within_their_bounds() {
    for backend in backends() {
        let provider = Provider::start(backend);
        let (mut far, near) = pair();
        let mut memory = vec![0u8; 8192];
        memory[100..105].copy_from_slice(b"hello");
        let mut buffer = -1;
        // SAFETY: the memory lives until it is unregistered.
        unsafe {
            done(fp_provider_register_buffer(provider.0, memory.as_ptr().cast(), 8192, &raw mut buffer));
            assert!(buffer >= 0);
            let none = std::ptr::null_mut();
            done(fp_provider_send_registered(provider.0, raw(&near), buffer, 100, 5, 0, none));
            assert_eq!(provider.completion().bytes, 5);
            let mut bytes = [0; 5];
            far.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"hello");

            done(fp_provider_receive_registered(provider.0, raw(&near), buffer, 4096, 4096, 0, none));
            assert_eq!(provider.process(1, 0).1.len(), 0);
            assert_eq!(fp_provider_unregister_buffer(provider.0, buffer), FP_OPERATION_PENDING);
            far.write_all(b"world").unwrap();
            assert_eq!(provider.completion().bytes, 5);
            assert_eq!(&memory[4096..4101], b"world");

            for (offset, length) in [(8192, 1), (0, 8193), (u32::MAX, 1), (0, 0)] {
                let result = fp_provider_send_registered(provider.0, raw(&near), buffer, offset, length, 0, none);
                assert_eq!(result, FP_INVALID_BUFFER, "{length} bytes from {offset}");
            }
        }
        done(fp_provider_unregister_buffer(provider.0, buffer));
        assert_eq!(fp_provider_unregister_buffer(provider.0, buffer), FP_INVALID_BUFFER);
    }
}

#[test]
fn a_number_that_names_another_socket_now_is_no_obstacle() {
    for backend in backends() {
        let provider = Provider::start(backend);
        for round in 0..20u8 {
            // Used without being registered, and closed without a word: the system gives its number to the next one.
            let (mut far, near) = pair();
            far.write_all(&[round]).unwrap();
            let mut buffer = [0; 4];
            provider.receive(raw(&near), &mut buffer, 0);
            let completion = provider.completion();
            assert_eq!((completion.status, completion.bytes, buffer[0]), (FP_STATUS_SUCCESS, 1, round));
        }
    }
}
