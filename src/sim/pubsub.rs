//! What a connection of a simulated server listens to.

use std::collections::BTreeSet;

use crate::sim::resp::{array, bulk, elements_of, integer};
use crate::time::Instant;

/// A message that a server was told to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// When it was.
    pub at: Instant,
    /// The server's index.
    pub server: usize,
    /// Where.
    pub channel: Vec<u8>,
    /// What.
    pub text: Vec<u8>,
}

/// The channels and patterns of one connection.
#[derive(Default)]
pub(super) struct Ears {
    channels: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
}

impl Ears {
    /// The reply to a request to subscribe or unsubscribe, which names what; none to others.
    ///
    /// Panics when a connection that listens is asked for anything else.
    pub(super) fn hear(&mut self, request: &[Vec<u8>]) -> Option<Vec<u8>> {
        let word = request[0].to_ascii_lowercase();
        let (is_pattern, is_end) = match &word[..] {
            b"subscribe" => (false, false),
            b"unsubscribe" => (false, true),
            b"psubscribe" => (true, false),
            b"punsubscribe" => (true, true),
            _ => {
                let listens = !self.channels.is_empty() || !self.patterns.is_empty();
                if listens && word == b"ping" {
                    return Some(array(&[bulk(b"pong"), bulk(b"")]));
                }
                assert!(!listens, "{request:?} on a connection that listens");
                return None;
            }
        };
        let mut reply = Vec::new();
        for name in &request[1..] {
            let names = if is_pattern { &mut self.patterns } else { &mut self.channels };
            if is_end {
                names.remove(name);
            } else {
                names.insert(name.clone());
            }
            let count = (self.channels.len() + self.patterns.len()) as i64;
            reply.extend(array(&[bulk(&word), bulk(name), integer(count)]));
        }
        Some(reply)
    }

    /// What it is sent when this is published. A pattern is a beginning with a star behind it.
    pub(super) fn messages(&self, channel: &[u8], text: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        if self.channels.contains(channel) {
            messages.push(array(&[bulk(b"message"), bulk(channel), bulk(text)]));
        }
        let fits = |pattern: &&Vec<u8>| {
            pattern.strip_suffix(b"*").is_some_and(|start| channel.starts_with(start))
        };
        for pattern in self.patterns.iter().filter(fits) {
            let parts = [bulk(b"pmessage"), bulk(pattern), bulk(channel), bulk(text)];
            messages.push(array(&parts));
        }
        messages
    }
}

/// Whether a frame is a message, and no reply to anything.
pub(super) fn is_message(frame: &[u8]) -> bool {
    let elements = elements_of(frame).unwrap_or_default();
    matches!(
        (elements.first(), elements.len()),
        (Some(&b"$7\r\nmessage\r\n"), 3) | (Some(&b"$8\r\npmessage\r\n"), 4)
    )
}
