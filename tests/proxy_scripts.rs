//! Scripts and functions: where they run, on which servers they are, and what a restart costs.

mod support;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::wait_until;

/// What the table of commands denies unless a pool allows it.
const ALLOWED: &str = "commands: {allow: ['script|flush', 'function|flush', 'function|restore']}";

fn servers(count: usize, options: &[&str]) -> (Vec<Redis>, Vec<String>) {
    let servers: Vec<Redis> = (0..count).map(|_| Redis::start_with(options)).collect();
    let lines = servers.iter().zip(1..).map(|(server, n)| server.named(&format!("s{n}"))).collect();
    (servers, lines)
}

fn load(client: &mut Client, body: &str) -> String {
    let reply = client.call(&["SCRIPT", "LOAD", body]);
    let Reply::Bulk(sha) = reply else { panic!("not loaded: {reply:?}") };
    String::from_utf8(sha).expect("digits")
}

fn numbers(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().map(|&number| Reply::Integer(number)).collect())
}

/// Asks again while the answer only says that a connection has ended.
fn settled(client: &mut Client, request: &[&str]) -> Reply {
    let mut last = Reply::Null;
    wait_until("the server is reached", || {
        last = client.call(request);
        let ended = ["ERR unknown", "ERR Connection refused", "ERR Connection reset by peer"];
        !ended.iter().any(|words| last == Reply::error(words))
    });
    last
}

