//! What is about all keys of a pool: SCAN, KEYS, DBSIZE, RANDOMKEY, FLUSHALL.

mod support;

use std::collections::BTreeSet;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{pool, wait_until};

/// What the table of commands denies unless a pool allows it.
const ALLOWED: &str = "commands: {allow: [keys, flushall, flushdb]}";

/// Servers under names of their own, and a proxy in front of them.
struct Pool {
    servers: Vec<Redis>,
    proxy: Proxy,
}

impl Pool {
    fn start(count: usize, lines: &[&str]) -> Self {
        let servers: Vec<Redis> = (0..count).map(|_| Redis::start()).collect();
        let named: Vec<String> =
            servers.iter().zip(1..).map(|(server, n)| server.named(&format!("s{n}"))).collect();
        // A hash that spreads keys which differ in their last digits only.
        let lines = [&["hash: md5", "distribution: modula", ALLOWED], lines].concat();
        let proxy = Proxy::start(&named, &lines);
        Self { servers, proxy }
    }

    /// Sets as many keys, and says which they are.
    fn fill(&self, count: usize) -> BTreeSet<String> {
        let mut client = self.proxy.client();
        let keys: BTreeSet<String> = (0..count).map(|number| format!("key:{number}")).collect();
        for some in keys.iter().collect::<Vec<_>>().chunks(1000) {
            let words = some.iter().flat_map(|key| [key.as_str(), "value"]);
            let mset: Vec<&str> = std::iter::once("MSET").chain(words).collect();
            assert_eq!(client.call(&mset), Reply::status("OK"));
        }
        keys
    }

    /// The keys of one server, asked past the proxy.
    fn keys_on(&self, number: usize) -> BTreeSet<String> {
        strings(self.servers[number].client().call(&["KEYS", "*"])).into_iter().collect()
    }
}

fn strings(reply: Reply) -> Vec<String> {
    let Reply::Array(items) = reply else { panic!("not an array: {reply:?}") };
    items
        .into_iter()
        .map(|item| {
            let Reply::Bulk(bytes) = item else { panic!("not a string: {item:?}") };
            String::from_utf8(bytes).expect("text")
        })
        .collect()
}

/// One call of SCAN: the next cursor and the keys, or the error's text.
fn scan(
    client: &mut Client,
    cursor: &str,
    options: &[&str],
) -> Result<(String, Vec<String>), String> {
    let request: Vec<&str> = ["SCAN", cursor].iter().chain(options).copied().collect();
    let reply = client.call(&request);
    let Reply::Array(items) = reply else { return Err(reply.error_text()) };
    let [Reply::Bulk(cursor), keys] = <[Reply; 2]>::try_from(items).expect("two") else {
        panic!("no cursor")
    };
    Ok((String::from_utf8(cursor).expect("digits"), strings(keys)))
}

/// A whole scan: which keys it saw, and its cursors.
fn scan_all(client: &mut Client, options: &[&str]) -> (BTreeSet<String>, Vec<u64>) {
    let (mut seen, mut cursors) = (BTreeSet::new(), vec![]);
    let mut cursor = "0".to_owned();
    loop {
        let (next, keys) = scan(client, &cursor, options).expect("all servers are up");
        seen.extend(keys);
        if next == "0" {
            return (seen, cursors);
        }
        cursors.push(next.parse().expect("a number"));
        cursor = next;
    }
}

#[test]
fn what_is_about_all_keys_is_about_those_of_every_server() {
    for count in [1, 2, 5] {
        let pool = Pool::start(count, &[]);
        let mut client = pool.proxy.client();
        assert_eq!(client.call(&["RANDOMKEY"]), Reply::Null);
        assert_eq!(client.call(&["KEYS", "*"]), Reply::Array(vec![]));
        let keys = pool.fill(300);
        assert!((0..count).all(|number| !pool.keys_on(number).is_empty()));
        assert_eq!(client.call(&["DBSIZE"]), Reply::Integer(300));
        let all = strings(client.call(&["KEYS", "*"]));
        assert_eq!(all.len(), 300);
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), keys);
        assert_eq!(strings(client.call(&["KEYS", "key:1[0-4]"])).len(), 5);
        assert_eq!(client.call(&["FLUSHDB"]), Reply::status("OK"));
        assert_eq!(client.call(&["DBSIZE"]), Reply::Integer(0));
        pool.fill(10);
        assert_eq!(client.call(&["FLUSHALL", "ASYNC"]), Reply::status("OK"));
        assert!((0..count).all(|number| pool.keys_on(number).is_empty()));
        let wrong = client.call(&["FLUSHALL", "LATER"]);
        assert_eq!(wrong, pool.servers[0].client().call(&["FLUSHALL", "LATER"]));
    }
}

