//! Requests sent ahead of their replies, in any pieces.

mod support;

use std::io::Write;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::proxy::Proxy;
use support::redis::Redis;
use support::spread::{NAMES, key};
use support::value;

fn two_servers() -> (Vec<Redis>, Vec<String>) {
    let servers = vec![Redis::start(), Redis::start()];
    let lines = servers.iter().zip(NAMES).map(|(server, name)| server.named(name)).collect();
    (servers, lines)
}

/// Sends all of `requests` from a thread of its own while this one reads the replies.
fn while_writing(client: &mut Client, requests: Vec<u8>, read: impl FnOnce(&mut Client)) {
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || writer.write_all(&requests));
    read(client);
    writing.join().expect("no panic").expect("all was taken");
}

#[test]
fn thousands_of_requests_are_answered_in_order() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let mut requests = vec![];
    for index in 0..10_000 {
        requests.extend(command(&["SET", &key(index), &format!("v{index}")]));
        requests.extend(command(&["GET", &key(index)]));
        if index % 7 == 0 {
            requests.extend(command(&["PING", &format!("p{index}")]));
        }
        if index % 11 == 0 {
            requests.extend(command(&["MGET", &key(index), &key(index / 2)]));
        }
        if index % 13 == 0 {
            requests.extend(command(&["NOSUCH", "command"]));
        }
    }
    while_writing(&mut client, requests, |client| {
        for index in 0..10_000 {
            assert_eq!(client.reply(), Reply::status("OK"), "{index}");
            assert_eq!(client.reply(), Reply::bulk(format!("v{index}")));
            if index % 7 == 0 {
                assert_eq!(client.reply(), Reply::bulk(format!("p{index}")));
            }
            if index % 11 == 0 {
                let both = [format!("v{index}"), format!("v{}", index / 2)].map(Reply::bulk);
                assert_eq!(client.reply(), Reply::Array(both.to_vec()));
            }
            if index % 13 == 0 {
                assert!(client.reply().error_text().starts_with("ERR unknown command 'NOSUCH'"));
            }
        }
    });
}

#[test]
fn values_of_all_sizes_come_back_exact_and_in_order() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let sizes = [
        0,
        1,
        2,
        100,
        4095,
        4096,
        8191,
        8192,
        16_383,
        16_384,
        16_385,
        65_535,
        65_536,
        65_537,
        262_143,
        262_144,
        262_145,
        1 << 20,
        0,
        1,
        3_000_001,
        16 << 20,
        5,
        0,
        131_072,
        40_000,
        16_384,
    ];
    let mut requests = vec![];
    for (index, &size) in sizes.iter().enumerate() {
        let value = value(index as u64, size);
        requests.extend(command(&[b"SET", key(index).as_bytes(), &value]));
        requests.extend(command(&["GET", &key(index)]));
        requests.extend(command(&["STRLEN", &key(index)]));
    }
    while_writing(&mut client, requests, |client| {
        for (index, &size) in sizes.iter().enumerate() {
            assert_eq!(client.reply(), Reply::status("OK"));
            let (got, expected) = (client.reply(), Reply::Bulk(value(index as u64, size)));
            assert!(got == expected, "size {size}: {got:?}, expected {expected:?}");
            assert_eq!(client.reply(), Reply::Integer(size as i64));
        }
    });
}

