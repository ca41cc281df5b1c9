//! The receive buffers of the simulated ring: counted, and given out by number.

use crate::io::Buffer;

/// ```text
///   free --take--> the worker --give_back--> returned --publish, at the next wait--> free
/// ```
pub(super) struct Buffers {
    size: usize,
    /// Memory by number; `None` while the worker has it.
    memory: Vec<Option<Vec<u8>>>,
    free: Vec<u16>,
    /// Given back, and not yet the kernel's to fill.
    returned: Vec<u16>,
}

impl Buffers {
    pub(super) fn new(count: u16, size: usize) -> Self {
        let memory = (0..count).map(|_| Some(Vec::new())).collect();
        Self { size, memory, free: (0..count).collect(), returned: Vec::new() }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// An empty buffer, unless the worker has them all.
    pub(super) fn take(&mut self) -> Option<(u16, Vec<u8>)> {
        let home = self.free.pop()?;
        let memory = self.memory[usize::from(home)].take();
        Some((home, memory.expect("a free buffer has its memory")))
    }

    /// Takes a buffer back. Its bytes are overwritten, for whoever still looks at them.
    ///
    /// Panics when it was given out once and comes back twice.
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        let (Some(home), memory) = buffer.into_parts() else { return };
        let place = &mut self.memory[usize::from(home)];
        assert!(place.is_none(), "buffer {home} comes back twice");
        let mut memory = memory.unwrap_or_default();
        memory.fill(0xdd);
        memory.clear();
        *place = Some(memory);
        self.returned.push(home);
    }

    /// What was given back can be filled from now on. Returns how many those are.
    pub(super) fn publish(&mut self) -> usize {
        let count = self.returned.len();
        self.free.append(&mut self.returned);
        count
    }

    /// How many the worker has.
    pub(super) fn away(&self) -> usize {
        self.memory.len() - self.free.len() - self.returned.len()
    }
}
