//! Clients that change their version of RESP, by themselves.

use super::*;
use crate::limits::HELLO_REPLY_BYTES_MAX;

const HELLO_3: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
const HELLO_2: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n";
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const GET_A: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
const NO_PROTO: &[u8] = b"-NOPROTO unsupported protocol version\r\n";
const AGREED: &[u8] = b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n\
    $5\r\nproto\r\n:3\r\n";

/// A proxy of two servers with a client, of which nothing is known yet.
fn world() -> (Proxy, Key) {
    let mut proxy = proxy(Limits::default());
    let client = proxy.on_accept(0);
    (proxy, client)
}

/// The server that was asked for its version, once it has agreed.
fn agreed(proxy: &mut Proxy, client: Key) -> Key {
    receive(proxy, client, HELLO_3);
    let [server] = connect_all(proxy)[..] else { panic!("one server is asked") };
    assert_eq!(sent(proxy, server), HELLO_3);
    receive(proxy, server, AGREED);
    assert_eq!(sent(proxy, server), PING);
    receive(proxy, server, b"+PONG\r\n");
    assert!(sent(proxy, client).starts_with(b"%7\r\n"));
    server
}

/// A request, and the connection that it comes out of.
fn asked(proxy: &mut Proxy, client: Key, request: &[u8]) -> (Key, Vec<u8>) {
    receive(proxy, client, request);
    proxy.run_ready(at(1));
    let opened = connect_all(proxy);
    let keys: Vec<Key> = proxy.pools.servers.keys().collect();
    for key in keys {
        let bytes = sent(proxy, key);
        if !bytes.is_empty() {
            assert!(opened.is_empty() || opened == [key]);
            return (key, bytes);
        }
    }
    panic!("nothing was sent");
}

#[test]
fn a_client_speaks_resp3_once_a_server_does() {
    let (mut proxy, client) = world();
    receive(&mut proxy, client, &[HELLO_3, GET_A].concat());
    let [server] = connect_all(&mut proxy)[..] else { panic!("one server is asked") };
    assert_eq!(sent(&mut proxy, server), HELLO_3);
    assert_eq!(sent(&mut proxy, client), b"", "it is not promised");
    receive(&mut proxy, server, AGREED);
    assert_eq!(sent(&mut proxy, server), PING);
    assert_eq!(sent(&mut proxy, client), b"");
    receive(&mut proxy, server, b"+PON");
    receive(&mut proxy, server, b"G\r\n");
    let answer = sent(&mut proxy, client);
    assert!(answer.starts_with(b"%7\r\n"), "{}", answer.escape_ascii());
    assert!(memchr::memmem::find(&answer, b"$5\r\n7.2.4\r\n").is_some(), "its version is told");
    let (server, request) = asked(&mut proxy, client, b"");
    assert!([HELLO_3, GET_A].contains(&&request[..]), "{}", request.escape_ascii());
    assert_eq!(proxy.pools.servers.find(server).map(|one| one.version), Some(RespVersion::Three));
}

#[test]
fn versions_do_not_share_connections() {
    let (mut proxy, client) = world();
    let first = agreed(&mut proxy, client);
    let other = proxy.on_accept(0);
    let (second, request) = asked(&mut proxy, other, GET_A);
    assert_eq!(request, GET_A, "nothing is said first on a connection of RESP2");
    assert_ne!(first, second);
    receive(&mut proxy, second, b"_\r\n");
    assert_eq!(sent(&mut proxy, other), b"-ERR Invalid argument\r\n");
    receive(&mut proxy, client, HELLO_2);
    assert!(sent(&mut proxy, client).starts_with(b"*14\r\n"));
    receive(&mut proxy, other, HELLO_3);
    assert!(sent(&mut proxy, other).starts_with(b"%7\r\n"), "it is known by now");
}

#[test]
fn a_change_of_version_waits_for_what_was_asked_before() {
    let (mut proxy, client) = world();
    agreed(&mut proxy, client);
    receive(&mut proxy, client, HELLO_2);
    sent(&mut proxy, client);
    let (server, _) =
        asked(&mut proxy, client, &[GET_A, HELLO_3, b"*1\r\n$4\r\nPING\r\n"].concat());
    assert_eq!(sent(&mut proxy, client), b"");
    receive(&mut proxy, server, b"$-1\r\n");
    assert_eq!(sent(&mut proxy, client), b"$-1\r\n");
    proxy.run_ready(at(1));
    let rest = sent(&mut proxy, client);
    assert!(rest.starts_with(b"%7\r\n") && rest.ends_with(b"+PONG\r\n"), "{rest:?}");
}

