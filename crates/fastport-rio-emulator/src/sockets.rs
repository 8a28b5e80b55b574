//! Seeing sockets come and go.
//!
//! Windows frees a request queue inside `closesocket`, and knows by which flags a socket was created. So that the emulator
//! knows too, it puts its own functions into this program's table of imports, before those of Winsock.

use std::ffi::c_void;
use std::sync::OnceLock;

use windows_sys::Win32::Networking::WinSock::{INVALID_SOCKET, SOCKET, WSA_FLAG_REGISTERED_IO, WSAPROTOCOL_INFOW};
use windows_sys::Win32::System::Diagnostics::Debug::{IMAGE_DIRECTORY_ENTRY_IMPORT, IMAGE_NT_HEADERS64};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress, LoadLibraryW};
use windows_sys::Win32::System::Memory::{PAGE_READWRITE, VirtualProtect};
use windows_sys::Win32::System::SystemServices::{IMAGE_DOS_HEADER, IMAGE_IMPORT_DESCRIPTOR};
use windows_sys::core::w;

use crate::kernel;

type CloseSocket = unsafe extern "system" fn(SOCKET) -> i32;
type CreateSocket = unsafe extern "system" fn(i32, i32, i32, *const WSAPROTOCOL_INFOW, u32, u32) -> SOCKET;

struct Originals {
    close: CloseSocket,
    create: CreateSocket,
}

static ORIGINALS: OnceLock<Originals> = OnceLock::new();

/// Starts watching the sockets of this program. Those that exist already count as created without the flag.
pub(crate) fn intercept() {
    ORIGINALS.get_or_init(|| {
        // SAFETY: plain look-ups in a library that every user of sockets has loaded, of functions with these signatures;
        // both outlive the program's use of sockets, because the library is not unloaded.
        unsafe {
            let winsock = LoadLibraryW(w!("ws2_32.dll"));
            let close = GetProcAddress(winsock, c"closesocket".as_ptr().cast()).expect("Winsock has closesocket");
            let create = GetProcAddress(winsock, c"WSASocketW".as_ptr().cast()).expect("Winsock has WSASocketW");
            let closing = replace_import(close as *const c_void, on_close as *const c_void);
            let creating = replace_import(create as *const c_void, on_create as *const c_void);
            assert!(closing > 0 && creating > 0, "this program imports closesocket and WSASocketW");
            Originals {
                close: std::mem::transmute::<unsafe extern "system" fn() -> isize, CloseSocket>(close),
                create: std::mem::transmute::<unsafe extern "system" fn() -> isize, CreateSocket>(create),
            }
        }
    });
}

unsafe extern "system" fn on_close(socket: SOCKET) -> i32 {
    kernel::lock().socket_closing(socket);
    // SAFETY: the caller's arguments, handed through.
    unsafe { (ORIGINALS.wait().close)(socket) }
}

unsafe extern "system" fn on_create(
    family: i32,
    kind: i32,
    protocol: i32,
    information: *const WSAPROTOCOL_INFOW,
    group: u32,
    flags: u32,
) -> SOCKET {
    // SAFETY: the caller's arguments, handed through.
    let socket = unsafe { (ORIGINALS.wait().create)(family, kind, protocol, information, group, flags) };
    if socket != INVALID_SOCKET {
        kernel::lock().socket_created(socket, flags & WSA_FLAG_REGISTERED_IO != 0);
    }
    socket
}

/// Replaces a function in the import table of this program, wherever it stands, and returns how often it stood there.
///
/// # Safety
/// `replacement` has the signature of `original`.
#[allow(clippy::cast_ptr_alignment, reason = "the loader aligns what it maps")]
unsafe fn replace_import(original: *const c_void, replacement: *const c_void) -> usize {
    let mut count = 0;
    // SAFETY: the loader keeps headers and import table of the running program mapped, in the layout of the PE format; a
    // table ends by a descriptor, and a list of functions by a pointer, of zero.
    unsafe {
        let base = GetModuleHandleW(std::ptr::null()).cast::<u8>();
        let headers = base.add((*base.cast::<IMAGE_DOS_HEADER>()).e_lfanew as usize).cast::<IMAGE_NT_HEADERS64>();
        let directory = (*headers).OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT as usize];
        let mut library = base.add(directory.VirtualAddress as usize).cast::<IMAGE_IMPORT_DESCRIPTOR>();
        while (*library).FirstThunk != 0 {
            let mut import = base.add((*library).FirstThunk as usize).cast::<*const c_void>();
            while !(*import).is_null() {
                if *import == original {
                    let mut protection = 0;
                    VirtualProtect(import.cast(), size_of::<*const c_void>(), PAGE_READWRITE, &raw mut protection);
                    import.write_volatile(replacement);
                    VirtualProtect(import.cast(), size_of::<*const c_void>(), protection, &raw mut protection);
                    count += 1;
                }
                import = import.add(1);
            }
            library = library.add(1);
        }
    }
    count
}
