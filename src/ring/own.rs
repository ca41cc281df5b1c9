//! What a ring reads by itself: its tick, the process's signals, the worker's mailbox.

use std::time::Duration;

use io_uring::opcode;
use io_uring::types::{Fd as Descriptor, TimeoutFlags};

use super::Uring;
use super::submit::timespec;
use crate::io::{Errno, Fd, What};
use crate::token::{Key, OpKind, Token};

const TICK: Token = Key::WORKER.token(OpKind::Tick);
const SIGNAL: Token = Key::WORKER.token(OpKind::Signal);
const MAIL: Token = Key::WORKER.token(OpKind::Mail);

/// The ring's own operations: each is armed again by the wait after its last completion.
pub(super) struct Own {
    tick: Option<Duration>,
    /// Whether one timeout can tick for ever (Linux 6.4); until the kernel refuses, it is assumed.
    tick_repeats: bool,
    /// True exactly when the timeout is submitted and has not seen its last completion.
    tick_armed: bool,
    signals: Reader,
    mail: Reader,
}

/// A descriptor that is read again and again.
struct Reader {
    fd: Option<Fd>,
    /// Where the kernel puts what it reads; nobody looks while `armed`.
    into: Vec<u8>,
    /// True exactly when the read is submitted and not completed.
    armed: bool,
}

impl Reader {
    fn new(fd: Option<Fd>, bytes: usize) -> Self {
        Self { fd, into: vec![0; bytes], armed: false }
    }
}

impl Own {
    pub(super) fn new(tick: Option<Duration>, signals: Option<Fd>, mail: Option<Fd>) -> Self {
        Self {
            tick,
            tick_repeats: true,
            tick_armed: false,
            signals: Reader::new(signals, size_of::<libc::signalfd_siginfo>()),
            mail: Reader::new(mail, size_of::<u64>()),
        }
    }
}

impl Uring {
    /// Arms what is not armed. Two comparisons in a turn that has nothing to arm.
    pub(super) fn arm_own(&mut self) {
        if !self.payload.own.tick_armed
            && let Some(period) = self.payload.own.tick
        {
            self.arm_tick(period);
        }
        self.arm_reader(SIGNAL);
        self.arm_reader(MAIL);
    }

    /// A timeout of the ring ended or fired.
    pub(super) fn on_tick(&mut self, result: Result<u32, Errno>, more: bool) -> Option<What> {
        let own = &mut self.payload.own;
        own.tick_armed = more;
        match result {
            Err(Errno(libc::ETIME)) => Some(What::Tick),
            Err(Errno(libc::EINVAL)) if own.tick_repeats => {
                own.tick_repeats = false;
                None
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// A read of the signalfd ended.
    pub(super) fn on_signal(&mut self, result: Result<u32, Errno>) -> Option<What> {
        let signals = &mut self.payload.own.signals;
        let first = ended(signals, result)?.first_chunk::<4>()?;
        // `ssi_signo` is the first field of signalfd_siginfo.
        Some(What::Signal(i32::from_ne_bytes(*first)))
    }

    /// A read of the eventfd ended.
    pub(super) fn on_mail(&mut self, result: Result<u32, Errno>) -> Option<What> {
        ended(&mut self.payload.own.mail, result).map(|_| What::Mail)
    }

    fn arm_tick(&mut self, period: Duration) {
        self.make_room(1);
        let period = std::ptr::from_ref(self.queues.shelves.deadlines.put(timespec(period)));
        let repeats = self.payload.own.tick_repeats;
        let flags = if repeats { TimeoutFlags::MULTISHOT } else { TimeoutFlags::empty() };
        let entry = opcode::Timeout::new(period).flags(flags).build();
        // SAFETY: `period` lies on a shelf, which keeps it until the kernel took the entry.
        unsafe { self.arm(TICK, NO_FD, entry) };
        self.payload.own.tick_armed = true;
    }

    fn arm_reader(&mut self, token: Token) {
        let own = &mut self.payload.own;
        let reader = if token == SIGNAL { &mut own.signals } else { &mut own.mail };
        let Some(fd) = reader.fd.filter(|_| !reader.armed) else { return };
        reader.armed = true;
        let len = u32::try_from(reader.into.len()).expect("8 or 128");
        let into = reader.into.as_mut_ptr();
        self.make_room(1);
        let entry = opcode::Read::new(Descriptor(fd.0), into, len).build();
        // SAFETY: `into` is the heap memory of a Vec of `len` bytes that is not touched while
        // `armed`, and is leaked with `payload` if the ring ends before the read does.
        unsafe { self.arm(token, fd, entry) };
    }
}

/// What a reader read, all of it. A descriptor that cannot be read is given up, or each wait
/// would fail at it again.
fn ended(reader: &mut Reader, result: Result<u32, Errno>) -> Option<&[u8]> {
    reader.armed = false;
    match result {
        Ok(len) if len as usize == reader.into.len() => Some(&reader.into),
        Err(Errno(libc::EINTR | libc::EAGAIN)) => None,
        Ok(_) | Err(_) => {
            if result != Err(Errno(libc::ECANCELED)) {
                log::error!("descriptor {:?} of the ring cannot be read: {result:?}", reader.fd);
            }
            reader.fd = None;
            None
        }
    }
}

/// The tick is on no descriptor.
const NO_FD: Fd = Fd(-1);
