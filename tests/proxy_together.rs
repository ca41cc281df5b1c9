//! What one client does with several parts of the proxy together: RESP3, transactions, watched
//! keys, subscriptions, commands over all servers.

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use support::client::{Client, Reply, command};
use support::proxy::Proxy;
use support::redis::Redis;
use support::show;
use support::spread::{NAMES, OVER_THREE, keys_of};

/// A proxy before three servers, whose clients may say KEYS, and a key of each.
fn over_three() -> (Vec<Redis>, Proxy, [String; 3]) {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let lines: Vec<String> =
        servers.iter().zip(NAMES).map(|(server, name)| server.named(name)).collect();
    let proxy = Proxy::start(&lines, &["commands: {allow: [keys]}"]);
    (servers, proxy, [1, 2, 3].map(|number| keys_of(OVER_THREE, number).remove(0)))
}

/// Sends a request, and reads its reply as it comes.
fn raw(client: &mut Client, words: &[&str]) -> Vec<u8> {
    client.send(&command(words));
    client.try_raw_reply().expect("a reply")
}

/// A client that speaks RESP3.
fn in_resp3(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    assert!(raw(&mut client, &["HELLO", "3"]).starts_with(b"%7\r\n"));
    client
}

/// Sends a request, and compares its reply.
fn expect(client: &mut Client, words: &[&str], reply: &[u8]) {
    let got = raw(client, words);
    assert!(got == reply, "{words:?}: {} is not {}", show(&got), show(reply));
}

/// Strings of a reply, or of several.
fn strings(replies: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8(replies.to_vec()).expect("text");
    let lines: Vec<&str> = text.split("\r\n").collect();
    let strings = lines.windows(2).filter(|pair| pair[0].starts_with('$'));
    strings.map(|pair| pair[1].to_owned()).collect()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// A field of CLIENT INFO or of a line of CLIENT LIST.
fn field(line: &[u8], name: &str) -> String {
    let line = String::from_utf8_lossy(line).into_owned();
    let value = line.split_whitespace().find_map(|it| it.strip_prefix(&format!("{name}=")));
    value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
}

/// What CLIENT LIST says of a client: `flags resp sub psub ssub multi watch name`.
fn state(asker: &mut Client, id: &str) -> String {
    let line = raw(asker, &["CLIENT", "LIST", "ID", id]);
    let names = ["flags", "resp", "sub", "psub", "ssub", "multi", "watch", "name"];
    names.map(|name| field(&line, name)).join(" ")
}

fn id(client: &mut Client) -> String {
    let id = raw(client, &["CLIENT", "ID"]);
    String::from_utf8_lossy(&id[1..]).trim().to_owned()
}

#[test]
fn a_subscriber_of_resp3_does_everything_else_as_well() {
    let (_servers, proxy, [a, b, c]) = over_three();
    let mut client = in_resp3(&proxy);
    let requests = [
        command(&["SUBSCRIBE", &a, &b]),
        command(&["SET", &a, "1"]),
        command(&["MGET", &a, &b, &c]),
        command(&["MULTI"]),
        command(&["INCR", &a]),
        command(&["EXEC"]),
    ];
    client.send(&requests.concat());
    let confirmed =
        |name: &str, count| format!(">3\r\n{}{}:{count}\r\n", bulk("subscribe"), bulk(name));
    let replies = "+OK\r\n*3\r\n$1\r\n1\r\n_\r\n_\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n";
    client.expect([&confirmed(&a, 1), &confirmed(&b, 2), replies].concat().as_bytes());
    // Its own message comes from another connection than the reply: in either order.
    client.send(&command(&["PUBLISH", &a, "x"]));
    let mut both = [(); 2].map(|()| client.try_raw_reply().expect("a reply or a message"));
    both.sort();
    let message = format!(">3\r\n{}{}{}", bulk("message"), bulk(&a), bulk("x"));
    assert_eq!(both.map(|it| show(&it)), [b":1\r\n", message.as_bytes()].map(show));
    let ended = format!(">3\r\n{}{}:1\r\n", bulk("unsubscribe"), bulk(&a));
    expect(&mut client, &["UNSUBSCRIBE", &a], ended.as_bytes());
    expect(&mut client, &["PUBLISH", &a, "nobody"], b":0\r\n");
}

#[test]
fn what_is_about_all_servers_is_told_in_resp3() {
    let (_servers, proxy, [a, b, c]) = over_three();
    let mut client = in_resp3(&proxy);
    expect(&mut client, &["RANDOMKEY"], b"_\r\n");
    expect(&mut client, &["KEYS", "*"], b"*0\r\n");
    let all: BTreeSet<String> = [&a, &b, &c].map(String::clone).into();
    for key in &all {
        expect(&mut client, &["SET", key, "1"], b"+OK\r\n");
    }
    let keys = raw(&mut client, &["KEYS", "*"]);
    assert!(keys.starts_with(b"*3\r\n"), "{}", show(&keys));
    assert_eq!(strings(&keys), all);
    expect(&mut client, &["DBSIZE"], b":3\r\n");
    let chosen = strings(&raw(&mut client, &["RANDOMKEY"]));
    assert!(chosen.len() == 1 && chosen.is_subset(&all), "{chosen:?}");
    let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        client.send(&command(&["SCAN", &cursor]));
        client.expect(b"*2\r\n");
        cursor = strings(&client.try_raw_reply().expect("a cursor")).pop_first().expect("one");
        seen.append(&mut strings(&client.try_raw_reply().expect("keys")));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, all);
}

