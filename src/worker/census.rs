//! Rounds: a client's question goes from worker to worker and back, and each adds what it knows.
//!
//! ```text
//!   client -> worker 1: visit -> mail -> worker 2: visit -> mail -> worker 0: visit -> mail --+
//!                       reply <---------------------------------------------------------------+
//! ```
//!
//! One letter carries all of it, so nobody counts answers, and a worker that is busy holds up the
//! question only.

use crate::io::Ring;
use crate::proxy::Round;
use crate::time::Instant;
use crate::worker::{Mail, Worker};

impl<R: Ring> Worker<R> {
    /// Sends the questions of its own clients on their way.
    pub(super) fn begin_rounds(&mut self, now: Instant) {
        while let Some(mut round) = self.proxy.take_round() {
            round.home = self.number;
            self.visit(now, Box::new(round));
        }
    }

    /// A question came by mail: of another worker's client, or back from all of them.
    pub(super) fn go_on(&mut self, now: Instant, round: Box<Round>) {
        if round.home == self.number {
            self.proxy.end_round(now, *round);
        } else {
            self.visit(now, round);
        }
    }

    fn visit(&mut self, now: Instant, mut round: Box<Round>) {
        for key in self.proxy.unplaced(&round) {
            if let Some(socket) = self.sockets.find(key) {
                let fd = socket.fd;
                self.proxy.on_place(key, fd, &self.ring.ends(fd));
            }
        }
        self.proxy.visit(now, &mut round);
        let next = (self.number + 1) % self.shared.process().workers();
        if next == self.number || round.is_for_home() {
            return self.proxy.end_round(now, *round);
        }
        // A full box takes it too, so there is nothing to do about the result.
        let _ = self.shared.mailbox(next).post(Mail::Round(round));
    }
}
