//! What is answered of memcached's commands.

use crate::proxy::local::Asked;

/// stats: what this worker knows of itself. Statistics of the servers would be those
/// of one of them, or a sum that means nothing.
pub(super) fn stats(asked: Asked<'_, '_>) {
    let mut scratch = Vec::new();
    let words = match asked.request.arguments {
        1 => return say_stats(asked),
        _ => match asked.source.slice(asked.request.argument_range(1), &mut scratch) {
            b"reset" => b"RESET\r\n".as_slice(),
            b"settings" | b"items" | b"slabs" | b"sizes" | b"conns" => b"END\r\n",
            _ => b"ERROR\r\n",
        },
    };
    asked.say(words);
}

fn say_stats(asked: Asked<'_, '_>) {
    let counters = asked.pools.counters;
    let mut text = format!("STAT version {}\r\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("pointer_size", u64::from(usize::BITS)),
        ("total_connections", counters.clients),
        ("rejected_connections", counters.clients_refused),
        ("requests", counters.requests),
        ("replies", counters.replies),
    ] {
        text.push_str(&format!("STAT {name} {value}\r\n"));
    }
    text.push_str("END\r\n");
    asked.say(text.as_bytes());
}
