//! SIGTERM and SIGINT in the middle of traffic.

mod support;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::{Client, Reply, command};
use support::pool;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;

/// Counts on a key of its own, many requests at a time, until the connection ends. Returns the last
/// reply.
fn count_until_the_end(client: &mut Client, key: &str, got: &AtomicUsize) -> i64 {
    let requests = command(&["INCR", key]).repeat(PIPELINE);
    let mut last = 0;
    loop {
        // The far side may be gone already.
        let _ = client.try_send(&requests);
        for _ in 0..PIPELINE {
            match client.try_reply() {
                Ok(Reply::Integer(number)) => {
                    assert_eq!(number, last + 1, "every reply, in order");
                    last = number;
                    got.fetch_add(1, Ordering::Relaxed);
                }
                Ok(other) => panic!("{key}: {other:?}"),
                Err(_) => return last,
            }
        }
    }
}

/// twemproxy: no drain
#[test]
fn sigterm_under_load_loses_no_answered_request() {
    for (number, workers) in [(libc::SIGTERM, "1"), (libc::SIGINT, "2")] {
        let servers = [Redis::start(), Redis::start()];
        let lines = [servers[0].named("one"), servers[1].named("two")];
        let start = Start::with_pool(&lines, &["distribution: modula"]);
        let pid_file = tempfile::tempdir().expect("a directory");
        let path = pid_file.path().join("pid");
        let words = ["--workers", workers, "--drain-seconds", "20", "-p"];
        let start = start.options(&words).options(&[path.to_str().expect("text")]);
        let mut proxy = start.start();
        support::wait_until("the pid file is written", || path.exists());
        let mut idle = proxy.client();
        idle.expect_in_step("idle");
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
        let got = AtomicUsize::new(0);
        let counted: Vec<i64> = std::thread::scope(|scope| {
            let load = clients.iter_mut().enumerate().map(|(index, client)| {
                let got = &got;
                scope.spawn(move || count_until_the_end(client, &format!("key{index}"), got))
            });
            let load: Vec<_> = load.collect();
            let busy = CLIENTS * PIPELINE * 4;
            support::wait_until("there is load", || got.load(Ordering::Relaxed) > busy);
            proxy.process().signal(number);
            load.into_iter().map(|thread| thread.join().expect("it counts")).collect()
        });
        idle.expect_end();
        assert_eq!(proxy.exit_code(), 0, "{}", proxy.log());
        assert!(!path.exists(), "the pid file is left");
        assert!(!proxy.log().contains("are left after"), "{}", proxy.log());
        // What the servers have done, the clients have been told: nothing was lost on the way.
        for (index, counted) in counted.iter().enumerate() {
            let key = format!("key{index}");
            let stored: i64 = servers
                .iter()
                .map(|server| {
                    let Reply::Bulk(digits) = server.client().call(&["GET", &key]) else {
                        return 0;
                    };
                    String::from_utf8_lossy(&digits).parse::<i64>().expect("a number")
                })
                .sum();
            assert_eq!(*counted, stored, "{key}: told, and done");
        }
    }
}

/// A proxy with a client whose request a stopped server holds back.
fn held_up(options: &[&str]) -> (Redis, Proxy, Client) {
    let server = Redis::start();
    let proxy = Start::with_pool(&[server.line()], &[]).options(options).start();
    let mut client = proxy.client();
    client.call(&["SET", "a", "1"]);
    server.process().stop();
    client.send(&command(&["GET", "a"]));
    proxy.client().expect_in_step("the request was read");
    (server, proxy, client)
}

#[test]
fn a_drain_waits_for_replies_and_lets_nobody_in() {
    let (server, mut proxy, mut client) = held_up(&["--drain-seconds", "30"]);
    proxy.process().signal(libc::SIGTERM);
    support::wait_until("the port is closed", || {
        !support::process::tcp_port_has_listener(proxy.port())
    });
    assert!(Client::try_tcp(proxy.port()).is_err());
    client.send(&command(&["SET", "a", "too late"]));
    server.process().resume();
    client.expect(b"$1\r\n1\r\n");
    client.expect_end();
    assert_eq!(proxy.exit_code(), 0);
    assert_eq!(server.client().call(&["GET", "a"]), Reply::bulk("1"));
}

#[test]
fn a_drain_has_a_limit() {
    let (_server, mut proxy, mut client) = held_up(&["--drain-seconds", "1"]);
    let begin = Instant::now();
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    client.expect_end();
    assert!(proxy.log().contains("1 clients are left after 1s"), "{}", proxy.log());
}

#[test]
fn a_second_signal_or_no_drain_ends_it_at_once() {
    let (_server, mut proxy, mut client) = held_up(&["--drain-seconds", "3600"]);
    proxy.process().signal(libc::SIGTERM);
    support::wait_until("it drains", || proxy.log().contains("draining"));
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
    client.expect_end();
    let (_server, mut proxy, mut client) = held_up(&["--drain-seconds", "0"]);
    proxy.process().signal(libc::SIGINT);
    assert_eq!(proxy.exit_code(), 0);
    client.expect_end();
    assert!(!proxy.log().contains("draining"), "{}", proxy.log());
}

