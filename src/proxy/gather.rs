//! One reply out of several: a request whose keys are on more than one server.

use crate::io::Chain;
use crate::proto::ReplyParser;
use crate::proto::commands::Split;
use crate::proto::resp;
use crate::proxy::source::Source;
use crate::proxy::values::{END, Found, Names};

mod servers;

pub(crate) use servers::Rule;

/// A request over several servers. Each fragment fills its part and the last completes it.
///
/// ```text
///   MGET a b c d      fragment 0 (server 2): a c        order: [0, 1, 0, 1]
///                     fragment 1 (server 5): b d
/// ```
///
/// When a fragment fails the gather still waits for the rest, and then answers with the words of
/// the first failed fragment; fragments are numbered by their first key.
pub(crate) struct Gather {
    split: Split,
    /// For a request that servers got whole; `split` says nothing then.
    rule: Option<Rule>,
    parts: Vec<Part>,
    /// How many keys each fragment has; for `Split::Collect` only.
    keys: Vec<u32>,
    /// Which fragment answers each key; filled for `Split::Collect` and `Split::Values` only.
    order: Vec<u32>,
    /// The keys, for `Split::Values`; for `Split::All` the servers, by fragment.
    names: Names,
    waiting: u32,
    held_bytes: usize,
    /// Whether an error stands in place of a reply.
    has_failed: bool,
}

/// Where the elements of an array lie in its bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Elements<'a> {
    /// Where the array itself begins: behind its attributes, which go no further.
    pub(crate) at: u32,
    /// Where the first begins: behind the array's head.
    pub(crate) start: u32,
    /// Where each ends.
    pub(crate) ends: &'a [u32],
}

impl<'a> Elements<'a> {
    /// Those of the reply that a parser has just found.
    #[inline]
    pub(crate) fn of(parser: &'a ReplyParser) -> Self {
        Self { at: parser.start(), start: parser.elements_start(), ends: parser.elements() }
    }
}

enum Part {
    Waiting,
    /// A whole array, its head taken off, and where each element ends from the front.
    Elements(Chain, std::vec::IntoIter<u32>),
    Number(i64),
    Values(Found),
    /// A whole reply.
    Reply(Chain),
    Done,
    /// A whole error reply.
    Failed(Vec<u8>),
}

impl Gather {
    /// A gather of `fragments` parts. `order` names the part of each key.
    pub(crate) fn new(split: Split, fragments: usize, order: Vec<u32>) -> Self {
        let mut parts = Vec::with_capacity(fragments);
        parts.resize_with(fragments, || Part::Waiting);
        let mut keys = vec![0; fragments];
        let waiting = fragments as u32;
        order.iter().for_each(|&part| keys[part as usize] += 1);
        Self {
            split,
            rule: None,
            parts,
            keys,
            order,
            names: Names::default(),
            waiting,
            held_bytes: 0,
            has_failed: false,
        }
    }

    /// A gather of what is found of `names`, in their order.
    pub(crate) fn of_values(fragments: usize, order: Vec<u32>, names: Names) -> Self {
        Self { names, ..Self::new(Split::Values, fragments, order) }
    }

    /// A gather of what each of the servers with these names does.
    pub(crate) fn of_servers(split: Split, names: Names) -> Self {
        let gather = Self::new(split, names.len(), Vec::new());
        Self { names, ..gather }
    }

    /// A gather of the replies to a request that so many servers got whole.
    pub(crate) fn of_replies(rule: Rule, servers: usize) -> Self {
        Self { rule: Some(rule), ..Self::new(Split::No, servers, Vec::new()) }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.waiting == 0
    }

    /// Whether it needs to know where the elements of its fragments' replies end.
    pub(crate) fn wants_elements(&self) -> bool {
        matches!(self.split, Split::Collect | Split::Values)
            || self.rule.is_some_and(Rule::wants_elements)
    }

    /// Bytes of fragments' replies as they came, heads and all.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes of memory that its fragments take before any reply has come.
    pub(crate) fn fragment_bytes(&self) -> usize {
        let parts = self.parts.len() * (size_of::<Part>() + size_of::<u32>());
        parts + self.names.bytes()
    }

