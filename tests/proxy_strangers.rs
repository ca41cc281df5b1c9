//! Who has not said the password: how little of him is taken, and in what order he is judged.

mod support;

use support::client::{Client, Ending, command};
use support::fake::FakeServer;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{show, wait_until};

const AUTH: &str = "redis_auth: a-password";
const OK: &[u8] = b"+OK\r\n";
const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";

fn list(count: usize, bytes: usize) -> Vec<u8> {
    let mut words = vec!["MGET".to_owned()];
    words.resize(count, "x".repeat(bytes));
    command(&words)
}

/// What a new connection is told that says all of `bytes`, and whether it is closed then.
fn told(mut client: Client, bytes: &[u8]) -> Vec<u8> {
    let _ = client.try_send(bytes);
    client.shutdown_write_if_open();
    client.read_to_end().0
}

#[test]
fn strangers_may_send_as_much_as_redis_lets_them() {
    let redis = Redis::start_with(&["--requirepass", "a-password"]);
    let proxy = Proxy::start(&[redis.line()], &[AUTH]);
    for request in [list(10, 1), list(11, 1), list(2, 16384), list(2, 16385), list(10, 16384)] {
        let (ours, theirs) = (told(proxy.client(), &request), told(redis.client(), &request));
        assert_eq!(show(&ours), show(&theirs), "{} bytes", request.len());
    }
    // A head is enough to be refused, and it may come in pieces.
    for (head, words) in
        [("*11\r\n", "multibulk length"), ("*2\r\n$4\r\nMGET\r\n$16385\r\n", "bulk length")]
    {
        let mut client = proxy.client();
        head.bytes().for_each(|byte| client.send(&[byte]));
        let expected = format!("-ERR Protocol error: unauthenticated {words}\r\n");
        assert_eq!(show(&client.read_to_end().0), show(expected.as_bytes()));
    }
}

#[test]
fn a_password_opens_the_limits_and_a_wrong_one_closes_them_again() {
    let server = FakeServer::answering(
        b"*10\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
    );
    let proxy = Proxy::start(&[server.line()], &[AUTH]);
    let (right, wrong) = (command(&["AUTH", "a-password"]), command(&["AUTH", "x"]));
    let mut client = proxy.client();
    client.send(&[&right[..], &list(30, 20_000)].concat());
    client.expect(OK);
    drop(client);
    let mut client = proxy.client();
    client.send(&[&right[..], &wrong, &list(11, 1)].concat());
    let got = client.read_to_end().0;
    assert!(got.starts_with(OK), "{}", show(&got));
    assert!(got.ends_with(b"unauthenticated multibulk length\r\n"), "{}", show(&got));
    let mut client = proxy.client();
    client.send(&[&right[..], &command(&["RESET"]), &list(11, 1)].concat());
    let got = client.read_to_end().0;
    assert!(got.ends_with(b"unauthenticated multibulk length\r\n"), "{}", show(&got));
}

#[test]
fn a_stranger_that_never_reads_is_not_read_either() {
    let server = FakeServer::answering(OK);
    let proxy = Proxy::start(&[server.line()], &[AUTH]);
    let before = proxy.process().resident_bytes();
    let mut strangers: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    let piece = b"GET a\r\n".repeat(20_000);
    for stranger in &mut strangers {
        stranger.set_deadline(std::time::Duration::from_millis(200));
        // What the sockets on the way hold is taken, and then no more.
        assert!((0..200).any(|_| stranger.try_send(&piece).is_err()), "28 MB were taken");
    }
    // What came before each was paused is kept; its replies would be four times as much.
    let grown = proxy.process().resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "memory grew by {grown} bytes for 20 strangers");
    let mut known = proxy.client();
    known.exchange(&command(&["AUTH", "a-password"]), OK);
    known.exchange(&command(&["PING"]), b"+PONG\r\n");
}

/// The requests whose order decides, and what each is called here.
fn deck() -> [(&'static str, Vec<u8>); 6] {
    [
        ("right", command(&["AUTH", "a-password"])),
        ("wrong", command(&["AUTH", "another"])),
        ("hello", command(&["HELLO", "3", "AUTH", "default", "a-password"])),
        ("get", command(&["GET", "a"])),
        ("reset", command(&["RESET"])),
        ("quit", command(&["QUIT"])),
    ]
}

/// Every order of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..count {
        let longer = orders.into_iter().flat_map(|order: Vec<usize>| {
            let left: Vec<usize> = (0..count).filter(|one| !order.contains(one)).collect();
            left.into_iter().map(move |one| [&order[..], &[one]].concat())
        });
        orders = longer.collect();
    }
    orders
}

