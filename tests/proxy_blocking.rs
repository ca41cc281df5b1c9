//! Commands that wait for somebody else: BLPOP and its kin, XREAD with BLOCK.

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Reply, command};
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::wait_until;

/// Clients that wait at a server.
fn waiting(server: &Redis) -> i64 {
    let Reply::Bulk(text) = server.client().call(&["INFO", "clients"]) else { panic!("a text") };
    let text = String::from_utf8(text).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
    line.expect("a figure").trim().parse().expect("a number")
}

fn wait_for(server: &Redis, count: i64) {
    wait_until(&format!("{count} clients wait"), || waiting(server) == count);
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn lines(requests: &[&str]) -> Vec<u8> {
    requests.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

/// Its reply: a list's name, and what was popped.
fn popped(key: &str, element: &str) -> Reply {
    Reply::Array(vec![Reply::bulk(key), Reply::bulk(element)])
}

#[test]
fn every_command_that_waits_is_served_when_something_comes() {
    let (plain, behind) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(&[behind.line()], &["timeout: 5000"]);
    for group in ["XGROUP CREATE s g $ MKSTREAM", "XGROUP CREATE t g $ MKSTREAM"] {
        for server in [&plain, &behind] {
            server.client().call(&words(group));
        }
    }
    for (request, bringer) in [
        ("BLPOP a b 0", "RPUSH b 1"),
        ("brpop i j 0.0", "RPUSH i 1 2"),
        ("BLMOVE a c LEFT RIGHT 0", "LPUSH a 3"),
        ("BRPOPLPUSH d e 0", "LPUSH d 4"),
        ("BLMPOP 0 2 f g LEFT COUNT 2", "RPUSH g 5 6 7"),
        ("BZPOPMIN z 0", "ZADD z 1 one 2 two"),
        ("BZPOPMAX y 0", "ZADD y 1 one 2 two"),
        ("BZMPOP 0 1 x MIN", "ZADD x 1 one"),
        ("XREAD BLOCK 0 STREAMS q $", "XADD q 1-1 f v"),
        ("XREAD COUNT 1 BLOCK 0 STREAMS q r 1-1 $", "XADD r 2-1 f v"),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "XADD s 1-1 f v"),
    ] {
        let mut replies = [&plain, &behind].map(|server| {
            let mut client = match std::ptr::eq(server, &plain) {
                true => plain.client(),
                false => proxy.client(),
            };
            client.send(&command(&words(request)));
            wait_for(server, 1);
            assert!(!matches!(proxy.client().call(&words("GET n")), Reply::Error(_)));
            server.client().call(&words(bringer));
            let reply = client.reply();
            client.expect_in_step(request);
            reply
        });
        replies.reverse();
        assert_eq!(replies[0], replies[1], "{request}: through the proxy, and plain");
    }
}

#[test]
fn what_is_there_is_given_at_once_and_what_is_wrong_is_told() {
    let (plain, behind) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(&[behind.line()], &[]);
    let script = [
        "RPUSH l 1 2 3 4 5 6 7 8",
        "SET s 1",
        "BLPOP l 0",
        "BRPOP none l 0",
        "BLMOVE l m LEFT LEFT 0",
        "BRPOPLPUSH l m 0",
        "BLMPOP 0 1 l LEFT",
        "BLPOP s 0",
        "BLPOP l x",
        "BLPOP l -1",
        "BLPOP l nan",
        "BLPOP l inf",
        "BLPOP l 1e300",
        "BLPOP none 0.01",
        "BLMPOP 0 x l LEFT",
        "BLMPOP 0 9 l LEFT",
        "BLMPOP 0 0 l LEFT",
        "BLPOP",
        "BLPOP l",
        "BRPOPLPUSH l m",
        "XREAD BLOCK x STREAMS l 0",
        "XREAD BLOCK -1 STREAMS t 0",
        "XREAD BLOCK 1 STREAMS t 0",
        "XREAD BLOCK 0 STREAMS t",
        "XREAD BLOCK 1 COUNT 1 STREAMS t u 0 0",
        "BZPOPMIN none 0.01",
        "LRANGE l 0 -1",
        "LRANGE m 0 -1",
        "QUIT",
    ];
    let answers = |mut client: Client| {
        client.send(&lines(&script));
        client.read_to_end().0.escape_ascii().to_string().replace("\\r\\n", "\n")
    };
    assert_eq!(answers(proxy.client()), answers(plain.client()), "through the proxy, and plain");
}

#[test]
fn a_wait_is_longer_than_the_pools_timeout_and_ends_with_its_own() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["timeout: 500"]);
    let mut for_ever = proxy.client();
    for_ever.send(&command(&words("BLPOP l 0")));
    let begin = Instant::now();
    assert_eq!(proxy.client().call(&words("BLPOP none 1.5")), Reply::Null);
    assert!(begin.elapsed() >= Duration::from_millis(1500), "{:?}", begin.elapsed());
    assert_eq!(waiting(&server), 1);
    server.client().call(&words("RPUSH l 1"));
    assert_eq!(for_ever.reply(), popped("l", "1"));
    // The connection is another client's now, with the pool's timeout.
    server.process().stop();
    let begin = Instant::now();
    let failed = for_ever.call(&words("WATCH l")).error_text();
    assert_eq!(failed, "ERR Connection timed out");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    server.process().resume();
}

