//! The command line and the way to the end, beside those of the real nutcracker.
//!
//! What is the same is run with both programs and compared. What is different on purpose is run
//! with both as well, and is a row of `docs/migrating-from-twemproxy.md`.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::daemon::Daemon;
use support::migration::shows_row;
use support::pool;
use support::process::{Port, Process, signal, tcp_port_has_listener};
use support::proxy::proxy_binary;
use tempfile::TempDir;

/// Where both programs run: a folder with a good and a bad configuration, and one whose address to
/// listen on is not known.
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
        // No name has a part of 64 bytes, so nobody has to be asked.
        let nowhere = format!("{}.example:1", "x".repeat(64));
        let nowhere = pool("alpha", &nowhere, &["127.0.0.1:1:1".to_owned()], &[]);
        for (name, text) in [("good.yml", good), ("bad.yml", bad), ("nowhere.yml", nowhere)] {
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
    let lines: [&str; 23] = [
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
        "-v=6",
        "-W word",
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
    let lines: [(&str, i32); 37] = [
        ("-h", 0),
        ("-ht -v 6 word", 0),
        ("-h -v loud", 1),
        ("-d -h", 0),
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
        ("-t -c nowhere.yml", 1),
        ("-c nowhere.yml", 1),
        ("-t -c good.yml -o /nonexistent/log -p /nonexistent/pid", 0),
        ("-c good.yml -o /nonexistent/log", 1),
        ("-d -c good.yml -o /nonexistent/log", 1),
        ("-c good.yml -o .", 1),
        ("-c good.yml -o log -a a..b", 1),
        ("-t -c good.yml -v 12", 0),
        ("-t=1 -c good.yml", 1),
        ("-c=good.yml -t", 1),
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
fn an_address_in_use_ends_both_with_1() {
    for which in [|place: &Place| place.listen.number(), |place: &Place| place.statistics.number()]
    {
        let codes = both(|place, program| {
            let _taken = TcpListener::bind(("127.0.0.1", which(place))).expect("ours to take");
            place.run(program, &as_words(&place.serving(&[]))).code
        });
        assert_eq!(codes, (1, 1));
    }
}

#[test]
fn signals_are_logged_in_the_same_words() {
    let words = |place: &Place, program: &Path| {
        let process = place.spawn(program, &as_words(&place.serving(&[])));
        place.wait_until_it_listens();
        let log = || fs::read_to_string(place.path("log")).unwrap_or_default();
        // Listening, it may not hear signals yet; the first ones would end it.
        support::wait_until("it has begun", || log().contains("started on pid"));
        let numbers = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGTTIN, libc::SIGTTOU, libc::SIGHUP];
        for number in numbers {
            process.signal(number);
            let head = format!("signal {number} (");
            support::wait_until("the signal is logged", || log().contains(&head));
        }
        let log = log();
        let lines =
            log.lines().filter(|line| line.contains("signal ") || line.contains(" log level"));
        // What stands in front is the time, or what nutcracker has instead of it, and the level.
        lines.map(|line| line.split("] ").last().unwrap_or(line).to_owned()).collect::<Vec<_>>()
    };
    let (theirs, ours) = both(words);
    assert_eq!(theirs.len(), 7, "{theirs:?}");
    assert_eq!(theirs, ours);
}

#[test]
fn faults_of_a_configuration_are_in_the_log_too() {
    let (theirs, ours) = both(|place, program| {
        place.run(program, &["-t", "-c", "bad.yml", "-o", "log"]);
        assert!(!place.path("log").exists(), "a test leaves no log");
        assert_eq!(place.run(program, &["-c", "bad.yml", "-o", "log"]).code, 1);
        fs::read_to_string(place.path("log")).expect("it was made").contains("timeout")
    });
    assert_eq!((theirs, ours), (true, true));
}

#[test]
fn an_empty_name_of_the_log_is_standard_error() {
    both(|place, program| {
        let port = place.statistics.number().to_string();
        let words = ["-c", "good.yml", "-a", "127.0.0.1", "-s", &port, "-o", ""];
        let _process = place.spawn(program, &words);
        let errors = || fs::read_to_string(place.path("stderr")).expect("it was made");
        support::wait_until("it says so", || errors().contains("started on pid"));
    });
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

const DIFFERENCES: [Difference; 17] = [
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
    Difference {
        row: "`-d` when it cannot start (an address in use, a pid file)",
        show: |place, program| {
            let words = place.serving(&["-d", "-p", "/nonexistent/pid"]);
            place.run(program, &as_words(&words)).code.to_string()
        },
        theirs: "0",
        ours: "1",
    },
    Difference {
        row: "a pid file of a running process",
        show: pid_file_of_two,
        theirs: "gone",
        ours: "kept",
    },
    Difference {
        row: "what the pid file says",
        show: |place, program| {
            let (daemon, text) = daemon(place, program);
            format!("{:?}", text.replace(&daemon.id().to_string(), "1"))
        },
        theirs: "\"1\"",
        ours: "\"1\\n\"",
    },
    Difference {
        row: "`-p` in the foreground",
        show: |place, program| {
            let words = place.serving(&["-p", "pid"]);
            let _process = place.spawn(program, &as_words(&words));
            place.wait_until_it_listens();
            if place.path("pid").exists() { "written" } else { "none" }.to_owned()
        },
        theirs: "none",
        ours: "written",
    },
    Difference {
        row: "SIGSEGV",
        show: |place, program| {
            let code = ended_by(place, program, libc::SIGSEGV);
            let log = fs::read_to_string(place.path("log")).expect("it was made");
            format!("{code} {}", if log.contains("SIGSEGV") { "traced" } else { "silent" })
        },
        theirs: "-11 traced",
        ours: "-11 silent",
    },
    Difference {
        row: "numbers of flags beyond 2147483647",
        show: |place, program| {
            let code = |flag, number| {
                place.run(program, &["-t", "-c", "good.yml", flag, number]).code.to_string()
            };
            let codes = [("-s", "4294989518"), ("-i", "4294967296"), ("-m", "4294967808")];
            codes.map(|(flag, number)| code(flag, number)).concat()
        },
        theirs: "000",
        ours: "111",
    },
    Difference {
        row: "a long flag that does not exist",
        show: |place, program| {
            let said = place.run(program, &["--nope"]);
            format!("{} {}", said.code, said.text.contains("--nope"))
        },
        theirs: "1 false",
        ours: "1 true",
    },
    Difference {
        row: "`-h`, `-D`",
        show: |place, program| {
            let begin = |flag| place.run(program, &[flag]).text.starts_with("This is ");
            format!("{} {}", begin("-h"), begin("-D"))
        },
        theirs: "true true",
        ours: "false false",
    },
    Difference {
        row: "`-V`",
        show: |place, program| place.run(program, &["-V"]).text,
        theirs: "This is nutcracker-0.5.0\nasync event backend: epoll\n\n",
        ours: concat!("This is ringcracker-", env!("CARGO_PKG_VERSION"), "\n"),
    },
    Difference {
        row: "defaults of `-c`, `-o`, `-p` in Debian's package",
        show: |place, program| place.run(program, &["-t"]).text.contains("/etc/").to_string(),
        theirs: "true",
        ours: "false",
    },
    Difference {
        row: "lines of the log",
        show: |place, program| {
            ended_by(place, program, libc::SIGTERM);
            let log = fs::read_to_string(place.path("log")).expect("it was made");
            let time = log.split(' ').next().unwrap_or_default();
            time.replace(|c: char| c.is_ascii_digit(), "0")
        },
        theirs: "[0000-00-00",
        ours: "0000-00-00T00:00:00.000Z",
    },
    Difference {
        row: "a socket for statistics that an earlier run left",
        show: |place, program| {
            let path = place.path("stats.sock");
            drop(UnixListener::bind(&path).expect("a free name"));
            let words = ["-c", "good.yml", "-o", "log", "-a", path.to_str().expect("text")];
            let mut process = place.spawn(program, &words);
            let mut ended = false;
            support::wait_until("it serves, or ends", || {
                ended = process.ended().is_some();
                ended || UnixStream::connect(&path).is_ok()
            });
            if ended { "refused" } else { "replaced" }.to_owned()
        },
        theirs: "refused",
        ours: "replaced",
    },
];

/// twemproxy: -t is silent
/// twemproxy: pid file left behind
#[test]
fn deliberate_differences_are_as_the_migration_page_has_them() {
    for Difference { row, show, theirs, ours } in DIFFERENCES {
        shows_row(row);
        assert_eq!(both(show), (theirs.to_owned(), ours.to_owned()), "{row}");
    }
}

fn as_words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn ended_by(place: &Place, program: &Path, number: i32) -> String {
    let mut process = place.spawn(program, &as_words(&place.serving(&[])));
    place.wait_until_it_listens();
    // Listening, it may not hear signals yet; once it logs one, it does.
    process.signal(libc::SIGUSR1);
    support::wait_until("it hears signals", || {
        fs::read_to_string(place.path("log")).unwrap_or_default().contains("SIGUSR1")
    });
    process.signal(number);
    process.exit_code().to_string()
}

/// Starts a daemon with a pid file. Returns what the file says, too.
fn daemon(place: &Place, program: &Path) -> (Daemon, String) {
    let pid_file = place.path("pid");
    let words = place.serving(&["-d", "-p", "pid"]);
    assert_eq!(place.spawn(program, &as_words(&words)).exit_code(), 0);
    let mut daemon = None;
    support::wait_until("the pid file is written", || {
        daemon = Daemon::named_in(&pid_file);
        daemon.is_some()
    });
    place.wait_until_it_listens();
    (daemon.expect("it is written"), fs::read_to_string(pid_file).expect("it is there"))
}

fn pid_file_after(place: &Place, program: &Path) -> String {
    let (daemon, _) = daemon(place, program);
    signal(daemon.id(), libc::SIGTERM);
    support::wait_until("it has ended", || !daemon.runs());
    place.wait_until_it_is_gone();
    if place.path("pid").exists() { "left".to_owned() } else { "gone".to_owned() }
}

/// What becomes of the pid file of a daemon when a second one is started by mistake, which ends as
/// the address is in use.
fn pid_file_of_two(place: &Place, program: &Path) -> String {
    let (first, text) = daemon(place, program);
    let log = || fs::read_to_string(place.path("log")).expect("it was made");
    place.spawn(program, &as_words(&place.serving(&["-d", "-p", "pid"]))).exit_code();
    support::wait_until("the second has ended", || {
        log().contains("rabbit done") || log().contains("is running and has it")
    });
    assert!(first.runs());
    let kept = fs::read_to_string(place.path("pid")).is_ok_and(|now| now == text);
    if kept { "kept".to_owned() } else { "gone".to_owned() }
}

fn names_the_fault(said: &Said) -> &'static str {
    if said.text.contains("timeout") { "named" } else { "silent" }
}
