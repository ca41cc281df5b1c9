//! Statistics beside nutcracker's of other kinds of pools: of memcached, of one that ejects, and
//! of servers on unix sockets.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::memcached::{Memcached, memcached_pool};
use support::migration::shows_row;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::report::{OF_THE_START, expect_same, figure, wait_for};
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::wait_until;

/// Starts a program, ours if none is named, that brings its figures together often: nutcracker
/// shows what happened only when something else happens, or at this interval.
fn start(program: Option<&str>, start: Start) -> Proxy {
    program.into_iter().fold(start.options(&["-i", "50"]), Start::program).start()
}

/// Pools of memcached and what is behind them. `live` has two servers; the only server of the
/// others is not there (`dead`), never answers (`late`), ends each connection at the first request
/// (`ends`), or answers nonsense (`bad`).
struct Side {
    proxy: Proxy,
    ports: Vec<u16>,
    _servers: [Memcached; 2],
    _fakes: [FakeServer; 3],
    _dead: Port,
}

const POOLS: [&str; 5] = ["live", "dead", "late", "ends", "bad"];

impl Side {
    fn start(program: Option<&str>) -> Self {
        let servers = [Memcached::start_on_port(), Memcached::start_on_port()];
        let fakes = [
            FakeServer::start(|connection| while connection.line().is_some() {}),
            FakeServer::start(|connection| drop(connection.line())),
            FakeServer::answering_lines(b"nonsense\r\n"),
        ];
        let dead = Port::free();
        let lines = [
            [0, 1].map(|number| servers[number].named(NAMES[number])).to_vec(),
            vec![format!("127.0.0.1:{}:1 one", dead.number())],
            vec![fakes[0].named("one")],
            vec![fakes[1].named("one")],
            vec![fakes[2].named("one")],
        ];
        let listens: Vec<Port> = POOLS.iter().map(|_| Port::free()).collect();
        let ports = listens.iter().map(Port::number).collect();
        let mut config = String::new();
        for ((name, listen), servers) in POOLS.iter().zip(&listens).zip(&lines) {
            let timeout = if *name == "late" { &["timeout: 150"][..] } else { &[] };
            let listen = format!("127.0.0.1:{}", listen.number());
            config.push_str(&memcached_pool(name, &listen, servers, timeout));
        }
        let all = listens.into_iter().fold(Start::with_config(&config), Start::holding);
        Self { proxy: start(program, all), ports, _servers: servers, _fakes: fakes, _dead: dead }
    }

    fn client(&self, name: &str) -> Client {
        let place = POOLS.iter().position(|pool| *pool == name).expect("a pool of this test");
        Client::tcp(self.ports[place])
    }

    /// The traffic. What it returns stays open.
    fn drive(&self) -> Vec<Client> {
        let mut live = self.client("live");
        let keys = [keys_of(OVER_TWO, 1), keys_of(OVER_TWO, 2)].map(|keys| keys[0].clone());
        let [one, two] = &keys;
        for key in [one, two] {
            for (request, reply) in [
                (format!("get {key}\r\n"), "END\r\n"),
                (format!("set {key} 5 0 2\r\n12\r\n"), "STORED\r\n"),
                (format!("add {key} 5 0 2\r\n12\r\n"), "NOT_STORED\r\n"),
                (format!("append {key} 0 0 1\r\n3\r\n"), "STORED\r\n"),
                (format!("incr {key} 1\r\n"), "124\r\n"),
                (format!("touch {key} 0\r\n"), "TOUCHED\r\n"),
                (format!("cas {key} 0 0 1 999\r\n1\r\n"), "EXISTS\r\n"),
                (format!("delete {key}0\r\n"), "NOT_FOUND\r\n"),
                (format!("get {key}\r\n"), &format!("VALUE {key} 5 3\r\n124\r\nEND\r\n")),
            ] {
                live.exchange(request.as_bytes(), reply.as_bytes());
            }
        }
        let values = [one, two].map(|key| format!("VALUE {key} 5 3\r\n124\r\n")).concat();
        let all = format!("get {one} {two}\r\n");
        live.exchange(all.as_bytes(), format!("{values}END\r\n").as_bytes());
        // Several keys of one server, one of which it has not.
        let found = format!("VALUE {one} 5 3\r\n124\r\nEND\r\n");
        let several = format!("get {one} {}\r\n", keys_of(OVER_TWO, 1)[1]);
        live.exchange(several.as_bytes(), found.as_bytes());

        self.client("live").send(b"quit\r\n");
        self.client("live").exchange(format!("get {one}\r\n").as_bytes(), found.as_bytes());
        let mut reset = self.client("live");
        reset.exchange(format!("get {one}\r\n").as_bytes(), found.as_bytes());
        reset.reset();

        let mut open = vec![live];
        for name in &POOLS[1..] {
            let mut client = self.client(name);
            for request in [&b"get a\r\n"[..], b"touch a 1\r\n"] {
                client.send(request);
                let line = client.try_line().expect("a line");
                assert!(line.starts_with(b"SERVER_ERROR "), "{name}: {line:?}");
            }
            open.push(client);
        }
        open
    }
}

