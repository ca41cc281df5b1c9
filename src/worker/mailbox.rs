//! What workers know of each other: mailboxes, and how many clients each has.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::io::Fd;
use crate::proxy::{Facts, Process, Round};
use crate::stats::Block;
use crate::sys::event::Event;
use crate::token::Key;
use crate::worker::health::Health;
use crate::worker::resolver::Resolver;

/// A message to a worker. Requests never travel this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mail {
    /// A client to serve.
    Client {
        /// Its socket, which belongs to the receiver now.
        fd: Fd,
        /// The pool whose listener it came to.
        pool: u32,
    },
    /// What the name of a server slot's host stands for.
    Resolved {
        /// The slot that asked, of whose later uses this is none of the business.
        key: Key,
        /// The address with the slot's port; `None`: there is none.
        address: Option<SocketAddr>,
    },
    /// A question of a client, on its way from worker to worker.
    Round(Box<Round>),
    /// Let nobody in any more, let every client go once it has its replies, and then tell
    /// `Shared::on_drained`.
    Drain,
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
    /// Errors: the message comes back when the box is full. Only a `Client` is told that: of the
    /// others there are few, at most one for each slot that asked for an address, or for each
    /// client that asked a question.
    pub fn post(&self, mail: Mail) -> Result<(), Mail> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() >= LETTERS_MAX && matches!(mail, Mail::Client { .. }) {
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
    resolver: Resolver,
    /// Workers that have drained.
    drained: AtomicUsize,
    health: Health,
    process: Arc<Process>,
}

impl Shared {
    /// For `workers` workers, each with the same `pools` pools.
    ///
    /// Errors: no eventfd could be made.
    pub fn new(workers: usize, pools: usize) -> std::io::Result<Self> {
        let mailboxes = (0..workers).map(|_| Mailbox::new()).collect::<Result<_, _>>()?;
        let counts = || (0..pools).map(|_| AtomicU32::new(0)).collect();
        let clients = (0..workers).map(|_| counts()).collect();
        Ok(Self {
            mailboxes,
            clients,
            resolver: Resolver::default(),
            drained: AtomicUsize::new(0),
            health: Health::new(Vec::new()),
            process: Arc::new(Process::new(workers, Facts::default())),
        })
    }

    /// With pools that eject servers.
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// With what is known of the process.
    pub fn with_facts(self, facts: Facts) -> Self {
        let process = Arc::new(Process::new(self.mailboxes.len(), facts));
        Self { process, ..self }
    }

    /// What the workers' proxies share.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// How servers do.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The mailbox of a worker.
    pub fn mailbox(&self, worker: usize) -> &Mailbox {
        &self.mailboxes[worker]
    }

    /// Names of hosts that workers want to have looked up.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Ends the look-up of a host: whoever asked for it hears by mail. `None`: no address.
    pub fn on_looked_up(&self, host: &str, found: Option<SocketAddr>) {
        for (asker, address) in self.resolver.answer(host, found) {
            let mail = Mail::Resolved { key: asker.key, address };
            // A full box takes it too, so there is nothing to do about the result.
            let _ = self.mailboxes[asker.worker].post(mail);
        }
    }

    /// Tells every worker to drain.
    pub fn drain(&self) {
        self.tell_all(&Mail::Drain);
    }

    /// A worker has drained. To be called once for each.
    pub fn on_drained(&self) {
        self.drained.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether every worker has drained.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed) == self.mailboxes.len()
    }

    /// Tells where a worker shows its figures. To be called once for each.
    pub fn show_at(&self, worker: usize, block: Arc<Block>) {
        self.process.show_at(worker, block);
    }

    /// The figures of all workers that have begun.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.process.blocks()
    }

    /// Tells every worker to stop.
    pub fn stop(&self) {
        self.tell_all(&Mail::Stop);
    }

    fn tell_all(&self, mail: &Mail) {
        for mailbox in &self.mailboxes {
            // A full box takes it too, so there is nothing to do about the result.
            let _ = mailbox.post(mail.clone());
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
    fn a_full_box_gives_the_message_back_but_takes_the_end() {
        let shared = Shared::new(1, 1).expect("eventfds");
        let mail = Mail::Client { fd: Fd(3), pool: 0 };
        for _ in 0..LETTERS_MAX {
            assert_eq!(shared.mailbox(0).post(mail.clone()), Ok(()));
        }
        assert_eq!(shared.mailbox(0).post(mail.clone()), Err(mail));
        shared.drain();
        shared.stop();
        let letters: Vec<Mail> = std::iter::from_fn(|| shared.mailbox(0).take()).collect();
        assert_eq!(letters.len(), LETTERS_MAX + 2);
        assert_eq!(letters[LETTERS_MAX..], [Mail::Drain, Mail::Stop]);
    }
}
