//! The command line and the way to the end, beside those of the real nutcracker.
//!
//! What is the same is run with both programs and compared. What is different on purpose is run
//! with both as well, and is a row of `docs/migrating-from-twemproxy.md`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::daemon::Daemon;
use support::pool;
use support::process::{Port, Process, signal, tcp_port_has_listener};
use support::proxy::proxy_binary;
use tempfile::TempDir;

/// Where both programs run: a folder with a good and a bad configuration.
struct Place {
    directory: TempDir,
    listen: Port,
    statistics: Port,
}

/// How a program ended, and what it said on standard error.
struct Said {
    code: i32,
    text: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = Port::free();
        let address = format!("127.0.0.1:{}", listen.number());
        let good = pool("alpha", &address, &["127.0.0.1:1:1".to_owned()], &[]);
        let bad = pool("alpha", &address, &["127.0.0.1:1:1".to_owned()], &["timeout: soon"]);
        for (name, text) in [("good.yml", good), ("bad.yml", bad)] {
            fs::write(directory.path().join(name), text).expect("writable");
        }
        Self { directory, listen, statistics: Port::free() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&self, program: &Path, words: &[&str]) -> Process {
        let errors = fs::File::create(self.path("stderr")).expect("writable");
        let mut command = Command::new(program);
        command.args(words).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Process::spawn(&mut command)
    }

    /// Runs a program that ends by itself.
    fn run(&self, program: &Path, words: &[&str]) -> Said {
        let code = self.spawn(program, words).exit_code();
        Said { code, text: fs::read_to_string(self.path("stderr")).expect("it was made") }
    }

    /// What a program needs to serve the good configuration.
    fn serving(&self, more: &[&str]) -> Vec<String> {
        let port = self.statistics.number().to_string();
        let words = ["-c", "good.yml", "-o", "log", "-a", "127.0.0.1", "-s", &port];
        words.iter().chain(more).map(|&word| word.to_owned()).collect()
    }

    fn wait_until_it_listens(&self) {
        support::wait_until("it listens", || tcp_port_has_listener(self.listen.number()));
    }

    fn wait_until_it_is_gone(&self) {
        support::wait_until("the port is free", || !tcp_port_has_listener(self.listen.number()));
    }
}

fn nutcracker() -> PathBuf {
    PathBuf::from("nutcracker")
}

/// Runs `judge` with nutcracker and with ours, each in a place of its own.
fn both<T>(judge: impl Fn(&Place, &Path) -> T) -> (T, T) {
    (judge(&Place::new(), &nutcracker()), judge(&Place::new(), &proxy_binary()))
}

#[test]
fn what_nutcracker_refuses_is_refused_in_its_words() {
    let lines: [&str; 21] = [
        "-v loud",
        "-v",
        "-v -1",
        "-s 0",
        "-s 70000",
        "-s x",
        "-s -1",
        "-i x",
        "-i",
        "-m 0",
        "-m x",
        "-m 100",
        "-m 99999999",
        "-a",
        "-c",
        "-o",
        "-p",
        "-x",
        "-tx",
        "-V -x",
        "-h -x",
    ];
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let first = |place: &Place, program: &Path| {
            let said = place.run(program, &words);
            let line = said.text.lines().next().unwrap_or_default().to_owned();
            (said.code, line.replace("ringcracker", "nutcracker"))
        };
        let (theirs, ours) = both(first);
        assert_eq!(theirs.0, 1, "{line}");
        assert_eq!(theirs, ours, "{line}");
    }
}

#[test]
fn exit_codes_are_those_of_nutcracker() {
    let lines: [(&str, i32); 24] = [
        ("-h", 0),
        ("--help", 0),
        ("-V", 0),
        ("--version", 0),
        ("-D", 0),
        ("-tV", 0),
        ("--describe-stats", 0),
        ("word -V", 0),
        ("-?", 1),
        ("--nope", 1),
        ("--stats=3", 1),
        ("--version=3", 1),
        ("-t -c good.yml", 0),
        ("-tcgood.yml", 0),
        ("-t --conf=good.yml", 0),
        ("-t -d -c good.yml", 0),
        ("-tdcgood.yml -v6 -m 512", 0),
        ("-c bad.yml -c good.yml -t", 0),
        ("good.yml -t -c good.yml word", 0),
        ("-t -c bad.yml", 1),
        ("-t -c absent.yml", 1),
        ("-c absent.yml", 1),
        ("-c bad.yml", 1),
        ("--test-conf --conf-file good.yml", 0),
    ];
    for (line, code) in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let codes = both(|place, program| place.run(program, &words).code);
        assert_eq!(codes, (code, code), "{line}");
    }
}

