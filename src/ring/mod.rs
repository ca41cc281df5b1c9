//! The kernel as a `Ring`: io_uring, Linux 6.1 or later.
//!
//! ```text
//!            submit.rs             queues.rs              complete.rs
//!   worker --operation--> entry --[submission queue]--> kernel
//!          <--Event------------- [completion queue]<---
//!                 |                                        |
//!                 +--give_back--> buffers.rs --------------+  filled by multishot receives
//! ```
//!
//! Who owns memory that the kernel looks at, and until when:
//!
//! | memory                              | place        | until                            |
//! |-------------------------------------|--------------|----------------------------------|
//! | sockaddr, timespec, msghdr, iovecs  | `shelf.rs`   | the entry is taken (by an enter) |
//! | bytes of a send                     | `submit.rs`  | its completion                   |
//! | receive buffers, signal, mail       | `buffers.rs`, `own.rs` | their completion       |
//!
//! All of `unsafe` is in this room and in `sys`. Whether the caller keeps the contract of
//! `io::Ring` is watched by `checked`.
//!
//! **Knows nothing of:** protocols, pools, connections.
#![allow(unsafe_code)]

mod buffers;
mod cannot_run;
mod complete;
mod own;
mod probe;
mod queues;
mod setup;
mod shelf;
mod submit;

use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::net::IpAddr;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Timespec};
use io_uring::{cqueue, opcode};

pub use cannot_run::CannotRun;
pub use probe::probe;
pub use setup::{Features, Options, SetupError, Sizes};

use crate::io::{
    Address, Buffer, Chain, Ends, Errno, Event, Fd, How, KeepAlive, Ring, Wait, WaitError, What,
};
use crate::sys;
use crate::time::Instant;
use crate::token::{Flavour, Key, OpKind, Token};
use buffers::BufferRing;
use own::Own;
use queues::Queues;
use submit::Sends;

/// A ring of the kernel's. It belongs to the thread that made it.
///
/// Dropped with operations in flight, it cancels them and waits for their end, for
/// `DRAIN_ROUNDS` times `DRAIN_PATIENCE` at most; beyond that it leaks what the kernel still holds
/// rather than free it.
pub struct Uring {
    queues: Queues,
    payload: ManuallyDrop<Payload>,
    /// Operations submitted or queued that have not seen their last completion.
    armed: usize,
    /// Watches that saw a hangup and are being cancelled.
    hung_up: HashSet<Token>,
    /// Completions copied out of the queue, empty between waits; kept for its memory.
    copied: Vec<cqueue::Entry>,
}

/// Memory that the kernel uses beyond an enter.
struct Payload {
    buffers: BufferRing,
    sends: Sends,
    own: Own,
}

/// How long one round of the drain waits for a completion.
const DRAIN_PATIENCE: Timespec = Timespec::new().nsec(50_000_000);

/// Rounds before the drain is given up.
const DRAIN_ROUNDS: usize = 100;

