//! Commands about a connection and its neighbours: what clients say first, and what monitors ask.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use support::client::{Client, Reply, command};
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::{pool, show, wait_until};

const OK: &[u8] = b"+OK\r\n";

fn text(reply: Reply) -> String {
    let Reply::Bulk(bytes) = reply else { panic!("no text: {reply:?}") };
    String::from_utf8(bytes).expect("text")
}

fn items(reply: Reply) -> Vec<Reply> {
    let Reply::Array(items) = reply else { panic!("no array: {reply:?}") };
    items
}

/// Every other element: the keys of a map in RESP2.
fn keys(reply: Reply) -> Vec<Reply> {
    items(reply).into_iter().step_by(2).collect()
}

fn names(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|field| field.split('=').next().expect("a name")).collect()
}

fn field<'l>(line: &'l str, name: &str) -> &'l str {
    let is = |field: &&str| field.split('=').next() == Some(name);
    let field = line.split_whitespace().find(is).unwrap_or_else(|| panic!("no {name} in {line}"));
    &field[name.len() + 1..]
}

/// The lines of CLIENT LIST, by client.
fn list(client: &mut Client) -> BTreeMap<u64, String> {
    let lines = text(client.call(&["CLIENT", "LIST"]));
    assert!(lines.ends_with('\n'));
    lines.lines().map(|line| (field(line, "id").parse().expect("an id"), line.to_owned())).collect()
}

fn id(client: &mut Client) -> u64 {
    let Reply::Integer(id) = client.call(&["CLIENT", "ID"]) else { panic!("no id") };
    id as u64
}

#[test]
fn replies_are_those_of_redis() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let (mut direct, mut client) = (redis.client(), proxy.client());
    let requests = "\
        HELLO 4|HELLO 1|HELLO x|HELLO 03|HELLO 2 AUTH a|HELLO 2 AUTH a b|HELLO 2 FOO|\
        HELLO 2 SETNAME|\
        CLIENT|CLIENT FOO|client getname|CLIENT GETNAME x|CLIENT SETNAME a|CLIENT GETNAME|\
        CLIENT SETNAME|CLIENT SETNAME a\tb|CLIENT GETNAME|CLIENT ID x|CLIENT INFO x|\
        CLIENT KILL|CLIENT KILL foo|CLIENT KILL ID 0|CLIENT KILL ID x|CLIENT KILL TYPE foo ID 1|\
        CLIENT KILL USER foo ID 1|CLIENT KILL SKIPME x|CLIENT KILL foo bar|CLIENT KILL ID 99999|\
        CLIENT KILL ID 99999 SKIPME no TYPE pubsub|CLIENT KILL TYPE master|CLIENT KILL ADDR|\
        CLIENT LIST FOO|CLIENT LIST TYPE foo|CLIENT LIST TYPE|CLIENT LIST ID x|CLIENT LIST ID 0|\
        CLIENT LIST TYPE replica|CLIENT NO-EVICT|CLIENT NO-EVICT on|CLIENT NO-EVICT off|\
        CLIENT NO-EVICT x|CLIENT GETREDIR|CLIENT TRACKINGINFO|\
        PING|PING a|PING a b|ECHO a|ECHO|ECHO a b|SELECT 0|SELECT x|SELECT -1|SELECT 99|SELECT|\
        TIME x|RESET|RESET x|\
        COMMAND FOO|COMMAND COUNT x|COMMAND GETKEYS|COMMAND GETKEYS nosuch a|\
        COMMAND GETKEYS ping a|\
        COMMAND GETKEYS GET a|COMMAND GETKEYS MGET a b c|COMMAND GETKEYS MSET a 1 b 2|\
        COMMAND GETKEYS EVAL x 2 a b c|COMMAND GETKEYS ZUNIONSTORE d 2 a b|COMMAND GETKEYS SET a|\
        COMMAND LIST FILTERBY|COMMAND LIST FILTERBY FOO bar|COMMAND LIST FILTERBY PATTERN ge[t]|\
        COMMAND LIST FILTERBY MODULE nosuch|COMMAND INFO nosuch nosuch|COMMAND DOCS nosuch|\
        CONFIG|CONFIG FOO|CONFIG GET|CONFIG GET save|CONFIG GET appendonly|CONFIG GET nosuch|\
        READONLY|READWRITE|ASKING|CLUSTER INFO|CLUSTER|\
        SENTINEL MASTERS|ROLE|ROLE x|SLOWLOG LEN|SLOWLOG GET|SLOWLOG GET 3|SLOWLOG FOO|\
        SLOWLOG RESET|\
        LATENCY LATEST|LATENCY RESET|LATENCY HISTORY x|LATENCY FOO|ACL WHOAMI|\
        ACL WHOAMI x|AUTH a b|\
        HELLO 2 AUTH default anything SETNAME me AUTH a";
    let mut different = Vec::new();
    for line in requests.split('|') {
        let request: Vec<&str> = line.split(' ').collect();
        let (expected, got) = (direct.call(&request), client.call(&request));
        if got != expected {
            different.push(format!("{line}: {got:?} instead of {expected:?}"));
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    client.expect_in_step("still open");
}

#[test]
fn hello_says_what_redis_says_and_who_it_is() {
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[redis.line()], &["redis_auth: secret"]);
    let (mut direct, mut client) = (redis.client(), proxy.client());
    for words in ["HELLO", "HELLO 2", "HELLO 2 SETNAME me", "HELLO 2 AUTH default wrong"] {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(client.call(&words), direct.call(&words), "{words:?}");
    }
    client.exchange(&command(&["GET", "a"]), b"-NOAUTH Authentication required.\r\n");
    client.exchange(b"RESET\r\n", b"+RESET\r\n");
    let login = ["HELLO", "2", "AUTH", "default", "secret", "SETNAME", "me"];
    let hello = client.call(&login);
    assert_eq!(keys(hello.clone()), keys(direct.call(&login)));
    let map = items(hello);
    assert_eq!(map[5], Reply::Integer(2));
    assert_eq!(map[7], Reply::Integer(id(&mut client) as i64));
    assert_eq!(client.call(&["CLIENT", "GETNAME"]), Reply::bulk("me"));
    client.exchange(&command(&["SET", "a", "1"]), OK);
    // A wrong password leaves one who is known as he was.
    let wrong = client.call(&["HELLO", "2", "AUTH", "default", "wrong"]);
    assert!(wrong.error_text().starts_with("WRONGPASS "));
    client.exchange(&command(&["GET", "a"]), b"$1\r\n1\r\n");
    assert_eq!(keys(client.call(&["HELLO"])), keys(direct.call(&["HELLO"])));
}

