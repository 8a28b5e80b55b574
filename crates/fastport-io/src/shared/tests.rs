//! Tests of the handle for many threads, on every backend that runs here.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{NO_OPERATION, Remote, SharedProvider};
use crate::buffer::Region;
use crate::config::ProviderConfig;
use crate::error::{ErrorCode, Rejected};
use crate::operation::{CloseMode, Completion, CompletionBatch, OpKind, Payload, RegionId, SocketId};
use crate::provider::AsyncIoProvider;
use crate::socket::Socket;
use crate::{Visitor, supported, with_backend};

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(30);

const DEAD: SocketId = SocketId::from_bits(0xFFFF_0000_0001);
const NO_REGION: RegionId = RegionId::from_bits(0xFFFF_0000_0001);

/// Runs a generic function with each backend's provider, shared.
macro_rules! on_every_backend {
    ($test:ident) => {{
        struct Test;
        impl Visitor for Test {
            type Output = ();
            fn visit<P: AsyncIoProvider + 'static>(self) {
                $test(SharedProvider::<P>::open(&ProviderConfig::default()).unwrap());
            }
        }
        for backend in supported() {
            with_backend(backend, Test).unwrap();
        }
    }};
}

fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    (far, listener.accept().unwrap().0.into())
}

fn next<P: AsyncIoProvider>(provider: &mut P) -> Completion {
    let mut batch = CompletionBatch::with_capacity(1);
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        provider.process_completions(&mut batch, Some(Duration::from_millis(100))).unwrap();
        if let Some(completion) = batch.drain().next() {
            return completion;
        }
    }
    panic!("no completion within {LIMIT:?}");
}

/// Posts until the mailbox has room.
fn patiently<T>(mut content: T, mut post: impl FnMut(T) -> Result<(), Rejected<T>>) {
    let begin = Instant::now();
    while let Err(rejected) = post(content) {
        assert_eq!(rejected.error.code(), ErrorCode::NoResources);
        assert!(begin.elapsed() < LIMIT, "the owner takes requests");
        content = rejected.returned;
        thread::yield_now();
    }
}

#[test]
fn a_remote_goes_to_any_thread() {
    fn is_free<T: Send + Sync + Clone>() {}
    is_free::<Remote>();
}

#[test]
fn the_requests_of_one_thread_are_done_in_order() {
    on_every_backend!(in_order);
}

fn in_order<P: AsyncIoProvider>(mut provider: SharedProvider<P>) {
    let (mut far, near) = pair();
    let remote = provider.remote();
    let poster = thread::spawn(move || remote.attach(near, 1).unwrap());
    let attached = next(&mut provider);
    poster.join().unwrap();
    assert_eq!((attached.context, attached.kind, attached.op), (1, OpKind::Attach, NO_OPERATION));
    let Payload::Attached(socket) = attached.payload else { panic!("an id was expected, not {attached:?}") };

    let remote = provider.remote();
    let sender = remote.clone();
    thread::spawn(move || {
        for (context, part) in (2..).zip(["one ", "two ", "three"]) {
            sender.send(socket, part.as_bytes(), context).unwrap();
        }
    });
    for context in 2..5 {
        assert_eq!(next(&mut provider).context, context);
    }
    remote.close(socket, CloseMode::Graceful, 5).unwrap();
    assert_eq!(next(&mut provider).context, 5);
    let mut received = String::new();
    far.read_to_string(&mut received).unwrap();
    assert_eq!(received, "one two three");
}

#[test]
fn what_the_provider_refuses_completes_with_its_error_and_gives_memory_back() {
    on_every_backend!(refused);
}

fn refused<P: AsyncIoProvider>(mut provider: SharedProvider<P>) {
    let remote = provider.remote();
    let rejected = remote.send(DEAD, Vec::new(), 0).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::InvalidBuffer, "nothing to send is refused at once");
    remote.send(DEAD, vec![1], 1).unwrap();
    remote.receive(DEAD, vec![0; 16].into(), 2).unwrap();
    remote.receive_stream(DEAD, 3).unwrap();
    remote.accept(DEAD, 4).unwrap();
    remote.accept_stream(DEAD, 5).unwrap();
    remote.connect(DEAD, ([127, 0, 0, 1], 1).into(), 6).unwrap();
    remote.close(DEAD, CloseMode::Abortive, 7).unwrap();
    remote.send_registered(DEAD, NO_REGION, 0..1, 8).unwrap();
    remote.receive_registered(DEAD, NO_REGION, 0..1, 9).unwrap();
    let kinds = [
        OpKind::Send,
        OpKind::Receive,
        OpKind::ReceiveStream,
        OpKind::Accept,
        OpKind::AcceptStream,
        OpKind::Connect,
        OpKind::Close,
        OpKind::Send,
        OpKind::Receive,
    ];
    for (context, kind) in (1..).zip(kinds) {
        let completion = next(&mut provider);
        assert_eq!((completion.context, completion.kind, completion.more), (context, kind, false));
        assert_eq!(completion.error().unwrap().code(), ErrorCode::SocketNotRegistered);
        if let Payload::Buffer(buffer) = completion.payload {
            assert_eq!((completion.context, buffer.capacity()), (2, 16));
        } else {
            assert_ne!(completion.context, 2);
        }
    }
}

