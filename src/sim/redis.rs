//! What a simulated server knows of redis: enough commands to tell right from wrong.

use std::collections::BTreeMap;

use crate::sim::findings::{Finding, value_found};
use crate::sim::resp::{array, bulk, integer};
use crate::sim::scripts::Scripts;

/// A server's keys.
#[derive(Default)]
pub(super) struct Data {
    values: BTreeMap<Vec<u8>, Value>,
    pub(super) scripts: Scripts,
    /// How often each key was written to.
    changes: BTreeMap<Vec<u8>, u64>,
}

/// What a server wants to hear on a connection before it serves it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The argument of AUTH.
    pub password: Option<String>,
    /// The argument of SELECT; 0 is where a connection begins.
    pub database: u32,
    /// Whether it is too old to know HELLO.
    pub knows_no_hello: bool,
}

/// What has been said on one connection.
#[derive(Default)]
pub(super) struct Said {
    authenticated: bool,
    is_three: bool,
    database: u32,
}

enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Said {
    /// Whether RESP3 is spoken.
    pub(super) fn is_three(&self) -> bool {
        self.is_three
    }

    /// The reply to an AUTH, a HELLO or a SELECT; none to what is to be carried out.
    ///
    /// Panics when a request comes before all that is wanted was said, or in another order.
    pub(super) fn hear(&mut self, request: &[Vec<u8>], wanted: &Wanted) -> Option<Vec<u8>> {
        let is = |name: &[u8]| request[0].eq_ignore_ascii_case(name);
        if is(b"AUTH") {
            assert!(self.database == 0 && !self.is_three, "AUTH comes late");
            let Some(password) = &wanted.password else { return Some(NO_PASSWORD.to_vec()) };
            self.authenticated = request[1..] == [password.clone().into_bytes()];
            let reply = if self.authenticated { OK } else { WRONG_PASSWORD };
            return Some(reply.to_vec());
        }
        let name = String::from_utf8_lossy(&request[0]);
        assert!(self.authenticated || wanted.password.is_none(), "{name} comes before AUTH");
        if is(b"HELLO") {
            assert!(self.database == 0 && !self.is_three, "HELLO comes late");
            assert_eq!(request[1..], [b"3"], "nobody asks for another version");
            self.is_three = !wanted.knows_no_hello;
            return Some(if self.is_three { HELLO } else { NO_HELLO }.to_vec());
        }
        if is(b"SELECT") {
            self.database = wanted.database;
            let is_right = request[1..] == [wanted.database.to_string().into_bytes()];
            return Some(if is_right { OK } else { NO_DATABASE }.to_vec());
        }
        assert_eq!(self.database, wanted.database, "{name} comes before SELECT");
        None
    }
}

