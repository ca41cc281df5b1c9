//! The command table of memcached: one line per command.

use crate::proto::Replies;
use crate::proto::commands::{
    Categories, Command, Compare, Flags, Keys, Local, Serve, Split, UNLISTED,
};

/// One command, and how its line is read.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) command: Command,
    /// Words of its line, the name included, `noreply` too: memcached says `ERROR` to fewer.
    pub(super) words_min: u32,
    /// And to more.
    pub(super) words_max: u32,
    /// Whether a last word `noreply` means what it says. Those of a multi-get are keys.
    pub(super) may_be_silent: bool,
    /// Where the numbers of a storage command are; `None`: no value follows the line.
    pub(super) value: Option<Value>,
    /// Whether the word behind the name is to be a number.
    pub(super) has_number: bool,
    /// What a server answers.
    pub(super) replies: Replies,
}

/// The head of a value: `<key> <flags> <exptime> <bytes>`, and of `cas` one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Plain,
    WithUnique,
}

/// The row of a command. memcached's names are in lower case only.
pub(super) fn lookup(name: &[u8]) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.command.name.as_bytes() == name)
}

/// What the proxy says in place of a command that it refuses.
pub(super) static ERROR: Command = says(b"ERROR\r\n");
pub(super) static BAD_FORMAT: Command = says(b"CLIENT_ERROR bad command line format\r\n");
pub(super) static BAD_CHUNK: Command = says(b"CLIENT_ERROR bad data chunk\r\n");
pub(super) static TOO_LARGE: Command = says(b"SERVER_ERROR object too large for cache\r\n");

/// As many words as fit in a line.
const ANY: u32 = u32::MAX;

/// The key behind the name.
const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };

#[rustfmt::skip]
static ROWS: &[Row] = &[
    // Most used first: they are looked for one after the other.
    values("get", 1, Replies::Values),
    storage("set", 5, Value::Plain),
    values("gets", 1, Replies::Uniques),
    silent("delete", 2, 4, Replies::Deleted),
    silent("incr", 3, 4, Replies::Number),
    silent("decr", 3, 4, Replies::Number),
    storage("add", 5, Value::Plain),
    storage("cas", 6, Value::WithUnique),
    silent("touch", 3, 4, Replies::Touched),
    values("gat", 2, Replies::Values),
    values("gats", 2, Replies::Uniques),
    storage("append", 5, Value::Plain),
    storage("prepend", 5, Value::Plain),
    storage("replace", 5, Value::Plain),

    // Without a key: any server will do, or all must.
    row("version", 1, ANY, Keys::None, Split::No, Replies::Version),
    Row { may_be_silent: true, ..row("flush_all", 1, 3, Keys::None, Split::All, Replies::Done) },

    // Answered here. A client does not decide how much the servers of all write to their logs.
    Row {
        may_be_silent: true,
        words_max: 3,
        has_number: true,
        ..local("verbosity", 2, Local::Line(b"OK\r\n"))
    },
    local("mn", 1, Local::Line(b"MN\r\n")),
    local("stats", 1, Local::Stats),
    local("quit", 1, Local::Leave),
];

const fn command(name: &'static str, keys: Keys, serve: Serve) -> Command {
    let (flags, categories) = (Flags::NONE, Categories::NONE);
    let compare = Compare::Exact;
    let number = UNLISTED;
    Command { name, arity: 0, keys, flags, categories, serve, denied: false, compare, number }
}

const fn says(words: &'static [u8]) -> Command {
    command("", Keys::None, Serve::Local(Local::Line(words)))
}

const fn row(
    name: &'static str,
    min: u32,
    max: u32,
    keys: Keys,
    split: Split,
    replies: Replies,
) -> Row {
    let is_whole = matches!(split, Split::No);
    let serve = if is_whole { Serve::Forward } else { Serve::Split(split) };
    Row {
        command: command(name, keys, serve),
        words_min: min,
        words_max: max,
        may_be_silent: false,
        value: None,
        has_number: false,
        replies,
    }
}

const fn values(name: &'static str, first: u8, replies: Replies) -> Row {
    let keys = Keys::Range { first, last: -1, step: 1 };
    row(name, 2, ANY, keys, Split::Values, replies)
}

const fn silent(name: &'static str, min: u32, max: u32, replies: Replies) -> Row {
    Row { may_be_silent: true, ..row(name, min, max, ONE, Split::No, replies) }
}

const fn storage(name: &'static str, min: u32, value: Value) -> Row {
    Row { value: Some(value), ..silent(name, min, min + 1, Replies::Stored) }
}

const fn local(name: &'static str, min: u32, what: Local) -> Row {
    let command = command(name, Keys::None, Serve::Local(what));
    Row { command, ..row(name, min, ANY, Keys::None, Split::No, Replies::Any) }
}
