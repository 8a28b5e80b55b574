//! Structs that programs and the library pass each other, and that may get further fields at their end.
//!
//! Each begins with `struct_bytes`, its size in the header that the caller was built with. A program built with an older
//! header passes a shorter struct: the fields that it does not know are 0, which always means the default. One built with a
//! newer header passes a longer struct: what this library does not know must be 0.

use fastport_io::Result;

use crate::error::invalid;

/// Marks such structs.
///
/// # Safety
/// `repr(C)`, the first field is `struct_bytes: usize`, every combination of zero bytes and valid fields is a valid value.
pub(super) unsafe trait Growing: Copy {
    /// The struct's name in the header.
    const NAME: &'static str;
}

/// No struct grows beyond this; a larger size was never set.
const MOST_BYTES: usize = 16 * 1024;

/// Reads a struct that the program has filled in; NULL is all defaults.
///
/// # Safety
/// `place` is NULL or points to `struct_bytes` readable bytes.
pub(super) unsafe fn read<T: Growing>(place: *const T) -> Result<T> {
    // SAFETY: zeros are valid, as the trait promises.
    let mut value: T = unsafe { std::mem::zeroed() };
    if place.is_null() {
        return Ok(value);
    }
    // SAFETY: vouched for by the caller.
    let bytes = unsafe { struct_bytes(place) }?;
    let known = bytes.min(size_of::<T>());
    // SAFETY: the first `bytes` bytes are readable, and `known` of them fit.
    let unknown = unsafe {
        std::ptr::copy_nonoverlapping(place.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
        std::slice::from_raw_parts(place.cast::<u8>().add(known), bytes - known)
    };
    if unknown.iter().any(|byte| *byte != 0) {
        let name = T::NAME;
        return Err(invalid(format!("{name} has fields that this version of the library does not know; leave them 0")));
    }
    Ok(value)
}

/// Fills in a struct whose `struct_bytes` the program has set.
///
/// # Safety
/// `place` is NULL or points to `struct_bytes` bytes that can be written.
pub(super) unsafe fn write<T: Growing>(place: *mut T, value: T) -> Result<()> {
    if place.is_null() {
        return Err(invalid(format!("there is no place for the result: the {} is NULL", T::NAME)));
    }
    // SAFETY: vouched for by the caller.
    let bytes = unsafe { struct_bytes(place) }?;
    let known = bytes.min(size_of::<T>());
    let head = size_of::<usize>();
    // SAFETY: `bytes` bytes can be written, `known` of them can be read, and neither is less than `head`.
    unsafe {
        let (from, to) = ((&raw const value).cast::<u8>(), place.cast::<u8>());
        std::ptr::copy_nonoverlapping(from.add(head), to.add(head), known - head);
        to.add(known).write_bytes(0, bytes - known);
    }
    Ok(())
}

/// Checks a struct that is to be filled in later; NULL is none.
///
/// # Safety
/// `place` is NULL or points to a struct that begins with its size.
pub(super) unsafe fn check<T: Growing>(place: *const T) -> Result<()> {
    // SAFETY: vouched for by the caller.
    if place.is_null() { Ok(()) } else { unsafe { struct_bytes(place) }.map(drop) }
}

/// # Safety
/// `place` points to a struct that begins with its size.
unsafe fn struct_bytes<T: Growing>(place: *const T) -> Result<usize> {
    // SAFETY: vouched for by the caller.
    let bytes = unsafe { place.cast::<usize>().read() };
    if !(size_of::<usize>()..=MOST_BYTES).contains(&bytes) {
        let name = T::NAME;
        return Err(invalid(format!("{name}.struct_bytes is {bytes}; set it to sizeof({name}) before the call")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Old {
        struct_bytes: usize,
        first: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct New {
        struct_bytes: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: plain numbers, the size first.
    unsafe impl Growing for Old {
        const NAME: &'static str = "old";
    }

    // SAFETY: plain numbers, the size first.
    unsafe impl Growing for New {
        const NAME: &'static str = "new";
    }

    #[test]
    fn a_program_with_an_older_header_leaves_new_fields_at_their_defaults() {
        let old = Old { struct_bytes: size_of::<Old>(), first: 7 };
        // SAFETY: as long as it says.
        let read = unsafe { read((&raw const old).cast::<New>()) }.unwrap();
        assert_eq!((read.first, read.second), (7, 0));
    }

    #[test]
    fn a_program_with_a_newer_header_may_not_set_what_the_library_does_not_know() {
        let mut new = New { struct_bytes: size_of::<New>(), first: 7, second: 0 };
        // SAFETY: as long as it says.
        assert_eq!(unsafe { read((&raw const new).cast::<Old>()) }.unwrap().first, 7);
        new.second = 1;
        // SAFETY: as long as it says.
        let refused = unsafe { read((&raw const new).cast::<Old>()) };
        assert!(refused.unwrap_err().to_string().contains("leave them 0"));
    }

    #[test]
    fn results_are_cut_to_the_callers_struct_and_filled_up_with_zeros() {
        let mut old = Old { struct_bytes: size_of::<Old>(), first: 0 };
        let value = New { struct_bytes: 0, first: 1, second: 2 };
        // SAFETY: as long as it says.
        unsafe { write((&raw mut old).cast::<New>(), value) }.unwrap();
        assert_eq!(old, Old { struct_bytes: size_of::<Old>(), first: 1 });
        let mut new = New { struct_bytes: size_of::<New>(), first: 9, second: 9 };
        // SAFETY: as long as it says.
        unsafe { write((&raw mut new).cast::<Old>(), Old { struct_bytes: 0, first: 1 }) }.unwrap();
        assert_eq!((new.first, new.second), (1, 0));
    }

    #[test]
    fn null_means_defaults_and_a_forgotten_size_is_noticed() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read(std::ptr::null::<Old>()) }.unwrap().first, 0);
        for struct_bytes in [0, 7, usize::MAX] {
            let old = Old { struct_bytes, first: 7 };
            // SAFETY: the size is looked at only.
            let refused = unsafe { read(&raw const old) };
            assert!(refused.unwrap_err().to_string().contains("sizeof(old)"));
        }
    }
}
