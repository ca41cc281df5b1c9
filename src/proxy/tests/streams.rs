//! Replies that stream, by themselves.

use super::*;

const MIN: usize = 100;

fn limits() -> Limits {
    Limits { stream_bytes_min: MIN, ..Limits::default() }
}

/// A client that has sent `requests`, and the server connection that has them.
fn asked(limits: Limits, requests: &[u8]) -> (Proxy, Key, Key) {
    let mut proxy = proxy(limits);
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, requests);
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("requests");
    (proxy, client, server)
}

fn value(len: usize) -> Vec<u8> {
    [format!("${len}\r\n").as_bytes(), &vec![b'x'; len], b"\r\n"].concat()
}

#[test]
fn a_reply_streams_from_its_limit_on_and_not_before() {
    let (mut proxy, client, server) = asked(limits(), b"GET a\r\n");
    let reply = value(2 * MIN);
    receive(&mut proxy, server, &reply[..MIN - 1]);
    assert_eq!(sent(&mut proxy, client), b"");
    receive(&mut proxy, server, &reply[MIN - 1..MIN]);
    assert_eq!(sent(&mut proxy, client), &reply[..MIN]);
    receive(&mut proxy, server, &reply[MIN..reply.len() - 1]);
    assert_eq!(sent(&mut proxy, client), &reply[MIN..reply.len() - 1]);
    receive(&mut proxy, server, b"\n");
    assert_eq!(sent(&mut proxy, client), b"\n");
    assert_eq!((proxy.counters().replies, proxy.counters().replies_streamed), (1, 2));
    let held = proxy.holdings();
    assert_eq!((held.bytes(), held.in_flight, held.waiting), (0, 0, 0));
}

#[test]
fn only_the_reply_of_the_head_streams_and_nothing_comes_between() {
    let (mut proxy, client, server) = asked(limits(), b"GET a\r\nGET a\r\nPING\r\n");
    let reply = value(3 * MIN);
    let (part, rest) = reply.split_at(2 * MIN);
    receive(&mut proxy, server, part);
    receive(&mut proxy, client, b"PING\r\nGET\r\n");
    assert_eq!(sent(&mut proxy, client), part);
    receive(&mut proxy, server, &[rest, part].concat());
    let expected = [rest, part].concat();
    assert_eq!(sent(&mut proxy, client), expected, "the second is at the head by now");
    receive(&mut proxy, server, rest);
    let text = sent(&mut proxy, client);
    let behind = text.strip_prefix(rest).expect("the rest, and what waited for it");
    assert!(behind.starts_with(b"+PONG\r\n+PONG\r\n-ERR wrong number of arguments"));
}

#[test]
fn a_reply_behind_an_earlier_request_waits_until_it_is_whole_or_at_the_head() {
    let mut proxy = proxy(limits());
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"MGET a b c d e f\r\nGET a\r\n");
    let servers = connect_all(&mut proxy);
    let requests: Vec<String> = servers
        .iter()
        .map(|&key| String::from_utf8(sent(&mut proxy, key)).expect("text"))
        .collect();
    let has_get = usize::from(requests[1].contains("GET a"));
    let (with, without) = (servers[has_get], servers[1 - has_get]);
    let answer = |at: usize| {
        let keys = usize::from(requests[at].as_bytes()[1] - b'1');
        [format!("*{keys}\r\n").as_bytes(), &b":1\r\n".repeat(keys)].concat()
    };
    let reply = value(3 * MIN);
    receive(&mut proxy, with, &[&answer(has_get), &reply[..2 * MIN]].concat());
    assert_eq!(sent(&mut proxy, client), b"", "a gather is before it");
    receive(&mut proxy, without, &answer(1 - has_get));
    assert!(sent(&mut proxy, client).starts_with(b"*6\r\n"));
    receive(&mut proxy, with, &reply[2 * MIN..2 * MIN + 1]);
    assert_eq!(sent(&mut proxy, client), &reply[..2 * MIN + 1]);
}

