//! Requests that bear marks, for worlds in which anything may fail: what their right replies are
//! is known once the servers have done their part.

use ringcracker::sim::{Exchange, Random, Reply, mark_of, marked, range_end, request};

use crate::author::{hello, with_keys};
use crate::world::World;

/// Writes the requests of one client.
pub struct Scribe {
    client: usize,
    random: Random,
    count: u64,
    value_bytes: Vec<usize>,
    /// Whether a request may fail for a server's trouble.
    may_fail: bool,
    /// Whether its client changes its version of RESP now and then.
    says_hello: bool,
}

impl Scribe {
    pub fn new(client: usize, random: &mut Random, value_bytes: &[usize], may_fail: bool) -> Self {
        let random = Random::new(random.bits());
        Self {
            client,
            random,
            count: 0,
            value_bytes: value_bytes.to_vec(),
            may_fail,
            says_hello: false,
        }
    }

    /// One of a client that changes its version of RESP now and then.
    pub fn saying_hello(self) -> Self {
        Self { says_hello: true, ..self }
    }

    pub fn exchanges(&mut self, world: &World, count: usize) -> Vec<Exchange> {
        (0..count).map(|_| self.exchange(world)).collect()
    }

    /// Requests that may not fail any more: what is written is read.
    pub fn last_exchanges(&mut self, world: &World) -> Vec<Exchange> {
        self.may_fail = false;
        let mut exchanges = Vec::new();
        for _ in 0..3 {
            let key = self.key("t");
            exchanges.push(self.store(world, &key));
            exchanges.push(self.range(world, b"GETRANGE", &key));
        }
        exchanges
    }

    fn exchange(&mut self, world: &World) -> Exchange {
        match self.random.below(if self.says_hello { 22 } else { 19 }) {
            19.. => self.hello(world),
            0 | 1 => {
                let key = self.key("t");
                self.store(world, &key)
            }
            2 => self.write(world, b"GETSET", "t"),
            3 => self.write(world, b"APPEND", "t"),
            4 => self.write(world, b"LPUSH", "l"),
            5 => self.swap(world),
            6 | 7 => {
                let key = self.key_of("t");
                self.range(world, b"GETRANGE", &key)
            }
            8 => {
                let key = self.key_of("l");
                self.range(world, b"LRANGE", &key)
            }
            16 => self.set_field(world),
            17 => {
                let key = self.key_of("h");
                self.scan(world, &key)
            }
            9 => self.get(world),
            18 => self.increment(world),
            10 | 11 => self.get_many(world),
            12 => self.store_many(world),
            13 => {
                let name = self.random.pick(&[&b"DEL"[..], b"unlink"]);
                self.count(world, name)
            }
            14 => {
                let name = self.random.pick(&[&b"EXISTS"[..], b"Touch"]);
                self.count(world, name)
            }
            _ => self.local(),
        }
    }

    fn store(&mut self, world: &World, key: &[u8]) -> Exchange {
        let value = self.value();
        let stored = Reply::Stored(vec![mark(&value)]);
        self.sealed(world, request(&[b"SET", key, &value]), stored, &[key.to_vec()])
    }

    fn write(&mut self, world: &World, name: &[u8], kind: &str) -> Exchange {
        let (key, value) = (self.key_of(kind), self.value());
        let answered = Reply::Answered(mark(&value));
        self.sealed(world, request(&[name, &key, &value]), answered, &[key])
    }

    fn set_field(&mut self, world: &World) -> Exchange {
        let (key, value) = (self.key_of("h"), self.value());
        let field = format!("f{}", self.random.below(3)).into_bytes();
        let answered = Reply::Answered(mark(&value));
        self.sealed(world, request(&[b"HSET", &key, &field, &value]), answered, &[key])
    }

    fn swap(&mut self, world: &World) -> Exchange {
        let (key, value) = (self.key("t"), self.value());
        let answered = Reply::Answered(mark(&value));
        self.sealed(world, request(&[b"set", &key, &value, b"GET"]), answered, &[key])
    }

    fn scan(&mut self, world: &World, key: &[u8]) -> Exchange {
        let end = self.range_end();
        let request = request(&[b"HSCAN", key, b"0", b"COUNT", &end]);
        self.sealed(world, request, Reply::Answered(end), &[key.to_vec()])
    }

    fn range_end(&mut self) -> Vec<u8> {
        self.count += 1;
        range_end(self.client as u64, self.count)
    }

    fn range(&mut self, world: &World, name: &[u8], key: &[u8]) -> Exchange {
        let end = self.range_end();
        let request = request(&[name, key, b"0", &end]);
        self.sealed(world, request, Reply::Answered(end), &[key.to_vec()])
    }

    fn get(&mut self, world: &World) -> Exchange {
        let key = self.key("t");
        let bytes = match self.random.chance(300) {
            true => [b"get ", &key[..], b"\r\n"].concat(),
            false => request(&[b"GET", &key]),
        };
        self.sealed(world, bytes, Reply::Found(key.clone()), &[key])
    }

