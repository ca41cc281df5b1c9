//! What clients send: keys of every kind, and requests over them.

use super::support::client::command;

/// A generator of numbers: the same seed makes the same keys.
pub struct Random(u64);

impl Random {
    /// One that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// Keys of every kind, each different from the others: any bytes, or as memcached allows them.
pub fn keys(random: &mut Random, any_bytes: bool) -> Vec<Vec<u8>> {
    let odd: [&[u8]; 14] = [
        b"{}x",
        b"{{a}}b",
        b"}{",
        b"{",
        b"{a",
        b"a}b{c}",
        b"$$x",
        b"$$$",
        b"$a",
        b"nil:{a}",
        b"nil",
        b"1",
        b"\xff",
        b"\x80\x81",
    ];
    let mut keys: Vec<Vec<u8>> = odd.iter().map(|key| key.to_vec()).collect();
    for number in 0..30 {
        keys.push(format!("key:{number}:{}", random.below(1 << 30)).into_bytes());
        let (head, tag, tail) = (random.below(1 << 20), random.below(40), random.below(1 << 20));
        keys.push(format!("{head}{{{tag}}}{tail}").into_bytes());
        keys.push(format!("${tag}${head}").into_bytes());
        let len = 1 + random.below(40);
        keys.push(random.bytes(len));
        let high = random.bytes(len).into_iter().map(|byte| byte | 0x80);
        keys.push(high.collect());
    }
    let len = 200 + random.below(50);
    keys.push(random.bytes(len));
    if any_bytes {
        keys.push(Vec::new());
        let len = 1000 + random.below(10_000);
        keys.push(random.bytes(len));
    } else {
        for key in &mut keys {
            key.iter_mut()
                .filter(|byte| !byte.is_ascii_graphic() && byte.is_ascii())
                .for_each(|byte| *byte = b'_');
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

/// A pipeline of Redis's requests, with a `GET` of each key once at its begin. The last reply is
/// that of a `PING`.
pub fn redis(random: &mut Random, keys: &[Vec<u8>]) -> Vec<u8> {
    let mut stream: Vec<u8> = keys.iter().flat_map(|key| command(&[&b"GET"[..], key])).collect();
    for key in keys {
        let len = random.below(300);
        let value = random.bytes(len);
        let number: &[u8] = b"100";
        let words: Vec<&[u8]> = match random.below(14) {
            0 => vec![b"SET", key, &value],
            1 => vec![b"set", key, &value, b"EX", number],
            2 => vec![b"INCR", key],
            3 => vec![b"SETEX", key, number, &value],
            4 => vec![b"LPUSH", key, &value, b"", &value],
            5 => vec![b"hSet", key, &value, &value],
            6 => vec![b"EVAL", b"return 1", b"1", key, &value],
            7 => vec![b"ZADD", key, number, &value],
            8 => vec![b"EXPIRE", key, number],
            9 => vec![b"LRANGE", key, b"0", b"-1"],
            10 => vec![b"DEL", key],
            11 => vec![b"MGET", key],
            12 => vec![b"MSET", key, &value],
            _ => vec![b"SORT", key, b"LIMIT", b"0", b"1"],
        };
        stream.extend(command(&words));
    }
    for name in ["MGET", "DEL", "UNLINK", "TOUCH", "MSET", "mget"] {
        let mut words = vec![name.as_bytes()];
        for _ in 0..10 + random.below(30) {
            // Some come twice.
            words.push(&keys[random.below(keys.len())]);
            if name == "MSET" {
                words.push(&keys[random.below(keys.len())]);
            }
        }
        stream.extend(command(&words));
    }
    stream.extend(command(&["GET", "wrong kind"]));
    stream.extend(command(&["PING"]));
    stream
}

/// A pipeline of memcached's requests, with a `get` of each key once at its begin. The last reply
/// is to `get ~end`.
pub fn memcached(random: &mut Random, keys: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for key in keys {
        stream.extend([b"get ", &key[..], b"\r\n"].concat());
    }
    for key in keys {
        let len = random.below(300);
        let value = [random.bytes(len), b"\r\n".to_vec()].concat();
        let (head, tail): (&str, String) = match random.below(9) {
            0 => ("set", format!(" 1 0 {len}\r\n")),
            1 => ("add", format!(" 0 100 {len}\r\n")),
            2 => ("cas", format!(" 0 0 {len} 7\r\n")),
            3 => ("set", format!(" 0 0 {len} noreply\r\n")),
            4 => ("replace", format!(" 0 0 {len}\r\n")),
            5 => ("incr", " 1\r\n".to_owned()),
            6 => ("delete", "\r\n".to_owned()),
            7 => ("touch", " 100\r\n".to_owned()),
            _ => ("delete", " noreply\r\n".to_owned()),
        };
        stream.extend([head.as_bytes(), b" ", key, tail.as_bytes()].concat());
        if matches!(head, "set" | "add" | "cas" | "replace") {
            stream.extend(value);
        }
    }
    for name in ["get", "gets"] {
        stream.extend(name.as_bytes());
        for _ in 0..10 + random.below(30) {
            // A key that is missing may change the order of the others in nutcracker's reply.
            let key = &keys[random.below(keys.len())];
            if !key.starts_with(b"nil") {
                stream.extend([b" ", &key[..]].concat());
            }
        }
        stream.extend(b"\r\n");
    }
    stream.extend(b"get ~end\r\n");
    stream
}

/// A request as a message shows it.
pub fn text(words: &[Vec<u8>]) -> String {
    let shown = |word: &Vec<u8>| String::from_utf8_lossy(word).replace('\x01', "\\x01");
    words.iter().map(shown).collect::<Vec<_>>().join(" ")
}
