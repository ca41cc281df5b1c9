//! SUBSCRIBE and PUBLISH over several servers: order, counts, and what becomes of subscribers when
//! something ends.

mod support;

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_THREE, keys_of};
use support::{value, wait_until};

/// A proxy before three servers of these names.
fn over_three(lines: &[&str]) -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let proxy = Proxy::start(&lines_of(&servers), lines);
    (servers, proxy)
}

fn lines_of(servers: &[Redis]) -> Vec<String> {
    servers.iter().zip(NAMES).map(|(server, name)| server.named(name)).collect()
}

/// A channel of each of the three servers.
fn one_of_each() -> [String; 3] {
    [1, 2, 3].map(|number| keys_of(OVER_THREE, number).remove(0))
}

/// A confirmation.
fn confirmed(word: &str, name: &str, count: i64) -> Reply {
    Reply::Array(vec![Reply::bulk(word), Reply::bulk(name), Reply::Integer(count)])
}

/// A message of a channel.
fn message(channel: &str, text: &str) -> Reply {
    Reply::Array(vec![Reply::bulk("message"), Reply::bulk(channel), Reply::bulk(text)])
}

/// How many connections of a server subscribe to something.
fn subscribers(server: &Redis) -> usize {
    let Reply::Bulk(list) = server.client().call(&["CLIENT", "LIST", "TYPE", "pubsub"]) else {
        panic!("CLIENT LIST is a bulk string")
    };
    list.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count()
}

/// Sends the same to both and expects the same bytes back.
fn same(redis: &mut Client, proxy: &mut Client, words: &[&str], replies: usize) {
    redis.send(&command(words));
    proxy.send(&command(words));
    for _ in 0..replies {
        let (expected, got) = (redis.reply(), proxy.reply());
        assert_eq!(got, expected, "{words:?}");
    }
}

#[test]
fn one_server_is_as_redis_itself() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut redis, mut client) = (server.client(), proxy.client());
    let steps: [(&[&str], usize); 29] = [
        (&["UNSUBSCRIBE"], 1),
        (&["PUNSUBSCRIBE"], 1),
        (&["SUNSUBSCRIBE"], 1),
        (&["UNSUBSCRIBE", "a", "b"], 2),
        (&["SUBSCRIBE", "a", "b", "a"], 3),
        (&["subscribe", "b"], 1),
        (&["PING"], 1),
        (&["PING", "me"], 1),
        (&["PING", "me", "too"], 1),
        (&["GET", "a"], 1),
        (&["PUBLISH", "a", "1"], 1),
        (&["CONFIG", "GET", "maxmemory"], 1),
        (&["SUBSCRIBE"], 1),
        (&["NOSUCH"], 1),
        (&["GET"], 1),
        (&["PSUBSCRIBE", "a*", "", "a*"], 3),
        (&["SSUBSCRIBE", "s", "s"], 2),
        (&["SUNSUBSCRIBE", "u"], 1),
        (&["SUNSUBSCRIBE"], 1),
        (&["SUNSUBSCRIBE"], 1),
        (&["PUNSUBSCRIBE", "", "", "x"], 3),
        (&["UNSUBSCRIBE", "b"], 1),
        (&["UNSUBSCRIBE"], 1),
        (&["GET", "a"], 1),
        (&["PUNSUBSCRIBE"], 1),
        (&["GET", "a"], 1),
        (&["SSUBSCRIBE", "s"], 1),
        (&["GET", "a"], 1),
        (&["SUNSUBSCRIBE", "s"], 1),
    ];
    for (words, replies) in steps {
        same(&mut redis, &mut client, words, replies);
    }
    client.expect_in_step("as before");
    wait_until("the subscription connection is closed", || subscribers(&server) == 0);
}

#[test]
fn confirmations_come_in_the_order_of_the_request() {
    let (servers, proxy) = over_three(&[]);
    let mut client = proxy.client();
    let [a, b, c] = one_of_each();
    let more = &keys_of(OVER_THREE, 1)[1];
    client.send(&command(&["SUBSCRIBE", &c, &a, &b, more, &c]));
    for (name, count) in [(&c, 1), (&a, 2), (&b, 3), (more, 4), (&c, 4)] {
        assert_eq!(client.reply(), confirmed("subscribe", name, count));
    }
    assert_eq!(servers.iter().map(subscribers).collect::<Vec<_>>(), [1, 1, 1]);
    let mut publisher = proxy.client();
    for channel in [&a, &b, &c] {
        assert_eq!(publisher.call(&["PUBLISH", channel, "hello"]), Reply::Integer(1));
        assert_eq!(client.reply(), message(channel, "hello"));
    }
    client.send(&command(&["UNSUBSCRIBE", &b, &c]));
    assert_eq!(client.reply(), confirmed("unsubscribe", &b, 3));
    assert_eq!(client.reply(), confirmed("unsubscribe", &c, 2));
    assert_eq!(publisher.call(&["PUBLISH", &b, "nobody"]), Reply::Integer(0));
    wait_until("what is not needed is closed", || subscribers(&servers[1]) == 0);
    drop(client);
    wait_until("nothing is left", || servers.iter().all(|server| subscribers(server) == 0));
}