#[test]
fn reset_makes_a_connection_as_new() {
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[redis.line()], &["redis_auth: secret", "redis_db: 3"]);
    let mut client = proxy.client();
    client.exchange(&command(&["AUTH", "secret"]), OK);
    client.exchange(&command(&["CLIENT", "SETNAME", "me"]), OK);
    for database in ["3", "0", "3"] {
        client.exchange(&command(&["SELECT", database]), OK);
    }
    assert!(client.call(&["SELECT", "4"]).error_text().starts_with("ERR DB index"));
    let before = text(client.call(&["CLIENT", "INFO"]));
    assert_eq!((field(&before, "name"), field(&before, "db")), ("me", "3"));
    // In its turn, behind what was asked before.
    let requests = [command(&["SET", "a", "1"]), command(&["RESET"]), command(&["GET", "a"])];
    let expected = b"+OK\r\n+RESET\r\n-NOAUTH Authentication required.\r\n";
    client.exchange(&requests.concat(), expected);
    client.exchange(&command(&["AUTH", "secret"]), OK);
    let after = text(client.call(&["CLIENT", "INFO"]));
    assert_eq!((field(&after, "name"), field(&after, "db")), ("", "0"));
    assert_eq!(field(&after, "id"), field(&before, "id"));
}

#[test]
fn client_info_has_the_fields_of_redis_in_its_order() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let (mut direct, mut client) = (redis.client(), proxy.client());
    client.exchange(&command(&["CLIENT", "SETINFO", "LIB-NAME", "lib(a;b)"]), OK);
    client.exchange(&command(&["CLIENT", "SETINFO", "lib-ver", "1.2.3"]), OK);
    let refused = client.call(&["CLIENT", "SETINFO", "LIB-NAME", "a b"]);
    let words = "ERR lib-name cannot contain spaces, newlines or special characters.";
    assert_eq!(refused.error_text(), words);
    let refused = client.call(&["CLIENT", "SETINFO", "LIB", "a"]);
    assert_eq!(refused.error_text(), "ERR Unrecognized option 'LIB'");
    let info = ["CLIENT", "INFO"];
    let (theirs, ours) = (text(direct.call(&info)), text(client.call(&info)));
    let names = names(&ours);
    let mut rest = names.iter();
    for name in self::names(&theirs) {
        assert!(rest.any(|it| *it == name), "{name} is missing, or not in its place: {ours}");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert_eq!(field(&ours, "cmd"), "client|info");
    assert_eq!((field(&ours, "lib-name"), field(&ours, "lib-ver")), ("lib(a;b)", "1.2.3"));
    assert_eq!(field(&ours, "laddr"), format!("127.0.0.1:{}", proxy.port()));
    assert!(field(&ours, "addr").starts_with("127.0.0.1:"));
    assert!(theirs.ends_with('\n') && ours.ends_with('\n'));
}

