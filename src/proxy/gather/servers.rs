//! The reply to a request that servers got whole: every server of a pool, or one in turn.

use crate::io::Chain;
use crate::proto::commands::Merge;
use crate::proto::resp;
use crate::proxy::gather::{Elements, Part, UNEXPECTED};
use crate::proxy::reject;

/// What becomes of the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Those of all servers become one.
    Merge {
        merge: Merge,
        /// A random number, for what is chosen among servers.
        draw: u32,
    },
    /// That of one server, whose cursor is made one of the whole pool.
    Cursor {
        /// Which server it is.
        number: u32,
        /// How many the pool has.
        servers: u32,
    },
}

impl Rule {
    pub(super) fn wants_elements(self) -> bool {
        match self {
            Self::Merge { merge: Merge::Concat | Merge::And | Merge::SumPairs, .. } => true,
            Self::Cursor { .. } => true,
            Self::Merge { .. } => false,
        }
    }

    /// What a server's whole reply comes to.
    pub(super) fn understand(self, mut reply: Chain, elements: Elements<'_>) -> Part {
        reply.advance(elements.at as usize);
        let first = reply.slices().next().and_then(|piece| piece.first().copied());
        let merge = match (self, first) {
            // An error of RESP3 may be a bulk string.
            (_, Some(b'-' | b'!')) => return Part::Failed(reply.to_vec()),
            (_, Some(b'*')) if self.wants_elements() => {
                reply.advance((elements.start - elements.at) as usize);
                let ends: Vec<u32> = elements.ends.iter().map(|e| e - elements.start).collect();
                return Part::Elements(reply, ends.into_iter());
            }
            (Self::Merge { merge, .. }, _) => merge,
            (Self::Cursor { .. }, _) => return Part::Failed(UNEXPECTED.to_vec()),
        };
        match (merge, first) {
            (Merge::Ok, Some(b'+')) => Part::Done,
            (Merge::Sum, Some(b':')) => match resp::integer(&reply.to_vec()) {
                Some(number) => Part::Number(number),
                None => Part::Failed(UNEXPECTED.to_vec()),
            },
            (Merge::Same | Merge::Any | Merge::One, Some(_)) => Part::Reply(reply),
            (_, _) => Part::Failed(UNEXPECTED.to_vec()),
        }
    }

    /// Writes the whole reply, once every part is there.
    pub(super) fn compose(self, parts: &mut [Part], output: &mut Chain) {
        let merge = match self {
            Self::Merge { merge: Merge::Any, .. } => return compose_any(parts, output),
            Self::Merge { merge, .. } => Some(merge),
            Self::Cursor { .. } => None,
        };
        if let Some(words) = failures(parts).next() {
            return output.push_copy(words);
        }
        let is_whole = match (merge, self) {
            (None, Self::Cursor { number, servers }) => {
                compose_cursor(parts, number, servers, output)
            }
            (Some(Merge::Ok), _) => {
                output.push_copy(b"+OK\r\n");
                true
            }
            (Some(Merge::Sum), _) => {
                number(b':', sum(parts), output);
                true
            }
            (Some(Merge::Same), _) => compose_same(parts, output),
            (Some(Merge::Concat), _) => compose_concat(parts, output),
            (Some(Merge::And), _) => compose_columns(parts, output, |one, other| one.min(other)),
            (Some(Merge::SumPairs), _) => compose_columns(parts, output, i64::saturating_add),
            (Some(Merge::One), Self::Merge { draw, .. }) => compose_one(parts, draw, output),
            (Some(Merge::Any | Merge::One) | None, _) => false,
        };
        if !is_whole {
            output.push_copy(UNEXPECTED);
        }
    }
}

fn failures(parts: &[Part]) -> impl Iterator<Item = &Vec<u8>> {
    parts.iter().filter_map(|part| match part {
        Part::Failed(words) => Some(words),
        Part::Waiting
        | Part::Elements(..)
        | Part::Number(_)
        | Part::Values(_)
        | Part::Reply(_)
        | Part::Done => None,
    })
}

fn replies(parts: &mut [Part]) -> impl Iterator<Item = &mut Chain> {
    parts.iter_mut().filter_map(|part| match part {
        Part::Reply(reply) => Some(reply),
        Part::Waiting
        | Part::Elements(..)
        | Part::Number(_)
        | Part::Values(_)
        | Part::Done
        | Part::Failed(_) => None,
    })
}

