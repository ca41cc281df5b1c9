//! What a simulated server remembers of one connection: a transaction, watched keys, and what it
//! waits for.

use std::time::Duration;

use crate::sim::findings::Finding;
use crate::sim::resp::{Arguments, array, bulk};
use crate::sim::store::Store;
use crate::time::Instant;

/// A request that was carried out, for the ledger.
pub(super) struct Deed {
    pub(super) request: Arguments,
    pub(super) reply: Vec<u8>,
    pub(super) findings: Vec<(Vec<u8>, Finding)>,
}

/// What came of a request.
pub(super) enum Heard {
    /// It is answered.
    Answered {
        reply: Vec<u8>,
        /// What was carried out.
        deeds: Vec<Deed>,
    },
    /// It waits for somebody else.
    Waits,
}

/// What a connection has said that concerns its next requests.
///
/// ```text
///   MULTI -> queued: requests ... EXEC, DISCARD -> none
///   WATCH -> watched: keys, each with how often it had changed ... EXEC, DISCARD, UNWATCH -> none
///   BLPOP of nothing -> waits ... something comes, or its time -> none
/// ```
#[derive(Default)]
pub(super) struct Standing {
    queued: Option<Vec<Arguments>>,
    watched: Vec<(Vec<u8>, u64)>,
    waits: Option<Waits>,
}

struct Waits {
    key: Vec<u8>,
    since: Instant,
    until: Option<Instant>,
}

impl Standing {
    /// Handles a request.
    pub(super) fn hear(&mut self, request: &[Vec<u8>], data: &mut Store, now: Instant) -> Heard {
        let name = request[0].to_ascii_uppercase();
        match (&name[..], &mut self.queued) {
            (b"MULTI", None) => {
                self.queued = Some(Vec::new());
                answered(OK)
            }
            (b"MULTI", Some(_)) => answered(b"-ERR MULTI calls can not be nested\r\n"),
            (b"EXEC", _) => self.carry_out_all(data),
            (b"DISCARD", Some(_)) | (b"UNWATCH", None) => {
                *self = Self::default();
                answered(OK)
            }
            (_, Some(queued)) => {
                queued.push(request.to_vec());
                answered(b"+QUEUED\r\n")
            }
            (b"WATCH", None) => {
                let keys = request[1..].iter();
                self.watched.extend(keys.map(|key| (key.clone(), data.changes_of(key))));
                answered(OK)
            }
            (b"BLPOP", None) => self.pop_or_wait(request, data, now),
            (_, None) => one(carry_out(request.to_vec(), data)),
        }
    }

    fn carry_out_all(&mut self, data: &mut Store) -> Heard {
        let Self { queued, watched, .. } = std::mem::take(self);
        let Some(queued) = queued else { return answered(b"-ERR EXEC without MULTI\r\n") };
        if watched.iter().any(|(key, changes)| data.changes_of(key) != *changes) {
            return answered(b"*-1\r\n");
        }
        let deeds: Vec<_> = queued.into_iter().map(|request| carry_out(request, data)).collect();
        let replies: Vec<_> = deeds.iter().map(|deed| deed.reply.clone()).collect();
        Heard::Answered { reply: array(&replies), deeds }
    }

    fn pop_or_wait(&mut self, request: &[Vec<u8>], data: &mut Store, now: Instant) -> Heard {
        let [_, key, timeout] = request else { panic!("BLPOP of one key only") };
        let seconds: f64 = String::from_utf8_lossy(timeout).parse().expect("a timeout");
        if let Some(reply) = popped(key, data) {
            return one(Deed { request: request.to_vec(), reply, findings: Vec::new() });
        }
        let until = (seconds > 0.0).then(|| now + Duration::from_secs_f64(seconds));
        self.waits = Some(Waits { key: key.clone(), since: now, until });
        Heard::Waits
    }

    /// Whether it waits for somebody else, and since when.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waits.as_ref().map(|waits| waits.since)
    }

    /// When it does so no longer.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.waits.as_ref()?.until
    }

    /// The reply that it waits for, once there is one: what has come, or nothing when its time is
    /// over.
    pub(super) fn serve(&mut self, data: &mut Store, now: Instant) -> Option<Vec<u8>> {
        let waits = self.waits.as_ref()?;
        let is_over = waits.until.is_some_and(|until| until <= now);
        let reply = popped(&waits.key, data).or_else(|| is_over.then(|| b"*-1\r\n".to_vec()))?;
        self.waits = None;
        Some(reply)
    }
}

fn popped(key: &[u8], data: &mut Store) -> Option<Vec<u8>> {
    data.pop(key).map(|element| array(&[bulk(key), bulk(&element)]))
}

fn carry_out(request: Arguments, data: &mut Store) -> Deed {
    let mut findings = Vec::new();
    let reply = data.carry_out(&request, &mut findings);
    Deed { request, reply, findings }
}

fn one(deed: Deed) -> Heard {
    Heard::Answered { reply: deed.reply.clone(), deeds: vec![deed] }
}

fn answered(reply: &[u8]) -> Heard {
    Heard::Answered { reply: reply.to_vec(), deeds: Vec::new() }
}

const OK: &[u8] = b"+OK\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Protocol;

    fn say(standing: &mut Standing, data: &mut Store, line: &str) -> String {
        let request: Arguments = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        match standing.hear(&request, data, Instant::from_nanos(0)) {
            Heard::Answered { reply, .. } => String::from_utf8(reply).unwrap(),
            Heard::Waits => "waits".to_owned(),
        }
    }

    #[test]
    fn a_transaction_is_carried_out_at_its_end_unless_a_watched_key_has_changed() {
        let (mut data, mut one, mut other) =
            (Store::new(Protocol::Resp), Standing::default(), Standing::default());
        for (request, reply) in [
            ("WATCH k", "+OK\r\n"),
            ("MULTI", "+OK\r\n"),
            ("INCR n", "+QUEUED\r\n"),
            ("INCR n", "+QUEUED\r\n"),
            ("EXEC", "*2\r\n:1\r\n:2\r\n"),
            ("WATCH k", "+OK\r\n"),
            ("MULTI", "+OK\r\n"),
            ("INCR n", "+QUEUED\r\n"),
        ] {
            assert_eq!(say(&mut one, &mut data, request), reply, "{request}");
        }
        assert_eq!(say(&mut other, &mut data, "SET k 1"), "+OK\r\n");
        assert_eq!(say(&mut one, &mut data, "EXEC"), "*-1\r\n");
        assert_eq!(say(&mut one, &mut data, "GET n"), "$1\r\n2\r\n");
        assert!(say(&mut one, &mut data, "EXEC").starts_with("-ERR EXEC"));
    }

    #[test]
    fn who_waits_is_served_once_something_has_come() {
        let (mut data, mut one, mut other) =
            (Store::new(Protocol::Resp), Standing::default(), Standing::default());
        let now = Instant::from_nanos(0);
        assert_eq!(say(&mut one, &mut data, "BLPOP l 0.5"), "waits");
        assert_eq!(one.waits_until(), Some(now + Duration::from_millis(500)));
        assert_eq!(one.serve(&mut data, now), None);
        say(&mut other, &mut data, "LPUSH l a");
        let reply = one.serve(&mut data, now).unwrap();
        assert_eq!(reply, b"*2\r\n$1\r\nl\r\n$1\r\na\r\n");
        assert_eq!(one.waits_since(), None);
        assert_eq!(say(&mut one, &mut data, "BLPOP l 0.5"), "waits");
        let late = now + Duration::from_millis(500);
        assert_eq!(one.serve(&mut data, late).unwrap(), b"*-1\r\n");
    }
}