#[test]
fn clients_of_all_workers_are_listed_and_killed() {
    let redis = Redis::start();
    let proxy = Start::with_pool(&[redis.line()], &[]).options(&["--workers", "3"]).start();
    let mut clients: Vec<Client> = (0..7).map(|_| proxy.client()).collect();
    let ids: Vec<u64> = clients.iter_mut().map(id).collect();
    let all: BTreeSet<u64> = ids.iter().copied().collect();
    assert_eq!(all.len(), ids.len(), "an id was given twice: {ids:?}");
    for client in &mut clients {
        let lines = text(client.call(&["CLIENT", "LIST"]));
        let listed: Vec<u64> =
            lines.lines().map(|line| field(line, "id").parse().unwrap()).collect();
        assert!(listed.is_sorted() && listed.iter().eq(&all), "{listed:?}");
    }
    let listed = list(&mut clients[0]);
    let address = |at: usize| field(&listed[&ids[at]], "addr").to_owned();
    let some = format!("{} {} 77777", ids[3], ids[5]);
    let some: Vec<&str> = ["CLIENT", "LIST", "ID"].into_iter().chain(some.split(' ')).collect();
    assert_eq!(text(clients[0].call(&some)).lines().count(), 2);

    let killed = |count| Reply::Integer(count);
    let of = |number: usize| ids[number].to_string();
    assert_eq!(clients[0].call(&["CLIENT", "KILL", "ID", &of(1)]), killed(1));
    clients[1].expect_end();
    assert_eq!(clients[0].call(&["CLIENT", "KILL", "ADDR", &address(2)]), killed(1));
    clients[2].expect_end();
    clients[0].exchange(&command(&["CLIENT", "KILL", &address(3)]), OK);
    clients[3].expect_end();
    // Each condition holds by itself, and together they do not.
    let both = ["CLIENT", "KILL", "ID", &of(4), "ADDR", &address(5)];
    assert_eq!(clients[0].call(&both), killed(0));
    assert_eq!(clients[0].call(&["CLIENT", "KILL", "ID", &of(0)]), killed(0));
    assert_eq!(clients[0].call(&["CLIENT", "KILL", "MAXAGE", "1000"]), killed(0));
    let local = format!("127.0.0.1:{}", proxy.port());
    assert_eq!(clients[0].call(&["CLIENT", "KILL", "LADDR", &local]), killed(3));
    for client in &mut clients[4..7] {
        client.expect_end();
    }
    wait_until("only one is left", || list(&mut clients[0]).len() == 1);
    // The last word to itself.
    assert_eq!(clients[0].call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"]), killed(1));
    clients[0].expect_end();
    let mut last = proxy.client();
    let (own, address) =
        (id(&mut last), field(&list(&mut last)[&id(&mut last)], "addr").to_owned());
    assert!(all.last() < Some(&own), "an id was given twice");
    let kill = [command(&["CLIENT", "KILL", &address]), command(&["PING"])].concat();
    last.exchange(&kill, OK);
    last.expect_end();
}

#[test]
fn clients_of_another_pool_are_not_seen() {
    let redis = Redis::start();
    let (one, other) = (Port::free(), Port::free());
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let listen = |port: &Port| format!("127.0.0.1:{}", port.number());
    let config = pool("alpha", &listen(&one), &[redis.line()], &[])
        + &pool("beta", &listen(&other), &[redis.line()], &[])
        + &pool("gamma", &socket.display().to_string(), &[redis.line()], &[]);
    let proxy = Start::with_config(&config).holding(one).start();
    let mut client = proxy.client();
    let mut stranger = Client::tcp(other.number());
    let hidden = id(&mut stranger);
    assert_eq!(list(&mut client).len(), 1);
    assert_eq!(client.call(&["CLIENT", "LIST", "ID", &hidden.to_string()]), Reply::bulk(""));
    let kill = client.call(&["CLIENT", "KILL", "ID", &hidden.to_string()]);
    assert_eq!(kill, Reply::Integer(0));
    stranger.expect_in_step("still there");
    let mut local = Client::unix(&socket);
    let line = text(local.call(&["CLIENT", "INFO"]));
    let path = format!("{}:0", socket.display());
    assert_eq!((field(&line, "addr"), field(&line, "laddr")), (&*path, &*path));
    assert_eq!(field(&line, "flags"), "U");
    local.exchange(&command(&["CLIENT", "KILL", &path]), OK);
    local.expect_end();
}

#[test]
fn local_replies_keep_their_place_among_forwarded_ones() {
    let servers = [Redis::start(), Redis::start()];
    let lines = servers.each_ref().map(Redis::line);
    let proxy = Start::with_pool(&lines, &[]).options(&["--workers", "2"]).start();
    let mut clients = [proxy.client(), proxy.client()];
    for client in &mut clients {
        let mut requests = Vec::new();
        for number in 0..50 {
            let (key, number) = (format!("key{number}"), number.to_string());
            for request in [
                &["SET", &key, &number][..],
                &["CLIENT", "LIST"],
                &["GET", &key],
                &["INFO", "server"],
                &["CLIENT", "KILL", "ID", "99999"],
                &["MGET", &key, "other"],
                &["HELLO", "2"],
                &["ECHO", &number],
            ] {
                requests.extend(command(request));
            }
        }
        client.send(&requests);
        for number in 0..50 {
            let number = number.to_string();
            assert_eq!(client.reply(), Reply::status("OK"));
            assert!(text(client.reply()).contains("cmd=client|list"));
            assert_eq!(client.reply(), Reply::bulk(&number));
            assert!(text(client.reply()).starts_with("# Server\r\n"));
            assert_eq!(client.reply(), Reply::Integer(0));
            assert_eq!(client.reply(), Reply::Array(vec![Reply::bulk(&number), Reply::Null]));
            assert_eq!(keys(client.reply()).len(), 7);
            assert_eq!(client.reply(), Reply::bulk(&number));
        }
        client.expect_in_step("at the end");
    }
}

#[test]
fn clients_that_leave_in_the_middle_of_a_question_harm_nobody() {
    let redis = Redis::start();
    let proxy = Start::with_pool(&[redis.line()], &[]).options(&["--workers", "3"]).start();
    let mut stays = proxy.client();
    for round in 0..100 {
        let mut leaves = proxy.client();
        leaves.send(&command(&["CLIENT", "LIST"]).repeat(20));
        if round % 2 == 0 {
            leaves.reset();
        } else {
            drop(leaves);
        }
        assert!(list(&mut stays).contains_key(&id(&mut stays)));
    }
    wait_until("they are gone", || list(&mut stays).len() == 1);
}

#[test]
fn what_cannot_be_kept_is_refused_and_nothing_is_out_of_step() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let mut client = proxy.client();
    let unknown = "\
        CLIENT REPLY OFF|CLIENT REPLY SKIP|CLIENT TRACKING ON|CLIENT CACHING YES|CLIENT PAUSE 1000|\
        CLIENT UNPAUSE|CLIENT UNBLOCK 1|CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none|\
        CONFIG SET maxmemory 1|CONFIG REWRITE|CONFIG RESETSTAT|LATENCY DOCTOR|MODULE LIST|\
        ACL SETUSER a";
    for line in unknown.split('|') {
        let request: Vec<&str> = line.split_whitespace().collect();
        let [container, name] = [request[0], request[1]];
        let words = format!("ERR unknown subcommand '{name}'. Try {container} HELP.");
        assert_eq!(client.call(&request).error_text(), words);
        client.expect_in_step(line);
    }
    let refused = "\
        MONITOR|SHUTDOWN|SHUTDOWN NOSAVE|DEBUG SLEEP 1|REPLICAOF a 1|SLAVEOF NO ONE|SYNC|\
        PSYNC ? -1|FAILOVER|SAVE|BGSAVE|BGREWRITEAOF|LASTSAVE|SWAPDB 0 1|WAIT 1 0|REPLCONF a b|\
        MONITOR x|WAIT 0|WAITAOF 0";
    for line in refused.split('|') {
        let request: Vec<&str> = line.split_whitespace().collect();
        let words = client.call(&request).error_text();
        let name = request[0].to_lowercase();
        let start = format!("ERR '{name}' is not supported by this proxy: ");
        assert!(words.starts_with(&start), "{line}: {words}");
        client.expect_in_step(line);
    }
    let mut long = vec!["CLIENT".to_owned(), "LIST".to_owned(), "ID".to_owned()];
    long.extend((0..400_000).map(|id| id.to_string()));
    assert!(client.call(&long).error_text().contains("too long"));
    client.expect_in_step("after too many arguments");
}

