//! The command table against real servers: Redis 7.0, Redis 8 and Valkey 8.

#![allow(clippy::unwrap_used)]

mod naive;
mod support;

use std::collections::BTreeSet;

use naive::Random;
use ringcracker::proto::Parsed;
use ringcracker::proto::commands::{self, Command, Keys, Serve};
use ringcracker::proto::resp::RequestParser;
use support::client::{Client, Reply, command};
use support::redis::{REDIS_7, REDIS_8, Redis, VALKEY_8};

const PROGRAMS: [&str; 3] = [REDIS_7, REDIS_8, VALKEY_8];

/// Commands of a server that have no row, and why.
const WITHOUT_A_ROW: [(&str, &str); 0] = [];

/// The arguments that `COMMAND` begins a row with are enough here.
fn names(client: &mut Client) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect_names(client.call(&["COMMAND"]), &mut names);
    names
}

fn collect_names(rows: Reply, names: &mut BTreeSet<String>) {
    let Reply::Array(rows) = rows else { panic!("no array: {rows:?}") };
    for row in rows {
        let Reply::Array(mut columns) = row else { panic!("no row: {row:?}") };
        let Reply::Bulk(name) = &columns[0] else { panic!("no name: {columns:?}") };
        names.insert(String::from_utf8(name.clone()).unwrap().to_ascii_lowercase());
        collect_names(columns.pop().unwrap(), names);
    }
}

#[test]
fn every_command_of_a_server_has_a_row() {
    for program in PROGRAMS {
        let server = Redis::start_program(program);
        for name in names(&mut server.client()) {
            let has_row = commands::all().iter().any(|command| command.name == name);
            let is_listed = WITHOUT_A_ROW.iter().any(|(listed, _)| *listed == name);
            assert!(has_row != is_listed, "{program}: {name}");
        }
    }
}

/// What the proxy takes for the keys of a request.
fn keys(arguments: &[String]) -> Vec<String> {
    let bytes = command(arguments);
    let mut parser = RequestParser::new();
    assert_eq!(parser.parse(&bytes), Parsed::Request { end: bytes.len() });
    parser.request().keys.indexes().map(|index| arguments[index as usize].clone()).collect()
}

/// Rows whose keys a server can be asked for.
fn rows_with_keys() -> impl Iterator<Item = &'static Command> {
    commands::all().iter().filter(|command| match command.keys {
        Keys::None | Keys::BySubcommand | Keys::Channels { .. } => false,
        Keys::Range { .. }
        | Keys::Counted { .. }
        | Keys::Streams
        | Keys::Sort
        | Keys::Radius
        | Keys::Migrate => true,
    })
}

/// A request of a command that a server finds the keys of, with different ones each time.
fn valid(command: &Command, random: &mut Random) -> Vec<String> {
    let mut words: Vec<String> = command.name.split('|').map(str::to_owned).collect();
    let least = command.arity.unsigned_abs() as usize;
    // ZRANK of Redis 7.0 takes no option.
    let is_open = command.arity < 0 && !["zrank", "zrevrank"].contains(&command.name);
    let more = if is_open { random.below(6) } else { 0 };
    match command.keys {
        Keys::Counted { at, .. } => {
            fill(&mut words, at as usize, random);
            let count = 1 + random.below(40);
            words.push(count.to_string());
            let len = words.len() + count + more;
            fill(&mut words, len.max(least), random);
        }
        Keys::Streams => {
            if command.name == "xreadgroup" {
                words.extend(["Group", "a", "b"].map(str::to_owned));
            }
            let options = ["BLOCK 1", "count 2", "NOACK"];
            for _ in 0..random.below(3) {
                let option = options[random.below(3)].split(' ');
                words.extend(option.map(str::to_owned));
            }
            words.push("Streams".to_owned());
            let len = words.len() + 2 * (1 + random.below(30));
            fill(&mut words, len, random);
        }
        Keys::Sort => {
            words.push(word(random));
            let options = ["BY w", "get #", "LIMIT store 1", "asc", "ALPHA", "GET x", "Store"];
            // SORT_RO has no STORE.
            let known = if command.name == "sort" { 7 } else { 6 };
            for _ in 0..random.below(20) {
                let option = options[random.below(known)].split(' ');
                words.extend(option.map(str::to_owned));
                if words.last().is_some_and(|last| last == "Store") {
                    words.push(word(random));
                }
            }
        }
        Keys::Radius => {
            fill(&mut words, least, random);
            let options = ["WITHCOORD", "count 3", "ASC"];
            for _ in 0..random.below(4) {
                let option = options[random.below(3)].split(' ');
                words.extend(option.map(str::to_owned));
            }
            if random.below(2) == 0 {
                let name = ["STORE", "storedist"][random.below(2)];
                words.extend([name.to_owned(), word(random)]);
            }
        }
        Keys::Migrate => migrate(&mut words, random),
        Keys::Range { step, .. } => {
            // Of PFMERGE with a destination alone, which is allowed, Redis finds no keys.
            let least = if command.name == "pfmerge" { 3 } else { least.max(2) };
            fill(&mut words, least + more * step as usize, random);
        }
        Keys::None | Keys::BySubcommand | Keys::Channels { .. } => unreachable!(),
    }
    words
}

