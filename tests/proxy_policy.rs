//! Which commands a pool's clients may say, and by which names.

#![allow(clippy::unwrap_used)]

mod support;

use ringcracker::proto::commands;
use support::client::{Client, Reply};
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::value;

fn denied(client: &mut Client, words: &[&str]) -> String {
    let text = client.call(words).error_text();
    assert!(text.starts_with("NOPERM this proxy denies "), "{words:?}: {text}");
    text
}

fn unknown(client: &mut Client, words: &[&str]) {
    let text = client.call(words).error_text();
    let expected = format!("ERR unknown command '{}', with args beginning with: ", words[0]);
    assert!(text.starts_with(&expected), "{words:?}: {text}");
}

#[test]
fn what_the_table_denies_names_the_key_that_would_allow_it() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
    let shown: [&[&str]; 7] = [
        &["KEYS", "*"],
        &["migrate", "127.0.0.1", "1", "a", "0", "10"],
        &["FUNCTION", "FLUSH"],
        &["FUNCTION", "RESTORE", "dump"],
        &["SCRIPT", "FLUSH", "ASYNC"],
        &["FLUSHALL"],
        &["flushdb", "async"],
    ];
    let denied_rows = commands::all().iter().filter(|command| command.denied);
    for (words, name) in shown.into_iter().zip(denied_rows.map(|command| command.name)) {
        assert!(words.join("|").to_lowercase().starts_with(name), "{words:?} in place of {name}");
        assert_eq!(
            denied(&mut client, words),
            format!(
                "NOPERM this proxy denies '{name}': 'commands: {{allow: [{name}]}}' of pool alpha \
                 would allow it"
            )
        );
    }
    assert_eq!(shown.len(), commands::all().iter().filter(|command| command.denied).count());
    let arity = Reply::error("ERR wrong number of arguments for 'keys' command");
    assert_eq!(client.call(&["KEYS"]), arity);
    assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
}

#[test]
fn command_tells_of_what_a_pool_serves() {
    let server = Redis::start();
    let pattern = ["COMMAND", "LIST", "FILTERBY", "PATTERN", "flush*"];
    for (line, expected) in [
        ("commands: {deny: ['@geo']}", vec![]),
        ("commands: {allow: [flushdb]}", vec![Reply::bulk("flushdb")]),
        ("commands: {allow: ['@all']}", vec![Reply::bulk("flushall"), Reply::bulk("flushdb")]),
    ] {
        let proxy = Proxy::start(&[server.line()], &[line]);
        let mut client = proxy.client();
        assert_eq!(client.call(&pattern), Reply::Array(expected), "{line}");
        let Reply::Array(rows) = client.call(&["COMMAND"]) else { panic!("no rows") };
        assert_eq!(client.call(&["COMMAND", "COUNT"]), Reply::Integer(rows.len() as i64));
        let Reply::Array(docs) = client.call(&["COMMAND", "DOCS"]) else { panic!("no rows") };
        assert_eq!(docs.len(), 2 * rows.len());
        let named =
            |row: &Reply| matches!(row, Reply::Array(row) if row[0] == Reply::bulk("geoadd"));
        assert_eq!(rows.iter().any(named), !line.contains("@geo"), "{line}");
    }
}

#[test]
fn a_list_of_what_is_allowed_leaves_the_rest_out() {
    let server = Redis::start();
    let lines = ["commands: {deny: ['@all'], allow: ['@read', ping, incr]}"];
    let proxy = Proxy::start(&[server.line()], &lines);
    let mut client = proxy.client();
    assert_eq!(
        denied(&mut client, &["SET", "a", "1"]),
        "NOPERM this proxy denies 'set': the key 'commands' of pool alpha says so"
    );
    assert_eq!(client.call(&["INCR", "a"]), Reply::Integer(1));
    assert_eq!(client.call(&["GET", "a"]), Reply::bulk("1"));
    assert_eq!(client.call(&["PING"]), Reply::status("PONG"));
    denied(&mut client, &["DECR", "a"]);
    // Who has not said the password is told that first, and may say it.
    let lines = [lines[0], "redis_auth: secret"];
    let server = Redis::start_with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[server.line()], &lines);
    let mut client = proxy.client();
    assert!(client.call(&["SET", "a", "1"]).error_text().starts_with("NOAUTH"));
    assert_eq!(client.call(&["AUTH", "secret"]), Reply::status("OK"));
    denied(&mut client, &["SET", "a", "1"]);
}

