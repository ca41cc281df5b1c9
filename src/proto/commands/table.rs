//! The command table: one line per command, and that line is all that a command needs.
//!
//! The rows are those of Redis 7.0 to 8.0 and Valkey 8.1. Arity, key positions, flags and
//! categories are what these servers' `COMMAND` says; where they differ, what the newest says.
//! `tests/commands.rs` holds the table to recordings of the three, and lists where it differs,
//! with the reason.

mod keyed;
mod modules;
mod whole;

use crate::proto::commands::flags::*;
use crate::proto::commands::{
    Categories, Command, Compare, Flags, Keys, Local, Merge, Refusal, Serve, Split, Subscribe,
    Timeout, Transaction, UNLISTED,
};

/// All rows: those with keys, those of modules, then those about a server or a connection.
pub(super) static COMMANDS: [Command; COUNT] = {
    let parts = [keyed::ROWS, modules::ROWS, whole::ROWS];
    let mut all = [row("", 0, NONE, 0, 0); COUNT];
    let (mut part, mut index, mut number) = (0, 0, 0);
    while number < COUNT {
        if index == parts[part].len() {
            (part, index) = (part + 1, 0);
            continue;
        }
        all[number] = Command { number: number as u16, ..parts[part][index] };
        (index, number) = (index + 1, number + 1);
    }
    all
};

const COUNT: usize = keyed::ROWS.len() + modules::ROWS.len() + whole::ROWS.len();

/// No keys.
const NONE: Keys = Keys::None;
/// The argument behind the name.
const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
/// The two arguments behind the name.
const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
/// The argument behind a name of two words.
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
/// All arguments behind the name.
const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };
/// All arguments behind the name and an operation.
const REST: Keys = Keys::Range { first: 2, last: -1, step: 1 };
/// All arguments behind the name, but for a timeout at the end.
const TIMED: Keys = Keys::Range { first: 1, last: -2, step: 1 };
/// Every other argument: the others are values.
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };
/// `numkeys key [key ...]` behind the name.
const COUNTED: Keys = Keys::Counted { at: 1, first: 2, also: None };
/// `destination numkeys key [key ...]` behind the name.
const STORED: Keys = Keys::Counted { at: 2, first: 3, also: Some(1) };
/// `script numkeys [key ...]` behind the name, or `timeout numkeys key [key ...]`.
const SCRIPT: Keys = Keys::Counted { at: 2, first: 3, also: None };
/// The channel behind the name.
const CHANNEL: Keys = Keys::Channels { last: 1 };
/// All arguments behind the name are channels or patterns.
const CHANNELS: Keys = Keys::Channels { last: -1 };

/// While a server loads its data, and while it is a replica without a master.
const EARLY: u32 = LOADING | STALE;
/// The same, but not in a script.
const QUIET: u32 = NOSCRIPT | EARLY;
/// What a client may say first.
const GREETS: u32 = QUIET | FAST | NO_AUTH | ALLOW_BUSY;
/// What brings functions.
const LOADS: u32 = WRITE | DENYOOM | NOSCRIPT;
/// What runs scripts.
const RUNS: u32 = NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS;
/// For an administrator, with nothing else going on.
const LONE: u32 = ADMIN | NOSCRIPT | NO_ASYNC_LOADING;
/// For the node of a cluster.
const NODE: u32 = ADMIN | STALE | NO_ASYNC_LOADING;

/// A command that is forwarded, unless one of the words behind the row says otherwise.
const fn row(name: &'static str, arity: i16, keys: Keys, flags: u32, categories: u32) -> Command {
    let movable = match keys {
        Keys::Counted { .. } | Keys::Streams | Keys::Sort | Keys::Radius | Keys::Migrate => {
            MOVABLE_KEYS
        }
        Keys::None | Keys::Range { .. } | Keys::Channels { .. } | Keys::BySubcommand => 0,
    };
    let flags = Flags(flags | movable);
    Command {
        name,
        arity,
        keys,
        flags,
        categories: Categories::implied(categories, flags),
        serve: Serve::Forward,
        denied: false,
        compare: Compare::Exact,
        number: UNLISTED,
    }
}

/// A command that is none without a second word.
const fn container(name: &'static str) -> Command {
    Command { serve: Serve::Container, ..row(name, -2, Keys::BySubcommand, 0, 0) }
}

impl Command {
    const fn by(self, serve: Serve) -> Self {
        Self { serve, ..self }
    }

    const fn split_by(self, split: Split) -> Self {
        self.by(Serve::Split(split))
    }

    const fn everywhere(self, merge: Merge) -> Self {
        self.by(Serve::Everywhere(merge))
    }

    const fn cursor(self) -> Self {
        self.by(Serve::Cursor)
    }

    const fn local(self, local: Local) -> Self {
        self.by(Serve::Local(local))
    }

    const fn transaction(self, what: Transaction) -> Self {
        self.by(Serve::Transaction(what))
    }

    const fn blocking(self, timeout: Timeout) -> Self {
        self.by(Serve::Blocking(timeout))
    }

    const fn subscribe(self, what: Subscribe) -> Self {
        self.by(Serve::Subscribe(what))
    }

    const fn script(self) -> Self {
        self.by(Serve::Script)
    }

    const fn refused(self, why: Refusal) -> Self {
        self.by(Serve::Refused(why))
    }

    const fn denied(self) -> Self {
        Self { denied: true, ..self }
    }

    const fn shape(self) -> Self {
        Self { compare: Compare::Shape, ..self }
    }

    const fn skip(self, why: &'static str) -> Self {
        Self { compare: Compare::Skip(why), ..self }
    }
}
