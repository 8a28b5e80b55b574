//! `fp_provider_*`: sockets, operations and completions.

use std::ffi::{CStr, c_char};
use std::sync::{Arc, Mutex};

use fastport_io::Result;

use crate::error::{guard, invalid};
use crate::handle::{HandleKind, HandleTable};

/// A provider: the I/O of one backend. Destroyed by `fp_provider_destroy`.
pub type fp_provider = u64;

struct Provider {
    #[allow(dead_code, reason = "about to be used")]
    name: Mutex<String>,
}

static PROVIDERS: HandleTable<Provider> = HandleTable::new(HandleKind::Provider);

/// Creates a provider that does not run yet.
///
/// `backend` is "io_uring", "epoll", "kqueue", "iocp", "rio" or "auto", in any case; NULL means "auto". `provider` gets the
/// handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fp_provider_create(backend: *const c_char, provider: *mut fp_provider) -> i32 {
    guard(|| {
        // SAFETY: the caller passes NULL or a text that ends with a zero.
        let name = unsafe { text(backend) }?.unwrap_or("auto").to_owned();
        if provider.is_null() {
            return Err(invalid("there is no place for the handle: 'provider' is NULL"));
        }
        let handle = PROVIDERS.insert(Arc::new(Provider { name: Mutex::new(name) }))?;
        // SAFETY: the pointer is not NULL, and the caller vouches for the rest.
        unsafe { provider.write(handle) };
        Ok(())
    })
}

/// Destroys a provider. Its handle is dead from now on.
#[unsafe(no_mangle)]
pub extern "C" fn fp_provider_destroy(provider: fp_provider) -> i32 {
    guard(|| PROVIDERS.remove(provider).map(drop))
}

/// A text of C's, or `None` for NULL.
///
/// # Safety
/// NULL, or a text that ends with a zero and stays valid for `'a`.
unsafe fn text<'a>(text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: vouched for by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| invalid("a text is not UTF-8"))
}
