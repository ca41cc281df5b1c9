//! What is answered of memcached's commands.

use std::fmt::Write;

use crate::proxy::census::Question;
use crate::proxy::local::{Asked, Subject};

/// stats: what the proxy knows of itself, of all its workers and pools. Statistics of the servers
/// would be those of one of them, or a sum that means nothing.
pub(super) fn stats(asked: Asked<'_, '_>) {
    let mut scratch = Vec::new();
    let words = match asked.request.arguments {
        1 => return asked.ask_around(Question::Stats),
        _ => match asked.source.slice(asked.request.argument_range(1), &mut scratch) {
            b"reset" => b"RESET\r\n".as_slice(),
            b"settings" | b"items" | b"slabs" | b"sizes" | b"conns" => b"END\r\n",
            _ => b"ERROR\r\n",
        },
    };
    asked.say(words);
}

impl Subject<'_> {
    /// The reply to stats: memcached's names, in its order, where they fit.
    pub(crate) fn memcache_stats(&self) -> String {
        let facts = &self.process.facts;
        let pools = &self.total.figures.pools;
        let clients: u64 = pools.iter().map(|entry| entry.pool.client_connections).sum();
        let mut text = format!("STAT pid {}\r\n", facts.pid);
        for (name, value) in [("uptime", self.uptime_s()), ("time", (facts.wall)().as_secs())] {
            push(&mut text, name, value);
        }
        // Writing to a string does not fail.
        let _ = write!(text, "STAT version {}\r\n", env!("CARGO_PKG_VERSION"));
        for (name, value) in [
            ("pointer_size", u64::from(usize::BITS)),
            ("curr_connections", clients),
            ("total_connections", self.counter("clients")),
            ("rejected_connections", self.counter("clients refused")),
            ("threads", self.process.workers() as u64),
            ("requests", self.counter("requests")),
            ("replies", self.counter("replies")),
        ] {
            push(&mut text, name, value);
        }
        text.push_str("END\r\n");
        text
    }
}

fn push(text: &mut String, name: &str, value: u64) {
    let _ = write!(text, "STAT {name} {value}\r\n");
}
