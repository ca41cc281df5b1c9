//! Requests of memcached clients: with their only right replies, for worlds in which nothing may
//! fail, and with marks, for worlds in which anything may.
//!
//! A request that wants no reply stands in the exchange of the one behind it: whatever is said to
//! it is a reply to half a request.

use std::collections::BTreeMap;

use ringcracker::sim::{Exchange, Random, Reply, TOO_LARGE, mark_of, marked};

use crate::world::World;

/// Writes the requests of one client.
pub struct Clerk {
    client: usize,
    random: Random,
    count: u64,
    value_bytes: Vec<usize>,
    value_bytes_max: usize,
    /// Whether a request may fail for a server's trouble.
    may_fail: bool,
    /// What this client has stored under its own keys, with the flags.
    items: BTreeMap<String, (usize, Vec<u8>)>,
}

impl Clerk {
    pub fn new(
        world: &World,
        client: usize,
        random: &mut Random,
        value_bytes: &[usize],
        may_fail: bool,
    ) -> Self {
        Self {
            client,
            random: Random::new(random.bits()),
            count: 0,
            value_bytes: value_bytes.to_vec(),
            value_bytes_max: world.value_bytes_max,
            may_fail,
            items: BTreeMap::new(),
        }
    }

    /// Requests about keys that nobody else knows. In the end all that was stored is looked at.
    pub fn exact_exchanges(&mut self, count: usize) -> Vec<Exchange> {
        let mut exchanges: Vec<_> = (0..count).map(|_| self.exact_exchange()).collect();
        let keys: Vec<String> = self.items.keys().cloned().collect();
        let blocks = self.blocks(&keys);
        let last = if keys.is_empty() { ERROR.to_vec() } else { blocks };
        exchanges.push(Exchange::new(line(&["get", &keys.join(" ")]), last));
        exchanges
    }

    fn exact_exchange(&mut self) -> Exchange {
        let mut silent = Vec::new();
        while self.random.chance(250) {
            silent.extend(self.exact_write(true).request);
        }
        let mut exchange = match self.random.below(9) {
            0..3 => self.exact_write(false),
            3..6 => {
                let keys = self.own_keys();
                let name = self.random.pick(&["get", "gat 0"]);
                Exchange::new(line(&[name, &keys.join(" ")]), self.blocks(&keys))
            }
            6 => {
                let keys = self.own_keys();
                let found = keys.iter().map(|key| key.clone().into_bytes()).collect();
                Exchange::with(line(&["gets", &keys.join(" ")]), Reply::AllFound(found))
            }
            7 => Exchange::new(line(&["version"]), b"VERSION 1.6.0\r\n".to_vec()),
            _ => self.local(),
        };
        exchange.request.splice(0..0, silent);
        exchange
    }

    /// A request that changes what this client has, or tries to.
    fn exact_write(&mut self, is_silent: bool) -> Exchange {
        let key = self.own_key();
        let there = self.items.contains_key(&key);
        let found = |words: &'static [u8]| if there { words } else { b"NOT_FOUND\r\n" }.to_vec();
        let silence = silence(is_silent);
        match self.random.below(10) {
            0..4 => self.exact_store(&key, is_silent),
            4 => {
                self.items.remove(&key);
                Exchange::new(line(&["delete", &key, silence]), found(b"DELETED\r\n"))
            }
            5 => Exchange::new(line(&["touch", &key, "0", silence]), found(b"TOUCHED\r\n")),
            6 => self.exact_count(&key, is_silent),
            7 => {
                let request = storage(&format!("cas {key} 0"), "999999999", b"x", is_silent);
                Exchange::new(request, found(b"EXISTS\r\n"))
            }
            8 if is_silent => {
                self.items.remove(&key);
                Exchange::new(self.too_large(&key, true), Vec::new())
            }
            8 => self.exact_too_large(),
            _ => self.refused(&key, is_silent),
        }
    }

    /// A set that its server refuses at its line.
    pub fn exact_too_large(&mut self) -> Exchange {
        let key = self.own_key();
        self.items.remove(&key);
        Exchange::new(self.too_large(&key, false), TOO_LARGE.to_vec())
    }

    fn exact_store(&mut self, key: &str, is_silent: bool) -> Exchange {
        let name = self.random.pick(&["set", "set", "set", "add", "replace", "append", "prepend"]);
        let (flags, value) = (self.random.below(100), self.value());
        let request = storage(&format!("{name} {key} {flags}"), "", &value, is_silent);
        let new = match (name, self.items.get(key)) {
            ("add", Some(_)) | ("replace" | "append" | "prepend", None) => None,
            ("append", Some((flags, old))) => Some((*flags, [&old[..], &value].concat())),
            ("prepend", Some((flags, old))) => Some((*flags, [&value[..], old].concat())),
            (_, _) => Some((flags, value)),
        };
        let reply = if new.is_some() { &b"STORED\r\n"[..] } else { b"NOT_STORED\r\n" };
        self.items.extend(new.map(|new| (key.to_owned(), new)));
        Exchange::new(request, reply.to_vec())
    }