#[test]
fn a_unix_socket_is_removed_at_once_and_only_by_its_owner() {
    let server = Redis::start();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.sock");
    let config = pool("alpha", &path.display().to_string(), &[server.line()], &[]);
    let start = || Start::with_config(&config).options(&["--drain-seconds", "30"]).start();
    let mut first = start();
    let mut client = Client::unix(&path);
    client.call(&["SET", "a", "1"]);
    server.process().stop();
    client.send(&command(&["GET", "a"]));
    Client::unix(&path).expect_in_step("the request was read");
    first.process().signal(libc::SIGTERM);
    support::wait_until("the name is gone", || !path.exists());
    // The next one takes the name while the first still has a client.
    let second = start();
    server.process().resume();
    client.expect(b"$1\r\n1\r\n");
    client.expect_end();
    assert_eq!(first.exit_code(), 0);
    Client::unix(&path).expect_in_step("the second is there");
    drop(second);
}

#[test]
fn a_successor_takes_over_every_name_while_the_last_clients_are_served() {
    let server = Redis::start();
    let directory = tempfile::tempdir().expect("a directory");
    let (pid_file, ports) = (directory.path().join("pid"), [Port::free(), Port::free()]);
    let listen = format!("127.0.0.1:{}", ports[0].number());
    let config = pool("alpha", &listen, &[server.line()], &[]);
    let statistics = ports[1].number().to_string();
    let start = || {
        let words = ["--drain-seconds", "30", "-a", "127.0.0.1", "-s", &statistics, "-p"];
        let start = Start::with_config(&config).options(&words);
        start.options(&[pid_file.to_str().expect("text")])
    };
    let says = |proxy: &Proxy| {
        let text = fs::read_to_string(&pid_file).expect("it is there");
        assert_eq!(text, format!("{}\n", proxy.process().id()));
    };
    let mut first = start().start();
    says(&first);
    let mut client = Client::tcp(ports[0].number());
    client.call(&["SET", "a", "1"]);
    server.process().stop();
    client.send(&command(&["GET", "a"]));
    Client::tcp(ports[0].number()).expect_in_step("the request was read");
    // A reader who holds on to the statistics keeps nobody from having their port.
    let mut reader = Client::tcp(ports[1].number());
    assert!(reader.try_line().expect("it is told").starts_with(b"{"));

    first.process().signal(libc::SIGTERM);
    // It need not be waited for: what it lets go in these moments is tried again.
    let mut second = start().start();
    says(&second);
    let (report, _) = Client::tcp(ports[1].number()).read_to_end();
    let report = String::from_utf8(report).expect("text");
    assert!(report.contains("\"total_connections\":1,"), "it has its listener only: {report}");
    assert!(first.process_mut().ended().is_none(), "it owes a reply");
    server.process().resume();
    client.expect(b"$1\r\n1\r\n");
    client.expect_end();
    assert_eq!(first.exit_code(), 0);

    says(&second);
    Client::tcp(ports[0].number()).exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
    let mut third = start().spawn();
    assert_eq!(third.exit_code(), 1);
    says(&second);
    second.process().signal(libc::SIGTERM);
    assert_eq!(second.exit_code(), 0);
    assert!(!pid_file.exists(), "it is left");
}

#[test]
fn nobody_is_told_statistics_once_a_drain_begins() {
    let (server, mut proxy, _client) = held_up(&["--drain-seconds", "30"]);
    assert!(Client::try_tcp(proxy.stats_port()).is_ok());
    proxy.process().signal(libc::SIGTERM);
    support::wait_until("the statistics are refused", || {
        Client::try_tcp(proxy.stats_port()).is_err()
    });
    assert!(proxy.process_mut().ended().is_none(), "it owes a reply");
    server.process().resume();
    assert_eq!(proxy.exit_code(), 0);
}

#[test]
fn a_request_that_came_in_part_is_not_waited_for() {
    let server = Redis::start();
    let mut proxy = Start::with_pool(&[server.line()], &[]).start();
    let mut client = proxy.client();
    let in_step = command(&["PING", "x"]);
    client.exchange(&[&in_step[..], b"*2\r\n$3\r\nGET\r\n$1"].concat(), b"$1\r\nx\r\n");
    proxy.process().signal(libc::SIGTERM);
    client.expect_end();
    assert_eq!(proxy.exit_code(), 0);
    assert!(!proxy.log().contains("are left after"), "{}", proxy.log());
}

/// Clients of the load, and the requests that each has in flight.
const CLIENTS: usize = 20;
const PIPELINE: usize = 50;
