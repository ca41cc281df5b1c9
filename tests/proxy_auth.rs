//! Passwords and databases: what servers are greeted with, and what clients have to say.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::client::{Client, Reply, command};
use support::fake::{FakeConnection, FakeServer};
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::{show, wait_until};

const AUTH: &str = "redis_auth: a-password";
const OK: &[u8] = b"+OK\r\n";

/// A client that has said the password.
fn known(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.exchange(&command(&["AUTH", "a-password"]), OK);
    client
}

/// A request in one line.
fn name(request: &[Vec<u8>]) -> String {
    request.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}

/// twemproxy: SELECT before AUTH
#[test]
fn data_is_kept_in_the_database_behind_the_password() {
    let options = ["--requirepass", "a-password"];
    for redis in [Redis::start_with(&options), Redis::start_on_unix_socket_with(&options)] {
        let proxy = Proxy::start(&[redis.line()], &[AUTH, "redis_db: 3"]);
        let mut client = known(&proxy);
        client.exchange(&command(&["SET", "a", "1"]), OK);
        client.exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
        let mut direct = redis.client();
        direct.exchange(&command(&["AUTH", "a-password"]), OK);
        direct.exchange(&command(&["EXISTS", "a"]), b":0\r\n");
        direct.exchange(&command(&["SELECT", "3"]), OK);
        direct.exchange(&command(&["EXISTS", "a"]), b":1\r\n");
    }
}

/// twemproxy: redis_db on a unix socket
#[test]
fn a_database_needs_no_password() {
    for redis in [Redis::start(), Redis::start_on_unix_socket()] {
        let proxy = Proxy::start(&[redis.line()], &["redis_db: 15", "preconnect: true"]);
        proxy.client().exchange(&command(&["SET", "a", "1"]), OK);
        let mut direct = redis.client();
        direct.exchange(&command(&["SELECT", "15"]), OK);
        direct.exchange(&command(&["EXISTS", "a"]), b":1\r\n");
    }
}

/// twemproxy: AUTH is not looked at
#[test]
fn a_servers_refusal_of_the_password_is_told_in_its_words() {
    let redis = Redis::start_with(&["--requirepass", "another-password"]);
    let proxy = Proxy::start(&[redis.line()], &[AUTH]);
    let mut client = known(&proxy);
    client.exchange(&command(&["SET", "a", "1"]), WRONG);
    client.exchange(&command(&["PING"]), b"+PONG\r\n");
    wait_until("the log has the words", || proxy.log().contains("AUTH: -WRONGPASS invalid"));
    assert!(!proxy.log().contains("a-password"), "{}", proxy.log());
    let mut direct = redis.client();
    direct.exchange(&command(&["AUTH", "another-password"]), OK);
    direct.exchange(&command(&["EXISTS", "a"]), b":0\r\n");
    direct.exchange(&command(&["CONFIG", "SET", "requirepass", "a-password"]), OK);
    client.exchange(&command(&["SET", "a", "1"]), OK);
}

#[test]
fn a_server_that_refuses_the_password_is_not_ejected() {
    let refusing = Redis::start_with(&["--requirepass", "another-password"]);
    let other = Redis::start_with(&["--requirepass", "a-password"]);
    let servers = [refusing.named(NAMES[0]), other.named(NAMES[1])];
    let [one, two] = [1, 2].map(|number| keys_of(OVER_TWO, number)[0].clone());
    let lines = [AUTH, "auto_eject_hosts: true", "server_failure_limit: 1"];
    let start = Start::with_pool(&servers, &lines);
    let proxy = start.options(&["--workers", "2"]).start();
    let mut clients = [known(&proxy), known(&proxy)];
    for _ in 0..10 {
        for client in &mut clients {
            client.exchange(&command(&["SET", &one, "1"]), WRONG);
            client.exchange(&command(&["SET", &two, "2"]), OK);
        }
    }
    assert!(!proxy.log().contains("is ejected"), "{}", proxy.log());
    let mut direct = other.client();
    direct.exchange(&command(&["AUTH", "a-password"]), OK);
    direct.exchange(&command(&["DBSIZE"]), b":1\r\n");
}

#[test]
fn a_server_that_refuses_its_greeting_since_it_loads_is_ejected() {
    let loading = b"-LOADING Redis is loading the dataset in memory\r\n";
    let fake = FakeServer::answering(loading);
    let other = FakeServer::answering(OK);
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let lines = [AUTH, "auto_eject_hosts: true", "server_failure_limit: 2"];
    let proxy = Proxy::start(&servers, &lines);
    let mut client = known(&proxy);
    let set = command(&["SET", &keys_of(OVER_TWO, 1)[0], "1"]);
    for _ in 0..2 {
        client.exchange(&set, loading);
    }
    client.exchange(&set, OK);
}

