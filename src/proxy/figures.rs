//! The proxy's figures: what is counted where things happen, and what a tick adds up.

use std::sync::Arc;

use crate::io::Errno;
use crate::proxy::client::Client;
use crate::proxy::pools::Pools;
use crate::proxy::server::{Phase, Purpose, Server, Tally};
use crate::proxy::{Counters, PoolSetup, Proxy};
use crate::stats::{Block, Figures, Layout};

/// The report of these pools: their names, and those of the counters behind them.
pub fn layout(pools: &[PoolSetup]) -> Layout {
    let servers = |pool: &PoolSetup| pool.servers.iter().map(|server| server.0.clone()).collect();
    let counters = Counters::default().named();
    Layout::new(
        pools.iter().map(|pool| (pool.name.clone(), servers(pool))).collect(),
        counters
            .iter()
            .map(|(name, _)| format!("ringcracker_{}", name.replace(' ', "_")))
            .collect(),
    )
}

/// All zero, for these pools.
pub(crate) fn figures_of(setups: &[PoolSetup]) -> Figures {
    Figures::new(setups.iter().map(|setup| setup.servers.len()))
}

impl Proxy {
    /// Where the figures are shown.
    pub fn stats(&self) -> &Arc<Block> {
        &self.stats
    }

    /// Brings the figures up to date and shows them.
    pub(crate) fn show_figures(&mut self) {
        let connections = self.clients.len() + self.pools.servers.len();
        let Pools { figures, servers, counters, ticked_at, .. } = &mut self.pools;
        figures.process.curr_connections = connections as u64;
        for server in figures.pools.iter_mut().flat_map(|entry| &mut entry.servers) {
            server.server_connections = 0;
            server.in_queue = 0;
            server.in_queue_bytes = 0;
            server.out_queue = 0;
            server.out_queue_bytes = 0;
        }
        for server in servers.values_mut() {
            server.note_good(*ticked_at);
            add_server(figures, server);
        }
        self.stats.show(figures, counters.named().into_iter().map(|(_, count)| count));
    }
}

impl Pools {
    /// Counts a request of a client that fails for its servers.
    pub(crate) fn count_failed_request(&mut self, pool: u32) {
        self.counters.requests_failed += 1;
        self.figures.pool(pool).forward_error += 1;
    }
}

fn add_server(figures: &mut Figures, server: &mut Server) {
    if server.purpose == Purpose::Probe {
        // What is shown of a server is of clients' requests and the connections for them.
        return;
    }
    let sum = figures.server(server.pool, server.number);
    match server.phase {
        Phase::Resolving | Phase::Connecting => {}
        Phase::Greeting | Phase::Up => sum.server_connections += 1,
        // Its tally was taken when it left, and nothing waits on it.
        Phase::Leaving => return,
    }
    let queues = server.queues();
    sum.in_queue += queues.unsent;
    sum.in_queue_bytes += queues.unsent_bytes;
    sum.out_queue += queues.sent;
    sum.out_queue_bytes += queues.sent_bytes;
    add_tally(figures, server);
}

/// Adds what a server connection has counted since the last time.
pub(crate) fn add_tally(figures: &mut Figures, server: &mut Server) {
    let Tally { requests, request_bytes, responses, response_bytes } =
        std::mem::take(&mut server.tally);
    let sum = figures.server(server.pool, server.number);
    sum.requests += requests;
    sum.request_bytes += request_bytes;
    sum.responses += responses;
    sum.response_bytes += response_bytes;
}

/// Counts the end of a server connection. `None`: the server ended it.
pub(crate) fn count_server_end(figures: &mut Figures, server: &mut Server, why: Option<Errno>) {
    add_tally(figures, server);
    let sum = figures.server(server.pool, server.number);
    match why {
        None => sum.server_eof += 1,
        Some(Errno(libc::ETIMEDOUT)) => sum.server_timedout += 1,
        Some(_) => sum.server_err += 1,
    }
}

/// Counts a client that is about to leave.
pub(crate) fn count_client_end(figures: &mut Figures, client: &Client) {
    let sum = figures.pool(client.account.pool);
    sum.client_connections -= 1;
    if client.ends_well() {
        sum.client_eof += 1;
    } else {
        sum.client_err += 1;
    }
}
