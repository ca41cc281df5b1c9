//! MULTI, EXEC, DISCARD, WATCH and UNWATCH through the proxy.

mod support;

use support::client::{Client, Reply, command};
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::wait_until;

/// Inline requests, one a line.
fn lines(requests: &[&str]) -> Vec<u8> {
    requests.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

/// All that is answered to `requests` and a QUIT behind them.
fn answers(mut client: Client, requests: &[&str]) -> String {
    client.send(&[lines(requests), lines(&["QUIT"])].concat());
    client.read_to_end().0.escape_ascii().to_string().replace("\\r\\n", "\n")
}

/// A proxy over two servers, and keys of each.
fn over_two(more: &[&str]) -> ([Redis; 2], Proxy, [Vec<String>; 2]) {
    let servers = [Redis::start(), Redis::start()];
    let named = [servers[0].named(NAMES[0]), servers[1].named(NAMES[1])];
    let proxy = Start::with_pool(&named, more).options(&["--workers", "2"]).start();
    (servers, proxy, [keys_of(OVER_TWO, 1), keys_of(OVER_TWO, 2)])
}

/// A figure of `INFO` of a server.
fn info(server: &Redis, name: &str) -> i64 {
    let Reply::Bulk(text) = server.client().call(&["INFO"]) else { panic!("a text") };
    let text = String::from_utf8(text).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect(name);
    line.trim().parse().expect("a number")
}

fn integers(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().map(|&number| Reply::Integer(number)).collect())
}

#[test]
fn every_state_of_a_transaction_answers_as_redis_does() {
    let scripts: [&[&str]; 16] = [
        &["MULTI", "SET a 1", "INCR a", "GET a", "EXEC", "GET a"],
        &["MULTI", "EXEC", "EXEC", "DISCARD"],
        &["MULTI", "SET a 5", "DISCARD", "GET a", "EXEC"],
        &["MULTI", "MULTI", "SET a 6", "MULTI", "EXEC", "GET a"],
        &["MULTI", "WATCH a", "SET a 7", "EXEC", "GET a"],
        &["MULTI", "FLY a", "SET a 8", "EXEC", "EXEC", "GET a"],
        &["MULTI", "SET a 8", "GET", "DISCARD", "GET a"],
        &["MULTI", "SET a 9", "EXEC now", "EXEC", "GET a"],
        &["MULTI now", "EXEC", "DISCARD now", "WATCH"],
        &["MULTI", "LPUSH a 1", "SET a 10", "EXEC", "GET a"],
        &["MULTI", "PING", "PING b", "ECHO c", "UNWATCH", "EXEC"],
        &["MULTI", "BLPOP l 0", "BLPOP l x", "RPUSH l 1", "BLPOP l 0", "EXEC"],
        &["WATCH a", "SET a 11", "MULTI", "SET a 12", "EXEC", "GET a", "MULTI", "EXEC"],
        &["WATCH a b", "WATCH c", "UNWATCH", "SET a 13", "MULTI", "SET a 14", "EXEC", "GET a"],
        &["WATCH a", "MULTI", "DISCARD", "SET a 15", "MULTI", "EXEC", "UNWATCH"],
        &["WATCH a", "MULTI", "NOTHING", "SET b 1", "EXEC", "MULTI", "GET b", "EXEC"],
    ];
    for script in scripts {
        let (plain, behind) = (Redis::start(), Redis::start());
        let proxy = Proxy::start(&[behind.line()], &[]);
        assert_eq!(
            answers(proxy.client(), script),
            answers(plain.client(), script),
            "{script:?}: through the proxy, and plain"
        );
    }
}