#[test]
fn a_good_configuration_is_said_to_be_good_in_the_same_words() {
    let (theirs, ours) = both(|place, program| place.run(program, &["-t", "-c", "good.yml"]).text);
    assert_eq!(theirs.trim_end(), "nutcracker: configuration file 'good.yml' syntax is ok");
    assert_eq!(ours.trim_end(), "ringcracker: configuration file 'good.yml' syntax is ok");
}

#[test]
fn the_statistics_are_described_by_the_same_names_in_the_same_order() {
    let names = |place: &Place, program: &Path| -> Vec<String> {
        let text = place.run(program, &["-D"]).text;
        let rows = text.lines().filter(|line| line.contains('"') || line.ends_with("stats:"));
        rows.map(|line| line.split('"').next().unwrap_or_default().trim().to_owned()).collect()
    };
    let (theirs, ours) = both(names);
    assert_eq!(theirs.len(), 21);
    assert_eq!(theirs, ours);
}

/// Something that is different on purpose: its row in the page, and what shows it. `show` says in a
/// word how a program behaves.
struct Difference {
    row: &'static str,
    show: fn(&Place, &Path) -> String,
    theirs: &'static str,
    ours: &'static str,
}

const DIFFERENCES: [Difference; 5] = [
    Difference {
        row: "SIGINT",
        show: |place, program| ended_by(place, program, libc::SIGINT),
        theirs: "1",
        ours: "0",
    },
    Difference {
        row: "SIGTERM",
        show: |place, program| ended_by(place, program, libc::SIGTERM),
        theirs: "-15",
        ours: "0",
    },
    Difference {
        row: "the pid file at the end",
        show: pid_file_after,
        theirs: "left",
        ours: "gone",
    },
    Difference {
        row: "`-d` with a bad configuration",
        show: |place, program| {
            let said = place.run(program, &["-d", "-c", "bad.yml", "-o", "log"]);
            format!("{} {}", said.code, names_the_fault(&said))
        },
        theirs: "0 silent",
        ours: "1 named",
    },
    Difference {
        row: "`-t` with a bad configuration",
        show: |place, program| {
            let said = place.run(program, &["-t", "-c", "bad.yml"]);
            format!("{} {}", said.code, names_the_fault(&said))
        },
        theirs: "1 silent",
        ours: "1 named",
    },
];

#[test]
fn deliberate_differences_are_as_the_migration_page_has_them() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migrating-from-twemproxy.md");
    let page = fs::read_to_string(page).expect("the page is there");
    for Difference { row, show, theirs, ours } in DIFFERENCES {
        assert!(page.contains(&format!("| {row} |")), "{row} is not in the page");
        assert_eq!(both(show), (theirs.to_owned(), ours.to_owned()), "{row}");
    }
}

fn ended_by(place: &Place, program: &Path, number: i32) -> String {
    let words = place.serving(&[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = place.spawn(program, &words);
    place.wait_until_it_listens();
    // Listening, it may not hear signals yet; once it logs one, it does.
    process.signal(libc::SIGUSR1);
    support::wait_until("it hears signals", || {
        fs::read_to_string(place.path("log")).unwrap_or_default().contains("SIGUSR1")
    });
    process.signal(number);
    process.exit_code().to_string()
}

fn pid_file_after(place: &Place, program: &Path) -> String {
    let pid_file = place.path("pid");
    let words = place.serving(&["-d", "-p", "pid"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(place.spawn(program, &words).exit_code(), 0);
    let mut daemon = None;
    support::wait_until("the pid file is written", || {
        daemon = Daemon::named_in(&pid_file);
        daemon.is_some()
    });
    let daemon = daemon.expect("it is written");
    place.wait_until_it_listens();
    signal(daemon.id(), libc::SIGTERM);
    support::wait_until("it has ended", || !daemon.runs());
    place.wait_until_it_is_gone();
    if pid_file.exists() { "left".to_owned() } else { "gone".to_owned() }
}

fn names_the_fault(said: &Said) -> &'static str {
    if said.text.contains("timeout") { "named" } else { "silent" }
}
