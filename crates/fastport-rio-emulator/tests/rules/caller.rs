//! A caller of Registered I/O with everything it needs to keep the rules, so that a test breaks just one.

use std::ffi::c_void;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fastport_rio_emulator::{Emulator, Rule, query};
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, IPPROTO_TCP, RIO_BUF, RIO_CORRUPT_CQ, RIO_EXTENSION_FUNCTION_TABLE, RIO_IOCP_COMPLETION,
    RIO_NOTIFICATION_COMPLETION, RIO_NOTIFICATION_COMPLETION_0, RIO_NOTIFICATION_COMPLETION_0_1, RIORESULT,
    SOCK_STREAM, SOCKADDR, SOCKADDR_IN, SOCKET, WSA_FLAG_OVERLAPPED, WSA_FLAG_REGISTERED_IO, WSAGetLastError,
    WSASocketW, closesocket, connect,
};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY,
};

pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// The key of the completion queue's notifications.
pub(crate) const KEY: usize = 4711;

pub(crate) struct Caller {
    pub(crate) emulator: Emulator,
    pub(crate) table: RIO_EXTENSION_FUNCTION_TABLE,
    pub(crate) port: HANDLE,
    pub(crate) overlapped: Box<OVERLAPPED>,
}

impl Caller {
    pub(crate) fn new(emulator: Emulator) -> Self {
        let mut table = RIO_EXTENSION_FUNCTION_TABLE {
            cbSize: size_of::<RIO_EXTENSION_FUNCTION_TABLE>() as u32,
            ..RIO_EXTENSION_FUNCTION_TABLE::default()
        };
        // Winsock is started by the first socket of the standard library.
        drop(TcpListener::bind("127.0.0.1:0").unwrap());
        // SAFETY: the table is valid for writing.
        assert_eq!(unsafe { query(0, &raw mut table) }, 0);
        // SAFETY: makes a port.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, std::ptr::null_mut(), 0, 1) };
        assert!(!port.is_null());
        Self { emulator, table, port, overlapped: Box::default() }
    }

    pub(crate) fn recording() -> Self {
        Self::new(Emulator::recording())
    }

    /// What the queue shall tell this caller's port.
    pub(crate) fn notification(&self) -> RIO_NOTIFICATION_COMPLETION {
        notification_of(self.port, &raw const *self.overlapped)
    }

    // The calls, with their errors as results. Their safety is what the emulator checks.

    pub(crate) fn create_queue_with(
        &self,
        size: u32,
        notification: Option<&RIO_NOTIFICATION_COMPLETION>,
    ) -> Result<isize, i32> {
        let notification = notification.map_or(std::ptr::null(), |notification| &raw const *notification);
        // SAFETY: see above.
        valid(unsafe { self.table.RIOCreateCompletionQueue.unwrap()(size, notification) })
    }

    pub(crate) fn completion_queue(&self, size: u32) -> isize {
        self.create_queue_with(size, Some(&self.notification())).unwrap()
    }

    pub(crate) fn close_queue(&self, queue: isize) {
        // SAFETY: see above.
        unsafe { self.table.RIOCloseCompletionQueue.unwrap()(queue) };
    }

    pub(crate) fn resize_queue(&self, queue: isize, size: u32) -> Result<(), i32> {
        // SAFETY: see above.
        succeeded(unsafe { self.table.RIOResizeCompletionQueue.unwrap()(queue, size) })
    }

    pub(crate) fn notify(&self, queue: isize) -> i32 {
        // SAFETY: see above.
        unsafe { self.table.RIONotify.unwrap()(queue) }
    }

    /// `None`: corrupt.
    pub(crate) fn dequeue(&self, queue: isize) -> Option<Vec<RIORESULT>> {
        let mut results = [RIORESULT::default(); 16];
        // SAFETY: see above.
        let count = unsafe { self.table.RIODequeueCompletion.unwrap()(queue, results.as_mut_ptr(), 16) };
        (count != RIO_CORRUPT_CQ).then(|| results[..count as usize].to_vec())
    }

    /// Dequeues until there are `count` results.
    pub(crate) fn results(&self, queue: isize, count: usize) -> Vec<RIORESULT> {
        let mut results = Vec::new();
        until("the completions have come", || {
            results.extend(self.dequeue(queue).expect("the queue is sound"));
            results.len() >= count
        });
        results
    }

    pub(crate) fn create_request_queue(
        &self,
        socket: SOCKET,
        receives: u32,
        sends: u32,
        queue: isize,
    ) -> Result<isize, i32> {
        let context = std::ptr::without_provenance(77);
        // SAFETY: see above.
        valid(unsafe {
            self.table.RIOCreateRequestQueue.unwrap()(socket, receives, 1, sends, 1, queue, queue, context)
        })
    }

    pub(crate) fn register(&self, memory: *mut u8, bytes: u32) -> Result<isize, i32> {
        // SAFETY: see above.
        match unsafe { self.table.RIORegisterBuffer.unwrap()(memory.cast_const(), bytes) } {
            0xFFFF_FFFF => Err(last_error()),
            buffer => Ok(buffer),
        }
    }

    pub(crate) fn deregister(&self, buffer: isize) {
        // SAFETY: see above.
        unsafe { self.table.RIODeregisterBuffer.unwrap()(buffer) };
    }

    pub(crate) fn send(&self, queue: isize, slice: RIO_BUF, flags: u32, context: u64) -> Result<(), i32> {
        self.send_raw(queue, &raw const slice, 1, flags, context)
    }

