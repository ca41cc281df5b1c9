//! What has been wrong with twemproxy, by the numbers of its issues, and what was found on 0.5.0:
//! crashes, mixed-up replies, hangs and leaks. Each has a test that names it, here or where its
//! kind is tested: look for `twemproxy` with `#` or `_` and the number.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::memcached::{Memcached, memcached_pool};
use support::migration::test_sources;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::{value, wait_until};

/// The issues of twitter/twemproxy, and what has no number, by words.
const BUGS: [&str; 52] = [
    // Crashes.
    "10",
    "115",
    "246",
    "276",
    "285",
    "290",
    "305",
    "332",
    "357",
    "361",
    "376",
    "481",
    "563",
    // Mixed-up replies.
    "149",
    "353",
    "403",
    "404",
    // Edges of parsing.
    "19",
    "85",
    "508",
    "567",
    "654",
    "byte by byte",
    "nested arrays",
    "error without a space",
    // Hangs.
    "7",
    "97",
    "433",
    "514",
    "596",
    // Leaks.
    "202",
    "486",
    "487",
    "538",
    // Found on 0.5.0.
    "replies lost before a bad request",
    "SELECT before AUTH",
    "redis_db on a unix socket",
    "routed by the number of keys",
    "keys on several servers",
    "MGET closes its client",
    "$03 poisons a server connection",
    "a client that vanished",
    "words of a fragment lost",
    "fragments are never counted",
    "-t is silent",
    "MOVE closes",
    "negative expiry closes",
    "no drain",
    "pid file left behind",
    "descriptor limit below zero",
    "numbers wrap",
    "AUTH is not looked at",
];

