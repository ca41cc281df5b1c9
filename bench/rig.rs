//! Everything that is started: servers, proxies in front of them, and what is in them.
//!
//! ```text
//!                  +--> nutcracker  --+--> redis-server, memcached
//!   load ----------+--> ringcracker --+
//!                  +--> haproxy ------+--> redis-server, memcached
//!                  +------------------+    (no proxy at all)
//! ```
//!
//! Every server has every key: without a proxy, and through one that only moves bytes, a key is
//! looked for wherever the connection happens to lead.

use crate::Failure;
use crate::cases::{Protocol, Values};
use crate::client::Connection;
use crate::processes::{self, Process, Program};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Whom a load is put on.
#[derive(Clone)]
pub struct Target<'r> {
    pub name: String,
    /// One of them, or one for each server.
    pub ports: Vec<u16>,
    /// The proxy, whose CPU counts; none when the servers are asked themselves.
    pub process: Option<&'r Process>,
}

/// A proxy with a port for each protocol.
pub struct Proxy {
    pub name: String,
    pub version: String,
    process: Process,
    redis: u16,
    memcached: Option<u16>,
}

/// All programs of a comparison. They end with it.
pub struct Rig {
    folder: TempDir,
    redis: Vec<Process>,
    redis_ports: [u16; 2],
    /// Empty where there is no memcached.
    memcached: Vec<Process>,
    memcached_ports: Option<[u16; 2]>,
    pub base: Proxy,
    pub subject: Proxy,
    pub haproxy: Option<Proxy>,
    /// The subject with two workers, once it is needed.
    twins: Option<Proxy>,
    filled: Option<(bool, Values)>,
    pub missing: Vec<String>,
}

