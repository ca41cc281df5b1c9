//! What a worker has in flight on the simulated ring, and how each kind of it goes on.

use bytes::Bytes;

use crate::io::{Buffer, Chain, Errno, Fd, Mark, What};
use crate::limits::{SEND_BYTES_MAX, SEND_PIECES_MAX};
use crate::sim::buffers::Buffers;
use crate::sim::faults::Fault;
use crate::sim::health::Trouble;
use crate::sim::network::Network;
use crate::sim::pipe::{Readable, Writable};
use crate::time::Instant;

/// An operation in flight.
pub(super) struct Operation {
    pub(super) work: Work,
    pub(super) cancelled: bool,
    /// It ends with `ECANCELED` although nobody cancelled it.
    pub(super) gives_up: bool,
    /// A send whose bytes are taken, of which its worker has not been told.
    pub(super) is_done: bool,
}

pub(super) enum Work {
    Accept {
        listener: Fd,
    },
    Connect {
        fd: Fd,
        server: Option<usize>,
        since: Instant,
        answered: Instant,
        deadline: Option<Instant>,
    },
    Recv {
        fd: Fd,
        link: usize,
        deadline: Option<Instant>,
    },
    Send {
        fd: Fd,
        link: usize,
        output: Chain,
        taken: usize,
        goal: usize,
    },
    Hangup {
        fd: Fd,
        link: usize,
    },
}

/// What a step of an operation brought.
pub(super) enum Step {
    /// Nothing to tell, or something, and the operation goes on.
    GoesOn(Operation, Option<What>),
    /// The final event.
    Over(What),
}

impl Operation {
    pub(super) fn new(work: Work) -> Self {
        Self { work, cancelled: false, gives_up: false, is_done: false }
    }

    pub(super) fn fd(&self) -> Fd {
        match self.work {
            Work::Accept { listener } => listener,
            Work::Connect { fd, .. }
            | Work::Recv { fd, .. }
            | Work::Send { fd, .. }
            | Work::Hangup { fd, .. } => fd,
        }
    }

    /// The next time after `now` at which it is ready without anybody's doing.
    pub(super) fn timer(&self, now: Instant) -> Option<Instant> {
        let times = match self.work {
            Work::Connect { answered, deadline, .. } => [Some(answered), deadline],
            Work::Recv { deadline, .. } => [deadline, None],
            Work::Accept { .. } | Work::Send { .. } | Work::Hangup { .. } => [None, None],
        };
        times.into_iter().flatten().filter(|&time| time > now).min()
    }

    /// Whether a step would get somewhere. A connect is asked with its server's help, elsewhere.
    pub(super) fn is_ready(&self, net: &Network) -> bool {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|time| time <= net.now);
        self.cancelled
            || self.gives_up
            || self.is_done
            || match self.work {
                Work::Accept { listener } => !net.backlogs[&listener].is_empty(),
                Work::Connect { deadline, .. } => due(deadline),
                Work::Recv { link, deadline, .. } => {
                    due(deadline) || net.links[link].ring_readable() != Readable::Nothing
                }
                Work::Send { link, .. } => net.links[link].ring_writable() != Writable::Full,
                Work::Hangup { link, .. } => net.links[link].is_hung_up(),
            }
    }
}

/// How many bytes of `output` one send takes.
pub(super) fn send_goal(output: &Chain) -> usize {
    let bytes: usize = output.slices().take(SEND_PIECES_MAX).map(<[u8]>::len).sum();
    bytes.min(SEND_BYTES_MAX)
}

