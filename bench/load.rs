//! Runs of redis-benchmark against one proxy, and a small client to prepare and check with.

use crate::processes::{self, Process};
use crate::{Failure, Values};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run that takes longer hangs: none is meant to take a tenth of it.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// What one run asks for.
pub struct Load {
    /// `get`, `set` or `mget`.
    pub command: &'static str,
    pub clients: u32,
    pub pipeline: u32,
}

/// What one run showed.
#[derive(Clone, Copy, Default)]
pub struct Measured {
    pub rps: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Microseconds of the proxy's CPU per request.
    pub cpu_us: f64,
    /// Microseconds of CPU per request, of all servers together.
    pub servers_cpu_us: f64,
}

impl Load {
    /// Sends `requests` to the proxy on `port`.
    pub fn run(
        &self,
        port: u16,
        values: Values,
        requests: u64,
        proxy: &Process,
        servers: &[Process],
    ) -> Result<Measured, Failure> {
        let before = proxy.cpu_nanos()?;
        let servers_before = cpu_of_all(servers)?;
        let mut command = processes::bound("redis-benchmark");
        self.describe(&mut command, port, values, requests);
        let text = finish(&mut command)?;
        let cpu = proxy.cpu_nanos()?.since(before);
        let servers_cpu: u64 = cpu_of_all(servers)?
            .iter()
            .zip(&servers_before)
            .map(|(now, then)| now.since(*then))
            .sum();
        let column = |name| csv_column(&text, name).ok_or(format!("no {name} in:\n{text}"));
        Ok(Measured {
            rps: column("rps")?,
            p50_ms: column("p50_latency_ms")?,
            p99_ms: column("p99_latency_ms")?,
            cpu_us: cpu as f64 / 1e3 / requests as f64,
            servers_cpu_us: servers_cpu as f64 / 1e3 / requests as f64,
        })
    }

    /// System calls per request of process `id`, from a run of its own.
    pub fn calls(&self, port: u16, values: Values, requests: u64, id: u32) -> Result<f64, Failure> {
        let mut command = counting(id);
        command.args(["setpriv", "--pdeathsig", "KILL", "--", "redis-benchmark"]);
        self.describe(&mut command, port, values, requests);
        let text = finish(&mut command)?;
        let count = calls_counted(&text).ok_or(format!("no count in:\n{text}"))?;
        Ok(count / requests as f64)
    }

    /// The arguments of redis-benchmark.
    fn describe(&self, command: &mut Command, port: u16, values: Values, requests: u64) {
        let numbers = [
            ("-p", u64::from(port)),
            ("-c", u64::from(self.clients)),
            ("-P", u64::from(self.pipeline)),
            ("-n", requests),
            ("-d", values.bytes as u64),
            ("-r", values.keys as u64),
        ];
        command.args(["-h", "127.0.0.1", "--csv"]);
        for (flag, number) in numbers {
            command.arg(flag).arg(number.to_string());
        }
        if self.command == "mget" {
            command.arg("mget").args(["key:__rand_int__"; 10]);
        } else {
            command.args(["-t", self.command]);
        }
    }
}

fn cpu_of_all(processes: &[Process]) -> Result<Vec<processes::Cpu>, Failure> {
    processes.iter().map(Process::cpu_nanos).collect()
}

/// `perf stat` on process `id` for as long as the command appended to it runs.
fn counting(id: u32) -> Command {
    let mut command = processes::bound("perf");
    command.args(["stat", "-x", ";", "-e", "raw_syscalls:sys_enter", "-p", &id.to_string(), "--"]);
    command
}

/// True when `perf` is there and may count the system calls of process `id`.
pub fn can_count_calls(id: u32) -> bool {
    finish(counting(id).arg("true")).is_ok_and(|text| calls_counted(&text).is_some())
}

/// `perf stat -x ';'` prints `count;unit;event;…`. It says that it did not count when the process
/// never ran, and has other words for what it cannot count.
fn calls_counted(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    match line.split(';').next()? {
        "<not counted>" => Some(0.0),
        count => count.parse().ok(),
    }
}

/// The number under `name` in redis-benchmark's table of one line.
fn csv_column(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines().filter(|line| line.starts_with('"'));
    let unquoted = |line: &str| -> Vec<String> {
        line.split(',').map(|field| field.trim_matches('"').to_owned()).collect()
    };
    let index = unquoted(lines.next()?).iter().position(|field| field == name)?;
    unquoted(lines.next()?).get(index)?.parse().ok()
}

/// Waits for a command and gives what it printed on both streams.
fn finish(command: &mut Command) -> Result<String, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let deadline = Instant::now() + RUN_WITHIN;
    // What these commands print fits a pipe, so nothing has to be read while they run.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(format!("no end within {RUN_WITHIN:?}: {command:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() || text.contains("Error") {
        return Err(format!("{command:?} failed: {}\n{text}", output.status).into());
    }
    Ok(text)
}

/// A client that waits for what it is owed.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub fn call(&mut self, arguments: &[&[u8]]) -> Result<Vec<u8>, Failure> {
        self.send(arguments)?;
        self.receive()
    }

    pub fn send(&mut self, arguments: &[&[u8]]) -> Result<(), Failure> {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(argument);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes)?;
        Ok(())
    }

    /// The text of one status or the bytes of one bulk string; anything else is a failure.
    pub fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        if let Some(status) = line.strip_prefix('+') {
            return Ok(status.as_bytes().to_vec());
        }
        let length = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
        let mut bytes = vec![0; length.ok_or(format!("unexpected reply {line:?}"))? + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(bytes.len() - 2);
        Ok(bytes)
    }
}
