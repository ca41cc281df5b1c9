//! A slab whose keys tell one use of a place from the next.

use slab::Slab;

use crate::token::{Key, Role, next_generation};

/// Places for values of one role. A key of a value that was removed finds nothing, also after its
/// place has been taken again.
pub(crate) struct Slots<T> {
    role: Role,
    slab: Slab<Entry<T>>,
    /// The generation that the next value in each place gets.
    generations: Vec<u32>,
}

struct Entry<T> {
    generation: u32,
    value: T,
}

impl<T> Slots<T> {
    pub(crate) const fn new(role: Role) -> Self {
        Self { role, slab: Slab::new(), generations: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let place = self.slab.vacant_entry();
        let index = place.key();
        if index == self.generations.len() {
            self.generations.push(0);
        }
        let generation = self.generations[index];
        place.insert(Entry { generation, value });
        let index = u32::try_from(index).expect("fewer than 2^32 descriptors can be open");
        Key::new(self.role, index, generation)
    }

    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<&T> {
        let entry = self.slab.get(key.index as usize)?;
        (entry.generation == key.generation).then_some(&entry.value)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.slab.get_mut(key.index as usize)?;
        (entry.generation == key.generation).then_some(&mut entry.value)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.find(key)?;
        let index = key.index as usize;
        self.generations[index] = next_generation(key.generation);
        Some(self.slab.remove(index).value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slab.iter().map(|(_, entry)| &entry.value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.iter_mut().map(|(_, entry)| &mut entry.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let role = self.role;
        self.slab.iter().map(move |(index, e)| Key::new(role, index as u32, e.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_in_a_place_taken_again() {
        let mut slots = Slots::new(Role::Client);
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(second.index, first.index);
        assert_eq!(slots.find(first), None);
        assert_eq!(slots.find_mut(second), Some(&mut 'b'));
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.keys().collect::<Vec<_>>(), [second]);
    }
}