impl Rig {
    /// Starts two servers of each kind, and the proxies.
    pub fn start() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("compare").tempdir_in(processes::SCRATCH)?;
        let mut missing = Vec::new();
        let (mut redis, mut redis_ports) = (Vec::new(), [0; 2]);
        for port in &mut redis_ports {
            *port = processes::free_port()?;
            redis.push(redis_server(folder.path(), *port)?);
        }
        let (mut memcached, mut ports) = (Vec::new(), [0; 2]);
        for port in &mut ports {
            *port = processes::free_port()?;
            memcached.extend(memcached_server(folder.path(), *port).ok());
        }
        let memcached_ports = (memcached.len() == ports.len()).then_some(ports);
        if memcached_ports.is_none() {
            missing.push("rows of memcached: it does not start here".to_owned());
        }
        let backends = Backends { redis: redis_ports, memcached: memcached_ports };
        let (base, subject) = (base_program(), subject_program());
        let base = backends.proxy(base.0, &base.1, folder.path(), &[])?;
        let subject = backends.proxy("ringcracker", &subject, folder.path(), &[])?;
        let haproxy = backends.haproxy(folder.path());
        let haproxy =
            haproxy.map_err(|why| missing.push(format!("haproxy as a floor: {why}"))).ok();
        Ok(Self {
            folder,
            redis,
            redis_ports,
            memcached,
            memcached_ports,
            base,
            subject,
            haproxy,
            twins: None,
            filled: None,
            missing,
        })
    }

    /// Whether there is a server for this protocol.
    pub fn has(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Redis || self.memcached_ports.is_some()
    }

    pub fn servers(&self, protocol: Protocol) -> &[Process] {
        match protocol {
            Protocol::Redis => &self.redis,
            Protocol::Memcached => &self.memcached,
        }
    }

    /// The two programs that are compared, in this order.
    pub fn programs(&self, protocol: Protocol) -> Vec<Target<'_>> {
        vec![self.base.target(protocol), self.subject.target(protocol)]
    }

    /// A byte pump, one server without a proxy, and each server with half of the clients.
    pub fn ceilings(&self, clients: u32) -> Vec<Target<'_>> {
        let mut targets: Vec<Target<'_>> =
            self.haproxy.iter().map(|proxy| proxy.target(Protocol::Redis)).collect();
        let ports = self.redis_ports;
        let direct = |name: &str, ports: &[u16]| Target {
            name: name.to_owned(),
            ports: ports.to_vec(),
            process: None,
        };
        targets.push(direct(NO_PROXY, &ports[..1]));
        if clients > 1 {
            targets.push(direct(NO_PROXY_BOTH, &ports));
        }
        targets
    }

    /// Starts the subject with two workers, unless it runs.
    pub fn start_twins(&mut self) -> Result<(), Failure> {
        if self.twins.is_none() {
            let backends = Backends { redis: self.redis_ports, memcached: self.memcached_ports };
            let (program, folder) = (subject_program(), self.folder.path());
            let twins = backends.proxy("two workers", &program, folder, &["--workers", "2"])?;
            self.twins = Some(twins);
        }
        Ok(())
    }

    /// The subject as it is, and with two workers once those are started.
    pub fn workers(&self, protocol: Protocol) -> Vec<Target<'_>> {
        let one = Target { name: "one worker".to_owned(), ..self.subject.target(protocol) };
        std::iter::once(one).chain(self.twins.iter().map(|two| two.target(protocol))).collect()
    }

    /// Puts every key on every server, unless that is so already. Before that it is looked whether
    /// a key written by way of one proxy is found by the other: two that route differently would
    /// not be measured on the same work.
    pub fn fill(&mut self, protocol: Protocol, values: Values) -> Result<(), Failure> {
        let wanted = Some((protocol == Protocol::Redis, values));
        if self.filled == wanted {
            return Ok(());
        }
        eprintln!("writing {} values of {} bytes", values.keys, values.bytes);
        match protocol {
            Protocol::Redis => self.fill_redis(values)?,
            Protocol::Memcached => self.fill_memcached(values)?,
        }
        self.filled = wanted;
        Ok(())
    }

    fn fill_redis(&self, values: Values) -> Result<(), Failure> {
        self.clear_redis()?;
        let mut writer = Connection::open(self.base.redis)?;
        let mut reader = Connection::open(self.subject.redis)?;
        for index in 0..ROUTED {
            let (key, value) = entry(index, 64);
            writer.call(&[b"SET", key.as_bytes(), value.as_bytes()])?;
            if reader.call(&[b"GET", key.as_bytes()])? != value.as_bytes() {
                return Err(format!("{} does not find {key}", self.subject.name).into());
            }
        }
        self.clear_redis()?;
        for port in self.redis_ports {
            let mut server = Connection::open(port)?;
            for batch in (0..values.keys).collect::<Vec<_>>().chunks(32) {
                for &index in batch {
                    let (key, value) = entry(index, values.bytes);
                    server.send(&[b"SET", key.as_bytes(), value.as_bytes()])?;
                }
                for _ in batch {
                    server.receive()?;
                }
            }
        }
        Ok(())
    }

    fn clear_redis(&self) -> Result<(), Failure> {
        for port in self.redis_ports {
            Connection::open(port)?.call(&[b"FLUSHALL"])?;
        }
        Ok(())
    }

    fn fill_memcached(&self, values: Values) -> Result<(), Failure> {
        for port in self.memcached_ports.unwrap_or_default() {
            let mut server = Connection::open(port)?;
            for batch in (0..values.keys).collect::<Vec<_>>().chunks(64) {
                for &index in batch {
                    let (key, value) = entry(index, values.bytes);
                    let head = format!("set {key} 0 0 {}\r\n{value}\r\n", values.bytes);
                    server.write(head.as_bytes())?;
                }
                for _ in batch {
                    let line = server.line()?;
                    if line != "STORED" {
                        return Err(format!("memcached did not store a value: {line}").into());
                    }
                }
            }
        }
        Ok(())
    }
}

