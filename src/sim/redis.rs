//! What a simulated server knows of redis: enough commands to tell right from wrong.

use std::collections::BTreeMap;

use crate::sim::resp::{array, bulk, integer};

/// A server's keys.
#[derive(Default)]
pub(super) struct Data {
    values: BTreeMap<Vec<u8>, Value>,
}

enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

impl Data {
    /// The text under `key`.
    pub(super) fn text(&self, key: &[u8]) -> Option<&[u8]> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some(text),
            Some(Value::List(_)) | None => None,
        }
    }

    /// Carries out a request, and answers it.
    pub(super) fn carry_out(&mut self, request: &[Vec<u8>]) -> Vec<u8> {
        let name = request[0].to_ascii_uppercase();
        let arguments = &request[1..];
        match (&name[..], arguments) {
            (b"PING", []) => b"+PONG\r\n".to_vec(),
            (b"GET", [key]) => self.get(key),
            (b"SET", [key, value]) => {
                self.values.insert(key.clone(), Value::Text(value.clone()));
                b"+OK\r\n".to_vec()
            }
            (b"MGET", [_, ..]) => {
                let values: Vec<_> = arguments.iter().map(|key| self.get_or_null(key)).collect();
                array(&values)
            }
            (b"MSET", [_, _, ..]) if arguments.len().is_multiple_of(2) => {
                for pair in arguments.chunks(2) {
                    self.values.insert(pair[0].clone(), Value::Text(pair[1].clone()));
                }
                b"+OK\r\n".to_vec()
            }
            (b"DEL" | b"UNLINK", [_, ..]) => {
                let gone = arguments.iter().filter(|&key| self.values.remove(key).is_some());
                integer(gone.count() as i64)
            }
            (b"EXISTS" | b"TOUCH", [_, ..]) => {
                let there = arguments.iter().filter(|&key| self.values.contains_key(key));
                integer(there.count() as i64)
            }
            (b"INCR", [key]) => self.increment(key),
            (b"LPUSH", [key, _, ..]) => self.push(key, &arguments[1..]),
            (b"LRANGE", [key, _, _]) => self.list(key),
            (b"PING" | b"GET" | b"SET" | b"MGET" | b"MSET" | b"DEL" | b"UNLINK", _)
            | (b"EXISTS" | b"TOUCH" | b"INCR" | b"LPUSH" | b"LRANGE", _) => {
                let name = String::from_utf8_lossy(&name).to_lowercase();
                format!("-ERR wrong number of arguments for '{name}' command\r\n").into_bytes()
            }
            _ => {
                let name = String::from_utf8_lossy(&name).into_owned();
                format!("-ERR unknown command '{name}'\r\n").into_bytes()
            }
        }
    }

    fn get(&self, key: &[u8]) -> Vec<u8> {
        match self.values.get(key) {
            Some(Value::Text(text)) => bulk(text),
            Some(Value::List(_)) => WRONG_TYPE.to_vec(),
            None => b"$-1\r\n".to_vec(),
        }
    }

    fn get_or_null(&self, key: &[u8]) -> Vec<u8> {
        self.text(key).map_or(b"$-1\r\n".to_vec(), bulk)
    }

    fn increment(&mut self, key: &[u8]) -> Vec<u8> {
        let text = match self.values.get(key) {
            Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            Some(Value::List(_)) => return WRONG_TYPE.to_vec(),
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
            Value::Text(_) => WRONG_TYPE.to_vec(),
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
            Some(Value::Text(_)) => WRONG_TYPE.to_vec(),
            None => array(&[]),
        }
    }
}

const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(data: &mut Data, line: &str) -> String {
        let request: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        String::from_utf8(data.carry_out(&request)).unwrap()
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
        assert!(answer(&mut data, "GET").starts_with("-ERR wrong number"));
        assert!(answer(&mut data, "FLY me").starts_with("-ERR unknown"));
    }
}
