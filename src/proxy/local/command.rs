//! COMMAND: what the command table says, which is what the proxy serves.

use std::sync::LazyLock;

use crate::limits::{COMMAND_NAMES_MAX, PATTERN_BYTES_MAX};
use crate::proto::commands::{self, Categories, Command, Docs, Keys, Serve, Subscribe};
use crate::proto::{Parsed, Protocol, Request, RequestParser, RespVersion};
use crate::proxy::glob;
use crate::proxy::local::Asked;
use crate::proxy::local::arguments::Arguments;
use crate::proxy::policy::Policy;
use crate::proxy::reply::Writer;

/// COMMAND [subcommand [argument ...]].
pub(super) fn answer(asked: Asked<'_, '_>, words: &Arguments) {
    if words.len() == 1 {
        return describe_all(asked);
    }
    match SUBCOMMANDS.iter().find(|row| row.0 == asked.name()) {
        Some((_, subcommand)) => subcommand(asked, words),
        None => asked.unknown_subcommand(words),
    }
}

type Subcommand = fn(Asked<'_, '_>, &Arguments);

/// The name in the table, and what answers it.
const SUBCOMMANDS: [(&str, Subcommand); 6] = [
    ("command|count", count),
    ("command|list", list),
    ("command|info", info),
    ("command|docs", docs),
    ("command|getkeys", keys),
    ("command|help", |asked, _| asked.help("COMMAND", &HELP)),
];

/// The commands that the proxy serves the clients of this pool.
fn served(policy: &Policy) -> impl Iterator<Item = &'static Command> {
    let is_served = |command: &&Command| !matches!(command.serve, Serve::Refused(_));
    commands::all().iter().filter(is_served).filter(|command| policy.serves(command))
}

/// Those of one word.
fn served_firsts(policy: &Policy) -> impl Iterator<Item = &'static Command> {
    served(policy).filter(|command| !command.name.contains('|'))
}

/// What the pool of who asks says of commands.
fn policy_of<'a>(asked: &'a Asked<'_, '_>) -> &'a Policy {
    &asked.pools.pools[asked.account.pool as usize].setup.policy
}

/// The row of `container|subcommand`, or of a command of one word.
fn find(name: &[u8]) -> Option<&'static Command> {
    match memchr::memchr(b'|', name) {
        Some(at) => commands::lookup_second(commands::lookup(&name[..at])?, &name[at + 1..]),
        None => commands::lookup(name),
    }
}

fn count(asked: Asked<'_, '_>, _: &Arguments) {
    let count = served_firsts(policy_of(&asked)).count();
    asked.write(|to| _ = to.integer(count as i64));
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern].
fn list(asked: Asked<'_, '_>, words: &Arguments) {
    let is_meant = |command: &&Command| match words.find(4) {
        None => true,
        Some(pattern) if words.is(3, "PATTERN") => {
            glob::matches_ignoring_case(pattern, command.name.as_bytes())
        }
        Some(name) if words.is(3, "ACLCAT") => {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            Categories::from_name(&name).is_some_and(|it| command.categories.overlap(it))
        }
        // There is no module here.
        Some(_) => false,
    };
    let filters = ["MODULE", "ACLCAT", "PATTERN"];
    let is_filtered = words.is(2, "FILTERBY") && filters.iter().any(|it| words.is(3, it));
    if words.len() != 2 && !(words.len() == 5 && is_filtered) {
        return asked.error("syntax error");
    }
    if words.find(4).is_some_and(|it| it.len() > PATTERN_BYTES_MAX) {
        return asked.error("the pattern is too long");
    }
    let served = served(policy_of(&asked));
    let names: Vec<&str> = served.filter(is_meant).map(|command| command.name).collect();
    asked.write(|to| {
        to.array(names.len());
        names.iter().for_each(|name| _ = to.bulk(name.as_bytes()));
    });
}

