//! Operations on their way to the kernel.

use std::time::Duration;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd as Descriptor, Timespec};
use socket2::SockAddr;

use super::Uring;
use super::buffers::GROUP;
use crate::io::{Address, Chain, Errno, Fd};
use crate::limits::{SEND_BYTES_MAX, SEND_PIECES_MAX};
use crate::sys;
use crate::token::{Flavour, Token};

/// Chains that are being sent, at their connection's place.
///
/// The kernel reads the heap memory of a chain's pieces, which stays where it is when a `Vec` here
/// grows and moves the chains themselves.
#[derive(Default)]
pub(super) struct Sends {
    by_role: [Vec<Option<Chain>>; 4],
}

impl Sends {
    fn put(&mut self, token: Token, chain: Chain) -> &Chain {
        let key = token.key();
        let chains = &mut self.by_role[key.role as usize];
        let index = key.index as usize;
        if index >= chains.len() {
            chains.resize_with(index + 1, || None);
        }
        assert!(chains[index].is_none(), "{token:?}: a send is in flight on this connection");
        chains[index].insert(chain)
    }

    /// The chain of a send that is over.
    pub(super) fn take(&mut self, token: Token) -> Chain {
        let key = token.key();
        let chain = self.by_role[key.role as usize][key.index as usize].take();
        chain.expect("each send put its chain here")
    }
}

impl Uring {
    pub(super) fn queue_accept(&mut self, token: Token, listener: Fd) {
        self.make_room(1);
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let entry = opcode::AcceptMulti::new(Descriptor(listener.0)).flags(flags).build();
        // SAFETY: a multishot accept takes no address, so the entry points to nothing.
        unsafe { self.arm(token, entry) };
    }

    pub(super) fn queue_connect(
        &mut self,
        token: Token,
        to: &Address,
        within: Option<Duration>,
    ) -> Result<Fd, Errno> {
        let address = match to {
            Address::Inet(address) => SockAddr::from(*address),
            // A path too long for a sockaddr; the configuration refuses it, a kernel would as well.
            Address::Unix(path) => SockAddr::unix(path).map_err(|_| Errno(libc::ENAMETOOLONG))?,
        };
        let fd = sys::sockets::for_connect(&address)?;
        self.make_room(2);
        let address = self.queues.shelves.addresses.put(address);
        let (start, len) = (address.as_ptr().cast(), address.len());
        let entry = opcode::Connect::new(Descriptor(fd.0), start, len).build();
        // SAFETY: `start` lies on a shelf, which keeps it until the kernel took the entry.
        unsafe { self.arm_within(token, entry, within) };
        Ok(fd)
    }

    pub(super) fn queue_recv(&mut self, token: Token, fd: Fd, within: Option<Duration>) {
        self.make_room(2);
        let entry = opcode::RecvMulti::new(Descriptor(fd.0), GROUP).build();
        // SAFETY: the entry points to nothing; it names the group of buffers, which `payload`
        // holds, and leaks if the ring ends before the receive does.
        unsafe { self.arm_within(token, entry, within) };
    }

