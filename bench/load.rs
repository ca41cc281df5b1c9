//! Runs of one load against one target: how fast, how late, how much CPU, how many system calls.

use crate::Failure;
use crate::cases::{Command, Load, Protocol};
use crate::memcache;
use crate::processes::{self, Process};
use crate::record::Run;
use crate::rig::Target;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A run that takes longer hangs: none is meant to take a tenth of it.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// How long a run is to take.
#[derive(Clone, Copy)]
pub enum Length {
    /// So many requests.
    Requests(u64),
    /// As long as this, at a rate that an earlier run had.
    Time(Duration, f64),
}

/// What the load's program said.
struct Answered {
    requests: u64,
    rps: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Load {
    /// Puts the load on `target`.
    pub fn run(
        &self,
        target: &Target,
        length: Length,
        servers: &[Process],
    ) -> Result<Run, Failure> {
        let proxy_cpu = || target.process.map(Process::cpu_nanos).transpose();
        let before = proxy_cpu()?;
        let servers_before = cpu_of_all(servers)?;
        let answered = self.drive(target, length)?;
        let cpu = proxy_cpu()?.zip(before).map(|(now, then)| now.since(then));
        let servers_cpu: u64 = cpu_of_all(servers)?
            .iter()
            .zip(&servers_before)
            .map(|(now, then)| now.since(*then))
            .sum();
        let each = |nanos: u64| nanos as f64 / 1e3 / answered.requests as f64;
        Ok(Run {
            rps: answered.rps,
            p50_ms: answered.p50_ms,
            p99_ms: answered.p99_ms,
            proxy_cpu_us: cpu.map(each),
            servers_cpu_us: each(servers_cpu),
        })
    }

    /// System calls of process `id` per request, from a run of its own.
    pub fn system_calls(&self, target: &Target, length: Length, id: u32) -> Result<f64, Failure> {
        let counter = Counter::start(id)?;
        let answered = self.drive(target, length)?;
        Ok(counter.stop()? / answered.requests as f64)
    }

    fn drive(&self, target: &Target, length: Length) -> Result<Answered, Failure> {
        match self.protocol {
            Protocol::Redis => self.drive_redis(target, length),
            Protocol::Memcached => {
                let time = match length {
                    Length::Requests(_) => Duration::from_millis(200),
                    Length::Time(time, _) => time,
                };
                let [port] = target.ports[..] else { return Err("one port is driven".into()) };
                let memcache::Driven { requests, rps, p50_ms, p99_ms } =
                    memcache::drive(self, port, time)?;
                Ok(Answered { requests, rps, p50_ms, p99_ms })
            }
        }
    }

    /// One redis-benchmark for each port of the target, with its share of the clients.
    fn drive_redis(&self, target: &Target, length: Length) -> Result<Answered, Failure> {
        let requests = match length {
            Length::Requests(requests) => requests,
            Length::Time(time, rps) => (time.as_secs_f64() * rps) as u64,
        };
        let share = target.ports.len();
        let requests = (requests / share as u64).max(200);
        let clients = (self.clients as usize / share).max(1);
        let mut children = Vec::new();
        for &port in &target.ports {
            let mut command = processes::bound("redis-benchmark");
            let numbers = [
                ("-p", u64::from(port)),
                ("-c", clients as u64),
                ("-P", u64::from(self.pipeline)),
                ("-n", requests),
                ("-d", self.values.bytes as u64),
                ("-r", self.values.keys as u64),
            ];
            command.args(["-h", "127.0.0.1", "--csv"]);
            for (flag, number) in numbers {
                command.arg(flag).arg(number.to_string());
            }
            match self.command {
                Command::Get => command.args(["-t", "get"]),
                Command::Set => command.args(["-t", "set"]),
                Command::Mget => command.arg("mget").args(["key:__rand_int__"; 10]),
                Command::Mset => command.args(["-t", "mset"]),
            };
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            children.push(command.spawn()?);
        }
        let mut answered =
            Answered { requests: requests * share as u64, rps: 0.0, p50_ms: 0.0, p99_ms: 0.0 };
        for child in children {
            let text = finish(child)?;
            let column = |name| csv_column(&text, name).ok_or(format!("no {name} in:\n{text}"));
            answered.rps += column("rps")?;
            answered.p50_ms = column("p50_latency_ms")?.max(answered.p50_ms);
            answered.p99_ms = column("p99_latency_ms")?.max(answered.p99_ms);
        }
        Ok(answered)
    }
}

fn cpu_of_all(processes: &[Process]) -> Result<Vec<processes::Cpu>, Failure> {
    processes.iter().map(Process::cpu_nanos).collect()
}

/// `perf stat` on one process. It counts in the kernel: what traces each call would slow the proxy
/// down, deepen its batches, and so flatter the count.
struct Counter(Child);

impl Counter {
    /// Returns once it counts.
    fn start(id: u32) -> Result<Self, Failure> {
        let mut command = processes::bound("perf");
        command.args(["stat", "-x", ";", "-e", "raw_syscalls:sys_enter", "-p", &id.to_string()]);
        // perf counts from before the command begins until it ends, which is when its input does.
        command.args(["--", "sh", "-c", "echo ready; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("perf: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.as_mut() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let mut counter = Self(child);
        if line.trim() == "ready" { Ok(counter) } else { Err(counter.text()?.into()) }
    }

    fn stop(mut self) -> Result<f64, Failure> {
        let text = self.text()?;
        calls_counted(&text).ok_or_else(|| format!("perf gave no count:\n{text}").into())
    }

    /// Ends it. What it printed.
    fn text(&mut self) -> Result<String, Failure> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        if let Some(mut errors) = self.0.stderr.take() {
            errors.read_to_string(&mut text)?;
        }
        self.0.wait()?;
        Ok(text)
    }
}

/// Why `perf` cannot count the system calls of process `id`, if it cannot.
pub fn cannot_count_calls(id: u32) -> Option<String> {
    let failed = Counter::start(id).and_then(Counter::stop).err()?.to_string();
    failed.lines().find(|line| !line.trim().is_empty()).map(str::to_owned)
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

/// Waits for a program's end, and gives what it printed on both streams.
fn finish(mut child: Child) -> Result<String, Failure> {
    let deadline = Instant::now() + RUN_WITHIN;
    // What it prints fits a pipe, so nothing has to be read while it runs.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(format!("redis-benchmark does not end within {RUN_WITHIN:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() || text.contains("Error") {
        return Err(format!("redis-benchmark failed: {}\n{text}", output.status).into());
    }
    Ok(text)
}
