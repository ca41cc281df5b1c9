//! What `COMMAND DOCS` tells of commands beside what the proxy does with them.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Command;

/// What servers tell of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Docs {
    /// What it is about: `string`, `server`.
    pub group: &'static str,
    /// The version that brought it, if that is told.
    pub since: Option<&'static str>,
}

impl Docs {
    /// Those of a command. What no server was asked about is of a module.
    pub fn of(command: &Command) -> Self {
        RECORDED.get(command.name).copied().unwrap_or(Self { group: "module", since: None })
    }
}

/// Written by `tests/data/record-docs.py`: a name, its group, and its version or `-`.
const TEXT: &str = include_str!("docs.txt");

static RECORDED: LazyLock<HashMap<&str, Docs>> = LazyLock::new(|| {
    let row = |line: &'static str| {
        let (name, rest) = line.split_once(' ')?;
        let (group, since) = rest.split_once(' ')?;
        Some((name, Docs { group, since: (since != "-").then_some(since) }))
    };
    TEXT.lines().filter_map(row).collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::commands;

    #[test]
    fn all_but_the_commands_of_modules_are_recorded() {
        assert_eq!(RECORDED.len(), TEXT.lines().count(), "every line is read");
        for row in commands::all().iter().filter(|row| !row.name.contains('.')) {
            assert!(RECORDED.contains_key(row.name), "{}", row.name);
        }
        let get = commands::lookup(b"get").expect("a row");
        assert_eq!(Docs::of(get), Docs { group: "string", since: Some("1.0.0") });
    }
}
