//! The proxy by itself: events in, wants out.

use bytes::Bytes;

use super::*;
use crate::distribution::{DistributionKind, Node, RoutingTable};
use crate::hash::HashKind;
use crate::proto::RespVersion;

mod bounds;
mod resp3;

fn proxy(limits: Limits) -> Proxy {
    proxy_of(limits, Policy::default())
}

fn proxy_of(limits: Limits, policy: Policy) -> Proxy {
    let names = ["127.0.0.1:1", "127.0.0.1:2"];
    let nodes = names.map(|name| Node { name: name.to_owned(), weight: 1 });
    let address = Destination::Address(Address::Unix("/nowhere".into()));
    let (hash, kind) = (HashKind::default(), DistributionKind::Modula);
    let routing = RoutingTable::new(hash, None, kind, &nodes, &[false, false]);
    let servers = names.map(|name| (name.to_owned(), address.clone())).to_vec();
    let setup = PoolSetup::new("alpha", std::sync::Arc::new(routing), servers);
    Proxy::new(vec![PoolSetup { policy, ..setup }], limits, 1)
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn receive(proxy: &mut Proxy, key: Key, bytes: &[u8]) {
    proxy.on_received(at(1), key, &mut Buffer::from_bytes(Bytes::copy_from_slice(bytes)));
}

fn wants(proxy: &mut Proxy) -> Vec<Want> {
    let mut wants = Vec::new();
    proxy.take_wants(&mut wants);
    wants
}

/// The server connections that a proxy wants to have.
fn connects(proxy: &mut Proxy) -> Vec<Key> {
    let connects = |want| match want {
        Want::Connect { key, .. } => Some(key),
        Want::Resolve(_)
        | Want::Flush(_)
        | Want::Read(_)
        | Want::Pause(_)
        | Want::Farewell(_)
        | Want::Close(_) => None,
    };
    wants(proxy).into_iter().filter_map(connects).collect()
}

/// The same, connected.
fn connect_all(proxy: &mut Proxy) -> Vec<Key> {
    let keys = connects(proxy);
    keys.iter().for_each(|&key| proxy.on_connected(at(1), key, Ok(())));
    keys
}

#[test]
fn a_client_that_takes_none_of_our_own_replies_is_closed_too() {
    let limits =
        Limits { output_soft_bytes: 20, output_stall: Duration::from_secs(5), ..Limits::default() };
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, &b"PING\r\n".repeat(10));
    proxy.on_tick(at(5));
    assert!(!wants(&mut proxy).contains(&Want::Close(client)));
    proxy.on_tick(at(6));
    assert_eq!(wants(&mut proxy), [Want::Close(client)]);
    assert_eq!(proxy.counters().clients_stalled, 1);
}

#[test]
fn a_lone_reply_over_the_hard_limit_passes_and_the_next_does_not() {
    let limits = Limits { output_soft_bytes: 20, output_hard_bytes: 50, ..Limits::default() };
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"GET a\r\nGET a\r\n");
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("two requests");
    let reply = [&b"$60\r\n"[..], &[b'x'; 60], b"\r\n"].concat();
    receive(&mut proxy, server, &reply);
    assert!(!wants(&mut proxy).contains(&Want::Close(client)));
    receive(&mut proxy, server, &reply);
    assert!(wants(&mut proxy).contains(&Want::Close(client)));
    assert_eq!(proxy.counters().clients_over_output, 1);
}

#[test]
fn a_lone_gather_over_the_hard_limit_passes() {
    let limits = Limits { output_soft_bytes: 20, output_hard_bytes: 50, ..Limits::default() };
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"MGET a b c d e f\r\n");
    let servers = connect_all(&mut proxy);
    assert_eq!(servers.len(), 2, "the keys are on both servers");
    for server in servers {
        let request = proxy.take_output(server).expect("a fragment").to_vec();
        let keys = usize::from(request[1] - b'1');
        let value = [&b"$60\r\n"[..], &[b'x'; 60], b"\r\n"].concat();
        receive(
            &mut proxy,
            server,
            &[format!("*{keys}\r\n").as_bytes(), &value.repeat(keys)].concat(),
        );
    }
    assert!(!wants(&mut proxy).contains(&Want::Close(client)));
    assert_eq!(proxy.take_output(client).map(|output| output.len()), Some(4 + 6 * 67));
}

