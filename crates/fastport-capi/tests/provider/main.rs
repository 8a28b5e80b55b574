//! The C ABI of providers, as a C program calls it, on every backend that runs here.

mod life;
mod misuse;
mod threads;
mod transfer;

use std::ffi::CStr;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fastport_capi::error::{FP_OK, fp_last_error_message};
use fastport_capi::provider::completion::fp_completion;
use fastport_capi::provider::query::fp_supported_backends;
use fastport_capi::provider::socket::fp_socket;
use fastport_capi::provider::submit::{fp_provider_receive, fp_provider_send};
use fastport_capi::provider::{
    fp_provider, fp_provider_create, fp_provider_destroy, fp_provider_initialize, fp_provider_process,
};

/// Far above what a loaded machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The names of the backends that run here.
pub(crate) fn backends() -> Vec<&'static CStr> {
    let mut count = 0;
    // SAFETY: the place is valid; the names live as long as the program.
    unsafe {
        let names = fp_supported_backends(&raw mut count);
        (0..count).map(|position| CStr::from_ptr(*names.add(position))).collect()
    }
}

/// A provider that is destroyed with the test.
pub(crate) struct Provider(pub(crate) fp_provider);

impl Provider {
    pub(crate) fn create(backend: &CStr) -> Self {
        let mut handle = 0;
        // SAFETY: name and place are valid.
        done(unsafe { fp_provider_create(backend.as_ptr(), &raw mut handle) });
        Self(handle)
    }

    pub(crate) fn start(backend: &CStr) -> Self {
        let provider = Self::create(backend);
        done(fp_provider_initialize(provider.0, 256, 4096));
        provider
    }

    pub(crate) fn send(&self, socket: fp_socket, data: &'static [u8], context: u64) -> u32 {
        let mut id = 0;
        let length = data.len() as u32;
        // SAFETY: the data lives for ever.
        done(unsafe { fp_provider_send(self.0, socket, data.as_ptr().cast(), length, context, &raw mut id) });
        id
    }

    /// The buffer must live until the completion.
    pub(crate) fn receive(&self, socket: fp_socket, buffer: &mut [u8], context: u64) -> u32 {
        let mut id = 0;
        let length = buffer.len() as u32;
        // SAFETY: tests keep their buffers until the completion.
        done(unsafe { fp_provider_receive(self.0, socket, buffer.as_mut_ptr().cast(), length, context, &raw mut id) });
        id
    }

    /// Processes once; the result of the call and the completions.
    pub(crate) fn process(&self, max: usize, timeout_ms: i32) -> (i32, Vec<fp_completion>) {
        let mut completions = Vec::with_capacity(max);
        let mut count = 0;
        // SAFETY: there is room for `max`, and `count` of them were written.
        let result = unsafe {
            let place = completions.as_mut_ptr();
            let result = fp_provider_process(self.0, place, max as u32, timeout_ms, &raw mut count);
            completions.set_len(count as usize);
            result
        };
        (result, completions)
    }

    /// The next `count` completions.
    pub(crate) fn completions(&self, count: usize) -> Vec<fp_completion> {
        let begin = Instant::now();
        let mut all = Vec::new();
        while all.len() < count {
            assert!(begin.elapsed() < LIMIT, "{} of {count} completions within {LIMIT:?}", all.len());
            let (result, some) = self.process(count - all.len(), 1000);
            done(result);
            all.extend(some);
        }
        all
    }

    pub(crate) fn completion(&self) -> fp_completion {
        self.completions(1)[0]
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        done(fp_provider_destroy(self.0));
    }
}

/// Asserts that a call succeeded.
#[track_caller]
pub(crate) fn done(result: i32) {
    assert_eq!(result, FP_OK, "{}", message());
}

pub(crate) fn message() -> String {
    // SAFETY: the text is valid until the next failure on this thread.
    unsafe { CStr::from_ptr(fp_last_error_message()) }.to_string_lossy().into_owned()
}

/// A connection: the far end, and the near one for the provider.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(LIMIT)).unwrap();
    (far, listener.accept().unwrap().0)
}

#[cfg(unix)]
pub(crate) fn raw(socket: &impl std::os::fd::AsRawFd) -> fp_socket {
    socket.as_raw_fd() as fp_socket
}

#[cfg(windows)]
pub(crate) fn raw(socket: &impl std::os::windows::io::AsRawSocket) -> fp_socket {
    socket.as_raw_socket() as fp_socket
}

/// The stream of a socket that the test owns.
#[cfg(unix)]
pub(crate) fn stream(socket: fp_socket) -> TcpStream {
    use std::os::fd::FromRawFd;
    // SAFETY: it was accepted for the test, and nobody else has it.
    unsafe { TcpStream::from_raw_fd(socket as i32) }
}

/// The stream of a socket that the test owns.
#[cfg(windows)]
pub(crate) fn stream(socket: fp_socket) -> TcpStream {
    use std::os::windows::io::FromRawSocket;
    // SAFETY: it was accepted for the test, and nobody else has it.
    unsafe { TcpStream::from_raw_socket(socket as u64) }
}
