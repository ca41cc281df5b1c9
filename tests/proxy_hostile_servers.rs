//! Servers that answer what nobody asked, or not what was asked, or half of it.

mod support;

use std::time::Duration;

use support::client::{Client, Ending, Reply, command};
use support::fake::FakeServer;
use support::proxy::Proxy;
use support::{show, value, wait_until};

/// A fake whose first connection gets `script` and whose later ones answer `:1` to everything.
fn broken_once(script: fn(&mut support::fake::FakeConnection)) -> FakeServer {
    FakeServer::start(move |connection| {
        if connection.number == 0 {
            script(connection);
        } else {
            while connection.request().is_some() {
                connection.send(b":1\r\n");
            }
        }
    })
}

/// After a trouble with the first server connection, a second one serves everybody.
fn service_goes_on(server: &FakeServer, clients: &mut [Client]) {
    for client in clients {
        wait_until("a new connection is used", || client.call(&["INCR", "a"]) == Reply::Integer(1));
        client.expect_in_step("nothing is left over");
    }
    assert_eq!(server.accepted(), 2, "one was given up, one took its place");
}

#[test]
fn garbage_fails_what_waits_and_nothing_else() {
    for garbage in [
        &b"garbage\r\n"[..],
        b"$x\r\n",
        b"*-2\r\n",
        b"$-2\r\n",
        b":12x\r\n",
        b"$5\r\nhelloXX",
        b"\r\n",
        b"\0\0\0\0",
        b"$99999999999999999999\r\n",
        b"*4294967297\r\n",
        b"_\r\n",
    ] {
        let server = FakeServer::start(move |connection| {
            if connection.number == 0 {
                connection.request();
                connection.send(garbage);
                connection.drain();
            } else {
                while connection.request().is_some() {
                    connection.send(b":1\r\n");
                }
            }
        });
        let proxy = Proxy::start(&[server.line()], &["timeout: 20000"]);
        let mut clients = [proxy.client(), proxy.client(), proxy.client()];
        let mut errors = 0;
        for client in &mut clients {
            client.send(&command(&["INCR", "a"]));
        }
        for client in &mut clients {
            let reply = client.reply();
            if let Reply::Error(_) = reply {
                errors += 1;
            } else {
                // It came after the trouble, and went to the next connection.
                assert_eq!(reply, Reply::Integer(1));
            }
        }
        assert!(errors >= 1, "{} was taken for a reply", show(garbage));
        service_goes_on(&server, &mut clients);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let server = broken_once(|connection| {
        connection.request();
        connection.send(&b"*1\r\n".repeat(100_000));
        connection.drain();
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&command(&["INCR", "a"]));
    client.reply().error_text();
    service_goes_on(&server, &mut [client]);
}

#[test]
fn a_reply_that_nobody_asked_for_costs_the_connection() {
    let server = broken_once(|connection| {
        connection.request();
        connection.send(b":1\r\n:666\r\n");
        connection.drain();
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut client, other) = (proxy.client(), proxy.client());
    client.exchange(&command(&["INCR", "a"]), b":1\r\n");
    service_goes_on(&server, &mut [client, other]);
}

#[test]
fn a_reply_before_its_request_costs_the_connection() {
    let server = broken_once(|connection| {
        connection.send(b":666\r\n");
        connection.drain();
    });
    let proxy = Proxy::start(&[server.line()], &["preconnect: true"]);
    let mut client = proxy.client();
    wait_until("the early reply had its effect", || {
        let reply = client.call(&["INCR", "a"]);
        assert_ne!(reply, Reply::Integer(666));
        reply == Reply::Integer(1)
    });
    client.expect_in_step("nothing is left over");
}

#[test]
fn a_small_reply_cut_short_becomes_an_error() {
    for (cut, by_reset) in [
        (&b"$10\r\nhalf"[..], false),
        (b"$10\r\nhalf", true),
        (b"$", false),
        (b"*2\r\n$1\r\na\r\n", false),
        (b":12", false),
        (b"+OK\r", true),
    ] {
        let server = FakeServer::start(move |connection| {
            if connection.number > 0 {
                while connection.request().is_some() {
                    connection.send(b":1\r\n");
                }
                return;
            }
            for _ in 0..3 {
                connection.request();
            }
            connection.send(cut);
            if by_reset {
                connection.close_by_reset();
            }
        });
        let proxy = Proxy::start(&[server.line()], &[]);
        let mut client = proxy.client();
        client.send(&command(&["INCR", "a"]).repeat(3));
        for _ in 0..3 {
            let text = client.reply().error_text();
            let loss = ["ERR unknown", "ERR Connection reset by peer", "ERR Invalid argument"];
            assert!(loss.contains(&&text[..]), "{}: {text}", show(cut));
        }
        service_goes_on(&server, &mut [client]);
    }
}

#[test]
fn a_large_reply_cut_short_is_never_ended_as_if_it_were_whole() {
    let server = broken_once(|connection| {
        connection.request();
        connection.send(b"$50000000\r\n");
        connection.send(&value(1, 20_000_000));
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut client, other) = (proxy.client(), proxy.client());
    client.send(&command(&["GET", "a"]));
    client.send(&command(&["PING", "after"]));
    let first = client.try_line().unwrap_or_default();
    if first.starts_with(b"-") {
        client.expect(b"$5\r\nafter\r\n");
    } else if first == b"$50000000\r\n" {
        // It was passed on as it came: then only the end can say that it broke.
        let (rest, _) = client.read_to_end();
        assert!(value(1, 20_000_000).starts_with(&rest), "{} bytes, not its own", rest.len());
    } else {
        assert!(first.is_empty(), "{}", show(&first));
    }
    service_goes_on(&server, &mut [other]);
}

#[test]
fn half_a_reply_and_then_silence_times_out() {
    let server = broken_once(|connection| {
        connection.request();
        connection.send(b"$10\r\nhalf");
        connection.drain();
    });
    let proxy = Proxy::start(&[server.line()], &["timeout: 300"]);
    let mut client = proxy.client();
    client.exchange(&command(&["GET", "a"]), b"-ERR Connection timed out\r\n");
    service_goes_on(&server, &mut [client]);
}

#[test]
fn a_server_that_ends_its_side_after_some_replies_fails_the_rest() {
    let server = broken_once(|connection| {
        for _ in 0..4 {
            connection.request();
        }
        connection.send(b"+one\r\n+two\r\n");
        connection.shutdown_write();
        connection.drain();
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&command(&["INCR", "a"]).repeat(4));
    client.expect(b"+one\r\n+two\r\n");
    for _ in 0..2 {
        let text = client.reply().error_text();
        assert!(["ERR unknown", "ERR Connection reset by peer"].contains(&&text[..]), "{text}");
    }
    service_goes_on(&server, &mut [client]);
}

#[test]
fn a_reply_before_the_end_of_its_request_never_misleads() {
    // As memcached and redis do when a value is too large: the error comes early, then the end.
    let server = broken_once(|connection| {
        connection.send(b"-ERR too large\r\n");
        connection.close_by_reset();
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.send(&command(&[b"SET", &b"a"[..], &value(1, 8 << 20)]));
    client.reply().error_text();
    client.expect_in_step("in step");
    wait_until("service goes on", || client.call(&["INCR", "a"]) == Reply::Integer(1));
}

/// twemproxy #403: bursts of `Invalid argument` in place of what the server had said.
#[test]
fn errors_that_mean_not_now_pass_to_the_client() {
    for text in
        ["MOVED 1 127.0.0.1:1", "READONLY You can't write", "NOAUTH Authentication required."]
    {
        let line: &'static [u8] = Box::leak(format!("-{text}\r\n").into_bytes().into_boxed_slice());
        let server = FakeServer::answering(line);
        let proxy = Proxy::start(&[server.line()], &[]);
        proxy.client().exchange(&command(&["GET", "a"]), line);
    }
}

#[test]
fn an_odd_reply_to_a_part_of_a_gather_is_an_error_of_the_whole() {
    for odd in [&b":1\r\n"[..], b"+OK\r\n", b"*0\r\n", b"*3\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n"] {
        let odd: &'static [u8] = odd;
        let servers = [FakeServer::answering(odd), FakeServer::answering(odd)];
        let lines: Vec<String> = servers
            .iter()
            .zip(support::spread::NAMES)
            .map(|(server, name)| server.named(name))
            .collect();
        let proxy = Proxy::start(&lines, &["timeout: 5000"]);
        let keys = [1, 2]
            .map(|number| support::spread::keys_of(support::spread::OVER_TWO, number)[0].clone());
        let mut client = proxy.client();
        client.call(&["MGET", &keys[0], &keys[1]]).error_text();
        client.expect_in_step("after the error");
    }
}

/// twemproxy: a client that vanished
#[test]
fn clients_that_vanish_leave_the_others_their_own_replies() {
    // Replies name their request; they come late, when every second client has gone.
    let server = FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            std::thread::sleep(Duration::from_millis(1));
            let mut reply = b"+".to_vec();
            reply.extend_from_slice(&request[1]);
            reply.extend_from_slice(b"\r\n");
            connection.send(&reply);
        }
    });
    let proxy = Proxy::start(&[server.line()], &[]);
    for round in 0..5 {
        let mut clients: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            for index in 0..5 {
                client.send(&command(&["GET", &format!("{round}.{number}.{index}")]));
            }
        }
        for (number, mut client) in clients.into_iter().enumerate() {
            match number % 4 {
                0 => client.reset(),
                1 => drop(client),
                _ => {
                    for index in 0..5 {
                        let expected = format!("{round}.{number}.{index}");
                        assert_eq!(client.reply(), Reply::status(&expected));
                    }
                    client.shutdown_write();
                    assert_eq!(client.read_to_end(), (vec![], Ending::Eof));
                }
            }
        }
    }
    assert_eq!(server.accepted(), 1);
}
