//! What the proxy answers by itself: in Redis's own words, and without losing the connection.

mod support;

use support::client::{Client, command};
use support::fake::FakeServer;
use support::proxy::Proxy;
use support::redis::Redis;
use support::show;

/// A proxy before two servers, and one of the servers to compare with.
fn beside_redis() -> (Vec<Redis>, Proxy) {
    let servers = vec![Redis::start(), Redis::start()];
    let proxy = Proxy::start(&[servers[0].line(), servers[1].line()], &[]);
    (servers, proxy)
}

/// Sends the same to both and expects the same line back, and both still open.
fn same_line(redis: &mut Client, proxy: &mut Client, request: &[u8]) {
    redis.send(request);
    proxy.send(request);
    let expected = redis.try_line().expect("redis answers");
    let got = proxy.try_line().unwrap_or_else(|error| panic!("{}: {error}", show(request)));
    assert!(got == expected, "{}: {}, redis says {}", show(request), show(&got), show(&expected));
    redis.expect_in_step("still open");
    proxy.expect_in_step("still open");
}

#[test]
fn ping_is_answered_without_a_server() {
    let server = FakeServer::answering(b"$-1\r\n");
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.exchange(&command(&["PING"]), b"+PONG\r\n");
    client.exchange(&command(&["ping"]), b"+PONG\r\n");
    client.exchange(&command(&["PiNg", "me\r\n\0"]), b"$5\r\nme\r\n\0\r\n");
    client.exchange(&command(&["PING", ""]), b"$0\r\n\r\n");
    assert_eq!(server.accepted(), 0);
}

#[test]
fn quit_is_answered_after_earlier_replies_and_ends_the_connection() {
    let (_servers, proxy) = beside_redis();
    let mut client = proxy.client();
    let mut requests = command(&["SET", "a", "1"]);
    requests.extend(command(&["GET", "a"]));
    requests.extend(command(&["QUIT"]));
    requests.extend(command(&["SET", "a", "after the end"]));
    client.exchange(&requests, b"+OK\r\n$1\r\n1\r\n+OK\r\n");
    client.expect_end();
    proxy.client().exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
    // By itself too, and inline.
    for quit in [&command(&["quit"])[..], b"QUIT\r\n"] {
        let mut client = proxy.client();
        client.exchange(quit, b"+OK\r\n");
        client.expect_end();
    }
}