#[test]
fn a_random_key_is_one_of_any_server_that_has_some() {
    let pool = Pool::start(5, &[]);
    let mut client = pool.proxy.client();
    pool.fill(100);
    let mut homes: BTreeSet<usize> = (0..5).collect();
    let keys: Vec<BTreeSet<String>> = (0..5).map(|number| pool.keys_on(number)).collect();
    wait_until("each server has been chosen", || {
        let Reply::Bulk(key) = client.call(&["RANDOMKEY"]) else { panic!("there are keys") };
        let key = String::from_utf8(key).expect("text");
        homes.retain(|&number| !keys[number].contains(&key));
        homes.is_empty()
    });
    client.call(&["FLUSHALL"]);
    client.call(&["SET", "only", "x"]);
    for _ in 0..20 {
        assert_eq!(client.call(&["RANDOMKEY"]), Reply::bulk("only"));
    }
}

#[test]
fn what_is_about_all_keys_keeps_its_place_among_others() {
    let pool = Pool::start(3, &[]);
    let mut client = pool.proxy.client();
    let mut requests = vec![];
    for number in 0..50 {
        requests.extend(command(&["SET", &format!("k{number}"), "x"]));
        requests.extend(command(&["DBSIZE"]));
    }
    client.send(&requests);
    for number in 1..=50 {
        assert_eq!(client.reply(), Reply::status("OK"));
        assert_eq!(client.reply(), Reply::Integer(number));
    }
}

#[test]
fn a_scan_sees_every_key_of_every_server_and_ends() {
    for count in [1, 2, 5] {
        let pool = Pool::start(count, &[]);
        let mut client = pool.proxy.client();
        let keys = pool.fill(10_000);
        client.call(&["RPUSH", "a list", "x"]);
        let (seen, cursors) = scan_all(&mut client, &["COUNT", "97", "TYPE", "string"]);
        assert_eq!(seen, keys);
        assert!(cursors.len() > 80, "{} calls", cursors.len());
        // 10,000 keys on one server are a table of 2^14.
        assert!(cursors.iter().all(|&cursor| cursor < (1 << 15) * count as u64), "{cursors:?}");
        let (lists, _) = scan_all(&mut client, &["TYPE", "list"]);
        assert_eq!(lists.into_iter().collect::<Vec<_>>(), ["a list"]);
        let (matching, _) = scan_all(&mut client, &["MATCH", "key:99[0-9]", "COUNT", "1000"]);
        assert_eq!(matching.len(), 10);
        assert_eq!(scan_all(&mut client, &[]).0.len(), 10_001);
    }
}

#[test]
fn what_is_wrong_with_a_scan_is_said_as_redis_says_it() {
    let pool = Pool::start(3, &[]);
    let (mut client, mut direct) = (pool.proxy.client(), pool.servers[0].client());
    let wrong: [&[&str]; 6] = [
        &["SCAN"],
        &["SCAN", "x"],
        &["SCAN", "1x"],
        &["SCAN", "0", "COUNT", "0"],
        &["SCAN", "0", "COUNT"],
        &["SCAN", "0", "MATCHES", "*"],
    ];
    for request in wrong {
        assert_eq!(client.call(request), direct.call(request), "{request:?}");
    }
    client.expect_in_step("still");
}

