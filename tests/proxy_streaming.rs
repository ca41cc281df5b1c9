//! Large replies on their way to the client before their last byte has come from the server.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use ringcracker::limits::STREAM_BYTES_MIN;
use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::proxy::Proxy;
use support::redis::Redis;
use support::{value, wait_until};

const MIB: usize = 1 << 20;

/// A fake whose first connection sends `part` of a reply once it has `requests`, and the rest, or
/// its end, when it is told to. Later connections answer `:1` to everything.
fn sends_a_part(requests: usize, part: Vec<u8>, rest: Option<Vec<u8>>) -> (FakeServer, Go) {
    let go = Go::default();
    let told = go.clone();
    let server = FakeServer::start(move |connection| {
        if connection.number > 0 {
            while connection.request().is_some() {
                connection.send(b":1\r\n");
            }
            return;
        }
        for _ in 0..requests {
            connection.request();
        }
        connection.send(&part);
        wait_until("the rest is asked for", || told.0.load(Ordering::SeqCst));
        let Some(rest) = &rest else { return };
        connection.send(rest);
        while connection.request().is_some() {
            connection.send(b":1\r\n");
        }
    });
    (server, go)
}

/// Says when a fake goes on.
#[derive(Clone, Default)]
struct Go(Arc<AtomicBool>);

impl Go {
    fn on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

#[test]
fn values_about_the_limit_are_whole_and_in_their_place() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    let head = format!("${STREAM_BYTES_MIN}\r\n").len() + 2;
    let sizes = [0, 1, 2, head, head + 1].map(|less| STREAM_BYTES_MIN + 1 - less);
    for size in sizes.into_iter().chain([2 * STREAM_BYTES_MIN, 5 * STREAM_BYTES_MIN + 7]) {
        let large = value(size as u64, size);
        assert_eq!(client.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
        let get = command(&["GET", "large"]);
        client.send(&[&get[..], b"PING\r\n", &get, &get, &command(&["STRLEN", "large"])].concat());
        for reply in [1, 0, 1, 1].map(|is_value| is_value == 1) {
            let expected = if reply { bulk(&large) } else { b"+PONG\r\n".to_vec() };
            client.expect(&expected);
        }
        assert_eq!(client.reply(), Reply::Integer(size as i64));
    }
}

#[test]
fn the_first_bytes_come_before_the_last_are_sent() {
    let large = value(3, MIB);
    let reply = bulk(&large);
    let (part, rest) = reply.split_at(MIB / 2);
    let (server, go) = sends_a_part(1, part.to_vec(), Some(rest.to_vec()));
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&[command(&["GET", "a"]), b"PING\r\n".to_vec()].concat());
    client.expect(&part[..part.len() - STREAM_BYTES_MIN]);
    go.on();
    client.expect(&reply[part.len() - STREAM_BYTES_MIN..]);
    client.expect(b"+PONG\r\n");
}

#[test]
fn a_server_that_dies_in_a_reply_costs_its_client_and_nobody_else() {
    let reply = bulk(&value(4, MIB));
    let (server, go) = sends_a_part(3, reply[..MIB / 2].to_vec(), None);
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut large_one, mut other) = (proxy.client(), proxy.client());
    large_one.send(&command(&["GET", "a"]));
    large_one.expect_in_flight(&server, 1);
    other.send(&command(&["GET", "b"]));
    other.expect_in_flight(&server, 2);
    large_one.send(&command(&["GET", "c"]));
    large_one.expect(&reply[..MIB / 4]);
    go.on();
    let (rest, _) = large_one.read_to_end();
    assert!(reply[MIB / 4..].starts_with(&rest), "what comes is its own, without a word behind");
    assert_eq!(other.reply(), Reply::error("ERR unknown"));
    assert_eq!(other.call(&["INCR", "a"]), Reply::Integer(1));
    other.expect_in_step("nothing is left over");
}

#[test]
fn a_client_that_goes_in_a_reply_costs_nobody_anything() {
    let reply = bulk(&value(5, 2 * MIB));
    let (part, rest) = reply.split_at(MIB);
    let rest = [rest, b":7\r\n"].concat();
    let (server, go) = sends_a_part(2, part.to_vec(), Some(rest));
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut leaving, mut other) = (proxy.client(), proxy.client());
    leaving.send(&command(&["GET", "a"]));
    leaving.expect_in_flight(&server, 1);
    other.send(&command(&["GET", "b"]));
    leaving.expect(&part[..MIB / 2]);
    let before = proxy.process().open_descriptors();
    leaving.reset();
    wait_until("it is gone", || proxy.process().open_descriptors() < before);
    go.on();
    assert_eq!(other.reply(), Reply::Integer(7));
    assert_eq!(other.call(&["INCR", "a"]), Reply::Integer(1));
    assert_eq!(server.accepted(), 1, "the connection is as good as before");
}

#[test]
fn fifty_clients_that_fetch_sixteen_mebibytes_need_memory_for_few() {
    const CLIENTS: usize = 50;
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let large = Arc::new(value(6, 16 * MIB));
    let mut first = proxy.client();
    assert_eq!(first.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, barrier) = (proxy.client(), Arc::clone(&barrier));
            let large = Arc::clone(&large);
            std::thread::spawn(move || {
                barrier.wait();
                client.send(&command(&["GET", "large"]));
                client.expect(format!("${}\r\n", large.len()).as_bytes());
                large.chunks(MIB).for_each(|piece| client.expect(piece));
                client.expect(b"\r\n");
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("its value"));
    let peak = proxy.process().peak_resident_bytes();
    assert!(peak < 200 * MIB, "{} MiB for 800 that passed", peak / MIB);
}

trait InFlight {
    /// Waits until a server has had so many requests.
    fn expect_in_flight(&mut self, server: &FakeServer, requests: usize);
}

impl InFlight for Client {
    fn expect_in_flight(&mut self, server: &FakeServer, requests: usize) {
        wait_until("the server has the request", || {
            server.received().windows(3).filter(|part| part == b"GET").count() >= requests
        });
    }
}
