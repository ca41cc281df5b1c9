//! Servers that are killed, stopped, refused and restarted.

mod support;

use std::time::{Duration, Instant};

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::wait_until;

/// What a request may be told whose server went away while it waited.
fn is_loss(reply: &Reply) -> bool {
    let losses = ["ERR Connection reset by peer", "ERR unknown", "ERR Broken pipe"];
    losses.map(Reply::error).contains(reply)
}

const TIMED_OUT: &[u8] = b"-ERR Connection timed out\r\n";
const REFUSED: &[u8] = b"-ERR Connection refused\r\n";

/// Two servers, a proxy before them, and a key of each.
struct Pair {
    servers: Vec<Redis>,
    proxy: Proxy,
    keys: [String; 2],
}

impl Pair {
    fn start(lines: &[&str]) -> Self {
        let servers = vec![Redis::start(), Redis::start()];
        let named: Vec<String> =
            servers.iter().zip(NAMES).map(|(server, name)| server.named(name)).collect();
        let proxy = Proxy::start(&named, lines);
        let keys = [1, 2].map(|number| keys_of(OVER_TWO, number)[0].clone());
        Self { servers, proxy, keys }
    }
}

/// Repeats a request until it gets `reply`: a server that is back is used again.
fn served_again(client: &mut Client, request: &[&str], reply: &Reply) {
    wait_until("the server is used again", || client.call(request) == *reply);
}

