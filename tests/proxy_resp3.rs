//! Clients that speak RESP3, with real servers and with servers that do not know it.

mod support;

use support::client::{Client, command};
use support::fake::FakeServer;
use support::proxy::Proxy;
use support::redis::Redis;
use support::{show, wait_until};

const OK: &[u8] = b"+OK\r\n";
const NO_PROTO: &[u8] = b"-NOPROTO unsupported protocol version\r\n";
/// What Redis 5 says to HELLO.
const UNKNOWN: &[u8] = b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";

/// Reads one reply of either version, whole: its bytes as they came.
fn reply(client: &mut Client) -> Vec<u8> {
    let line = client.try_line().expect("a reply");
    let count = || -> usize {
        let digits = std::str::from_utf8(&line[1..line.len() - 2]).expect("a number");
        digits.parse().unwrap_or(0)
    };
    let elements = match line[0] {
        b'*' | b'~' | b'>' => count(),
        b'%' => 2 * count(),
        b'|' => 2 * count() + 1,
        b'$' | b'=' | b'!' if !line.starts_with(b"$-1") => {
            let mut bytes = line.clone();
            while bytes.len() < line.len() + count() + 2 {
                bytes.extend(client.try_line().expect("a bulk string"));
            }
            return bytes;
        }
        _ => 0,
    };
    let mut bytes = line;
    (0..elements).for_each(|_| bytes.extend(reply(client)));
    bytes
}

/// Sends a request, and reads its reply.
fn ask(client: &mut Client, words: &[&str]) -> Vec<u8> {
    client.send(&command(words));
    reply(client)
}

/// Says HELLO, and expects that the reply agrees.
fn hello(client: &mut Client, version: &str) {
    let said = ask(client, &["HELLO", version]);
    assert_agrees(&said, version);
}

fn assert_agrees(said: &[u8], version: &str) {
    let kind = if version == "3" { b'%' } else { b'*' };
    let proto = format!("$5\r\nproto\r\n:{version}\r\n");
    let is_told = said.windows(proto.len()).any(|part| part == proto.as_bytes());
    assert!(said[0] == kind && is_told, "{}", show(said));
}

/// Requests whose replies have types of their own in RESP3.
fn typed() -> Vec<Vec<&'static str>> {
    [
        "HSET h a 1 b 2",
        "HGETALL h",
        "HGETALL none",
        "HRANDFIELD h 5 WITHVALUES",
        "HGET h none",
        "ZADD z 1.5 a",
        "ZSCORE z a",
        "ZSCORE z none",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZPOPMIN z",
        "SADD s x",
        "SMEMBERS s",
        "SMEMBERS none",
        "SPOP none 1",
        "GET none",
        "LPOP none 3",
        "LPOS none x",
        "SET a 1",
        "INCRBYFLOAT a 0.5",
        "GEOADD g 1 2 m",
        "GEOPOS g m none",
        "EVAL return{double=3.5} 1 a",
        "EVAL return{1,false,'x'} 1 a",
        "HELLO 4",
        "GET h",
        "MGET a none a",
    ]
    .iter()
    .map(|line| line.split(' ').collect())
    .collect()
}

#[test]
fn replies_are_those_of_the_server_in_the_clients_version() {
    let (redis, beside) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(&[redis.line()], &[]);
    for version in ["3", "2"] {
        let (mut through, mut direct) = (proxy.client(), beside.client());
        hello(&mut through, version);
        hello(&mut direct, version);
        for words in typed() {
            let expected = ask(&mut direct, &words);
            let got = ask(&mut through, &words);
            assert!(got == expected, "{words:?}: {} is not {}", show(&got), show(&expected));
        }
        redis.client().exchange(&command(&["FLUSHALL"]), OK);
        beside.client().exchange(&command(&["FLUSHALL"]), OK);
    }
}

#[test]
fn a_map_a_double_a_set_and_a_null_are_what_they_are() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let mut client = proxy.client();
    hello(&mut client, "3");
    ask(&mut client, &["HSET", "h", "f", "v"]);
    assert_eq!(ask(&mut client, &["HGETALL", "h"]), b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    ask(&mut client, &["ZADD", "z", "1.5", "m"]);
    assert_eq!(ask(&mut client, &["ZSCORE", "z", "m"]), b",1.5\r\n");
    ask(&mut client, &["SADD", "s", "m"]);
    assert_eq!(ask(&mut client, &["SMEMBERS", "s"]), b"~1\r\n$1\r\nm\r\n");
    assert_eq!(ask(&mut client, &["GET", "none"]), b"_\r\n");
    let version = redis.client().call(&["INFO", "server"]);
    let version = format!("{version:?}");
    let version = version.split("redis_version:").nth(1).expect("it is told");
    let version: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let said = ask(&mut client, &["HELLO", "3"]);
    assert!(String::from_utf8_lossy(&said).contains(&version), "{} {version}", show(&said));
}

