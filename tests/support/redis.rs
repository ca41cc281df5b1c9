//! A real redis-server, or a newer one, or Valkey.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::client::{Client, command};
use super::process::{Port, Process};
use super::{DEADLINE, holds_within};

/// A redis-server of this test, without persistence, on a port of its own or on a unix socket.
pub struct Redis {
    process: Process,
    directory: TempDir,
    place: Place,
    options: Vec<String>,
    program: PathBuf,
}

/// The machine's own redis-server, Redis 7.0 in Debian 12.
pub const REDIS_7: &str = "redis-server";
/// Redis 8.
pub const REDIS_8: &str = "redis-8";
/// Valkey 8.
pub const VALKEY_8: &str = "valkey-8";

enum Place {
    Tcp(Port),
    Unix(PathBuf),
}

impl Redis {
    /// One on a free loopback port, answering.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with further options, as `--maxmemory 1mb`, each word by itself.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_at(Place::Tcp(Port::free()), options)
    }

    /// One that listens on a unix socket only.
    pub fn start_on_unix_socket() -> Self {
        Self::start_on_unix_socket_with(&[])
    }

    /// The same, with further options.
    pub fn start_on_unix_socket_with(options: &[&str]) -> Self {
        Self::start_at(Place::Unix(PathBuf::new()), options)
    }

    /// One of the three above, on a free loopback port. What is not there yet is fetched.
    pub fn start_program(program: &str) -> Self {
        Self::start_program_at(path_of(program), Place::Tcp(Port::free()), &[])
    }

    /// The same, with further options.
    pub fn start_program_with(program: &str, options: &[&str]) -> Self {
        Self::start_program_at(path_of(program), Place::Tcp(Port::free()), options)
    }

    fn start_at(place: Place, options: &[&str]) -> Self {
        Self::start_program_at(PathBuf::from(REDIS_7), place, options)
    }

    fn start_program_at(program: PathBuf, mut place: Place, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        if let Place::Unix(path) = &mut place {
            *path = directory.path().join("redis.sock");
        }
        let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        let process = spawn(&program, &place, &directory, &options);
        let mut redis = Self { process, directory, place, options, program };
        redis.wait_until_it_answers();
        redis
    }

    /// Its port. Panics for one on a unix socket.
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Tcp(port) => port.number(),
            Place::Unix(_) => panic!("it has no port"),
        }
    }

    /// Its line under `servers:`, with weight 1, without a name.
    pub fn line(&self) -> String {
        match &self.place {
            Place::Tcp(port) => format!("127.0.0.1:{}:1", port.number()),
            Place::Unix(path) => format!("{}:1", path.display()),
        }
    }

    /// Its line under `servers:` with a name, which makes the spread of keys independent of ports.
    pub fn named(&self, name: &str) -> String {
        format!("{} {name}", self.line())
    }

    /// A connection to it, past the proxy.
    pub fn client(&self) -> Client {
        match &self.place {
            Place::Tcp(port) => Client::tcp(port.number()),
            Place::Unix(path) => Client::unix(path),
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it at once. The port stays this test's: who connects is refused.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after `kill`, empty, at the same place.
    pub fn restart(&mut self) {
        self.process = spawn(&self.program, &self.place, &self.directory, &self.options);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let answers = holds_within(DEADLINE, || {
            assert!(self.process.ended().is_none(), "redis-server ended: {}", self.log());
            let client = match &self.place {
                Place::Tcp(port) => Client::try_tcp(port.number()),
                Place::Unix(path) => Client::try_unix(path),
            };
            client.is_ok_and(|mut client| {
                client.try_send(&command(&["PING"])).is_ok()
                    // One with a password is up, too, when it asks for it.
                    && client.try_line().is_ok_and(|line| {
                        line == b"+PONG\r\n" || line.starts_with(b"-NOAUTH")
                    })
            })
        });
        assert!(answers, "redis-server does not answer: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }
}

/// Where a program is. `tests/tools/servers.sh` knows what is there, and lets one run at a time.
fn path_of(program: &str) -> PathBuf {
    if program == REDIS_7 {
        return PathBuf::from(program);
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fetched = Command::new(project.join("tests/tools/servers.sh")).status();
    assert!(fetched.is_ok_and(|status| status.success()), "{program} could not be fetched");
    project.join("target/servers").join(program)
}

fn spawn(program: &Path, place: &Place, directory: &TempDir, options: &[String]) -> Process {
    let mut command = Command::new(program);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.args(["--bind", "127.0.0.1", "--logfile", "redis.log", "--maxclients", "4000"]);
    match place {
        Place::Tcp(port) => command.args(["--port", &port.number().to_string()]),
        Place::Unix(path) => command.args(["--port", "0", "--unixsocket"]).arg(path),
    };
    command.args(options).arg("--dir").arg(directory.path());
    command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
    Process::spawn(&mut command)
}