    /// A counter beside a key: it begins with what is stored first.
    fn exact_count(&mut self, key: &str, is_silent: bool) -> Exchange {
        let counter = format!("{key}+");
        let delta = self.random.below(1000);
        let text = delta.to_string();
        let up = self.random.chance(500);
        let Some((_, value)) = self.items.get_mut(&counter) else {
            let request = storage(&format!("set {counter} 0"), "", text.as_bytes(), is_silent);
            self.items.insert(counter, (0, text.into_bytes()));
            return Exchange::new(request, b"STORED\r\n".to_vec());
        };
        let old: usize = String::from_utf8_lossy(value).parse().expect("it was stored as one");
        let new = if up { old + delta } else { old.saturating_sub(delta) };
        *value = new.to_string().into_bytes();
        let name = if up { "incr" } else { "decr" };
        let request = line(&[name, &counter, &text, silence(is_silent)]);
        Exchange::new(request, format!("{new}\r\n").into_bytes())
    }

    /// What the proxy refuses by itself: with a value that it skips, or one that does not end where
    /// it should.
    fn refused(&mut self, key: &str, is_silent: bool) -> Exchange {
        let value = self.value();
        if self.random.chance(500) {
            let request = storage(&format!("set {key} 4294967296"), "", &value, is_silent);
            return Exchange::new(request, BAD_FORMAT.to_vec()).refused_early();
        }
        let mut request = storage(&format!("set {key} 0"), "", &value, is_silent);
        let end = request.len() - 2;
        request[end..].copy_from_slice(b"??");
        Exchange::new(request, b"CLIENT_ERROR bad data chunk\r\n".to_vec())
    }

    pub fn exchanges(&mut self, world: &World, count: usize) -> Vec<Exchange> {
        (0..count).map(|_| self.exchange(world)).collect()
    }

    /// Requests that may not fail any more: what is written is read.
    pub fn last_exchanges(&mut self, world: &World) -> Vec<Exchange> {
        self.may_fail = false;
        let mut exchanges = Vec::new();
        for _ in 0..3 {
            let key = self.key();
            exchanges.push(self.store(world, "set", &key));
            exchanges.push(self.get(world, vec![key]));
        }
        exchanges
    }

    fn exchange(&mut self, world: &World) -> Exchange {
        let mut silent = Vec::new();
        while self.random.chance(250) {
            silent.extend(self.silent());
        }
        let mut exchange = match self.random.below(14) {
            0..3 => {
                let name = self.random.pick(&NAMES);
                let key = self.key();
                self.store(world, name, &key)
            }
            3..7 => {
                let keys = self.keys_looked_for();
                self.get(world, keys)
            }
            7 | 8 => self.count(world),
            9 => {
                let key = self.mark_key();
                let words = self.random.pick(&[["delete", ""], ["touch", "0"]]);
                self.answered(world, line(&[words[0], &key, words[1]]), &key, &key)
            }
            10 => {
                let key = self.mark_key();
                self.answered(world, self.too_large(&key, false), &key, &key)
            }
            // In calm worlds others count on their keys.
            11 if self.may_fail => {
                let failed = Reply::Failure(world.all_servers());
                Exchange::new(line(&["flush_all"]), b"OK\r\n".to_vec()).or(failed)
            }
            12 => {
                let key = self.key();
                self.refused(&key, false)
            }
            _ => self.local(),
        };
        exchange.request.splice(0..0, silent);
        exchange
    }

    fn store(&mut self, world: &World, name: &str, key: &str) -> Exchange {
        let (value, flags) = (self.value(), self.random.below(9));
        let unique = if name == "cas" { "5" } else { "" };
        let request = storage(&format!("{name} {key} {flags}"), unique, &value, false);
        let mark = mark_of(&value).expect("every value bears one").to_vec();
        self.sealed(world, request, Reply::Answered(mark), &[key.as_bytes().to_vec()])
    }

    fn get(&mut self, world: &World, keys: Vec<String>) -> Exchange {
        let name = self.random.pick(&["get", "get", "gets", "gat 0", "gats 60"]);
        let request = line(&[name, &keys.join(" ")]);
        let keys: Vec<_> = keys.into_iter().map(String::into_bytes).collect();
        self.sealed(world, request, Reply::AllFound(keys.clone()), &keys)
    }

    /// A counter that nobody else counts by, and that is there unless it was lost on the way.
    fn count(&mut self, world: &World) -> Exchange {
        let key = self.mark_key();
        let mut request = storage(&format!("add {key} 0"), "", b"7", true);
        let name = self.random.pick(&["incr", "decr"]);
        request.extend(line(&[name, &key, "3"]));
        self.answered(world, request, &key, &key)
    }