/// COMMAND INFO [name ...].
fn info(asked: Asked<'_, '_>, words: &Arguments) {
    if words.len() == 2 {
        return describe_all(asked);
    }
    if words.len() - 2 > COMMAND_NAMES_MAX {
        return asked.error(TOO_MANY);
    }
    let served = are_served(policy_of(&asked));
    asked.write(|to| {
        to.array(words.len() - 2);
        for name in words.from(2) {
            match find(name) {
                Some(command) => describe(command, &served, to),
                None => _ = to.null_array(),
            }
        }
    });
}

fn describe_all(asked: Asked<'_, '_>) {
    let firsts: Vec<_> = served_firsts(policy_of(&asked)).collect();
    let served = are_served(policy_of(&asked));
    asked.write(|to| {
        to.array(firsts.len());
        firsts.into_iter().for_each(|command| describe(command, &served, to));
    });
}

/// COMMAND DOCS [name ...]: group and version as servers tell them, and in place of their texts
/// what the proxy does.
fn docs(asked: Asked<'_, '_>, words: &Arguments) {
    if words.len() - 2 > COMMAND_NAMES_MAX {
        return asked.error(TOO_MANY);
    }
    let found: Vec<_> = match words.len() {
        2 => served_firsts(policy_of(&asked)).collect(),
        _ => words.from(2).filter_map(find).collect(),
    };
    asked.write(|to| {
        to.map(found.len());
        for command in found {
            to.bulk(command.name.as_bytes());
            let Docs { group, since } = Docs::of(command);
            to.map(2 + usize::from(since.is_some()));
            to.bulk(b"summary").bulk(summary(command).as_bytes());
            if let Some(since) = since {
                to.bulk(b"since").bulk(since.as_bytes());
            }
            to.bulk(b"group").bulk(group.as_bytes());
        }
    });
}

/// What the proxy does with a command.
fn summary(command: &Command) -> &'static str {
    match command.serve {
        Serve::Refused(why) => why.reason(),
        Serve::Local(_) => "Answered by the proxy.",
        Serve::Container => "The second word says what is meant.",
        Serve::Everywhere(_) => "Sent to every server; the replies become one.",
        Serve::Cursor => "Asks one server after the other.",
        Serve::Transaction(_) => "Sent whole, when it is complete.",
        Serve::Subscribe(_) => "Sent on connections of the client's own.",
        Serve::Forward | Serve::Split(_) | Serve::Blocking(_) | Serve::Script
            if command.keys == Keys::None =>
        {
            "Forwarded to a server."
        }
        Serve::Forward | Serve::Split(_) | Serve::Blocking(_) | Serve::Script => {
            "Forwarded to the server of its keys."
        }
    }
}

/// COMMAND GETKEYS: the rest of the request, read as a request. GETKEYSANDFLAGS is a server's to
/// answer: what becomes of a key there is nothing that the table has to know.
fn keys(asked: Asked<'_, '_>, words: &Arguments) {
    let mut request = Vec::new();
    let mut to = Writer::new(asked.account.version, &mut request);
    to.array(words.len() - 2);
    words.from(2).for_each(|word| _ = to.bulk(word));
    let mut parser = RequestParser::new(Protocol::Resp);
    let end = request.len();
    if parser.parse(&request) != (Parsed::Request { end }) {
        return asked.error("Invalid arguments specified for command");
    }
    let found: &Request = parser.request();
    match found.command {
        None => return asked.error("Invalid command specified"),
        Some(command) if command.keys == Keys::None => {
            return asked.error("The command has no key arguments");
        }
        Some(command) if !command.arity_fits(found.arguments) => {
            return asked.error("Invalid number of arguments specified for command");
        }
        Some(_) => {}
    }
    let keys: Vec<u32> = found.keys.indexes().collect();
    asked.write(|to| {
        to.array(keys.len());
        for key in keys {
            to.bulk(&request[found.argument_range(key)]);
        }
    });
}

