//! Every command there is, and many that are none, on one connection; and on another the values
//! that belong to its keys, through the same connections to the servers.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use ringcracker::proto::commands::{self, Serve};
use support::client::{Client, Reply, command};
use support::proxy::Proxy;
use support::redis::{REDIS_8, Redis, VALKEY_8};
use support::show;

/// What stands behind a name.
const ARGUMENTS: [&[&str]; 11] = [
    &[],
    &["1"],
    &["gone", "1"],
    &["1", "gone"],
    &["gone", "1", "1"],
    &["0.01", "1", "gone"],
    // Words that change a connection, and zeros that wait for ever.
    &["off"],
    &["skip"],
    &["on"],
    &["gone", "0"],
    &["gone", "gone", "0"],
];

#[test]
fn no_command_takes_the_replies_of_another_client_in_resp2() {
    beside_every_command(2);
}

#[test]
fn no_command_takes_the_replies_of_another_client_in_resp3() {
    beside_every_command(3);
}

fn beside_every_command(version: u8) {
    let servers = [Redis::start_program(REDIS_8), Redis::start_program(VALKEY_8)];
    let lines: Vec<String> = servers.iter().map(Redis::line).collect();
    let keys = ["commands: {allow: ['@all'], modules: first_key}"];
    let proxy = Proxy::start(&lines, &keys);
    let names = names(&servers);
    assert!(names.len() > 600, "{} names", names.len());
    let mut checked = Checked::new(&proxy, version);
    let mut client = open(&proxy, version);
    for (number, name) in names.iter().enumerate() {
        for arguments in ARGUMENTS {
            let mut words: Vec<&str> = name.split('|').collect();
            words.extend(arguments);
            client.send(&command(&words));
            checked.ask(number, &words);
            if keeps_the_connection(&words) {
                checked.hear(&words);
                // One reply, and the next is the next one's.
                client.try_raw_reply().unwrap_or_else(|error| panic!("{words:?}: {error}"));
                client.send(b"PING\r\n");
                let pong = client.try_raw_reply();
                assert_eq!(pong.unwrap(), b"+PONG\r\n", "after {words:?}");
            } else {
                checked.hear(&words);
                client = open(&proxy, version);
            }
        }
    }
    checked.ask(names.len(), &["the end"]);
    checked.hear(&["the end"]);
}

/// Values that say whose they are.
struct Checked {
    client: Client,
    expected: Vec<u8>,
}

impl Checked {
    fn new(proxy: &Proxy, version: u8) -> Self {
        Self { client: open(proxy, version), expected: Vec::new() }
    }

    /// Sets and gets, over both servers, while the other request is on its way.
    fn ask(&mut self, number: usize, words: &[&str]) {
        let mut bytes = Vec::new();
        self.expected.clear();
        for key in 0..8 {
            let key = format!("checked:{key}");
            let value = format!("{key} at {number} beside {words:?}");
            // Whole in one script: a FLUSHALL may come before it or behind, not in between.
            let script = "redis.call('set',KEYS[1],ARGV[1]) return redis.call('get',KEYS[1])";
            bytes.extend(command(&["EVAL", script, "1", &key, &value]));
            self.expected.extend(format!("${}\r\n{value}\r\n", value.len()).into_bytes());
        }
        self.client.send(&bytes);
    }

    fn hear(&mut self, words: &[&str]) {
        let mut got = Vec::new();
        for _ in 0..8 {
            let reply = self.client.try_raw_reply();
            got.extend(reply.unwrap_or_else(|error| panic!("beside {words:?}: {error}")));
        }
        let (got, expected) = (show(&got), show(&self.expected));
        assert_eq!(got, expected, "beside {words:?}");
    }
}

fn open(proxy: &Proxy, version: u8) -> Client {
    let mut client = proxy.client();
    if version == 3 {
        client.send(&command(&["HELLO", "3"]));
        let greeting = client.try_raw_reply().unwrap();
        assert!(greeting.starts_with(b"%"), "{}", show(&greeting));
    }
    client
}

/// Whether a connection goes on after these words with one reply and as it was. One that waits
/// is left waiting.
fn keeps_the_connection(words: &[&str]) -> bool {
    let Some(first) = commands::lookup(words[0].as_bytes()) else { return true };
    let second = words.get(1).and_then(|word| commands::lookup_second(first, word.as_bytes()));
    matches!(
        second.unwrap_or(first).serve,
        Serve::Forward
            | Serve::Split(_)
            | Serve::Container
            | Serve::Refused(_)
            | Serve::Everywhere(_)
            | Serve::Cursor
            | Serve::Script
    )
}

/// Those of the table, those of the servers, and 200 that nobody knows. Redis 8.0.2 dies of a
/// FUNCTION FLUSH every now and then.
fn names(servers: &[Redis]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        commands::all().iter().map(|command| command.name.to_owned()).collect();
    for server in servers {
        let Reply::Array(list) = server.client().call(&["COMMAND", "LIST"]) else {
            panic!("no list")
        };
        names.extend(list.iter().map(|name| {
            let Reply::Bulk(name) = name else { panic!("{name:?}") };
            String::from_utf8(name.clone()).unwrap()
        }));
    }
    let letters = |number: usize| {
        let letter = |place: u32| char::from(b'a' + (number / 26usize.pow(place) % 26) as u8);
        (0..4).map(letter).collect::<String>()
    };
    names.extend((0..200).map(|number| format!("x{}{}", letters(number * 7919), number % 10)));
    names.remove("function|flush");
    names
}
