//! What a simulated server knows of memcached, with a parser of its own: the one that is tested
//! may not judge itself.
//!
//! ```text
//!   bytes -> Reader -> words of a line, and the value behind it -> Data -> reply
//!               \-> a value that is too large: answered at its line, and skipped
//! ```

use std::collections::BTreeMap;

use crate::sim::findings::Finding;
use crate::sim::random::Random;
use crate::sim::resp::Frame;

/// A server's items.
pub(super) struct Data {
    items: BTreeMap<Vec<u8>, Item>,
    /// Changes so far, by which each item's last one is known.
    changes: u64,
}

struct Item {
    flags: Vec<u8>,
    value: Vec<u8>,
    unique: u64,
}

/// Cuts what arrives on one connection into requests.
pub(super) struct Reader {
    /// Bytes of a value that nobody wants, and its line break.
    skip: usize,
    value_bytes_max: usize,
}

impl Reader {
    /// One of a server that takes values of so many bytes.
    pub(super) fn new(value_bytes_max: usize) -> Self {
        Self { skip: 0, value_bytes_max }
    }

    /// Takes the next request from the front of `input`: the words of its line, and the value if it
    /// has one. One with a value that is too large is taken without it, before that has arrived.
    ///
    /// Panics at what no proxy should forward: a line that memcached would refuse, or would not
    /// answer.
    pub(super) fn next(&mut self, input: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
        let skipped = self.skip.min(input.len());
        input.drain(..skipped);
        self.skip -= skipped;
        let line_end = input.iter().position(|&byte| byte == b'\n')?;
        let shown = String::from_utf8_lossy(&input[..line_end]).into_owned();
        assert!(shown.ends_with('\r'), "a memcached gets a line {shown:?}");
        let words = input[..line_end - 1].split(|&byte| byte == b' ').filter(|w| !w.is_empty());
        let mut words: Vec<Vec<u8>> = words.map(<[u8]>::to_vec).collect();
        let value_bytes = match check(&words) {
            Ok(value_bytes) => value_bytes,
            Err(what) => panic!("a memcached gets {shown:?}: {what}"),
        };
        let Some(value_bytes) = value_bytes else {
            input.drain(..=line_end);
            return Some(words);
        };
        if value_bytes > self.value_bytes_max {
            input.drain(..=line_end);
            self.skip = value_bytes + 2;
            return Some(words);
        }
        let start = line_end + 1;
        let end = start + value_bytes;
        let line_break = input.get(end..end + 2)?;
        assert_eq!(line_break, b"\r\n", "{shown:?}: its value does not end there");
        words.push(input[start..end].to_vec());
        input.drain(..end + 2);
        Some(words)
    }
}

/// How many bytes of a value follow a line; none if none does. An error says what is wrong.
fn check(words: &[Vec<u8>]) -> Result<Option<usize>, &'static str> {
    let name = words.first().map_or(&b""[..], |name| name);
    let (least, most, value) = match name {
        b"get" | b"gets" => (2, usize::MAX, None),
        b"gat" | b"gats" => (3, usize::MAX, None),
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => (5, 5, Some(4)),
        b"cas" => (6, 6, Some(4)),
        b"delete" => (2, 2, None),
        b"incr" | b"decr" | b"touch" => (3, 3, None),
        b"flush_all" | b"version" => (1, 1, None),
        _ => return Err("nobody knows that"),
    };
    if !(least..=most).contains(&words.len()) {
        return Err("as many words are refused, or silence it");
    }
    let Some(place) = value else { return Ok(None) };
    match number(&words[place]) {
        Some(count) => Ok(Some(count as usize)),
        None => Err("its length is no number"),
    }
}

impl Data {
    pub(super) fn new() -> Self {
        Self { items: BTreeMap::new(), changes: 0 }
    }

    /// The value under `key`.
    pub(super) fn text(&self, key: &[u8]) -> Option<&[u8]> {
        self.items.get(key).map(|item| &item.value[..])
    }

