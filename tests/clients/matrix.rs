//! How a library's script is run, and what it says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::holds_within;
use crate::support::process::{Port, Process};
use crate::support::proxy::{Proxy, Start};
use crate::support::redis::Redis;
use crate::support::{pool, show};

/// What each script does, in this order, one after the other.
pub const CASES: [&str; 19] = [
    "connect",
    "set_get",
    "mget",
    "pipeline",
    "binary",
    "large",
    "password",
    "wrong_password",
    "missing_password",
    "user_and_password",
    "transaction",
    "watch",
    "blocking_pop",
    "blocking_pop_times_out",
    "subscribe",
    "psubscribe",
    "scan",
    "resp2",
    "resp3",
];

/// The password of the servers that have one.
pub const PASSWORD: &str = "a-password";

/// How long one case may take. The slowest waits for one second by design.
const CASE_SECONDS_MAX: u64 = 15;

/// How long a script may take, every case being as slow as it may.
const SCRIPT_SECONDS_MAX: u64 = (CASES.len() as u64 + 2) * CASE_SECONDS_MAX;

/// One library in one version.
pub struct Library {
    /// As its users call it.
    pub name: &'static str,
    /// The version that is pinned, in full; empty where any will do.
    pub version: &'static str,
    /// What runs its script.
    pub script: Script,
    /// Cases that it cannot do by itself, against no server.
    pub without: &'static [&'static str],
}

/// What runs a script.
pub enum Script {
    /// Python, with the packages of this folder of `target/clients`.
    Python(&'static str),
    /// Node, with a file of `tests/clients/node` and the package that it is to load.
    Node(&'static str, &'static str),
    /// PHP.
    Php,
    /// The program of `tests/clients/rust`.
    Rust,
}

/// What became of a case: nothing, or why it failed.
pub type Outcome = Result<(), String>;

/// What a script said: the library's version, and the outcome of each case.
pub struct Said {
    pub version: String,
    pub outcomes: BTreeMap<String, Outcome>,
}

/// The servers, with or without a proxy before them, on which a script is run.
pub struct Stage {
    open: Vec<Redis>,
    _guarded: Vec<Redis>,
    _proxy: Option<Proxy>,
    /// Where no password is asked for, and where one is.
    pub ports: [u16; 2],
}

impl Library {
    /// Its name and the number before the first dot: `redis-py 8`.
    pub fn title(&self) -> String {
        let major = self.version.split('.').next().expect("split yields at least one");
        format!("{} {major}", self.name).trim_end().to_owned()
    }

    /// The cases that its script has.
    pub fn cases(&self) -> impl Iterator<Item = &'static str> {
        CASES.into_iter().filter(|case| !self.without.contains(case))
    }

    /// Runs its script on `stage`.
    pub fn run(&self, stage: &Stage) -> Said {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("said");
        let mut command = self.command();
        command.current_dir(directory.path()).stdin(Stdio::null());
        command.stdout(File::create(&path).expect("writable"));
        let servers: Vec<String> = stage.open.iter().map(|it| it.port().to_string()).collect();
        command.env("PORT", stage.ports[0].to_string());
        command.env("PORT_WITH_PASSWORD", stage.ports[1].to_string());
        command.env("PASSWORD", PASSWORD).env("SERVERS", servers.join(","));
        command.env("LIMIT_SECONDS", CASE_SECONDS_MAX.to_string());
        let mut process = Process::spawn(&mut command);
        let limit = Duration::from_secs(SCRIPT_SECONDS_MAX);
        let ended = holds_within(limit, || process.ended().is_some());
        let text = fs::read(&path).expect("it was created above");
        assert!(ended, "{} did not end; it said {}", self.title(), show(&text));
        Said::from(&String::from_utf8_lossy(&text))
    }

    fn command(&self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (installed, scripts) = (root.join("target/clients"), root.join("tests/clients"));
        match self.script {
            Script::Python(folder) => {
                let mut command = Command::new("python3");
                command.arg(scripts.join("python/redis_py.py"));
                command.env("PYTHONPATH", present(installed.join(folder)));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Script::Node(file, package) => {
                let mut command = Command::new(present(installed.join("bin/node")));
                command.arg(scripts.join("node").join(file)).arg(package);
                command.env("NODE_PATH", present(installed.join("node-packages/node_modules")));
                command
            }
            Script::Php => {
                let mut command = Command::new("php");
                command.arg(scripts.join("php/phpredis.php"));
                command
            }
            Script::Rust => Command::new(present(installed.join("redis-rs/debug/redis-rs-cases"))),
        }
    }
}

/// What the installer has made; without it there is nothing to test with.
fn present(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{path:?} is missing: run tests/clients/install.sh, which needs network"
    );
    path
}

impl Said {
    fn from(text: &str) -> Self {
        let mut said = Self { version: String::new(), outcomes: BTreeMap::new() };
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (mark, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let outcome = match mark {
                "version" => {
                    said.version = name.to_owned();
                    continue;
                }
                "ok" => Ok(()),
                "FAIL" => Err(words.next().unwrap_or("").to_owned()),
                _ => panic!("a script said {}", show(line.as_bytes())),
            };
            let earlier = said.outcomes.insert(name.to_owned(), outcome);
            assert!(earlier.is_none(), "a script said {name} twice");
        }
        said
    }
}

impl Stage {
    /// One server, and one with a password.
    pub fn plain() -> Self {
        let open = Redis::start();
        let guarded = Redis::start_with(&["--requirepass", PASSWORD]);
        let ports = [open.port(), guarded.port()];
        Self { open: vec![open], _guarded: vec![guarded], _proxy: None, ports }
    }

    /// The proxy before two servers, and before two with a password.
    pub fn proxied() -> Self {
        let two = |options: &[&str]| vec![Redis::start_with(options), Redis::start_with(options)];
        let (open, guarded) = (two(&[]), two(&["--requirepass", PASSWORD]));
        let ports = [Port::free(), Port::free()];
        let numbers = ports.each_ref().map(Port::number);
        let auth = format!("redis_auth: {PASSWORD}");
        let listen = |port: u16| format!("127.0.0.1:{port}");
        // With names the keys spread alike in every run; `{tag}` alone keeps some together.
        let named = |servers: &[Redis]| vec![servers[0].named("one"), servers[1].named("two")];
        let tag = "hash_tag: \"{}\"";
        let config = pool("alpha", &listen(numbers[0]), &named(&open), &[tag])
            + &pool("beta", &listen(numbers[1]), &named(&guarded), &[tag, &auth]);
        let mut start = Start::with_config(&config);
        for port in ports {
            start = start.holding(port);
        }
        Self { open, _guarded: guarded, _proxy: Some(start.start()), ports: numbers }
    }
}