#[test]
fn what_every_server_gets_is_in_memory_once() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    let body = "x".repeat(2 * crate::limits::KEEP_BYTES_MIN);
    let load = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{body}\r\n", body.len());
    receive(&mut proxy, client, &load.as_bytes()[..9]);
    receive(&mut proxy, client, &load.as_bytes()[9..]);
    let servers = connect_all(&mut proxy);
    assert_eq!(servers.len(), 2);
    let outputs = servers.iter().map(|&server| proxy.take_output(server).expect("a request"));
    let outputs: Vec<Chain> = outputs.collect();
    outputs.iter().for_each(|output| assert_eq!(output.to_vec(), load.as_bytes()));
    let largest = |output: &Chain| output.slices().max_by_key(|it| it.len()).map(<[u8]>::as_ptr);
    assert_eq!(largest(&outputs[0]), largest(&outputs[1]));
}

#[test]
fn clients_that_come_and_go_cannot_fill_a_queue_that_nobody_empties() {
    let limits = Limits { server_queue_bytes_max: 1000, ..Limits::default() };
    let mut proxy = proxy(limits);
    let request = [&b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$300\r\n"[..], &[b'x'; 300], b"\r\n"].concat();
    for _ in 0..20 {
        let client = proxy.on_accept(0);
        receive(&mut proxy, client, &request);
        proxy.on_error(at(1), client, Errno(libc::ECONNRESET));
        proxy.on_closed(client);
    }
    let server = connect_all(&mut proxy)[0];
    let queued = proxy.take_output(server).expect("requests").len();
    assert!(queued <= 1000 + request.len(), "{queued} bytes are queued");
}

#[test]
fn requests_that_wait_for_room_are_sent_once_and_in_order() {
    let limits = Limits { server_queue_requests_max: 2, ..Limits::default() };
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"GET a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nGET a\r\n*3\r\n$4");
    receive(&mut proxy, client, b"\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\nGET a\r\n");
    proxy.on_end(at(1), client);
    let (mut servers, mut replies) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        proxy.run_ready(at(1));
        servers.extend(connect_all(&mut proxy));
        for &server in &servers {
            let requests = proxy.take_output(server).map(|output| output.to_vec());
            let requests = String::from_utf8(requests.unwrap_or_default()).expect("text");
            for request in requests.split('*').skip(1) {
                let is_part = request.contains("mget");
                let reply: &[u8] = if is_part { b"*1\r\n+y\r\n" } else { b"+x\r\n" };
                receive(&mut proxy, server, reply);
            }
        }
        replies.extend(proxy.take_output(client).map(|output| output.to_vec()).unwrap_or_default());
    }
    assert_eq!(
        replies.escape_ascii().to_string(),
        b"+x\r\n+x\r\n+x\r\n*2\r\n+y\r\n+y\r\n+x\r\n".escape_ascii().to_string()
    );
    assert!(proxy.counters().clients_blocked > 0);
}