    /// Takes a fragment's reply. `elements` are those of an array, if it wants to know.
    pub(crate) fn fill(&mut self, fragment: u32, source: Source<'_>, elements: Elements<'_>) {
        self.held_bytes += source.len();
        let mut reply = Chain::new();
        source.move_to(&mut reply);
        let part = self.understand(reply, elements);
        self.put(fragment, part);
    }

    /// Takes an error in place of a fragment's reply. Returns whether it is the first.
    pub(crate) fn fail(&mut self, fragment: u32, reply: &[u8]) -> bool {
        self.held_bytes += reply.len();
        self.put(fragment, Part::Failed(reply.to_vec()));
        !std::mem::replace(&mut self.has_failed, true)
    }

    /// Writes the whole reply. To be called once, when complete.
    pub(crate) fn compose(&mut self, output: &mut Chain) {
        debug_assert!(self.is_complete());
        if let Some(rule) = self.rule {
            return rule.compose(&mut self.parts, output);
        }
        if self.split == Split::Silence {
            return;
        }
        if let Some((part, words)) = self.first_failure() {
            return self.tell(part, words, output);
        }
        match self.split {
            Split::Collect => self.compose_array(output),
            Split::Sum => servers::number(b':', servers::sum(&self.parts), output),
            Split::Values => self.compose_values(output),
            Split::All => output.push_copy(OK),
            Split::Ok | Split::No | Split::Silence => output.push_copy(b"+OK\r\n"),
        }
    }

    fn put(&mut self, fragment: u32, part: Part) {
        let place = &mut self.parts[fragment as usize];
        assert!(matches!(place, Part::Waiting), "a fragment is answered once");
        *place = part;
        self.waiting -= 1;
    }

    fn understand(&self, mut reply: Chain, elements: Elements<'_>) -> Part {
        if let Some(rule) = self.rule {
            return rule.understand(reply, elements);
        }
        match self.split {
            Split::Values => {
                return Found::new(reply, elements.ends).map_or_else(Part::Failed, Part::Values);
            }
            Split::All => {
                let words = reply.to_vec();
                return if words == OK { Part::Done } else { Part::Failed(words) };
            }
            Split::Silence => return Part::Done,
            Split::No | Split::Collect | Split::Sum | Split::Ok => {}
        }
        reply.advance(elements.at as usize);
        let first = reply.slices().next().and_then(|piece| piece.first().copied());
        match (self.split, first) {
            (_, Some(b'-' | b'!')) => Part::Failed(reply.to_vec()),
            (Split::Collect, Some(b'*')) => {
                reply.advance((elements.start - elements.at) as usize);
                let ends: Vec<u32> = elements.ends.iter().map(|e| e - elements.start).collect();
                Part::Elements(reply, ends.into_iter())
            }
            (Split::Sum, Some(b':')) => match resp::integer(&reply.to_vec()) {
                Some(number) => Part::Number(number),
                None => Part::Failed(UNEXPECTED.to_vec()),
            },
            (Split::Ok, Some(b'+')) => Part::Done,
            (_, _) => Part::Failed(UNEXPECTED.to_vec()),
        }
    }

    /// The first fragment that failed, and its words.
    fn first_failure(&self) -> Option<(usize, &[u8])> {
        for (number, (part, &keys)) in self.parts.iter().zip(&self.keys).enumerate() {
            match part {
                Part::Failed(words) => return Some((number, words)),
                Part::Elements(_, ends) if ends.len() != keys as usize => {
                    return Some((number, UNEXPECTED));
                }
                Part::Elements(..)
                | Part::Values(_)
                | Part::Waiting
                | Part::Number(_)
                | Part::Reply(_)
                | Part::Done => {}
            }
        }
        None
    }

    /// Writes the words of a fragment that failed. Where all servers were asked, they say which it
    /// was: nobody could find out by the keys.
    fn tell(&self, part: usize, words: &[u8], output: &mut Chain) {
        let name = self.names.iter().nth(part).filter(|_| self.split == Split::All);
        match (name, words.strip_prefix(SERVER_ERROR)) {
            (Some(name), Some(words)) => {
                [SERVER_ERROR, name, b": ", words].iter().for_each(|part| output.push_copy(part));
            }
            (_, _) => output.push_copy(words),
        }
    }

