//! The statistics port: the same report as nutcracker's, after the same traffic.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::migration::shows_row;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::report::{OF_THE_START, expect_same, numbers, report, wait_for};
use support::{DEADLINE, pool, wait_until};

/// The report with `N` for each number and without the values of its texts.
fn skeleton(report: &str) -> String {
    let mut text = String::new();
    let mut rest = report;
    while let Some(at) = rest.find("\":") {
        let (head, tail) = rest.split_at(at + 2);
        text.push_str(head);
        let value = |c: char| c.is_ascii_digit() || c == '-';
        rest = if tail.starts_with(value) {
            text.push('N');
            tail.trim_start_matches(value)
        } else if let Some(word) = tail.strip_prefix('"') {
            text.push('W');
            word.split_once('"').expect("a closed text").1
        } else {
            tail
        };
    }
    text + rest
}

/// A fake server that ends each connection as `end` says, after its first request.
fn ending(end: fn(&mut support::fake::FakeConnection)) -> FakeServer {
    FakeServer::start(move |connection| {
        connection.request();
        end(connection);
    })
}

/// A proxy and the servers that it alone has. The pools, one port each:
///
/// `live` and `pairs` two redis-servers, `half` one of two that is not there, `dead` one that is
/// not there,
/// `late` one that never answers, with a timeout, `ends` and `resets` one that goes away at the
/// first request, `silent` one that reads and never answers, `deaf` one that does not even read,
/// `second` one that answers each second request, with both replies, `bad` one that answers
/// nonsense.
struct Side {
    proxy: Proxy,
    ports: Vec<u16>,
    _redis: [Redis; 2],
    _fakes: Vec<FakeServer>,
    _dead: Port,
}

const POOLS: [&str; 11] =
    ["live", "pairs", "half", "dead", "late", "ends", "resets", "silent", "deaf", "second", "bad"];

impl Side {
    fn start(binary: Option<&str>) -> Self {
        let redis = [Redis::start(), Redis::start()];
        let dead = Port::free();
        let dead_line = format!("127.0.0.1:{}:1 gone", dead.number());
        let fakes = vec![
            FakeServer::start(|connection| while connection.request().is_some() {}),
            ending(|_| {}),
            ending(|connection| connection.close_by_reset()),
            FakeServer::start(|connection| while connection.request().is_some() {}),
            FakeServer::start(|connection| {
                connection.request();
                std::thread::sleep(DEADLINE);
            }),
            FakeServer::start(|connection| {
                while connection.request().is_some() && connection.request().is_some() {
                    connection.send(b"$1\r\n1\r\n$2\r\n22\r\n");
                }
            }),
            FakeServer::answering(b"nonsense\r\n"),
        ];
        let fake = |number: usize| vec![fakes[number].named("fake")];
        let servers = [
            vec![redis[0].named("one"), redis[1].named("two")],
            vec![redis[0].named("one"), redis[1].named("two")],
            vec![redis[0].named("one"), dead_line.clone()],
            vec![dead_line],
            fake(0),
            fake(1),
            fake(2),
            fake(3),
            fake(4),
            fake(5),
            fake(6),
        ];
        let listens: Vec<Port> = POOLS.iter().map(|_| Port::free()).collect();
        let ports = listens.iter().map(Port::number).collect();
        let mut config = String::new();
        for ((name, listen), servers) in POOLS.iter().zip(&listens).zip(&servers) {
            let timeout = if *name == "late" { &["timeout: 150"][..] } else { &[] };
            let listen = format!("127.0.0.1:{}", listen.number());
            config.push_str(&pool(name, &listen, servers, timeout));
        }
        // nutcracker shows what happened only when something else happens, or at this interval.
        let mut start = Start::with_config(&config).options(&["-i", "50"]);
        for listen in listens {
            start = start.holding(listen);
        }
        if let Some(binary) = binary {
            start = start.program(binary);
        }
        Self { proxy: start.start(), ports, _redis: redis, _fakes: fakes, _dead: dead }
    }

    fn client(&self, name: &str) -> Client {
        let place = POOLS.iter().position(|pool| *pool == name).expect("a pool of this test");
        Client::tcp(self.ports[place])
    }

