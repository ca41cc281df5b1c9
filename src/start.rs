//! From a checked configuration to running workers, and to their end.
//!
//! ```text
//!   main thread: signals blocked -> log -> probe -> listen -> rings -> worker 0, which accepts
//!                                                              |       and hears signals
//!                                                              +-> threads: worker 1, 2, ...
//! ```
//!
//! Whatever can fail is tried before the first client is let in, and fails with one line.

#[cfg(debug_assertions)]
mod tiny_ring;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{LevelFilter, error, info};
#[cfg(debug_assertions)]
use ringcracker::checked::Checked;
use ringcracker::cli::{Cli, Workers};
use ringcracker::config::{self, Config, ListenAddress, Pool, ResolveError};
use ringcracker::distribution::RoutingTable;
use ringcracker::io::{Address, Fd, WaitError};
use ringcracker::limits::{DESCRIPTORS_RESERVED, FREE_BYTES_MAX, Limits};
use ringcracker::logging::Log;
use ringcracker::proto::Protocol;
use ringcracker::proxy::PoolSetup;
use ringcracker::ring::{self, CannotRun, Options, Uring};
use ringcracker::sys::sockets::{ListenOn, ListenOptions};
use ringcracker::sys::{memory, process, signals, sockets};
use ringcracker::worker::{ListenerSetup, Running, Setup, Shared, Worker};

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
    signals::ignore_pipe();
    let signals = signals::block_and_watch(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    let log = start_log(cli)?;
    let result = run_logged(cli, config, signals, &log);
    if let (Err(why), true) = (&result, cli.output.is_some()) {
        error!("{why}");
    }
    log.finish();
    result
}

