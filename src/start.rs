//! From a checked configuration to running workers, and to their end.
//!
//! ```text
//!   main thread: signals blocked -> log -> probe -> pid file locked -> addresses taken -> rings
//!                                                                                          |  |
//!                                threads: worker 1, 2, ... <-------------------------------+  |
//!                worker 0: accepts, hears signals <- listen <- pid file written <-------------+
//! ```
//!
//! Whatever can fail is tried before the first client is let in, and fails with one line. The pid
//! file comes first, as it says whether another process is to stay; the addresses before the rings,
//! as a worker may connect to servers at once (`preconnect`). Until the end of that nobody is
//! disturbed: the file says what it said, and nothing listens.

mod ending;
mod files;
mod listen;
mod names;
#[cfg(debug_assertions)]
mod tiny_ring;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use log::{error, info, warn};
#[cfg(debug_assertions)]
use ringcracker::checked::Checked;
use ringcracker::cli::{Cli, Workers};
use ringcracker::config::{self, Config, Pool, ResolveError};
use ringcracker::distribution::RoutingTable;
use ringcracker::io::{Destination, Fd, WaitError};
use ringcracker::limits::{DESCRIPTORS_RESERVED, FREE_BYTES_MAX, Limits};
use ringcracker::logging::{self, Log};
use ringcracker::proto::Protocol;
use ringcracker::proxy::{self, Ejecting, Facts, Policy, PoolSetup, Quota, Usage};
use ringcracker::ring::{self, CannotRun, Options, Uring};
use ringcracker::sys::daemon::{self, Parent};
use ringcracker::sys::{memory, process, signals, usage};
use ringcracker::worker::{Ejection, Health, Running, Setup, Shared, Worker};

use crate::start::ending::{Ending, Names};
use crate::start::files::{PidFile, PidFileError};
use crate::start::listen::Addresses;

/// Why the program does not run, in one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The kernel lacks something, or refuses it.
    #[error(transparent)]
    CannotRun(#[from] CannotRun),
    /// A host has no address.
    #[error("pool {pool}: {why}")]
    Resolve { pool: String, why: ResolveError },
    /// A pool's address cannot be listened on.
    #[error("pool {pool}: cannot listen on {listen}: {why}")]
    Listen { pool: String, listen: String, why: std::io::Error },
    /// Two processes were started at once with the same unix socket.
    #[error("another process has taken the socket {path} meanwhile")]
    SocketLost { path: String },
    /// The process cannot be left to run in the background.
    #[error("cannot run in the background: {0}")]
    Daemon(std::io::Error),
    /// The pid file cannot be written, or another process has it.
    #[error("pid file {path}: {why}")]
    PidFile { path: String, why: PidFileError },
    /// The statistics port cannot be listened on.
    #[error("cannot serve statistics on {at}: {why}; -a and -s choose another address and port")]
    Stats { at: String, why: std::io::Error },
    /// The log cannot be opened.
    #[error("cannot log to {path}: {why}")]
    Log { path: String, why: std::io::Error },
    /// Too few descriptors for servers and a client.
    #[error(
        "too few open files: {have} allowed, {need} needed before the first client; raise ulimit -n"
    )]
    OpenFiles { have: u64, need: u64 },
    /// The sizes that a test asks for.
    #[cfg(debug_assertions)]
    #[error(transparent)]
    TinyRing(#[from] tiny_ring::NotUnderstood),
    /// Threads, eventfds, signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The ring failed while running.
    #[error("the ring failed: {0:?}")]
    Ring(WaitError),
}

/// Runs until a signal ends it. What goes wrong is logged too: with a log file, standard error may
/// be nowhere.
pub(crate) fn run(cli: &Cli, config: &Config) -> Result<(), StartError> {
    // Before the first thread and the first ring: a fork has neither.
    let parent = cli.daemonize.then(daemon::detach).transpose().map_err(StartError::Daemon)?;
    signals::ignore_pipe();
    signals::end_at_segv();
    let signals = signals::block_and_watch(&ending::SIGNALS)?;
    let log = start_log(cli)?;
    if let Some(path) = &cli.output {
        logging::write_panics_to(path.clone());
    }
    let result = run_logged(cli, config, signals, &log, parent);
    if let (Err(why), true) = (&result, cli.output.is_some()) {
        error!("{why}");
    }
    log.finish();
    result
}

