//! The last things that happened in a simulated run, for the report of a failure.

use std::collections::VecDeque;
use std::fmt;

use crate::io::{Errno, Fd, What};
use crate::time::Instant;
use crate::token::Token;

/// A bounded record. Nothing is formatted before somebody reads it.
#[derive(Default)]
pub(super) struct Trace {
    notes: VecDeque<Note>,
    /// A sum over all notes, also those that are gone.
    fingerprint: u64,
}

struct Note {
    at: Instant,
    who: Who,
    what: &'static str,
    count: i64,
}

/// Whom a note is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Operation(Token),
    Descriptor(Fd),
    Client(usize),
    Server(usize),
}

impl Trace {
    pub(super) fn note(&mut self, at: Instant, who: Who, what: &'static str, count: i64) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        for part in [at.as_nanos(), what.len() as u64, count.cast_unsigned()] {
            self.fingerprint = (self.fingerprint ^ part).wrapping_mul(FNV_PRIME);
        }
        self.notes.push_back(Note { at, who, what, count });
    }

    /// Tells whether two runs were the same.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(super) fn note_event(&mut self, at: Instant, token: Token, what: &What) {
        let (words, count) = in_words(what);
        self.note(at, Who::Operation(token), words, count);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            let micros = note.at.as_nanos() as f64 / 1000.0;
            write!(f, "{micros:>12.1} us  ")?;
            match note.who {
                Who::Operation(token) => write!(f, "{token:?}")?,
                Who::Descriptor(fd) => write!(f, "fd {}", fd.0)?,
                Who::Client(index) => write!(f, "client {index}")?,
                Who::Server(index) => write!(f, "server {index}")?,
            }
            writeln!(f, " {} {}", note.what, note.count)?;
        }
        Ok(())
    }
}

/// A completion, with its size, its descriptor or its error as a negative number.
fn in_words(what: &What) -> (&'static str, i64) {
    let errno = |errno: &Errno| -i64::from(errno.0);
    match what {
        What::Accepted { fd, more } => {
            (if *more { "accepted" } else { "accepted last" }, fd.map_or(-1, |fd| fd.0.into()))
        }
        What::Received { data, more } => (
            if *more { "received" } else { "received last" },
            data.as_ref().map_or_else(errno, |data| data.len() as i64),
        ),
        What::Sent { bytes, .. } => {
            ("sent", bytes.as_ref().map_or_else(errno, |&bytes| bytes as i64))
        }
        What::Connected(result) => ("connected", result.as_ref().map_or_else(errno, |()| 0)),
        What::HungUp(result) => ("hung up", result.as_ref().map_or_else(errno, |()| 0)),
        What::Tick => ("tick", 0),
        What::Signal(number) => ("signal", i64::from(*number)),
        What::Mail => ("mail", 0),
    }
}

/// The multiplier of the 64-bit FNV hash.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Enough to see what led to a failure, few enough to be read.
const NOTES_MAX: usize = 1000;
