//! Which commands there are: the table's types, and how a name finds its row.

mod docs;
mod flags;
mod names;
mod serve;
mod table;

use table::COMMANDS;

pub use docs::Docs;
pub use flags::{Categories, Flags};
pub use names::Names;
pub use serve::{Local, Merge, Refusal, Serve, Split, Subscribe, Timeout, Transaction};

/// One command of Redis or memcached, as far as the proxy must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// In lower case, each word at most `NAME_BYTES_MAX` bytes. One of two words has a bar between
    /// them, as Redis writes it: `xinfo|stream`.
    pub name: &'static str,
    /// As Redis counts: arguments with the name; negative: at least as many. 0 for memcached's,
    /// whose parser counts the words of a line itself.
    pub arity: i16,
    /// Where its keys are.
    pub keys: Keys,
    /// What Redis says of it.
    pub flags: Flags,
    /// The ACL categories it belongs to.
    pub categories: Categories,
    /// How it is served.
    pub serve: Serve,
    /// Whether a pool refuses it that does not allow it by name: it ends what belongs to all, or
    /// costs all of them much. Nothing that twemproxy forwards, and nothing answered here.
    pub denied: bool,
    /// How far its reply through the proxy equals that of a server.
    pub compare: Compare,
    /// Its place in `all()`; `UNLISTED` for one that is not there.
    pub number: u16,
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
    /// The first half of what stands behind the word STREAMS (XREAD).
    Streams,
    /// The argument behind the name, and the one behind the last STORE. BY and GET name further
    /// ones by a pattern (SORT).
    Sort,
    /// The argument behind the name, and the one behind the last STORE or STOREDIST (GEORADIUS).
    Radius,
    /// The third argument, or, when that is empty, all that stand behind the word KEYS (MIGRATE).
    Migrate,
    /// Every argument from the first to `last`: no keys, but they are routed like some (PUBLISH).
    Channels {
        /// As in `Range`.
        last: i8,
    },
    /// Where the row has them that the second word leads to.
    BySubcommand,
}

/// How far the reply to a command through the proxy equals that of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Byte by byte.
    Exact,
    /// In the types of its elements only: a time, a random member, an id that was made up.
    Shape,
    /// Not at all, for this reason.
    Skip(&'static str),
}

/// The number of a command that is not in the table of Redis's.
pub const UNLISTED: u16 = u16::MAX;

/// Bytes of the longest word of a name that `lookup` looks at.
pub const NAME_BYTES_MAX: usize = 24;

impl Command {
    /// Whether the command takes this many arguments, its name included. MSET wants pairs, which
    /// Redis checks by itself and answers with the same words as a wrong arity.
    pub fn arity_fits(&self, arguments: u32) -> bool {
        let arity = u32::from(self.arity.unsigned_abs());
        let fits = if self.arity <= 0 { arguments >= arity } else { arguments == arity };
        fits && (self.serve != Serve::Split(Split::Ok) || arguments % 2 == 1)
    }

    /// What becomes of a request of it whose keys live on several servers.
    pub fn split(&self) -> Split {
        match self.serve {
            Serve::Split(split) => split,
            Serve::Forward
            | Serve::Everywhere(_)
            | Serve::Cursor
            | Serve::Local(_)
            | Serve::Transaction(_)
            | Serve::Blocking(_)
            | Serve::Subscribe(_)
            | Serve::Script
            | Serve::Container
            | Serve::Refused(_) => Split::No,
        }
    }

    /// The first word of its name.
    pub fn first_word(&self) -> &'static str {
        self.name.split('|').next().unwrap_or(self.name)
    }
}

/// The row of a command, by its name in any case; of one of two words, by the first.
#[inline]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    NAMES.find(first_place(name, b"", NAMES.bits())?, |row| {
        row.as_bytes().eq_ignore_ascii_case(name)
    })
}

/// The row of a command of two words, by the row of the first and the second in any case.
pub fn lookup_second(first: &Command, second: &[u8]) -> Option<&'static Command> {
    PAIRS.find(first_place(second, first.name.as_bytes(), PAIRS.bits())?, |row| {
        row.split_once('|').is_some_and(|(container, word)| {
            container == first.name && word.as_bytes().eq_ignore_ascii_case(second)
        })
    })
}

/// All rows.
pub fn all() -> &'static [Command] {
    &COMMANDS
}

/// The number of each row in `COMMANDS`, open-addressed by a word of its name. The places are a
/// power of two and more than twice the rows, so that a search is short and always meets an empty
/// one.
struct Index<const PLACES: usize>([u16; PLACES]);

/// By the only word of a name.
static NAMES: Index<1024> = Index::of(false);
/// By the second word of a name.
static PAIRS: Index<512> = Index::of(true);

/// An empty place: no row has this number.
const EMPTY: u16 = u16::MAX;

