//! What comes through pointers of C's: texts and places for results, each checked for NULL.

use std::ffi::{CStr, c_char};

use fastport_io::Result;

use crate::error::invalid;

/// Writes what `make` returns to a place of C's, which is checked first.
///
/// # Safety
/// `place` is NULL or valid for a write.
pub(crate) unsafe fn write<T>(place: *mut T, name: &'static str, make: impl FnOnce() -> Result<T>) -> Result<()> {
    if place.is_null() {
        return Err(invalid(format!("there is no place for the result: '{name}' is NULL")));
    }
    let value = make()?;
    // SAFETY: it is not NULL, and vouched for by the caller otherwise.
    unsafe { place.write(value) };
    Ok(())
}

/// A text of C's, or `None` for NULL.
///
/// # Safety
/// NULL, or a text that ends with a zero and stays valid for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: vouched for by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| invalid("a text is not UTF-8"))
}
