//! INFO: the sections that clients and monitors parse, with what is true of a proxy, and one more.
//!
//! Names and order of the fields are those of redis 7.0 (`server.c`, `genRedisInfoString`).

use std::fmt::{Display, Write};

use crate::proxy::Counters;
use crate::proxy::census::Question;
use crate::proxy::local::arguments::Arguments;
use crate::proxy::local::{Asked, advertised_version};
use crate::proxy::pool::Pool;
use crate::proxy::process::Process;
use crate::stats::{PoolFigures, ServerFigures, Total};
use crate::time::Instant;

/// INFO [section ...].
pub(super) fn answer(asked: Asked<'_, '_>, words: &Arguments) {
    asked.ask_around(Question::Info(Sections::named(words.from(1))));
}

/// A set of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sections(u16);

impl Sections {
    /// Those of these names; without a name, what Redis shows then. Other names are passed over.
    fn named<'w>(names: impl Iterator<Item = &'w [u8]>) -> Self {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return Self(ALL);
        }
        let bits = names.map(|name| match name.to_ascii_lowercase().as_slice() {
            b"default" | b"all" | b"everything" => ALL,
            name => {
                let place = NAMES.iter().position(|known| known.as_bytes() == name);
                place.map_or(0, |place| 1 << place)
            }
        });
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

/// Every section.
const ALL: u16 = u16::MAX;

/// In the order in which they are shown. What the proxy does not count it does not show: a zero
/// would be taken for a figure. So there is neither `commandstats`, `errorstats` nor `keyspace`,
/// nor a rate or a count of keys under `stats`.
const NAMES: [&str; 10] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "cluster",
    "proxy",
];

/// What INFO tells of.
pub(crate) struct Subject<'p> {
    pub(crate) process: &'p Process,
    /// The figures of all workers.
    pub(crate) total: Total,
    pub(crate) pools: &'p [Pool],
    /// The pool of the client that asks.
    pub(crate) pool: usize,
    /// The port that it has connected to.
    pub(crate) port: u16,
    pub(crate) clients_max: usize,
    pub(crate) now: Instant,
}

/// The lines of one section.
struct Section<'t>(&'t mut String);

impl Section<'_> {
    fn field(&mut self, name: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    fn fields<const N: usize>(&mut self, fields: [(&str, &dyn Display); N]) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }
}

