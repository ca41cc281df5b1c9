//! The receive buffers of the simulated ring: counted, and given out by number.

use crate::io::Buffer;

pub(super) struct Buffers {
    size: usize,
    /// Memory by number; `None` while the worker has it.
    memory: Vec<Option<Vec<u8>>>,
    free: Vec<u16>,
}

impl Buffers {
    pub(super) fn new(count: u16, size: usize) -> Self {
        let memory = (0..count).map(|_| Some(Vec::new())).collect();
        Self { size, memory, free: (0..count).collect() }
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
        self.free.push(home);
    }

    /// How many the worker has.
    pub(super) fn away(&self) -> usize {
        self.memory.len() - self.free.len()
    }
}