impl Data {
    /// The text under `key`.
    pub(super) fn text(&self, key: &[u8]) -> Option<&[u8]> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some(text),
            Some(Value::List(_) | Value::Hash(_)) | None => None,
        }
    }

    /// How often `key` was written to.
    pub(super) fn changes_of(&self, key: &[u8]) -> u64 {
        self.changes.get(key).copied().unwrap_or_default()
    }

    /// Takes the first element of the list under `key`.
    pub(super) fn pop(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.values.get_mut(key) {
            Some(Value::List(list)) if !list.is_empty() => Some(list.remove(0)),
            Some(Value::List(_) | Value::Text(_) | Value::Hash(_)) | None => None,
        }
    }

    /// Carries out a request, and answers it. What it finds under keys is added to `findings`.
    pub(super) fn carry_out(
        &mut self,
        request: &[Vec<u8>],
        findings: &mut Vec<(Vec<u8>, Finding)>,
    ) -> Vec<u8> {
        if let Some(reply) = self.scripts.hear(request) {
            return reply;
        }
        let name = request[0].to_ascii_uppercase();
        let arguments = &request[1..];
        for key in written(&name, arguments) {
            *self.changes.entry(key.clone()).or_default() += 1;
        }
        match (&name[..], arguments) {
            (b"PING", []) => b"+PONG\r\n".to_vec(),
            (b"GET", [key]) => {
                let reply = self.get(key);
                findings.push((key.clone(), Finding::Value(reply.clone())));
                reply
            }
            (b"MGET", [_, ..]) => {
                let found = arguments.iter().map(|key| (key.clone(), value_found(self.text(key))));
                findings.extend(found);
                let values: Vec<_> = arguments.iter().map(|key| self.get_or_null(key)).collect();
                array(&values)
            }
            (b"DEL" | b"UNLINK", [_, ..]) => {
                count(arguments, findings, &mut |key| self.values.remove(key).is_some())
            }
            (b"EXISTS" | b"TOUCH", [_, ..]) => {
                count(arguments, findings, &mut |key| self.values.contains_key(key))
            }
            (b"SET", [key, value]) => self.set(key, value),
            (b"SET", [key, value, get]) if get.eq_ignore_ascii_case(b"GET") => {
                self.get_and_set(key, value)
            }
            (b"GETSET", [key, value]) => self.get_and_set(key, value),
            (b"MSET", [_, _, ..]) if arguments.len().is_multiple_of(2) => {
                arguments.chunks(2).for_each(|pair| drop(self.set(&pair[0], &pair[1])));
                b"+OK\r\n".to_vec()
            }
            (b"APPEND", [key, value]) => self.append(key, value),
            (b"INCR", [key]) => self.increment(key),
            (b"LPUSH", [key, _, ..]) => self.push(key, &arguments[1..]),
            // Whoever asks for a range asks for all of it.
            (b"LRANGE", [key, _, _]) => self.list(key),
            (b"HSET", [key, field, value]) => self.set_field(key, field, value),
            (b"HGETALL", [key]) => self.all_fields(key),
            // A scan has everything in its first reply.
            (b"HSCAN", [key, _, _, _]) => self.fields(key),
            (b"GETRANGE", [key, _, _]) => match self.get(key) {
                null if null == b"$-1\r\n" => bulk(b""),
                text => text,
            },
            _ => refuse(&name),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Vec<u8> {
        self.values.insert(key.to_vec(), Value::Text(value.to_vec()));
        b"+OK\r\n".to_vec()
    }

    fn get_and_set(&mut self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let reply = self.get(key);
        if !reply.starts_with(b"-") {
            self.set(key, value);
        }
        reply
    }

    fn append(&mut self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let text = self.values.entry(key.to_vec()).or_insert(Value::Text(Vec::new()));
        match text {
            Value::Text(text) => {
                text.extend_from_slice(value);
                integer(text.len() as i64)
            }
            Value::List(_) | Value::Hash(_) => WRONG_TYPE.to_vec(),
        }
    }

    fn get(&self, key: &[u8]) -> Vec<u8> {
        match self.values.get(key) {
            Some(Value::Text(text)) => bulk(text),
            Some(Value::List(_) | Value::Hash(_)) => WRONG_TYPE.to_vec(),
            None => b"$-1\r\n".to_vec(),
        }
    }

    fn get_or_null(&self, key: &[u8]) -> Vec<u8> {
        self.text(key).map_or(b"$-1\r\n".to_vec(), bulk)
    }

    fn increment(&mut self, key: &[u8]) -> Vec<u8> {
        let text = match self.values.get(key) {
            Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            Some(Value::List(_) | Value::Hash(_)) => return WRONG_TYPE.to_vec(),
            None => "0".to_owned(),
        };
        match text.parse::<i64>() {
            Ok(number) => {
                let text = (number + 1).to_string().into_bytes();
                self.values.insert(key.to_vec(), Value::Text(text));
                integer(number + 1)
            }
            Err(_) => b"-ERR value is not an integer or out of range\r\n".to_vec(),
        }
    }

    fn push(&mut self, key: &[u8], elements: &[Vec<u8>]) -> Vec<u8> {
        let list = self.values.entry(key.to_vec()).or_insert(Value::List(Vec::new()));
        match list {
            Value::Text(_) | Value::Hash(_) => WRONG_TYPE.to_vec(),
            Value::List(list) => {
                elements.iter().for_each(|element| list.insert(0, element.clone()));
                integer(list.len() as i64)
            }
        }
    }

    fn list(&self, key: &[u8]) -> Vec<u8> {
        match self.values.get(key) {
            Some(Value::List(list)) => {
                let elements: Vec<_> = list.iter().map(|element| bulk(element)).collect();
                array(&elements)
            }
            Some(Value::Text(_) | Value::Hash(_)) => WRONG_TYPE.to_vec(),
            None => array(&[]),
        }
    }

    fn set_field(&mut self, key: &[u8], field: &[u8], value: &[u8]) -> Vec<u8> {
        let hash = self.values.entry(key.to_vec()).or_insert(Value::Hash(BTreeMap::new()));
        match hash {
            Value::Hash(fields) => {
                let earlier = fields.insert(field.to_vec(), value.to_vec());
                integer(i64::from(earlier.is_none()))
            }
            Value::Text(_) | Value::List(_) => WRONG_TYPE.to_vec(),
        }
    }

    /// An array in an array, both of which end together.
    fn fields(&self, key: &[u8]) -> Vec<u8> {
        match self.all_fields(key) {
            fields if fields.starts_with(b"*") => array(&[bulk(b"0"), fields]),
            error => error,
        }
    }

    fn all_fields(&self, key: &[u8]) -> Vec<u8> {
        let fields: Vec<_> = match self.values.get(key) {
            Some(Value::Hash(fields)) => {
                fields.iter().flat_map(|(field, value)| [bulk(field), bulk(value)]).collect()
            }
            Some(Value::Text(_) | Value::List(_)) => return WRONG_TYPE.to_vec(),
            None => Vec::new(),
        };
        array(&fields)
    }
}

/// The keys that a request may write to.
fn written<'r>(name: &[u8], arguments: &'r [Vec<u8>]) -> impl Iterator<Item = &'r Vec<u8>> {
    let (most, step) = match name {
        b"SET" | b"GETSET" | b"APPEND" | b"INCR" | b"LPUSH" | b"HSET" => (1, 1),
        b"MSET" => (usize::MAX, 2),
        b"DEL" | b"UNLINK" => (usize::MAX, 1),
        _ => (0, 1),
    };
    arguments.iter().step_by(step).take(most)
}

