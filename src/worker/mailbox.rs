//! What workers know of each other: mailboxes, and how many clients each has.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::io::Fd;
use crate::stats::Block;
use crate::sys::event::Event;

/// A message to a worker. Requests never travel this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// A client to serve.
    Client {
        /// Its socket, which belongs to the receiver now.
        fd: Fd,
        /// The pool whose listener it came to.
        pool: u32,
    },
    /// Return from the turn with `Running::Stop`.
    Stop,
}

/// Messages to one worker that it has not read.
pub struct Mailbox {
    letters: Mutex<VecDeque<Mail>>,
    bell: Event,
}

impl Mailbox {
    fn new() -> std::io::Result<Self> {
        Ok(Self { letters: Mutex::new(VecDeque::new()), bell: Event::new()? })
    }

    /// The eventfd that the worker's ring reads.
    pub fn bell(&self) -> Fd {
        self.bell.fd()
    }

    /// Leaves a message and rings.
    ///
    /// Errors: the message comes back when the box is full, which `Stop` never is told.
    pub fn post(&self, mail: Mail) -> Result<(), Mail> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() >= LETTERS_MAX && mail != Mail::Stop {
            return Err(mail);
        }
        letters.push_back(mail);
        drop(letters);
        self.bell.ring();
        Ok(())
    }

    /// Takes the oldest message.
    pub fn take(&self) -> Option<Mail> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// What all workers of a process share. Nothing here is touched by a request.
pub struct Shared {
    mailboxes: Vec<Mailbox>,
    /// Clients of each worker, by pool; counted when dealt, so that the limits are exact.
    clients: Vec<Vec<AtomicU32>>,
    /// Where each worker shows its figures, once it has begun. Each makes its own: it writes it.
    blocks: Vec<OnceLock<Arc<Block>>>,
}

impl Shared {
    /// For `workers` workers, each with the same `pools` pools.
    ///
    /// Errors: no eventfd could be made.
    pub fn new(workers: usize, pools: usize) -> std::io::Result<Self> {
        let mailboxes = (0..workers).map(|_| Mailbox::new()).collect::<Result<_, _>>()?;
        let counts = || (0..pools).map(|_| AtomicU32::new(0)).collect();
        let blocks = (0..workers).map(|_| OnceLock::new()).collect();
        Ok(Self { mailboxes, clients: (0..workers).map(|_| counts()).collect(), blocks })
    }

    /// The mailbox of a worker.
    pub fn mailbox(&self, worker: usize) -> &Mailbox {
        &self.mailboxes[worker]
    }

    /// Tells where a worker shows its figures. To be called once for each.
    pub fn show_at(&self, worker: usize, block: Arc<Block>) {
        assert!(self.blocks[worker].set(block).is_ok(), "worker {worker} begins once");
    }

    /// The figures of all workers that have begun.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter_map(|block| block.get().map(Arc::as_ref))
    }

    /// Tells every worker to stop.
    pub fn stop(&self) {
        for mailbox in &self.mailboxes {
            // A full box takes it too, so there is nothing to do about the result.
            let _ = mailbox.post(Mail::Stop);
        }
    }

    /// Clients of all workers and pools.
    pub fn clients(&self) -> usize {
        self.clients.iter().flatten().map(load).sum()
    }

    /// Clients of one pool on all workers.
    pub fn pool_clients(&self, pool: u32) -> usize {
        self.clients.iter().map(|counts| load(&counts[pool as usize])).sum()
    }

    /// The worker with the fewest clients of a pool.
    pub fn fewest(&self, pool: u32) -> usize {
        let counts = self.clients.iter().map(|counts| load(&counts[pool as usize]));
        counts.enumerate().min_by_key(|&(_, count)| count).map_or(0, |(worker, _)| worker)
    }

    /// Counts a client that has been dealt to a worker.
    pub fn add_client(&self, worker: usize, pool: u32) {
        self.clients[worker][pool as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a client that has gone.
    pub fn remove_client(&self, worker: usize, pool: u32) {
        self.clients[worker][pool as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

fn load(count: &AtomicU32) -> usize {
    count.load(Ordering::Relaxed) as usize
}

/// Messages that wait for a worker; when it is as far behind as that, the sender keeps the rest.
const LETTERS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_dealt_to_the_worker_with_fewest_of_their_pool() {
        let shared = Shared::new(2, 2).expect("eventfds");
        assert_eq!(shared.fewest(0), 0);
        shared.add_client(0, 0);
        assert_eq!((shared.fewest(0), shared.fewest(1)), (1, 0));
        shared.add_client(1, 0);
        shared.add_client(1, 0);
        assert_eq!((shared.fewest(0), shared.clients(), shared.pool_clients(0)), (0, 3, 3));
        shared.remove_client(1, 0);
        assert_eq!(shared.pool_clients(0), 2);
    }

    #[test]
    fn a_full_box_gives_the_message_back_but_takes_a_stop() {
        let shared = Shared::new(1, 1).expect("eventfds");
        let mail = Mail::Client { fd: Fd(3), pool: 0 };
        for _ in 0..LETTERS_MAX {
            assert_eq!(shared.mailbox(0).post(mail), Ok(()));
        }
        assert_eq!(shared.mailbox(0).post(mail), Err(mail));
        shared.stop();
        let letters: Vec<Mail> = std::iter::from_fn(|| shared.mailbox(0).take()).collect();
        assert_eq!(letters.len(), LETTERS_MAX + 1);
        assert_eq!(letters.last(), Some(&Mail::Stop));
    }
}
