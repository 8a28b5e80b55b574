//! Limits and signals of the whole process. These tests run alone.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU32, Ordering};

use fastport_io::{AsyncIoProvider, CloseMode, ErrorCode, ProviderConfig, SendAtOnce};

use crate::rig::{Outcome, Rig};
use crate::send::sends_at_once;

/// Takes all descriptors that are left under a limit which is lowered to what is open now.
#[cfg(target_os = "linux")]
struct NoDescriptors {
    usual: rustix::process::Rlimit,
    _taken: Vec<std::fs::File>,
}

#[cfg(target_os = "linux")]
impl NoDescriptors {
    fn left() -> Self {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let usual = getrlimit(Resource::Nofile);
        let last =
            std::fs::read_dir("/dev/fd").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let limit = last.max().unwrap_or(0u64) + 1;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: usual.maximum }).unwrap();
        let taken = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        Self { usual, _taken: taken }
    }
}

#[cfg(target_os = "linux")]
impl Drop for NoDescriptors {
    fn drop(&mut self) {
        rustix::process::setrlimit(rustix::process::Resource::Nofile, self.usual).unwrap();
    }
}

/// The stream ends instead of spinning, the connection waits in the listener's queue, and a new stream takes it.
#[cfg(target_os = "linux")]
pub(crate) fn an_accept_without_descriptors_fails_and_can_be_tried_again<P: AsyncIoProvider>(config: &ProviderConfig) {
    let mut rig = Rig::<P>::open(config);
    for stream in [true, false] {
        let listener = rig.listen();
        let client = rig.socket_for(&listener.address);
        let connect = rig.connect(client, &listener.address);
        rig.final_of(connect);

        let none_left = NoDescriptors::left();
        let accept = if stream { rig.accept_stream(listener.id) } else { rig.accept(listener.id) };
        let last = rig.step_of(accept);
        assert!(!last.more);
        assert_eq!(last.code(), ErrorCode::NoResources);
        assert!(last.error().unwrap().is_exhaustion());
        assert!(rig.provider.create_socket(&listener.address).is_err());
        drop(none_left);

        let accept = if stream { rig.accept_stream(listener.id) } else { rig.accept(listener.id) };
        let server = rig.step_of(accept).into_socket();
        let server = rig.attach(server);
        rig.assert_connected(client, server);
    }
}

#[cfg(target_os = "linux")]
static BROKEN_PIPES: AtomicU32 = AtomicU32::new(0);

#[cfg(target_os = "linux")]
extern "C" fn count_broken_pipe(_signal: libc::c_int) {
    BROKEN_PIPES.fetch_add(1, Ordering::Relaxed);
}

/// Counts SIGPIPE for as long as it lives; Rust programs ignore it, but programs in other languages do not.
#[cfg(target_os = "linux")]
struct BrokenPipes {
    usual: libc::sighandler_t,
}

#[cfg(target_os = "linux")]
impl BrokenPipes {
    fn count() -> Self {
        BROKEN_PIPES.store(0, Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int) = count_broken_pipe;
        // SAFETY: the handler only adds to an atomic, which is safe in a signal handler.
        let usual = unsafe { libc::signal(libc::SIGPIPE, handler as libc::sighandler_t) };
        Self { usual }
    }
}

#[cfg(target_os = "linux")]
impl Drop for BrokenPipes {
    fn drop(&mut self) {
        // SAFETY: it puts back what was there.
        unsafe { libc::signal(libc::SIGPIPE, self.usual) };
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn a_dead_peer_raises_no_signal<P: AsyncIoProvider>(config: &ProviderConfig) {
    let signals = BrokenPipes::count();
    let mut rig = Rig::<P>::open(config);
    let region = rig.provider.register_region(fastport_io::Region::new(4096).unwrap()).unwrap();
    let (client, server) = rig.pair();
    let close = rig.close(server, CloseMode::Abortive);
    rig.final_of(close);
    let unconnected = rig.socket_for(&crate::rig::LOOPBACK);
    for socket in [client, unconnected] {
        for _ in 0..3 {
            let two = fastport_io::SendBuffers::new(vec![1; 10].into(), Some(vec![2; 10].into()));
            for send in
                [rig.send(socket, vec![0; 10]), rig.send(socket, two), rig.send_registered(socket, region, 0, 99)]
            {
                assert!(rig.final_of(send).result.is_err());
            }
        }
    }
    let dead = [client, unconnected, client, unconnected];
    let mut sends = dead.map(|socket| SendAtOnce::new(socket, b"?", b"!"));
    rig.provider.send_at_once(&mut sends);
    assert!(sends.iter().all(|send| send.taken.is_err() == sends_at_once(&rig)));
    drop(rig);
    drop(signals);
    assert_eq!(BROKEN_PIPES.load(Ordering::Relaxed), 0);
}
