//! CONFIG: what clients look up, with the values that are true of a proxy.

use crate::limits::{PATTERN_BYTES_MAX, PATTERNS_MAX};
use crate::proxy::glob;
use crate::proxy::local::Asked;
use crate::proxy::local::arguments::Arguments;

/// CONFIG GET pattern [pattern ...], and HELP. Nothing of it can be set.
pub(super) fn answer(asked: Asked<'_, '_>, words: &Arguments) {
    if asked.name() == "config|help" {
        let lines = ["GET <pattern> [<pattern> ...]", "    What clients ask for."];
        return asked.help("CONFIG", &lines);
    }
    if words.len() - 2 > PATTERNS_MAX || words.from(2).any(|it| it.len() > PATTERN_BYTES_MAX) {
        return asked.error("the patterns are too many or too long");
    }
    let maxclients = asked.pools.limits.clients_max.to_string();
    let known = |name| if name == "maxclients" { Some(&*maxclients) } else { None };
    let fits = |name: &str| {
        words.from(2).any(|pattern| glob::matches_ignoring_case(pattern, name.as_bytes()))
    };
    let found: Vec<(&str, &str)> = VALUES
        .into_iter()
        .filter(|(name, _)| fits(name))
        .map(|(name, value)| (name, known(name).unwrap_or(value)))
        .collect();
    asked.write(|to| {
        to.map(found.len());
        for (name, value) in found {
            to.bulk(name.as_bytes()).bulk(value.as_bytes());
        }
    });
}

/// In the order of their names. There is no password among them, and nothing of the servers:
/// those that keep data say so themselves.
const VALUES: [(&str, &str); 22] = [
    ("appendfsync", "no"),
    ("appendonly", "no"),
    ("cluster-enabled", "no"),
    ("databases", "1"),
    ("hz", "10"),
    ("io-threads", "1"),
    ("latency-monitor-threshold", "0"),
    ("maxclients", ""),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", ""),
    ("proto-max-bulk-len", "536870912"),
    ("protected-mode", "no"),
    ("replica-read-only", "yes"),
    ("replica-serve-stale-data", "yes"),
    ("save", ""),
    ("slave-read-only", "yes"),
    ("slave-serve-stale-data", "yes"),
    ("slowlog-log-slower-than", "-1"),
    ("slowlog-max-len", "0"),
    ("tcp-keepalive", "0"),
    ("timeout", "0"),
];