#[test]
fn binary_and_empty_arguments_harm_nobody() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let mut client = proxy.client();
    let containers = "HELLO SELECT CLIENT COMMAND CONFIG INFO ACL SLOWLOG LATENCY ECHO LOLWUT";
    let subcommands = "SETINFO SETNAME KILL LIST INFO DOCS GETKEYS GET SET HISTORY 2 LIB-NAME ID";
    let odd: [&[u8]; 6] = [b"", b"\0", b"\r\n", b"\xff\xfe", b"[", b"-"];
    for container in containers.split(' ') {
        for word in odd {
            client.send(&command(&[container.as_bytes(), word]));
            let _ = client.reply();
            client.expect_in_step(container);
            for subcommand in subcommands.split(' ') {
                for rest in [&[word][..], &[word, word], &[b"ID", word], &[b"LIB-NAME", word]] {
                    let head = [container.as_bytes(), subcommand.as_bytes()];
                    client.send(&command(&[&head, rest].concat()));
                    let _ = client.reply();
                    client.expect_in_step(subcommand);
                }
            }
        }
    }
}

#[test]
fn commands_are_described_as_redis_describes_them() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.line()], &[]);
    let (mut direct, mut client) = (redis.client(), proxy.client());
    let ours = items(client.call(&["COMMAND"]));
    assert_eq!(client.call(&["COMMAND", "COUNT"]), Reply::Integer(ours.len() as i64));
    let listed = items(client.call(&["COMMAND", "LIST"]));
    let pairs = ours.iter().map(|row| items(items(row.clone()).remove(9)).len()).sum::<usize>();
    assert_eq!(listed.len(), ours.len() + pairs, "those of two words too");
    assert_eq!(keys(client.call(&["COMMAND", "DOCS"])).len(), ours.len());
    for name in ["get", "zadd", "config|get", "xinfo|stream", "publish"] {
        let docs = |client: &mut Client| {
            let fields = items(items(client.call(&["COMMAND", "DOCS", name])).remove(1));
            let of = |word| {
                let at = fields.iter().position(|field| *field == Reply::bulk(word));
                fields[at.expect(word) + 1].clone()
            };
            (of("group"), of("since"))
        };
        assert_eq!(docs(&mut client), docs(&mut direct), "{name}");
    }
    assert_eq!(items(client.call(&["COMMAND", "INFO"])).len(), ours.len());
    let newer = ["zrank", "zrevrank"];
    for row in ours {
        let row = items(row);
        let name = text(row[0].clone());
        if items(direct.call(&["COMMAND", "INFO", &name])) == [Reply::Null] {
            continue;
        }
        let theirs = items(items(direct.call(&["COMMAND", "INFO", &name])).remove(0));
        assert_eq!(row.len(), theirs.len(), "{name}");
        if !newer.contains(&&*name) {
            assert_eq!(row[1], theirs[1], "arity of {name}");
        }
        assert_eq!(row[3..6], theirs[3..6], "keys of {name}");
        // Redis 8 lets scripts say what may wait, and 7 does not: the row is that of 8.
        let is_newer = |word: &str| word == "noscript" && names_of(&row[2]).contains("blocking");
        let mut flags = names_of(&theirs[2]);
        flags.retain(|word| !is_newer(word));
        assert_eq!(names_of(&row[2]), flags, "flags of {name}");
        assert_eq!(names_of(&row[6]), names_of(&theirs[6]), "categories of {name}");
    }
}