    fn get_many(&mut self, world: &World) -> Exchange {
        let keys = self.keys_looked_for();
        let bytes = with_keys(b"MGET", &keys);
        // A single key is asked for as it is, and answered as it was.
        self.sealed(world, bytes, Reply::AllFound(keys.clone()), &keys)
    }

    fn store_many(&mut self, world: &World) -> Exchange {
        let keys = self.keys();
        let values: Vec<Vec<u8>> = keys.iter().map(|_| self.value()).collect();
        let mut arguments = vec![&b"MSET"[..]];
        keys.iter().zip(&values).for_each(|(key, value)| arguments.extend([&key[..], value]));
        let stored = Reply::Stored(values.iter().map(|value| mark(value)).collect());
        self.sealed(world, request(&arguments), stored, &keys)
    }

    fn count(&mut self, world: &World, name: &[u8]) -> Exchange {
        let keys = self.keys_looked_for();
        self.sealed(world, with_keys(name, &keys), Reply::Count(keys.clone()), &keys)
    }

    /// A counter that nobody else counts by.
    fn increment(&mut self, world: &World) -> Exchange {
        let key = self.mark_key();
        let answered = Reply::Answered(key.clone());
        self.sealed(world, request(&[b"INCR", &key]), answered, &[key])
    }

    fn hello(&mut self, world: &World) -> Exchange {
        let version = if self.random.chance(700) { 3 } else { 2 };
        let exchange = hello(version);
        match self.may_fail {
            true => exchange.or(Reply::Failure(world.all_servers())),
            false => exchange,
        }
    }

    /// What the proxy answers by itself.
    fn local(&mut self) -> Exchange {
        self.count += 1;
        let word = format!("c{}n{}", self.client, self.count).into_bytes();
        match self.random.below(4) {
            0 => Exchange::new(request(&[b"ping"]), b"+PONG\r\n".to_vec()),
            1 => Exchange::new(b"PING\r\n".to_vec(), b"+PONG\r\n".to_vec()),
            2 => {
                let echo = String::from_utf8_lossy(&word);
                let words =
                    format!("-ERR unknown command 'FLY', with args beginning with: '{echo}' \r\n");
                Exchange::new(request(&[b"FLY", &word]), words.into_bytes())
            }
            _ => {
                let wrong = Reply::Error("ERR wrong number of arguments");
                Exchange::with(request(&[b"GET", &word, &word]), wrong)
            }
        }
    }

    /// An exchange that fails only if it may.
    fn sealed(&self, world: &World, bytes: Vec<u8>, reply: Reply, keys: &[Vec<u8>]) -> Exchange {
        let exchange = Exchange::with(bytes, reply);
        match self.may_fail {
            true => exchange.or(Reply::Failure(world.servers_of(keys))),
            false => exchange,
        }
    }

    /// A key of this client's, or one that all clients use; `kind` keeps lists from texts.
    fn key(&mut self, kind: &str) -> Vec<u8> {
        let number = self.random.below(6);
        match self.random.below(8) {
            0 => format!("all:{number}:{kind}").into_bytes(),
            1 => format!("{{c{}}}{number}:{kind}", self.client).into_bytes(),
            _ => format!("c{}:{number}:{kind}", self.client).into_bytes(),
        }
    }

    /// A key, now and then of another kind: the server's error is a reply like any other.
    fn key_of(&mut self, kind: &str) -> Vec<u8> {
        let kind = if self.random.chance(50) { self.random.pick(&["t", "l", "h"]) } else { kind };
        self.key(kind)
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        (0..self.random.between(1, 5)).map(|_| self.key("t")).collect()
    }

    /// Keys to look for. In half of the cases one is a mark that nobody stores: by it the servers
    /// know the request, which may be for this one alone.
    fn keys_looked_for(&mut self) -> Vec<Vec<u8>> {
        let mut keys = self.keys();
        if self.random.chance(500) {
            let mark = self.mark_key();
            match self.random.chance(300) {
                true => keys = vec![mark],
                false => keys.insert(self.random.below(keys.len() + 1), mark),
            }
        }
        keys
    }

    /// A mark of its own, now and then at the server of this client's tagged keys.
    fn mark_key(&mut self) -> Vec<u8> {
        self.count += 1;
        let name = match self.random.chance(500) {
            true => format!("{{c{}}}n{}", self.client, self.count),
            false => format!("c{}n{}", self.client, self.count),
        };
        marked(&name, b"")
    }

    /// A value that bears a mark and is full of what a parser might trip over.
    fn value(&mut self) -> Vec<u8> {
        self.count += 1;
        let size = self.random.pick(&self.value_bytes);
        let rest: Vec<u8> = b"\r\n$3\r\n*1\r\n+OK\r\n".iter().copied().cycle().take(size).collect();
        marked(&format!("c{}n{}", self.client, self.count), &rest)
    }
}

fn mark(value: &[u8]) -> Vec<u8> {
    mark_of(value).expect("every value bears one").to_vec()
}
