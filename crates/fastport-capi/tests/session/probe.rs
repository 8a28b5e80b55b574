//! A server whose callbacks tell a test what happens, and clients for it.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use fastport_capi::error::{FP_OK, fp_last_error_message};
use fastport_capi::provider::query::fp_supported_backends;
use fastport_capi::session::callbacks::fp_server_callbacks;
use fastport_capi::session::options::fp_server_options;
use fastport_capi::session::report::fp_session_statistics;
use fastport_capi::session::{
    fp_server, fp_server_address, fp_server_create, fp_server_destroy, fp_server_listen, fp_server_start, fp_session,
};

/// Far above what a loaded machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Accepted { session: fp_session, peer: String },
    Connected { session: fp_session, token: u64 },
    ConnectFailed { token: u64, error: i32, message: String },
    Packet { session: fp_session, id: u16, payload: Vec<u8> },
    Writable { session: fp_session },
    Closed { session: fp_session, reason: u32, packets_received: u64 },
    Refused { reason: String },
    Tick { thread: u32 },
}

/// What a test does in the `packet` callback.
pub(crate) type OnPacket = Box<dyn Fn(fp_server, fp_session, u16, &[u8]) + Send + Sync>;

struct Probe {
    server: OnceLock<fp_server>,
    on_packet: OnPacket,
    events: Mutex<Sender<Event>>,
}

/// A server that is destroyed with the test.
pub(crate) struct Server {
    pub(crate) handle: fp_server,
    events: Receiver<Event>,
    _probe: Box<Probe>,
}

pub(crate) fn options() -> fp_server_options {
    // SAFETY: zeros are valid.
    let zeros = unsafe { std::mem::zeroed() };
    fp_server_options { struct_bytes: size_of::<fp_server_options>(), workers: 2, ..zeros }
}

/// The names of the backends that run here.
pub(crate) fn backends() -> Vec<&'static CStr> {
    let mut count = 0;
    // SAFETY: the place is valid; the names live as long as the program.
    unsafe {
        let names = fp_supported_backends(&raw mut count);
        (0..count).map(|position| CStr::from_ptr(*names.add(position))).collect()
    }
}

#[track_caller]
pub(crate) fn done(result: i32) {
    assert_eq!(result, FP_OK, "{}", last_message());
}

pub(crate) fn last_message() -> String {
    // SAFETY: the text is valid until the next failure on this thread.
    unsafe { text(fp_last_error_message()) }
}

