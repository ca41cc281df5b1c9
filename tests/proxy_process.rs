//! How the process begins and ends.

mod support;

use std::net::TcpListener;

use support::client::{Client, Reply};
use support::pool;
use support::process::Port;
use support::proxy::{Proxy, Start};
use support::redis::Redis;

#[test]
fn termination_signals_end_the_process_with_exit_code_0() {
    for number in [libc::SIGTERM, libc::SIGINT] {
        for workers in ["1", "2"] {
            let server = Redis::start();
            let start = Start::with_pool(&[server.line()], &[]);
            let mut proxy = start.options(&["--workers", workers]).start();
            let mut clients = [proxy.client(), proxy.client(), proxy.client()];
            for client in &mut clients {
                assert_eq!(client.call(&["SET", "a", "1"]), Reply::status("OK"));
            }
            proxy.process().signal(number);
            assert_eq!(proxy.exit_code(), 0, "signal {number}, {workers} workers");
            for client in &mut clients {
                client.expect_end();
            }
        }
    }
}

#[test]
fn a_termination_signal_is_obeyed_while_a_server_hangs() {
    let server = Redis::start();
    let mut proxy = Proxy::start(&[server.line()], &[]);
    let mut client = proxy.client();
    client.call(&["SET", "a", "1"]);
    server.process().stop();
    client.send(&support::client::command(&["GET", "a"]));
    proxy.client().expect_in_step("read");
    proxy.process().signal(libc::SIGTERM);
    assert_eq!(proxy.exit_code(), 0);
}

#[test]
fn a_restarted_proxy_listens_on_the_same_port_at_once() {
    let server = Redis::start();
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = pool("alpha", &listen, &[server.line()], &[]);
    let mut clients = vec![];
    for _ in 0..4 {
        let mut proxy = Start::with_config(&config).start();
        // Connections that the proxy ends leave the port in a state that forbids a plain bind.
        let mut client = Client::tcp(port.number());
        client.call(&["SET", "a", "1"]);
        clients.push(client);
        proxy.process().signal(libc::SIGTERM);
        assert_eq!(proxy.exit_code(), 0);
    }
}

#[test]
fn a_killed_proxy_can_be_started_again_at_once() {
    let server = Redis::start();
    let port = Port::free();
    let listen = format!("127.0.0.1:{}", port.number());
    let config = pool("alpha", &listen, &[server.line()], &[]);
    for _ in 0..10 {
        // The kernel ends what is armed on the listening socket only after it has buried the
        // process: for a moment the address is still in use.
        let mut proxy = Start::with_config(&config).start();
        Client::tcp(port.number()).expect_in_step("served");
        proxy.process().signal(libc::SIGKILL);
        assert_eq!(proxy.exit_code(), -libc::SIGKILL);
    }
}

#[test]
fn the_log_tells_how_many_connections_each_server_will_see() {
    let server = Redis::start();
    let start = Start::with_pool(&[server.line()], &["server_connections: 4"]);
    let proxy = start.options(&["--workers", "2"]).start();
    support::wait_until("the log tells", || proxy.log().contains("up to 8 connections"));
}

/// Expects that the start ends with exit code 1 and one line on standard error with all `words`.
fn is_refused(start: Start, words: &[&str]) {
    let mut proxy = start.spawn();
    let code = proxy.exit_code();
    let errors = proxy.errors();
    assert_eq!(code, 1, "{errors}");
    assert_eq!(errors.lines().count(), 1, "not one line: {errors}");
    for word in words {
        assert!(errors.contains(word), "{word} is not in: {errors}");
    }
}

#[test]
fn a_listen_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("bound").to_string();
    let config = pool("alpha", &listen, &["127.0.0.1:1:1".to_owned()], &[]);
    is_refused(Start::with_config(&config), &[&listen, "in use"]);
}

