//! Rows of `docs/migrating-from-twemproxy.md` that no other test runs, with both programs where
//! both can be asked; and that the page has no row which no test runs.

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::memcached::memcached_pool;
use support::migration::{rows, shows_row, test_sources};
use support::process::{Port, needs_root};
use support::proxy::{Proxy, Start, proxy_binary};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::{pool, wait_until};

const NUTCRACKER: &str = "nutcracker";

/// What a test saw of nutcracker, and of ours.
fn both<T>(show: impl Fn(Option<&str>) -> T) -> (T, T) {
    (show(Some(NUTCRACKER)), show(None))
}

fn start(program: Option<&str>, servers: &[String], lines: &[&str]) -> Start {
    // nutcracker shows what happened only when something else happens, or at this interval.
    let start = Start::with_pool(servers, lines).options(&["-i", "50"]);
    program.into_iter().fold(start, Start::program)
}

fn start_memcached(program: Option<&str>, servers: &[String], lines: &[&str]) -> Proxy {
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = memcached_pool("alpha", &listen, servers, lines);
    program.into_iter().fold(Start::with_config(&config).holding(port), Start::program).start()
}

/// A number of the report; of a server's, the first server's.
fn figure(proxy: &Proxy, name: &str) -> u64 {
    let (report, _) = Client::tcp(proxy.stats_port()).read_to_end();
    let report = String::from_utf8(report).expect("text");
    let (_, tail) = report.split_once(&format!("\"{name}\":")).expect("the name");
    let digits = tail.split(|c: char| !c.is_ascii_digit()).next().expect("a number");
    digits.parse().expect("a number")
}

#[test]
fn every_row_of_the_page_is_named_by_a_test() {
    let sources = test_sources();
    let sources = joined(&sources);
    let rows = rows();
    assert!(rows.len() > 60, "the tables of the page are not found");
    for (number, row) in rows.iter().enumerate() {
        assert!(!rows[..number].contains(row), "twice in the page: {row}");
        let literal = format!("\"{}\"", row.replace('"', "\\\""));
        assert!(sources.contains(&literal), "no test names this row: {row}");
    }
}

/// A source with its strings in one piece that go on behind a backslash.
fn joined(source: &str) -> String {
    let mut pieces = source.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| all + piece.trim_start())
}

#[test]
fn a_request_for_one_server_goes_as_it_was_written() {
    shows_row("the name of an `MGET`, `DEL`, … whose keys are all on one server");
    let sent = |program: Option<&str>| {
        let fake = FakeServer::answering(b":1\r\n");
        let proxy = start(program, &[fake.line()], &[]).start();
        proxy.client().exchange(&command(&["DeL", "a", "b"]), b":1\r\n");
        fake.received()
    };
    let expected = (command(&["del", "a", "b"]), command(&["DeL", "a", "b"]));
    assert_eq!(both(sent), expected);
}

#[test]
fn what_is_about_the_proxy_is_answered_by_it() {
    shows_row("`COMMAND`, `LOLWUT`");
    let asked = |program: Option<&str>| {
        let fake = FakeServer::answering(b"$6\r\nserver\r\n");
        let proxy = start(program, &[fake.line()], &[]).start();
        let mut client = proxy.client();
        let replies = ["COMMAND", "LOLWUT"].map(|name| client.call(&[name]));
        let are_its = replies.map(|reply| reply == Reply::bulk("server"));
        (are_its, !fake.received().is_empty())
    };
    assert_eq!(both(asked), (([true, true], true), ([false, false], false)));
}

#[test]
fn a_server_that_loads_keeps_its_connection_and_is_ejected() {
    shows_row("`-LOADING` and `-BUSY` with `auto_eject_hosts`");
    const LOADING: &[u8] = b"-LOADING Redis is loading\r\n";
    let seen = |program: Option<&str>| {
        let fake = FakeServer::answering(LOADING);
        let other = FakeServer::answering(b"+other\r\n");
        let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
        let lines = ["auto_eject_hosts: true", "server_failure_limit: 3"];
        let proxy = start(program, &servers, &lines).start();
        let mut client = proxy.client();
        let key = &keys_of(OVER_TWO, 1)[0];
        let replies = [0; 4].map(|_| client.call(&["GET", key]));
        (replies, fake.accepted())
    };
    let (theirs, ours) = both(seen);
    let story = |reply: &str| {
        let error = Reply::error(reply);
        [error.clone(), error.clone(), error, Reply::status("other")]
    };
    assert_eq!(theirs, (story("ERR Invalid argument"), 3));
    assert_eq!(ours, (story("LOADING Redis is loading"), 1));
}