#[test]
fn a_renamed_request_that_waits_for_room_is_sent_once_by_its_real_name() {
    let get = crate::proto::commands::lookup(b"get").expect("a command");
    let rename = vec![(get, Some("fetch".to_owned()))];
    let rules = crate::config::CommandRules { rename, ..Default::default() };
    let limits = Limits { server_queue_requests_max: 1, ..Limits::default() };
    let mut proxy = proxy_of(limits, Policy::new(&rules));
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"fetch a\r\n*2\r\n$5\r\nFETCH\r\n$1\r\na\r\n*2\r\n$5\r\nfet");
    receive(&mut proxy, client, b"ch\r\n$1\r\na\r\nfetch a\r\nGET a\r\n");
    let (mut servers, mut sent, mut replies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        proxy.run_ready(at(1));
        servers.extend(connect_all(&mut proxy));
        for &server in &servers {
            if let Some(output) = proxy.take_output(server) {
                sent.extend(output.to_vec());
                receive(&mut proxy, server, b"+x\r\n");
            }
        }
        replies.extend(proxy.take_output(client).map(|output| output.to_vec()).unwrap_or_default());
    }
    let unknown = b"-ERR unknown command 'GET', with args beginning with: 'a' \r\n".as_slice();
    let expected = [b"+x\r\n".repeat(4).as_slice(), unknown].concat();
    assert_eq!(replies.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let expected = b"*2\r\n$3\r\nget\r\n$1\r\na\r\n".repeat(4);
    assert_eq!(sent.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert!(proxy.counters().clients_blocked > 0);
}

#[test]
fn a_reply_that_nobody_waits_for_is_not_kept() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"GET a\r\n");
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("a request");
    receive(&mut proxy, server, b"$100\r\nabc");
    proxy.on_error(at(1), client, Errno(libc::ECONNRESET));
    receive(&mut proxy, server, &[b'x'; 90]);
    assert_eq!(proxy.pools.servers.find(server).map(|server| server.partial.len()), Some(0));
    receive(&mut proxy, server, b"1234567\r\n");
    assert_eq!(proxy.counters().replies_swallowed, 1);
    assert_eq!(proxy.counters().server_failures, 0);
}

#[test]
fn a_budget_is_for_a_turn_however_the_bytes_come() {
    let mut proxy = proxy(Limits { in_flight_requests_max: usize::MAX, ..Limits::default() });
    let client = proxy.on_accept(0);
    for _ in 0..4 {
        receive(&mut proxy, client, &b"PING\r\n".repeat(300));
    }
    assert_eq!(proxy.counters().requests, u64::from(crate::limits::REQUESTS_PER_TURN));
    assert!(proxy.has_ready());
    proxy.run_ready(at(1));
    assert_eq!(proxy.counters().requests, 2 * u64::from(crate::limits::REQUESTS_PER_TURN));
    proxy.run_ready(at(1));
    assert_eq!(proxy.counters().requests, 1200);
    assert!(!proxy.has_ready());
}

#[test]
fn a_request_that_waits_for_room_survives_the_server_connection_that_had_none() {
    let mut proxy = proxy(Limits { server_queue_requests_max: 1, ..Limits::default() });
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"GET a\r\nGET a\r\nQUIT\r\n");
    let first = connect_all(&mut proxy)[0];
    proxy.on_error(at(1), first, Errno(libc::ECONNRESET));
    proxy.run_ready(at(1));
    let second = connect_all(&mut proxy)[0];
    assert_ne!(first, second);
    assert_eq!(proxy.take_output(second).map(|output| output.len()), Some(20));
    receive(&mut proxy, second, b"$1\r\nx\r\n");
    let replies = proxy.take_output(client).expect("replies");
    assert_eq!(replies.to_vec(), b"-ERR Connection reset by peer\r\n$1\r\nx\r\n+OK\r\n");
    proxy.on_sent(at(1), client, replies.len());
    assert!(wants(&mut proxy).contains(&Want::Farewell(client)));
}

#[test]
fn a_client_is_not_blamed_for_what_is_held_behind_an_earlier_request() {
    let limits =
        Limits { output_soft_bytes: 20, output_stall: Duration::from_secs(5), ..Limits::default() };
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, &[b"GET a\r\n".to_vec(), b"PING\r\n".repeat(9)].concat());
    connect_all(&mut proxy);
    for second in 2..30 {
        proxy.on_tick(at(second));
    }
    assert!(!wants(&mut proxy).contains(&Want::Close(client)));
}

#[test]
fn elements_of_a_reply_that_nobody_waits_for_are_not_recorded() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"MGET a b\r\n");
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("a fragment");
    receive(&mut proxy, server, b"*100000000\r\n:1\r\n");
    proxy.on_error(at(1), client, Errno(libc::ECONNRESET));
    receive(&mut proxy, server, &b":1\r\n".repeat(10_000));
    receive(&mut proxy, server, &b":1\r\n".repeat(10_000));
    let server = proxy.pools.servers.find(server).expect("still up");
    assert_eq!(server.parser.elements(), []);
}