impl Proxy {
    pub fn target(&self, protocol: Protocol) -> Target<'_> {
        let port = match protocol {
            Protocol::Redis => self.redis,
            Protocol::Memcached => self.memcached.unwrap_or_default(),
        };
        Target { name: self.name.clone(), ports: vec![port], process: Some(&self.process) }
    }

    pub fn memory_kib(&self) -> Result<u64, Failure> {
        self.process.memory_kib()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Where the servers are.
struct Backends {
    redis: [u16; 2],
    memcached: Option<[u16; 2]>,
}

impl Backends {
    /// Starts nutcracker, or a program that takes its configuration.
    fn proxy(
        &self,
        name: &str,
        program: &Path,
        folder: &Path,
        options: &[&str],
    ) -> Result<Proxy, Failure> {
        let redis = processes::free_port()?;
        let memcached = self.memcached.map(|_| processes::free_port()).transpose()?;
        let conf = folder.join(format!("{}.yml", name.replace(' ', "-")));
        let mut text = pool("redis", redis, self.redis);
        for (port, servers) in memcached.iter().zip(&self.memcached) {
            text += &pool("memcached", *port, *servers);
        }
        std::fs::write(&conf, text)?;
        let program = utf8(program)?;
        let version = processes::first_line(program, &["-V"]);
        let mut start = Program::new(program, folder);
        start.arguments(&["-c", utf8(&conf)?]).arguments(options);
        let stats_port = processes::free_port()?.to_string();
        start.arguments(&["-a", "127.0.0.1", "-s", &stats_port]);
        if version.contains("nutcracker") {
            start.arguments(&["-o", utf8(&folder.join("nutcracker.log"))?]);
        }
        let process = start.start(redis)?;
        Ok(Proxy { name: name.to_owned(), version, process, redis, memcached })
    }

    /// haproxy as one thread that moves bytes between two sockets, and looks at none of them.
    fn haproxy(&self, folder: &Path) -> Result<Proxy, Failure> {
        let port = processes::free_port()?;
        let conf = folder.join("haproxy.cfg");
        let [first, second] = self.redis;
        let text = format!(
            "global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    balance roundrobin
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen redis
    bind 127.0.0.1:{port}
    server first 127.0.0.1:{first}
    server second 127.0.0.1:{second}
"
        );
        std::fs::write(&conf, text)?;
        let version = processes::first_line("haproxy", &["-v"]);
        let mut start = Program::new("haproxy", folder);
        start.arguments(&["-db", "-f", utf8(&conf)?]);
        let process = start.start(port)?;
        Ok(Proxy { name: "haproxy".to_owned(), version, process, redis: port, memcached: None })
    }
}

/// A pool as an operator has it: twemproxy's defaults, a deadline, connections from the start.
fn pool(protocol: &str, listen: u16, servers: [u16; 2]) -> String {
    let [first, second] = servers;
    format!(
        "{protocol}:
  listen: 127.0.0.1:{listen}
  hash: fnv1a_64
  distribution: ketama
  timeout: 5000
  redis: {}
  preconnect: true
  servers:
    - 127.0.0.1:{first}:1 first
    - 127.0.0.1:{second}:1 second
",
        protocol == "redis"
    )
}

fn redis_server(folder: &Path, port: u16) -> Result<Process, Failure> {
    let mut program = Program::new("redis-server", folder);
    program.arguments(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    program.arguments(&["--appendonly", "no", "--daemonize", "no", "--dir", utf8(folder)?]);
    program.start(port)
}

fn memcached_server(folder: &Path, port: u16) -> Result<Process, Failure> {
    let mut program = Program::new("memcached", folder);
    // It does not run as root without being told; who is not root needs no user.
    program.arguments(&["-u", "root", "-l", "127.0.0.1", "-p", &port.to_string()]);
    program.arguments(&["-t", "1", "-m", "256", "-c", "4096"]);
    program.start(port)
}

/// Debian's nutcracker, or what `BASE_BIN` names.
fn base_program() -> (&'static str, PathBuf) {
    let named = std::env::var_os("BASE_BIN").map(|path| (BASE, PathBuf::from(path)));
    named.unwrap_or_else(|| (NUTCRACKER, PathBuf::from("nutcracker")))
}

/// The program that was built, or what `RINGCRACKER_BIN` names.
fn subject_program() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ringcracker"));
    std::env::var_os("RINGCRACKER_BIN").map_or_else(built, PathBuf::from)
}

/// A key as redis-benchmark makes them, and a value that no other key has.
fn entry(index: usize, bytes: usize) -> (String, String) {
    let key = format!("key:{index:012}");
    let value = key.chars().cycle().take(bytes).collect();
    (key, value)
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}

/// The base when it is twemproxy, to which the floors refer.
pub const NUTCRACKER: &str = "nutcracker";

/// The base when it is another program.
const BASE: &str = "base";

/// One server without a proxy.
pub const NO_PROXY: &str = "no proxy";

/// Both servers without a proxy, half of the clients each.
pub const NO_PROXY_BOTH: &str = "no proxy, both servers";

/// Keys that are written by way of one proxy and read by way of the other.
const ROUTED: usize = 250;
