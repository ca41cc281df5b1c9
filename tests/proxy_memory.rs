//! What clients cost: resident memory of the program with many that only wait, and after a burst.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use ringcracker::sys::process;
use support::client::{Client, command};
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::wait_until;

#[test]
fn a_client_that_only_waits_costs_little() {
    let limit = process::raise_open_files_limit();
    let clients = IDLE_CLIENTS.min(limit.saturating_sub(RESERVED) as usize);
    assert!(clients >= 500, "too few open files are allowed here: {limit}");
    let redis = Redis::start();
    let proxy = Start::with_pool(&[redis.line()], &[]).start();
    // The first few make what every worker has once.
    let mut first = proxy.client();
    first.call(&["SET", "a", "1"]);
    let few: Vec<TcpStream> = (0..100).map(|_| connect(proxy.port())).collect();
    wait_for_clients(&proxy, few.len());
    let before = proxy.process().resident_bytes();
    let many: Vec<TcpStream> = (0..clients).map(|_| connect(proxy.port())).collect();
    wait_for_clients(&proxy, few.len() + many.len());
    first.expect_in_step("they are all there");
    let grown = proxy.process().resident_bytes().saturating_sub(before);
    let each = grown / clients;
    println!("{clients} clients, {each} bytes each");
    assert!(each <= IDLE_CLIENT_BYTES_MAX, "{each} bytes for each of {clients} clients");
}

#[test]
fn memory_is_given_back_after_a_burst() {
    let redis = Redis::start();
    let proxy = Start::with_pool(&[redis.line()], &[]).start();
    let value = support::value(1, 1 << 20);
    proxy.client().call(&[b"SET".as_slice(), b"big", &value]);
    let before = proxy.process().resident_bytes();
    let mut clients: Vec<Client> = (0..BURST_CLIENTS).map(|_| proxy.client()).collect();
    let get = command(&["GET", "big"]);
    for client in &mut clients {
        client.send(&get.repeat(BURST_DEPTH));
    }
    // Replies pile up while nobody reads them.
    wait_until("the proxy holds the burst", || {
        proxy.process().resident_bytes() > before + BURST_BYTES_MIN
    });
    for client in &mut clients {
        for _ in 0..BURST_DEPTH {
            client.exchange(b"", &[b"$1048576\r\n", value.as_slice(), b"\r\n"].concat());
        }
    }
    drop(clients);
    wait_until("memory is near where it began", || {
        proxy.process().resident_bytes() < before + AFTER_BURST_BYTES_MAX
    });
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap()
}

/// Waits until so many clients, and a little more, are with the proxy.
fn wait_for_clients(proxy: &Proxy, count: usize) {
    wait_until("all clients are accepted", || proxy.process().open_descriptors() > count);
}

/// As many as it takes to tell a client's cost from a page more or less.
const IDLE_CLIENTS: usize = 10_000;

/// Descriptors of the test itself.
const RESERVED: u64 = 300;

/// Of resident memory, all that the proxy keeps for it.
const IDLE_CLIENT_BYTES_MAX: usize = 1536;

const BURST_CLIENTS: usize = 20;
const BURST_DEPTH: usize = 8;

/// The burst is seen in the memory at all.
const BURST_BYTES_MIN: usize = 32 << 20;

/// What may be left of it: the heap is given back beyond 16 MiB.
const AFTER_BURST_BYTES_MAX: usize = 24 << 20;
