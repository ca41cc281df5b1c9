//! The ring of receive buffers that the kernel fills by itself.
//!
//! ```text
//!         publish (one store of the tail per wait)
//!   ours ------------------------------------------> kernel
//!        <------------------------------------------
//!         a completion names the buffer it filled
//! ```
//!
//! While a buffer is the kernel's, its `Vec` is taken apart to an address and a capacity; a
//! completion makes it a `Vec` again, cut to what arrived. So nothing is copied, and nobody here
//! can look at memory that is being written.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::queues::Queues;
use super::setup::SetupError;
use crate::io::{Buffer, Errno};

/// The one group of buffers, which all sockets of a worker share.
pub(super) const GROUP: u16 = 0;

/// The entries shared with the kernel, and what is known of each buffer that it holds.
///
/// Invariants: `held[id]` is `Some` exactly from the entry's writing to its completion, so an id
/// is in the ring at most once; `tail` runs ahead of the kernel's by what is not published yet.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    held: Box<[Option<Held>]>,
    tail: u16,
    buffer_bytes: usize,
}

/// The memory of a buffer while it is the kernel's: a `Vec<u8>` taken apart.
struct Held {
    memory: NonNull<u8>,
    capacity: usize,
}

impl BufferRing {
    /// Makes `count` buffers and registers their ring. They are published by the first `publish`.
    ///
    /// Panics when `count` is no power of two, or beyond 32768.
    pub(super) fn new(
        queues: &Queues,
        count: u16,
        buffer_bytes: usize,
    ) -> Result<Self, SetupError> {
        assert!(count.is_power_of_two() && count <= 1 << 15 && buffer_bytes > 0);
        assert!(u32::try_from(buffer_bytes).is_ok(), "the kernel counts a buffer in 32 bits");
        let layout = layout(usize::from(count));
        // SAFETY: `layout` has a size above zero, as `count` is a power of two.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(memory.cast()) else {
            std::alloc::handle_alloc_error(layout);
        };
        let held = (0..count).map(|_| None).collect();
        let mut ring = Self { entries, held, tail: 0, buffer_bytes };
        // SAFETY: `entries` is page-aligned memory for `count` entries; it is freed by the drop of
        // BufferRing, which runs only after `unregister` (or if this registration failed).
        let registered = unsafe {
            let address = entries.as_ptr().expose_provenance() as u64;
            queues.submitter().register_buf_ring_with_flags(address, count, GROUP, 0)
        };
        registered.map_err(|error| {
            SetupError::Buffers(Errno(error.raw_os_error().unwrap_or(libc::EINVAL)))
        })?;
        for id in 0..count {
            ring.hand_over(id, Vec::with_capacity(buffer_bytes));
        }
        Ok(ring)
    }

    /// How many buffers there are, and the bytes of each.
    pub(super) fn sizes(&self) -> (u16, usize) {
        (u16::try_from(self.held.len()).expect("asserted by new"), self.buffer_bytes)
    }

    /// Lets the kernel see what was handed over since the last time.
    pub(super) fn publish(&mut self) {
        // SAFETY: `entries` is the base of the ring, whose first entry is initialised (zeroed) and
        // lives until drop; the function only computes the address of a field of it.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the field is aligned for a u16 and lives until drop. The kernel only reads it,
        // and all of our writes to it go through this atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel, which loads with acquire, finds the entries written.
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes back buffer `id`, of which the kernel filled the first `len` bytes.
    ///
    /// Panics when the kernel does not hold it, or claims more than its capacity.
    pub(super) fn take(&mut self, id: u16, len: usize) -> Buffer {
        let held = self.held[usize::from(id)].take().expect("the kernel fills what it holds");
        assert!(len <= held.capacity, "the kernel filled {len} bytes of {}", held.capacity);
        // SAFETY: address and capacity are those of the Vec<u8> that `hand_over` took apart, taken
        // out of `held` so that it is made whole once. The kernel wrote the first `len` bytes, and
        // its completion says that it writes no more.
        let memory = unsafe { Vec::from_raw_parts(held.memory.as_ptr(), len, held.capacity) };
        Buffer::from_ring(memory, id)
    }

    /// Hands a buffer to the kernel again: its own memory, or fresh one under its id when somebody
    /// keeps a part. A buffer without a place here is dropped.
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        let (Some(id), memory) = buffer.into_parts() else { return };
        let memory = memory.filter(|memory| memory.capacity() >= self.buffer_bytes);
        self.hand_over(id, memory.unwrap_or_else(|| Vec::with_capacity(self.buffer_bytes)));
    }

    /// Ends the kernel's use of the ring. Nothing may be armed that receives into it.
    pub(super) fn unregister(&mut self, queues: &Queues) {
        let unregistered = queues.submitter().unregister_buf_ring(GROUP);
        debug_assert!(unregistered.is_ok(), "{unregistered:?}");
    }

    fn hand_over(&mut self, id: u16, memory: Vec<u8>) {
        let mut memory = ManuallyDrop::new(memory);
        let capacity = memory.capacity();
        let memory = NonNull::new(memory.as_mut_ptr()).expect("a Vec's pointer is never null");
        let previous = self.held[usize::from(id)].replace(Held { memory, capacity });
        assert!(previous.is_none(), "buffer {id} was given back twice");
        let place = usize::from(self.tail) & (self.held.len() - 1);
        // SAFETY: `place` is below the number of entries, as that is a power of two.
        let entry = unsafe { self.entries.add(place) };
        // SAFETY: the entry is initialised (zeroed by `new`) and inside the allocation. The kernel
        // does not look at it before the tail passes it, which `publish` does; and it is not one
        // that the kernel still has to read, as no id is in the ring twice.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(memory.as_ptr().expose_provenance() as u64);
        entry.set_len(u32::try_from(self.buffer_bytes).expect("asserted by new"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }
}

/// Runs only when the kernel is done with the buffers; who cannot say so must leak the ring.
impl Drop for BufferRing {
    fn drop(&mut self) {
        for held in self.held.iter_mut().filter_map(Option::take) {
            // SAFETY: address and capacity are those of the Vec<u8> that `hand_over` took apart,
            // and the kernel holds it no longer, by this drop's condition.
            drop(unsafe { Vec::from_raw_parts(held.memory.as_ptr(), 0, held.capacity) });
        }
        // SAFETY: `new` allocated the entries with the layout of as many entries, and the kernel
        // reads them no longer, by this drop's condition.
        unsafe { std::alloc::dealloc(self.entries.as_ptr().cast(), layout(self.held.len())) };
    }
}

/// The entries begin at a page, as io_uring_register_buf_ring(3) asks. 64 KiB is the largest page
/// size of the architectures that Linux runs servers on.
fn layout(count: usize) -> Layout {
    let entries = Layout::array::<BufRingEntry>(count).expect("at most 32768 entries of 16 bytes");
    entries.align_to(64 << 10).expect("a power of two")
}