#[test]
fn every_bug_of_the_list_is_named_by_a_test() {
    let sources = test_sources();
    // A number ends where no digit follows.
    let mut words: Vec<&str> = sources.split("twemproxy #").skip(1).collect();
    words.extend(sources.split("fn twemproxy_").skip(1));
    let is_named = |bug: &&str| {
        let tail = words.iter().filter_map(|text| text.strip_prefix(bug));
        let mut ends = tail.map(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        ends.any(|it| it) || sources.contains(&format!("/// twemproxy: {bug}"))
    };
    let missing: Vec<&&str> = BUGS.iter().filter(|bug| !is_named(bug)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

fn memcached(servers: &[String], lines: &[&str]) -> Proxy {
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = memcached_pool("alpha", &listen, servers, lines);
    Start::with_config(&config).holding(port).start()
}

/// One key of each of two servers.
fn one_of_each() -> [String; 2] {
    [1, 2].map(|number| keys_of(OVER_TWO, number)[0].clone())
}

#[test]
fn twemproxy_357_a_get_without_a_key_is_an_error() {
    let server = Memcached::start();
    let proxy = memcached(&[server.named("one")], &[]);
    let mut client = proxy.client();
    for line in ["get \r\n", "get\r\n", "gets  \r\n", "get  \n", "gat \r\n", " \r\n"] {
        client.exchange(line.as_bytes(), b"ERROR\r\n");
    }
    // As memcached has it.
    client.exchange(b"gat 1 \r\n", b"END\r\n");
    client.exchange(b"get a\r\n", b"END\r\n");
}

/// twemproxy #332 is the same with several servers, and so is twemproxy #246 with any command.
#[test]
fn twemproxy_361_an_mset_with_a_value_missing_is_an_error() {
    let servers = [Redis::start(), Redis::start()];
    for count in 1..=2 {
        let lines: Vec<String> = servers.iter().take(count).map(Redis::line).collect();
        let proxy = Proxy::start(&lines, &[]);
        let mut client = proxy.client();
        for arguments in [&["MSET"][..], &["MSET", "a"], &["MSET", "a", "1", "b"]] {
            let words = client.call(arguments).error_text();
            assert_eq!(words, "ERR wrong number of arguments for 'mset' command");
        }
        assert_eq!(client.call(&["MSET", "a", "1", "b", "2"]), Reply::status("OK"));
        assert_eq!(client.call(&["GET", "b"]), Reply::bulk("2"));
    }
}

#[test]
fn twemproxy_376_an_mset_with_a_server_down_is_an_error() {
    let server = Redis::start();
    let dead = Port::free();
    let gone = format!("127.0.0.1:{}:1 {}", dead.number(), NAMES[1]);
    let [here, there] = one_of_each();
    for lines in [&[][..], &["auto_eject_hosts: true", "server_failure_limit: 1000"]] {
        let proxy = Proxy::start(&[server.named(NAMES[0]), gone.clone()], lines);
        let mut client = proxy.client();
        for _ in 0..100 {
            let refused = Reply::error("ERR Connection refused");
            assert_eq!(client.call(&["MSET", &here, "1", &there, "2"]), refused);
            assert_eq!(client.call(&["GET", &here]), Reply::bulk("1"));
        }
    }
}

/// twemproxy #285 and twemproxy #305: the crash was in the fragments, and depended on the hash.
#[test]
fn twemproxy_290_an_mget_over_several_servers_is_answered_with_every_hash() {
    let servers = [Redis::start(), Redis::start(), Redis::start()];
    let lines: Vec<String> = servers.iter().map(Redis::line).collect();
    for hash in ["murmur", "md5", "crc16", "hsieh", "one_at_a_time", "jenkins"] {
        let proxy = Proxy::start(&lines, &[&format!("hash: {hash}")]);
        let mut client = proxy.client();
        for count in [1, 2, 3, 50, 500] {
            let keys: Vec<String> = (0..count).map(|number| format!("key:{number}")).collect();
            let values = keys.iter().flat_map(|key| [key.clone(), format!("{key} {hash}")]);
            let mset: Vec<String> = std::iter::once("MSET".to_owned()).chain(values).collect();
            assert_eq!(client.call(&mset), Reply::status("OK"));
            let mget: Vec<&str> =
                std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
            let expected = keys.iter().map(|key| Reply::bulk(format!("{key} {hash}")));
            assert_eq!(client.call(&mget), Reply::Array(expected.collect()));
        }
    }
}

/// twemproxy #276 is the same with servers that answer.
#[test]
fn twemproxy_481_a_memcached_get_over_several_servers_survives_their_ends() {
    let mut servers = [Memcached::start(), Memcached::start()];
    let names = [0, 1].map(|number| servers[number].named(NAMES[number]));
    let proxy = memcached(&names, &[]);
    let mut client = proxy.client();
    let [one, two] = one_of_each();
    let get = format!("get {one} nothing {two} {one}\r\n");
    for key in [&one, &two] {
        client.exchange(format!("set {key} 0 0 1\r\nx\r\n").as_bytes(), b"STORED\r\n");
    }
    let values = [&one, &two, &one].map(|key| format!("VALUE {key} 0 1\r\nx\r\n")).concat();
    client.exchange(get.repeat(50).as_bytes(), format!("{values}END\r\n").repeat(50).as_bytes());
    servers[1].kill();
    for _ in 0..20 {
        client.send(get.as_bytes());
        let line = client.try_line().expect("a line");
        assert!(line.starts_with(b"SERVER_ERROR "), "{}", support::show(&line));
    }
    client.exchange(
        format!("get {one}\r\n").as_bytes(),
        format!("VALUE {one} 0 1\r\nx\r\nEND\r\n").as_bytes(),
    );
}

#[test]
fn twemproxy_563_a_request_over_several_servers_when_all_are_ejected_is_refused() {
    let dead = [Port::free(), Port::free()];
    let names = [0, 1].map(|n| format!("127.0.0.1:{}:1 {}", dead[n].number(), NAMES[n]));
    let lines = ["auto_eject_hosts: true", "server_failure_limit: 1"];
    let [one, two] = one_of_each();
    let proxy = Proxy::start(&names, &lines);
    let mut client = proxy.client();
    for request in [["MGET", &one, &two], ["DEL", &one, &two], ["MSET", &one, "1"]] {
        for _ in 0..10 {
            assert_eq!(client.call(&request), Reply::error("ERR Connection refused"));
        }
    }
    let proxy = memcached(&names, &lines);
    let get = format!("get {one} {two}\r\n");
    let refused = b"SERVER_ERROR Connection refused\r\n";
    proxy.client().exchange(get.repeat(10).as_bytes(), &refused.repeat(10));
}

/// twemproxy #10 and twemproxy #115: what its parser knew was lost where one of its buffers ended.
#[test]
fn twemproxy_19_keys_and_values_may_end_anywhere_near_a_buffers_end() {
    let (redis, server) = (Redis::start(), Memcached::start());
    let (resp, text) = (Proxy::start(&[redis.line()], &[]), memcached(&[server.named("one")], &[]));
    let (mut resp, mut text) = (resp.client(), text.client());
    for buffer in [16 << 10, 32 << 10, 48 << 10, 64 << 10, 128 << 10] {
        for key_bytes in [1, 200] {
            let key = vec![b'k'; key_bytes];
            // Requests are longer than their values by 45 to 250 bytes.
            for value_bytes in buffer - 270..buffer + 6 {
                let value = value(value_bytes as u64, value_bytes);
                resp.send(
                    &[command(&[b"SET", &key[..], &value]), command(&[b"GET", &key[..]])].concat(),
                );
                assert_eq!(resp.reply(), Reply::status("OK"));
                assert!(resp.reply() == Reply::Bulk(value.clone()), "{key_bytes} {value_bytes}");
                if value_bytes % 7 != 0 {
                    continue;
                }
                let key = String::from_utf8(key.clone()).expect("letters");
                let set = format!("set {key} 0 0 {value_bytes}\r\n").into_bytes();
                text.send(&[&set, &value[..], b"\r\nget ", key.as_bytes(), b"\r\n"].concat());
                text.expect(b"STORED\r\n");
                let head = format!("VALUE {key} 0 {value_bytes}\r\n").into_bytes();
                text.expect(&[&head, &value[..], b"\r\nEND\r\n"].concat());
            }
        }
    }
}

#[test]
fn twemproxy_85_a_key_as_long_as_a_small_buffer_is_a_key() {
    let redis = Redis::start();
    let proxy = Start::with_pool(&[redis.line()], &[]).options(&["-m", "512"]).start();
    let mut client = proxy.client();
    for bytes in (400..=560).chain([1024]) {
        let key = "k".repeat(bytes);
        assert_eq!(client.call(&["SET", &key, &key]), Reply::status("OK"));
        assert_eq!(client.call(&["MGET", &key, &key]), Reply::Array(vec![Reply::bulk(&key); 2]));
    }
}

#[test]
fn twemproxy_508_a_key_may_be_longer_than_a_buffer() {
    let servers = [Redis::start(), Redis::start()];
    let names = [0, 1].map(|number| servers[number].named(NAMES[number]));
    let proxy = Proxy::start(&names, &[]);
    let mut client = proxy.client();
    for bytes in [1, 250, 16_335, 16_336, 16_337, 65_535, 65_536, 1 << 20] {
        let keys = ["a", "b", "c", "d"].map(|first| first.repeat(bytes));
        let [a, b, c, d] = &keys;
        assert_eq!(client.call(&["MSET", a, "1", b, "2", c, "3", d, "4"]), Reply::status("OK"));
        let values = ["1", "2", "3", "4"].map(Reply::bulk).to_vec();
        assert_eq!(client.call(&["MGET", a, b, c, d]), Reply::Array(values));
        assert_eq!(client.call(&["DEL", a, b, c, d]), Reply::Integer(4));
    }
    let server = Memcached::start();
    let proxy = memcached(&[server.named("one")], &[]);
    let mut client = proxy.client();
    let get = |bytes: usize| format!("get {}\r\n", "k".repeat(bytes));
    client.exchange(get(250).as_bytes(), b"END\r\n");
    client.send(get(251).as_bytes());
    assert!(client.try_line().expect("a line").starts_with(b"CLIENT_ERROR "));
    client.exchange(get(1).as_bytes(), b"END\r\n");
}

#[test]
fn twemproxy_567_a_long_host_name_is_a_name() {
    let server = Redis::start();
    // The longest that a name can be, and one part that is longer than any can be.
    let longest = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(61));
    assert_eq!(longest.len(), 253);
    for host in [longest, format!("{}.invalid", "x".repeat(64))] {
        let names = [server.named(NAMES[0]), format!("{host}:6379:1 {}", NAMES[1])];
        let proxy = Proxy::start(&names, &["timeout: 20000"]);
        let mut client = proxy.client();
        let [here, there] = one_of_each();
        let reply = client.call(&["GET", &there]).error_text();
        assert!(["ERR Host is down", "ERR Connection timed out"].contains(&&*reply), "{reply}");
        assert_eq!(client.call(&["GET", &here]), Reply::Null);
    }
}

/// No name has a part of more than 63 bytes, so no resolver asks anybody for this one.
#[test]
fn twemproxy_596_several_keys_with_a_name_that_does_not_resolve_are_answered() {
    let nowhere = format!("{}.invalid:6379:1 {}", "x".repeat(64), NAMES[1]);
    let redis = Redis::start();
    let [here, there] = one_of_each();
    for lines in [&[][..], &["timeout: 20000"], &["preconnect: true"]] {
        let proxy = Proxy::start(&[redis.named(NAMES[0]), nowhere.clone()], lines);
        let mut client = proxy.client();
        for request in [["MGET", &here, &there], ["DEL", &there, &here], ["TOUCH", &here, &there]] {
            assert_eq!(client.call(&request), Reply::error("ERR Host is down"), "{request:?}");
        }
        let mset = ["MSET", &here, "1", &there, "2"];
        assert_eq!(client.call(&mset), Reply::error("ERR Host is down"));
        assert_eq!(client.call(&["GET", &here]), Reply::bulk("1"));
    }
    let server = Memcached::start();
    let proxy = memcached(&[server.named(NAMES[0]), nowhere], &[]);
    let mut client = proxy.client();
    for keys in [format!("{here} {there}"), format!("{there} {here} {there}")] {
        let get = format!("get {keys}\r\n");
        client.exchange(get.as_bytes(), b"SERVER_ERROR Host is down\r\n");
    }
    client.exchange(format!("get {here}\r\n").as_bytes(), b"END\r\n");
}

#[test]
fn twemproxy_654_the_number_of_keys_of_a_script_may_be_cut_anywhere() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..12).map(|number| format!("key{number}")).collect();
    let eval = |script: &str| {
        let words = ["EVAL", script, "12"].into_iter().chain(keys.iter().map(String::as_str));
        command(&words.chain(["argument"]).collect::<Vec<_>>())
    };
    let short = eval("return #KEYS");
    for cut in 1..short.len() {
        client.send(&short[..cut]);
        // What is in between travels by itself, as this is answered by the proxy first.
        proxy.client().exchange(&command(&["PING"]), b"+PONG\r\n");
        client.exchange(&short[cut..], b":12\r\n");
    }
    // The number of keys lies across each end of a buffer of 16 KiB, wherever it is cut there.
    for bytes in (16 << 10) - 80..(16 << 10) + 8 {
        let script = format!("return #KEYS --{}", "x".repeat(bytes - 15));
        client.exchange(&eval(&script), b":12\r\n");
    }
}

