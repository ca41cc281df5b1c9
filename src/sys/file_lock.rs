//! A lock on an open file, which ends with the process that has it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::sys::check;

/// Locks `file` unless another process has it locked. Returns whether it is locked now.
///
/// Errors: the file system has no locks (`ENOLCK`, `EOPNOTSUPP`).
pub fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: flock(2) takes two numbers, and `file` keeps the descriptor open meanwhile.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets the lock go before the file is closed.
pub fn unlock(file: &File) {
    // It cannot fail for an open descriptor.
    // SAFETY: flock(2) takes two numbers, and `file` keeps the descriptor open meanwhile.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_opening_of_a_file_has_the_lock_at_a_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(try_lock(&first).unwrap());
        assert!(!try_lock(&second).unwrap());
        unlock(&first);
        assert!(try_lock(&second).unwrap());
        drop(second);
        assert!(try_lock(&first).unwrap());
    }
}