#[test]
fn channels_of_all_servers_are_told_of() {
    let (_servers, proxy, [a, b, c]) = over_three();
    let mut listeners = [proxy.client(), proxy.client()];
    for client in &mut listeners {
        for (name, count) in [(&a, 1), (&b, 2)] {
            let confirmed = [Reply::bulk("subscribe"), Reply::bulk(name), Reply::Integer(count)];
            assert_eq!(client.call(&["SUBSCRIBE", name]), Reply::Array(confirmed.into()));
        }
    }
    for mut client in [proxy.client(), in_resp3(&proxy)] {
        let channels = raw(&mut client, &["PUBSUB", "CHANNELS"]);
        assert!(channels.starts_with(b"*2\r\n"), "{}", show(&channels));
        assert_eq!(strings(&channels), [&a, &b].map(String::clone).into());
        expect(&mut client, &["PUBSUB", "CHANNELS", "no*"], b"*0\r\n");
        let counts = format!("*6\r\n{}:2\r\n{}:0\r\n{}:2\r\n", bulk(&b), bulk(&c), bulk(&a));
        expect(&mut client, &["PUBSUB", "NUMSUB", &b, &c, &a], counts.as_bytes());
        expect(&mut client, &["PUBSUB", "NUMSUB"], b"*0\r\n");
        expect(&mut client, &["PUBSUB", "SHARDCHANNELS"], b"*0\r\n");
    }
}