#[test]
fn all_figures_of_memcached_pools_are_nutcrackers() {
    shows_row("`request_bytes` of a memcached `get` of several keys");
    let (theirs, ours) = (Side::start(Some("nutcracker")), Side::start(None));
    let _open = (theirs.drive(), ours.drive());
    let never = "nutcracker never counts them";
    let space = "nutcracker has a space behind the keys of each server";
    let known = [
        OF_THE_START[0],
        OF_THE_START[1],
        ("live/fragments", never),
        ("live/one/request_bytes", space),
        ("live/two/request_bytes", space),
    ];
    let [their, our] = expect_same(&theirs.proxy, &ours.proxy, &known);
    assert_eq!((their["live/fragments"], our["live/fragments"]), (0, 2));
    let more = |path| their[path] - our[path];
    assert_eq!((more("live/one/request_bytes"), more("live/two/request_bytes")), (2, 1));
    for (path, expected) in [
        ("live/client_eof", 2),
        ("live/client_err", 1),
        ("live/client_connections", 1),
        ("live/one/server_connections", 1),
        ("live/one/requests", 12),
        ("live/one/responses", 12),
        ("live/two/requests", 11),
        ("dead/forward_error", 2),
        ("dead/one/server_err", 2),
        ("late/one/server_timedout", 2),
        ("ends/one/server_eof", 2),
        ("bad/one/server_err", 2),
    ] {
        assert_eq!(our[path], expected, "{path}");
    }
}

#[test]
fn silent_requests_of_memcached_are_counted_otherwise() {
    shows_row("`forward_error` of memcached requests with `noreply`");
    let server = [Memcached::start_on_port(), Memcached::start_on_port()];
    let dead = Port::free();
    let sides = [Some("nutcracker"), None].map(|program| {
        let number = usize::from(program.is_none());
        let gone = format!("127.0.0.1:{}:1 gone", dead.number());
        let (ports, mut config) = ([Port::free(), Port::free()], String::new());
        let servers = [server[number].named("one"), gone];
        for ((name, port), server) in ["live", "dead"].iter().zip(&ports).zip(servers) {
            let listen = format!("127.0.0.1:{}", port.number());
            config.push_str(&memcached_pool(name, &listen, &[server], &[]));
        }
        let mut clients = ports.each_ref().map(Port::number);
        clients.sort_by_key(|&port| port != ports[0].number());
        let proxy =
            start(program, ports.into_iter().fold(Start::with_config(&config), Start::holding));
        let mut open = clients.map(Client::tcp);
        for client in &mut open {
            client.send(b"set a 0 0 1 noreply\r\nx\r\ntouch a 0 noreply\r\n");
        }
        open[0].exchange(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n");
        open[1].exchange(b"get a\r\n", b"SERVER_ERROR Connection refused\r\n");
        (proxy, open)
    });
    let [(theirs, _), (ours, _)] = &sides;
    let asked = "the server is asked to reply";
    let known = [
        OF_THE_START[0],
        OF_THE_START[1],
        ("live/one/request_bytes", asked),
        ("dead/gone/request_bytes", asked),
        ("live/one/responses", asked),
        ("live/one/response_bytes", asked),
        ("dead/forward_error", "somebody should hear of a failed request"),
    ];
    wait_for(theirs, "live/one/responses", 1);
    let [their, our] = expect_same(theirs, ours, &known);
    assert_eq!((their["dead/forward_error"], our["dead/forward_error"]), (1, 3));
    assert_eq!((their["live/one/requests"], our["live/one/requests"]), (3, 3));
    assert_eq!(their["live/one/request_bytes"] - our["live/one/request_bytes"], 16);
    assert_eq!((their["live/one/responses"], our["live/one/responses"]), (1, 3));
}

fn micros_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970");
    i64::try_from(since.as_micros()).expect("it fits")
}

