//! The report: the sum of all workers' blocks, as twemproxy's JSON.
//!
//! Source: twemproxy 0.5.0 `nc_stats.c`, `stats_make_rsp`: the order, and every comma and space.

use std::fmt::Write;

use crate::stats::{Block, PoolFigures, ProcessFigures, ServerFigures};

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
    /// Microseconds from 1970 to the origin of the monotonic clock.
    pub origin_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Latest,
}

impl Layout {
    /// Of pools and their servers, each in the order of the figures; `counters` are the names of
    /// what comes behind them, which nutcracker has not.
    pub fn new(pools: Vec<(String, Vec<String>)>, counters: Vec<String>) -> Self {
        Self { pools, counters }
    }

    /// The report, with a newline at its end. Every block is one of this layout.
    pub fn report<'b>(&self, head: Head<'_>, blocks: impl Iterator<Item = &'b Block>) -> String {
        let mut sums = self.sum(blocks).into_iter();
        let mut text = String::with_capacity(NUMBER_BYTES * sums.len());
        text.push('{');
        push_string(&mut text, "service", "nutcracker");
        push_string(&mut text, "source", head.source);
        push_string(&mut text, "version", head.version);
        push_numbers(&mut text, &["uptime", "timestamp"], [head.uptime_s, head.timestamp_s]);
        // A listening socket is a connection in twemproxy.
        let listeners = self.pools.len() as u64;
        let connections = sums.by_ref().take(ProcessFigures::NAMES.len());
        push_numbers(&mut text, &ProcessFigures::NAMES, connections.map(|sum| sum + listeners));
        for (name, servers) in &self.pools {
            begin(&mut text, name);
            push_numbers(&mut text, &PoolFigures::NAMES, &mut sums);
            for server in servers {
                begin(&mut text, server);
                let values = sums.by_ref().take(ServerFigures::NAMES.len());
                push_numbers(
                    &mut text,
                    &ServerFigures::NAMES,
                    values.zip(SERVER_KINDS).map(|(value, kind)| match kind {
                        Kind::Latest if value > 0 => head.origin_us + value / 1000,
                        Kind::Latest | Kind::Sum => value,
                    }),
                );
                end(&mut text);
            }
            end(&mut text);
        }
        push_numbers(&mut text, &self.counters, sums);
        text.truncate(text.trim_end_matches([',', ' ']).len());
        text.push_str("}\n");
        text
    }

    /// Each value over all blocks: counters and gauges added, of timestamps the latest.
    fn sum<'b>(&self, blocks: impl Iterator<Item = &'b Block>) -> Vec<u64> {
        let kinds: Vec<Kind> = self.kinds().collect();
        let mut sums = vec![0_u64; kinds.len()];
        for block in blocks {
            for ((sum, value), kind) in sums.iter_mut().zip(block.read()).zip(&kinds) {
                *sum = match kind {
                    Kind::Sum => *sum + value,
                    Kind::Latest => value.max(*sum),
                };
            }
        }
        sums
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        let sums = |count| std::iter::repeat_n(Kind::Sum, count);
        let pools = self.pools.iter().flat_map(move |(_, servers)| {
            let servers = servers.iter().flat_map(|_| SERVER_KINDS);
            sums(PoolFigures::NAMES.len()).chain(servers)
        });
        sums(ProcessFigures::NAMES.len()).chain(pools).chain(sums(self.counters.len()))
    }
}

/// How each of a server's figures is put together: `server_ejected_at` is a time.
const SERVER_KINDS: [Kind; ServerFigures::NAMES.len()] = {
    let mut kinds = [Kind::Sum; ServerFigures::NAMES.len()];
    kinds[4] = Kind::Latest;
    kinds
};

/// A guess at the bytes of a number with its name.
const NUMBER_BYTES: usize = 32;

fn push_numbers<N: AsRef<str>>(
    text: &mut String,
    names: &[N],
    values: impl IntoIterator<Item = u64>,
) {
    // The names first: a `zip` that ends with them takes no value too many.
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
    use crate::stats::Figures;

    const HEAD: Head<'_> = Head {
        source: "box",
        version: "1.2.3",
        uptime_s: 4,
        timestamp_s: 1_700_000_000,
        origin_us: 1_000_000,
    };

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
        figures.server(1, 0).server_ejected_at = 5_000_000;
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
        assert_eq!(layout().report(HEAD, std::iter::once(&block)), expected);
    }

    #[test]
    fn workers_are_added_and_the_latest_time_is_taken() {
        let blocks = [(5, 3000), (7, 9000), (11, 0)].map(|(count, ejected_at)| {
            let mut figures = Figures::new([2, 1].into_iter());
            figures.pool(1).client_connections = count;
            figures.server(0, 0).server_ejected_at = ejected_at;
            figures.server(1, 0).in_queue_bytes = count;
            let block = Block::new(&figures, 1);
            block.show(&figures, std::iter::once(count));
            block
        });
        let report = layout().report(HEAD, blocks.iter());
        assert!(report.contains("\"client_connections\":23"), "{report}");
        assert!(report.contains("\"in_queue_bytes\":23"), "{report}");
        assert!(report.contains("\"server_ejected_at\":1000009"), "{report}");
        assert!(report.ends_with("\"ours\":23}\n"), "{report}");
    }
}
