//! A trial at start-up: does this kernel do what the program lives by?
//!
//! Multishot receive, linked timeouts and buffer rings have no feature bit of their own. The only
//! way to know is to try them, on a scratch ring, before any client is let in.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::cannot_run::{Facts, explain, refused};
use super::{CannotRun, Features, Options, Uring};
use crate::io::{Chain, Errno, Event, Fd, Ring, Wait, WaitError, What};
use crate::sys::{self, process};
use crate::token::{Key, OpKind, Role};

/// Tries all that a worker needs, on a ring of a worker's size. Takes some 10 milliseconds.
///
/// Errors: the one line that tells the operator what to change.
pub fn probe() -> Result<Features, CannotRun> {
    // The tick keeps a wait from sleeping for ever where nothing else completes.
    let options = Options { tick: Some(Duration::from_millis(20)), ..Options::default() };
    let mut ring = Uring::new(&options).map_err(|error| explain(error, &Facts::read(&options)))?;
    try_messages(&mut ring, Duration::from_millis(5))?;
    try_accept(&mut ring)?;
    Ok(*ring.features())
}

/// A message over a socket pair, and then silence until the receive's time limit ends it.
///
/// A machine that is busy may let the limit pass before the message: then it is tried again.
fn try_messages(ring: &mut Uring, within: Duration) -> Result<(), CannotRun> {
    let (near, far) = UnixStream::pair().map_err(|error| other("socketpair", &error))?;
    let recv = Key::new(Role::Client, 0, 0).token(OpKind::Recv);
    let send = Key::new(Role::Server, 0, 0).token(OpKind::Send);
    let mut output = Chain::new();
    output.push_copy(b"probe");
    ring.recv(recv, Fd(near.as_raw_fd()), Some(within));
    ring.send(send, Fd(far.as_raw_fd()), output);
    let (mut sent, mut received) = (false, false);
    expect(ring, "multishot receive with a linked timeout", |ring, event| match event.what {
        What::Sent { bytes, .. } => {
            sent = bytes? == 5;
            Ok(false)
        }
        What::Received { data: Ok(buffer), more } => {
            received = more && &buffer[..] == b"probe";
            ring.give_back(buffer);
            // A receive that ended by itself has no multishot in it.
            if more { Ok(false) } else { Err(Errno(libc::EINVAL)) }
        }
        What::Received { data: Err(Errno(libc::ECANCELED)), more: false } => {
            let done = sent && received;
            if !done {
                ring.recv(recv, Fd(near.as_raw_fd()), Some(within));
            }
            Ok(done)
        }
        What::Received { data: Err(errno), .. } => Err(errno),
        What::Accepted { .. }
        | What::Connected(_)
        | What::HungUp(_)
        | What::Tick
        | What::Signal(_)
        | What::Mail => Ok(false),
    })
}

/// A connection that comes in, on a socket that has no name in the file system.
fn try_accept(ring: &mut Uring) -> Result<(), CannotRun> {
    let (listener, _client) = pending_connection().map_err(|error| other("a listener", &error))?;
    let token = Key::new(Role::Listener, 0, 0).token(OpKind::Accept);
    ring.accept(token, Fd(listener.as_raw_fd()));
    expect(ring, "multishot accept", |_, event| match event.what {
        What::Accepted { fd, more } => {
            sys::sockets::close(fd?);
            if more { Ok(true) } else { Err(Errno(libc::EINVAL)) }
        }
        What::Received { .. }
        | What::Sent { .. }
        | What::Connected(_)
        | What::HungUp(_)
        | What::Tick
        | What::Signal(_)
        | What::Mail => Ok(false),
    })?;
    // The ring's drop ends the accept.
    Ok(())
}

fn pending_connection() -> std::io::Result<(Socket, Socket)> {
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // An empty name lets the kernel choose an abstract one (unix(7), autobind).
    listener.bind(&SockAddr::unix("")?)?;
    listener.listen(1)?;
    let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    client.connect(&listener.local_addr()?)?;
    Ok((listener, client))
}

/// Waits until `done` says so, for a second at most.
fn expect(
    ring: &mut Uring,
    what: &'static str,
    mut done: impl FnMut(&mut Uring, Event) -> Result<bool, Errno>,
) -> Result<(), CannotRun> {
    let mut events = Vec::new();
    let until = sys::clock::now() + Duration::from_secs(1);
    loop {
        let now = ring
            .wait(Wait { want: 1, window: Duration::ZERO }, &mut events)
            .map_err(|error| failed(what, errno_of(error)))?;
        for event in events.drain(..) {
            match done(ring, event) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(errno) => return Err(failed(what, errno)),
            }
        }
        if now >= until {
            let lacks = format!("{what} failed: nothing came of it within a second");
            return Err(CannotRun::Old { release: process::kernel_release(), lacks });
        }
    }
}

/// The ring was made, so the switch that forbids making rings is not the cause.
fn failed(what: &'static str, errno: Errno) -> CannotRun {
    refused(what, errno, &Facts { disabled: None, ..Facts::read(&Options::default()) })
}

const fn errno_of(error: WaitError) -> Errno {
    match error {
        WaitError::CompletionLost => Errno(libc::EBADR),
        WaitError::Enter(errno) | WaitError::Read(errno) => errno,
    }
}

fn other(what: &'static str, error: &std::io::Error) -> CannotRun {
    let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
    if errno.0 == libc::EMFILE {
        return CannotRun::Descriptors { limit: process::open_files_limit() };
    }
    CannotRun::Other { what, errno, release: process::kernel_release() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_will_do() {
        let features = probe().expect("the tests need Linux 6.1 or later");
        assert!(features.single_issuer && features.defer_taskrun && features.registered_ring);
    }

    #[test]
    fn a_limit_that_passes_before_the_message_is_no_refusal() {
        let options = Options { tick: Some(Duration::from_millis(20)), ..Options::default() };
        let mut ring = Uring::new(&options).unwrap();
        // The kernel arms the limit before it looks for data, and sees the limit's end first.
        try_messages(&mut ring, Duration::from_nanos(1)).unwrap();
    }
}
