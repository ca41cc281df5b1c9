//! What is counted, and how it is shown: the figures of each worker, their sum, and the JSON.
//!
//! ```text
//!   worker: Figures --each tick--> Block --+
//!   worker: Figures --each tick--> Block --+--> sum --> JSON     (another thread, when asked)
//! ```
//!
//! A worker counts in plain memory of its own, so a request costs a few additions. A tick copies
//! all of it to the worker's `Block`: what is read lags by one tick at most.
//!
//! **Knows nothing of:** requests, sockets, clocks.

mod block;
mod report;

pub use block::Block;
pub use report::{Head, Layout, Total};

/// Makes a struct of figures, with their names and values in the order of the report.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident: $count:literal {
        $($(#[$field_doc:meta])* $field:ident,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// The names, in the order of the report.
            pub const NAMES: [&'static str; $count] = [$(stringify!($field)),*];

            /// The values, in the same order.
            pub fn values(&self) -> [u64; $count] {
                [$(self.$field),*]
            }

            fn values_mut(&mut self) -> [&mut u64; $count] {
                [$(&mut self.$field),*]
            }
        }
    };
}

figures! {
    /// Connections of every kind. Names as in twemproxy's `nc_stats.c`.
    ProcessFigures: 2 {
        /// Connections that were ever there.
        total_connections,
        /// Connections that are there.
        curr_connections,
    }
}

figures! {
    /// What a pool shows. Names, order and meaning are those of twemproxy's `nc_stats.h`.
    PoolFigures: 6 {
        /// Clients that left by ending their stream, or by QUIT.
        client_eof,
        /// Clients that left in any other way.
        client_err,
        /// Clients that are there.
        client_connections,
        /// Times that a server was ejected; no worker's, as ejection is the whole process's.
        server_ejects,
        /// Requests answered with an error in place of a server's reply.
        forward_error,
        /// Fragments that requests over several servers were cut into.
        fragments,
    }
}

figures! {
    /// What a server shows. Names, order and meaning are those of twemproxy's `nc_stats.h`.
    ServerFigures: 13 {
        /// Connections that the server ended.
        server_eof,
        /// Connections that failed in any other way, also before they were made.
        server_err,
        /// Connections that were ended for a request that was overdue.
        server_timedout,
        /// Connections that are made.
        server_connections,
        /// When it was last ejected, in microseconds since 1970, 0 for never; no worker's either.
        server_ejected_at,
        /// Requests given to it, each fragment by itself.
        requests,
        /// Their bytes.
        request_bytes,
        /// Replies to clients' requests, each fragment's by itself.
        /// One whose client has gone is not counted, one to a silent request is.
        responses,
        /// Their bytes, as the server sent them.
        response_bytes,
        /// Requests that are not wholly sent.
        in_queue,
        /// Their bytes.
        in_queue_bytes,
        /// Requests that are wholly sent and wait for a reply.
        out_queue,
        /// Their bytes.
        out_queue_bytes,
    }
}

/// What one worker has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Of the worker as a whole.
    pub process: ProcessFigures,
    /// Of each pool, in the order of the configuration.
    pub pools: Vec<PoolEntry>,
}

/// A pool's figures and its servers'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEntry {
    /// Of the pool.
    pub pool: PoolFigures,
    /// Of each server, in the order of the pool.
    pub servers: Vec<ServerFigures>,
}

impl Figures {
    /// All zero, for pools of so many servers each.
    pub fn new(servers: impl Iterator<Item = usize>) -> Self {
        let entry = |servers| PoolEntry {
            pool: PoolFigures::default(),
            servers: vec![ServerFigures::default(); servers],
        };
        Self { process: ProcessFigures::default(), pools: servers.map(entry).collect() }
    }

    /// A pool's.
    pub fn pool(&mut self, pool: u32) -> &mut PoolFigures {
        &mut self.pools[pool as usize].pool
    }

    /// A server's.
    pub fn server(&mut self, pool: u32, number: u32) -> &mut ServerFigures {
        &mut self.pools[pool as usize].servers[number as usize]
    }

    /// All values, in the order of a `Block`: the process, then each pool followed by its servers.
    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        let pools = self.pools.iter().flat_map(|entry| {
            let servers = entry.servers.iter().flat_map(ServerFigures::values);
            entry.pool.values().into_iter().chain(servers)
        });
        self.process.values().into_iter().chain(pools)
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let pools = self.pools.iter_mut().flat_map(|entry| {
            let servers = entry.servers.iter_mut().flat_map(ServerFigures::values_mut);
            entry.pool.values_mut().into_iter().chain(servers)
        });
        self.process.values_mut().into_iter().chain(pools)
    }
}
