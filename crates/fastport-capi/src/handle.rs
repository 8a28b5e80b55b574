//! From handles to objects. A handle is what C holds of an object: a number that names a place in a table, how often that
//! place was used, and what kind of object it is. So a handle that is dead, foreign or made up finds nothing.

use std::sync::{Arc, PoisonError, RwLock};

use fastport_io::slab::{Key, Slab};
use fastport_io::{Error, Result};

use crate::error::invalid;

/// What a handle names; its number stands in the handle's highest byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HandleKind {
    Provider = 1,
    Server = 2,
}

/// The objects of one kind.
pub(crate) struct HandleTable<T> {
    kind: HandleKind,
    entries: RwLock<Slab<Arc<T>>>,
}

/// The place in the table lies below the kind.
const MAX_INDEX: u32 = (1 << 24) - 1;

impl<T> HandleTable<T> {
    pub(crate) const fn new(kind: HandleKind) -> Self {
        Self { kind, entries: RwLock::new(Slab::with_limit(MAX_INDEX)) }
    }

    /// Stores an object and names it.
    pub(crate) fn insert(&self, object: Arc<T>) -> Result<u64> {
        let key = self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(object)?;
        Ok((self.kind as u64) << 56 | key.to_bits())
    }

    /// The object, which lives on for as long as the caller holds it.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>> {
        self.with(handle, |object| Ok(Arc::clone(object)))
    }

    /// Does something short with the object.
    pub(crate) fn with<R>(&self, handle: u64, body: impl FnOnce(&Arc<T>) -> Result<R>) -> Result<R> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let object = self.key(handle).and_then(|key| entries.get(key)).ok_or_else(|| self.dead(handle))?;
        body(object)
    }

    /// Takes the object out; its handle is dead from now on.
    pub(crate) fn remove(&self, handle: u64) -> Result<Arc<T>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        self.key(handle).and_then(|key| entries.remove(key)).ok_or_else(|| self.dead(handle))
    }

    fn key(&self, handle: u64) -> Option<Key> {
        let key = Key::from_bits(handle);
        let index = key.index & MAX_INDEX;
        (key.index >> 24 == self.kind as u32).then_some(Key { index, generation: key.generation })
    }

    fn dead(&self, handle: u64) -> Error {
        invalid(match handle {
            0 => format!("the handle is 0; pass the one of a {:?} that was created", self.kind),
            _ => format!("{handle:#x} is no handle of a {:?}, or that was destroyed", self.kind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_finds_its_object_until_it_is_removed() {
        let table = HandleTable::new(HandleKind::Provider);
        let handle = table.insert(Arc::new(7)).unwrap();
        assert_eq!(*table.get(handle).unwrap(), 7);
        assert_eq!(*table.remove(handle).unwrap(), 7);
        let other = table.insert(Arc::new(8)).unwrap();
        assert_ne!(handle, other);
        assert!(table.get(handle).is_err() && table.remove(handle).is_err());
    }

    #[test]
    fn numbers_that_never_were_handles_find_nothing() {
        let table = HandleTable::new(HandleKind::Provider);
        let handle = table.insert(Arc::new(7)).unwrap();
        for wrong in [0, 1, u64::MAX, handle + 1, handle ^ 1 << 56, handle ^ 1 << 40] {
            assert!(table.get(wrong).is_err(), "{wrong:#x}");
        }
    }
}
