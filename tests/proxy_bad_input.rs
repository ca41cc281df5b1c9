//! Input that breaks the protocol: Redis's words, then the end, for that client alone.

mod support;

use support::client::{Client, command};
use support::fake::FakeServer;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{show, value, wait_until};

/// How the proxy is to answer.
#[derive(Clone, Copy, PartialEq)]
enum Like {
    /// Byte for byte as redis does.
    Redis,
    /// With a protocol error where redis, which does not look at every byte, sees none.
    Stricter,
}

/// Heads, lengths and quotes that are wrong, and a few that only look right.
const TABLE: &[(&[u8], Like)] = &[
    // Counts.
    (b"*x\r\n", Like::Redis),
    (b"*\r\n", Like::Redis),
    (b"*1x\r\n$4\r\nPING\r\n", Like::Redis),
    (b"*+1\r\n$4\r\nPING\r\n", Like::Redis),
    (b"*01\r\n$4\r\nPING\r\n", Like::Redis),
    (b"* 1\r\n$4\r\nPING\r\n", Like::Redis),
    (b"*1 \r\n$4\r\nPING\r\n", Like::Redis),
    (b"*--1\r\n", Like::Redis),
    (b"*1.0\r\n", Like::Redis),
    (b"*0x1\r\n", Like::Redis),
    (b"*2147483648\r\n", Like::Redis),
    (b"*4294967297\r\n$4\r\nPING\r\n", Like::Redis),
    (b"*4294967298\r\n$3\r\nGET\r\n$1\r\na\r\n", Like::Redis),
    (b"*9223372036854775808\r\n", Like::Redis),
    (b"*18446744073709551617\r\n$4\r\nPING\r\n", Like::Redis),
    (b"*99999999999999999999999999999999\r\n", Like::Redis),
    // Lengths.
    (b"*2\r\nGET\r\n$1\r\na\r\n", Like::Redis),
    (b"*2\r\n$3\r\nGET\r\n:1\r\n", Like::Redis),
    (b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n", Like::Redis),
    (b"*2\r\n$3\r\nGET\r\n\r\n", Like::Redis),
    (b"*1\r\n\xff\r\n", Like::Redis),
    (b"*1\r\n$\r\n", Like::Redis),
    (b"*1\r\n$x\r\n", Like::Redis),
    (b"*1\r\n$-1\r\n", Like::Redis),
    (b"*1\r\n$-0\r\n", Like::Redis),
    (b"*1\r\n$+4\r\nPING\r\n", Like::Redis),
    (b"*1\r\n$04\r\nPING\r\n", Like::Redis),
    (b"*1\r\n$ 4\r\nPING\r\n", Like::Redis),
    (b"*1\r\n$4 \r\nPING\r\n", Like::Redis),
    (b"*1\r\n$0x4\r\nPING\r\n", Like::Redis),
    (b"*1\r\n$4.0\r\nPING\r\n", Like::Redis),
    (b"*1\r\n$536870913\r\n", Like::Redis),
    (b"*1\r\n$4294967300\r\nPING\r\n", Like::Redis),
    (b"*2\r\n$3\r\nGET\r\n$4294967297\r\na\r\n", Like::Redis),
    (b"*1\r\n$9223372036854775808\r\n", Like::Redis),
    (b"*1\r\n$18446744073709551617\r\n", Like::Redis),
    (b"*1\r\n$99999999999999999999999999999999\r\n", Like::Redis),
    // Quotes of inline requests.
    (b"GET \"a\r\n", Like::Redis),
    (b"GET 'a\r\n", Like::Redis),
    (b"GET \"a\"b\r\n", Like::Redis),
    (b"GET 'a'b\r\n", Like::Redis),
    (b"GET \"x\\x4\r\n", Like::Redis),
    (b"SET a \"\\\"\r\n", Like::Redis),
    // What redis lets pass, or waits for.
    (b"*1\n$4\nPING\n", Like::Stricter),
    (b"*1\r\n\0\0\0\r\n", Like::Stricter),
    (b"*1\rx$4\r\nPING\r\n", Like::Stricter),
    (b"*1\r\n$4\rxPING\r\n", Like::Stricter),
    (b"*1\r\n$4\r\nPINGxx", Like::Stricter),
    (b"*1\r\n$4\r\nPING\n\n", Like::Stricter),
    (b"*2\r\n$3\r\nGET\r\n$1\r\na\rx", Like::Stricter),
    (b"*1048577\r\n", Like::Stricter),
    (b"*2147483647\r\n", Like::Stricter),
];

/// A proxy before a server that records, a second client of it, and a real redis.
struct Bench {
    redis: Redis,
    server: FakeServer,
    proxy: Proxy,
    second: Client,
}

impl Bench {
    fn new() -> Self {
        let redis = Redis::start();
        let server = FakeServer::answering(b"$1\r\nx\r\n");
        let proxy = Proxy::start(&[server.line()], &[]);
        let second = proxy.client();
        Self { redis, server, proxy, second }
    }

    /// Nothing was forwarded until now, and the second client has lost nothing.
    fn was_left_alone(mut self) {
        assert!(self.server.received().is_empty(), "forwarded {}", show(&self.server.received()));
        let request = command(&["GET", "a"]);
        self.second.exchange(&request, b"$1\r\nx\r\n");
        assert_eq!(self.server.received(), request);
        assert_eq!(self.server.accepted(), 1);
    }
}

/// Sends `pieces` and reads to the end. The peer may close before it has taken all of them.
fn outcome<'a>(mut client: Client, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    for piece in pieces {
        if client.try_send(piece).is_err() {
            break;
        }
    }
    client.read_to_end().0
}