#[test]
fn registered_memory_is_sent_and_filled_for_other_threads() {
    on_every_backend!(registered);
}

fn registered<P: AsyncIoProvider>(mut provider: SharedProvider<P>) {
    let (mut far, near) = pair();
    let socket = provider.attach(near).unwrap();
    let region = provider.register_region(Region::new(4096).unwrap()).unwrap();
    provider.region_mut(region).unwrap()[100..105].copy_from_slice(b"hello");
    let remote = provider.remote();
    let poster = thread::spawn(move || {
        remote.send_registered(socket, region, 100..105, 1).unwrap();
        remote.receive_registered(socket, region, 200..210, 2).unwrap();
        // The region ends before.
        remote.send_registered(socket, region, 4000..5000, 3).unwrap();
        remote.receive_registered(socket, region, Range { start: 9, end: 3 }, 4).unwrap();
    });
    let mut greeting = [0; 5];
    poster.join().unwrap();
    let mut results: HashMap<u64, crate::Result<u32>> = HashMap::new();
    while results.len() < 3 {
        let completion = next(&mut provider);
        results.insert(completion.context, completion.result);
    }
    far.read_exact(&mut greeting).unwrap();
    assert_eq!((&greeting, results[&1].clone()), (b"hello", Ok(5)));
    for refused in [3, 4] {
        assert_eq!(results[&refused].clone().unwrap_err().code(), ErrorCode::InvalidBuffer);
    }
    far.write_all(b"goodbye").unwrap();
    let received = next(&mut provider);
    assert_eq!((received.context, received.kind, received.result), (2, OpKind::Receive, Ok(7)));
    assert_eq!(&provider.region_mut(region).unwrap()[200..207], b"goodbye");
}

#[test]
fn a_full_mailbox_gives_the_request_back_and_takes_it_later() {
    on_every_backend!(full);
}

fn full<P: AsyncIoProvider>(provider: SharedProvider<P>) {
    let SharedProvider { provider, .. } = provider;
    let mut provider = SharedProvider::new(provider, 2);
    let remote = provider.remote();
    remote.timeout(Duration::ZERO, 1).unwrap();
    remote.timeout(Duration::ZERO, 2).unwrap();
    let rejected = remote.send(DEAD, vec![7, 8], 3).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::NoResources);
    assert_eq!(*rejected.returned, [7, 8]);
    assert_eq!(next(&mut provider).context, 1);
    remote.send(DEAD, rejected.returned, 3).unwrap();
    let mut contexts = [next(&mut provider).context, next(&mut provider).context];
    contexts.sort_unstable();
    assert_eq!(contexts, [2, 3]);
}

#[test]
fn a_caller_without_room_for_answers_makes_posters_wait_and_loses_nothing() {
    on_every_backend!(no_room);
}

fn no_room<P: AsyncIoProvider>(provider: SharedProvider<P>) {
    let SharedProvider { provider, .. } = provider;
    let mut provider = SharedProvider::new(provider, 4);
    let remote = provider.remote();
    let mut batch = CompletionBatch::with_capacity(1);
    let mut posted = 0;
    for _ in 0..100 {
        posted += u64::from(remote.receive_stream(DEAD, posted).is_ok());
        if batch.is_empty() {
            provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap();
        }
        provider.process_completions(&mut batch, Some(Duration::ZERO)).unwrap();
    }
    assert!(posted < 20, "answers that nobody takes are bounded");
    for expected in 0..posted {
        let context = match batch.drain().next() {
            Some(completion) => completion.context,
            None => next(&mut provider).context,
        };
        assert_eq!(context, expected);
    }
}

#[test]
fn after_the_provider_is_gone_requests_come_back_and_waiting_sockets_are_closed() {
    on_every_backend!(gone);
}

fn gone<P: AsyncIoProvider>(provider: SharedProvider<P>) {
    let remote = provider.remote();
    let (mut waiting, near) = pair();
    remote.attach(near, 1).unwrap();
    drop(provider);
    assert_eq!(waiting.read(&mut [0; 1]).unwrap(), 0, "the socket in the mailbox was closed");

    let (mut far, near) = pair();
    let rejected = remote.attach(near, 2).unwrap_err();
    assert_eq!(rejected.error.code(), ErrorCode::NotInitialized);
    far.write_all(b"x").unwrap();
    rejected.returned.shutdown(Shutdown::Both).unwrap();
    assert_eq!(remote.timeout(Duration::ZERO, 3).unwrap_err().code(), ErrorCode::NotInitialized);
}

#[test]
fn a_request_ends_a_wait_without_a_limit() {
    on_every_backend!(wakes);
}

fn wakes<P: AsyncIoProvider>(mut provider: SharedProvider<P>) {
    let remote = provider.remote();
    let poster = thread::spawn(move || remote.timeout(Duration::ZERO, 9).unwrap());
    let mut batch = CompletionBatch::with_capacity(4);
    while batch.is_empty() {
        provider.process_completions(&mut batch, None).unwrap();
    }
    assert_eq!(batch.drain().next().unwrap().context, 9);
    poster.join().unwrap();
}