    /// The traffic. What it returns stays open.
    fn drive(&self) -> Vec<Client> {
        let mut live = self.client("live");
        // Spread over all bits, so that each of two servers gets some.
        let keys: Vec<String> = (1..=20).map(|n| format!("{:x}", n * 2_654_435_761_u64)).collect();
        for key in &keys {
            assert_eq!(live.call(&["SET", key, "value"]), Reply::status("OK"));
            assert_eq!(live.call(&["GET", key]), Reply::bulk("value"));
        }
        live.call(&["PING"]);
        live.call(&["LPUSH", &keys[0], "not a list"]).error_text();
        let words = |first: &str| [vec![first.to_owned()], keys.clone()].concat();
        assert!(matches!(live.call(&words("mget")), Reply::Array(items) if items.len() == 20));
        assert_eq!(live.call(&words("del")), Reply::Integer(20));
        let mut pairs = self.client("pairs");
        let values = keys.iter().flat_map(|key| [key.clone(), "1".to_owned()]);
        let mset: Vec<String> = std::iter::once("MSET".to_owned()).chain(values).collect();
        assert_eq!(pairs.call(&mset), Reply::status("OK"));
        pairs.call(&["SET", "a", "1"]);

        self.client("live").send(b"*1\r\n$4\r\nquit\r\n");
        let mut half_closed = self.client("live");
        half_closed.send(&command(&["GET", "a"]));
        half_closed.shutdown_write();
        assert_eq!(half_closed.read_to_end().0, b"$1\r\n1\r\n");
        let mut reset = self.client("live");
        reset.call(&["GET", "a"]);
        reset.reset();
        let mut faulty = self.client("live");
        faulty.send(b"*x\r\n");
        faulty.read_to_end();

        let mut half = self.client("half");
        half.call(&words("del")).error_text();
        half.call(&words("unlink")).error_text();
        let mut open = vec![live, pairs, half];
        for name in ["dead", "late", "ends", "resets", "bad"] {
            let mut client = self.client(name);
            client.call(&["GET", "a"]).error_text();
            client.call(&["SET", "some key", "some value"]).error_text();
            open.push(client);
        }
        let mut silent = self.client("silent");
        silent.send(&[command(&["GET", "a"]), command(&["GET", "bc"])].concat());
        // A client that is lost while it is owed a reply, but has ended its side before.
        let mut vanishes = self.client("silent");
        vanishes.send(&command(&["GET", "a"]));
        vanishes.shutdown_write();
        // Its end is read before anything that is sent later.
        for _ in 0..2 {
            open[0].call(&["PING"]);
        }
        vanishes.reset();
        let mut deaf = self.client("deaf");
        deaf.send(&command(&["GET", "first"]));
        deaf.send(&command(&["SET", "large", &"x".repeat(16 << 20)]));
        open.extend([silent, deaf]);

        let mut vanishes = self.client("second");
        vanishes.send(&command(&["GET", "a"]));
        wait_for(&self.proxy, "second/fake/requests", 1);
        vanishes.reset();
        wait_for(&self.proxy, "second/client_err", 1);
        let mut stays = self.client("second");
        assert_eq!(stays.call(&["GET", "a"]), Reply::bulk("22"));
        open.push(stays);
        open
    }
}

/// The fields in which the two differ after this traffic, and why.
const DIFFERENCES: [(&str, &str); 7] = [
    OF_THE_START[0],
    OF_THE_START[1],
    ("live/fragments", "nutcracker never counts them"),
    ("half/fragments", "nutcracker never counts them"),
    ("pairs/fragments", "nutcracker never counts them"),
    ("pairs/one/request_bytes", MSET_VALUES),
    ("pairs/two/request_bytes", MSET_VALUES),
];

const MSET_VALUES: &str = "nutcracker counts the values of an MSET twice: redis_copy_bulk adds to \
    the length what msg_append has added";