/// twemproxy: nested arrays
/// twemproxy: error without a space
#[test]
fn replies_of_every_shape_pass_at_every_cut() {
    const REPLIES: [&[u8]; 8] = [
        b"-ERR\r\n",
        b"-\r\n",
        b"+\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*0\r\n*-1\r\n",
        b"*3\r\n*2\r\n:1\r\n*1\r\n*1\r\n$-1\r\n$0\r\n\r\n*1\r\n-ERR in it\r\n",
        b"$2\r\n\r\n\r\n",
    ];
    let fake = FakeServer::start(|connection| {
        let mut number = 0;
        while connection.request().is_some() {
            let reply = REPLIES[number % REPLIES.len()];
            connection.send_slowly(reply, Duration::from_millis(1));
            number += 1;
        }
    });
    let proxy = Proxy::start(&[fake.line()], &[]);
    let mut client = proxy.client();
    for reply in REPLIES.iter().chain(&REPLIES) {
        client.exchange(&command(&["GET", "a"]), reply);
    }
}

/// twemproxy: $03 poisons a server connection
#[test]
fn a_length_with_a_zero_in_front_never_reaches_the_server() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let mut other = proxy.client();
    assert_eq!(other.call(&["SET", "a", "1"]), Reply::status("OK"));
    let known = redis.client().call(&["CLIENT", "LIST"]);
    let id = |reply: &Reply| {
        let Reply::Bulk(text) = reply else { panic!("not a list: {reply:?}") };
        String::from_utf8_lossy(text).split(' ').next().map(str::to_owned)
    };
    for bad in [&b"*2\r\n$03\r\nGET\r\n$1\r\na\r\n"[..], b"*02\r\n$3\r\nGET\r\n$01\r\na\r\n"] {
        let (words, _) = {
            let mut client = proxy.client();
            client.send(bad);
            client.read_to_end()
        };
        assert!(words.starts_with(b"-ERR Protocol error: "), "{}", support::show(&words));
        assert_eq!(other.call(&["GET", "a"]), Reply::bulk("1"));
    }
    assert_eq!(id(&redis.client().call(&["CLIENT", "LIST"])), id(&known), "the same connection");
}