#[test]
fn a_ticket_cancels_its_operation_and_is_harmless_afterwards() {
    on_every_backend!(cancels);
}

fn cancels<P: AsyncIoProvider>(mut provider: SharedProvider<P>) {
    let remote = provider.remote();
    let hour = Duration::from_secs(3600);
    // Before the owner has seen the request, and after.
    let early = remote.timeout(hour, 1).unwrap();
    remote.cancel(early).unwrap();
    let late = remote.timeout(hour, 2).unwrap();
    assert_eq!(next(&mut provider).context, 1);
    remote.cancel(late).unwrap();
    let completion = next(&mut provider);
    assert!(completion.context == 2 && completion.error().unwrap().is_cancelled());
    // A dead ticket, though its operation's place is in use again.
    remote.timeout(Duration::from_millis(1), 3).unwrap();
    remote.cancel(late).unwrap();
    let completion = next(&mut provider);
    assert_eq!((completion.context, completion.result), (3, Ok(0)));
    assert!(provider.ops.is_empty() && provider.tickets.is_empty());
}

/// Requests of each of the threads in the stress test.
const REQUESTS: u64 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };

#[test]
fn four_threads_at_once_lose_no_request_and_mix_up_no_bytes() {
    on_every_backend!(stress);
}

/// Each thread sends numbered words on a socket of its own, and on the way makes, cancels and lets expire timeouts, posts
/// to dead sockets, and opens and closes other connections. The far ends check order and content; the owner counts.
fn stress<P: AsyncIoProvider>(mut provider: SharedProvider<P>) {
    let mut checkers = Vec::new();
    let posters: Vec<_> = (0..4u64)
        .map(|number| {
            let (mut far, near) = pair();
            checkers.push(thread::spawn(move || {
                let mut bytes = Vec::new();
                far.read_to_end(&mut bytes).unwrap();
                bytes
            }));
            let socket = provider.attach(near).unwrap();
            let remote = provider.remote();
            thread::spawn(move || post_all(&remote, socket, number << 32))
        })
        .collect();

    let mut finals: HashMap<u64, u32> = HashMap::new();
    let mut batch = CompletionBatch::with_capacity(256);
    let begin = Instant::now();
    while (finals.len() as u64) < 4 * REQUESTS {
        assert!(begin.elapsed() < LIMIT, "{} of {} completions", finals.len(), 4 * REQUESTS);
        provider.process_completions(&mut batch, Some(Duration::from_millis(100))).unwrap();
        for completion in batch.drain().filter(|completion| !completion.more) {
            if let (OpKind::Attach, Payload::Attached(socket)) = (completion.kind, &completion.payload) {
                provider.receive_stream(*socket, u64::MAX).unwrap();
                provider.close(*socket, CloseMode::Abortive, u64::MAX).unwrap();
            }
            if completion.context != u64::MAX {
                *finals.entry(completion.context).or_default() += 1;
            }
        }
    }
    assert!(finals.values().all(|&count| count == 1), "each request has exactly one final completion");
    let sockets: Vec<SocketId> = posters.into_iter().map(|poster| poster.join().unwrap()).collect();
    for socket in sockets {
        drop(provider.detach(socket).unwrap());
    }
    for checker in checkers {
        let bytes = checker.join().unwrap();
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        assert!(words.is_sorted(), "sends kept their order");
        assert_eq!(bytes.len() as u64, REQUESTS.div_ceil(2) * 8);
    }
    assert!(provider.ops.is_empty() && provider.tickets.is_empty());
}

fn post_all(remote: &Remote, socket: SocketId, base: u64) -> SocketId {
    for number in 0..REQUESTS {
        let context = base + number;
        if number % 2 == 0 {
            let word: Arc<[u8]> = context.to_le_bytes().as_slice().into();
            patiently(word.into(), |word: super::SharedBytes| remote.send(socket, word, context).map(drop));
            continue;
        }
        match number % 64 {
            1 => patiently(pair().1, |near| remote.attach(near, context).map(drop)),
            3 => patiently((), |()| again(remote.receive(DEAD, Box::new([0; 8]), context))),
            5..20 => patiently((), |()| again(remote.timeout(Duration::from_micros(number), context))),
            _ => {
                let mut ticket = None;
                patiently((), |()| {
                    ticket = Some(remote.timeout(LIMIT * 100, context).map_err(gave_nothing)?);
                    Ok(())
                });
                let ticket = ticket.expect("it was posted");
                patiently((), |()| remote.cancel(ticket).map_err(gave_nothing));
            }
        }
    }
    socket
}

fn again<E: Into<crate::Error>>(posted: Result<super::Ticket, E>) -> Result<(), Rejected<()>> {
    posted.map(drop).map_err(|error| gave_nothing(error.into()))
}

fn gave_nothing(error: crate::Error) -> Rejected<()> {
    Rejected { error, returned: () }
}
