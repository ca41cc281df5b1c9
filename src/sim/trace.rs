//! The last things that happened in a simulated run, for the report of a failure.
//!
//! ```text
//!       1042.7 us  client 0 writes 35 bytes
//!       1044.0 us  worker's client[0.0] recv: 20 bytes, and more to come
//!       1044.0 us  fault: ShortReceive
//!       1051.3 us  worker's server[0.0] send: asked for on fd 12
//! ```
//!
//! `worker's client[2.5]` is the worker's slot 2 in its fifth use; `client 0` is a client of the
//! scenario. `fd 11 is link 3` connects the two.

use std::collections::VecDeque;
use std::fmt;

use crate::io::{Errno, Fd, What};
use crate::sim::faults::Fault;
use crate::time::Instant;
use crate::token::{OpKind, Role, Token};

/// A bounded record. Nothing is formatted before somebody reads it.
pub(super) struct Trace {
    notes: VecDeque<Note>,
    notes_max: usize,
    /// A sum over all notes, also those that are gone.
    fingerprint: u64,
}

struct Note {
    at: Instant,
    who: Who,
    /// The first `#` stands for the count; without one, the count follows.
    what: &'static str,
    count: Count,
}

enum Count {
    Nothing,
    Number(i64),
    Failed(Errno),
}

/// Whom a note is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Operation(Token),
    Descriptor(Fd),
    Client(usize),
    Server(usize),
    Worker,
    /// Chance.
    Fault(Fault),
}

impl Default for Trace {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Trace {
    /// A record of the last `notes_max` things.
    pub(super) fn new(notes_max: usize) -> Self {
        Self { notes: VecDeque::new(), notes_max, fingerprint: 0 }
    }

    pub(super) fn note(&mut self, at: Instant, who: Who, what: &'static str, count: i64) {
        self.push(Note { at, who, what, count: Count::Number(count) });
    }

    /// Notes something that has no number.
    pub(super) fn note_plain(&mut self, at: Instant, who: Who, what: &'static str) {
        self.push(Note { at, who, what, count: Count::Nothing });
    }

    /// Tells whether two runs were the same.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Bytes that went from one to another.
    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.add(u64::from_le_bytes(word));
        }
    }

    pub(super) fn note_event(&mut self, at: Instant, token: Token, what: &What) {
        if let What::Received { data: Ok(data), .. } = what {
            self.add_bytes(data);
        }
        let (what, count) = in_words(what);
        self.push(Note { at, who: Who::Operation(token), what, count });
    }

    pub(super) fn note_fault(&mut self, at: Instant, fault: Fault) {
        self.note_plain(at, Who::Fault(fault), "");
    }

    fn push(&mut self, note: Note) {
        let number = match note.count {
            Count::Nothing => 0,
            Count::Number(number) => number,
            Count::Failed(errno) => -i64::from(errno.0),
        };
        let (kind, who) = note.who.in_numbers();
        for part in [note.at.as_nanos(), kind, who, number.cast_unsigned()] {
            self.add(part);
        }
        self.add_bytes(note.what.as_bytes());
        if self.notes.len() >= self.notes_max {
            self.notes.pop_front();
        }
        if self.notes_max > 0 {
            self.notes.push_back(note);
        }
    }

    fn add(&mut self, part: u64) {
        self.fingerprint = (self.fingerprint ^ part).wrapping_mul(FNV_PRIME).rotate_left(29);
    }
}

impl Who {
    /// Its kind, and which one.
    fn in_numbers(self) -> (u64, u64) {
        match self {
            Who::Operation(token) => (0, token.to_user_data()),
            Who::Descriptor(fd) => (1, fd.0 as u64),
            Who::Client(index) => (2, index as u64),
            Who::Server(index) => (3, index as u64),
            Who::Worker => (4, 0),
            Who::Fault(fault) => (5, fault as u64),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.as_nanos() as f64 / 1000.0;
        write!(f, "{micros:>12.1} us  {}", self.who)?;
        let (before, after) = self.what.split_once('#').unwrap_or((self.what, ""));
        let space = if before.is_empty() { "" } else { " " };
        match self.count {
            Count::Nothing => write!(f, "{space}{}", self.what),
            Count::Number(count) if before.len() == self.what.len() => {
                write!(f, " {before} {count}")
            }
            Count::Number(count) => write!(f, " {before}{count}{after}"),
            Count::Failed(errno) => match name(errno) {
                Some(name) => write!(f, " {before}{name}{after}"),
                None => write!(f, " {before}{errno:?}{after}"),
            },
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Operation(token) => {
                let key = token.key();
                let role = match key.role {
                    Role::Worker => return write!(f, "worker's {}:", operation(token.op())),
                    Role::Listener => "listener",
                    Role::Client => "client",
                    Role::Server => "server",
                };
                let (index, use_) = (key.index, key.generation);
                write!(f, "worker's {role}[{index}.{use_}] {}:", operation(token.op()))
            }
            Who::Descriptor(fd) => write!(f, "fd {}", fd.0),
            Who::Client(index) => write!(f, "client {index}"),
            Who::Server(index) => write!(f, "server {index}"),
            Who::Worker => write!(f, "worker"),
            Who::Fault(fault) => write!(f, "fault: {fault:?}"),
        }
    }
}

fn operation(op: OpKind) -> &'static str {
    match op {
        OpKind::Accept => "accept",
        OpKind::Recv => "recv",
        OpKind::Send => "send",
        OpKind::Connect => "connect",
        OpKind::Hangup => "hangup watch",
        OpKind::Close => "close",
        OpKind::Tick => "tick",
        OpKind::Signal => "signals",
        OpKind::Mail => "mailbox",
    }
}