impl<const PLACES: usize> Index<PLACES> {
    /// Of the rows whose name has two words, or of the others.
    const fn of(pairs: bool) -> Self {
        let mut places = [EMPTY; PLACES];
        let (mut number, mut count) = (0, 0);
        while number < COMMANDS.len() {
            let (first, last) = words(COMMANDS[number].name.as_bytes());
            if first.is_empty() != pairs {
                let Some(mut place) = first_place(last, first, PLACES.ilog2()) else {
                    panic!("a name is empty or too long")
                };
                while places[place] != EMPTY {
                    place = (place + 1) % PLACES;
                }
                places[place] = number as u16;
                count += 1;
            }
            number += 1;
        }
        assert!(count * 2 < PLACES);
        Self(places)
    }

    const fn bits(&self) -> u32 {
        PLACES.ilog2()
    }

    /// The first row from `place` on whose name is the right one.
    #[inline]
    fn find(
        &self,
        mut place: usize,
        mut is_it: impl FnMut(&str) -> bool,
    ) -> Option<&'static Command> {
        loop {
            let command = COMMANDS.get(usize::from(self.0[place]))?;
            if is_it(command.name) {
                return Some(command);
            }
            place = (place + 1) % PLACES;
        }
    }
}

/// What stands before the bar of a name, empty without one, and the last word.
const fn words(name: &[u8]) -> (&[u8], &[u8]) {
    let mut at = name.len();
    while at > 0 {
        at -= 1;
        if name[at] == b'|' {
            return (name.split_at(at).0, name.split_at(at + 1).1);
        }
    }
    (b"", name)
}

/// Where the search for a word begins, in as many bits; `None` for one that is no command's, being
/// empty or too long. It looks at four bytes and the length, and at two bytes of the word before;
/// `| 0x20` makes a letter lower case. The factor is one of some ten thousand that were tried, the
/// one with the fewest collisions in this table: 1.2 looks per name, 3 at most. Any odd one is
/// correct.
#[inline]
const fn first_place(word: &[u8], before: &[u8], bits: u32) -> Option<usize> {
    let len = word.len();
    if len == 0 || len > NAME_BYTES_MAX {
        return None;
    }
    let mut mixed = (word[0] | 0x20) as u32;
    mixed |= ((word[len / 2] | 0x20) as u32) << 8;
    mixed |= ((word[len - 1] | 0x20) as u32) << 16;
    mixed |= ((word[len * 3 / 4] | 0x20).wrapping_add(len as u8) as u32) << 24;
    if let [first, .., last] = before {
        mixed ^= (*first as u32) << 8 ^ (*last as u32) << 20;
    }
    Some((mixed.wrapping_mul(0x1e0b_48ab) >> (u32::BITS - bits)) as usize)
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
                let found = match name.split_once('|') {
                    None => lookup(name.as_bytes()),
                    Some((first, second)) => {
                        assert_eq!(lookup(name.as_bytes()), None);
                        lookup_second(lookup(first.as_bytes()).unwrap(), second.as_bytes())
                    }
                };
                assert_eq!(found, Some(command));
            }
        }
    }

    #[test]
    fn every_row_knows_its_place() {
        for (place, command) in all().iter().enumerate() {
            assert_eq!(usize::from(command.number), place, "{}", command.name);
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
            [b"", b"g", b"gett", b"ge", b"G\x05T", b"nosuch", b"stream", b"\0\0\0", &[b'g'; 100]];
        for name in names {
            assert_eq!(lookup(name), None, "{}", name.escape_ascii());
        }
        let xinfo = lookup(b"xinfo").unwrap();
        for second in [b"".as_slice(), b"xinfo", b"create", b"xinfo|stream", &[b's'; 100]] {
            assert_eq!(lookup_second(xinfo, second), None, "{}", second.escape_ascii());
        }
    }

    #[test]
    fn a_second_word_has_a_first() {
        for command in all() {
            let first = lookup(command.first_word().as_bytes()).unwrap();
            let has_bar = command.name != first.name;
            assert!(!has_bar || first.keys == Keys::BySubcommand, "{}", command.name);
            assert!(!has_bar || command.keys != Keys::BySubcommand, "{}", command.name);
        }
    }

    #[test]
    fn a_search_is_short() {
        fn looks<const PLACES: usize>(index: &Index<PLACES>, command: &Command) -> usize {
            let (first, last) = words(command.name.as_bytes());
            let mut looks = 0;
            let place = first_place(last, first, index.bits()).unwrap();
            let found = index.find(place, |name| {
                looks += 1;
                name == command.name
            });
            assert_eq!(found, Some(command));
            looks
        }
        let (pairs, names): (Vec<_>, Vec<_>) = all().iter().partition(|row| row.name.contains('|'));
        let most = names.iter().map(|row| looks(&NAMES, row)).max().unwrap();
        let most_pairs = pairs.iter().map(|row| looks(&PAIRS, row)).max().unwrap();
        assert!(most.max(most_pairs) <= 6, "{most} and {most_pairs} looks: choose another factor");
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
