//! Servers that fail are left out for a while: `auto_eject_hosts`, beside the real nutcracker.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::client::{Client, Reply, command};
use support::fake::FakeServer;
use support::proxy::{Proxy, Start};
use support::redis::Redis;
use support::spread::{NAMES, OVER_TWO, keys_of};
use support::{DEADLINE, wait_until};

const REFUSED: &[u8] = b"-ERR Connection refused\r\n";
const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
const RETRY: Duration = Duration::from_millis(1500);

/// Both programs, ours first.
const PROGRAMS: [Option<&str>; 2] = [None, Some("nutcracker")];

/// Two servers that know their own names under each key that is asked for.
struct Pair {
    servers: [Redis; 2],
    /// A key of each, while both are in.
    keys: [String; 2],
}

impl Pair {
    fn start() -> Self {
        let keys = [1, 2].map(|number| keys_of(OVER_TWO, number)[0].clone());
        let pair = Self { servers: [Redis::start(), Redis::start()], keys };
        (0..2).for_each(|number| pair.tell(number));
        pair
    }

    fn tell(&self, number: usize) {
        let mut client = self.servers[number].client();
        for key in &self.keys {
            assert_eq!(client.call(&["SET", key, NAMES[number]]), Reply::status("OK"));
        }
    }

    fn kill(&mut self, number: usize) {
        self.servers[number].kill();
    }

    fn restart(&mut self, number: usize) {
        self.servers[number].restart();
        self.tell(number);
    }

    fn proxy(&self, program: Option<&str>, limit: u32) -> Start {
        let start = self.proxy_with(limit, &[]);
        program.into_iter().fold(start, Start::program)
    }

    /// Ours, with further lines.
    fn proxy_with(&self, limit: u32, lines: &[&str]) -> Start {
        let servers = [0, 1].map(|number| self.servers[number].named(NAMES[number]));
        let limit = format!("server_failure_limit: {limit}");
        let retry = format!("server_retry_timeout: {}", RETRY.as_millis());
        let ejects = ["auto_eject_hosts: true", &limit, &retry];
        Start::with_pool(&servers, &[&ejects[..], lines].concat())
    }
}

/// What a client sees that asks for one key again and again: each answer that differs from the
/// one before, when it first came, and how often it came in a row.
struct Timeline {
    client: Client,
    key: String,
    begin: Instant,
    seen: Vec<(Reply, Duration, usize)>,
}

impl Timeline {
    fn new(proxy: &Proxy, key: &str) -> Self {
        let client = proxy.client();
        Self { client, key: key.to_owned(), begin: Instant::now(), seen: Vec::new() }
    }

    fn ask(&mut self) -> Reply {
        let reply = self.client.call(&["GET", &self.key]);
        match self.seen.last_mut() {
            Some((last, _, count)) if *last == reply => *count += 1,
            _ => self.seen.push((reply.clone(), self.begin.elapsed(), 1)),
        }
        reply
    }

    /// Asks until that is the answer.
    fn ask_until(&mut self, expected: &Reply) {
        wait_until("the answer changes", || self.ask() == *expected);
    }

    /// The answers without their times, and the numbers of errors.
    fn story(&self) -> Vec<(Reply, Option<usize>)> {
        let is_error = |reply: &Reply| matches!(reply, Reply::Error(_));
        let seen = self.seen.iter();
        seen.map(|(reply, _, count)| (reply.clone(), is_error(reply).then_some(*count))).collect()
    }
}

/// What the statistics port says.
fn report(proxy: &Proxy) -> String {
    String::from_utf8_lossy(&Client::tcp(proxy.stats_port()).read_to_end().0).into_owned()
}

fn refused() -> Reply {
    Reply::error("ERR Connection refused")
}

#[test]
fn a_dead_server_is_left_out_tried_again_and_used_once_it_is_back() {
    for program in PROGRAMS {
        let mut pair = Pair::start();
        let [one, two] = NAMES.map(Reply::bulk)[..2].to_vec().try_into().expect("two of three");
        pair.kill(1);
        let proxy = pair.proxy(program, 2).start();
        let mut timeline = Timeline::new(&proxy, &pair.keys[1]);
        timeline.ask_until(&one);
        // Its time is over, and it is still dead.
        timeline.ask_until(&refused());
        timeline.ask_until(&one);
        pair.restart(1);
        timeline.ask_until(&two);
        let story = [(refused(), Some(2)), (one, None)];
        let story = [&story[..], &story, &[(two, None)]].concat();
        assert_eq!(timeline.story(), story, "{program:?}");
        let time = |number: usize| timeline.seen[number].1;
        for (out, back) in [(1, 2), (3, 4)] {
            let took = time(back) - time(out);
            let is_exact = took + Duration::from_millis(100) >= RETRY && took < DEADLINE;
            assert!(is_exact, "{program:?}: back after {took:?}");
        }
    }
}

