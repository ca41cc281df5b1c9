//! Which server a request goes to, and what comes back when it goes to several.

mod support;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_THREE, OVER_TWO, key, keys_of};
use support::{pool, show, value, wait_until};

/// Servers under the names that the recorded tables are of.
fn named_servers(count: usize) -> (Vec<Redis>, Vec<String>) {
    let servers: Vec<Redis> = (0..count).map(|_| Redis::start()).collect();
    let lines = servers.iter().zip(NAMES).map(|(server, name)| server.named(name)).collect();
    (servers, lines)
}

/// Which servers, counted from 1, hold `key`.
fn holders(servers: &mut [Client], key: &str) -> Vec<usize> {
    let mut holders = vec![];
    for (index, server) in servers.iter_mut().enumerate() {
        if server.call(&["EXISTS", key]) == Reply::Integer(1) {
            holders.push(index + 1);
        }
    }
    holders
}

fn keys_lie_as_recorded(table: &str, count: usize) {
    let (servers, lines) = named_servers(count);
    let proxy = Proxy::start(&lines, &["hash: fnv1a_64", "distribution: ketama"]);
    let mut client = proxy.client();
    let mut direct: Vec<Client> = servers.iter().map(Redis::client).collect();
    for (index, digit) in table.bytes().enumerate() {
        let key = key(index);
        assert_eq!(client.call(&["SET", &key, &key]), Reply::status("OK"));
        assert_eq!(holders(&mut direct, &key), [usize::from(digit - b'0')], "{key}");
        assert_eq!(client.call(&["GET", &key]), Reply::bulk(&key));
    }
}

#[test]
fn keys_lie_on_two_servers_as_nutcracker_puts_them() {
    keys_lie_as_recorded(OVER_TWO, 2);
}

#[test]
fn keys_lie_on_three_servers_as_nutcracker_puts_them() {
    keys_lie_as_recorded(OVER_THREE, 3);
}