    /// Carries out a request, and answers it. What it finds under keys is added to `findings`: the
    /// block that a reply to `get` has of it, which may be empty.
    pub(super) fn carry_out(
        &mut self,
        request: &[Vec<u8>],
        findings: &mut Vec<(Vec<u8>, Finding)>,
    ) -> Vec<u8> {
        let text = String::from_utf8_lossy(&request[0]).into_owned();
        let reply: &[u8] = match (&text[..], &request[1..]) {
            ("get" | "gat" | "gets" | "gats", words) => {
                let keys = &words[usize::from(text.starts_with("gat"))..];
                return self.get(keys, text.ends_with('s'), findings);
            }
            ("incr" | "decr", [key, delta]) => return self.count(key, delta, text == "incr"),
            ("version", []) => b"VERSION 1.6.0\r\n",
            ("flush_all", []) => {
                self.items.clear();
                b"OK\r\n"
            }
            ("delete", [key]) => match self.items.remove(key) {
                Some(_) => b"DELETED\r\n",
                None => NOT_FOUND,
            },
            ("touch", [key, _]) if self.items.contains_key(key) => b"TOUCHED\r\n",
            ("touch", _) => NOT_FOUND,
            (name, [key, flags, _, _, rest @ .., value]) if has_value(request) => {
                self.store(name, key, flags, rest.first().map(|unique| &unique[..]), value)
            }
            (_, [key, ..]) => {
                // Nobody is to be given what was to be written over.
                self.items.remove(key);
                TOO_LARGE
            }
            (name, words) => unreachable!("{name} of {} words has been checked", words.len()),
        };
        reply.to_vec()
    }

    fn get(
        &self,
        keys: &[Vec<u8>],
        has_uniques: bool,
        findings: &mut Vec<(Vec<u8>, Finding)>,
    ) -> Vec<u8> {
        let mut reply = Vec::new();
        for key in keys {
            let block = self.items.get(key).map(|item| item.block(key, has_uniques));
            let block = block.unwrap_or_default();
            reply.extend_from_slice(&block);
            findings.push((key.clone(), Finding::Value(block)));
        }
        reply.extend_from_slice(END);
        reply
    }

    fn store(
        &mut self,
        name: &str,
        key: &[u8],
        flags: &[u8],
        unique: Option<&[u8]>,
        value: &[u8],
    ) -> &'static [u8] {
        let old = self.items.get(key);
        let joined = |old: &Item| match name {
            "append" => [&old.value[..], value].concat(),
            _ => [value, &old.value[..]].concat(),
        };
        let (flags, value) = match (name, old) {
            ("add", Some(_)) | ("replace" | "append" | "prepend", None) => {
                return b"NOT_STORED\r\n";
            }
            ("append" | "prepend", Some(old)) => (old.flags.clone(), joined(old)),
            ("cas", None) => return NOT_FOUND,
            ("cas", Some(old)) if unique.and_then(number) != Some(old.unique) => {
                return b"EXISTS\r\n";
            }
            (_, _) => (flags.to_vec(), value.to_vec()),
        };
        self.put(key, flags, value);
        b"STORED\r\n"
    }

    fn count(&mut self, key: &[u8], delta: &[u8], up: bool) -> Vec<u8> {
        let Some(item) = self.items.get(key) else { return NOT_FOUND.to_vec() };
        let (Some(count), Some(delta)) = (number(&item.value), number(delta)) else {
            return NO_NUMBER.to_vec();
        };
        let sum = if up { count.wrapping_add(delta) } else { count.saturating_sub(delta) };
        let flags = item.flags.clone();
        self.put(key, flags, sum.to_string().into_bytes());
        format!("{sum}\r\n").into_bytes()
    }

    fn put(&mut self, key: &[u8], flags: Vec<u8>, value: Vec<u8>) {
        self.changes += 1;
        self.items.insert(key.to_vec(), Item { flags, value, unique: self.changes });
    }
}

impl Item {
    fn block(&self, key: &[u8], has_unique: bool) -> Vec<u8> {
        let flags = String::from_utf8_lossy(&self.flags);
        let unique = if has_unique { format!(" {}", self.unique) } else { String::new() };
        let head = format!(" {flags} {}{unique}\r\n", self.value.len()).into_bytes();
        [b"VALUE ", key, &head, &self.value, b"\r\n"].concat()
    }
}

/// A request in the words of redis that say as much of it: which keys, and what is stored. By them
/// the ledger knows its marks.
pub(super) fn in_other_words(request: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let keys: &[Vec<u8>] = match &request[0][..] {
        b"get" | b"gets" => &request[1..],
        b"gat" | b"gats" => &request[2..],
        b"flush_all" | b"version" => return vec![b"PING".to_vec()],
        _ if has_value(request) => {
            let value = request.last().expect("it has one").clone();
            return vec![b"SET".to_vec(), request[1].clone(), value];
        }
        _ => &request[1..2],
    };
    [&[b"MGET".to_vec()], keys].concat()
}