    fn compose_values(&mut self, output: &mut Chain) {
        let mut values = Chain::new();
        let mut head = Vec::new();
        for (name, &number) in self.names.iter().zip(&self.order) {
            if let Part::Values(found) = &mut self.parts[number as usize] {
                found.take(name, &mut head, &mut values);
            }
        }
        let all_taken = self.parts.iter().all(|part| match part {
            Part::Values(found) => found.is_taken(),
            Part::Waiting
            | Part::Elements(..)
            | Part::Number(_)
            | Part::Reply(_)
            | Part::Done
            | Part::Failed(_) => false,
        });
        if !all_taken {
            return output.push_copy(UNEXPECTED_VALUE);
        }
        output.append(&mut values);
        output.push_copy(END);
    }

    fn compose_array(&mut self, output: &mut Chain) {
        output.push_copy(b"*");
        output.push_copy(itoa::Buffer::new().format(self.order.len()).as_bytes());
        output.push_copy(b"\r\n");
        let mut taken = vec![0_u32; self.parts.len()];
        for &number in &self.order {
            let Part::Elements(reply, ends) = &mut self.parts[number as usize] else {
                unreachable!("no part failed, and a collect has no others");
            };
            let end = ends.next().expect("as many elements as keys, checked above");
            let taken = &mut taken[number as usize];
            reply.move_front((end - *taken) as usize, output);
            *taken = end;
        }
    }
}

/// What memcached says when a request has done what it should.
const OK: &[u8] = b"OK\r\n";

/// What memcached begins with when a server could not do it.
const SERVER_ERROR: &[u8] = b"SERVER_ERROR ";

/// twemproxy's words (`EINVAL`) for a fragment's reply of the wrong type.
const UNEXPECTED: &[u8] = b"-ERR Invalid argument\r\n";

/// The same, for a value that nobody asked for.
const UNEXPECTED_VALUE: &[u8] = b"SERVER_ERROR Invalid argument\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Buffer;
    use bytes::Bytes;

    fn fill(gather: &mut Gather, fragment: u32, reply: &[u8], ends: &[u32]) {
        let mut before = Chain::new();
        let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(reply));
        let source = Source::new(&mut before, &mut buffer, 0..reply.len());
        gather.fill(fragment, source, Elements { at: 0, start: 4, ends });
    }

    fn composed(gather: &mut Gather) -> Vec<u8> {
        assert!(gather.is_complete());
        let mut output = Chain::new();
        gather.compose(&mut output);
        output.to_vec()
    }

    #[test]
    fn elements_come_in_key_order() {
        let mut gather = Gather::new(Split::Collect, 2, vec![0, 1, 1, 0]);
        fill(&mut gather, 1, b"*2\r\n$1\r\nb\r\n$-1\r\n", &[11, 16]);
        assert!(!gather.is_complete());
        fill(&mut gather, 0, b"*2\r\n$1\r\na\r\n$2\r\ndd\r\n", &[11, 19]);
        assert_eq!(composed(&mut gather), b"*4\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n$2\r\ndd\r\n");
    }

    #[test]
    fn numbers_are_summed() {
        let mut gather = Gather::new(Split::Sum, 3, Vec::new());
        fill(&mut gather, 0, b":2\r\n", &[]);
        fill(&mut gather, 2, b":0\r\n", &[]);
        fill(&mut gather, 1, b":40\r\n", &[]);
        assert_eq!(composed(&mut gather), b":42\r\n");
    }

    #[test]
    fn the_first_failed_part_speaks_after_all_have_answered() {
        let mut gather = Gather::new(Split::Ok, 3, Vec::new());
        assert!(gather.fail(2, b"-ERR Connection refused\r\n"));
        fill(&mut gather, 1, b"-READONLY no\r\n", &[]);
        assert!(!gather.is_complete());
        fill(&mut gather, 0, b"+OK\r\n", &[]);
        assert_eq!(composed(&mut gather), b"-READONLY no\r\n");
    }

    #[test]
    fn a_reply_of_the_wrong_shape_is_an_error() {
        let mut gather = Gather::new(Split::Collect, 1, vec![0, 0]);
        fill(&mut gather, 0, b"*1\r\n$1\r\na\r\n", &[11]);
        assert_eq!(composed(&mut gather), UNEXPECTED);
        let mut gather = Gather::new(Split::Sum, 1, Vec::new());
        fill(&mut gather, 0, b"+OK\r\n", &[]);
        assert_eq!(composed(&mut gather), UNEXPECTED);
    }
}