#[test]
fn a_key_elsewhere_is_told_at_once_and_nothing_is_carried_out() {
    let (servers, proxy, keys) = over_two(&[]);
    let mut client = proxy.client();
    client.call(&["MULTI"]);
    assert_eq!(client.call(&["SET", &keys[0][0], "1"]), Reply::status("QUEUED"));
    let refused = client.call(&["SET", &keys[1][0], "1"]).error_text();
    assert!(refused.starts_with("CROSSSLOT"), "{refused}");
    assert_eq!(client.call(&["SET", &keys[0][1], "1"]), Reply::status("QUEUED"));
    let aborted = client.call(&["EXEC"]).error_text();
    assert_eq!(aborted, "EXECABORT Transaction discarded because of previous errors.");
    for server in &servers {
        assert_eq!(server.client().call(&["DBSIZE"]), Reply::Integer(0));
    }
    for request in [
        vec!["MGET", &keys[0][0], &keys[1][0]],
        vec!["DBSIZE"],
        vec!["SUBSCRIBE", "c"],
        vec!["CLIENT", "ID"],
    ] {
        client.call(&["MULTI"]);
        assert!(matches!(client.call(&request), Reply::Error(_)), "{request:?}");
        assert!(client.call(&["EXEC"]).error_text().starts_with("EXECABORT"), "{request:?}");
    }
    client.expect_in_step("no reply is left over");
}

#[test]
fn each_server_has_its_transactions() {
    let (servers, proxy, keys) = over_two(&[]);
    let mut client = proxy.client();
    for (server, keys) in servers.iter().zip(&keys) {
        client.call(&["MULTI"]);
        client.call(&["SET", &keys[0], "1"]);
        client.call(&["DEL", &keys[0], &keys[1]]);
        assert_eq!(
            client.call(&["EXEC"]),
            Reply::Array(vec![Reply::status("OK"), Reply::Integer(1)])
        );
        assert_eq!(info(server, "total_error_replies"), 0);
    }
}

#[test]
fn nobody_comes_between_the_requests_of_a_transaction() {
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &[]).options(&["--workers", "2"]);
    let proxy = start.start();
    let run = lines(&["MULTI", "INCR n", "INCR n", "INCR n", "EXEC"]);
    let clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    std::thread::scope(|scope| {
        for (number, mut client) in clients.into_iter().enumerate() {
            let run = &run;
            scope.spawn(move || {
                // Whoever does not ask for all of it at once is in nobody's way.
                client.send(&run.repeat(50));
                client.send(&lines(&["INCR other"]).repeat(number));
                for _ in 0..50 {
                    (0..4).for_each(|_| drop(client.reply()));
                    let Reply::Array(got) = client.reply() else { panic!("an array") };
                    let Reply::Integer(first) = got[0] else { panic!("a number") };
                    assert_eq!(Reply::Array(got), integers(&[first, first + 1, first + 2]));
                }
            });
        }
    });
    assert_eq!(server.client().call(&["GET", "n"]), Reply::bulk("1200"));
}

#[test]
fn a_watched_key_that_changes_ends_a_transaction() {
    let (_servers, proxy, keys) = over_two(&[]);
    for key in [&keys[0][0], &keys[1][0]] {
        let (mut client, mut other) = (proxy.client(), proxy.client());
        for is_changed in [true, false, true, false] {
            assert_eq!(client.call(&["WATCH", key]), Reply::status("OK"));
            client.call(&["GET", key]);
            if is_changed {
                other.call(&["SET", key, "changed"]);
            }
            client.call(&["MULTI"]);
            client.call(&["SET", key, "mine"]);
            let expected = match is_changed {
                true => Reply::Null,
                false => Reply::Array(vec![Reply::status("OK")]),
            };
            assert_eq!(client.call(&["EXEC"]), expected);
        }
        client.expect_in_step("no reply is left over");
    }
}

#[test]
fn what_is_written_right_behind_watch_is_behind_it() {
    let (_servers, proxy, keys) = over_two(&["server_connections: 2"]);
    let key = &keys[0][0];
    let script = [
        &format!("SET {key} 0"),
        &format!("WATCH {key}"),
        &format!("SET {key} 1"),
        "MULTI",
        &format!("SET {key} 2"),
        "EXEC",
        &format!("GET {key}"),
    ];
    for _ in 0..50 {
        let got = answers(proxy.client(), &script);
        assert_eq!(got, "+OK\n+OK\n+OK\n+OK\n+QUEUED\n*-1\n$1\n1\n+OK\n");
    }
}

