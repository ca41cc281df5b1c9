//! Who may connect, and whether whoever is connected is still there.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use support::client::{Client, Reply};
use support::migration::shows_row;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{DEADLINE, pool, wait_until};

/// A connection to `to` that comes from the loopback address `from`.
fn connect_from(from: &str, to: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("all of 127.0.0.0/8 is loopback");
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], to)).into()).expect("a listener");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

fn is_served(from: &str, to: u16) -> bool {
    let mut stream = connect_from(from, to);
    // Who is not let in may find the connection reset already.
    let _ = stream.write_all(b"PING\r\n");
    let mut reply = Vec::new();
    let mut buffer = [0; 7];
    while reply.len() < buffer.len() {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => reply.extend_from_slice(&buffer[..count]),
        }
    }
    assert!(reply.is_empty() || reply == b"+PONG\r\n", "{}", reply.escape_ascii());
    !reply.is_empty()
}

#[test]
fn only_clients_that_the_lists_allow_are_let_in() {
    let server = Redis::start();
    let cases: [(&[&str], [bool; 3]); 5] = [
        (&["white_list: [~]", "black_list: [~]"], [true, true, true]),
        (&["white_list: [~, 127.0.0.0/30]"], [true, true, false]),
        (&["black_list: [127.0.0.2, '::1']"], [true, false, true]),
        (&["white_list: [127.0.0.0/8]", "black_list: [127.0.0.4/30]"], [true, true, false]),
        (&["white_list: [10.0.0.0/8]"], [false, false, false]),
    ];
    for (lines, expected) in cases {
        for workers in ["1", "2"] {
            let proxy = Start::with_pool(&[server.line()], lines).options(&["--workers", workers]);
            let mut proxy = proxy.start();
            let peers = ["127.0.0.1", "127.0.0.2", "127.0.0.5"];
            let served = peers.map(|peer| is_served(peer, proxy.port()));
            assert_eq!(served, expected, "{lines:?}");
            let denied = expected.iter().filter(|&&is_in| !is_in).count();
            proxy.process().signal(libc::SIGTERM);
            assert_eq!(proxy.exit_code(), 0);
            let said = format!("{denied} clients denied");
            assert_eq!(proxy.log().contains(&said), denied > 0, "{}", proxy.log());
        }
    }
}

/// Whether a connection of these ports, the first on this side, waits to be probed in at most
/// `seconds`, as far as /proc/net/tcp tells: timer 2 is that of keep-alive.
fn is_probed_within(seconds: u64, ours: Option<u16>, theirs: Option<u16>) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("a proc file system");
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = |field: &str| {
            field.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok())
        };
        let is_ours = ours.is_none_or(|ours| port(fields[1]) == Some(ours));
        let is_theirs = theirs.is_none_or(|theirs| port(fields[2]) == Some(theirs));
        let is_established = fields[3] == "01";
        // In hundredths of a second.
        let timer = fields[5].split_once(':');
        let is_due = timer.is_some_and(|(kind, when)| {
            let when = u64::from_str_radix(when, 16).unwrap_or(u64::MAX);
            kind == "02" && (1..=seconds * 100).contains(&when)
        });
        is_ours && is_theirs && is_established && is_due
    })
}

#[test]
fn connections_of_clients_and_servers_are_probed_as_configured() {
    let server = Redis::start_with(&["--tcp-keepalive", "0"]);
    let lines = ["tcpkeepalive: true", "tcpkeepidle: 500", "tcpkeepintvl: 9", "tcpkeepcnt: 3"];
    let proxy = Proxy::start(&[server.line()], &lines);
    let mut client = proxy.client();
    assert_eq!(client.call(&["SET", "key", "1"]), Reply::status("OK"));
    wait_until("the client is probed", || is_probed_within(500, Some(proxy.port()), None));
    wait_until("the server is probed", || is_probed_within(500, None, Some(server.port())));
    let plain = Proxy::start(&[server.line()], &[]);
    let mut client = plain.client();
    assert_eq!(client.call(&["GET", "key"]), Reply::bulk("1"));
    assert!(!is_probed_within(100_000, Some(plain.port()), None));
}

#[test]
fn servers_are_probed_too_with_the_key_that_nutcracker_knows() {
    shows_row("`tcpkeepalive`");
    let seen = [Some("nutcracker"), None].map(|program| {
        let server = Redis::start_with(&["--tcp-keepalive", "0"]);
        let start = Start::with_pool(&[server.line()], &["tcpkeepalive: true"]);
        let proxy = program.into_iter().fold(start, Start::program).start();
        let mut client = proxy.client();
        assert_eq!(client.call(&["SET", "key", "1"]), Reply::status("OK"));
        // The system's time, whatever it is.
        wait_until("the client is probed", || is_probed_within(100_000, Some(proxy.port()), None));
        is_probed_within(100_000, None, Some(server.port()))
    });
    assert_eq!(seen, [false, true]);
}

#[test]
fn an_ipv6_address_in_brackets_is_listened_on() {
    if fs::read_to_string("/proc/net/if_inet6").map_or(true, |table| !table.contains(" lo")) {
        eprintln!("this machine has no IPv6 loopback");
        return;
    }
    let server = Redis::start();
    let port = Port::free();
    let config = pool("a", &format!("'[::1]:{}'", port.number()), &[server.line()], &[]);
    let number = port.number();
    let proxy = Start::with_config(&config).holding(port).spawn();
    let mut stream = None;
    wait_until("it listens", || {
        stream = TcpStream::connect(("::1", number)).ok();
        stream.is_some()
    });
    let mut stream = stream.expect("connected");
    stream.write_all(b"PING\r\n").expect("taken");
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+PONG\r\n");
    assert!(Client::try_tcp(number).is_err(), "and not on IPv4");
    drop(proxy);
}