fn elements(parts: &mut [Part]) -> impl Iterator<Item = (&mut Chain, &[u32])> {
    parts.iter_mut().filter_map(|part| match part {
        Part::Elements(reply, ends) => Some((reply, ends.as_slice())),
        Part::Waiting
        | Part::Reply(_)
        | Part::Number(_)
        | Part::Values(_)
        | Part::Done
        | Part::Failed(_) => None,
    })
}

/// The sum of the numbers among the parts.
pub(super) fn sum(parts: &[Part]) -> i64 {
    parts.iter().fold(0_i64, |sum, part| match part {
        Part::Number(number) => sum.saturating_add(*number),
        Part::Waiting
        | Part::Elements(..)
        | Part::Values(_)
        | Part::Reply(_)
        | Part::Done
        | Part::Failed(_) => sum,
    })
}

/// One that did it speaks for all. Of those that did not, one that has a reason of its own: that a
/// server has nothing to end is the least to be said.
fn compose_any(parts: &mut [Part], output: &mut Chain) {
    if let Some(reply) = replies(parts).next() {
        return output.append(reply);
    }
    let reason = failures(parts).find(|words| !words.starts_with(b"-NOTBUSY"));
    match reason.or_else(|| failures(parts).next()) {
        Some(words) => output.push_copy(words),
        None => output.push_copy(UNEXPECTED),
    }
}

fn compose_same(parts: &mut [Part], output: &mut Chain) -> bool {
    let mut all = replies(parts);
    let Some(first) = all.next() else { return false };
    let words = first.to_vec();
    if all.any(|reply| reply.to_vec() != words) {
        let mut words = Vec::new();
        reject::error("the servers of the pool do not agree", &mut words);
        output.push_copy(&words);
    } else {
        output.append(first);
    }
    true
}

fn compose_concat(parts: &mut [Part], output: &mut Chain) -> bool {
    let count: usize = elements(parts).map(|(_, ends)| ends.len()).sum();
    number(b'*', count as i64, output);
    elements(parts).for_each(|(reply, _)| output.append(reply));
    true
}

/// Element by element: integers are `joined`, and anything else is the same in all replies.
fn compose_columns(parts: &mut [Part], output: &mut Chain, joined: fn(i64, i64) -> i64) -> bool {
    let mut rows = elements(parts).map(|(reply, ends)| rows_of(&reply.to_vec(), ends));
    let Some(mut all) = rows.next() else { return false };
    for row in rows {
        if row.len() != all.len() {
            return false;
        }
        for (one, other) in all.iter_mut().zip(row) {
            *one = match (&one, other) {
                (Element::Number(one), Element::Number(other)) => {
                    Element::Number(joined(*one, other))
                }
                (Element::Other(one), Element::Other(other)) if *one == other => continue,
                (Element::Number(_) | Element::Other(_), _) => return false,
            };
        }
    }
    number(b'*', all.len() as i64, output);
    for element in all {
        match element {
            Element::Number(value) => number(b':', value, output),
            Element::Other(bytes) => output.push_copy(&bytes),
        }
    }
    true
}

enum Element {
    Number(i64),
    /// Its bytes.
    Other(Vec<u8>),
}

fn rows_of(reply: &[u8], ends: &[u32]) -> Vec<Element> {
    let mut start = 0;
    let mut row = Vec::with_capacity(ends.len());
    for &end in ends {
        let element = &reply[start..end as usize];
        start = end as usize;
        row.push(match resp::integer(element) {
            Some(number) => Element::Number(number),
            None => Element::Other(element.to_vec()),
        });
    }
    row
}

/// One of the servers that have something to say, each with the same chance.
fn compose_one(parts: &mut [Part], draw: u32, output: &mut Chain) -> bool {
    let is_null = |reply: &Chain| matches!(&reply.to_vec()[..], b"$-1\r\n" | b"*-1\r\n" | b"_\r\n");
    let speaking = replies(parts).filter(|reply| !is_null(reply)).count();
    let chosen = match speaking {
        0 => replies(parts).next(),
        count => replies(parts).filter(|reply| !is_null(reply)).nth(draw as usize % count),
    };
    let Some(reply) = chosen else { return false };
    output.append(reply);
    true
}

