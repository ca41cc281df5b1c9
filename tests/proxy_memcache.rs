//! Pools that speak memcached's protocol, held against a real memcached.

mod support;

use std::net::TcpListener;
use std::process::Command;

use support::client::Client;
use support::memcached::{Memcached, memcached_pool};
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::{show, value, wait_until};

/// A proxy in front of so many servers.
struct Setup {
    servers: Vec<Memcached>,
    proxy: Proxy,
}

impl Setup {
    fn start(servers: usize) -> Self {
        Self::start_with(servers, &[])
    }

    fn start_with(servers: usize, lines: &[&str]) -> Self {
        let servers: Vec<Memcached> = (0..servers).map(|_| Memcached::start()).collect();
        let names = servers.iter().enumerate();
        let names: Vec<String> = names.map(|(i, s)| s.named(&format!("server{i}"))).collect();
        Self { servers, proxy: start(&names, lines) }
    }

    fn client(&self) -> Client {
        self.proxy.client()
    }
}

fn start(servers: &[String], lines: &[&str]) -> Proxy {
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = memcached_pool("alpha", &listen, servers, lines);
    Start::with_config(&config).holding(port).start()
}

/// All that comes in answer to `request`, up to the answer to a request behind it.
fn answers(client: &mut Client, request: &[u8]) -> Vec<u8> {
    client.send(&[request, b"mn\r\n"].concat());
    let mut got = Vec::new();
    loop {
        let line = client.try_line().expect("a line");
        if line == b"MN\r\n" {
            return got;
        }
        got.extend_from_slice(&line);
    }
}

/// Requests whose answers depend on nothing but those before them.
fn requests() -> Vec<Vec<u8>> {
    let long = "k".repeat(251);
    let mut requests: Vec<Vec<u8>> = SAME.iter().map(|line| line.as_bytes().to_vec()).collect();
    for line in ["get {}\r\n", "get a {}\r\n", "gat 0 {}\r\n", "incr {} 1\r\n", "delete {}\r\n"] {
        requests.push(line.replace("{}", &long).into_bytes());
    }
    requests.push(format!("set {long} 0 0 3\r\nabc\r\n").into_bytes());
    requests.push(format!("set {long} 0 0 3 noreply\r\nabc\r\n").into_bytes());
    requests.push([b"set big 0 0 5000\r\n", &value(3, 5000)[..], b"\r\n"].concat());
    requests.push(b"touch big 0\r\nappend big 0 0 2\r\n\r\n\r\n".to_vec());
    requests
}

