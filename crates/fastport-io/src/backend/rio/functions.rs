//! The functions of Registered I/O, which Winsock hands out as a table.

use std::os::windows::io::AsRawSocket;

use windows_sys::Win32::Networking::WinSock::{
    LPFN_RIOCLOSECOMPLETIONQUEUE, LPFN_RIOCREATECOMPLETIONQUEUE, LPFN_RIOCREATEREQUESTQUEUE, LPFN_RIODEQUEUECOMPLETION,
    LPFN_RIODEREGISTERBUFFER, LPFN_RIONOTIFY, LPFN_RIORECEIVE, LPFN_RIOREGISTERBUFFER, LPFN_RIORESIZECOMPLETIONQUEUE,
    LPFN_RIOSEND, RIO_EXTENSION_FUNCTION_TABLE, SIO_GET_MULTIPLE_EXTENSION_FUNCTION_POINTER, SOCKET,
    WSAID_MULTIPLE_RIO, WSAIoctl,
};
use windows_sys::core::GUID;

use crate::backend::windows::{any_tcp_socket, last_error};
use crate::error::{Error, ErrorCode, Result};

/// Fills a table whose `cbSize` was set, and returns 0 or a code of Winsock. The one in use is [`ask_winsock`]; tests put
/// an emulator in its place.
type TableQuery = unsafe fn(SOCKET, *mut RIO_EXTENSION_FUNCTION_TABLE) -> i32;

/// A function of the table that is known to be there.
type Present<F> = <F as IntoIterator>::Item;

/// The functions that FastPort uses.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) send: Present<LPFN_RIOSEND>,
    pub(super) receive: Present<LPFN_RIORECEIVE>,
    pub(super) create_completion_queue: Present<LPFN_RIOCREATECOMPLETIONQUEUE>,
    pub(super) resize_completion_queue: Present<LPFN_RIORESIZECOMPLETIONQUEUE>,
    pub(super) close_completion_queue: Present<LPFN_RIOCLOSECOMPLETIONQUEUE>,
    pub(super) create_request_queue: Present<LPFN_RIOCREATEREQUESTQUEUE>,
    pub(super) dequeue: Present<LPFN_RIODEQUEUECOMPLETION>,
    pub(super) notify: Present<LPFN_RIONOTIFY>,
    pub(super) register_buffer: Present<LPFN_RIOREGISTERBUFFER>,
    pub(super) deregister_buffer: Present<LPFN_RIODEREGISTERBUFFER>,
}

impl Functions {
    /// # Errors
    /// `PlatformNotSupported` if this Windows (or Wine) has no Registered I/O.
    pub(super) fn load() -> Result<Self> {
        let socket = any_tcp_socket()?;
        let mut table = RIO_EXTENSION_FUNCTION_TABLE {
            cbSize: size_of::<RIO_EXTENSION_FUNCTION_TABLE>() as u32,
            ..RIO_EXTENSION_FUNCTION_TABLE::default()
        };
        // SAFETY: the socket is open and the table valid, its size set.
        let code = unsafe { table_query()(socket.as_raw_socket() as SOCKET, &raw mut table) };
        if code != 0 {
            return Err(unsupported(&format!("Winsock answers {}", std::io::Error::from_raw_os_error(code))));
        }
        Self::from_table(&table).ok_or_else(|| unsupported("the table of its functions has gaps"))
    }

    /// `None` if a function is missing, those that FastPort does not use included: such a table is not to be trusted.
    fn from_table(table: &RIO_EXTENSION_FUNCTION_TABLE) -> Option<Self> {
        table.RIOReceiveEx?;
        table.RIOSendEx?;
        table.RIOResizeRequestQueue?;
        Some(Self {
            send: table.RIOSend?,
            receive: table.RIOReceive?,
            create_completion_queue: table.RIOCreateCompletionQueue?,
            resize_completion_queue: table.RIOResizeCompletionQueue?,
            close_completion_queue: table.RIOCloseCompletionQueue?,
            create_request_queue: table.RIOCreateRequestQueue?,
            dequeue: table.RIODequeueCompletion?,
            notify: table.RIONotify?,
            register_buffer: table.RIORegisterBuffer?,
            deregister_buffer: table.RIODeregisterBuffer?,
        })
    }
}

fn unsupported(why: &str) -> Error {
    Error::new(
        ErrorCode::PlatformNotSupported,
        format!("Registered I/O needs Windows 8 or Windows Server 2012 ({why}); use the backend 'iocp' here"),
    )
}

/// # Safety
/// The socket is open, and `table` is valid for writing.
unsafe fn ask_winsock(socket: SOCKET, table: *mut RIO_EXTENSION_FUNCTION_TABLE) -> i32 {
    let id = WSAID_MULTIPLE_RIO;
    let mut written = 0;
    // SAFETY: the input is a GUID and the output the table, each of the size told; the call is not overlapped.
    let result = unsafe {
        WSAIoctl(
            socket,
            SIO_GET_MULTIPLE_EXTENSION_FUNCTION_POINTER,
            (&raw const id).cast(),
            size_of::<GUID>() as u32,
            table.cast(),
            size_of::<RIO_EXTENSION_FUNCTION_TABLE>() as u32,
            &raw mut written,
            std::ptr::null_mut(),
            None,
        )
    };
    if result == 0 { 0 } else { last_error() }
}

/// Where all tables come from.
#[cfg(not(feature = "rio-test-table"))]
fn table_query() -> TableQuery {
    ask_winsock
}

#[cfg(feature = "rio-test-table")]
use self::replaced::table_query;

#[cfg(feature = "rio-test-table")]
pub use self::replaced::use_rio_table;

/// The one place where a test may put another table.
#[cfg(feature = "rio-test-table")]
mod replaced {
    use std::sync::OnceLock;

    use windows_sys::Win32::Networking::WinSock::{RIO_EXTENSION_FUNCTION_TABLE, SOCKET};

    use super::{TableQuery, ask_winsock};

    static REPLACEMENT: OnceLock<TableQuery> = OnceLock::new();

    /// For tests: from now on all providers of this process take their functions from `query`.
    ///
    /// # Safety
    /// `query` keeps to the interface of Registered I/O.
    #[doc(hidden)]
    pub unsafe fn use_rio_table(query: unsafe fn(SOCKET, *mut RIO_EXTENSION_FUNCTION_TABLE) -> i32) {
        // The first one stays; whoever installs the same one again changes nothing.
        let _ = REPLACEMENT.set(query);
    }

    pub(super) fn table_query() -> TableQuery {
        REPLACEMENT.get().copied().unwrap_or(ask_winsock)
    }
}