/// A reply as far as it is the same for every server: HELLO's tells versions and numbers.
fn gist(reply: &[u8]) -> String {
    let is_map = reply.starts_with(b"%") || reply.starts_with(b"*");
    if is_map { "a map".to_owned() } else { show(reply) }
}

fn gists(client: &mut Client, stream: &[u8]) -> Vec<String> {
    client.send(stream);
    let mut gists = Vec::new();
    while let Ok(reply) = client.try_raw_reply() {
        gists.push(gist(&reply));
    }
    gists
}

#[test]
fn every_order_of_passwords_and_requests_is_answered_as_redis_answers_it() {
    let redis = Redis::start_with(&["--requirepass", "a-password"]);
    let proxy = Proxy::start(&[redis.line()], &[AUTH]);
    let deck = deck();
    for order in orders(deck.len()) {
        let names: Vec<&str> = order.iter().map(|&index| deck[index].0).collect();
        let stream: Vec<u8> = order.iter().flat_map(|&index| deck[index].1.clone()).collect();
        let ours = gists(&mut proxy.client(), &stream);
        let mut theirs = gists(&mut redis.client(), &stream);
        take_back(&names, &mut theirs);
        assert_eq!(ours, theirs, "{names:?}");
    }
}

/// A wrong password takes back what a right one gave, as with nutcracker; Redis lets it be.
fn take_back(names: &[&str], replies: &mut [String]) {
    let mut is_taken_back = false;
    for (name, reply) in names.iter().zip(replies) {
        match *name {
            "right" | "hello" | "reset" => is_taken_back = false,
            "wrong" => is_taken_back = true,
            "get" if is_taken_back => *reply = show(NOAUTH),
            _ => {}
        }
    }
}

#[test]
fn http_is_closed_counted_and_said_once_a_second() {
    let server = FakeServer::answering(OK);
    let proxy = Start::with_pool(&[server.line()], &[]).start();
    let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n".as_slice();
    let post = [head, b"*1\r\n$8\r\nFLUSHALL\r\nSET x 1\r\n"].concat();
    for _ in 0..50 {
        let mut client = proxy.client();
        let _ = client.try_send(&post);
        let (got, ending) = client.read_to_end();
        assert!(got.is_empty() && matches!(ending, Ending::Eof | Ending::Reset), "{}", show(&got));
    }
    wait_until("it is said", || proxy.log().contains("a client is closed: it speaks HTTP"));
    let lines = proxy.log().matches("it speaks HTTP").count();
    assert!(lines < 25, "{lines} lines for 50 clients");
    assert_eq!((server.accepted(), server.received().len()), (0, 0));
}

#[test]
fn the_password_is_in_nothing_that_is_said() {
    let secret = "a-password-that-is-said-nowhere";
    let redis = Redis::start_with(&["--requirepass", "another"]);
    let line = format!("redis_auth: {secret}");
    let start = Start::with_pool(&[redis.line()], &[&line]).options(&["-v", "11"]);
    let proxy = start.start();
    let mut client = proxy.client();
    let stream = [
        command(&["AUTH", "wrong-but-private"]),
        command(&["HELLO", "3", "AUTH", "default", "wrong-but-private"]),
        command(&["AUTH", secret]),
        command(&["GET", "a"]),
        command(&["CONFIG", "GET", "*"]),
        command(&["INFO"]),
        command(&["CLIENT", "LIST"]),
        command(&["QUIT"]),
    ];
    client.send(&stream.concat());
    let said = client.read_to_end().0;
    let mut statistics = Client::tcp(proxy.stats_port());
    let told = statistics.read_to_end().0;
    let log = proxy.log() + &proxy.errors();
    for text in [&said[..], &told, log.as_bytes()] {
        for secret in [secret, "wrong-but-private"] {
            let is_there = text.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{secret} is in {}", show(text));
        }
    }
}

#[test]
fn statistics_for_everybody_are_warned_of_once() {
    let server = FakeServer::answering(OK);
    let port = support::process::Port::free().number().to_string();
    let warnings = |address: &str| {
        let options = ["-a", address, "-s", &port];
        let proxy = Start::with_pool(&[server.line()], &[]).options(&options).start();
        proxy.log().matches("statistics are told to everybody").count()
    };
    assert_eq!(warnings("0.0.0.0"), 1);
    assert_eq!(warnings("127.0.0.1"), 0);
}