#[test]
fn a_thousand_channels_in_one_request() {
    for workers in ["1", "2"] {
        let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
        let proxy =
            Start::with_pool(&lines_of(&servers), &[]).options(&["--workers", workers]).start();
        let mut client = proxy.client();
        let names: Vec<String> = (0..1000).map(|number| format!("channel:{number}")).collect();
        let mut words = vec!["SUBSCRIBE".to_owned()];
        words.extend(names.iter().cloned());
        client.send(&command(&words));
        for (name, count) in names.iter().zip(1..) {
            assert_eq!(client.reply(), confirmed("subscribe", name, count));
        }
        let mut publisher = proxy.client();
        for name in names.iter().step_by(97) {
            assert_eq!(publisher.call(&["PUBLISH", name, name]), Reply::Integer(1));
            assert_eq!(client.reply(), message(name, name));
        }
        client.send(&command(&["UNSUBSCRIBE"]));
        let mut left: Vec<Reply> = (0..1000).map(|_| client.reply()).collect();
        let last = Reply::Array(vec![
            Reply::bulk("unsubscribe"),
            Reply::bulk(b"channel:999"),
            Reply::Integer(0),
        ]);
        assert_eq!(left.pop(), Some(last));
        client.expect_in_step("free again");
    }
}

#[test]
fn what_is_in_one_write_stays_in_order() {
    let (_servers, proxy) = over_three(&[]);
    let [a, b, _] = one_of_each();
    let mut client = proxy.client();
    let all = [
        command(&["SET", &a, "1"]),
        command(&["GET", &a]),
        command(&["SUBSCRIBE", &a, &b]),
        command(&["PING"]),
        command(&["GET", &a]),
        command(&["UNSUBSCRIBE"]),
        command(&["PING"]),
        command(&["GET", &a]),
        command(&["SUBSCRIBE", &b]),
        command(&["QUIT"]),
    ];
    client.send(&all.concat());
    client.expect(b"+OK\r\n$1\r\n1\r\n");
    assert_eq!(client.reply(), confirmed("subscribe", &a, 1));
    assert_eq!(client.reply(), confirmed("subscribe", &b, 2));
    client.expect(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert!(client.reply().error_text().starts_with("ERR Can't execute 'get': only (P|S)SUB"));
    let mut names = [&a, &b];
    names.sort();
    assert_eq!(client.reply(), confirmed("unsubscribe", names[0], 1));
    assert_eq!(client.reply(), confirmed("unsubscribe", names[1], 0));
    client.expect(b"+PONG\r\n$1\r\n1\r\n");
    assert_eq!(client.reply(), confirmed("subscribe", &b, 1));
    client.expect(b"+OK\r\n");
    client.expect_end();
}

#[test]
fn channels_keep_their_order_under_two_publishers() {
    for workers in ["1", "2"] {
        let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
        let proxy =
            Start::with_pool(&lines_of(&servers), &[]).options(&["--workers", workers]).start();
        let channels = one_of_each();
        let mut client = proxy.client();
        client.send(&command(&["SUBSCRIBE", &channels[0], &channels[1], &channels[2]]));
        (0..3).for_each(|_| drop(client.reply()));
        let publishers: Vec<_> = (0..2)
            .map(|publisher| {
                let (mut from, channels) = (proxy.client(), channels.clone());
                std::thread::spawn(move || {
                    for number in 0..500 {
                        let text = format!("{publisher}:{number}");
                        let all: Vec<u8> = channels
                            .iter()
                            .flat_map(|channel| command(&["PUBLISH", channel, &text]))
                            .collect();
                        from.send(&all);
                        (0..3).for_each(|_| assert_eq!(from.reply(), Reply::Integer(1)));
                    }
                })
            })
            .collect();
        let mut next = [[0_u32; 3]; 2];
        for _ in 0..2 * 3 * 500 {
            let Reply::Array(parts) = client.reply() else { panic!("a message is an array") };
            let [Reply::Bulk(word), Reply::Bulk(channel), Reply::Bulk(text)] = &parts[..] else {
                panic!("three parts, not {parts:?}")
            };
            assert_eq!(word, b"message");
            let place = channels.iter().position(|it| it.as_bytes() == channel).expect("known");
            let text = String::from_utf8(text.clone()).expect("text");
            let (publisher, number) = text.split_once(':').expect("two numbers");
            let publisher: usize = publisher.parse().expect("a number");
            assert_eq!(number, next[publisher][place].to_string(), "of channel {place}");
            next[publisher][place] += 1;
        }
        publishers.into_iter().for_each(|thread| thread.join().expect("published"));
        assert_eq!(next, [[500; 3]; 2]);
    }
}

#[test]
fn a_pattern_is_for_every_server() {
    let (servers, proxy) = over_three(&[]);
    let channels = one_of_each();
    let mut client = proxy.client();
    client.send(&command(&["PSUBSCRIBE", "*item", "nothing*"]));
    assert_eq!(client.reply(), confirmed("psubscribe", "*item", 1));
    assert_eq!(client.reply(), confirmed("psubscribe", "nothing*", 2));
    client.send(&command(&["SUBSCRIBE", &channels[1]]));
    assert_eq!(client.reply(), confirmed("subscribe", &channels[1], 3));
    assert_eq!(servers.iter().map(subscribers).collect::<Vec<_>>(), [1, 1, 1]);
    let mut publisher = proxy.client();
    for (place, channel) in channels.iter().enumerate() {
        let receivers = if place == 1 { 2 } else { 1 };
        assert_eq!(publisher.call(&["PUBLISH", channel, "x"]), Reply::Integer(receivers));
        if place == 1 {
            assert_eq!(client.reply(), message(channel, "x"));
        }
        let parts = ["pmessage", "*item", channel, "x"].map(Reply::bulk);
        assert_eq!(client.reply(), Reply::Array(parts.to_vec()));
    }
    assert_eq!(publisher.call(&["PUBSUB", "NUMPAT"]), Reply::Integer(2));
    client.send(&command(&["PUNSUBSCRIBE", "*item"]));
    assert_eq!(client.reply(), confirmed("punsubscribe", "*item", 2));
    assert_eq!(publisher.call(&["PUBLISH", &channels[0], "x"]), Reply::Integer(0));
    client.send(&command(&["PING"]));
    client.expect(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}

#[test]
fn a_hash_tag_keeps_channels_together() {
    let (servers, proxy) = over_three(&["hash_tag: \"{}\""]);
    let mut client = proxy.client();
    client.send(&command(&["SSUBSCRIBE", "{t}a", "{t}b"]));
    assert_eq!(client.reply(), confirmed("ssubscribe", "{t}a", 1));
    assert_eq!(client.reply(), confirmed("ssubscribe", "{t}b", 2));
    assert_eq!(servers.iter().map(subscribers).sum::<usize>(), 1);
    let mut publisher = proxy.client();
    assert_eq!(publisher.call(&["SPUBLISH", "{t}b", "x"]), Reply::Integer(1));
    assert_eq!(publisher.call(&["PUBLISH", "{t}b", "not to shards"]), Reply::Integer(0));
    let parts = ["smessage", "{t}b", "x"].map(Reply::bulk);
    assert_eq!(client.reply(), Reply::Array(parts.to_vec()));
}

#[test]
fn random_distribution_loses_no_message() {
    let (_servers, proxy) = over_three(&["distribution: random"]);
    let mut client = proxy.client();
    client.send(&command(&["SUBSCRIBE", "a"]));
    assert_eq!(client.reply(), confirmed("subscribe", "a", 1));
    let mut publisher = proxy.client();
    for number in 0..20 {
        let text = number.to_string();
        assert_eq!(publisher.call(&["PUBLISH", "a", &text]), Reply::Integer(1));
        assert_eq!(client.reply(), message("a", &text));
    }
    // The subscriber is at every server, and is counted once all the same.
    let counts = Reply::Array(vec![Reply::bulk("a"), Reply::Integer(1)]);
    assert_eq!(publisher.call(&["PUBSUB", "NUMSUB", "a"]), counts);
    assert_eq!(publisher.call(&["PUBSUB", "CHANNELS"]), Reply::Array(vec![Reply::bulk("a")]));
}

#[test]
fn large_messages_pass_whole() {
    let (_servers, proxy) = over_three(&[]);
    let mut client = proxy.client();
    client.send(&command(&["SUBSCRIBE", "a"]));
    assert_eq!(client.reply(), confirmed("subscribe", "a", 1));
    let mut publisher = proxy.client();
    for len in [0, 1, 16_000, 16_384, 100_000, 5_000_000] {
        let text = value(len as u64, len);
        assert_eq!(publisher.call(&[b"PUBLISH", &b"a"[..], &text]), Reply::Integer(1));
        let parts = [Reply::bulk("message"), Reply::bulk("a"), Reply::Bulk(text)];
        assert!(client.reply() == Reply::Array(parts.to_vec()), "{len} bytes");
    }
}

#[test]
fn a_subscriber_that_never_reads_is_closed_and_harms_nobody() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let (mut slow, mut other) = (proxy.client(), proxy.client());
    slow.exchange(&command(&["SUBSCRIBE", "a"]), b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    let text = value(7, 4_000_000);
    let mut published = 0;
    // 256 MiB are the limit; what the sockets hold comes on top.
    while other.call(&[b"PUBLISH", &b"a"[..], &text]) == Reply::Integer(1) {
        published += 1;
        assert!(published < 100, "{published} messages of 4 MB are held");
        other.expect_in_step("others are served");
    }
    assert!(published > 20, "closed after {published} messages already");
    wait_until("its connection is closed", || subscribers(&server) == 0);
    wait_until("its memory is given back", || proxy.process().resident_bytes() < 100 << 20);
    other.expect_in_step("others are served");
}

#[test]
fn a_subscriber_is_closed_when_its_server_ends() {
    let (mut servers, proxy) = over_three(&[]);
    let [a, b, _] = one_of_each();
    let (mut of_first, mut of_second) = (proxy.client(), proxy.client());
    of_first.send(&command(&["SUBSCRIBE", &a]));
    assert_eq!(of_first.reply(), confirmed("subscribe", &a, 1));
    of_second.send(&command(&["SUBSCRIBE", &b]));
    assert_eq!(of_second.reply(), confirmed("subscribe", &b, 1));
    servers[0].kill();
    of_first.expect_end();
    wait_until("the log says so", || proxy.log().contains("subscribers are closed"));
    // The others go on, and who asks anew hears why not, and may try again.
    assert_eq!(proxy.client().call(&["PUBLISH", &b, "x"]), Reply::Integer(1));
    assert_eq!(of_second.reply(), message(&b, "x"));
    let mut again = proxy.client();
    let reply = again.call(&["SUBSCRIBE", &a]);
    assert_eq!(reply, Reply::error("ERR Connection refused"));
    assert_eq!(again.call(&["PSUBSCRIBE", "*"]), Reply::error("ERR Connection refused"));
    again.expect_end();
    servers[0].restart();
    let mut again = proxy.client();
    assert_eq!(again.call(&["SUBSCRIBE", &a]), confirmed("subscribe", &a, 1));
}

#[test]
fn a_subscriber_whose_channels_move_is_closed() {
    let lines = ["auto_eject_hosts: true", "server_failure_limit: 1", "server_retry_timeout: 300"];
    let (mut servers, proxy) = over_three(&lines);
    let [a, b, _] = one_of_each();
    let mut stays = proxy.client();
    assert_eq!(stays.call(&["SUBSCRIBE", &b]), confirmed("subscribe", &b, 1));
    let mut all = proxy.client();
    assert_eq!(all.call(&["PSUBSCRIBE", "*"]), confirmed("psubscribe", "*", 1));
    servers[0].kill();
    all.expect_end();
    // While the server is ejected its channels are somewhere else, and work there.
    let mut publisher = proxy.client();
    wait_until("the server is ejected", || {
        matches!(publisher.call(&["PUBLISH", &a, "x"]), Reply::Integer(_))
    });
    let mut meanwhile = proxy.client();
    assert_eq!(meanwhile.call(&["SUBSCRIBE", &a]), confirmed("subscribe", &a, 1));
    assert_eq!(publisher.call(&["PUBLISH", &a, "x"]), Reply::Integer(1));
    assert_eq!(meanwhile.reply(), message(&a, "x"));
    let mut all = proxy.client();
    assert_eq!(all.call(&["PSUBSCRIBE", "*"]), confirmed("psubscribe", "*", 1));
    // They go back to it when it returns, and so must who listens.
    servers[0].restart();
    meanwhile.expect_end();
    all.expect_end();
    assert_eq!(publisher.call(&["PUBLISH", &b, "still here"]), Reply::Integer(1));
    assert_eq!(stays.reply(), message(&b, "still here"));
}

#[test]
fn an_idle_subscription_outlives_the_timeout_and_a_confirmation_does_not() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["timeout: 200"]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["SUBSCRIBE", "a"]), confirmed("subscribe", "a", 1));
    assert!(!client.has_news_within(Duration::from_millis(700)));
    assert_eq!(proxy.client().call(&["PUBLISH", "a", "x"]), Reply::Integer(1));
    assert_eq!(client.reply(), message("a", "x"));
    let silent = FakeServer::start(|connection| connection.drain());
    let proxy = Proxy::start(&[silent.line()], &["timeout: 200"]);
    let mut client = proxy.client();
    let reply = client.call(&["SUBSCRIBE", "a"]);
    assert_eq!(reply, Reply::error("ERR Connection timed out"));
    client.expect_in_step("it may try again");
}

