//! The report: the sum of all workers' blocks, as twemproxy's JSON.
//!
//! Source: twemproxy 0.5.0 `nc_stats.c`, `stats_make_rsp`: the order, and every comma and space.

use std::fmt::Write;

use crate::stats::{Block, Figures, PoolFigures, ProcessFigures, ServerFigures};

/// The names in a report, and thereby what each value of a block is.
pub struct Layout {
    pools: Vec<(String, Vec<String>)>,
    counters: Vec<String>,
}

/// What stands at the head of a report.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The name of this machine.
    pub source: &'a str,
    /// The version of the program.
    pub version: &'a str,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Seconds since 1970.
    pub timestamp_s: u64,
}

/// The figures of all workers together.
pub struct Total {
    /// Counters and gauges, added.
    pub figures: Figures,
    counters: Vec<u64>,
}

impl Total {
    /// What comes behind the figures, in the order of its names.
    pub fn counters(&self) -> &[u64] {
        &self.counters
    }
}

impl Layout {
    /// Of pools and their servers, each in the order of the figures; `counters` are the names of
    /// what comes behind them, which nutcracker has not.
    pub fn new(pools: Vec<(String, Vec<String>)>, counters: Vec<String>) -> Self {
        Self { pools, counters }
    }

    /// Adds up what workers show. Every block is one of this layout.
    pub fn total<'b>(&self, blocks: impl Iterator<Item = &'b Block>) -> Total {
        let mut figures = Figures::new(self.pools.iter().map(|(_, servers)| servers.len()));
        let mut counters = vec![0; self.counters.len()];
        for block in blocks {
            let sums = figures.values_mut().chain(&mut counters);
            sums.zip(block.read()).for_each(|(sum, value)| *sum += value);
        }
        Total { figures, counters }
    }

    /// The report, with a newline at its end.
    pub fn report(&self, head: Head<'_>, total: &Total) -> String {
        let Total { figures, counters } = total;
        let mut text = String::with_capacity(NUMBER_BYTES * figures.values().count());
        text.push('{');
        push_string(&mut text, "service", "nutcracker");
        push_string(&mut text, "source", head.source);
        push_string(&mut text, "version", head.version);
        push_numbers(&mut text, &["uptime", "timestamp"], &[head.uptime_s, head.timestamp_s]);
        // A listening socket is a connection in twemproxy.
        let connections = figures.process.values().map(|sum| sum + self.pools.len() as u64);
        push_numbers(&mut text, &ProcessFigures::NAMES, &connections);
        for ((name, servers), entry) in self.pools.iter().zip(&figures.pools) {
            begin(&mut text, name);
            push_numbers(&mut text, &PoolFigures::NAMES, &entry.pool.values());
            for (name, server) in servers.iter().zip(&entry.servers) {
                begin(&mut text, name);
                push_numbers(&mut text, &ServerFigures::NAMES, &server.values());
                end(&mut text);
            }
            end(&mut text);
        }
        push_numbers(&mut text, &self.counters, counters);
        text.truncate(text.trim_end_matches([',', ' ']).len());
        text.push_str("}\n");
        text
    }
}

/// A guess at the bytes of a number with its name.
const NUMBER_BYTES: usize = 32;

fn push_numbers<N: AsRef<str>>(text: &mut String, names: &[N], values: &[u64]) {
    for (name, value) in names.iter().zip(values) {
        // Writing to a string does not fail.
        let _ = write!(text, "\"{}\":{value}, ", name.as_ref());
    }
}

fn push_string(text: &mut String, name: &str, value: &str) {
    let _ = write!(text, "\"{name}\":\"");
    push_escaped(text, value);
    text.push_str("\", ");
}

fn begin(text: &mut String, name: &str) {
    text.push('"');
    push_escaped(text, name);
    text.push_str("\": {");
}

/// The space behind the last comma goes, as in twemproxy: `},"next": {`.
fn end(text: &mut String) {
    text.truncate(text.trim_end_matches([',', ' ']).len());
    text.push_str("},");
}

/// twemproxy writes names as they are, and then a quote in one makes a report that is not JSON.
fn push_escaped(text: &mut String, name: &str) {
    for letter in name.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '\0'..='\x1f' => {
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            }
            _ => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head<'_> =
        Head { source: "box", version: "1.2.3", uptime_s: 4, timestamp_s: 1_700_000_000 };

    fn layout() -> Layout {
        let pool = |name: &str, servers: &[&str]| {
            (name.to_owned(), servers.iter().map(|&name| name.to_owned()).collect())
        };
        Layout::new(vec![pool("a", &["s", "t"]), pool("b", &["q\"\n"])], vec!["ours".to_owned()])
    }

    #[test]
    fn the_report_has_nutcrackers_order_and_separators() {
        let mut figures = Figures::new([2, 1].into_iter());
        figures.process.total_connections = 3;
        figures.process.curr_connections = 1;
        figures.pool(0).fragments = 9;
        figures.server(0, 1).requests = 8;
        let block = Block::new(&figures, 1);
        block.show(&figures, std::iter::once(77));
        let server = |ejected: u64, requests: u64| {
            format!(
                "{{\"server_eof\":0, \"server_err\":0, \"server_timedout\":0, \
                 \"server_connections\":0, \"server_ejected_at\":{ejected}, \
                 \"requests\":{requests}, \"request_bytes\":0, \"responses\":0, \
                 \"response_bytes\":0, \"in_queue\":0, \"in_queue_bytes\":0, \"out_queue\":0, \
                 \"out_queue_bytes\":0}}"
            )
        };
        let pool = |fragments: u64| {
            format!(
                "{{\"client_eof\":0, \"client_err\":0, \"client_connections\":0, \
                 \"server_ejects\":0, \"forward_error\":0, \"fragments\":{fragments}, "
            )
        };
        let expected = format!(
            "{{\"service\":\"nutcracker\", \"source\":\"box\", \"version\":\"1.2.3\", \
             \"uptime\":4, \"timestamp\":1700000000, \"total_connections\":5, \
             \"curr_connections\":3, \"a\": {}\"s\": {},\"t\": {}}},\"b\": {}\"q\\\"\\u000a\": \
             {}}},\"ours\":77}}\n",
            pool(9),
            server(0, 0),
            server(0, 8),
            pool(0),
            server(1_005_000, 0),
        );
        let mut total = layout().total(std::iter::once(&block));
        total.figures.server(1, 0).server_ejected_at = 1_005_000;
        assert_eq!(layout().report(HEAD, &total), expected);
    }

    #[test]
    fn workers_are_added() {
        let blocks = [5, 7, 11].map(|count| {
            let mut figures = Figures::new([2, 1].into_iter());
            figures.process.curr_connections = count;
            figures.pool(1).client_connections = count;
            figures.server(1, 0).in_queue_bytes = count;
            let block = Block::new(&figures, 1);
            block.show(&figures, std::iter::once(count));
            block
        });
        let mut total = layout().total(blocks.iter());
        assert_eq!(total.figures.process.curr_connections, 23);
        assert_eq!(total.figures.pool(1).client_connections, 23);
        assert_eq!(total.figures.server(1, 0).in_queue_bytes, 23);
        assert!(layout().report(HEAD, &total).ends_with("\"ours\":23}\n"));
    }
}
