//! Requests whose replies are known beforehand, for worlds in which nothing may fail.

use std::collections::BTreeMap;

use ringcracker::sim::{Exchange, Random, Reply, array, bulk, integer, request};

/// Writes requests of one client, each with its only right reply, over keys of its own.
pub struct Author {
    name: String,
    random: Random,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    count: usize,
    value_bytes: Vec<usize>,
    /// Whether it says HELLO now and then, and what it has said last.
    says_hello: bool,
    /// A hash that was just written, to be read next: its key, and the value of its field.
    hash: Option<(Vec<u8>, Vec<u8>)>,
    is_three: bool,
}

impl Author {
    pub fn new(name: &str, random: &mut Random, value_bytes: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            random: Random::new(random.bits()),
            values: BTreeMap::new(),
            count: 0,
            value_bytes: value_bytes.to_vec(),
            says_hello: false,
            hash: None,
            is_three: false,
        }
    }

    /// One of a client that changes its version of RESP now and then.
    pub fn saying_hello(self) -> Self {
        Self { says_hello: true, ..self }
    }

    pub fn exchanges(&mut self, count: usize) -> Vec<Exchange> {
        (0..count).map(|_| self.exchange()).collect()
    }

    fn exchange(&mut self) -> Exchange {
        if let Some((key, value)) = self.hash.take() {
            return self.all_fields(&key, &value);
        }
        self.count += 1;
        match self.random.below(if self.says_hello { 12 } else { 9 }) {
            0 | 1 => {
                let (key, value) = (self.key(), self.value());
                self.values.insert(key.clone(), value.clone());
                Exchange::new(request(&[b"SET", &key, &value]), b"+OK\r\n".to_vec())
            }
            2 | 3 => {
                let key = self.key();
                Exchange::new(request(&[b"get", &key]), self.stored(&key))
            }
            4 => {
                let keys = self.keys();
                let values: Vec<_> = keys.iter().map(|key| self.stored(key)).collect();
                Exchange::new(with_keys(b"MGET", &keys), array(&values))
            }
            5 => {
                let pairs: Vec<_> = (0..3).map(|_| (self.key(), self.value())).collect();
                let mut arguments = vec![&b"MSET"[..]];
                pairs.iter().for_each(|(key, value)| arguments.extend([&key[..], value]));
                let written = request(&arguments);
                self.values.extend(pairs);
                Exchange::new(written, b"+OK\r\n".to_vec())
            }
            6 => {
                let keys = self.keys();
                let gone = keys.iter().filter(|&key| self.values.remove(key).is_some()).count();
                Exchange::new(with_keys(b"DEL", &keys), integer(gone as i64))
            }
            7 => {
                let keys = self.keys();
                let there = keys.iter().filter(|&key| self.values.contains_key(key)).count();
                Exchange::new(with_keys(b"EXISTS", &keys), integer(there as i64))
            }
            9 | 10 => {
                self.is_three = self.random.chance(700);
                hello(if self.is_three { 3 } else { 2 })
            }
            11 => {
                let (key, value) = (format!("{}:h{}", self.name, self.count), self.value());
                self.hash = Some((key.clone().into_bytes(), value.clone()));
                Exchange::new(request(&[b"HSET", key.as_bytes(), b"f", &value]), integer(1))
            }
            _ => Exchange::new(request(&[b"PING"]), b"+PONG\r\n".to_vec()),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("{}:{}", self.name, self.random.below(8)).into_bytes()
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        (0..self.random.between(1, 5)).map(|_| self.key()).collect()
    }

    /// It names its client and its request, so that no other can be taken for it.
    fn value(&mut self) -> Vec<u8> {
        let mut value = format!("{}#{}\r\n", self.name, self.count).into_bytes();
        let size = self.random.pick(&self.value_bytes);
        value.extend((0..size).map(|at| at as u8));
        value
    }

    fn all_fields(&self, key: &[u8], value: &[u8]) -> Exchange {
        let head: &[u8] = if self.is_three { b"%1\r\n" } else { b"*2\r\n" };
        let reply = [head, &bulk(b"f"), &bulk(value)].concat();
        Exchange::new(request(&[b"HGETALL", key]), reply)
    }

    fn stored(&self, key: &[u8]) -> Vec<u8> {
        let null = if self.is_three { b"_\r\n".to_vec() } else { b"$-1\r\n".to_vec() };
        self.values.get(key).map_or(null, |value| bulk(value))
    }
}

/// A change to this version of RESP.
pub fn hello(version: u8) -> Exchange {
    let bytes = request(&[b"HELLO", version.to_string().as_bytes()]);
    Exchange::with(bytes, Reply::Speaks(version))
}

pub fn with_keys(name: &[u8], keys: &[Vec<u8>]) -> Vec<u8> {
    let mut arguments = vec![name];
    arguments.extend(keys.iter().map(|key| &key[..]));
    request(&arguments)
}
