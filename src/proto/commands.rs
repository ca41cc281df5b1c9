//! Which commands there are: the table's types, and how a name finds its row.

use crate::proto::table::COMMANDS;

/// One command of Redis, as far as the proxy must know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// In lower case, at most `NAME_BYTES_MAX` bytes.
    pub name: &'static str,
    /// As Redis counts: arguments with the name; negative: at least as many.
    pub arity: i16,
    /// Where its keys are.
    pub keys: Keys,
    /// What becomes of it when its keys live on several servers.
    pub split: Split,
    /// Who answers it.
    pub answer: Answer,
}

/// Where a command has its keys, as argument indexes; the name is argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none: any server can answer.
    None,
    /// Every `step`th argument from `first` to `last`.
    Range {
        /// The first key.
        first: u8,
        /// The last key; negative counts from the end, -1 is the last argument.
        last: i8,
        /// From one key to the next.
        step: u8,
    },
    /// As many as an argument says.
    Counted {
        /// The argument that is the number.
        at: u8,
        /// The first key.
        first: u8,
        /// A key that stands apart: the destination of ZUNIONSTORE.
        also: Option<u8>,
    },
}

/// What becomes of a request whose keys live on several servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// It cannot be split.
    No,
    /// Each server gets its keys; the reply is an array of the values in key order (MGET).
    Collect,
    /// Each server gets its keys; the reply is the sum (DEL, UNLINK, TOUCH, EXISTS).
    Sum,
    /// Each server gets its pairs; the reply is `+OK` (MSET).
    Ok,
}

/// Who answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A server.
    Server,
    /// The proxy itself.
    Proxy(Local),
}

/// What the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// PING.
    Ping,
    /// QUIT.
    Quit,
    /// AUTH.
    Auth,
}

/// Bytes of the longest name that `lookup` looks at.
pub const NAME_BYTES_MAX: usize = 24;

impl Command {
    /// Whether the command takes this many arguments, its name included. MSET wants pairs, which
    /// Redis checks by itself and answers with the same words as a wrong arity.
    pub fn arity_fits(&self, arguments: u32) -> bool {
        let arity = u32::from(self.arity.unsigned_abs());
        let fits = if self.arity < 0 { arguments >= arity } else { arguments == arity };
        fits && (self.split != Split::Ok || arguments % 2 == 1)
    }
}

/// The row of a command, by its name in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

/// All rows.
pub fn all() -> &'static [Command] {
    COMMANDS
}