fn run_logged(cli: &Cli, config: &Config, signals: Fd, log: &Log) -> Result<(), StartError> {
    let features = ring::probe()?;
    let workers = match cli.workers {
        Workers::Count(count) => count.get(),
        Workers::Auto => process::cpus(),
    };
    let options = ring_options()?;
    let limits = limits(config, workers, &options)?;
    let pools: Vec<PoolSetup> = config.pools.iter().map(pool_setup).collect::<Result<_, _>>()?;
    let shared = Arc::new(Shared::new(workers, pools.len())?);
    let listeners = listen_all(config)?;
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
    info!("ringcracker-{} started on pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
    info!("Linux {}, {features}", process::kernel_release());
    for pool in &config.pools {
        log_pool(pool, workers);
    }
    let mut worker = Worker::new(ring, setup(0, listeners));
    let result = run_first(&mut worker, log);
    worker.log_summary();
    drop(worker);
    shared.stop();
    let others = crew.join();
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

/// The turns of the first worker, which hears the signals.
fn run_first(worker: &mut Worker<WorkerRing>, log: &Log) -> Result<(), StartError> {
    loop {
        match worker.turn() {
            Ok(Running::On) => {}
            Ok(Running::Signal(libc::SIGHUP)) => {
                info!("signal SIGHUP, reopening log file");
                log.reopen();
            }
            Ok(Running::Signal(number)) => {
                info!("signal {number}, exiting");
                return Ok(());
            }
            Ok(Running::Stop) => return Ok(()),
            Err(why) => return Err(StartError::Ring(why)),
        }
    }
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
            Ok(Running::On | Running::Signal(_)) => {}
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
    // twemproxy's scale: 0 to 3 are errors and worse, 4 a warning, 5 a notice, 6 information, and
    // 7 and up debug.
    let level = match cli.verbose {
        0..=3 => LevelFilter::Error,
        4 => LevelFilter::Warn,
        5 | 6 => LevelFilter::Info,
        7.. => LevelFilter::Debug,
    };
    Log::start(cli.output.as_deref(), level).map_err(|why| {
        let path = cli
            .output
            .as_ref()
            .map_or("standard error".to_owned(), |path| path.display().to_string());
        StartError::Log { path, why }
    })
}

/// How many clients there may be: what is left of the descriptors once servers have theirs.
fn limits(config: &Config, workers: usize, options: &Options) -> Result<Limits, StartError> {
    let have = process::raise_open_files_limit();
    let servers: u64 = config
        .pools
        .iter()
        .map(|pool| pool.servers.len() as u64 * u64::from(pool.server_connections))
        .sum();
    // Each worker has its own server connections, a ring and an eventfd.
    let need = (servers + 2) * workers as u64 + config.pools.len() as u64 + DESCRIPTORS_RESERVED;
    let left = have.saturating_sub(need);
    if left == 0 {
        return Err(StartError::OpenFiles { have, need: need + 1 });
    }
    let clients_max = usize::try_from(left).unwrap_or(usize::MAX);
    Ok(Limits { clients_max, recv_buffers: options.buffers, ..Limits::default() })
}

fn pool_setup(pool: &Pool) -> Result<PoolSetup, StartError> {
    let nodes = pool.nodes();
    let ejected = vec![false; nodes.len()];
    let mut servers = Vec::with_capacity(pool.servers.len());
    for server in &pool.servers {
        let failed = |why| StartError::Resolve { pool: pool.name.clone(), why };
        servers.push((server.name.clone(), server.resolve().map_err(failed)?));
    }
    Ok(PoolSetup {
        name: pool.name.clone(),
        protocol: match pool.protocol {
            config::Protocol::Redis => Protocol::Resp,
            config::Protocol::Memcache => Protocol::Memcache,
        },
        routing: RoutingTable::new(pool.hash, pool.hash_tag, pool.distribution, &nodes, &ejected),
        servers,
        timeout: pool.timeout,
        server_connections: pool.server_connections,
        preconnect: pool.preconnect,
    })
}

fn listen_all(config: &Config) -> Result<Vec<ListenerSetup>, StartError> {
    let mut listeners = Vec::with_capacity(config.pools.len());
    for (number, pool) in config.pools.iter().enumerate() {
        let failed = |why| StartError::Resolve { pool: pool.name.clone(), why };
        let address = match (pool.listen.resolve().map_err(failed)?, &pool.listen.address) {
            (Address::Unix(path), ListenAddress::Unix { mode, .. }) => {
                ListenOn::Unix { path, mode: *mode }
            }
            (Address::Unix(path), ListenAddress::Tcp { .. }) => ListenOn::Unix { path, mode: None },
            (Address::Inet(address), _) => ListenOn::Inet(address),
        };
        let options = ListenOptions { reuseport: pool.reuseport, keepalive: pool.tcpkeepalive };
        let fd = listen_patiently(&address, pool.backlog, options).map_err(|why| {
            let listen = pool.listen.text.clone();
            StartError::Listen { pool: pool.name.clone(), listen, why }
        })?;
        let clients_max = pool.client_connections;
        listeners.push(ListenerSetup { fd, pool: number as u32, clients_max });
    }
    Ok(listeners)
}

/// The kernel takes a moment to end the accept of a process that was killed, and its address is in
/// use until then: whoever restarts it at once should not have to try twice.
fn listen_patiently(
    address: &ListenOn,
    backlog: u32,
    options: ListenOptions,
) -> std::io::Result<Fd> {
    let until = Instant::now() + LISTEN_PATIENCE;
    loop {
        match sockets::listen(address, backlog, options) {
            Err(why) if why.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(LISTEN_INTERVAL);
            }
            result => return result,
        }
    }
}

fn log_pool(pool: &Pool, workers: usize) {
    info!(
        "pool {} listens on {}, {} servers, {} {}; each server sees up to {} connections \
         ({workers} workers x {} server_connections)",
        pool.name,
        pool.listen.text,
        pool.servers.len(),
        pool.hash.name(),
        pool.distribution.name(),
        workers * pool.server_connections as usize,
        pool.server_connections,
    );
}

/// A seed for the spread of the `random` distribution: another one for each start and worker.
fn seed(number: usize) -> u64 {
    let now = ringcracker::sys::clock::now().as_nanos();
    now ^ u64::from(std::process::id()) << 32
        ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How often memory is looked at. It walks the free lists of the heap.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
/// How long an address that is in use is tried again: a killed process let go of its own within
/// 100 ms wherever it was seen.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);
/// How long between two tries.
const LISTEN_INTERVAL: Duration = Duration::from_millis(20);