#[test]
fn a_server_that_hangs_is_given_up_behind_both_timeouts() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["timeout: 200"]);
    let mut client = proxy.client();
    client.send(&command(&words("BLPOP l 0.5")));
    wait_for(&server, 1);
    server.process().stop();
    let begin = Instant::now();
    assert_eq!(client.reply().error_text(), "ERR Connection timed out");
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    server.process().resume();
}

#[test]
fn nothing_is_popped_for_a_client_that_has_gone() {
    let server = Redis::start();
    let proxy = Start::with_pool(&[server.line()], &[]).options(&["--workers", "2"]).start();
    let ways: [fn(Client); 4] = [
        drop,
        Client::reset,
        |mut client| {
            client.shutdown_write();
            client.expect_end();
        },
        // What it sent behind the pop is not done either.
        |mut client| {
            client.send(&lines(&["SET l wrong", "BLPOP l 0"]));
            client.shutdown_write();
            client.expect_end();
        },
    ];
    for (number, leave) in ways.into_iter().enumerate() {
        let mut client = proxy.client();
        client.send(&lines(&["PING", "BLPOP l 0"]));
        client.expect(b"+PONG\r\n");
        wait_for(&server, 1);
        leave(client);
        wait_for(&server, 0);
        server.client().call(&words("RPUSH l 1"));
        assert_eq!(proxy.client().call(&words("LPOP l")), Reply::bulk("1"), "way {number}");
    }
}

#[test]
fn what_was_answered_before_is_given_to_who_ends_its_side() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send(&lines(&["SET a 1", "PING", "BLPOP l 0", "SET a 2"]));
        client.shutdown_write();
        let (got, _) = client.read_to_end();
        assert_eq!(got.escape_ascii().to_string(), "+OK\\r\\n+PONG\\r\\n");
    }
    wait_for(&server, 0);
    assert_eq!(proxy.client().call(&words("GET a")), Reply::bulk("1"));
}

#[test]
fn effects_come_in_the_order_of_one_write() {
    let server = Redis::start();
    let lines_of_pool = ["server_connections: 3"];
    let proxy =
        Start::with_pool(&[server.line()], &lines_of_pool).options(&["--workers", "2"]).start();
    let round = [
        "RPUSH l 1",
        "BLPOP l 0",
        "MULTI",
        "RPUSH l 2",
        "RPUSH l 3",
        "EXEC",
        "BRPOP l 0",
        "WATCH l",
        "RPOP l",
        "MULTI",
        "RPUSH l 4",
        "EXEC",
        "QUIT",
    ];
    let all = [lines(&round[..12]).repeat(75), lines(&round[12..])].concat();
    let expected = "\
        :1\r\n*2\r\n$1\r\nl\r\n$1\r\n1\r\n\
        +OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n\
        *2\r\n$1\r\nl\r\n$1\r\n3\r\n\
        +OK\r\n$1\r\n2\r\n+OK\r\n+QUEUED\r\n*-1\r\n";
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send(&all);
        client.expect(expected.repeat(75).as_bytes());
        client.expect(b"+OK\r\n");
        client.expect_end();
    }
}