const SAME: &[&str] = &[
    "get a\r\n",
    "set a 5 0 3\r\nabc\r\n",
    "get a\r\n",
    "get a\n",
    " get a \r\n",
    "set b 0 0 0\r\n\r\n",
    "set c 0 0 14\r\n\r\ndelete a\r\n\r\n\r\n",
    "get a b c\r\n",
    "get c nothing a a b nothing\r\n",
    "gat 0 a b c\r\n",
    "gat 0 a\r\n",
    "gat 0\r\n",
    "gat x a b\r\n",
    "add a 0 0 1\r\nx\r\n",
    "add d 0 0 1\r\nx\r\n",
    "replace d 1 0 2\r\nyy\r\n",
    "replace nothing 1 0 2\r\nyy\r\n",
    "append d 0 0 2\r\nzz\r\n",
    "prepend d 0 0 1\r\nw\r\n",
    "append nothing 0 0 1\r\nx\r\n",
    "get d\r\n",
    "cas d 0 0 1 999999\r\nx\r\n",
    "cas nothing 0 0 1 1\r\nx\r\n",
    "cas d 0 0 1 x\r\nx\r\n",
    "set n 0 0 2\r\n10\r\n",
    "incr n 5\r\n",
    "decr n 6\r\n",
    "incr n x\r\n",
    "incr n 1 noreply\r\n",
    "incr a 1\r\n",
    "incr nothing 1\r\n",
    "incr n\r\n",
    "incr n noreply\r\n",
    "get n\r\n",
    "touch n 100\r\n",
    "touch n x\r\n",
    "touch nothing 1\r\n",
    "touch n 0 noreply\r\n",
    "delete n\r\n",
    "delete n\r\n",
    "delete n 0\r\n",
    "delete n 1\r\n",
    "delete noreply\r\n",
    "delete a b c d\r\n",
    "set e 0 0 3 noreply\r\nabc\r\nget e\r\n",
    "set e 0 0 3 norepl\r\nxyz\r\nget e\r\n",
    "set e 0 -1 3\r\nabc\r\nget e\r\n",
    "version\r\n",
    "verbosity\r\n",
    "verbosity 1\r\n",
    "verbosity 1 noreply\r\n",
    "verbosity x\r\n",
    "verbosity x noreply\r\n",
    "verbosity -1\r\n",
    "verbosity 1 x\r\n",
    "verbosity x 1\r\n",
    "verbosity 4294967296\r\n",
    "\r\n",
    "\n",
    " \r\n",
    "foo\r\n",
    "GET a\r\n",
    "get\r\n",
    "get \r\n",
    "set\r\n",
    "set a\r\n",
    "set a 0 0\r\nabc\r\n",
    "set a 0 0 3\r\nabcdef\r\n",
    "set a 0 0 3\r\nab\r\n\r\n",
    "set a 0 0 3 noreply\r\nabcdef\r\n",
    "set a 0 0 0\r\nx\r\n",
    "set a 0 0 -1\r\nget a\r\n",
    "set a 0 0 x\r\nabc\r\n",
    "set a x 0 3\r\nabc\r\n",
    "set a -1 0 3\r\nabc\r\n",
    "set a 0 x 3\r\nabc\r\n",
    "set a 0 0 3000000000\r\nabc\r\n",
    "set a 0 0 1 noreply x\r\nx\r\n",
    "get a\r\n",
    "flush_all x\r\n",
    "flush_all 0 1 2\r\n",
    "flush_all\r\n",
    "get a b c d e\r\n",
    "set a 5 0 3\r\nabc\r\n",
    "flush_all noreply\r\nget a\r\n",
];

#[test]
fn answers_are_memcacheds_own_through_one_server_and_through_two() {
    for servers in [1, 2] {
        let setup = Setup::start(servers);
        let real = Memcached::start();
        let (mut through, mut direct) = (setup.client(), real.client());
        for request in requests() {
            let (got, expected) = (answers(&mut through, &request), answers(&mut direct, &request));
            let (got, expected) = (show(&got), show(&expected));
            assert_eq!(got, expected, "{servers} servers, {}", show(&request));
        }
    }
}

/// twemproxy: byte by byte
#[test]
fn requests_are_answered_the_same_at_every_split() {
    let setup = Setup::start(2);
    let real = Memcached::start();
    let (mut through, mut direct) = (setup.client(), real.client());
    for request in SAME.iter().map(|line| line.as_bytes()).filter(|line| line.len() < 50) {
        for split in 1..request.len() {
            let expected = answers(&mut direct, request);
            let (head, tail) = request.split_at(split);
            // What is behind a whole request has been read once that is answered.
            through.send(&[b"mn\r\n", head].concat());
            through.expect(b"MN\r\n");
            let got = answers(&mut through, tail);
            assert_eq!(show(&got), show(&expected), "{split}: {}", show(request));
        }
    }
}

#[test]
fn uniques_of_two_servers_are_told_apart() {
    let setup = Setup::start(2);
    let mut client = setup.client();
    for number in 0..20 {
        client.exchange(format!("set k{number} 0 0 1\r\nx\r\n").as_bytes(), b"STORED\r\n");
    }
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let found = answers(&mut client, format!("gets {}\r\n", keys.join(" ")).as_bytes());
    let found = String::from_utf8(found).expect("text");
    let heads: Vec<Vec<&str>> = found
        .lines()
        .filter(|line| line.starts_with("VALUE "))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(heads.iter().map(|head| head[1]).collect::<Vec<_>>(), keys);
    for head in heads {
        let cas = |unique: &str| format!("cas {} 0 0 1 {unique}\r\ny\r\n", head[1]);
        client.exchange(cas("18446744073709551615").as_bytes(), b"EXISTS\r\n");
        client.exchange(cas(head[4]).as_bytes(), b"STORED\r\n");
    }
}