fn word(random: &mut Random) -> String {
    format!("word{}", random.below(1000))
}

fn fill(words: &mut Vec<String>, len: usize, random: &mut Random) {
    while words.len() < len {
        words.push(word(random));
    }
}

/// The arguments of MIGRATE, with one key or, behind KEYS, with many.
fn migrate(words: &mut Vec<String>, random: &mut Random) {
    let is_many = random.below(2) == 0;
    fill(words, 3, random);
    words.push(if is_many { String::new() } else { word(random) });
    fill(words, 6, random);
    let options = ["COPY", "replace", "AUTH keys", "auth2 keys keys"];
    for _ in 0..random.below(3) {
        words.extend(options[random.below(4)].split(' ').map(str::to_owned));
    }
    if is_many {
        words.push("Keys".to_owned());
        let len = words.len() + 1 + random.below(50);
        fill(words, len, random);
    }
}

#[test]
fn keys_are_those_that_command_getkeys_names() {
    let mut random = Random::new(5);
    for program in PROGRAMS {
        let server = Redis::start_program(program);
        let mut client = server.client();
        let known = names(&mut client);
        for command in rows_with_keys().filter(|command| known.contains(command.name)) {
            for _ in 0..20 {
                let request = valid(command, &mut random);
                let asked = [&["COMMAND".to_owned(), "GETKEYS".to_owned()], &request[..]].concat();
                let named: Vec<_> = keys(&request).iter().map(Reply::bulk).collect();
                assert_eq!(client.call(&asked), Reply::Array(named), "{program}: {request:?}");
            }
        }
    }
}

/// Requests in which no key can be found.
fn without_keys(command: &Command) -> Vec<Vec<String>> {
    let numbers = ["0", "-1", "x", "", "02", "+1", "1 ", "99", "2147483648", "9223372036854775808"];
    let line = |line: String| line.split('|').map(str::to_owned).collect::<Vec<_>>();
    let name = command.name;
    match command.keys {
        Keys::Counted { at, .. } => {
            // A script may have no keys.
            let first = usize::from(command.serve == Serve::Script);
            let front = "|0".repeat(at as usize - 1);
            let fit = |number| line(format!("{name}{front}|{number}|a|b|LEFT|MIN"));
            numbers[first..].iter().map(fit).collect()
        }
        Keys::Streams => {
            let group = if name == "xread" { "" } else { "|GROUP|a|b" };
            let ends =
                ["STREAMS", "STREAMS|a|0|b", "COUNT|STREAMS|a|0", "a|b|0|0", "COUNT|1|NOACK"];
            ends.iter().map(|end| line(format!("{name}{group}|{end}"))).collect()
        }
        Keys::Migrate => vec![line(format!("{name}|host|1|key|0|1|KEYS|a"))],
        Keys::Range { .. } | Keys::Sort | Keys::Radius => Vec::new(),
        Keys::None | Keys::BySubcommand | Keys::Channels { .. } => Vec::new(),
    }
}

#[test]
fn no_server_takes_a_request_whose_keys_cannot_be_found() {
    for program in PROGRAMS {
        let server = Redis::start_program(program);
        let mut client = server.client();
        for command in rows_with_keys() {
            for request in without_keys(command) {
                assert_eq!(keys(&request), [""; 0], "{request:?}");
                let reply = client.call(&request);
                assert!(matches!(reply, Reply::Error(_)), "{program}: {request:?}: {reply:?}");
            }
        }
        assert_eq!(client.call(&["DBSIZE"]), Reply::Integer(0));
    }
}