#[test]
fn a_memcached_server_that_answers_something_else_is_not_believed() {
    shows_row(
        "a memcached server answers another request than it was asked, or with a key that nobody \
         asked for",
    );
    for reply in [&b"STORED\r\n"[..], b"VALUE other 0 1\r\nx\r\nEND\r\n"] {
        let answer = |program: Option<&str>| {
            let fake = FakeServer::answering_lines(reply);
            let proxy = start_memcached(program, &[fake.line()], &[]);
            let mut client = proxy.client();
            client.send(b"get mine\r\n");
            let mut said = client.try_line().expect("a line");
            while said.starts_with(b"VALUE") && !said.ends_with(b"END\r\n") {
                said.extend(client.try_line().expect("a line"));
            }
            said
        };
        assert_eq!(both(answer), (reply.to_vec(), b"SERVER_ERROR Invalid argument\r\n".to_vec()));
    }
}

#[test]
fn a_silent_request_has_a_reply() {
    shows_row("memcached's `noreply`");
    let sent = |program: Option<&str>| {
        let fake = FakeServer::answering_lines(b"STORED\r\n");
        let proxy = start_memcached(program, &[fake.line()], &[]);
        let mut client = proxy.client();
        client.send(b"touch a 1 noreply\r\n");
        wait_until("it has come", || fake.received().ends_with(b"\r\n"));
        fake.received()
    };
    let expected = (b"touch a 1 noreply\r\n".to_vec(), b"touch a 1\r\n".to_vec());
    assert_eq!(both(sent), expected);
}

#[test]
fn one_that_is_ejected_is_not_ejected_again_by_what_was_under_way() {
    shows_row("failures of a server that is ejected already");
    let ejects = |program: Option<&str>| {
        let ends = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let of_server = Arc::clone(&ends);
        let fake = FakeServer::start(move |connection| {
            connection.request();
            wait_until("its end", || of_server[connection.number].load(Ordering::SeqCst));
        });
        let other = FakeServer::answering(b"+other\r\n");
        let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
        let lines = ["auto_eject_hosts: true", "server_failure_limit: 1", "server_connections: 2"];
        let proxy = start(program, &servers, &lines).start();
        let get = command(&["GET", &keys_of(OVER_TWO, 1)[0]]);
        let mut clients = [proxy.client(), proxy.client()];
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&get);
            wait_until("it has the request", || fake.received().len() == (number + 1) * get.len());
        }
        // Which of the clients is on which connection does not matter.
        for (number, end) in ends.iter().enumerate() {
            end.store(true, Ordering::SeqCst);
            wait_until("its end is heard", || figure(&proxy, "server_eof") == number as u64 + 1);
        }
        clients.iter_mut().for_each(|client| client.expect(b"-ERR unknown\r\n"));
        figure(&proxy, "server_ejects")
    };
    assert_eq!(both(ejects), (2, 1));
}

#[test]
fn a_restart_of_a_server_is_one_failure() {
    shows_row(
        "several connections to a server that end together, with `server_connections` above 1 or \
         several workers",
    );
    let ejects = |program: Option<&str>| {
        let mut redis = Redis::start();
        let servers = [redis.named(NAMES[0])];
        let lines = ["auto_eject_hosts: true", "server_failure_limit: 2", "server_connections: 4"];
        let proxy = start(program, &servers, &lines).start();
        let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.exchange(&command(&["GET", "a"]), b"$-1\r\n");
        }
        wait_until("all are open", || figure(&proxy, "server_connections") == 4);
        redis.kill();
        wait_until("all have ended", || {
            figure(&proxy, "server_eof") + figure(&proxy, "server_err") == 4
        });
        figure(&proxy, "server_ejects")
    };
    // Of the four failures each second ejects.
    assert_eq!(both(ejects), (2, 0));
}

