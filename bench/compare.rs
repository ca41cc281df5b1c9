//! Drives Debian's nutcracker and ringcracker in alternation, and says who did better at what.
//!
//! ```text
//!                     +--> nutcracker  --+--> redis-server
//! redis-benchmark ----+                  |
//!                     +--> ringcracker --+--> redis-server
//! ```
//!
//! Both proxies have the same pool and the same servers. A row is measured in pairs, one run each,
//! in turns; what counts is the ratio within a pair, since the machine's mood changes between
//! them. System calls are counted in separate runs, as counting them costs.
//!
//! `cargo bench --bench compare -- [--quick] [--pairs N] [--seconds S] [--row TEXT]`, where TEXT
//! is a part of a row's name. `RINGCRACKER_BIN` names another program to measure in ringcracker's
//! place: an older build, or nutcracker itself, which shows how even two equals are.

mod load;
mod processes;
mod report;

use load::{Connection, Load, Measured};
use processes::{Process, Program};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whatever stops the comparison; it is printed, and nothing more is measured.
type Failure = Box<dyn std::error::Error>;

/// What to measure, and how long.
struct Options {
    pairs: usize,
    /// How long one run is to take.
    run: Duration,
    /// Only rows whose name has this in it.
    row: String,
}

/// Values of one size, and how many of them there are.
#[derive(Clone, Copy, PartialEq)]
struct Values {
    bytes: usize,
    keys: usize,
}

const SMALL: Values = Values { bytes: 64, keys: 100_000 };

/// 64 KiB each, and few enough of them to fit a small machine.
const LARGE: Values = Values { bytes: 64 << 10, keys: 1_000 };

/// One line of the table.
struct Row {
    name: &'static str,
    load: Load,
    values: Values,
    /// Requests of the first run, which warms up and shows how many a measured run needs.
    trial: u64,
    /// Ringcracker may not serve fewer requests per second than nutcracker.
    bar_rps: bool,
    /// Ringcracker may not use more CPU per request than nutcracker.
    bar_cpu: bool,
}

const fn load(command: &'static str, clients: u32, pipeline: u32) -> Load {
    Load { command, clients, pipeline }
}

const fn row(name: &'static str, load: Load, values: Values, trial: u64, bars: [bool; 2]) -> Row {
    Row { name, load, values, trial, bar_rps: bars[0], bar_cpu: bars[1] }
}

/// The bar is that of the first version: never slower where pipelines are deep, never more CPU
/// with many clients. What has no bar is reported all the same.
const ROWS: [Row; 10] = [
    row("GET 64 B, 50 clients, P=1", load("get", 50, 1), SMALL, 20_000, [false, true]),
    row("SET 64 B, 50 clients, P=1", load("set", 50, 1), SMALL, 20_000, [false, true]),
    row("GET 64 B, 50 clients, P=16", load("get", 50, 16), SMALL, 200_000, [true, true]),
    row("SET 64 B, 50 clients, P=16", load("set", 50, 16), SMALL, 200_000, [true, true]),
    row("GET 64 B, 50 clients, P=64", load("get", 50, 64), SMALL, 200_000, [true, true]),
    row("SET 64 B, 50 clients, P=64", load("set", 50, 64), SMALL, 200_000, [true, true]),
    row("GET 64 B, one client, P=1", load("get", 1, 1), SMALL, 5_000, [false, false]),
    row("MGET of 10 keys, 50 clients", load("mget", 50, 1), SMALL, 8_000, [false, false]),
    row("GET 64 KiB, 50 clients", load("get", 50, 1), LARGE, 5_000, [false, true]),
    row("SET 64 KiB, 50 clients", load("set", 50, 1), LARGE, 5_000, [false, true]),
];

/// One proxy under measurement.
struct Side {
    name: &'static str,
    version: String,
    process: Process,
    port: u16,
}

/// What the runs of one row gave, pair by pair: nutcracker's first, ringcracker's second.
struct Outcome<'a> {
    row: &'a Row,
    pairs: Vec<[Measured; 2]>,
    /// System calls per request, where they could be counted.
    calls: [Option<f64>; 2],
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so; a test runner that looks for tests here finds none.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let options = options(&arguments)?;
    let folder = tempfile::Builder::new().prefix("compare").tempdir_in(processes::SCRATCH)?;
    let mut servers = Vec::new();
    for _ in 0..2 {
        servers.push(redis_server(folder.path())?);
    }
    let ports = [servers[0].1, servers[1].1];
    let servers: Vec<Process> = servers.into_iter().map(|(process, _)| process).collect();
    let sides = [
        side("nutcracker", Path::new("nutcracker"), folder.path(), ports)?,
        side("ringcracker", &ringcracker(), folder.path(), ports)?,
    ];
    let machine = report::Machine::read(&sides)?;
    let can_count = load::can_count_calls(sides[0].process.id());
    if !can_count {
        eprintln!("perf cannot count system calls here: that column stays empty");
    }
    let mut outcomes = Vec::new();
    let mut filled = None;
    for row in ROWS.iter().filter(|row| row.name.contains(&options.row)) {
        if filled != Some(row.values) {
            fill(row.values, &sides, ports)?;
            filled = Some(row.values);
        }
        outcomes.push(measure(row, &sides, &servers, &options, can_count)?);
    }
    let memory = [sides[0].process.memory_kib()?, sides[1].process.memory_kib()?];
    report::write(&machine, &outcomes, memory)
}

