//! Names of commands beside those of the table: what a pool calls them, and what modules bring.

use crate::proto::commands::{Categories, Command, Compare, Flags, Keys, Serve, UNLISTED};

/// What a parser asks for a name that the table has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    renamed: Vec<(String, &'static Command)>,
    takes_any: bool,
}

impl Names {
    /// Other names for commands, in any case, at most `NAME_BYTES_MAX` bytes each; and whether any
    /// further name is a command as well, of a module, whose key stands behind it.
    pub fn new(renamed: Vec<(String, &'static Command)>, takes_any: bool) -> Self {
        Self { renamed, takes_any }
    }

    /// The command of a name that is not in the table.
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        let same = |(known, _): &&(String, _)| known.as_bytes().eq_ignore_ascii_case(name);
        match self.renamed.iter().find(same) {
            Some(&(_, command)) => Some(command),
            None => self.takes_any.then_some(&ANY),
        }
    }
}

/// A command that only its module knows.
static ANY: Command = Command {
    name: "(module)",
    arity: -1,
    keys: Keys::Range { first: 1, last: 1, step: 1 },
    flags: Flags::NONE,
    categories: Categories::NONE,
    serve: Serve::Forward,
    denied: false,
    compare: Compare::Exact,
    number: UNLISTED,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::commands::lookup;

    #[test]
    fn a_name_is_found_in_any_case_and_others_only_where_all_are_taken() {
        let flushall = lookup(b"flushall").unwrap();
        let names = Names::new(vec![("wipe".to_owned(), flushall)], false);
        assert_eq!(names.find(b"WiPe"), Some(flushall));
        assert_eq!(names.find(b"wip"), None);
        let names = Names::new(vec![("wipe".to_owned(), flushall)], true);
        assert_eq!(names.find(b"wipe"), Some(flushall));
        assert_eq!(names.find(b"FT.SEARCH").map(|row| row.number), Some(UNLISTED));
    }
}