/// The names of what the simulated ring fails with.
fn name(errno: Errno) -> Option<&'static str> {
    Some(match errno.0 {
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ECANCELED => "ECANCELED",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EMFILE => "EMFILE",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ENOBUFS => "ENOBUFS",
        libc::EPIPE => "EPIPE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        _ => return None,
    })
}

/// A completion: what came of it, with its size, its descriptor or its error.
fn in_words(what: &What) -> (&'static str, Count) {
    let size = |bytes: usize| Count::Number(bytes as i64);
    match what {
        What::Accepted { fd: Ok(fd), more: true } => {
            ("fd #, and more to come", Count::Number(fd.0.into()))
        }
        What::Accepted { fd: Ok(fd), more: false } => {
            ("fd #, and it is over", Count::Number(fd.0.into()))
        }
        What::Received { data: Ok(data), .. } if data.is_empty() => {
            ("end of the stream", Count::Nothing)
        }
        What::Received { data: Ok(data), more: true } => {
            ("# bytes, and more to come", size(data.len()))
        }
        What::Received { data: Ok(data), more: false } => {
            ("# bytes, and it is over", size(data.len()))
        }
        What::Sent { bytes: Ok(bytes), .. } => ("# bytes sent", size(*bytes)),
        What::Connected(Ok(())) => ("connected", Count::Nothing),
        What::HungUp(Ok(())) => ("hung up", Count::Nothing),
        What::Accepted { fd: Err(errno), .. }
        | What::Received { data: Err(errno), .. }
        | What::Sent { bytes: Err(errno), .. }
        | What::Connected(Err(errno))
        | What::HungUp(Err(errno)) => ("fails: #", Count::Failed(*errno)),
        What::Tick => ("the time is up", Count::Nothing),
        What::Signal(number) => ("signal #", Count::Number((*number).into())),
        What::Mail => ("rung", Count::Nothing),
    }
}

/// The multiplier of the 64-bit FNV hash.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Buffer;
    use crate::token::Key;

    #[test]
    fn the_fingerprint_tells_all_that_happened() {
        let print = |act: &dyn Fn(&mut Trace)| {
            let mut trace = Trace::new(0);
            act(&mut trace);
            trace.fingerprint()
        };
        let at = Instant::from_nanos(1);
        let recv = |role, data: &'static [u8]| {
            let token = Key::new(role, 2, 5).token(OpKind::Recv);
            let data = Ok(Buffer::from_bytes(bytes::Bytes::from_static(data)));
            let what = What::Received { data, more: true };
            print(&|trace| trace.note_event(at, token, &what))
        };
        let all = [
            print(&|_| {}),
            print(&|trace| trace.note(at, Who::Client(0), "reads", 1)),
            print(&|trace| trace.note(at, Who::Client(1), "reads", 1)),
            print(&|trace| trace.note(at, Who::Server(0), "reads", 1)),
            print(&|trace| trace.note(at, Who::Client(0), "waits", 1)),
            print(&|trace| trace.note(at, Who::Client(0), "reads", 2)),
            print(&|trace| trace.note(Instant::from_nanos(2), Who::Client(0), "reads", 1)),
            recv(Role::Client, b"PING"),
            recv(Role::Client, b"PONG"),
            recv(Role::Server, b"PING"),
        ];
        let different: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_report_says_who_did_what_and_how_much() {
        let mut trace = Trace::new(4);
        let at = Instant::from_nanos(1_234_500);
        let token = Key::new(Role::Client, 2, 5).token(OpKind::Recv);
        trace.note_plain(at, Who::Client(0), "is forgotten");
        trace.note(at, Who::Client(0), "writes", 35);
        trace.note_fault(at, Fault::ShortReceive);
        let data = Ok(Buffer::from_bytes(bytes::Bytes::from_static(b"PING")));
        trace.note_event(at, token, &What::Received { data, more: true });
        let data = Err(Errno(libc::ECANCELED));
        trace.note_event(at, token, &What::Received { data, more: false });
        let lines = [
            "      1234.5 us  client 0 writes 35\n",
            "      1234.5 us  fault: ShortReceive\n",
            "      1234.5 us  worker's client[2.5] recv: 4 bytes, and more to come\n",
            "      1234.5 us  worker's client[2.5] recv: ",
            "fails: ECANCELED\n",
        ];
        assert_eq!(trace.to_string(), lines.concat());
    }
}
