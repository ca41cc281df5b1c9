//! Completions on their way to the worker.

use bytes::Bytes;
use io_uring::cqueue;

use super::Uring;
use crate::io::{Buffer, Errno, Event, Fd, What};
use crate::token::{Flavour, OpKind, Token};

impl Uring {
    /// Makes an event of a completion, unless it is one that nobody waits for.
    ///
    /// Whether an operation goes on is read from `IORING_CQE_F_MORE` and from nothing else: a
    /// receive may end with data, for want of room in the completion queue for example.
    pub(super) fn complete(&mut self, cqe: &cqueue::Entry) -> Option<Event> {
        let token = Token::from_user_data(cqe.user_data()).expect("all entries carry a token");
        let result = u32::try_from(cqe.result()).map_err(|_| Errno(-cqe.result()));
        match token.flavour() {
            Flavour::Plain => {}
            // What they did is seen at the operation that they accompany.
            Flavour::Cancel | Flavour::Deadline => return None,
        }
        let more = cqueue::more(cqe.flags());
        if !more && token.op() != OpKind::Close {
            self.armed -= 1;
        }
        let what = match token.op() {
            OpKind::Accept => What::Accepted { fd: result.map(descriptor), more },
            OpKind::Recv => What::Received { data: self.received(cqe, result), more },
            OpKind::Send => self.sent(token, result),
            OpKind::Connect => What::Connected(result.map(drop)),
            OpKind::Hangup => What::HungUp(self.hung_up(token, result, more)?),
            OpKind::Close => return not_closed(token, result),
            OpKind::Tick => self.on_tick(result, more)?,
            OpKind::Signal => self.on_signal(result)?,
            OpKind::Mail => self.on_mail(result)?,
        };
        Some(Event { token, what })
    }

    fn received(
        &mut self,
        cqe: &cqueue::Entry,
        result: Result<u32, Errno>,
    ) -> Result<Buffer, Errno> {
        // A completion that names a buffer used it up, whatever else it says.
        let len = result.unwrap_or(0) as usize;
        let buffers = &mut self.payload.buffers;
        let buffer = cqueue::buffer_select(cqe.flags()).map(|id| buffers.take(id, len));
        if len > 0 {
            return Ok(buffer.expect("the kernel has nowhere else to put bytes"));
        }
        if let Some(unused) = buffer {
            buffers.give_back(unused);
        }
        result.map(|_| Buffer::from_bytes(Bytes::new()))
    }

    fn sent(&mut self, token: Token, result: Result<u32, Errno>) -> What {
        let output = self.payload.sends.take(token);
        What::Sent { bytes: result.map(|bytes| bytes as usize), output }
    }

    /// A watch saw something, or ended. It goes on after a half-close; after a hangup it is
    /// cancelled, and its end is the event, so that nothing is armed once the caller knows.
    fn hung_up(
        &mut self,
        token: Token,
        result: Result<u32, Errno>,
        more: bool,
    ) -> Option<Result<(), Errno>> {
        let gone = result.is_ok_and(|mask| mask & HANGUP_MASK != 0);
        if more {
            if gone && self.hung_up.insert(token) {
                self.queue_cancel(token);
            }
            return None;
        }
        let known = self.hung_up.remove(&token);
        // Ended without a hangup: cancelled by the caller, or for want of room for a completion.
        Some(if gone || known { Ok(()) } else { Err(result.err().unwrap_or(CANCELLED)) })
    }
}

/// Only a close that failed completes. The descriptor is gone all the same (close(2)), unless it
/// was none, which is a bug: it may be somebody else's the next time.
fn not_closed(token: Token, result: Result<u32, Errno>) -> Option<Event> {
    debug_assert_ne!(result, Err(Errno(libc::EBADF)), "{token:?}");
    log::debug!("{token:?}: close said {result:?}");
    None
}

fn descriptor(result: u32) -> Fd {
    Fd(i32::try_from(result).expect("it was an i32 before it was found not to be negative"))
}

/// What poll(2) says of a socket that is gone in both directions.
const HANGUP_MASK: u32 = (libc::POLLHUP | libc::POLLERR).cast_unsigned() as u32;

const CANCELLED: Errno = Errno(libc::ECANCELED);
