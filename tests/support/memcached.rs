//! A real memcached.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::client::Client;
use super::process::{Port, Process};
use super::{DEADLINE, holds_within, pool};

/// A memcached of this test, on a unix socket of its own, or on a port.
pub struct Memcached {
    process: Process,
    directory: TempDir,
    port: Option<Port>,
}

impl Memcached {
    /// One that answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with these options, that answers.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_at(None, options)
    }

    /// One on a free loopback port.
    pub fn start_on_port() -> Self {
        Self::start_at(Some(Port::free()), &[])
    }

    fn start_at(port: Option<Port>, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("memcached");
        // It does not run as root without being told; who is not root needs no user.
        command.args(["-u", "root"]);
        match &port {
            Some(port) => {
                command.args(["-l", "127.0.0.1", "-p", &port.number().to_string()]);
            }
            None => {
                command.arg("-s").arg(directory.path().join("memcached.sock"));
            }
        }
        command.args(options);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let memcached = Self { process: Process::spawn(&mut command), directory, port };
        let answers = || memcached.try_client().is_ok();
        assert!(holds_within(DEADLINE, answers), "memcached does not listen");
        memcached
    }

    /// Its line under `servers:`, with a name that makes the spread of keys the same in each run.
    pub fn named(&self, name: &str) -> String {
        match &self.port {
            Some(port) => format!("127.0.0.1:{}:1 {name}", port.number()),
            None => format!("{}:1 {name}", self.path().display()),
        }
    }

    /// A connection to it, past the proxy.
    pub fn client(&self) -> Client {
        self.try_client().expect("it listens")
    }

    fn try_client(&self) -> std::io::Result<Client> {
        match &self.port {
            Some(port) => Client::try_tcp(port.number()),
            None => Client::try_unix(&self.path()),
        }
    }

    /// Stops it; its kernel still takes connections and bytes.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// Lets it run again after `stop`.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills it at once: who connects is refused.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("memcached.sock")
    }
}

/// As `pool`, for one that speaks memcached's protocol.
pub fn memcached_pool(name: &str, listen: &str, servers: &[String], lines: &[&str]) -> String {
    pool(name, listen, servers, lines).replace("redis: true", "redis: false")
}