#[test]
fn a_loaded_script_is_on_every_server() {
    for count in [1, 2, 5] {
        let (servers, lines) = servers(count, &[]);
        let proxy = Proxy::start(&lines, &[ALLOWED]);
        let mut client = proxy.client();
        let one = load(&mut client, "return 1");
        let two = load(&mut client, "return KEYS[1]");
        assert_eq!(one, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        let none = "0".repeat(40);
        let exists = ["SCRIPT", "EXISTS", &one, &none, &two];
        assert_eq!(client.call(&exists), numbers(&[1, 0, 1]));
        for number in 0..20 {
            let key = format!("k{number}");
            assert_eq!(client.call(&["EVALSHA", &two, "1", &key]), Reply::bulk(&key));
        }
        // One that a server lacks is not there.
        servers[count - 1].client().call(&["SCRIPT", "FLUSH"]);
        assert_eq!(client.call(&exists), numbers(&[0, 0, 0]));
        load(&mut client, "return 1");
        assert_eq!(client.call(&exists), numbers(&[1, 0, 0]));
        assert_eq!(client.call(&["SCRIPT", "FLUSH", "SYNC"]), Reply::status("OK"));
        assert_eq!(client.call(&exists), numbers(&[0, 0, 0]));
        let wrong = client.call(&["SCRIPT", "LOAD", "("]);
        assert_eq!(wrong, servers[0].client().call(&["SCRIPT", "LOAD", "("]));
    }
}

#[test]
fn a_script_without_keys_runs_where_it_ran_before() {
    for distribution in ["ketama", "random"] {
        let (redis, lines) = servers(5, &[]);
        let proxy = Proxy::start(&lines, &[ALLOWED, &format!("distribution: {distribution}")]);
        let (mut client, mut second) = (proxy.client(), proxy.client());
        for number in 0..30 {
            let body = format!("return redis.call('INCR', 'script{number}')");
            let sha = load(&mut client, &body);
            client.call(&["SCRIPT", "FLUSH"]);
            assert_eq!(client.call(&["EVAL", &body, "0"]), Reply::Integer(1));
            assert_eq!(second.call(&["EVALSHA", &sha, "0"]), Reply::Integer(2));
            assert_eq!(client.call(&["evalsha", &sha.to_uppercase(), "0"]), Reply::Integer(3));
            let text = client.call(&["EVALSHA_RO", &sha, "0"]).error_text();
            assert!(!text.starts_with("NOSCRIPT"), "{text}");
        }
        // They are not all on one server.
        let homes = redis.iter().filter(|it| it.client().call(&["DBSIZE"]) != Reply::Integer(0));
        assert!(homes.count() > 1);
    }
}

#[test]
fn a_script_that_no_server_has_is_the_clients_to_bring() {
    let (servers, lines) = servers(2, &[]);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    let sha = "f".repeat(40);
    for request in [&["EVALSHA", &sha, "1", "k"][..], &["EVALSHA", &sha, "0"]] {
        assert_eq!(client.call(request), servers[0].client().call(request));
    }
    let wrong: [&[&str]; 4] = [
        &["EVAL", "return 1", "x"],
        &["EVAL", "return 1", "-1"],
        &["EVAL", "return 1", "2", "a"],
        &["EVAL", "("],
    ];
    for request in wrong {
        assert_eq!(client.call(request), servers[0].client().call(request), "{request:?}");
    }
}

#[test]
fn scripts_are_restored_to_a_server_that_was_restarted() {
    for count in [1, 2, 5] {
        let (mut servers, lines) = servers(count, &[]);
        let proxy = Proxy::start(&lines, &[ALLOWED]);
        let mut client = proxy.client();
        let loaded = load(&mut client, "return {KEYS[1], ARGV[1]}");
        let body = "return redis.call('SET', KEYS[1], ARGV[1])";
        let evaluated = "d8f2fad9f8e86a53d2a6ebd960b33c4972cacc37";
        let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
        for key in &keys {
            assert_eq!(client.call(&["EVAL", body, "1", key, "x"]), Reply::status("OK"));
        }
        for server in &mut servers {
            server.kill();
            server.restart();
        }
        for key in &keys {
            let both = Reply::Array(vec![Reply::bulk(key), Reply::bulk("x")]);
            assert_eq!(settled(&mut client, &["EVALSHA", &loaded, "1", key, "x"]), both);
            let set = ["EVALSHA", evaluated, "1", key, "y"];
            assert_eq!(client.call(&set), Reply::status("OK"), "{count} servers, {key}");
        }
        // What was flushed is not restored.
        assert_eq!(client.call(&["SCRIPT", "FLUSH"]), Reply::status("OK"));
        for server in &mut servers {
            server.kill();
            server.restart();
        }
        let text = settled(&mut client, &["EVALSHA", &loaded, "1", "k0", "x"]).error_text();
        assert!(text.starts_with("NOSCRIPT"), "{text}");
    }
}

#[test]
fn scripts_of_a_transaction_are_restored_once_it_was_sent() {
    let (mut servers, lines) = servers(1, &[]);
    let proxy = Proxy::start(&lines, &[ALLOWED]);
    let mut client = proxy.client();
    let evaluated = ["EVAL", "return 1", "0"];
    let loaded = ["SCRIPT", "LOAD", "return 2"];
    let shas =
        ["e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "7f923f79fe76194c868d7e1d0820de36700eb649"];
    type Case<'c> = (&'c [&'c [&'c str]], &'c str, [bool; 2]);
    // What was discarded was never sent.
    let transactions: [Case<'_>; 4] = [
        (&[&evaluated, &loaded], "DISCARD", [false, false]),
        (&[&evaluated], "EXEC", [true, false]),
        (&[&evaluated, &loaded], "EXEC", [true, true]),
        (&[&loaded, &["SCRIPT", "FLUSH"], &evaluated], "EXEC", [true, false]),
    ];
    for (requests, end, expected) in transactions {
        assert_eq!(client.call(&["MULTI"]), Reply::status("OK"));
        for request in requests {
            assert_eq!(client.call(request), Reply::status("QUEUED"), "{request:?}");
        }
        assert!(!matches!(client.call(&[end]), Reply::Error(_)));
        servers[0].kill();
        servers[0].restart();
        for ((sha, number), is_known) in shas.into_iter().zip(1..).zip(expected) {
            let reply = settled(&mut client, &["EVALSHA", sha, "0"]);
            assert_eq!(reply == Reply::Integer(number), is_known, "{requests:?} {end}: {reply:?}");
        }
    }
}

#[test]
fn scripts_are_restored_behind_password_and_database_by_every_worker() {
    let options = ["--requirepass", "secret"];
    let (mut servers, lines) = servers(2, &options);
    let pool_lines = ["redis_auth: secret", "redis_db: 5"];
    let proxy = Start::with_pool(&lines, &pool_lines).options(&["--workers", "2"]).start();
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["AUTH", "secret"]), Reply::status("OK"));
    }
    // The other worker has no connection yet, and one worker alone has seen the script.
    let sha = load(&mut clients[0], "return redis.call('INCR', KEYS[1])");
    for server in &mut servers {
        server.kill();
        server.restart();
    }
    for number in 0..20 {
        let key = format!("k{number}");
        for (client, count) in clients.iter_mut().zip(1..) {
            let reply = settled(client, &["EVALSHA", &sha, "1", &key]);
            assert_eq!(reply, Reply::Integer(count));
        }
    }
    let mut direct = servers[0].client();
    assert_eq!(direct.call(&["AUTH", "secret"]), Reply::status("OK"));
    assert_eq!(direct.call(&["DBSIZE"]), Reply::Integer(0));
}

