//! Carrying out what the proxy wants: connects, sends, receives, and the careful way to close.

use crate::io::{How, Ring};
use crate::limits::{LAST_WORDS_BYTES_MAX, LAST_WORDS_TIME};
use crate::proxy::Want;
use crate::time::Instant;
use crate::token::{Key, OpKind, Role};
use crate::worker::socket::{Operation, Phase, Socket};
use crate::worker::{Asker, Worker};

impl<R: Ring> Worker<R> {
    /// Carries out all wants, and those that arise meanwhile; then arms receives again.
    pub(super) fn carry_out_wants(&mut self, now: Instant) {
        self.begin_rounds(now);
        let mut wants = std::mem::take(&mut self.wants);
        loop {
            self.proxy.take_wants(&mut wants);
            if wants.is_empty() {
                break;
            }
            for want in wants.drain(..) {
                match want {
                    Want::Resolve(key) => self.resolve(key),
                    Want::Flush(key) => self.flush(key),
                    Want::Connect { key, within } => {
                        self.connect(now, key, within);
                    }
                    Want::Read(key) => self.read(key),
                    Want::Pause(key) => self.pause(key),
                    Want::Farewell(key) => self.farewell(now, key),
                    Want::Close(key) => self.begin_close(key),
                }
            }
        }
        self.wants = wants;
        self.arm_receives(now);
    }

    /// Sends what a slot has to send, unless a send is in flight; its completion comes back here.
    #[inline]
    pub(super) fn flush(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        if socket.sending || socket.connecting || socket.phase != Phase::Open {
            return;
        }
        if let Some(output) = self.proxy.take_output(key) {
            socket.sending = true;
            self.pace.on_send(&mut socket.beat);
            self.ring.send(key.token(OpKind::Send), socket.fd, output);
        }
    }

    pub(super) fn watch_hangup(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        if socket.hangup == Operation::Off {
            socket.hangup = Operation::Armed;
            self.ring.watch_hangup(key.token(OpKind::Hangup), socket.fd);
        }
    }

    /// Ends everything on a slot; it is closed once nothing is armed. Cancel, last event, close:
    /// a descriptor that is closed with something armed stays open in the kernel and goes on
    /// receiving.
    pub(super) fn begin_close(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else {
            // No socket could be made for this slot.
            return self.proxy.on_closed(key);
        };
        if socket.phase == Phase::Closing {
            return;
        }
        socket.phase = Phase::Closing;
        socket.wants_recv = false;
        if !socket.connecting {
            self.ring.shutdown(socket.fd, How::Both);
        }
        self.cancel_all(key);
        self.closing.push(key);
        self.close_if_quiet(key);
    }

    /// Closes a closing socket if nothing is armed on it any more.
    pub(super) fn close_if_quiet(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        if socket.phase != Phase::Closing || !socket.is_quiet() {
            return;
        }
        self.ring.close(key.token(OpKind::Close), socket.fd);
        if let Some(socket) = self.sockets.remove(key) {
            self.pace.on_gone(socket.beat);
        }
        if let Some(pool) = self.proxy.pool_of(key).filter(|_| key.role == Role::Client) {
            self.shared.remove_client(self.number, pool);
        }
        self.proxy.on_closed(key);
        // A descriptor is free: an accept that failed for want of one can go on.
        self.accept_all();
    }

    /// Asks again for the end of what should have ended: a cancel can miss an operation that is
    /// on its way between two states (axboe/liburing#1375).
    pub(super) fn tick_closing(&mut self) {
        let mut closing = std::mem::take(&mut self.closing);
        closing.retain(|&key| {
            let goes_on = self.sockets.find(key).is_some();
            if goes_on {
                self.cancel_all(key);
            }
            goes_on
        });
        self.closing = closing;
    }

    pub(super) fn tick_last_words(&mut self, now: Instant) {
        let mut speaking = std::mem::take(&mut self.last_words);
        speaking.retain(|&key| {
            let Some(socket) = self.sockets.find(key) else { return false };
            match socket.phase {
                Phase::LastWords { until, .. } if now < until => true,
                Phase::LastWords { .. } => {
                    self.begin_close(key);
                    false
                }
                Phase::Open | Phase::Closing => false,
            }
        });
        self.last_words = speaking;
    }

    fn cancel_all(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        if socket.recv != Operation::Off {
            socket.recv = Operation::Cancelling;
            self.ring.cancel(key.token(OpKind::Recv));
        }
        if socket.hangup != Operation::Off {
            socket.hangup = Operation::Cancelling;
            self.ring.cancel(key.token(OpKind::Hangup));
        }
        if socket.sending {
            self.ring.cancel(key.token(OpKind::Send));
        }
        if socket.connecting {
            self.ring.cancel(key.token(OpKind::Connect));
        }
    }

    fn resolve(&mut self, key: Key) {
        if let Some((host, port)) = self.proxy.name(key) {
            self.shared.resolver().ask(Asker { worker: self.number, key, port }, host);
        }
    }

    fn connect(&mut self, now: Instant, key: Key, within: Option<std::time::Duration>) {
        let Some(address) = self.proxy.address(key) else { return };
        match self.ring.connect(key.token(OpKind::Connect), address, within) {
            Ok(fd) => {
                if let Some(how) = self.proxy.keep_alive(key) {
                    self.ring.keep_alive(fd, how);
                }
                self.sockets.insert(Socket::new(key, fd, true));
            }
            Err(why) => self.proxy.on_connected(now, key, Err(why)),
        }
    }

    fn read(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        socket.wants_recv = true;
        if socket.hangup == Operation::Armed {
            socket.hangup = Operation::Cancelling;
            self.ring.cancel(key.token(OpKind::Hangup));
        }
        self.rearm.push(key);
    }

    fn pause(&mut self, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        socket.wants_recv = false;
        if socket.recv == Operation::Armed {
            socket.recv = Operation::Cancelling;
            self.ring.cancel(key.token(OpKind::Recv));
        }
        self.watch_hangup(key);
    }

    fn farewell(&mut self, now: Instant, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        if socket.phase != Phase::Open {
            return;
        }
        let until = now + LAST_WORDS_TIME;
        socket.phase = Phase::LastWords { until, bytes_left: LAST_WORDS_BYTES_MAX };
        socket.wants_recv = true;
        self.ring.shutdown(socket.fd, How::Write);
        self.last_words.push(key);
        self.rearm.push(key);
    }

    /// Arms the receives that have ended and are still wanted. Of those that found no buffer no
    /// more than there are buffers, all of which are back at the end of a turn: or each turn would
    /// arm them all again for a few.
    fn arm_receives(&mut self, now: Instant) {
        let mut rearm = std::mem::take(&mut self.rearm);
        let starved = self.starved.len().min(self.starved_max);
        rearm.extend(self.starved.drain(..starved));
        for key in rearm.drain(..) {
            self.arm_receive(now, key);
        }
        self.rearm = rearm;
    }

    fn arm_receive(&mut self, now: Instant, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        if !socket.wants_recv || socket.recv != Operation::Off || socket.phase == Phase::Closing {
            return;
        }
        socket.recv = Operation::Armed;
        let within = match key.role {
            Role::Server => self.proxy.receive_within(now, key),
            Role::Client | Role::Worker | Role::Listener => None,
        };
        self.ring.recv(key.token(OpKind::Recv), socket.fd, within);
    }
}