#[test]
fn a_server_that_refuses_is_told_at_once_and_the_connection_stays() {
    let port = Port::free();
    let proxy = Proxy::start(&[format!("127.0.0.1:{}:1", port.number())], &["timeout: 20000"]);
    let mut client = proxy.client();
    let begin = Instant::now();
    for _ in 0..20 {
        client.exchange(&command(&["GET", "a"]), REFUSED);
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    client.exchange(&command(&["GET", "a"]).repeat(50), &REFUSED.repeat(50));
    client.expect_in_step("after all errors");
}

#[test]
fn a_missing_unix_socket_is_an_error_too() {
    let proxy = Proxy::start(&["/nonexistent/redis.sock:1".to_owned()], &[]);
    let mut client = proxy.client();
    client.exchange(&command(&["GET", "a"]), b"-ERR No such file or directory\r\n");
    client.expect_in_step("after the error");
}

/// twemproxy: MGET closes its client
#[test]
fn a_gather_with_a_dead_server_is_one_error_and_the_connection_stays() {
    let mut pair = Pair::start(&[]);
    let mut client = pair.proxy.client();
    let [here, there] = &pair.keys;
    assert_eq!(client.call(&["MSET", here, "1", there, "2"]), Reply::status("OK"));
    pair.servers[1].kill();
    let mut requests = command(&["MGET", here, there]);
    requests.extend(command(&["GET", here]));
    client.send(&requests);
    let first = client.reply();
    assert!(is_loss(&first) || first == Reply::error("ERR Connection refused"), "{first:?}");
    client.expect(b"$1\r\n1\r\n");
    // From now on nobody listens there.
    for request in [&["MGET", here, there][..], &["DEL", there, "x", here], &["EXISTS", there]] {
        served_again(&mut client, request, &Reply::error("ERR Connection refused"));
        client.expect_in_step("open");
    }
    let mset = client.call(&["MSET", here, "3", there, "4"]);
    assert_eq!(mset, Reply::error("ERR Connection refused"));
    assert_eq!(client.call(&["GET", here]), Reply::bulk("3"));
    pair.servers[1].restart();
    served_again(&mut client, &["SET", there, "back"], &Reply::status("OK"));
    let both = Reply::Array(vec![Reply::bulk("3"), Reply::bulk("back")]);
    assert_eq!(client.call(&["MGET", here, there]), both);
}

#[test]
fn requests_that_wait_on_a_killed_server_are_told() {
    let mut pair = Pair::start(&[]);
    let [here, there] = pair.keys.clone();
    let mut clients: Vec<Client> = (0..5).map(|_| pair.proxy.client()).collect();
    clients[0].call(&["SET", &here, "here"]);
    clients[0].call(&["SET", &there, "there"]);
    // Stopped first, so that the requests surely wait when the kill comes.
    pair.servers[0].process().stop();
    let mut requests = command(&["GET", &here]);
    requests.extend(command(&["GET", &there]));
    requests.extend(command(&["INCR", &here]));
    for client in &mut clients {
        client.send(&requests);
    }
    pair.proxy.client().exchange(&command(&["GET", &there]), b"$5\r\nthere\r\n");
    let begin = Instant::now();
    pair.servers[0].kill();
    for client in &mut clients {
        let replies = [client.reply(), client.reply(), client.reply()];
        assert!(is_loss(&replies[0]) && is_loss(&replies[2]), "{replies:?}");
        assert_eq!(replies[1], Reply::bulk("there"));
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    pair.servers[0].restart();
    for client in &mut clients {
        served_again(client, &["GET", &here], &Reply::Null);
        client.expect_in_step("nothing is left over");
    }
}

#[test]
fn a_server_killed_under_load_is_used_again_after_its_restart() {
    let mut pair = Pair::start(&[]);
    let [here, there] = pair.keys.clone();
    let mut client = pair.proxy.client();
    for round in 0..5 {
        let marker = format!("round {round}");
        served_again(&mut client, &["SET", &here, &marker], &Reply::status("OK"));
        served_again(&mut client, &["SET", &there, &marker], &Reply::status("OK"));
        let pipeline: Vec<u8> =
            [command(&["GET", &here]), command(&["GET", &there])].concat().repeat(500);
        client.send(&pipeline);
        pair.servers[0].kill();
        for _ in 0..500 {
            let reply = client.reply();
            let refused = reply == Reply::error("ERR Connection refused");
            assert!(reply == Reply::bulk(&marker) || is_loss(&reply) || refused, "{reply:?}");
            assert_eq!(client.reply(), Reply::bulk(&marker));
        }
        pair.servers[0].restart();
    }
}

/// twemproxy #404: after a timeout replies went to other requests, also of other clients.
#[test]
fn a_stopped_server_times_out_and_nothing_leaks_when_it_goes_on() {
    let pair = Pair::start(&["timeout: 400"]);
    let [here, there] = pair.keys.clone();
    let mut clients: Vec<Client> = (0..3).map(|_| pair.proxy.client()).collect();
    for round in 0..3 {
        for key in [&here, &there] {
            served_again(
                &mut clients[0],
                &["SET", key, &format!("{key} {round}")],
                &Reply::status("OK"),
            );
        }
        pair.servers[0].process().stop();
        let begin = Instant::now();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&command(&["GETSET", &here, &format!("late {number} {round}")]));
            client.send(&command(&["GET", &there]));
        }
        for client in &mut clients {
            client.expect(TIMED_OUT);
            assert_eq!(client.reply(), Reply::bulk(format!("{there} {round}")));
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(350), "the deadline fired after {took:?}");
        assert!(took < Duration::from_secs(5), "the deadline fired after {took:?}");
        pair.servers[0].process().resume();
        // Every value names what it answers: a late reply would be seen for what it is.
        for (number, client) in clients.iter_mut().enumerate() {
            let fresh = format!("fresh {number} {round}");
            served_again(client, &["SET", &fresh, &fresh], &Reply::status("OK"));
            assert_eq!(client.call(&["GET", &fresh]), Reply::bulk(&fresh));
            served_again(client, &["STRLEN", "nothing"], &Reply::Integer(0));
            client.expect_in_step("nothing is left over");
        }
    }
}

#[test]
fn the_deadline_holds_for_each_request_of_a_stopped_server() {
    let pair = Pair::start(&["timeout: 300"]);
    let mut client = pair.proxy.client();
    client.call(&["SET", &pair.keys[0], "x"]);
    pair.servers[0].process().stop();
    for _ in 0..4 {
        let begin = Instant::now();
        client.exchange(&command(&["GET", &pair.keys[0]]), TIMED_OUT);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(4), "{took:?}");
    }
}

#[test]
fn a_gather_waits_for_the_slow_part_and_then_times_out() {
    let pair = Pair::start(&["timeout: 300"]);
    let [here, there] = &pair.keys;
    let mut client = pair.proxy.client();
    client.call(&["MSET", here, "1", there, "2"]);
    pair.servers[1].process().stop();
    client.exchange(&command(&["MGET", here, there]), TIMED_OUT);
    client.exchange(&command(&["DEL", here, there]), TIMED_OUT);
    client.exchange(&command(&["GET", here]), b"$-1\r\n");
    pair.servers[1].process().resume();
    served_again(&mut client, &["EXISTS", here], &Reply::Integer(0));
    client.expect_in_step("nothing is left over");
}

