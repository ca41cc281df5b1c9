//! What the servers have done: the truth that every reply to a client is held against.
//!
//! ```text
//!   server --carries out request--> Ledger <--is this reply true?-- client
//!                                     marks:    this write, this read, by whom, answered how
//!                                     findings: what was found under a key, and when
//!                                     health:   what became of a server's connections, and when
//! ```
//!
//! A request that bears a mark is one of a kind: it is carried out once at most, wherever its key
//! may live by now, and its reply is the one that was given to it. A request over several servers
//! is in pieces by the time that they see it; its reply has to be made of what they found under
//! each key while it was on its way.

mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::sim::findings::{Finding, Findings, number_of};
use crate::sim::health::{Health, Trouble, is_told_on};
use crate::sim::marks::{marks, writer_of};
use crate::sim::pubsub::Published;
use crate::sim::resp::{self, array, bulk};
use crate::time::Instant;

/// A reply that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Exactly these bytes.
    Exactly(Vec<u8>),
    /// An error reply that begins with these words, behind its `-`.
    Error(&'static str),
    /// What a server has answered to the request that bears this mark.
    Answered(Vec<u8>),
    /// `+OK`, once all of these marks have been carried out.
    Stored(Vec<Vec<u8>>),
    /// What was found under this key since the request was sent.
    Found(Vec<u8>),
    /// An array of what was found under each of these keys since the request was sent, or
    /// memcached's values.
    AllFound(Vec<Vec<u8>>),
    /// How many of these keys were found since the request was sent.
    Count(Vec<Vec<u8>>),
    /// An array of so many integers, each one more than the one before.
    Successive(usize),
    /// What was pushed to this list, and given to nobody before.
    Popped(Vec<u8>),
    /// What says that this version of RESP is spoken from now on.
    Speaks(u8),
    /// An error of the proxy's own, if it is about what became of a connection to one of these
    /// servers since the request was sent, or if all of them may be left out; or a reply that one
    /// of them sent twice.
    Failure(Vec<usize>),
}

/// A request that was carried out.
struct Execution {
    /// The first key of the request, or the one that this mark was stored under.
    key: Vec<u8>,
    server: usize,
    at: Instant,
    reply: Vec<u8>,
    /// Which one it was, on all servers together.
    number: usize,
    /// Whether its client was given the reply.
    is_acknowledged: bool,
}

#[derive(Default)]
pub(super) struct Ledger {
    executions: BTreeMap<Vec<u8>, Execution>,
    findings: Findings,
    /// The replies that gave away what was pushed to a list.
    given_away: BTreeSet<Vec<u8>>,
    health: Vec<Health>,
    messages: Vec<Published>,
    /// How long the pool has its requests and its connects wait.
    timeout: Option<Duration>,
    /// For how long after a failure a server may be left out, if the pool ejects servers.
    left_out: Option<Duration>,
    /// Bytes of a reply that is passed on before its end, at least.
    stream_bytes_min: usize,
}

impl Ledger {
    pub(super) fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    pub(super) fn set_left_out(&mut self, time: Option<Duration>) {
        self.left_out = time;
    }

    pub(super) fn set_stream_bytes_min(&mut self, bytes: usize) {
        self.stream_bytes_min = bytes;
    }

    pub(super) fn add_server(&mut self) {
        self.health.push(Health::default());
    }