/// Whether a value was read with a request.
fn has_value(request: &[Vec<u8>]) -> bool {
    match &request[0][..] {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => request.len() == 6,
        b"cas" => request.len() == 7,
        _ => false,
    }
}

/// What cannot be the reply to a request: nothing that memcached says, or only to another request.
pub(super) fn garbage(request: &[Vec<u8>], random: &mut Random) -> &'static [u8] {
    if request[0] == b"get" && request.len() == 2 && random.chance(500) {
        return ANOTHERS;
    }
    let own: &[&[u8]] = match &request[0][..] {
        // Among several keys, another one may look like one of them.
        b"get" | b"gat" | b"gets" | b"gats" => match in_other_words(request).len() {
            2 => &[END],
            _ => &[END, ANOTHERS, ANOTHERS_UNIQUE],
        },
        b"delete" => &[b"DELETED\r\n", NOT_FOUND],
        b"incr" | b"decr" => &[b"12\r\n", NOT_FOUND],
        b"touch" => &[b"TOUCHED\r\n", NOT_FOUND],
        b"flush_all" => &[b"OK\r\n"],
        b"version" => &[b"VERSION 2\r\n"],
        _ => &[b"STORED\r\n", NOT_FOUND],
    };
    let others: Vec<_> = GARBAGE.iter().filter(|line| !own.contains(line)).collect();
    others[random.below(others.len())]
}

/// What stands at the front of `bytes`, which are replies.
pub(super) fn frame(bytes: &[u8]) -> Frame {
    let mut at = 0;
    loop {
        let Some(line) = bytes[at..].iter().position(|&byte| byte == b'\n') else {
            return Frame::Partial;
        };
        let (line, end) = (&bytes[at..at + line + 1], at + line + 1);
        if !line.ends_with(b"\r\n") || line[0] <= b' ' {
            return Frame::Garbage;
        }
        if !line.starts_with(b"VALUE ") {
            return Frame::Whole(end);
        }
        let len = line[..line.len() - 2].split(|&byte| byte == b' ').nth(3).and_then(number);
        let Some(len) = len else { return Frame::Garbage };
        at = end + len as usize + 2;
        match bytes.get(at - 2..at) {
            Some(b"\r\n") => {}
            Some(_) => return Frame::Garbage,
            None => return Frame::Partial,
        }
    }
}

/// What a reply to a get has of each of `keys`, in their order: a block, or nothing. None if it has
/// anything else, or in another order.
pub(super) fn elements_of<'r>(bytes: &'r [u8], keys: &[Vec<u8>]) -> Option<Vec<&'r [u8]>> {
    if frame(bytes) != Frame::Whole(bytes.len()) {
        return None;
    }
    let mut rest = bytes.strip_suffix(END)?;
    let mut elements = Vec::new();
    for key in keys {
        let is_next = rest
            .strip_prefix(b"VALUE ")
            .and_then(|rest| rest.strip_prefix(&key[..]))
            .is_some_and(|rest| rest.starts_with(b" "));
        let len = if is_next { block_len(rest)? } else { 0 };
        elements.push(&rest[..len]);
        rest = &rest[len..];
    }
    rest.is_empty().then_some(elements)
}

