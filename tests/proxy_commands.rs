//! What becomes of each command, and the page that says so.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write;

use ringcracker::proto::commands::{self, Command, Keys, Merge, Refusal, Serve, Split};
use support::client::Reply;
use support::proxy::Proxy;
use support::redis::{REDIS_8, Redis};

/// The page, as it is in the tree.
const PAGE: &str = include_str!("../docs/commands.md");

#[test]
fn what_is_not_served_is_refused_and_everything_else_is_not() {
    let server = Redis::start_program(REDIS_8);
    let proxy = Proxy::start(&[server.line()], &[]);
    for command in commands::all() {
        let mut words: Vec<_> = command.name.split('|').collect();
        // Valkey's own, and those of modules: the server does not know them.
        if command.name == "script|show" || command.name.contains('.') {
            continue;
        }
        words.resize((command.arity.unsigned_abs() as usize).max(words.len()), "1");
        // Some change what their connection may say.
        let reply = proxy.client().call(&words);
        let text = if let Reply::Error(text) = &reply { &text[..] } else { b"" };
        let text = String::from_utf8_lossy(text);
        let is_refused = text.starts_with("ERR unknown command ")
            || text.starts_with("ERR unknown subcommand ")
            || text.contains("' is not supported by this proxy: ")
            || text == "ERR This instance has cluster support disabled"
            || text.starts_with("NOPERM this proxy denies ");
        // The second word of a container is "1" here, if it has one.
        let expected = matches!(command.serve, Serve::Refused(_))
            || command.denied
            || command.serve == Serve::Container && words.len() > 1;
        assert_eq!(is_refused, expected, "{words:?}: {reply:?}");
    }
}

#[test]
fn the_page_of_commands_is_current() {
    let page = page();
    if page != PAGE {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/commands.md");
        std::fs::write(path, page).unwrap();
        panic!("the table says otherwise: cp target/commands.md docs/commands.md");
    }
}

#[test]
fn the_readmes_table_of_commands_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the table's begin");
    let (old, tail) = rest.split_once(END).expect("its end");
    let new = table();
    if std::env::var("README").as_deref() == Ok("write") {
        std::fs::write(path, format!("{head}{BEGIN}{new}{END}{tail}")).unwrap();
    } else {
        assert!(old == new, "README=write cargo test --test proxy_commands the_readmes_table");
    }
}

const BEGIN: &str = "<!-- commands: made by tests/proxy_commands.rs -->\n";
const END: &str = "<!-- end of commands -->";

/// What becomes of all commands, in a few lines: how many, and the names where they are few.
fn table() -> String {
    let mut table = String::from("| what becomes of it | how many | which |\n|---|---|---|\n");
    let mut line = |what: &str, is_in: &dyn Fn(&Command) -> bool, by_name: bool| {
        let all = commands::all().iter().filter(|row| row.serve != Serve::Container);
        let rows: Vec<_> = all.filter(|row| is_in(row)).collect();
        // Of commands that work, some of a family go elsewhere by their keys.
        let whole = |row: &Command| family(row).filter(|_| matches!(row.serve, Serve::Refused(_)));
        let mut names: Vec<_> =
            rows.iter().map(|row| whole(row).unwrap_or_else(|| shown(row))).collect();
        names.dedup();
        let which = if by_name { names.join(", ") } else { "those with keys".to_owned() };
        writeln!(table, "| {what} | {} | {which} |", rows.len()).unwrap();
    };
    let has_keys = |row: &Command| !matches!(row.keys, Keys::None | Keys::BySubcommand);
    let forwarded = |row: &Command| matches!(row.serve, Serve::Forward | Serve::Script);
    line("works: sent to the server of its keys", &|row| has_keys(row) && forwarded(row), false);
    line(
        "works: waits on a connection of its own",
        &|row| matches!(row.serve, Serve::Blocking(_)),
        true,
    );
    line("works: sent to any server", &|row| !has_keys(row) && forwarded(row), true);
    line(
        "works: transactions on one server",
        &|row| matches!(row.serve, Serve::Transaction(_)),
        true,
    );
    line("works: subscriptions", &|row| matches!(row.serve, Serve::Subscribe(_)), true);
    line("works: answered by the proxy", &|row| matches!(row.serve, Serve::Local(_)), true);
    line("composed from the replies of several servers", &|row| composed(row).is_some(), true);
    line("of all these, denied unless the pool allows it", &|row| row.denied, true);
    for why in [
        Refusal::Shared,
        Refusal::OneServer,
        Refusal::Replication,
        Refusal::Cluster,
        Refusal::Debugging,
    ] {
        let what = format!("refused: {}", why.reason());
        line(&what, &|row| row.serve == Serve::Refused(why), true);
    }
    table
}

const HEAD: &str = "\
# Commands

What the proxy makes of each command of Redis 7.0 to 8.0 and Valkey 8.1. This page is written by a
test from the command table (`src/proto/commands/`), and the test fails when it is not current.

A command whose keys are on several servers is answered with `-CROSSSLOT` unless it is among those
that are composed: a hash tag keeps keys together. What a server does not know, it refuses itself.
";