#[test]
fn replies_that_nobody_reads_do_not_fill_the_memory() {
    shows_row("a client that sends and does not read");
    const VALUE_BYTES: usize = 100_000;
    const REQUESTS: usize = 3000;
    let redis = Redis::start();
    redis.client().call(&["SET", "a", &"x".repeat(VALUE_BYTES)]);
    let is_filled = |program: Option<&str>| {
        let proxy = start(program, &[redis.line()], &[]).start();
        let mut client = proxy.client();
        client.send(&command(&["GET", "a"]).repeat(REQUESTS));
        let has_most = || proxy.process().resident_bytes() > VALUE_BYTES * REQUESTS * 3 / 4;
        wait_until("memory is full, or the client is not read", || {
            let (requests, responses) = (figure(&proxy, "requests"), figure(&proxy, "responses"));
            let is_left_alone = requests == responses && requests > 1000;
            has_most() || is_left_alone
        });
        has_most()
    };
    assert_eq!(both(is_filled), (true, false));
}

#[test]
fn a_client_keeps_to_one_connection_of_several() {
    shows_row("`server_connections` above 1");
    let connections = |program: Option<&str>| {
        let used = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let of_server = Arc::clone(&used);
        let fake = FakeServer::start(move |connection| {
            while connection.request().is_some() {
                of_server[connection.number].fetch_add(1, Ordering::SeqCst);
                connection.send(b"+OK\r\n");
            }
        });
        let proxy = start(program, &[fake.line()], &["server_connections: 2"]).start();
        let mut client = proxy.client();
        for _ in 0..10 {
            client.exchange(&command(&["SET", "a", "1"]), b"+OK\r\n");
        }
        let mut used = used.each_ref().map(|count| count.load(Ordering::SeqCst));
        used.sort_unstable();
        used
    };
    assert_eq!(both(connections), ([5, 5], [0, 10]));
}

#[test]
fn the_limit_of_clients_is_one() {
    shows_row("`client_connections`");
    let second = |program: Option<&str>| {
        let proxy = start(program, &["127.0.0.1:1:1".to_owned()], &["client_connections: 1"]);
        let proxy = proxy.start();
        let mut first = proxy.client();
        first.exchange(&command(&["PING"]), b"+PONG\r\n");
        let mut second = proxy.client();
        // Refused, it may be closed before it has sent all.
        let _ = second.try_send(&command(&["PING"]));
        second.try_line().expect("a line")
    };
    let expected = (b"+PONG\r\n".to_vec(), b"-ERR max number of clients reached\r\n".to_vec());
    assert_eq!(both(second), expected);
}

#[test]
fn who_finds_no_descriptor_left_is_told_so() {
    shows_row("clients beyond `ulimit -n`");
    let last = |program: Option<&str>| {
        let servers = ["127.0.0.1:1:1".to_owned()];
        let proxy = start(program, &servers, &[]).descriptors(100).start();
        let mut clients = Vec::new();
        loop {
            assert!(clients.len() < 100, "there is no limit");
            let mut client = proxy.client();
            let _ = client.try_send(&command(&["PING"]));
            match client.try_line() {
                Ok(line) if line == b"+PONG\r\n" => clients.push(client),
                Ok(line) => return String::from_utf8(line).expect("text"),
                Err(_) => return "closed".to_owned(),
            }
        }
    };
    let words = "-ERR max number of clients reached\r\n";
    assert_eq!(both(last), ("closed".to_owned(), words.to_owned()));
}