#[test]
fn reset_ends_whatever_was_begun() {
    let (servers, proxy, [a, b, _]) = over_three();
    let mut other = proxy.client();
    let mut client = in_resp3(&proxy);
    let id = id(&mut client);
    assert_eq!(state(&mut other, &id), "N 3 0 0 0 -1 0 ");
    expect(&mut client, &["CLIENT", "SETNAME", "me"], b"+OK\r\n");
    for (request, name) in [("SUBSCRIBE", &b), ("PSUBSCRIBE", &b), ("SSUBSCRIBE", &b)] {
        assert!(raw(&mut client, &[request, name]).starts_with(b">3\r\n"));
    }
    expect(&mut client, &["WATCH", &a, &keys_of(OVER_THREE, 1)[1]], b"+OK\r\n");
    expect(&mut client, &["MULTI"], b"+OK\r\n");
    expect(&mut client, &["SET", &a, "1"], b"+QUEUED\r\n");
    assert_eq!(state(&mut other, &id), "Px 3 1 1 1 1 2 me");
    let listed = raw(&mut other, &["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(field(&listed, "id"), id);
    expect(&mut client, &["RESET"], b"+RESET\r\n");
    assert_eq!(state(&mut other, &id), "N 2 0 0 0 -1 0 ");
    expect(&mut other, &["CLIENT", "LIST", "TYPE", "pubsub"], b"$0\r\n\r\n");
    expect(&mut client, &["EXEC"], b"-ERR EXEC without MULTI\r\n");
    expect(&mut client, &["GET", &a], b"$-1\r\n");
    // It is watched no more, and listened to no more.
    expect(&mut other, &["SET", &a, "2"], b"+OK\r\n");
    for request in ["PUBLISH", "SPUBLISH"] {
        support::wait_until("nobody listens", || raw(&mut other, &[request, &b, "x"]) == b":0\r\n");
    }
    client.send(&[command(&["MULTI"]), command(&["INCR", &a]), command(&["EXEC"])].concat());
    client.expect(b"+OK\r\n+QUEUED\r\n*1\r\n:3\r\n");
    client.expect_in_step("in RESP2");
    drop(servers);
}

#[test]
fn what_is_watched_ends_without_what_is_listened_to() {
    let (_servers, proxy, [a, b, _]) = over_three();
    let mut other = proxy.client();
    let mut client = in_resp3(&proxy);
    let id = id(&mut client);
    assert!(raw(&mut client, &["SUBSCRIBE", &a, &b]).starts_with(b">3\r\n"));
    assert!(client.try_raw_reply().expect("the second").starts_with(b">3\r\n"));
    for ends in [&[&["UNWATCH"][..]][..], &[&["MULTI"], &["DISCARD"]]] {
        expect(&mut client, &["WATCH", &a], b"+OK\r\n");
        assert_eq!(state(&mut other, &id), "P 3 2 0 0 -1 1 ");
        expect(&mut other, &["SET", &a, "1"], b"+OK\r\n");
        for end in ends {
            expect(&mut client, end, b"+OK\r\n");
        }
        assert_eq!(state(&mut other, &id), "P 3 2 0 0 -1 0 ");
        client.send(&[command(&["MULTI"]), command(&["INCR", &a]), command(&["EXEC"])].concat());
        client.expect(b"+OK\r\n+QUEUED\r\n*1\r\n:2\r\n");
        expect(&mut other, &["PUBLISH", &b, "x"], b":1\r\n");
        let message = format!(">3\r\n{}{}{}", bulk("message"), bulk(&b), bulk("x"));
        client.expect(message.as_bytes());
    }
    // A changed key is told as a null of the client's version.
    expect(&mut client, &["WATCH", &a], b"+OK\r\n");
    expect(&mut other, &["SET", &a, "1"], b"+OK\r\n");
    client.send(&[command(&["MULTI"]), command(&["INCR", &a]), command(&["EXEC"])].concat());
    client.expect(b"+OK\r\n+QUEUED\r\n_\r\n");
}

#[test]
fn a_transaction_takes_no_subscription() {
    let (_servers, proxy, [a, ..]) = over_three();
    let mut client = proxy.client();
    let refused = "ERR Command not allowed inside a transaction";
    for request in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE"] {
        assert_eq!(client.call(&["MULTI"]), Reply::status("OK"));
        assert_eq!(client.call(&["SET", &a, "1"]), Reply::status("QUEUED"));
        assert_eq!(client.call(&[request, &a]), Reply::error(refused), "{request}");
        assert!(client.call(&["EXEC"]).error_text().starts_with("EXECABORT "));
    }
    assert_eq!(client.call(&["GET", &a]), Reply::Null);
    client.expect_in_step("not subscribed");
}

#[test]
fn what_the_proxy_answers_has_the_shape_that_redis_gives_it_in_resp3() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let (mut direct, mut client) = (redis.client(), in_resp3(&proxy));
    assert!(raw(&mut direct, &["HELLO", "3"]).starts_with(b"%7\r\n"));
    let requests = "\
        HELLO|HELLO 3|CLIENT LIST|CLIENT INFO|CLIENT ID|CLIENT GETNAME|CLIENT TRACKINGINFO|\
        CLIENT GETREDIR|CLIENT SETNAME a|CLIENT GETNAME|CLIENT KILL ID 99999|INFO|INFO server|\
        INFO nosuch|COMMAND INFO get|COMMAND INFO nosuch|COMMAND DOCS get|COMMAND DOCS nosuch|\
        COMMAND COUNT|COMMAND GETKEYS get a|COMMAND GETKEYSANDFLAGS get a|\
        COMMAND LIST FILTERBY PATTERN get|CONFIG GET save|CONFIG GET nosuch|TIME|ROLE|PING|\
        ECHO a|SLOWLOG GET|SLOWLOG LEN|LATENCY LATEST|LATENCY HISTORY x|LATENCY RESET|\
        ACL WHOAMI|LOLWUT|SELECT 0|AUTH a b|HELLO 4|CLIENT FOO";
    for line in requests.split('|') {
        let words: Vec<&str> = line.split(' ').collect();
        let [ours, theirs] = [&mut client, &mut direct].map(|it| outline(&raw(it, &words)));
        assert_eq!(ours, theirs, "{line}");
    }
    let get = raw(&mut client, &["COMMAND", "INFO", "get"]);
    let head =
        b"*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n";
    assert!(get.starts_with(head), "{}", show(&get));
}

/// The first byte of a reply, and the number of elements if it has some.
fn outline(reply: &[u8]) -> String {
    let line = reply.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let len = if b"*~%>".contains(&line[0]) { line.len() } else { 1 };
    String::from_utf8_lossy(&line[..len]).into_owned()
}

#[test]
fn redis_cli_speaks_resp3() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let port = proxy.port().to_string();
    let cli = |words: &[&str]| {
        let out = Command::new("redis-cli").args(["-3", "-p", &port]).args(words).output();
        let out = out.expect("redis-cli");
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    assert_eq!(cli(&["hset", "h", "a", "1"]), "1\n");
    assert_eq!(cli(&["--json", "hgetall", "h"]), "{\"a\":\"1\"}\n");
    assert!(cli(&["client", "info"]).contains(" resp=3 "));
    assert!(cli(&["info", "server"]).starts_with("# Server"));
    assert!(cli(&["--json", "hello"]).contains("\"proto\":3"));
    assert_eq!(cli(&["--json", "config", "get", "save"]), "{\"save\":\"\"}\n");
    assert!(cli(&["command", "docs", "get"]).contains("summary"));
}