/// twemproxy: fragments are never counted
#[test]
fn all_figures_are_nutcrackers_after_the_same_traffic() {
    shows_row("`request_bytes` of an `MSET`, `fragments`, `version` in statistics");
    let (ours, theirs) = (Side::start(None), Side::start(Some("nutcracker")));
    let _open = (ours.drive(), theirs.drive());
    let [their, our] = expect_same(&theirs.proxy, &ours.proxy, &DIFFERENCES);
    assert_eq!(their["live/fragments"], 0);
    assert!(their["pairs/one/request_bytes"] > our["pairs/one/request_bytes"]);

    // That the traffic reached what it was meant to reach.
    for (path, expected) in [
        ("live/client_eof", 2),
        ("live/client_err", 2),
        ("live/client_connections", 1),
        ("live/fragments", 4),
        ("pairs/fragments", 2),
        ("half/fragments", 4),
        ("half/forward_error", 2),
        ("dead/gone/server_err", 2),
        ("late/fake/server_timedout", 2),
        ("ends/fake/server_eof", 2),
        ("resets/fake/server_err", 2),
        ("bad/fake/server_err", 2),
        ("silent/client_eof", 1),
        ("silent/client_err", 0),
        ("silent/fake/out_queue", 3),
        ("silent/fake/out_queue_bytes", 61),
        ("deaf/fake/in_queue", 1),
        ("second/fake/requests", 2),
        ("second/fake/responses", 1),
        ("second/fake/response_bytes", 8),
    ] {
        assert_eq!(our[path], expected, "{path}");
    }
    assert!(our["deaf/fake/in_queue_bytes"] > 16 << 20);
}

#[test]
fn the_report_has_nutcrackers_layout_with_our_counters_behind() {
    let config = |ports: &[Port; 2]| {
        let listen = |port: &Port| format!("127.0.0.1:{}", port.number());
        let named = ["127.0.0.1:2:1 bb", "127.0.0.1:3:1 a", "127.0.0.1:4:1 ccc"];
        let plain = ["127.0.0.1:11211:1", "127.0.0.1:12:1", "/nowhere/redis.sock:1"];
        let servers = |lines: [&str; 3]| lines.map(str::to_owned);
        pool("longer", &listen(&ports[0]), &servers(named), &[])
            + &pool("b", &listen(&ports[1]), &servers(plain), &[])
    };
    let start = |binary: Option<&str>| {
        let ports = [Port::free(), Port::free()];
        let start = Start::with_config(&config(&ports));
        let [first, second] = ports;
        let start = start.holding(first).holding(second);
        binary.into_iter().fold(start, Start::program).start()
    };
    let (ours, theirs) = (start(None), start(Some("nutcracker")));
    let (ours, theirs) = (report(&ours), report(&theirs));
    let shared = skeleton(&theirs);
    let shared = shared.strip_suffix("}\n").expect("nutcracker ends so");
    let ours = skeleton(&ours);
    let added = ours.strip_prefix(shared).unwrap_or_else(|| panic!("{ours}\nis not\n{shared}"));
    assert!(added.starts_with(",\"ringcracker_clients\":N, \"ringcracker_"), "{added}");
    assert!(added.ends_with(":N}\n"), "{added}");
    assert!(added.matches('"').count() == 2 * added.matches("\"ringcracker_").count(), "{added}");
}

/// What a program that serves its statistics on a unix socket answers there.
fn report_on(path: &Path) -> String {
    let (bytes, _) = Client::unix(path).read_to_end();
    String::from_utf8(bytes).expect("a report is text")
}

/// One that serves its statistics at a path.
fn start_at(path: &Path) -> Start {
    let start = Start::with_pool(&["127.0.0.1:1:1".to_owned()], &[]);
    start.options(&["-s", "1", "-a", path.to_str().expect("text")])
}

#[test]
fn statistics_on_a_unix_socket_are_nutcrackers() {
    let directory = tempfile::tempdir().expect("a directory");
    // What follows a space is part of the path here, and no permission.
    let path = directory.path().join("stats.sock 0600");
    let mut theirs = start_at(&path).program("nutcracker").start();
    let (their_report, their_mode) = (report_on(&path), mode_of(&path));
    theirs.process().signal(libc::SIGTERM);
    assert_eq!(theirs.exit_code(), -libc::SIGTERM);
    // It leaves the socket behind, and does not start where there is one.
    let mut again = start_at(&path).program("nutcracker").spawn();
    assert_eq!(again.exit_code(), 1);
    let mut ours = start_at(&path).start();
    let report = skeleton(&report_on(&path));
    let shared = skeleton(&their_report);
    assert!(report.starts_with(shared.strip_suffix("}\n").expect("it ends so")), "{report}");
    assert_eq!(mode_of(&path), their_mode);
    ours.process().signal(libc::SIGTERM);
    assert_eq!(ours.exit_code(), 0);
    assert!(!path.exists());
}