#[test]
fn keys_of_two_servers_are_not_waited_for() {
    let servers = [Redis::start(), Redis::start()];
    let named = [servers[0].named(NAMES[0]), servers[1].named(NAMES[1])];
    let proxy = Proxy::start(&named, &[]);
    let keys = [keys_of(OVER_TWO, 1), keys_of(OVER_TWO, 2)];
    let mut client = proxy.client();
    let refused = client.call(&["BLPOP", &keys[0][0], &keys[1][0], "0"]).error_text();
    assert!(refused.starts_with("CROSSSLOT"), "{refused}");
    assert_eq!(client.call(&["WATCH", &keys[0][0]]), Reply::status("OK"));
    let refused = client.call(&["BLPOP", &keys[1][0], "0"]).error_text();
    assert!(refused.starts_with("CROSSSLOT"), "{refused}");
    // What is watched stays so while the same connection waits.
    assert_eq!(client.call(&["BLPOP", &keys[0][1], "0.01"]), Reply::Null);
    proxy.client().call(&["SET", &keys[0][0], "1"]);
    client.call(&["MULTI"]);
    assert_eq!(client.call(&["EXEC"]), Reply::Null);
    for (server, keys) in servers.iter().zip(&keys) {
        let mut client = proxy.client();
        client.send(&command(&["BLPOP", &keys[2], &keys[3], "0"]));
        wait_for(server, 1);
        proxy.client().call(&["RPUSH", &keys[3], "1"]);
        assert_eq!(client.reply(), popped(&keys[3], "1"));
    }
}

#[test]
fn a_client_that_waits_is_told_of_the_end() {
    let server = Redis::start();
    let mut proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&lines(&["BLPOP l 0", "PING", "BLPOP l 0", "PING"]));
    let mut watching = proxy.client();
    watching.call(&["WATCH", "a"]);
    wait_for(&server, 1);
    proxy.process().signal(libc::SIGTERM);
    for expected in ["UNBLOCKED", "PONG", "UNBLOCKED", "PONG"] {
        let reply = format!("{:?}", client.reply());
        assert!(reply.contains(expected), "{reply}");
    }
    client.expect_end();
    watching.expect_end();
    assert_eq!(proxy.exit_code(), 0);
    assert!(!proxy.log().contains("are left after"), "{}", proxy.log());
    assert_eq!(waiting(&server), 0);
}

#[test]
fn who_waits_hears_of_its_server() {
    let mut server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&command(&words("BLPOP l 0")));
    wait_for(&server, 1);
    server.kill();
    assert!(matches!(client.reply(), Reply::Error(_)));
    assert!(matches!(client.call(&words("BLPOP l 0")), Reply::Error(_)));
    server.restart();
    client.send(&command(&words("BLPOP l 0")));
    wait_for(&server, 1);
    server.client().call(&words("RPUSH l 1"));
    assert_eq!(client.reply(), popped("l", "1"));
}

#[test]
fn many_wait_while_others_are_served() {
    let server = Redis::start();
    let proxy = Start::with_pool(&[server.line()], &[]).options(&["--workers", "2"]).start();
    let mut clients: Vec<Client> = (0..100).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(&command(&words("BLPOP l 0")));
    }
    wait_for(&server, 100);
    let mut other = proxy.client();
    for number in 0..100 {
        other.call(&["RPUSH", "l", &number.to_string()]);
    }
    let mut got: Vec<String> =
        clients.iter_mut().map(|client| format!("{:?}", client.reply())).collect();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 100, "each element went to one of them");
    wait_for(&server, 0);
}

#[test]
fn private_connections_that_wait_have_a_limit() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["private_connections: 1"]);
    let mut first = proxy.client();
    first.send(&command(&words("BLPOP l 0")));
    wait_for(&server, 1);
    let refused = proxy.client().call(&words("BLPOP l 0")).error_text();
    assert_eq!(refused, "ERR max number of private connections reached");
    server.client().call(&words("RPUSH l 1"));
    first.reply();
    assert_eq!(proxy.client().call(&words("BLPOP l 0.01")), Reply::Null);
}