#[test]
fn a_server_without_hello_has_not_failed() {
    let refusals: [&[u8]; 3] = [
        b"-ERR unknown command 'HELLO', with args beginning with: '3', \r\n",
        b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n",
        NO_PROTO,
    ];
    for refusal in refusals {
        let (mut proxy, client) = world();
        proxy.pools.pools[0].setup.ejecting = Some(Ejecting { on_oom: false });
        receive(&mut proxy, client, HELLO_3);
        let server = connect_all(&mut proxy)[0];
        sent(&mut proxy, server);
        receive(&mut proxy, server, refusal);
        assert_eq!(sent(&mut proxy, client), NO_PROTO);
        assert!(wants(&mut proxy).contains(&Want::Close(server)));
        let counters = proxy.counters();
        assert_eq!((counters.server_failures, counters.requests_failed), (0, 0));
        let mut signs = Vec::new();
        proxy.take_signs(&mut signs);
        assert_eq!(signs, []);
        receive(&mut proxy, client, HELLO_3);
        assert_eq!(sent(&mut proxy, client), NO_PROTO, "it is known by now");
        let (other, request) = asked(&mut proxy, client, GET_A);
        assert_eq!(request, GET_A);
        assert_eq!(proxy.pools.servers.find(other).map(|one| one.version), Some(RespVersion::Two));
    }
}

#[test]
fn who_refused_is_asked_again_after_a_while_and_no_other() {
    let (mut proxy, client) = world();
    receive(&mut proxy, client, HELLO_3);
    let server = connect_all(&mut proxy)[0];
    let number = proxy.pools.servers.find(server).map(|one| one.number);
    sent(&mut proxy, server);
    receive(&mut proxy, server, NO_PROTO);
    sent(&mut proxy, client);
    let hello = |proxy: &mut Proxy, time| {
        let mut buffer = Buffer::from_bytes(Bytes::from_static(HELLO_3));
        proxy.on_received(at(time), client, &mut buffer);
    };
    hello(&mut proxy, 5);
    assert_eq!(sent(&mut proxy, client), NO_PROTO);
    hello(&mut proxy, 6);
    let server = connect_all(&mut proxy)[0];
    assert_eq!(proxy.pools.servers.find(server).map(|one| one.number), number);
    sent(&mut proxy, server);
    receive(&mut proxy, server, AGREED);
    sent(&mut proxy, server);
    receive(&mut proxy, server, b"+PONG\r\n");
    assert!(sent(&mut proxy, client).starts_with(b"%7\r\n"));
}

#[test]
fn a_failure_says_nothing_about_versions_and_another_server_is_asked_next() {
    let (mut proxy, client) = world();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        receive(&mut proxy, client, HELLO_3);
        let server = connect_all(&mut proxy)[0];
        numbers.extend(proxy.pools.servers.find(server).map(|one| one.number));
        proxy.on_error(at(1), server, Errno(libc::ECONNRESET));
        assert_eq!(sent(&mut proxy, client), b"-ERR Connection reset by peer\r\n");
        receive(&mut proxy, client, PING);
        assert_eq!(sent(&mut proxy, client), b"+PONG\r\n", "it goes on as before");
    }
    assert_eq!(numbers, [0, 1, 0]);
    agreed(&mut proxy, client);
}

#[test]
fn what_is_no_answer_to_hello_ends_the_connection() {
    let long = [b"+", &[b'x'; HELLO_REPLY_BYTES_MAX as usize][..]].concat();
    let replies: [&[u8]; 6] = [
        b"+OK\r\n",
        b"%0\r\n",
        b"*2\r\n$5\r\nproto\r\n:3\r\n",
        b"%1\r\n$5\r\nproto\r\n:2\r\n",
        b"%1\r\n:3\r\n$5\r\nproto\r\n",
        &long,
    ];
    for reply in replies {
        let (mut proxy, client) = world();
        receive(&mut proxy, client, HELLO_3);
        let server = connect_all(&mut proxy)[0];
        sent(&mut proxy, server);
        receive(&mut proxy, server, reply);
        assert_eq!(sent(&mut proxy, client), b"-ERR Invalid argument\r\n");
        assert_eq!(proxy.counters().server_bad_replies, 1);
    }
}

#[test]
fn a_client_that_goes_while_it_waits_leaves_an_agreement_behind() {
    let (mut proxy, client) = world();
    receive(&mut proxy, client, HELLO_3);
    let server = connect_all(&mut proxy)[0];
    sent(&mut proxy, server);
    proxy.on_error(at(1), client, Errno(libc::ECONNRESET));
    proxy.on_closed(client);
    receive(&mut proxy, server, AGREED);
    sent(&mut proxy, server);
    receive(&mut proxy, server, b"+PONG\r\n");
    let next = proxy.on_accept(0);
    receive(&mut proxy, next, HELLO_3);
    assert!(sent(&mut proxy, next).starts_with(b"%7\r\n"));
}

#[test]
fn a_client_with_a_connection_of_its_own_keeps_its_version() {
    let (mut proxy, client) = world();
    let Proxy { pools, clients, .. } = &mut proxy;
    let account = &mut clients.find_mut(client).expect("accepted").account;
    pools.lend_private(account, client, 0).expect("there is room");
    receive(&mut proxy, client, HELLO_3);
    assert!(sent(&mut proxy, client).starts_with(b"-ERR HELLO cannot change"));
    receive(&mut proxy, client, HELLO_2);
    assert!(sent(&mut proxy, client).starts_with(b"*14\r\n"));
}