fn page() -> String {
    let mut page = String::from(HEAD);
    let served = |command: &&Command| command.serve != Serve::Container && !command.denied;
    let list = |page: &mut String, title: &str, is_in: &dyn Fn(&Command) -> bool| {
        let names: Vec<_> =
            commands::all().iter().filter(served).filter(|row| is_in(row)).map(shown).collect();
        assert!(!names.is_empty(), "{title}");
        write!(page, "\n## {title}\n\n{}\n", wrapped(&names)).unwrap();
    };
    list(&mut page, "Forwarded to the server of their keys", &|row| {
        let has_keys = !matches!(row.keys, Keys::None | Keys::BySubcommand);
        has_keys && matches!(row.serve, Serve::Forward | Serve::Script | Serve::Blocking(_))
    });
    page.push_str(
        "\nWhat waits there (`BLPOP`, `XREAD` with `BLOCK`) has a connection to itself.\n\
         Scripts may have no keys.\n",
    );
    list(&mut page, "Forwarded to any server", &|row| {
        matches!(row.keys, Keys::None | Keys::BySubcommand) && row.serve == Serve::Forward
    });
    list(&mut page, "Transactions, on the server of their first key", &|row| {
        matches!(row.serve, Serve::Transaction(_))
    });
    list(&mut page, "Subscriptions, on connections of the client's own", &|row| {
        matches!(row.serve, Serve::Subscribe(_))
    });
    list(&mut page, "Answered by the proxy", &|row| matches!(row.serve, Serve::Local(_)));

    page.push_str("\n## Composed from the replies of several servers\n\n");
    page.push_str("| command | the reply |\n|---|---|\n");
    for row in commands::all() {
        let Some(how) = composed(row) else { continue };
        writeln!(page, "| {} | {how} |", shown(row)).unwrap();
    }

    page.push_str("\n## Denied unless a pool allows them\n\n");
    page.push_str("The key `commands` of a pool says what its clients may say.\n\n");
    let denied: Vec<_> = commands::all().iter().filter(|row| row.denied).map(shown).collect();
    writeln!(page, "{}", wrapped(&denied)).unwrap();

    page.push_str(
        "\n## Refused, and why\n\n\
         A command of one word is answered with the reason, one of two words as an unknown\n\
         subcommand, and those of a cluster as by a server that is in none.\n\n",
    );
    page.push_str("| because | commands |\n|---|---|\n");
    for why in [
        Refusal::Shared,
        Refusal::OneServer,
        Refusal::Replication,
        Refusal::Cluster,
        Refusal::Debugging,
    ] {
        let rows = commands::all().iter().filter(|row| row.serve == Serve::Refused(why));
        let mut names: Vec<_> = rows.map(|row| family(row).unwrap_or_else(|| shown(row))).collect();
        names.dedup();
        let names = names.join(", ");
        writeln!(page, "| {} | {names} |", why.reason()).unwrap();
    }
    page
}

/// How several replies become one.
fn composed(command: &Command) -> Option<&'static str> {
    match command.serve {
        Serve::Split(Split::Sum) | Serve::Everywhere(Merge::Sum) => Some("the sum"),
        Serve::Split(Split::Collect) => Some("the values, in the order of the keys"),
        Serve::Split(Split::Ok) | Serve::Everywhere(Merge::Ok) => {
            Some("`OK` when all servers say so")
        }
        Serve::Everywhere(Merge::Same) => Some("the same of all servers"),
        Serve::Everywhere(Merge::Concat) => Some("all elements, server by server"),
        Serve::Everywhere(Merge::And) => Some("1 where all servers say 1"),
        Serve::Everywhere(Merge::SumPairs) => Some("the sum for each name"),
        Serve::Everywhere(Merge::Any) => Some("that of the first server without an error"),
        Serve::Everywhere(Merge::One) => Some("that of a server which has something to say"),
        Serve::Cursor => Some("one server after the other; the cursor says which"),
        Serve::Split(Split::No | Split::Values | Split::All | Split::Silence)
        | Serve::Forward
        | Serve::Local(_)
        | Serve::Transaction(_)
        | Serve::Blocking(_)
        | Serve::Subscribe(_)
        | Serve::Script
        | Serve::Container
        | Serve::Refused(_) => None,
    }
}

/// `CLUSTER …` for a command of two words if all that begin with the first are served alike.
fn family(command: &Command) -> Option<String> {
    let (first, _) = command.name.split_once('|')?;
    let mut rows =
        commands::all().iter().filter(|row| row.name != first && row.first_word() == first);
    let is_alike = rows.all(|row| row.serve == command.serve);
    is_alike.then(|| format!("`{} …`", first.to_ascii_uppercase()))
}

fn shown(command: &Command) -> String {
    format!("`{}`", command.name.to_ascii_uppercase().replace('|', " "))
}

/// Names with commas between them, in lines of at most 100 characters.
fn wrapped(names: &[String]) -> String {
    let mut text = String::new();
    let mut width = 0;
    for (index, name) in names.iter().enumerate() {
        let end = if index + 1 == names.len() { "" } else { "," };
        if width + name.len() + 2 > 100 {
            text.push('\n');
            width = 0;
        } else if index > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(name);
        text.push_str(end);
        width += name.len() + end.len();
    }
    text
}
