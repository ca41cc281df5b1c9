//! A pool: how its keys find a server, and the connections to each.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Secret;
use crate::distribution::RoutingTable;
use crate::io::{Destination, KeepAlive};
use crate::limits::PRIVATE_CONNECTIONS_MAX;
use crate::proto::{Protocol, RespVersion};
use crate::proxy::health::{Ejecting, Standing};
use crate::proxy::policy::Policy;
use crate::proxy::private::{Kept, Quota};
use crate::proxy::resp3::{Knowledge, LowestVersion};
use crate::proxy::scripts::{Known, Scripts};
use crate::token::Key;

/// What a worker is told about a pool.
#[derive(Clone)]
pub struct PoolSetup {
    /// The pool's name, for the log.
    pub name: String,
    /// What its clients and servers speak.
    pub protocol: Protocol,
    /// Which server a key belongs to.
    pub routing: Arc<RoutingTable>,
    /// Its servers, in the order of `routing`: name, and where it is.
    pub servers: Vec<(String, Destination)>,
    /// How long a request may wait for its reply; `None` is for ever.
    pub timeout: Option<Duration>,
    /// How TCP connections to servers are probed, if at all.
    pub keep_alive: Option<KeepAlive>,
    /// Connections to each server, at least 1.
    pub server_connections: u32,
    /// Whether servers are connected before the first request.
    pub preconnect: bool,
    /// What clients have to say, and what is said to servers.
    pub password: Option<Secret>,
    /// The database that is chosen on every server connection; 0 needs no choosing.
    pub database: u32,
    /// How many private connections its clients may have, in all workers together.
    pub private: Arc<Quota>,
    /// The lowest version that its servers have told, to any worker.
    pub version: Arc<LowestVersion>,
    /// The scripts that its clients brought, in all workers together.
    pub scripts: Arc<Scripts>,
    /// Which commands its clients may say.
    pub policy: Policy,
    /// How servers are judged, if those that fail are left out; `None`: they never are.
    pub ejecting: Option<Ejecting>,
}

impl PoolSetup {
    /// A pool of Redis servers with nothing that one could do without: no timeout, no password, no
    /// database, one shared connection to each server, opened when it is needed.
    pub fn new(
        name: &str,
        routing: Arc<RoutingTable>,
        servers: Vec<(String, Destination)>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            protocol: Protocol::Resp,
            routing,
            servers,
            timeout: None,
            keep_alive: None,
            server_connections: 1,
            preconnect: false,
            password: None,
            database: 0,
            private: Arc::new(Quota::new(PRIVATE_CONNECTIONS_MAX)),
            version: Arc::default(),
            scripts: Arc::default(),
            policy: Policy::default(),
            ejecting: None,
        }
    }
}

impl PoolSetup {
    /// The lane beside those of the clients: for what must not wait behind their requests.
    pub(crate) fn lane_aside(&self) -> u32 {
        self.server_connections
    }
}

/// A pool and the state of its connections.
pub(crate) struct Pool {
    pub(crate) setup: PoolSetup,
    /// For each server, for each lane, for each version: the connection, if there is one.
    connections: Vec<Option<Key>>,
    next_lane: u32,
    /// Whether its servers speak RESP3.
    pub(crate) resp3: Knowledge,
    /// Private connections that nobody has, the one that was given back last at the end.
    pub(crate) kept: Vec<Kept>,
    /// How each server stands with all workers, as far as this one knows.
    pub(crate) standings: Vec<Standing>,
    /// The scripts of which this worker knows that they are remembered.
    pub(crate) known: Known,
}

impl Pool {
    pub(crate) fn new(setup: PoolSetup) -> Self {
        assert!(setup.server_connections > 0, "the configuration checks it");
        let lanes = setup.lane_aside() as usize + 1;
        let connections = vec![None; setup.servers.len() * lanes * 2];
        let standings = vec![Standing::default(); setup.servers.len()];
        let resp3 = Knowledge::default();
        let (kept, known) = (Vec::new(), Known::default());
        Self { setup, connections, next_lane: 0, resp3, kept, standings, known }
    }

    /// Which of a server's connections the next client uses.
    pub(crate) fn deal_lane(&mut self) -> u32 {
        let lane = self.next_lane;
        self.next_lane = (lane + 1) % self.setup.server_connections;
        lane
    }

    /// The place of a server's connection.
    #[inline]
    pub(crate) fn connection(
        &mut self,
        number: u32,
        lane: u32,
        version: RespVersion,
    ) -> &mut Option<Key> {
        let lanes = self.setup.lane_aside() + 1;
        let place = (number * lanes + lane) * 2 + version as u32;
        &mut self.connections[place as usize]
    }
}
