//! Which commands there are: the table's types, and how a name finds its row.

mod table;

use table::COMMANDS;

/// One command of Redis or memcached, as far as the proxy must know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// In lower case, at most `NAME_BYTES_MAX` bytes.
    pub name: &'static str,
    /// As Redis counts: arguments with the name; negative: at least as many. 0 for memcached's,
    /// whose parser counts the words of a line itself.
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

/// What becomes of a request whose keys live on several servers, or that all of them get.
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
    /// Each server gets its keys; the reply is what was found, in key order (memcached's get).
    Values,
    /// Every server of the pool gets all of it; the reply is `OK` (memcached's flush_all).
    All,
    /// One server gets it, or all, and the client hears nothing (memcached's noreply).
    Silence,
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
    /// HELLO.
    Hello,
    /// ECHO.
    Echo,
    /// RESET.
    Reset,
    /// SELECT.
    Select,
    /// CLIENT and its subcommands.
    Client,
    /// COMMAND and its subcommands.
    Command,
    /// CONFIG and its subcommands.
    Config,
    /// INFO.
    Info,
    /// TIME.
    Time,
    /// ROLE.
    Role,
    /// LOLWUT.
    Lolwut,
    /// ACL and its subcommands.
    Acl,
    /// SLOWLOG and its subcommands.
    Slowlog,
    /// LATENCY and its subcommands.
    Latency,
    /// An error that says why it is not for a proxy.
    Refused(&'static str),
    /// A fixed line.
    Line(&'static [u8]),
    /// stats, of memcached.
    Stats,
    /// quit, of memcached: without a word.
    Leave,
}

/// Bytes of the longest name that `lookup` looks at.
pub const NAME_BYTES_MAX: usize = 24;

impl Command {
    /// Whether the command takes this many arguments, its name included. MSET wants pairs, which
    /// Redis checks by itself and answers with the same words as a wrong arity.
    pub fn arity_fits(&self, arguments: u32) -> bool {
        let arity = u32::from(self.arity.unsigned_abs());
        let fits = if self.arity <= 0 { arguments >= arity } else { arguments == arity };
        fits && (self.split != Split::Ok || arguments % 2 == 1)
    }
}

/// The row of a command, by its name in any case.
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut place = first_place(name);
    loop {
        let command = COMMANDS.get(usize::from(PLACES[place]))?;
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        place = (place + 1) % PLACES.len();
    }
}

/// All rows.
pub fn all() -> &'static [Command] {
    COMMANDS
}

/// Places in the index, a power of two and more than twice the rows, so that a search is short
/// and always meets an empty place.
const PLACES_COUNT: usize = 512;

/// An empty place: no row has this number.
const EMPTY: u16 = u16::MAX;

/// The number of each row in `COMMANDS`, open-addressed by name.
static PLACES: [u16; PLACES_COUNT] = {
    assert!(COMMANDS.len() * 2 < PLACES_COUNT);
    let mut places = [EMPTY; PLACES_COUNT];
    let mut number = 0;
    while number < COMMANDS.len() {
        let name = COMMANDS[number].name.as_bytes();
        assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX);
        let mut place = first_place(name);
        while places[place] != EMPTY {
            place = (place + 1) % PLACES_COUNT;
        }
        places[place] = number as u16;
        number += 1;
    }
    places
};

/// Where the search for a name begins. It looks at four bytes and the length; `| 0x20` makes a
/// letter lower case. The factor is one of a few thousand that were tried, the one with the
/// fewest collisions in this table: 1.1 looks per name, 3 at most. Any odd one is correct.
const fn first_place(name: &[u8]) -> usize {
    let len = name.len();
    let mut mixed = (name[0] | 0x20) as u32;
    mixed |= ((name[len / 2] | 0x20) as u32) << 8;
    mixed |= ((name[len - 1] | 0x20) as u32) << 16;
    mixed |= ((name[len * 3 / 4] | 0x20).wrapping_add(len as u8) as u32) << 24;
    let shift = u32::BITS - PLACES_COUNT.ilog2();
    (mixed.wrapping_mul(0x58a4_7a1f) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_row_in_any_case() {
        for command in all() {
            let upper = command.name.to_ascii_uppercase();
            let mixed = format!("{}{}", &upper[..1], &command.name[1..]);
            for name in [command.name, &upper, &mixed] {
                assert_eq!(lookup(name.as_bytes()), Some(command));
            }
        }
    }

    #[test]
    fn names_are_unique_and_lower_case() {
        let mut names: Vec<_> = all().iter().map(|command| command.name).collect();
        assert!(names.iter().all(|name| name.to_ascii_lowercase() == **name));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn other_names_have_no_row() {
        let names: [&[u8]; 9] =
            [b"", b"g", b"gett", b"ge", b"G\x05T", b"subscribe", b"multi", b"\0\0\0", &[b'g'; 100]];
        for name in names {
            assert_eq!(lookup(name), None, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn a_search_is_short() {
        let looks = |name: &[u8]| {
            let mut place = first_place(name);
            let mut looks = 1;
            while COMMANDS[usize::from(PLACES[place])].name.as_bytes() != name {
                place = (place + 1) % PLACES_COUNT;
                looks += 1;
            }
            looks
        };
        let most = all().iter().map(|command| looks(command.name.as_bytes())).max();
        assert!(most.unwrap() <= 6, "{most:?} looks: choose another factor");
    }

    #[test]
    fn arity_counts_the_name_and_pairs_come_in_twos() {
        let fits = |name: &str, arguments| lookup(name.as_bytes()).unwrap().arity_fits(arguments);
        assert!(fits("get", 2) && !fits("get", 1) && !fits("get", 3));
        assert!(fits("set", 3) && fits("set", 7) && !fits("set", 2));
        assert!(fits("mset", 3) && fits("mset", 5) && !fits("mset", 4) && !fits("mset", 2));
        assert!(fits("ping", 1) && fits("command", 1) && fits("lolwut", 9));
    }
}
