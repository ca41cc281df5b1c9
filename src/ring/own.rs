//! What a ring reads by itself: its tick, the process's signals, the worker's mailbox.

use std::time::Duration;

use io_uring::opcode;
use io_uring::types::{Fd as Descriptor, TimeoutFlags};

use super::Uring;
use super::submit::timespec;
use crate::io::{Errno, Fd, WaitError, What};
use crate::token::{Key, OpKind, Token};

const TICK: Token = Key::WORKER.token(OpKind::Tick);
const SIGNAL: Token = Key::WORKER.token(OpKind::Signal);
const MAIL: Token = Key::WORKER.token(OpKind::Mail);

/// The ring's own operations: each is armed again by the wait after its last completion, or after
/// the next tick, where the kernel wanted for memory.
pub(super) struct Own {
    tick: Option<Duration>,
    /// Whether one timeout can tick for ever (Linux 6.4); until the kernel refuses, it is assumed.
    tick_repeats: bool,
    /// True exactly when the timeout is submitted and has not seen its last completion.
    tick_armed: bool,
    signals: Reader,
    mail: Reader,
    /// Why one of the two cannot be read any more. Each later `wait` says so.
    pub(super) broken: Option<WaitError>,
}

/// A descriptor that is read again and again.
struct Reader {
    fd: Option<Fd>,
    /// Where the kernel puts what it reads; nobody looks while `armed`.
    into: Vec<u8>,
    /// True exactly when the read is submitted and not completed.
    armed: bool,
    /// True from a want of memory to the next tick: tried again at once, it would fail at once,
    /// and no wait would sleep.
    rests: bool,
}

impl Reader {
    fn new(fd: Option<Fd>, bytes: usize) -> Self {
        Self { fd, into: vec![0; bytes], armed: false, rests: false }
    }

    /// A read ended. Returns whether `into` was filled, all of it.
    ///
    /// Errors: the descriptor cannot be read, and is given up.
    fn ended(&mut self, result: Result<u32, Errno>) -> Result<bool, Errno> {
        self.armed = false;
        let failed = match result {
            Ok(len) if len as usize == self.into.len() => return Ok(true),
            Err(Errno(libc::EINTR)) => return Ok(false),
            Err(Errno(libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS)) => {
                self.rests = true;
                return Ok(false);
            }
            // Signals and mail come whole or not at all.
            Ok(_) => Errno(libc::EIO),
            Err(errno) => errno,
        };
        self.fd = None;
        // The end of the ring cancels everything.
        if failed.0 == libc::ECANCELED { Ok(false) } else { Err(failed) }
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
            broken: None,
        }
    }

    fn reader(&mut self, token: Token) -> &mut Reader {
        if token == SIGNAL { &mut self.signals } else { &mut self.mail }
    }

    /// A read ended. Returns whether it read what it was to read.
    fn has_read(&mut self, token: Token, result: Result<u32, Errno>) -> bool {
        self.reader(token).ended(result).unwrap_or_else(|errno| {
            log::error!("the ring cannot read {token:?} any more: {errno:?}");
            self.broken = Some(WaitError::Read(errno));
            false
        })
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
        own.signals.rests = false;
        own.mail.rests = false;
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
        let own = &mut self.payload.own;
        let first = own.has_read(SIGNAL, result).then(|| own.signals.into.first_chunk::<4>())??;
        // `ssi_signo` is the first field of signalfd_siginfo.
        Some(What::Signal(i32::from_ne_bytes(*first)))
    }

    /// A read of the eventfd ended.
    pub(super) fn on_mail(&mut self, result: Result<u32, Errno>) -> Option<What> {
        self.payload.own.has_read(MAIL, result).then_some(What::Mail)
    }

    fn arm_tick(&mut self, period: Duration) {
        self.make_room(1);
        let period = std::ptr::from_ref(self.queues.shelves.deadlines.put(timespec(period)));
        let repeats = self.payload.own.tick_repeats;
        let flags = if repeats { TimeoutFlags::MULTISHOT } else { TimeoutFlags::empty() };
        let entry = opcode::Timeout::new(period).flags(flags).build();
        // SAFETY: `period` lies on a shelf, which keeps it until the kernel took the entry.
        unsafe { self.arm(TICK, entry) };
        self.payload.own.tick_armed = true;
    }

    fn arm_reader(&mut self, token: Token) {
        let own = &mut self.payload.own;
        // Without a tick nothing would end the rest.
        let may_rest = own.tick.is_some();
        let reader = own.reader(token);
        let waits = reader.armed || (reader.rests && may_rest);
        let Some(fd) = reader.fd.filter(|_| !waits) else { return };
        reader.armed = true;
        let len = u32::try_from(reader.into.len()).expect("8 or 128");
        let into = reader.into.as_mut_ptr();
        self.make_room(1);
        let entry = opcode::Read::new(Descriptor(fd.0), into, len).build();
        // SAFETY: `into` is the heap memory of a Vec of `len` bytes that is not touched while
        // `armed`, and is leaked with `payload` if the ring ends before the read does.
        unsafe { self.arm(token, entry) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Options;

    #[test]
    fn a_want_of_memory_rests_and_gives_nothing_up() {
        for errno in [libc::EAGAIN, libc::ENOMEM, libc::ENOBUFS] {
            let mut reader = Reader::new(Some(Fd(3)), 8);
            assert_eq!(reader.ended(Err(Errno(errno))), Ok(false));
            assert!(reader.rests && reader.fd == Some(Fd(3)), "{errno}");
        }
    }

    #[test]
    fn a_read_that_rests_is_armed_by_the_next_tick_or_where_there_is_none() {
        let bell = crate::sys::event::Event::new().unwrap();
        let day = Duration::from_secs(86_400);
        for tick in [Some(day), None] {
            let options = Options { tick, mail: Some(bell.fd()), ..Options::default() };
            let mut ring = Uring::new(&options).unwrap();
            assert!(ring.on_mail(Err(Errno(libc::ENOMEM))).is_none());
            ring.arm_own();
            assert_eq!(ring.payload.own.mail.armed, tick.is_none());
            if tick.is_some() {
                ring.on_tick(Err(Errno(libc::ETIME)), true);
                ring.arm_own();
                assert!(ring.payload.own.mail.armed);
            }
        }
    }

    #[test]
    fn an_interrupted_read_is_tried_again_at_once() {
        let mut reader = Reader::new(Some(Fd(3)), 8);
        assert_eq!(reader.ended(Err(Errno(libc::EINTR))), Ok(false));
        assert!(!reader.rests && reader.fd == Some(Fd(3)));
    }

    #[test]
    fn a_cancelled_read_ends_without_a_word() {
        let mut own = Own::new(None, Some(Fd(3)), None);
        assert!(!own.has_read(SIGNAL, Err(Errno(libc::ECANCELED))));
        assert_eq!((own.broken, own.signals.fd), (None, None));
    }
}