#[test]
fn many_clients_with_pipelines_of_mixed_sizes_get_their_own() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    std::thread::scope(|scope| {
        for number in 0..12_u64 {
            let mut client = proxy.client();
            scope.spawn(move || {
                for round in 0..20 {
                    let mut requests = vec![];
                    let size = |index: u64| [0, 10, 700, 5000, 20_000, 90_000][index as usize % 6];
                    let seed = |index: u64| number * 1_000_000 + round * 1000 + index;
                    for index in 0..30 {
                        let name = format!("{index}:{number}");
                        let value = value(seed(index), size(index + round));
                        requests.extend(command(&[b"SET", name.as_bytes(), &value]));
                        requests.extend(command(&["GET", &name]));
                    }
                    while_writing(&mut client, requests, |client| {
                        for index in 0..30 {
                            assert_eq!(client.reply(), Reply::status("OK"));
                            let mine = value(seed(index), size(index + round));
                            assert_eq!(client.reply(), Reply::Bulk(mine), "{number} {round}");
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn a_half_closed_client_is_answered_to_the_end() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let large = value(3, 2_000_000);
    let mut requests = command(&[b"SET", &b"large"[..], &large]);
    for index in 0..300 {
        requests.extend(command(&["SET", &key(index), &key(index)]));
        requests.extend(command(&["GET", &key(index)]));
    }
    requests.extend(command(&["GET", "large"]));
    client.send(&requests);
    client.shutdown_write();
    assert_eq!(client.reply(), Reply::status("OK"));
    for index in 0..300 {
        assert_eq!(client.reply(), Reply::status("OK"));
        assert_eq!(client.reply(), Reply::bulk(key(index)));
    }
    assert_eq!(client.reply(), Reply::Bulk(large));
    client.expect_end();
}

#[test]
fn a_half_close_within_a_request_is_answered_to_there() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\n");
    client.shutdown_write();
    client.expect(b"+OK\r\n");
    client.expect_end();
}

/// A pipeline of every kind of request, and the replies of it.
fn small_pipeline() -> (Vec<u8>, Vec<u8>) {
    let requests = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n\
        *3\r\n$4\r\nMGET\r\n$1\r\na\r\n$6\r\n2:item\r\n\r\nPING x\r\n*1\r\n$4\r\nPING\r\n\
        *4\r\n$3\r\nDEL\r\n$1\r\na\r\n$6\r\n1:item\r\n$6\r\n2:item\r\n";
    let replies = b"+OK\r\n$2\r\n\r\n\r\n*2\r\n$2\r\n\r\n\r\n$-1\r\n$1\r\nx\r\n+PONG\r\n:1\r\n";
    (requests.to_vec(), replies.to_vec())
}

#[test]
fn a_pipeline_may_be_cut_anywhere() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    let (requests, replies) = small_pipeline();
    let mut client = proxy.client();
    let mut other = proxy.client();
    for cut in 1..requests.len() {
        client.send(&requests[..cut]);
        // The proxy has read the first piece by the time that it answers another client.
        other.expect_in_step("read");
        client.send(&requests[cut..]);
        client.expect(&replies);
    }
    client.expect_in_step("after all cuts");
}

#[test]
fn a_pipeline_may_come_byte_by_byte() {
    let (_servers, lines) = two_servers();
    let proxy = Proxy::start(&lines, &[]);
    let (requests, replies) = small_pipeline();
    let mut client = proxy.client();
    let mut other = proxy.client();
    for byte in requests {
        client.send(&[byte]);
        other.expect_in_step("read");
    }
    client.expect(&replies);
    client.expect_in_step("after the last byte");
}

#[test]
fn replies_may_come_from_the_server_byte_by_byte() {
    let replies: &[&[u8]] = &[
        b"$5\r\nhello\r\n",
        b"*3\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n+x\r\n",
        b"-ERR of the server\r\n",
        b"$0\r\n\r\n",
        b"*-1\r\n",
        b":-12\r\n",
        b"*0\r\n",
    ];
    let server = FakeServer::start(move |connection| {
        for reply in replies {
            connection.request();
            connection.send_slowly(reply, std::time::Duration::from_millis(1));
        }
        connection.drain();
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&command(&["LRANGE", "a", "0", "1"]).repeat(replies.len()));
    client.expect(&replies.concat());
    client.expect_in_step("after the last reply");
}

#[test]
fn a_reply_waits_for_those_before_it() {
    // The first server answers only when the second has been asked, and later than it.
    let (asked, wait) = std::sync::mpsc::channel();
    let (asked, wait) = (std::sync::Mutex::new(asked), std::sync::Mutex::new(wait));
    let slow = FakeServer::start(move |connection| {
        connection.request();
        let _ = wait.lock().expect("one connection").recv_timeout(support::DEADLINE);
        connection.send(b"$4\r\nslow\r\n");
        connection.drain();
    });
    let quick = FakeServer::start(move |connection| {
        for _ in 0..3 {
            connection.request();
            connection.send(b"$5\r\nquick\r\n");
        }
        let _ = asked.lock().expect("one connection").send(());
        connection.drain();
    });
    let proxy = Proxy::start(&[slow.named(NAMES[0]), quick.named(NAMES[1])], &[]);
    let of_slow = support::spread::keys_of(support::spread::OVER_TWO, 1);
    let of_quick = support::spread::keys_of(support::spread::OVER_TWO, 2);
    let mut requests = command(&["GET", &of_slow[0]]);
    requests.extend(command(&["GET", &of_quick[0]]).repeat(3));
    let mut client = proxy.client();
    client.exchange(&requests, b"$4\r\nslow\r\n$5\r\nquick\r\n$5\r\nquick\r\n$5\r\nquick\r\n");
}

#[test]
fn no_byte_of_a_request_is_forwarded_before_its_last_came() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut slow, mut other) = (proxy.client(), proxy.client());
    let large = value(1, 1 << 20);
    let request = command(&[b"SET", &b"slow"[..], &large]);
    let probe = command(&["GET", "a"]);
    let mut expected = vec![];
    for piece in request.chunks(300_000) {
        assert_eq!(server.received(), expected);
        slow.send(piece);
        // A turn that answers the other client has seen some of the piece; more do no harm.
        for _ in 0..3 {
            other.exchange(&probe, b"$1\r\nx\r\n");
            expected.extend_from_slice(&probe);
        }
    }
    slow.expect(b"$1\r\nx\r\n");
    expected.truncate(expected.len() - 3 * probe.len());
    let received = server.received();
    assert_eq!(received[..expected.len()], expected);
    assert_eq!(received.len(), expected.len() + request.len() + 3 * probe.len());
}
