//! What servers have found under keys, and when: what a reply that is put together of several
//! servers' parts may be made of.

use std::collections::BTreeMap;

use crate::sim::resp::bulk;
use crate::sim::store::elements_of;
use crate::time::Instant;

/// What a server finds under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The reply to a read of it.
    Value(Vec<u8>),
    /// Whether it was there.
    Presence(bool),
}

/// All that was found, under each key in the order of time.
#[derive(Default)]
pub(super) struct Findings {
    under: BTreeMap<Vec<u8>, Vec<Found>>,
}

/// A finding, whose it is, and when.
struct Found {
    at: Instant,
    server: usize,
    finding: Finding,
}

impl Findings {
    /// A server has looked under `key`.
    pub(super) fn note(&mut self, key: Vec<u8>, server: usize, at: Instant, finding: Finding) {
        self.under.entry(key).or_default().push(Found { at, server, finding });
    }

    /// Every key that was looked under, by which server, and when.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], usize, Instant)> {
        let under = self.under.iter();
        under.flat_map(|(key, all)| all.iter().map(|found| (&key[..], found.server, found.at)))
    }

    /// Whether `bytes` are a read of what was found under `key` since `sent`.
    pub(super) fn is_found(&self, key: &[u8], bytes: &[u8], sent: Instant) -> bool {
        self.found(key, sent).any(|value| value == plain(bytes))
    }

    /// Whether `bytes` are an array of what was found under each of `keys` since `sent`. Where
    /// something else was, it may be an element of the array `doubled`.
    pub(super) fn are_found(
        &self,
        keys: &[Vec<u8>],
        bytes: &[u8],
        sent: Instant,
        doubled: &[u8],
    ) -> bool {
        let other = elements_of(doubled, keys).unwrap_or_default();
        let Some(elements) = elements_of(bytes, keys) else { return false };
        elements.len() == keys.len()
            && elements.iter().zip(keys).all(|(element, key)| {
                // In an array, a value that is no string is a null.
                let is_found = |value: &[u8]| value == plain(element);
                other.contains(element) || self.found(key, sent).any(is_found)
            })
    }

    /// Whether `bytes` say how many of `keys` were there, as it was found since `sent`.
    pub(super) fn is_count(&self, keys: &[Vec<u8>], bytes: &[u8], sent: Instant) -> bool {
        let (mut least, mut most) = (0, 0);
        for key in keys {
            let mut seen = self.since(key, sent).filter_map(|finding| match finding {
                Finding::Presence(there) => Some(*there),
                Finding::Value(_) => None,
            });
            let Some(first) = seen.next() else { return false };
            let others: Vec<bool> = seen.collect();
            least += usize::from(first && others.iter().all(|&there| there));
            most += usize::from(first || others.iter().any(|&there| there));
        }
        number_of(bytes).is_some_and(|count| (least..=most).contains(&count))
    }

    /// What was found under `key` since `sent`, as replies.
    pub(super) fn found(&self, key: &[u8], sent: Instant) -> impl Iterator<Item = &[u8]> {
        self.since(key, sent).filter_map(|finding| match finding {
            Finding::Value(value) => Some(&value[..]),
            Finding::Presence(_) => None,
        })
    }

    fn since(&self, key: &[u8], sent: Instant) -> impl Iterator<Item = &Finding> {
        let all = self.under.get(key).map_or(&[][..], |all| all);
        let first = all.partition_point(|found| found.at < sent);
        all[first..].iter().map(|found| &found.finding)
    }
}

/// A finding of a value that a `GET` or an `MGET` reads.
pub(super) fn value_found(text: Option<&[u8]>) -> Finding {
    Finding::Value(text.map_or(b"$-1\r\n".to_vec(), bulk))
}

/// What was found is kept as RESP2 has it: a null of RESP3 is the same.
fn plain(reply: &[u8]) -> &[u8] {
    if reply == b"_\r\n" { b"$-1\r\n" } else { reply }
}

/// The number in an integer reply.
pub(super) fn number_of(reply: &[u8]) -> Option<usize> {
    let text = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