#[test]
fn three_hundred_scripts_are_restored_at_once() {
    let (mut servers, lines) = servers(1, &[]);
    let proxy = Proxy::start(&lines, &["timeout: 20000"]);
    let mut client = proxy.client();
    let shas: Vec<String> =
        (0..300).map(|number| load(&mut client, &format!("return {number}"))).collect();
    servers[0].kill();
    servers[0].restart();
    for (sha, number) in shas.iter().zip(0..) {
        assert_eq!(settled(&mut client, &["EVALSHA", sha, "0"]), Reply::Integer(number));
    }
    // A further connection finds them there, and asks without telling.
    let stats = servers[0].client().call(&["INFO", "commandstats"]);
    let Reply::Bulk(stats) = stats else { panic!("no statistics") };
    let stats = String::from_utf8(stats).expect("text");
    assert!(stats.contains("cmdstat_script|load:calls=300,"), "{stats}");
    assert!(stats.contains("cmdstat_script|exists:calls=3,"), "{stats}");
}

#[test]
fn what_is_no_script_is_tried_once_and_forgotten() {
    let (mut servers, lines) = servers(1, &[]);
    let proxy = Proxy::start(&lines, &[]);
    let mut client = proxy.client();
    assert!(client.call(&["EVAL", "(", "1", "k"]).error_text().contains("compiling"));
    for is_first in [true, false] {
        servers[0].kill();
        servers[0].restart();
        assert_eq!(settled(&mut client, &["SET", "k", "v"]), Reply::status("OK"));
        let stats = servers[0].client().call(&["INFO", "commandstats"]);
        let Reply::Bulk(stats) = stats else { panic!("no statistics") };
        let stats = String::from_utf8(stats).expect("text");
        assert_eq!(stats.contains("cmdstat_script|load:calls=1,"), is_first, "{stats}");
        assert_eq!(stats.contains("cmdstat_script|"), is_first, "{stats}");
    }
}

#[test]
fn a_server_that_allows_no_scripts_serves_all_else() {
    let (mut servers, lines) = servers(1, &["--rename-command", "SCRIPT", "\"\""]);
    let proxy = Proxy::start(&lines, &[ALLOWED]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["EVAL", "return 1", "1", "k"]), Reply::Integer(1));
    servers[0].kill();
    servers[0].restart();
    assert_eq!(settled(&mut client, &["SET", "k", "v"]), Reply::status("OK"));
    wait_until("the log is written, which a thread of its own does", || {
        proxy.log().contains("a script is not restored: -ERR unknown command")
    });
    client.expect_in_step("still");
}