#[test]
fn counting_with_watch_loses_nothing() {
    let (_servers, proxy, keys) = over_two(&[]);
    let key = keys[1][0].as_str();
    proxy.client().call(&["SET", key, "0"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                let mut left = 25;
                while left > 0 {
                    client.call(&["WATCH", key]);
                    let Reply::Bulk(digits) = client.call(&["GET", key]) else { panic!("a text") };
                    let number: u64 = String::from_utf8_lossy(&digits).parse().expect("a number");
                    let next = (number + 1).to_string();
                    let all =
                        [command(&["MULTI"]), command(&["SET", key, &next]), command(&["EXEC"])];
                    client.send(&all.concat());
                    client.expect(b"+OK\r\n+QUEUED\r\n");
                    left -= u64::from(client.reply() != Reply::Null);
                }
            });
        }
    });
    assert_eq!(proxy.client().call(&["GET", key]), Reply::bulk("100"));
}

#[test]
fn keys_of_two_servers_cannot_be_watched_together() {
    let (_servers, proxy, keys) = over_two(&[]);
    let mut client = proxy.client();
    let refused = client.call(&["WATCH", &keys[0][0], &keys[1][0]]).error_text();
    assert!(refused.starts_with("CROSSSLOT"), "{refused}");
    assert_eq!(client.call(&["WATCH", &keys[0][0]]), Reply::status("OK"));
    assert_eq!(client.call(&["WATCH", &keys[0][1]]), Reply::status("OK"));
    assert!(client.call(&["WATCH", &keys[1][0]]).error_text().starts_with("CROSSSLOT"));
    client.call(&["MULTI"]);
    assert!(client.call(&["GET", &keys[1][0]]).error_text().starts_with("CROSSSLOT"));
    assert!(client.call(&["EXEC"]).error_text().starts_with("EXECABORT"));
    assert_eq!(client.call(&["WATCH", &keys[1][0]]), Reply::status("OK"));
}

#[test]
fn a_connection_is_given_back_clean_and_used_again() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut first = proxy.client();
    for end in [vec!["UNWATCH"], vec!["MULTI", "DISCARD"], vec!["MULTI", "EXEC"]] {
        first.call(&["WATCH", "a"]);
        end.iter().for_each(|word| drop(first.call(&[word])));
        let mut second = proxy.client();
        second.call(&["WATCH", "b"]);
        first.call(&["SET", "a", "1"]);
        second.call(&["MULTI"]);
        assert_eq!(second.call(&["EXEC"]), Reply::Array(vec![]), "after {end:?}");
    }
    // The shared one, the private one, and the one that asks.
    assert_eq!(info(&server, "connected_clients"), 3);
}

#[test]
fn private_connections_have_a_limit() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["private_connections: 2"]);
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients[..2] {
        assert_eq!(client.call(&["WATCH", "a"]), Reply::status("OK"));
    }
    for request in [vec!["WATCH", "a"], vec!["BLPOP", "l", "1"]] {
        let refused = clients[2].call(&request).error_text();
        assert_eq!(refused, "ERR max number of private connections reached");
    }
    assert_eq!(clients[0].call(&["UNWATCH"]), Reply::status("OK"));
    assert_eq!(clients[2].call(&["WATCH", "a"]), Reply::status("OK"));
    assert!(clients[0].call(&["WATCH", "a"]).error_text().contains("private connections"));
    drop(clients);
    wait_until("their connections are closed", || info(&server, "connected_clients") == 1);
    assert_eq!(proxy.client().call(&["WATCH", "a"]), Reply::status("OK"));
}

#[test]
fn a_transaction_whose_server_is_lost_is_not_carried_out() {
    let mut server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["timeout: 2000"]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["WATCH", "a"]), Reply::status("OK"));
    server.kill();
    server.restart();
    // The connection that clients share is found dead by this at the latest.
    wait_until("the server is back", || proxy.client().call(&["GET", "a"]) == Reply::Null);
    client.call(&["MULTI"]);
    client.call(&["SET", "a", "1"]);
    assert_eq!(client.call(&["EXEC"]), Reply::Null);
    assert_eq!(client.call(&["GET", "a"]), Reply::Null);
    client.call(&["MULTI"]);
    client.call(&["SET", "a", "1"]);
    assert_eq!(client.call(&["EXEC"]), Reply::Array(vec![Reply::status("OK")]));
}

#[test]
fn a_watch_that_failed_is_none() {
    let mut server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["timeout: 2000"]);
    server.kill();
    let mut client = proxy.client();
    assert!(matches!(client.call(&["WATCH", "a"]), Reply::Error(_)));
    server.restart();
    client.call(&["MULTI"]);
    client.call(&["SET", "a", "1"]);
    assert_eq!(client.call(&["EXEC"]), Reply::Array(vec![Reply::status("OK")]));
}