#[test]
fn a_pool_without_a_timeout_waits() {
    let pair = Pair::start(&[]);
    let mut client = pair.proxy.client();
    client.call(&["SET", &pair.keys[0], "patience"]);
    pair.servers[0].process().stop();
    client.send(&command(&["GET", &pair.keys[0]]));
    assert!(!client.has_news_within(Duration::from_millis(1500)), "somebody lost patience");
    pair.servers[0].process().resume();
    client.expect(b"$8\r\npatience\r\n");
}

#[test]
fn an_idle_server_connection_is_not_timed_out() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Proxy::start(&[server.line()], &["timeout: 200"]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.exchange(&command(&["GET", "a"]), b"$1\r\nx\r\n");
    // Several deadlines pass over a connection on which nothing waits.
    assert!(!other.has_news_within(Duration::from_millis(1100)));
    client.exchange(&command(&["GET", "a"]), b"$1\r\nx\r\n");
    assert_eq!(server.accepted(), 1, "the connection was kept");
}

#[test]
fn a_steady_server_is_not_timed_out_by_requests_that_follow_each_other() {
    // Each reply comes well within the deadline; all together take several.
    let server = FakeServer::start(|connection| {
        while connection.request().is_some() {
            connection.send_slowly(b":1\r\n", Duration::from_millis(30));
        }
    });
    let proxy = Proxy::start(&[server.line()], &["timeout: 1000"]);
    let mut client = proxy.client();
    for _ in 0..20 {
        client.exchange(&command(&["INCR", "a"]), b":1\r\n");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn a_connect_that_never_completes_times_out() {
    // A listener whose queue is full lets a connect hang.
    let port = Port::free();
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.expect("a socket");
    listener.set_reuse_address(true).expect("SO_REUSEADDR");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number()));
    listener.bind(&address.into()).expect("held for us");
    listener.listen(0).expect("listens");
    let _full: Vec<_> = (0..8)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let proxy = Proxy::start(&[format!("127.0.0.1:{}:1", port.number())], &["timeout: 300"]);
    let mut client = proxy.client();
    client.exchange(&command(&["GET", "a"]).repeat(3), &TIMED_OUT.repeat(3));
    client.expect_in_step("after the deadline");
}

/// twemproxy #433: one server that did not answer made the proxy unresponsive.
#[test]
fn a_lost_server_stops_nobody_else() {
    let mut pair = Pair::start(&["timeout: 3000"]);
    let [here, there] = pair.keys.clone();
    let (mut unlucky, mut lucky) = (pair.proxy.client(), pair.proxy.client());
    lucky.call(&["SET", &there, "x"]);
    pair.servers[0].process().stop();
    unlucky.send(&command(&["GET", &here]));
    let begin = Instant::now();
    for _ in 0..200 {
        lucky.exchange(&command(&["GET", &there]), b"$1\r\nx\r\n");
    }
    assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
    unlucky.expect(TIMED_OUT);
    pair.servers[0].kill();
    lucky.exchange(&command(&["GET", &there]), b"$1\r\nx\r\n");
}

#[test]
fn a_server_on_a_unix_socket_comes_back_too() {
    let mut server = Redis::start_on_unix_socket();
    let proxy = Start::with_pool(&[server.line()], &[]).start();
    let mut client = proxy.client();
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
    server.kill();
    wait_until("the loss is told", || {
        client.call(&["GET", "a"]) == Reply::error("ERR Connection refused")
    });
    server.restart();
    served_again(&mut client, &["GET", "a"], &Reply::Null);
}

#[test]
fn a_script_that_answers_deep_or_long_harms_nobody_else() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut other = proxy.client();
    other.call(&["SET", "a", "mine"]);
    let mut client = proxy.client();
    for script in [
        "local t={1} for i=1,5000 do t={t} end return t",
        "local t={1} for i=1,100000 do t={t} end return t",
        "return redis.status_reply(string.rep('x',100000))",
        "return redis.error_reply(string.rep('x',100000))",
        "error(string.rep('x',100000))",
    ] {
        client.send(&command(&["EVAL", script, "1", "a"]));
        assert_eq!(other.call(&["GET", "a"]), Reply::bulk("mine"), "{script}");
    }
    client.send(&command(&["PING", "still there"]));
    client.shutdown_write();
    let (replies, _) = client.read_to_end();
    assert!(replies.ends_with(b"\r\n$11\r\nstill there\r\n"), "all was answered");
    assert_eq!(other.call(&["GET", "a"]), Reply::bulk("mine"));
}