    pub(crate) fn send_raw(
        &self,
        queue: isize,
        slice: *const RIO_BUF,
        count: u32,
        flags: u32,
        context: u64,
    ) -> Result<(), i32> {
        let context = std::ptr::without_provenance(context as usize);
        // SAFETY: see above.
        succeeded(unsafe { self.table.RIOSend.unwrap()(queue, slice, count, flags, context) })
    }

    pub(crate) fn receive(&self, queue: isize, slice: RIO_BUF, flags: u32, context: u64) -> Result<(), i32> {
        self.receive_raw(queue, &raw const slice, 1, flags, context)
    }

    pub(crate) fn receive_raw(
        &self,
        queue: isize,
        slice: *const RIO_BUF,
        count: u32,
        flags: u32,
        context: u64,
    ) -> Result<(), i32> {
        let context = std::ptr::without_provenance(context as usize);
        // SAFETY: see above.
        succeeded(unsafe { self.table.RIOReceive.unwrap()(queue, slice, count, flags, context) })
    }

    /// The next packet of the port, within the time.
    pub(crate) fn packet(&self, limit: Duration) -> Option<OVERLAPPED_ENTRY> {
        let mut entry = OVERLAPPED_ENTRY::default();
        let mut count = 0;
        // SAFETY: one entry, as is said.
        let got = unsafe {
            GetQueuedCompletionStatusEx(self.port, &raw mut entry, 1, &raw mut count, limit.as_millis() as u32, 0)
        };
        (got != 0 && count == 1).then_some(entry)
    }

    /// Checks that the breaches up to now are of this rule, and that there are some.
    #[track_caller]
    pub(crate) fn assert_broken(&self, rule: Rule) {
        let breaches = self.emulator.breaches();
        assert!(!breaches.is_empty(), "nobody saw that {rule:?} was broken");
        assert!(breaches.iter().all(|breach| breach.rule == rule), "another rule was to be broken: {breaches:?}");
    }

    #[track_caller]
    pub(crate) fn assert_kept(&self) {
        assert_eq!(self.emulator.breaches(), []);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // SAFETY: the port is this caller's.
        unsafe { CloseHandle(self.port) };
    }
}

pub(crate) fn notification_of(port: HANDLE, overlapped: *const OVERLAPPED) -> RIO_NOTIFICATION_COMPLETION {
    RIO_NOTIFICATION_COMPLETION {
        Type: RIO_IOCP_COMPLETION,
        Anonymous: RIO_NOTIFICATION_COMPLETION_0 {
            Iocp: RIO_NOTIFICATION_COMPLETION_0_1 {
                IocpHandle: port,
                CompletionKey: KEY as *mut c_void,
                Overlapped: overlapped.cast_mut().cast(),
            },
        },
    }
}

/// A connected socket for Registered I/O, and its peer.
pub(crate) struct Connection {
    pub(crate) socket: SOCKET,
    pub(crate) peer: TcpStream,
    closed: bool,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self::with_flags(WSA_FLAG_OVERLAPPED | WSA_FLAG_REGISTERED_IO)
    }

    pub(crate) fn with_flags(flags: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = SOCKADDR_IN {
            sin_family: AF_INET,
            sin_port: listener.local_addr().unwrap().port().to_be(),
            sin_addr: windows_sys::Win32::Networking::WinSock::IN_ADDR {
                S_un: windows_sys::Win32::Networking::WinSock::IN_ADDR_0 { S_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            },
            sin_zero: [0; 8],
        };
        // SAFETY: plain values; the address is of the size that is told.
        let socket = unsafe {
            let socket = WSASocketW(i32::from(AF_INET), SOCK_STREAM, IPPROTO_TCP, std::ptr::null(), 0, flags);
            let address: *const SOCKADDR = (&raw const address).cast();
            assert_eq!(connect(socket, address, size_of::<SOCKADDR_IN>() as i32), 0);
            socket
        };
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        Self { socket, peer, closed: false }
    }

    pub(crate) fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            // SAFETY: the socket is this connection's and open.
            unsafe { closesocket(self.socket) };
        }
    }

    /// What the peer receives next, exactly so many bytes.
    pub(crate) fn peer_receives(&mut self, bytes: usize) -> Vec<u8> {
        let mut received = vec![0; bytes];
        self.peer.read_exact(&mut received).unwrap();
        received
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Registered memory that outlives its caller's mistakes.
pub(crate) struct Memory {
    pub(crate) start: *mut u8,
    pub(crate) buffer: isize,
}

impl Memory {
    pub(crate) const BYTES: u32 = 4096;

    pub(crate) fn new(caller: &Caller) -> Self {
        let start = Box::leak(vec![0; Self::BYTES as usize].into_boxed_slice()).as_mut_ptr();
        Self { start, buffer: caller.register(start, Self::BYTES).unwrap() }
    }

    pub(crate) const fn slice(&self, offset: u32, length: u32) -> RIO_BUF {
        RIO_BUF { BufferId: self.buffer, Offset: offset, Length: length }
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: the memory is leaked; whether a request uses the range is what tests are about.
        unsafe { self.start.add(offset).copy_from(bytes.as_ptr(), bytes.len()) };
    }

    pub(crate) fn read(&self, offset: usize, bytes: usize) -> Vec<u8> {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.start.add(offset), bytes).to_vec() }
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < WAIT_LIMIT, "waited {WAIT_LIMIT:?} in vain until {what}");
        std::thread::yield_now();
    }
}

fn valid(queue: isize) -> Result<isize, i32> {
    if queue == 0 { Err(last_error()) } else { Ok(queue) }
}

fn succeeded(result: i32) -> Result<(), i32> {
    if result == 0 { Err(last_error()) } else { Ok(()) }
}

fn last_error() -> i32 {
    // SAFETY: no preconditions.
    unsafe { WSAGetLastError() }
}