impl Subject<'_> {
    /// The text of these sections.
    pub(crate) fn text(&self, sections: Sections) -> String {
        let mut text = String::new();
        for (place, name) in NAMES.into_iter().enumerate() {
            if sections.0 & 1 << place == 0 {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let title = name[..1].to_ascii_uppercase();
            let title = if name == "cpu" { "CPU" } else { &format!("{title}{}", &name[1..]) };
            let _ = write!(text, "# {title}\r\n");
            let mut to = Section(&mut text);
            match name {
                "server" => self.server(&mut to),
                "clients" => self.clients(&mut to),
                "memory" => self.memory(&mut to),
                "persistence" => persistence(&mut to),
                "stats" => self.stats(&mut to),
                "replication" => self.replication(&mut to),
                "cpu" => self.cpu(&mut to),
                "cluster" => to.field("cluster_enabled", 0),
                "proxy" => self.proxy(&mut to),
                // No module is loaded.
                _ => {}
            }
        }
        text
    }

    fn server(&self, to: &mut Section<'_>) {
        let facts = &self.process.facts;
        let uptime = self.uptime_s();
        to.fields([
            ("redis_version", &advertised_version(&self.pools[self.pool])),
            ("redis_git_sha1", &"00000000"),
            ("redis_git_dirty", &0),
            ("redis_build_id", &"0"),
            ("redis_mode", &"standalone"),
            ("os", &facts.system),
            ("arch_bits", &usize::BITS),
            ("multiplexing_api", &"io_uring"),
            ("process_id", &facts.pid),
            ("process_supervised", &"no"),
            ("run_id", &facts.run_id),
            ("tcp_port", &self.port),
            ("server_time_usec", &(facts.wall)().as_micros()),
            ("uptime_in_seconds", &uptime),
            ("uptime_in_days", &(uptime / 86_400)),
            ("hz", &10),
            ("configured_hz", &10),
            ("executable", &""),
            ("config_file", &""),
            ("io_threads_active", &0),
            ("ringcracker_version", &env!("CARGO_PKG_VERSION")),
        ]);
    }

    fn clients(&self, to: &mut Section<'_>) {
        let connected = self.total.figures.pools[self.pool].pool.client_connections;
        to.fields([
            ("connected_clients", &connected),
            ("cluster_connections", &0),
            ("maxclients", &self.clients_max),
            ("blocked_clients", &self.pools[self.pool].setup.private.waiting()),
            ("tracking_clients", &0),
            ("clients_in_timeout_table", &0),
        ]);
    }

    fn memory(&self, to: &mut Section<'_>) {
        let usage = (self.process.facts.usage)();
        let now = usage.resident_bytes;
        // The kernel counts the two in different ways.
        let most = usage.resident_bytes_most.max(now);
        to.fields([
            ("used_memory", &now),
            ("used_memory_human", &human(now)),
            ("used_memory_rss", &now),
            ("used_memory_rss_human", &human(now)),
            ("used_memory_peak", &most),
            ("used_memory_peak_human", &human(most)),
            ("total_system_memory", &usage.machine_bytes),
            ("total_system_memory_human", &human(usage.machine_bytes)),
            ("used_memory_lua", &0),
            ("maxmemory", &0),
            ("maxmemory_human", &"0B"),
            ("maxmemory_policy", &"noeviction"),
            ("mem_fragmentation_ratio", &"1.00"),
            ("mem_allocator", &"libc"),
        ]);
    }

    fn stats(&self, to: &mut Section<'_>) {
        let figures = &self.total.figures;
        let servers = || figures.pools.iter().flat_map(|entry| &entry.servers);
        let requests: u64 = self.counter("requests");
        to.fields([
            ("total_connections_received", &self.counter("clients")),
            ("total_commands_processed", &requests),
            ("total_net_input_bytes", &servers().map(|it| it.request_bytes).sum::<u64>()),
            ("total_net_output_bytes", &servers().map(|it| it.response_bytes).sum::<u64>()),
            ("rejected_connections", &self.counter("clients refused")),
            ("latest_fork_usec", &0),
            ("total_error_replies", &self.counter("requests failed")),
        ]);
    }

    fn replication(&self, to: &mut Section<'_>) {
        to.fields([
            ("role", &"master"),
            ("connected_slaves", &0),
            ("master_failover_state", &"no-failover"),
            ("master_replid", &self.process.facts.run_id),
            ("master_replid2", &"0".repeat(40)),
            ("master_repl_offset", &0),
            ("second_repl_offset", &-1),
            ("repl_backlog_active", &0),
            ("repl_backlog_size", &0),
            ("repl_backlog_first_byte_offset", &0),
            ("repl_backlog_histlen", &0),
        ]);
    }

    fn cpu(&self, to: &mut Section<'_>) {
        let usage = (self.process.facts.usage)();
        let seconds = |time: std::time::Duration| format!("{:.6}", time.as_secs_f64());
        to.field("used_cpu_sys", seconds(usage.system));
        to.field("used_cpu_user", seconds(usage.user));
        to.field("used_cpu_sys_children", "0.000000");
        to.field("used_cpu_user_children", "0.000000");
    }

    /// All pools, and the servers of the client's own.
    fn proxy(&self, to: &mut Section<'_>) {
        to.fields([
            ("proxy_name", &"ringcracker"),
            ("proxy_version", &env!("CARGO_PKG_VERSION")),
            ("proxy_workers", &self.process.workers()),
            ("proxy_pool", &plain(&self.pools[self.pool].setup.name)),
            ("proxy_pools", &self.pools.len()),
        ]);
        for (number, pool) in self.pools.iter().enumerate() {
            let entry = &self.total.figures.pools[number];
            let mut line =
                format!("name={},servers={}", plain(&pool.setup.name), entry.servers.len());
            pairs(&mut line, &PoolFigures::NAMES, &entry.pool.values());
            to.field(&format!("proxy_pool{number}"), line);
        }
        let entry = &self.total.figures.pools[self.pool];
        for (number, server) in entry.servers.iter().enumerate() {
            let name = &self.pools[self.pool].setup.servers[number].0;
            let mut line = format!("name={}", plain(name));
            pairs(&mut line, &ServerFigures::NAMES, &server.values());
            to.field(&format!("proxy_server{number}"), line);
        }
        for ((name, _), count) in Counters::default().named().iter().zip(self.total.counters()) {
            to.field(&format!("proxy_{}", name.replace(' ', "_")), count);
        }
    }

    pub(super) fn uptime_s(&self) -> u64 {
        (self.now - self.process.facts.started).as_secs()
    }

    /// A counter of all workers, by its name.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let names = Counters::default().named();
        let place = names.iter().position(|(known, _)| *known == name);
        place.map_or(0, |place| self.total.counters()[place])
    }
}

/// Nothing is kept here, so nothing is loaded or saved.
fn persistence(to: &mut Section<'_>) {
    to.fields([
        ("loading", &0),
        ("async_loading", &0),
        ("rdb_changes_since_last_save", &0),
        ("rdb_bgsave_in_progress", &0),
        ("rdb_last_save_time", &0),
        ("rdb_last_bgsave_status", &"ok"),
        ("rdb_last_bgsave_time_sec", &-1),
        ("rdb_current_bgsave_time_sec", &-1),
        ("aof_enabled", &0),
        ("aof_rewrite_in_progress", &0),
        ("aof_rewrite_scheduled", &0),
        ("aof_last_rewrite_time_sec", &-1),
        ("aof_current_rewrite_time_sec", &-1),
        ("aof_last_bgrewrite_status", &"ok"),
        ("aof_last_write_status", &"ok"),
    ]);
}

fn pairs(line: &mut String, names: &[&str], values: &[u64]) {
    for (name, value) in names.iter().zip(values) {
        let _ = write!(line, ",{name}={value}");
    }
}

/// A name without what would end its field or its line.
fn plain(name: &str) -> String {
    name.replace([',', '=', '\r', '\n'], "_")
}

/// As Redis shows bytes to people: `1.50M`.
fn human(bytes: u64) -> String {
    for (shift, letter) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        if bytes >> shift > 0 {
            return format!("{:.2}{letter}", bytes as f64 / (1_u64 << shift) as f64);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Sections {
        Sections::named(names.iter().map(|name| name.as_bytes()))
    }

    #[test]
    fn sections_are_found_by_name() {
        assert_eq!(of(&[]), of(&["DEFAULT"]));
        assert_eq!(of(&["nosuch"]), Sections(0));
        assert_eq!(of(&["Server", "proxy", "nosuch"]), Sections(1 | 1 << 9));
        assert_eq!(of(&["all"]), of(&[]));
        assert_eq!(of(&["commandstats", "errorstats", "keyspace"]), Sections(0));
    }

    #[test]
    fn bytes_are_shown_as_redis_does() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1536, "1.50K"), (3 << 30, "3.00G")] {
            assert_eq!(human(bytes), text);
        }
    }
}