/// The length of the block at the front of whole ones.
fn block_len(blocks: &[u8]) -> Option<usize> {
    let line = blocks.iter().position(|&byte| byte == b'\r')?;
    let len = blocks[..line].split(|&byte| byte == b' ').nth(3).and_then(number)?;
    Some(line + 2 + len as usize + 2)
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A value that is larger than the server takes.
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";

const END: &[u8] = b"END\r\n";
const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
const NO_NUMBER: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";

/// Values under a key that nobody asks for.
const ANOTHERS: &[u8] = b"VALUE another's 0 1\r\nx\r\nEND\r\n";
const ANOTHERS_UNIQUE: &[u8] = b"VALUE another's 0 1 7\r\nx\r\nEND\r\n";

/// Replies to other requests, and no replies at all.
const GARBAGE: [&[u8]; 14] = [
    b"STORED\r\n",
    b"DELETED\r\n",
    b"TOUCHED\r\n",
    NOT_FOUND,
    END,
    b"12\r\n",
    b"OK\r\n",
    b"VERSION 2\r\n",
    ANOTHERS,
    ANOTHERS_UNIQUE,
    b"VALUE another's 0\r\n",
    b"VALUE another's 0 -1\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\0\r\n",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Vec<String>> {
        let mut reader = Reader::new(20);
        let (mut input, mut requests) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            while let Some(request) = reader.next(&mut input) {
                let words = request.iter().map(|word| String::from_utf8_lossy(word).into_owned());
                requests.push(words.collect());
            }
        }
        assert!(input.is_empty(), "{input:?} is left");
        requests
    }

    fn answers(data: &mut Data, requests: &[u8]) -> String {
        let (mut input, mut reader, mut replies) = (requests.to_vec(), Reader::new(20), Vec::new());
        while let Some(request) = reader.next(&mut input) {
            replies.extend(data.carry_out(&request, &mut Vec::new()));
        }
        String::from_utf8(replies).unwrap()
    }

    #[test]
    fn requests_are_cut_out_wherever_they_are_split() {
        let bytes =
            b"set a 0 0 4\r\n\r\n\r\n\r\nget a b\r\nset c 0 0 21\r\n012345678901234567890\r\n\
                      version\r\n";
        let expected: &[&[&str]] = &[
            &["set", "a", "0", "0", "4", "\r\n\r\n"],
            &["get", "a", "b"],
            &["set", "c", "0", "0", "21"],
            &["version"],
        ];
        for split in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..split], &bytes[split..]]), expected);
        }
    }

    #[test]
    #[should_panic(expected = "as many words are refused, or silence it")]
    fn silence_is_a_defect() {
        read(&[b"delete a noreply\r\n"]);
    }

    #[test]
    #[should_panic(expected = "its value does not end there")]
    fn a_value_of_another_length_is_a_defect() {
        read(&[b"set a 0 0 2\r\nabcd\r\n"]);
    }

    #[test]
    fn keys_behave_as_in_memcached() {
        let mut data = Data::new();
        let replies = answers(
            &mut data,
            b"add a 5 0 1\r\n1\r\nadd a 0 0 1\r\n2\r\nincr a 9\r\nget a b a\r\n\
              append a 0 0 1\r\nx\r\ngets a\r\ncas a 0 0 1 1\r\nz\r\ncas a 6 0 1 3\r\nz\r\n\
              gat 0 a\r\nincr a 1\r\ndelete a\r\ndelete a\r\ntouch a 0\r\nset b 0 0 99\r\n",
        );
        assert_eq!(
            replies,
            "STORED\r\nNOT_STORED\r\n10\r\nVALUE a 5 2\r\n10\r\nVALUE a 5 2\r\n10\r\nEND\r\n\
             STORED\r\nVALUE a 5 3 3\r\n10x\r\nEND\r\nEXISTS\r\nSTORED\r\n\
             VALUE a 6 1\r\nz\r\nEND\r\n\
             CLIENT_ERROR cannot increment or decrement non-numeric value\r\n\
             DELETED\r\nNOT_FOUND\r\nNOT_FOUND\r\nSERVER_ERROR object too large for cache\r\n"
        );
    }

    #[test]
    fn a_reply_is_whole_at_its_last_byte_only() {
        let reply = b"VALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 0\r\n\r\nEND\r\n";
        for end in 0..reply.len() {
            assert_eq!(frame(&reply[..end]), Frame::Partial, "{end}");
        }
        assert_eq!(frame(&[&reply[..], b"STORED\r\n"].concat()), Frame::Whole(reply.len()));
        assert_eq!(frame(b"VALUE a 0 5\r\nabcdefgh"), Frame::Garbage);
        let keys = |names: &[&str]| -> Vec<Vec<u8>> {
            names.iter().map(|name| name.as_bytes().to_vec()).collect()
        };
        let elements = elements_of(reply, &keys(&["x", "a", "b", "a"])).unwrap();
        assert_eq!(elements, [&b""[..], &reply[..20], &reply[20..35], b""]);
        for wrong in [&["b", "a"][..], &["a"], &["b"]] {
            assert_eq!(elements_of(reply, &keys(wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn garbage_is_no_reply_to_the_request() {
        let mut random = Random::new(5);
        for line in ["get a", "get a b", "gets a", "delete a", "incr a 1", "touch a 0", "version"] {
            let request: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let right = Data::new().carry_out(&request, &mut Vec::new());
            for _ in 0..100 {
                assert_ne!(garbage(&request, &mut random), right);
            }
        }
    }
}