#[test]
fn a_scan_of_one_key_is_the_servers_own() {
    let pool = Pool::start(3, &[]);
    let mut client = pool.proxy.client();
    for number in 0..2000 {
        client.call(&["HSET", "h", &format!("f{number}"), "v"]);
    }
    let (mut cursor, mut fields) = ("0".to_owned(), BTreeSet::new());
    loop {
        let Reply::Array(items) = client.call(&["HSCAN", "h", &cursor, "COUNT", "100"]) else {
            panic!("no scan")
        };
        let [Reply::Bulk(next), pairs] = <[Reply; 2]>::try_from(items).expect("two") else {
            panic!("no cursor")
        };
        fields.extend(strings(pairs).into_iter().step_by(2));
        cursor = String::from_utf8(next).expect("digits");
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(fields.len(), 2000);
}

#[test]
fn a_scan_goes_on_with_its_cursor_after_a_server_was_restarted() {
    let mut pool = Pool::start(3, &[]);
    let mut client = pool.proxy.client();
    let keys = pool.fill(10_000);
    let of_second = pool.keys_on(1);
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    let (mut failures, mut calls) = (0, 0);
    loop {
        match scan(&mut client, &cursor, &["COUNT", "200"]) {
            Ok((next, keys)) => {
                seen.extend(keys);
                calls += 1;
                if next == "0" {
                    break;
                }
                cursor = next;
            }
            Err(text) => {
                assert!(text.starts_with("ERR "), "{text}");
                if failures == 0 {
                    pool.servers[1].restart();
                }
                failures += 1;
            }
        }
        if calls == 5 && failures == 0 {
            pool.servers[1].kill();
        }
    }
    assert!(failures > 0, "the second server was not asked while it was away");
    let lost: BTreeSet<String> = keys.difference(&seen).cloned().collect();
    assert!(lost.is_subset(&of_second), "keys of servers that stayed were not seen");
}

#[test]
fn a_scan_passes_over_a_server_that_is_ejected() {
    let lines =
        ["auto_eject_hosts: true", "server_failure_limit: 1", "server_retry_timeout: 600000"];
    let mut pool = Pool::start(3, &lines);
    let mut client = pool.proxy.client();
    let keys = pool.fill(10_000);
    let of_second = pool.keys_on(1);
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    // The scan is within the second server when that one goes.
    while !seen.iter().any(|key| of_second.contains(key)) {
        let (next, keys) = scan(&mut client, &cursor, &["COUNT", "100"]).expect("all are up");
        (cursor, seen) = (next, &seen | &keys.into_iter().collect());
    }
    pool.servers[1].kill();
    // Without all servers there is no other answer than an error.
    wait_until("the server is left out", || {
        client.call(&["DBSIZE"]).error_text().contains("ejected")
    });
    let text = client.call(&["DBSIZE"]).error_text();
    assert_eq!(text, "ERR 'dbsize' needs every server of the pool, and s2 is ejected");
    assert!(client.call(&["KEYS", "*"]).error_text().contains("s2 is ejected"));
    assert!(client.call(&["FLUSHALL"]).error_text().contains("s2 is ejected"));
    while cursor != "0" {
        let (next, keys) = scan(&mut client, &cursor, &[]).expect("the others are up");
        seen.extend(keys);
        cursor = next;
    }
    let lost: BTreeSet<String> = keys.difference(&seen).cloned().collect();
    assert!(lost.is_subset(&of_second) && !lost.is_empty());
    let Reply::Bulk(key) = client.call(&["RANDOMKEY"]) else { panic!("others have keys") };
    assert!(!of_second.contains(&String::from_utf8(key).expect("text")));
    // From the beginning it is no different, also with the last one or the first one away.
    let (again, _) = scan_all(&mut client, &["COUNT", "500"]);
    assert_eq!(again, keys.difference(&of_second).cloned().collect());
}

#[test]
fn an_answer_without_a_servers_share_is_an_error() {
    let mut pool = Pool::start(3, &[]);
    let mut client = pool.proxy.client();
    pool.fill(100);
    pool.servers[2].kill();
    wait_until("the connection is seen to have ended", || {
        client.call(&["DBSIZE"]) == Reply::error("ERR Connection refused")
    });
    for request in [&["KEYS", "*"][..], &["FLUSHALL"], &["RANDOMKEY"], &["DBSIZE"]] {
        assert_eq!(client.call(request), Reply::error("ERR Connection refused"), "{request:?}");
    }
    pool.servers[2].restart();
    wait_until("the server is used again", || client.call(&["DBSIZE"]) == Reply::Integer(0));
}

#[test]
fn a_servers_own_refusal_is_the_answer() {
    let fake = FakeServer::answering(b"-NOPERM this user may not\r\n");
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.named("s1"), fake.named("s2")], &[ALLOWED]);
    let mut client = proxy.client();
    for request in [&["DBSIZE"][..], &["KEYS", "*"], &["FLUSHALL"], &["RANDOMKEY"]] {
        assert_eq!(client.call(request), Reply::error("NOPERM this user may not"));
    }
    // Nor is a reply of another kind taken for a share.
    let fake = FakeServer::answering(b"+what\r\n");
    let proxy = Proxy::start(&[redis.named("s1"), fake.named("s2")], &[ALLOWED]);
    let mut client = proxy.client();
    for request in [&["DBSIZE"][..], &["KEYS", "*"]] {
        assert_eq!(client.call(request), Reply::error("ERR Invalid argument"));
    }
    client.expect_in_step("still");
}

#[test]
fn a_pool_knows_nothing_of_the_keys_of_another() {
    let servers = [Redis::start(), Redis::start()];
    let ports = [support::process::Port::free(), support::process::Port::free()];
    let numbers = [ports[0].number(), ports[1].number()];
    let text: String = ["alpha", "beta"]
        .iter()
        .zip(&servers)
        .zip(numbers)
        .map(|((name, server), port)| {
            pool(name, &format!("127.0.0.1:{port}"), &[server.line()], &[ALLOWED])
        })
        .collect();
    let start = ports.into_iter().fold(Start::with_config(&text), Start::holding);
    let _proxy = start.start();
    let mut clients = numbers.map(Client::tcp);
    clients[0].call(&["SET", "a", "x"]);
    clients[1].call(&["SET", "b", "x"]);
    assert_eq!(clients[0].call(&["FLUSHALL"]), Reply::status("OK"));
    assert_eq!(clients[1].call(&["KEYS", "*"]), Reply::Array(vec![Reply::bulk("b")]));
}