#[test]
fn a_denied_hello_is_unknown_as_clients_do_without_it_then() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &["commands: {deny: [hello]}"]);
    let mut client = proxy.client();
    unknown(&mut client, &["HELLO", "3"]);
    unknown(&mut client, &["HELLO"]);
    assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
}

#[test]
fn a_renamed_command_is_known_by_its_new_name_alone() {
    let servers = [Redis::start(), Redis::start()];
    let lines =
        ["commands: {rename: {set: put, get: fetch_the_value_of, mset: mput, object: \"\"}}"];
    // With names that stay, the keys are always shared out in the same way.
    let lines_of_servers = [servers[0].named("one"), servers[1].named("two")];
    let proxy = Start::with_pool(&lines_of_servers, &lines).start();
    let mut client = proxy.client();
    unknown(&mut client, &["SET", "a", "1"]);
    unknown(&mut client, &["OBJECT", "ENCODING", "a"]);
    unknown(&mut client, &["get", "a"]);
    assert_eq!(client.call(&["Put", "a", "1"]), Reply::status("OK"));
    assert_eq!(client.call(&["FETCH_THE_VALUE_OF", "a"]), Reply::bulk("1"));
    // Inline, and with a value that is relayed by reference.
    client.exchange(b"put b 'in line'\r\nfetch_the_value_of b\r\n", b"+OK\r\n$7\r\nin line\r\n");
    let large = value(7, 100_000);
    assert_eq!(client.call(&[b"put", b"c".as_slice(), &large]), Reply::status("OK"));
    assert_eq!(client.call(&["fetch_the_value_of", "c"]), Reply::Bulk(large));
    // Over both servers.
    let keys: Vec<String> = (0..20).map(|number| format!("{number}:item")).collect();
    let mut words = vec!["mput"];
    keys.iter().for_each(|key| words.extend([key.as_str(), key.as_str()]));
    assert_eq!(client.call(&words), Reply::status("OK"));
    for key in &keys {
        assert_eq!(client.call(&["fetch_the_value_of", key]), Reply::bulk(key));
    }
    let sizes: Vec<_> = servers.iter().map(|server| server.client().call(&["DBSIZE"])).collect();
    assert!(!sizes.contains(&Reply::Integer(0)), "{sizes:?}");
    // Its own name is in the words about it, as servers have it.
    let arity = Reply::error("ERR wrong number of arguments for 'set' command");
    assert_eq!(client.call(&["put"]), arity);
    client.expect_in_step("still there");
}

#[test]
fn commands_of_modules_pass_by_their_first_key_where_a_pool_says_so() {
    // To the proxy, which does not know the name, it is as good as a module's.
    let options = ["--rename-command", "get", "mod.get"];
    let servers = [Redis::start_with(&options), Redis::start_with(&options)];
    let lines_of_servers: Vec<_> = servers.iter().map(Redis::line).collect();
    let closed = Proxy::start(&lines_of_servers, &[]);
    let open = Proxy::start(&lines_of_servers, &["commands: {modules: first_key}"]);
    let (mut closed, mut open) = (closed.client(), open.client());
    for number in 0..20 {
        let key = format!("key:{number}");
        assert_eq!(open.call(&["SET", &key, &key]), Reply::status("OK"));
        assert_eq!(open.call(&["MOD.GET", &key]), Reply::bulk(&key));
        unknown(&mut closed, &["MOD.GET", &key]);
    }
    // What no server knows either has its own words.
    unknown(&mut open, &["a.command.with.a.name.of.forty.characters", "1"]);
    unknown(&mut open, &["no.such"]);
    assert!(open.call(&["FLUSHALL"]).error_text().starts_with("NOPERM"));
    open.expect_in_step("still there");
    closed.expect_in_step("still there");
}