fn check(bench: &Bench, input: &[u8], like: Like, got: &[u8], before: &[u8]) {
    let expected = match like {
        Like::Redis => outcome(bench.redis.client(), std::iter::once(input)),
        Like::Stricter => b"-ERR Protocol error: ".to_vec(),
    };
    let expected = [before, &expected].concat();
    assert!(expected.ends_with(b"\r\n") || like == Like::Stricter, "redis says nothing");
    let right = match like {
        Like::Redis => got == expected,
        Like::Stricter => got.starts_with(&expected) && got.ends_with(b"\r\n"),
    };
    assert!(right, "{}: {}, expected {}", show(input), show(got), show(&expected));
}

#[test]
fn broken_input_gets_the_words_of_redis_and_the_end() {
    let bench = Bench::new();
    for &(input, like) in TABLE {
        let got = outcome(bench.proxy.client(), std::iter::once(input));
        check(&bench, input, like, &got, b"");
    }
    bench.was_left_alone();
}

#[test]
fn broken_input_is_the_same_byte_by_byte() {
    let bench = Bench::new();
    for &(input, like) in TABLE {
        let got = outcome(bench.proxy.client(), input.chunks(1));
        check(&bench, input, like, &got, b"");
    }
    bench.was_left_alone();
}

#[test]
fn earlier_requests_are_answered_before_the_error() {
    let bench = Bench::new();
    for &(input, like) in TABLE {
        let all = [b"PING\r\n*2\r\n$4\r\nPING\r\n$1\r\nx\r\n", input].concat();
        let got = outcome(bench.proxy.client(), std::iter::once(&all[..]));
        check(&bench, input, like, &got, b"+PONG\r\n$1\r\nx\r\n");
    }
    bench.was_left_alone();
}

/// twemproxy: replies lost before a bad request
#[test]
fn earlier_replies_of_servers_come_before_the_error_and_later_requests_are_dropped() {
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::start(&[servers[0].line(), servers[1].line()], &[]);
    let mut requests = command(&["SET", "a", "1"]);
    requests.extend(command(&["MGET", "a", "1:item", "2:item", "3:item"]));
    requests.extend_from_slice(b"*1\r\n$x\r\n");
    requests.extend(command(&["SET", "a", "2"]));
    let got = outcome(proxy.client(), std::iter::once(&requests[..]));
    let expected = b"+OK\r\n*4\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$-1\r\n\
        -ERR Protocol error: invalid bulk length\r\n";
    assert!(got == expected, "{}", show(&got));
    proxy.client().exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
}