/// Flags or categories, in any order.
fn names_of(set: &Reply) -> BTreeSet<String> {
    let name = |item: Reply| {
        let Reply::Status(name) = item else { panic!("no status: {item:?}") };
        String::from_utf8(name).expect("text")
    };
    items(set.clone()).into_iter().map(name).collect()
}

#[test]
fn info_is_parsed_by_who_reads_it() {
    let redis = Redis::start();
    let proxy = Start::with_pool(&[redis.line()], &[]).options(&["--workers", "2"]).start();
    let (mut direct, mut client) = (redis.client(), proxy.client());
    let mut other = proxy.client();
    for number in 0..10 {
        other.exchange(&command(&["SET", &number.to_string(), "x"]), OK);
    }
    let parse = |info: String| -> BTreeMap<String, String> {
        let lines = info.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parts = lines.map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line}")));
        parts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let info = parse(text(client.call(&["INFO"])));
    for (name, value) in [
        ("redis_mode", "standalone"),
        ("role", "master"),
        ("loading", "0"),
        ("arch_bits", "64"),
        ("cluster_enabled", "0"),
        ("connected_slaves", "0"),
        ("tcp_port", &proxy.port().to_string()),
        ("process_id", &proxy.process().id().to_string()),
        ("proxy_workers", "2"),
        ("proxy_pool", "alpha"),
    ] {
        assert_eq!(info.get(name).map(String::as_str), Some(value), "{name}");
    }
    let number = |name: &str| info[name].parse::<u64>().unwrap_or_else(|_| panic!("{name}"));
    assert!(number("used_memory") > 1 << 20 && number("used_memory_peak") >= number("used_memory"));
    assert!(number("uptime_in_seconds") < 600);
    assert_eq!(info["run_id"].len(), 40);
    assert!(info["redis_version"].starts_with("7.0."));
    wait_until("the other worker's client is counted", || {
        parse(text(client.call(&["INFO", "clients"])))["connected_clients"] == "2"
    });
    wait_until("the other worker's requests are counted", || {
        let stats = parse(text(client.call(&["INFO", "stats"])));
        stats["total_commands_processed"].parse::<u64>().is_ok_and(|count| count >= 12)
    });
    wait_until("the server's requests are shown", || {
        let proxy = parse(text(client.call(&["INFO", "proxy"])));
        proxy["proxy_server0"].contains(",requests=10,")
    });
    for section in ["server", "clients", "persistence", "replication", "cpu"] {
        let theirs = parse(text(direct.call(&["INFO", section])));
        let ours = text(client.call(&["INFO", &section.to_ascii_uppercase()]));
        assert_eq!(ours.matches('#').count(), 1, "{ours}");
        let ours = parse(ours);
        assert!(ours.keys().any(|name| theirs.contains_key(name)), "{section}");
    }
    assert_eq!(client.call(&["INFO", "nosuch"]), Reply::bulk(""));
    let both = text(client.call(&["INFO", "memory", "server"]));
    assert!(both.starts_with("# Server") && both.contains("\r\n\r\n# Memory\r\n"));
    let (all, default) = (text(client.call(&["INFO", "all"])), text(client.call(&["INFO"])));
    assert_eq!(all.matches('#').count(), default.matches('#').count());
    // What the proxy does not count is left out: a zero would be taken for a figure.
    for name in ["Commandstats", "Errorstats", "Keyspace", "instantaneous_", "keyspace_hits"] {
        assert!(!all.contains(name), "{name}");
    }
    assert_eq!(items(client.call(&["TIME"])).len(), 2);
    assert!(text(client.call(&["LOLWUT"])).contains("Redis ver. "));
}