#[test]
fn with_all_ejected_everything_is_refused_until_the_time_is_over() {
    for program in PROGRAMS {
        let mut pair = Pair::start();
        (0..2).for_each(|number| pair.kill(number));
        let proxy = pair.proxy(program, 1).start();
        let mut client = proxy.client();
        let begin = Instant::now();
        for key in pair.keys.clone() {
            client.exchange(&command(&["GET", &key]), REFUSED);
        }
        (0..2).for_each(|number| pair.restart(number));
        let mut timeline = Timeline::new(&proxy, &pair.keys[0]);
        timeline.ask_until(&Reply::bulk(NAMES[0]));
        let took = begin.elapsed();
        assert!(took >= RETRY, "{program:?}: back after {took:?}");
        // Unless this machine took all that time for the restart, requests came meanwhile.
        let refusals = timeline.seen.iter().find(|(reply, ..)| *reply == refused());
        assert!(refusals.is_some() || took > RETRY * 2, "{program:?}: back after {took:?}");
    }
}

#[test]
fn the_only_server_is_ejected_too() {
    for program in PROGRAMS {
        let mut redis = Redis::start();
        redis.kill();
        let lines = ["auto_eject_hosts: true", "server_retry_timeout: 1500"];
        let start = Start::with_pool(&[redis.line()], &lines);
        let proxy = program.into_iter().fold(start, Start::program).start();
        let mut client = proxy.client();
        let begin = Instant::now();
        for _ in 0..2 {
            client.exchange(&command(&["GET", "a"]), REFUSED);
        }
        redis.restart();
        wait_until("the server is used", || client.call(&["GET", "a"]) == Reply::Null);
        assert!(begin.elapsed() >= RETRY, "{program:?}: back after {:?}", begin.elapsed());
    }
}

#[test]
fn a_server_that_is_dead_at_the_start_costs_one_failure_and_a_line() {
    for program in PROGRAMS {
        let mut pair = Pair::start();
        pair.kill(1);
        let lines = ["auto_eject_hosts: true", "server_failure_limit: 2", "preconnect: true"];
        let servers = [0, 1].map(|number| pair.servers[number].named(NAMES[number]));
        let start = Start::with_pool(&servers, &lines);
        let proxy = program.into_iter().fold(start, Start::program).start();
        // nutcracker says nothing, and is done with it before it accepts.
        let has_line = || program.is_some() || proxy.log().contains("Connection refused");
        wait_until("the log has a line", has_line);
        let mut timeline = Timeline::new(&proxy, &pair.keys[1]);
        let one = Reply::bulk(NAMES[0]);
        timeline.ask_until(&one);
        assert_eq!(timeline.story(), [(refused(), Some(1)), (one, None)], "{program:?}");
    }
}

#[test]
fn all_workers_count_together_and_leave_a_server_out_together() {
    let mut pair = Pair::start();
    pair.kill(1);
    let proxy = pair.proxy(None, 4).options(&["--workers", "2"]).start();
    // One client on each worker, and two on each.
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    let get = command(&["GET", &pair.keys[1]]);
    for client in &mut clients {
        client.exchange(&get, REFUSED);
    }
    for client in &mut clients {
        client.exchange(&get, b"$3\r\none\r\n");
    }
    assert_eq!(proxy.log().matches("is ejected").count(), 1, "{}", proxy.log());
    pair.restart(1);
    for client in &mut clients {
        wait_until("the server is used again", || {
            client.call(&["GET", &pair.keys[1]]) == Reply::bulk("two")
        });
    }
}