#[test]
fn keys_are_spread_and_flush_all_reaches_every_server() {
    let setup = Setup::start(2);
    let mut client = setup.client();
    let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
    let fill: String = keys.iter().map(|k| format!("set {k} 0 0 1 noreply\r\nx\r\n")).collect();
    let get = format!("get {}\r\n", keys.join(" "));
    for flush in ["flush_all\r\n", "flush_all noreply\r\n"] {
        assert_eq!(answers(&mut client, fill.as_bytes()), b"");
        for server in &setup.servers {
            let has = answers(&mut server.client(), get.as_bytes());
            let count =
                has.split(|&byte| byte == b'\n').filter(|l| l.starts_with(b"VALUE")).count();
            assert!((20..80).contains(&count), "{count} of 100 keys are on one server");
        }
        let all: String = keys.iter().map(|k| format!("VALUE {k} 0 1\r\nx\r\n")).collect();
        assert_eq!(
            show(&answers(&mut client, get.as_bytes())),
            show(format!("{all}END\r\n").as_bytes())
        );
        let said = answers(&mut client, flush.as_bytes());
        assert_eq!(said, if flush.contains("noreply") { &b""[..] } else { b"OK\r\n" });
        for server in &setup.servers {
            assert_eq!(show(&answers(&mut server.client(), get.as_bytes())), show(b"END\r\n"));
        }
    }
}

/// twemproxy #149: a server that answered before all of a value had come upset what followed.
#[test]
fn an_early_error_to_a_large_set_leaves_the_next_reply_where_it_belongs() {
    let setup = Setup::start(1);
    let (mut first, mut second) = (setup.client(), setup.client());
    second.exchange(b"set mine 0 0 4\r\nmine\r\n", b"STORED\r\n");
    let big = value(7, 2_000_000);
    for number in 0..5 {
        let noreply = number % 2 == 1;
        let word = if noreply { " noreply" } else { "" };
        let head = format!("set big 0 0 {}{word}\r\n", big.len());
        first.send(&[head.as_bytes(), &big, b"\r\n"].concat());
        second.exchange(b"get mine\r\n", b"VALUE mine 0 4\r\nmine\r\nEND\r\n");
        if !noreply {
            first.expect(b"SERVER_ERROR object too large for cache\r\n");
        }
        first.exchange(b"get mine\r\n", b"VALUE mine 0 4\r\nmine\r\nEND\r\n");
    }
}

#[test]
fn large_values_with_line_breaks_come_back_whole() {
    let setup = Setup::start(2);
    let mut client = setup.client();
    let line = b"\r\nEND\r\ndelete v0\r\nVALUE v1 0 1\r\nx\r\n";
    let mut expected = Vec::new();
    let mut get = b"get".to_vec();
    for (number, len) in [0, 1, 35, 4096, 16384, 20_000, 300_000].into_iter().enumerate() {
        let value: Vec<u8> = line.iter().copied().cycle().take(len).collect();
        let head = format!("set v{number} 7 0 {len}\r\n");
        client.exchange(&[head.as_bytes(), &value, b"\r\n"].concat(), b"STORED\r\n");
        let block = format!("VALUE v{number} 7 {len}\r\n");
        expected.extend_from_slice(&[block.as_bytes(), &value, b"\r\n"].concat());
        get.extend_from_slice(format!(" v{number} missing{number}").as_bytes());
    }
    expected.extend_from_slice(b"END\r\n");
    client.exchange(&[&get[..], b"\r\n"].concat(), &expected);
}