/// ```text
///   the server's cursor, on server 1 of 3      the client's
///   $1 7  [keys]                               $2 22  [keys]      7 * 3 + 1
///   $1 0  [keys]                               $1 2   [keys]      0 * 3 + 2: the next one begins
///   $1 0  [keys], on the last                  $1 0   [keys]
/// ```
fn compose_cursor(parts: &mut [Part], place: u32, servers: u32, output: &mut Chain) -> bool {
    let Some((reply, &[cursor, _])) = elements(parts).next() else { return false };
    let mut head = Chain::new();
    reply.move_front(cursor as usize, &mut head);
    let (place, servers) = (u64::from(place), u64::from(servers));
    let cursor = match cursor_of(&head.to_vec()) {
        None => return false,
        Some(0) if place + 1 == servers => Some(0),
        Some(0) => Some(place + 1),
        Some(cursor) => cursor.checked_mul(servers).and_then(|it| it.checked_add(place)),
    };
    let Some(cursor) = cursor else {
        let mut words = Vec::new();
        reject::error("the cursor of the server is too large for the proxy", &mut words);
        output.push_copy(&words);
        return true;
    };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(cursor);
    output.push_copy(b"*2\r\n");
    number(b'$', digits.len() as i64, output);
    output.push_copy(digits.as_bytes());
    output.push_copy(b"\r\n");
    output.append(reply);
    true
}