#[test]
fn a_server_that_fails_in_a_stream_closes_its_client_without_a_word() {
    let ends: [fn(&mut Proxy, Key); 3] = [
        |proxy, server| proxy.on_end(at(2), server),
        |proxy, server| proxy.on_error(at(2), server, Errno(libc::ECONNRESET)),
        |proxy, server| receive(proxy, server, b"?\r\n"),
    ];
    for end in ends {
        let (mut proxy, client, server) = asked(limits(), b"GET a\r\nGET a\r\n");
        let other = proxy.on_accept(0);
        receive(&mut proxy, other, b"GET a\r\n");
        proxy.take_output(server).expect("a request");
        receive(&mut proxy, server, &[&b"*3\r\n"[..], &value(2 * MIN)].concat());
        assert_eq!(sent(&mut proxy, client).len(), 4 + value(2 * MIN).len());
        end(&mut proxy, server);
        assert!(wants(&mut proxy).contains(&Want::Close(client)));
        assert_eq!(proxy.take_output(client).map(|output| output.len()), None);
        assert!(sent(&mut proxy, other).starts_with(b"-ERR "), "it is told");
        let counters = proxy.counters();
        assert_eq!((counters.clients_cut_off, counters.requests_failed), (1, 2));
    }
}

#[test]
fn a_reply_below_the_limit_is_answered_with_an_error_when_its_server_fails() {
    let (mut proxy, client, server) = asked(limits(), b"GET a\r\n");
    receive(&mut proxy, server, &value(2 * MIN)[..MIN - 1]);
    proxy.on_end(at(2), server);
    assert_eq!(sent(&mut proxy, client), b"-ERR unknown\r\n");
    assert_eq!(proxy.counters().clients_cut_off, 0);
}

#[test]
fn the_deadline_of_a_reply_that_streams_runs_from_its_queueing() {
    let mut proxy = proxy(limits());
    proxy.pools.pools[0].setup.timeout = Some(Duration::from_secs(5));
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"GET a\r\n");
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("a request");
    let reply = value(20 * MIN);
    for (second, piece) in (2..).zip(reply.chunks(2 * MIN).take(4)) {
        proxy.on_received(at(second), server, &mut Buffer::from_bytes(piece.to_vec().into()));
        proxy.on_tick(at(second));
        assert_eq!(sent(&mut proxy, client), piece);
    }
    proxy.on_tick(at(6));
    assert!(wants(&mut proxy).contains(&Want::Close(client)));
    let counters = proxy.counters();
    assert_eq!((counters.server_timeouts, counters.clients_cut_off), (1, 1));
}

#[test]
fn the_rest_of_a_stream_is_swallowed_for_a_client_that_has_gone() {
    let (mut proxy, client, server) = asked(limits(), b"GET a\r\n");
    let other = proxy.on_accept(0);
    receive(&mut proxy, other, b"GET b\r\nGET a\r\n");
    proxy.take_output(server).expect("a request");
    let reply = value(5 * MIN);
    receive(&mut proxy, server, &reply[..2 * MIN]);
    proxy.on_error(at(1), client, Errno(libc::ECONNRESET));
    proxy.on_closed(client);
    // The next one has its slot.
    let next = proxy.on_accept(0);
    assert_eq!(next.index, client.index);
    receive(&mut proxy, server, &reply[2 * MIN..4 * MIN]);
    assert_eq!(proxy.holdings().partial_bytes, 0);
    receive(&mut proxy, server, &[&reply[4 * MIN..], b"$1\r\n1\r\n"].concat());
    assert_eq!(proxy.counters().replies_swallowed, 1);
    assert_eq!(sent(&mut proxy, next), b"");
    assert_eq!(proxy.counters().server_failures, 0);
}

#[test]
fn a_stream_that_is_not_taken_ends_at_its_own_limit() {
    let bounds = Limits {
        output_soft_bytes: 200,
        output_hard_bytes: 1000,
        reply_bytes_max: 3000,
        ..limits()
    };
    let (mut proxy, client, server) = asked(bounds, b"GET a\r\n");
    receive(&mut proxy, server, &value(1 << 20)[..3000]);
    assert!(!wants(&mut proxy).contains(&Want::Close(client)), "a single reply may be as large");
    receive(&mut proxy, server, &[b'x'; MIN]);
    assert!(wants(&mut proxy).contains(&Want::Close(client)));
    assert_eq!(proxy.counters().clients_over_output, 1);
    receive(&mut proxy, server, &[b'x'; 5000]);
    assert_eq!((proxy.holdings().bytes(), proxy.counters().server_failures), (0, 0));
}