#[test]
fn a_restart_is_one_failure_however_many_connections_it_ends() {
    let mut pair = Pair::start();
    let start = pair.proxy_with(2, &["server_connections: 4"]);
    let proxy = start.options(&["--workers", "2"]).start();
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    let get = command(&["GET", &pair.keys[1]]);
    let mut ask_all = || clients.iter_mut().for_each(|c| c.exchange(&get, b"$3\r\ntwo\r\n"));
    let ended = |count: usize| format!("\"server_eof\":{count},");
    ask_all();
    let killed = pair.servers[1].client().call(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(killed, Reply::Integer(8), "each worker has four connections");
    wait_until("all have ended", || report(&proxy).contains(&ended(8)));
    ask_all();
    pair.kill(1);
    wait_until("all have ended again", || report(&proxy).contains(&ended(16)));
    pair.restart(1);
    ask_all();
    assert!(!proxy.log().contains("is ejected"), "{}", proxy.log());
    // An outage is the end of them all and the first refusal.
    pair.kill(1);
    wait_until("all have ended for good", || report(&proxy).contains(&ended(24)));
    clients[0].exchange(&get, REFUSED);
    for client in &mut clients {
        client.exchange(&get, b"$3\r\none\r\n");
    }
    assert_eq!(proxy.log().matches("is ejected").count(), 1, "{}", proxy.log());
}

#[test]
fn a_good_reply_on_one_worker_undoes_the_failure_of_another() {
    let number = Arc::new(AtomicUsize::new(0));
    // Every second request fails, over all connections.
    let fake = FakeServer::start(move |connection| {
        while connection.request().is_some() {
            let is_even = number.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            connection.send(if is_even { LOADING } else { b"+good\r\n" });
        }
    });
    let other = FakeServer::answering(b"+other\r\n");
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let start = Start::with_pool(&servers, &["auto_eject_hosts: true", "server_failure_limit: 2"]);
    let proxy = start.options(&["--workers", "2"]).start();
    let get = command(&["GET", &keys_of(OVER_TWO, 1)[0]]);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    for _ in 0..10 {
        first.exchange(&get, LOADING);
        second.exchange(&get, b"+good\r\n");
    }
    first.exchange(&get, LOADING);
    second.exchange(&command(&["PING"]), b"+PONG\r\n");
    assert!(!proxy.log().contains("is ejected"), "{}", proxy.log());
}

#[test]
fn a_server_that_is_probed_first_costs_no_request_an_error() {
    let state = Arc::new(AtomicUsize::new(0));
    let of_server = Arc::clone(&state);
    // It loads, then it is silent, then it answers; PING too.
    let fake = FakeServer::start(move |connection| {
        while let Some(request) = connection.request() {
            match of_server.load(Ordering::SeqCst) {
                0 => connection.send(LOADING),
                1 => {}
                _ if request[0] == b"PING" => {
                    connection.send(b"-NOAUTH Authentication required.\r\n")
                }
                _ => connection.send(b"+good\r\n"),
            }
        }
    });
    let other = FakeServer::answering(b"+other\r\n");
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let lines = [
        "auto_eject_hosts: true",
        "server_failure_limit: 1",
        "server_retry_timeout: 50",
        "server_probe: true",
        "timeout: 300",
    ];
    let proxy = Start::with_pool(&servers, &lines).options(&["--workers", "2"]).start();
    let mut clients = [proxy.client(), proxy.client()];
    let key = keys_of(OVER_TWO, 1)[0].clone();
    let get = command(&["GET", &key]);
    clients[0].exchange(&get, LOADING);
    for (next, connections) in [(1, 3), (2, 6)] {
        let before = fake.accepted();
        wait_until("it is probed some times", || {
            clients.iter_mut().for_each(|client| client.exchange(&get, b"+other\r\n"));
            fake.accepted() >= before + connections
        });
        state.store(next, Ordering::SeqCst);
    }
    for client in &mut clients {
        wait_until("it is used again", || client.call(&["GET", &key]) == Reply::status("good"));
    }
    // One worker probes at a time, and a probe leaves nothing behind.
    assert_eq!(proxy.log().matches("is ejected").count(), 1, "{}", proxy.log());
    assert_eq!(proxy.log().matches("is used again").count(), 1, "{}", proxy.log());
}

#[test]
fn probes_are_no_failures_of_connections() {
    let state = Arc::new(AtomicUsize::new(0));
    let of_server = Arc::clone(&state);
    let fake = FakeServer::start(move |connection| {
        while connection.request().is_some() {
            match of_server.load(Ordering::SeqCst) {
                0 => return,
                1 => {}
                2 => return connection.close_by_reset(),
                3 => connection.send(b"what?\r\n"),
                4 => connection.send(LOADING),
                _ => connection.send(b"+good\r\n"),
            }
        }
    });
    let other = FakeServer::answering(b"+other\r\n");
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let lines = [
        "auto_eject_hosts: true",
        "server_failure_limit: 1",
        "server_retry_timeout: 20",
        "server_probe: true",
        "timeout: 100",
    ];
    let proxy = Start::with_pool(&servers, &lines).options(&["--workers", "2"]).start();
    let mut client = proxy.client();
    let get = command(&["GET", &keys_of(OVER_TWO, 1)[0]]);
    client.exchange(&get, b"-ERR unknown\r\n");
    let mut ask_until = |what: &str, holds: &dyn Fn() -> bool| {
        wait_until(what, || {
            // A probe goes out when its pool has something to do.
            client.send(&get);
            client.try_line().expect("a line");
            holds()
        });
    };
    // The first figures behind the name are those of the server, which comes first.
    let of_server = |name: &str| {
        let report = report(&proxy);
        let (_, tail) = report.split_once("\"one\": ").expect("its figures");
        let (_, tail) = tail.split_once(&format!("\"{name}\":")).expect("its name");
        tail.split([',', '}']).next().expect("a number").parse::<u64>().expect("a number")
    };
    for kind in 0..=4 {
        state.store(kind, Ordering::SeqCst);
        let before = of_server("ringcracker_probes_failed");
        ask_until("it is probed some times", &|| {
            of_server("ringcracker_probes_failed") >= before + 3
        });
        for (name, expected) in [
            ("server_eof", 1),
            ("server_err", 0),
            ("server_timedout", 0),
            ("server_connections", 0),
            ("requests", 1),
            ("responses", 0),
            ("in_queue", 0),
            ("out_queue", 0),
            ("ringcracker_server_failures", 1),
            ("ringcracker_server_timeouts", 0),
            ("ringcracker_server_bad_replies", 0),
        ] {
            assert_eq!(of_server(name), expected, "{name}, {kind}");
        }
    }
    state.store(5, Ordering::SeqCst);
    ask_until("it is used again", &|| of_server("responses") > 0);
    assert_eq!((of_server("server_eof"), of_server("server_connections")), (1, 1));
}

/// A proxy before a server that says `words` to every request but PING-like ones, and another.
fn before(words: &'static [u8], lines: &[&str]) -> (FakeServer, FakeServer, Proxy) {
    let fake = FakeServer::start(move |connection| {
        while let Some(request) = connection.request() {
            connection.send(if request[0] == b"TYPE" { b"+string\r\n" } else { words });
        }
    });
    let other = FakeServer::answering(b"+other\r\n");
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let proxy = Proxy::start(&servers, lines);
    (fake, other, proxy)
}

#[test]
fn the_servers_own_words_reach_the_client_and_eject_it_without_closing_anything() {
    let busy = b"-BUSY Redis is busy running a script.\r\n";
    for words in [LOADING, busy, b"-LOADING\r\n"] {
        let lines = ["auto_eject_hosts: true", "server_failure_limit: 3"];
        let (fake, _other, proxy) = before(words, &lines);
        let key = &keys_of(OVER_TWO, 1)[0];
        let (get, kind) = (command(&["GET", key]), command(&["TYPE", key]));
        let mut client = proxy.client();
        // Any other reply starts the count anew.
        let twice = [&get[..], &get, &kind].concat().repeat(4);
        client.exchange(&twice, &[words, words, b"+string\r\n"].concat().repeat(4));
        client.exchange(&get.repeat(3), &words.repeat(3));
        client.exchange(&get, b"+other\r\n");
        assert_eq!(fake.accepted(), 1, "the connection stays open");
        client.expect_in_step("after the ejection");
    }
}

#[test]
fn an_error_that_is_cut_anywhere_counts_all_the_same() {
    let fake = FakeServer::start(|connection| {
        let mut cut = 1;
        while connection.request().is_some() {
            connection.send_slowly(&LOADING[..cut], Duration::from_millis(2));
            connection.send(&LOADING[cut..]);
            cut += 4;
        }
    });
    let other = FakeServer::answering(b"+other\r\n");
    let servers = [fake.named(NAMES[0]), other.named(NAMES[1])];
    let proxy = Proxy::start(&servers, &["auto_eject_hosts: true", "server_failure_limit: 5"]);
    let mut client = proxy.client();
    let get = command(&["GET", &keys_of(OVER_TWO, 1)[0]]);
    for _ in 0..5 {
        client.exchange(&get, LOADING);
    }
    client.exchange(&get, b"+other\r\n");
}

#[test]
fn other_errors_and_servers_that_are_full_stay_in() {
    let full = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let key = &keys_of(OVER_TWO, 1)[0];
    let get = command(&["GET", key]);
    let ejects = ["auto_eject_hosts: true", "server_failure_limit: 1"];
    for words in [&full[..], b"-BUSYKEY Target key name already exists.\r\n", b"-ERR LOADING\r\n"] {
        let (_fake, _other, proxy) = before(words, &ejects);
        proxy.client().exchange(&get.repeat(9), &words.repeat(9));
    }
    let with_key = [&ejects[..], &["eject_on_oom: true"]].concat();
    let (_fake, _other, proxy) = before(full, &with_key);
    let mut client = proxy.client();
    client.exchange(&get, full);
    client.exchange(&get, b"+other\r\n");
    // Without the key that ejects, words are only words.
    let (_fake, _other, proxy) = before(LOADING, &["server_failure_limit: 1"]);
    proxy.client().exchange(&get.repeat(9), &LOADING.repeat(9));
}
