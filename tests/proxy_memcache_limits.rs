//! Pools that speak memcached's protocol, at the edges of what they take and of what servers do.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::client::Client;
use support::memcached::{Memcached, memcached_pool};
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::{show, value, wait_until};

const MIB: usize = 1 << 20;

fn start_with(servers: &[String], lines: &[&str]) -> Start {
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = memcached_pool("alpha", &listen, servers, lines);
    Start::with_config(&config).holding(port)
}

fn start(servers: &[Memcached], lines: &[&str]) -> Proxy {
    let names = servers.iter().enumerate();
    let names: Vec<String> = names.map(|(i, s)| s.named(&format!("server{i}"))).collect();
    start_with(&names, lines).start()
}

fn set(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("set {key} 0 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn block(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// Expects that nothing is left over from before.
fn expect_in_step(client: &mut Client) {
    client.exchange(b"mn\r\n", b"MN\r\n");
}

#[test]
fn a_key_has_250_bytes_and_no_more() {
    let server = Memcached::start();
    let proxy = start(std::slice::from_ref(&server), &[]);
    let keys = ["k".repeat(250), "k".repeat(251)];
    for mut client in [proxy.client(), server.client()] {
        client.exchange(&set(&keys[0], b"x"), b"STORED\r\n");
        let get = format!("get {}\r\n", keys[0]);
        let found = [&block(&keys[0], b"x")[..], b"END\r\n"].concat();
        client.exchange(get.as_bytes(), &found);
        let refused = b"CLIENT_ERROR bad command line format\r\n";
        client.exchange(format!("get {}\r\n", keys[1]).as_bytes(), refused);
        client.exchange(format!("delete {} noreply\r\n", keys[1]).as_bytes(), b"");
        client.exchange(format!("set {} 0 0 1\r\n", keys[1]).as_bytes(), refused);
        expect_in_step(&mut client);
    }
}

/// The largest item that memcached keeps is a little less than its limit, 1 MiB unless told.
#[test]
fn values_around_a_mib_are_taken_and_refused_as_memcached_does() {
    for (options, sizes) in [
        (&[][..], [MIB - 1024, MIB - 1, MIB, MIB + 1]),
        (&["-I", "4m"][..], [MIB, MIB + 1, 3 * MIB, 5 * MIB]),
    ] {
        let servers = [Memcached::start_with(options), Memcached::start_with(options)];
        let proxy = start(&servers, &[]);
        let (mut through, mut direct) = (proxy.client(), servers[0].client());
        let (mut stored, mut refused) = (0, 0);
        for size in sizes {
            for number in 0..4 {
                let key = format!("{size}:{number}");
                let value = value(size as u64 + number, size);
                through.send(&set(&key, &value));
                direct.send(&set("same", &value));
                let said = through.try_line().expect("a line");
                assert_eq!(show(&said), show(&direct.try_line().expect("a line")), "{size}");
                let get = format!("get {key} nothing\r\n");
                let found = if said == b"STORED\r\n" { block(&key, &value) } else { Vec::new() };
                through.exchange(get.as_bytes(), &[&found[..], b"END\r\n"].concat());
                (stored, refused) =
                    if found.is_empty() { (stored, refused + 1) } else { (stored + 1, refused) };
            }
        }
        assert!(stored > 0 && refused > 0, "{stored} stored, {refused} refused");
        expect_in_step(&mut through);
    }
}

#[test]
fn a_value_that_no_server_could_keep_is_refused_before_it_comes_and_skipped() {
    let server = Memcached::start();
    let proxy = start(std::slice::from_ref(&server), &[]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let len = 512 * MIB + 1;
    client.send(format!("set big 0 0 {len}\r\n").as_bytes());
    client.expect(b"SERVER_ERROR object too large for cache\r\n");
    let piece = vec![b'\n'; MIB];
    for _ in 0..512 {
        client.send(&piece);
    }
    other.exchange(&set("a", b"x"), b"STORED\r\n");
    client.exchange(b"x\r\nget a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n");
    expect_in_step(&mut client);
    assert!(proxy.process().resident_bytes() < 256 * MIB, "nothing of it is kept");
}

/// memcached closes the connection of who sends a longer line, which here is everybody's.
#[test]
fn a_line_ends_in_time_or_ends_the_connection() {
    let server = Memcached::start();
    let proxy = start(std::slice::from_ref(&server), &[]);
    let mut other = proxy.client();
    // One key that is there: memcached finds the same item 60,000 times at most.
    let fill = |head: &str, len: usize| {
        let line = format!("{head}k{}", " z".repeat((len - head.len() - 3) / 2));
        let pad = " ".repeat(len - 2 - line.len());
        format!("{line}{pad}\r\n").into_bytes()
    };
    other.exchange(&set("k", b"x"), b"STORED\r\n");
    for (head, most) in [("gat 0 ", 2048), ("get ", MIB)] {
        let mut client = proxy.client();
        let line = fill(head, most);
        assert_eq!(line.len(), most);
        client.exchange(&line, b"VALUE k 0 1\r\nx\r\nEND\r\n");
        client.send(&fill(head, most + 1));
        let (said, _) = client.read_to_end();
        assert_eq!(show(&said), show(b"CLIENT_ERROR line too long\r\n"), "{head}");
        other.exchange(b"get k\r\n", b"VALUE k 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn a_thousand_keys_over_three_servers_come_in_order() {
    let servers = [Memcached::start(), Memcached::start(), Memcached::start()];
    let proxy = start(&servers, &[]);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..1000).map(|number| format!("key{number}")).collect();
    let fill: Vec<u8> = keys.iter().step_by(2).flat_map(|key| set(key, key.as_bytes())).collect();
    client.exchange(&fill, &b"STORED\r\n".repeat(500));
    client.send(format!("gets {}\r\n", keys.join(" ")).as_bytes());
    let mut uniques = 0;
    for key in keys.iter().step_by(2) {
        let line = client.try_line().expect("a line");
        let head = format!("VALUE {key} 0 {} ", key.len());
        let unique =
            line.strip_prefix(head.as_bytes()).unwrap_or_else(|| panic!("{}", show(&line)));
        uniques += usize::from(unique.len() > 2);
        client.expect(format!("{key}\r\n").as_bytes());
    }
    client.expect(b"END\r\n");
    assert_eq!(uniques, 500, "each has one");
    for server in &servers {
        let mut direct = server.client();
        let has = keys.iter().filter(|key| {
            direct.send(format!("touch {key} 0\r\n").as_bytes());
            direct.try_line().expect("a line") == b"TOUCHED\r\n"
        });
        assert!(has.count() > 50, "each server has its share");
    }
}

/// A server that does not run takes 65,536 requests into its queue, or 64 MiB; who comes then waits
/// with the client, in order, silent or not, and is served once it runs again.
#[test]
fn clients_wait_for_room_in_the_queue_of_a_server_and_lose_nothing() {
    // Each may have 1,024 requests in flight, of which more than half are for that server.
    const CLIENTS: usize = 110;
    let servers = [Memcached::start(), Memcached::start()];
    let proxy = start(&servers, &[]);
    let keys = key_of_each(&servers, &proxy);
    servers[0].stop();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let key = format!("own{number}");
        let mut requests = Vec::new();
        for count in 0..400 {
            requests.extend(format!("get {} {}\r\n", keys[0], keys[1]).into_bytes());
            requests.extend(format!("touch {} 0 noreply\r\n", keys[0]).into_bytes());
            let text = format!("{count:03}");
            requests
                .extend(format!("set {key} 0 0 3 noreply\r\n{text}\r\nget {key}\r\n").into_bytes());
        }
        client.send(&requests);
    }
    wait_until("somebody waits for room", || counter(&proxy, "clients blocked") > 0);
    // The other server is not concerned.
    proxy.client().exchange(format!("touch {} 0\r\n", keys[1]).as_bytes(), b"TOUCHED\r\n");
    servers[0].resume();
    for (number, client) in clients.iter_mut().enumerate() {
        for count in 0..400 {
            client.expect(&block(&keys[0], b"0"));
            client.expect(&[&block(&keys[1], b"1")[..], b"END\r\n"].concat());
            let own = block(&format!("own{number}"), format!("{count:03}").as_bytes());
            client.expect(&[&own[..], b"END\r\n"].concat());
        }
        expect_in_step(client);
    }
}

/// A key of each server, which has its number under it.
fn key_of_each(servers: &[Memcached; 2], proxy: &Proxy) -> [String; 2] {
    let mut client = proxy.client();
    [0, 1].map(|wanted| {
        let own = (0..).map(|number| format!("of{wanted}n{number}")).find(|key| {
            client.exchange(&set(key, wanted.to_string().as_bytes()), b"STORED\r\n");
            let mut direct = servers[wanted].client();
            direct.send(format!("touch {key} 0\r\n").as_bytes());
            direct.try_line().expect("a line") == b"TOUCHED\r\n"
        });
        own.expect("every server has keys")
    })
}

/// One of the worker's own counters, as statistics tell it.
fn counter(proxy: &Proxy, name: &str) -> u64 {
    let (text, _) = Client::tcp(proxy.stats_port()).read_to_end();
    let text = String::from_utf8_lossy(&text).into_owned();
    let name = format!("\"ringcracker_{}\":", name.replace(' ', "_"));
    let Some((_, rest)) = text.split_once(&name) else { panic!("no {name} in {text}") };
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn an_ejected_server_is_told_to_flush_and_named_when_it_does_not_hear() {
    let mut servers = [Memcached::start(), Memcached::start()];
    let lines =
        ["auto_eject_hosts: true", "server_failure_limit: 1", "server_retry_timeout: 600000"];
    let proxy = start(&servers, &lines);
    let keys = key_of_each(&servers, &proxy);
    servers[1].kill();
    let mut client = proxy.client();
    // The first request finds out, if the end of the connection has not been seen before.
    client.send(format!("get {}\r\n", keys[1]).as_bytes());
    client.try_line().expect("a line");
    client.exchange(&set(&keys[1], b"moved"), b"STORED\r\n");
    client.exchange(b"flush_all\r\n", b"SERVER_ERROR server1: Connection refused\r\n");
    client.exchange(format!("get {} {}\r\n", keys[0], keys[1]).as_bytes(), b"END\r\n");
    client.exchange(b"flush_all noreply\r\n", b"");
    client.exchange(b"flush_all x\r\n", b"CLIENT_ERROR invalid exptime argument\r\n");
    expect_in_step(&mut client);
}

/// A server that answers the lines it gets with what `answer` makes of each.
fn fake(answer: fn(&str) -> &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let line = format!("127.0.0.1:{}:1", listener.local_addr().expect("bound").port());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("accept");
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a socket");
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if writer.write_all(answer(&line).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (line, accepted)
}

/// nutcracker hands on whatever memcached may say to anything.
#[test]
fn a_reply_of_another_kind_costs_the_server_its_connection() {
    let answer = |line: &str| match line {
        "get good" => "VALUE good 0 1\r\nx\r\nEND\r\n",
        "get stored" => "STORED\r\n",
        "get another" => "VALUE good 0 1\r\nx\r\nEND\r\n",
        "delete x" => "END\r\n",
        _ => "OK\r\n",
    };
    let invalid: &[u8] = b"SERVER_ERROR Invalid argument\r\n";
    let good: &[u8] = b"VALUE good 0 1\r\nx\r\nEND\r\n";
    let asked: [(&[u8], &[u8]); 4] = [
        (b"get stored\r\n", b"STORED\r\n"),
        (b"get another\r\n", good),
        (b"delete x\r\n", b"END\r\n"),
        (b"touch x 0\r\n", b"OK\r\n"),
    ];
    let (line, accepted) = fake(answer);
    let proxy = start_with(&[line], &[]).start();
    let mut client = proxy.client();
    for (count, (request, _)) in asked.iter().enumerate() {
        client.exchange(b"get good\r\n", good);
        assert_eq!(accepted.load(Ordering::SeqCst), count + 1, "a new connection each time");
        client.exchange(request, invalid);
    }
    wait_until("it is counted", || counter(&proxy, "server bad replies") == asked.len() as u64);
    wait_until("it is logged", || {
        proxy.log().contains("sent what does not answer what it was asked")
    });
    let (line, accepted) = fake(answer);
    let nutcracker = start_with(&[line], &[]).program("nutcracker").start();
    let mut client = nutcracker.client();
    for (request, reply) in asked.iter().take(3) {
        client.exchange(b"get good\r\n", good);
        client.exchange(request, reply);
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}
