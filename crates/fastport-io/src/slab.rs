//! A generational slab: O(1) insert, lookup and removal, without a lock and without an allocation in steady state.
//!
//! Every id that crosses a queue (to the kernel and back, or to another thread) is a [`Key`]: the index of a slot and
//! the slot's generation. Removing an entry raises the generation, so a key that outlives its entry finds nothing.

use crate::error::{Error, ErrorCode, Result};

/// Index (high half) and generation (low half) of an entry. Never zero as bits: generations start at 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Key {
    /// Position in the slab.
    pub index: u32,
    /// How often the position was used, never 0.
    pub generation: u32,
}

impl Key {
    /// The 64 bits that travel through the kernel.
    pub const fn to_bits(self) -> u64 {
        (self.index as u64) << 32 | self.generation as u64
    }

    /// The inverse of [`Key::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: (bits >> 32) as u32, generation: bits as u32 }
    }
}

/// No next vacant slot.
const END: u32 = u32::MAX;

/// The generation stands in front: looking up a key reads it, and the value's first fields lie in the same cache line.
#[repr(C)]
struct Slot<T> {
    generation: u32,
    /// The next vacant slot while this one is vacant.
    next_vacant: u32,
    value: Option<T>,
}

/// What the first entry takes from the allocator. It is as much as allocators have from the system as pages, which count only
/// when they are used, and which are moved, not copied, when a slab grows.
const FIRST_BYTES: usize = 256 * 1024;

/// Entries of one type with generation-checked keys and an upper limit.
///
/// Slots are reused last-in first-out, so that a busy slab touches few cache lines.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    first_vacant: u32,
    len: u32,
    limit: u32,
}

impl<T> Slab<T> {
    /// An empty slab that will hold at most `limit` entries; memory is taken as it grows.
    pub const fn with_limit(limit: u32) -> Self {
        Self { slots: Vec::new(), first_vacant: END, len: 0, limit }
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// True if there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The largest number of entries.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Stores a value; `NoResources` at the limit.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Key> {
        self.insert_with(|_| value)
    }

    /// Stores the value that is made from its own key; `NoResources` at the limit.
    #[inline]
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Result<Key> {
        if self.first_vacant == END {
            self.grow()?;
        }
        let index = self.first_vacant;
        let slot = &mut self.slots[index as usize];
        let key = Key { index, generation: slot.generation };
        debug_assert!(slot.value.is_none(), "a slot on the vacant list is vacant");
        self.first_vacant = slot.next_vacant;
        slot.value = Some(make(key));
        self.len += 1;
        Ok(key)
    }

    /// Adds a vacant slot.
    #[cold]
    fn grow(&mut self) -> Result<()> {
        let index = self.slots.len() as u32;
        if index >= self.limit {
            return Err(Error::plain(ErrorCode::NoResources));
        }
        if index == 0 {
            self.slots.reserve((FIRST_BYTES / size_of::<Slot<T>>()).min(self.limit as usize));
        }
        self.slots.push(Slot { generation: 1, next_vacant: self.first_vacant, value: None });
        self.first_vacant = index;
        Ok(())
    }

    /// A key as if an entry had been inserted and removed at once: it was given to nobody else, and finds nothing.
    ///
    /// # Errors
    /// As [`Slab::insert`].
    #[inline]
    pub fn spent_key(&mut self) -> Result<Key> {
        if self.first_vacant == END {
            self.grow()?;
        }
        let slot = &mut self.slots[self.first_vacant as usize];
        let key = Key { index: self.first_vacant, generation: slot.generation };
        slot.generation = next_generation(slot.generation);
        Ok(key)
    }

    /// The entry, or `None` if it was removed.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(slot) if slot.generation == key.generation => slot.value.as_ref(),
            _ => None,
        }
    }

    /// The entry, or `None` if it was removed.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(slot) if slot.generation == key.generation => slot.value.as_mut(),
            _ => None,
        }
    }

    /// The key of the entry at `index`, or `None` if the slot is vacant.
    #[inline]
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index as usize)?;
        slot.value.is_some().then_some(Key { index, generation: slot.generation })
    }

    /// Takes the entry out; its key is dead from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = next_generation(slot.generation);
        slot.next_vacant = self.first_vacant;
        self.first_vacant = key.index;
        self.len -= 1;
        Some(value)
    }

    /// The keys of all entries, in index order.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.value.is_some())
            .map(|(index, slot)| Key { index: index as u32, generation: slot.generation })
    }

    /// All entries, in index order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> + '_ {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = Key { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }
}

/// Never 0, so that no key is.
const fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        generation => generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_key_is_dead_after_its_entry_was_removed_and_the_slot_reused() {
        let mut slab = Slab::with_limit(4);
        let first = slab.insert("a").unwrap();
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b").unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"b"));
    }

    #[test]
    fn a_spent_key_finds_nothing_and_is_given_once() {
        let mut slab = Slab::with_limit(1);
        let spent = slab.spent_key().unwrap();
        let alive = slab.insert("a").unwrap();
        assert_ne!(spent, alive);
        assert_eq!((slab.get(spent), slab.len()), (None, 1));
        assert_eq!(slab.spent_key().unwrap_err().code(), ErrorCode::NoResources);
    }

    #[test]
    fn a_full_slab_says_no_resources() {
        let mut slab = Slab::with_limit(1);
        slab.insert(1).unwrap();
        assert_eq!(slab.insert(2).unwrap_err().code(), ErrorCode::NoResources);
    }

    #[test]
    fn bits_keep_index_and_generation_apart() {
        let key = Key { index: 7, generation: u32::MAX };
        assert_eq!(Key::from_bits(key.to_bits()), key);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_under_any_sequence(steps in proptest::collection::vec((any::<bool>(), any::<u8>()), 0..400)) {
            let mut slab = Slab::with_limit(64);
            let mut model: HashMap<u64, u8> = HashMap::new();
            let mut dead = Vec::new();
            for (insert, value) in steps {
                if insert {
                    if let Ok(key) = slab.insert(value) {
                        prop_assert!(model.insert(key.to_bits(), value).is_none());
                    } else {
                        prop_assert_eq!(model.len(), 64);
                    }
                } else if let Some(&bits) = model.keys().nth(value as usize % model.len().max(1)) {
                    prop_assert_eq!(slab.remove(Key::from_bits(bits)), model.remove(&bits));
                    dead.push(bits);
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            for (bits, value) in &model {
                prop_assert_eq!(slab.get(Key::from_bits(*bits)), Some(value));
            }
            for bits in dead {
                prop_assert_eq!(slab.get(Key::from_bits(bits)), None);
            }
        }
    }
}
