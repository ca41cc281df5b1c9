//! The checked configuration: what the rest of the program is given. It never changes.
//!
//! The meaning and the default of every key are twemproxy's (`nc_conf.c`), unless said otherwise.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::access::Access;
use super::commands::CommandRules;
use crate::distribution::{DistributionKind, Node};
use crate::hash::{HashKind, HashTag};
use crate::io::{Address, Destination, KeepAlive};

/// A whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one, in twemproxy's order: the shorter name first, then by bytes.
    pub pools: Vec<Pool>,
}

/// Servers that share the keys of the clients of one listener.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The key of the pool in the file, not empty.
    pub name: String,
    /// Where clients connect to.
    pub listen: Listen,
    /// How a key becomes a number. Default `fnv1a_64`.
    pub hash: HashKind,
    /// The two bytes around the part of a key that is hashed. Default: none, all of it is.
    pub hash_tag: Option<HashTag>,
    /// How that number chooses a server. Default `ketama`.
    pub distribution: DistributionKind,
    /// How long a request waits for its reply; more than zero. Default: `None`, for ever.
    pub timeout: Option<Duration>,
    /// Connections that may wait to be accepted, for listen(2). Default 512.
    pub backlog: u32,
    /// Clients that may be connected at once; more than zero. Default: `None`, any number.
    pub client_connections: Option<u32>,
    /// What clients and servers speak. Default: memcache, as `redis` is false.
    pub protocol: Protocol,
    /// Which clients are let in. Default: all.
    pub access: Access,
    /// How TCP connections of clients and servers are probed when nothing comes; twemproxy probes
    /// clients only. Default: `None`, not at all.
    pub tcpkeepalive: Option<KeepAlive>,
    /// Whether the listening socket has `SO_REUSEPORT`. Default false.
    pub reuseport: bool,
    /// The password of clients and servers. Default: none.
    pub redis_auth: Option<Secret>,
    /// The database that server connections select. Default 0.
    pub redis_db: u32,
    /// Whether servers are connected to at start. Default false.
    pub preconnect: bool,
    /// Whether a server that fails is left out for a while. Default false.
    pub auto_eject_hosts: bool,
    /// Connections to each server, at least 1. Default 1.
    pub server_connections: u32,
    /// How long an ejected server is left out. Default 30 s.
    pub server_retry_timeout: Duration,
    /// Failures in a row after which a server is ejected. Default 2.
    pub server_failure_limit: u32,
    /// Whether the reply `-OOM` is a failure too. A key of our own; default false.
    pub eject_on_oom: bool,
    /// Whether an ejected server has to answer a PING before it is used again. A key of our own;
    /// default false.
    pub server_probe: bool,
    /// Server connections that its clients may have to themselves, all workers together; with 0
    /// nobody may watch a key, or wait for one. A key of our own; default 1024.
    pub private_connections: u32,
    /// Which commands its clients may say. A key of our own.
    pub commands: CommandRules,
    /// At least one, sorted by name as `distribution::server_order` does: the index of a server
    /// is part of how keys are shared out.
    pub servers: Vec<Server>,
}

impl Pool {
    /// The servers as a distribution needs them, in the same order.
    pub fn nodes(&self) -> Vec<Node> {
        let node = |server: &Server| Node { name: server.name.clone(), weight: server.weight };
        self.servers.iter().map(node).collect()
    }
}

/// What a pool speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP.
    Redis,
    /// The text protocol of memcached.
    Memcache,
}

/// A server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What stands for the server on the continuum and in statistics: the name that the file
    /// gives it, else `host:port`, only `host` with port 11211, and `/path:` of a unix socket.
    pub name: String,
    /// Where it is.
    pub address: ServerAddress,
    /// Its share of the keys, at least 1. All of a pool add up to `limits::POOL_WEIGHT_MAX` at
    /// most.
    pub weight: u32,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// A host and a port.
    Tcp {
        /// A name, or an IPv4 or IPv6 address without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// A unix socket: at most 107 bytes, none of them zero.
    Unix(PathBuf),
}

/// Where a pool listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// As the file has it.
    pub text: String,
    /// What it says.
    pub address: ListenAddress,
}

/// Where a pool listens, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A host and a port.
    Tcp {
        /// A name, or an IPv4 or IPv6 address without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// At most 107 bytes, none of them zero.
        path: PathBuf,
        /// The permissions that the socket is given, 1 to 0777; `None` leaves those of the umask.
        mode: Option<u32>,
    },
}

impl Server {
    /// Where to connect to. A host that is no address keeps its name, to be looked up then.
    pub fn destination(&self) -> Destination {
        match &self.address {
            ServerAddress::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => Destination::Address(Address::Inet(SocketAddr::new(ip, *port))),
                Err(_) => Destination::Name { host: host.clone(), port: *port },
            },
            ServerAddress::Unix(path) => Destination::Address(Address::Unix(path.clone())),
        }
    }
}

impl Listen {
    /// Where to listen: the first address that the system's resolver gives. Blocks while a name
    /// is looked up.
    ///
    /// Errors: the name is not known, or the resolver cannot be asked.
    pub fn resolve(&self) -> Result<Address, ResolveError> {
        match &self.address {
            ListenAddress::Tcp { host, port } => resolve(host, *port),
            ListenAddress::Unix { path, .. } => Ok(Address::Unix(path.clone())),
        }
    }
}

/// A host that has no address.
#[derive(Debug, Error)]
#[error("no address for the host {host:?}: {cause}")]
pub struct ResolveError {
    /// The host, as the file has it.
    pub host: String,
    /// What the resolver says.
    #[source]
    pub cause: io::Error,
}

fn resolve(host: &str, port: u16) -> Result<Address, ResolveError> {
    let failed = |cause| ResolveError { host: host.to_owned(), cause };
    let first = (host, port).to_socket_addrs().map_err(failed)?.next();
    first.map(Address::Inet).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

/// A password. It is in no `Debug` text, so that no log line or panic can have it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a password.
    pub fn new(password: String) -> Self {
        Self(password)
    }

    /// The password.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_debug_text() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn numeric_addresses_and_paths_resolve_without_asking() {
        for (host, expected) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            let Ok(Address::Inet(address)) = resolve(host, 7) else { panic!("{host}") };
            assert_eq!(address.to_string(), expected);
        }
        let address = ServerAddress::Unix("/tmp/a.sock".into());
        let server = Server { name: "/tmp/a.sock:".to_owned(), address, weight: 1 };
        let unix = Destination::Address(Address::Unix("/tmp/a.sock".into()));
        assert_eq!(server.destination(), unix);
    }

    #[test]
    fn a_server_keeps_its_name_and_an_address_is_none() {
        let destination = |host: &str| {
            let address = ServerAddress::Tcp { host: host.to_owned(), port: 7 };
            Server { name: String::new(), address, weight: 1 }.destination()
        };
        for (host, expected) in [("10.0.0.1", "10.0.0.1:7"), ("::1", "[::1]:7")] {
            let expected = Address::Inet(expected.parse().unwrap());
            assert_eq!(destination(host), Destination::Address(expected));
        }
        for host in ["redis", "127.1", "fe80::1%lo"] {
            assert_eq!(destination(host), Destination::Name { host: host.to_owned(), port: 7 });
        }
    }

    #[test]
    fn a_host_without_an_address_is_named() {
        let error = resolve("no such host", 7).unwrap_err();
        assert!(error.to_string().starts_with("no address for the host \"no such host\": "));
    }
}