/// A script that runs the program it names with a name server that never answers.
fn without_names(directory: &Path, program: &Path, server: IpAddr) -> PathBuf {
    let (script, servers) = (directory.join("run"), directory.join("resolv.conf"));
    let text = format!("nameserver {server}\noptions timeout:4 attempts:1\n");
    fs::write(&servers, text).expect("writable");
    let text = format!(
        "#!/bin/sh\nexec unshare --mount sh -c '\n\
         mount --bind {} /etc/resolv.conf && exec {} \"$@\"' run \"$@\"\n",
        servers.display(),
        program.display()
    );
    fs::write(&script, text).expect("writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    script
}

#[test]
fn a_name_that_is_looked_up_holds_up_nobody_else() {
    shows_row("host names of servers");
    if !needs_root("to have programs ask another name server") {
        return;
    }
    // The port of name servers, at an address of this process.
    let [.., high, low] = std::process::id().to_be_bytes();
    let mute = UdpSocket::bind((Ipv4Addr::new(127, 53, high, low), 53)).expect("a free address");
    let name_server = mute.local_addr().expect("bound").ip();
    let redis = Redis::start_on_unix_socket();
    let is_first = |program: Option<&str>| {
        let program = program.map_or_else(proxy_binary, |name| Path::new("/usr/sbin").join(name));
        let directory = tempfile::tempdir().expect("a directory");
        let sockets = ["a", "b"].map(|name| directory.path().join(name));
        let listens = sockets.each_ref().map(|path| path.to_str().expect("text"));
        let config = pool("a", listens[0], &["slow.example:6379:1".to_owned()], &[])
            + &pool("b", listens[1], &[redis.line()], &[]);
        let script = without_names(directory.path(), &program, name_server);
        let start = Start::with_config(&config).program(script.to_str().expect("text"));
        let _proxy = start.start();
        let [mut slow, mut quick] = sockets.each_ref().map(|path| Client::unix(path));
        slow.send(&command(&["GET", "a"]));
        quick.exchange(&command(&["GET", "a"]), b"$-1\r\n");
        let is_first = !slow.has_news_within(Duration::from_millis(1));
        slow.expect(b"-ERR Host is down\r\n");
        is_first
    };
    assert_eq!(both(is_first), (false, true));
}

#[test]
fn a_unix_socket_that_is_served_is_not_taken_over() {
    shows_row("a listening unix socket that another process serves");
    shows_row("a unix socket at the end");
    let show = |program: Option<&str>| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sock");
        let config = pool("a", path.to_str().expect("text"), &["127.0.0.1:1:1".to_owned()], &[]);
        let start = || program.into_iter().fold(Start::with_config(&config), Start::program);
        let mut first = start().start();
        let mut second = start().spawn();
        let mut ended = false;
        wait_until("it has started, or ended", || {
            ended = second.process_mut().ended().is_some();
            ended || second.log().contains("started on pid")
        });
        drop(second);
        first.process().signal(libc::SIGTERM);
        first.exit_code();
        (if ended { "refused" } else { "taken over" }, path.exists())
    };
    assert_eq!(both(show), (("taken over", true), ("refused", false)));
}

#[test]
fn buffers_have_one_size() {
    shows_row("`-m`");
    let key = "k".repeat(500);
    let answer = |program: Option<&str>| {
        let fake = FakeServer::answering(b"$-1\r\n");
        let proxy = start(program, &[fake.line()], &[]).options(&["-m", "512"]).start();
        let mut client = proxy.client();
        let _ = client.try_send(&command(&["GET", &key]));
        let said = client.try_line().unwrap_or_else(|_| "closed".into());
        let is_said = proxy.log().lines().any(|line| line.contains("-m"));
        (String::from_utf8(said).expect("text"), is_said)
    };
    let expected = (("closed".to_owned(), false), ("$-1\r\n".to_owned(), true));
    assert_eq!(both(answer), expected);
}

#[test]
fn figures_are_never_older_than_a_tick() {
    shows_row("`-i`");
    let fake = FakeServer::answering(b"+OK\r\n");
    let servers = [fake.line()];
    let proxy = Start::with_pool(&servers, &[]).options(&["-i", "2000000000"]).start();
    let mut client = proxy.client();
    client.exchange(&command(&["SET", "a", "1"]), b"+OK\r\n");
    wait_until("it is shown", || figure(&proxy, "responses") == 1);
    assert_eq!(figure(&proxy, "requests"), 1);
}