#[test]
fn redis_tools_have_no_complaints() {
    let redis = Redis::start_with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[redis.line()], &["redis_auth: secret"]);
    let port = proxy.port().to_string();
    let run = |program: &str, words: &[&str]| {
        let out = Command::new(program).args(["-p", &port]).args(words).output().expect(program);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.success(), text(&out.stdout), text(&out.stderr))
    };
    let login = ["--user", "default", "--pass", "secret", "--no-auth-warning"];
    let cli = |words: &[&str]| run("redis-cli", &[&login[..], words].concat());
    assert_eq!(cli(&["ping"]), (true, "PONG\n".to_owned(), String::new()));
    assert_eq!(cli(&["-n", "0", "echo", "hi"]).1, "hi\n");
    assert!(cli(&["info"]).1.contains("# Proxy"));
    assert!(cli(&["client", "list"]).1.starts_with("id="));
    assert!(cli(&["command", "docs", "get"]).1.starts_with("get\n"));
    assert!(cli(&["lolwut"]).1.contains("ringcracker ver."));
    let benchmark = ["-a", "secret", "-q", "-n", "100", "-c", "2", "-t", "set,get"];
    let (success, out, err) = run("redis-benchmark", &benchmark);
    let said = format!("{out}{err}").to_ascii_lowercase();
    assert!(success && said.contains("set:") && said.contains("get:"), "{}", show(said.as_bytes()));
    assert!(!said.contains("error") && !said.contains("could not fetch"), "{said}");
}
