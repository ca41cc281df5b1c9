//! The real nutcracker and ringcracker, one after the other, with the same configuration, before
//! the same servers, with the same requests: which server got what, and what came back.
//!
//! The configurations are every hash and distribution, with and without hash tags, over servers
//! with weights, names, port 11211 and unix sockets. What is different on purpose is in
//! `differences`, each with its reason. Ports, and so the names of servers, differ from run to
//! run; keys and values are always the same.

mod differences;
mod servers;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use ringcracker::distribution::DistributionKind;
use ringcracker::hash::HashKind;

use servers::{Request, Servers};
use streams::Random;
use support::client::{Client, Reply, command};
use support::process::{Port, Process};
use support::proxy::{Proxy, Start, proxy_binary};
use support::{pool, show};

/// The program that is compared with.
const NUTCRACKER: &str = "nutcracker";

/// Makes the keys.
const KEYS_SEED: u64 = 0x6b65_7973;

/// Values of `hash_tag`.
const TAGS: [Option<&str>; 3] = [None, Some("{}"), Some("$$")];

/// A server as the configuration has it.
struct Line {
    /// `address:weight [name]`.
    text: String,
    /// The name that stands for it, as documented: its own, or else made of its address.
    name: String,
}

impl Line {
    /// One without a name of its own.
    fn unnamed(address: &str, weight: u32) -> Self {
        let name = match address.strip_suffix(":11211") {
            Some(host) => host.to_owned(),
            None if address.starts_with('/') => format!("{address}:"),
            None => address.to_owned(),
        };
        Self { text: format!("{address}:{weight}"), name }
    }

    fn named(address: &str, weight: u32, name: &str) -> Self {
        Self { text: format!("{address}:{weight} {name}"), name: name.to_owned() }
    }
}

/// Servers, a configuration of many pools before them, and where the pools listen.
struct World {
    directory: TempDir,
    servers: Servers,
    lines: Vec<Line>,
    config: String,
    pools: Vec<Listen>,
}

enum Listen {
    Tcp(Port),
    Unix(PathBuf),
}

impl World {
    /// One with servers and no pools.
    fn new(lines: impl FnOnce(&mut Servers, &Path) -> Vec<Line>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut servers = Servers::default();
        let lines = lines(&mut servers, directory.path());
        Self { directory, servers, lines, config: String::new(), pools: Vec::new() }
    }

    /// Adds a pool of all servers with further lines.
    fn add_pool(&mut self, listen: Listen, lines: &[&str]) {
        let address = match &listen {
            Listen::Tcp(port) => format!("127.0.0.1:{}", port.number()),
            Listen::Unix(path) => format!("{} 0600", path.display()),
        };
        let servers: Vec<String> = self.lines.iter().map(|line| line.text.clone()).collect();
        // The number is part of the name, so the pools stay in order.
        let name = format!("pool{:03}", self.pools.len());
        self.config.push_str(&pool(&name, &address, &servers, lines));
        self.pools.push(listen);
    }

    /// Adds a pool for each hash, each distribution with a rule, and each hash tag.
    fn add_every_pool(&mut self, listen: impl Fn(usize) -> Listen) {
        for hash in HashKind::ALL {
            for distribution in [DistributionKind::Ketama, DistributionKind::Modula] {
                for tag in TAGS {
                    let mut lines = vec![
                        format!("hash: {}", hash.name()),
                        format!("distribution: {}", distribution.name()),
                    ];
                    lines.extend(tag.map(|tag| format!("hash_tag: \"{tag}\"")));
                    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                    self.add_pool(listen(self.pools.len()), &lines);
                }
            }
        }
        assert_eq!(self.pools.len(), 72);
    }

    fn start(&self, program: Option<&str>) -> Proxy {
        let start = Start::with_config(&self.config);
        program.map_or(Start::with_config(&self.config), |path| start.program(path)).start()
    }

    /// A client of the pool with this number.
    fn client(&self, number: usize) -> Client {
        match &self.pools[number] {
            Listen::Tcp(port) => Client::tcp(port.number()),
            Listen::Unix(path) => Client::unix(path),
        }
    }

    /// Runs a program, and sends each pool its stream, one after the other.
    fn watch(&self, program: Option<&str>, read: ReadAll, streams: &[Vec<u8>]) -> Vec<Seen> {
        let _proxy = self.start(program);
        let watch_pool = |(number, stream): (usize, &Vec<u8>)| {
            let mut client = self.client(number);
            client.send(stream);
            let replies = read(&mut client);
            Seen { replies, requests: self.servers.take() }
        };
        streams.iter().enumerate().map(watch_pool).collect()
    }

