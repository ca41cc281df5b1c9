//! Places for what a submission points to besides payload: sockaddr, timespec, msghdr, iovecs.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use io_uring::types::Timespec;
use socket2::SockAddr;

use crate::limits::SEND_PIECES_MAX;

/// A fixed row of places that are filled from the front and emptied all at once.
///
/// It never moves, so the address of a place holds until the next `clear`. It is no `Box<[T]>`,
/// as filling one place must not touch what points to the others.
pub(super) struct Shelf<T> {
    base: NonNull<T>,
    capacity: usize,
    used: usize,
}

impl<T> Shelf<T> {
    /// An empty shelf with `capacity` places.
    pub(super) fn new(capacity: usize) -> Self {
        const { assert!(!std::mem::needs_drop::<T>()) };
        let memory = Box::leak(Box::<[T]>::new_uninit_slice(capacity));
        Self { base: NonNull::from(memory).cast(), capacity, used: 0 }
    }

    /// How many places are left.
    pub(super) const fn free(&self) -> usize {
        self.capacity - self.used
    }

    /// Puts one value in the next place.
    ///
    /// Panics when there is none: the caller made room.
    pub(super) fn put(&mut self, value: T) -> &T {
        &self.put_all(std::iter::once(value))[0]
    }

    /// Puts values in places next to each other.
    ///
    /// Panics when there are too few: the caller made room.
    pub(super) fn put_all(&mut self, values: impl Iterator<Item = T>) -> &[T] {
        let first = self.used;
        for value in values {
            assert!(self.used < self.capacity, "the caller made room");
            // SAFETY: `used < capacity` by the assertion, so the place is inside the allocation
            // that `new` made for `capacity` values.
            let place = unsafe { self.base.add(self.used) };
            // SAFETY: `place` is inside the allocation, aligned as T by it, and nothing else
            // refers to it: `&mut self` outlasts every reference that an earlier call returned.
            unsafe { place.write(value) };
            self.used += 1;
        }
        // SAFETY: `first <= used <= capacity`, inside the allocation or at its end.
        let start = unsafe { self.base.add(first) };
        // SAFETY: the loop wrote every place from `first` to `used`, and the borrow of `self`
        // keeps them from being written again.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.used - first) }
    }

    /// Empties all places.
    pub(super) const fn clear(&mut self) {
        self.used = 0;
    }
}

impl<T> Drop for Shelf<T> {
    fn drop(&mut self) {
        let memory: NonNull<MaybeUninit<T>> = self.base.cast();
        let memory = std::ptr::slice_from_raw_parts_mut(memory.as_ptr(), self.capacity);
        // SAFETY: `new` leaked a box of exactly this type and length, and only this drop takes it
        // back. T has nothing to drop, as `new` asserts.
        drop(unsafe { Box::from_raw(memory) });
    }
}

/// The shelves of one ring. The kernel copies what is on them when it takes the submission
/// (`IORING_FEAT_SUBMIT_STABLE`), so they are free again when the queue is empty.
pub(super) struct Shelves {
    pub(super) addresses: Shelf<SockAddr>,
    pub(super) deadlines: Shelf<Timespec>,
    pub(super) messages: Shelf<libc::msghdr>,
    pub(super) iovecs: Shelf<libc::iovec>,
}

impl Shelves {
    /// Shelves for a submission queue of `entries`. An entry needs one place of a kind; a send up
    /// to `SEND_PIECES_MAX` iovecs, but mostly one.
    pub(super) fn new(entries: usize) -> Self {
        Self {
            addresses: Shelf::new(entries),
            deadlines: Shelf::new(entries),
            messages: Shelf::new(entries),
            iovecs: Shelf::new(SEND_PIECES_MAX + 4 * entries),
        }
    }

    /// Whether any one operation finds its places.
    pub(super) const fn has_room(&self) -> bool {
        self.addresses.free() > 0
            && self.deadlines.free() > 0
            && self.messages.free() > 0
            && self.iovecs.free() >= SEND_PIECES_MAX
    }

    /// Empties all shelves.
    pub(super) const fn clear(&mut self) {
        self.addresses.clear();
        self.deadlines.clear();
        self.messages.clear();
        self.iovecs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_their_address_until_the_shelf_is_cleared() {
        let mut shelf = Shelf::new(4);
        let first: *const u32 = shelf.put(7);
        let rest: *const [u32] = shelf.put_all([8, 9, 10].into_iter());
        assert_eq!(shelf.free(), 0);
        // SAFETY: `first` points to a place of `shelf`, which lives and was not cleared.
        assert_eq!(unsafe { first.read() }, 7);
        // SAFETY: `rest` points to three places of `shelf`, which lives and was not cleared.
        assert_eq!(unsafe { &*rest }, [8, 9, 10]);
        shelf.clear();
        assert_eq!(std::ptr::from_ref(shelf.put(11)), first);
    }
}