#[test]
fn only_a_socket_that_nobody_serves_is_removed_for_statistics() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("stats.sock");
    let first = start_at(&path).start();
    let precious = directory.path().join("precious");
    fs::write(&precious, "data").expect("writable");
    for taken in [&path, &precious] {
        let mut second = start_at(taken).spawn();
        assert_eq!(second.exit_code(), 1);
        let errors = second.errors();
        assert!(errors.contains(taken.to_str().expect("text")), "{errors}");
        assert!(errors.contains("in use"), "{errors}");
    }
    assert!(report_on(&path).starts_with('{'));
    assert_eq!(fs::read(&precious).expect("it is there"), b"data");
    drop(first);
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn several_workers_are_added() {
    let server = Redis::start();
    let lines = ["preconnect: true"];
    let start = Start::with_pool(&[server.named("one")], &lines);
    let proxy = start.options(&["--workers", "3"]).start();
    wait_for(&proxy, "alpha/one/server_connections", 3);
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut clients {
        for _ in 0..5 {
            assert_eq!(client.call(&["SET", "key", "v"]), Reply::status("OK"));
        }
    }
    wait_for(&proxy, "alpha/one/requests", 30);
    wait_for(&proxy, "alpha/one/responses", 30);
    let figures = numbers(&report(&proxy));
    assert_eq!(figures["alpha/client_connections"], 6);
    assert_eq!(figures["alpha/one/response_bytes"], 30 * 5);
    assert_eq!(figures["ringcracker_requests"], 30);
    // One listener, six clients, three servers.
    assert_eq!((figures["curr_connections"], figures["total_connections"]), (10, 10));
    drop(clients);
    wait_for(&proxy, "alpha/client_eof", 6);
    wait_for(&proxy, "curr_connections", 4);
}

#[test]
fn strangers_at_the_statistics_port_disturb_nobody() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.named("one")], &[]);
    let mut client = proxy.client();
    // Those that only hold on, and those that send without end.
    let holding: Vec<Client> = (0..40).map(|_| Client::tcp(proxy.stats_port())).collect();
    let mut sending: Vec<Client> = (0..4).map(|_| Client::tcp(proxy.stats_port())).collect();
    for stranger in &mut sending {
        stranger.set_deadline(Duration::from_millis(50));
        // It may be cut off in the middle, or not be read at all.
        let _ = stranger.try_send(&vec![b'x'; 4 << 20]);
    }
    for _ in 0..100 {
        assert_eq!(client.call(&["SET", "key", "v"]), Reply::status("OK"));
    }
    // All the same, who comes now is answered in the end.
    wait_for(&proxy, "alpha/one/requests", 100);
    drop((holding, sending));
    wait_until("nothing of them is left", || proxy.process().open_descriptors() < 40);
}

#[test]
fn a_reader_that_speaks_http_gets_the_whole_report() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.named("one")], &[]);
    for _ in 0..20 {
        let mut reader = Client::tcp(proxy.stats_port());
        reader.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let (bytes, ending) = reader.read_to_end();
        assert_eq!(ending, support::client::Ending::Eof);
        assert!(bytes.starts_with(b"{\"service\"") && bytes.ends_with(b"}\n"));
    }
}

#[test]
fn a_statistics_port_in_use_is_named_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let start = Start::with_pool(&["127.0.0.1:1:1".to_owned()], &[]);
    let mut proxy = start.options(&["-a", "127.0.0.1", "-s", &port]).spawn();
    assert_eq!(proxy.exit_code(), 1);
    let errors = proxy.errors();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    for word in [&format!("127.0.0.1:{port}"), "in use", "-a and -s"] {
        assert!(errors.contains(word), "{word} is not in {errors}");
    }
}

#[test]
fn what_the_proxy_asks_by_itself_is_in_no_figures() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.named("one")], &[]);
    let mut client = proxy.client();
    client.send(&command(&["HELLO", "3"]));
    // A map of seven pairs, whose last value is an empty array.
    let hello = client.try_raw_reply().expect("a reply");
    assert!(hello.starts_with(b"%7\r\n"), "{}", hello.escape_ascii());
    client.exchange(&command(&["SET", "a", "1"]), b"+OK\r\n");
    client.exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
    wait_for(&proxy, "alpha/one/responses", 2);
    let figures = numbers(&report(&proxy));
    assert_eq!(figures["alpha/one/requests"], 2);
    assert_eq!(figures["alpha/one/response_bytes"], 5 + 7);
    let asked = [command(&["SET", "a", "1"]), command(&["GET", "a"])].concat().len() as i64;
    assert_eq!(figures["alpha/one/request_bytes"], asked);
}