/// A step of a receive.
pub(super) fn step_recv(operation: Operation, net: &mut Network, buffers: &mut Buffers) -> Step {
    let Work::Recv { link, deadline, .. } = operation.work else { unreachable!("a receive") };
    let readable = net.links[link].ring_readable();
    if operation.cancelled || deadline.is_some_and(|time| time <= net.now) {
        let bytes_are_there = matches!(readable, Readable::Bytes(_));
        let (data_first, end_first) = match operation.cancelled {
            true => (Fault::DataBeatsCancel, Fault::CancelBeatsData),
            false => (Fault::DataBeatsDeadline, Fault::DeadlineBeatsData),
        };
        if !bytes_are_there || !net.happens(data_first) {
            if bytes_are_there {
                net.count(end_first);
            }
            return Step::Over(failed(libc::ECANCELED));
        }
    }
    match readable {
        Readable::Nothing => Step::GoesOn(operation, None),
        Readable::End => {
            net.on_end(link, Trouble::Closed);
            Step::Over(received(Ok(Buffer::from_bytes(Bytes::new())), false))
        }
        Readable::Reset => {
            net.on_end(link, Trouble::Reset);
            net.links[link].tell_reset();
            Step::Over(failed(libc::ECONNRESET))
        }
        Readable::Bytes(count) => {
            if net.happens(Fault::NoBuffers) {
                return Step::Over(failed(libc::ENOBUFS));
            }
            let Some((home, mut memory)) = buffers.take() else {
                net.count(Fault::NoBuffers);
                return Step::Over(failed(libc::ENOBUFS));
            };
            let mut count = count.min(buffers.size());
            if count > 1 && net.happens(Fault::ShortReceive) {
                count = net.random.between(1, count - 1);
            }
            memory.extend_from_slice(&net.links[link].ring_read(count));
            net.on_read(link);
            let data = Ok(Buffer::from_ring(memory, home));
            match net.happens(Fault::MultishotEnds) {
                true => Step::Over(received(data, false)),
                false => Step::GoesOn(operation, Some(received(data, true))),
            }
        }
    }
}

/// A step of a send: bytes go into the pipe, and it is over when all of them have.
pub(super) fn step_send(operation: Operation, net: &mut Network) -> Step {
    let (cancelled, is_done) = (operation.cancelled, operation.is_done);
    let Work::Send { fd, link, output, mut taken, goal } = operation.work else {
        unreachable!("a send")
    };
    if is_done {
        return Step::Over(sent(taken, 0, output));
    }
    match net.links[link].ring_writable() {
        Writable::Broken => {
            let broken = [(libc::EPIPE, Trouble::BrokenPipe), (libc::ECONNRESET, Trouble::Reset)];
            let (errno, what) = net.random.pick(&broken);
            net.on_end(link, what);
            return Step::Over(sent(taken, errno, output));
        }
        Writable::Full if cancelled => {
            return Step::Over(sent(taken, libc::ECANCELED, output));
        }
        Writable::Full => {}
        Writable::Room(room) => {
            let mut count = room.min(goal - taken);
            let short = count > 1 && net.happens(Fault::ShortSend);
            if short {
                count = net.random.between(1, count - 1);
            }
            let mut piece = Vec::with_capacity(count);
            output.copy_range(taken..taken + count, &mut piece, &mut Mark::default());
            net.links[link].ring_write(&piece);
            taken += count;
            if taken == goal || short || cancelled {
                net.links[link].is_sending = false;
                if !net.happens(Fault::SendToldLate) {
                    return Step::Over(sent(taken, 0, output));
                }
                let work = Work::Send { fd, link, output, taken, goal };
                return Step::GoesOn(Operation { is_done: true, ..Operation::new(work) }, None);
            }
        }
    }
    Step::GoesOn(Operation::new(Work::Send { fd, link, output, taken, goal }), None)
}

/// A step of a watch.
pub(super) fn step_hangup(operation: Operation, net: &mut Network) -> Step {
    let Work::Hangup { link, .. } = operation.work else { unreachable!("a watch") };
    if net.links[link].is_hung_up() {
        Step::Over(What::HungUp(Ok(())))
    } else if operation.cancelled || operation.gives_up {
        if !operation.cancelled {
            net.count(Fault::WatchEnds);
        }
        Step::Over(What::HungUp(Err(Errno(libc::ECANCELED))))
    } else {
        Step::GoesOn(operation, None)
    }
}

fn received(data: Result<Buffer, Errno>, more: bool) -> What {
    What::Received { data, more }
}

fn failed(errno: i32) -> What {
    received(Err(Errno(errno)), false)
}

/// A send that took some bytes has succeeded, whatever ended it.
fn sent(taken: usize, errno: i32, output: Chain) -> What {
    let bytes = if taken > 0 { Ok(taken) } else { Err(Errno(errno)) };
    What::Sent { bytes, output }
}