#[test]
fn a_probe_that_is_refused_shows_that_the_server_lives() {
    let word = Arc::new(AtomicUsize::new(0));
    let of_server = Arc::clone(&word);
    let loading = &b"-LOADING Redis is loading the dataset in memory\r\n"[..];
    let fake = FakeServer::start(move |connection| {
        while connection.request().is_some() {
            connection.send([loading, WRONG][of_server.load(Ordering::SeqCst)]);
        }
    });
    let other = FakeServer::answering(OK);
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let eject = ["auto_eject_hosts: true", "server_failure_limit: 1"];
    let probe = ["server_probe: true", "server_retry_timeout: 50"];
    let proxy = Proxy::start(&servers, &[&[AUTH][..], &eject, &probe].concat());
    let mut client = known(&proxy);
    let key = &keys_of(OVER_TWO, 1)[0];
    client.exchange(&command(&["SET", key, "1"]), loading);
    let before = fake.accepted();
    wait_until("it is probed while it loads", || {
        client.exchange(&command(&["SET", key, "1"]), OK);
        fake.accepted() >= before + 2
    });
    word.store(1, Ordering::SeqCst);
    wait_until("it is used again", || {
        let reply = client.call(&["SET", key, "1"]);
        matches!(reply, Reply::Error(words) if words.starts_with(b"WRONGPASS"))
    });
    assert_eq!(proxy.log().matches("is ejected").count(), 1, "{}", proxy.log());
}

#[test]
fn a_database_out_of_range_is_refused_and_nothing_is_written_elsewhere() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &["redis_db: 99"]);
    let mut client = proxy.client();
    let refusal = b"-ERR DB index is out of range\r\n";
    client.exchange(&command(&["SET", "a", "1"]), refusal);
    client.exchange(&command(&["MSET", "a", "1", "b", "2"]), refusal);
    redis.client().exchange(&command(&["DBSIZE"]), b":0\r\n");
    wait_until("the log has the words", || {
        proxy.log().contains("SELECT 99: -ERR DB index is out of range")
    });
}

#[test]
fn a_server_without_a_password_is_used_without() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[AUTH]);
    known(&proxy).exchange(&command(&["SET", "a", "1"]), OK);
    wait_until("the log says so", || proxy.log().contains("has no password"));
}

#[test]
fn a_server_that_is_loading_is_asked_again_by_the_next_request() {
    let server = FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            match name(&request).as_str() {
                "AUTH a-password" if connection.number == 0 => {
                    connection.send(b"-LOADING Redis is loading the dataset in memory\r\n");
                }
                _ => connection.send(OK),
            }
        }
    });
    let proxy = Proxy::start(&[server.line()], &[AUTH, "redis_db: 2"]);
    let mut client = known(&proxy);
    let set = command(&["SET", "a", "1"]);
    client.exchange(&set, b"-LOADING Redis is loading the dataset in memory\r\n");
    client.exchange(&set, OK);
    let auth = command(&["AUTH", "a-password"]);
    let expected = [&auth[..], &auth, &command(&["SELECT", "2"]), &set].concat();
    let received = server.received();
    assert!(received == expected, "{}", show(&received));
}

#[test]
fn a_refusal_that_repeats_the_password_is_not_passed_on() {
    let server = FakeServer::answering(
        b"-ERR unknown command 'AUTH', with args beginning with: 'a-password' \r\n",
    );
    let proxy = Proxy::start(&[server.line()], &[AUTH]);
    let reply = known(&proxy).call(&["GET", "a"]);
    assert!(reply.error_text().starts_with("ERR the server refuses AUTH"), "{reply:?}");
    wait_until("it is logged", || proxy.log().contains("AUTH: -ERR the server refuses AUTH"));
    assert!(!proxy.log().contains("a-password"), "{}", proxy.log());
}

#[test]
fn a_server_that_ends_in_the_middle_of_the_greeting_fails_who_waits() {
    let words = ["AUTH a-password", "SELECT 2"];
    for word in words {
        for bytes in 0..OK.len() {
            let server = FakeServer::start(move |connection| {
                while let Some(request) = connection.request() {
                    if connection.number == 0 && name(&request) == word {
                        return connection.send(&OK[..bytes]);
                    }
                    connection.send(OK);
                }
            });
            let proxy = Proxy::start(&[server.line()], &[AUTH, "redis_db: 2"]);
            let mut client = known(&proxy);
            let set = command(&["SET", "a", "1"]);
            client.exchange(&set, b"-ERR unknown\r\n");
            client.exchange(&set, OK);
        }
    }
}

/// Answers each word one byte at a time, and expects nothing meanwhile.
fn answer_slowly(connection: &mut FakeConnection) {
    while let Some(request) = connection.request() {
        if name(&request).starts_with("SET") {
            connection.send(OK);
        } else {
            connection.send_slowly(OK, Duration::from_millis(5));
        }
    }
}

#[test]
fn a_pipeline_waits_until_the_greeting_is_over() {
    let server = FakeServer::start(answer_slowly);
    let proxy = Proxy::start(&[server.line()], &[AUTH, "redis_db: 2", "timeout: 20000"]);
    let mut client = known(&proxy);
    let set = command(&["SET", "a", "1"]);
    client.exchange(&set.repeat(100), &OK.repeat(100));
    let greeting = [command(&["AUTH", "a-password"]), command(&["SELECT", "2"])].concat();
    assert!(server.received() == [greeting, set.repeat(100)].concat());
}

