//! What a worker shows of its figures: written by it alone, read by any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Figures;

/// The figures of one worker as of its last tick, and then counters of another kind.
///
/// It begins and ends with a cache line, so no other worker's writes slow this one's. A reader may
/// meet a tick half shown: each value is whole, and those of one moment may be a tick apart.
pub struct Block {
    lines: Box<[Line]>,
    len: usize,
}

/// As much as a processor's cache moves at once, on x86 and most others.
#[derive(Default)]
#[repr(align(64))]
struct Line([AtomicU64; VALUES_PER_LINE]);

const VALUES_PER_LINE: usize = 8;

impl Block {
    /// All zero, with room for `figures` and `counters` more values.
    pub fn new(figures: &Figures, counters: usize) -> Self {
        let len = figures.values().count() + counters;
        let lines = (0..len.div_ceil(VALUES_PER_LINE)).map(|_| Line::default()).collect();
        Self { lines, len }
    }

    /// Shows new values; to be called by the block's worker only.
    ///
    /// Panics when they are not as many as `new` was told.
    pub fn show(&self, figures: &Figures, counters: impl Iterator<Item = u64>) {
        let mut values = figures.values().chain(counters);
        for cell in self.cells() {
            cell.store(values.next().expect("as many as ever"), Ordering::Relaxed);
        }
        assert!(values.next().is_none(), "as many as ever");
    }

    /// What was shown last.
    pub fn read(&self) -> impl Iterator<Item = u64> + '_ {
        self.cells().map(|cell| cell.load(Ordering::Relaxed))
    }

    fn cells(&self) -> impl Iterator<Item = &AtomicU64> {
        self.lines.iter().flat_map(|line| &line.0).take(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        let mut figures = Figures::new([2, 1].into_iter());
        let block = Block::new(&figures, 3);
        figures.server(1, 0).out_queue_bytes = 7;
        figures.pool(0).client_eof = 5;
        block.show(&figures, [1, 2, 3].into_iter());
        let values: Vec<u64> = block.read().collect();
        assert_eq!(values.len(), 2 + 2 * 6 + 3 * 13 + 3);
        assert_eq!((values[2], &values[values.len() - 4..]), (5, &[7, 1, 2, 3][..]));
    }

    #[test]
    fn a_block_shares_no_cache_line() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }
}