/// Logs what is wrong with a configuration, as far as there is a log: standard error, where it has
/// been said already, may be nowhere.
pub(crate) fn log_faults(cli: &Cli, faults: &str) {
    if cli.output.is_some()
        && let Ok(log) = start_log(cli)
    {
        faults.lines().for_each(|fault| error!("{fault}"));
        log.finish();
    }
}

fn run_logged(
    cli: &Cli,
    config: &Config,
    signals: Fd,
    log: &Log,
    parent: Option<Parent>,
) -> Result<(), StartError> {
    let features = ring::probe()?;
    let workers = match cli.workers {
        Workers::Count(count) => count.get(),
        Workers::Auto => process::cpus(),
    };
    let options = ring_options()?;
    let limits = limits(config, cli, workers, &options)?;
    let pools: Vec<PoolSetup> = config.pools.iter().map(pool_setup).collect();
    let health = Health::new(config.pools.iter().map(ejection).collect());
    let shared =
        Arc::new(Shared::new(workers, pools.len())?.with_health(health).with_facts(facts()));
    let mut pid_file = PidFile::take(cli.pid_file.as_deref())?;
    let addresses = Addresses::take(cli, config)?;
    if pools.iter().any(has_names) {
        names::start(&shared)?;
    }
    let ring = ring_of(&shared, 0, Options { signals: Some(signals), ..options.clone() })?;
    watch_memory()?;
    let setup = |number, listeners| Setup {
        number,
        pools: pools.clone(),
        listeners,
        limits: limits.clone(),
        seed: seed(number),
        shared: Arc::clone(&shared),
    };
    let others = (1..workers).map(|number| setup(number, Vec::new()));
    let crew = Crew::spawn(&shared, &options, others)?;
    pid_file.write()?;
    let open = addresses.listen(proxy::layout(&pools), &shared)?;
    info!("ringcracker-{} started on pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
    info!("Linux {}, {features}", process::kernel_release());
    for pool in &config.pools {
        log_pool(pool, workers);
    }
    log_flags(cli);
    let mut worker = Worker::new(ring, setup(0, open.listeners));
    if let Some(parent) = parent {
        parent.let_go().map_err(StartError::Daemon)?;
    }
    let names = Names { sockets: open.sockets, reporting: open.reporting, pid_file: &pid_file };
    let ending = Ending::new(cli.drain_seconds, log, &shared, names);
    let result = ending.run(&mut worker);
    worker.log_summary();
    drop(worker);
    shared.stop();
    let others = crew.join();
    drop(pid_file);
    info!("done");
    result.and(others)
}

/// Starts the thread that gives free memory back: a burst of large values is not for ever.
fn watch_memory() -> Result<(), StartError> {
    std::thread::Builder::new().name("memory".to_owned()).spawn(|| {
        loop {
            std::thread::sleep(MEMORY_INTERVAL);
            memory::give_back_unused(FREE_BYTES_MAX);
        }
    })?;
    Ok(())
}

/// The workers beside the first, each in a thread with its own ring.
struct Crew(Vec<JoinHandle<Result<(), StartError>>>);

impl Crew {
    /// Starts them, and returns once each has its ring; none is left running if one has not.
    fn spawn(
        shared: &Shared,
        options: &Options,
        setups: impl Iterator<Item = Setup>,
    ) -> Result<Self, StartError> {
        let (ready, readiness) = channel();
        let mut crew = Self(Vec::new());
        let mut failed = None;
        for setup in setups {
            let (ready, options) = (ready.clone(), options.clone());
            let name = format!("worker-{}", setup.number);
            let thread = std::thread::Builder::new().name(name);
            match thread.spawn(move || run_other(setup, options, ready)) {
                Ok(thread) => crew.0.push(thread),
                Err(why) => failed = Some(StartError::System(why)),
            }
        }
        drop(ready);
        let ready_count = readiness.iter().count();
        if failed.is_none() && ready_count == crew.0.len() {
            return Ok(crew);
        }
        shared.stop();
        let joined = crew.join();
        Err(failed.or(joined.err()).expect("a worker that is not ready says why"))
    }

    /// Waits for their end. Errors: the first that any of them ended with.
    fn join(self) -> Result<(), StartError> {
        let mut result = Ok(());
        for thread in self.0 {
            // A worker that panics aborts the process, so a join has no other outcome.
            result = result.and(thread.join().unwrap_or(Ok(())));
        }
        result
    }
}

/// The turns of another worker. `ready` hears once that it has its ring, and is let go of.
fn run_other(setup: Setup, options: Options, ready: Sender<()>) -> Result<(), StartError> {
    let (number, shared) = (setup.number, Arc::clone(&setup.shared));
    let ring = ring_of(&shared, number, options)?;
    // The starter waits for it until every sender is gone.
    let _ = ready.send(());
    drop(ready);
    let mut worker = Worker::new(ring, setup);
    loop {
        match worker.turn() {
            // Who has drained still turns clients away that come by mail.
            Ok(Running::On | Running::Signal(_) | Running::Drained) => {}
            Ok(Running::Stop) => break,
            Err(why) => {
                error!("worker {number}: the ring failed: {why:?}");
                shared.stop();
                return Err(StartError::Ring(why));
            }
        }
    }
    worker.log_summary();
    Ok(())
}

/// What a worker runs on: in a debug build the contract of its ring is watched.
#[cfg(debug_assertions)]
type WorkerRing = Checked<Uring>;
#[cfg(not(debug_assertions))]
type WorkerRing = Uring;

/// What the log says of it.
const WATCHED: &str = if cfg!(debug_assertions) { "; its contract is watched" } else { "" };

/// How large the workers' rings are, which a test of a debug build may decide.
fn ring_options() -> Result<Options, StartError> {
    #[cfg(debug_assertions)]
    if let Some(options) = tiny_ring::asked_for()? {
        return Ok(options);
    }
    Ok(Options::default())
}

fn ring_of(shared: &Shared, number: usize, options: Options) -> Result<WorkerRing, StartError> {
    let mail = Some(shared.mailbox(number).bell());
    let ring = Uring::new(&Options { mail, ..options }).map_err(CannotRun::from)?;
    info!("worker {number}: {}{WATCHED}", ring.sizes());
    Ok(WorkerRing::from(ring))
}

fn start_log(cli: &Cli) -> Result<Log, StartError> {
    Log::start(cli.output.as_deref(), cli.verbose).map_err(|why| {
        let path = cli
            .output
            .as_ref()
            .map_or("standard error".to_owned(), |path| path.display().to_string());
        StartError::Log { path, why }
    })
}

/// How many clients there may be: what is left of the descriptors once servers have theirs.
fn limits(
    config: &Config,
    cli: &Cli,
    workers: usize,
    options: &Options,
) -> Result<Limits, StartError> {
    let have = process::raise_open_files_limit();
    let servers: u64 = config
        .pools
        .iter()
        .map(|pool| {
            let each = shared_connections(pool) + u64::from(pool.server_probe);
            pool.servers.len() as u64 * each
        })
        .sum();
    // Each worker has its own server connections, a ring and an eventfd.
    let need = (servers + 2) * workers as u64 + config.pools.len() as u64 + DESCRIPTORS_RESERVED;
    let left = have.saturating_sub(need);
    if left == 0 {
        return Err(StartError::OpenFiles { have, need: need + 1 });
    }
    let clients_max = usize::try_from(left).unwrap_or(usize::MAX);
    let gather_time = cli.gather_microseconds;
    let recv_buffers = options.buffers;
    Ok(Limits { clients_max, gather_time, recv_buffers, ..Limits::default() })
}

/// How many connections for all clients a worker may have to one server: as many again for clients
/// that speak RESP3, once there are any.
fn shared_connections(pool: &Pool) -> u64 {
    let versions = match pool.protocol {
        config::Protocol::Redis => 2,
        config::Protocol::Memcache => 1,
    };
    u64::from(pool.server_connections) * versions
}

fn pool_setup(pool: &Pool) -> PoolSetup {
    let nodes = pool.nodes();
    let ejected = vec![false; nodes.len()];
    let servers = pool.servers.iter().map(|server| (server.name.clone(), server.destination()));
    let (hash, tag, kind) = (pool.hash, pool.hash_tag, pool.distribution);
    let routing = RoutingTable::new(hash, tag, kind, &nodes, &ejected);
    PoolSetup {
        protocol: match pool.protocol {
            config::Protocol::Redis => Protocol::Resp,
            config::Protocol::Memcache => Protocol::Memcache,
        },
        timeout: pool.timeout,
        keep_alive: pool.tcpkeepalive,
        server_connections: pool.server_connections,
        preconnect: pool.preconnect,
        password: pool.redis_auth.clone(),
        database: match pool.protocol {
            config::Protocol::Redis => pool.redis_db,
            // memcached has no databases, and twemproxy takes no notice of the key.
            config::Protocol::Memcache => 0,
        },
        private: Arc::new(Quota::new(pool.private_connections)),
        policy: Policy::new(&pool.commands),
        ejecting: pool.auto_eject_hosts.then_some(Ejecting { on_oom: pool.eject_on_oom }),
        ..PoolSetup::new(&pool.name, Arc::new(routing), servers.collect())
    }
}

/// How a pool ejects servers, if it does.
fn ejection(pool: &Pool) -> Option<Ejection> {
    pool.auto_eject_hosts.then(|| Ejection {
        pool: pool.name.clone(),
        failure_limit: pool.server_failure_limit,
        retry_after: pool.server_retry_timeout,
        probe: pool.server_probe,
        hash: pool.hash,
        hash_tag: pool.hash_tag,
        distribution: pool.distribution,
        nodes: pool.nodes(),
    })
}

/// Whether a server of the pool has to be looked up.
fn has_names(pool: &PoolSetup) -> bool {
    pool.servers.iter().any(|(_, at)| matches!(at, Destination::Name { .. }))
}

/// What the command line asks for and does not get.
fn log_flags(cli: &Cli) {
    if cli.mbuf_size.is_some() {
        warn!("-m has no effect: receive buffers have one size, and values are kept by reference");
    }
    if !cli.ignored.is_empty() {
        warn!("ignored on the command line: {}", cli.ignored.join(" "));
    }
}

fn log_pool(pool: &Pool, workers: usize) {
    let later = match pool.protocol {
        config::Protocol::Redis => ", and as many more once a client speaks RESP3",
        config::Protocol::Memcache => "",
    };
    info!(
        "pool {} listens on {}, {} servers, {} {}; each server sees up to {} connections \
         ({workers} workers x {} server_connections{later}), and all together {} private ones",
        pool.name,
        pool.listen.text,
        pool.servers.len(),
        pool.hash.name(),
        pool.distribution.name(),
        workers * pool.server_connections as usize,
        pool.server_connections,
        pool.private_connections,
    );
}

/// A seed for the spread of the `random` distribution: another one for each start and worker.
fn seed(number: usize) -> u64 {
    let now = ringcracker::sys::clock::now().as_nanos();
    now ^ u64::from(std::process::id()) << 32
        ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What clients may be told of this process.
fn facts() -> Facts {
    Facts {
        pid: std::process::id(),
        run_id: run_id(),
        started: ringcracker::sys::clock::now(),
        system: format!("Linux {} {}", process::kernel_release(), std::env::consts::ARCH),
        wall: usage::wall,
        usage: || {
            let usage::Usage { resident_bytes, resident_bytes_most, machine_bytes, user, system } =
                usage::now();
            Usage { resident_bytes, resident_bytes_most, machine_bytes, user, system }
        },
    }
}

/// Forty hexadecimal digits that no other start has.
fn run_id() -> String {
    let draw = || std::hash::RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}{:08x}", draw(), draw(), draw() as u32)
}

/// How often memory is looked at. It walks the free lists of the heap.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