    pub(super) fn queue_send(&mut self, token: Token, fd: Fd, output: Chain) {
        assert!(!output.is_empty(), "{token:?}: nothing to send");
        self.make_room(1);
        let output = self.payload.sends.put(token, output);
        let mut left = SEND_BYTES_MAX;
        let pieces = output.slices().take(SEND_PIECES_MAX).map_while(|piece| {
            let len = piece.len().min(left);
            left -= len;
            let base = piece.as_ptr().cast_mut().cast();
            (len > 0).then_some(libc::iovec { iov_base: base, iov_len: len })
        });
        let shelves = &mut self.queues.shelves;
        let iovecs = shelves.iovecs.put_all(pieces);
        // WAITALL: the kernel goes on by itself when the socket has room again, instead of a short
        // send and a turn for each piece of the socket's buffer. NOSIGNAL: EPIPE is enough.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = if let [one] = iovecs {
            let len = u32::try_from(one.iov_len).expect("at most SEND_BYTES_MAX");
            let start = one.iov_base.cast_const().cast();
            opcode::Send::new(Descriptor(fd.0), start, len).flags(flags).build()
        } else {
            let message = shelves.messages.put(message(iovecs));
            opcode::SendMsg::new(Descriptor(fd.0), message).flags(flags.cast_unsigned()).build()
        };
        // SAFETY: msghdr and iovecs lie on shelves, which keep them until the kernel took the
        // entry; the bytes are those of the chain, which `sends` holds untouched until the send
        // completes, and which is leaked with `payload` if the ring ends before that.
        unsafe { self.arm(token, entry) };
    }

    pub(super) fn queue_watch_hangup(&mut self, token: Token, fd: Fd) {
        self.make_room(1);
        // No event is asked for: HUP (both directions gone) and ERR are reported regardless. So is
        // RDHUP, the half-close (io_uring/poll.c, IO_POLL_UNMASK). As it lasts, a one-shot poll
        // armed again after it would complete again at once; a multishot one tells of it once.
        let entry = opcode::PollAdd::new(Descriptor(fd.0), 0).multi(true).build();
        // SAFETY: a poll points to nothing.
        unsafe { self.arm(token, entry) };
    }

    pub(super) fn queue_cancel(&mut self, target: Token) {
        self.make_room(1);
        let entry = opcode::AsyncCancel::new(target.to_user_data()).build();
        let token = target.with_flavour(Flavour::Cancel);
        // SAFETY: a cancel points to nothing.
        unsafe { self.push_silent(token, entry) };
    }

    pub(super) fn queue_close(&mut self, token: Token, fd: Fd) {
        self.make_room(1);
        // SAFETY: a close points to nothing.
        unsafe { self.push_silent(token, opcode::Close::new(Descriptor(fd.0)).build()) };
    }

    /// Queues an operation, for which the caller made room.
    ///
    /// # Safety
    ///
    /// As `Queues::push`.
    pub(super) unsafe fn arm(&mut self, token: Token, entry: Entry) {
        let entry = entry.user_data(token.to_user_data());
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.queues.push(&[entry]) };
        self.armed += usize::from(pushed);
    }

    /// Queues an operation with a time limit, for which the caller made room for two. The two
    /// are pushed together: a link that is cut between two enters links to nothing.
    ///
    /// The kernel may still cut it, when it runs out of memory for requests between the two
    /// (io_uring/io_uring.c, `io_submit_sqes`). The operation is then armed without its limit, of
    /// which nothing tells; whoever relies on a limit keeps time by the tick as well.
    ///
    /// # Safety
    ///
    /// As `Queues::push`.
    unsafe fn arm_within(&mut self, token: Token, entry: Entry, within: Option<Duration>) {
        let Some(within) = within else {
            // SAFETY: the caller's promise.
            return unsafe { self.arm(token, entry) };
        };
        let within = self.queues.shelves.deadlines.put(timespec(within));
        let deadline = token.with_flavour(Flavour::Deadline);
        let pair = [
            entry.user_data(token.to_user_data()).flags(Flags::IO_LINK),
            // SKIP_SUCCESS: with it a linked timeout posts no completion at all
            // (io_uring_enter(2)); what it does is seen at the operation.
            opcode::LinkTimeout::new(within)
                .build()
                .user_data(deadline.to_user_data())
                .flags(Flags::SKIP_SUCCESS),
        ];
        // SAFETY: the caller's promise for the first; the second points to a timespec on a shelf,
        // which keeps it until the kernel took the entry.
        let pushed = unsafe { self.queues.push(&pair) };
        self.armed += usize::from(pushed);
    }

    /// Queues an entry that completes by failing only, which is swallowed.
    ///
    /// # Safety
    ///
    /// As `Queues::push`.
    unsafe fn push_silent(&mut self, token: Token, entry: Entry) {
        let entry = entry.user_data(token.to_user_data()).flags(Flags::SKIP_SUCCESS);
        // SAFETY: the caller's promise. Whether the entry got there does not matter: a ring that
        // takes none says so in the next wait.
        unsafe { self.queues.push(&[entry]) };
    }
}

/// A time limit as the kernel takes it. It refuses seconds beyond 63 bits, so an absurd limit
/// becomes a mere 136 years.
pub(super) fn timespec(limit: Duration) -> Timespec {
    Timespec::from(limit.min(Duration::from_secs(u64::from(u32::MAX))))
}

fn message(iovecs: &[libc::iovec]) -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers, for which zero bytes are a value. (It has private
    // padding on some platforms, so it cannot be written out.)
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iovecs.as_ptr().cast_mut();
    message.msg_iovlen = iovecs.len() as _;
    message
}