#[test]
fn a_gather_over_two_servers_is_in_the_clients_version() {
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::start(&[servers[0].named("a"), servers[1].named("b")], &[]);
    let names: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
    let mut three = proxy.client();
    let mut two = proxy.client();
    hello(&mut three, "3");
    for name in names.iter().step_by(2) {
        three.exchange(&command(&["SET", name, name]), OK);
    }
    let get: Vec<&str> = std::iter::once("MGET").chain(names.iter().map(String::as_str)).collect();
    for (client, null) in [(&mut three, "_\r\n"), (&mut two, "$-1\r\n")] {
        let element = |(number, name): (usize, &String)| match number % 2 {
            0 => format!("${}\r\n{name}\r\n", name.len()),
            _ => null.to_owned(),
        };
        let values: String = names.iter().enumerate().map(element).collect();
        client.exchange(&command(&get), format!("*20\r\n{values}").as_bytes());
    }
    let both: Vec<usize> = servers.iter().map(keys_of).collect();
    assert!(both.iter().all(|&keys| keys > 0), "both servers have some: {both:?}");
    let delete: Vec<&str> =
        std::iter::once("DEL").chain(names.iter().map(String::as_str)).collect();
    three.exchange(&command(&delete), b":10\r\n");
}

fn keys_of(server: &Redis) -> usize {
    let size = ask(&mut server.client(), &["DBSIZE"]);
    String::from_utf8_lossy(&size[1..size.len() - 2]).parse().expect("a number")
}

#[test]
fn versions_change_where_the_client_says_so_in_one_write() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let mut client = proxy.client();
    let get = command(&["GET", "none"]);
    let switch = |version| command(&["HELLO", version]);
    let set = command(&["HSET", "h", "f", "v"]);
    let all = command(&["HGETALL", "h"]);
    let parts = [
        &set,
        &get,
        &switch("3"),
        &get,
        &all,
        &switch("3"),
        &get,
        &switch("2"),
        &get,
        &all,
        &switch("3"),
        &get,
        &command(&["PING"]),
    ];
    client.send(&parts.map(|part| &part[..]).concat());
    let map = &b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"[..];
    let array = &b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"[..];
    let expected: [&[u8]; 13] = [
        b":1\r\n",
        b"$-1\r\n",
        b"3",
        b"_\r\n",
        map,
        b"3",
        b"_\r\n",
        b"2",
        b"$-1\r\n",
        array,
        b"3",
        b"_\r\n",
        b"+PONG\r\n",
    ];
    for expected in expected {
        let got = reply(&mut client);
        match expected {
            b"2" => assert_agrees(&got, "2"),
            b"3" => assert_agrees(&got, "3"),
            _ => assert_eq!(show(&got), show(expected)),
        }
    }
}

#[test]
fn pipelines_of_both_versions_share_servers_but_no_connections() {
    let servers = [Redis::start(), Redis::start()];
    let lines = [servers[0].named("a"), servers[1].named("b")];
    let proxy = Proxy::start(&lines, &["server_connections: 2"]);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let proxy = &proxy;
            scope.spawn(move || converse(&mut proxy.client(), number));
        }
    });
}

/// Pipelines of some thousand requests of one client, each reply known beforehand.
fn converse(client: &mut Client, number: usize) {
    let is_three = number.is_multiple_of(2);
    if is_three {
        hello(client, "3");
    }
    let null = if is_three { "_\r\n" } else { "$-1\r\n" };
    let head = if is_three { "%1" } else { "*2" };
    for round in 0..10 {
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        for place in 0..300 {
            let key = format!("c{number}:{round}:{place}");
            let value = "v".repeat(place);
            let absent = format!("{key}:none");
            requests.extend(command(&["HSET", &key, "f", &value]));
            requests.extend(command(&["HGETALL", &key]));
            requests.extend(command(&["GET", &absent]));
            requests.extend(command(&["MGET", &absent, &format!("{key}:other")]));
            let map = format!(":1\r\n{head}\r\n$1\r\nf\r\n${place}\r\n{value}\r\n");
            replies.extend(format!("{map}{null}*2\r\n{null}{null}").into_bytes());
        }
        client.send(&requests);
        client.expect(&replies);
    }
}

#[test]
fn no_connection_is_opened_for_resp3_before_a_client_wants_it() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &["preconnect: true"]);
    let connections = || {
        let list = ask(&mut redis.client(), &["CLIENT", "LIST"]);
        String::from_utf8_lossy(&list).matches("id=").count() - 1
    };
    let mut client = proxy.client();
    client.exchange(&command(&["SET", "a", "1"]), OK);
    hello(&mut client, "2");
    assert_eq!(connections(), 1);
    hello(&mut client, "3");
    client.exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
    assert_eq!(connections(), 2);
    hello(&mut client, "2");
    client.exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
    assert_eq!(connections(), 2);
    assert!(proxy.log().contains("as many more once a client speaks RESP3"), "{}", proxy.log());
}

