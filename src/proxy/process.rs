//! What all workers of a process share for the commands that ask about it: ids of clients, the
//! figures of every worker, and what only the outside knows.
//!
//! **Knows nothing of:** clocks and the kernel; it is given functions that ask them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::stats::Block;
use crate::time::Instant;

/// One process and its workers.
pub struct Process {
    /// Its parts that do not change.
    pub facts: Facts,
    /// The id of the next client.
    next_client: AtomicU64,
    /// Where each worker shows its figures, once it has begun. Each makes its own: it writes it.
    blocks: Vec<OnceLock<Arc<Block>>>,
}

/// What is known of a process at its start.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its number.
    pub pid: u32,
    /// Forty hexadecimal digits, others for each start, as Redis has them.
    pub run_id: String,
    /// When it started, by the clock of the workers.
    pub started: Instant,
    /// The kernel, as `uname -srm` prints it.
    pub system: String,
    /// The time since 1970; asked by TIME and INFO.
    pub wall: fn() -> Duration,
    /// What it uses; asked by INFO.
    pub usage: fn() -> Usage,
}

/// What a process uses of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that it has now.
    pub resident_bytes: u64,
    /// Bytes of memory that it had at most.
    pub resident_bytes_most: u64,
    /// Bytes of memory of the machine.
    pub machine_bytes: u64,
    /// Time that it has computed.
    pub user: Duration,
    /// Time that the kernel has computed for it.
    pub system: Duration,
}

impl Default for Facts {
    /// Those of a process that is simulated: nothing outside of it moves.
    fn default() -> Self {
        Self {
            pid: 0,
            run_id: "0".repeat(40),
            started: Instant::default(),
            system: "none".to_owned(),
            wall: || Duration::ZERO,
            usage: Usage::default,
        }
    }
}

impl Process {
    /// One of so many workers.
    pub fn new(workers: usize, facts: Facts) -> Self {
        let blocks = (0..workers).map(|_| OnceLock::new()).collect();
        Self { facts, next_client: AtomicU64::new(1), blocks }
    }

    /// An id that no other client of the process has, larger than all before it.
    pub(crate) fn next_client_id(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.blocks.len()
    }

    /// Tells where a worker shows its figures. To be called once for each.
    pub fn show_at(&self, worker: usize, block: Arc<Block>) {
        assert!(self.blocks[worker].set(block).is_ok(), "worker {worker} begins once");
    }

    /// The figures of all workers that have begun.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter_map(|block| block.get().map(Arc::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_none_is_given_twice() {
        let process = Process::new(1, Facts::default());
        let ids: Vec<u64> = (0..3).map(|_| process.next_client_id()).collect();
        assert_eq!(ids, [1, 2, 3]);
    }
}