impl Uring {
    /// Makes a ring, to be used by this thread alone.
    ///
    /// Panics when `options` are out of their ranges.
    ///
    /// Errors: the kernel's refusal; `CannotRun::from` explains it.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let (ring, features) = setup::build(options)?;
        let queues = Queues::new(ring, features);
        let mut buffers = BufferRing::new(&queues, options.buffers, options.buffer_bytes)?;
        buffers.publish();
        let own = Own::new(options.tick, options.signals, options.mail);
        let payload = ManuallyDrop::new(Payload { buffers, sends: Sends::default(), own });
        Ok(Self { queues, payload, armed: 0, hung_up: HashSet::new(), copied: Vec::new() })
    }

    /// What this ring makes use of.
    pub const fn features(&self) -> &Features {
        self.queues.features()
    }

    /// How large it has become: the kernel rounds queues up, and cuts what is beyond its limits.
    pub fn sizes(&self) -> Sizes {
        let (submissions, completions) = self.queues.entries();
        let (buffers, buffer_bytes) = self.payload.buffers.sizes();
        Sizes { submissions, completions, buffers, buffer_bytes }
    }

    /// Whether enters name the ring by its registered index, not by its descriptor.
    pub const fn is_ring_registered(&self) -> bool {
        self.features().registered_ring
    }

    /// Makes room for `entries` submissions in a row and for what they point to, by submitting
    /// what is queued if need be. A receive among them may take a buffer at once, so the kernel is
    /// to see all that were given back.
    fn make_room(&mut self, entries: usize) {
        if !self.queues.has_room(entries) {
            self.payload.buffers.publish();
            self.queues.submit();
        }
    }

    /// Cancels what is armed and waits for its end. Returns whether nothing is left.
    ///
    /// Each round cancels again: a multishot timeout that is just firing is missed by a cancel,
    /// arms itself again, and would tick for ever.
    fn drain(&mut self) -> bool {
        for _ in 0..DRAIN_ROUNDS {
            self.make_room(1);
            let token = Key::WORKER.token(OpKind::Close).with_flavour(Flavour::Cancel);
            let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            // SAFETY: a cancel points to nothing.
            unsafe { self.queues.push(&[entry.user_data(token.to_user_data())]) };
            // At least one enter, as closes may still be queued.
            let mut copied = Vec::new();
            if self.queues.wait_at_most(DRAIN_PATIENCE, &mut copied).is_err() {
                return false;
            }
            for event in copied.iter().filter_map(|cqe| self.complete(cqe)) {
                // A connection that came in unseen has no other owner.
                if let What::Accepted { fd: Ok(fd), .. } = event.what {
                    sys::sockets::close(fd);
                }
            }
            if self.armed == 0 {
                return true;
            }
        }
        false
    }
}

impl Ring for Uring {
    fn accept(&mut self, token: Token, listener: Fd) {
        self.queue_accept(token, listener);
    }

    fn connect(
        &mut self,
        token: Token,
        to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno> {
        self.queue_connect(token, to, within)
    }

    fn recv(&mut self, token: Token, fd: Fd, within: Option<Duration>) {
        self.queue_recv(token, fd, within);
    }

    fn send(&mut self, token: Token, fd: Fd, output: Chain) {
        self.queue_send(token, fd, output);
    }

    fn watch_hangup(&mut self, token: Token, fd: Fd) {
        self.queue_watch_hangup(token, fd);
    }

    fn cancel(&mut self, target: Token) {
        self.queue_cancel(target);
    }

    fn shutdown(&mut self, fd: Fd, how: How) {
        sys::sockets::shutdown(fd, how);
    }

    fn keep_alive(&mut self, fd: Fd, how: KeepAlive) {
        sys::sockets::keep_alive(fd, how);
    }

    fn peer(&mut self, fd: Fd) -> Option<IpAddr> {
        sys::sockets::peer(fd)
    }

    fn ends(&mut self, fd: Fd) -> Ends {
        sys::addresses::ends(fd)
    }

    fn close(&mut self, token: Token, fd: Fd) {
        self.queue_close(token, fd);
    }

    fn refuse(&mut self, fd: Fd, words: &[u8]) {
        sys::sockets::refuse(fd, words);
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.payload.buffers.give_back(buffer);
    }

    fn wait(&mut self, how: Wait, into: &mut Vec<Event>) -> Result<Instant, WaitError> {
        self.arm_own();
        self.payload.buffers.publish();
        let mut copied = std::mem::take(&mut self.copied);
        let waited = self.queues.wait(how, &mut copied);
        into.extend(copied.drain(..).filter_map(|cqe| self.complete(&cqe)));
        self.copied = copied;
        waited?;
        self.payload.own.broken.map_or_else(|| Ok(sys::clock::now()), Err)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.drain() {
            log::debug!("{} operations outlive their ring, and keep its memory", self.armed);
            return;
        }
        self.payload.buffers.unregister(&self.queues);
        // SAFETY: this is the only drop of `payload`, and nothing uses it afterwards. The kernel
        // is done with it: `drain` saw the end of every operation, and the buffers' ring is
        // unregistered.
        unsafe { ManuallyDrop::drop(&mut self.payload) };
    }
}