    /// A request that wants no reply, and would know if it were carried out twice.
    fn silent(&mut self) -> Vec<u8> {
        let (key, mark) = (self.key(), self.mark_key());
        match self.random.below(7) {
            0..4 => {
                let name = self.random.pick(&NAMES);
                let unique = if name == "cas" { "5" } else { "" };
                storage(&format!("{name} {key} 0"), unique, &self.value(), true)
            }
            4 => line(&["delete", &mark, "noreply"]),
            5 => self.too_large(&mark, true),
            _ => self.refused(&key, true).request,
        }
    }

    /// What the proxy answers by itself.
    fn local(&mut self) -> Exchange {
        let (request, reply): (&str, &[u8]) = self.random.pick(&[
            ("mn\r\n", b"MN\r\n"),
            ("verbosity 1\r\n", b"OK\r\n"),
            ("\r\n", ERROR),
            ("GET a\r\n", ERROR),
            ("delete\r\n", ERROR),
            ("incr a noreply\r\nmn\r\n", b"MN\r\n"),
            ("verbosity 1 noreply\r\nfly\r\n", ERROR),
        ]);
        Exchange::new(request.as_bytes().to_vec(), reply.to_vec())
    }

    /// An exchange whose reply is what was answered to the request that bears this mark.
    fn answered(&self, world: &World, request: Vec<u8>, key: &str, mark: &str) -> Exchange {
        let answered = Reply::Answered(mark.as_bytes().to_vec());
        self.sealed(world, request, answered, &[key.as_bytes().to_vec()])
    }

    /// An exchange that fails only if it may.
    fn sealed(&self, world: &World, request: Vec<u8>, reply: Reply, keys: &[Vec<u8>]) -> Exchange {
        let exchange = Exchange::with(request, reply);
        match self.may_fail {
            true => exchange.or(Reply::Failure(world.servers_of(keys))),
            false => exchange,
        }
    }

    fn too_large(&self, key: &str, is_silent: bool) -> Vec<u8> {
        let value: Vec<u8> = b"\r\nEND\r\nget a\r\n"
            .iter()
            .copied()
            .cycle()
            .take(self.value_bytes_max + 9)
            .collect();
        storage(&format!("set {key} 0"), "", &value, is_silent)
    }

    fn own_key(&mut self) -> String {
        format!("c{}:{}", self.client, self.random.below(8))
    }

    fn own_keys(&mut self) -> Vec<String> {
        (0..self.random.between(1, 5)).map(|_| self.own_key()).collect()
    }

    /// A key of this client's, or one that all clients use.
    fn key(&mut self) -> String {
        let number = self.random.below(6);
        match self.random.below(8) {
            0 => format!("all:{number}"),
            1 => format!("{{c{}}}{number}", self.client),
            _ => format!("c{}:{number}", self.client),
        }
    }

    /// Keys to look for, now and then with a mark among them that nobody stores.
    fn keys_looked_for(&mut self) -> Vec<String> {
        let most = self.random.pick(&[1, 5]);
        let mut keys: Vec<_> = (0..self.random.between(1, most)).map(|_| self.key()).collect();
        if self.random.chance(300) {
            let mark = self.mark_key();
            keys.insert(self.random.below(keys.len() + 1), mark);
        }
        keys
    }

    fn mark_key(&mut self) -> String {
        self.count += 1;
        String::from_utf8_lossy(&marked(&format!("c{}n{}", self.client, self.count), b"")).into()
    }

    /// A value that bears a mark and is full of what a parser might trip over.
    fn value(&mut self) -> Vec<u8> {
        self.count += 1;
        let size = self.random.pick(&self.value_bytes);
        let rest = b"\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\n".iter().copied().cycle().take(size);
        marked(&format!("c{}n{}", self.client, self.count), &rest.collect::<Vec<u8>>())
    }

    /// What a get of these keys is answered with.
    fn blocks(&self, keys: &[String]) -> Vec<u8> {
        let mut reply = Vec::new();
        for key in keys {
            if let Some((flags, value)) = self.items.get(key) {
                reply.extend(format!("VALUE {key} {flags} {}\r\n", value.len()).into_bytes());
                reply.extend([value, &b"\r\n"[..]].concat());
            }
        }
        reply.extend_from_slice(b"END\r\n");
        reply
    }
}

/// A line of these words, those that are empty left out.
pub fn line(words: &[&str]) -> Vec<u8> {
    let words: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    format!("{}\r\n", words.join(" ")).into_bytes()
}

/// A storage command: `head` is its line up to the flags.
pub fn storage(head: &str, unique: &str, value: &[u8], is_silent: bool) -> Vec<u8> {
    let len = value.len().to_string();
    [&line(&[head, "0", &len, unique, silence(is_silent)]), value, b"\r\n"].concat()
}

fn silence(is_silent: bool) -> &'static str {
    if is_silent { "noreply" } else { "" }
}

const NAMES: [&str; 8] = ["set", "set", "set", "add", "replace", "append", "prepend", "cas"];
const ERROR: &[u8] = b"ERROR\r\n";
const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