/// A command as COMMAND INFO has it in redis 7.0: what `head` writes, and subcommands, of these
/// the `served`, by number.
fn describe(command: &Command, served: &[bool], to: &mut Writer<'_>) {
    let row = &ROWS[usize::from(command.number)];
    let is_served = |second: &&&Command| served[usize::from(second.number)];
    let seconds: Vec<_> = row.seconds.iter().filter(is_served).collect();
    to.either(&row.two, &row.three).array(seconds.len());
    for second in seconds {
        let row = &ROWS[usize::from(second.number)];
        to.either(&row.two, &row.three).array(0);
    }
}

/// What is told of a command, written once: who asks for all of them asks often.
struct Row {
    /// What `head` writes, in RESP2.
    two: Vec<u8>,
    /// The same in RESP3.
    three: Vec<u8>,
    /// Its subcommands.
    seconds: Vec<&'static Command>,
}

/// By the command's number.
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| commands::all().iter().map(Row::new).collect());

impl Row {
    fn new(command: &Command) -> Self {
        let [two, three] = [RespVersion::Two, RespVersion::Three].map(|version| {
            let mut bytes = Vec::new();
            head(command, &mut Writer::new(version, &mut bytes));
            bytes
        });
        let seconds = commands::all().iter().filter(|row| is_of(row, command)).collect();
        Self { two, three, seconds }
    }
}

/// Which commands are served, by number.
fn are_served(policy: &Policy) -> Vec<bool> {
    let is_served = |row: &Command| !matches!(row.serve, Serve::Refused(_)) && policy.serves(row);
    commands::all().iter().map(is_served).collect()
}

/// Name, arity, flags, first key, last key, step, categories, tips, where its keys are.
fn head(command: &Command, to: &mut Writer<'_>) {
    let (first, last, step) = match command.keys {
        Keys::Counted { also: Some(also), .. } => (also.into(), also.into(), 1),
        Keys::Range { first, last, step } => (first.into(), last.into(), step.into()),
        Keys::Sort | Keys::Radius => (1, 1, 1),
        // A channel is a key to a cluster where it belongs to a shard.
        Keys::Channels { last } if is_of_shards(command.serve, command.name) => (1, last.into(), 1),
        Keys::Migrate => (3, 3, 1),
        Keys::None
        | Keys::Counted { also: None, .. }
        | Keys::Streams
        | Keys::Channels { .. }
        | Keys::BySubcommand => (0, 0, 0),
    };
    to.array(10).bulk(command.name.as_bytes()).integer(command.arity.into());
    let flags: Vec<_> = command.flags.names().collect();
    to.set(flags.len());
    flags.iter().for_each(|flag| _ = to.status(flag));
    to.integer(first).integer(last).integer(step);
    let categories: Vec<_> = command.categories.names().collect();
    to.set(categories.len());
    categories.iter().for_each(|category| _ = to.status(&format!("@{category}")));
    to.array(0).array(0);
}

fn is_of_shards(serve: Serve, name: &str) -> bool {
    matches!(serve, Serve::Subscribe(Subscribe::Ssubscribe | Subscribe::Sunsubscribe))
        || name == "spublish"
}

/// Whether a command is one of another's subcommands.
fn is_of(command: &Command, container: &Command) -> bool {
    command.name.strip_prefix(container.name).is_some_and(|rest| rest.starts_with('|'))
}

const TOO_MANY: &str = "the names are more than there are commands";

const HELP: [&str; 12] = [
    "(no subcommand)",
    "    All commands that the pool's clients may say.",
    "COUNT",
    "    How many.",
    "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    Their names.",
    "INFO [<name> ...]",
    "    Arity and keys of some, or all.",
    "DOCS [<name> ...]",
    "    What becomes of some, or all.",
    "GETKEYS <command> [<argument> ...]",
    "GETKEYSANDFLAGS <command> [<argument> ...]",
];