#[test]
fn silent_requests_keep_their_order_among_others() {
    for servers in [1, 2] {
        let setup = Setup::start(servers);
        let mut client = setup.client();
        let mut requests = String::new();
        let mut replies = String::new();
        for number in 0..300 {
            let key = format!("k{}", number % 7);
            requests.push_str(&format!("set {key} 0 0 3 noreply\r\n{number:03}\r\n"));
            requests.push_str(&format!("add {key} 0 0 1 noreply\r\nx\r\nget {key}\r\n"));
            requests.push_str("incr nothing 1 noreply\r\nget k0 nothing\r\n");
            let first = number - number % 7;
            replies.push_str(&format!("VALUE {key} 0 3\r\n{number:03}\r\nEND\r\n"));
            replies.push_str(&format!("VALUE k0 0 3\r\n{first:03}\r\nEND\r\n"));
        }
        client.exchange(requests.as_bytes(), replies.as_bytes());
        client.send(b"delete k0 noreply\r\nget k0\r\nset last 0 0 1 noreply\r\nx\r\nquit\r\n");
        assert_eq!(client.read_to_end().0, b"END\r\n");
        setup.client().exchange(b"get last\r\n", b"VALUE last 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn a_dead_server_is_an_error_line_and_the_connection_stays() {
    let mut setup = Setup::start(2);
    let mut client = setup.client();
    let keys: Vec<String> = (0..40).map(|number| format!("key{number}")).collect();
    for key in &keys {
        client.exchange(format!("set {key} 0 0 1\r\nx\r\n").as_bytes(), b"STORED\r\n");
    }
    let on_second: Vec<bool> = keys
        .iter()
        .map(|key| {
            let found =
                answers(&mut setup.servers[1].client(), format!("get {key}\r\n").as_bytes());
            found != b"END\r\n"
        })
        .collect();
    setup.servers[1].kill();
    client = setup.client();
    answers(&mut client, format!("get {}\r\n", keys.join(" ")).as_bytes());
    let refused = b"SERVER_ERROR Connection refused\r\n";
    client.exchange(format!("get {}\r\n", keys.join(" ")).as_bytes(), refused);
    client.exchange(b"flush_all\r\n", b"SERVER_ERROR server1: Connection refused\r\n");
    for (key, is_dead) in keys.iter().zip(on_second) {
        let found: &[u8] = if is_dead { refused } else { b"END\r\n" };
        client.exchange(format!("get {key}\r\n").as_bytes(), found);
        let silent = format!("set {key} 0 0 1 noreply\r\ny\r\n");
        assert_eq!(answers(&mut client, silent.as_bytes()), b"");
    }
}

#[test]
fn a_server_that_is_silent_is_given_up_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("127.0.0.1:{}:1", silent.local_addr().expect("bound").port());
    let proxy = start(&[server], &["timeout: 100"]);
    let mut client = proxy.client();
    client.exchange(b"get a\r\n", b"SERVER_ERROR Connection timed out\r\n");
    client.exchange(b"set a 0 0 1 noreply\r\nx\r\nmn\r\n", b"MN\r\n");
}

#[test]
fn what_is_no_request_at_all_ends_the_connection() {
    let setup = Setup::start(1);
    let closed: &[(&[u8], &[u8])] = &[
        (b"\x80\x00\x00\x01\x00\x00", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        (&[b'x'; 3000], b"CLIENT_ERROR line too long\r\n"),
        (b"quit\r\nget a\r\n", b""),
    ];
    for (request, words) in closed {
        let mut client = setup.client();
        client.send(&[b"mn\r\n", *request].concat());
        let got = client.read_to_end().0;
        assert_eq!(show(&got), show(&[b"MN\r\n", *words].concat()), "{}", show(request));
    }
}

#[test]
fn stats_are_the_proxys_own() {
    let setup = Setup::start(2);
    let mut client = setup.client();
    client.exchange(b"get a\r\n", b"END\r\n");
    let stats = String::from_utf8(answers(&mut client, b"stats\r\n")).expect("text");
    let lines: Vec<&str> = stats.lines().collect();
    let pid = format!("STAT pid {}", setup.proxy.process().id());
    assert_eq!(lines[0], pid, "{stats}");
    assert!(lines.contains(&concat!("STAT version ", env!("CARGO_PKG_VERSION"))), "{stats}");
    assert!(lines.contains(&"STAT total_connections 1"), "{stats}");
    assert!(lines.contains(&"STAT curr_connections 1"), "{stats}");
    assert!(lines.contains(&"STAT requests 2"), "{stats}");
    assert_eq!(lines.last(), Some(&"END"));
    client.exchange(b"stats reset\r\n", b"RESET\r\n");
    client.exchange(b"stats settings\r\n", b"END\r\n");
    client.exchange(b"stats noreply\r\n", b"ERROR\r\n");
}

/// The number that `stats` has under a name.
fn stat(client: &mut Client, name: &str) -> u64 {
    let stats = String::from_utf8(answers(client, b"stats\r\n")).expect("text");
    let prefix = format!("STAT {name} ");
    let value = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    value.unwrap_or_else(|| panic!("{name} is not in {stats}")).parse().expect("a number")
}

#[test]
fn stats_are_those_of_all_workers() {
    let server = Memcached::start();
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = memcached_pool("alpha", &listen, &[server.named("one")], &[]);
    let start = Start::with_config(&config).holding(port);
    let proxy = start.options(&["--workers", "3"]).start();
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.exchange(b"get a\r\n", b"END\r\n");
    }
    // Whoever asks, two of the six are at each worker.
    for client in &mut clients {
        wait_until("all are counted", || stat(client, "total_connections") == 6);
        wait_until("their requests too", || stat(client, "replies") == 6);
        assert_eq!((stat(client, "curr_connections"), stat(client, "threads")), (6, 3));
    }
    let (mut last, asked) = (clients.pop().expect("six"), clients);
    drop(asked);
    wait_until("they are gone", || stat(&mut last, "curr_connections") == 1);
    // What comes in the same write waits for the answer, and is answered behind it.
    last.send(b"get a\r\nstats\r\nget b\r\nstats noreply\r\n");
    assert_eq!(last.try_line().expect("a line"), b"END\r\n");
    while last.try_line().expect("a line") != b"END\r\n" {}
    last.expect(b"END\r\nERROR\r\n");
}

#[test]
fn a_thousand_clients_some_over_the_limit() {
    const LIMIT: usize = 400;
    let setup = Setup::start_with(2, &[&format!("client_connections: {LIMIT}")]);
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..LIMIT {
        let mut client = setup.client();
        let set = format!("set key{number} 0 0 4\r\n{number:04}\r\n");
        client.exchange(set.as_bytes(), b"STORED\r\n");
        clients.push(client);
    }
    for _ in LIMIT..1000 {
        let (words, _) = setup.client().read_to_end();
        assert_eq!(show(&words), show(b"ERROR Too many open connections\r\n"));
    }
    let get = |number| format!("get key{} key{number}\r\n", (number + 1) % LIMIT);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(get(number).as_bytes());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let next = (number + 1) % LIMIT;
        let blocks = [next, number].map(|n| format!("VALUE key{n} 0 4\r\n{n:04}\r\n"));
        client.expect(format!("{}END\r\n", blocks.concat()).as_bytes());
    }
}

/// libmemcached's own test of a server's text protocol (Debian: libmemcached-tools).
#[test]
fn memccapable_is_content() {
    for servers in [1, 2] {
        let setup = Setup::start(servers);
        let port = setup.proxy.port().to_string();
        let mut memccapable = Command::new("memccapable");
        let output = memccapable.args(["-a", "-h", "127.0.0.1", "-p", &port]).output();
        let output = output.expect("memccapable is installed, as make test does");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.matches("[pass]").count(), 27, "{servers} servers: {said}");
    }
}

/// A client library of Python, which `tests/clients/install.sh` installs.
#[test]
fn a_python_client_is_served_through_one_server_and_two() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |port: u16| {
        let output = Command::new("python3")
            .arg(root.join("tests/clients/python/memcached.py"))
            .arg(port.to_string())
            .env("PYTHONPATH", root.join("target/clients/pymemcache"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("python3 is installed, as make test does");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{said}");
    };
    for servers in [1, 2] {
        let setup = Setup::start(servers);
        run(setup.proxy.port());
    }
}