#[test]
fn a_server_that_is_loading_gets_its_scripts_once_it_has_loaded() {
    let fake = FakeServer::start(|connection| {
        while let Some(request) = connection.request() {
            let said = request.join(&b' ');
            let reply: &[u8] = match (connection.number, said.as_slice()) {
                (_, said) if said.starts_with(b"GET ") => b"$1\r\nv\r\n",
                // The first connection is there before the script, and then the server goes.
                (0, said) if said.starts_with(b"EVAL ") => b":1\r\n",
                (0, _) => return,
                (1, _) => b"-LOADING Redis is loading the dataset in memory\r\n",
                (_, said) if said.starts_with(b"SCRIPT EXISTS") => b"*1\r\n:0\r\n",
                (_, said) if said.starts_with(b"SCRIPT LOAD") => b"$3\r\nsha\r\n",
                (_, _) => b":2\r\n",
            };
            connection.send(reply);
        }
    });
    let proxy = Proxy::start(&[fake.line()], &[]);
    let mut client = proxy.client();
    client.exchange(&command(&["EVAL", "return 1", "1", "k"]), b":1\r\n");
    assert!(client.call(&["INCR", "gone"]).error_text().starts_with("ERR "));
    assert!(client.call(&["GET", "k"]).error_text().starts_with("LOADING "));
    assert_eq!(client.call(&["GET", "k"]), Reply::bulk("v"));
    assert_eq!(fake.accepted(), 3);
}

#[test]
fn a_script_that_does_not_end_is_ended_past_those_who_wait() {
    // The old name of what redis 7 calls busy-reply-threshold.
    let (_servers, lines) = servers(3, &["--lua-time-limit", "20"]);
    let proxy = Proxy::start(&lines, &["redis_db: 1"]);
    let (mut stuck, mut other) = (proxy.client(), proxy.client());
    let idle = other.call(&["SCRIPT", "KILL"]).error_text();
    assert_eq!(idle, "NOTBUSY No scripts in execution right now.");
    stuck.send(&command(&["EVAL", "while true do end", "0"]));
    stuck.send(&command(&["PING"]));
    wait_until("the script is ended", || other.call(&["SCRIPT", "KILL"]) == Reply::status("OK"));
    let text = stuck.reply().error_text();
    assert!(text.contains("killed by user"), "{text}");
    assert_eq!(stuck.reply(), Reply::status("PONG"));
    assert_eq!(other.call(&["FUNCTION", "KILL"]).error_text(), idle);
}

#[test]
fn a_library_is_on_every_server() {
    let (servers, lines) = servers(3, &[]);
    let proxy = Proxy::start(&lines, &[ALLOWED]);
    let mut client = proxy.client();
    let library = "#!lua name=lib\n\
        redis.register_function('echo', function(keys, args) return args[1] end)";
    assert_eq!(client.call(&["FUNCTION", "LOAD", library]), Reply::bulk("lib"));
    for server in &servers {
        let echo = ["FCALL", "echo", "0", "direct"];
        assert_eq!(server.client().call(&echo), Reply::bulk("direct"));
    }
    for number in 0..20 {
        let key = format!("k{number}");
        assert_eq!(client.call(&["FCALL", "echo", "1", &key, "x"]), Reply::bulk("x"));
    }
    assert_eq!(client.call(&["FCALL", "echo", "0", "x"]), Reply::bulk("x"));
    let again = client.call(&["FUNCTION", "LOAD", library]);
    assert_eq!(again, servers[0].client().call(&["FUNCTION", "LOAD", library]));
    let Reply::Bulk(dump) = client.call(&["FUNCTION", "DUMP"]) else { panic!("no dump") };
    assert_eq!(client.call(&["FUNCTION", "DELETE", "lib"]), Reply::status("OK"));
    assert!(client.call(&["FCALL", "echo", "0", "x"]).error_text().contains("not found"));
    let restore = [b"FUNCTION".as_slice(), b"RESTORE", &dump];
    assert_eq!(client.call(&restore), Reply::status("OK"));
    let Reply::Array(libraries) = client.call(&["FUNCTION", "LIST"]) else { panic!("no list") };
    assert_eq!(libraries.len(), 1);
    assert_eq!(client.call(&["FUNCTION", "FLUSH"]), Reply::status("OK"));
    for server in &servers {
        assert_eq!(server.client().call(&["FUNCTION", "LIST"]), Reply::Array(vec![]));
    }
}