#[test]
fn a_listen_socket_in_a_missing_directory_is_named() {
    let path = "/nonexistent/directory/proxy.sock";
    let config = pool("alpha", path, &["127.0.0.1:1:1".to_owned()], &[]);
    is_refused(Start::with_config(&config), &[path]);
}

#[test]
fn a_start_that_fails_disturbs_nobody() {
    let server = Redis::start();
    let (shared, taken) = (Port::free(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let listen = format!("127.0.0.1:{}", shared.number());
    let config = pool("alpha", &listen, &[server.line()], &["reuseport: true"]);
    let first = Start::with_config(&config).start();
    let taken = taken.local_addr().expect("bound");
    let second = pool("beta", &taken.to_string(), &[server.line()], &[]);
    let statistics = taken.port().to_string();
    for start in [
        Start::with_config(&(config.clone() + &second)),
        Start::with_config(&config).options(&["-a", "127.0.0.1", "-s", &statistics]),
        Start::with_config(&config).options(&["-p", "/nonexistent/directory/proxy.pid"]),
    ] {
        let mut failing = start.spawn();
        // Were the port listened on for a moment, some of these would come to the wrong process.
        while failing.process_mut().ended().is_none() {
            Client::tcp(shared.number()).expect_in_step("served by the first");
        }
        assert_eq!(failing.exit_code(), 1);
    }
    drop(first);
}

/// twemproxy: descriptor limit below zero
#[test]
fn too_few_descriptors_to_begin_with_are_named() {
    let start = Start::with_pool(&["127.0.0.1:1:1".to_owned()], &[]);
    let mut proxy = start.descriptors(5).spawn();
    let code = proxy.exit_code();
    assert_eq!(code, 1, "{}", proxy.errors());
    assert!(!proxy.errors().is_empty(), "not a word");
}

#[test]
fn a_log_that_was_renamed_is_opened_again() {
    let server = Redis::start();
    let proxy = Proxy::start(&[server.line()], &[]);
    let rotated = proxy.log_path().with_extension("1");
    std::fs::rename(proxy.log_path(), &rotated).expect("renamed");
    proxy.process().signal(libc::SIGHUP);
    support::wait_until("the log is there again", || proxy.log_path().exists());
    proxy.client().send(b"*x\r\n");
    support::wait_until("the new one is written", || proxy.log().contains("a client is closed"));
    let old = std::fs::read_to_string(rotated).expect("readable");
    assert!(old.contains("started on pid") && !old.contains("a client is closed"), "{old}");
    proxy.client().expect_in_step("and service goes on");
}

/// The files of twemproxy's and upredis-proxy's documentation, with ports that are free here.
#[test]
fn the_documented_files_run() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/documented");
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("gamma").display().to_string();
    for name in ["readme", "leaf", "root", "all_keys", "ours", "upredis"] {
        let text = std::fs::read_to_string(root.join(format!("{name}.yml"))).expect("a file");
        let mut ports = Vec::new();
        let mut lines = Vec::new();
        for line in text.lines() {
            let is_port = line.trim().starts_with("listen: ") && !line.contains('/');
            if is_port {
                let port = Port::free();
                let indent = &line[..line.len() - line.trim_start().len()];
                lines.push(format!("{indent}listen: 127.0.0.1:{}", port.number()));
                ports.push(port);
            } else {
                lines.push(line.replace("/tmp/gamma", &socket));
            }
        }
        let pools = lines.iter().filter(|line| line.trim().starts_with("listen: ")).count();
        let mut start = Start::with_config(&lines.join("\n"));
        for port in ports {
            start = start.holding(port);
        }
        let mut proxy = start.spawn();
        let up = support::holds_within(support::DEADLINE, || {
            let ended = proxy.process_mut().ended();
            assert!(ended.is_none(), "{name}: {ended:?}: {}", proxy.log());
            proxy.log().contains("started on pid")
        });
        assert!(up && pools > 0, "{name}: {}", proxy.log());
    }
}