#[test]
fn figures_of_ejected_servers_are_nutcrackers() {
    let mut sides = [Some("nutcracker"), None].map(|program| {
        let servers = [Redis::start(), Redis::start()];
        let lines =
            ["auto_eject_hosts: true", "server_failure_limit: 2", "server_retry_timeout: 1500"];
        let named = [0, 1].map(|number| servers[number].named(NAMES[number]));
        let proxy = start(program, Start::with_pool(&named, &lines));
        let client = proxy.client();
        (servers, proxy, client)
    });
    let get = command(&["GET", &keys_of(OVER_TWO, 1)[0]]);
    let known = [
        OF_THE_START[0],
        OF_THE_START[1],
        ("alpha/one/server_ejected_at", "they are not ejected in the same microsecond"),
    ];
    let mut last_out = [0; 2];
    for round in 1..=2 {
        for ((servers, proxy, client), last_out) in sides.iter_mut().zip(&mut last_out) {
            client.exchange(&get, b"$-1\r\n");
            servers[0].kill();
            // Two failures: the end of the connection and a refusal.
            wait_for(proxy, "alpha/one/server_eof", round);
            let before = micros_since_1970();
            client.exchange(&get, b"-ERR Connection refused\r\n");
            client.exchange(&get, b"$-1\r\n");
            wait_for(proxy, "alpha/server_ejects", round);
            let out_at = figure(proxy, "alpha/one/server_ejected_at");
            // A clock that was read for a turn may be a moment old.
            assert!((before - 100_000..=micros_since_1970()).contains(&out_at), "{out_at}");
            assert_eq!(figure(proxy, "alpha/two/server_ejected_at"), 0);
            *last_out = out_at;
        }
        // Whether it is tried while it is dead depends on the time, so it is back before.
        for (servers, proxy, client) in &mut sides {
            servers[0].restart();
            let asked = figure(proxy, "alpha/one/requests");
            wait_until("it is used again", || {
                client.exchange(&get, b"$-1\r\n");
                figure(proxy, "alpha/one/requests") > asked
            });
        }
        // How often the other was asked meanwhile differs.
        let asked = ["requests", "request_bytes", "responses", "response_bytes"].map(|name| {
            ["one", "two"].map(|server| (format!("alpha/{server}/{name}"), "waited for"))
        });
        let asked: Vec<(&str, &str)> =
            asked.iter().flatten().map(|(path, why)| (path.as_str(), *why)).collect();
        let [(_, theirs, _), (_, ours, _)] = &sides;
        let both = expect_same(theirs, ours, &[&known[..], &asked].concat());
        for (numbers, out_at) in both.iter().zip(last_out) {
            assert_eq!(numbers["alpha/server_ejects"], round);
            assert_eq!(numbers["alpha/one/server_err"], round);
            assert_eq!(numbers["alpha/one/server_ejected_at"], out_at, "it is kept");
        }
    }
}

#[test]
fn connections_to_a_unix_socket_are_counted() {
    shows_row("`server_connections` in statistics of a server on a unix socket");
    let mut sides = [Some("nutcracker"), None].map(|program| {
        let redis = Redis::start_on_unix_socket();
        let proxy = start(program, Start::with_pool(&[redis.named("one")], &[]));
        let mut client = proxy.client();
        assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
        assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
        (redis, proxy, client)
    });
    let gauge = "alpha/one/server_connections";
    let known = [OF_THE_START[0], OF_THE_START[1], (gauge, "nutcracker counts ends only")];
    for expected in [(0, 1), (-1, 0)] {
        let [(_, theirs, _), (_, ours, _)] = &sides;
        wait_for(theirs, gauge, expected.0);
        wait_for(ours, gauge, expected.1);
        let [their, our] = expect_same(theirs, ours, &known);
        assert_eq!((their[gauge], our[gauge]), expected);
        sides.iter_mut().for_each(|(redis, ..)| redis.kill());
    }
}