/// Counts the keys that `is_there` says are there.
fn count(
    keys: &[Vec<u8>],
    findings: &mut Vec<(Vec<u8>, Finding)>,
    is_there: &mut dyn FnMut(&[u8]) -> bool,
) -> Vec<u8> {
    let mut count = 0;
    for key in keys {
        let there = is_there(key);
        findings.push((key.clone(), Finding::Presence(there)));
        count += i64::from(there);
    }
    integer(count)
}

/// The error for a command that is not known, or not with as many arguments.
fn refuse(name: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(name);
    if KNOWN.contains(&&*text) {
        let name = text.to_lowercase();
        return format!("-ERR wrong number of arguments for '{name}' command\r\n").into_bytes();
    }
    format!("-ERR unknown command '{text}'\r\n").into_bytes()
}

const KNOWN: [&str; 18] = [
    "PING", "GET", "SET", "GETSET", "GETRANGE", "APPEND", "MGET", "MSET", "DEL", "UNLINK",
    "EXISTS", "TOUCH", "INCR", "LPUSH", "LRANGE", "HSET", "HSCAN", "HGETALL",
];

const OK: &[u8] = b"+OK\r\n";
const HELLO: &[u8] = b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n\
    $5\r\nproto\r\n:3\r\n";
const NO_HELLO: &[u8] = b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
const NO_PASSWORD: &[u8] = b"-ERR Client sent AUTH, but no password is set\r\n";
const WRONG_PASSWORD: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NO_DATABASE: &[u8] = b"-ERR DB index is out of range\r\n";
const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(data: &mut Data, line: &str) -> String {
        let request: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        String::from_utf8(data.carry_out(&request, &mut Vec::new())).unwrap()
    }

    fn said(lines: &[&str]) -> Vec<Option<String>> {
        let wanted = Wanted { password: Some("pw".to_owned()), database: 3, knows_no_hello: false };
        let mut said = Said::default();
        let mut hear = |line: &str| {
            let request: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            said.hear(&request, &wanted).map(|reply| String::from_utf8(reply).unwrap())
        };
        lines.iter().map(|line| hear(line)).collect()
    }

    #[test]
    fn a_connection_is_served_once_all_is_said() {
        let replies = said(&["AUTH other", "AUTH pw", "HELLO 3", "SELECT 3", "GET a"]);
        let agreed = replies.get(2).cloned().flatten();
        assert!(agreed.is_some_and(|reply| reply.starts_with("%3\r\n")));
        let replies = said(&["AUTH other", "AUTH pw", "SELECT 3", "GET a"]);
        assert!(replies[0].as_ref().is_some_and(|reply| reply.starts_with("-WRONGPASS")));
        assert_eq!(replies[1..3], [Some("+OK\r\n".to_owned()), Some("+OK\r\n".to_owned())]);
        assert_eq!(replies[3], None);
    }

    #[test]
    #[should_panic(expected = "SELECT comes before AUTH")]
    fn a_database_before_the_password_is_a_defect() {
        said(&["SELECT 3"]);
    }

    #[test]
    #[should_panic(expected = "GET comes before SELECT")]
    fn a_request_before_the_database_is_a_defect() {
        said(&["AUTH pw", "GET a"]);
    }

    #[test]
    fn keys_behave_as_in_redis() {
        let mut data = Data::default();
        assert_eq!(answer(&mut data, "set a 1"), "+OK\r\n");
        assert_eq!(answer(&mut data, "INCR a"), ":2\r\n");
        assert_eq!(answer(&mut data, "MGET a b"), "*2\r\n$1\r\n2\r\n$-1\r\n");
        assert_eq!(answer(&mut data, "MSET a x b y"), "+OK\r\n");
        assert!(answer(&mut data, "INCR a").starts_with("-ERR value"));
        assert_eq!(answer(&mut data, "EXISTS a a c"), ":2\r\n");
        assert_eq!(answer(&mut data, "DEL a b a"), ":2\r\n");
        assert_eq!(answer(&mut data, "LPUSH l 1 2"), ":2\r\n");
        assert_eq!(answer(&mut data, "LRANGE l 0 -1"), "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
        assert!(answer(&mut data, "GET l").starts_with("-WRONGTYPE"));
        assert_eq!(answer(&mut data, "GETSET c 1"), "$-1\r\n");
        assert_eq!(answer(&mut data, "SET c 2 get"), "$1\r\n1\r\n");
        assert_eq!(answer(&mut data, "APPEND c 34"), ":3\r\n");
        assert_eq!(answer(&mut data, "GETRANGE c 0 1000"), "$3\r\n234\r\n");
        assert_eq!(answer(&mut data, "HSET h f v"), ":1\r\n");
        let fields = "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
        assert_eq!(answer(&mut data, "HSCAN h 0 COUNT 9"), fields);
        assert!(answer(&mut data, "GETSET l 1").starts_with("-WRONGTYPE"));
        assert!(answer(&mut data, "GET").starts_with("-ERR wrong number"));
        assert!(answer(&mut data, "FLY me").starts_with("-ERR unknown"));
    }
}
