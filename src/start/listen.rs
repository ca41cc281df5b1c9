//! The addresses of a process: taken all together, and only then listened on.
//!
//! ```text
//!   bind: statistics, each pool --> whatever else may fail --> listen: statistics, each pool
//!     +-- in use: tried again for a while
//! ```
//!
//! A bound socket that does not listen is invisible. So a start that fails disturbs nobody, not
//! even a process that shares a port with it (`reuseport`), and no client waits at a pool while the
//! address of the next one is waited for.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use ringcracker::admin::{self, Reporting, StatsPort};
use ringcracker::cli::Cli;
use ringcracker::config::{Config, ListenAddress, Pool};
use ringcracker::io::Address;
use ringcracker::stats::Layout;
use ringcracker::sys::sockets::{self, Bound, ListenOn, ListenOptions};
use ringcracker::worker::{ListenerSetup, Shared};

use crate::start::StartError;
use crate::start::files::SocketFile;

/// What this process will listen on, and nobody can connect to yet.
pub(super) struct Addresses<'c> {
    cli: &'c Cli,
    stats: StatsPort,
    pools: Vec<(&'c Pool, Bound)>,
    sockets: Vec<SocketFile>,
}

/// What listens.
pub(super) struct Open {
    /// For the first worker.
    pub(super) listeners: Vec<ListenerSetup>,
    pub(super) reporting: Reporting,
    /// The names of unix sockets, which are removed when dropped.
    pub(super) sockets: Vec<SocketFile>,
}

impl<'c> Addresses<'c> {
    /// Takes all of them, the statistics' first: it is the one that two processes are most likely
    /// to share by mistake.
    pub(super) fn take(cli: &'c Cli, config: &'c Config) -> Result<Self, StartError> {
        // A daemon of nutcracker's has no umask, so everybody may connect to its sockets.
        let open_to_all = cli.daemonize.then_some(0o777);
        let stats =
            patiently(|| StatsPort::bind(&cli.stats_addr, cli.stats_port, open_to_all), is_in_use);
        let mut taken = Self {
            cli,
            stats: stats.map_err(|why| stats_failed(cli, why))?,
            pools: Vec::with_capacity(config.pools.len()),
            sockets: Vec::new(),
        };
        taken.sockets.extend(admin::unix_path(&cli.stats_addr).and_then(SocketFile::find));
        for pool in &config.pools {
            let address = address_of(pool, open_to_all)?;
            let options = ListenOptions { reuseport: pool.reuseport, keepalive: pool.tcpkeepalive };
            let bound = patiently(|| sockets::bind(&address, options), is_in_use);
            taken.pools.push((pool, bound.map_err(|why| listen_failed(pool, why))?));
            if let ListenOn::Unix { path, .. } = &address {
                taken.sockets.extend(SocketFile::find(path));
            }
        }
        Ok(taken)
    }

    /// Lets clients in, and whoever reads the statistics.
    pub(super) fn listen(self, layout: Layout, shared: &Arc<Shared>) -> Result<Open, StartError> {
        let reporting = self.stats.serve(layout, Arc::clone(shared));
        let reporting = reporting.map_err(|why| stats_failed(self.cli, why))?;
        warn_of_open_statistics(self.cli);
        let mut listeners = Vec::with_capacity(self.pools.len());
        for (number, (pool, bound)) in (0..).zip(self.pools) {
            let fd = bound.listen(pool.backlog).map_err(|why| listen_failed(pool, why))?;
            let clients_max = pool.client_connections;
            let access = pool.access.clone();
            listeners.push(ListenerSetup { fd, pool: number, clients_max, access });
        }
        // They listen now, so nobody takes them for left behind any more.
        if let Some(path) = self.sockets.iter().find_map(SocketFile::lost) {
            return Err(StartError::SocketLost { path: path.display().to_string() });
        }
        Ok(Open { listeners, reporting, sockets: self.sockets })
    }
}

fn address_of(pool: &Pool, open_to_all: Option<u32>) -> Result<ListenOn, StartError> {
    let failed = |why| StartError::Resolve { pool: pool.name.clone(), why };
    Ok(match (pool.listen.resolve().map_err(failed)?, &pool.listen.address) {
        (Address::Unix(path), ListenAddress::Unix { mode, .. }) => {
            ListenOn::Unix { path, mode: mode.or(open_to_all) }
        }
        (Address::Unix(path), ListenAddress::Tcp { .. }) => ListenOn::Unix { path, mode: None },
        (Address::Inet(address), _) => ListenOn::Inet(address),
    })
}

fn listen_failed(pool: &Pool, why: io::Error) -> StartError {
    StartError::Listen { pool: pool.name.clone(), listen: pool.listen.text.clone(), why }
}

/// The default is nutcracker's, as monitoring must go on working; but whoever reaches the port is
/// told the names of pools and servers.
fn warn_of_open_statistics(cli: &Cli) {
    let is_open = cli.stats_addr.parse().is_ok_and(|address: IpAddr| address.is_unspecified());
    if is_open {
        warn!(
            "statistics are told to everybody who reaches port {} of this machine; \
             -a 127.0.0.1 keeps them here",
            cli.stats_port
        );
    }
}

fn stats_failed(cli: &Cli, why: io::Error) -> StartError {
    let at = match admin::unix_path(&cli.stats_addr) {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", cli.stats_addr, cli.stats_port),
    };
    StartError::Stats { at, why }
}

fn is_in_use(why: &io::Error) -> bool {
    why.kind() == ErrorKind::AddrInUse
}

/// Tries again for a while when what fails `is_passing`: whoever restarts a process at once should
/// not have to try twice.
///
/// The kernel takes a moment to end the accept of a process that was killed, and its address is in
/// use until then; one that was told to end takes a moment to let go.
pub(super) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_passing: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(why) if is_passing(&why) && Instant::now() < until => {
                std::thread::sleep(INTERVAL);
            }
            result => return result,
        }
    }
}

/// How long it is tried again: a killed process let go of its addresses within 100 ms wherever it
/// was seen.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long between two tries.
const INTERVAL: Duration = Duration::from_millis(20);