#[test]
fn exec_fails_with_its_server_and_the_client_goes_on() {
    let mut server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["timeout: 2000"]);
    let mut client = proxy.client();
    client.call(&["MULTI"]);
    client.call(&["SET", "a", "1"]);
    server.kill();
    assert!(matches!(client.call(&["EXEC"]), Reply::Error(_)));
    server.restart();
    wait_until("the server is back", || client.call(&["GET", "a"]) == Reply::Null);
    client.expect_in_step("no reply is left over");
}

#[test]
fn a_server_that_refuses_multi_desynchronises_nobody() {
    let server = Redis::start();
    server.client().call(&["ACL", "SETUSER", "default", "-multi"]);
    let proxy = Proxy::start(&[server.line()], &[]);
    let refused = "ERR the server refuses MULTI, its connection is closed";
    let mut client = proxy.client();
    client.call(&["MULTI"]);
    client.call(&["SET", "a", "1"]);
    assert_eq!(client.call(&["EXEC"]).error_text(), refused);
    client.expect_in_step("no reply is left over");
    client.call(&["MULTI"]);
    client.call(&["BLPOP", "list", "0"]);
    assert_eq!(client.call(&["EXEC"]).error_text(), refused);
    wait_until("nobody waits", || info(&server, "blocked_clients") == 0);
    assert_eq!(client.call(&["WATCH", "a"]), Reply::status("OK"));
    client.call(&["MULTI"]);
    assert_eq!(client.call(&["EXEC"]).error_text(), refused);
    // The one that asks.
    wait_until("what may still watch is closed", || info(&server, "connected_clients") == 1);
    client.expect_in_step("no reply is left over");
}

#[test]
fn a_transaction_ends_with_its_client_and_is_bounded() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.call(&["MULTI"]);
    client.call(&["SET", "a", "1"]);
    drop(client);
    let mut client = proxy.client();
    assert_eq!(client.call(&["EXEC"]).error_text(), "ERR EXEC without MULTI");
    client.call(&["MULTI"]);
    let count = (64 << 10) + 1;
    let mut writer = proxy.client();
    std::mem::swap(&mut writer, &mut client);
    let socket = writer.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            let requests = lines(&["INCR a"]).repeat(count);
            (&socket).write_all(&requests).expect("it is read");
        });
        for _ in 1..count {
            writer.expect(b"+QUEUED\r\n");
        }
        let refused = writer.reply().error_text();
        assert_eq!(refused, "ERR the transaction is too large for the proxy");
    });
    assert!(writer.call(&["EXEC"]).error_text().starts_with("EXECABORT"));
    assert_eq!(client.call(&["GET", "a"]), Reply::Null);
}

#[test]
fn large_values_go_through_a_transaction() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    let values: Vec<Vec<u8>> = (0..4).map(|seed| support::value(seed, 1 << 20)).collect();
    client.call(&["MULTI"]);
    for (number, value) in values.iter().enumerate() {
        let key = format!("k{number}");
        let queued = client.call(&[b"SET", key.as_bytes(), value]);
        assert_eq!(queued, Reply::status("QUEUED"));
        client.call(&[b"GET", key.as_bytes()]);
    }
    let Reply::Array(got) = client.call(&["EXEC"]) else { panic!("an array") };
    for (pair, value) in got.chunks(2).zip(&values) {
        assert_eq!(pair[0], Reply::status("OK"));
        assert!(pair[1] == Reply::bulk(value));
    }
}

#[test]
fn a_kept_connection_that_its_server_closes_is_no_failure() {
    let server = Redis::start();
    let lines =
        ["auto_eject_hosts: true", "server_failure_limit: 1", "server_retry_timeout: 60000"];
    let proxy = Proxy::start(&[server.line()], &lines);
    let mut client = proxy.client();
    client.call(&["WATCH", "a"]);
    client.call(&["UNWATCH"]);
    let mut direct = server.client();
    let killed = direct.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(killed, Reply::Integer(1), "only the private one is open");
    wait_until("it is closed", || info(&server, "connected_clients") == 2);
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
    assert_eq!(client.call(&["WATCH", "a"]), Reply::status("OK"));
}
