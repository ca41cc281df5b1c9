//! Leaving the terminal: the process goes on in the background, and the one that was started ends.
//!
//! ```text
//!   started --fork--> first child --setsid, fork--> the daemon --let_go--> standard streams gone
//!      |                  +-- ends at once               |
//!      +--waits for one byte <---------------------------+
//!      exit 0: it came.  exit 1: the daemon ended without it, and has said why.
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;

use crate::sys::check;

/// The process that was started, which waits to hear that the daemon is up. Dropped without
/// `let_go`, it ends with exit code 1.
#[derive(Debug)]
pub struct Parent(PipeWriter);

/// Goes on in the background, in a session of its own; returns in the daemon only.
///
/// To be called before there is a second thread, a ring or a lock: none of them survives a fork.
/// The working directory and the umask stay as they are, and so do the standard streams until
/// `Parent::let_go`, for what goes wrong at the start.
///
/// Errors: no pipe (`EMFILE`), no process (`EAGAIN`, `ENOMEM`).
pub fn detach() -> io::Result<Parent> {
    let (reader, writer) = io::pipe()?;
    if fork()? {
        drop(writer);
        std::process::exit(wait_for_daemon(reader));
    }
    drop(reader);
    // SAFETY: setsid(2) takes nothing; a process that was just forked leads no group.
    check(unsafe { libc::setsid() })?;
    // The second one leads no session, so no terminal can become its own.
    if fork()? {
        end_at_once();
    }
    Ok(Parent(writer))
}

impl Parent {
    /// Ends the process that was started, with exit code 0, and cuts the standard streams off.
    ///
    /// Errors: `/dev/null` cannot be opened.
    pub fn let_go(mut self) -> io::Result<()> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        for stream in 0..=2 {
            redirect(stream, &null)?;
        }
        // If it has been killed, nobody waits for the byte.
        let _ = self.0.write_all(&[0]);
        Ok(())
    }
}

/// The exit code of the process that was started.
fn wait_for_daemon(mut reader: PipeReader) -> i32 {
    match reader.read_exact(&mut [0]) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Makes a second process. Returns whether this is the first.
fn fork() -> io::Result<bool> {
    // SAFETY: the caller of `detach` promises a single thread, so the child may go on as it likes.
    check(unsafe { libc::fork() }).map(|child| child > 0)
}

/// Ends this process without what is due at an exit, which is the daemon's to do.
fn end_at_once() -> ! {
    // SAFETY: _exit(2) runs nothing of ours, and does not return.
    unsafe { libc::_exit(0) }
}

fn redirect(stream: i32, to: &File) -> io::Result<()> {
    // SAFETY: dup2(2) takes two numbers; the standard streams are nobody's, and `to` is open.
    check(unsafe { libc::dup2(to.as_raw_fd(), stream) }).map(drop)
}
