//! Completions of connections: what each means for its socket, and what the proxy is told.

use crate::io::{Buffer, Chain, Errno, Ring};
use crate::time::Instant;
use crate::token::{Key, OpKind, Role};
use crate::worker::Worker;
use crate::worker::socket::{Operation, Phase};

impl<R: Ring> Worker<R> {
    #[inline]
    pub(super) fn on_received(
        &mut self,
        now: Instant,
        key: Key,
        data: Result<Buffer, Errno>,
        more: bool,
    ) {
        let Some(socket) = self.sockets.find(key) else {
            if let Ok(buffer) = data {
                self.ring.give_back(buffer);
            }
            return;
        };
        let was_cancelling = socket.recv == Operation::Cancelling;
        if !more {
            socket.recv = Operation::Off;
        } else if was_cancelling && !socket.wants_recv {
            // The cancel was with the kernel before these bytes came. It may have missed
            // (axboe/liburing#1375), and who is paused could go on sending for ever.
            self.ring.cancel(key.token(OpKind::Recv));
        }
        match data {
            Ok(buffer) if buffer.is_empty() => {
                socket.wants_recv = false;
                self.ring.give_back(buffer);
                self.on_stream_end(now, key);
            }
            Ok(mut buffer) => {
                self.pace.on_receive(buffer.len());
                self.on_bytes(now, key, &mut buffer);
                if key.role == Role::Client
                    && let Some(socket) = self.sockets.find(key)
                {
                    self.pace.on_client(&mut socket.beat, self.proxy.is_waiting(key));
                }
                self.ring.give_back(buffer);
            }
            Err(Errno(libc::ENOBUFS)) => {
                self.starved.push_back(key);
                return self.close_if_quiet(key);
            }
            Err(Errno(libc::ECANCELED)) => {
                if !was_cancelling && socket.phase == Phase::Open && key.role == Role::Server {
                    self.proxy.on_deadline(now, key);
                }
            }
            Err(why) => {
                socket.wants_recv = false;
                self.on_failure(now, key, why);
            }
        }
        if !more {
            self.rearm.push(key);
            self.close_if_quiet(key);
        }
    }

    pub(super) fn on_sent(
        &mut self,
        now: Instant,
        key: Key,
        bytes: Result<usize, Errno>,
        mut output: Chain,
    ) {
        let Some(socket) = self.sockets.find(key) else { return };
        socket.sending = false;
        match bytes {
            Ok(count) => {
                output.advance(count);
                let goes_on = !output.is_empty() && socket.phase == Phase::Open;
                if goes_on {
                    socket.sending = true;
                    self.pace.on_send(&mut socket.beat);
                    self.ring.send(key.token(OpKind::Send), socket.fd, output);
                    self.proxy.on_sent(now, key, count);
                } else {
                    self.proxy.on_sent(now, key, count);
                    self.proxy.recycle(output);
                    self.flush(key);
                }
            }
            Err(why) => self.on_failure(now, key, why),
        }
        self.close_if_quiet(key);
    }

    pub(super) fn on_connected(&mut self, now: Instant, key: Key, result: Result<(), Errno>) {
        let Some(socket) = self.sockets.find(key) else { return };
        socket.connecting = false;
        if socket.phase == Phase::Open {
            let result = result.map_err(|why| match why {
                Errno(libc::ECANCELED) => Errno(libc::ETIMEDOUT),
                why => why,
            });
            self.proxy.on_connected(now, key, result);
        }
        self.close_if_quiet(key);
    }

    pub(super) fn on_hung_up(&mut self, now: Instant, key: Key, result: Result<(), Errno>) {
        let Some(socket) = self.sockets.find(key) else { return };
        socket.hangup = Operation::Off;
        match result {
            Ok(()) => self.on_failure(now, key, Errno(libc::ECONNRESET)),
            // Stopped for reading again, which may have been called off since.
            Err(_) if socket.phase == Phase::Open && !socket.wants_recv => {
                self.watch_hangup(key);
            }
            Err(_) => {}
        }
        self.close_if_quiet(key);
    }

    fn on_bytes(&mut self, now: Instant, key: Key, buffer: &mut Buffer) {
        let Some(socket) = self.sockets.find(key) else { return };
        match &mut socket.phase {
            Phase::Open => self.proxy.on_received(now, key, buffer),
            Phase::LastWords { bytes_left, .. } => {
                *bytes_left = bytes_left.saturating_sub(buffer.len() as u64);
                if *bytes_left == 0 {
                    self.begin_close(key);
                }
            }
            Phase::Closing => {}
        }
    }

    fn on_stream_end(&mut self, now: Instant, key: Key) {
        let Some(socket) = self.sockets.find(key) else { return };
        match socket.phase {
            Phase::Open => {
                self.proxy.on_end(now, key);
                // It is not read any more, and may vanish while replies are still to come.
                if key.role == Role::Client && self.proxy.is_owed(key) {
                    self.watch_hangup(key);
                }
            }
            Phase::LastWords { .. } => self.begin_close(key),
            Phase::Closing => {}
        }
    }

    fn on_failure(&mut self, now: Instant, key: Key, why: Errno) {
        let Some(socket) = self.sockets.find(key) else { return };
        match socket.phase {
            Phase::Open => self.proxy.on_error(now, key, why),
            Phase::LastWords { .. } => self.begin_close(key),
            Phase::Closing => {}
        }
    }
}