    /// Compares what both programs make of the same streams, and nutcracker's choices with those
    /// that `--locate` names. Each stream asks for each of `keys` first.
    fn compare(&self, read: ReadAll, streams: &[Vec<u8>], keys: &[Vec<u8>]) {
        let theirs = self.watch(Some(NUTCRACKER), read, streams);
        let ours = self.watch(None, read, streams);
        for (number, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
            theirs.expect_same(ours, &format!("pool {number} of\n{}", self.config));
        }
        self.expect_located(&theirs, keys);
    }

    /// Expects `--locate` to name the server that got the first request for each key.
    fn expect_located(&self, seen: &[Seen], keys: &[Vec<u8>]) {
        // A key is a line.
        let keys: Vec<&Vec<u8>> = keys.iter().filter(|key| !key.contains(&b'\n')).collect();
        assert!(keys.len() > 100);
        let owners: Vec<_> = seen.iter().map(|seen| seen.owners(&self.lines)).collect();
        let mut expected = Vec::new();
        for key in &keys {
            for (number, owners) in owners.iter().enumerate() {
                let names = format!("pool{number:03}\t{}\t", owners[&key[..]]);
                expected.push([names.as_bytes(), key].concat());
            }
        }
        let lines = self.located(&keys);
        for (line, expected) in lines.iter().zip(&expected) {
            assert_eq!(show(line), show(expected), "{}", self.config);
        }
        assert_eq!(lines.len(), expected.len());
    }

    /// The lines of `--locate`.
    fn located(&self, keys: &[&Vec<u8>]) -> Vec<Vec<u8>> {
        let path = |name: &str| self.directory.path().join(name);
        let keys: Vec<u8> = keys.iter().flat_map(|key| [key, &b"\n"[..]].concat()).collect();
        fs::write(path("keys"), keys).expect("writable");
        fs::write(path("nutcracker.yml"), &self.config).expect("writable");
        let lines = fs::File::create(path("lines")).expect("writable");
        let mut command = Command::new(proxy_binary());
        command.arg("-c").arg(path("nutcracker.yml")).arg("--locate").arg(path("keys"));
        command.stdin(Stdio::null()).stdout(lines);
        assert_eq!(Process::spawn(&mut command).exit_code(), 0);
        let lines = fs::read(path("lines")).expect("it was made");
        let lines = lines.strip_suffix(b"\n").expect("lines").split(|byte| *byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    }
}

/// Reads all replies to a stream.
type ReadAll = fn(&mut Client) -> Vec<u8>;

/// What came of a stream.
struct Seen {
    /// Every byte that the client read.
    replies: Vec<u8>,
    /// The requests of each server.
    requests: Vec<Vec<Request>>,
}

impl Seen {
    /// The name of the server that got the first request for each key.
    fn owners<'l>(&self, lines: &'l [Line]) -> BTreeMap<&[u8], &'l str> {
        let mut owners = BTreeMap::new();
        for (requests, line) in self.requests.iter().zip(lines) {
            for request in requests.iter().filter(|request| request[0] == b"get") {
                owners.entry(&request[1][..]).or_insert(&line.name[..]);
            }
        }
        owners
    }

    fn expect_same(&self, ours: &Self, what: &str) {
        for (number, (theirs, ours)) in self.requests.iter().zip(&ours.requests).enumerate() {
            for (theirs, ours) in theirs.iter().zip(ours) {
                assert_eq!(words(theirs), words(ours), "sent to server {number}: {what}");
            }
            assert_eq!(theirs.len(), ours.len(), "requests sent to server {number}: {what}");
        }
        let first = self.replies.iter().zip(&ours.replies).position(|(a, b)| a != b);
        if let Some(at) = first {
            let from = at.saturating_sub(40);
            let (theirs, ours) = (show(&self.replies[from..]), show(&ours.replies[from..]));
            panic!("byte {at} of the replies: {theirs}, but {ours}: {what}");
        }
        assert_eq!(self.replies.len(), ours.replies.len(), "bytes of replies: {what}");
        assert!(self.requests.iter().any(|requests| !requests.is_empty()));
    }
}

fn words(request: &Request) -> Vec<String> {
    request.iter().map(|word| show(word)).collect()
}

/// Reads to the reply of a `PING`.
fn to_pong(client: &mut Client) -> Vec<u8> {
    read_to(client, |line| line == b"+PONG\r\n")
}

/// Reads to the end of the reply to `get ~end`.
fn to_marker(client: &mut Client) -> Vec<u8> {
    let mut replies = read_to(client, |line| line.starts_with(b"VALUE ~end "));
    replies.extend(read_to(client, |line| line == b"END\r\n"));
    replies
}

/// Reads to the end of the first line that is `last`.
fn read_to(client: &mut Client, last: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut replies = Vec::new();
    loop {
        match client.try_line() {
            Ok(line) => {
                replies.extend(&line);
                if last(&line) {
                    return replies;
                }
            }
            Err(why) => panic!("{why} after {}", show(&replies)),
        }
    }
}