#[test]
fn pushes_are_dropped_wherever_they_come() {
    const PUSH: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
    for cut in 0..PUSH.len() {
        let (mut proxy, client) = world();
        let server = agreed(&mut proxy, client);
        // Nobody waits at first; then somebody does, and his reply follows.
        receive(&mut proxy, server, &[PUSH, &PUSH[..cut]].concat());
        let number = proxy.pools.servers.find(server).map(|one| one.number).expect("up");
        let name = (0..).map(|n| format!("k{n}")).find(|name| {
            let routing = &proxy.pools.pools[0].setup.routing;
            routing.route(name.as_bytes(), 0) == Some(number as usize)
        });
        let get = format!("GET {}\r\n", name.expect("every server has keys"));
        receive(&mut proxy, client, get.as_bytes());
        sent(&mut proxy, server);
        receive(&mut proxy, server, &[&PUSH[cut..], PUSH, b"_\r\n", PUSH].concat());
        assert_eq!(sent(&mut proxy, client), b"_\r\n", "cut at {cut}");
        assert_eq!(proxy.counters().server_pushes_dropped, 4);
        assert_eq!(proxy.counters().server_failures, 0);
        assert_eq!(proxy.pools.servers.find(server).map(|one| one.partial.len()), Some(0));
    }
}

#[test]
fn a_reply_that_nobody_asked_for_is_no_push() {
    for bytes in [&b"+OK\r\n"[..], b"_\r\n", b">1\r\n+a\r\n+OK\r\n"] {
        let (mut proxy, client) = world();
        let server = agreed(&mut proxy, client);
        receive(&mut proxy, server, bytes);
        assert!(wants(&mut proxy).contains(&Want::Close(server)));
    }
}

#[test]
fn a_gather_is_made_of_what_resp3_has() {
    let (mut proxy, client) = world();
    agreed(&mut proxy, client);
    receive(&mut proxy, client, b"MGET a b\r\nDEL a b\r\nDEL a b\r\n");
    let mut parts = Vec::new();
    for _ in 0..3 {
        connect_all(&mut proxy);
        let keys: Vec<Key> = proxy.pools.servers.keys().collect();
        for key in keys {
            match sent(&mut proxy, key) {
                hello if hello == HELLO_3 => receive(&mut proxy, key, AGREED),
                other if !other.is_empty() => parts.push(key),
                _ => {}
            }
        }
    }
    let [first, second] = parts[..] else { panic!("both servers have a part: {parts:?}") };
    let attribute = b"|1\r\n+ttl\r\n:3\r\n";
    let values = [&attribute[..], b"*1\r\n|1\r\n+a\r\n+b\r\n_\r\n", attribute, b":1\r\n:1\r\n"];
    receive(&mut proxy, first, &values.concat());
    receive(&mut proxy, second, b"*1\r\n_\r\n:2\r\n!6\r\nERR no\r\n");
    let replies = sent(&mut proxy, client);
    let elements: [&[u8]; 2] = [b"|1\r\n+a\r\n+b\r\n_\r\n", b"_\r\n"];
    let both = [elements.concat(), [elements[1], elements[0]].concat()];
    let expected = both.map(|array| [b"*2\r\n", &array[..], b":3\r\n!6\r\nERR no\r\n"].concat());
    assert!(expected.contains(&replies), "{}", replies.escape_ascii());
}

#[test]
fn the_lowest_version_is_told_and_a_strange_one_is_not() {
    let version = LowestVersion::default();
    assert_eq!(version.to_string(), "7.0.0");
    let judged = |version: &str| {
        let map = format!(
            "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n${}\r\n{version}\r\n",
            version.len()
        );
        let mut parser = crate::proto::resp::ReplyParser::new();
        parser.speak(RespVersion::Three);
        parser.record_elements(true);
        parser.parse(map.as_bytes());
        let elements = crate::proxy::gather::Elements {
            at: parser.start(),
            start: parser.elements_start(),
            ends: parser.elements(),
        };
        crate::proxy::resp3::judge(map.as_bytes(), elements)
    };
    let mut heard = Vec::new();
    for text in ["7.4.2", "8.0", "x", "7.10.0", "6.2.14", "65536.1.1", "7.0.0-rc1", "255.255.255"] {
        let crate::proxy::resp3::Said::Agreed(packed) = judged(text) else { panic!("{text}") };
        packed.into_iter().for_each(|packed| version.note(packed));
        heard.push(version.to_string());
    }
    assert_eq!(heard, ["7.4.2", "7.4.2", "7.4.2", "7.4.2", "6.2.14", "6.2.14", "6.2.14", "6.2.14"]);
}