#[test]
fn a_ping_finds_out_that_a_server_has_gone_silent() {
    let silent = FakeServer::start(|connection| {
        connection.request();
        connection.send(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
        connection.request();
        connection.send(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        connection.drain();
    });
    let proxy = Proxy::start(&[silent.line()], &["timeout: 200"]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["SUBSCRIBE", "a"]), confirmed("subscribe", "a", 1));
    client.exchange(&command(&["PING"]), b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert!(!client.has_news_within(Duration::from_millis(600)));
    client.exchange(&command(&["PING"]), b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    client.expect_end();
}

#[test]
fn the_end_of_the_proxy_lets_subscribers_go_at_once() {
    let (servers, mut proxy) = over_three(&[]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["PSUBSCRIBE", "*"]), confirmed("psubscribe", "*", 1));
    client.send(&[command(&["SUBSCRIBE", "b"]), command(&["PING"])].concat());
    assert_eq!(client.reply(), confirmed("subscribe", "b", 2));
    client.expect(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    support::process::signal(proxy.process().id(), libc::SIGTERM);
    client.expect_end();
    assert_eq!(proxy.exit_code(), 0);
    assert!(servers.iter().all(|server| subscribers(server) == 0));
}

#[test]
fn a_server_that_refuses_is_heard_and_nothing_else_changes() {
    let server = Redis::start();
    let mut admin = server.client();
    assert_eq!(
        admin.call(&["ACL", "SETUSER", "default", "resetchannels", "&ok*"]),
        Reply::status("OK")
    );
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    let refused = client.call(&["SUBSCRIBE", "secret", "ok"]);
    assert!(refused.error_text().starts_with("NOPERM"), "{refused:?}");
    assert_eq!(client.call(&["SUBSCRIBE", "ok"]), confirmed("subscribe", "ok", 1));
    let refused = client.call(&["SUBSCRIBE", "secret"]);
    assert!(refused.error_text().starts_with("NOPERM"), "{refused:?}");
    assert_eq!(admin.call(&["PUBLISH", "ok", "x"]), Reply::Integer(1));
    assert_eq!(client.reply(), message("ok", "x"));
}

#[test]
fn what_nobody_asked_for_ends_the_connection() {
    let unasked: [&'static [u8]; 5] = [
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n",
        b"+OK\r\n",
        b"*1\r\n*1\r\n$1\r\na\r\n",
    ];
    for reply in unasked {
        let server = FakeServer::answering(reply);
        let proxy = Proxy::start(&[server.line()], &[]);
        let mut client = proxy.client();
        let got = client.call(&["SUBSCRIBE", "a"]);
        assert_eq!(got, Reply::error("ERR Invalid argument"), "{}", reply.escape_ascii());
        client.expect_in_step("it may try again");
    }
}

#[test]
fn redis_cli_listens_through_the_proxy() {
    let (servers, proxy) = over_three(&[]);
    let mut listener = Command::new("redis-cli")
        .args(["-p", &proxy.port().to_string(), "PSUBSCRIBE", "*item"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli");
    wait_until("it listens", || servers.iter().all(|server| subscribers(server) == 1));
    let channels = one_of_each();
    let mut publisher = proxy.client();
    for channel in &channels {
        assert_eq!(publisher.call(&["PUBLISH", channel, "hello"]), Reply::Integer(1));
    }
    // A message comes on another connection than the reply to its PUBLISH, and may come later.
    let mut lines = std::io::BufReader::new(listener.stdout.take().expect("a pipe")).lines();
    let mut said = String::new();
    while said.matches("hello\n").count() < channels.len() {
        let line = lines.next().expect("the proxy lives").expect("text");
        said.push_str(&line);
        said.push('\n');
    }
    drop(proxy);
    listener.wait().expect("its end");
    for channel in &channels {
        assert!(said.contains(&format!("pmessage\n*item\n{channel}\nhello\n")), "{said}");
    }
}