#[test]
fn the_error_reaches_a_client_that_goes_on_sending() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    // 40 KiB are on their way when the error is said: a reset would destroy it.
    client.send(b"*1\r\n$x\r\n");
    client.send(&vec![b'x'; 40 << 10]);
    let (got, _) = client.read_to_end();
    assert!(got == b"-ERR Protocol error: invalid bulk length\r\n", "{}", show(&got));
}

#[test]
fn requests_of_http_are_closed_without_a_word() {
    let bench = Bench::new();
    let requests: [&[u8]; 6] = [
        b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET x 1\r\n",
        b"post /x HTTP/1.0\r\n\r\nSET x 1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"Host: localhost\r\nSET x 1\r\n",
        b"hOsT: localhost\r\n",
        b"\r\nHost: x\r\n",
    ];
    for request in requests {
        let got = outcome(bench.proxy.client(), std::iter::once(request));
        assert!(got.is_empty(), "{}: {}", show(request), show(&got));
    }
    // GET is a command of Redis with an arity of its own; what follows ends the connection.
    let get = &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET x 1\r\n"[..];
    let got = outcome(bench.proxy.client(), std::iter::once(get));
    let arity = b"-ERR wrong number of arguments for 'get' command\r\n";
    assert!(got.is_empty() || got == arity, "{}", show(&got));
    bench.was_left_alone();
}

#[test]
fn noise_is_refused_or_waited_for_but_never_forwarded() {
    let bench = Bench::new();
    for seed in 0..60 {
        let mut noise = value(seed, 600);
        // Whatever the rest is to be, it is broken at the latest here.
        noise.extend_from_slice(b"\r\n*x\r\n");
        let mut client = bench.proxy.client();
        let _ = client.try_send(&noise);
        let _ = client.try_send(b"\r\n\"\r\n");
        client.shutdown_write_if_open();
        client.read_to_end();
    }
    bench.was_left_alone();
}

#[test]
fn a_line_without_an_end_is_closed_at_64_kib() {
    let bench = Bench::new();
    let before = bench.proxy.process().resident_bytes();
    for head in [&b""[..], b"*", b"*1\r\n$"] {
        let mut client = bench.proxy.client();
        let mut sent = 0;
        let piece = vec![b'1'; 64 << 10];
        let mut open = client.try_send(head).is_ok();
        while open && sent < 100 << 20 {
            open = client.try_send(&piece).is_ok();
            sent += piece.len();
        }
        // What the sockets on the way hold is sent without being read.
        assert!(sent < 32 << 20, "{sent} bytes were taken");
    }
    for (head, error) in [
        (&b""[..], &b"-ERR Protocol error: too big inline request\r\n"[..]),
        (b"*", b"-ERR Protocol error: too big mbulk count string\r\n"),
        (b"*1\r\n$", b"-ERR Protocol error: too big bulk count string\r\n"),
    ] {
        let mut client = bench.proxy.client();
        let line = [head, &vec![b'1'; (64 << 10) + 100]].concat();
        let _ = client.try_send(&line);
        let (got, _) = client.read_to_end();
        assert!(got == error, "{}: {}", show(&line), show(&got));
    }
    wait_until("the memory is given back", || {
        bench.proxy.process().resident_bytes() < before + (8 << 20)
    });
    bench.was_left_alone();
}

#[test]
fn a_line_just_below_the_limit_is_a_request() {
    let bench = Bench::new();
    let mut client = bench.proxy.client();
    let text = "x".repeat((64 << 10) - 100);
    client.send(format!("PING {text}\r\n").as_bytes());
    client.expect(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
    bench.was_left_alone();
}

#[test]
fn a_declared_count_reserves_no_memory() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Start::with_pool(&[server.line()], &[]).start();
    let mut clients: Vec<Client> = (0..1000).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.expect_in_step("connected");
    }
    let before = proxy.process().resident_bytes();
    for client in &mut clients {
        client.send(b"*1048576\r\n");
    }
    // The last one's head has been read when a client that came later is answered.
    proxy.client().expect_in_step("read");
    let grown = proxy.process().resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "memory grew by {grown} bytes for 1000 heads");
    for client in &mut clients {
        client.send(b"$536870912\r\n");
    }
    proxy.client().expect_in_step("read");
    let grown = proxy.process().resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "memory grew by {grown} bytes for 1000 lengths");
    assert!(server.received().is_empty());
}