#[test]
fn a_stream_to_who_had_not_kept_up_ends_at_the_hard_limit() {
    let bounds = Limits { output_soft_bytes: 200, output_hard_bytes: 1000, ..limits() };
    let (mut proxy, client, server) = asked(bounds, b"GET a\r\nGET a\r\n");
    receive(&mut proxy, server, &value(500));
    receive(&mut proxy, server, &value(1 << 20)[..400]);
    assert!(!wants(&mut proxy).contains(&Want::Close(client)));
    receive(&mut proxy, server, &[b'x'; 100]);
    assert!(wants(&mut proxy).contains(&Want::Close(client)));
}

#[test]
fn a_stream_that_is_taken_may_be_larger_than_any_reply() {
    let bounds = Limits { reply_bytes_max: 1000, ..limits() };
    let (mut proxy, client, server) = asked(bounds, b"GET a\r\n");
    let reply = value(5000);
    for piece in reply.chunks(300) {
        receive(&mut proxy, server, piece);
        assert_eq!(sent(&mut proxy, client), piece);
    }
    assert_eq!(proxy.holdings().bytes(), 0);
}

#[test]
fn who_sends_while_a_large_value_is_unread_is_not_blamed_for_it() {
    let bounds = Limits { output_soft_bytes: 20, output_hard_bytes: 50, ..Limits::default() };
    let (mut proxy, client, server) = asked(bounds, b"GET a\r\n");
    receive(&mut proxy, server, &value(60));
    receive(&mut proxy, client, b"PING\r\n");
    assert!(!wants(&mut proxy).contains(&Want::Close(client)));
}

#[test]
fn an_error_does_not_stream_however_long() {
    let (mut proxy, client, server) = asked(limits(), b"GET a\r\n");
    receive(&mut proxy, server, &[&b"-ERR "[..], &[b'x'; 2 * MIN]].concat());
    assert_eq!(sent(&mut proxy, client), b"");
    receive(&mut proxy, server, b"\r\n");
    assert_eq!(sent(&mut proxy, client).len(), 5 + 2 * MIN + 2);
}

#[test]
fn who_waits_at_a_server_is_let_be_once_the_reply_streams() {
    let (mut proxy, client, server) = asked(limits(), b"BLPOP a 0\r\n");
    let reply = [&b"*2\r\n$1\r\na\r\n"[..], &value(2 * MIN)].concat();
    let (part, rest) = reply.split_at(2 * MIN);
    receive(&mut proxy, server, part);
    proxy.drain(at(1));
    proxy.on_end(at(1), client);
    receive(&mut proxy, server, rest);
    assert_eq!(sent(&mut proxy, client), reply);
    assert!(wants(&mut proxy).contains(&Want::Farewell(client)));
}

#[test]
fn a_line_of_memcached_is_known_to_be_right_before_it_is_passed_on() {
    let mut proxy = proxy(limits());
    proxy.pools.pools[0].setup.protocol = Protocol::Memcache;
    let client = proxy.on_accept(0);
    receive(&mut proxy, client, b"get a\r\n");
    let server = connect_all(&mut proxy)[0];
    proxy.take_output(server).expect("a request");
    let value = [&b"VALUE a 0 200\r\n"[..], &[b'x'; 200], b"\r\n"].concat();
    receive(&mut proxy, server, &[&value[..], b"VALUE anothe"].concat());
    assert_eq!(sent(&mut proxy, client), value);
    receive(&mut proxy, server, b"rs 0 200");
    assert_eq!(sent(&mut proxy, client), b"");
    receive(&mut proxy, server, b"\r\n");
    assert!(wants(&mut proxy).contains(&Want::Close(client)));
    assert_eq!(proxy.counters().server_bad_replies, 1);
}

#[test]
fn to_who_listens_no_reply_streams() {
    let (mut proxy, client, server) = asked(limits(), b"GET a\r\n");
    let account = &mut proxy.clients.find_mut(client).expect("here").account;
    account.subscriptions = Some(Box::default());
    receive(&mut proxy, server, &value(2 * MIN)[..2 * MIN]);
    assert_eq!(sent(&mut proxy, client), b"");
}