#[test]
fn the_default_hash_and_distribution_are_those_of_nutcracker() {
    let (servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let mut direct: Vec<Client> = servers.iter().map(Redis::client).collect();
    for (index, digit) in OVER_THREE.bytes().enumerate().take(30) {
        client.call(&["SET", &key(index), "x"]);
        assert_eq!(holders(&mut direct, &key(index)), [usize::from(digit - b'0')]);
    }
}

#[test]
fn a_hash_tag_alone_decides() {
    let (servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &["hash_tag: \"{}\""]);
    let mut client = proxy.client();
    let mut direct: Vec<Client> = servers.iter().map(Redis::client).collect();
    for (index, digit) in OVER_THREE.bytes().enumerate().take(30) {
        let tagged = format!("user:{{{}}}:name", key(index));
        client.call(&["SET", &tagged, "x"]);
        assert_eq!(holders(&mut direct, &tagged), [usize::from(digit - b'0')], "{tagged}");
    }
    // An empty tag is none: the whole key decides, as for any other.
    for plain in ["{}a", "{a", "a}"] {
        assert_eq!(client.call(&["SET", plain, plain]), Reply::status("OK"));
        assert_eq!(client.call(&["GET", plain]), Reply::bulk(plain));
    }
}

#[test]
fn gathers_answer_in_the_order_of_their_keys() {
    let (_servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..40).map(key).collect();
    let mut mset = vec!["MSET".to_owned()];
    for key in &keys {
        mset.extend([key.clone(), format!("value of {key}")]);
    }
    assert_eq!(client.call(&mset), Reply::status("OK"));

    // Some are missing, some asked for twice.
    let mut asked = vec![];
    for index in (0..40).rev() {
        asked.extend([key(index), key(1000 + index), key(index)]);
    }
    let mget: Vec<String> = std::iter::once("MGET".to_owned()).chain(asked.clone()).collect();
    let expected: Vec<Reply> = asked
        .iter()
        .map(|key| match keys.contains(key) {
            true => Reply::bulk(format!("value of {key}")),
            false => Reply::Null,
        })
        .collect();
    assert_eq!(client.call(&mget), Reply::Array(expected));
}

#[test]
fn counting_commands_add_up_over_the_servers() {
    let (_servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let over_forty_keys = |name: &str| {
        std::iter::once(name.to_owned()).chain((0..40).map(key)).collect::<Vec<String>>()
    };
    for index in 0..30 {
        client.call(&["SET", &key(index), "x"]);
    }
    assert_eq!(client.call(&over_forty_keys("EXISTS")), Reply::Integer(30));
    assert_eq!(client.call(&over_forty_keys("TOUCH")), Reply::Integer(30));
    assert_eq!(client.call(&["EXISTS", &key(0), &key(0), &key(10)]), Reply::Integer(3));
    assert_eq!(client.call(&["DEL", &key(0), &key(10), &key(4), &key(35)]), Reply::Integer(3));
    assert_eq!(client.call(&over_forty_keys("UNLINK")), Reply::Integer(27));
    assert_eq!(client.call(&over_forty_keys("DEL")), Reply::Integer(0));
}

#[test]
fn a_gather_of_one_key_and_of_one_server_are_like_any_other() {
    let (_servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let same = keys_of(OVER_THREE, 2);
    assert_eq!(client.call(&["MSET", &same[0], "a", &same[1], "b"]), Reply::status("OK"));
    let both = Reply::Array(vec![Reply::bulk("a"), Reply::bulk("b")]);
    assert_eq!(client.call(&["MGET", &same[0], &same[1]]), both);
    assert_eq!(client.call(&["MGET", &same[0]]), Reply::Array(vec![Reply::bulk("a")]));
    assert_eq!(client.call(&["mget", "nothing"]), Reply::Array(vec![Reply::Null]));
    assert_eq!(client.call(&["DEL", &same[0]]), Reply::Integer(1));
}

#[test]
fn a_gather_of_ten_thousand_keys_with_large_values_is_exact() {
    let (_servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let mut mset = vec![b"MSET".to_vec()];
    let mut mget = vec![b"MGET".to_vec()];
    let mut expected = vec![];
    for index in 0..10_000 {
        let len = if index % 1000 == 0 { 300_000 } else { index % 200 };
        let value = value(index as u64, len);
        mset.extend([key(index).into_bytes(), value.clone()]);
        mget.push(key(index).into_bytes());
        expected.push(Reply::Bulk(value));
    }
    assert_eq!(client.call(&mset), Reply::status("OK"));
    let Reply::Array(got) = client.call(&mget) else { panic!("no array") };
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!(got == expected, "{}: {got:?}, expected {expected:?}", key(index));
    }
    assert_eq!(got.len(), expected.len());
}

/// twemproxy: keys on several servers
#[test]
fn what_cannot_be_composed_over_servers_is_refused() {
    let (servers, lines) = named_servers(3);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let (here, there) = (&keys_of(OVER_THREE, 1)[0], &keys_of(OVER_THREE, 2)[0]);
    let refused: [&[&str]; 15] = [
        &["RPOPLPUSH", here, there],
        &["SDIFF", here, there],
        &["SINTERSTORE", here, here, there],
        &["SMOVE", here, there, "member"],
        &["PFCOUNT", here, there],
        &["ZUNIONSTORE", here, "2", here, there],
        &["LMOVE", here, there, "LEFT", "RIGHT"],
        &["COPY", here, there],
        &["SORT", here, "LIMIT", "0", "1", "STORE", there],
        &["SORT", here, "BY", "weight_*"],
        &["SORT", here, "BY", "nosort", "GET", "#", "GET", "*"],
        &["GEORADIUS", here, "0", "0", "1", "km", "COUNT", "1", "STOREDIST", there],
        &["XREAD", "COUNT", "1", "STREAMS", here, there, "0", "0"],
        &["LMPOP", "2", here, there, "LEFT"],
        &["EVAL", "return 1", "2", here, there],
    ];
    for request in refused {
        let text = client.call(request).error_text();
        assert!(text.starts_with("CROSSSLOT "), "{request:?}: {text}");
    }
    // The same with keys of one server works.
    let same = keys_of(OVER_THREE, 1);
    client.call(&["SADD", &same[0], "a", "b"]);
    client.call(&["SADD", &same[1], "b"]);
    let difference = Reply::Array(vec![Reply::bulk("a")]);
    assert_eq!(client.call(&["SDIFF", &same[0], &same[1]]), difference);
    let sorted = ["SORT", &same[0], "BY", "nosort", "GET", "#", "ALPHA", "STORE", &same[2]];
    assert_eq!(client.call(&sorted), Reply::Integer(2));
    let encoding = client.call(&["object", "ENCODING", &same[2]]);
    assert!(matches!(encoding, Reply::Bulk(_)), "{encoding:?}");
    let streams = ["XADD", &same[3], "1-1", "field", "value"];
    assert_eq!(client.call(&streams), Reply::bulk("1-1"));
    let Reply::Array(read) = client.call(&["XREAD", "STREAMS", &same[3], &same[4], "0", "0"])
    else {
        panic!("no array")
    };
    assert_eq!(read.len(), 1);
    // Nothing of what was refused reached a server.
    for server in &servers {
        let Reply::Bulk(stats) = server.client().call(&["INFO", "commandstats"]) else {
            panic!("no statistics")
        };
        assert!(!stats.windows(9).any(|word| word == b"rpoplpush"), "{}", show(&stats));
    }
}

#[test]
fn a_pool_of_one_server_serves_requests_of_several_keys() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.call(&["RPUSH", "a", "x"]);
    assert_eq!(client.call(&["RPOPLPUSH", "a", "b"]), Reply::bulk("x"));
    assert_eq!(client.call(&["EXISTS", "a", "b", "c"]), Reply::Integer(1));
}

#[test]
fn pools_have_listeners_and_servers_of_their_own() {
    let (first, second) = (Redis::start(), Redis::start());
    let (port, other_port) = (Port::free(), Port::free());
    let numbers = [port.number(), other_port.number()];
    let config = pool("alpha", &format!("127.0.0.1:{}", numbers[0]), &[first.line()], &[])
        + &pool("beta", &format!("127.0.0.1:{}", numbers[1]), &[second.line()], &[]);
    let _proxy = Start::with_config(&config).holding(port).holding(other_port).start();
    let mut clients = numbers.map(Client::tcp);
    clients[0].call(&["SET", "a", "of the first"]);
    clients[1].call(&["SET", "a", "of the second"]);
    assert_eq!(clients[0].call(&["GET", "a"]), Reply::bulk("of the first"));
    assert_eq!(clients[1].call(&["GET", "a"]), Reply::bulk("of the second"));
    assert_eq!(first.client().call(&["GET", "a"]), Reply::bulk("of the first"));
    assert_eq!(second.client().call(&["GET", "a"]), Reply::bulk("of the second"));
}

#[test]
fn clients_and_servers_may_be_on_unix_sockets() {
    let server = Redis::start_on_unix_socket();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.sock");
    // A file that a predecessor left there is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let config = pool("alpha", &format!("{} 0600", path.display()), &[server.line()], &[]);
    let _proxy = Start::with_config(&config).start();
    let mut client = Client::unix(&path);
    let large = value(7, 1 << 20);
    assert_eq!(client.call(&[b"SET", &b"a"[..], &large]), Reply::status("OK"));
    assert_eq!(client.call(&["GET", "a"]), Reply::Bulk(large));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&path).expect("the socket's file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

/// twemproxy #353: with several server connections a later request overtook an earlier one.
#[test]
fn a_client_reads_what_it_wrote_over_several_server_connections() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["server_connections: 4"]);
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    for round in 0..100 {
        for (number, client) in clients.iter_mut().enumerate() {
            // In one pipeline: over two connections the GET could overtake the SET.
            let (key, value) = (format!("k{number}"), format!("{round}"));
            let mut both = command(&["SET", &key, &value]);
            both.extend(command(&["GET", &key]));
            client.send(&both);
        }
        for client in &mut clients {
            assert_eq!(client.reply(), Reply::status("OK"));
            assert_eq!(client.reply(), Reply::bulk(format!("{round}")));
        }
    }
}

#[test]
fn several_server_connections_are_opened_and_no_more() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Proxy::start(&[server.line()], &["server_connections: 3"]);
    let mut clients: Vec<Client> = (0..12).map(|_| proxy.client()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.exchange(&command(&["GET", "a"]), b"$1\r\nx\r\n");
        }
    }
    assert_eq!(server.accepted(), 3);
}