/// The number in a bulk string.
fn cursor_of(bulk: &[u8]) -> Option<u64> {
    let at = memchr::memchr(b'\n', bulk)? + 1;
    let digits = bulk.strip_prefix(b"$").and(bulk[at..].strip_suffix(b"\r\n"))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Writes a number behind its type byte.
pub(super) fn number(kind: u8, value: i64, output: &mut Chain) {
    output.push_copy(&[kind]);
    output.push_copy(itoa::Buffer::new().format(value).as_bytes());
    output.push_copy(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Buffer;
    use crate::proto::resp::ReplyParser;
    use crate::proxy::gather::Gather;
    use crate::proxy::source::Source;
    use bytes::Bytes;

    /// What the replies of all servers come to; the last is heard first.
    fn gathered(rule: Rule, replies: &[&str]) -> String {
        let mut gather = Gather::of_replies(rule, replies.len());
        for (number, reply) in replies.iter().enumerate().rev() {
            assert!(!gather.is_complete());
            let mut parser = ReplyParser::new();
            parser.record_elements(gather.wants_elements());
            parser.parse(reply.as_bytes());
            let (start, ends) = (parser.elements_start(), parser.elements());
            let elements = Elements { at: 0, start, ends };
            let mut before = Chain::new();
            let mut buffer = Buffer::from_bytes(Bytes::copy_from_slice(reply.as_bytes()));
            let source = Source::new(&mut before, &mut buffer, 0..reply.len());
            gather.fill(number as u32, source, elements);
        }
        assert!(gather.is_complete());
        let mut output = Chain::new();
        gather.compose(&mut output);
        String::from_utf8(output.to_vec()).expect("text")
    }

    fn merged(merge: Merge, replies: &[&str]) -> String {
        gathered(Rule::Merge { merge, draw: 0 }, replies)
    }

    const WRONG: &str = "-ERR Invalid argument\r\n";

    #[test]
    fn numbers_and_agreements_are_put_together() {
        assert_eq!(merged(Merge::Sum, &[":2\r\n", ":0\r\n", ":40\r\n"]), ":42\r\n");
        assert_eq!(merged(Merge::Ok, &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(merged(Merge::Same, &["$2\r\nab\r\n", "$2\r\nab\r\n"]), "$2\r\nab\r\n");
        let other = merged(Merge::Same, &["$2\r\nab\r\n", "$2\r\nac\r\n"]);
        assert_eq!(other, "-ERR the servers of the pool do not agree\r\n");
    }

    #[test]
    fn arrays_are_put_behind_each_other() {
        let replies = ["*1\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n$1\r\nb\r\n$2\r\ncd\r\n"];
        let all = "*3\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\ncd\r\n";
        assert_eq!(merged(Merge::Concat, &replies), all);
        assert_eq!(merged(Merge::Concat, &["*0\r\n", "*0\r\n"]), "*0\r\n");
    }

    #[test]
    fn a_script_is_there_where_all_servers_have_it() {
        let replies = ["*3\r\n:1\r\n:0\r\n:1\r\n", "*3\r\n:1\r\n:1\r\n:0\r\n"];
        assert_eq!(merged(Merge::And, &replies), "*3\r\n:1\r\n:0\r\n:0\r\n");
        assert_eq!(merged(Merge::And, &["*1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n"]), WRONG);
    }

    #[test]
    fn numbers_behind_a_name_are_added_up() {
        let replies = ["*2\r\n$1\r\na\r\n:3\r\n", "*2\r\n$1\r\na\r\n:4\r\n"];
        assert_eq!(merged(Merge::SumPairs, &replies), "*2\r\n$1\r\na\r\n:7\r\n");
        let other = ["*2\r\n$1\r\na\r\n:3\r\n", "*2\r\n$1\r\nb\r\n:4\r\n"];
        assert_eq!(merged(Merge::SumPairs, &other), WRONG);
    }

    #[test]
    fn a_server_with_nothing_to_say_is_not_chosen() {
        let replies = ["$-1\r\n", "$1\r\na\r\n", "_\r\n", "$1\r\nb\r\n"];
        let chosen = |draw| gathered(Rule::Merge { merge: Merge::One, draw }, &replies);
        assert_eq!(
            [chosen(0), chosen(1), chosen(2)],
            ["$1\r\na\r\n", "$1\r\nb\r\n", "$1\r\na\r\n"]
        );
        assert_eq!(merged(Merge::One, &["$-1\r\n", "$-1\r\n"]), "$-1\r\n");
        assert_eq!(merged(Merge::One, &["_\r\n", "_\r\n"]), "_\r\n");
    }

    #[test]
    fn one_that_did_it_speaks_for_those_with_nothing_to_do() {
        let (idle, stuck) = ("-NOTBUSY no\r\n", "-UNKILLABLE no\r\n");
        assert_eq!(merged(Merge::Any, &[idle, "+OK\r\n", idle]), "+OK\r\n");
        assert_eq!(merged(Merge::Any, &[idle, idle]), idle);
        assert_eq!(merged(Merge::Any, &[idle, stuck]), stuck);
    }

    #[test]
    fn an_error_of_any_server_is_the_reply() {
        for (merge, good) in [
            (Merge::Ok, "+OK\r\n"),
            (Merge::Same, "$1\r\na\r\n"),
            (Merge::Sum, ":1\r\n"),
            (Merge::Concat, "*1\r\n$1\r\na\r\n"),
            (Merge::And, "*1\r\n:1\r\n"),
            (Merge::SumPairs, "*2\r\n$1\r\na\r\n:1\r\n"),
            (Merge::One, "$1\r\na\r\n"),
        ] {
            assert_eq!(merged(merge, &[good, "-NOPERM no\r\n", "-ERR x\r\n"]), "-NOPERM no\r\n");
        }
        for (merge, wrong) in
            [(Merge::Ok, ":1\r\n"), (Merge::Sum, "+OK\r\n"), (Merge::Concat, ":1\r\n")]
        {
            assert_eq!(merged(merge, &[wrong]), WRONG);
        }
    }

    #[test]
    fn a_cursor_carries_its_server() {
        let scanned = |place, cursor: &str| {
            let reply = format!("*2\r\n${}\r\n{cursor}\r\n*1\r\n$1\r\na\r\n", cursor.len());
            gathered(Rule::Cursor { number: place, servers: 3 }, &[&reply])
        };
        let expected =
            |cursor: &str| format!("*2\r\n${}\r\n{cursor}\r\n*1\r\n$1\r\na\r\n", cursor.len());
        assert_eq!(scanned(1, "7"), expected("22"));
        assert_eq!(scanned(0, "0"), expected("1"));
        assert_eq!(scanned(1, "0"), expected("2"));
        assert_eq!(scanned(2, "0"), expected("0"));
        assert_eq!(scanned(0, "6148914691236517205"), expected("18446744073709551615"));
        for (place, cursor) in [(1, "6148914691236517205"), (0, "18446744073709551615")] {
            assert!(scanned(place, cursor).starts_with("-ERR the cursor"), "{cursor}");
        }
        for wrong in ["", "-1", "x"] {
            assert_eq!(scanned(0, wrong), WRONG);
        }
        let rule = Rule::Cursor { number: 0, servers: 3 };
        assert_eq!(gathered(rule, &["-ERR syntax error\r\n"]), "-ERR syntax error\r\n");
        assert_eq!(gathered(rule, &["*1\r\n$1\r\n0\r\n"]), WRONG);
    }
}
