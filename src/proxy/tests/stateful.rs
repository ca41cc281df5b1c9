//! Transactions, watched keys and waits, to the byte and to the moment.

use super::*;
use crate::limits::{ANCHORED_KEYS_MAX, PRIVATE_KEPT_TIME};
use crate::proto::RespVersion;
use crate::proxy::private::Errand;
use crate::proxy::server::Phase::Leaving;
use crate::proxy::watch::Watch;

/// A proxy and a client of it, whose key `a` is on one server.
fn one_client(limits: Limits) -> (Proxy, Key) {
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    (proxy, client)
}

fn said(proxy: &mut Proxy, client: Key) -> String {
    proxy.run_ready(at(1));
    let output = proxy.take_output(client).map(|output| output.to_vec()).unwrap_or_default();
    String::from_utf8(output).expect("text").replace("\r\n", " ")
}

fn asked(proxy: &mut Proxy, server: Key) -> String {
    let output = proxy.take_output(server).map(|output| output.to_vec()).unwrap_or_default();
    String::from_utf8(output).expect("text").replace("\r\n", " ")
}

/// The only connection that is asked for by now, connected.
fn connected(proxy: &mut Proxy) -> Key {
    let servers = connect_all(proxy);
    assert_eq!(servers.len(), 1);
    servers[0]
}

/// A client that watches `a`, and the connection on which it does.
fn watching(proxy: &mut Proxy) -> (Key, Key) {
    let client = proxy.on_accept(0);
    receive(proxy, client, b"WATCH a\r\n");
    let server = connected(proxy);
    assert_eq!(asked(proxy, server), "*2 $5 WATCH $1 a ");
    receive(proxy, server, b"+OK\r\n");
    assert_eq!(said(proxy, client), "+OK ");
    (client, server)
}