#[test]
fn unknown_commands_are_refused_in_the_words_of_redis() {
    let (servers, proxy) = beside_redis();
    let (mut redis, mut client) = (servers[0].client(), proxy.client());
    let (long, longer) = ("x".repeat(100), "y".repeat(500));
    let requests: [&[&str]; 14] = [
        &["NOSUCH"],
        &["nosuch", "a"],
        &["NoSuch", "a", "b", "c"],
        &["NOSUCH", ""],
        &["", "a"],
        &[""],
        &["NOSUCH", "with space", "and\r\nnewline", "tab\t\0nul"],
        &["NO\r\nSUCH", "a"],
        &["NOSUCH", &long, &long, &long],
        &["NOSUCH", &longer],
        &[&long, &long],
        &[&longer, "a"],
        &["NOSUCH", "%s%n", "'quoted'", "\"double\""],
        &["NOSUCH", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"],
    ];
    for request in requests {
        same_line(&mut redis, &mut client, &command(request));
    }
    let many: Vec<String> = (0..200).map(|index| format!("argument{index}")).collect();
    same_line(&mut redis, &mut client, &command(&many));
    let binary: Vec<&[u8]> = vec![b"NOSUCH", b"\xff\xfe\x80", b"\x01\x7f"];
    same_line(&mut redis, &mut client, &command(&binary));
}

#[test]
fn wrong_arity_is_refused_in_the_words_of_redis() {
    let (servers, proxy) = beside_redis();
    let (mut redis, mut client) = (servers[0].client(), proxy.client());
    let requests: [&[&str]; 40] = [
        &["GET"],
        &["GET", "a", "b"],
        &["get"],
        &["SET"],
        &["SET", "a"],
        &["MGET"],
        &["MSET"],
        &["MSET", "a"],
        &["MSET", "a", "1", "b"],
        &["mSeT", "a", "1", "b"],
        &["DEL"],
        &["UNLINK"],
        &["TOUCH"],
        &["EXISTS"],
        &["PING", "a", "b"],
        &["INCR"],
        &["INCR", "a", "b"],
        &["EXPIRE", "a"],
        &["TTL"],
        &["TTL", "a", "b"],
        &["SETEX", "a", "1"],
        &["LPUSH", "a"],
        &["LRANGE", "a", "0"],
        &["LINSERT", "a", "BEFORE", "x"],
        &["HSET", "a", "f"],
        &["HGET", "a"],
        &["HGETALL"],
        &["HMGET", "a"],
        &["SADD", "a"],
        &["SMEMBERS", "a", "b"],
        &["SMOVE", "a", "b"],
        &["ZADD", "a", "1"],
        &["ZRANGE", "a", "0"],
        &["ZSCORE", "a"],
        &["PFADD"],
        &["GEOADD", "a"],
        &["RESTORE", "a", "0"],
        &["EVAL", "return 1"],
        &["RPOPLPUSH", "a"],
        &["GETRANGE", "a", "0"],
    ];
    for request in requests {
        same_line(&mut redis, &mut client, &command(request));
    }
}

#[test]
fn errors_of_the_proxy_keep_their_place_among_replies() {
    let (_servers, proxy) = beside_redis();
    let mut client = proxy.client();
    let mut requests = command(&["SET", "a", "1"]);
    requests.extend(command(&["NOSUCH"]));
    requests.extend(command(&["GET", "a"]));
    requests.extend(command(&["GET"]));
    requests.extend(command(&["GET", "a"]));
    client.exchange(
        &requests,
        b"+OK\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n$1\r\n1\r\n\
        -ERR wrong number of arguments for 'get' command\r\n$1\r\n1\r\n",
    );
}

#[test]
fn errors_of_a_server_pass_unchanged() {
    let (servers, proxy) = beside_redis();
    let mut client = proxy.client();
    let mut both: Vec<Client> = servers.iter().map(Redis::client).collect();
    for direct in &mut both {
        direct.call(&["SET", "text", "a"]);
    }
    let requests: [&[&str]; 5] = [
        &["INCR", "text"],
        &["LPUSH", "text", "x"],
        &["EXPIRE", "text", "soon"],
        &["SETEX", "text", "-1", "x"],
        &["EVAL", "return redis.error_reply('MY own')", "1", "text"],
    ];
    for request in requests {
        same_line(&mut both[0], &mut client, &command(request));
    }
}

#[test]
fn inline_requests_are_understood_as_redis_does() {
    let (servers, proxy) = beside_redis();
    let (mut redis, mut client) = (servers[0].client(), proxy.client());
    client.exchange(b"PING\r\n", b"+PONG\r\n");
    client.exchange(b"  ping   \r\n", b"+PONG\r\n");
    client.exchange(b"SET a \"b c\"\r\n", b"+OK\r\n");
    client.exchange(b"GET a\n", b"$3\r\nb c\r\n");
    client.exchange(b"get\ta\r\n", b"$3\r\nb c\r\n");
    for words in [
        &b"PING \"a\\x41\\n\\t\\\\\\\"\""[..],
        b"PING 'it''s'",
        b"PING 'it\\'s \\n'",
        b"PING \"\\xzz\"",
        b"PING a\"b\"",
        b"PING \"\"",
        b"PING ''",
        b"NOSUCH 'a b' c",
        b"GET",
        b"PING \xff\x80",
    ] {
        let request = [words, b"\r\n"].concat();
        redis.send(&request);
        // The two that redis calls unbalanced end the connection: they belong to bad input.
        let expected = redis.try_line().expect("redis answers");
        if expected.starts_with(b"-ERR Protocol error") {
            redis = servers[0].client();
            continue;
        }
        client.send(&request);
        let got = client.try_line().expect("the proxy answers");
        assert!(got == expected, "{}: {}, redis: {}", show(words), show(&got), show(&expected));
        if let Some(digits) = expected.strip_prefix(b"$") {
            let digits = std::str::from_utf8(digits).expect("digits").trim_end();
            for _ in 0..digits.parse::<usize>().expect("a length") + 2 {
                redis.expect_same_byte_as(&mut client);
            }
        }
    }
    client.expect_in_step("still open");
}

#[test]
fn blank_lines_and_empty_requests_are_passed_over() {
    let (_servers, proxy) = beside_redis();
    let mut client = proxy.client();
    for nothing in [&b"\r\n"[..], b"\n", b"   \r\n", b"*0\r\n", b"*-1\r\n", b"*-10\r\n"] {
        client.send(nothing);
        client.expect_in_step("after nothing");
    }
    client.exchange(b"\r\n\r\n*0\r\nPING\r\n\n*-1\r\n*1\r\n$4\r\nPING\r\n", b"+PONG\r\n+PONG\r\n");
}

#[test]
fn command_names_are_understood_in_any_case() {
    let (_servers, proxy) = beside_redis();
    let mut client = proxy.client();
    client.exchange(&command(&["sEt", "a", "1"]), b"+OK\r\n");
    client.exchange(&command(&["gEt", "a"]), b"$1\r\n1\r\n");
    client.exchange(&command(&["mgEt", "a", "A"]), b"*2\r\n$1\r\n1\r\n$-1\r\n");
}

#[test]
fn keys_and_values_may_be_any_bytes() {
    let (_servers, proxy) = beside_redis();
    let mut client = proxy.client();
    let every: Vec<u8> = (0..=255).collect();
    let long = vec![b'k'; 20_000];
    for key in [&b""[..], b"\r\n", b"$3\r\nfoo\r\n", b"*1\r\n", b"\0\0", &every, &long] {
        client.exchange(&command(&[b"SET", key, key]), b"+OK\r\n");
        let expected = [format!("${}\r\n", key.len()).as_bytes(), key, b"\r\n"].concat();
        client.exchange(&command(&[b"GET", key]), &expected);
        client.exchange(&command(&[b"DEL", key, b"another"]), b":1\r\n");
    }
}
