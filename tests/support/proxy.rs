//! The program under test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::client::Client;
use super::process::{Port, Process};
use super::process::{limit_descriptors, tcp_port_has_listener};
use super::{DEADLINE, holds_within, pool};

/// The program: the one that cargo built, or what `RINGCRACKER_BIN` names, such as nutcracker, to
/// see where the two differ.
pub fn proxy_binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ringcracker"));
    std::env::var_os("RINGCRACKER_BIN").map_or_else(built, PathBuf::from)
}

/// How to start a proxy.
pub struct Start {
    program: PathBuf,
    config: String,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    descriptors: Option<u64>,
    ports: Vec<Port>,
    stats: Port,
}

/// A running proxy. Dropping it fails the test when it had ended by itself.
pub struct Proxy {
    process: Process,
    directory: TempDir,
    ports: Vec<Port>,
    stats: Port,
    /// Its end was asked for: it is no failure.
    end_expected: bool,
}

impl Start {
    /// One with this configuration.
    pub fn with_config(config: &str) -> Self {
        Self {
            program: proxy_binary(),
            config: config.to_owned(),
            options: vec![],
            environment: vec![],
            descriptors: None,
            ports: vec![],
            stats: Port::free(),
        }
    }

    /// One with a single pool on a free port.
    pub fn with_pool(servers: &[String], lines: &[&str]) -> Self {
        let port = Port::free();
        let listen = format!("127.0.0.1:{}", port.number());
        Self::with_config(&pool("alpha", &listen, servers, lines)).holding(port)
    }

    /// Starts another program in its place, such as nutcracker, to compare with.
    pub fn program(mut self, path: &str) -> Self {
        self.program = PathBuf::from(path);
        self
    }

    /// Adds words to its command line.
    pub fn options(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// Sets a variable of its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Bounds how many descriptors it may open.
    pub fn descriptors(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Keeps a port, on which it listens, for as long as it runs.
    pub fn holding(mut self, port: Port) -> Self {
        self.ports.push(port);
        self
    }

    /// Starts it and waits until it listens wherever the configuration says.
    pub fn start(self) -> Proxy {
        let listens: Vec<String> = self
            .config
            .lines()
            .filter_map(|line| line.trim().strip_prefix("listen: "))
            .map(str::to_owned)
            .collect();
        let mut proxy = self.spawn();
        let up = holds_within(DEADLINE, || {
            let ended = proxy.process.ended();
            assert!(ended.is_none(), "the proxy ended with {ended:?}: {}", proxy.output());
            // A listener alone may be that of a process that was killed a moment ago.
            proxy.log().contains("started on pid") && listens.iter().all(|l| is_listening(l))
        });
        assert!(up, "the proxy does not listen: {}", proxy.output());
        proxy.end_expected = false;
        proxy
    }

    /// Starts it and waits until it serves its first pool, which has a port: for one whose log is
    /// elsewhere, or says nothing.
    pub fn start_silently(self) -> Proxy {
        let mut proxy = self.spawn();
        super::wait_until("the proxy serves", || {
            let ended = proxy.process.ended();
            assert!(ended.is_none(), "the proxy ended with {ended:?}: {}", proxy.output());
            let client = Client::try_tcp(proxy.port());
            client.is_ok_and(|mut client| {
                client.try_send(b"PING\r\n").is_ok() && client.try_line().is_ok()
            })
        });
        proxy.end_expected = false;
        proxy
    }

    /// Starts it and does not wait; it may well end at once.
    pub fn spawn(self) -> Proxy {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("nutcracker.yml");
        fs::write(&config, &self.config).expect("writable");
        let errors = File::create(directory.path().join("stderr")).expect("writable");
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&config).arg("-o").arg(directory.path().join("log"));
        command.args(&self.options);
        // The port that nutcracker takes unasked would be the same for every test.
        if !self.options.iter().any(|word| word.starts_with("-s") || word.starts_with("--stats")) {
            command.args(["-a", "127.0.0.1", "-s", &self.stats.number().to_string()]);
        }
        command.envs(self.environment);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(errors);
        if let Some(count) = self.descriptors {
            limit_descriptors(&mut command, count);
        }
        let process = Process::spawn(&mut command);
        Proxy { process, directory, ports: self.ports, stats: self.stats, end_expected: true }
    }
}

impl Proxy {
    /// One with a single pool on a free port, up and listening.
    pub fn start(servers: &[String], lines: &[&str]) -> Self {
        Start::with_pool(servers, lines).start()
    }

    /// The port of its first pool.
    pub fn port(&self) -> u16 {
        self.ports[0].number()
    }

    /// The port of its statistics.
    pub fn stats_port(&self) -> u16 {
        self.stats.number()
    }

    /// A client of its first pool.
    pub fn client(&self) -> Client {
        Client::tcp(self.port())
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its process, to ask whether it has ended.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for its end, which is expected: the exit code, or the signal's number below zero.
    pub fn exit_code(&mut self) -> i32 {
        self.end_expected = true;
        self.process.exit_code()
    }

    /// What it said on its standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where its log is.
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn output(&self) -> String {
        format!("stderr:\n{}\nlog:\n{}", self.errors(), self.log())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let ended = self.process.ended();
        if std::thread::panicking() {
            eprintln!("the proxy (ended: {ended:?}) said\n{}", self.output());
        } else if !self.end_expected {
            assert!(ended.is_none(), "the proxy ended by itself: {ended:?}\n{}", self.output());
        }
    }
}

fn is_listening(listen: &str) -> bool {
    if let Some(port) = listen.rsplit(':').next().and_then(|port| port.parse().ok()) {
        return tcp_port_has_listener(port);
    }
    let path = listen.split(' ').next().unwrap_or(listen);
    Path::new(path).exists() && Client::try_unix(Path::new(path)).is_ok()
}