#[test]
fn the_greeting_counts_into_the_time_of_requests() {
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let server = FakeServer::start(move |connection| {
        while connection.request().is_some() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let proxy = Proxy::start(&[server.line()], &[AUTH, "timeout: 300"]);
    let mut client = known(&proxy);
    client.exchange(&command(&["GET", "a"]), b"-ERR Connection timed out\r\n");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "AUTH alone was sent");
}

/// What is said to a wrong password, or to a user whom nobody knows.
const WRONG: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";

/// Streams of requests of one client, right and wrong passwords among them.
fn streams() -> Vec<Vec<u8>> {
    let (right, wrong) = (command(&["AUTH", "a-password"]), command(&["AUTH", "a-passworD"]));
    let (get, ping) = (command(&["GET", "a"]), command(&["PING"]));
    let set = command(&["SET", "a", "1"]);
    vec![
        [&get[..], &ping].concat(),
        [&wrong[..], &ping, &right, &ping, &set, &get].concat(),
        [&right[..], &set, &get, &wrong, &get, &ping, &right, &get].concat(),
        [&get[..], &right, &get, &command(&["AUTH", ""]), &get].concat(),
        [&right[..], &right, &command(&["MGET", "a", "b"]), &wrong, &wrong].concat(),
    ]
}

/// The reply to each request of a stream.
fn replies(client: &mut Client, stream: &[u8]) -> Vec<Reply> {
    client.send(stream);
    let count = stream.iter().filter(|&&byte| byte == b'*').count();
    (0..count).map(|_| client.reply()).collect()
}

#[test]
fn clients_are_answered_as_by_nutcracker() {
    let redis = Redis::start_with(&["--requirepass", "a-password"]);
    let plain = Redis::start();
    let start = |servers: &[String], lines: &[&str]| {
        let other = Start::with_pool(servers, lines).program("nutcracker").start();
        (Proxy::start(servers, lines), other)
    };
    let (ours, theirs) = start(&[redis.line()], &[AUTH]);
    for stream in streams() {
        let (one, other) =
            (replies(&mut ours.client(), &stream), replies(&mut theirs.client(), &stream));
        assert_eq!(one, in_words_of_redis(other), "{}", show(&stream));
    }
    let (ours, theirs) = start(&[plain.line()], &[]);
    let stream = [command(&["AUTH", "x"]), command(&["SET", "a", "1"])].concat();
    let other = in_words_of_redis(replies(&mut theirs.client(), &stream));
    assert_eq!(replies(&mut ours.client(), &stream), other);
}

/// What nutcracker refuses, as Redis says it: clients look for these words.
fn in_words_of_redis(replies: Vec<Reply>) -> Vec<Reply> {
    let said = |reply| {
        let Reply::Error(words) = reply else { return reply };
        Reply::Error(match &words[..] {
            b"ERR invalid password" => {
                "WRONGPASS invalid username-password pair or user is disabled.".into()
            }
            b"ERR Client sent AUTH, but no password is set" => {
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?"
                    .into()
            }
            b"NOAUTH Authentication required" => "NOAUTH Authentication required.".into(),
            _ => words,
        })
    };
    replies.into_iter().map(said).collect()
}

#[test]
fn strangers_are_told_nothing_else() {
    let server = FakeServer::answering(OK);
    let proxy = Proxy::start(&[server.line()], &[AUTH]);
    let mut client = proxy.client();
    let requests: [&[&str]; 6] =
        [&["NOSUCH", "a"], &["GET"], &["MGET", "a", "b"], &["ping"], &["COMMAND"], &["DEL", "a"]];
    for request in requests {
        client.exchange(&command(request), b"-NOAUTH Authentication required.\r\n");
    }
    client.exchange(b"GET a\r\n", b"-NOAUTH Authentication required.\r\n");
    assert_eq!(server.accepted(), 0);
    client.exchange(&command(&["QUIT"]), OK);
    client.expect_end();
    let mut client = proxy.client();
    client.send(b"*1\r\n:1\r\n");
    assert!(client.reply().error_text().starts_with("ERR Protocol error"));
    client.expect_end();
}

#[test]
fn the_form_with_a_user_knows_the_default_one() {
    let server = FakeServer::answering(OK);
    let proxy = Proxy::start(&[server.line()], &[AUTH]);
    let set = command(&["SET", "a", "1"]);
    let (wrong, stranger) = (WRONG, &b"-NOAUTH Authentication required.\r\n"[..]);
    let mut client = proxy.client();
    client.exchange(&command(&["AUTH", "default", "a-password"]), OK);
    client.exchange(&set, OK);
    client.exchange(&command(&["AUTH", "default", "a-passwor"]), wrong);
    client.exchange(&set, stranger);
    client.exchange(b"AUTH a-password\r\n", OK);
    client.exchange(&set, OK);
    client.exchange(&command(&["AUTH", "other", "a-password"]), wrong);
    client.exchange(&set, stranger);
    client.exchange(&command(&["AUTH", "a", "b", "c"]), b"-ERR syntax error\r\n");
    client.exchange(&command(&["AUTH"]), b"-ERR wrong number of arguments for 'auth' command\r\n");
}