/// A proxy whose servers want a password and a database; its clients have said the password.
fn guarded(limits: Limits, timeout: Option<Duration>) -> (Proxy, Key) {
    let mut proxy = proxy(limits);
    let setup = &mut proxy.pools.pools[0].setup;
    setup.password = Some(crate::config::Secret::new("secret".to_owned()));
    setup.database = 3;
    setup.timeout = timeout;
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"AUTH secret\r\n");
    let said = proxy.take_output(client).expect("a reply");
    assert_eq!(said.to_vec(), b"+OK\r\n");
    proxy.on_sent(at(1), client, 5);
    (proxy, client)
}

fn sent(proxy: &mut Proxy, server: Key) -> Vec<u8> {
    let Some(output) = proxy.take_output(server) else { return Vec::new() };
    let bytes = output.to_vec();
    proxy.on_sent(at(1), server, bytes.len());
    bytes
}

#[test]
fn a_greeting_is_said_word_by_word_before_any_request() {
    let (mut proxy, client) = guarded(Limits::default(), None);
    receive(&mut proxy, client, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    let server = connect_all(&mut proxy)[0];
    assert_eq!(sent(&mut proxy, server), b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n");
    for byte in b"+OK\r\n" {
        assert_eq!(sent(&mut proxy, server), b"");
        receive(&mut proxy, server, &[*byte]);
    }
    assert!(wants(&mut proxy).contains(&Want::Flush(server)));
    assert_eq!(sent(&mut proxy, server), b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n");
    assert_eq!(sent(&mut proxy, server), b"");
    receive(&mut proxy, server, b"+OK\r\n");
    assert!(wants(&mut proxy).contains(&Want::Flush(server)));
    assert_eq!(sent(&mut proxy, server), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    receive(&mut proxy, server, b"$1\r\nx\r\n");
    assert_eq!(sent(&mut proxy, client), b"$1\r\nx\r\n");
    assert_eq!((proxy.counters().replies, proxy.counters().server_failures), (1, 0));
}

#[test]
fn a_reply_before_its_word_or_too_many_or_too_long_ends_the_greeting() {
    let long = [&b"-"[..], &[b'x'; 2000]].concat();
    let streams: [&[u8]; 4] = [b"+OK\r\n+OK\r\n", b":1\r\n", b"$-1\r\n", &long];
    for asked in [false, true] {
        for stream in streams {
            let (mut proxy, client) = guarded(Limits::default(), None);
            receive(&mut proxy, client, b"GET a\r\n");
            let server = connect_all(&mut proxy)[0];
            if asked {
                sent(&mut proxy, server);
            }
            receive(&mut proxy, server, stream);
            assert!(wants(&mut proxy).contains(&Want::Close(server)));
            assert_eq!(sent(&mut proxy, client), b"-ERR Invalid argument\r\n");
            assert_eq!(sent(&mut proxy, server), b"");
        }
    }
}

#[test]
fn a_greeting_is_overdue_from_its_connect_and_fails_once() {
    let (mut proxy, client) = guarded(Limits::default(), Some(Duration::from_secs(2)));
    receive(&mut proxy, client, b"GET a\r\n");
    let server = connect_all(&mut proxy)[0];
    sent(&mut proxy, server);
    assert_eq!(proxy.receive_within(at(2), server), Some(Duration::from_secs(1)));
    proxy.on_tick(at(2));
    assert_eq!(proxy.counters().server_timeouts, 0);
    proxy.on_tick(at(3));
    proxy.on_tick(at(4));
    assert_eq!(proxy.counters().server_timeouts, 1);
    assert_eq!(sent(&mut proxy, client), b"-ERR Connection timed out\r\n");
}

#[test]
fn a_refusal_reaches_all_who_wait_in_the_servers_words() {
    let limits = Limits { server_queue_requests_max: 1, ..Limits::default() };
    let (mut proxy, client) = guarded(limits, None);
    receive(&mut proxy, client, b"GET a\r\nGET a\r\n");
    let first = connect_all(&mut proxy)[0];
    sent(&mut proxy, first);
    receive(&mut proxy, first, b"-LOADING wait\r\n");
    assert_eq!(sent(&mut proxy, client), b"-LOADING wait\r\n");
    proxy.run_ready(at(1));
    let second = connect_all(&mut proxy)[0];
    assert_ne!(first, second, "the request that waited for room asks again");
    assert!(sent(&mut proxy, second).starts_with(b"*2\r\n$4\r\nAUTH\r\n"));
}

#[test]
fn a_drain_waits_for_no_probe() {
    let mut proxy = proxy(Limits::default());
    proxy.probe(at(1), 0, 1);
    let [probe] = connect_all(&mut proxy)[..] else { panic!("one connection is opened") };
    proxy.drain(at(2));
    proxy.close_idle_servers(at(2));
    assert!(wants(&mut proxy).contains(&Want::Close(probe)));
    proxy.on_tick(at(100));
    assert_eq!(proxy.counters().server_timeouts, 0, "it has left");
}

/// A proxy whose pool ejects, with a client and the one server connection that it uses.
fn ejecting() -> (Proxy, Key, Key) {
    let mut proxy = proxy(Limits::default());
    proxy.pools.pools[0].setup.ejecting = Some(Ejecting { on_oom: false });
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"GET a\r\n");
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("a request");
    (proxy, client, server)
}

fn signs(proxy: &mut Proxy) -> Vec<Vital> {
    let mut signs = Vec::new();
    proxy.take_signs(&mut signs);
    signs.into_iter().map(|sign| sign.what).collect()
}

#[test]
fn the_end_of_a_connection_tells_when_it_was_last_good() {
    for (replied_after, good_at) in [(None, at(1)), (Some(1), at(10)), (Some(2), at(20))] {
        let (mut proxy, client, server) = ejecting();
        for tick in 1..=3 {
            proxy.on_tick(at(tick * 10));
            if replied_after == Some(tick) {
                receive(&mut proxy, server, b"$-1\r\n");
            }
        }
        proxy.on_end(at(31), server);
        assert_eq!(signs(&mut proxy), [Vital::Ended { good_at }]);
        // The next is begun later, and has no other's replies.
        receive(&mut proxy, client, b"GET a\r\n");
        let next = connect_all(&mut proxy)[0];
        proxy.on_error(at(32), next, Errno(libc::ECONNRESET));
        assert_eq!(signs(&mut proxy), [Vital::Ended { good_at: at(1) }]);
    }
}

#[test]
fn a_reply_since_the_last_tick_shows_that_a_connection_was_good_then() {
    let (mut proxy, _, server) = ejecting();
    proxy.on_tick(at(10));
    receive(&mut proxy, server, b"$-1\r\n");
    proxy.on_end(at(11), server);
    assert_eq!(signs(&mut proxy), [Vital::Ended { good_at: at(10) }]);
}

#[test]
fn only_what_changes_a_servers_standing_is_a_sign() {
    let (mut proxy, client, server) = ejecting();
    let number = proxy.pools.servers.find(server).expect("it is open").number;
    let ask = |proxy: &mut Proxy, reply: &[u8]| {
        receive(proxy, client, b"GET a\r\n");
        proxy.take_output(server).expect("a request");
        receive(proxy, server, reply);
        signs(proxy)
    };
    let busy = b"-BUSY Redis is busy running a script.\r\n";
    receive(&mut proxy, server, b"$-1\r\n");
    assert_eq!(ask(&mut proxy, b"$-1\r\n"), []);
    assert_eq!(ask(&mut proxy, busy), [Vital::Unable]);
    assert_eq!(ask(&mut proxy, busy), [Vital::Unable]);
    assert_eq!(ask(&mut proxy, b"$-1\r\n"), [Vital::Answered]);
    assert_eq!(ask(&mut proxy, b"$-1\r\n"), []);
    // Another worker has seen it fail.
    proxy.set_standing(0, number, Standing::Failing);
    assert_eq!(ask(&mut proxy, b"$-1\r\n"), [Vital::Answered]);
    proxy.set_standing(0, number, Standing::Out);
    assert_eq!(ask(&mut proxy, busy), []);
    assert_eq!(ask(&mut proxy, b"$-1\r\n"), []);
    proxy.on_end(at(2), server);
    assert_eq!(signs(&mut proxy), []);
}

#[test]
fn a_connect_that_takes_too_long_is_a_timeout_in_all_figures() {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    for (why, timeouts) in [(libc::ETIMEDOUT, 1), (libc::ECONNREFUSED, 1), (libc::ETIMEDOUT, 2)] {
        receive(&mut proxy, client, b"GET a\r\n");
        let server = connects(&mut proxy)[0];
        proxy.on_connected(at(1), server, Err(Errno(why)));
        let figures = &proxy.pools.figures.pools[0].servers;
        let told: u64 = figures.iter().map(|server| server.server_timedout).sum();
        assert_eq!((proxy.counters().server_timeouts, told), (timeouts, timeouts));
    }
}

#[test]
fn a_request_that_wants_no_answer_fails_as_visibly_as_any_other() {
    let mut proxy = proxy(Limits::default());
    proxy.pools.pools[0].setup.protocol = Protocol::Memcache;
    let failed = |proxy: &mut Proxy| {
        (proxy.counters().requests_failed, proxy.pools.figures.pool(0).forward_error)
    };
    let client = proxy.on_accept(0);
    let request = b"set a 0 0 1 noreply\r\nx\r\n";
    receive(&mut proxy, client, request);
    let server = connect_all(&mut proxy)[0];
    assert!(sent(&mut proxy, server).starts_with(b"set a 0 0 1\r\n"));
    proxy.on_end(at(2), server);
    assert_eq!(failed(&mut proxy), (1, 1));
    let nodes = ["one", "two"].map(|name| Node { name: name.to_owned(), weight: 1 });
    let (hash, kind) = (HashKind::default(), DistributionKind::Modula);
    let nobody = RoutingTable::new(hash, None, kind, &nodes, &[true, true]);
    proxy.set_routing(0, Arc::new(nobody));
    receive(&mut proxy, client, request);
    receive(&mut proxy, client, b"get a\r\n");
    assert_eq!(failed(&mut proxy), (3, 3));
    assert_eq!(sent(&mut proxy, client), b"SERVER_ERROR Connection refused\r\n");
}

mod stateful;
mod streams;

/// What all servers get is some bytes for the client; for each server it is a waiter, a part and a
/// copy.
#[test]
fn a_request_to_all_servers_counts_as_what_it_keeps() {
    const SERVERS: usize = 200;
    let bytes_max = 1 << 20;
    for (protocol, line) in
        [(Protocol::Memcache, &b"flush_all\r\n"[..]), (Protocol::Resp, b"*1\r\n$6\r\nDBSIZE\r\n")]
    {
        let names: Vec<String> = (0..SERVERS).map(|number| format!("server{number}")).collect();
        let nodes: Vec<Node> =
            names.iter().map(|name| Node { name: name.clone(), weight: 1 }).collect();
        let (hash, kind) = (HashKind::default(), DistributionKind::Modula);
        let routing = RoutingTable::new(hash, None, kind, &nodes, &[false; SERVERS]);
        let address = Destination::Address(Address::Unix("/nowhere".into()));
        let servers = names.into_iter().map(|name| (name, address.clone())).collect();
        let setup = PoolSetup::new("alpha", std::sync::Arc::new(routing), servers);
        let limits = Limits { in_flight_bytes_max: bytes_max, ..Limits::default() };
        let mut proxy = Proxy::new(vec![PoolSetup { protocol, ..setup }], limits, 1);
        let client = proxy.on_accept(0);
        receive(&mut proxy, client, &line.repeat(1024));
        let held = proxy.holdings();
        let kept = held.waiting * size_of::<super::server::Waiter>() + held.queued_bytes;
        let one = SERVERS * (1 << 10);
        assert!(kept > bytes_max / 4 && kept < bytes_max + one, "{protocol:?}: {held:?}");
    }
}