#[test]
fn a_transaction_is_sent_as_one_run_and_its_last_reply_is_the_clients() {
    let (mut proxy, client) = one_client(Limits::default());
    let other = proxy.on_accept(0);
    receive(&mut proxy, client, b"MULTI\r\nGET a\r\n");
    receive(&mut proxy, other, b"GET a\r\n");
    receive(&mut proxy, client, b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\nexec\r\nGET a\r\n");
    assert_eq!(said(&mut proxy, client), "+OK +QUEUED +QUEUED ");
    assert_eq!(proxy.holdings().input_bytes, 0);
    let server = connected(&mut proxy);
    let get = "*2 $3 GET $1 a ";
    let run = format!("*1 $5 MULTI {get}*2 $4 INCR $1 a *1 $4 EXEC ");
    assert_eq!(asked(&mut proxy, server), format!("{get}{run}{get}"));
    receive(&mut proxy, server, b"$1\r\n1\r\n+OK\r\n+QUEU");
    receive(&mut proxy, server, b"ED\r\n+QUEUED\r\n*2\r\n$1\r\n1\r\n:");
    receive(&mut proxy, server, b"2\r\n$1\r\n2\r\n");
    assert_eq!(said(&mut proxy, other), "$1 1 ");
    assert_eq!(said(&mut proxy, client), "*2 $1 1 :2 $1 2 ");
    assert_eq!(proxy.holdings().waiting, 0);
}

#[test]
fn what_is_held_is_counted_and_dropped_with_its_client() {
    let (mut proxy, client) = one_client(Limits::default());
    receive(&mut proxy, client, b"MULTI\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    assert_eq!(proxy.holdings().input_bytes, 20);
    proxy.on_end(at(1), client);
    assert_eq!(said(&mut proxy, client), "+OK +QUEUED ");
    proxy.on_sent(at(1), client, 5 + 9);
    assert!(wants(&mut proxy).contains(&Want::Close(client)));
    assert_eq!(proxy.holdings().input_bytes, 0);
}

#[test]
fn a_transaction_ends_at_its_limits() {
    let limits = Limits { transaction_requests_max: 2, ..Limits::default() };
    let bytes = Limits { transaction_bytes_max: 40, ..Limits::default() };
    for limits in [limits, bytes] {
        let (mut proxy, client) = one_client(limits);
        receive(&mut proxy, client, b"MULTI\r\nGET a\r\nGET a\r\n");
        assert_eq!(said(&mut proxy, client), "+OK +QUEUED +QUEUED ");
        receive(&mut proxy, client, b"GET a\r\nGET a\r\nEXEC\r\nEXEC\r\n");
        assert_eq!(
            said(&mut proxy, client),
            "-ERR the transaction is too large for the proxy +QUEUED \
             -EXECABORT Transaction discarded because of previous errors. \
             -ERR EXEC without MULTI "
        );
        assert!(connect_all(&mut proxy).is_empty(), "no server is asked");
    }
}

#[test]
fn a_run_that_fails_is_one_error() {
    let (mut proxy, client) = one_client(Limits::default());
    receive(&mut proxy, client, b"MULTI\r\nGET a\r\nGET a\r\nEXEC\r\nPING\r\n");
    let server = connected(&mut proxy);
    asked(&mut proxy, server);
    receive(&mut proxy, server, b"+OK\r\n+QUEUED\r\n");
    proxy.on_end(at(1), server);
    assert_eq!(said(&mut proxy, client), "+OK +QUEUED +QUEUED -ERR unknown +PONG ");
}

#[test]
fn a_transaction_whose_watch_is_lost_says_nothing_in_the_clients_words() {
    for (version, nothing) in [(RespVersion::Two, "*-1 "), (RespVersion::Three, "_ ")] {
        let mut proxy = proxy(Limits::default());
        let (client, server) = watching(&mut proxy);
        proxy.on_end(at(1), server);
        proxy.clients.find_mut(client).expect("here").account.version = version;
        receive(&mut proxy, client, b"WATCH a\r\nMULTI\r\nGET a\r\nEXEC\r\nMULTI\r\nEXEC\r\n");
        let replies = format!("+OK +OK +QUEUED {nothing}+OK *0 ");
        assert_eq!(said(&mut proxy, client), replies);
    }
}

#[test]
fn a_refused_exec_ends_what_is_watched_with_or_without_a_transaction() {
    for (before, replies) in [("", ""), ("MULTI\r\nGET a\r\n", "+OK +QUEUED ")] {
        let mut proxy = proxy(Limits::default());
        let (client, server) = watching(&mut proxy);
        receive(&mut proxy, client, format!("{before}EXEC extra\r\nEXEC\r\n").as_bytes());
        let replies = format!(
            "{replies}-EXECABORT Transaction discarded because of: wrong number of arguments for \
             'exec' command -ERR EXEC without MULTI "
        );
        assert_eq!(said(&mut proxy, client), replies);
        assert!(wants(&mut proxy).contains(&Want::Close(server)));
    }
}

#[test]
fn who_speaks_another_version_by_now_watches_nothing_any_more() {
    let mut proxy = proxy(Limits::default());
    let (client, server) = watching(&mut proxy);
    proxy.clients.find_mut(client).expect("here").account.version = RespVersion::Three;
    receive(&mut proxy, client, b"MULTI\r\nGET a\r\nEXEC\r\n");
    assert_eq!(said(&mut proxy, client), "+OK +QUEUED _ ");
    assert!(wants(&mut proxy).contains(&Want::Close(server)));
}

#[test]
fn a_refused_watch_is_none_and_its_connection_is_kept() {
    let (mut proxy, client) = one_client(Limits::default());
    receive(&mut proxy, client, b"WATCH a\r\n");
    let server = connected(&mut proxy);
    asked(&mut proxy, server);
    receive(&mut proxy, server, b"-LOADING soon\r\n");
    assert_eq!(said(&mut proxy, client), "-LOADING soon ");
    let account = &proxy.clients.find(client).expect("here").account;
    assert_eq!((account.transaction.watch, account.private), (Watch::Nothing, None));
    assert!(proxy.pools.is_kept(server));
}

#[test]
fn a_server_that_does_not_forget_loses_the_connection() {
    for (end, reply) in
        [("UNWATCH", "-ERR no"), ("MULTI\r\nEXEC", "+OK\r\n-ERR EXEC without MULTI")]
    {
        let mut proxy = proxy(Limits::default());
        let (client, server) = watching(&mut proxy);
        receive(&mut proxy, client, format!("{end}\r\n").as_bytes());
        // The rest waits until what came before is sent: nothing is owed before EXEC.
        asked(&mut proxy, server);
        receive(&mut proxy, server, format!("{reply}\r\n").as_bytes());
        assert!(wants(&mut proxy).contains(&Want::Close(server)), "{end}");
    }
}

#[test]
fn a_kept_connection_is_closed_after_a_while() {
    let mut proxy = proxy(Limits::default());
    let (client, server) = watching(&mut proxy);
    receive(&mut proxy, client, b"UNWATCH\r\n");
    asked(&mut proxy, server);
    receive(&mut proxy, server, b"+OK\r\n");
    wants(&mut proxy);
    let used = |proxy: &Proxy| proxy.pools.pools[0].setup.private.used();
    assert_eq!(used(&proxy), 1);
    proxy.on_tick(at(PRIVATE_KEPT_TIME.as_secs()));
    assert!(wants(&mut proxy).is_empty());
    proxy.on_tick(at(1 + PRIVATE_KEPT_TIME.as_secs()));
    assert_eq!(wants(&mut proxy), [Want::Close(server)]);
    assert_eq!(used(&proxy), 0);
}

#[test]
fn a_wait_has_its_own_deadline_once_connected_and_the_next_request_has_not() {
    let second = Duration::from_secs(1);
    for (wait, deadline) in [("5", Some(6)), ("0", None), ("x", Some(1))] {
        let (mut proxy, client) = one_client(Limits::default());
        proxy.pools.pools[0].setup.timeout = Some(second);
        receive(&mut proxy, client, format!("BLPOP a {wait}\r\nWATCH a\r\n").as_bytes());
        let server = connect_within(&mut proxy, second);
        let left = |proxy: &Proxy| proxy.receive_within(at(1), server).expect("a timeout");
        assert_eq!(left(&proxy), deadline.map_or(second, Duration::from_secs), "{wait}");
        asked(&mut proxy, server);
        proxy.on_deadline(at(1), server);
        receive(&mut proxy, server, b"*-1\r\n");
        assert_eq!(said(&mut proxy, client), "*-1 ");
        assert_eq!(asked(&mut proxy, server), "*2 $5 WATCH $1 a ", "on the same connection");
        assert_eq!(left(&proxy), second);
        proxy.on_deadline(at(2), server);
        assert_eq!(said(&mut proxy, client), "-ERR Connection timed out ");
    }
}

/// The only connection that is asked for, connected; the connect has so long.
fn connect_within(proxy: &mut Proxy, limit: Duration) -> Key {
    let wanted = wants(proxy);
    let [Want::Connect { key, within: Some(within) }, ..] = wanted[..] else {
        panic!("{wanted:?}");
    };
    assert_eq!(within, limit);
    assert_eq!(proxy.receive_within(at(1), key), Some(limit), "also for who waits for ever");
    proxy.on_connected(at(1), key, Ok(()));
    key
}

#[test]
fn who_waits_and_leaves_takes_the_connection_along() {
    for leave in [Proxy::on_end, |proxy: &mut Proxy, now, key| {
        proxy.on_error(now, key, Errno(libc::ECONNRESET));
    }] {
        let (mut proxy, client) = one_client(Limits::default());
        receive(&mut proxy, client, b"PING\r\nBLPOP a 0\r\nSET a 1\r\n");
        assert_eq!(said(&mut proxy, client), "+PONG ");
        proxy.on_sent(at(1), client, 7);
        let server = connected(&mut proxy);
        asked(&mut proxy, server);
        leave(&mut proxy, at(1), client);
        let wants = wants(&mut proxy);
        assert!(wants.contains(&Want::Close(server)) && wants.contains(&Want::Close(client)));
        assert_eq!(proxy.pools.pools[0].setup.private.used(), 0);
        proxy.run_ready(at(1));
        assert_eq!((proxy.holdings().in_flight, proxy.holdings().input_bytes), (0, 0));
    }
}

#[test]
fn a_drain_ends_the_waits_that_are_and_those_to_come() {
    let (mut proxy, client) = one_client(Limits::default());
    receive(&mut proxy, client, b"BLPOP a 0\r\nBLPOP a 0\r\n");
    let server = connected(&mut proxy);
    proxy.drain(at(1));
    assert!(wants(&mut proxy).contains(&Want::Close(server)));
    let said = said(&mut proxy, client);
    assert_eq!(said.matches("-UNBLOCKED ").count(), 2, "{said}");
    assert!(connect_all(&mut proxy).is_empty(), "nobody waits any more");
}

#[test]
fn a_reply_that_is_too_large_ends_a_private_connection() {
    let limits = Limits { reply_bytes_max: 100, ..Limits::default() };
    for request in ["BLPOP a 0", "WATCH a", "BLPOP a 0\r\nGET a"] {
        let (mut proxy, client) = one_client(limits.clone());
        receive(&mut proxy, client, format!("{request}\r\n").as_bytes());
        let server = connected(&mut proxy);
        asked(&mut proxy, server);
        receive(&mut proxy, server, &[&b"$1000\r\n"[..], &[b'x'; 200]].concat());
        let error = "-ERR The reply of the server is too large for the proxy ";
        assert_eq!(said(&mut proxy, client), error);
        assert!(proxy.pools.servers.find(server).is_some_and(|it| it.phase == Leaving));
        assert_eq!(proxy.pools.pools[0].setup.private.used(), 0);
        assert_eq!(proxy.counters().server_failures, 0);
        // Nothing is left of the errand that a drain or an end would settle again.
        let account = &proxy.clients.find(client).expect("here").account;
        assert_eq!((account.private, account.errand), (None, Errand::None));
        receive(&mut proxy, server, b"xxx");
        proxy.drain(at(1));
        proxy.on_end(at(1), client);
    }
}

#[test]
fn a_reply_to_exec_that_is_too_large_ends_its_connection() {
    let limits = Limits { reply_bytes_max: 100, ..Limits::default() };
    let mut proxy = proxy(limits);
    let (client, server) = watching(&mut proxy);
    receive(&mut proxy, client, b"MULTI\r\nGET a\r\nEXEC\r\n");
    asked(&mut proxy, server);
    receive(&mut proxy, server, &[&b"+OK\r\n+QUEUED\r\n*1\r\n$999\r\n"[..], &[0; 200]].concat());
    let error = "-ERR The reply of the server is too large for the proxy ";
    assert_eq!(said(&mut proxy, client), format!("+OK +QUEUED {error}"));
    receive(&mut proxy, client, b"WATCH b\r\n");
    let other = connected(&mut proxy);
    assert_eq!(asked(&mut proxy, other), "*2 $5 WATCH $1 b ");
}

#[test]
fn a_private_connection_is_borrowed_for_its_own_server_only() {
    let mut proxy = proxy(Limits::default());
    let (client, server) = watching(&mut proxy);
    let Proxy { pools, clients, .. } = &mut proxy;
    let account = &mut clients.find_mut(client).expect("here").account;
    let number = pools.servers.find(server).expect("open").number;
    assert_eq!(watch::borrow(pools, account, client, number), Some(server));
    let other = watch::borrow(pools, account, client, 1 - number).expect("there is room");
    assert_eq!(account.private, Some(other));
    assert_eq!(pools.servers.find(other).map(|other| other.number), Some(1 - number));
    assert_eq!(pools.pools[0].setup.private.used(), 1);
}

/// Ejects the servers whose places are true.
fn route_without(proxy: &mut Proxy, ejected: [bool; 2]) {
    let nodes = ["127.0.0.1:1", "127.0.0.1:2"].map(|name| Node { name: name.into(), weight: 1 });
    let (hash, kind) = (HashKind::default(), DistributionKind::Modula);
    let routing = RoutingTable::new(hash, None, kind, &nodes, &ejected);
    proxy.set_routing(0, Arc::new(routing));
}

#[test]
fn who_waits_when_keys_move_waits_no_more_and_is_served_on() {
    let (mut proxy, client) = one_client(Limits::default());
    receive(&mut proxy, client, b"BLPOP a 0\r\nGET a\r\n");
    let server = connected(&mut proxy);
    asked(&mut proxy, server);
    let number = proxy.pools.servers.find(server).expect("open").number;
    route_without(&mut proxy, [false, false]);
    assert_eq!(said(&mut proxy, client), "", "nothing has moved");
    route_without(&mut proxy, [number == 0, number == 1]);
    assert!(said(&mut proxy, client).starts_with("-UNBLOCKED "));
    assert!(proxy.pools.servers.find(server).is_some_and(|it| it.phase == Leaving));
    let other = connected(&mut proxy);
    assert_eq!(asked(&mut proxy, other), "*2 $3 GET $1 a ");
    receive(&mut proxy, other, b"$-1\r\n");
    // It waits at the other one, until the first returns.
    receive(&mut proxy, client, b"BLPOP a 0\r\n");
    assert_eq!(said(&mut proxy, client), "$-1 ");
    route_without(&mut proxy, [false, false]);
    assert!(said(&mut proxy, client).starts_with("-UNBLOCKED "));
    assert_eq!(proxy.pools.pools[0].setup.private.used(), 0);
}

#[test]
fn a_transaction_is_not_carried_out_where_its_keys_were() {
    let mut proxy = proxy(Limits::default());
    let (watching, server) = watching(&mut proxy);
    receive(&mut proxy, watching, b"MULTI\r\nGET a\r\n");
    let asking = proxy.on_accept(0);
    receive(&mut proxy, asking, b"WATCH a\r\n");
    let [holding, keyless] = [b"MULTI\r\nGET a\r\n", b"MULTI\r\nPING \r\n"].map(|requests| {
        let client = proxy.on_accept(0);
        receive(&mut proxy, client, requests);
        assert_eq!(said(&mut proxy, client), "+OK +QUEUED ");
        client
    });
    assert_eq!(said(&mut proxy, watching), "+OK +QUEUED ");
    connect_all(&mut proxy);
    route_without(&mut proxy, [true, false]);
    assert!(wants(&mut proxy).contains(&Want::Close(server)));
    assert_eq!(said(&mut proxy, asking), "-ERR keys have moved to other servers ");
    for client in [watching, holding, asking, keyless] {
        receive(&mut proxy, client, b"EXEC\r\n");
    }
    assert_eq!(said(&mut proxy, watching), "*-1 ");
    let aborted = "-EXECABORT Transaction discarded because of previous errors. ";
    assert_eq!(said(&mut proxy, holding), aborted);
    assert_eq!(said(&mut proxy, asking), "-ERR EXEC without MULTI ");
    let run = connected(&mut proxy);
    assert_eq!(asked(&mut proxy, run), "*1 $5 MULTI *1 $4 PING *1 $4 EXEC ");
    assert_eq!(proxy.counters().server_failures, 0);
}

#[test]
fn who_has_keys_that_stay_is_let_be_when_others_move() {
    let mut proxy = proxy(Limits::default());
    let nodes = ["127.0.0.1:1", "127.0.0.1:2"].map(|name| Node { name: name.into(), weight: 1 });
    let (hash, kind) = (HashKind::default(), DistributionKind::Ketama);
    let route = |proxy: &mut Proxy, ejected: [bool; 2]| {
        let routing = RoutingTable::new(hash, None, kind, &nodes, &ejected);
        proxy.set_routing(0, Arc::new(routing));
    };
    route(&mut proxy, [false, false]);
    let routing = RoutingTable::new(hash, None, kind, &nodes, &[false, false]);
    let key_of = |number| {
        let mut keys = (0..).map(|key: u32| key.to_string());
        keys.find(|key| routing.route(key.as_bytes(), 0) == Some(number)).expect("there is one")
    };
    let mut clients = |key: &str| {
        let begin = ["BLPOP ? 0\r\n", "WATCH ?\r\n", "MULTI\r\nGET ?\r\n"];
        begin.map(|requests| {
            let client = proxy.on_accept(0);
            receive(&mut proxy, client, requests.replace('?', key).as_bytes());
            client
        })
    };
    let staying = clients(&key_of(0));
    let moving = clients(&key_of(1));
    connect_all(&mut proxy);
    staying.iter().chain(&moving).for_each(|&client| _ = said(&mut proxy, client));
    route(&mut proxy, [false, true]);
    assert_eq!(staying.map(|client| said(&mut proxy, client)), ["", "", ""]);
    let [waiting, watching, holding] = moving.map(|client| said(&mut proxy, client));
    assert!(waiting.starts_with("-UNBLOCKED "), "{waiting}");
    assert_eq!([watching, holding], ["-ERR keys have moved to other servers ", ""]);
    assert_eq!(proxy.pools.pools[0].setup.private.used(), 2);
    receive(&mut proxy, moving[2], b"EXEC\r\n");
    assert!(said(&mut proxy, moving[2]).starts_with("-EXECABORT "));
    receive(&mut proxy, staying[2], b"EXEC\r\n");
    assert_eq!(said(&mut proxy, staying[2]), "", "it is carried out");
    // One that has more keys than are remembered is not sure of any of them.
    route(&mut proxy, [false, false]);
    let many = |count| {
        let keys = (0..).map(|key: u32| key.to_string());
        let here = keys.filter(|key| routing.route(key.as_bytes(), 0) == Some(0)).take(count);
        format!("MULTI\r\nMGET {}\r\n", here.collect::<Vec<_>>().join(" "))
    };
    let [known, vague] = [0, 1].map(|more| {
        let client = proxy.on_accept(0);
        receive(&mut proxy, client, many(ANCHORED_KEYS_MAX + more).as_bytes());
        assert_eq!(said(&mut proxy, client), "+OK +QUEUED ");
        client
    });
    route(&mut proxy, [false, true]);
    receive(&mut proxy, known, b"EXEC\r\n");
    assert_eq!(said(&mut proxy, known), "");
    receive(&mut proxy, vague, b"EXEC\r\n");
    assert!(said(&mut proxy, vague).starts_with("-EXECABORT "));
}

#[test]
fn a_transaction_that_has_set_out_is_let_be_when_keys_move() {
    let mut proxy = proxy(Limits::default());
    let (client, server) = watching(&mut proxy);
    receive(&mut proxy, client, b"MULTI\r\nGET a\r\nEXEC\r\n");
    asked(&mut proxy, server);
    route_without(&mut proxy, [true, false]);
    receive(&mut proxy, server, b"+OK\r\n+QUEUED\r\n*1\r\n$-1\r\n");
    assert_eq!(said(&mut proxy, client), "+OK +QUEUED *1 $-1 ");
}

#[test]
fn a_server_that_refuses_multi_does_not_wait_for_what_follows() {
    let (mut proxy, client) = one_client(Limits::default());
    let other = proxy.on_accept(0);
    receive(&mut proxy, client, b"MULTI\r\nBLPOP a 0\r\nEXEC\r\n");
    receive(&mut proxy, other, b"GET a\r\n");
    let server = connected(&mut proxy);
    asked(&mut proxy, server);
    receive(&mut proxy, server, b"-NOPERM this user has no");
    receive(&mut proxy, server, b" permissions\r\n");
    assert!(wants(&mut proxy).contains(&Want::Close(server)));
    let refused = "-ERR the server refuses MULTI, its connection is closed ";
    assert_eq!(said(&mut proxy, client), format!("+OK +QUEUED {refused}"));
    assert_eq!(said(&mut proxy, other), refused);
    assert_eq!(proxy.counters().server_failures, 0);
}

#[test]
fn connections_are_not_kept_from_other_workers_when_they_are_scarce() {
    let mut proxy = proxy(Limits::default());
    let quota = Arc::new(Quota::new(4));
    proxy.pools.pools[0].setup.private = Arc::clone(&quota);
    for others in 0..3 {
        let (client, server) = watching(&mut proxy);
        receive(&mut proxy, client, b"UNWATCH\r\n");
        asked(&mut proxy, server);
        receive(&mut proxy, server, b"+OK\r\n");
        let is_scarce = others == 2;
        assert_eq!(wants(&mut proxy).contains(&Want::Close(server)), is_scarce, "{others}");
        proxy.pools.close_server(server);
        wants(&mut proxy);
        assert!(quota.take(), "another worker takes one");
    }
}

#[test]
fn the_end_of_an_idle_private_connection_is_no_failure_of_its_server() {
    for (request, why, failures) in
        [("", None, 0), ("UNWATCH\r\n", None, 1), ("", Some(Errno(libc::ECONNRESET)), 1)]
    {
        let mut proxy = proxy(Limits::default());
        proxy.pools.pools[0].setup.ejecting = Some(Ejecting { on_oom: false });
        let (client, server) = watching(&mut proxy);
        receive(&mut proxy, client, request.as_bytes());
        match why {
            Some(why) => proxy.on_error(at(2), server, why),
            None => proxy.on_end(at(2), server),
        }
        assert!(wants(&mut proxy).contains(&Want::Close(server)));
        assert_eq!(proxy.counters().server_failures, failures);
        assert_eq!(signs(&mut proxy).len() as u64, failures);
        assert_eq!(proxy.pools.pools[0].setup.private.used(), 0);
        if request.is_empty() {
            receive(&mut proxy, client, b"MULTI\r\nGET a\r\nEXEC\r\n");
            assert_eq!(said(&mut proxy, client), "+OK +QUEUED *-1 ");
        }
    }
}

/// Of the pool, as INFO tells it a client that asks.
fn waiting(proxy: &mut Proxy) -> String {
    let asker = proxy.on_accept(0);
    receive(proxy, asker, b"INFO clients\r\n");
    let mut round = proxy.take_round().expect("a question");
    proxy.visit(at(1), &mut round);
    proxy.end_round(at(1), round);
    let text = said(proxy, asker);
    let waiting = text.split(' ').find_map(|field| field.strip_prefix("blocked_clients:"));
    waiting.expect("a number").to_owned()
}

#[test]
fn info_tells_how_many_clients_wait_however_they_end() {
    type End = fn(&mut Proxy, Key, Key);
    let ends: [End; 4] = [
        |proxy, _, server| receive(proxy, server, b"*-1\r\n"),
        |proxy, _, server| proxy.on_end(at(1), server),
        |proxy, client, _| proxy.on_end(at(1), client),
        |proxy, client, _| proxy.drop_client(client),
    ];
    for end in ends {
        let (mut proxy, client) = one_client(Limits::default());
        assert_eq!(waiting(&mut proxy), "0");
        receive(&mut proxy, client, b"BLPOP a 0\r\n");
        let server = connected(&mut proxy);
        asked(&mut proxy, server);
        assert_eq!(waiting(&mut proxy), "1");
        end(&mut proxy, client, server);
        assert_eq!(waiting(&mut proxy), "0");
    }
}