unsafe fn text(text: *const c_char) -> String {
    // SAFETY: vouched for by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

pub(crate) fn send(server: fp_server, session: fp_session, id: u16, payload: &[u8]) -> i32 {
    // SAFETY: the payload is as long as said.
    unsafe {
        fastport_capi::session::send::fp_session_send(server, session, id, payload.as_ptr().cast(), payload.len())
    }
}

impl Server {
    /// Created, listening on nothing.
    pub(crate) fn create(options: &fp_server_options, on_packet: OnPacket) -> Self {
        let (sender, events) = channel();
        let mut probe = Box::new(Probe { server: OnceLock::new(), on_packet, events: Mutex::new(sender) });
        let callbacks = fp_server_callbacks {
            struct_bytes: size_of::<fp_server_callbacks>(),
            accepted: Some(accepted),
            connected: Some(connected),
            connect_failed: Some(connect_failed),
            packet: Some(packet),
            sent: None,
            writable: Some(writable),
            closed: Some(closed),
            tick: Some(tick),
            refused: Some(refused),
        };
        let mut handle = 0;
        let user = (&raw mut *probe).cast();
        // SAFETY: all pointers are valid; the probe lives longer than the server.
        done(unsafe { fp_server_create(options, &raw const callbacks, user, &raw mut handle) });
        probe.server.set(handle).unwrap();
        Self { handle, events, _probe: probe }
    }

    /// Running, on a port that the system chose.
    pub(crate) fn start(options: &fp_server_options, on_packet: OnPacket) -> Self {
        let server = Self::create(options, on_packet);
        // SAFETY: the text is a constant.
        done(unsafe { fp_server_listen(server.handle, c"127.0.0.1:0".as_ptr()) });
        done(fp_server_start(server.handle));
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let mut bytes = [0 as c_char; 64];
        let mut port = 0;
        // SAFETY: the places are as large as said.
        let address = unsafe {
            done(fp_server_address(self.handle, 0, bytes.as_mut_ptr(), bytes.len(), &raw mut port));
            text(bytes.as_ptr())
        };
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(address.port(), port);
        address
    }

    pub(crate) fn address_text(&self) -> CString {
        CString::new(self.address().to_string()).unwrap()
    }

    /// The next event that is not a tick.
    #[track_caller]
    pub(crate) fn event(&self) -> Event {
        loop {
            match self.events.recv_timeout(LIMIT).expect("an event within the limit") {
                Event::Tick { .. } => {}
                event => return event,
            }
        }
    }

    /// The next event, ticks included.
    #[track_caller]
    pub(crate) fn any_event(&self) -> Event {
        self.events.recv_timeout(LIMIT).expect("an event within the limit")
    }

    #[track_caller]
    pub(crate) fn accepted(&self) -> fp_session {
        match self.event() {
            Event::Accepted { session, .. } => session,
            other => panic!("not accepted but {other:?}"),
        }
    }

    /// Skips what else happens until a session is closed.
    #[track_caller]
    pub(crate) fn closed(&self) -> (fp_session, u32) {
        loop {
            if let Event::Closed { session, reason, .. } = self.event() {
                return (session, reason);
            }
        }
    }

    /// A client and its session.
    pub(crate) fn client(&self) -> (Client, fp_session) {
        let client = Client::connect(self.address());
        (client, self.accepted())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        fp_server_destroy(self.handle);
    }
}

unsafe fn tell(user: *mut c_void, event: Event) {
    // SAFETY: the pointer is the one that was given with the callbacks, and the probe outlives the server.
    let probe = unsafe { &*user.cast::<Probe>() };
    // A test that has seen enough does not listen any more.
    let _ = probe.events.lock().unwrap().send(event);
}

unsafe extern "C" fn accepted(user: *mut c_void, session: fp_session, peer: *const c_char) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Accepted { session, peer: text(peer) }) };
}

unsafe extern "C" fn connected(user: *mut c_void, session: fp_session, token: u64) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Connected { session, token }) };
}

unsafe extern "C" fn connect_failed(user: *mut c_void, token: u64, error: i32, message: *const c_char) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::ConnectFailed { token, error, message: text(message) }) };
}

unsafe extern "C" fn packet(user: *mut c_void, session: fp_session, id: u16, payload: *const c_void, bytes: usize) {
    // SAFETY: as promised by the header.
    let (probe, payload) = unsafe { (&*user.cast::<Probe>(), std::slice::from_raw_parts(payload.cast::<u8>(), bytes)) };
    (probe.on_packet)(*probe.server.get().unwrap(), session, id, payload);
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Packet { session, id, payload: payload.to_vec() }) };
}

unsafe extern "C" fn writable(user: *mut c_void, session: fp_session) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Writable { session }) };
}

unsafe extern "C" fn closed(
    user: *mut c_void,
    session: fp_session,
    reason: u32,
    _error: i32,
    statistics: *const fp_session_statistics,
) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Closed { session, reason, packets_received: (*statistics).packets_received }) };
}

unsafe extern "C" fn tick(user: *mut c_void, thread: u32) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Tick { thread }) };
}

unsafe extern "C" fn refused(user: *mut c_void, _peer: *const c_char, reason: *const c_char) {
    // SAFETY: as promised by the header.
    unsafe { tell(user, Event::Refused { reason: text(reason) }) };
}

/// A client that speaks packets with the standard header.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, id: u16, payload: &[u8]) {
        let size = u16::try_from(payload.len() + 4).unwrap();
        let frame = [&size.to_be_bytes(), &id.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).unwrap();
    }

    #[track_caller]
    pub(crate) fn receive(&mut self) -> (u16, Vec<u8>) {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).expect("a header within the limit");
        let [high, low, id_high, id_low] = header;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low])) - 4];
        self.0.read_exact(&mut payload).expect("a payload within the limit");
        (u16::from_be_bytes([id_high, id_low]), payload)
    }

    /// Reads to the end of the stream.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).map(|_| bytes)
    }
}
