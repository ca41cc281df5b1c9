//! Values of many mebibytes, within bounded memory and time.

mod support;

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use support::client::{Client, Reply, command};
use support::proxy::Proxy;
use support::redis::Redis;
use support::value;

const MIB: usize = 1 << 20;

/// Pairs of a SET and a GET of `size` bytes, each pair with a value of its own.
fn write_pairs(mut writer: impl Write, pairs: u64, size: usize) -> std::io::Result<()> {
    for pair in 0..pairs {
        writer.write_all(&command(&[b"SET", &b"large"[..], &value(pair, size)]))?;
        writer.write_all(&command(&["GET", "large"]))?;
    }
    Ok(())
}

fn read_pairs(client: &mut Client, pairs: u64, size: usize) {
    for pair in 0..pairs {
        assert_eq!(client.reply(), Reply::status("OK"), "pair {pair}");
        let (got, expected) = (client.reply(), Reply::Bulk(value(pair, size)));
        assert!(got == expected, "pair {pair}: {got:?}, expected {expected:?}");
    }
}

#[test]
fn sixty_four_mebibytes_go_in_and_come_out() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    let large = value(64, 64 * MIB);
    let before = proxy.process().resident_bytes();
    assert_eq!(client.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
    let got = client.call(&["GET", "large"]);
    assert!(got == Reply::Bulk(large), "{got:?}");
    // One copy of each byte, with room for what the allocator and other buffers hold meanwhile.
    let grown = proxy.process().peak_resident_bytes() - before;
    assert!(grown < 110 * MIB, "memory grew by {} MiB at its peak", grown / MIB);
    // And none of it is kept.
    support::wait_until("the memory is given back", || {
        proxy.process().resident_bytes() < before + 48 * MIB
    });
}

#[test]
fn twenty_pairs_of_seventeen_mebibytes_finish_when_read_while_written() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    let writer = client.writer();
    let writing = std::thread::spawn(move || write_pairs(writer, 20, 17 * MIB));
    read_pairs(&mut client, 20, 17 * MIB);
    writing.join().expect("no panic").expect("all was taken");
}

#[test]
fn a_client_that_reads_only_in_the_end_is_finished_below_the_output_limit() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    write_pairs(client.writer(), 3, 17 * MIB).expect("all was taken");
    read_pairs(&mut client, 3, 17 * MIB);
}

#[test]
fn a_client_that_never_reads_is_closed_above_the_output_limit() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.set_deadline(Duration::from_secs(60));
    let begin = Instant::now();
    let error = write_pairs(client.writer(), 12, 17 * MIB).expect_err("204 MiB of output unread");
    let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind());
    assert!(closed, "hung, not closed: {error} after {:?}", begin.elapsed());
    // It took nothing for 20 s after it had been beyond 64 MiB; the rest is the way there.
    assert!(begin.elapsed() < Duration::from_secs(50), "closed after {:?}", begin.elapsed());
    proxy.client().expect_in_step("others are served");
}

#[test]
fn a_slow_reader_of_more_than_the_output_limit_is_finished() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    let large = value(9, 10 * MIB);
    assert_eq!(client.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
    // 150 MiB are asked for at once, and then read: a part of them waits in the proxy.
    client.send(&command(&["GET", "large"]).repeat(15));
    for _ in 0..15 {
        assert!(client.reply() == Reply::Bulk(large.clone()));
    }
    client.expect_in_step("after all of it");
}

#[test]
fn another_client_is_served_between_the_pieces_of_a_large_value() {
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::start(&[servers[0].line(), servers[1].line()], &[]);
    let mut large_one = proxy.client();
    let writer = large_one.writer();
    let mut small_one = proxy.client();
    let writing = std::thread::spawn(move || write_pairs(writer, 4, 32 * MIB));
    let reading = std::thread::spawn(move || read_pairs(&mut large_one, 4, 32 * MIB));
    let mut slowest = Duration::ZERO;
    let mut served = 0;
    while !reading.is_finished() {
        let begin = Instant::now();
        small_one.expect_in_step("small");
        slowest = slowest.max(begin.elapsed());
        served += 1;
    }
    writing.join().expect("no panic").expect("all was taken");
    reading.join().expect("all came back");
    // A bound against standing still while a value passes, not a measurement.
    assert!(slowest < Duration::from_secs(2), "a PING took {slowest:?}");
    assert!(served > 20, "{served} PINGs were answered meanwhile");
}

#[test]
fn clients_that_vanish_in_the_middle_of_a_value_leave_the_others_right() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut other = proxy.client();
    let large = value(11, 20 * MIB);
    assert_eq!(other.call(&[b"SET", &b"large"[..], &large]), Reply::status("OK"));
    for round in 0..12_u64 {
        let mut leaving = proxy.client();
        if round % 2 == 0 {
            // In the middle of a reply, with another one behind it.
            leaving.send(&command(&["GET", "large"]).repeat(2));
            leaving.expect(&[b"$20971520\r\n", &large[..100_000]].concat());
        } else {
            // In the middle of a request, behind a whole one.
            let request = command(&[b"SET", &b"half"[..], &large]);
            leaving.send(&command(&["SET", "whole", &format!("{round}")]));
            leaving.send(&request[..5 * MIB]);
            leaving.expect(b"+OK\r\n");
        }
        other.send(&command(&["SET", "marker", &format!("{round}")]));
        other.send(&command(&["GET", "marker"]));
        if round % 4 < 2 {
            leaving.reset();
        } else {
            drop(leaving);
        }
        assert_eq!(other.reply(), Reply::status("OK"));
        assert_eq!(other.reply(), Reply::bulk(format!("{round}")));
    }
    assert!(other.call(&["GET", "large"]) == Reply::Bulk(large));
    assert_eq!(other.call(&["EXISTS", "half"]), Reply::Integer(0));
    assert_eq!(other.call(&["GET", "whole"]), Reply::bulk("11"));
}
