//! A pool: how its keys find a server, and the connections to each.

use std::time::Duration;

use crate::distribution::RoutingTable;
use crate::io::Address;
use crate::proto::Protocol;
use crate::token::Key;

/// What a worker is told about a pool.
#[derive(Clone)]
pub struct PoolSetup {
    /// The pool's name, for the log.
    pub name: String,
    /// What its clients and servers speak.
    pub protocol: Protocol,
    /// Which server a key belongs to.
    pub routing: RoutingTable,
    /// Its servers, in the order of `routing`: name and address.
    pub servers: Vec<(String, Address)>,
    /// How long a request may wait for its reply; `None` is for ever.
    pub timeout: Option<Duration>,
    /// Connections to each server, at least 1.
    pub server_connections: u32,
    /// Whether servers are connected before the first request.
    pub preconnect: bool,
}

/// A pool and the state of its connections.
pub(crate) struct Pool {
    pub(crate) setup: PoolSetup,
    /// For each server, for each lane: the connection, if there is one.
    connections: Vec<Option<Key>>,
    next_lane: u32,
}

impl Pool {
    pub(crate) fn new(setup: PoolSetup) -> Self {
        assert!(setup.server_connections > 0, "the configuration checks it");
        let connections = vec![None; setup.servers.len() * setup.server_connections as usize];
        Self { setup, connections, next_lane: 0 }
    }

    /// Which of a server's connections the next client uses.
    pub(crate) fn deal_lane(&mut self) -> u32 {
        let lane = self.next_lane;
        self.next_lane = (lane + 1) % self.setup.server_connections;
        lane
    }

    /// The place of a server's connection.
    #[inline]
    pub(crate) fn connection(&mut self, number: u32, lane: u32) -> &mut Option<Key> {
        &mut self.connections[(number * self.setup.server_connections + lane) as usize]
    }
}