    /// Every key that a server was asked for, with the server, and when.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], usize, Instant)> {
        let done = self.executions.values().map(|done| (&done.key[..], done.server, done.at));
        done.chain(self.findings.keys())
    }

    /// A server has carried out `request`, and answers `reply`.
    ///
    /// Panics when it bears a mark that was carried out before, by anyone.
    pub(super) fn carried_out(
        &mut self,
        server: usize,
        at: Instant,
        request: &[Vec<u8>],
        reply: &[u8],
        findings: Vec<(Vec<u8>, Finding)>,
    ) {
        for (mark, key) in marks(request) {
            let execution = Execution {
                key: key.to_vec(),
                server,
                at,
                reply: reply.to_vec(),
                number: self.executions.len(),
                is_acknowledged: false,
            };
            if let Some(first) = self.executions.insert(mark.to_vec(), execution) {
                panic!(
                    "{:?} is carried out twice: by server {} at {} us, by server {server} now",
                    String::from_utf8_lossy(mark),
                    first.server,
                    first.at.as_nanos() / 1000,
                );
            }
        }
        for (key, finding) in findings {
            self.findings.note(key, server, at, finding);
        }
    }

    /// A server has published a message.
    pub(super) fn published(&mut self, message: Published) {
        self.messages.push(message);
    }

    /// All that was published, in order.
    pub(super) fn messages(&self) -> &[Published] {
        &self.messages
    }

    /// The troubles of a server.
    pub(super) fn health(&mut self, server: usize) -> &mut Health {
        &mut self.health[server]
    }

    /// A connect to a server, asked for at `since`, has not succeeded so far. Nobody may give it
    /// up before the pool's timeout.
    pub(super) fn waited(&mut self, server: usize, since: Instant, now: Instant) {
        if self.overdue_from(since).is_some_and(|time| time <= now) {
            self.health[server].connected_late(since, now);
        }
    }

    /// When what began at `since` has taken too long.
    pub(super) fn overdue_from(&self, since: Instant) -> Option<Instant> {
        self.timeout.map(|timeout| since + timeout)
    }

    /// The worker ends a connection to a server.
    pub(super) fn given_up(&mut self, server: usize, now: Instant) {
        if let Some(timeout) = self.timeout {
            self.health[server].given_up(timeout, now);
        }
    }

    /// Whether `bytes`, which have come now, are right for a request that was sent at `sent` and
    /// may be answered by any of `replies`.
    pub(super) fn allows(&mut self, replies: &[Reply], bytes: &[u8], sent: Instant) -> bool {
        if let Some(reply) = replies.iter().find(|reply| self.is_true(reply, bytes, sent)) {
            self.acknowledge(reply);
            let is_popped = matches!(reply, Reply::Popped(_));
            return !is_popped || self.given_away.insert(bytes.to_vec());
        }
        replies.iter().any(|reply| match reply {
            Reply::Failure(servers) => self.take_doubled(servers, replies, bytes, sent),
            Reply::Exactly(_)
            | Reply::Error(_)
            | Reply::Answered(_)
            | Reply::Stored(_)
            | Reply::Found(_)
            | Reply::AllFound(_)
            | Reply::Count(_)
            | Reply::Successive(_)
            | Reply::Popped(_)
            | Reply::Speaks(_) => false,
        })
    }

    /// Panics when a server has carried out requests of one client, about one key, in another order
    /// than they were sent in. Requests that failed do not count: an earlier one may have been left
    /// behind on a connection that was given up.
    pub(super) fn check_order(&self) {
        let mut last = BTreeMap::new();
        let mut executions: Vec<_> = self
            .executions
            .iter()
            .filter(|(_, execution)| execution.is_acknowledged)
            .filter_map(|(mark, execution)| Some((writer_of(mark)?, execution)))
            .collect();
        executions.sort_by_key(|(writer, _)| *writer);
        for ((client, count), execution) in executions {
            let place = (client, &execution.key, execution.server);
            let earlier = last.insert(place, execution.number);
            assert!(
                earlier.is_none_or(|earlier| earlier < execution.number),
                "request {count} of client {client} overtakes an earlier one about {:?}",
                String::from_utf8_lossy(&execution.key),
            );
        }
    }

    /// A client was given this reply.
    fn acknowledge(&mut self, reply: &Reply) {
        let marks = match reply {
            Reply::Answered(mark) => std::slice::from_ref(mark),
            Reply::Stored(marks) => marks,
            Reply::Exactly(_)
            | Reply::Error(_)
            | Reply::Found(_)
            | Reply::AllFound(_)
            | Reply::Count(_)
            | Reply::Successive(_)
            | Reply::Popped(_)
            | Reply::Speaks(_)
            | Reply::Failure(_) => &[],
        };
        for mark in marks {
            if let Some(execution) = self.executions.get_mut(mark) {
                execution.is_acknowledged = true;
            }
        }
    }

    fn is_true(&self, reply: &Reply, bytes: &[u8], sent: Instant) -> bool {
        match reply {
            Reply::Exactly(exact) => exact == bytes,
            Reply::Error(words) => is_error(bytes, words),
            Reply::Answered(mark) => {
                self.executions.get(mark).is_some_and(|execution| execution.reply == bytes)
            }
            Reply::Stored(marks) => {
                bytes == b"+OK\r\n" && marks.iter().all(|mark| self.executions.contains_key(mark))
            }
            Reply::Found(key) => self.findings.is_found(key, bytes, sent),
            Reply::AllFound(keys) => self.findings.are_found(keys, bytes, sent, b""),
            Reply::Count(keys) => self.findings.is_count(keys, bytes, sent),
            Reply::Successive(count) => are_successive(bytes, *count),
            Reply::Popped(key) => self.was_pushed(key, bytes),
            Reply::Speaks(version) => speaks(bytes) == Some(*version),
            Reply::Failure(servers) => {
                servers.iter().any(|&server| self.health[server].excuses(bytes, sent))
                    || self.is_for_nobody(servers, bytes, sent)
            }
        }
    }

    /// Whether `bytes` are the name of a list, and something with a mark that was pushed to it.
    fn was_pushed(&self, key: &[u8], bytes: &[u8]) -> bool {
        let pushed = self.executions.iter().filter(|(_, execution)| execution.key == key);
        pushed.map(|(mark, _)| array(&[bulk(key), bulk(mark)])).any(|reply| reply == bytes)
    }

    /// Whether `bytes` are what is said while all of `servers` are left out.
    fn is_for_nobody(&self, servers: &[usize], bytes: &[u8], sent: Instant) -> bool {
        let mut health = servers.iter().map(|&server| &self.health[server]);
        Trouble::Refused.is_told_by(bytes)
            && self.left_out.is_some_and(|time| health.all(|one| one.is_left_out(time, sent)))
    }

    /// Whether one of `servers` has sent a reply twice that explains `bytes`, as the whole reply
    /// or as that of one fragment. It explains nothing else from now on.
    fn take_doubled(
        &mut self,
        servers: &[usize],
        replies: &[Reply],
        bytes: &[u8],
        sent: Instant,
    ) -> bool {
        let findings = &self.findings;
        let is_explained = |doubled: &[u8]| {
            let is_made = |reply| is_made_with(findings, doubled, reply, bytes, sent);
            doubled == bytes || is_told_on(doubled, bytes) || replies.iter().any(is_made)
        };
        servers.iter().any(|&server| self.health[server].take_doubled(sent, is_explained))
    }
}