fn options(arguments: &[String]) -> Result<Options, Failure> {
    let mut options = Options { pairs: 5, run: Duration::from_millis(2500), row: String::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => {}
            "--quick" => {
                options.pairs = 2;
                options.run = Duration::from_millis(800);
            }
            "--pairs" => options.pairs = value()?.parse::<usize>()?.max(1),
            "--seconds" => options.run = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--row" => options.row = value()?.clone(),
            unknown => return Err(format!("unknown argument {unknown}").into()),
        }
    }
    Ok(options)
}

fn ringcracker() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ringcracker"));
    std::env::var_os("RINGCRACKER_BIN").map_or_else(built, PathBuf::from)
}

fn redis_server(folder: &Path) -> Result<(Process, u16), Failure> {
    let port = processes::free_port()?;
    let mut program = Program::new("redis-server", folder);
    program.arguments(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    program.arguments(&["--appendonly", "no", "--daemonize", "no"]);
    program.arguments(&["--dir", folder.to_str().ok_or("the folder's name is not UTF-8")?]);
    Ok((program.start(port)?, port))
}

fn side(
    name: &'static str,
    program: &Path,
    folder: &Path,
    servers: [u16; 2],
) -> Result<Side, Failure> {
    let port = processes::free_port()?;
    let conf = folder.join(format!("{name}.yml"));
    std::fs::write(&conf, configuration(port, servers))?;
    let program = program.to_str().ok_or("the program's name is not UTF-8")?;
    let version = processes::first_line(program, &["-V"]);
    let mut start = Program::new(program, folder);
    start.arguments(&["-c", conf.to_str().ok_or("the folder's name is not UTF-8")?]);
    let stats_port = processes::free_port()?.to_string();
    start.arguments(&["-a", "127.0.0.1", "-s", &stats_port]);
    if version.contains("nutcracker") {
        let log = folder.join(format!("{name}.log"));
        start.arguments(&["-o", log.to_str().ok_or("the folder's name is not UTF-8")?]);
    }
    Ok(Side { name, version, process: start.start(port)?, port })
}

/// A pool as an operator has it: twemproxy's defaults, a deadline, connections from the start.
fn configuration(listen: u16, servers: [u16; 2]) -> String {
    let [first, second] = servers;
    format!(
        "bench:
  listen: 127.0.0.1:{listen}
  hash: fnv1a_64
  distribution: ketama
  timeout: 5000
  redis: true
  preconnect: true
  servers:
    - 127.0.0.1:{first}:1 first
    - 127.0.0.1:{second}:1 second
"
    )
}

/// Puts every key in place by way of nutcracker, and looks whether ringcracker finds them: two
/// proxies that route differently would not be measured on the same work.
fn fill(values: Values, sides: &[Side; 2], servers: [u16; 2]) -> Result<(), Failure> {
    eprintln!("writing {} values of {} bytes", values.keys, values.bytes);
    for port in servers {
        Connection::open(port)?.call(&[b"FLUSHALL"])?;
    }
    let [mut writer, mut reader] =
        [Connection::open(sides[0].port)?, Connection::open(sides[1].port)?];
    let indices: Vec<usize> = (0..values.keys).collect();
    for batch in indices.chunks(32) {
        for &index in batch {
            let (key, value) = entry(index, values.bytes);
            writer.send(&[b"SET", key.as_bytes(), value.as_bytes()])?;
        }
        for _ in batch {
            if writer.receive()? != b"OK" {
                return Err("a value could not be written".into());
            }
        }
    }
    for index in (0..values.keys).step_by(values.keys / 250) {
        let (key, value) = entry(index, values.bytes);
        if reader.call(&[b"GET", key.as_bytes()])? != value.as_bytes() {
            return Err(format!("{} gave another value of {key}", sides[1].name).into());
        }
    }
    Ok(())
}

/// A key as redis-benchmark makes them, and a value that no other key has.
fn entry(index: usize, bytes: usize) -> (String, String) {
    let key = format!("key:{index:012}");
    let value = key.chars().cycle().take(bytes).collect();
    (key, value)
}

fn measure<'a>(
    row: &'a Row,
    sides: &[Side; 2],
    servers: &[Process],
    options: &Options,
    can_count: bool,
) -> Result<Outcome<'a>, Failure> {
    eprintln!("{}", row.name);
    let mut requests = [0; 2];
    for (side, requests) in sides.iter().zip(&mut requests) {
        let trial = row.load.run(side.port, row.values, row.trial, &side.process, servers)?;
        *requests = (trial.rps * options.run.as_secs_f64()).max(1_000.0) as u64;
    }
    let mut pairs = Vec::new();
    for pair in 0..options.pairs {
        let mut both = [Measured::default(); 2];
        // Who goes first changes, so that a machine that slows down slows both.
        for turn in 0..2 {
            let which = (pair + turn) % 2;
            let side = &sides[which];
            both[which] =
                row.load.run(side.port, row.values, requests[which], &side.process, servers)?;
        }
        eprintln!("  {}", report::pair_line(&both));
        pairs.push(both);
    }
    let mut calls = [None; 2];
    if can_count {
        for which in 0..2 {
            let side = &sides[which];
            let requests = (requests[which] / 3).max(1_000);
            let count = row.load.calls(side.port, row.values, requests, side.process.id())?;
            calls[which] = Some(count);
        }
    }
    Ok(Outcome { row, pairs, calls })
}