/// Memory that a burst of traffic took is given back. twemproxy #538 kept all of it, twemproxy #487
/// and twemproxy #486 that of each MSET, and twemproxy #202 that of each request that timed out.
#[test]
fn what_a_burst_took_is_given_back() {
    const MIB: usize = 1 << 20;
    let servers = [Redis::start(), Redis::start()];
    let is_silent = Arc::new(AtomicBool::new(true));
    let of_server = Arc::clone(&is_silent);
    let silent = FakeServer::start(move |connection| {
        while connection.request().is_some() {
            if !of_server.load(Ordering::SeqCst) {
                connection.send(b"+OK\r\n");
            }
        }
    });
    let names = [0, 1].map(|number| servers[number].named(NAMES[number]));
    let ports = [Port::free(), Port::free()];
    let listen = |number: usize| format!("127.0.0.1:{}", ports[number].number());
    let config = support::pool("live", &listen(0), &names, &[])
        + &support::pool("late", &listen(1), &[silent.line()], &["timeout: 100"]);
    let late = ports[1].number();
    let proxy = ports.into_iter().fold(Start::with_config(&config), Start::holding).start();
    let large = "x".repeat(100_000);
    let burst = || {
        let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
        let pairs = (0..20).flat_map(|number| [format!("key{number}"), large.clone()]);
        let mset: Vec<String> = std::iter::once("MSET".to_owned()).chain(pairs).collect();
        for client in &mut clients {
            assert_eq!(client.call(&mset), Reply::status("OK"));
        }
        let mget = std::iter::once("MGET").chain(mset[1..].iter().step_by(2).map(String::as_str));
        let mget = command(&mget.collect::<Vec<_>>());
        // All that is asked for is there before anything of it is read.
        clients.iter_mut().for_each(|client| client.send(&mget));
        for client in &mut clients {
            assert!(matches!(client.reply(), Reply::Array(values) if values.len() == 20));
        }
        let mut clients: Vec<Client> = (0..20).map(|_| Client::tcp(late)).collect();
        let set = command(&["SET", "a", &large]);
        clients.iter_mut().for_each(|client| client.send(&set.repeat(5)));
        for client in &mut clients {
            client.expect(&b"-ERR Connection timed out\r\n".repeat(5));
        }
    };
    let bytes = || proxy.process().resident_bytes();
    let first = bytes();
    for _ in 0..4 {
        burst();
        wait_until("memory is given back", || bytes() < first + 32 * MIB);
    }
}