#[test]
fn one_server_connection_serves_all_clients_unless_asked() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut clients: Vec<Client> = (0..12).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.exchange(&command(&["GET", "a"]), b"$1\r\nx\r\n");
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn two_workers_serve_many_clients() {
    let (_servers, lines) = named_servers(2);
    let mut proxy = Start::with_pool(&lines, &[]).options(&["--workers", "2"]).start();
    let mut clients: Vec<Client> = (0..60).map(|_| proxy.client()).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            let request = command(&["SET", &format!("{number}:{round}"), &format!("v{number}")]);
            client.send(&request);
        }
        for client in &mut clients {
            assert_eq!(client.reply(), Reply::status("OK"));
        }
    }
    // What one worker's client wrote, another's reads.
    for (number, client) in clients.iter_mut().enumerate() {
        let other = (number + 1) % 60;
        let keys = [format!("{other}:0"), format!("{other}:19")];
        let both = Reply::Array(vec![Reply::bulk(format!("v{other}")); 2]);
        assert_eq!(client.call(&["MGET", &keys[0], &keys[1]]), both);
    }
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
    for worker in 0..2 {
        // One client more: the start waits until it can connect.
        let dealt = ["30 clients", "31 clients"].map(|n| format!("worker {worker} has seen {n},"));
        assert!(dealt.iter().any(|line| proxy.log().contains(line)), "{}", proxy.log());
    }
}

#[test]
fn preconnect_opens_server_connections_at_the_start() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Proxy::start(&[server.line()], &["preconnect: true"]);
    wait_until("the server sees a connection", || server.accepted() == 1);
    proxy.client().exchange(&command(&["GET", "a"]), b"$1\r\nx\r\n");
    assert_eq!(server.accepted(), 1, "the request used the connection that was there");
}

#[test]
fn server_connections_are_opened_on_demand_otherwise() {
    let server = FakeServer::answering(b"$1\r\nx\r\n");
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.expect_in_step("no server is needed for this");
    assert_eq!(server.accepted(), 0);
    client.exchange(&command(&["GET", "a"]), b"$1\r\nx\r\n");
    assert_eq!(server.accepted(), 1);
}
