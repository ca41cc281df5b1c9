//! A bell between threads.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};

use crate::io::Fd;
use crate::sys::check;

/// An eventfd: any thread rings it, one ring (of the other kind) reads it.
///
/// It is to outlive the ring that reads it.
#[derive(Debug)]
pub struct Event(File);

impl Event {
    /// A bell that nobody has rung. Its descriptor is blocking: see `signals::block_and_watch`.
    ///
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd(2) takes two numbers and touches no memory of ours.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        // SAFETY: `fd` was just opened, and nothing else knows of it: the File may own it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The descriptor, for a ring to read.
    pub fn fd(&self) -> Fd {
        Fd(self.0.as_raw_fd())
    }

    /// Rings: the reader's read completes. Several before one read count as one.
    pub fn ring(&self) {
        // It would block at 2^64 - 2 rings without a read, which nobody lives to see, and fails
        // only for a closed descriptor, which `self` owns.
        let written = (&self.0).write(&1u64.to_ne_bytes());
        debug_assert!(matches!(written, Ok(8)), "{written:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn rings_from_other_threads_add_up() {
        let event = Event::new().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| event.ring());
            }
        });
        let mut count = [0; 8];
        (&event.0).read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 3);
    }
}
