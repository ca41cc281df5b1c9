//! Signals as something to read, so that they arrive through a ring like all else.

use crate::io::Fd;
use crate::sys::check;

/// Blocks `signals` in this thread and opens a descriptor that they can be read from.
///
/// Call it before any other thread is made: threads inherit the mask, and a signal goes to any
/// thread that does not block it. The descriptor is blocking on purpose: io_uring answers `EAGAIN`
/// to a read of a non-blocking one on some kernels instead of waiting.
///
/// Errors: `EINVAL` for a number that is no signal, `EMFILE`, `ENOMEM`.
pub fn block_and_watch(signals: &[i32]) -> std::io::Result<Fd> {
    let set = set_of(signals)?;
    // SAFETY: `set` is a live, initialised set; a null third argument means "no old mask wanted".
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if result != 0 {
        return Err(std::io::Error::from_raw_os_error(result));
    }
    // SAFETY: `set` is a live, initialised set, which signalfd(2) copies.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) };
    check(fd).map(Fd)
}

/// Ignores `SIGPIPE`: a log or a standard stream whose reader has gone is an error to handle, not
/// an end. Sends of the ring ask for none by themselves.
pub fn ignore_pipe() {
    // SAFETY: SIG_IGN runs no code of ours, so nothing of it can be unsafe in a signal's context.
    let previous = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    assert_ne!(previous, libc::SIG_ERR, "SIGPIPE can be ignored");
}

/// Has `SIGSEGV` end the process, also when somebody sends it. The handler of Rust's library takes
/// one that no fault of its own caused for none, and only the second would count.
pub fn end_at_segv() {
    // SAFETY: SIG_DFL runs no code of ours, so nothing of it can be unsafe in a signal's context.
    let previous = unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    assert_ne!(previous, libc::SIG_ERR, "SIGSEGV can be left to the kernel");
}

fn set_of(signals: &[i32]) -> std::io::Result<libc::sigset_t> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `set` has the size and the alignment of a sigset_t, which sigemptyset(3) fills.
    check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
    for &signal in signals {
        // SAFETY: `set` was filled above; a number out of range is answered with EINVAL.
        check(unsafe { libc::sigaddset(set.as_mut_ptr(), signal) })?;
    }
    // SAFETY: sigemptyset succeeded, so every bit of `set` is initialised.
    Ok(unsafe { set.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        let error = block_and_watch(&[4096]).expect_err("no such signal");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