fn on_tcp(_: usize) -> Listen {
    Listen::Tcp(Port::free())
}

/// Streams of Redis's requests to each pool, and their keys.
fn compare_redis(world: &World) {
    let keys = streams::keys(&mut Random::new(KEYS_SEED), true);
    let stream = |number: usize| streams::redis(&mut Random::new(number as u64), &keys);
    let streams: Vec<_> = (0..world.pools.len()).map(stream).collect();
    world.compare(to_pong, &streams, &keys);
}

fn five_plain_servers(servers: &mut Servers, _: &Path) -> Vec<Line> {
    (0..5).map(|_| Line::unnamed(&servers.add_tcp("127.0.0.1:0").expect("free"), 1)).collect()
}

#[test]
fn plain_servers_get_the_same() {
    let mut world = World::new(five_plain_servers);
    world.add_every_pool(on_tcp);
    compare_redis(&world);
}

#[test]
fn servers_with_names_and_weights_get_the_same() {
    let mut world = World::new(|servers, _| {
        let named = [("server10", 1), ("b", 2), ("server9", 3), ("\u{e9}", 10), ("A", 7)];
        let mut line = |(name, weight)| {
            Line::named(&servers.add_tcp("127.0.0.1:0").expect("free"), weight, name)
        };
        named.map(&mut line).into()
    });
    world.add_every_pool(on_tcp);
    compare_redis(&world);
}

#[test]
fn servers_on_port_11211_and_unix_sockets_get_the_same() {
    let mut world = World::new(|servers, directory| {
        let mut lines = Vec::new();
        // Each is a host of its own, whose port nobody else is likely to have.
        let mut hosts = (0..50).map(|number| {
            let id = std::process::id();
            format!("127.{}.{}.{}:11211", 1 + id % 250, id / 250 % 250, 1 + number)
        });
        while lines.len() < 2 {
            let host = hosts.next().expect("port 11211 of one of fifty hosts is free");
            if let Ok(at) = servers.add_tcp(&host) {
                lines.push(Line::unnamed(&at, 1 + lines.len() as u32));
            }
        }
        for (name, weight) in [("a", 1), ("b", 3)] {
            let at = servers.add_unix(&directory.join(name));
            lines.push(Line::unnamed(&at, weight));
        }
        lines.push(Line::named(&servers.add_unix(&directory.join("c")), 2, "socket"));
        lines.push(Line::unnamed(&servers.add_tcp("127.0.0.1:0").expect("free"), 1));
        lines
    });
    let directory = world.directory.path().to_owned();
    world.add_every_pool(|number| Listen::Unix(directory.join(format!("listen{number}"))));
    compare_redis(&world);
}

#[test]
fn memcached_servers_get_the_same() {
    let mut world = World::new(five_plain_servers);
    world.add_every_pool(on_tcp);
    world.config = world.config.replace("redis: true", "redis: false");
    let keys = streams::keys(&mut Random::new(KEYS_SEED), false);
    let stream = |number: usize| streams::memcached(&mut Random::new(number as u64), &keys);
    let streams: Vec<_> = (0..world.pools.len()).map(stream).collect();
    world.compare(to_marker, &streams, &keys);
}

#[test]
fn random_spreads_over_the_live_servers_and_no_others() {
    let mut world = World::new(|servers, _| {
        (0..3).map(|_| Line::unnamed(&servers.add_tcp("127.0.0.1:0").expect("free"), 1)).collect()
    });
    let dead = Port::free();
    world.lines.push(Line::unnamed(&format!("127.0.0.1:{}", dead.number()), 50));
    let lines = ["distribution: random", "auto_eject_hosts: true", "server_retry_timeout: 600000"];
    world.add_pool(on_tcp(0), &lines);
    for program in [Some(NUTCRACKER), None] {
        let proxy = world.start(program);
        let mut client = world.client(0);
        // After two failures the dead server is left out.
        let mut failures = 0;
        while failures < 2 {
            let reply = client.call(&["GET", "the same key"]);
            failures += usize::from(matches!(reply, Reply::Error(_)));
        }
        world.servers.take();
        let get = command(&["GET", "the same key"]);
        client.send(&[get.repeat(600), command(&["PING"])].concat());
        let replies = to_pong(&mut client);
        assert!(!replies.contains(&b'-'), "{program:?}: {}", show(&replies));
        let counts: Vec<usize> = world.servers.take().iter().map(Vec::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), 600, "{program:?}");
        // By chance a count is beyond these bounds once in ten billion runs.
        assert!(counts.iter().all(|count| (125..275).contains(count)), "{program:?}: {counts:?}");
        drop(proxy);
    }
}
