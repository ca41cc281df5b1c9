//! Clients that do not read, servers that do not answer: memory has a bound, and others are served.

mod support;

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use support::client::{Client, Reply, command};
use support::proxy::Proxy;
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::{value, wait_until};

const MIB: usize = 1 << 20;

fn resident_mib(proxy: &Proxy) -> usize {
    proxy.process().resident_bytes() / MIB
}

/// Repeats a request until the proxy holds more than `mib`, or nothing has changed for a while:
/// the largest memory seen.
fn largest_memory(proxy: &Proxy, other: &mut Client, quiet: Duration) -> usize {
    let (mut largest, mut since) = (resident_mib(proxy), Instant::now());
    while since.elapsed() < quiet {
        other.expect_in_step("others are served");
        let now = resident_mib(proxy);
        if now > largest {
            (largest, since) = (now, Instant::now());
        }
    }
    largest
}

#[test]
fn a_client_that_asks_for_300_mb_and_never_reads_costs_no_more_than_its_limit() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let before = resident_mib(&proxy);
    let large = value(1, 1_000_000);
    assert_eq!(other.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
    client.send(&command(&["GET", "large"]).repeat(300));
    let largest = largest_memory(&proxy, &mut other, Duration::from_millis(1500));
    assert!(largest < 350, "{largest} MiB");
    // The other's own requests to the same server pass as well.
    let got = other.call(&["GET", "large"]);
    assert!(got == Reply::Bulk(large), "{got:?}");
    client.reset();
    wait_until("the memory is given back", || resident_mib(&proxy) < before + 48);
}

#[test]
fn ten_clients_that_never_read_are_bounded_and_others_are_served() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut other = proxy.client();
    let large = value(2, 1_000_000);
    assert_eq!(other.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
    let before = resident_mib(&proxy);
    let clients: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = proxy.client();
            client.send(&command(&["GET", "large"]).repeat(40));
            client
        })
        .collect();
    let largest = largest_memory(&proxy, &mut other, Duration::from_millis(1500));
    // 400 MB were asked for, less than each one's limit: it is held, and not twice.
    assert!(largest < 600, "{largest} MiB");
    drop(clients);
    wait_until("the memory is given back", || resident_mib(&proxy) < before + 64);
    other.expect_in_step("others are served");
}

#[test]
fn a_client_that_writes_local_requests_and_never_reads_is_not_read_either() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.set_deadline(Duration::from_secs(3));
    let request = command(&[b"PING", &value(3, 60_000)[..]]);
    let mut sent = 0;
    let error = loop {
        match client.writer().write(&request) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "a gibibyte was taken and nobody read a reply");
    };
    let kinds = [ErrorKind::WouldBlock, ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
    assert!(kinds.contains(&error.kind()), "{error}");
    assert!(resident_mib(&proxy) < 350, "{} MiB", resident_mib(&proxy));
    other.expect_in_step("others are served");
}

#[test]
fn many_requests_to_a_stopped_server_wait_with_the_client() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.call(&["SET", "a", "0"]);
    let before = resident_mib(&proxy);
    server.process().stop();
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || {
        writer.write_all(&command(&["INCR", "a"]).repeat(400_000)).expect("all was taken");
    });
    let largest = largest_memory(&proxy, &mut other, Duration::from_millis(700));
    assert!(largest < before + 32, "{largest} MiB, {before} MiB before");
    server.process().resume();
    for number in 1..=400_000 {
        assert_eq!(client.reply(), Reply::Integer(number));
    }
    writing.join().expect("all was written");
}

#[test]
fn large_requests_to_a_stopped_server_wait_with_their_clients() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut other = proxy.client();
    other.call(&["SET", "a", "0"]);
    server.process().stop();
    let clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    let writing: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, client)| {
            let mut writer = client.writer();
            std::thread::spawn(move || {
                let large = value(number as u64, 4 * MIB);
                for _ in 0..8 {
                    let request = command(&[b"SET", format!("k{number}").as_bytes(), &large]);
                    writer.write_all(&request).expect("all was taken");
                }
            })
        })
        .collect();
    // 640 MiB want to be written; 64 MiB may wait for the server, and one request per client.
    let largest = largest_memory(&proxy, &mut other, Duration::from_millis(1500));
    assert!(largest < 400, "{largest} MiB");
    server.process().resume();
    for mut client in clients {
        client.expect(&b"+OK\r\n".repeat(8));
    }
    for thread in writing {
        thread.join().expect("all was written");
    }
}

#[test]
fn a_client_that_waits_for_a_stopped_server_and_leaves_is_noticed() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut other = proxy.client();
    other.call(&["SET", "a", "0"]);
    server.process().stop();
    let before = proxy.process().open_descriptors();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        // More than may be in flight: the proxy does not read these clients any more.
        client.send(&command(&["GET", "a"]).repeat(2000));
    }
    other.expect_in_step("read");
    wait_until("all are accepted", || proxy.process().open_descriptors() == before + 20);
    for client in clients {
        client.reset();
    }
    wait_until("they are gone", || proxy.process().open_descriptors() == before);
    server.process().resume();
    assert_eq!(other.call(&["GET", "a"]), Reply::bulk("0"));
    other.expect_in_step("nothing is left over");
}

#[test]
fn a_client_that_never_reads_stops_no_other_client_of_the_same_servers() {
    let servers = [Redis::start(), Redis::start()];
    let lines: Vec<String> =
        servers.iter().zip(NAMES).map(|(server, name)| server.named(name)).collect();
    let proxy = Proxy::start(&lines, &["timeout: 5000"]);
    let keys = [1, 2].map(|number| keys_of(OVER_TWO, number)[0].clone());
    let (mut greedy, mut other) = (proxy.client(), proxy.client());
    let large = value(5, 500_000);
    for key in &keys {
        assert_eq!(other.call(&[b"SET", key.as_bytes(), &large]), Reply::status("OK"));
    }
    let both = command(&["MGET", &keys[0], &keys[1]]);
    greedy.send(&both.repeat(100));
    let small = [keys_of(OVER_TWO, 1)[1].clone(), keys_of(OVER_TWO, 2)[1].clone()];
    let begin = Instant::now();
    for round in 0..200 {
        let text = format!("{round}");
        let set = other.call(&["MSET", &small[0], &text, &small[1], &text]);
        assert_eq!(set, Reply::status("OK"));
        let expected = Reply::Array(vec![Reply::bulk(&text); 2]);
        assert_eq!(other.call(&["MGET", &small[0], &small[1]]), expected);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    drop(greedy);
}
