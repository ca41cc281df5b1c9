//! Which commands the clients of a pool may say, and by which name.

use super::fault::quoted;
use super::value::nearest;
use crate::proto::commands::{self, Categories, Command, Keys, Serve};

/// The commands of a pool's clients. The default denies what the command table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandRules {
    /// What is served although the table, or a wider entry of `deny`, says otherwise.
    pub allow: Vec<Which>,
    /// What is refused.
    pub deny: Vec<Which>,
    /// The new name of a command; `None`: it has none any more. Of one of two words, the first is
    /// there. No new name is that of another command.
    pub rename: Vec<(&'static Command, Option<String>)>,
    /// What becomes of a command that nobody knows here: of a module, of a newer server.
    pub modules: Modules,
}

/// Commands that an entry of a list means. An entry of a narrower kind wins over one of a wider
/// kind; of two of the same kind, the one that denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `@all`: every command.
    All,
    /// `@write`: every command of a category of Redis.
    Category(Categories),
    /// `script`: every command with this first word.
    Family(&'static Command),
    /// `get`, `script|flush`: this command alone.
    One(&'static Command),
}

/// What becomes of a command that is not in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Modules {
    /// It is refused, as an unknown command.
    #[default]
    Refused,
    /// It goes to the server of its first argument.
    FirstKey,
}

impl Which {
    /// Reads `@all`, `@write`, `get`, `script`, `script|flush` or `script flush`, in any case.
    ///
    /// Errors: the text of a fault.
    pub fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some("all") => Ok(Self::All),
            Some(name) => Categories::from_name(name).map(Self::Category).ok_or_else(|| {
                let known: Vec<String> =
                    Categories::every().names().map(|name| format!("@{name}")).collect();
                format!("{} is no category; there are @all, {}", quoted(text), known.join(", "))
            }),
            None => named(text).map(|command| match command.keys {
                Keys::BySubcommand => Self::Family(command),
                Keys::None
                | Keys::Range { .. }
                | Keys::Counted { .. }
                | Keys::Streams
                | Keys::Sort
                | Keys::Radius
                | Keys::Migrate
                | Keys::Channels { .. } => Self::One(command),
            }),
        }
    }

    /// Whether it means this command.
    pub fn holds(self, command: &Command) -> bool {
        match self {
            Self::All => true,
            Self::Category(category) => command.categories.overlap(category),
            Self::Family(first) => command.first_word() == first.name,
            Self::One(one) => command.number == one.number,
        }
    }

    /// How narrow its kind is.
    pub fn rank(self) -> u32 {
        match self {
            Self::All => 0,
            Self::Category(_) => 1,
            Self::Family(_) => 2,
            Self::One(_) => 3,
        }
    }

    /// Why it cannot be allowed, if so: it is a command that is never served.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::One(Command { serve: Serve::Refused(why), .. }) => Some(why.reason()),
            Self::All | Self::Category(_) | Self::Family(_) | Self::One(_) => None,
        }
    }
}

/// The command of a name.
///
/// Errors: the text of a fault.
pub fn named(text: &str) -> Result<&'static Command, String> {
    let name = text.to_ascii_lowercase().replacen(' ', "|", 1);
    let found = match name.split_once('|') {
        None => commands::lookup(name.as_bytes()),
        Some((first, second)) => commands::lookup(first.as_bytes())
            .and_then(|first| commands::lookup_second(first, second.as_bytes())),
    };
    found.ok_or_else(|| {
        let all = commands::all().iter().map(|command| command.name);
        match nearest(&name, all) {
            Some(near) => format!("{} is no command (would {near} be right?)", quoted(text)),
            None => format!("{} is no command", quoted(text)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let which = Which::read(text).unwrap();
        commands::all().iter().filter(|row| which.holds(row)).map(|row| row.name).collect()
    }

    #[test]
    fn an_entry_means_a_command_or_all_that_begin_with_a_word_or_are_of_a_kind() {
        assert_eq!(names("GET"), ["get"]);
        for text in ["script|flush", "SCRIPT FLUSH", "script flush"] {
            assert_eq!(names(text), ["script|flush"]);
        }
        let family = names("script");
        assert!(family.contains(&"script") && family.contains(&"script|load"));
        assert!(family.iter().all(|name| name.split('|').next() == Some("script")));
        assert!(names("@dangerous").contains(&"keys") && !names("@dangerous").contains(&"get"));
        assert_eq!(names("@all").len(), commands::all().len());
    }

    #[test]
    fn what_is_no_command_is_told_with_a_near_one() {
        for (text, part) in [
            ("flushal", "(would flushall be right?)"),
            ("script|flsh", "(would script|flush be right?)"),
            ("get|set", "\"get|set\" is no command"),
            ("@wrte", "there are @all, @keyspace, @read, @write,"),
            ("xyzzyplugh", "\"xyzzyplugh\" is no command"),
        ] {
            let fault = Which::read(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }
}