/// Whether `bytes` are a reply put together of `doubled` and what was found for the rest.
fn is_made_with(
    findings: &Findings,
    doubled: &[u8],
    reply: &Reply,
    bytes: &[u8],
    sent: Instant,
) -> bool {
    match reply {
        Reply::AllFound(keys) => findings.are_found(keys, bytes, sent, doubled),
        Reply::Count(keys) => match (number_of(doubled), number_of(bytes)) {
            (Some(part), Some(count)) => (part..=part + keys.len()).contains(&count),
            _ => false,
        },
        Reply::Exactly(_)
        | Reply::Error(_)
        | Reply::Answered(_)
        | Reply::Stored(_)
        | Reply::Found(_)
        | Reply::Successive(_)
        | Reply::Popped(_)
        | Reply::Speaks(_)
        | Reply::Failure(_) => false,
    }
}

fn are_successive(bytes: &[u8], count: usize) -> bool {
    let Some(elements) = resp::elements_of(bytes) else { return false };
    let numbers: Option<Vec<_>> = elements.into_iter().map(number_of).collect();
    let numbers = numbers.unwrap_or_default();
    numbers.len() == count && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

/// Which version a client speaks from now on, if this is the reply to a HELLO that says so.
pub(super) fn speaks(bytes: &[u8]) -> Option<u8> {
    let tells = |proto: &[u8]| bytes.windows(proto.len()).any(|part| part == proto);
    match bytes.first() {
        Some(b'%') if tells(b"$5\r\nproto\r\n:3\r\n") => Some(3),
        Some(b'*') if tells(b"$5\r\nproto\r\n:2\r\n") => Some(2),
        _ => None,
    }
}

fn is_error(bytes: &[u8], words: &str) -> bool {
    bytes.first() == Some(&b'-') && bytes[1..].starts_with(words.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::findings::value_found;
    use crate::sim::marks::range_end;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.set_timeout(Some(Duration::from_millis(10)));
        ledger.add_server();
        ledger.add_server();
        ledger
    }

    #[test]
    fn a_marked_reply_is_the_one_that_was_given() {
        let mut ledger = ledger();
        let reply = Reply::Answered(b"#a;".to_vec());
        let allows = |ledger: &mut Ledger, bytes: &[u8]| {
            ledger.allows(std::slice::from_ref(&reply), bytes, at(0))
        };
        assert!(!allows(&mut ledger, b"$3\r\nold\r\n"), "nobody has answered yet");
        let request = words("GETSET key #a;new");
        ledger.carried_out(0, at(1), &request, b"$3\r\nold\r\n", Vec::new());
        assert!(allows(&mut ledger, b"$3\r\nold\r\n"));
        assert!(!allows(&mut ledger, b"$-1\r\n"));
        assert_eq!(ledger.keys().collect::<Vec<_>>(), [(&b"key"[..], 0, at(1))]);
    }

    #[test]
    #[should_panic(expected = "\"#a;\" is carried out twice")]
    fn a_mark_is_carried_out_once_on_all_servers() {
        let mut ledger = ledger();
        ledger.carried_out(0, at(1), &words("SET key #a;new"), b"+OK\r\n", Vec::new());
        ledger.carried_out(1, at(2), &words("MSET k #b; key #a;new"), b"+OK\r\n", Vec::new());
    }

    #[test]
    #[should_panic(expected = "\"#a;\" is carried out twice")]
    fn a_mark_may_be_a_key_that_is_looked_for() {
        let mut ledger = ledger();
        ledger.carried_out(0, at(1), &words("DEL k #a; #b;no-mark"), b":0\r\n", Vec::new());
        assert_eq!(ledger.keys().collect::<Vec<_>>(), [(&b"#a;"[..], 0, at(1))]);
        ledger.carried_out(0, at(2), &words("UNLINK #a;"), b":0\r\n", Vec::new());
    }

    #[test]
    #[should_panic(expected = "request 2 of client 0 overtakes an earlier one about \"k\"")]
    fn what_is_acknowledged_was_carried_out_in_order() {
        let mut ledger = ledger();
        let done = |ledger: &mut Ledger, request: &str, mark: &[u8]| {
            ledger.carried_out(0, at(1), &words(request), b"+OK\r\n", Vec::new());
            assert!(ledger.allows(&[Reply::Answered(mark.to_vec())], b"+OK\r\n", at(0)));
        };
        done(&mut ledger, "SET k #c1n3;", b"#c1n3;");
        done(&mut ledger, "SET other #c0n9;", b"#c0n9;");
        ledger.carried_out(0, at(1), &words("SET k #c0n4;"), b"+OK\r\n", Vec::new());
        let end = range_end(0, 2);
        done(&mut ledger, &format!("LRANGE k 0 {}", String::from_utf8_lossy(&end)), &end);
        ledger.check_order();
        done(&mut ledger, "SET k #c0n1;", b"#c0n1;");
        ledger.check_order();
    }

    #[test]
    fn a_stored_value_was_stored_before_it_is_acknowledged() {
        let mut ledger = ledger();
        let stored = [Reply::Stored(vec![b"#a;".to_vec(), b"#b;".to_vec()])];
        ledger.carried_out(0, at(1), &words("MSET k #a;"), b"+OK\r\n", Vec::new());
        assert!(!ledger.allows(&stored, b"+OK\r\n", at(0)));
        ledger.carried_out(1, at(2), &words("MSET l #b;"), b"+OK\r\n", Vec::new());
        assert!(ledger.allows(&stored, b"+OK\r\n", at(0)));
        assert!(!ledger.allows(&stored, b"+QUEUED\r\n", at(0)));
    }

    #[test]
    fn an_array_is_made_of_what_was_found_meanwhile() {
        let mut ledger = ledger();
        let found = |text: &[u8]| vec![(b"k".to_vec(), value_found(Some(text)))];
        ledger.carried_out(0, at(1), &words("MGET k"), b"", found(b"old"));
        ledger.carried_out(0, at(5), &words("MGET k"), b"", found(b"new"));
        assert_eq!(
            ledger.keys().collect::<Vec<_>>(),
            [(&b"k"[..], 0, at(1)), (&b"k"[..], 0, at(5))]
        );
        let reply = |text: &[u8]| array(&[bulk(text), bulk(text)]);
        let keys = [Reply::AllFound(vec![b"k".to_vec(), b"k".to_vec()])];
        assert!(ledger.allows(&keys, &reply(b"new"), at(2)));
        assert!(!ledger.allows(&keys, &reply(b"old"), at(2)), "found before it was asked");
        assert!(ledger.allows(&keys, &reply(b"old"), at(0)));
        assert!(!ledger.allows(&keys, &array(&[bulk(b"new")]), at(2)), "one is missing");
        let one = [Reply::Found(b"k".to_vec())];
        assert!(ledger.allows(&one, &bulk(b"new"), at(2)));
        assert!(!ledger.allows(&one, &bulk(b"other"), at(2)));
    }

    #[test]
    fn a_count_lies_between_what_was_found_for_sure_and_what_may_have_been() {
        let mut ledger = ledger();
        let mut note = |time: u64, key: &[u8], there: bool| {
            let finding = vec![(key.to_vec(), Finding::Presence(there))];
            ledger.carried_out(0, at(time), &words("EXISTS k"), b"", finding);
        };
        note(1, b"a", true);
        note(1, b"b", false);
        note(2, b"b", true);
        let count = [Reply::Count(vec![b"a".to_vec(), b"b".to_vec()])];
        for (bytes, right) in [(b":0\r\n", false), (b":1\r\n", true), (b":2\r\n", true)] {
            assert_eq!(ledger.allows(&count, bytes, at(0)), right, "{bytes:?}");
        }
        assert!(!ledger.allows(&count, b":1\r\n", at(2)), "nobody has looked for a");
    }

    #[test]
    fn a_request_fails_for_what_its_own_server_did_meanwhile_and_in_its_words() {
        let mut ledger = ledger();
        let failure = [Reply::Failure(vec![0])];
        let refused = b"-ERR Connection refused\r\n";
        assert!(!ledger.allows(&failure, refused, at(0)));
        ledger.health(1).trouble(at(1), Trouble::Refused);
        assert!(!ledger.allows(&failure, refused, at(0)), "it is another server's trouble");
        ledger.health(0).trouble(at(2), Trouble::Refused);
        assert!(ledger.allows(&failure, refused, at(2)));
        assert!(!ledger.allows(&failure, refused, at(3)), "it was sent later");
        assert!(!ledger.allows(&failure, b"-ERR unknown\r\n", at(2)), "it is another trouble");
    }

    #[test]
    fn nobody_is_asked_while_all_are_left_out() {
        let mut ledger = ledger();
        let failure = [Reply::Failure(vec![0, 1])];
        let refused = b"-ERR Connection refused\r\n";
        let closed = b"-ERR unknown\r\n";
        ledger.health(0).trouble(at(1), Trouble::Closed);
        ledger.health(1).trouble(at(2), Trouble::Closed);
        assert!(!ledger.allows(&failure, refused, at(3)), "the pool ejects nobody");
        ledger.set_left_out(Some(Duration::from_millis(10)));
        assert!(ledger.allows(&failure, refused, at(11)));
        assert!(!ledger.allows(&failure, closed, at(11)), "that is said once");
        assert!(!ledger.allows(&failure, refused, at(12)), "one may be back");
        assert!(ledger.allows(&[Reply::Failure(vec![1])], refused, at(12)));
    }

    #[test]
    fn a_server_is_given_up_when_it_was_slow_for_the_timeout() {
        let mut ledger = ledger();
        let timed_out = b"-ERR Connection timed out\r\n";
        let failure = [Reply::Failure(vec![0])];
        ledger.given_up(0, at(1));
        assert!(!ledger.allows(&failure, timed_out, at(0)));
        ledger.health(0).set_slow(true, at(500));
        ledger.given_up(0, at(506));
        assert!(!ledger.allows(&failure, timed_out, at(0)), "it was given up early");
        ledger.given_up(0, at(510));
        assert!(ledger.allows(&failure, timed_out, at(510)));
        ledger.health(0).set_slow(false, at(520));
        ledger.given_up(0, at(700));
        assert!(!ledger.allows(&failure, timed_out, at(511)), "that was long ago");
        ledger.waited(0, at(800), at(809));
        assert!(!ledger.allows(&failure, timed_out, at(800)), "a connect may take longer");
        ledger.waited(0, at(800), at(810));
        assert!(ledger.allows(&failure, timed_out, at(800)));
    }

    #[test]
    fn what_was_pushed_is_given_away_once() {
        let mut ledger = ledger();
        ledger.carried_out(0, at(1), &words("LPUSH l #a;"), b":1\r\n", Vec::new());
        let reply = |list: &[u8], element: &[u8]| array(&[bulk(list), bulk(element)]);
        let popped = [Reply::Popped(b"l".to_vec())];
        assert!(!ledger.allows(&popped, &reply(b"l", b"#b;"), at(2)), "nobody has pushed it");
        assert!(!ledger.allows(&popped, &reply(b"m", b"#a;"), at(2)), "it is another list");
        assert!(ledger.allows(&popped, &reply(b"l", b"#a;"), at(2)));
        assert!(!ledger.allows(&popped, &reply(b"l", b"#a;"), at(2)), "somebody has it");
    }

    #[test]
    fn successive_numbers_follow_each_other() {
        for (count, bytes, right) in [
            (2, &b"*2\r\n:4\r\n:5\r\n"[..], true),
            (2, b"*2\r\n:4\r\n:6\r\n", false),
            (1, b"*2\r\n:4\r\n:5\r\n", false),
            (2, b"*2\r\n:4\r\n+QUEUED\r\n", false),
            (2, b"-EXECABORT no\r\n", false),
        ] {
            let allowed = ledger().allows(&[Reply::Successive(count)], bytes, at(0));
            assert_eq!(allowed, right, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_reply_that_was_sent_twice_is_given_away_once() {
        let mut ledger = ledger();
        let failure = [Reply::Failure(vec![0])];
        ledger.health(0).doubled(at(5), b":3\r\n".to_vec());
        assert!(!ledger.allows(&failure, b":3\r\n", at(6)), "it was sent later");
        assert!(!ledger.allows(&failure, b":4\r\n", at(5)), "it is another reply");
        assert!(ledger.allows(&failure, b":3\r\n", at(5)));
        assert!(!ledger.allows(&failure, b":3\r\n", at(5)), "somebody has it");
        ledger.health(0).doubled(at(5), b"SERVER_ERROR no\r\n".to_vec());
        assert!(!ledger.allows(&failure, b"SERVER_ERROR server0: yes\r\n", at(5)));
        assert!(ledger.allows(&failure, b"SERVER_ERROR server0: no\r\n", at(5)), "it is named");
        ledger.health(0).doubled(at(5), array(&[bulk(b"x")]));
        let parts = [Reply::AllFound(vec![b"k".to_vec()]), Reply::Failure(vec![0])];
        assert!(!ledger.allows(&parts, &array(&[bulk(b"y")]), at(5)));
        assert!(ledger.allows(&parts, &array(&[bulk(b"x")]), at(5)), "it is one fragment's");
    }
}
