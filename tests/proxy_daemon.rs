//! `-d` and `-p`: the process in the background, and the file with its id.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use support::client::{Client, Reply};
use support::daemon::Daemon;
use support::pool;
use support::process::signal;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use tempfile::TempDir;

/// The daemon that `started` has left behind, which has ended with exit code 0.
fn daemon_of(started: &mut Proxy, pid_file: &Path) -> Daemon {
    assert_eq!(started.exit_code(), 0, "{}", started.errors());
    // Once the command has returned, the file is there.
    assert!(fs::read_to_string(pid_file).expect("a pid file").ends_with('\n'));
    Daemon::named_in(pid_file).expect("a process id")
}

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.path().join("proxy.pid")
    }

    fn options(&self, start: Start, words: &[&str]) -> Start {
        start.options(words).options(&["-p", self.pid_file().to_str().expect("text")])
    }
}

#[test]
fn a_daemon_serves_when_its_command_returns_and_leaves_no_pid_file() {
    let (server, place) = (Redis::start(), Place::new());
    let start = Start::with_pool(&[server.line()], &[]);
    let mut started = place.options(start, &["-d", "--workers", "2"]).spawn();
    let daemon = daemon_of(&mut started, &place.pid_file());
    assert_ne!(daemon.id(), started.process().id());
    let mut client = started.client();
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
    let stat = daemon.stat().expect("it runs");
    let (group, session) = (&stat[2], &stat[3]);
    assert_eq!((group == session, stat[4].as_str()), (true, "0"), "a session without a terminal");
    assert_ne!(*session, daemon.id().to_string(), "which it does not lead");
    for stream in 0..3 {
        let link = fs::read_link(format!("/proc/{}/fd/{stream}", daemon.id())).expect("it runs");
        assert_eq!(link, Path::new("/dev/null"));
    }
    signal(daemon.id(), libc::SIGTERM);
    client.expect_end();
    support::wait_until("the daemon has ended", || !daemon.runs());
    assert!(!place.pid_file().exists());
}

#[test]
fn a_daemon_that_cannot_start_says_so() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("bound").to_string();
    let config = pool("alpha", &listen, &["127.0.0.1:1:1".to_owned()], &[]);
    let cases = [(config.as_str(), "in use"), ("alpha:\n  listen: 1\n", "alpha.listen")];
    for (config, what) in cases {
        let mut started = place.options(Start::with_config(config), &["-d"]).spawn();
        assert_eq!(started.exit_code(), 1);
        assert!(started.errors().contains(what), "{what} is not in {}", started.errors());
        assert!(!place.pid_file().exists());
    }
}

#[test]
fn everybody_may_connect_to_the_unix_socket_of_a_daemon_as_with_nutcracker() {
    use std::os::unix::fs::PermissionsExt;
    let (server, place) = (Redis::start(), Place::new());
    let path = place.directory.path().join("proxy.sock");
    let statistics = place.directory.path().join("stats.sock");
    for (listen, mode) in
        [(path.display().to_string(), 0o777), (format!("{} 0600", path.display()), 0o600)]
    {
        let config = pool("alpha", &listen, &[server.line()], &[]);
        let words = ["-d", "-s", "1", "-a", statistics.to_str().expect("text")];
        let mut started = place.options(Start::with_config(&config), &words).spawn();
        let daemon = daemon_of(&mut started, &place.pid_file());
        for (path, mode) in [(&path, mode), (&statistics, 0o777)] {
            let metadata = fs::metadata(path).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
        }
        Client::unix(&path).expect_in_step("served");
        signal(daemon.id(), libc::SIGTERM);
        support::wait_until("the daemon has ended", || !daemon.runs());
        assert!(!path.exists() && !statistics.exists());
    }
}

#[test]
fn a_pid_file_of_a_running_process_is_not_taken() {
    let (server, place) = (Redis::start(), Place::new());
    let start = || place.options(Start::with_pool(&[server.line()], &[]), &[]);
    let mut first = start().start();
    let path = place.pid_file();
    support::wait_until("it is written", || {
        fs::read_to_string(&path).is_ok_and(|text| text == format!("{}\n", first.process().id()))
    });
    let mut second = start().spawn();
    assert_eq!(second.exit_code(), 1);
    let words = format!("process {} is running", first.process().id());
    assert!(second.errors().contains(&words), "{}", second.errors());
    first.client().expect_in_step("the first is not disturbed");
    first.process().signal(libc::SIGTERM);
    assert_eq!(first.exit_code(), 0);
    assert!(!path.exists());
}

#[test]
fn what_a_crash_left_behind_is_written_over() {
    let (server, place) = (Redis::start(), Place::new());
    let path = place.pid_file();
    // The id of a process that runs, and is another program: this one.
    fs::write(&path, format!("{}\nand more", std::process::id())).expect("writable");
    let start = || place.options(Start::with_pool(&[server.line()], &[]), &[]);
    for _ in 0..2 {
        let mut proxy = start().start();
        let own = format!("{}\n", proxy.process().id());
        support::wait_until("its own is written", || {
            fs::read_to_string(&path).is_ok_and(|text| text == own)
        });
        proxy.process().signal(libc::SIGKILL);
        assert_eq!(proxy.exit_code(), -libc::SIGKILL);
        assert!(path.exists());
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_is_named() {
    let path = "/nonexistent/directory/proxy.pid";
    let start = Start::with_pool(&["127.0.0.1:1:1".to_owned()], &[]);
    let mut proxy = start.options(&["-p", path]).spawn();
    assert_eq!(proxy.exit_code(), 1);
    let errors = proxy.errors();
    assert!(errors.contains(path) && errors.contains("No such file"), "{errors}");
}

#[test]
fn a_pid_file_that_was_taken_over_is_left_alone() {
    let (server, place) = (Redis::start(), Place::new());
    let path = place.pid_file();
    let start = Start::with_pool(&[server.line()], &[]);
    let mut proxy = place.options(start, &[]).start();
    support::wait_until("it is written", || path.exists());
    fs::write(&path, "1\n").expect("writable");
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "1\n");
}