/// A server that knows what Redis 5 knows.
fn old_server() -> FakeServer {
    FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            match &request[0].to_ascii_uppercase()[..] {
                b"HELLO" => connection.send(UNKNOWN),
                b"GET" => connection.send(b"$-1\r\n"),
                _ => connection.send(OK),
            }
        }
    })
}

#[test]
fn servers_without_hello_serve_resp2_and_say_so() {
    let server = old_server();
    let ejecting = ["auto_eject_hosts: true", "server_failure_limit: 1", "timeout: 20000"];
    let proxy = Proxy::start(&[server.line()], &ejecting);
    let mut client = proxy.client();
    for _ in 0..5 {
        client.exchange(&command(&["HELLO", "3"]), NO_PROTO);
        client.exchange(&command(&["GET", "a"]), b"$-1\r\n");
    }
    assert_eq!(server.accepted(), 2, "it was asked once");
    wait_until("the log says why", || proxy.log().contains("no RESP3: -ERR unknown command"));
    assert!(!proxy.log().contains("eject"), "{}", proxy.log());
    let asked = [&command(&["HELLO", "3"])[..], &command(&["GET", "a"]).repeat(5)].concat();
    assert!(server.received() == asked, "{}", show(&server.received()));
}

#[test]
fn a_server_that_is_upgraded_is_asked_again() {
    let server = FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            match (&request[0][..], connection.number) {
                (b"HELLO", 0) => connection.send(UNKNOWN),
                (b"HELLO", _) => connection.send(b"%1\r\n$5\r\nproto\r\n:3\r\n"),
                _ => connection.send(OK),
            }
        }
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.exchange(&command(&["HELLO", "3"]), NO_PROTO);
    wait_until("it is asked again", || {
        let said = ask(&mut client, &["HELLO", "3"]);
        assert!(said == NO_PROTO || said[0] == b'%', "{}", show(&said));
        said[0] == b'%'
    });
    assert_eq!(server.accepted(), 2, "it was asked once in all that time");
}

#[test]
fn a_greeting_that_fails_is_told_in_its_words_and_nobody_waits_for_ever() {
    let endings: [(&'static [u8], &[u8]); 4] = [
        (b"%1\r\n$5\r\npro", b"-ERR unknown\r\n"),
        (b"", b"-ERR unknown\r\n"),
        (b"*2\r\n$5\r\nproto\r\n:2\r\n", b"-ERR Invalid argument\r\n"),
        (b"-LOADING wait\r\n", b"-LOADING wait\r\n"),
    ];
    for (said, expected) in endings {
        let server = FakeServer::start(move |connection| {
            while let Some(request) = connection.request() {
                if request[0] == b"HELLO" {
                    return connection.send(said);
                }
                connection.send(OK);
            }
        });
        let proxy = Proxy::start(&[server.line()], &[]);
        let mut client = proxy.client();
        client.exchange(&command(&["HELLO", "3"]), expected);
        client.exchange(&command(&["SET", "a", "1"]), OK);
    }
    let silent = FakeServer::start(|connection| connection.drain());
    let proxy = Proxy::start(&[silent.line()], &["timeout: 300"]);
    let mut client = proxy.client();
    client.exchange(&command(&["HELLO", "3"]), b"-ERR Connection timed out\r\n");
    client.exchange(&command(&["PING"]), b"+PONG\r\n");
}

#[test]
fn a_password_is_said_before_the_version_and_a_database_after() {
    let redis = Redis::start_with(&["--requirepass", "a-password"]);
    let proxy = Proxy::start(&[redis.line()], &["redis_auth: a-password", "redis_db: 3"]);
    let mut client = proxy.client();
    client.exchange(&command(&["AUTH", "a-password"]), OK);
    hello(&mut client, "3");
    client.exchange(&command(&["SET", "a", "1"]), OK);
    let mut direct = redis.client();
    direct.exchange(&command(&["AUTH", "a-password"]), OK);
    direct.exchange(&command(&["SELECT", "3"]), OK);
    direct.exchange(&command(&["EXISTS", "a"]), b":1\r\n");
}

#[test]
fn attributes_go_with_their_replies_and_pushes_nowhere() {
    let server = FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            match &request[0].to_ascii_uppercase()[..] {
                b"HELLO" => connection.send(b"%1\r\n$5\r\nproto\r\n:3\r\n"),
                b"PING" => connection.send(b"+PONG\r\n>1\r\n+x\r\n"),
                _ => connection
                    .send(b">2\r\n+a\r\n*1\r\n_\r\n|1\r\n+ttl\r\n:1\r\n#t\r\n>1\r\n+b\r\n"),
            }
        }
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    hello(&mut client, "3");
    for _ in 0..3 {
        client.exchange(&command(&["GET", "a"]), b"|1\r\n+ttl\r\n:1\r\n#t\r\n");
    }
    client.exchange(&command(&["PING"]), b"+PONG\r\n");
}
